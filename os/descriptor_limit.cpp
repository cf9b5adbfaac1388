#include "previewd/os/descriptor_limit.hpp"

#include <sys/resource.h>

#include <atomic>

namespace previewd::os {

namespace {

std::atomic<rlim_t> soft_at_start{0};

}  // namespace

uint64_t raise_descriptor_limit() noexcept {
  rlimit limit{};
  if (::getrlimit(RLIMIT_NOFILE, &limit) != 0) return 0;
  if (limit.rlim_cur == limit.rlim_max) return limit.rlim_cur;
  const rlim_t before = limit.rlim_cur;
  limit.rlim_cur = limit.rlim_max;
  if (::setrlimit(RLIMIT_NOFILE, &limit) != 0) return before;
  soft_at_start = before;
  return limit.rlim_cur;
}

void restore_descriptor_limit(pid_t process) noexcept {
  const rlim_t soft = soft_at_start;
  rlimit limit{};
  if (soft == 0 || ::prlimit(process, RLIMIT_NOFILE, nullptr, &limit) != 0) return;
  limit.rlim_cur = soft;
  // One that fails leaves the process with more than it needs.
  ::prlimit(process, RLIMIT_NOFILE, &limit, nullptr);
}

}  // namespace previewd::os
