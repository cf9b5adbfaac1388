// A chat on the Socket.IO library alone: one I/O thread, one room, and clients that miss nothing
// when their connection breaks for less than two minutes.
#include <boost/asio/signal_set.hpp>
#include <chrono>
#include <cstdio>
#include <nlohmann/json.hpp>

#include "previewd/net/http/listener.hpp"
#include "previewd/net/http/server.hpp"
#include "previewd/net/socketio/server.hpp"

namespace net = previewd::net;
namespace sio = previewd::net::socketio;

int main() {
  net::io_thread thread{0};
  sio::server_settings settings;
  settings.recovery.max_disconnection = std::chrono::minutes{2};
  sio::server chat{thread, {&thread}, settings};
  sio::name_space& everyone = chat.of("/");
  everyone.on_connect([](sio::socket& who) { who.join("lobby"); });
  everyone.on(
    "say", [&everyone](sio::socket&, const nlohmann::json& arguments, const sio::reply& answer) {
      // Encoded once, whatever the number of clients.
      if (!arguments.empty())
        everyone.send_to("lobby", everyone.encode("said", arguments[0].dump()));
      answer(nlohmann::json::array({true}));
    });

  net::http::listen_result opened =
    net::http::open_listeners({{.address = "127.0.0.1", .port = 4100, .path = {}}}, 1);
  if (!opened.error.empty()) {
    std::fprintf(stderr, "%s\n", opened.error.c_str());
    return 1;
  }
  net::http::server http{thread, {},
    [&chat](net::http::exchange_ptr exchange) { chat.handle(std::move(exchange)); }, {}};
  http.set_peers({&http});
  http.listen(std::move(opened.listeners[0].sockets[0]));
  thread.start("chat");

  net::asio::io_context signals{1};
  net::asio::signal_set ends{signals, SIGINT, SIGTERM};
  ends.async_wait([](boost::system::error_code, int) {});
  signals.run();
  thread.stop();
  return 0;
}
