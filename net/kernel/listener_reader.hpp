#pragma once

#include <optional>
#include <vector>

#include "previewd/net/kernel/kernel_watch.hpp"
#include "previewd/os/listening_socket.hpp"
#include "previewd/os/sock_diag.hpp"

namespace previewd::net::kernel {

/// Reads the listening sockets in the way that was chosen when it was opened. For one thread.
class listener_reader {
public:
  /// Chooses. Returns why socket diagnosis is not used, if it was to be. After a shortage
  /// (`os::is_shortage`) it is tried again with every reading.
  os::error_code open(listener_source source);

  bool uses_sock_diag() const noexcept { return diag_.has_value(); }

  /// Appends all listening sockets, in order.
  os::error_code append_listeners(std::vector<os::listening_socket>& sockets);

private:
  std::optional<os::sock_diag> diag_;
  bool try_again_ = false;
};

}  // namespace previewd::net::kernel
