// Who sees a preview beside those who may use its workspace: its project, or everybody with its
// address. A share gives the preview and nothing else, and ends at once.
#include <catch2/catch.hpp>

#include "previewd/tests/system/guarded_service.hpp"

using namespace previewd;
using namespace previewd::test;

namespace {

const std::string stranger = as("other", "eve", "edit");

/// A dev server that leaves some of its answers open: `/stream` never ends, `/wait` never begins,
/// an upgrade is granted and nothing follows.
class patient_server {
public:
  patient_server()
      : thread_{[this] {
          while (!over_) {
            raw_peer peer = listener_.accept();
            const std::string head = peer.read_head();
            if (head.find("Upgrade: websocket") != std::string::npos) {
              peer.send(
                "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n"
                "Connection: Upgrade\r\nSec-WebSocket-Accept: "
                "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n");
              kept_.push_back(std::move(peer));
            } else if (head.find(" /stream ") != std::string::npos) {
              peer.send("HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\nbegun");
              kept_.push_back(std::move(peer));
            } else if (head.find(" /wait ") != std::string::npos) {
              kept_.push_back(std::move(peer));
              ++waiting;
            } else if (!head.empty()) {
              peer.send(
                "HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: 5\r\n"
                "Connection: close\r\n\r\nhello");
            }
          }
        }} {}
  ~patient_server() {
    over_ = true;
    raw_peer::connect(listener_.port()).close();  // ends the wait
    thread_.join();
  }
  patient_server(const patient_server&) = delete;
  patient_server& operator=(const patient_server&) = delete;

  uint16_t port() const { return listener_.port(); }

  std::atomic<int> waiting{0};  // requests to `/wait` that have come

private:
  raw_server listener_;
  std::atomic<bool> over_{false};
  std::vector<raw_peer> kept_;
  std::thread thread_;
};

/// A registered server and where it is seen.
struct shown {
  uint64_t generation = 0;
  std::string host;
};

shown show(
  const guarded_service& service, const std::string& who, const std::string& user, uint16_t port) {
  const http_answer added =
    service.ask(who, "POST /api/servers", {{"project", "shop"}, {"user", user}, {"port", port}});
  INFO(added.head << added.body);
  REQUIRE(added.status == 201);
  const json server = json::parse(added.body);
  CHECK(server.at("access") == "private");
  const std::string url = server.at("originUrl");
  return {server.at("generation"), url.substr(7, url.size() - 8)};
}

http_answer share(const guarded_service& service, const shown& what, const std::string& access,
  const std::string& who = ann) {
  return service.ask(
    who, "PATCH /api/servers/" + std::to_string(what.generation), {{"access", access}});
}

int look(const guarded_service& service, const std::string& host, const std::string& who,
  const std::string& target = "GET /") {
  return service.ask("Host: " + host + "\r\n" + who, target).status;
}

/// A request of a client of its own, sent to an origin.
raw_peer begin(const guarded_service& service, const std::string& line, const std::string& host,
  const std::string& fields = {}) {
  raw_peer client = raw_peer::connect(service.live->port());
  client.send(line + " HTTP/1.1\r\nHost: " + host + "\r\n" + fields + "\r\n");
  return client;
}

const std::string upgrade =
  "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
  "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";

}  // namespace

TEST_CASE("a preview is seen by those it is shared with", "[system][auth][share][I6]") {
  const guarded_service service;
  noting_server dev;
  const shown preview = show(service, ann, "ann", dev.port());
  const auto seen_by = [&](const std::string& who) { return look(service, preview.host, who); };

  CHECK(seen_by(viewer) == 200);
  CHECK(seen_by(bob) == 403);
  CHECK(seen_by(stranger) == 403);
  CHECK(seen_by({}) == 401);

  const http_answer answer = share(service, preview, "project");
  CHECK(answer.status == 200);
  CHECK(json::parse(answer.body).at("access") == "project");
  CHECK(seen_by(viewer) == 200);
  CHECK(seen_by(bob) == 200);
  CHECK(seen_by(as("shop", "bob", "view")) == 200);
  CHECK(seen_by(stranger) == 403);
  CHECK(seen_by({}) == 401);

  CHECK(share(service, preview, "public").status == 200);
  CHECK(seen_by(bob) == 200);
  CHECK(seen_by(stranger) == 200);
  CHECK(seen_by({}) == 200);
  CHECK(seen_by(browser_at({}, {}).substr(8)) == 200);

  CHECK(share(service, preview, "private").status == 200);
  CHECK(seen_by(viewer) == 200);
  CHECK(seen_by(bob) == 403);
  CHECK(seen_by({}) == 401);
}

TEST_CASE("only who may edit a workspace says who sees its previews", "[system][auth][share][I6]") {
  const guarded_service service;
  noting_server dev;
  const shown preview = show(service, ann, "ann", dev.port());

  CHECK(share(service, preview, "public", {}).status == 401);
  CHECK(share(service, preview, "public", viewer).status == 403);
  CHECK(share(service, preview, "public", bob).status == 404);
  CHECK(share(service, preview, "everyone").status == 400);
  CHECK(share(service, {preview.generation + 100, {}}, "public").status == 404);
  CHECK(service.ask(ann, "PATCH /api/servers/" + std::to_string(preview.generation), json::object())
          .status == 400);
  CHECK(look(service, preview.host, {}) == 401);
  const json both = {{"access", "public"}, {"primary", true}};
  CHECK(service.ask(ann, "PATCH /api/servers/" + std::to_string(preview.generation), both).status ==
        200);
  CHECK(look(service, preview.host, {}) == 200);
  // Who sees it does not learn to change it.
  CHECK(share(service, preview, "private", {}).status == 401);
  CHECK(share(service, preview, "private", bob).status == 404);
}

TEST_CASE("a share gives one preview and nothing else", "[system][auth][share][I6]") {
  const guarded_service service{[](settings& wanted) { wanted.preview.path = path_addresses::on; }};
  noting_server dev;
  noting_server further;
  noting_server bobs;
  const shown preview = show(service, ann, "ann", dev.port());
  const shown second = show(service, ann, "ann", further.port());
  const shown of_bob = show(service, bob, "bob", bobs.port());
  REQUIRE(share(service, preview, "public").status == 200);
  REQUIRE(look(service, preview.host, {}) == 200);

  SECTION("no other server of the workspace") {
    REQUIRE(second.host != preview.host);
    CHECK(look(service, second.host, {}) == 401);
    CHECK(look(service, second.host, bob) == 403);
  }
  SECTION("no other workspace") {
    CHECK(look(service, of_bob.host, {}) == 401);
    CHECK(look(service, of_bob.host, "Referer: http://" + preview.host + "/\r\n") == 401);
    CHECK(look(service, of_bob.host, stranger) == 403);
  }
  SECTION("not what previewd says of the workspace") {
    for (const char* const what : {"GET /.previewd/status", "GET /.previewd/events"}) {
      CHECK(look(service, preview.host, {}, what) == 401);
      CHECK(look(service, preview.host, bob, what) == 403);
    }
  }
  SECTION("nothing on the service's own addresses") {
    for (const char* const what : {"GET /", "GET /api/terminals", "GET /api/servers",
           "GET /api/events", "GET /api/preview-status/shop/ann", "GET /debug/connections",
           "GET /debug/state", "GET /terminal/shop/ann", "GET /preview/shop/ann/iframe",
           "GET /preview/shop/ann/.previewd/status", "POST /api/hand-overs"})
      CHECK(service.ask({}, what).status == 401);
    CHECK(service.list(bob, "GET /api/servers").at("servers").size() == 1);
    CHECK(service.ask(bob, "GET /api/servers?project=shop&user=ann").status == 403);
    CHECK(service.ask(bob, "GET /api/servers/" + std::to_string(preview.generation)).status == 404);
    const event_client client{service.live->port(), nullptr};
    CHECK(client.connected.rfind("44", 0) == 0);
  }
  SECTION("no path address, which shares the service's origin") {
    CHECK(service.ask({}, "GET /preview/shop/ann/").status == 401);
    CHECK(service.ask(bob, "GET /preview/shop/ann/").status == 403);
    CHECK(service.ask(ann, "GET /preview/shop/ann/").status == 200);
  }
  SECTION("and no way to let others in") {
    CHECK(service.ask(stranger, "POST /api/hand-overs", {{"project", "shop"}, {"user", "ann"}})
            .status == 403);
    CHECK(service
            .ask(bob, "POST /api/hand-overs",
              {{"project", "shop"}, {"user", "ann"}, {"page", "terminal"}})
            .status == 403);
    CHECK(
      service
        .ask(bob, "POST /api/hand-overs", {{"project", "shop"}, {"user", "ann"}, {"role", "edit"}})
        .status == 403);
    CHECK(service
            .ask(bob, "POST /api/hand-overs",
              {{"project", "shop"}, {"user", "ann"}, {"port", further.port()}})
            .status == 403);
  }
}

TEST_CASE("what a share had opened is closed when it ends", "[system][auth][share][I2][I6]") {
  const guarded_service service;
  patient_server dev;
  const shown preview = show(service, ann, "ann", dev.port());
  REQUIRE(share(service, preview, "public").status == 200);
  raw_peer member = begin(service, "GET /socket", preview.host, upgrade + viewer);
  raw_peer mate = begin(service, "GET /socket", preview.host, upgrade + bob);
  raw_peer guest = begin(service, "GET /socket", preview.host, upgrade);
  raw_peer reader = begin(service, "GET /stream", preview.host);
  raw_peer waiter = begin(service, "GET /wait", preview.host);
  raw_peer poster = begin(service, "POST /wait", preview.host, "Content-Length: 1\r\n");
  poster.send("x");
  for (raw_peer* each : {&member, &mate, &guest})
    REQUIRE(each->read_head().find(" 101 ") != std::string::npos);
  REQUIRE(reader.read_until("begun").find(" 200 ") != std::string::npos);
  REQUIRE(eventually([&] { return dev.waiting == 2; }));

  REQUIRE(share(service, preview, "project").status == 200);

  CHECK(guest.wait_for_end());
  CHECK(reader.wait_for_end());
  CHECK(waiter.read_head().find(" 401 ") != std::string::npos);
  CHECK(poster.read_head().find(" 401 ") != std::string::npos);
  CHECK_FALSE(mate.has_something());
  REQUIRE(service.list(ann, "GET /debug/connections").at("totalConnections") == 2);

  REQUIRE(share(service, preview, "private").status == 200);

  CHECK(mate.wait_for_end());
  CHECK_FALSE(member.has_something());
  CHECK(service.list(ann, "GET /debug/connections").at("totalConnections") == 1);
  CHECK(begin(service, "GET /socket", preview.host, upgrade).read_head().find(" 401 ") !=
        std::string::npos);
}

TEST_CASE("a browser of the project is handed over while the preview is shared with it",
  "[system][auth][share][I6]") {
  const guarded_service service;
  noting_server dev;
  noting_server bobs;
  const shown preview = show(service, ann, "ann", dev.port());
  const shown of_bob = show(service, bob, "bob", bobs.port());
  const json wanted = {{"project", "shop"}, {"user", "ann"}};
  REQUIRE(service.ask(bob, "POST /api/hand-overs", wanted).status == 403);
  REQUIRE(share(service, preview, "project").status == 200);

  const std::string cookie = cookie_line(follow(service, hand_over(service, bob, {})));

  CHECK(look(service, preview.host, cookie) == 200);
  CHECK(dev.last().find("previewd_session") == std::string::npos);
  CHECK(look(service, preview.host, cookie, "GET /.previewd/status") == 403);
  // It is not as good as his token: the app that is shared gets nothing by it.
  CHECK(look(service, of_bob.host, cookie) == 403);
  CHECK(service.ask(cookie, "GET /api/terminals").status == 401);
  REQUIRE(share(service, preview, "private").status == 200);
  CHECK(look(service, preview.host, cookie) == 403);
}

TEST_CASE("a public preview gets its own tokens and none of ours", "[system][auth][share][I6]") {
  const guarded_service service;
  noting_server dev;
  const shown preview = show(service, ann, "ann", dev.port());
  REQUIRE(share(service, preview, "public").status == 200);

  CHECK(look(service, preview.host, bearer("of-the-app"), "GET /a") == 200);
  CHECK(dev.last().find("Authorization: Bearer of-the-app") != std::string::npos);
  CHECK(look(service, preview.host, bob, "GET /b") == 200);
  CHECK(dev.last().find("Authorization") == std::string::npos);
}

TEST_CASE("without auth.mode a share is kept and keeps nobody out", "[system][auth][share]") {
  const live_service live;
  noting_server dev;
  const http_answer added = fetch(live.port(), "POST /api/servers", {},
    json{{"project", "shop"}, {"user", "ann"}, {"port", dev.port()}}.dump());
  REQUIRE(added.status == 201);
  const json server = json::parse(added.body);
  const std::string url = server.at("originUrl");
  const std::string host = "Host: " + url.substr(7, url.size() - 8) + "\r\n";

  for (const char* const access : {"public", "project", "private"}) {
    const http_answer changed = fetch(live.port(),
      "PATCH /api/servers/" + std::to_string(server.at("generation").get<int64_t>()), {},
      json{{"access", access}}.dump());
    CHECK(changed.status == 200);
    CHECK(json::parse(changed.body).at("access") == access);
    CHECK(fetch(live.port(), "GET /", host).status == 200);
  }
}

TEST_CASE("preview.access is what a preview begins with", "[system][auth][share]") {
  const guarded_service service{
    [](settings& wanted) { wanted.preview.access = preview_sharing::project; }};
  noting_server dev;
  const http_answer added = service.ask(
    ann, "POST /api/servers", {{"project", "shop"}, {"user", "ann"}, {"port", dev.port()}});
  REQUIRE(added.status == 201);
  const std::string url = json::parse(added.body).at("originUrl");

  CHECK(json::parse(added.body).at("access") == "project");
  CHECK(look(service, url.substr(7, url.size() - 8), bob) == 200);
  CHECK(look(service, url.substr(7, url.size() - 8), {}) == 401);
}
