// Server-Sent Events, and servers that are registered and chosen by hand.
#include <catch2/catch.hpp>
#include <thread>

#include "previewd/tests/support/resource_check.hpp"
#include "previewd/tests/system/live_service.hpp"

using namespace previewd;
using namespace previewd::test;
using nlohmann::json;

namespace {

/// Listens on a loopback port and answers every request with its page.
class page_server {
public:
  explicit page_server(std::string page) : page_{std::move(page)} {
    listener_ = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t size = sizeof address;
    if (::bind(listener_, reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0 ||
        ::listen(listener_, 64) != 0 ||
        ::getsockname(listener_, reinterpret_cast<sockaddr*>(&address), &size) != 0)
      throw std::runtime_error{"cannot listen"};
    port_ = ntohs(address.sin_port);
    thread_ = std::thread{[this] { run(); }};
  }
  ~page_server() {
    ::shutdown(listener_, SHUT_RDWR);
    thread_.join();
    ::close(listener_);
  }
  page_server(const page_server&) = delete;
  page_server& operator=(const page_server&) = delete;

  uint16_t port() const { return port_; }

private:
  void run() {
    for (;;) {
      const int client = ::accept4(listener_, nullptr, nullptr, SOCK_CLOEXEC);
      if (client == -1 && errno == EINTR) continue;
      if (client == -1) return;
      const timeval limit{2, 0};
      ::setsockopt(client, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
      std::string request;
      char bytes[4096];
      while (request.find("\r\n\r\n") == std::string::npos) {
        const ssize_t n = ::recv(client, bytes, sizeof bytes, 0);
        if (n == -1 && errno == EINTR) continue;
        if (n <= 0) break;
        request.append(bytes, static_cast<std::size_t>(n));
      }
      const std::string answer =
        "HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nConnection: close\r\nContent-Length: " +
        std::to_string(page_.size()) + "\r\n\r\n" + page_;
      if (!request.empty()) (void)::send(client, answer.data(), answer.size(), MSG_NOSIGNAL);
      ::close(client);
    }
  }

  std::string page_;
  int listener_ = -1;
  uint16_t port_ = 0;
  std::thread thread_;
};

struct sent_event {
  uint64_t id = 0;
  std::string name;
  json data;
};

/// A reader of Server-Sent Events.
class event_reader {
public:
  event_reader(uint16_t port, const std::string& target, const std::string& fields = {})
      : connection_{port} {
    const bool has_host = fields.find("Host:") != std::string::npos;
    connection_.send("GET " + target + " HTTP/1.1\r\n" +
                     (has_host ? "" : "Host: 127.0.0.1:" + std::to_string(port) + "\r\n") +
                     "Accept: text/event-stream\r\n" + fields + "\r\n");
    raw_ = connection_.read_until("\r\n\r\n");
    const auto end = raw_.find("\r\n\r\n");
    head = raw_.substr(0, end);
    if (end != std::string::npos) raw_.erase(0, end + 4);
  }

  /// The next event; nothing when the stream ends, or at the deadline.
  std::optional<sent_event> next() {
    for (;;) {
      for (auto end = text_.find("\n\n"); end != std::string::npos; end = text_.find("\n\n")) {
        const std::string block = text_.substr(0, end + 1);
        text_.erase(0, end + 2);
        if (block.find("event: ") == std::string::npos) continue;
        const auto value = [&block](const std::string& field) {
          const auto at = block.find(field + ": ") + field.size() + 2;
          return block.substr(at, block.find('\n', at) - at);
        };
        return sent_event{
          std::stoull(value("id")), value("event"), json::parse(value("data"), nullptr, false)};
      }
      if (!read_chunk()) return std::nullopt;
    }
  }

  std::string head;

private:
  bool read_chunk() {
    for (;;) {
      const auto line = raw_.find("\r\n");
      if (line != std::string::npos) {
        const std::size_t size = std::stoul(raw_.substr(0, line), nullptr, 16);
        if (size == 0) return false;
        if (raw_.size() >= line + 2 + size + 2) {
          text_ += raw_.substr(line + 2, size);
          raw_.erase(0, line + 2 + size + 2);
          return true;
        }
      }
      const std::string more = connection_.read();
      if (more.empty()) return false;
      raw_ += more;
    }
  }

  connection connection_;
  std::string raw_;
  std::string text_;
};

http_answer register_server(live_service& live, const json& body) {
  return fetch(live.port(), "POST /api/servers", "Content-Type: application/json\r\n", body.dump());
}

uint64_t must_register(live_service& live, const page_server& server,
  const std::string& project = "shop", const std::string& user = "ann") {
  const auto answer =
    register_server(live, {{"project", project}, {"user", user}, {"port", server.port()}});
  if (answer.status != 201) throw std::runtime_error{answer.head + answer.body};
  return json::parse(answer.body).at("generation").get<uint64_t>();
}

std::string at(uint64_t generation) {
  return "/api/servers/" + std::to_string(generation);
}

uint64_t sequence_of(live_service& live) {
  return live.get_json("/api/preview-status/shop/ann")["sequence"].get<uint64_t>();
}

}  // namespace

TEST_CASE("a server that was not started in a terminal is registered, served and removed",
  "[system][servers]") {
  const page_server page{"<p>by hand</p>"};
  live_service live;

  const auto answer = register_server(
    live, {{"project", "shop"}, {"user", "ann"}, {"port", page.port()}, {"type", "storybook"}});

  REQUIRE(answer.status == 201);
  const json server = json::parse(answer.body);
  CHECK(answer.head.find("Location: " + at(server["generation"])) != std::string::npos);
  CHECK(server["port"] == page.port());
  CHECK(server["type"] == "storybook");
  CHECK(server["terminalId"].is_null());
  CHECK(server["primary"] == true);
  CHECK(live.events.wait_for(event_kind::server_started));
  const auto shown = fetch(live.port(), "GET /preview/shop/ann/");
  CHECK(shown.status == 200);
  CHECK(shown.body == "<p>by hand</p>");

  CHECK(fetch(live.port(), "DELETE " + at(server["generation"])).status == 204);
  CHECK(live.preview_status() == 503);
  const auto gone =
    fetch(live.port(), "PATCH " + at(server["generation"]), {}, R"({"primary":true})");
  CHECK(gone.status == 410);
  CHECK(json::parse(gone.body)["code"] == "server_gone");
  // By hand it may be named again, although its socket is the one that was removed.
  CHECK(must_register(live, page) > server["generation"]);
}

TEST_CASE("what cannot be registered is refused with its reason", "[system][servers][I7]") {
  const page_server page{"<p>mine</p>"};
  live_service live;
  must_register(live, page);
  const auto refused = [&](json body, int status, const std::string& code) {
    const json base{{"project", "shop"}, {"user", "eve"}, {"port", page.port()}};
    json whole = base;
    if (body.is_object()) whole.update(body);
    const auto answer = register_server(live, whole);
    INFO(whole.dump() << " " << answer.body);
    CHECK(answer.status == status);
    CHECK(json::parse(answer.body)["code"] == code);
  };
  // A port that was free a moment ago.
  const uint16_t closed = page_server{""}.port();

  refused({}, 409, "port_taken");
  refused({{"port", closed}}, 422, "not_listening");
  refused({{"port", live.port()}}, 400, "invalid_field");
  refused({{"port", 0}}, 400, "invalid_field");
  refused({{"port", "80"}}, 400, "invalid_field");
  refused({{"address", "10.1.2.3"}}, 400, "invalid_field");
  refused({{"address", "169.254.169.254"}}, 400, "invalid_field");
  refused({{"address", "0.0.0.0"}}, 400, "invalid_field");
  refused({{"address", "::ffff:10.1.2.3"}}, 400, "invalid_field");
  refused({{"address", "localhost"}}, 400, "invalid_field");
  refused({{"address", "127.1"}}, 400, "invalid_field");
  refused({{"scheme", "ftp"}}, 400, "invalid_field");
  refused({{"type", "<b>"}}, 400, "invalid_field");
  refused({{"primary", 1}}, 400, "invalid_field");
  refused({{"user", ".."}}, 400, "invalid_name");
  refused({{"colour", 1}}, 400, "invalid_field");
  CHECK(live.get_json("/api/servers")["servers"].size() == 1);
}

TEST_CASE("a network that the settings name may be registered from", "[system][servers]") {
  settings wanted;
  wanted.preview.allow_upstreams = {"10.1.0.0/16", "fd00::/8"};
  live_service live{wanted};
  // Nothing listens there, and nothing is contacted outside: only the addresses' own check passes
  // or does not.
  const auto answer = register_server(
    live, {{"project", "shop"}, {"user", "ann"}, {"port", 9}, {"address", "10.2.0.1"}});
  CHECK(answer.status == 400);
  CHECK(answer.body.find("preview.allow_upstreams") != std::string::npos);
}

TEST_CASE(
  "another server is made the primary, and stays it when it comes back", "[system][servers]") {
  const page_server first{"<p>first</p>"};
  const page_server second{"<p>second</p>"};
  live_service live;
  const uint64_t one = must_register(live, first);
  const uint64_t two = must_register(live, second);
  CHECK(fetch(live.port(), "GET /preview/shop/ann/").body == "<p>first</p>");

  const auto answer = fetch(live.port(), "PATCH " + at(two), {}, R"({"primary":true})");

  CHECK(answer.status == 200);
  CHECK(json::parse(answer.body)["primary"] == true);
  CHECK(live.events.wait_for(event_kind::server_primary));
  CHECK(fetch(live.port(), "GET /preview/shop/ann/").body == "<p>second</p>");
  CHECK(live.get_json(at(one))["primary"] == false);

  CHECK(fetch(live.port(), "DELETE " + at(two)).status == 204);
  CHECK(fetch(live.port(), "GET /preview/shop/ann/").body == "<p>first</p>");
  const uint64_t again = must_register(live, second);
  CHECK(live.get_json(at(again))["primary"] == true);
  CHECK(eventually(
    [&] { return fetch(live.port(), "GET /preview/shop/ann/").body == "<p>second</p>"; }));
  CHECK(fetch(live.port(), "PATCH " + at(again), {}, R"({"primary":false})").status == 400);
  CHECK(fetch(live.port(), "PATCH /api/servers/1", {}, R"({"primary":true})").status == 404);
}

TEST_CASE("a reader of events hears of what happens from now on", "[system][events]") {
  const page_server page{"<p>x</p>"};
  resource_check resources;
  {
    live_service live;
    event_reader reader{live.port(), "/api/events?project=shop"};
    CHECK(reader.head.find(" 200 ") != std::string::npos);
    CHECK(reader.head.find("Content-Type: text/event-stream") != std::string::npos);

    const uint64_t generation = must_register(live, page);
    CHECK(fetch(live.port(), "DELETE " + at(generation)).status == 204);

    const auto started = reader.next();
    REQUIRE(started);
    CHECK(started->name == "previewServerStarted");
    CHECK(started->data["generation"] == generation);
    CHECK(started->data["sequence"] == started->id);
    const auto stopped = reader.next();
    REQUIRE(stopped);
    CHECK(stopped->name == "previewServerStopped");
    CHECK(stopped->data["reason"] == "removed");
    CHECK(stopped->id == started->id + 1);
  }
  CHECK(resources.difference() == "");
}

TEST_CASE("a reader gets what it missed, each event once", "[system][events]") {
  const page_server page{"<p>x</p>"};
  live_service live;
  const uint64_t before = sequence_of(live);
  const uint64_t generation = must_register(live, page);
  REQUIRE(live.events.wait_for(event_kind::server_started));
  CHECK(fetch(live.port(), "DELETE " + at(generation)).status == 204);
  const auto by_query = GENERATE(true, false);
  const std::string known = std::to_string(before);

  event_reader reader =
    by_query ? event_reader{live.port(), "/api/events?after=" + known}
             // What the browser has seen is newer than its URL.
             : event_reader{live.port(), "/api/events?after=1", "Last-Event-ID: " + known + "\r\n"};
  must_register(live, page);

  for (uint64_t id = before + 1; id <= before + 3; ++id) {
    const auto event = reader.next();
    REQUIRE(event);
    CHECK(event->id == id);
  }
}

TEST_CASE("a reader whose past is not held gets the present", "[system][events]") {
  const page_server page{"<p>x</p>"};
  live_service live;
  const uint64_t generation = must_register(live, page);
  REQUIRE(live.events.wait_for(event_kind::server_started));
  const std::string after = GENERATE("1", "9007199254740993000");

  event_reader reader{live.port(), "/api/events?project=shop&user=ann&after=" + after};

  const auto reset = reader.next();
  REQUIRE(reset);
  CHECK(reset->name == "reset");
  CHECK(reset->id == reset->data["sequence"]);
  REQUIRE(reset->data["servers"].size() == 1);
  CHECK(reset->data["servers"][0]["generation"] == generation);
  CHECK(reset->data["terminals"].empty());
  CHECK(fetch(live.port(), "DELETE " + at(generation)).status == 204);
  const auto stopped = reader.next();
  REQUIRE(stopped);
  CHECK(stopped->name == "previewServerStopped");
  CHECK(stopped->id == reset->id + 1);
}

TEST_CASE(
  "a reader that missed more than it may fall behind gets the present", "[system][events][I5]") {
  const page_server page{"<p>x</p>"};
  settings wanted;
  wanted.limits.client_buffer = 4096;
  live_service live{wanted};
  const uint64_t before = sequence_of(live);
  uint64_t generation = must_register(live, page);
  for (int i = 0; i < 10; ++i) {
    REQUIRE(fetch(live.port(), "DELETE " + at(generation)).status == 204);
    generation = must_register(live, page);
  }
  const uint64_t now = sequence_of(live);
  REQUIRE(live.events.wait([now](const event& e) { return e.sequence == now; }));

  event_reader reader{live.port(), "/api/events?after=" + std::to_string(before)};

  const auto reset = reader.next();
  REQUIRE(reset);
  CHECK(reset->name == "reset");
  REQUIRE(reset->data["servers"].size() == 1);
  CHECK(reset->data["servers"][0]["generation"] == generation);
  CHECK(fetch(live.port(), "DELETE " + at(generation)).status == 204);
  const auto stopped = reader.next();
  REQUIRE(stopped);
  CHECK(stopped->name == "previewServerStopped");
  CHECK(stopped->id == reset->id + 1);
}

TEST_CASE(
  "a present that is larger than a reader may fall behind is delivered", "[system][events][I5]") {
  const page_server page{"<p>x</p>"};
  const page_server other{"<p>y</p>"};
  settings wanted;
  wanted.limits.client_buffer = 512;
  live_service live{wanted};
  const uint64_t generation = must_register(live, page);
  must_register(live, other);
  const uint64_t now = sequence_of(live);
  REQUIRE(live.events.wait([now](const event& e) { return e.sequence == now; }));

  event_reader reader{live.port(), "/api/events?after=1"};

  const auto reset = reader.next();
  REQUIRE(reset);
  CHECK(reset->name == "reset");
  CHECK(reset->data.dump().size() > wanted.limits.client_buffer);
  CHECK(reset->data["servers"].size() == 2);
  CHECK(fetch(live.port(), "DELETE " + at(generation)).status == 204);
  const auto next = reader.next();
  REQUIRE(next);
  CHECK(next->id > reset->id);
}

TEST_CASE("a reader hears nothing of other workspaces", "[system][events][I6]") {
  const page_server page{"<p>x</p>"};
  const page_server other{"<p>y</p>"};
  live_service live;
  must_register(live, page, "other", "ann");
  must_register(live, other, "shop", "ann");
  REQUIRE(live.events.wait([](const event& e) { return e.key.project == "shop"; }));
  const auto target = GENERATE(values<std::string>(
    {"/api/events?project=shop&after=1", "/api/events?project=shop&user=ann&after=1",
      "/preview/shop/ann/.previewd/events?after=1", "/.previewd/events?after=1"}));
  const std::string host =
    target.starts_with("/.previewd")
      ? "Host: shop--ann.preview.localhost:" + std::to_string(live.port()) + "\r\n"
      : std::string{};

  event_reader reader{live.port(), target, host};

  const auto reset = reader.next();
  REQUIRE(reset);
  REQUIRE(reset->data["servers"].size() == 1);
  CHECK(reset->data["servers"][0]["project"] == "shop");
  const std::string more = live.open_terminal("other", "ann");
  CHECK(live.close_terminal(more) == 204);
  REQUIRE(live.events.wait_for(event_kind::terminal_exit));
  const std::string own = live.open_terminal("shop", "ann");
  CHECK(live.close_terminal(own) == 204);
  const auto next = reader.next();
  REQUIRE(next);
  CHECK(next->name == "terminalExit");
  CHECK(next->data["terminalId"] == own);
}

TEST_CASE(
  "the answer to HEAD is over with its head, and the connection goes on", "[system][events]") {
  live_service live;
  const std::string target = GENERATE("/api/events", "/api/events?after=0");
  const std::string host = "Host: 127.0.0.1:" + std::to_string(live.port()) + "\r\n";
  connection client{live.port()};

  client.send("HEAD " + target + " HTTP/1.1\r\n" + host + "\r\n");
  const std::string head = client.read_until("\r\n\r\n");
  client.send("GET /healthz HTTP/1.1\r\n" + host + "Connection: close\r\n\r\n");
  const std::string next = client.read_all();

  CHECK(head.substr(0, 13) == "HTTP/1.1 200 ");
  CHECK(head.find("Content-Type: text/event-stream\r\n") != std::string::npos);
  CHECK(next.substr(0, 13) == "HTTP/1.1 200 ");
}

TEST_CASE("a sequence that is no number is refused", "[system][events][I7]") {
  live_service live;
  for (const auto* const target : {"/api/events?after=x", "/api/events?after=-1"}) {
    const auto answer = fetch(live.port(), std::string{"GET "} + target);
    CHECK(answer.status == 400);
    CHECK(json::parse(answer.body)["code"] == "invalid_field");
  }
  CHECK(fetch(live.port(), "GET /api/events?project=..").status == 400);
  CHECK(fetch(live.port(), "GET /api/events", "Last-Event-ID: x\r\n").status == 400);
}

TEST_CASE("streams of events end with the service and with their readers", "[system][events][I3]") {
  resource_check resources;
  {
    live_service live;
    { event_reader left{live.port(), "/api/events"}; }
    event_reader reader{live.port(), "/api/events"};
    event_reader waiting{live.port(), "/api/events?after=1"};
    live.get().stop();
    CHECK_FALSE(reader.next());
  }
  CHECK(resources.difference() == "");
}
