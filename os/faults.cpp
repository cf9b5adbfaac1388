#include "previewd/os/faults.hpp"

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <iterator>
#include <mutex>
#include <utility>

namespace previewd::os::faults {

namespace {

// Both are there before any site is: they need no code to be initialised.
constinit const site* first_site = nullptr;
constinit std::mutex plans;

}  // namespace

site::site(const char* name, std::initializer_list<int> errors) noexcept
    : name_{name}, next_{std::exchange(first_site, this)} {
  for (const int error : errors)
    if (count_ < std::size(errors_)) errors_[count_++] = error;
}

meeting site::meet(std::size_t& size) const noexcept {
  calls_.fetch_add(1, std::memory_order_relaxed);
  if (!armed_.load(std::memory_order_acquire)) return {};
  const std::lock_guard lock{plans};
  if (!armed_) return {};
  if (plan_.who == reach::this_thread && thread_ != std::this_thread::get_id()) return {};
  ++met_;
  if (met_ < plan_.first || hits_ >= plan_.times) return {};
  if (hits_ < every_call - 1) ++hits_;
  if (plan_.most != 0) size = std::min(size, plan_.most);
  return {plan_.error, plan_.made};
}

std::vector<const site*> sites() {
  std::vector<const site*> all;
  for (const site* one = first_site; one != nullptr; one = one->next_) all.push_back(one);
  std::sort(all.begin(), all.end(), [](const site* a, const site* b) {
    return std::string_view{a->name()} < std::string_view{b->name()};
  });
  return all;
}

armed::armed(std::string_view site_name, plan what) {
  for (const site* one = first_site; one != nullptr; one = one->next_)
    if (site_name == one->name()) site_ = one;
  if (site_ == nullptr) {
    std::fprintf(stderr, "no system call is made under the name %.*s\n",
      static_cast<int>(site_name.size()), site_name.data());
    std::abort();
  }
  const std::lock_guard lock{plans};
  site_->plan_ = what;
  site_->thread_ = std::this_thread::get_id();
  site_->met_ = 0;
  site_->hits_ = 0;
  site_->armed_ = true;
}

armed::~armed() {
  const std::lock_guard lock{plans};
  site_->armed_ = false;
}

uint32_t armed::hits() const {
  const std::lock_guard lock{plans};
  return site_->hits_;
}

}  // namespace previewd::os::faults
