#include <algorithm>
#include <atomic>
#include <catch2/catch.hpp>
#include <chrono>
#include <future>
#include <memory>
#include <mutex>
#include <string>
#include <thread>

#include "previewd/net/asio_types.hpp"
#include "previewd/tests/net/http/world.hpp"
#include "previewd/tests/support/resource_check.hpp"

using namespace previewd;
using namespace previewd::test;
using net::http::http_settings;

namespace {

bool contains(const std::string& text, std::string_view part) {
  return text.find(part) != std::string::npos;
}

const std::string upgrade =
  "GET /ws?token=x HTTP/1.1\r\nHost: shop--ann.preview.localhost\r\nConnection: keep-alive, "
  "Upgrade\r\nUpgrade: websocket\r\n"
  "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: "
  "13\r\nSec-WebSocket-Protocol: vite-hmr\r\n\r\n";
const std::string switched =
  "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: "
  "websocket\r\nSec-WebSocket-Protocol: vite-hmr\r\n\r\n";

// Goes after the servers that know its actors.
struct with_actors {
  told_servers actors;
};

struct tunnel_world : with_actors, http_world {
  explicit tunnel_world(http_settings settings = {}) : http_world{std::move(settings)} {
    route r = route_to(upstream.port());
    r.server = actors.make();
    apply(routes_of(1, {r}));
  }
  void open() {
    client = connect();
    client.send(upgrade);
    server = upstream.accept();
    request = server.read_head();
    server.send(switched);
    answer = client.read_head();
  }
  raw_server upstream;
  raw_peer client;
  raw_peer server;
  std::string request;
  std::string answer;
};

}  // namespace

TEST_CASE(
  "a WebSocket is passed through both ways, with the bytes right behind its 101", "[net][tunnel]") {
  tunnel_world world;
  world.client = world.connect();
  world.client.send(upgrade + "early");
  world.server = world.upstream.accept();
  const std::string request = world.server.read_head();

  world.server.send(switched + "hello");
  const std::string answer = world.client.read_until("hello");
  const std::string early = world.server.read_exactly(5);
  world.client.send("up");
  world.server.send("down");

  CHECK(contains(request, "GET /ws?token=x HTTP/1.1\r\n"));
  CHECK(contains(
    request, "Origin: http://localhost:" + std::to_string(world.upstream.port()) + "\r\n"));
  CHECK(contains(request, "Connection: Upgrade\r\nUpgrade: websocket\r\n"));
  CHECK(contains(request, "Sec-WebSocket-Protocol: vite-hmr\r\n"));
  CHECK(contains(answer, "HTTP/1.1 101 Switching Protocols\r\n"));
  CHECK(contains(answer, "Connection: Upgrade\r\nUpgrade: websocket\r\n"));
  CHECK(early == "early");
  CHECK(world.server.read_exactly(2) == "up");
  CHECK(world.client.read_exactly(4) == "down");
  CHECK(eventually([&] {
    const auto listed = world.on([](net::http::server& server) { return server.tunnels(); });
    return listed.size() == 1 && listed[0].bytes_up == 7 && listed[0].bytes_down == 9;
  }));
}

TEST_CASE(
  "bytes behind an upgrade go before those that come while its tunnel begins", "[net][tunnel]") {
  std::promise<void> begun;
  std::promise<void> answered;
  std::promise<void> followed;
  auto may_go_on = answered.get_future();
  auto has_followed = followed.get_future();
  tunnel_world world;
  world.client = world.connect();
  world.client.send(upgrade + "early, ");
  world.server = world.upstream.accept();
  world.server.read_head();
  auto timer = std::make_shared<net::steady_timer>(world.thread().context());
  // The thread is held up twice: until the 101 is there, and, when it has passed that on and before
  // the tunnel has its first turn, until more bytes are there.
  world.thread().post([&, timer] {
    timer->expires_after(std::chrono::seconds{0});
    timer->async_wait(
      [&, timer](const boost::system::error_code&) { has_followed.wait_for(deadline); });
    begun.set_value();
    may_go_on.wait_for(deadline);
  });
  begun.get_future().wait_for(deadline);
  world.server.send(switched);
  CHECK(eventually([&] { return world.server.all_arrived(); }));
  answered.set_value();
  const std::string answer = world.client.read_head();
  world.client.send("late");
  CHECK(eventually([&] { return world.client.all_arrived(); }));
  followed.set_value();

  CHECK(contains(answer, "101 Switching Protocols"));
  CHECK(world.server.read_exactly(11) == "early, late");
}

TEST_CASE("an open tunnel is told and listed, and its counters grow", "[net][tunnel]") {
  tunnel_world world;
  world.open();
  world.client.send("12345");
  world.server.read_exactly(5);
  world.server.send("123");
  world.client.read_exactly(3);

  REQUIRE(eventually([&] { return world.actors.tunnels().size() == 1; }));
  std::vector<net::http::tunnel_info> listed;
  CHECK(eventually([&] {
    listed = world.on([](net::http::server& server) { return server.tunnels(); });
    return listed.size() == 1 && listed[0].bytes_up == 5 && listed[0].bytes_down == 3;
  }));

  CHECK(listed[0].id == world.actors.tunnels().front());
  CHECK(listed[0].server == server_ref{shop, 1});
  CHECK(listed[0].client_address == "127.0.0.1");
  CHECK(listed[0].path == "/ws");
  CHECK(listed[0].protocol == "vite-hmr");
}

TEST_CASE("routes without a server close its tunnels at once, on both sides", "[net][tunnel][I2]") {
  tunnel_world world;
  world.open();
  const bool held = GENERATE(false, true);

  world.apply(held ? routes_of(2, {route_to(world.upstream.port(), 1, route_state::held)})
                   : routes_of(2, {}));

  CHECK(world.counts().tunnels == 0);
  CHECK(world.server.wait_for_end());
  CHECK(world.client.wait_for_end());
}

TEST_CASE("a suspended server keeps its tunnels", "[net][tunnel]") {
  tunnel_world world;
  world.open();

  world.apply(routes_of(2, {route_to(world.upstream.port(), 1, route_state::suspended)}));
  world.client.send("still");

  CHECK(world.server.read_exactly(5) == "still");
}

TEST_CASE(
  "when the server ends, the client ends, after what the server said last", "[net][tunnel]") {
  tunnel_world world;
  world.open();

  world.server.send("bye");
  world.server.close();

  CHECK(world.client.read_to_end() == "bye");
  CHECK(eventually([&] { return world.counts().tunnels == 0; }));
}

TEST_CASE(
  "when the client ends, the server hears of it and may answer for a moment", "[net][tunnel]") {
  tunnel_world world;
  world.open();

  world.client.shutdown();
  CHECK(world.server.wait_for_end());
  world.server.send("close frame");
  world.server.close();

  CHECK(world.client.read_to_end() == "close frame");
}

TEST_CASE(
  "a reader that does not read stalls its writer, not the other direction", "[net][tunnel][I5]") {
  tunnel_world world;
  world.open();
  const std::string large = pattern(20'000'000);
  std::thread writer{[&] { world.server.send(large); }};
  world.client.send("ping");

  const std::string up = world.server.read_exactly(4);
  const bool down = world.client.read_exactly(large.size()) == large;
  writer.join();

  CHECK(up == "ping");
  CHECK(down);
}

TEST_CASE("a busy tunnel has a pipe for each direction, and gives them back when it is quiet",
  "[net][tunnel][I3]") {
  http_settings settings;
  settings.pipes = GENERATE(0U, 1U, 64U);
  INFO(settings.pipes << " pipes");
  tunnel_world world{settings};
  world.open();
  const std::string large = pattern(30'000'000);
  std::atomic<std::size_t> most{0};
  std::atomic<bool> over{false};
  std::thread up{[&] { world.client.send(large); }};
  std::thread down{[&] { world.server.send(large); }};
  std::thread counter{[&] {
    while (!over) most = std::max<std::size_t>(most, world.counts().pipes);
  }};
  std::string at_server;
  std::thread reader{[&] { at_server = world.server.read_exactly(large.size()); }};

  const std::string at_client = world.client.read_exactly(large.size());
  reader.join();
  up.join();
  down.join();
  over = true;
  counter.join();

  CHECK((at_client == large));
  CHECK((at_server == large));
  CHECK(most <= std::min<std::size_t>(settings.pipes, 2));
  CHECK((most > 0) == (settings.pipes > 0));
  CHECK(eventually([&] { return world.counts().pipes == 0; }));
  world.client.send("small");
  CHECK(world.server.read_exactly(5) == "small");
  world.server.send("reply");
  CHECK(world.client.read_exactly(5) == "reply");
}

TEST_CASE("what a busy tunnel's peer said last is passed on before its end", "[net][tunnel]") {
  tunnel_world world;
  world.open();
  const std::string large = pattern(20'000'000);
  std::thread writer{[&] {
    world.server.send(large);
    world.server.close();
  }};

  const bool whole = world.client.read_to_end() == large;
  writer.join();

  CHECK(whole);
  CHECK(eventually([&] { return world.counts().tunnels == 0; }));
  CHECK(world.counts().pipes == 0);
}

TEST_CASE(
  "a tunnel is closed by its number, and its end is told to whoever adopted it", "[net][tunnel]") {
  tunnel_world world;
  world.open();
  REQUIRE(eventually([&] { return world.actors.tunnels().size() == 1; }));
  const uint64_t number = world.actors.tunnels().front().number;
  std::atomic<int> closed{0};
  const ws_connection_actor actor = world.actors.count_closed(closed, 2);

  world.on([&](net::http::server& server) { server.adopt_connection(number, actor); });
  const bool was_there =
    world.on([&](net::http::server& server) { return server.close_connection(number); });
  const bool still_there =
    world.on([&](net::http::server& server) { return server.close_connection(number); });
  CHECK(world.client.wait_for_end());
  CHECK(eventually([&] { return closed == 1; }));
  // Too late: it is told at once.
  world.on([&](net::http::server& server) { server.adopt_connection(number, actor); });

  CHECK(was_there);
  CHECK_FALSE(still_there);
  CHECK(eventually([&] { return closed == 2; }));
}

TEST_CASE("an upgrade that is answered with a page is passed on as one", "[net][tunnel]") {
  tunnel_world world;
  world.client = world.connect();
  world.client.send(upgrade);
  world.server = world.upstream.accept();
  world.server.read_head();

  world.server.send("HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\npage");

  CHECK(contains(world.client.read_until("page"), "HTTP/1.1 200 OK\r\n"));
  CHECK(world.counts().tunnels == 0);
}

TEST_CASE("a look tells what a listener is, and whether it serves under its base", "[net][look]") {
  http_world world;
  raw_server server;
  struct row {
    std::string root;
    std::string base;
    identity::verdict outcome;
    uint16_t status;
    bool html;
    std::string type;
    prefix_mode prefix;
  };
  const auto page = [](const std::string& body) {
    return "HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: " +
           std::to_string(body.size()) + "\r\n\r\n" + body;
  };
  using verdict = identity::verdict;
  const row r = GENERATE_COPY(values<row>({
    {page("<script src=\"/@vite/client\">"), "", verdict::http, 200, true, "vite",
      prefix_mode::stripped},
    {page("<script src=\"/_next/x.js\">"), "", verdict::http, 200, true, "next",
      prefix_mode::stripped},
    {"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nX-Runtime: 2.518227\r\nContent-Length: 0\r\n"
     "\r\n",
      "", verdict::http, 200, true, "rails", prefix_mode::stripped},
    {"HTTP/1.1 302 Found\r\nLocation: /preview/shop/ann/\r\nContent-Length: 0\r\n\r\n",
      page("/preview/shop/ann/@vite/client"), verdict::http, 200, true, "vite", prefix_mode::kept},
    {"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n",
      "HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n", verdict::http, 404, false, "http",
      prefix_mode::stripped},
    {"HTTP/1.1 503 Service Unavailable\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", "",
      verdict::http, 503, false, "http", prefix_mode::stripped},
    {"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\ndata: 1\n\n", "", verdict::http,
      200, false, "http", prefix_mode::stripped},
    {"SSH-2.0-OpenSSH\r\n", "", verdict::not_http, 0, false, "http", prefix_mode::stripped},
  }));
  INFO(r.root);
  auto said = std::make_shared<std::promise<identity>>();
  auto future = said->get_future();

  world.on([&](net::http::server& s) {
    s.look({.address = "127.0.0.1", .port = server.port(), .scheme = scheme::http}, shop, deadline,
      [said](const identity& what) {
        if (what.outcome != identity::verdict::silent && what.settled) said->set_value(what);
      });
  });
  raw_peer first = server.accept();
  const std::string request = first.read_head();
  first.send(r.root);
  raw_peer second;
  if (!r.base.empty()) {
    second = server.accept();
    second.read_head();
    second.send(r.base);
  }
  REQUIRE(future.wait_for(deadline) == std::future_status::ready);
  const identity got = future.get();

  CHECK(contains(
    request, "GET / HTTP/1.1\r\nHost: localhost:" + std::to_string(server.port()) + "\r\n"));
  CHECK(got.outcome == r.outcome);
  CHECK(got.status == r.status);
  CHECK(got.html == r.html);
  CHECK(got.type == r.type);
  CHECK(got.prefix == r.prefix);
}

TEST_CASE("a look says that a listener is silent, and later what it answered", "[net][look]") {
  http_world world;
  raw_server server;
  std::mutex mutex;
  std::vector<identity> said;
  const auto count = [&] {
    const std::lock_guard lock{mutex};
    return said.size();
  };
  world.on([&](net::http::server& s) {
    s.look({.address = "127.0.0.1", .port = server.port(), .scheme = scheme::http}, shop, deadline,
      [&](const identity& what) {
        const std::lock_guard lock{mutex};
        said.push_back(what);
      });
  });
  raw_peer peer = server.accept();
  peer.read_head();

  REQUIRE(eventually([&] { return count() == 1; }));
  peer.send("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
  REQUIRE(eventually([&] { return count() == 2; }));

  CHECK(said[0].outcome == identity::verdict::silent);
  CHECK(said[1].outcome == identity::verdict::http);
}

TEST_CASE("a probe tells a listener from a closed port", "[net][probe]") {
  http_world world;
  raw_server server;
  const auto probe = [&] {
    auto promise = std::make_shared<std::promise<probe_outcome>>();
    auto future = promise->get_future();
    world.on([&](net::http::server& s) {
      s.probe({.address = "127.0.0.1", .port = server.port(), .scheme = scheme::http}, deadline,
        [promise](probe_outcome outcome, uint64_t) { promise->set_value(outcome); });
    });
    return future.wait_for(deadline) == std::future_status::ready ? future.get()
                                                                  : probe_outcome::timed_out;
  };

  CHECK(probe() == probe_outcome::alive);
  server.stop();
  CHECK(probe() == probe_outcome::refused);
}

TEST_CASE("clients that hammer while routes come and go leave nothing behind",
  "[net][proxy][tunnel][I2][I3]") {
  const resource_check resources;
  {
    http_settings settings;
    settings.hold = std::chrono::milliseconds{20};
    settings.drain = std::chrono::milliseconds{100};
    http_world world{settings, {}, 2};
    std::atomic<bool> ending{false};

    // A server that answers everything: upgrades with an open WebSocket, the rest with a small
    // page.
    raw_server upstream;
    std::vector<std::thread> serving;
    std::thread server{[&] {
      while (!ending) {
        if (!upstream.has_connection()) {
          std::this_thread::yield();
          continue;
        }
        serving.emplace_back([peer = upstream.accept()]() mutable {
          for (std::string head = peer.read_head(); !head.empty(); head = peer.read_head()) {
            if (contains(head, "Upgrade: websocket")) {
              peer.send(switched);
              peer.wait_for_end();
            } else {
              peer.send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
            }
          }
        });
      }
    }};
    world.apply(routes_of(1, {}));
    std::atomic<int> good{0};
    std::atomic<int> refused{0};
    std::atomic<int> tunnels{0};
    std::atomic<int> strange{0};
    std::vector<std::thread> clients;
    for (int i = 0; i < 20; ++i) {
      clients.emplace_back([&, socket = i % 2 == 0] {
        while (!ending) {
          raw_peer client = world.connect();
          if (socket) {
            client.send(upgrade);
            const std::string head = client.read_head();
            if (contains(head, " 101 ")) {
              ++tunnels;
              client.wait_for_end();
            } else if (contains(head, " 503 ")) {
              ++refused;
            } else if (!head.empty()) {
              ++strange;
            }
          } else {
            client.send("GET / HTTP/1.1\r\nHost: shop--ann.preview.localhost\r\n\r\n");
            const std::string head = client.read_head();
            if (contains(head, " 200 ")) {
              ++good;
            } else if (contains(head, " 503 ")) {
              ++refused;
            } else if (!head.empty()) {
              ++strange;
            }
          }
        }
      });
    }

    uint64_t generation = 1;
    for (uint64_t revision = 2; revision <= 200; ++revision) {
      switch (revision % 3) {
        case 0:
          world.apply(routes_of(revision, {}));
          break;
        case 1:
          world.apply(routes_of(revision, {route_to(upstream.port(), ++generation)}));
          break;
        default:
          world.apply(
            routes_of(revision, {route_to(upstream.port(), generation, route_state::held)}));
          break;
      }
      // Between two changes something gets through.
      const int before = good + tunnels + refused;
      eventually([&] { return good + tunnels + refused > before; });
    }
    world.apply(routes_of(1000, {}));
    ending = true;
    for (std::thread& t : clients) t.join();
    server.join();
    for (std::thread& t : serving) t.join();

    CHECK(good > 0);
    CHECK(tunnels > 0);
    CHECK(refused > 0);
    CHECK(strange == 0);
    for (std::size_t i = 0; i < 2; ++i) {
      CHECK(eventually(
        [&] { return world.counts(i).connections == 0 && world.counts(i).tunnels == 0; }));
      CHECK(world.counts(i).idle_upstreams == 0);
      CHECK(world.counts(i).held == 0);
    }
  }
  CHECK(resources.difference() == "");
}
