// Who may (auth.mode = forward): the embedding application says it, and nobody else does.
#include <catch2/catch.hpp>
#include <condition_variable>
#include <filesystem>
#include <functional>

#include "previewd/tests/system/guarded_service.hpp"

using namespace std::chrono_literals;
using namespace previewd;
using namespace previewd::test;

namespace {

/// An embedding application: it knows people by the cookie `who`.
class application {
public:
  using answer = std::function<std::string(const std::string& head)>;

  /// On a loopback port, or on a UNIX socket.
  explicit application(answer answers, std::string path = {})
      : path_{std::move(path)},
        listener_(path_.empty() ? raw_server{} : raw_server{path_}),
        answers_{std::move(answers)},
        thread_{[this] {
          while (!over_) {
            raw_peer peer = listener_.accept();
            const std::string head = peer.read_head();
            if (head.empty()) continue;
            std::string text;
            {
              std::unique_lock lock{mutex_};
              heads_.push_back(head);
              changed_.wait_for(lock, deadline, [this] { return !held_ || over_; });
              text = answers_(head);
            }
            if (text == "silence") {
              peer.wait_for_end();
            } else {
              peer.send(text);
            }
          }
        }} {}
  ~application() {
    over_ = true;
    let_go();
    // Ends the wait.
    (path_.empty() ? raw_peer::connect(listener_.port()) : raw_peer::connect(path_)).close();
    thread_.join();
  }
  application(const application&) = delete;
  application& operator=(const application&) = delete;

  uint16_t port() const { return listener_.port(); }
  std::size_t asked() {
    const std::lock_guard lock{mutex_};
    return heads_.size();
  }
  std::string last() {
    const std::lock_guard lock{mutex_};
    return heads_.empty() ? std::string{} : heads_.back();
  }
  void set(answer answers) {
    const std::lock_guard lock{mutex_};
    answers_ = std::move(answers);
  }
  void hold() {
    const std::lock_guard lock{mutex_};
    held_ = true;
  }
  void let_go() {
    {
      const std::lock_guard lock{mutex_};
      held_ = false;
    }
    changed_.notify_all();
  }

private:
  const std::string path_;
  raw_server listener_;
  answer answers_;
  std::mutex mutex_;
  std::condition_variable changed_;
  std::vector<std::string> heads_;
  bool held_ = false;
  std::atomic<bool> over_{false};
  std::thread thread_;
};

std::string
grant(const std::string& project, const std::string& user, const std::string& role = "edit") {
  return "HTTP/1.1 204 No Content\r\nPreviewd-Project: " + project + "\r\nPreviewd-User: " + user +
         "\r\nPreviewd-Role: " + role + "\r\n\r\n";
}

const std::string no = "HTTP/1.1 401 Unauthorized\r\nContent-Length: 5\r\n\r\nlogin";

bool has(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

std::string usual(const std::string& head) {
  if (has(head, "who=root")) return grant("*", "*");
  if (has(head, "who=ann")) return grant("shop", "ann");
  if (has(head, "who=viewer")) return grant("shop", "ann", "view");
  if (has(head, "who=bob")) return grant("shop", "bob");
  if (has(head, "who=page"))
    return "HTTP/1.1 302 Found\r\nLocation: https://app.example/login\r\nContent-Length: 0\r\n\r\n";
  if (has(head, "who=banned")) return "HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n";
  if (has(head, "who=nobody")) return "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi";
  if (has(head, "who=garbage")) return "SSH-2.0-OpenSSH\r\n";
  if (has(head, "who=cut")) return "HTTP/1.1 200 OK\r\nPreviewd-Project: *\r\nPreviewd-User: *\r\n";
  if (has(head, "who=fault")) return "HTTP/1.1 500 Oops\r\nContent-Length: 0\r\n\r\n";
  if (has(head, "who=silent")) return "silence";
  return no;
}

std::string cookie(const std::string& who) {
  return "Cookie: who=" + who + "; theme=dark\r\n";
}

/// A service that asks an application, on one thread.
struct asking_service {
  explicit asking_service(void (*change)(settings&) = [](settings&) {}) {
    settings wanted;
    wanted.io.threads = 1;
    wanted.auth.mode = auth_mode::forward;
    wanted.auth.forward_url = "http://127.0.0.1:" + std::to_string(app.port()) + "/auth";
    wanted.auth.forward_cookies = {"who"};
    change(wanted);
    live = std::make_unique<live_service>(wanted, cookie("root"));
  }

  http_answer ask(const std::string& who, const std::string& target, const json& body = {}) const {
    return fetch(live->port(), target, who, body.is_null() ? std::string{} : body.dump());
  }
  std::string show(const std::string& user, uint16_t port) const {
    const http_answer added =
      ask(cookie(user), "POST /api/servers", {{"project", "shop"}, {"user", user}, {"port", port}});
    INFO(added.head << added.body);
    REQUIRE(added.status == 201);
    const std::string url = json::parse(added.body).at("originUrl");
    return url.substr(7, url.size() - 8);
  }

  application app{usual};
  std::unique_ptr<live_service> live;
};

}  // namespace

TEST_CASE("the application says who may, for everything there is", "[system][auth][forward][I6]") {
  asking_service service;
  noting_server dev;
  const std::string host = "Host: " + service.show("ann", dev.port()) + "\r\n";
  const std::string terminal = json::parse(
    service.ask(cookie("ann"), "POST /api/terminals", {{"project", "shop"}, {"user", "ann"}}).body)
                                 .at("id");

  CHECK(service.ask({}, "GET /api/terminals").status == 401);
  CHECK(service.ask({}, "GET /healthz").status == 200);
  CHECK(service.ask(cookie("ann"), "GET /api/terminals").status == 200);
  CHECK(service.ask(cookie("bob"), "GET /api/terminals/" + terminal).status == 404);
  CHECK(service.ask(cookie("viewer"), "DELETE /api/terminals/" + terminal).status == 403);
  CHECK(service.ask(cookie("ann"), "GET /debug/state").status == 403);
  CHECK(service.ask(host + cookie("ann"), "GET /").status == 200);
  CHECK(service.ask(host + cookie("bob"), "GET /").status == 403);
  CHECK(service.ask(host, "GET /").status == 401);
  CHECK(service.ask(host + cookie("ann"), "GET /.previewd/status").status == 200);

  const std::string attach = "/api/terminals/" + terminal + "/attach";
  CHECK_FALSE(websocket_client{service.live->port(), attach}.is_open());
  CHECK_FALSE(websocket_client{service.live->port(), attach, cookie("bob")}.is_open());
  CHECK(websocket_client{service.live->port(), attach, cookie("ann")}.is_open());
  CHECK(event_client{service.live->port(), nullptr}.connected.rfind("44", 0) == 0);
  CHECK(event_client{service.live->port(), nullptr, cookie("stranger")}.connected.empty());
  event_client client{service.live->port(), nullptr, cookie("ann")};
  CHECK(client.connected.rfind("40", 0) == 0);
  CHECK(client.ask("joinProject", {{"projectId", "shop"}}).at("ok") == true);
  CHECK(client.ask("joinProject", {{"projectId", "other"}}).at("ok") == false);
  raw_peer events = raw_peer::connect(service.live->port());
  events.send("GET /api/events HTTP/1.1\r\nHost: localhost\r\n" + cookie("ann") + "\r\n");
  CHECK(has(events.read_head(), " 200 "));
  CHECK(service.ask(cookie("ann"), "DELETE /api/terminals/" + terminal).status == 204);
}

TEST_CASE("nobody says who he is but the application", "[system][auth][forward][I6]") {
  asking_service service;
  noting_server dev;
  const std::string host = service.show("ann", dev.port());
  const std::string forged =
    "Previewd-Project: *\r\nPreviewd-User: *\r\nPreviewd-Role: edit\r\n"
    "Previewd-Workspace: shop/ann\r\nX-Forwarded-Host: " +
    host +
    "\r\nX-Forwarded-Uri: /healthz\r\n"
    "X-Forwarded-For: 127.0.0.99\r\n";

  CHECK(service.ask("Host: localhost\r\n" + forged, "GET /api/terminals").status == 401);
  const std::string seen = service.app.last();
  CHECK(has(seen, "X-Forwarded-Uri: /api/terminals\r\n"));
  CHECK(has(seen, "X-Forwarded-For: 127.0.0.1\r\n"));
  CHECK_FALSE(has(seen, "Previewd-"));
  CHECK_FALSE(has(seen, host));
  CHECK(service.ask("Host: " + host + "\r\n" + forged, "GET /").status == 401);
  CHECK(has(service.app.last(), "Previewd-Workspace: shop/ann\r\n"));
}

TEST_CASE("without a clear answer nobody gets in", "[system][auth][forward][I6]") {
  asking_service service{[](settings& wanted) { wanted.auth.forward_timeout = 1s; }};
  noting_server dev;
  const std::string host = "Host: " + service.show("ann", dev.port()) + "\r\n";

  for (const char* const who : {"nobody", "garbage", "cut", "fault", "silent"}) {
    INFO(who);
    const http_answer answer = service.ask(cookie(who), "GET /api/terminals");
    CHECK(answer.status == 503);
    CHECK(has(answer.body, "auth_unavailable"));
    CHECK(field_of(answer, "Retry-After") == "1");
    CHECK(service.ask(host + cookie(who), "GET /").status == 503);
    CHECK_FALSE(
      websocket_client{service.live->port(), "/socket.io/?EIO=4&transport=websocket", cookie(who)}
        .is_open());
  }
  CHECK(service.ask(cookie("ann"), "GET /api/terminals").status == 200);
}

TEST_CASE("an application that is not there lets nobody in", "[system][auth][forward][I6]") {
  settings wanted;
  wanted.auth.mode = auth_mode::forward;
  wanted.auth.forward_url = "unix:/tmp/previewd-no-such-application.sock";
  live_service live{wanted, cookie("root")};

  CHECK(fetch(live.port(), "GET /healthz").status == 200);
  CHECK(fetch(live.port(), "GET /api/terminals", cookie("root")).status == 503);
  CHECK(fetch(live.port(), "GET /preview/shop/ann/", cookie("root")).status == 503);
  live.get().stop();  // it says nothing of what it holds either
}

TEST_CASE("an application on a UNIX socket is asked, and nobody gets in while it is gone",
  "[system][auth][forward][I6]") {
  temporary_folder folder;
  const std::string path = folder.path() + "/app.sock";
  auto app = std::make_unique<application>(usual, path);
  settings wanted;
  wanted.auth.mode = auth_mode::forward;
  wanted.auth.forward_url = "unix:" + path + ":/who?of=previews";
  wanted.auth.forward_cache = 0ms;
  live_service live{wanted, cookie("root")};
  noting_server dev;
  const http_answer added = fetch(live.port(), "POST /api/servers", cookie("ann"),
    json{{"project", "shop"}, {"user", "ann"}, {"port", dev.port()}}.dump());
  REQUIRE(added.status == 201);
  const std::string url = json::parse(added.body).at("originUrl");
  const std::string host = "Host: " + url.substr(7, url.size() - 8) + "\r\n";
  const auto list = [&](const std::string& who) {
    return fetch(live.port(), "GET /api/terminals", cookie(who)).status;
  };
  const auto see = [&](const std::string& who) {
    return fetch(live.port(), "GET /", host + cookie(who)).status;
  };

  CHECK(list("ann") == 200);
  CHECK(app->last().rfind("GET /who?of=previews HTTP/1.1\r\nHost: localhost\r\n", 0) == 0);
  CHECK(see("ann") == 200);
  CHECK(see("bob") == 403);
  CHECK(list("banned") == 403);
  CHECK(list("stranger") == 401);
  app.reset();  // its socket is still there, and refuses
  CHECK(list("ann") == 503);
  CHECK(see("ann") == 503);
  std::filesystem::remove(path);
  CHECK(list("ann") == 503);
  CHECK_FALSE(websocket_client{live.port(), "/socket.io/?EIO=4&transport=websocket", cookie("ann")}
                .is_open());
  app = std::make_unique<application>(usual, path);
  CHECK(list("ann") == 200);
  CHECK(list("stranger") == 401);
}

TEST_CASE("what is granted for one workspace opens no other", "[system][auth][forward][I6]") {
  asking_service service;
  noting_server dev;
  noting_server bobs;
  const std::string anns = service.show("ann", dev.port());
  const std::string of_bob = service.show("bob", bobs.port());
  // By the address alone, whoever asks.
  service.app.set([&](const std::string& head) {
    return has(head, "who=root") ? usual(head) : has(head, anns) ? grant("*", "*") : no;
  });

  CHECK(service.ask("Host: " + anns + "\r\n" + cookie("eve"), "GET /").status == 200);
  CHECK(service.ask("Host: " + of_bob + "\r\n" + cookie("eve"), "GET /").status == 401);
  CHECK(service.ask(cookie("eve"), "GET /api/terminals").status == 401);
  // Nor does it open the same one to other credentials.
  service.app.set(
    [&](const std::string& head) { return has(head, "who=root") ? usual(head) : no; });
  CHECK(service.ask("Host: " + anns + "\r\n" + cookie("eve"), "GET /b").status == 200);
  CHECK(service.ask("Host: " + anns + "\r\n" + cookie("mallory"), "GET /").status == 401);
  CHECK(service.ask("Host: " + anns + "\r\n", "GET /").status == 401);
  CHECK(service.ask("Host: " + anns + "\r\n" + cookie("eve") + bearer("x"), "GET /").status == 401);
}

TEST_CASE(
  "what is granted is kept for a while, what is refused is not", "[system][auth][forward][I6]") {
  SECTION("within it the application is not asked") {
    asking_service service;
    CHECK(service.ask(cookie("ann"), "GET /api/terminals").status == 200);
    const std::size_t asked = service.app.asked();
    for (int i = 0; i < 5; ++i)
      CHECK(service.ask(cookie("ann"), "GET /api/servers?project=shop").status == 200);
    CHECK(service.app.asked() == asked);
    CHECK(service.ask(cookie("stranger"), "GET /api/terminals").status == 401);
    CHECK(service.ask(cookie("stranger"), "GET /api/terminals").status == 401);
    CHECK(service.app.asked() == asked + 2);
  }
  SECTION("what one I/O thread has been granted the others know") {
    asking_service service{[](settings& wanted) { wanted.io.threads = 4; }};
    CHECK(service.ask(cookie("ann"), "GET /api/terminals").status == 200);
    const std::size_t asked = service.app.asked();
    // Each is a connection of its own, which comes to any of the threads.
    for (int i = 0; i < 24; ++i)
      CHECK(service.ask(cookie("ann"), "GET /api/terminals").status == 200);
    CHECK(service.app.asked() == asked);
  }
  SECTION("what the application takes back has ended then") {
    asking_service service{[](settings& wanted) { wanted.auth.forward_cache = 50ms; }};
    CHECK(service.ask(cookie("ann"), "GET /api/terminals").status == 200);
    service.app.set(
      [](const std::string& head) { return has(head, "who=ann") ? no : usual(head); });
    CHECK(
      eventually([&] { return service.ask(cookie("ann"), "GET /api/terminals").status == 401; }));
  }
}

TEST_CASE(
  "the same question is asked once, and only so many at once", "[system][auth][forward][I5]") {
  asking_service service{[](settings& wanted) {
    wanted.auth.forward_cache = 0ms;
    wanted.auth.forward_asks = 1;
  }};
  const std::size_t before = service.app.asked();
  service.app.hold();
  std::vector<raw_peer> clients;
  for (int i = 0; i < 8; ++i) {
    clients.push_back(raw_peer::connect(service.live->port()));
    clients.back().send(
      "GET /api/terminals HTTP/1.1\r\nHost: localhost\r\n" + cookie("ann") + "\r\n");
  }
  REQUIRE(eventually([&] { return service.app.asked() == before + 1; }));
  // The thread goes on meanwhile, and has read what came before.
  for (int i = 0; i < 3; ++i) REQUIRE(service.ask({}, "GET /healthz").status == 200);
  const http_answer another = service.ask(cookie("bob"), "GET /api/terminals");
  // Who goes away while he waits takes nobody along.
  clients.front().reset();
  REQUIRE(service.ask({}, "GET /healthz").status == 200);
  service.app.let_go();

  CHECK(another.status == 503);
  for (std::size_t i = 1; i < clients.size(); ++i) CHECK(has(clients[i].read_head(), " 200 "));
  CHECK(service.app.asked() == before + 1);
}

TEST_CASE(
  "the application is asked about the token of a Socket.IO client", "[system][auth][forward][I6]") {
  asking_service service;
  service.app.set([](const std::string& head) {
    if (has(head, "Authorization: Bearer anns-token\r\n")) return grant("shop", "ann");
    if (has(head, "Authorization: Bearer banned")) return usual("who=banned");
    if (has(head, "Authorization: Bearer garbage")) return usual("who=garbage");
    return usual(head);
  });
  const auto with = [&](const char* token, const std::string& fields = {}) {
    return event_client{service.live->port(), {{"token", token}}, fields};
  };

  event_client client = with("anns-token", "Cookie: theme=dark\r\nPreviewd-User: *\r\n");
  const std::string seen = service.app.last();
  CHECK(client.connected.rfind("40", 0) == 0);
  CHECK(has(seen, "X-Forwarded-Uri: /socket.io/?EIO=4&transport=websocket\r\n"));
  CHECK(has(seen, "X-Forwarded-For: 127.0.0.1\r\n"));
  CHECK_FALSE(has(seen, "Previewd-"));
  CHECK(client.ask("joinProject", {{"projectId", "shop"}}).at("ok") == true);
  CHECK(client.ask("joinProject", {{"projectId", "other"}}).at("ok") == false);
  CHECK(has(with("bobs-token").connected, "not_authenticated"));
  CHECK(has(with("banned").connected, "not_allowed"));
  CHECK(has(with("garbage").connected, "timed_out"));
  for (const char* const token : {"bobs-token", "banned", "garbage", "a\r\nCookie: who=root"})
    CHECK(with(token).connected.rfind("44", 0) == 0);
  CHECK(has(event_client{service.live->port(), nullptr}.connected, "not_authenticated"));
  websocket_client absolute{
    service.live->port(), "http://localhost/socket.io/?EIO=4&transport=websocket"};
  REQUIRE(absolute.is_open());
  absolute.next();
  absolute.text("40{\"token\":\"anns-token\"}");
  CHECK(has(absolute.next()->payload, "not_authenticated"));
  // A token in the packet does not make good what the request has shown.
  CHECK(with("anns-token", cookie("stranger")).connected.empty());
}

TEST_CASE("a Socket.IO client that polls, behind a trusted proxy, is asked about by its token",
  "[system][auth][forward]") {
  asking_service service{[](settings& wanted) { wanted.proxy.trusted = {"127.0.0.1"}; }};
  service.app.set([](const std::string& head) {
    return has(head, "Authorization: Bearer anns-token\r\n") ? grant("shop", "ann") : usual(head);
  });
  const std::string polling = " /socket.io/?EIO=4&transport=polling";
  const std::string chain = "X-Forwarded-For: 203.0.113.5\r\n";

  const http_answer opened = fetch(service.live->port(), "GET" + polling, chain);
  REQUIRE(opened.status == 200);
  const std::string sid = json::parse(opened.body.substr(1)).at("sid");
  const std::string session = polling + "&sid=" + sid;
  CHECK(
    fetch(service.live->port(), "POST" + session, chain, "40{\"token\":\"anns-token\"}").status ==
    200);
  CHECK(fetch(service.live->port(), "GET" + session, chain).body.rfind("40{", 0) == 0);
  CHECK(has(service.app.last(), "X-Forwarded-For: 203.0.113.5, 127.0.0.1\r\n"));
  fetch(service.live->port(), "POST" + session, chain, "1");  // it goes
}

TEST_CASE("a browser's page gets what the application says to it", "[system][auth][forward]") {
  asking_service service;
  noting_server dev;
  const std::string host = service.show("ann", dev.port());

  const http_answer page =
    service.ask("Host: " + host + "\r\nAccept: text/html\r\n" + cookie("page"), "GET /");
  CHECK(page.status == 302);
  CHECK(field_of(page, "Location") == "https://app.example/login");
  const http_answer script = service.ask("Host: " + host + "\r\n" + cookie("page"), "GET /x.js");
  CHECK(script.status == 401);
  CHECK(has(script.body, "not_authenticated"));
  const http_answer login = service.ask(browser_at(host), "GET /");
  CHECK(login.status == 401);
  CHECK(login.body == "login");
  CHECK(service.ask("Host: " + host + "\r\n" + cookie("banned"), "GET /").status == 403);
}

TEST_CASE("no credential of the application reaches a dev server", "[system][auth][forward][I6]") {
  asking_service service;
  noting_server dev;
  const std::string host = "Host: " + service.show("ann", dev.port()) + "\r\n";

  CHECK(service.ask(host + cookie("ann") + bearer("of-the-app"), "GET /a").status == 200);
  CHECK_FALSE(has(dev.last(), "who="));
  CHECK(has(dev.last(), "theme=dark"));
  CHECK(has(dev.last(), "of-the-app"));
  // Without a cookie it was this that let him in.
  service.app.set([](const std::string& head) {
    return has(head, "Bearer let-me-in") ? grant("shop", "ann") : usual(head);
  });
  CHECK(service.ask(host + bearer("let-me-in"), "GET /b").status == 200);
  CHECK_FALSE(has(dev.last(), "let-me-in"));
}

TEST_CASE(
  "a browser can be handed over and shared with, as with tokens", "[system][auth][forward][I6]") {
  asking_service service;
  noting_server dev;
  const std::string host = service.show("ann", dev.port());
  const json servers = json::parse(service.ask(cookie("ann"), "GET /api/servers").body);
  const std::string server =
    "/api/servers/" + std::to_string(servers.at("servers")[0].at("generation").get<int64_t>());
  const json link = json::parse(
    service.ask(cookie("ann"), "POST /api/hand-overs", {{"project", "shop"}, {"user", "ann"}})
      .body);
  const std::string url = link.at("url");
  const http_answer entered =
    fetch(service.live->port(), "GET " + url.substr(url.find('/', 7)), browser_at(host));
  REQUIRE(entered.status == 303);
  const std::size_t asked = service.app.asked();

  CHECK(service.ask("Host: " + host + "\r\n" + cookie_line(entered), "GET /").status == 200);
  CHECK(service.app.asked() == asked);
  CHECK(service.ask(cookie("ann"), "PATCH " + server, {{"access", "project"}}).status == 200);
  CHECK(service.ask("Host: " + host + "\r\n" + cookie("bob"), "GET /").status == 200);
  CHECK(service.ask("Host: " + host + "\r\n", "GET /").status == 401);
  CHECK(service.ask(cookie("ann"), "PATCH " + server, {{"access", "public"}}).status == 200);
  CHECK(service.ask("Host: " + host + "\r\n", "GET /").status == 200);
}
