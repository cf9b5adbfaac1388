#pragma once

#include <caf/actor_addr.hpp>
#include <caf/actor_cast.hpp>
#include <caf/fwd.hpp>
#include <caf/monitorable_actor.hpp>
#include <caf/send.hpp>
#include <cstddef>
#include <memory>
#include <unordered_set>

#include "previewd/actors/settings.hpp"
#include "previewd/messages/connection.hpp"
#include "previewd/messages/data_plane.hpp"

namespace previewd::actors {

/// The actor of one WebSocket connection (`ws_connection_actor`): lives as long as it, and whatever
/// ends it but the connection's own end closes the connection. All that it is ever told is that it
/// is over, so it has no mailbox and no turn of the scheduler: a message is handled at once, on its
/// sender's thread. Only `owned_connections` starts it.
class ws_connection final : public caf::monitorable_actor {
public:
  static constexpr const char* kind = "ws_connection";

  ws_connection(caf::actor_config& config, connection_id id, const actor_ports& ports);

  const char* name() const override { return kind; }
  void enqueue(caf::mailbox_element_ptr what, caf::execution_unit* host) override;
  bool cleanup(caf::error&& why, caf::execution_unit* host) override;
  void on_destroy() override;

private:
  const connection_id id_;
  data_plane* const io_;
  std::shared_ptr<actor_census> ports_held_;
};

/// Starts the actor of a connection. Any thread.
ws_connection_actor
start_connection(caf::actor_system& system, connection_id id, const actor_ports& ports);

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

  template <class Self> void add(Self* owner, connection_id id, const actor_ports& ports) {
    const ws_connection_actor added = start_connection(owner->system(), id, ports);
    owner->monitor(added);
    members_->insert(caf::actor_cast<caf::actor_addr>(added));
    ports.io->adopt_connection(id, added);
  }
  /// Says whether this was one of them.
  bool erase(const caf::actor_addr& ended) { return members_->erase(ended) != 0; }
  std::size_t size() const noexcept { return members_->size(); }

private:
  using members = std::unordered_set<caf::actor_addr>;
  std::shared_ptr<members> members_;
};

}  // namespace previewd::actors
