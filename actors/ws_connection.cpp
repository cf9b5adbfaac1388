#include "previewd/actors/ws_connection.hpp"

#include <caf/actor_cast.hpp>
#include <caf/typed_event_based_actor.hpp>

#include "previewd/messages/data_plane.hpp"

namespace previewd::actors {

ws_connection_actor::behavior_type
ws_connection(ws_connection_actor::stateful_pointer<ws_connection_state> self, connection_id id,
  actor_ports ports) {
  hold_ports(self, ports);
  // Runs whatever ends the actor: told to, the connection closed, or a fault.
  self->attach_functor([id, io = ports.io](const caf::error&) { io->close_connection(id); });
  ports.io->adopt_connection(id, caf::actor_cast<ws_connection_actor>(self));
  return {
    [=](closed_atom) { self->quit(); },
  };
}

}  // namespace previewd::actors
