#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>

#include "previewd/messages/kernel_watch.hpp"

namespace previewd::os {
class child_reaper;
}

namespace previewd::net::kernel {

/// How listening sockets are read.
enum class listener_source : unsigned char {
  automatic,  // socket diagnosis, or /proc/net where the kernel lacks it
  proc_net    // /proc/net only, without events
};

/// Whether the watch catches SIGCHLD. Only a program that owns the whole process may let it.
enum class child_signals : unsigned char { ignored, handled };

/// Paces and limits of the kernel watch.
struct kernel_watch_settings {
  /// Between two looks at the listening sockets while a terminal is in its detection phase. One
  /// look costs some 50 us. 10 ms to 1 min.
  std::chrono::milliseconds fast_interval{40};
  /// The same otherwise, while a terminal or a server is watched at all; no less than
  /// `fast_interval`. 10 ms to 1 h.
  std::chrono::milliseconds slow_interval{80};
  /// At least that much, outside a detection phase, where the sockets are read from /proc/net,
  /// which takes some 20 ms; in one, ten times as long as a look takes, and no more than this. And
  /// between two searches for who holds them now. 100 ms to 1 h.
  std::chrono::milliseconds costly_interval{2000};
  /// How long a detection phase lasts. 1 s to 10 min.
  std::chrono::milliseconds detection_timeout{30000};
  /// Between two looks however often they are asked for. 1 ms to 1 s.
  std::chrono::milliseconds least_interval{5};
  /// Between two looks at registered servers where the kernel tells nothing by itself, and at most
  /// while the successor of one is waited for. 10 ms to 1 s.
  std::chrono::milliseconds poll_interval{100};
  /// Between two looks at processes that are being ended. 5 ms to 1 s.
  std::chrono::milliseconds ladder_interval{20};
  /// How often SIGKILL is repeated, one `ladder_interval` apart, before what does not end is given
  /// up, with a line in the log: it may be stuck in the kernel, or another user's. 1 to 10000.
  uint32_t kill_rounds = 250;
  /// How often the owner of a new socket is looked for, at growing intervals, before it counts as
  /// nobody's whom we follow. 1 to 16.
  uint32_t owner_attempts = 8;
  /// A cgroup that has been delegated to this process (os/cgroup.hpp): each terminal gets its own
  /// below it, which tells for sure who belongs to it and ends all of them at once. Empty: none.
  std::string cgroup;
  listener_source source = listener_source::automatic;
  child_signals signals = child_signals::ignored;
};

/// What the watch follows right now.
struct kernel_counts {
  std::size_t terminals = 0;
  std::size_t servers = 0;
  std::size_t processes = 0;  // whose end is waited for
  std::size_t ladders = 0;    // terminals whose processes are being ended
};

/// Watches listening sockets and processes on a thread of its own ("pv-kernel"). What is watched,
/// and what the calls mean: messages/kernel_watch.hpp. With a reaper of mode `all` this process is
/// taken for the subreaper of all its descendants; otherwise all of /proc is searched for orphans.
///
/// Must outlive the actors that know it, and be gone before its reaper.
class kernel_watcher final : public previewd::kernel_watch {
public:
  explicit kernel_watcher(os::child_reaper& reaper, kernel_watch_settings settings = {});

  /// Stops.
  ~kernel_watcher() override;

  kernel_watcher(const kernel_watcher&) = delete;
  kernel_watcher& operator=(const kernel_watcher&) = delete;

  /// Starts the thread. Calls made before wait for it. Once.
  void start();

  /// Ends the thread and lets go of all actors and descriptors; no message is sent afterwards, and
  /// further calls do nothing. Processes are left alone. Not from the watch's own thread.
  /// Idempotent.
  void stop();

  void track(
    const std::string& id, int32_t pid, terminal_actor terminal, detector_actor detector) override;
  void untrack(const std::string& id) override;
  void scan(const std::string& id) override;
  void watch(const server_ref& ref, std::vector<listener_id> listeners, std::vector<int32_t> owners,
    int32_t job_leader, preview_server_actor reply_to) override;
  void await_successor(const server_ref& ref, const endpoint& at) override;
  void unwatch(const server_ref& ref) override;
  void confirm(const server_ref& ref) override;
  void end_processes(
    const std::string& id, int32_t session, kill_ladder pauses, terminal_actor reply_to) override;

  /// Looks which sockets listen at a loopback endpoint, and who holds them, and calls `done` on the
  /// watch's thread; never after `stop`. Any thread. Some 20 ms when nobody does whom we follow.
  void find(const endpoint& at, std::function<void(found_listeners)> done);

  /// Calls `done` on the watch's thread; never after `stop`. Any thread.
  void count(std::function<void(const kernel_counts&)> done);

private:
  class implementation;
  std::unique_ptr<implementation> implementation_;
};

}  // namespace previewd::net::kernel
