#pragma once

#include <sys/types.h>

#include <optional>
#include <string>
#include <vector>

#include "previewd/os/result.hpp"

namespace previewd::os {

/// Whose rights a process has (credentials(7)).
struct process_identity {
  uid_t user = 0;
  gid_t group = 0;
  std::vector<gid_t> groups;  // supplementary ones
};

/// What to start, and where.
struct process_spec {
  std::vector<std::string> argv;         // argv[0] is looked up along `PATH` of `env`; never empty
  std::string argv0;                     // shown to the program instead of argv[0]; empty: argv[0]
  std::vector<std::string> environment;  // NAME=value, complete
  std::string cwd;                       // absolute; empty: that of this process
  /// The slave of a PTY: becomes the controlling terminal and descriptors 0, 1 and 2. Empty: these
  /// are /dev/null.
  std::string terminal;
  /// Takes root's rights, or CAP_SETUID and CAP_SETGID. All capabilities go with the user id
  /// (capabilities(7)). Absent: the rights of this process.
  std::optional<process_identity> identity;
  /// Neither the program nor anything that it starts ever gets more rights, as by sudo(8)
  /// (PR_SET_NO_NEW_PRIVS, prctl(2)).
  bool no_new_privileges = false;
};

/// What kept a process from being started.
enum class start_step : unsigned char { working_directory, command, process };

struct start_failure {
  start_step step = start_step::process;
  error_code code;

  /// One sentence for the user, for example `Cannot start "vite": no such file or directory.`
  std::string describe(const process_spec& spec) const;
};

/// The outcome of a start: a pid, or why there is none.
class [[nodiscard]] start_result {
public:
  start_result(pid_t pid) noexcept : pid_{pid} {}
  start_result(start_failure failure) noexcept : failure_{failure} {}

  explicit operator bool() const noexcept { return pid_ > 0; }
  pid_t pid() const noexcept { return pid_; }
  const start_failure& failure() const noexcept { return failure_; }

private:
  pid_t pid_ = 0;
  start_failure failure_;
};

/// Starts a process as the leader of a session of its own, with default signal dispositions, no
/// signal blocked, and no descriptor inherited but the terminal (posix_spawn(3); with an identity
/// or without new privileges fork(2), which that cannot do). Blocks until the program is loaded,
/// which may mean waiting for a disk. Children started this way have to be waited for: start them
/// through a child_reaper.
///
/// Errors: `working_directory` (missing, not a directory, not allowed), `command` (not found, not
/// executable, arguments too long), `process` (no more processes, memory or descriptors).
start_result start_process(const process_spec& spec);

/// Finds `command` as execvp(3) would: a path if it has a slash, else along the colon-separated
/// `path`. Errors: `no_such_file_or_directory`, `permission_denied`.
result<std::string> find_program(const std::string& command, const std::string& path);

}  // namespace previewd::os
