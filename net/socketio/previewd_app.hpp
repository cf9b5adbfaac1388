#pragma once

#include <caf/expected.hpp>
#include <caf/fwd.hpp>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>
#include <unordered_map>
#include <utility>
#include <vector>

#include "previewd/messages/connection.hpp"
#include "previewd/messages/events.hpp"
#include "previewd/messages/registry.hpp"
#include "previewd/net/api/json.hpp"
#include "previewd/net/auth/grant.hpp"
#include "previewd/net/socketio/server.hpp"

namespace previewd::net::auth {
class key_set;
}

namespace previewd::net::terminal {
class terminal_hub;
}

/// What previewd says over Socket.IO (docs/api.md): projects and their events, terminals.
namespace previewd::net::socketio {

struct previewd_app_settings {
  server_settings server;
  api::address_settings addresses;
  /// Most projects that one client may have joined.
  std::size_t projects = 64;
  /// Most terminals that one client may be attached to.
  std::size_t terminals = 64;
  /// Most calls of one client for one terminal that wait for whose terminal it is; more are
  /// refused.
  std::size_t waiting_calls = 256;
  /// Most events that wait for the snapshot of a client that joins; one that needs more is
  /// disconnected.
  std::size_t waiting_events = 4096;
  /// Output of a terminal is asked for while fewer bytes than this wait for the client; well below
  /// the client's buffer.
  std::size_t pull_below = 128 * 1024;
  /// How many exits are remembered for clients that attach to a terminal after it has ended.
  std::size_t remembered_exits = 256;
};

/// What the application speaks with. All of it outlives the application.
struct previewd_app_parts {
  caf::actor_system& system;
  registry_actor registry;
  event_source_actor events;
  terminal::terminal_hub& terminals;
  /// Finds out who a client is, by its handshake and the `token` that it sent along (empty: none),
  /// and calls `done` once, at once or later, on the thread; not when it stops before. An error is
  /// the client's `connect_error`. Null: nobody has to show who he is.
  using identified = std::function<void(caf::expected<std::shared_ptr<const auth::grant>> who)>;
  std::function<void(const handshake& request, const std::string& token, identified done)>
    identify{};
};

/// Sessions that are open, by what carries them.
struct client_counts {
  std::size_t polling = 0;
  std::size_t websocket = 0;
};

/// The number of an I/O thread's first Socket.IO client: the numbers of its tunnels lie below.
constexpr uint64_t first_client_number = uint64_t{1} << 62;

/// previewd's Socket.IO clients of one I/O thread, every call on that thread. Must stay until the
/// thread has stopped running, and go before the thread and the terminals do.
class previewd_app {
public:
  /// `threads` are all I/O threads, each at the place of its index, with an application each.
  previewd_app(io_thread& thread, std::vector<io_thread*> threads, previewd_app_parts parts,
    previewd_app_settings settings);
  ~previewd_app();

  previewd_app(const previewd_app&) = delete;
  previewd_app& operator=(const previewd_app&) = delete;

  /// Answers a request under `/socket.io/`.
  void handle(http::exchange_ptr exchange);

  /// Remembers clients together with the other threads' applications, so that they may come back
  /// to any of them. Called for each but one, with that one, before the first client.
  void share_recovery(previewd_app& with) { server_.share_recovery(with.server_); }

  /// Tells all clients that have joined the event's project; a terminal's exit also those that are
  /// attached to it, after all its output. Events come in the order of their sequence.
  void deliver(const std::shared_ptr<const api::encoded_event>& what);

  /// From now on `actor` is told when the client's connection closes; at once if it has.
  void adopt(uint64_t number, ws_connection_actor actor);
  /// Closes a client's connection. Nothing happens if there is none with this number.
  void close_connection(uint64_t number);

  /// Clients whose right comes from none of these keys any more go at once.
  void withdraw(const auth::key_set& keys);

  /// Sessions that are open.
  std::size_t client_count() const noexcept { return connections_.size(); }
  client_counts clients();

  /// Closes all clients and refuses new ones; `done` runs when the last connection has gone. Call
  /// once.
  void stop(std::function<void()> done);

private:
  struct client;
  struct attached;
  struct membership;
  class fields;

  using handler = void (previewd_app::*)(
    client& from, const nlohmann::json& argument, const reply& answer);

  void set_up();
  void set_up_recovery();
  void join_project(client& from, const nlohmann::json& argument, const reply& answer);
  void leave_project(client& from, const nlohmann::json& argument, const reply& answer);
  void create_terminal(client& from, const nlohmann::json& argument, const reply& answer);
  void attach_terminal(client& from, const nlohmann::json& argument, const reply& answer);
  void detach_terminal(client& from, const nlohmann::json& argument, const reply& answer);
  void terminal_input(client& from, const nlohmann::json& argument, const reply& answer);
  void resize_terminal(client& from, const nlohmann::json& argument, const reply& answer);
  void terminal_ack(client& from, const nlohmann::json& argument, const reply& answer);
  void close_terminal(client& from, const nlohmann::json& argument, const reply& answer);

  void joined(uint64_t socket, const std::string& project, std::optional<uint64_t> after,
    project_snapshot snapshot);
  void replay(
    uint64_t socket, const std::string& project, uint64_t after, const project_snapshot& snapshot);
  void finish_joining(
    client& who, const std::string& project, uint64_t sequence, const std::string& answer);
  void refuse_joining(uint64_t socket, const std::string& project, const caf::error& why);
  bool attach(client& who, const std::string& id, uint64_t after, std::optional<reply> answer);
  void terminal_exited(const api::encoded_event& what, const shared_packet& packet);
  void look_up_exit(uint64_t socket, const std::string& id);
  static void tell_exit(client& who, const std::string& id, const shared_packet& exit);
  shared_packet exit_of(const std::string& id) const;
  client* find(uint64_t socket) noexcept;
  static bool ends(client& who);
  void with_terminal(
    client& from, const std::string& id, const reply& answer, std::function<void(client&)> then);
  bool joins_waiting(
    client& from, const std::string& id, const reply& answer, std::function<void(client&)>& then);

  io_thread& thread_;
  previewd_app_parts parts_;
  previewd_app_settings settings_;
  std::unordered_map<uint64_t, ws_connection_actor>
    connections_;  // by the session's number; null: not adopted yet
  /// Who has been identified, by the session's number, until he has joined.
  std::unordered_map<uint64_t, std::shared_ptr<const auth::grant>> admitted_;
  std::unordered_map<uint64_t, std::unique_ptr<client>> clients_;  // by the socket's number
  std::deque<std::pair<std::string, shared_packet>> exits_;        // the newest ones, by terminal
  server server_;
  name_space& main_;
};

}  // namespace previewd::net::socketio
