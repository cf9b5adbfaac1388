#include "previewd/net/http/open_counts.hpp"

#include <functional>
#include <random>

namespace previewd::net::http {

open_counts::open_counts(uint32_t limit, std::size_t size)
    : limit_{limit}, seed_{limit == 0 ? 0 : std::random_device{}()} {
  if (limit != 0) counters_ = std::make_shared<counters>(size);
}

bool open_counts::take(std::string_view name, open_slot& slot) {
  return limit_ == 0 || take(counter(std::hash<std::string_view>{}(name)), slot);
}

bool open_counts::take(const workspace_key& key, open_slot& slot) {
  return limit_ == 0 || take(counter(std::hash<workspace_key>{}(key)), slot);
}

void open_counts::add(std::string_view name, open_slot& slot) {
  if (limit_ == 0) return;
  auto count = counter(std::hash<std::string_view>{}(name));
  count->fetch_add(1, std::memory_order_relaxed);
  slot = open_slot{std::move(count)};
}

std::shared_ptr<std::atomic<uint32_t>> open_counts::counter(std::size_t hash) const {
  // Mixed, so that neighbours in one table are none in another (SplitMix64's finaliser).
  uint64_t x = hash ^ (static_cast<uint64_t>(seed_) * 0x9e3779b97f4a7c15ULL);
  x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9ULL;
  x = (x ^ (x >> 27)) * 0x94d049bb133111ebULL;
  x ^= x >> 31;
  return {counters_, &counters_->each[x % counters_->each.size()]};
}

bool open_counts::take(std::shared_ptr<std::atomic<uint32_t>> count, open_slot& slot) const {
  if (count->fetch_add(1, std::memory_order_relaxed) >= limit_) {
    count->fetch_sub(1, std::memory_order_relaxed);
    return false;
  }
  slot = open_slot{std::move(count)};
  return true;
}

}  // namespace previewd::net::http
