#pragma once

#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <string_view>
#include <vector>

namespace previewd::net::auth {

/// How often each address has shown something that was refused, minute by minute. Addresses share a
/// fixed number of counters, at places that nobody can foresee, so that its size does not depend on
/// who comes: in the worst case two addresses share a limit. Any thread; nothing is locked.
class attempts {
public:
  using time_point = std::chrono::steady_clock::time_point;

  /// `limit`: refusals of one address a minute; 0: none, and nothing is counted.
  explicit attempts(uint32_t limit, std::size_t counters = 4096);

  /// Whether the address has used up this minute's.
  bool exhausted(std::string_view address, time_point now) const noexcept;

  /// One more was refused.
  void refused(std::string_view address, time_point now) noexcept;

private:
  std::size_t place_of(std::string_view address) const noexcept;

  uint32_t limit_;
  std::size_t seed_;
  std::vector<std::atomic<uint64_t>> counters_;  // the minute, and how many in it
};

}  // namespace previewd::net::auth
