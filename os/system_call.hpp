#pragma once

#include <cerrno>
#include <cstddef>
#include <initializer_list>
#include <type_traits>

#ifdef PREVIEWD_FAULTS
#include "previewd/os/faults.hpp"
#endif

namespace previewd::os {

/// Among the errors of a site: a transfer that moves less than it was asked to.
constexpr int short_transfer = -1;

#ifdef PREVIEWD_FAULTS

using call_site = faults::site;

#else

/// One place where a system call is made: its name, and in which ways the call may fail there. Only
/// builds with PREVIEWD_FAULTS look at it, so that a test can make the call fail (faults.hpp).
struct call_site {
  constexpr call_site(const char*, std::initializer_list<int> = {}) noexcept {}
};

#endif

/// What a failed call returns: -1, or a null pointer.
template <class Value> constexpr Value failed_value() noexcept {
  if constexpr (std::is_pointer_v<Value>) {
    return nullptr;
  } else {
    return static_cast<Value>(-1);
  }
}

/// Makes a transfer of at most `size` bytes, and makes it again while a signal interrupts it
/// (EINTR, signal(7)). `call` takes the size, returns what the system call returns, and leaves
/// errno as that does. Any thread.
template <class Call>
auto system_call([[maybe_unused]] const call_site& site, std::size_t size, Call call) noexcept {
  using value_type = decltype(call(size));
  for (;;) {
    value_type value = failed_value<value_type>();
#ifdef PREVIEWD_FAULTS
    std::size_t allowed = size;
    const faults::meeting met = site.meet(allowed);
    if (met.error == 0 || met.made) value = call(allowed);
    if (met.error != 0) {
      value = failed_value<value_type>();
      errno = met.error;
    }
#else
    value = call(size);
#endif
    if (value != failed_value<value_type>() || errno != EINTR) return value;
  }
}

/// The same for a call that transfers nothing.
template <class Call> auto system_call(const call_site& site, Call call) noexcept {
  return system_call(site, 0, [&](std::size_t) { return call(); });
}

}  // namespace previewd::os
