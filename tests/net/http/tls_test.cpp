// Dev servers that speak HTTPS.
#include <catch2/catch.hpp>
#include <string>
#include <thread>

#include "previewd/tests/net/http/world.hpp"
#include "previewd/tests/support/resource_check.hpp"
#include "previewd/tests/support/tls_peer.hpp"

using namespace previewd;
using namespace previewd::test;
using net::http::http_settings;

namespace {

bool contains(const std::string& text, std::string_view part) {
  return text.find(part) != std::string::npos;
}

constexpr std::size_t ten_megabytes = 10 * 1000 * 1000;

const std::string upgrade =
  "GET /ws?token=x HTTP/1.1\r\nHost: shop--ann.preview.localhost\r\nConnection: keep-alive, "
  "Upgrade\r\nUpgrade: websocket\r\n"
  "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n";
const std::string switched =
  "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n";

// Goes after the servers that know its actors.
struct with_actors {
  told_servers actors;
};

struct tls_world : with_actors, http_world {
  explicit tls_world(http_settings settings = {}) : http_world{std::move(settings)} {
    apply(routes_of(1, {secure()}));
  }
  route secure(uint64_t generation = 1, route_state state = route_state::up) {
    route result = route_to(upstream.port(), generation, state);
    result.upstream.scheme = scheme::https;
    if (!actor) actor = actors.make();
    result.server = actor;
    return result;
  }
  tls_peer accept() { return tls_peer::accept(upstream.accept(), context); }
  std::string request(const std::string& method_and_path, const std::string& lines = {}) const {
    return method_and_path + " HTTP/1.1\r\nHost: " + authority() + "\r\n" + lines + "\r\n";
  }
  // A tunnel.
  void open() {
    client = connect();
    client.send(upgrade);
    server = accept();
    seen = server.read_head();
    server.send(switched);
    REQUIRE(contains(client.read_head(), "101 Switching Protocols"));
  }

  preview_server_actor actor;
  raw_server upstream;
  tls_context context = serving(certificate{});
  raw_peer client;
  tls_peer server;
  std::string seen;
};

http_settings quick() {
  http_settings settings;
  settings.hold = std::chrono::milliseconds{150};
  settings.drain = std::chrono::milliseconds{500};
  return settings;
}

}  // namespace

TEST_CASE("an HTTPS server gets the request as it knows itself", "[net][proxy][tls]") {
  tls_world world;
  const std::string port = std::to_string(world.upstream.port());
  raw_peer client = world.connect();

  client.send(world.request(
    "GET /preview/shop/ann/a?x", "Origin: http://" + world.authority() + "\r\nReferer: http://" +
                                   world.authority() + "/preview/shop/ann/p\r\n"));
  tls_peer server = world.accept();
  REQUIRE(server.open());
  const std::string seen = server.read_head();
  server.send("HTTP/1.1 302 Found\r\nContent-Length: 5\r\nLocation: https://localhost:" + port +
              "/b\r\nSet-Cookie: a=b; Secure; Path=/; HttpOnly\r\nSet-Cookie: c=d; Secure; "
              "SameSite=None\r\nSet-Cookie: __Host-e=f; Secure; Path=/\r\n"
              "Strict-Transport-Security: max-age=9\r\nAlt-Svc: h3=\":443\"\r\n\r\nhello");
  const std::string answer = client.read_until("hello");

  CHECK(contains(seen, "GET /a?x HTTP/1.1\r\nHost: localhost:" + port + "\r\n"));
  CHECK(contains(seen, "\r\nOrigin: https://localhost:" + port + "\r\n"));
  CHECK(contains(seen, "\r\nReferer: https://localhost:" + port + "/p\r\n"));
  CHECK(contains(seen, "\r\nX-Forwarded-Proto: http\r\n"));
  CHECK(
    std::string{SSL_get_servername(server.connection(), TLSEXT_NAMETYPE_host_name)} == "localhost");
  const unsigned char* protocol = nullptr;
  unsigned int length = 0;
  SSL_get0_alpn_selected(server.connection(), &protocol, &length);
  CHECK(std::string(reinterpret_cast<const char*>(protocol), length) == "http/1.1");
  CHECK(contains(answer, "HTTP/1.1 302 Found\r\n"));
  CHECK(contains(answer, "\r\nLocation: http://" + world.authority() + "/preview/shop/ann/b\r\n"));
  CHECK(contains(answer, "\r\nSet-Cookie: a=b; Path=/preview/shop/ann/; HttpOnly\r\n"));
  CHECK(contains(answer, "\r\nSet-Cookie: c=d; Secure; SameSite=None\r\n"));
  CHECK(contains(answer, "\r\nSet-Cookie: __Host-e=f; Secure; Path=/\r\n"));
  CHECK_FALSE(contains(answer, "Strict-Transport-Security"));
  CHECK_FALSE(contains(answer, "Alt-Svc"));
}

TEST_CASE("a connection to an HTTPS server is used again, and a new one resumes its session",
  "[net][proxy][tls]") {
  tls_world world;
  raw_peer client = world.connect();
  const std::string request = world.request("GET /preview/shop/ann/");
  client.send(request);
  tls_peer first = world.accept();
  first.read_head();
  first.send("HTTP/1.1 204 No Content\r\n\r\n");
  client.read_head();

  client.send(request);
  CHECK(contains(first.read_head(), "GET / HTTP/1.1"));
  first.send("HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n");
  client.read_head();
  client.send(request);
  tls_peer second = world.accept();
  second.read_head();
  second.send("HTTP/1.1 204 No Content\r\n\r\n");

  CHECK(contains(client.read_head(), "204 No Content"));
  CHECK(SSL_session_reused(first.connection()) == 0);
  CHECK(SSL_session_reused(second.connection()) == 1);
}

TEST_CASE("large bodies go both ways at once through TLS, in records of any size",
  "[net][proxy][tls][I5]") {
  tls_world world;
  const std::size_t record = GENERATE(1, 700, 16384, 100000);
  const std::size_t size = record == 1 ? 20000 : ten_megabytes;
  const std::string up = pattern(size);
  const std::string down{up.rbegin(), up.rend()};
  raw_peer client = world.connect();

  client.send(
    world.request("POST /preview/shop/ann/", "Content-Length: " + std::to_string(size) + "\r\n"));
  tls_peer server = world.accept();
  server.read_head();
  std::thread sender{[&] { client.send(up); }};
  const std::string seen = server.read_exactly(size);
  sender.join();
  std::thread answering{[&] {
    server.send("HTTP/1.1 200 OK\r\nContent-Length: " + std::to_string(size) + "\r\n\r\n");
    for (std::size_t at = 0; at < size; at += record) server.send(down.substr(at, record));
  }};
  client.read_head();
  const std::string answer = client.read_exactly(size);
  answering.join();

  CHECK(seen == up);
  CHECK(answer == down);
}

TEST_CASE(
  "an HTTPS server that answers without reading a large body is heard", "[net][proxy][tls][I5]") {
  tls_world world;
  const std::string body = pattern(ten_megabytes);
  raw_peer client = world.connect();
  std::thread sender{[&] {
    client.send(world.request(
      "POST /preview/shop/ann/", "Content-Length: " + std::to_string(body.size()) + "\r\n"));
    client.send(body);
  }};
  tls_peer server = world.accept();
  server.read_head();

  server.send("HTTP/1.1 200 OK\r\nContent-Length: " + std::to_string(body.size()) + "\r\n\r\n");
  std::thread answering{[&] { server.send(body); }};
  const std::string head = client.read_head();
  const std::string answer = client.read_exactly(body.size());
  answering.join();
  server.close();
  sender.join();

  CHECK(contains(head, "200 OK"));
  CHECK(answer == body);
}

TEST_CASE(
  "an answer that lasts until the end ends cleanly, with a word or without, and a reset is "
  "seen as one",
  "[net][proxy][tls]") {
  tls_world world;
  raw_peer client = world.connect();
  client.send(world.request("GET /preview/shop/ann/"));
  tls_peer server = world.accept();
  server.read_head();
  const bool cut = GENERATE(false, true);
  const bool word = GENERATE(false, true);

  server.send("HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n\r\nall of it");
  const std::string answer = client.read_until("all of it");
  if (cut) {
    server.reset();
  } else {
    if (word) server.end();
    server.close();
  }
  CHECK(client.wait_for_end());

  CHECK(contains(answer, "all of it"));
  CHECK(client.was_reset() == cut);
}

TEST_CASE("a WebSocket is passed through TLS both ways, and counted", "[net][tunnel][tls]") {
  tls_world world;
  world.open();
  world.client.send("12345");
  const std::string up = world.server.read_exactly(5);
  world.server.send("123");
  const std::string down = world.client.read_exactly(3);

  std::vector<net::http::tunnel_info> listed;
  CHECK(eventually([&] {
    listed = world.on([](net::http::server& server) { return server.tunnels(); });
    return listed.size() == 1 && listed[0].bytes_up == 5 && listed[0].bytes_down == 3;
  }));
  CHECK(up == "12345");
  CHECK(down == "123");
  CHECK(contains(
    world.seen, "Origin: https://localhost:" + std::to_string(world.upstream.port()) + "\r\n"));
}

TEST_CASE("a busy WebSocket over TLS keeps its bytes in order, and its reader's pace",
  "[net][tunnel][tls][I5]") {
  tls_world world;
  world.open();
  const std::string large = pattern(2 * ten_megabytes);
  std::thread writer{[&] { world.server.send(large); }};
  world.client.send("ping");

  const std::string up = world.server.read_exactly(4);
  const bool down = world.client.read_exactly(large.size()) == large;
  writer.join();

  CHECK(up == "ping");
  CHECK(down);
}

TEST_CASE("tunnels end with their HTTPS server, however it ends", "[net][tunnel][tls]") {
  tls_world world;
  world.open();
  const int how = GENERATE(0, 1, 2);
  world.server.send("bye");
  const std::string last = world.client.read_exactly(3);

  if (how == 0) world.server.close();
  if (how == 1) world.server.end();
  if (how == 2) world.server.reset();

  CHECK(last == "bye");
  CHECK(world.client.wait_for_end());
  CHECK(eventually([&] { return world.counts().tunnels == 0; }));
}

TEST_CASE("when the client of a tunnel ends, its HTTPS server hears of it and may answer",
  "[net][tunnel][tls]") {
  tls_world world;
  world.open();

  world.client.send("last");
  world.client.shutdown();
  const std::string up = world.server.read_exactly(4);
  CHECK(world.server.wait_for_end());
  world.server.send("close frame");
  world.server.close();

  CHECK(up == "last");
  CHECK(world.server.said_so());
  CHECK(world.client.read_to_end() == "close frame");
}

TEST_CASE(
  "routes without an HTTPS server close all that is open to it at once", "[net][tunnel][tls][I2]") {
  tls_world world;
  world.open();
  raw_peer other = world.connect();
  other.send(world.request("GET /preview/shop/ann/"));
  tls_peer pooled = world.accept();
  pooled.read_head();
  pooled.send("HTTP/1.1 204 No Content\r\n\r\n");
  other.read_head();
  REQUIRE(eventually([&] { return world.counts().idle_upstreams == 1; }));
  const bool held = GENERATE(false, true);

  world.on([&](net::http::server& server) {
    server.apply(held ? routes_of(2, {world.secure(1, route_state::held)}) : routes_of(2, {}));
  });

  CHECK(world.counts().tunnels == 0);
  CHECK(world.counts().idle_upstreams == 0);
  CHECK(world.server.wait_for_end());
  CHECK(pooled.wait_for_end());
  CHECK(world.client.wait_for_end());
}

TEST_CASE("a server that does not speak TLS after all is a 502", "[net][proxy][tls]") {
  http_settings settings = quick();
  settings.connect_timeout = deadline;  // it has said so first, however slow the machine is
  tls_world world{settings};
  raw_peer client = world.connect();
  const std::string said = GENERATE(as<std::string>{}, "HTTP/1.1 400 Bad Request\r\n\r\n",
    "\x16\x03\x03\xff\xff garbage", std::string(100000, 'x'));

  client.send(world.request("GET /preview/shop/ann/"));
  raw_peer server = world.upstream.accept();
  server.read_exactly(5);
  server.send(said);
  const std::string answer = client.read_until("}");

  CHECK(contains(answer, "HTTP/1.1 502 "));
  CHECK(contains(answer, "\"code\":\"bad_gateway\""));
  CHECK(server.wait_for_end());
}

TEST_CASE("a handshake that never ends is a 504 by proxy.connect_timeout", "[net][proxy][tls]") {
  http_settings settings = quick();
  settings.connect_timeout = std::chrono::milliseconds{300};
  tls_world world{settings};
  raw_peer client = world.connect();

  client.send(world.request("GET /preview/shop/ann/"));
  raw_peer server = world.upstream.accept();
  const std::string answer = client.read_until("}");

  CHECK(contains(answer, "HTTP/1.1 504 "));
  CHECK(contains(answer, "\"code\":\"timed_out\""));
  CHECK(server.wait_for_end());
}

TEST_CASE("a server that goes away in the handshake is asked once more, and then is a 502",
  "[net][proxy][tls]") {
  http_settings settings;
  settings.hold = deadline;  // both verdicts come first, however slow the machine is
  tls_world world{settings};
  raw_peer client = world.connect();
  const std::string method = GENERATE("GET", "POST");

  client.send(world.request(method + " /preview/shop/ann/"));
  world.upstream.accept().close();
  REQUIRE(eventually([&] { return world.actors.refusals().size() == 1; }));
  const bool comes_back = GENERATE(false, true);
  world.apply(routes_of(2, {world.secure()}));
  std::string answer;
  if (comes_back) {
    tls_peer server = world.accept();
    server.read_head();
    server.send("HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n}");
    answer = client.read_until("}");
  } else {
    world.upstream.accept().close();
    REQUIRE(eventually([&] { return world.actors.refusals().size() == 2; }));
    world.apply(routes_of(3, {world.secure()}));
    answer = client.read_until("}");
  }

  CHECK(contains(answer, comes_back ? "HTTP/1.1 200 OK" : "HTTP/1.1 502 "));
}

TEST_CASE("a client that gives up in the handshake leaves nothing behind", "[net][proxy][tls]") {
  tls_world world{quick()};
  const auto before = world.counts().objects;
  raw_peer client = world.connect();
  client.send(upgrade);
  raw_peer server = world.upstream.accept();

  client.close();

  CHECK(server.wait_for_end());
  CHECK(eventually([&] { return world.counts().objects == before; }));
}

TEST_CASE("nothing is left of connections to HTTPS servers", "[net][proxy][tls][I3]") {
  { tls_world warm; }
  const resource_check resources;
  {
    http_settings settings = quick();
    settings.connect_timeout = deadline;  // the last one shakes hands until the end
    tls_world world{settings};
    world.open();
    raw_peer other = world.connect();
    other.send(world.request("GET /preview/shop/ann/"));
    tls_peer pooled = world.accept();
    pooled.read_head();
    pooled.send("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf");
    other.read_until("half");
    raw_peer third = world.connect();
    third.send(world.request("GET /preview/shop/ann/"));
    raw_peer in_handshake = world.upstream.accept();
    in_handshake.read_exactly(5);
  }
  CHECK(resources.difference() == "");
}

TEST_CASE(
  "a look finds out that a server speaks HTTPS, and one by what was printed", "[net][look][tls]") {
  tls_world world;
  const auto expected = GENERATE(scheme::http, scheme::https);
  const bool https = GENERATE(false, true);
  auto said = std::make_shared<std::promise<identity>>();
  auto seen = said->get_future();

  world.on([&](net::http::server& server) {
    server.look(
      {"127.0.0.1", world.upstream.port(), expected}, shop, deadline, [said](const identity& what) {
        if (what.outcome != identity::verdict::silent) said->set_value(what);
      });
  });
  const std::string page =
    "HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nConnection: close\r\n"
    "Content-Length: 12\r\n\r\n@vite/client";
  const bool first_fits = (expected == scheme::https) == https;
  if (https) {
    // Plain HTTP is closed without a word, as node does.
    if (!first_fits) CHECK_FALSE(world.accept().open());
    tls_peer server = world.accept();
    REQUIRE(server.open());
    CHECK(contains(server.read_head(), "GET / HTTP/1.1\r\nHost: localhost:"));
    server.send(page);
    server.close();
  } else {
    if (!first_fits) {
      raw_peer server = world.upstream.accept();
      server.read_exactly(5);
      server.send("HTTP/1.1 400 Bad Request\r\n\r\n");
      server.close();
    }
    raw_peer server = world.upstream.accept();
    CHECK(contains(server.read_head(), "GET / HTTP/1.1\r\nHost: localhost:"));
    server.send(page);
    server.close();
  }
  REQUIRE(seen.wait_for(deadline) == std::future_status::ready);
  const identity what = seen.get();

  CHECK(what.outcome == identity::verdict::http);
  CHECK(what.scheme == (https ? scheme::https : scheme::http));
  CHECK(what.type == "vite");
  CHECK(what.html);
}

TEST_CASE("a 400 is believed to be HTTP's own when TLS is not understood", "[net][look][tls]") {
  tls_world world;
  enum class other { tls, refusal, end, silence, broken_tls };
  const auto how =
    GENERATE(other::tls, other::refusal, other::end, other::silence, other::broken_tls);
  auto said = std::make_shared<std::promise<identity>>();
  auto seen = said->get_future();
  const std::string bad_request =
    "HTTP/1.1 400 \r\nContent-Type: text/plain\r\n"
    "Content-Length: 59\r\nConnection: close\r\n\r\nBad Request\n"
    "This combination of host and port requires TLS.";

  // For longer than the test: what does not answer must not last as long as the look.
  world.on([&](net::http::server& server) {
    server.look({"127.0.0.1", world.upstream.port(), scheme::http}, shop, 10 * deadline,
      [said](const identity& what) {
        if (what.outcome != identity::verdict::silent && what.settled) said->set_value(what);
      });
  });
  raw_peer plain = world.upstream.accept();
  CHECK(contains(plain.read_head(), "GET / HTTP/1.1\r\n"));
  plain.send(bad_request);
  raw_peer trial;
  if (how == other::tls) {
    tls_peer server = world.accept();
    REQUIRE(server.open());
    CHECK(contains(server.read_head(), "GET / HTTP/1.1\r\n"));
    server.send("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
  } else {
    if (how == other::broken_tls) {
      world.accept().close();
    } else {
      trial = world.upstream.accept();
      trial.read_exactly(5);
      if (how == other::refusal) trial.send(bad_request);
      if (how != other::silence) trial.close();
    }
    raw_peer again = world.upstream.accept();
    CHECK(contains(again.read_head(), "GET /preview/shop/ann/ HTTP/1.1\r\n"));
    again.send("HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n");
  }
  REQUIRE(seen.wait_for(deadline) == std::future_status::ready);
  const identity what = seen.get();

  CHECK(what.outcome == identity::verdict::http);
  CHECK(what.scheme == (how == other::tls ? scheme::https : scheme::http));
  CHECK(what.status == (how == other::tls ? 200 : 400));
}

TEST_CASE("who ends without a byte is told apart from who speaks neither HTTP nor TLS",
  "[net][look][tls]") {
  tls_world world;
  enum class other { end, reset, banner };
  const auto how = GENERATE(other::end, other::reset, other::banner);
  const auto expected = GENERATE(scheme::http, scheme::https);
  auto said = std::make_shared<std::promise<identity>>();
  auto seen = said->get_future();

  world.on([&](net::http::server& server) {
    server.look(
      {"127.0.0.1", world.upstream.port(), expected}, shop, deadline, [said](const identity& what) {
        if (what.outcome != identity::verdict::silent) said->set_value(what);
      });
  });
  // Bytes that are no HTTP are no TLS either.
  const int times = how == other::banner && expected == scheme::http ? 1 : 2;
  for (int i = 0; i < times; ++i) {
    raw_peer server = world.upstream.accept();
    server.read_exactly(5);
    if (how == other::banner) server.send("-ERR unknown command\r\n");
    if (how == other::reset) {
      server.reset();
    } else {
      server.shutdown();
      server.wait_for_end();
    }
  }
  REQUIRE(seen.wait_for(deadline) == std::future_status::ready);

  CHECK(seen.get().outcome ==
        (how == other::banner ? identity::verdict::not_http : identity::verdict::closed));
}
