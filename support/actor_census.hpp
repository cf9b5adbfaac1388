#pragma once

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <string_view>

namespace previewd {

/// How many actors of each kind there are. Any thread.
class actor_census {
public:
  static constexpr std::array<std::string_view, 7> kinds{"registry", "event_bus", "terminal",
    "detector", "preview_server", "health_probe", "ws_connection"};

  /// The place of a kind in `kinds`; `kinds.size()` for one that is not counted.
  static constexpr std::size_t place_of(std::string_view kind) noexcept {
    std::size_t place = 0;
    while (place < kinds.size() && kinds[place] != kind) ++place;
    return place;
  }

  void begins(std::size_t place) noexcept {
    if (place < kinds.size()) counts_[place].fetch_add(1, std::memory_order_relaxed);
  }
  void ends(std::size_t place) noexcept {
    if (place < kinds.size()) counts_[place].fetch_sub(1, std::memory_order_relaxed);
  }
  uint64_t count(std::size_t place) const noexcept {
    return counts_[place].load(std::memory_order_relaxed);
  }

private:
  std::array<std::atomic<uint64_t>, kinds.size()> counts_{};
};

}  // namespace previewd
