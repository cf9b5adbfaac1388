#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string_view>
#include <utility>
#include <vector>

#include "previewd/messages/workspace.hpp"

namespace previewd::net::http {

/// One connection's place in a count; gives it back when it goes. Move-only. Any thread.
class open_slot {
public:
  open_slot() = default;
  explicit open_slot(std::shared_ptr<std::atomic<uint32_t>> count) noexcept
      : count_{std::move(count)} {}
  ~open_slot() { give_back(); }
  open_slot(open_slot&& other) noexcept = default;
  open_slot& operator=(open_slot&& other) noexcept {
    if (this != &other) {
      give_back();
      count_ = std::move(other.count_);
    }
    return *this;
  }

private:
  void give_back() noexcept {
    if (count_ != nullptr) count_->fetch_sub(1, std::memory_order_relaxed);
    count_ = nullptr;
  }

  std::shared_ptr<std::atomic<uint32_t>> count_;
};

/// What all I/O threads have open, by whom or for whom. Touched when a connection opens or closes,
/// never by a request on an open one. Names share a fixed number of counters, at places that nobody
/// can foresee, so that its size does not depend on who comes: in the worst case two names share a
/// limit.
class open_counts {
public:
  /// `limit`: for one name; 0: none, and nothing is counted.
  open_counts(uint32_t limit, std::size_t counters);

  uint32_t limit() const noexcept { return limit_; }

  /// Counts one more for `name` into `slot`. False: the limit is reached, and nothing is counted.
  bool take(std::string_view name, open_slot& slot);
  bool take(const workspace_key& key, open_slot& slot);

  /// The same without regard to the limit: for what is open already.
  void add(std::string_view name, open_slot& slot);

private:
  struct counters {
    explicit counters(std::size_t size) : each(size) {}
    std::vector<std::atomic<uint32_t>> each;
  };
  std::shared_ptr<std::atomic<uint32_t>> counter(std::size_t hash) const;
  bool take(std::shared_ptr<std::atomic<uint32_t>> count, open_slot& slot) const;

  uint32_t limit_;
  std::size_t seed_;
  std::shared_ptr<counters> counters_;
};

/// How many clients all I/O threads have, a connection and a tunnel alike, against one limit. Any
/// thread. Who finds no room waits to be told: by who makes some (`leave`), or changes the limit.
class open_clients {
public:
  explicit open_clients(std::size_t limit) noexcept : limit_{limit} {}

  void set_limit(std::size_t limit) noexcept { limit_ = limit; }
  bool has_room() const noexcept { return open_ < limit_; }

  /// Counts one more. False: the limit is reached, and nothing is counted.
  bool take() noexcept {
    std::size_t open = open_;
    while (open < limit_)
      if (open_.compare_exchange_weak(open, open + 1)) return true;
    return false;
  }

  /// The same without regard to the limit: for what is open already.
  void add() noexcept { ++open_; }

  /// One has gone. True: there was no room before, and others may wait for it.
  bool leave() noexcept {
    // In this order: whoever has found no room before must not be missed for an older limit.
    const std::size_t before = open_.fetch_sub(1);
    return before >= limit_;
  }

private:
  std::atomic<std::size_t> open_{0};
  std::atomic<std::size_t> limit_;
};

}  // namespace previewd::net::http
