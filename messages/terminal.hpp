#pragma once

#include <caf/meta/type_name.hpp>
#include <chrono>
#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "previewd/messages/caf.hpp"
#include "previewd/messages/server.hpp"
#include "previewd/messages/type_ids.hpp"

namespace previewd {

/// The size of a terminal's window in character cells, each 1 to 1000.
struct terminal_size {
  uint16_t columns = 80;
  uint16_t rows = 24;

  friend bool operator==(const terminal_size& a, const terminal_size& b) {
    return a.columns == b.columns && a.rows == b.rows;
  }
  friend bool operator!=(const terminal_size& a, const terminal_size& b) { return !(a == b); }
  template <class Inspector>
  friend typename Inspector::result_type inspect(Inspector& f, terminal_size& x) {
    return f(caf::meta::type_name("terminal_size"), x.columns, x.rows);
  }
};

/// What somebody asks for who opens a terminal.
struct terminal_request {
  workspace_key key;
  terminal_size size;
  std::string cwd;                   // empty: the home directory of the service's user
  std::vector<std::string> command;  // argv; empty: the login shell, interactive
  std::vector<std::pair<std::string, std::string>> env;

  template <class Inspector>
  friend typename Inspector::result_type inspect(Inspector& f, terminal_request& x) {
    return f(caf::meta::type_name("terminal_request"), x.key, x.size, x.cwd, x.command, x.env);
  }
};

/// States only move forward. `closing`: somebody closed it, the kill ladder runs.
enum class terminal_state : uint8_t { running, closing, exited };
std::string_view to_string(terminal_state value) noexcept;

/// A terminal as the registry knows it. What changes with every byte (sequence, attached clients,
/// the size in force, the foreground job) is known by its I/O thread and added when it is shown
/// (net/terminal/terminal_directory.hpp).
struct terminal_info {
  std::string id;
  workspace_key key;
  int32_t pid = 0;  // of the shell or command
  std::string command;
  std::string cwd;
  terminal_size size;
  terminal_state state = terminal_state::running;
  exit_status exit;
  wall_time created_at;

  template <class Inspector>
  friend typename Inspector::result_type inspect(Inspector& f, terminal_info& x) {
    return f(caf::meta::type_name("terminal_info"), x.id, x.key, x.pid, x.command, x.cwd, x.size,
      x.state, x.exit, x.created_at);
  }
};

/// Everything an I/O thread needs to open a PTY and start the process in it.
struct terminal_spec {
  std::string id;
  workspace_key key;
  terminal_size size;
  std::string cwd;                // empty: the account's home
  std::vector<std::string> argv;  // never empty
  bool login_shell = false;       // argv[0] gets a leading '-'
  std::vector<std::string> env;   // NAME=value, complete
  uint64_t scrollback_bytes = 256 * 1024;
  /// The user of this machine whose rights, groups, HOME, USER and LOGNAME it gets. Empty: those of
  /// this process.
  std::string account;
  uint32_t least_uid = 0;  // an account with a lower one gets no terminal
  bool no_new_privileges = false;

  template <class Inspector>
  friend typename Inspector::result_type inspect(Inspector& f, terminal_spec& x) {
    return f(caf::meta::type_name("terminal_spec"), x.id, x.key, x.size, x.cwd, x.argv,
      x.login_shell, x.env, x.scrollback_bytes, x.account, x.least_uid, x.no_new_privileges);
  }
};

/// One terminal: its PTY, its shell and everything started in it.
using terminal_actor = caf::typed_actor<
  // The PTY is open and its process runs with this pid, which also names its session, and began in
  // that directory. From an I/O thread.
  accepts<opened_atom, int32_t, std::string>,
  // The PTY or the process could not be had. From an I/O thread.
  accepts<failed_atom, caf::error>,
  // The process that leads the terminal has ended. From the kernel watch.
  accepts<exited_atom, exit_status>,
  // All output written before the end has been read and handed to the clients. From an I/O thread.
  accepts<drained_atom>,
  // Another process group has the terminal (tcgetpgrp(3)). From an I/O thread.
  accepts<foreground_atom, int32_t>,
  // Nobody has used it for `terminal.detached`. From an I/O thread; may come again.
  accepts<detached_atom>,
  // Somebody wants it closed. From the registry.
  accepts<close_atom>,
  // Nothing that was started in it is alive any more. From the kernel watch.
  accepts<ended_atom>>;

}  // namespace previewd
