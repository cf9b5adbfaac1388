#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <list>
#include <memory>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

#include "previewd/net/asio_types.hpp"
#include "previewd/net/auth/grant.hpp"
#include "previewd/net/http/exchange.hpp"
#include "previewd/net/io_thread.hpp"
#include "previewd/net/socketio/engine_codec.hpp"
#include "previewd/net/ws/websocket.hpp"

/// An Engine.IO 4 server: long polling, WebSocket, and the upgrade from one to the other
/// (https://socket.io/docs/v4/engine-io-protocol/).
namespace previewd::net::socketio {

using ws::frame;
using ws::websocket;

/// Paces and limits. Those of each session and, where said, of one engine.
struct engine_settings {
  /// Where it is served; with its final slash. A request may leave the slash out.
  std::string path = "/socket.io/";
  /// How long after the last pong (or the handshake) a ping goes out; 10 ms to 10 min.
  std::chrono::milliseconds ping_interval{25'000};
  /// How long the pong may take before the session is closed; 10 ms to 10 min.
  std::chrono::milliseconds ping_timeout{20'000};
  /// Most bytes of one incoming message or payload; clients are told. 1 to 100 000 000.
  std::size_t max_payload = 1'000'000;
  /// How long an upgrade may take from the opening of its WebSocket; 100 ms to 10 min.
  std::chrono::milliseconds upgrade_timeout{10'000};
  /// How long a closed session waits for the client to fetch what is queued; 0 to 10 min.
  std::chrono::milliseconds close_timeout{10'000};
  /// Most bytes that wait for a client. One that falls further behind is disconnected; a single
  /// larger message passes.
  std::size_t client_buffer = 1024 * 1024;
  /// Most packets in one polling payload, either way out. Some clients refuse more than 16.
  std::size_t packets_out = 16;
  /// Most packets in one polling payload that comes in.
  std::size_t packets_in = 1024;
  /// Most sessions of one engine; a further handshake is answered 503.
  std::size_t sessions = 10'000;
  /// `Access-Control-Allow-Origin` of the answers; empty: none, and no answer to preflight
  /// requests.
  std::string cors_origin;
  /// The number of the first session; later ones count on from it.
  uint64_t first_number = 1;
};

/// Why a session ended. The texts are those of the Node implementation where it has one.
enum class session_end : uint8_t {
  client_closed,
  server_closed,
  transport_closed,
  transport_error,
  ping_timeout,
  protocol_error,
  too_slow,
};
std::string_view to_string(session_end value) noexcept;

/// Names and their values, in order, in little memory: they are kept as long as a client. Views
/// into it are good until it is changed.
class name_values {
public:
  using value_type = std::pair<std::string_view, std::string_view>;

  class iterator {
  public:
    iterator(const name_values& of, std::size_t at) noexcept : of_{&of}, at_{at} {}
    value_type operator*() const noexcept { return of_->at(at_); }
    iterator& operator++() noexcept { return ++at_, *this; }
    bool operator==(const iterator& other) const noexcept { return at_ == other.at_; }
    bool operator!=(const iterator& other) const noexcept { return at_ != other.at_; }

  private:
    const name_values* of_;
    std::size_t at_;
  };

  void add(std::string_view name, std::string_view value);
  /// Gives back what it has reserved and does not need.
  void shrink();

  std::size_t size() const noexcept { return ends_.size() / 2; }
  value_type at(std::size_t index) const noexcept;
  iterator begin() const noexcept { return {*this, 0}; }
  iterator end() const noexcept { return {*this, size()}; }
  /// The first value of a name, empty when there is none.
  std::string_view operator[](std::string_view name) const noexcept;

private:
  std::string bytes_;
  std::vector<uint32_t> ends_;  // in it, of each name and of each value
};

/// The request that began a session, in copies.
struct handshake {
  std::string target;
  name_values query;    // decoded
  name_values fields;   // names in lower case
  std::string address;  // the client's, without port
  bool secure = false;  // reached by https
  std::chrono::system_clock::time_point at;
  /// What the client has shown to be its right, where the HTTP server has found it out.
  std::shared_ptr<const auth::grant> grant;

  /// The first value of a query parameter, empty when there is none.
  std::string_view parameter(std::string_view name) const noexcept;
};

/// Which transport carries a session.
enum class transport_kind : uint8_t { polling, websocket };

class engine;

/// One client. Belongs to its engine and is good until `on_close` has returned. Its I/O thread
/// only.
class engine_session {
public:
  engine_session(engine& owner, uint64_t number, std::string id, handshake request);
  ~engine_session();
  engine_session(const engine_session&) = delete;
  engine_session& operator=(const engine_session&) = delete;

  /// Never used again by this engine.
  uint64_t number() const noexcept { return number_; }
  /// What the client knows it by: begins with the thread's index, unguessable.
  const std::string& id() const noexcept { return id_; }
  const handshake& request() const noexcept { return request_; }
  transport_kind transport() const noexcept;
  bool is_open() const noexcept { return open_; }

  /// Sends a text message.
  void send(std::string_view text);
  /// Sends a binary message.
  void send_binary(std::string bytes);
  /// Sends a text message that is encoded already (`encode_packet(engine_packet_type::message,
  /// ...)`), sharing its bytes.
  void send_encoded(std::shared_ptr<const std::string> packet);

  /// Bytes sent that the client has not taken yet.
  std::size_t queued_bytes() const noexcept;

  /// Ends the session: what is queued still goes out. Nothing more comes in; `on_close` follows
  /// from the event loop. Idempotent: the first reason counts.
  void close(session_end why);

private:
  friend class engine;

  void enqueue(frame what);
  void send_to_websocket(frame what);
  void flush();
  void flush_to_websocket();
  void answer_poll();
  void release_poll(http::response answer);
  void begin(websocket* transport);
  void on_packet(engine_packet packet);
  void schedule_ping();
  void on_timer();
  void on_upgrade_timeout();
  void upgrade();
  void drop_probe();
  void drop_queue();
  template <class Then> void arm(steady_timer& timer, std::chrono::milliseconds delay, Then then);

  engine& engine_;
  const uint64_t number_;
  const std::string id_;
  handshake request_;
  const bool base64_;  // instead of binary frames: the client has asked for it (`b64`)
  bool open_ = true;
  bool reported_ = false;  // on_close has been called, or never will be
  bool awaiting_pong_ = false;
  session_end why_ = session_end::server_closed;
  websocket* websocket_ = nullptr;  // the transport; null: polling
  websocket* probe_ = nullptr;      // a WebSocket that may become it
  bool probed_ = false;             // and has been answered
  http::exchange_ptr poll_;         // the GET that waits
  std::list<frame> queue_;          // of polling, or of a transport that is changing
  std::size_t queue_bytes_ = 0;
  steady_timer timer_;
  std::unique_ptr<steady_timer> upgrade_timer_;  // while there is a probe
};

/// Whoever uses an engine. Every call on its I/O thread. None comes from within a call to the
/// engine or a session, except `admit`.
class engine_handler {
public:
  /// Whether a session may begin. `answer` is called once, at once or later, on this thread; by
  /// default at once, with true.
  virtual void admit(const handshake& request, std::function<void(bool allowed)> answer);
  virtual void on_open(engine_session& session) = 0;
  /// The bytes are good for this call.
  virtual void on_message(engine_session& session, message_kind kind, std::string_view bytes) = 0;
  /// Some of what was queued is out, or the client has answered a ping: it comes again and again as
  /// long as the session is open. What a WebSocket takes at once was never queued.
  virtual void on_sent(engine_session& session) = 0;
  /// The last call for this session.
  virtual void on_close(engine_session& session, session_end why) = 0;

protected:
  ~engine_handler() = default;
};

/// The Engine.IO server of one I/O thread. Must stay until the thread has stopped running, and go
/// before the thread does.
class engine final : private ws::websocket_owner {
public:
  /// `threads` are all I/O threads, each at the place of its index: a request for another's session
  /// is moved there.
  engine(io_thread& thread, std::vector<io_thread*> threads, engine_settings settings,
    engine_handler& handler);
  ~engine();

  engine(const engine&) = delete;
  engine& operator=(const engine&) = delete;

  /// Answers a request under the path, or keeps it as long as that takes.
  void handle(http::exchange_ptr exchange);

  /// The session with this number, null when there is none any more.
  engine_session* find(uint64_t number) noexcept;
  std::size_t session_count() const noexcept { return sessions_.size(); }

  /// Calls `visit(session)` for every open session.
  void for_each(const std::function<void(engine_session&)>& visit);

  /// Closes every session and refuses new ones; `done` runs when the last connection has gone. Call
  /// once.
  void stop(std::function<void()> done);

  io_thread& thread() noexcept { return thread_; }
  const engine_settings& settings() const noexcept { return settings_; }

private:
  friend class engine_session;
  struct link;

  void on_open(websocket& from) override;
  void on_frame(websocket& from, message_kind kind, std::string_view bytes) override;
  void on_sent(websocket& from) override;
  void on_gone(websocket& from) override;

  void handshake_begins(http::exchange_ptr exchange, transport_kind kind);
  void admitted(http::exchange_ptr exchange, transport_kind kind, handshake request);
  void poll(engine_session& session, const http::exchange_ptr& exchange);
  void push(engine_session& session, const http::exchange_ptr& exchange);
  void upgrade(engine_session& session, const http::exchange_ptr& exchange);
  engine_session* open_session(handshake request);
  engine_session* find_id(std::string_view id) noexcept;
  std::string open_packet(const engine_session& session, transport_kind kind) const;
  void accept_websocket(const http::exchange_ptr& exchange, handshake request, uint64_t session);
  /// Opens a WebSocket that its session has no use for, and closes it: to a client a refused
  /// handshake is an error, not an end.
  void accept_surplus(const http::exchange_ptr& exchange);
  link& add_websocket(http::released_connection connection);
  void on_probe_frame(
    engine_session& session, websocket& from, message_kind kind, std::string_view bytes);
  void respond(http::exchange& exchange, http::response answer) const;
  void refuse(http::exchange& exchange, int code) const;
  /// Reports the end of a session from the event loop, and destroys it when nothing holds it any
  /// more.
  void end_later(uint64_t number);
  void end(uint64_t number);
  void erase(engine_session& session);
  void report_stopped();

  io_thread& thread_;
  std::vector<io_thread*> threads_;
  engine_settings settings_;
  engine_handler& handler_;
  uint64_t next_number_;
  uint64_t next_websocket_ = 1;
  bool stopping_ = false;
  std::function<void()> stopped_;
  std::unordered_map<uint64_t, std::unique_ptr<engine_session>> sessions_;
  std::unordered_map<std::string_view, engine_session*> ids_;  // their own strings
  std::unordered_map<uint64_t, std::unique_ptr<link>> websockets_;
};

}  // namespace previewd::net::socketio
