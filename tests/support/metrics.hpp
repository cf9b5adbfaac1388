#pragma once

#include <cstdlib>
#include <map>
#include <sstream>
#include <string>

#include "previewd/tests/support/http_client.hpp"

namespace previewd::test {

/// The samples of `GET /metrics` by name and labels, as they are written:
/// `previewd_servers{state="ready"}`.
inline std::map<std::string, double> metrics_of(uint16_t port, const std::string& fields = {}) {
  std::map<std::string, double> result;
  std::istringstream lines{fetch(port, "GET /metrics", fields).body};
  for (std::string line; std::getline(lines, line);) {
    const std::size_t space = line.rfind(' ');
    if (line.empty() || line.front() == '#' || space == std::string::npos) continue;
    result[line.substr(0, space)] = std::strtod(line.c_str() + space, nullptr);
  }
  return result;
}

}  // namespace previewd::test
