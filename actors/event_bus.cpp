#include "previewd/actors/event_bus.hpp"

#include <algorithm>
#include <caf/actor_cast.hpp>
#include <caf/typed_event_based_actor.hpp>

#include "previewd/actors/ws_connection.hpp"
#include "previewd/messages/data_plane.hpp"
#include "previewd/messages/error.hpp"

namespace previewd::actors {

event_bus_actor::behavior_type event_bus(event_bus_actor::stateful_pointer<event_bus_state> self,
  std::size_t ring_size, uint64_t first_sequence, actor_ports ports) {
  hold_ports(self, ports);
  self->set_down_handler(
    [self](caf::down_msg& down) { self->state.subscribers.erase(down.source); });
  return {
    [=](event_atom, event& what) {
      event_bus_state& st = self->state;
      ports.io->deliver(what);
      for (auto& [address, subscriber] : st.subscribers) self->send(subscriber, event_atom_v, what);
      st.ring.push_back(std::move(what));
      if (st.ring.size() > ring_size) st.ring.pop_front();
    },
    [=](subscribe_atom, const event_subscriber_actor& subscriber) {
      if (self->state.subscribers.emplace(caf::actor_cast<caf::actor_addr>(subscriber), subscriber)
            .second)
        self->monitor(subscriber);
    },
    [=](replay_atom, uint64_t after) -> caf::result<std::vector<event>> {
      const std::deque<event>& ring = self->state.ring;
      const uint64_t oldest_known = ring.empty() ? first_sequence : ring.front().sequence - 1;
      if (after < oldest_known)
        return make_error(
          errc::not_found, "The events after this sequence are no longer held; take a snapshot.");
      const auto begin =
        std::find_if(ring.begin(), ring.end(), [&](const event& e) { return e.sequence > after; });
      return std::vector<event>{begin, ring.end()};
    },
    [=](client_atom, connection_id id) {
      self->spawn(ws_connection, id, caf::actor_cast<caf::actor>(self), ports);
    },
  };
}

}  // namespace previewd::actors
