#pragma once

#include "previewd/actors/settings.hpp"
#include "previewd/messages/detector.hpp"
#include "previewd/messages/registry.hpp"

namespace previewd::actors {

struct terminal_actor_state {
  static inline const char* name = "terminal";
  terminal_actor_state() = default;
  // What it was started with; here once, since each handler would have a copy of its own.
  std::string id;
  workspace_key key;
  on_terminal_exit on_exit = on_terminal_exit::kill;
  kill_ladder ladder;
  registry_actor registry;
  actor_ports ports;
  // What it is at.
  int32_t pid = 0;  // of the shell, which is also its session and process group; 0: not started yet
  bool close_wanted = false;
  bool ending = false;   // the kill ladder runs
  bool drained = false;  // all output is read, or there was none
  bool ended = false;    // none of its processes is alive
  bool exited = false;   // the process that leads it has ended
  exit_status exit;
  detector_actor detector;
};

/// What a terminal is started with.
struct terminal_order {
  std::string id;
  terminal_request request;
  std::string label;  // of its workspace's origin
};

/// Why there can be no such terminal; nothing: there can.
caf::error check(const terminal_request& request, const terminal_settings& settings);

/// A command as it is shown: its arguments with blanks between them, 1 KiB at most.
std::string command_line(const std::vector<std::string>& command);

/// The complete specification of the PTY and the process for an order.
terminal_spec spec_of(const terminal_order& order, const terminal_settings& settings);

/// One terminal, from its opening until the last process that was started in it has ended. Owns its
/// detector.
terminal_actor::behavior_type terminal(terminal_actor::stateful_pointer<terminal_actor_state> self,
  terminal_order order, terminal_settings settings, detection_settings detection,
  registry_actor registry, actor_ports ports);

}  // namespace previewd::actors
