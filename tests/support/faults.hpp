#pragma once

#include <cerrno>
#include <cstdint>
#include <cstring>
#include <string>
#include <vector>

#include "previewd/os/faults.hpp"
#include "previewd/os/system_call.hpp"

namespace previewd::test {

namespace faults = os::faults;

/// One way in which the calls at one site fail.
struct fault {
  const faults::site* at = nullptr;
  int error = 0;  // EINTR, one of the site's errors, or `os::short_transfer`

  /// For an INFO: "pty.open: Too many open files".
  std::string describe() const {
    return std::string{at->name()} + ": " +
           (error == os::short_transfer ? "a short transfer" : std::strerror(error));
  }

  /// What to arm the site with. A short transfer moves `most` bytes.
  faults::plan plan(uint32_t first = 1, uint32_t times = 1, std::size_t most = 7) const {
    if (error == os::short_transfer) return {.most = most, .first = first, .times = times};
    return {.error = error, .first = first, .times = times};
  }
};

/// Every fault of every site of this program whose name begins with one of `prefixes`, EINTR
/// included. Without prefixes: of all sites.
inline std::vector<fault> all_faults(const std::vector<std::string>& prefixes = {}) {
  std::vector<fault> result;
  for (const faults::site* site : faults::sites()) {
    bool wanted = prefixes.empty();
    for (const std::string& prefix : prefixes)
      wanted = wanted || std::string{site->name()}.rfind(prefix, 0) == 0;
    if (!wanted) continue;
    result.push_back({site, EINTR});
    for (const int error : site->errors()) result.push_back({site, error});
  }
  return result;
}

}  // namespace previewd::test
