#pragma once

#include <caf/actor.hpp>

#include "previewd/actors/settings.hpp"
#include "previewd/messages/connection.hpp"

namespace previewd::actors {

struct ws_connection_state {
  static inline const char* name = "ws_connection";
  ws_connection_state() = default;
};

/// One WebSocket connection: lives as long as it, and closes it when it ends of anything itself or
/// its owner does.
ws_connection_actor::behavior_type
ws_connection(ws_connection_actor::stateful_pointer<ws_connection_state> self, connection_id id,
  caf::actor owner, actor_ports ports);

}  // namespace previewd::actors
