#pragma once

#include <boost/system/error_code.hpp>
#include <cstddef>
#include <cstdint>
#include <memory>

#include "previewd/net/tls/context.hpp"

namespace previewd::net::tls {

using boost::system::error_code;

/// How far a call has come.
enum class progress : uint8_t {
  done,
  wants_read,   // call again when the socket has bytes
  wants_write,  // call again when the socket takes bytes
  ended,        // the peer has said that nothing more comes, or has ended without a word
  failed        // `error` says why; the connection is of no use any more
};

struct connection_freer {
  void operator()(ssl_st* connection) const noexcept;
};

/// One TLS connection over a socket that does not block. It neither owns the socket nor waits for
/// it. A socket that is broken may raise SIGPIPE (write(2)), which I/O threads block. For one I/O
/// thread.
class stream {
public:
  /// The side that connected. `resumed`, when given, outlives the stream.
  stream(client_context& how, int socket, session_slot* resumed);
  /// The side that accepted.
  stream(const server_context& how, int socket);

  /// `ended` stands for a peer that went away before there was a connection.
  progress handshake();
  bool established() const noexcept { return established_; }

  /// Reads at most `size` bytes; one record at most, so a whole one has room in 16 KiB.
  progress read(void* bytes, std::size_t size, std::size_t& count);

  /// Writes some of it. After `wants_read` and `wants_write` the same bytes have to be given again,
  /// wherever they are by then.
  progress write(const void* bytes, std::size_t size, std::size_t& count);

  /// Says that nothing more is sent (close_notify, RFC 8446, section 6.1).
  progress end();

  /// After `failed`: the socket's own error, or EPROTO where the peer speaks something else.
  const error_code& error() const noexcept { return error_; }

  /// After `failed`: the peer has sent a request of HTTP in plain text.
  bool met_plain_http() const noexcept { return met_plain_http_; }

private:
  progress judge(int result);

  std::unique_ptr<ssl_st, connection_freer> connection_;
  bool established_ = false;
  bool met_plain_http_ = false;
  error_code error_;
};

}  // namespace previewd::net::tls
