#pragma once

#include <sys/types.h>

#include <mutex>
#include <optional>
#include <string>
#include <unordered_map>

#include "previewd/os/child_process.hpp"

namespace previewd::os {

/// How a process ended: an exit code, or the name of the signal that ended it; neither when it is
/// not known (not our child).
struct exit_status {
  std::optional<int> code;
  std::string signal;  // "SIGKILL"; empty: none

  friend bool operator==(const exit_status&, const exit_status&) = default;
};

/// Whose children are waited for.
enum class reap_mode : unsigned char {
  own,  // only those started here: for a process that has children of its own
  all   // every child, the orphans that a child subreaper adopts too (prctl(2))
};

/// The one place that waits for children, so that no status is lost to another wait. Any thread.
class child_reaper {
public:
  explicit child_reaper(reap_mode mode) : mode_{mode} {}

  child_reaper(const child_reaper&) = delete;
  child_reaper& operator=(const child_reaper&) = delete;

  /// Starts a process; its status is kept from the first moment until it is taken or released.
  /// Blocks like start_process; other threads may reap meanwhile.
  start_result start(const process_spec& spec);

  /// Waits for every child that has ended; never blocks. Call it when a pidfd became readable, or
  /// at SIGCHLD.
  void reap();

  /// Reaps, then gives away the status of a process that was started here. Nothing when it has not
  /// ended, was taken already, or is not ours.
  std::optional<exit_status> take(pid_t pid);

  /// Nobody will ask for this status: it is waited for, when its time comes, and dropped.
  void release(pid_t pid);

  reap_mode mode() const noexcept { return mode_; }

private:
  enum class wanted : unsigned char { yes, no };
  struct claim {
    std::optional<exit_status> status;
    wanted status_wanted = wanted::yes;
  };

  void reap_locked();
  void note_locked(pid_t pid, exit_status status);

  const reap_mode mode_;
  std::mutex mutex_;
  std::unordered_map<pid_t, claim> claims_;
  // Statuses of children that nobody has claimed, kept while a start is under way: the one that is
  // being started may have ended before its pid is known here.
  std::unordered_map<pid_t, exit_status> unclaimed_;
  int starting_ = 0;
};

/// Makes this process adopt the orphans among its descendants (PR_SET_CHILD_SUBREAPER, prctl(2)).
/// It then has to reap every child.
error_code become_subreaper() noexcept;

}  // namespace previewd::os
