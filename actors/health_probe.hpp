#pragma once

#include "previewd/actors/settings.hpp"
#include "previewd/messages/preview_server.hpp"

namespace previewd::actors {

struct health_probe_state {
  static inline const char* name = "health_probe";
  health_probe_state() = default;
  endpoint target;
  uint64_t round = 1;  // the attempt under way; whatever names another one is stale
  bool under_way = false;
  uint32_t timeouts = 0;  // in a row
};

/// Asks again and again whether something accepts connections at the endpoint, and tells the owner
/// how each attempt went. Ends when the owner does. Attempts are spread by up to a tenth of the
/// interval, by `seed`, so that many do not fall together. Once so many have timed out in a row
/// that the server counts as unreachable they become rarer, down to one in four intervals.
health_probe_actor::behavior_type
health_probe(health_probe_actor::stateful_pointer<health_probe_state> self, endpoint target,
  probe_settings settings, uint64_t seed, preview_server_actor owner, actor_ports ports);

}  // namespace previewd::actors
