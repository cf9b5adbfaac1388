// The wall clock jumps by hours: no hold, wait, tunnel or sequence takes notice.
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include <atomic>
#include <catch2/catch.hpp>
#include <chrono>
#include <csignal>
#include <thread>

#include "previewd/tests/system/live_service.hpp"

namespace {

std::atomic<time_t> jumped{0};

}  // namespace

/// The wall clock of this program, for every library in it: the linker takes this one.
extern "C" int clock_gettime(clockid_t clock, timespec* at) noexcept {
  const long result = ::syscall(SYS_clock_gettime, clock, at);
  if (result == 0 && (clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE))
    at->tv_sec += jumped;
  return static_cast<int>(result);
}

using namespace previewd;
using namespace previewd::test;
using namespace std::chrono_literals;

namespace {

const std::string dev_server = PREVIEWD_DEV_SERVER;

void jump(std::chrono::hours by) {
  const auto before = std::chrono::system_clock::now();
  jumped += std::chrono::seconds{by}.count();
  const auto went = std::chrono::system_clock::now() - before;
  // The test would be about nothing otherwise.
  REQUIRE((went > by - 30min && went < by + 30min));
}

event start(live_service& live, const std::string& terminal) {
  const std::size_t from = live.events.size();
  live.type(terminal, dev_server + " 0\r");
  const auto started = live.events.wait_for(event_kind::server_started, from);
  REQUIRE(started);
  return *started;
}

}  // namespace

TEST_CASE("a wall clock that jumps ends no hold, no wait and no tunnel, and breaks no sequence",
  "[system][clock]") {
  const auto by = GENERATE(-5h, 5h);
  INFO("by " << by.count() << " hours");
  settings wanted;
  wanted.proxy.hold = deadline;
  live_service live{wanted};
  const std::string terminal = live.open_terminal();
  const event started = start(live, terminal);
  connection tunnel{live.port()};
  tunnel.send(
    "GET /preview/shop/ann/hmr HTTP/1.1\r\nHost: 127.0.0.1:" + std::to_string(live.port()) +
    "\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n");
  REQUIRE(tunnel.read_until("\r\n\r\n").substr(0, 12) == "HTTP/1.1 101");

  // While everything is quiet.
  jump(by);
  tunnel.send("ping");
  CHECK(tunnel.read() == "ping");
  CHECK(live.preview_status() == 200);

  // While a request is held, and somebody waits for a server.
  ::kill(started.server->pid, SIGUSR1);
  REQUIRE(live.events.wait_for(event_kind::server_unreachable));
  http_answer held, waited;
  std::thread holding{[&] { held = fetch(live.port(), "GET /preview/shop/ann/"); }};
  std::thread waiting{
    [&] { waited = fetch(live.port(), "GET /api/preview-status/shop/ann?wait=60s"); }};
  jump(by);
  jump(-3 * by);
  jump(by);
  // Everything has had its turn since, several times.
  for (int i = 0; i < 20; ++i) CHECK(fetch(live.port(), "GET /healthz").status == 200);
  CHECK(live.events.count(event_kind::server_stopped) == 0);
  const std::size_t from = live.events.size();
  ::kill(started.server->pid, SIGUSR2);
  const auto again = live.events.wait_for(event_kind::server_started, from);
  holding.join();
  waiting.join();
  REQUIRE(again);
  CHECK(held.status == 200);
  const auto status = nlohmann::json::parse(waited.body, nullptr, false);
  CHECK(status["available"] == true);
  CHECK(again->server->previous_generation == started.server->ref.generation);

  // Ends and beginnings afterwards.
  jump(by);
  live.type(terminal, "\x03");
  const auto stopped = live.events.wait_for(event_kind::server_stopped);
  REQUIRE(stopped);
  CHECK(stopped->stop->reason == stop_reason::process_exited);
  const event next = start(live, terminal);
  CHECK(next.server->ref.generation > again->server->ref.generation);
  CHECK(live.close_terminal(terminal) == 204);
  CHECK(
    eventually([&] { return fetch(live.port(), "GET /api/terminals/" + terminal).status == 404; }));
  uint64_t last = 0;
  for (const event& e : live.events.all()) {
    CHECK(e.sequence > last);
    last = e.sequence;
  }
  jumped = 0;
}
