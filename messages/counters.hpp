#pragma once

#include <array>
#include <caf/meta/type_name.hpp>
#include <caf/timespan.hpp>
#include <cstddef>
#include <cstdint>

#include "previewd/messages/events.hpp"
#include "previewd/messages/server.hpp"
#include "previewd/messages/type_ids.hpp"

namespace previewd {

/// How often things took how long. Not thread-safe: every thread and actor that counts has one of
/// its own, and they are added up when somebody looks.
class duration_histogram {
public:
  /// Upper bounds of the buckets in microseconds, the bound included. One more bucket has the rest.
  static constexpr std::array<uint64_t, 17> bounds{50, 100, 250, 500, 1'000, 2'500, 5'000, 10'000,
    25'000, 50'000, 100'000, 250'000, 500'000, 1'000'000, 2'500'000, 5'000'000, 10'000'000};

  /// Counts one duration; a negative one counts as 0.
  void observe(caf::timespan duration) noexcept {
    const auto nanoseconds = duration.count() > 0 ? static_cast<uint64_t>(duration.count()) : 0;
    std::size_t bucket = 0;
    while (bucket < bounds.size() && nanoseconds > bounds[bucket] * 1000) ++bucket;
    ++buckets_[bucket];
    nanoseconds_ += nanoseconds;
  }

  void add(const duration_histogram& other) noexcept {
    for (std::size_t i = 0; i < buckets_.size(); ++i) buckets_[i] += other.buckets_[i];
    nanoseconds_ += other.nanoseconds_;
  }

  /// Durations in the bucket under `bounds[i]`, and above the bound before; the last one has those
  /// above all bounds.
  const std::array<uint64_t, bounds.size() + 1>& buckets() const noexcept { return buckets_; }

  /// Of all durations.
  uint64_t nanoseconds() const noexcept { return nanoseconds_; }

  uint64_t count() const noexcept {
    uint64_t sum = 0;
    for (const uint64_t one : buckets_) sum += one;
    return sum;
  }

  template <class Inspector>
  friend typename Inspector::result_type inspect(Inspector& f, duration_histogram& x) {
    return f(caf::meta::type_name("duration_histogram"), x.buckets_, x.nanoseconds_);
  }

private:
  std::array<uint64_t, bounds.size() + 1> buckets_{};
  uint64_t nanoseconds_ = 0;
};

/// What the registry has counted since the start, and what it holds now.
struct registry_counters {
  std::array<uint64_t, server_states> servers{};  // by server_state
  uint64_t terminals = 0;                         // that run
  uint64_t known_terminals = 0;                   // with those that have exited
  std::array<uint64_t, stop_reasons> removals{};  // by stop_reason
  std::array<uint64_t, event_kinds> events{};     // by event_kind
  uint64_t stale_removals = 0;  // named a generation that was not there, and changed nothing
  /// From when the kernel watch noticed that a server's sockets were gone to when the last I/O
  /// thread had its route down.
  duration_histogram stop_detect;

  // Under way: all of it is 0 when nothing happens.
  uint64_t effects = 0;      // wait for I/O threads to apply routes
  uint64_t calls = 0;        // wait for an answer
  uint64_t undelivered = 0;  // events that the event bus has not handed on
  uint64_t saving = 0;       // 1 while the store does not know everything
  uint64_t mailbox = 0;      // messages that wait for the registry
  bool shutting_down = false;

  template <class Inspector>
  friend typename Inspector::result_type inspect(Inspector& f, registry_counters& x) {
    return f(caf::meta::type_name("registry_counters"), x.servers, x.terminals, x.known_terminals,
      x.removals, x.events, x.stale_removals, x.stop_detect, x.effects, x.calls, x.undelivered,
      x.saving, x.mailbox, x.shutting_down);
  }
};

}  // namespace previewd
