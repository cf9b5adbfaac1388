#include "previewd/os/pidfd.hpp"

#include <sys/syscall.h>
#include <unistd.h>

namespace previewd::os {

// glibc has wrappers since 2.36 only.

result<pidfd> pidfd::open(pid_t pid) noexcept {
  const long fd = ::syscall(SYS_pidfd_open, pid, 0U);
  if (fd == -1) return last_error();
  return pidfd{unique_fd{static_cast<int>(fd)}};
}

error_code pidfd::send_signal(int number) const noexcept {
  if (::syscall(SYS_pidfd_send_signal, fd_.get(), number, nullptr, 0U) == -1) return last_error();
  return {};
}

}  // namespace previewd::os
