#pragma once

#include <caf/abstract_actor.hpp>
#include <caf/actor_addr.hpp>
#include <caf/actor_cast.hpp>
#include <caf/send.hpp>
#include <cstddef>
#include <memory>
#include <unordered_set>

#include "previewd/actors/settings.hpp"
#include "previewd/messages/connection.hpp"

namespace previewd::actors {

struct ws_connection_state {
  static inline const char* name = "ws_connection";
  ws_connection_state() = default;
};

/// One WebSocket connection: lives as long as it. Only `owned_connections` starts it.
ws_connection_actor::behavior_type
ws_connection(ws_connection_actor::stateful_pointer<ws_connection_state> self);

/// Makes an actor the one of a connection: whatever ends it but the connection's own end closes the
/// connection. Any thread.
void begin_connection(const ws_connection_actor& actor, connection_id id, const actor_ports& ports);

/// The connections of one actor, which end with it. It watches them, and not they it: an actor
/// keeps those that watch it in a list, and every connection that ends would look for itself in
/// that of its owner. For the owner's own handlers.
class owned_connections {
public:
  /// `owner` hears of the end of each (caf::down_msg).
  template <class Self>
  explicit owned_connections(Self* owner) : members_{std::make_shared<members>()} {
    // Runs whatever ends the owner.
    owner->attach_functor([all = members_](const caf::error&) {
      for (const caf::actor_addr& one : *all)
        caf::anon_send_exit(one, caf::exit_reason::user_shutdown);
    });
  }

  /// Starts a connection's actor. It has nothing to do until its connection or it has to end, and
  /// is not scheduled before that.
  template <class Self> void add(Self* owner, connection_id id, const actor_ports& ports) {
    const ws_connection_actor added =
      owner->template spawn<caf::monitored + caf::lazy_init>(ws_connection);
    members_->insert(caf::actor_cast<caf::actor_addr>(added));
    begin_connection(added, id, ports);
  }
  /// Says whether this was one of them.
  bool erase(const caf::actor_addr& ended) { return members_->erase(ended) != 0; }
  std::size_t size() const noexcept { return members_->size(); }

private:
  using members = std::unordered_set<caf::actor_addr>;
  std::shared_ptr<members> members_;
};

}  // namespace previewd::actors
