#pragma once

#include <boost/system/result.hpp>
#include <cstdint>
#include <string>
#include <vector>

namespace previewd::net::http {

/// A bound, listening socket, or a duplicate of one: one thread's share of an address. Move-only;
/// closed on destruction.
class listening_socket {
public:
  enum class family : uint8_t { v4, v6, unix_path };

  listening_socket(int descriptor, family which) noexcept
      : descriptor_{descriptor}, family_{which} {}
  ~listening_socket();
  listening_socket(listening_socket&& other) noexcept;
  listening_socket& operator=(listening_socket&& other) noexcept;

  /// Gives the descriptor away.
  int release() noexcept;
  family which() const noexcept { return family_; }

private:
  int descriptor_;
  family family_;
};

/// Where to listen: a numeric address with a port (0: any free one), or a UNIX socket.
struct listen_spec {
  std::string address;  // "127.0.0.1", "::1"; empty for a UNIX socket
  uint16_t port = 0;
  std::string path;  // of a UNIX socket; at most 107 bytes (unix(7))
  /// Of a socket that listens there already; it stays the caller's. Below zero: there is none yet.
  int descriptor = -1;
};

/// An address that is listened on, by one socket for each I/O thread; a UNIX socket of our own by
/// the first thread only. Of a socket that was there already each thread has a duplicate: they
/// share one queue of clients, each of whom is taken by the thread that is there first.
struct opened_listener {
  listen_spec at;  // with the port that it got
  std::vector<listening_socket> sockets;
};

/// Binds everything, for `threads` I/O threads, or nothing. The error is one sentence for the user:
/// which address, and why. A UNIX socket that nobody answers at is replaced; so nothing must be
/// removed at the end, and a second service is refused. Whoever made a socket that is there already
/// keeps it, and its path; it is made non-blocking, for all who have it. Blocks for no longer than
/// bind(2) does.
struct listen_result {
  std::vector<opened_listener> listeners;
  std::string error;  // empty: all are open
};
listen_result open_listeners(const std::vector<listen_spec>& where, std::size_t threads);

}  // namespace previewd::net::http
