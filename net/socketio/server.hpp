#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

#include "previewd/net/socketio/engine.hpp"
#include "previewd/net/socketio/packet.hpp"
#include "previewd/net/socketio/recovery.hpp"

/// A Socket.IO server (protocol 5, for clients of v3 and v4): namespaces, events, acknowledgements,
/// binary, rooms, middleware.
namespace previewd::net::socketio {

struct server_settings {
  engine_settings engine;
  packet_limits packets;
  /// How long a client may stay without joining a namespace; 10 ms to 10 min.
  std::chrono::milliseconds connect_timeout{45'000};
  /// Most namespaces that one client may have joined or asked for.
  std::size_t namespaces = 32;
  /// Most acknowledgements that one socket may owe; when there are more the oldest is forgotten.
  std::size_t replies = 1024;
  /// What clients that come back get. It says how long each namespace remembers them.
  recovery_settings recovery;
};

class server;
class name_space;

/// One client in one namespace. Belongs to its server; good until the namespace's `on_disconnect`
/// has returned. Its I/O thread only.
class socket {
public:
  socket(server& owner, name_space& space, engine_session& session, uint64_t number, std::string id,
    std::string private_id, nlohmann::json auth);
  ~socket();
  socket(const socket&) = delete;
  socket& operator=(const socket&) = delete;

  /// What the client knows it by. Not the session's id, which is a secret of that client.
  const std::string& id() const noexcept { return id_; }
  /// Never used again by this server.
  uint64_t number() const noexcept { return number_; }
  name_space& space() noexcept { return space_; }
  engine_session& session() noexcept { return session_; }
  /// What the client sent along when it connected: an object.
  const nlohmann::json& auth() const noexcept { return *auth_; }
  bool is_connected() const noexcept { return connected_; }
  /// Whether the client has come back in time: it has its id and its rooms again, and got what it
  /// missed before `on_connect`.
  bool is_recovered() const noexcept { return recovered_; }
  /// What `name_space::on_leave` made of it before it came back; null when it is new.
  const std::shared_ptr<const void>& note() const noexcept { return note_; }

  /// Sends an event. `arguments` is an array; binary values in it travel as attachments.
  void emit(std::string_view event, const nlohmann::json& arguments);
  /// The same, and calls `reply` with the arguments (an array) of the client's acknowledgement.
  /// Never if the client goes first.
  void emit(std::string_view event, const nlohmann::json& arguments,
    std::function<void(nlohmann::json arguments)> reply);
  /// Sends what `name_space::encode` made.
  void send(const shared_packet& packet);
  /// Bytes that the client has not taken yet.
  std::size_t queued_bytes() const noexcept { return session_.queued_bytes(); }

  /// Sends what `name_space::keep` keeps for a room that it is in.
  void deliver(const shared_packet& packet);

  void join(const std::string& room);
  void leave(const std::string& room);
  bool is_in(const std::string& room) const { return rooms_.count(room) != 0; }

  /// Whatever the application keeps of it; null at first.
  void* context() const noexcept { return context_; }
  void set_context(void* context) noexcept { context_ = context; }

  /// Leaves the namespace and tells the client. The session lives on.
  void disconnect();
  /// Ends the session with all its sockets.
  void close();

private:
  friend class server;
  friend class name_space;

  server& server_;
  name_space& space_;
  engine_session& session_;
  const uint64_t number_;
  const std::string id_;
  const std::string private_id_;    // empty: it cannot be recovered
  std::vector<uint64_t> replayed_;  // numbers of events that it got as missed ones, ascending
  std::unique_ptr<nlohmann::json> auth_;
  bool connected_ = true;
  bool recovered_ = false;
  std::shared_ptr<const void> note_;
  std::map<std::string, std::size_t> rooms_;  // and its place in each
  void* context_ = nullptr;
  uint64_t next_reply_ = 0;
  std::map<uint64_t, std::function<void(nlohmann::json)>> replies_;
};

/// Answers one event, at once or later, on the server's thread; a client that has gone meanwhile
/// does no harm. A value.
class reply {
public:
  reply(server& owner, uint64_t socket, std::optional<uint64_t> id)
      : server_{&owner}, socket_{socket}, id_{id} {}

  /// Whether the client waits for an answer.
  bool is_wanted() const noexcept { return id_.has_value(); }
  /// Answers with these arguments, an array. Nothing when no answer is wanted.
  void operator()(const nlohmann::json& arguments) const;
  /// Answers with arguments that are JSON already, separated by commas.
  void encoded(std::string_view arguments) const;

private:
  server* server_;
  uint64_t socket_;
  std::optional<uint64_t> id_;
};

/// What somebody sends who asks to join a namespace.
struct connect_request {
  const handshake& request;
  const nlohmann::json& auth;
  uint64_t session = 0;  // whose it is (`engine_session::number`)
};

/// Why a client may not join: what its `connect_error` gets.
struct connect_refusal {
  std::string message;
  std::string data;  // JSON, may be empty
};

/// Decides whether a client may join a namespace: calls `answer` once, at once or later, on the
/// server's thread.
using middleware = std::function<void(
  const connect_request& request, std::function<void(std::optional<connect_refusal>)> answer)>;

/// A namespace of one server. Set it up before the first client; its I/O thread only from then on.
class name_space {
public:
  using event_handler =
    std::function<void(socket& from, const nlohmann::json& arguments, const reply& answer)>;

  name_space(server& owner, std::string name);
  ~name_space();
  name_space(const name_space&) = delete;
  name_space& operator=(const name_space&) = delete;

  const std::string& name() const noexcept { return name_; }

  /// Adds a check that every client must pass, in the order in which they were added.
  void use(middleware check) { checks_.push_back(std::move(check)); }
  /// What an event does. `arguments` is the array without the event's name.
  void on(std::string event, event_handler handler) {
    handlers_[std::move(event)] = std::move(handler);
  }
  /// What an event without a handler does; by default nothing.
  void on_other(
    std::function<void(socket&, std::string_view event, const nlohmann::json&, const reply&)>
      handler) {
    other_ = std::move(handler);
  }
  void on_connect(std::function<void(socket&)> handler) { connect_ = std::move(handler); }
  void on_disconnect(std::function<void(socket&)> handler) { disconnect_ = std::move(handler); }
  /// A client that may come back is going: what is kept for it, besides its rooms. May be used by
  /// another thread then. Before `on_disconnect`.
  void on_leave(std::function<std::shared_ptr<const void>(socket&)> handler) {
    leave_ = std::move(handler);
  }
  /// Decides whether a client gets back what it has left, after the checks of `use`; if not it
  /// begins anew. May take out of `missed` what it is not to hear. By default everybody does.
  using return_check = std::function<bool(
    const connect_request& request, const left_socket& was, std::vector<kept_event>& missed)>;
  void on_return(return_check check) { return_ = std::move(check); }
  /// Some of what was queued for the socket is out.
  void on_sent(std::function<void(socket&)> handler) { sent_ = std::move(handler); }

  /// Encodes an event of this namespace for any number of sockets, on any thread. `arguments` is
  /// JSON, separated by commas.
  shared_packet encode(std::string_view event, std::string_view arguments) const;
  /// The same with a number of the caller's own, not with `encode` in one namespace: greater than
  /// those before, and the same on the servers of all threads. 0: nobody catches up with it.
  shared_packet
  encode_as(uint64_t number, std::string_view event, std::string_view arguments) const;

  /// Calls `visit(socket)` for everybody in a room of this server, in no order.
  void for_each_in(const std::string& room, const std::function<void(socket&)>& visit);
  /// Sends to everybody in the room, on this server's thread. Other threads have their own servers.
  void send_to(const std::string& room, const shared_packet& packet);

  /// Keeps an event for those who were in the room and come back: for whoever calls
  /// `socket::deliver` for its members himself. Nothing where nobody is recovered.
  void keep(const std::string& room, const shared_packet& packet);

private:
  friend class server;
  friend class socket;

  server& server_;
  const std::string name_;
  std::vector<middleware> checks_;
  std::unordered_map<std::string, event_handler> handlers_;
  std::function<void(socket&, std::string_view, const nlohmann::json&, const reply&)> other_;
  std::function<void(socket&)> connect_;
  std::function<void(socket&)> disconnect_;
  std::function<void(socket&)> sent_;
  std::function<std::shared_ptr<const void>(socket&)> leave_;
  return_check return_;
  std::unordered_map<std::string, std::vector<socket*>> rooms_;
  std::shared_ptr<recovery_store> store_;  // null: nobody is recovered
};

/// The Socket.IO server of one I/O thread. Must stay until the thread has stopped running, and go
/// before the thread does.
class server final : private engine_handler {
public:
  /// `threads` are all I/O threads, each at the place of its index, with a server each: a client's
  /// session lives on one of them and its requests are moved there.
  server(io_thread& thread, std::vector<io_thread*> threads, server_settings settings);
  ~server();

  server(const server&) = delete;
  server& operator=(const server&) = delete;

  /// The namespace; made when it is asked for first. Names begin with a slash. Clients may join
  /// those that were made.
  name_space& of(std::string_view name);

  /// Remembers clients together with the other threads' servers, so that they may come back to any
  /// of them. Called for each but one, with that one, before the first client.
  void share_recovery(server& with);

  /// Answers a request under the engine's path.
  void handle(http::exchange_ptr exchange) { engine_.handle(std::move(exchange)); }

  /// Decides whether a session may begin, before any namespace.
  void on_admit(std::function<void(const handshake&, std::function<void(bool)>)> check) {
    admit_ = std::move(check);
  }
  /// A session has begun, on whatever transport. It may have no socket yet.
  void on_session_open(std::function<void(engine_session&)> handler) {
    session_opened_ = std::move(handler);
  }
  /// A session has ended, after its sockets.
  void on_session_close(std::function<void(engine_session&)> handler) {
    session_closed_ = std::move(handler);
  }

  /// The socket with this number; null when it has gone.
  socket* find(uint64_t number) noexcept;
  socketio::engine& engine() noexcept { return engine_; }
  const server_settings& settings() const noexcept { return settings_; }

  /// Closes every client and refuses new ones; `done` runs when the last connection has gone. Call
  /// once.
  void stop(std::function<void()> done) { engine_.stop(std::move(done)); }

private:
  friend class socket;
  struct client;

  void admit(const handshake& request, std::function<void(bool)> answer) override;
  void on_open(engine_session& session) override;
  void on_message(engine_session& session, message_kind kind, std::string_view bytes) override;
  void on_sent(engine_session& session) override;
  void on_close(engine_session& session, session_end why) override;

  void on_packet(client& from, const packet_head& head, nlohmann::json payload);
  void connect(client& from, const std::string& space, nlohmann::json auth);
  void check(uint64_t session, name_space& space, std::shared_ptr<const nlohmann::json> auth,
    std::size_t index);
  void admitted(client& who, name_space& space, const nlohmann::json& auth);
  void leave(socket& who, client& from);
  void replay(socket& to, const std::vector<kept_event>& missed);
  client* client_of(uint64_t session) noexcept;

  server_settings settings_;
  uint64_t next_socket_ = 1;
  std::map<std::string, std::unique_ptr<name_space>, std::less<>> spaces_;
  std::unordered_map<uint64_t, std::unique_ptr<client>> clients_;  // by the session's number
  std::unordered_map<uint64_t, socket*> sockets_;                  // by their own
  std::vector<std::unique_ptr<socket>> retired_;  // until the event loop comes round
  std::function<void(const handshake&, std::function<void(bool)>)> admit_;
  std::function<void(engine_session&)> session_opened_;
  std::function<void(engine_session&)> session_closed_;
  socketio::engine engine_;
};

}  // namespace previewd::net::socketio
