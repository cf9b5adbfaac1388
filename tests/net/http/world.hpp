#pragma once

#include <atomic>
#include <functional>
#include <future>
#include <memory>
#include <mutex>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

#include "previewd/messages/preview_server.hpp"
#include "previewd/messages/route.hpp"
#include "previewd/net/http/server.hpp"
#include "previewd/net/io_thread.hpp"
#include "previewd/tests/net/http/routes.hpp"
#include "previewd/tests/support/eventually.hpp"
#include "previewd/tests/support/raw_peer.hpp"

namespace previewd::test {

/// An actor system whose preview servers write down what they are told. Any thread.
class told_servers {
public:
  told_servers();
  ~told_servers();

  preview_server_actor make();
  std::vector<observer> refusals();
  std::vector<connection_id> tunnels();

  /// An actor that counts how often it is told that its connection has closed, and ends after
  /// `last`.
  ws_connection_actor count_closed(std::atomic<int>& count, int last);

private:
  struct state;
  std::unique_ptr<state> state_;
};

/// Bytes of which no two pieces can be mixed up without being noticed.
std::string pattern(std::size_t size);

/// HTTP servers on real I/O threads, listening on a free port.
class http_world {
public:
  explicit http_world(net::http::http_settings settings = {},
    net::http::service_handler service = {}, std::size_t threads = 1,
    net::http::preview_pages pages = {}) {
    if (!service) {
      service = [](net::http::exchange_ptr exchange) {
        net::http::response answer;
        answer.content_type = "text/plain";
        answer.body = "service " + std::string{exchange->head().target};
        exchange->respond(std::move(answer));
      };
    }
    auto opened =
      net::http::open_listeners({{.address = "127.0.0.1", .port = 0, .path = {}}}, threads);
    port_ = opened.error.empty() ? opened.listeners.front().at.port : uint16_t{0};
    for (std::size_t i = 0; i < threads; ++i) {
      threads_.push_back(std::make_unique<net::io_thread>(static_cast<uint32_t>(i)));
      servers_.push_back(
        std::make_unique<net::http::server>(*threads_.back(), settings, service, pages));
    }
    std::vector<net::http::server*> peers;
    for (const auto& s : servers_) peers.push_back(s.get());
    for (std::size_t i = 0; i < threads; ++i) {
      servers_[i]->set_peers(peers);
      if (port_ != 0) servers_[i]->listen(std::move(opened.listeners.front().sockets[i]));
      threads_[i]->start("http");
    }
  }

  ~http_world() {
    for (std::size_t i = 0; i < threads_.size(); ++i) {
      auto stopped = std::make_shared<std::promise<void>>();
      auto done = stopped->get_future();
      threads_[i]->post(
        [&server = *servers_[i], stopped] { server.stop([stopped] { stopped->set_value(); }); });
      done.wait_for(deadline);
    }
    for (const auto& t : threads_) t->stop();
    servers_.clear();
    threads_.clear();
  }

  uint16_t port() const { return port_; }
  std::string authority() const { return "localhost:" + std::to_string(port_); }
  net::io_thread& thread(std::size_t index = 0) { return *threads_[index]; }

  raw_peer connect() const { return raw_peer::connect(port_); }

  /// Sends a request and reads until the connection ends.
  std::string ask(std::string_view request) const {
    raw_peer client = connect();
    client.send(request);
    return client.read_to_end();
  }

  /// A GET on a path of the service's own host, with further header lines.
  std::string get(const std::string& target, const std::string& lines = {}) const {
    return ask("GET " + target + " HTTP/1.1\r\nHost: " + authority() + "\r\nConnection: close\r\n" +
               lines + "\r\n");
  }

  /// Runs `what(server)` on its thread and returns its result.
  template <class What> auto on(What what, std::size_t index = 0) {
    using result = decltype(what(*servers_[index]));
    auto promise = std::make_shared<std::promise<result>>();
    auto future = promise->get_future();
    threads_[index]->post([&server = *servers_[index], promise, what = std::move(what)]() mutable {
      if constexpr (std::is_void_v<result>) {
        what(server);
        promise->set_value();
      } else {
        promise->set_value(what(server));
      }
    });
    return future.get();
  }

  /// Applies routes on every thread; returns when they are in force.
  void apply(const workspace_routes& routes) {
    for (std::size_t i = 0; i < servers_.size(); ++i)
      on([routes](net::http::server& server) { return server.apply(routes); }, i);
  }

  net::http::server_counts counts(std::size_t index = 0) {
    return on([](net::http::server& server) { return server.counts(); }, index);
  }

private:
  uint16_t port_ = 0;
  std::vector<std::unique_ptr<net::io_thread>> threads_;
  std::vector<std::unique_ptr<net::http::server>> servers_;
};

}  // namespace previewd::test
