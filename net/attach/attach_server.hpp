#pragma once

#include <caf/fwd.hpp>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <unordered_map>

#include "previewd/messages/connection.hpp"
#include "previewd/messages/events.hpp"
#include "previewd/messages/terminal.hpp"
#include "previewd/net/api/json.hpp"
#include "previewd/net/http/exchange.hpp"
#include "previewd/net/ws/websocket.hpp"

namespace previewd::net::auth {
class key_set;
}

namespace previewd::net::terminal {
class terminal_hub;
}

/// Raw terminal WebSockets (docs/terminals.md).
namespace previewd::net::attach {

struct attach_settings {
  /// Most bytes of one message from a client; more ends the connection with 1009. 1 KiB to 16 MiB.
  std::size_t message_bytes = 1024 * 1024;
  /// Output is asked for while fewer bytes than this wait for the client; what a client may hold is
  /// this and one chunk of output. Well below `limits.client_buffer`.
  std::size_t pull_below = 128 * 1024;
  /// A client that takes nothing for so long is not waited for any more.
  std::chrono::milliseconds stall_timeout{1000};
  /// A client that is silent for half of it is pinged, and given up at its end.
  std::chrono::milliseconds silence{60'000};
};

/// What the server speaks with. All of it outlives the server.
struct attach_parts {
  event_source_actor events;
  terminal::terminal_hub& terminals;
};

/// The number of an I/O thread's first attached client: those of its tunnels and Socket.IO clients
/// lie below.
constexpr uint64_t first_attach_number = uint64_t{1} << 63;

/// Close codes of ours (RFC 6455, section 7.4.2).
constexpr uint16_t close_exited = 4000;
constexpr uint16_t close_closed = 4001;
constexpr uint16_t close_unauthorized = 4003;  // the token by which it was opened has ended
constexpr uint16_t close_too_slow = 4008;

/// The attached clients of one I/O thread, every call on that thread. Each speaks either what
/// xterm.js' attach add-on speaks (every frame is input, binary frames are output), or, when it
/// offered it, the subprotocol `previewd.terminal.v1`. Must stay until the thread has stopped
/// running, and go before the thread and the terminals do.
class attach_server final : private ws::websocket_owner {
public:
  attach_server(io_thread& thread, attach_parts parts, attach_settings settings);
  ~attach_server();

  attach_server(const attach_server&) = delete;
  attach_server& operator=(const attach_server&) = delete;

  /// Turns an upgrade request into a client of the terminal, which has all its output up to
  /// `after`.
  void open(const http::exchange_ptr& request, const terminal_info& terminal, uint64_t after);

  /// A terminal's exit ends its clients once they have all its output; other events are ignored.
  void deliver(const std::shared_ptr<const api::encoded_event>& what);

  /// From now on `actor` is told when the client's connection closes; at once if it has.
  void adopt(uint64_t number, ws_connection_actor actor);
  /// Closes a client's connection. Nothing happens if there is none with this number.
  void close_connection(uint64_t number);

  /// Clients whose right comes from none of these keys any more go at once.
  void withdraw(const auth::key_set& keys);

  std::size_t client_count() const noexcept { return clients_.size(); }

  /// The service is about to end its terminals: that is not their own end, so clients are closed
  /// with 1001.
  void announce_end() noexcept { ending_ = true; }

  /// Closes all clients with 1001 and refuses new ones; `done` runs when the last connection has
  /// gone. Call once.
  void stop(std::function<void()> done);

private:
  struct client;

  void on_open(ws::websocket& from) override;
  void on_frame(ws::websocket& from, ws::message_kind kind, std::string_view bytes) override;
  void on_sent(ws::websocket& from) override;
  void on_gone(ws::websocket& from) override;

  io_thread& thread_;
  attach_parts parts_;
  attach_settings settings_;
  std::unordered_map<uint64_t, std::unique_ptr<client>> clients_;
  uint64_t next_number_ = first_attach_number;
  std::function<void()> stopped_;
  bool ending_ = false;
  bool stopping_ = false;
};

}  // namespace previewd::net::attach
