#pragma once

#include <caf/meta/type_name.hpp>
#include <cstdint>
#include <string>
#include <vector>

#include "previewd/messages/caf.hpp"
#include "previewd/messages/server.hpp"
#include "previewd/messages/type_ids.hpp"
#include "previewd/messages/workspace.hpp"

namespace previewd {

/// A registered server as it is kept for the time after the process. `description` may be older
/// than what the process knows: whether it has answered is looked at anew.
struct stored_server {
  uint64_t generation = 0;
  uint64_t previous_generation = 0;  // 0: none
  server_description description;
  wall_time started_at;  // kept in milliseconds
  bool primary = false;

  friend bool operator==(const stored_server&, const stored_server&) = default;
  template <class Inspector>
  friend typename Inspector::result_type inspect(Inspector& f, stored_server& x) {
    return f(caf::meta::type_name("stored_server"), x.generation, x.previous_generation,
      x.description, x.started_at, x.primary);
  }
};

/// Who sees what listens on a port of a workspace, as somebody has said.
struct port_access {
  uint16_t port = 0;
  preview_access access = preview_access::members;

  friend bool operator==(const port_access&, const port_access&) = default;
  template <class Inspector>
  friend typename Inspector::result_type inspect(Inspector& f, port_access& x) {
    return f(caf::meta::type_name("port_access"), x.port, x.access);
  }
};

/// What somebody has said of a workspace, and holds for servers that come later.
struct stored_workspace {
  workspace_key key;
  uint16_t preferred_port = 0;           // of the primary that was chosen by hand; 0: none was
  std::vector<port_access> said_access;  // at most 64; the oldest first

  /// Whether nothing has been said: then there is nothing to keep.
  bool is_plain() const noexcept { return preferred_port == 0 && said_access.empty(); }

  friend bool operator==(const stored_workspace&, const stored_workspace&) = default;
  template <class Inspector>
  friend typename Inspector::result_type inspect(Inspector& f, stored_workspace& x) {
    return f(caf::meta::type_name("stored_workspace"), x.key, x.preferred_port, x.said_access);
  }
};

/// Changes that belong together: all of them are kept, or none.
struct store_batch {
  std::vector<stored_server> servers;        // new ones, and those that have changed
  std::vector<uint64_t> ended;               // generations that are not registered any more
  std::vector<stored_workspace> workspaces;  // those that have changed; a plain one is forgotten
  /// No generation and no sequence above it is given before the next one is kept. 0: as it was.
  uint64_t highest = 0;

  bool empty() const noexcept {
    return servers.empty() && ended.empty() && workspaces.empty() && highest == 0;
  }

  template <class Inspector>
  friend typename Inspector::result_type inspect(Inspector& f, store_batch& x) {
    return f(caf::meta::type_name("store_batch"), x.servers, x.ended, x.workspaces, x.highest);
  }
};

/// Keeps what the registry will need after the process has ended, however it ends. May block, and
/// nobody waits for it.
using store_actor = caf::typed_actor<
  // Keep this. Answers `saved` to the sender once that has been tried: what cannot be written is
  // remembered and tried again. From the registry, which sends no other one before the answer, so
  // that what waits here is bounded by what is registered.
  accepts<save_atom, store_batch>,
  // `ok`, or why the newest attempt to write has failed. From the readiness check.
  answers<std::string, status_atom>,
  // Try again to write what could not be written. From itself.
  accepts<tick_atom>,
  // Try a last time, let go of what is kept so that others can have it, and end. Answers when that
  // is done. From the service.
  accepts<close_atom>>;

/// What was found at the start: that which an earlier process has kept, judged.
struct restored_state {
  std::vector<stored_server> alive;  // proved to be there still; by generation
  std::vector<stored_server> gone;   // the others; by generation
  std::vector<stored_workspace> workspaces;

  bool empty() const noexcept { return alive.empty() && gone.empty() && workspaces.empty(); }
};

}  // namespace previewd
