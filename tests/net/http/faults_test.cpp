// The HTTP server and the proxy when system calls fail.
#include <unistd.h>

#include <atomic>
#include <catch2/catch.hpp>
#include <string>
#include <thread>

#include "previewd/os/unique_fd.hpp"
#include "previewd/tests/net/http/world.hpp"
#include "previewd/tests/support/faults.hpp"
#include "previewd/tests/support/resource_check.hpp"
#include "previewd/tests/support/tls_peer.hpp"

using namespace previewd;
using namespace previewd::test;
using faults::armed;
using net::http::http_settings;

namespace {

bool contains(const std::string& text, std::string_view part) {
  return text.find(part) != std::string::npos;
}

struct proxied : http_world {
  explicit proxied(http_settings settings = {}) : http_world{std::move(settings)} {
    to = route_to(upstream.port());
    to.server = actors.make();
    apply(routes_of(1, {to}));
  }
  std::string request(const std::string& method, const std::string& lines = {}) const {
    return method + " /preview/shop/ann/ HTTP/1.1\r\nHost: " + authority() + "\r\n" + lines +
           "\r\n";
  }

  /// Both ends of a WebSocket, and the head that the client has been answered with.
  struct upgraded {
    raw_peer client;
    raw_peer server;
    std::string answer;
  };
  upgraded upgrade() {
    upgraded made{connect(), {}, {}};
    made.client.send(request("GET",
      "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
      "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"));
    made.server = upstream.accept();
    made.server.read_head();
    made.server.send(
      "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n");
    made.answer = made.client.read_head();
    return made;
  }

  told_servers actors;
  raw_server upstream;
  route to;
};

}  // namespace

TEST_CASE(
  "clients that cannot be accepted for the moment are answered afterwards", "[net][http][faults]") {
  const test::fault fault = GENERATE(from_range(all_faults({"http.accept"})));
  INFO(fault.describe());
  // Who waits when there is no descriptor is told so with the one that is kept.
  const bool told = fault.error == EMFILE || fault.error == ENFILE;
  const resource_check resources;
  {
    http_world world;
    const armed failing{"http.accept", fault.plan(1, 3)};

    std::size_t answered = 0;
    for (int i = 0; i < 4 || (answered == 0 && i < 100); ++i) {
      raw_peer client = world.connect();
      client.send("GET /x HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
      const std::string answer = client.read_to_end();
      const bool refused =
        contains(answer, "503 ") && contains(answer, "\"code\":\"out_of_resources\"");
      CHECK((contains(answer, "200 OK") || (told && refused)));
      if (contains(answer, "200 OK")) ++answered;
    }
    CHECK(failing.hits() == 3);
    CHECK(answered > 0);
  }
  CHECK(resources.difference() == "");
}

TEST_CASE(
  "a client that cannot be watched is cut off, and the next one is served", "[net][http][faults]") {
  const test::fault fault = GENERATE(from_range(all_faults({"readiness.watch"})));
  INFO(fault.describe());
  const resource_check resources;
  {
    http_world world;
    const armed failing{fault.at->name(), fault.plan(1, 1)};

    if (fault.error != EINTR) {
      raw_peer first = world.connect();
      CHECK(first.wait_for_end());
      CHECK(failing.hits() == 1);
    }

    CHECK(contains(world.get("/x"), "200 OK"));
  }
  CHECK(resources.difference() == "");
}

TEST_CASE("what connections are waited for with is opened later when it cannot be at the start",
  "[net][http][faults]") {
  const test::fault fault =
    GENERATE(from_range(all_faults({"readiness.create", "readiness.wait"})));
  INFO(fault.describe());
  const resource_check resources;
  {
    const armed failing{fault.at->name(), fault.plan(1, 1)};
    http_world world;
    CHECK(failing.hits() == 1);
    CHECK(contains(world.get("/x"), "200 OK"));
  }
  CHECK(resources.difference() == "");
}

TEST_CASE(
  "an HTTPS server that there is nothing to speak to it with is told so, and met afterwards",
  "[net][http][tls][faults]") {
  const test::fault fault = GENERATE(from_range(all_faults({"tls."})));
  INFO(fault.describe());
  const tls_context context = serving(certificate{});
  const resource_check resources;
  {
    proxied world;
    world.to.upstream.scheme = scheme::https;
    world.apply(routes_of(2, {world.to}));
    raw_peer client = world.connect();
    const bool told = fault.error != EINTR;
    {
      const armed failing{fault.at->name(), fault.plan(1, 1)};
      client.send(world.request("GET"));
      if (told) {
        const std::string answer = client.read_until("}");
        CHECK(contains(answer, "503 "));
        CHECK(contains(answer, "\"code\":\"out_of_resources\""));
        CHECK_FALSE(tls_peer::accept(world.upstream.accept(), context).open());
        CHECK(failing.hits() == 1);
      }
    }

    if (told) client.send(world.request("GET"));
    tls_peer server = tls_peer::accept(world.upstream.accept(), context);
    server.read_head();
    server.send("HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n}");
    CHECK(contains(client.read_until("}"), "200 OK"));
  }
  CHECK(resources.difference() == "");
}

TEST_CASE("each way in which listening can fail is a sentence, and leaves nothing open",
  "[net][http][faults]") {
  const resource_check resources;
  {
    const std::string path = "/tmp/previewd-faults-" + std::to_string(::getpid()) + ".sock";
    std::vector<net::http::listen_spec> where{
      {.address = "127.0.0.1", .port = 0, .path = {}}, {.address = {}, .port = 0, .path = path}};
    // And one that somebody else has opened.
    auto others = net::http::open_listeners({where.front()}, 1);
    REQUIRE(others.error == "");
    const os::unique_fd given{others.listeners.front().sockets.front().release()};
    where.push_back(others.listeners.front().at);
    where.back().descriptor = given.get();
    // A socket that nobody answers at, so that it has to be tried.
    REQUIRE(net::http::open_listeners(where, 2).error == "");
    for (const test::fault& fault : all_faults({"listen."})) {
      for (const uint32_t first : {1U, 2U, 3U, 4U, 5U}) {
        INFO(fault.describe() << ", call " << first);
        const armed failing{fault.at->name(), fault.plan(first)};

        const auto opened = net::http::open_listeners(where, 2);

        if (opened.error.empty()) {
          CHECK(opened.listeners.size() == 3);
          CHECK((fault.error == EINTR || failing.hits() == 0 || fault.error == EADDRINUSE));
        } else {
          CHECK(failing.hits() > 0);
          CHECK(opened.listeners.empty());
          CHECK(contains(opened.error, "cannot listen on "));
        }
      }
    }
    ::unlink(path.c_str());
  }
  CHECK(resources.difference() == "");
}

TEST_CASE(
  "a lack of our own is not held against the server, whoever it is", "[net][proxy][faults]") {
  const test::fault fault = GENERATE(from_range(all_faults({"upstream.socket", "link."})));
  INFO(fault.describe());
  proxied world;
  raw_peer client = world.connect();
  {
    const armed failing{fault.at->name(), fault.plan()};
    client.send(world.request("GET"));
    if (fault.error != EINTR) {
      const std::string answer = client.read_head();
      CHECK(contains(answer, "HTTP/1.1 503 "));
      CHECK(contains(answer, "\r\nRetry-After: 1\r\n"));
      // The same connection, at once: nothing spares a server that was not even asked.
      client = world.connect();
      client.send(world.request("GET"));
    }
  }
  raw_peer server = world.upstream.accept();
  CHECK(contains(server.read_head(), "GET / "));
  server.send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");

  CHECK(contains(client.read_until("ok"), "200 OK"));
  CHECK(world.actors.refusals().empty());
}

TEST_CASE("a probe that cannot be made says nothing against the server", "[net][http][faults]") {
  const test::fault fault = GENERATE(from_range(all_faults({"upstream."})));
  INFO(fault.describe());
  proxied world;
  auto outcome = std::make_shared<std::promise<probe_outcome>>();
  auto said = outcome->get_future();
  const armed failing{fault.at->name(), fault.plan()};

  world.on([&](net::http::server& server) {
    server.probe({.address = "127.0.0.1", .port = world.upstream.port(), .scheme = scheme::http},
      std::chrono::seconds{5},
      [outcome](probe_outcome what, uint64_t) { outcome->set_value(what); });
  });

  REQUIRE(said.wait_for(deadline) == std::future_status::ready);
  CHECK(said.get() == (fault.error == EINTR ? probe_outcome::alive : probe_outcome::timed_out));
}

TEST_CASE("a new server is looked at when there is a descriptor again", "[net][http][faults]") {
  const test::fault fault = GENERATE(from_range(all_faults({"upstream."})));
  INFO(fault.describe());
  proxied world;
  auto seen = std::make_shared<std::promise<identity>>();
  auto said = seen->get_future();
  const armed failing{fault.at->name(), fault.plan(1, 2)};

  world.on([&](net::http::server& server) {
    server.look({.address = "127.0.0.1", .port = world.upstream.port(), .scheme = scheme::http},
      shop, std::chrono::seconds{20}, [seen, done = false](const identity& what) mutable {
        if (what.outcome != identity::verdict::silent && !std::exchange(done, true))
          seen->set_value(what);
      });
  });
  {
    raw_peer server = world.upstream.accept();
    server.read_head();
    server.send(
      "HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nConnection: close\r\n\r\n<!doctype html>");
  }

  REQUIRE(said.wait_for(deadline) == std::future_status::ready);
  CHECK(said.get().outcome == identity::verdict::http);
  CHECK(failing.hits() == 2);
}

TEST_CASE("a reset before the first byte is tried once more, or told, as it may be repeated",
  "[net][proxy][faults]") {
  http_settings settings;
  settings.hold = deadline;  // the verdict comes first, however slow the machine is
  proxied world{settings};
  raw_peer client = world.connect();

  SECTION("a GET on a connection that was idle goes to a fresh one") {
    client.send(world.request("GET"));
    raw_peer first = world.upstream.accept();
    first.read_head();
    first.send("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
    client.read_head();
    client.send(world.request("GET"));
    first.read_head();
    first.reset();
    raw_peer second = world.upstream.accept();
    CHECK(contains(second.read_head(), "GET / "));
    second.send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
    CHECK(contains(client.read_until("ok"), "200 OK"));
  }
  SECTION("a POST is not sent again: the server that took it lives") {
    client.send(world.request("POST", "Content-Length: 1\r\n") + "x");
    raw_peer first = world.upstream.accept();
    first.read_until("\r\n\r\nx");
    first.reset();
    REQUIRE(eventually([&] { return world.actors.refusals().size() == 1; }));
    world.apply(routes_of(2, {world.to}));
    CHECK(contains(client.read_head(), "HTTP/1.1 502 "));
    CHECK_FALSE(world.upstream.has_connection());
  }
  SECTION("in mid-answer the client sees the cut") {
    client.send(world.request("GET"));
    raw_peer first = world.upstream.accept();
    first.read_head();
    first.send("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf");
    CHECK(contains(client.read_until("half"), "200 OK"));
    first.reset();
    CHECK(client.wait_for_end());
  }
}

TEST_CASE(
  "whatever fails while a body is moved, it comes whole by being copied", "[net][proxy][faults]") {
  const test::fault fault = GENERATE(from_range(all_faults({"relay."})));
  const uint32_t first = GENERATE(1U, 2U, 5U);
  INFO(fault.describe() << ", call " << first);
  proxied world;
  const std::string large = pattern(3'000'000);
  const std::string length = "Content-Length: " + std::to_string(large.size()) + "\r\n";
  const armed failing{fault.at->name(), fault.plan(first, 2, 1000)};
  raw_peer client = world.connect();
  std::thread sender{[&] {
    client.send(world.request("PUT", length));
    client.send(large);
  }};
  raw_peer server = world.upstream.accept();
  server.read_head();
  const bool up = server.read_exactly(large.size()) == large;
  sender.join();
  std::thread answerer{[&] {
    server.send("HTTP/1.1 200 OK\r\n" + length + "\r\n");
    server.send(large);
  }};

  client.read_head();
  const bool down = client.read_exactly(large.size()) == large;
  answerer.join();

  CHECK(up);
  CHECK(down);
  CHECK(world.counts().pipes == 0);
}

TEST_CASE(
  "whatever fails while a busy tunnel's bytes are moved, none is lost", "[net][tunnel][faults]") {
  const test::fault fault = GENERATE(from_range(all_faults({"relay."})));
  const uint32_t first = GENERATE(1U, 3U);
  INFO(fault.describe() << ", call " << first);
  proxied world;
  const armed failing{fault.at->name(), fault.plan(first, 2, 1000)};
  proxied::upgraded made = world.upgrade();
  raw_peer& client = made.client;
  raw_peer& server = made.server;
  const std::string large = pattern(3'000'000);
  std::thread writer{[&] { server.send(large); }};

  const bool whole = client.read_exactly(large.size()) == large;
  writer.join();

  CHECK(whole);
  client.close();
  server.close();
  CHECK(eventually([&] { return world.counts().tunnels == 0; }));
  CHECK(world.counts().pipes == 0);
}

TEST_CASE(
  "a tunnel that breaks is closed on both sides, and the next one works", "[net][tunnel][faults]") {
  const test::fault fault = GENERATE(from_range(all_faults({"tunnel.", "readiness.watch"})));
  // The first socket that is watched is the client's, before there is anything to be a tunnel.
  const uint32_t first = GENERATE(2U, 3U, 4U);
  INFO(fault.describe() << ", call " << first);
  proxied world;
  const auto talk = [&] {
    auto [client, server, answer] = world.upgrade();
    // Without a watch on it there is no connection to the server, and the client is told so.
    if (!contains(answer, " 101 ")) return false;
    for (int round = 0; round < 3; ++round) {
      client.send("question");
      const bool heard = server.read_exactly(8) == "question";
      server.send("answer");
      if (heard && client.read_exactly(6) == "answer") continue;
      // Closed for both, then.
      CHECK(client.read_exactly(1).empty());
      CHECK(server.read_exactly(1).empty());
      return false;
    }
    return true;
  };

  uint32_t hits = 0;
  {
    const armed failing{fault.at->name(), fault.plan(first, 1)};
    const bool whole = talk();
    hits = failing.hits();
    CHECK((whole || hits > 0));
  }
  CHECK(talk());
  CHECK(eventually([&] { return world.counts().tunnels == 0; }));
}

TEST_CASE("an answer waits until the client has taken its 100", "[net][http][faults][I3]") {
  http_world world{{}, [](const net::http::exchange_ptr& exchange) {
                     exchange->read_body(1000, [exchange](std::string body) {
                       net::http::response answer;
                       answer.body = std::move(body);
                       exchange->respond(std::move(answer));
                     });
                   }};
  const auto before = world.counts().objects;
  raw_peer client = world.connect();
  // Neither at once, nor when the body has come, is there room for it.
  const armed full{"socket.write", {.error = EAGAIN, .times = 2}};
  client.send(
    "POST / HTTP/1.1\r\nHost: localhost\r\nExpect: 100-continue\r\nContent-Length: "
    "4\r\nConnection: close\r\n\r\n");
  REQUIRE(eventually([&] { return full.hits() >= 1; }));
  client.send("body");
  REQUIRE(eventually([&] { return full.hits() == 2; }));

  // Whatever happens on the socket tells that there is room now.
  client.shutdown();
  const std::string interim = client.read_head();
  const std::string answer = client.read_to_end();
  client.close();

  CHECK(interim == "HTTP/1.1 100 Continue\r\n\r\n");
  CHECK(contains(answer, "HTTP/1.1 200 OK\r\n"));
  CHECK(contains(answer, "\r\n\r\nbody"));
  CHECK(eventually([&] { return world.counts().objects == before; }));
}

TEST_CASE("a request whose socket breaks harms no other one, and a write that is cut goes on",
  "[net][proxy][faults][I3]") {
  const test::fault fault = GENERATE(from_range(all_faults({"socket."})));
  // The client's request is read, the server's is written, its answer read, and ours written.
  const uint32_t first = GENERATE(1U, 2U);
  INFO(fault.describe() << ", call " << first);
  const resource_check resources;
  {
    proxied world;
    std::atomic<bool> over{false};
    std::thread server{[&] {
      while (!over) {
        raw_peer peer = world.upstream.accept();
        if (!peer.read_head().empty())
          peer.send("HTTP/1.1 200 OK\r\nContent-Length: 6\r\nConnection: close\r\n\r\nanswer");
      }
    }};
    uint32_t hits = 0;
    bool whole = false;
    {
      const armed failing{fault.at->name(), fault.plan(first, 1)};
      raw_peer client = world.connect();
      client.send(world.request("GET", "Connection: close\r\n"));
      whole = contains(client.read_to_end(), "answer");
      hits = failing.hits();
    }
    const bool harmless = fault.error == EINTR || fault.error == os::short_transfer;
    CHECK((whole || (!harmless && hits > 0)));

    // Whatever became of the first, also if it never came so far as the server.
    CHECK(eventually([&] {
      raw_peer client = world.connect();
      client.send(world.request("GET", "Connection: close\r\n"));
      return contains(client.read_to_end(), "answer");
    }));
    over = true;
    raw_peer::connect(world.upstream.port()).close();  // ends the wait
    server.join();
  }
  CHECK(resources.difference() == "");
}
