#pragma once

#include <boost/system/result.hpp>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "previewd/messages/error.hpp"
#include "previewd/net/asio_types.hpp"
#include "previewd/net/http/open_counts.hpp"
#include "previewd/net/io_thread.hpp"

namespace previewd::net::auth {
struct grant;
}

namespace previewd::net::http {

struct preview_target;

/// The client's side of a connection: TCP or a UNIX socket.
using client_socket = stream_socket;

/// One header field, as it came.
struct field {
  std::string_view name;
  std::string_view value;  // without the white space around it
};

/// The head of a request (RFC 9112, sections 3 and 5). The views live as long as the exchange or
/// connection that has it.
struct request_head {
  std::string_view method;
  std::string_view target;  // byte for byte
  std::string_view path;    // of the target, up to the '?'; as it came, not decoded
  std::string_view query;   // without the '?'
  unsigned version = 11;    // 10 or 11
  std::vector<field> fields;
  std::string_view host;  // of the Host field or the absolute target, with the port
  std::optional<uint64_t> content_length;
  bool chunked = false;
  bool keep_alive = true;
  bool websocket_upgrade = false;  // `Upgrade: websocket` with `Connection: upgrade`, a GET
  bool expects_continue = false;

  /// The first value of a field, by its name in any case; empty when there is none.
  std::string_view operator[](std::string_view name) const noexcept;
};

/// An answer of previewd itself. `Date`, `Server`, `Content-Length` and `Connection` are added when
/// it is written.
struct response {
  unsigned status = 200;
  std::string content_type;  // empty: no such field
  std::string body;
  std::shared_ptr<const std::string>
    shared_body;  // instead of `body`: what many get without a copy
  std::vector<std::pair<std::string, std::string>> fields;
  bool close = false;  // end the connection after it
};

/// RFC 9457 problem details with our code.
response problem(errc code, std::string detail);

/// The same for a status that has no code of ours; `code` is the wire name.
response problem(unsigned status, std::string_view code, std::string detail);

/// A connection taken out of HTTP: what becomes a WebSocket. On its I/O thread.
struct released_connection {
  client_socket socket;
  std::string head;    // the request's head, byte for byte, with its empty line
  std::string unread;  // what came after it
  open_slot slot;      // in the count of the client's address: goes with the connection
  std::string date;    // the value of a Date field in the answer
};

/// One request that previewd answers itself. Made by the connection, given to the service's
/// handler, and kept by whoever owes the answer. All calls on the connection's I/O thread. Outlives
/// its connection harmlessly: once the client is gone every call does nothing. Dropping the last
/// pointer without an answer answers 500.
class exchange {
public:
  virtual ~exchange() = default;

  virtual const request_head& head() const = 0;
  virtual io_thread& thread() const = 0;

  /// The preview whose address the request came to: set for its iframe page and for what lies under
  /// its `/.previewd/`, which the service answers; null for all else. Lives as long as the
  /// exchange.
  virtual const preview_target* preview() const { return nullptr; }

  /// What the client has shown to be its right; nothing at all (`covers` no workspace) where it
  /// need not show any. Null: nobody has to (`auth.mode = none`). Lives as long as the exchange.
  virtual const auth::grant* grant() const { return nullptr; }

  /// The client's address for logs and limits, without its port: "127.0.0.1", "::1", "unix".
  virtual const std::string& client_address() const = 0;

  /// `http` or `https`: by what the client reached us.
  virtual std::string_view scheme() const = 0;

  /// Reads the whole body, then calls `done` once. More than `limit` bytes: answers 413 itself and
  /// never calls `done`; so does a client that goes away or breaks the framing.
  virtual void read_body(std::size_t limit, std::function<void(std::string body)> done) = 0;

  /// Answers. The first answer counts, later ones do nothing. A body that has not been read is
  /// discarded or ends the connection.
  virtual void respond(response answer) = 0;

  /// Begins an answer without a known length (SSE). Then `write`, as often as wanted, and `finish`.
  virtual void start_stream(response head) = 0;
  /// Queues bytes; a reader that falls more than `limit` bytes behind is disconnected. Beside them
  /// one message that is larger by itself may wait, not two. Returns false once the client is gone.
  virtual bool write(std::shared_ptr<const std::string> bytes, std::size_t limit) = 0;
  virtual void finish() = 0;

  /// Called once if the client goes away before the answer is complete. May be set anew; null
  /// clears it.
  virtual void on_gone(std::function<void()> gone) = 0;
  virtual bool gone() const = 0;

  /// Takes the connection out of HTTP. Only for an upgrade request that has not been answered;
  /// nothing if the client is gone.
  virtual std::optional<released_connection> release() = 0;

  /// Hands the whole connection, with this request unanswered, to another I/O thread, where it is
  /// read and routed again. This exchange is dead afterwards.
  virtual void move_to(io_thread& other) = 0;
};

using exchange_ptr = std::shared_ptr<exchange>;

/// Answers the requests that are not for a preview: API, Socket.IO, pages. Runs on the connection's
/// I/O thread.
using service_handler = std::function<void(exchange_ptr)>;

}  // namespace previewd::net::http
