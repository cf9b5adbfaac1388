#pragma once

#include <caf/optional.hpp>
#include <chrono>

#include "previewd/actors/settings.hpp"
#include "previewd/messages/registry.hpp"

namespace previewd::actors {

struct preview_server_state {
  static inline const char* name = "preview_server";
  preview_server_state() = default;

  bool down = false;   // its sockets are gone
  bool moved = false;  // it has other sockets than it had at first
  std::chrono::steady_clock::time_point down_since;
  caf::optional<std::chrono::steady_clock::time_point> leader_gone;  // when its job's leader ended
  bool ended = false;                   // the registry has been told that it is gone for good
  exit_status own_exit;                 // of the server's own process, where that is known
  observer seen_by = observer::kernel;  // who saw it first that it does not answer
  caf::optional<observer> asking;       // on whose behalf the kernel is being asked
  uint32_t asked_again = 0;             // since its owners were found ending
  bool route_taken = false;             // an I/O thread took its route down when it was refused
  bool was_foreground = false;          // its job had the terminal while it listened
  int32_t foreground = 0;               // the process group that has the terminal
  int32_t shell = 0;
  server_state shown = server_state::ready;  // suspended, unreachable, or ready: nothing is wrong
  uint32_t timeouts = 0;                     // in a row
  bool tells_tunnels = false;                // has asked itself to tell how many there are
  server_health health;
  health_probe_actor probe;
};

/// One registered server: decides from what the kernel, the proxy, the probe and the terminal say
/// whether it is down, and whether that is a restart or the end. Owns its health probe and the
/// actors of its tunnels.
preview_server_actor::behavior_type
preview_server(preview_server_actor::stateful_pointer<preview_server_state> self, server_ref ref,
  server_description description, caf::timespan hold, probe_settings probe, registry_actor registry,
  actor_ports ports);

}  // namespace previewd::actors
