#pragma once

#include <caf/actor_addr.hpp>
#include <cstddef>
#include <deque>
#include <map>
#include <memory>

#include "previewd/actors/settings.hpp"
#include "previewd/messages/events.hpp"
#include "previewd/messages/registry.hpp"

namespace previewd::actors {

/// What an event bus leaves to its successor, should it end by a fault. Belongs to one of them at a
/// time.
struct event_journal {
  explicit event_journal(uint64_t first_sequence) : first{first_sequence}, newest{first_sequence} {}

  uint64_t first;          // no event has this sequence or a lower one
  uint64_t newest;         // of the last event that was handed on
  std::deque<event> ring;  // the newest events, the oldest first
  uint64_t attempted = 0;  // the event that is being handed on
  uint32_t attempts = 0;   // how often that was begun
};

struct event_bus_state {
  static inline const char* name = "event_bus";
  event_bus_state() = default;
  std::map<caf::actor_addr, event_subscriber_actor> subscribers;
};

/// Hands events on to the I/O threads and to subscribing actors, keeps the last `ring_size` of
/// them, and tells `owner` of each that is done. An event that has been handed on is not handed on
/// again; one over which two buses ended is only kept. Ends when the owner does.
event_bus_actor::behavior_type event_bus(event_bus_actor::stateful_pointer<event_bus_state> self,
  std::shared_ptr<event_journal> journal, std::size_t ring_size, registry_actor owner,
  actor_ports ports);

}  // namespace previewd::actors
