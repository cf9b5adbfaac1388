#pragma once

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

/// One WebSocket connection: lives as long as it, and closes it when it ends of anything itself.
ws_connection_actor::behavior_type
ws_connection(ws_connection_actor::stateful_pointer<ws_connection_state> self, connection_id id,
  actor_ports ports);

/// The connections of one actor, which end with it. It watches them, and not they it: an actor
/// keeps those that watch it in a list, and every connection that ends would look for itself in
/// that of its owner. For the owner's own handlers.
class owned_connections {
public:
  /// `owner` monitors those it adds.
  template <class Self>
  explicit owned_connections(Self* owner) : members_{std::make_shared<members>()} {
    // Runs whatever ends the owner.
    owner->attach_functor([all = members_](const caf::error&) {
      for (const caf::actor_addr& one : *all)
        caf::anon_send_exit(one, caf::exit_reason::user_shutdown);
    });
  }

  void add(const ws_connection_actor& connection) {
    members_->insert(caf::actor_cast<caf::actor_addr>(connection));
  }
  /// Says whether this was one of them.
  bool erase(const caf::actor_addr& ended) { return members_->erase(ended) != 0; }
  std::size_t size() const noexcept { return members_->size(); }

private:
  using members = std::unordered_set<caf::actor_addr>;
  std::shared_ptr<members> members_;
};

}  // namespace previewd::actors
