#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

#include "previewd/net/http/exchange.hpp"
#include "previewd/net/ws/frame_reader.hpp"
#include "previewd/net/ws/message_kind.hpp"

/// WebSockets of our own clients (RFC 6455); those of previews are tunnels (net/http/tunnel.hpp).
namespace previewd::net::ws {

/// A frame on its way out; many connections may share its bytes.
struct frame {
  message_kind kind = message_kind::text;
  std::shared_ptr<const std::string> bytes;
};

class websocket;

/// Who owns WebSocket connections. Every call comes from a handler of the connection, never from
/// within a call to it.
class websocket_owner {
public:
  /// The handshake is done.
  virtual void on_open(websocket& from) = 0;
  /// A whole message. The view is good for this call.
  virtual void on_frame(websocket& from, message_kind kind, std::string_view bytes) = 0;
  /// Frames have been written (`websocket_limits::tells`).
  virtual void on_sent(websocket& from) = 0;
  /// The last handler has run, whatever ended it: destroy it, nothing else follows.
  virtual void on_gone(websocket& from) = 0;

protected:
  ~websocket_owner() = default;
};

/// Of which frames the owner hears that they have been written.
enum class tells_of : uint8_t {
  all,     // at the latest when the event loop comes round
  waiting  // of those that the peer did not take at once; the others cost no turn of the loop
};

/// What one connection may hold and how long it may take.
struct websocket_limits {
  std::size_t message_bytes = 1'000'000;        // of one incoming message
  std::chrono::milliseconds handshake{10'000};  // until the 101 is written
  std::chrono::milliseconds closing{10'000};  // for what is queued, and for the peer's close frame
  /// A peer that has been silent for half of it is pinged, and given up at its end; 0: never.
  std::chrono::milliseconds silence{0};
  tells_of tells = tells_of::all;
};

/// The server's end of one WebSocket (RFC 6455), without compression. Lives on one I/O thread; its
/// owner destroys it when told that it is gone. While nothing is under way it holds no buffers.
class websocket {
public:
  /// `number` is the owner's name for it.
  /// `protocol`: the subprotocol that the answer agrees on, one of those that the client offered;
  /// empty: none.
  websocket(uint64_t number, http::released_connection connection, websocket_limits limits,
    websocket_owner& owner, std::string protocol = {});
  ~websocket();
  websocket(const websocket&) = delete;
  websocket& operator=(const websocket&) = delete;

  /// Answers the handshake, then reads. Call once.
  void start();

  /// Sends a frame: at once as far as the peer takes it, the rest is queued. The queue has no limit
  /// of its own: the owner looks at `queued_bytes`.
  void send(frame what);

  /// Bytes of frames that have not been written whole.
  std::size_t queued_bytes() const noexcept;

  /// Sends what is queued, then a close frame with the code, and waits for the peer's, all within
  /// the limit. Nothing more is read. Idempotent: the first code counts.
  void close(uint16_t code = close_code::normal);

  /// Closes at once. Idempotent.
  void abort();

  uint64_t number() const noexcept;

private:
  struct state;
  std::unique_ptr<state> state_;
};

}  // namespace previewd::net::ws
