#pragma once

#include <sys/types.h>

#include <array>
#include <chrono>
#include <cstddef>
#include <cstdint>

namespace previewd::bench {

using clock = std::chrono::steady_clock;

/// Whom the loop tells of its descriptor's events.
class watcher {
public:
  /// `events`: those of epoll_ctl(2). May close its descriptor, and may hear of it once more then;
  /// must not be destroyed before the loop has returned.
  virtual void ready(uint32_t events) = 0;

protected:
  ~watcher() = default;
};

/// epoll(7), edge-triggered, for one thread. A load generator has to cost less than what it
/// measures, so nothing is between it and the kernel.
class event_loop {
public:
  /// Throws std::system_error.
  event_loop();
  ~event_loop();
  event_loop(const event_loop&) = delete;
  event_loop& operator=(const event_loop&) = delete;

  /// From now until it is closed. False: not possible, and `errno` says why.
  bool watch(int descriptor, watcher& who) noexcept;

  /// Handles what comes until `deadline`, or until the events that are handled when `stop` is
  /// called have been.
  void run_until(clock::time_point deadline);
  void stop() noexcept { stopped_ = true; }

  /// When the events that are handled now were fetched.
  clock::time_point now() const noexcept { return now_; }

  /// For whoever reads right now and keeps nothing.
  std::array<char, 64 * 1024>& scratch() noexcept { return scratch_; }

private:
  int epoll_;
  bool stopped_ = false;
  clock::time_point now_ = clock::now();
  std::array<char, 64 * 1024> scratch_;
};

/// Drops at most `most` bytes that have come, in the kernel (tcp(7), MSG_TRUNC). Returns what
/// recv(2) does.
ssize_t discard(int socket, std::size_t most) noexcept;
constexpr std::size_t most_discarded_at_once = 1 << 20;

}  // namespace previewd::bench
