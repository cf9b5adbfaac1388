#include "previewd/net/http/message.hpp"

#include <catch2/catch.hpp>
#include <string>
#include <tuple>

#include "previewd/net/http/forwarding.hpp"
#include "previewd/net/http/router.hpp"
#include "previewd/tests/net/http/routes.hpp"

using namespace previewd;
using namespace previewd::net::http;

namespace {

unsigned status_of(const std::string& text) {
  request_head head;
  const auto error = read_request_head(text, head);
  return error ? error->status : 0;
}

struct read_request {
  explicit read_request(std::string t) : text{std::move(t)} {
    error = read_request_head(text, head);
  }
  std::string text;
  request_head head;
  std::optional<message_error> error;
};

}  // namespace

TEST_CASE("a request's head is split into what HTTP names", "[net][http]") {
  const read_request got{
    "POST /a/b?x=1 HTTP/1.1\r\nHost: Example:81\r\nContent-Length: 12\r\nX-Empty:\r\nAccept:  "
    "text/html \t\r\n\r\n"};

  REQUIRE_FALSE(got.error);
  CHECK(got.head.method == "POST");
  CHECK(got.head.path == "/a/b");
  CHECK(got.head.query == "x=1");
  CHECK(got.head.host == "Example:81");
  CHECK(got.head.content_length == 12U);
  CHECK(got.head["accept"] == "text/html");
  CHECK(got.head.keep_alive);
}

TEST_CASE("a head that two parsers could read differently is refused", "[net][http][I7]") {
  const auto [text, status] = GENERATE(table<std::string, unsigned>({
    {"GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n", 400},
    {"GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n", 400},
    {"GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 1, 1\r\n\r\n", 400},
    {"GET / HTTP/1.1\r\nHost: a\r\nContent-Length: +1\r\n\r\n", 400},
    {"GET / HTTP/1.1\r\nHost: a\r\nContent-Length: -1\r\n\r\n", 400},
    {"GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 99999999999999999999\r\n\r\n", 400},
    {"GET / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip, chunked\r\n\r\n", 501},
    {"GET / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked, chunked\r\n\r\n", 400},
    {"GET / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding:\r\n\r\n", 400},
    {"GET / HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n", 400},
    {"GET / HTTP/1.1\r\n\r\n", 400},
    {"GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n", 400},
    {"GET / HTTP/1.1\r\nHost: a/b\r\n\r\n", 400},
    {"GET / HTTP/1.1\r\nHost : a\r\n\r\n", 400},
    {"GET / HTTP/1.1\r\nHost: a\r\n folded\r\n\r\n", 400},
    {"GET / HTTP/1.1\r\nHost: a\r\nX: a\rb\r\n\r\n", 400},
    {std::string{"GET / HTTP/1.1\r\nHost: a\r\nX: a\0b\r\n\r\n", 35}, 400},
    {"GET / HTTP/1.1\r\nHost: a\r\nno colon\r\n\r\n", 400},
    {"GET / HTTP/1.1\r\nHost: a\r\n: empty\r\n\r\n", 400},
    {"GET  / HTTP/1.1\r\nHost: a\r\n\r\n", 400},
    {"GET /a b HTTP/1.1\r\nHost: a\r\n\r\n", 400},
    {"GET nowhere HTTP/1.1\r\nHost: a\r\n\r\n", 400},
    {"GET http://user@a/ HTTP/1.1\r\nHost: a\r\n\r\n", 400},
    {"CONNECT a:443 HTTP/1.1\r\nHost: a\r\n\r\n", 501},
    {"GET / HTTP/2.0\r\nHost: a\r\n\r\n", 505},
    {"GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\n", 0},
    {"GET http://b:81/x HTTP/1.1\r\nHost: a\r\n\r\n", 0},
    {"OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n", 0},
    {"GET / HTTP/1.0\r\n\r\n", 0},
  }));
  INFO(text);

  CHECK(status_of(text) == status);
}

TEST_CASE("the end of a head is found however its bytes arrive", "[net][http]") {
  const std::string text = "\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\nnext";
  head_scanner scanner{head_scanner::kind::request};

  auto last = head_scanner::progress::incomplete;
  std::size_t used = 0;
  while (last == head_scanner::progress::incomplete && used < text.size())
    last = scanner.scan(std::string_view{text}.substr(0, ++used), 1000);

  CHECK(last == head_scanner::progress::complete);
  CHECK(scanner.begin() == 2);
  CHECK(scanner.end() == text.size() - 4);
}

TEST_CASE("what is no HTTP is known before its end", "[net][http][I7]") {
  using progress = head_scanner::progress;
  const auto [text, expected] = GENERATE(table<std::string, progress>({
    {std::string{"\x16\x03\x01", 3}, progress::malformed},
    {"GET /\r\n", progress::malformed},
    {"GET / HTTP/1.1\n", progress::malformed},
    {"hello\r\n", progress::malformed},
    {"GET / HTTP/1.1\r\nHost: a\n", progress::malformed},
    {"GET / HTTP/1.1\r\nX: " + std::string(200, 'x'), progress::too_large},
    {"GET / HT", progress::incomplete},
  }));
  INFO(text);
  head_scanner scanner{head_scanner::kind::request};

  CHECK(scanner.scan(text, 100) == expected);
}

TEST_CASE("a chunked body is followed to its end whatever the pieces", "[net][http]") {
  const std::string body = "5;x=\"y\"\r\nhello\r\nA\r\n, world...\r\n0\r\nTrailer: yes\r\n\r\n";
  const std::string text = body + "GET /next";
  const std::size_t piece = GENERATE(1U, 2U, 3U, 7U, 100U);
  body_reader reader;
  reader.begin(body_reader::framing::chunked);

  std::string content;
  std::size_t used = 0;
  while (!reader.complete() && !reader.malformed() && used < text.size()) {
    const std::size_t fed = reader.feed(std::string_view{text}.substr(used, piece), &content);
    used += fed;
  }

  CHECK(reader.complete());
  CHECK(used == body.size());
  CHECK(content == "hello, world...");
}

TEST_CASE("broken chunks are noticed", "[net][http][I7]") {
  const std::string text = GENERATE(as<std::string>{}, "g\r\n", "\r\n", "5\nhello\r\n",
    "5\r\nhelloX", "5\r\nhello\nX", "0\r\n folded: x\r\n\r\n", "0\r\nA: \x01\r\n\r\n", "-1\r\n",
    "FFFFFFFFFFFFFFFFF\r\n", "5\rX", "0\r\n\rX", "5;a\x01=b\r\nhello\r\n");
  INFO(text);
  body_reader reader;
  reader.begin(body_reader::framing::chunked);

  reader.feed(text);

  CHECK(reader.malformed());
}

TEST_CASE("an answer's head is read, and what is none is not", "[net][http]") {
  answer_head head;
  REQUIRE(read_answer_head("HTTP/1.0 200\r\nContent-Length: 3\r\n\r\n", head));
  CHECK(head.status == 200);
  CHECK_FALSE(head.keep_alive);
  REQUIRE(read_answer_head("HTTP/1.1 404 Not here\nX: y\n\n", head));
  CHECK(head.reason == "Not here");

  const std::string wrong =
    GENERATE(as<std::string>{}, "HTTP/1.1 20 OK\r\n\r\n", "HTTP/2 200 OK\r\n\r\n",
      "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
      "HTTP/1.1 200OK\r\n\r\n", "HTTP/1.1 200 OK\r\nbad line\r\n\r\n", "ICY 200 OK\r\n\r\n");
  CHECK_FALSE(read_answer_head(wrong, head));
}

TEST_CASE("navigations are told from other requests", "[net][http]") {
  const auto [lines, expected] = GENERATE(table<std::string, bool>({
    {"Sec-Fetch-Mode: navigate\r\n", true},
    {"Sec-Fetch-Mode: cors\r\nAccept: text/html\r\n", false},
    {"Sec-Fetch-Dest: script\r\nAccept: text/html\r\n", false},
    {"Accept: text/html,application/xhtml+xml,*/*;q=0.8\r\n", true},
    {"Accept: */*\r\n", false},
    {"Accept: application/json, text/html\r\n", false},
    {"", false},
  }));
  INFO(lines);

  CHECK(
    is_navigation(read_request{"GET / HTTP/1.1\r\nHost: a\r\n" + lines + "\r\n"}.head) == expected);
}

TEST_CASE(
  "Host, path, Origin, Referer and cookie decide where a request goes", "[net][router][I6]") {
  using kind = routing::kind;
  route_table routes{10};
  workspace_routes known = test::routes_of(1, {test::route_to(5173)});
  routes.apply(known);
  http_settings settings;
  settings.public_hosts = {"ide.example.com"};
  settings.auth_origins = {"https://ide.example.org"};
  const std::string upgrade = "Connection: Upgrade\r\nUpgrade: websocket\r\n";
  struct row {
    std::string target;
    std::string lines;
    kind what;
    unsigned status;     // of an answer
    std::string prefix;  // of a target
    uint16_t port = 0;
  };
  const row r = GENERATE_COPY(values<row>({
    {"/", "Host: localhost:4000\r\n", kind::service, 0, "", 0},
    {"/", "Host: 127.0.0.1:4000\r\n", kind::service, 0, "", 0},
    {"/", "Host: [::1]:4000\r\n", kind::service, 0, "", 0},
    {"/", "Host: IDE.example.com\r\n", kind::service, 0, "", 0},
    {"/", "Host: evil.example\r\n", kind::answer, 403, "", 0},
    {"/", "Host: 10.0.0.1:4000\r\n", kind::answer, 403, "", 0},
    {"/", "Host: localhost.evil.example\r\n", kind::answer, 403, "", 0},
    {"/", "Host: localhost:4000\r\nOrigin: http://localhost:4000\r\n", kind::service, 0, "", 0},
    {"/", "Host: localhost:4000\r\nOrigin: http://localhost:3000\r\n", kind::answer, 403, "", 0},
    {"/", "Host: localhost:4000\r\nOrigin: null\r\n", kind::answer, 403, "", 0},
    {"/", "Host: localhost:4000\r\nOrigin:\r\n", kind::answer, 403, "", 0},
    {"/", "Host: localhost:4000\r\nOrigin: https://ide.example.org\r\n", kind::service, 0, "", 0},
    {"/", "Host: ide.example.com\r\nOrigin: https://ide.example.com\r\n", kind::service, 0, "", 0},
    {"/socket.io/",
      "Host: localhost:4000\r\nOrigin: http://shop--ann.preview.localhost:4000\r\n" + upgrade,
      kind::answer, 403, "", 0},
    {"/x", "Host: shop--ann.preview.localhost:4000\r\n", kind::preview, 0, "", 0},
    {"/x", "Host: SHOP--ann.preview.localhost\r\n", kind::preview, 0, "", 0},
    {"/x", "Host: 5174--shop--ann.preview.localhost:4000\r\n", kind::preview, 0, "", 5174},
    {"/x", "Host: other--ann.preview.localhost:4000\r\n", kind::answer, 404, "", 0},
    {"/x", "Host: 0--shop--ann.preview.localhost:4000\r\n", kind::answer, 404, "", 0},
    {"/x", "Host: shop--ann.preview.localhost:4000\r\nOrigin: http://evil.example\r\n",
      kind::preview, 0, "", 0},
    {"/x", "Host: shop--ann.preview.localhost:4000\r\nOrigin: http://evil.example\r\n" + upgrade,
      kind::answer, 403, "", 0},
    {"/x",
      "Host: shop--ann.preview.localhost:4000\r\nOrigin: "
      "http://shop--ann.preview.localhost:4000\r\n" +
        upgrade,
      kind::preview, 0, "", 0},
    {"/x", "Host: shop--ann.preview.localhost:4000\r\nOrigin: http://localhost:4000\r\n" + upgrade,
      kind::preview, 0, "", 0},
    {"/.previewd/status", "Host: shop--ann.preview.localhost:4000\r\n", kind::service, 0, "", 0},
    {"/.previewd/status",
      "Host: shop--ann.preview.localhost:4000\r\nOrigin: http://evil.example\r\n", kind::answer,
      403, "", 0},
    {"/preview/shop/ann/x", "Host: localhost:4000\r\n", kind::preview, 0, "/preview/shop/ann", 0},
    {"/preview/shop/ann", "Host: localhost:4000\r\n", kind::preview, 0, "/preview/shop/ann", 0},
    {"/preview/shop/ann:5174/", "Host: localhost:4000\r\n", kind::preview, 0,
      "/preview/shop/ann:5174", 5174},
    {"/preview/never/seen/", "Host: localhost:4000\r\n", kind::preview, 0, "/preview/never/seen",
      0},
    {"/preview/shop/ann/iframe", "Host: localhost:4000\r\n", kind::service, 0, "/preview/shop/ann",
      0},
    {"/preview/shop/ann/.previewd/status", "Host: localhost:4000\r\n", kind::service, 0,
      "/preview/shop/ann", 0},
    {"/preview/sh%2fop/ann/", "Host: localhost:4000\r\n", kind::answer, 400, "", 0},
    {"/preview/shop/../", "Host: localhost:4000\r\n", kind::answer, 400, "", 0},
    {"/preview/shop/ann:x/", "Host: localhost:4000\r\n", kind::answer, 400, "", 0},
    {"/preview/shop", "Host: localhost:4000\r\n", kind::service, 0, "", 0},
    {"/preview/shop/ann/", "Host: localhost:4000\r\nOrigin: http://evil.example\r\n" + upgrade,
      kind::answer, 403, "", 0},
    {"/src/main.tsx",
      "Host: localhost:4000\r\nReferer: http://localhost:4000/preview/shop/ann/\r\n", kind::answer,
      307, "", 0},
    {"/src/main.tsx", "Host: localhost:4000\r\nReferer: http://evil.example/preview/shop/ann/\r\n",
      kind::service, 0, "", 0},
    {"/assets/x.js",
      "Host: localhost:4000\r\nReferer: http://localhost:4000/preview/shop/ann/iframe\r\n",
      kind::service, 0, "", 0},
    {"/api/terminals",
      "Host: localhost:4000\r\nReferer: http://localhost:4000/preview/shop/ann/\r\n", kind::service,
      0, "", 0},
    {"/ws", "Host: localhost:4000\r\nCookie: a=b; previewd_preview=shop/ann\r\n" + upgrade,
      kind::preview, 0, "", 0},
    {"/ws", "Host: localhost:4000\r\nCookie: previewd_preview=shop/ann:5174\r\n" + upgrade,
      kind::preview, 0, "", 5174},
    {"/ws", "Host: localhost:4000\r\nCookie: previewd_preview=../x\r\n" + upgrade, kind::service, 0,
      "", 0},
    {"/socket.io/", "Host: localhost:4000\r\nCookie: previewd_preview=shop/ann\r\n" + upgrade,
      kind::service, 0, "", 0},
  }));
  INFO(r.target << " " << r.lines);
  const read_request request{"GET " + r.target + " HTTP/1.1\r\n" + r.lines + "\r\n"};
  REQUIRE_FALSE(request.error);

  const routing where = route_request(request.head, settings, routes);

  REQUIRE(where.what == r.what);
  if (where.what == kind::answer) CHECK(where.answer.status == r.status);
  if (where.target) CHECK(where.target->prefix == r.prefix);
  if (where.target) CHECK(where.target->port == r.port);
}

TEST_CASE("behind a proxy a public name has the one origin that browsers know",
  "[net][router][addresses][I6]") {
  using kind = routing::kind;
  route_table routes{10};
  routes.apply(test::routes_of(1, {test::route_to(5173)}));
  http_settings settings;
  settings.preview_domain = "preview.example.com";
  settings.public_hosts = {"ide.example.com"};
  settings.front = front_address{scheme::https, 8443};
  const std::string upgrade = "Connection: Upgrade\r\nUpgrade: websocket\r\n";
  struct row {
    std::string host;
    std::string origin;
    kind what;
  };
  const row r = GENERATE_COPY(values<row>({
    {"ide.example.com:8443", "https://ide.example.com:8443", kind::service},
    // A proxy may leave the port out, or put in its own idea of it.
    {"ide.example.com", "https://ide.example.com:8443", kind::service},
    {"ide.example.com:4000", "https://IDE.example.com:8443", kind::service},
    {"ide.example.com:8443", "http://ide.example.com:8443", kind::answer},
    {"ide.example.com", "https://ide.example.com", kind::answer},
    {"ide.example.com:4000", "http://ide.example.com:4000", kind::answer},
    {"ide.example.com", "https://evil.example:8443", kind::answer},
    {"ide.example.com", "https://shop--ann.preview.example.com:8443", kind::answer},
    {"localhost:4000", "http://localhost:4000", kind::service},
    {"localhost:4000", "https://localhost:8443", kind::answer},
    {"shop--ann.preview.example.com:8443", "https://ide.example.com:8443", kind::preview},
    {"shop--ann.preview.example.com:8443", "https://shop--ann.preview.example.com:8443",
      kind::preview},
    {"shop--ann.preview.example.com:8443", "https://shop--bob.preview.example.com:8443",
      kind::answer},
  }));
  INFO(r.host << " " << r.origin);
  const read_request request{"GET /socket.io/ HTTP/1.1\r\nHost: " + r.host +
                             "\r\nOrigin: " + r.origin + "\r\n" + upgrade + "\r\n"};
  REQUIRE_FALSE(request.error);

  const routing where = route_request(request.head, settings, routes);

  REQUIRE(where.what == r.what);
  if (where.what == kind::answer) CHECK(where.answer.status == 403);
}

TEST_CASE("of workspaces without a server only so many are known", "[net][router][I5]") {
  route_table routes{3};
  routes.apply(test::routes_of(1, {test::route_to(5173)}));
  const auto key = [](int number) { return workspace_key{"p" + std::to_string(number), "u"}; };

  for (int number = 0; number < 10; ++number) {
    workspace_routes ended = test::routes_of(1, {});
    ended.key = key(number);
    ended.label = key(number).project + "--u";
    routes.apply(ended);
  }

  for (int number = 0; number < 10; ++number) {
    CHECK((routes.find(key(number)) != nullptr) == (number >= 7));
    CHECK((routes.by_label(key(number).project + "--u") != nullptr) == (number >= 7));
  }
  CHECK(routes.find(test::shop) != nullptr);
  CHECK(routes.by_label("shop--ann") != nullptr);
}

TEST_CASE("a page of a listed origin is known, and asks first whether it may", "[net][router]") {
  route_table routes{10};
  workspace_routes known = test::routes_of(1, {test::route_to(5173)});
  routes.apply(known);
  http_settings settings;
  settings.auth_origins = {"https://ide.example.org"};
  const std::string listed = "Origin: https://ide.example.org\r\n";
  const std::string ask =
    "Access-Control-Request-Method: POST\r\nAccess-Control-Request-Headers: authorization\r\n";
  const auto route = [&](const std::string& target, const std::string& lines) {
    const read_request request{target + " HTTP/1.1\r\nHost: localhost:4000\r\n" + lines + "\r\n"};
    REQUIRE_FALSE(request.error);
    return route_request(request.head, settings, routes);
  };

  const routing call = route("GET /api/terminals", listed);
  CHECK(call.what == routing::kind::service);
  REQUIRE(call.listed_origin != nullptr);
  CHECK(*call.listed_origin == "https://ide.example.org");

  const routing asked = route("OPTIONS /api/terminals", listed + ask);
  CHECK(asked.what == routing::kind::answer);
  CHECK(asked.answer.status == 204);
  CHECK(asked.listed_origin != nullptr);
  const auto has = [&](const std::pair<std::string, std::string>& field) {
    return std::count(asked.answer.fields.begin(), asked.answer.fields.end(), field) == 1;
  };
  CHECK(has({"Access-Control-Allow-Methods", "GET, HEAD, POST, PATCH, DELETE"}));
  CHECK(has({"Access-Control-Allow-Headers", "authorization"}));

  // Its own pages need no leave, others get none, and a preview answers for itself.
  CHECK(route("GET /", "Origin: http://localhost:4000\r\n").listed_origin == nullptr);
  CHECK(
    route("OPTIONS /api/terminals", "Origin: https://evil.example\r\n" + ask).answer.status == 403);
  const routing app = route("OPTIONS /preview/shop/ann/x", listed + ask);
  CHECK(app.what == routing::kind::preview);
  CHECK(app.listed_origin == nullptr);
}

TEST_CASE("what a server says of its own address is put right for the client", "[net][proxy]") {
  const read_request request{"GET /preview/shop/ann/x HTTP/1.1\r\nHost: localhost:4000\r\n\r\n"};
  const preview_target target{test::shop, 0, preview_target::address::path, "/preview/shop/ann"};
  const endpoint upstream{.address = "127.0.0.1", .port = 5173, .scheme = scheme::http};
  const forwarding stripped{request.head, target, prefix_mode::stripped, upstream, "127.0.0.1"};
  const forwarding kept{request.head, target, prefix_mode::kept, upstream, "127.0.0.1"};

  CHECK(client_location("/login", stripped) == "/preview/shop/ann/login");
  CHECK(client_location("/preview/shop/ann/login", stripped) == "/preview/shop/ann/login");
  CHECK(client_location("/preview/shop/anna", stripped) == "/preview/shop/ann/preview/shop/anna");
  CHECK(client_location("login", stripped) == "login");
  CHECK(client_location("//cdn.example/x", stripped) == "//cdn.example/x");
  CHECK(client_location("//localhost:5173/x?y", stripped) ==
        "http://localhost:4000/preview/shop/ann/x?y");
  CHECK(client_location("//localhost:5173", stripped) == "http://localhost:4000/preview/shop/ann/");
  CHECK(
    client_location("//localhost:4000/x", stripped) == "http://localhost:4000/preview/shop/ann/x");
  CHECK(client_location("//localhost:3000/x", stripped) == "//localhost:3000/x");
  CHECK(client_location("//localhost/x", stripped) == "//localhost/x");
  CHECK(client_location("//127.0.0.1:5173/x", kept) == "http://localhost:4000/x");
  CHECK(client_location("https://example.com/x", stripped) == "https://example.com/x");
  CHECK(client_location("http://localhost:5173/x?y", stripped) ==
        "http://localhost:4000/preview/shop/ann/x?y");
  CHECK(client_location("http://localhost:3000/x", stripped) == "http://localhost:3000/x");
  CHECK(client_location("/x", kept) == "/x");
  CHECK(client_location("http://127.0.0.1:5173/x", kept) == "http://localhost:4000/x");
  CHECK(client_location("http://localhost:5173", kept) == "http://localhost:4000/");
}

TEST_CASE(
  "a server that compares names is told those alone that it knows itself by", "[net][proxy]") {
  const read_request request{
    "POST /x HTTP/1.1\r\nHost: shop--ann.preview.localhost:4000\r\nOrigin: "
    "http://shop--ann.preview.localhost:4000\r\nX-Forwarded-Host: shop.example\r\nForwarded: "
    "for=192.0.2.1;host=shop.example\r\nX-Forwarded-Ssl: on\r\nX-Forwarded-For: "
    "192.0.2.1\r\nContent-Length: 0\r\n\r\n"};
  const preview_target target{test::shop, 0, preview_target::address::origin, {}};
  const endpoint upstream{.address = "127.0.0.1", .port = 3000, .scheme = scheme::http};
  const auto trust = GENERATE(peer_trust::none, peer_trust::forwarding);
  const std::string chain = trust == peer_trust::forwarding ? "192.0.2.1, " : "";
  forwarding how{
    request.head, target, prefix_mode::stripped, upstream, "127.0.0.1", "https", trust};
  how.names_hidden = true;
  std::string out;

  write_upstream_request(out, how);

  const std::size_t added = out.find("\r\nForwarded:");
  REQUIRE(added != std::string::npos);
  CHECK(out.substr(0, added) ==
        "POST /x HTTP/1.1\r\nHost: localhost:3000\r\nOrigin: http://localhost:3000\r\n"
        "Content-Length: 0");
  CHECK(out.substr(added) == "\r\nForwarded: for=127.0.0.1\r\nX-Forwarded-For: " + chain +
                               "127.0.0.1\r\nVia: 1.1 previewd\r\n\r\n");
}

TEST_CASE("a trusted proxy that comes by a UNIX socket says whom it speaks for", "[net][proxy]") {
  const read_request request{
    "GET / HTTP/1.1\r\nHost: shop.example\r\nX-Forwarded-For: 192.0.2.1\r\n"
    "X-Forwarded-For: 192.0.2.2\r\n\r\n"};
  const preview_target target{test::shop, 0, preview_target::address::origin, {}};
  const endpoint upstream{.address = "127.0.0.1", .port = 3000, .scheme = scheme::http};
  const bool trusted = GENERATE(true, false);
  const forwarding how{request.head, target, prefix_mode::stripped, upstream, "unix", "https",
    trusted ? peer_trust::forwarding : peer_trust::none};
  std::string out;

  write_upstream_request(out, how);

  CHECK(
    (out.find("\r\nX-Forwarded-For: 192.0.2.1, 192.0.2.2\r\n") != std::string::npos) == trusted);
  CHECK((out.find("192.0.2.") != std::string::npos) == trusted);
}

TEST_CASE("an answer on its way to the client loses and gains what it has to", "[net][proxy]") {
  const read_request request{"GET /preview/shop/ann/x HTTP/1.1\r\nHost: localhost:4000\r\n\r\n"};
  const preview_target target{test::shop, 0, preview_target::address::path, "/preview/shop/ann"};
  const endpoint upstream{.address = "127.0.0.1", .port = 5173, .scheme = scheme::http};
  const forwarding how{request.head, target, prefix_mode::stripped, upstream, "127.0.0.1"};
  answer_head answer;
  const std::string text =
    "HTTP/1.1 200 OK\r\nConnection: x-hop\r\nX-Hop: 1\r\nKeep-Alive: timeout=5\r\nX-Frame-Options: "
    "DENY\r\n"
    "Content-Security-Policy: default-src 'self'; frame-ancestors 'none'\r\nRefresh: 5; "
    "url=/next\r\n"
    "Set-Cookie: a=b; Path=/; Domain=localhost; HttpOnly\r\nSet-Cookie: __host-c=d; Secure; "
    "Path=/\r\nSet-Cookie: __Secure-e=f; Secure; Path=/\r\nSet-Cookie: "
    "previewd_preview=x/y\r\nX-Kept: yes\r\n\r\n";
  REQUIRE(read_answer_head(text, answer));
  std::string out;

  write_client_answer(out, answer, how, {.frame_ancestors = "'self' http://localhost{port}"});

  CHECK(out ==
        "HTTP/1.1 200 OK\r\nContent-Security-Policy: default-src 'self'\r\nRefresh: 5; "
        "url=/preview/shop/ann/next\r\n"
        "Set-Cookie: a=b; Path=/preview/shop/ann/; HttpOnly\r\n"
        "Set-Cookie: __host-c=d; Secure; Path=/\r\n"
        "Set-Cookie: __Secure-e=f; Secure; Path=/preview/shop/ann/\r\nX-Kept: yes\r\n"
        "Content-Security-Policy: frame-ancestors 'self' http://localhost:4000\r\n\r\n");
}
