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

/// Whether a call failed for want of descriptors, memory or the like: it says nothing about what
/// was asked for, and the same call may succeed later.
inline bool is_shortage(const error_code& code) noexcept {
  switch (code.value()) {
    case EMFILE:
    case ENFILE:
    case ENOMEM:
    case ENOBUFS:
    case EAGAIN:
      return code.category() == boost::system::system_category();
    default:
      return false;
  }
}

}  // namespace previewd::os
