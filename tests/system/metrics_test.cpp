// What the service says of itself: metrics, readiness, state.
#include <catch2/catch.hpp>

#include "previewd/tests/support/eventually.hpp"
#include "previewd/tests/support/metrics.hpp"
#include "previewd/tests/system/live_service.hpp"

using namespace previewd;
using namespace previewd::test;

namespace {

const std::string dev_server = PREVIEWD_DEV_SERVER;

const std::string foreign_host = "Host: metrics.example:9090\r\n";
const std::string foreign_origin = "Origin: http://evil.example\r\n";

event start_server(live_service& live, const std::string& terminal) {
  live.type(terminal, dev_server + " 0\r");
  const auto started = live.events.wait_for(event_kind::server_started);
  REQUIRE(started);
  return *started;
}

}  // namespace

TEST_CASE("every metric is there from the start", "[system][metrics]") {
  live_service live;

  const http_answer answer = fetch(live.port(), "GET /metrics");

  CHECK(answer.status == 200);
  CHECK(answer.head.find("Content-Type: text/plain; version=0.0.4; charset=utf-8") !=
        std::string::npos);
  CHECK(answer.head.find("Cache-Control: no-store") != std::string::npos);
  for (const char* name :
    {"previewd_servers{state=\"ready\"}", "previewd_servers{state=\"starting\"}",
      "previewd_servers{state=\"restarting\"}", "previewd_servers{state=\"suspended\"}",
      "previewd_servers{state=\"unreachable\"}", "previewd_terminals ", "previewd_tunnels ",
      "previewd_http_requests_total{kind=\"preview\",code_class=\"2xx\"}",
      "previewd_http_requests_total{kind=\"service\",code_class=\"4xx\"}",
      "previewd_http_requests_total{kind=\"websocket\",code_class=\"1xx\"}",
      "previewd_http_request_seconds_bucket{le=\"0.001\"}", "previewd_http_request_seconds_sum ",
      "previewd_http_request_seconds_bucket{le=\"+Inf\"}",
      "previewd_removals_total{reason=\"process_exited\"}",
      "previewd_removals_total{reason=\"restore_failed\"}", "previewd_stop_detect_seconds_count 0",
      "previewd_probe_seconds_count ", "previewd_upstream_refused_total 0",
      "previewd_events_total{event=\"previewServerStarted\"}",
      "previewd_events_total{event=\"terminalExit\"}", "previewd_clients{transport=\"polling\"} 0",
      "previewd_clients{transport=\"websocket\"} 0", "previewd_clients{transport=\"sse\"} 0",
      "previewd_clients{transport=\"attach\"} 0", "previewd_terminal_bytes_total{direction=\"in\"}",
      "previewd_terminal_bytes_total{direction=\"out\"}", "previewd_stale_removals_total 0",
      "previewd_held_requests 0", "previewd_actors ", "previewd_allocated_bytes ",
      "process_cpu_seconds_total ", "process_resident_memory_bytes ", "process_open_fds ",
      "process_start_time_seconds ", "# TYPE previewd_stop_detect_seconds histogram",
      "# TYPE previewd_removals_total counter"}) {
    INFO(name);
    CHECK(answer.body.find(name) != std::string::npos);
  }
}

TEST_CASE("requests are counted by who answers and how", "[system][metrics]") {
  live_service live;
  const std::string terminal = live.open_terminal();
  start_server(live, terminal);
  const auto before = metrics_of(live.port());

  CHECK(live.preview_status() == 200);
  CHECK(live.preview_status("/preview/shop/nobody/") == 503);
  CHECK(fetch(live.port(), "GET /nothing").status == 404);
  {
    connection websocket{live.port()};
    websocket.send(
      "GET /preview/shop/ann/hmr HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: Upgrade\r\n"
      "Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
      "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n");
    REQUIRE(websocket.read_until("\r\n\r\n").substr(0, 12) == "HTTP/1.1 101");

    std::map<std::string, double> open;
    CHECK(eventually([&] {
      open = metrics_of(live.port());
      return open["previewd_tunnels"] == 1;
    }));
    CHECK(open["previewd_servers{state=\"ready\"}"] == 1);
    CHECK(open["previewd_terminals"] == 1);
  }

  auto after = metrics_of(live.port());
  const auto more = [&](const std::string& name) { return after[name] - before.at(name); };
  const auto requests = [&](const std::string& kind, const std::string& code_class) {
    return more(
      "previewd_http_requests_total{kind=\"" + kind + "\",code_class=\"" + code_class + "\"}");
  };
  CHECK(requests("preview", "2xx") == 1);
  CHECK(requests("preview", "5xx") == 1);
  CHECK(requests("service", "4xx") == 1);
  CHECK(requests("websocket", "1xx") == 1);
  CHECK(more("previewd_http_request_seconds_count") >= 4);
  CHECK(after["previewd_events_total{event=\"previewServerStarted\"}"] == 1);
  CHECK(after["previewd_terminal_bytes_total{direction=\"in\"}"] >= 10);
  CHECK(after["previewd_terminal_bytes_total{direction=\"out\"}"] >= 10);
}

TEST_CASE("the metrics are guarded unless they are public", "[system][metrics][I6]") {
  settings wanted;
  SECTION("guarded") {
    live_service live{wanted};
    CHECK(fetch(live.port(), "GET /metrics", foreign_host).status == 403);
    CHECK(fetch(live.port(), "GET /metrics", foreign_origin).status == 403);
    CHECK(fetch(live.port(), "GET /debug/state", foreign_host).status == 403);
    CHECK(fetch(live.port(), "GET /metrics").status == 200);
  }
  SECTION("public") {
    wanted.metrics.visibility = metrics_visibility::open;
    live_service live{wanted};
    CHECK(fetch(live.port(), "GET /metrics", foreign_host).status == 200);
    CHECK(fetch(live.port(), "GET /debug/state", foreign_host).status == 403);
    CHECK(fetch(live.port(), "GET /api/terminals", foreign_host).status == 403);
  }
}

TEST_CASE("health and readiness answer whoever asks", "[system][metrics]") {
  live_service live;

  CHECK(fetch(live.port(), "GET /healthz", foreign_host).body == "ok");
  const http_answer ready = fetch(live.port(), "GET /readyz", foreign_host + foreign_origin);

  CHECK(ready.status == 200);
  const auto answer = nlohmann::json::parse(ready.body, nullptr, false);
  CHECK(answer["ready"] == true);
  CHECK(answer["checks"] == nlohmann::json{{"registry", "ok"}, {"pty", "ok"}, {"store", "memory"}});
}

TEST_CASE("the state shows what is held, and both halves of a tunnel", "[system][metrics][I3]") {
  live_service live;
  const std::string terminal = live.open_terminal();
  const event started = start_server(live, terminal);
  connection websocket{live.port()};
  websocket.send(
    "GET /preview/shop/ann/hmr?token=x HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: Upgrade\r\n"
    "Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n");
  REQUIRE(websocket.read_until("\r\n\r\n").substr(0, 12) == "HTTP/1.1 101");
  websocket.send("hello");
  REQUIRE(websocket.read() == "hello");

  const auto connections = live.get_json("/debug/connections");
  REQUIRE(connections["totalConnections"] == 1);
  const nlohmann::json& tunnel = connections["connections"][0];
  CHECK(tunnel["serverKey"] == "shop_ann");
  CHECK(tunnel["generation"] == started.server->ref.generation);
  CHECK(tunnel["path"] == "/preview/shop/ann/hmr");
  CHECK(tunnel["clientAddress"] == "127.0.0.1");
  CHECK(tunnel["bytesUp"] == 5);
  CHECK(tunnel["bytesDown"] == 5);
  CHECK(tunnel["upstreamAddress"] == started.server->upstream.address);
  CHECK(tunnel["upstreamPort"] == started.server->upstream.port);

  // Bytes go through a tunnel before it has its actor.
  REQUIRE(eventually([&] { return live.get_json("/debug/state")["actors"]["wsConnection"] == 1; }));
  const auto state = live.get_json("/debug/state");
  CHECK(state["tunnels"] == 1);
  CHECK(state["servers"] == 1);
  CHECK(state["children"] == 1);
  CHECK(state["terminals"]["running"] == 1);
  CHECK(state["actors"]["registry"] == 1);
  CHECK(state["actors"]["eventBus"] == 1);
  CHECK(state["actors"]["terminal"] == 1);
  CHECK(state["actors"]["detector"] == 1);
  CHECK(state["actors"]["previewServer"] == 1);
  CHECK(state["actors"]["healthProbe"] == 1);
  CHECK(state["actors"]["wsConnection"] == 1);
  CHECK(state["descriptors"]["pty"] == 2);
  CHECK(state["kernelWatch"]["terminals"] == 1);
  CHECK(state["kernelWatch"]["servers"] == 1);

  // The one that asks; those that asked before are noticed as closed a moment later.
  CHECK(eventually([&] { return live.get_json("/debug/state")["connections"] == 1; }));
}
