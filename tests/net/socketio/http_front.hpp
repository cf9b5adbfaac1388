#pragma once

#include <boost/asio/ip/tcp.hpp>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "previewd/net/http/exchange.hpp"
#include "previewd/net/io_thread.hpp"

namespace previewd::test {

/// Just enough of an HTTP/1.1 server to hand requests to a Socket.IO server without the rest of the
/// service: reads each request whole, keeps connections alive, notices a client that leaves, moves
/// connections between threads. For tests and examples.
class http_front {
public:
  /// One handler for each thread, at the place of its index.
  http_front(
    std::vector<net::io_thread*> threads, std::vector<net::http::service_handler> handlers);
  /// Only when no I/O thread runs.
  ~http_front();

  /// Listens on 127.0.0.1; port 0 means any. Returns the port, 0 when it is taken. Connections go
  /// to the threads in turn.
  uint16_t listen(uint16_t port);

private:
  struct connection;
  struct shared;
  void accept();

  std::shared_ptr<shared> shared_;
  net::asio::ip::tcp::acceptor acceptor_;
  std::size_t next_ = 0;
};

}  // namespace previewd::test
