#pragma once

#include <caf/meta/type_name.hpp>
#include <caf/optional.hpp>
#include <cstdint>
#include <string>
#include <vector>

#include "previewd/messages/caf.hpp"
#include "previewd/messages/server.hpp"
#include "previewd/messages/terminal.hpp"
#include "previewd/messages/type_ids.hpp"

namespace previewd {

enum class event_kind : uint8_t {
  server_started,
  server_stopped,
  server_unreachable,
  server_recovered,
  server_primary,
  server_access,
  terminal_exit,
};
constexpr std::size_t event_kinds = 7;

/// The name on the wire, for example `previewServerStarted`.
std::string_view to_string(event_kind value) noexcept;

/// Why a server is unreachable, or was before it recovered.
enum class unreachable_reason : uint8_t { restarting, suspended, timeout };
std::string_view to_string(unreachable_reason value) noexcept;

/// One change that clients are told of. Which of the optional parts is there follows from the kind.
struct event {
  uint64_t sequence =
    0;  // one counter for all events of this instance, growing across restarts too
  wall_time at;
  event_kind kind = event_kind::server_started;
  workspace_key key;
  caf::optional<server_info> server;      // all but server_stopped and terminal_exit
  caf::optional<stop_record> stop;        // server_stopped
  caf::optional<terminal_info> terminal;  // terminal_exit
  unreachable_reason reason = unreachable_reason::timeout;
  std::string hint;  // a sentence for the user, may be empty

  template <class Inspector>
  friend typename Inspector::result_type inspect(Inspector& f, event& x) {
    return f(caf::meta::type_name("event"), x.sequence, x.at, x.kind, x.key, x.server, x.stop,
      x.terminal, x.reason, x.hint);
  }
};

/// Whoever wants to be told of every event: an actor of the embedding application, for example.
using event_subscriber_actor = caf::typed_actor<accepts<event_atom, event>>;

/// Where events can be had. The registry is one, and stays it whatever becomes of its event bus.
using event_source_actor = caf::typed_actor<
  // Send every later event to this actor, until it ends. Should the event bus end by a fault, the
  // event it was at may come twice. From anybody.
  accepts<subscribe_atom, event_subscriber_actor>,
  // The events after a sequence, oldest first; an error when some of them are no longer held. From
  // anybody.
  answers<std::vector<event>, replay_atom, uint64_t>,
  // A client's WebSocket was opened. From the I/O thread that has it.
  accepts<client_atom, connection_id>>;

/// Hands every event on, in the order of their sequence, and keeps the last `limits.event_ring`.
/// Answers each with `delivered` to the registry.
using event_bus_actor = caf::typed_actor<
  // Something changed. From the registry.
  accepts<event_atom, event>,
  // As above. From the registry.
  accepts<subscribe_atom, event_subscriber_actor>,
  answers<std::vector<event>, replay_atom, uint64_t>>;

}  // namespace previewd
