#pragma once

#include <caf/timespan.hpp>
#include <cstdint>
#include <string>

#include "previewd/messages/connection.hpp"
#include "previewd/messages/detector.hpp"
#include "previewd/messages/events.hpp"
#include "previewd/messages/preview_server.hpp"
#include "previewd/messages/registry.hpp"
#include "previewd/messages/route.hpp"
#include "previewd/messages/terminal.hpp"

namespace previewd {

/// What an actor may ask of the I/O threads. Every call may come from any thread, returns at once
/// and never blocks; what there is to answer arrives as a message. The object outlives all actors
/// that know it.
class data_plane {
public:
  virtual ~data_plane() = default;

  /// Puts the routes of a workspace on every I/O thread. A thread that applies them closes, in the
  /// same step, the tunnels and the upstream connections of every server that is absent or held in
  /// them. When the last thread has done so, `reply_to` gets `applied{key, revision}`: from then on
  /// no byte can reach those servers. A null `reply_to` wants no answer.
  virtual void publish(workspace_routes routes, registry_actor reply_to) = 0;

  /// Tells every connected client of the project. Called in the order of the events' sequence.
  virtual void deliver(const event& what) = 0;

  /// Connects to the endpoint once, within the timeout, and closes. Answers `{round, outcome,
  /// microseconds}`.
  virtual void probe(
    const endpoint& target, caf::timespan timeout, uint64_t round, health_probe_actor reply_to) = 0;

  /// Looks at a new listener: `GET /`, and the base path of `key` when that decides the prefix.
  /// Answers `identity{token, ...}`, after 500 ms of silence with `silent`, and once more when the
  /// answer comes, within `timeout`; before that, where the prefix takes its time to be found out,
  /// with what `GET /` has shown, not settled.
  virtual void identify(const endpoint& target, const workspace_key& key, caf::timespan timeout,
    uint64_t token, detector_actor reply_to) = 0;

  /// Opens a PTY, starts the process and relays its output. Answers `opened` or `failed` to
  /// `terminal`; from then on `foreground` there and `output` to `detector`.
  virtual void
  open_terminal(terminal_spec spec, terminal_actor terminal, detector_actor detector) = 0;

  /// Reads what the PTY still holds, then closes it and answers `drained` to the terminal. Clients
  /// may still read the scrollback. Idempotent.
  virtual void finish_terminal(const std::string& id) = 0;

  /// Closes what is left of a terminal, its scrollback included. Idempotent.
  virtual void forget_terminal(const std::string& id) = 0;

  /// From now on `actor` is told when the connection closes; at once if it already has.
  virtual void adopt_connection(connection_id id, ws_connection_actor actor) = 0;

  /// Closes a connection. Nothing happens if it is closed already.
  virtual void close_connection(connection_id id) = 0;
};

}  // namespace previewd
