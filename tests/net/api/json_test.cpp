#include "previewd/net/api/json.hpp"

#include <catch2/catch.hpp>
#include <nlohmann/json.hpp>

#include "previewd/messages/error.hpp"

namespace {

using namespace previewd;
using namespace previewd::net::api;
using nlohmann::json;

wall_time at(int seconds) {
  return wall_time{std::chrono::seconds{1767225600 + seconds}};
}  // 2026-01-01

server_info vite() {
  server_info server;
  server.ref = {{"shop", "ann"}, 7};
  server.terminal_id = "T1";
  server.upstream = {"::1", 5173, scheme::http};
  server.type = "vite";
  server.pid = 4711;
  server.command = "node vite";
  server.state = server_state::ready;
  server.primary = true;
  server.started_at = at(0);
  server.health.checked_at = at(5);
  server.health.latency_us = 1234;
  server.tunnels = 2;
  server.label = "shop--ann";
  return server;
}

server_info further() {
  server_info server = vite();
  server.ref.generation = 8;
  server.terminal_id.clear();
  server.upstream = {"127.0.0.1", 3001, scheme::https};
  server.type = "http";
  server.prefix = prefix_mode::kept;
  server.pid = 0;
  server.state = server_state::starting;
  server.primary = false;
  server.previous_generation = 6;
  server.health = {};
  server.tunnels = 0;
  return server;
}

stop_record stopped() {
  stop_record record;
  record.ref = {{"shop", "ann"}, 7};
  record.terminal_id = "T1";
  record.port = 5173;
  record.reason = stop_reason::process_exited;
  record.exit.signal = "SIGINT";
  record.sequence = 41;
  record.at = at(9);
  return record;
}

terminal_info shell() {
  terminal_info terminal;
  terminal.id = "T1";
  terminal.key = {"shop", "ann"};
  terminal.pid = 99;
  terminal.command = "/bin/bash";
  terminal.cwd = "/srv/app";
  terminal.created_at = at(1);
  return terminal;
}

const json stop_object =
  json::parse(R"({"terminalId":"T1","message":"Dev server has stopped","serverKey":"shop_ann",
  "project":"shop","user":"ann","port":5173,"generation":7,"reason":"process_exited","exitCode":null,"signal":"SIGINT",
  "sequence":41,"at":"2026-01-01T00:00:09.000Z"})");

const json server_object =
  json::parse(R"({"project":"shop","user":"ann","serverKey":"shop_ann","generation":7,"port":5173,
  "address":"::1","scheme":"http","type":"vite","state":"ready","primary":true,"terminalId":"T1","pid":4711,
  "command":"node vite","url":"/preview/shop/ann","iframeUrl":"/preview/shop/ann/iframe",
  "originUrl":"http://shop--ann.preview.localhost:4000/","basePath":"stripped","previousGeneration":null,
  "startedAt":"2026-01-01T00:00:00.000Z",
  "health":{"checkedAt":"2026-01-01T00:00:05.000Z","latencyMs":1.23,"failures":0},"tunnels":2,"access":"private"})");

}  // namespace

TEST_CASE("a server object has every field of the wire", "[net][api][json]") {
  CHECK(json::parse(server_json(vite(), {})) == server_object);
  CHECK(json::parse(server_json(further(), {})) ==
        json::parse(R"({"project":"shop","user":"ann","serverKey":"shop_ann",
    "generation":8,"port":3001,"address":"127.0.0.1","scheme":"https","type":"http","state":"starting","primary":false,
    "terminalId":null,"pid":null,"command":"node vite","url":"/preview/shop/ann:3001",
    "iframeUrl":"/preview/shop/ann/iframe?port=3001","originUrl":"http://3001--shop--ann.preview.localhost:4000/",
    "basePath":"kept","previousGeneration":6,"startedAt":"2026-01-01T00:00:00.000Z",
    "health":{"checkedAt":null,"latencyMs":null,"failures":0},"tunnels":0,"access":"private"})"));
}

TEST_CASE("an origin shows the port that browsers see", "[net][api][json]") {
  CHECK(origin_of("a--b", {}) == "http://a--b.preview.localhost:4000");
  CHECK(
    origin_of("a--b", {"https", "preview.example.com", 443}) == "https://a--b.preview.example.com");
  CHECK(
    origin_of("a--b", {"http", "preview.example.com", 80}) == "http://a--b.preview.example.com");
  CHECK(origin_of("a--b", {"http", "preview.example.com", 443}) ==
        "http://a--b.preview.example.com:443");
}

TEST_CASE(
  "a terminal object has what the registry knows and what its thread knows", "[net][api][json]") {
  net::terminal::terminal_facts facts;
  facts.sequence = 812;
  facts.attached = 2;
  facts.size = {.columns = 120, .rows = 30};
  facts.foreground = "vim";

  CHECK(json::parse(terminal_json(shell(), [&](const std::string&) { return facts; })) ==
        json::parse(R"({"id":"T1",
    "project":"shop","user":"ann","pid":99,"command":"/bin/bash","cwd":"/srv/app","cols":120,"rows":30,"state":"running",
    "exitCode":null,"signal":null,"foreground":"vim","attached":2,"sequence":812,
    "createdAt":"2026-01-01T00:00:01.000Z"})"));

  terminal_info exited = shell();
  exited.state = terminal_state::exited;
  exited.exit.code = 3;
  const json shown = json::parse(terminal_json(exited, nullptr));
  CHECK(shown["state"] == "exited");
  CHECK(shown["exitCode"] == 3);
  CHECK(shown["cols"] == 80);
  CHECK(shown["foreground"].is_null());
}

TEST_CASE("a stop record is what front ends know", "[net][api][json]") {
  CHECK(json::parse(stop_json(stopped())) == stop_object);

  stop_record closed = stopped();
  closed.reason = stop_reason::terminal_closed;
  closed.exit = {};
  closed.exit.code = 0;
  const json shown = json::parse(stop_json(closed));
  CHECK(shown["message"] == "Terminal closed, dev server stopped");
  CHECK(shown["reason"] == "terminal_closed");
  CHECK(shown["exitCode"] == 0);
  CHECK(shown["signal"].is_null());
}

TEST_CASE("the preview status says what is available", "[net][api][json]") {
  workspace_status status;
  status.sequence = 5;
  CHECK(
    json::parse(preview_status_json(status, {})) ==
    json::parse(R"({"available":false,"server":null,"servers":[],"lastStop":null,"sequence":5})"));

  status.last_stop = stopped();
  CHECK(json::parse(preview_status_json(status, {}))["lastStop"] == stop_object);

  status.servers = {vite(), further()};
  const json up = json::parse(preview_status_json(status, {}));
  CHECK(up["available"] == true);
  CHECK(up["server"] == server_object);
  CHECK(up["servers"].size() == 2);
  CHECK_FALSE(up.contains("lastStop"));

  status.servers[0].state = server_state::restarting;
  const json down = json::parse(preview_status_json(status, {}));
  CHECK(down["available"] == false);
  CHECK(down["server"].is_null());
  CHECK(down["servers"][0]["state"] == "restarting");
}

TEST_CASE(
  "the preview status of a port says whether the server there is available", "[net][api][json]") {
  workspace_status status;
  status.last_stop = stopped();
  status.servers = {vite(), further()};

  const json starting = json::parse(preview_status_json(status, {}, 3001));
  CHECK(starting["available"] == false);
  CHECK(starting["server"].is_null());
  CHECK(starting["servers"].size() == 2);
  CHECK(starting["lastStop"] == stop_object);

  status.servers[0].state = server_state::suspended;
  status.servers[1].state = server_state::ready;
  const json ready = json::parse(preview_status_json(status, {}, 3001));
  CHECK(ready["available"] == true);
  CHECK(ready["server"]["generation"] == 8);
  CHECK(json::parse(preview_status_json(status, {}, 4321))["available"] == false);
}

TEST_CASE(
  "a snapshot holds servers, terminals and the sequence that events continue", "[net][api][json]") {
  project_snapshot snapshot;
  snapshot.servers = {vite()};
  snapshot.terminals = {shell()};
  snapshot.sequence = 12;

  const json shown = json::parse(snapshot_json(snapshot, {}, nullptr));

  CHECK(shown["servers"] == json::array({server_object}));
  CHECK(shown["terminals"][0]["id"] == "T1");
  CHECK(shown["sequence"] == 12);
}

TEST_CASE("debug connections list tunnels and their distinct owners", "[net][api][json]") {
  CHECK(json::parse(connections_json({})) ==
        json::parse(R"({"totalConnections":0,"owners":[],"connections":[]})"));

  connection_info one;
  one.id = {1, 17};
  one.server = {{"shop", "ann"}, 7};
  one.client_address = "127.0.0.1";
  one.path = "/?token=x";
  one.protocol = "vite-hmr";
  one.upstream = {"127.0.0.1", 5173, scheme::http};
  one.opened_at = at(2);
  one.bytes_up = 10;
  one.bytes_down = 20;
  one.idle = std::chrono::milliseconds{30};
  connection_info two = one;
  two.id.number = 18;
  two.protocol.clear();

  const json shown = json::parse(connections_json({one, two}));

  CHECK(shown["totalConnections"] == 2);
  CHECK(shown["owners"] == json::array({"shop_ann"}));
  CHECK(shown["connections"][0] ==
        json::parse(R"({"id":"1-17","serverKey":"shop_ann","project":"shop","user":"ann",
    "generation":7,"clientAddress":"127.0.0.1","path":"/?token=x","protocol":"vite-hmr",
    "upstreamAddress":"127.0.0.1","upstreamPort":5173,
    "openedAt":"2026-01-01T00:00:02.000Z","bytesUp":10,"bytesDown":20,"idleMs":30})"));
  CHECK(shown["connections"][1]["protocol"].is_null());
}

TEST_CASE("events carry their name, room and payload", "[net][api][json]") {
  event what;
  what.sequence = 41;
  what.at = at(9);
  what.key = {"shop", "ann"};

  SECTION("started") {
    what.kind = event_kind::server_started;
    what.server = vite();
    const auto encoded = encode(what, {});
    CHECK(encoded->name == "previewServerStarted");
    CHECK(encoded->project == "shop");
    CHECK(encoded->user == "ann");
    CHECK(encoded->sequence == 41);
    json expected = server_object;
    expected["sequence"] = 41;
    expected["at"] = "2026-01-01T00:00:09.000Z";
    CHECK(json::parse(encoded->json) == expected);
  }
  SECTION("stopped") {
    what.kind = event_kind::server_stopped;
    what.stop = stopped();
    const auto encoded = encode(what, {});
    CHECK(encoded->name == "previewServerStopped");
    CHECK(json::parse(encoded->json) == stop_object);
  }
  SECTION("unreachable") {
    what.kind = event_kind::server_unreachable;
    what.server = vite();
    what.reason = unreachable_reason::suspended;
    what.hint = "Type fg to go on.";
    const auto encoded = encode(what, {});
    CHECK(encoded->name == "previewServerUnreachable");
    CHECK(json::parse(encoded->json) ==
          json::parse(R"({"serverKey":"shop_ann","project":"shop","user":"ann","port":5173,
      "generation":7,"terminalId":"T1","reason":"suspended","hint":"Type fg to go on.","sequence":41,
      "at":"2026-01-01T00:00:09.000Z"})"));
  }
  SECTION("recovered") {
    what.kind = event_kind::server_recovered;
    what.server = vite();
    const auto encoded = encode(what, {});
    CHECK(encoded->name == "previewServerRecovered");
    CHECK_FALSE(json::parse(encoded->json).contains("hint"));
  }
  SECTION("a terminal's exit") {
    what.kind = event_kind::terminal_exit;
    what.terminal = shell();
    what.terminal->exit.code = 130;
    const auto encoded = encode(what, {});
    CHECK(encoded->name == "terminalExit");
    CHECK(encoded->terminal_id == "T1");
    CHECK(json::parse(encoded->json) ==
          json::parse(R"({"terminalId":"T1","exitCode":130,"signal":null,"project":"shop",
      "user":"ann","sequence":41,"at":"2026-01-01T00:00:09.000Z"})"));
  }
}

TEST_CASE("text that is no UTF-8 never breaks an answer", "[net][api][json]") {
  server_info server = vite();
  server.command = "caf\xE9 \x01\"";

  CHECK(json::parse(server_json(server, {}))["command"] == "caf\xEF\xBF\xBD \x01\"");
  CHECK(quoted("a\"\xFF\n") == "\"a\\\"\xEF\xBF\xBD\\n\"");
}

TEST_CASE("an error has its code and its sentence", "[net][api][json]") {
  CHECK(
    json::parse(error_json(make_error(errc::terminal_not_found, "No terminal has the id x."))) ==
    json::parse(R"({"code":"terminal_not_found","detail":"No terminal has the id x."})"));
}
