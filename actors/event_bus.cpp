#include "previewd/actors/event_bus.hpp"

#include <algorithm>
#include <caf/actor_cast.hpp>
#include <caf/typed_event_based_actor.hpp>

#include "previewd/messages/data_plane.hpp"
#include "previewd/messages/error.hpp"
#include "previewd/support/log.hpp"

namespace previewd::actors {

namespace {

constexpr uint32_t most_attempts = 2;

}  // namespace

event_bus_actor::behavior_type event_bus(event_bus_actor::stateful_pointer<event_bus_state> self,
  std::shared_ptr<event_journal> journal, std::size_t ring_size, registry_actor owner,
  actor_ports ports) {
  hold_ports(self, ports);
  self->monitor(owner);
  // The owner says what it does about it.
  self->set_exception_handler(
    [](std::exception_ptr&) -> caf::error { return caf::sec::runtime_error; });
  const auto owner_address = caf::actor_cast<caf::actor_addr>(owner);
  self->set_down_handler([=](caf::down_msg& down) {
    if (down.source == owner_address) return self->quit();
    self->state.subscribers.erase(down.source);
  });
  return {
    [=](event_atom, const event& what) {
      event_journal& j = *journal;
      if (what.sequence > j.newest) {
        if (std::exchange(j.attempted, what.sequence) != what.sequence) {
          j.attempts = 0;
          j.ring.push_back(what);
          if (j.ring.size() > ring_size) j.ring.pop_front();
        }
        if (++j.attempts > most_attempts) {
          log::error("event_not_sent",
            "An event ended the event bus again and again; it is not sent, but can be replayed.",
            {{"sequence", what.sequence}, {"kind", to_string(what.kind)}});
        } else {
          ports.io->deliver(what);
          for (const auto& [address, subscriber] : self->state.subscribers)
            self->send(subscriber, event_atom_v, what);
        }
        j.newest = what.sequence;
      }
      self->send(owner, delivered_atom_v, uint64_t{what.sequence});
    },
    [=](subscribe_atom, const event_subscriber_actor& subscriber) {
      if (self->state.subscribers.emplace(caf::actor_cast<caf::actor_addr>(subscriber), subscriber)
            .second)
        self->monitor(subscriber);
    },
    [=](replay_atom, uint64_t after) -> caf::result<std::vector<event>> {
      const std::deque<event>& ring = journal->ring;
      const uint64_t oldest_known = ring.empty() ? journal->first : ring.front().sequence - 1;
      if (after < oldest_known)
        return make_error(
          errc::not_found, "The events after this sequence are no longer held; take a snapshot.");
      const auto begin =
        std::find_if(ring.begin(), ring.end(), [&](const event& e) { return e.sequence > after; });
      return std::vector<event>{begin, ring.end()};
    },
  };
}

}  // namespace previewd::actors
