// Clients that come by HTTPS.
#include <catch2/catch.hpp>
#include <string>
#include <thread>
#include <vector>

#include "previewd/tests/net/http/world.hpp"
#include "previewd/tests/support/resource_check.hpp"
#include "previewd/tests/support/temporary_folder.hpp"
#include "previewd/tests/support/tls_peer.hpp"

using namespace previewd;
using namespace previewd::test;
using net::http::http_settings;

namespace {

bool contains(const std::string& text, std::string_view part) {
  return text.find(part) != std::string::npos;
}

std::shared_ptr<const net::tls::server_context> context_of(const certificate& shown) {
  temporary_folder folder;
  auto loaded = net::tls::load_certificate({.certificate = folder.write("tls.pem", shown.pem),
    .key = folder.write("tls.key", shown.key_pem)});
  REQUIRE(std::holds_alternative<std::shared_ptr<const net::tls::server_context>>(loaded));
  return std::get<0>(std::move(loaded));
}

http_settings secure(http_settings settings = {}) {
  settings.over = net::http::transport::tls;
  return settings;
}

struct secure_world : http_world {
  explicit secure_world(
    http_settings settings = {}, net::http::service_handler service = {}, std::size_t threads = 1)
      : http_world{secure(std::move(settings)), std::move(service), threads} {
    show(own);
    apply(routes_of(1, {route_to(upstream.port())}));
  }
  void show(const certificate& what) {
    const auto context = context_of(what);
    for (uint32_t i = 0; i < count; ++i)
      on([context](net::http::server& server) { server.show(context); }, i);
  }
  tls_peer connect(const certificate& known) const {
    return tls_peer::connect(http_world::connect(), believing(known));
  }
  tls_peer connect() const { return connect(own); }
  std::string request(const std::string& method_and_path, const std::string& lines = {}) const {
    return method_and_path + " HTTP/1.1\r\nHost: " + authority() + "\r\n" + lines + "\r\n";
  }

  certificate own;
  raw_server upstream;
  uint32_t count = 1;
};

}  // namespace

TEST_CASE("a client by HTTPS is answered, and its address is", "[net][http][tls]") {
  secure_world world;
  const std::string protocols = GENERATE(std::string{}, std::string{"\x02h2\x08http/1.1", 12});
  tls_peer client = tls_peer::connect(
    static_cast<const http_world&>(world).connect(), believing(world.own), protocols);
  REQUIRE(client.open());

  client.send(world.request("GET /x"));
  const std::string service = client.read_until("service /x");
  client.send(world.request("GET /preview/shop/ann/", navigation));
  raw_peer server = world.upstream.accept();
  const std::string seen = server.read_head();
  server.send("HTTP/1.1 302 Found\r\nLocation: http://localhost:" +
              std::to_string(world.upstream.port()) + "/b\r\nContent-Length: 1\r\n\r\n!");
  const std::string preview = client.read_until("!");

  const unsigned char* protocol = nullptr;
  unsigned int length = 0;
  SSL_get0_alpn_selected(client.connection(), &protocol, &length);
  CHECK(length == (protocols.empty() ? 0 : 8));
  CHECK(contains(service, "HTTP/1.1 200 OK"));
  CHECK(contains(seen, "X-Forwarded-Proto: https\r\n"));
  CHECK(contains(preview, "Location: https://" + world.authority() + "/preview/shop/ann/b\r\n"));
  CHECK(contains(preview, "; SameSite=Lax; Secure\r\n"));
}

TEST_CASE("a client of TLS 1.1, or of other protocols alone, is not answered", "[net][http][tls]") {
  secure_world world;
  const bool old = GENERATE(true, false);
  const auto context = believing(world.own);
  if (old) SSL_CTX_set_max_proto_version(context.get(), TLS1_1_VERSION);

  tls_peer client = tls_peer::connect(static_cast<const http_world&>(world).connect(), context,
    old ? std::string_view{} : std::string_view{"\x02h2", 3});

  CHECK_FALSE(client.open());
  CHECK(eventually([&] { return world.counts().connections == 0; }));
}

TEST_CASE("large bodies go both ways by HTTPS, and a slow reader stalls its writer",
  "[net][proxy][tls][I5]") {
  secure_world world;
  const std::string up = pattern(5'000'000);
  const std::string down{up.rbegin(), up.rend()};
  tls_peer client = world.connect();

  client.send(world.request(
    "POST /preview/shop/ann/", "Content-Length: " + std::to_string(up.size()) + "\r\n"));
  raw_peer server = world.upstream.accept();
  server.read_head();
  std::thread sender{[&] { client.send(up); }};
  const std::string seen = server.read_exactly(up.size());
  sender.join();
  std::thread answering{[&] {
    server.send("HTTP/1.1 200 OK\r\nContent-Length: " + std::to_string(down.size()) + "\r\n\r\n");
    server.send(down);
  }};
  client.read_head();
  const std::string answer = client.read_exactly(down.size());
  answering.join();

  CHECK(seen == up);
  CHECK(answer == down);
}

TEST_CASE("a WebSocket by HTTPS is passed through, and ends with a word", "[net][tunnel][tls]") {
  secure_world world;
  tls_peer client = world.connect();
  client.send(
    "GET /ws HTTP/1.1\r\nHost: shop--ann.preview.localhost\r\nConnection: Upgrade\r\n"
    "Upgrade: websocket\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
    "Sec-WebSocket-Version: 13\r\nOrigin: https://shop--ann.preview.localhost\r\n\r\n");
  raw_peer server = world.upstream.accept();
  server.read_head();
  server.send(
    "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n");
  const std::string head = client.read_head();

  client.send("up");
  const std::string up = server.read_exactly(2);
  server.send("down, and the last of it");
  server.close();

  CHECK(contains(head, "101 Switching Protocols"));
  CHECK(up == "up");
  CHECK(client.read_to_end() == "down, and the last of it");
  CHECK(client.said_so());
  CHECK(eventually([&] { return world.counts().tunnels == 0; }));
}

TEST_CASE("an answer that lasts until the end ends with a word, and one that is cut does not",
  "[net][proxy][tls]") {
  secure_world world;
  tls_peer client = world.connect();
  client.send(world.request("GET /preview/shop/ann/"));
  raw_peer server = world.upstream.accept();
  server.read_head();
  const bool cut = GENERATE(false, true);

  server.send("HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n\r\nall of it");
  const std::string answer = client.read_until("all of it");
  if (cut) {
    server.reset();
  } else {
    server.close();
  }

  CHECK(contains(answer, "all of it"));
  CHECK(client.wait_for_end());
  CHECK(client.said_so() == !cut);
}

TEST_CASE("a slow client gets the whole of an answer that ends its connection, as long as it reads",
  "[net][proxy][tls]") {
  http_settings settings;
  settings.drain = std::chrono::milliseconds{1200};
  secure_world world{settings};
  // Little room on the way: most of the answer waits in previewd when all of it has been written.
  const int few_bytes = 8192;
  const int small_segments = 536;
  const int descriptor = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  ::setsockopt(descriptor, SOL_SOCKET, SO_RCVBUF, &few_bytes, sizeof few_bytes);
  ::setsockopt(descriptor, IPPROTO_TCP, TCP_MAXSEG, &small_segments, sizeof small_segments);
  raw_peer slow{descriptor};
  slow.connect_to(world.port());
  tls_peer client = tls_peer::connect(std::move(slow), believing(world.own));
  const std::string body = pattern(160'000);
  client.send(world.request("GET /preview/shop/ann/", "Connection: close\r\n"));
  raw_peer server = world.upstream.accept();
  server.read_head();
  server.send("HTTP/1.1 200 OK\r\nContent-Length: " + std::to_string(body.size()) + "\r\n\r\n");
  server.send(body);
  REQUIRE(eventually([&] { return world.counts().idle_upstreams == 1; }));
  REQUIRE(eventually([&] { return world.counts().connections == 0; }));

  // All of it takes more than twice as long as one that reads nothing is waited for.
  constexpr std::size_t step = 8192;
  const std::string head = client.read_head();
  std::string got;
  auto due = std::chrono::steady_clock::now();
  for (std::size_t last = step; last == step;) {
    due += std::chrono::milliseconds{150};
    eventually([&] { return std::chrono::steady_clock::now() >= due; });
    const std::string part = client.read_exactly(step);
    last = part.size();
    got += part;
  }

  CHECK(contains(head, "200 OK"));
  CHECK((got == body));
  CHECK(client.wait_for_end());
  CHECK(client.said_so());
}

TEST_CASE(
  "a client that ends its side is answered yet, and then the end is said", "[net][http][tls]") {
  secure_world world;
  tls_peer client = world.connect();

  client.send(world.request("GET /preview/shop/ann/", "Connection: close\r\n"));
  client.end();
  raw_peer server = world.upstream.accept();
  server.read_head();
  server.send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");

  CHECK(contains(client.read_to_end(), "\r\n\r\nok"));
  CHECK(client.said_so());
  CHECK(eventually([&] { return world.counts().connections == 0; }));
}

TEST_CASE("plain HTTP on a port of HTTPS is told so, and garbage is closed", "[net][http][tls]") {
  secure_world world;
  const auto [said, answer] = GENERATE(table<std::string, std::string>({
    {"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n", "HTTP/1.1 400 Bad Request\r\n"},
    {std::string(100, '\0'), ""},
    {"\x16\x03\x01\xff\xff\x01", ""},
    {"SSH-2.0-OpenSSH_9.2\r\n", ""},
  }));
  raw_peer client = static_cast<const http_world&>(world).connect();

  client.send(said);
  const std::string heard = client.read_to_end();

  if (answer.empty()) {
    CHECK_FALSE(contains(heard, "HTTP/"));
  } else {
    CHECK(contains(heard, answer));
    CHECK(contains(heard, "https"));
  }
  CHECK(eventually([&] { return world.counts().connections == 0; }));
}

TEST_CASE("handshakes that are never finished count as connections, and are bounded in time",
  "[net][http][tls][I5]") {
  http_settings settings;
  settings.connections = 100;
  settings.header_timeout = std::chrono::milliseconds{2500};
  const bool some_bytes = GENERATE(false, true);
  secure_world world{settings};
  std::vector<raw_peer> idle;
  for (int i = 0; i < 200; ++i) {
    idle.push_back(static_cast<const http_world&>(world).connect());
    if (some_bytes) idle.back().send("\x16\x03\x01");
  }

  REQUIRE(eventually([&] { return world.counts().connections == 100; }));
  // They go, and the rest after them; then there is room again.
  for (raw_peer& each : idle) CHECK(each.wait_for_end());
  tls_peer client = world.connect();
  client.send(world.request("GET /x"));

  CHECK(contains(client.read_until("service /x"), "200 OK"));
  CHECK(world.counts().connections <= 1);
}

TEST_CASE("limits.per_address counts clients before they shake hands", "[net][http][tls][I5]") {
  http_settings settings;
  settings.per_address = 2;
  secure_world world{settings};
  raw_peer first = static_cast<const http_world&>(world).connect();
  raw_peer second = static_cast<const http_world&>(world).connect();
  REQUIRE(eventually([&] { return world.counts().connections == 2; }));

  tls_peer third = world.connect();
  const std::string answer = third.read_to_end();

  CHECK(contains(answer, "HTTP/1.1 429 "));
  CHECK(contains(answer, "limits.per_address"));
}

TEST_CASE("another certificate is for those who come, and who is there stays", "[net][http][tls]") {
  secure_world world;
  tls_peer old = world.connect();
  old.send(world.request("GET /1"));
  old.read_until("service /1");
  const certificate next;

  world.show(next);
  tls_peer stranger = world.connect();
  tls_peer client = world.connect(next);
  client.send(world.request("GET /2"));
  old.send(world.request("GET /3"));

  CHECK_FALSE(stranger.open());
  CHECK(contains(client.read_until("service /2"), "200 OK"));
  CHECK(contains(old.read_until("service /3"), "200 OK"));
}

TEST_CASE(
  "a connection by HTTPS moves to another thread and stays what it is", "[net][http][tls]") {
  std::vector<net::io_thread*> threads;
  const auto service = [&threads](net::http::exchange_ptr exchange) {
    net::io_thread* other = threads[1 - exchange->thread().index()];
    if (exchange->head().target == "/move" && exchange->thread().index() == 0) {
      exchange->move_to(*other);
      return;
    }
    net::http::response answer;
    answer.body =
      std::string{exchange->scheme()} + " on " + std::to_string(exchange->thread().index()) + '!';
    exchange->respond(std::move(answer));
  };
  secure_world world{{}, service, 2};
  world.count = 2;
  world.show(world.own);
  threads = {&world.thread(0), &world.thread(1)};
  // Which thread the kernel gives a connection to is its own affair: some begin on the first.
  for (int i = 0; i < 8; ++i) {
    tls_peer client = world.connect();
    client.send(world.request("GET /move"));
    CHECK(contains(client.read_until("!"), "https on 1!"));
    client.send(world.request("GET /again"));
    CHECK(contains(client.read_until("!"), "https on 1!"));
  }
  CHECK(eventually([&] { return world.counts(1).connections == 0; }));
}

TEST_CASE("pages that came by HTTP are not the service's own where it speaks HTTPS",
  "[net][http][tls][I6]") {
  secure_world world;
  tls_peer client = world.connect();

  client.send(world.request("GET /x", "Origin: https://" + world.authority() + "\r\n"));
  const std::string own = client.read_until("service /x");
  client.send(world.request("GET /x", "Origin: http://" + world.authority() + "\r\n"));
  const std::string foreign = client.read_until("}");

  CHECK(contains(own, "200 OK"));
  CHECK(contains(foreign, "403 "));
  CHECK(contains(foreign, "origin_not_allowed"));
}

TEST_CASE("nothing is left of clients by HTTPS", "[net][http][tls][I3]") {
  { secure_world warm; }
  const resource_check resources;
  {
    secure_world world;
    tls_peer idle = world.connect();
    raw_peer in_handshake = static_cast<const http_world&>(world).connect();
    tls_peer proxied = world.connect();
    proxied.send(world.request("GET /preview/shop/ann/"));
    raw_peer server = world.upstream.accept();
    server.read_head();
    server.send("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf");
    proxied.read_until("half");
    world.connect().close();
  }
  CHECK(resources.difference() == "");
}

TEST_CASE("certificates that cannot be shown are told in a sentence", "[net][tls]") {
  const certificate one;
  const certificate other;
  temporary_folder folder;
  const std::string good = folder.write("tls.pem", one.pem);
  const std::string key = folder.write("tls.key", one.key_pem);
  const auto why = [](const std::string& certificate_file, const std::string& key_file) {
    auto loaded = net::tls::load_certificate({.certificate = certificate_file, .key = key_file});
    const auto* sentence = std::get_if<std::string>(&loaded);
    return sentence != nullptr ? *sentence : std::string{};
  };

  CHECK(why(good, key) == "");
  CHECK(why(folder.write("chain.pem", one.pem + other.pem), key) == "");
  CHECK(why(folder.path() + "/none", key) == "the certificate file " + folder.path() +
                                               "/none cannot be read: No such file or directory");
  CHECK(why(good, folder.path()) == "the key file " + folder.path() + " is not a file");
  CHECK(contains(why(key, key), "has no certificate in PEM"));
  CHECK(contains(why(good, good), "has no private key in PEM"));
  CHECK(contains(why(folder.write("cut.pem", one.pem + one.pem.substr(0, 200)), key),
    "has something that is not a certificate in PEM"));
  CHECK(contains(
    why(good, folder.write("other.key", other.key_pem)), "is not the key of the certificate"));
  CHECK(contains(why(good, folder.write("open.key", one.key_pem, 0644)),
    "is open to every user of this machine"));
  CHECK(contains(why(good, folder.write("locked.key",
                             "-----BEGIN ENCRYPTED PRIVATE KEY-----\n"
                             "MIHsMFcGCSqGSIb3DQEFDTBKMCkGCSqGSIb3DQEFDDAcBAgAAAAAAAAAAAICCAAw\n"
                             "-----END ENCRYPTED PRIVATE KEY-----\n")),
    "the key file"));
}
