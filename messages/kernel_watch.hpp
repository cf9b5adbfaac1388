#pragma once

#include <caf/timespan.hpp>
#include <cstdint>
#include <string>
#include <vector>

#include "previewd/messages/detector.hpp"
#include "previewd/messages/preview_server.hpp"
#include "previewd/messages/server.hpp"
#include "previewd/messages/terminal.hpp"

namespace previewd {

/// The pauses of the kill ladder (docs/terminals.md).
struct kill_ladder {
  caf::timespan after_hangup = std::chrono::milliseconds{500};
  caf::timespan after_terminate = std::chrono::seconds{2};
};

/// The listening sockets behind a loopback address and a port, and who holds them.
struct found_listeners {
  std::string terminal_id;  // followed, and a process of it holds them; empty: none
  /// The socket that takes connections there, or several that share them; then those that the same
  /// terminal has on that port. Empty: nobody listens there, or that is not known.
  std::vector<listener_fact> sockets;
};

/// What an actor may ask of the thread that watches the kernel: listening sockets, processes and
/// their ends. Every call may come from any thread, returns at once and never blocks; answers
/// arrive as messages. The object outlives all actors that know it.
class kernel_watch {
public:
  virtual ~kernel_watch() = default;

  /// Follows a terminal: `exited` goes to `terminal` when the process ends, `listeners` to
  /// `detector` after each change of the listening sockets that belong to it: by session, by
  /// descent, or by `PREVIEWD_TERMINAL=id` in an environment.
  virtual void
  track(const std::string& id, int32_t pid, terminal_actor terminal, detector_actor detector) = 0;

  /// Stops following; no message about the terminal is sent afterwards, but the ones under way.
  virtual void untrack(const std::string& id) = 0;

  /// Looks at once, and often for `detection.timeout` from now.
  virtual void scan(const std::string& id) = 0;

  /// Watches a registered server's sockets and job, and looks at once whether they are still there.
  /// `gone` when the last socket has left the kernel's table (once), `leader` when the leader of
  /// its job has ended (once; 0: not watched). `owner` when the first of the owners, or whoever was
  /// named after it, holds none of the sockets any more while they are there.
  virtual void watch(const server_ref& ref, std::vector<listener_id> listeners,
    std::vector<int32_t> owners, int32_t job_leader, preview_server_actor reply_to) = 0;

  /// The server's sockets are gone. `listeners` when others of the same user and of no terminal
  /// that is followed listen at this loopback endpoint (once), until `unwatch`.
  virtual void await_successor(const server_ref& ref, const endpoint& at) = 0;

  virtual void unwatch(const server_ref& ref) = 0;

  /// Asks the kernel now whether anybody listens on the server's sockets. Answers `confirm`.
  virtual void confirm(const server_ref& ref) = 0;

  /// Ends all processes of the terminal and nobody else's: SIGHUP and SIGCONT to its foreground job
  /// and session, then SIGTERM to every descendant and marked process, then SIGKILL. Answers
  /// `ended` to the terminal when none is left, also if the terminal is not tracked any more.
  virtual void end_processes(
    const std::string& id, int32_t session, kill_ladder pauses, terminal_actor reply_to) = 0;
};

}  // namespace previewd
