#pragma once

#include <memory>

#include "previewd/actors/settings.hpp"
#include "previewd/messages/detector.hpp"
#include "previewd/messages/registry.hpp"

namespace previewd::actors {

class terminal_watcher;

struct detector_state {
  static inline const char* name = "detector";
  detector_state() = default;
  std::shared_ptr<terminal_watcher> watcher;
};

/// Finds the dev servers of one terminal and registers them: what the kernel says listens, looked
/// at once; what is printed only ranks and hurries.
detector_actor::behavior_type detector(detector_actor::stateful_pointer<detector_state> self,
  std::string terminal_id, workspace_key key, detection_settings settings, registry_actor registry,
  actor_ports ports);

}  // namespace previewd::actors
