#pragma once

#include <boost/system/error_code.hpp>
#include <boost/system/result.hpp>
#include <cerrno>

namespace previewd::os {

/// A value, or why there is none: a code of the system category (errno(3)).
template <class T> using result = boost::system::result<T>;

using boost::system::error_code;

/// The code of an errno value.
inline error_code system_error(int number) noexcept {
  return {number, boost::system::system_category()};
}

/// The code of the present `errno`.
inline error_code last_error() noexcept {
  return system_error(errno);
}

/// Repeats a system call while a signal interrupts it.
template <class Call> auto retry_interrupted(Call call) noexcept {
  for (;;) {
    const auto value = call();
    if (value != -1 || errno != EINTR) return value;
  }
}

}  // namespace previewd::os
