#pragma once

#include <cstdint>
#include <deque>
#include <map>

#include "previewd/actors/settings.hpp"
#include "previewd/messages/events.hpp"

namespace previewd::actors {

struct event_bus_state {
  static inline const char* name = "event_bus";
  event_bus_state() = default;
  std::deque<event> ring;  // the newest events, the oldest first
  std::map<caf::actor_addr, event_subscriber_actor> subscribers;
};

/// Hands events on to the I/O threads and to subscribing actors, and keeps the last `ring_size` of
/// them. Owns the actors of the event clients' connections.
event_bus_actor::behavior_type event_bus(event_bus_actor::stateful_pointer<event_bus_state> self,
  std::size_t ring_size, uint64_t first_sequence, actor_ports ports);

}  // namespace previewd::actors
