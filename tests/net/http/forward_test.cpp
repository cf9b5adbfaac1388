// What the embedding application is asked, and what counts as its answer.
#include "previewd/net/http/forward.hpp"

#include <catch2/catch.hpp>
#include <optional>
#include <string>
#include <vector>

#include "previewd/tests/support/eventually.hpp"
#include "previewd/tests/support/raw_peer.hpp"

using namespace std::chrono_literals;
using namespace previewd::net;
using namespace previewd::net::http;
using namespace previewd::test;

namespace {

/// One thread's desk, which the test runs, and an application that grants everything.
class desk_world {
public:
  explicit desk_world(std::size_t remembered, std::string secret = {})
      : desk{table, settings_of(app, remembered, std::move(secret))} {}
  ~desk_world() {
    table.close_all(close_reason::stopping);
    thread.context().restart();
    thread.context().poll();
  }

  /// Asks for somebody with this cookie. Whether the application had to be asked.
  bool asks_for(const std::string& cookie) {
    request_head head;
    const std::string text = "GET / HTTP/1.1\r\nHost: localhost\r\nCookie: " + cookie + "\r\n\r\n";
    REQUIRE_FALSE(read_request_head(text, head));
    const std::string client = "192.0.2.7";
    client_waiter waiter;
    if (const auto known = desk.ask({head, "http", client, {}, {}}, waiter)) {
      REQUIRE(known->what == forward_verdict::kind::granted);
      return false;
    }
    raw_peer asked = app.accept();
    asked.send("HTTP/1.1 204 No Content\r\nPreviewd-Project: shop\r\nPreviewd-User: ann\r\n\r\n");
    while (!waiter.said) {
      thread.context().restart();
      REQUIRE(thread.context().run_one_for(deadline) == 1);
    }
    REQUIRE(*waiter.said == forward_verdict::kind::granted);
    return true;
  }

  raw_server app;
  io_thread thread{0};
  live_table table{thread};
  forward_desk desk;

private:
  struct client_waiter final : forward_waiter {
    void judged(const forward_verdict& verdict) override { said = verdict.what; }
    std::optional<forward_verdict::kind> said;
  };

  static forward_settings
  settings_of(const raw_server& app, std::size_t remembered, std::string secret) {
    forward_settings settings;
    settings.secret = std::move(secret);
    settings.address.host = "127.0.0.1";
    settings.address.port = app.port();
    settings.cache = std::chrono::hours{1};
    settings.remembered = remembered;
    return settings;
  }
};

forward_verdict verdict_of(const std::string& text) {
  answer_head head;
  REQUIRE(read_answer_head(text, head));
  return read_verdict(head, "body", std::chrono::system_clock::now(), 12h);
}

forward_verdict yes(const std::string& fields) {
  return verdict_of("HTTP/1.1 200 OK\r\n" + fields + "\r\n");
}

std::string question_of(const std::string& text, const std::string& workspace = {}) {
  request_head head;
  REQUIRE_FALSE(read_request_head(text, head));
  const std::string client = "192.0.2.7";
  forward_address address;
  REQUIRE(read_forward_address("http://127.0.0.1:3000/auth?of=previews", address));
  return write_question(address, {head, "https", client, {}, workspace});
}

}  // namespace

TEST_CASE("the application is on this machine", "[net][http][forward]") {
  forward_address address;

  REQUIRE(read_forward_address("http://127.0.0.1:3000/auth?a=b", address));
  CHECK(address.host == "127.0.0.1");
  CHECK(address.port == 3000);
  CHECK(address.target == "/auth?a=b");
  REQUIRE(read_forward_address("http://localhost", address));
  CHECK(address.host == "127.0.0.1");
  CHECK(address.port == 80);
  CHECK(address.target == "/");
  REQUIRE(read_forward_address("http://[::1]:81/x", address));
  CHECK(address.host == "::1");
  REQUIRE(read_forward_address("unix:/run/app.sock:/auth", address));
  CHECK(address.host.empty());
  CHECK(address.path == "/run/app.sock");
  CHECK(address.target == "/auth");
  for (const char* const wrong : {"", "http://", "http://192.0.2.1/", "http://example.com/",
         "https://127.0.0.1/", "http://127.0.0.1:0/", "http://127.0.0.1:99999/",
         "http://127.0.0.1:3000/a b", "http://127.0.0.1/a\r\nX: y", "http://user@127.0.0.1/",
         "unix:", "unix:app.sock", "unix:/run/app.sock:auth", "127.0.0.1:3000"}) {
    INFO(wrong);
    CHECK_FALSE(read_forward_address(wrong, address));
  }
}

TEST_CASE("only a clear yes is one", "[net][http][forward][I6]") {
  const forward_verdict good = yes(
    "Previewd-Project: shop\r\nPreviewd-User: ann\r\nPreviewd-Role: edit\r\n"
    "Previewd-Expires-In: 60\r\n");
  REQUIRE(good.what == forward_verdict::kind::granted);
  CHECK(good.who->covers({"shop", "ann"}));
  CHECK_FALSE(good.who->covers({"shop", "bob"}));
  CHECK(good.who->may_edit());
  CHECK(good.who->expires < std::chrono::system_clock::now() + 61s);
  const forward_verdict least = yes("previewd-project: *\r\npreviewd-user: *\r\n");
  REQUIRE(least.what == forward_verdict::kind::granted);
  CHECK(least.who->covers_everything());
  CHECK_FALSE(least.who->may_edit());
  CHECK(least.who->expires > std::chrono::system_clock::now() + 11h);

  for (const char* const fields : {"", "Previewd-Project: shop\r\n", "Previewd-User: ann\r\n",
         "Previewd-Project: shop\r\nPreviewd-User: \r\n",
         "Previewd-Project: shop\r\nPreviewd-User: ..\r\n",
         "Previewd-Project: shop\r\nPreviewd-User: ann\r\nPreviewd-User: bob\r\n",
         "Previewd-Project: shop\r\nPreviewd-User: ann\r\nPreviewd-Role: admin\r\n",
         "Previewd-Project: shop\r\nPreviewd-User: ann\r\nPreviewd-Role: view\r\nPreviewd-Role: "
         "edit\r\n",
         "Previewd-Project: shop\r\nPreviewd-User: ann\r\nPreviewd-Expires-In: soon\r\n",
         "Previewd-Project: shop\r\nPreviewd-User: ann\r\nPreviewd-Expires-In: -1\r\n"}) {
    INFO(fields);
    CHECK(yes(fields).what == forward_verdict::kind::unavailable);
  }
}

TEST_CASE("a no is passed on, and anything else is none", "[net][http][forward][I6]") {
  const forward_verdict login =
    verdict_of("HTTP/1.1 302 Found\r\nLocation: https://app.example/login\r\n\r\n");
  CHECK(login.what == forward_verdict::kind::refused);
  CHECK(login.location == "https://app.example/login");
  const forward_verdict challenge =
    verdict_of("HTTP/1.1 401 Unauthorized\r\nWWW-Authenticate: Basic\r\n\r\n");
  CHECK(challenge.what == forward_verdict::kind::refused);
  CHECK(challenge.challenge == "Basic");
  CHECK(challenge.body == "body");
  CHECK(verdict_of("HTTP/1.1 403 Forbidden\r\n\r\n").what == forward_verdict::kind::refused);
  for (const char* const line :
    {"404 Not Found", "500 Oops", "503 Later", "302 Nowhere", "301 Moved\r\nLocation: /", "400 x"})
    CHECK(verdict_of("HTTP/1.1 " + std::string{line} + "\r\n\r\n").what ==
          forward_verdict::kind::unavailable);
}

TEST_CASE("the application is told of the request by us alone", "[net][http][forward][I6]") {
  const std::string asked = question_of(
    "POST /cart?item=1 HTTP/1.1\r\nHost: shop--ann.example\r\nContent-Length: 3\r\n"
    "Cookie: session=a\r\nAuthorization: Bearer b\r\nOrigin: http://shop--ann.example\r\n"
    "Previewd-Project: *\r\nPreviewd-Workspace: shop/bob\r\nX-Forwarded-For: 203.0.113.9\r\n"
    "X-Forwarded-Host: evil.example\r\nX-Forwarded-Uri: /evil\r\nX-Forwarded-Method: GET\r\n"
    "X-Original-URL: /evil\r\nForwarded: for=evil\r\nTransfer-Encoding-X: y\r\n\r\n",
    "shop/ann");

  CHECK(asked ==
        "GET /auth?of=previews HTTP/1.1\r\nHost: 127.0.0.1:3000\r\nConnection: close\r\n"
        "X-Forwarded-Method: POST\r\nX-Forwarded-Proto: https\r\n"
        "X-Forwarded-Host: shop--ann.example\r\nX-Forwarded-Uri: /cart?item=1\r\n"
        "X-Forwarded-For: 192.0.2.7\r\nPreviewd-Workspace: shop/ann\r\nCookie: session=a\r\n"
        "Authorization: Bearer b\r\nOrigin: http://shop--ann.example\r\n\r\n");
}

TEST_CASE("only so much of what is granted is remembered, and the oldest goes first",
  "[net][http][forward][I5]") {
  desk_world world{3};
  for (const char* const who : {"who=a", "who=b", "who=c"}) CHECK(world.asks_for(who));
  CHECK_FALSE(world.asks_for("who=a"));

  CHECK(world.asks_for("who=d"));
  CHECK(world.desk.remembered() == 3);
  CHECK_FALSE(world.asks_for("who=b"));
  CHECK_FALSE(world.asks_for("who=c"));
  CHECK_FALSE(world.asks_for("who=d"));
  CHECK(world.asks_for("who=a"));
  CHECK(world.asks_for("who=b"));
  for (int i = 0; i < 100; ++i) CHECK(world.asks_for("who=" + std::to_string(i)));
  CHECK(world.desk.remembered() == 3);
  CHECK(world.desk.asking() == 0);
}

TEST_CASE("what one desk has been granted another knows, for as long and no longer",
  "[net][http][forward][I5]") {
  const std::string secret(32, 's');
  desk_world one{2, secret};
  desk_world other{2, secret};
  std::vector<forward_memory> told;
  one.desk.tell([&](const forward_memory& what) { told.push_back(what); });
  other.desk.tell([](const forward_memory&) { FAIL("what is learnt is told nobody"); });
  CHECK(one.asks_for("who=a"));
  REQUIRE(told.size() == 1);
  other.desk.learn(told[0]);

  CHECK_FALSE(other.asks_for("who=a"));
  forward_memory over = told[0];
  over.until = steady_clock::now();
  other.desk.learn(over);  // older news than its own
  CHECK_FALSE(other.asks_for("who=a"));
  CHECK(one.asks_for("who=b"));
  CHECK(one.asks_for("who=c"));
  for (const forward_memory& each : told) other.desk.learn(each);
  CHECK(other.desk.remembered() == 2);
  desk_world stranger{2};
  for (const forward_memory& each : told) stranger.desk.learn(each);
  CHECK(stranger.asks_for("who=c"));
}
