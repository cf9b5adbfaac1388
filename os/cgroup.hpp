#pragma once

#include <sys/types.h>

#include <string>
#include <string_view>
#include <vector>

#include "previewd/os/result.hpp"

namespace previewd::os {

/// The folder of this process's cgroup (cgroups(7), version 2), if it has been delegated to it: a
/// service manager says so by the attribute `user.delegate` or `trusted.delegate`
/// (systemd.resource-control(5), `Delegate=`). Empty: it has not, or there is none.
std::string delegated_cgroup();

/// A cgroup for each terminal, below a delegated one. Who is in it cannot leave it without the
/// right to write there, whatever it does to its session, its parents and its environment. No
/// controller is enabled, so that the parent may have processes of its own. One thread at a time;
/// an object without a folder does nothing, and has nobody.
class terminal_cgroups {
public:
  /// `folder` is the delegated cgroup, or empty. Removes what an earlier process has left there
  /// empty.
  explicit terminal_cgroups(std::string folder = {});

  bool is_used() const noexcept { return !folder_.empty(); }

  /// Makes a terminal's cgroup and moves a process there; what that starts from then on is born
  /// there. The caller makes sure that the pid is still that of the process. Errors are those of
  /// mkdir(2) and write(2): the process stays where it is.
  error_code add(std::string_view id, pid_t pid);

  /// Adds the processes of a terminal's cgroup, zombies left out. A terminal without one has none.
  /// Errors: a shortage of descriptors or memory.
  error_code append_members(std::string_view id, std::vector<pid_t>& pids) const;

  /// Ends all of them at once, however fast they multiply (`cgroup.kill`, Linux 5.14). Errors:
  /// `ENOENT` when there is no such cgroup or an older kernel.
  error_code kill(std::string_view id) const;

  /// Removes a terminal's cgroup if nobody is in it any more; else it stays, with who is in it.
  void remove(std::string_view id) const;

private:
  std::string path_of(std::string_view id) const;

  std::string folder_;
};

}  // namespace previewd::os
