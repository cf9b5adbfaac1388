#include "previewd/net/auth/attempts.hpp"

#include <algorithm>
#include <cstring>
#include <functional>

#include "previewd/net/auth/encoding.hpp"

namespace previewd::net::auth {

namespace {

uint64_t minute_of(attempts::time_point now) noexcept {
  return static_cast<uint64_t>(
           std::chrono::duration_cast<std::chrono::minutes>(now.time_since_epoch()).count()) &
         UINT32_MAX;
}

std::size_t random_seed() {
  std::size_t seed = 0;
  std::memcpy(&seed, random_bytes(sizeof seed).data(), sizeof seed);
  return seed;
}

}  // namespace

attempts::attempts(uint32_t limit, std::size_t counters)
    : limit_{limit}, seed_{random_seed()}, counters_(std::max<std::size_t>(1, counters)) {}

std::size_t attempts::place_of(std::string_view address) const noexcept {
  // The seed goes through the hash, so that which addresses meet cannot be found out by trying.
  std::size_t hash = seed_;
  for (const char c : address)
    hash = (hash ^ static_cast<unsigned char>(c)) * 0x9e3779b97f4a7c15ULL + (hash >> 29);
  return (hash ^ (hash >> 32)) % counters_.size();
}

bool attempts::exhausted(std::string_view address, time_point now) const noexcept {
  if (limit_ == 0) return false;
  const uint64_t value = counters_[place_of(address)].load(std::memory_order_relaxed);
  return value >> 32 == minute_of(now) && (value & UINT32_MAX) >= limit_;
}

void attempts::refused(std::string_view address, time_point now) noexcept {
  if (limit_ == 0) return;
  std::atomic<uint64_t>& counter = counters_[place_of(address)];
  const uint64_t minute = minute_of(now);
  uint64_t value = counter.load(std::memory_order_relaxed);
  uint64_t next = 0;
  do {
    next = value >> 32 != minute                ? (minute << 32) + 1
           : (value & UINT32_MAX) == UINT32_MAX ? value
                                                : value + 1;
  } while (!counter.compare_exchange_weak(value, next, std::memory_order_relaxed));
}

}  // namespace previewd::net::auth
