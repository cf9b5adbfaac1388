#pragma once

#include <utility>
#include <vector>

#include "previewd/messages/connection.hpp"
#include "previewd/messages/preview_server.hpp"
#include "previewd/net/io_thread.hpp"

namespace previewd::net::http {

/// Tells actors of the tunnels that come and go, together for all that one round of the thread's
/// loop brings: a message that wakes an actor's thread may take longer than the tunnel did. On one
/// I/O thread.
class tunnel_news {
public:
  explicit tunnel_news(io_thread& thread) : thread_{thread} {}
  /// Tells what is left.
  ~tunnel_news() { tell(); }
  tunnel_news(const tunnel_news&) = delete;
  tunnel_news& operator=(const tunnel_news&) = delete;

  void opened(preview_server_actor server, connection_id id);
  void closed(ws_connection_actor tunnel);

private:
  void soon();
  void tell();

  io_thread& thread_;
  std::vector<std::pair<preview_server_actor, connection_id>> opened_;
  std::vector<ws_connection_actor> closed_;
  bool on_its_way_ = false;
};

}  // namespace previewd::net::http
