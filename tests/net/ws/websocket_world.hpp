#pragma once

#include <sys/socket.h>

#include <atomic>
#include <boost/asio/generic/stream_protocol.hpp>
#include <functional>
#include <future>
#include <memory>
#include <stdexcept>
#include <string>

#include "previewd/net/ws/websocket.hpp"
#include "previewd/tests/support/eventually.hpp"
#include "previewd/tests/support/raw_peer.hpp"

namespace previewd::test {

inline constexpr const char* websocket_handshake =
  "GET /x HTTP/1.1\r\nHost: localhost\r\nConnection: keep-alive, Upgrade\r\nUpgrade: websocket\r\n"
  "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";

/// A client's frame of at most 125 bytes, masked with zeros.
inline std::string masked(unsigned char first, const std::string& payload) {
  return std::string{static_cast<char>(first), static_cast<char>(0x80 | payload.size())} +
         std::string(4, '\0') + payload;
}

/// The server's end on a thread of its own, and the client's end of the connection.
class websocket_world final : private net::ws::websocket_owner {
public:
  explicit websocket_world(net::ws::websocket_limits limits = {},
    const std::string& head = websocket_handshake, const char* protocol = "") {
    int ends[2];
    if (::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) != 0)
      throw std::runtime_error{"no socket pair"};
    peer = raw_peer{ends[1]};
    thread_.start("ws-test");
    net::ws::websocket_owner& owner = *this;
    run([&] {
      net::http::released_connection connection{
        net::http::client_socket{
          thread_.context(), net::asio::generic::stream_protocol{AF_UNIX, 0}, ends[0]},
        head, {}, {}, "Fri, 27 Nov 2026 00:00:00 GMT"};
      server_ =
        std::make_unique<net::ws::websocket>(7, std::move(connection), limits, owner, protocol);
      server_->start();
    });
  }
  virtual ~websocket_world() {
    run([this] {
      if (server_) server_->abort();
    });
    const bool ended = eventually([this] { return gone.load(); });
    thread_.stop();
    if (!ended) std::terminate();
  }

  /// Runs on the server's thread, and waits for it.
  void run(const std::function<void()>& what) {
    std::promise<void> done;
    thread_.post([&] {
      what();
      done.set_value();
    });
    done.get_future().wait();
  }
  void send(const std::string& text) {
    server_->send({net::ws::message_kind::text, std::make_shared<const std::string>(text)});
  }
  net::ws::websocket& server() { return *server_; }

  raw_peer peer;
  std::atomic<bool> named_right{false};
  std::atomic<bool> open{false};
  std::atomic<bool> gone{false};
  std::atomic<int> sent{0};
  std::function<void(std::string_view)> on_message;  // none: echo

private:
  void on_open(net::ws::websocket& from) override {
    named_right = from.number() == 7;
    open = true;
  }
  void
  on_frame(net::ws::websocket& from, net::ws::message_kind kind, std::string_view bytes) override {
    if (on_message) return on_message(bytes);
    from.send({kind, std::make_shared<const std::string>(bytes)});
  }
  void on_sent(net::ws::websocket&) override { ++sent; }
  void on_gone(net::ws::websocket&) override {
    server_.reset();
    gone = true;
  }

  net::io_thread thread_{0};
  std::unique_ptr<net::ws::websocket> server_;
};

}  // namespace previewd::test
