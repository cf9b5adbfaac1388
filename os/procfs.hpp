#pragma once

#include <sys/types.h>

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "previewd/os/result.hpp"

/// What /proc says of processes (proc(5)). Nothing here blocks on a process; every call is a
/// handful of system calls. A process may end at any moment: then there is no answer.
namespace previewd::os {

/// A process and when it started, in clock ticks since boot: no later bearer of the pid is equal.
struct process_id {
  pid_t pid = 0;
  uint64_t start_time = 0;

  friend bool operator==(const process_id&, const process_id&) = default;
  friend auto operator<=>(const process_id&, const process_id&) = default;
};

/// Some of /proc/PID/stat.
struct process_stat {
  pid_t pid = 0;
  std::string name;  // of the program, at most 15 characters
  char state = '?';  // R running, S sleeping, T stopped, t traced, Z zombie, ...
  pid_t parent = 0;
  pid_t group = 0;
  pid_t session = 0;
  int terminal = 0;          // device number of the controlling terminal; 0: none
  pid_t terminal_group = 0;  // the foreground group of that terminal; -1: none
  uint64_t flags = 0;        // PF_* of the kernel's include/linux/sched.h
  int64_t threads = 0;
  uint64_t start_time = 0;  // clock ticks since boot

  process_id id() const noexcept { return {pid, start_time}; }

  /// Whether anything of it still runs. A zombie does not, unless only its first thread has ended.
  bool is_alive() const noexcept { return (state != 'Z' && state != 'X') || threads > 1; }

  /// Whether it is on its way to its end: it runs no more, but some of its descriptors may still be
  /// open.
  bool is_exiting() const noexcept { return (flags & 0x4U) != 0 && state != 'Z'; }

  /// Whether it is stopped by a signal, or by a tracer.
  bool is_stopped() const noexcept { return state == 'T' || state == 't'; }
};

/// Parses the one line of /proc/PID/stat. The name in it may hold spaces and parentheses.
std::optional<process_stat> parse_stat(std::string_view line);

/// Errors: `no_such_process`; a shortage (`is_shortage`), which tells nothing about the process.
result<process_stat> read_stat(pid_t pid);

/// Whether an error means that there is no such process, rather than that it cannot be told.
bool is_gone(const error_code& code) noexcept;

/// Whether this very process still runs; a zombie does not. What cannot be told counts as running.
bool is_alive(const process_id& process);

/// The arguments, separated by spaces, for display: at most `limit` bytes. The name in brackets
/// when there are none; empty when there is no such process.
std::string read_command(pid_t pid, std::size_t limit = 1024);

/// One variable of the environment that a process was started with.
struct environment_variable {
  std::optional<std::string> value;  // nothing: it is not set, or that is not known
  /// Whether there was an environment to read. Not so when the process is gone or not ours to read,
  /// and for a moment of every execve(2): who is asked then has to be asked again.
  bool known = false;
};

/// The value of `name` there.
environment_variable read_environment(pid_t pid, std::string_view name);

/// Appends the pids of the children of all its threads (/proc/PID/task/*/children). Children may be
/// missed when others end at the same time: look twice. After a shortage (`is_shortage`) some are
/// missing.
error_code append_children(pid_t pid, std::vector<pid_t>& children);

/// Appends the inodes of all sockets among its descriptors. Errors: `permission_denied`; a
/// shortage, after which some are missing.
error_code append_socket_inodes(pid_t pid, std::vector<uint64_t>& inodes);

/// Whether one of these sockets is among its descriptors. Looks no further than the first, and the
/// descriptors that were opened first come first. Errors: as above.
result<bool> holds_socket(pid_t pid, const std::vector<uint64_t>& inodes);

/// Appends the pids of all processes, in no order. After a shortage some are missing.
error_code append_processes(std::vector<pid_t>& pids);

}  // namespace previewd::os
