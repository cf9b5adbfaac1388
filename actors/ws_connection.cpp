#include "previewd/actors/ws_connection.hpp"

#include <caf/abstract_actor.hpp>
#include <caf/actor_cast.hpp>
#include <caf/typed_event_based_actor.hpp>

#include "previewd/messages/data_plane.hpp"

namespace previewd::actors {

ws_connection_actor::behavior_type
ws_connection(ws_connection_actor::stateful_pointer<ws_connection_state> self) {
  return {
    // Without a reason: what has closed needs no closing.
    [=](closed_atom) { self->quit(); },
  };
}

void begin_connection(
  const ws_connection_actor& actor, connection_id id, const actor_ports& ports) {
  auto* const begun = caf::actor_cast<caf::abstract_actor*>(actor);
  hold_ports(*begun, ws_connection_state::name, ports);
  // Runs whatever ends the actor: told to, the connection closed, or a fault.
  begun->attach_functor([id, io = ports.io](const caf::error& why) {
    if (why) io->close_connection(id);
  });
  ports.io->adopt_connection(id, actor);
}

}  // namespace previewd::actors
