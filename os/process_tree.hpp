#pragma once

#include <map>
#include <optional>
#include <string>
#include <unordered_map>
#include <utility>
#include <vector>

#include "previewd/os/cgroup.hpp"
#include "previewd/os/procfs.hpp"

namespace previewd::os {

/// Where processes are looked for.
enum class process_search : unsigned char {
  descendants,  // below this process and what is known already: enough for a child subreaper
  everything    // all of /proc: also orphans that another process has adopted
};

/// Which processes belong to which terminal: the descendants of its leader, those of its session,
/// and those that carry its mark `PREVIEWD_TERMINAL=id` in their environment (daemons, setsid(1),
/// tmux). Who has once been seen to belong does so until it ends, whatever it does to its
/// environment. This process and pid 1 belong to none. For one thread at a time.
class process_tree {
public:
  /// `usual` is what `refresh` does when nothing else is asked for. `cgroup`: a delegated one in
  /// which each terminal gets its own, so that nobody can hide; empty: none (cgroup.hpp).
  explicit process_tree(process_search usual, std::string cgroup = {})
      : usual_{usual}, cgroups_{std::move(cgroup)} {}

  /// Begins to follow a terminal. `leader` is its shell, whose pid names the session too; a start
  /// time of 0 means not known: then the leader has to carry the mark.
  void follow(const std::string& id, process_id leader);

  /// Stops following.
  void forget(const std::string& id);

  bool follows(const std::string& id) const { return terminals_.count(id) != 0; }

  /// Looks at the processes as they are now: some 15 us for each that is looked at. Error: a
  /// shortage (`is_shortage`); then everything stays as it was last seen.
  error_code refresh() { return refresh(usual_); }
  error_code refresh(process_search where);

  /// The live processes of a terminal at the last refresh, by pid. Zombies count as gone. Valid
  /// until the next call of a member that is not const.
  const std::vector<process_stat>& members(const std::string& id) const;

  /// Kills whoever is in the terminal's cgroup, also who is born meanwhile. Nothing when it has
  /// none.
  void kill(const std::string& id) const { (void)cgroups_.kill(id); }

private:
  struct terminal {
    process_id leader;
    std::vector<process_stat> members;
  };
  using cgroup_members = std::unordered_map<pid_t, const std::string*>;  // ids in `terminals_`
  using snapshot = std::unordered_map<pid_t, process_stat>;

  result<cgroup_members> look_at_cgroups() const;
  result<snapshot> look(process_search where) const;
  const std::string* terminal_of(const process_stat& process, const snapshot& all,
    std::unordered_map<pid_t, const std::string*>& known);
  const std::string* terminal_by_leader(const process_stat& process, const snapshot& all);
  const std::string* terminal_by_mark(const process_stat& process);
  const std::string* name_of(const std::string& id) const;

  process_search usual_;
  terminal_cgroups cgroups_;
  cgroup_members in_cgroups_;  // at the last refresh
  std::map<std::string, terminal> terminals_;
  std::map<process_id, std::string> belongs_;
  std::map<process_id, environment_variable> marks_;  // as first known
};

}  // namespace previewd::os
