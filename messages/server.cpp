#include "previewd/messages/server.hpp"

#include <array>
#include <cstdio>
#include <ctime>

namespace previewd {

std::string to_rfc3339(wall_time time) {
  using namespace std::chrono;
  const auto whole = floor<seconds>(time);
  const auto ms = static_cast<int>(duration_cast<milliseconds>(time - whole).count());
  const std::time_t seconds_since_epoch = system_clock::to_time_t(whole);
  std::tm parts{};
  gmtime_r(&seconds_since_epoch, &parts);
  std::array<char, 64> text{};
  const int n = std::snprintf(text.data(), text.size(), "%04d-%02d-%02dT%02d:%02d:%02d.%03dZ",
    parts.tm_year + 1900, parts.tm_mon + 1, parts.tm_mday, parts.tm_hour, parts.tm_min,
    parts.tm_sec, ms);
  return {text.data(), static_cast<std::size_t>(n)};
}

}  // namespace previewd
