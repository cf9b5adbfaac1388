#pragma once

#include <memory>

#include "previewd/actors/settings.hpp"
#include "previewd/messages/events.hpp"
#include "previewd/messages/registry.hpp"

namespace previewd::actors {

class registrar;

struct registry_state {
  static inline const char* name = "registry";
  registry_state() = default;
  std::shared_ptr<registrar> logic;
};

/// The one serializer of every add and remove. Owns the terminals, the preview servers, the event
/// bus (which it replaces should it end by a fault) and the actors of event clients' connections;
/// gives generations and sequences, and removes in one order only: routes down on every I/O thread
/// and their tunnels closed, probe stopped, event published, the store told.
registry_actor::behavior_type registry(registry_actor::stateful_pointer<registry_state> self,
  registry_settings settings, actor_ports ports);

}  // namespace previewd::actors
