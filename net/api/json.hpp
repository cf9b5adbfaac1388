#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "previewd/messages/connection.hpp"
#include "previewd/messages/events.hpp"
#include "previewd/messages/registry.hpp"
#include "previewd/messages/server.hpp"
#include "previewd/messages/terminal.hpp"
#include "previewd/net/terminal/terminal_directory.hpp"

/// The JSON of the wire (docs/api.md), made of the values of messages/. All functions are pure and
/// may be called on any thread. Text that is no UTF-8 (names of commands, paths) gets U+FFFD where
/// it is not.
namespace previewd::net::api {

/// What makes an address of a preview public.
struct address_settings {
  std::string scheme = "http";               // by which browsers reach the service
  std::string domain = "preview.localhost";  // `preview.domain`
  uint16_t port =
    4000;  // the port that browsers see; left out of a URL where it is the scheme's own
  /// Names of the service that browsers reach by these alone (`public.address`); by other names
  /// they reach it as their requests say.
  std::vector<std::string> hosts = {};
};

/// `http://{host}:{port}` without a final slash.
std::string origin_at(std::string_view host, const address_settings& addresses);

/// `http://{label}.{domain}:{port}` without a final slash, the origin of a workspace's own address.
std::string origin_of(std::string_view label, const address_settings& addresses);

/// The origin of a server, without a final slash; empty: it has none yet.
std::string server_origin(const server_info& server, const address_settings& addresses);

/// `/preview/{project}/{user}`, with `:{port}` after it for a server that is not the primary.
std::string path_of(const server_info& server);

/// What is added to a terminal when it is shown; the null function adds nothing.
/// `terminal_hub::facts` of the calling thread.
using facts_lookup = std::function<std::optional<terminal::terminal_facts>(const std::string& id)>;

/// A server object.
std::string server_json(const server_info& server, const address_settings& addresses);

/// `[{server object}, ...]`.
std::string
servers_json(const std::vector<server_info>& servers, const address_settings& addresses);

/// A terminal object.
std::string terminal_json(const terminal_info& terminal, const facts_lookup& facts);

/// `[{terminal object}, ...]`.
std::string terminals_json(const std::vector<terminal_info>& terminals, const facts_lookup& facts);

/// A stop record: the payload of `previewServerStopped`, `lastStop`, and the record of a 410.
std::string stop_json(const stop_record& record);

/// `{"servers":[...],"terminals":[...],"sequence":N}`: what joins a project, and the payload of a
/// reset.
std::string snapshot_json(
  const project_snapshot& snapshot, const address_settings& addresses, const facts_lookup& facts);

/// The answer of `GET /api/preview-status/{project}/{user}` and of `/.previewd/status`: whether the
/// primary server is available, or with a port the one there.
std::string preview_status_json(
  const workspace_status& status, const address_settings& addresses, uint16_t port = 0);

/// One proxied WebSocket, for `GET /debug/connections`.
struct connection_info {
  connection_id id;
  server_ref server;
  std::string client_address;
  std::string path;      // as the client asked for it
  std::string protocol;  // the subprotocol agreed on; empty: none
  endpoint upstream;     // the other half
  wall_time opened_at;
  uint64_t bytes_up = 0;    // from the client
  uint64_t bytes_down = 0;  // to the client
  std::chrono::milliseconds idle{0};
};

/// The answer of `GET /debug/connections`.
std::string connections_json(const std::vector<connection_info>& connections);

/// An event as clients get it: made once, shared by all of them.
struct encoded_event {
  std::string
    name;  // of the Socket.IO event and of the SSE event, for example `previewServerStarted`
  std::string project;
  std::string user;
  std::string terminal_id;  // of a `terminalExit`; empty in all others
  exit_status exit;         // of a `terminalExit`
  bool closed = false;      // a `terminalExit` because somebody closed the terminal
  uint64_t sequence = 0;
  std::string json;                                // the payload, one object
  std::shared_ptr<const std::string> server_sent;  // the same as `server_sent_text`
};

/// An event of a Server-Sent Events stream with its id (WHATWG HTML, section 9.2.6). `json` has no
/// line break.
std::string server_sent_text(std::string_view name, uint64_t id, std::string_view json);

/// The event with its payload. `terminalExit` carries `project, user, sequence, at` beside what is
/// known.
std::shared_ptr<const encoded_event> encode(const event& what, const address_settings& addresses);

/// The error object of an acknowledgement: `{"code":"terminal_not_found","detail":"..."}`.
std::string error_json(const caf::error& error);

/// A JSON string literal with its quotes, for splicing text into an object.
std::string quoted(std::string_view text);

}  // namespace previewd::net::api
