#pragma once

#include <array>
#include <cstdint>
#include <vector>

#include "previewd/os/listening_socket.hpp"
#include "previewd/os/result.hpp"
#include "previewd/os/unique_fd.hpp"

namespace previewd::os {

/// Asks the kernel for the listening TCP sockets of this network namespace (NETLINK_SOCK_DIAG,
/// sock_diag(7)); no privilege is needed. For one thread at a time; reuses its buffer.
class sock_diag {
public:
  /// Fails where the kernel has no socket diagnosis: read /proc/net instead (proc_net.hpp).
  static result<sock_diag> open();

  /// Appends all listening sockets, v4 and v6, in order. The kernel answers at once. On failure
  /// nothing is appended.
  error_code append_listeners(std::vector<listening_socket>& sockets);

  /// The inode of the socket at which a connection to this address and port arrives now; 0: nobody
  /// listens there. `address` in network order, its first 4 bytes for v4. Of sockets that share the
  /// port (SO_REUSEPORT) it is any one. Some 4 us; never blocks.
  result<uint64_t>
  listener_at(address_family family, const std::array<uint8_t, 16>& address, uint16_t port);

private:
  explicit sock_diag(unique_fd socket);

  struct request;
  error_code send(request& what);

  error_code dump(address_family family, std::vector<listening_socket>& sockets);

  unique_fd socket_;
  uint32_t sequence_ = 0;
  std::vector<char> buffer_;
};

/// A socket that no longer exists, and was not connected: it may have listened.
struct destroyed_socket {
  address_family family = address_family::v4;
  uint16_t port = 0;

  friend bool operator==(const destroyed_socket&, const destroyed_socket&) = default;
};

/// Hears of every TCP socket that is destroyed in this network namespace, connected ones left out
/// by a filter in the kernel (SKNLGRP_INET{,6}_TCP_DESTROY, Linux 4.4). A hint: another socket may
/// listen on the same port still. For one thread at a time.
class destroy_events {
public:
  static result<destroy_events> open();

  /// The descriptor, still owned: readable when there is something to take.
  int get() const noexcept { return socket_.get(); }

  enum class outcome : uint8_t {
    drained,  // nothing more for now
    overrun   // and some were lost: look at everything
  };

  /// Appends what has been destroyed since the last call. Never blocks.
  result<outcome> take(std::vector<destroyed_socket>& destroyed);

private:
  explicit destroy_events(unique_fd socket) noexcept : socket_{std::move(socket)} {}

  unique_fd socket_;
};

}  // namespace previewd::os
