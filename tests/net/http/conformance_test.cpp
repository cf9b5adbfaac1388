#include <algorithm>
#include <catch2/catch.hpp>
#include <iterator>
#include <string>

#include "previewd/net/http/router.hpp"
#include "previewd/tests/net/http/conformance_rows.hpp"
#include "previewd/tests/net/http/world.hpp"

using namespace previewd;
using namespace previewd::test;
using net::http::front_address;
using net::http::http_settings;

namespace {

const std::string host = "shop--ann.preview.localhost";

void replace(std::string& text, std::string_view what, std::string_view with) {
  for (std::size_t at = 0; (at = text.find(what, at)) != std::string::npos; at += with.size())
    text.replace(at, what.size(), with);
}

http_settings strict() {
  http_settings settings;
  settings.hold = std::chrono::milliseconds{0};
  return settings;
}

// A world with one server behind an origin address.
struct conformance_world : http_world {
  explicit conformance_world(http_settings settings = strict()) : http_world{std::move(settings)} {
    apply(routes_of(1, {route_to(upstream.port())}));
  }

  std::string filled(std::string_view row) const {
    const std::string port = std::to_string(upstream.port());
    const auto via = [](std::string_view version) {
      return "Forwarded: for=127.0.0.1;host=\"" + host +
             "\";proto=http\r\nX-Forwarded-For: 127.0.0.1\r\nX-Forwarded-Host: " + host +
             "\r\nX-Forwarded-Proto: http\r\nVia: " + std::string{version} + " previewd\r\n\r\n";
    };
    std::string text{row};
    replace(text, "{via}", via("1.1"));
    replace(text, "{via10}", via("1.0"));
    replace(text, "{host}", host);
    replace(text, "{server}", "localhost:" + port);
    replace(text, "{port}", port);
    return text;
  }

  // The service's own answer to a further request: the connection is where it should be.
  bool still_answers(raw_peer& client) const {
    client.send("GET /.previewd/after HTTP/1.1\r\nHost: " + host + "\r\n\r\n");
    return client.read_until("service /.previewd/after").substr(0, 15) == "HTTP/1.1 200 OK";
  }

  raw_server upstream;
};

template <class Row, std::size_t Size> const Row& any_of_rows(const Row (&rows)[Size]) {
  const std::size_t index = GENERATE(range(std::size_t{0}, Size));
  return rows[index];
}

}  // namespace

TEST_CASE("a request that could be read in two ways reaches nobody", "[net][conformance][I7]") {
  const refused& row = any_of_rows(refused_rows);
  INFO("RFC " << row.section << ": " << row.name);
  conformance_world world;
  raw_peer client = world.connect();

  client.send(world.filled(row.request));
  const std::string answer = client.read_to_end();

  const std::string status = std::to_string(row.status);
  CHECK(answer.substr(0, 13) == "HTTP/1.1 " + status + " ");
  CHECK(answer.find("\"code\":\"" + std::string{row.code} + "\"") != std::string::npos);
  CHECK(answer.find("\r\nConnection: close\r\n") != std::string::npos);
  CHECK(answer.find("}HTTP/1.1 ") == std::string::npos);
  // A head that is right may have opened a connection before its body proved wrong.
  if (world.upstream.has_connection()) CHECK(world.upstream.accept().read_to_end() == "");
}

TEST_CASE("what passes the proxy is what HTTP says it has to be", "[net][conformance]") {
  const relayed& row = any_of_rows(relayed_rows);
  INFO("RFC " << row.section << ": " << row.name);
  conformance_world world;
  raw_peer client = world.connect();

  client.send(world.filled(row.request));
  raw_peer server = world.upstream.accept();
  const std::string expected = world.filled(row.seen);
  const std::string seen = server.read_exactly(expected.size());
  server.send(world.filled(row.answer));
  const std::string wanted = world.filled(row.got);
  std::string got = row.server == after::reset ? client.read_exactly(wanted.size()) : "";
  if (row.server == after::closed) server.close();
  if (row.server == after::reset) server.reset();
  if (row.server != after::reset) got = client.read_exactly(wanted.size());

  CHECK(seen == expected);
  CHECK(got == wanted);
  if (row.client == after::open) {
    CHECK(world.still_answers(client));
  } else {
    CHECK(client.read_to_end() == "");
    CHECK(client.was_reset() == (row.client == after::reset));
  }
  if (server.open()) CHECK_FALSE(server.has_bytes());
}

TEST_CASE("an answer that is not HTTP is 502, and none of it is passed on", "[net][conformance]") {
  const no_answer& row = any_of_rows(no_answer_rows);
  INFO("RFC " << row.section << ": " << row.name);
  conformance_world world;
  raw_peer client = world.connect();
  client.send("GET / HTTP/1.1\r\nHost: " + host + "\r\n\r\n");
  raw_peer server = world.upstream.accept();
  server.read_head();

  server.send(row.answer);
  if (row.server == after::closed) server.close();
  const std::string head = client.read_head();
  const std::string body = client.read_until("}");

  CHECK(head.substr(0, 26) == "HTTP/1.1 502 Bad Gateway\r\n");
  CHECK(body.find("\"code\":\"bad_gateway\"") != std::string::npos);
  CHECK(world.still_answers(client));
  if (server.open()) CHECK(server.wait_for_end());
}

TEST_CASE("a message means the same wherever it is split", "[net][conformance]") {
  conformance_world world;
  raw_peer client = world.connect();
  raw_peer server;
  // Both halves are there at once only if the thread has had no turn between them.
  const auto in_two = [&world](raw_peer& peer, const std::string& text, std::size_t at) {
    peer.send(std::string_view{text}.substr(0, at));
    world.counts();
    world.counts();
    peer.send(std::string_view{text}.substr(at));
  };
  const std::string chunks = "3;x=y\r\nabc\r\n0A\r\n0123456789\r\n0\r\nX-Sum: 1\r\n\r\n";
  const auto [request, seen, answer, got] =
    GENERATE_COPY(table<std::string, std::string, std::string, std::string>({
      {"POST /x HTTP/1.1\r\nHost: {host}\r\nContent-Length: 5\r\n\r\nhello",
        "POST /x HTTP/1.1\r\nHost: {server}\r\nContent-Length: 5\r\n{via}hello",
        "HTTP/1.1 200 OK\r\nContent-Length: 7\r\n\r\nanswers",
        "HTTP/1.1 200 OK\r\nContent-Length: 7\r\n\r\nanswers"},
      {"POST /x HTTP/1.1\r\nHost: {host}\r\nTransfer-Encoding: chunked\r\n\r\n" + chunks,
        "POST /x HTTP/1.1\r\nHost: {server}\r\nTransfer-Encoding: chunked\r\n{via}" + chunks,
        "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 200 OK\r\nTransfer-Encoding: "
        "chunked\r\n\r\n" +
          chunks,
        "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 200 OK\r\nTransfer-Encoding: "
        "chunked\r\n\r\n" +
          chunks},
    }));
  const std::string sent = world.filled(request);
  const std::string expected = world.filled(seen);

  std::size_t wrong = 0;
  for (std::size_t at = 1; at < std::max(sent.size(), answer.size()); ++at) {
    in_two(client, sent, std::min(at, sent.size()));
    if (!server.open()) server = world.upstream.accept();
    const bool request_right = server.read_exactly(expected.size()) == expected;
    in_two(server, answer, std::min(at, answer.size()));
    const bool answer_right = client.read_exactly(got.size()) == got;
    if (request_right && answer_right) continue;
    ++wrong;
    UNSCOPED_INFO("split at " << at);
    break;
  }

  CHECK(wrong == 0);
  CHECK(world.still_answers(client));
}

TEST_CASE("requests that come at once are answered in their order, and none is lost at the end",
  "[net][conformance]") {
  conformance_world world;
  raw_peer client = world.connect();
  const auto request = [](const std::string& line, const std::string& rest) {
    return line + " HTTP/1.1\r\nHost: " + host + "\r\n" + rest;
  };

  client.send(request("POST /1", "Content-Length: 3\r\n\r\nabc") +
              request("POST /2", "Transfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\n\r\n") +
              request("GET /.previewd/3", "\r\n") + request("GET /4", "\r\n"));
  client.shutdown();
  raw_peer server = world.upstream.accept();
  const std::string first = server.read_until("abc");
  server.send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n#1");
  const std::string second = server.read_until("0\r\n\r\n");
  server.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n#2\r\n0\r\n\r\n");
  const std::string fourth = server.read_head();
  server.send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n#4");
  const std::string answers = client.read_to_end();

  CHECK(first.substr(0, 8) == "POST /1 ");
  CHECK(second.substr(0, 8) == "POST /2 ");
  CHECK(fourth.substr(0, 7) == "GET /4 ");
  const std::size_t at1 = answers.find("#1");
  const std::size_t at2 = answers.find("#2", at1);
  const std::size_t at3 = answers.find("service /.previewd/3", at2);
  const std::size_t at4 = answers.find("#4", at3);
  CHECK(at4 != std::string::npos);
}

TEST_CASE("a client that has said all it has to say still gets its answer", "[net][conformance]") {
  conformance_world world;
  raw_peer client = world.connect();
  client.send("POST / HTTP/1.1\r\nHost: " + host + "\r\nContent-Length: 3\r\n\r\nabc");
  raw_peer server = world.upstream.accept();
  server.read_until("abc");

  client.shutdown();
  // The server sees the end, as it would without a proxy.
  const bool seen = server.wait_for_end();
  server.send("HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nlate");
  const std::string answer = client.read_to_end();

  CHECK(seen);
  CHECK(answer == "HTTP/1.1 200 OK\r\nContent-Length: 4\r\nConnection: close\r\n\r\nlate");
}

TEST_CASE("a server that ends with a client that has ended is not blamed", "[net][conformance]") {
  told_servers actors;
  conformance_world world;
  route r = route_to(world.upstream.port());
  r.server = actors.make();
  world.apply(routes_of(2, {r}));
  raw_peer client = world.connect();
  client.send("GET /slow HTTP/1.1\r\nHost: " + host + "\r\n\r\n");
  raw_peer server = world.upstream.accept();
  server.read_head();

  client.close();
  const bool seen = server.wait_for_end();
  server.close();
  CHECK(eventually([&] { return world.counts().connections == 0; }));
  raw_peer other = world.connect();
  other.send("GET /next HTTP/1.1\r\nHost: " + host + "\r\n\r\n");
  raw_peer again = world.upstream.accept();

  CHECK(seen);
  CHECK(again.read_head().substr(0, 10) == "GET /next ");
  CHECK(actors.refusals().empty());
}

TEST_CASE("events are passed on one by one, each when it comes", "[net][conformance]") {
  conformance_world world;
  const bool chunked = GENERATE(true, false);
  raw_peer client = world.connect();
  client.send("GET /events HTTP/1.1\r\nHost: " + host + "\r\nAccept: text/event-stream\r\n\r\n");
  raw_peer server = world.upstream.accept();
  server.read_head();
  server.send(std::string{"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n"} +
              (chunked ? "Transfer-Encoding: chunked\r\n\r\n" : "\r\n"));
  const std::string head = client.read_head();

  for (int i = 0; i < 20; ++i) {
    const std::string event = "data: " + std::to_string(i % 10) + "\n\n";
    server.send(chunked ? "9\r\n" + event + "\r\n" : event);
    CHECK(client.read_until(event) != "");
    if (chunked) CHECK(client.read_exactly(2) == "\r\n");
  }
  client.close();

  CHECK(head.find("HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n") == 0);
  CHECK(server.wait_for_end());
}

TEST_CASE("only what may be repeated is, and only once", "[net][conformance]") {
  struct row {
    std::string method;
    std::string rest;
    bool repeated;
  };
  // RFC 9110, section 9.2.2.
  const row r = GENERATE(values<row>({
    {"GET", "\r\n", true},
    {"HEAD", "\r\n", true},
    {"OPTIONS", "\r\n", true},
    {"DELETE", "\r\n", true},
    {"PUT", "Content-Length: 0\r\n\r\n", true},
    {"PUT", "Content-Length: 3\r\n\r\nabc", false},
    {"PUT", "Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n", false},
    {"POST", "\r\n", false},
    {"PATCH", "\r\n", false},
    {"get", "\r\n", false},
    {"GETS", "\r\n", false},
  }));
  INFO(r.method << " " << r.rest);
  conformance_world world;
  raw_peer client = world.connect();
  client.send("GET /first HTTP/1.1\r\nHost: " + host + "\r\n\r\n");
  raw_peer pooled = world.upstream.accept();
  pooled.read_head();
  pooled.send("HTTP/1.1 204 No Content\r\n\r\n");
  client.read_head();

  client.send(r.method + " /second HTTP/1.1\r\nHost: " + host + "\r\n" + r.rest);
  const std::string first = pooled.read_head();
  pooled.close();
  std::string repeated;
  if (r.repeated) {
    raw_peer fresh = world.upstream.accept();
    repeated = fresh.read_head();
    fresh.close();
  }
  const std::string answer = client.read_head();

  CHECK(first.find(" /second ") != std::string::npos);
  CHECK((repeated.find(" /second ") != std::string::npos) == r.repeated);
  // The second death is the last one: a server that closes on everything is not asked for ever.
  CHECK(answer.substr(0, 12) == "HTTP/1.1 503");
  CHECK_FALSE(world.upstream.has_connection());
}

TEST_CASE("heads that are too large say which part of them is", "[net][conformance][I5]") {
  http_settings settings = strict();
  settings.header_bytes = 2000;
  const std::string line = "Host: " + host + "\r\n";
  std::string many = "GET / HTTP/1.1\r\n" + line;
  for (int i = 0; i < 257; ++i) many += "a: \r\n";
  const auto [request, status, code] = GENERATE_COPY(table<std::string, std::string, std::string>({
    {"GET /" + std::string(2100, 'x') + " HTTP/1.1\r\n" + line + "\r\n", "414", "uri_too_long"},
    {"GET /" + std::string(2100, 'x'), "414", "uri_too_long"},
    {"GET / HTTP/1.1\r\n" + line + "X: " + std::string(2100, 'x') + "\r\n\r\n", "431",
      "header_too_large"},
    {many + "\r\n", "431", "header_too_large"},
  }));
  conformance_world world{settings};
  raw_peer client = world.connect();

  client.send(request);
  const std::string answer = client.read_to_end();

  CHECK(answer.substr(0, 13) == "HTTP/1.1 " + status + " ");
  CHECK(answer.find("\"code\":\"" + code + "\"") != std::string::npos);
  CHECK_FALSE(world.upstream.has_connection());
}

TEST_CASE("an answer whose head is too large is 502", "[net][conformance][I5]") {
  http_settings settings = strict();
  settings.answer_header_bytes = 2000;
  conformance_world world{settings};
  raw_peer client = world.connect();
  client.send("GET / HTTP/1.1\r\nHost: " + host + "\r\n\r\n");
  raw_peer server = world.upstream.accept();
  server.read_head();

  server.send("HTTP/1.1 200 OK\r\nX: " + std::string(3000, 'x'));

  CHECK(client.read_head().substr(0, 13) == "HTTP/1.1 502 ");
}

TEST_CASE("OPTIONS that may go no further is answered here", "[net][conformance]") {
  conformance_world world;
  raw_peer client = world.connect();

  client.send("OPTIONS / HTTP/1.1\r\nHost: " + host + "\r\nMax-Forwards: 0\r\n\r\n");
  const std::string answer = client.read_head();

  CHECK(answer.substr(0, 13) == "HTTP/1.1 204 ");
  CHECK(answer.find("\r\nAllow: ") != std::string::npos);
  CHECK_FALSE(world.upstream.has_connection());
}

TEST_CASE(
  "a front proxy that is trusted is believed, and what it says is added to", "[net][conformance]") {
  http_settings settings = strict();
  REQUIRE(settings.trusted.add("127.0.0.0/8"));
  conformance_world world{settings};
  raw_peer client = world.connect();

  client.send("GET / HTTP/1.1\r\nHost: " + host +
              "\r\nForwarded: for=192.0.2.1\r\nX-Forwarded-For: 192.0.2.1, "
              "192.0.2.2\r\nX-Forwarded-Host: ide.example\r\nX-Forwarded-Proto: "
              "https\r\nX-Forwarded-Prefix: /ide\r\nX-Real-IP: 192.0.2.1\r\n\r\n");
  raw_peer server = world.upstream.accept();
  const std::string seen = server.read_head();
  server.send("HTTP/1.1 302 Found\r\nLocation: " + world.filled("http://{server}/x") +
              "\r\nContent-Length: 0\r\n\r\n");
  const std::string answer = client.read_head();

  CHECK(seen == world.filled("GET / HTTP/1.1\r\nHost: {server}\r\nX-Real-IP: 192.0.2.1\r\n"
                             "Forwarded: for=192.0.2.1, "
                             "for=127.0.0.1;host=\"{host}\";proto=https\r\nX-Forwarded-For: "
                             "192.0.2.1, 192.0.2.2, 127.0.0.1\r\n"
                             "X-Forwarded-Host: ide.example\r\nX-Forwarded-Proto: https\r\n"
                             "X-Forwarded-Prefix: /ide\r\nVia: 1.1 previewd\r\n\r\n"));
  CHECK(answer.find("\r\nLocation: https://" + host + "/x\r\n") != std::string::npos);
}

TEST_CASE("networks hold their addresses and no others", "[net][conformance]") {
  net::http::trusted_peers peers;
  CHECK(peers.add("10.1.0.0/15"));
  CHECK(peers.add("192.0.2.7"));
  CHECK(peers.add("fd00::/9"));
  CHECK(peers.add("unix"));
  for (const char* wrong :
    {"", "10.0.0.0/33", "::/129", "10.0.0/8", "host", "1.2.3.4/", "1.2.3.4/x"})
    CHECK_FALSE(peers.add(wrong));

  for (const char* inside :
    {"10.0.255.1", "10.1.0.1", "192.0.2.7", "::ffff:192.0.2.7", "fd7f::1", "unix"}) {
    INFO(inside);
    CHECK(peers.contains(inside));
  }
  for (const char* outside : {"10.2.0.1", "11.1.0.1", "192.0.2.8", "fd80::1", "::1", "", "x"}) {
    INFO(outside);
    CHECK_FALSE(peers.contains(outside));
  }
}

TEST_CASE(
  "a body that stops coming is 408, also where the service reads it", "[net][conformance][I5]") {
  http_settings settings = strict();
  settings.idle_timeout = std::chrono::milliseconds{150};
  const bool to_service = GENERATE(false, true);
  http_world world{settings, [](const net::http::exchange_ptr& exchange) {
                     exchange->read_body(100, [exchange](const std::string&) {
                       exchange->respond(net::http::response{});
                     });
                   }};
  raw_server upstream;
  world.apply(routes_of(1, {route_to(upstream.port())}));
  raw_peer client = world.connect();

  client.send("POST / HTTP/1.1\r\nHost: " + (to_service ? std::string{"localhost"} : host) +
              "\r\nContent-Length: 10\r\n\r\nhalf");
  const std::string answer = client.read_to_end();

  CHECK(answer.substr(0, 13) == "HTTP/1.1 408 ");
  CHECK(answer.find("\"code\":\"request_timeout\"") != std::string::npos);
  CHECK(answer.find("\r\nConnection: close\r\n") != std::string::npos);
}

TEST_CASE("a connection that is not used is closed without a word", "[net][conformance][I5]") {
  http_settings settings = strict();
  settings.idle_timeout = std::chrono::milliseconds{1000};
  settings.header_timeout = std::chrono::milliseconds{1000};
  conformance_world world{settings};
  raw_peer never = world.connect();
  raw_peer once = world.connect();
  CHECK(world.still_answers(once));

  CHECK(never.read_to_end() == "");
  CHECK(once.read_to_end() == "");
}

TEST_CASE("what a page under a path address asks for at the root is led back to its server",
  "[net][conformance][addresses]") {
  conformance_world world;
  const std::string page = "Referer: http://localhost/preview/shop/ann/page?q\r\n";
  raw_peer client = world.connect();

  client.send("POST /src/a%20b?t=1 HTTP/1.1\r\nHost: localhost\r\n" + page + "\r\n");
  const std::string redirect = client.read_head();
  client.send("GET /preview/shop/ann/ HTTP/1.1\r\nHost: localhost\r\n" + navigation + "\r\n");
  raw_peer server = world.upstream.accept();
  server.read_head();
  server.send("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
  const std::string shown = client.read_head();
  client.send(
    "GET /hmr?token=1 HTTP/1.1\r\nHost: localhost\r\nCookie: previewd_preview=shop/ann; a=b\r\n"
    "Connection: Upgrade\r\nUpgrade: websocket\r\n\r\n");
  const std::string upgrade = world.upstream.accept().read_head();

  // 307, so that the method and the body come again (RFC 9110, section 15.4.8).
  CHECK(redirect.substr(0, 13) == "HTTP/1.1 307 ");
  CHECK(redirect.find("\r\nLocation: /preview/shop/ann/src/a%20b?t=1\r\n") != std::string::npos);
  CHECK(redirect.find("\r\nVary: Referer\r\n") != std::string::npos);
  CHECK(shown.find("\r\nSet-Cookie: previewd_preview=shop/ann; Path=/; HttpOnly; "
                   "SameSite=Lax\r\n") != std::string::npos);
  CHECK(upgrade.substr(0, 23) == "GET /hmr?token=1 HTTP/1");
  CHECK(upgrade.find("\r\nCookie: a=b\r\n") != std::string::npos);
}

TEST_CASE("redirects to the server's own address lead to the preview's, in both modes",
  "[net][conformance][addresses]") {
  struct row {
    std::string target;
    std::string host;
    prefix_mode prefix;
    std::string location;
    std::string seen;
  };
  const row r = GENERATE(values<row>({
    {"/x", "shop--ann.preview.localhost:4000", prefix_mode::stripped, "http://{server}/y?z",
      "http://shop--ann.preview.localhost:4000/y?z"},
    {"/x", "shop--ann.preview.localhost:4000", prefix_mode::stripped, "/y", "/y"},
    {"/x", "shop--ann.preview.localhost:4000", prefix_mode::stripped, "http://other.example/y",
      "http://other.example/y"},
    {"/preview/shop/ann/x", "localhost", prefix_mode::stripped, "http://127.0.0.1:{port}/y",
      "http://localhost/preview/shop/ann/y"},
    {"/preview/shop/ann/x", "localhost", prefix_mode::stripped, "/y", "/preview/shop/ann/y"},
    {"/preview/shop/ann/x", "localhost", prefix_mode::kept, "http://{server}/preview/shop/ann/y",
      "http://localhost/preview/shop/ann/y"},
    {"/preview/shop/ann/x", "localhost", prefix_mode::kept, "/preview/shop/ann/y",
      "/preview/shop/ann/y"},
  }));
  INFO(r.target << " " << r.location);
  conformance_world world;
  route to = route_to(world.upstream.port());
  to.prefix = r.prefix;
  world.apply(routes_of(2, {to}));
  raw_peer client = world.connect();
  client.send("GET " + r.target + " HTTP/1.1\r\nHost: " + r.host + "\r\n\r\n");
  raw_peer server = world.upstream.accept();
  server.read_head();

  server.send("HTTP/1.1 302 Found\r\nLocation: " + world.filled(r.location) +
              "\r\nContent-Length: 0\r\n\r\n");

  CHECK(client.read_head().find("\r\nLocation: " + r.seen + "\r\n") != std::string::npos);
}

TEST_CASE("who may frame a preview is said where its server forbids it, if anybody may",
  "[net][conformance][addresses]") {
  const bool left_alone = GENERATE(false, true);
  http_settings settings = strict();
  if (left_alone) settings.frame_ancestors = std::vector<std::string>{};
  conformance_world world{settings};
  raw_peer client = world.connect();
  client.send("GET / HTTP/1.1\r\nHost: " + host + ":4000\r\n\r\n");
  raw_peer server = world.upstream.accept();
  server.read_head();

  server.send("HTTP/1.1 200 OK\r\nX-Frame-Options: DENY\r\nContent-Length: 0\r\n\r\n");
  const std::string answer = client.read_head();

  CHECK((answer.find("X-Frame-Options: DENY") != std::string::npos) == left_alone);
  CHECK((answer.find("\r\nContent-Security-Policy: frame-ancestors 'self' http://localhost:4000 "
                     "http://127.0.0.1:4000\r\n") == std::string::npos) == left_alone);
}

TEST_CASE("behind a proxy previews go by the scheme and port that browsers know",
  "[net][conformance][addresses]") {
  http_settings settings = strict();
  settings.public_hosts = {"ide.example.com"};
  settings.front = front_address{scheme::https, 8443};
  conformance_world world{settings};
  raw_peer client = world.connect();
  client.send("GET / HTTP/1.1\r\nHost: " + host + ":8443\r\n\r\n");
  raw_peer server = world.upstream.accept();
  const std::string seen = server.read_head();

  server.send(
    world.filled("HTTP/1.1 302 Found\r\nLocation: http://{server}/there\r\n"
                 "X-Frame-Options: DENY\r\nContent-Length: 0\r\n\r\n"));
  const std::string answer = client.read_head();

  CHECK(seen.find("\r\nX-Forwarded-Proto: https\r\n") != std::string::npos);
  CHECK(answer.find("\r\nLocation: https://" + host + ":8443/there\r\n") != std::string::npos);
  CHECK(answer.find(" https://ide.example.com:8443\r\n") != std::string::npos);
  CHECK(answer.find("http://ide.example.com") == std::string::npos);
  // Who comes by another name comes past the proxy.
  CHECK(net::http::is_public(host, settings));
  CHECK(net::http::is_public("IDE.example.com:4000", settings));
  CHECK_FALSE(net::http::is_public("localhost:8443", settings));
}

TEST_CASE("an origin that no workspace has is a page for a browser and a problem for the rest",
  "[net][conformance][addresses]") {
  conformance_world world;
  const std::string request = "GET / HTTP/1.1\r\nHost: other--ann.preview.localhost\r\n";
  raw_peer client = world.connect();

  client.send(request + navigation + "\r\n");
  const std::string page = client.read_until("</html>");
  client.send(request + "\r\n");
  const std::string other = client.read_until("}");
  client.send(request + "Connection: Upgrade\r\nUpgrade: websocket\r\n\r\n");
  const std::string upgrade = client.read_head();

  for (const std::string& answer : {page, other, upgrade})
    CHECK(answer.substr(0, 13) == "HTTP/1.1 404 ");
  CHECK(page.find("text/html") != std::string::npos);
  CHECK(other.find("\"code\":\"not_found\"") != std::string::npos);
}
