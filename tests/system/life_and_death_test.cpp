// Real shells, real dev servers, the whole service: every way a server can go, to the same end
// state.
#include <catch2/catch.hpp>
#include <csignal>

#include "previewd/tests/support/resource_check.hpp"
#include "previewd/tests/system/live_service.hpp"

using namespace previewd;
using namespace previewd::test;

namespace {

const std::string dev_server = PREVIEWD_DEV_SERVER;

bool alive(int pid) {
  // A zombie is gone: nobody can meet it.
  char state = 0;
  const std::string path = "/proc/" + std::to_string(pid) + "/stat";
  if (FILE* file = std::fopen(path.c_str(), "re")) {
    if (std::fscanf(file, "%*d (%*[^)]) %c", &state) != 1) state = 0;
    std::fclose(file);
  }
  return state != 0 && state != 'Z';
}

/// A terminal with a dev server that has been found, and a WebSocket through the proxy to it.
struct previewed {
  explicit previewed(const std::string& how = "0", settings wanted = {}) : live{std::move(wanted)} {
    actors_before = live.quiet_actors() + 2;  // a terminal and its detector
    terminal = live.open_terminal();
    start(how);
    websocket = std::make_unique<connection>(live.port());
    websocket->send(
      "GET /preview/shop/ann/hmr HTTP/1.1\r\nHost: 127.0.0.1:" + std::to_string(live.port()) +
      "\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
      "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n");
    REQUIRE(websocket->read_until("\r\n\r\n").substr(0, 12) == "HTTP/1.1 101");
    websocket->send("ping");
    REQUIRE(websocket->read() == "ping");
    REQUIRE(live.preview_status() == 200);
  }

  /// Types the command and waits until the server is announced.
  event start(const std::string& how) {
    const std::size_t from = live.events.size();
    live.type(terminal, dev_server + " " + how + "\r");
    const auto started = live.events.wait_for(event_kind::server_started, from);
    REQUIRE(started);
    server = started->server->ref;
    pid = started->server->pid;
    return *started;
  }

  /// One stop event with this reason; the WebSocket is closed and the route down by the time it
  /// comes.
  stop_record check_gone(stop_reason reason) {
    const auto stopped = live.events.wait_for(event_kind::server_stopped);
    REQUIRE(stopped);
    CHECK(live.preview_status() == 503);
    CHECK(websocket->read().empty());
    CHECK(websocket->ended());
    CHECK(live.get_json("/debug/connections")["totalConnections"] == 0);
    CHECK(live.events.count(event_kind::server_stopped) == 1);
    CHECK(stopped->stop->ref == server);
    CHECK(stopped->stop->reason == reason);
    const auto status = live.get_json("/api/preview-status/shop/ann");
    CHECK(status["available"] == false);
    CHECK(status["server"].is_null());
    CHECK(status["lastStop"]["reason"] == to_string(reason));
    return *stopped->stop;
  }

  void check_shell_lives() {
    live.type(terminal, "echo still-$((40+2))-here\r");
    CHECK(
      eventually([&] { return live.output(terminal).find("still-42-here") != std::string::npos; }));
  }

  /// No actor of the server is left.
  void check_actors() {
    CHECK(eventually([&] { return live.running_actors() == actors_before; }));
  }

  live_service live;
  std::string terminal;
  std::size_t actors_before = 0;
  server_ref server;
  int pid = 0;
  std::unique_ptr<connection> websocket;
};

}  // namespace

TEST_CASE("Ctrl+C: the shell lives on, the server is gone", "[system][removal][I2][I3]") {
  resource_check resources;
  {
    previewed p;

    p.live.type(p.terminal, "\x03");

    p.check_gone(stop_reason::process_exited);
    CHECK_FALSE(alive(p.pid));
    p.check_shell_lives();
    p.check_actors();

    // And again, perhaps on another port, under the same address.
    p.start("0");
    CHECK(p.live.preview_status() == 200);
    CHECK(p.live.events.count(event_kind::server_stopped) == 1);
  }
}

TEST_CASE("kill -9 of the server", "[system][removal]") {
  previewed p;

  kill(p.pid, SIGKILL);

  p.check_gone(stop_reason::process_exited);
  p.check_shell_lives();
  p.check_actors();
}

TEST_CASE("the server runs in a child that dies while the job lives on: held, then gone",
  "[system][removal]") {
  settings wanted;
  wanted.proxy.hold = std::chrono::milliseconds{400};
  previewed p{"0 child", wanted};

  kill(p.pid, SIGKILL);

  p.check_gone(stop_reason::listener_closed);
  p.check_actors();
}

TEST_CASE(
  "an owner dies while another process holds the socket: the server stays", "[system][removal]") {
  previewed p{"0 prefork"};

  kill(p.pid, SIGKILL);
  REQUIRE(eventually([&] { return !alive(p.pid); }));

  // The other process answers; nothing was told, and the generation is the same.
  CHECK(p.live.preview_status() == 200);
  CHECK(
    p.live.get_json("/api/preview-status/shop/ann")["server"]["generation"] == p.server.generation);
  CHECK(p.live.events.size() == 1);
  int32_t holder = 0;
  CHECK(eventually([&] {
    const auto server = p.live.get_json("/api/preview-status/shop/ann")["server"];
    holder = server["pid"].is_number() ? server["pid"].get<int32_t>() : 0;
    return holder != p.pid;
  }));
  CHECK(alive(holder));
}

TEST_CASE("the server closes its socket and runs on", "[system][removal]") {
  settings wanted;
  wanted.proxy.hold = std::chrono::milliseconds{400};
  previewed p{"0", wanted};

  kill(p.pid, SIGUSR1);

  p.check_gone(stop_reason::listener_closed);
  CHECK(alive(p.pid));
  p.check_actors();
}

TEST_CASE("the server replaces its socket: a restart, no stop", "[system][restart]") {
  previewed p;
  const std::size_t from = p.live.events.size();

  kill(p.pid, SIGUSR2);
  const auto started = p.live.events.wait_for(event_kind::server_started, from);

  REQUIRE(started);
  CHECK(started->server->previous_generation == p.server.generation);
  CHECK(started->server->ref.generation > p.server.generation);
  CHECK(p.live.events.count(event_kind::server_stopped) == 0);
  CHECK(p.websocket->read().empty());
  CHECK(p.websocket->ended());
  CHECK(p.live.preview_status() == 200);
}

TEST_CASE("the server moves to another port by itself: a restart at the same address, no stop",
  "[system][restart]") {
  settings wanted;
  wanted.proxy.hold = deadline;
  wanted.health.interval = std::chrono::hours{1};
  previewed p{"0", wanted};
  const std::size_t from = p.live.events.size();
  const nlohmann::json before = p.live.get_json("/api/preview-status/shop/ann")["server"];
  const auto old_port = before["port"].get<uint16_t>();

  kill(p.pid, SIGALRM);
  REQUIRE(eventually([&] { return !connection{old_port}.connected(); }));

  // Held, and sent to where it is by then.
  CHECK(p.live.preview_status() == 200);
  const auto started = p.live.events.wait_for(event_kind::server_started, from);
  REQUIRE(started);
  CHECK(started->server->upstream.port != old_port);
  CHECK(started->server->ref.key == p.server.key);
  CHECK(started->server->ref.generation > p.server.generation);
  CHECK(started->server->previous_generation == p.server.generation);
  CHECK(started->server->pid == p.pid);
  CHECK(started->server->primary);
  CHECK(p.websocket->read().empty());
  CHECK(p.websocket->ended());

  const auto status = p.live.get_json("/api/preview-status/shop/ann");
  CHECK(status["servers"].size() == 1);
  CHECK(status["server"]["port"] == started->server->upstream.port);
  for (const char* same : {"url", "originUrl"}) {
    INFO(same);
    CHECK(status["server"][same].is_string());
    CHECK(status["server"][same] == before[same]);
  }
  CHECK(p.live.preview_status() == 200);
  // The old generation is over, and of its end nobody is told.
  const http_answer gone =
    fetch(p.live.port(), "GET /api/servers/" + std::to_string(p.server.generation));
  CHECK(gone.status == 410);
  CHECK(nlohmann::json::parse(gone.body)["lastStop"]["reason"] == "superseded");
  CHECK_FALSE(status.contains("lastStop"));
  CHECK(p.live.events.count(event_kind::server_stopped) == 0);
}

TEST_CASE(
  "the socket by which a server is reached goes while it has another: it is reached by that",
  "[system][detection]") {
  previewed p{"0 both"};
  const auto address = [&]() -> std::string {
    return p.live.get_json("/api/preview-status/shop/ann")["server"]["address"];
  };
  REQUIRE(address() == "127.0.0.1");

  kill(p.pid, SIGUSR1);

  CHECK(eventually([&] { return address() == "::1"; }));
  CHECK(p.live.preview_status() == 200);
  CHECK(
    p.live.get_json("/api/preview-status/shop/ann")["server"]["generation"] == p.server.generation);
  CHECK(p.live.events.count(event_kind::server_stopped) == 0);
}

TEST_CASE("who starts a server anew is part of its job, in whatever group the server is",
  "[system][restart]") {
  // `true` has ended long before: nobody leads the job of the second. The third has gone away
  // itself.
  // The pauses are of the program that is watched: the gap without a socket.
  const std::string again =
    "import os,subprocess,time\nwhile True:\n subprocess.call(['" + dev_server + "', '0']";
  const std::string line = GENERATE_COPY(as<std::string>{},
    "python3 -c \"" + again + ", preexec_fn=os.setpgrp); time.sleep(0.3)\"",
    "true | python3 -c \"" + again + "); time.sleep(0.3)\"",
    "(python3 -c \"" + again + ", stdin=subprocess.DEVNULL); time.sleep(0.3)\" &)");
  INFO(line);
  settings wanted;
  wanted.proxy.hold = deadline;
  live_service live{wanted};
  const std::string terminal = live.open_terminal();
  live.type(terminal, line + "\r");
  const auto first = live.events.wait_for(event_kind::server_started);
  REQUIRE(first);

  kill(first->server->pid, SIGKILL);

  // Held, and sent to the next one.
  CHECK(live.preview_status() == 200);
  const auto next = live.events.wait_for(event_kind::server_started, 1);
  REQUIRE(next);
  CHECK(next->server->previous_generation == first->server->ref.generation);
  CHECK(live.events.count(event_kind::server_stopped) == 0);
}

TEST_CASE("Ctrl+Z and fg inside another terminal", "[system][suspended]") {
  live_service live;
  const std::string terminal = live.open_terminal();
  // script(1) passes its keys on to the terminal that it opens, with a shell of its own.
  live.type(terminal, "script -q /dev/null\r");
  REQUIRE(eventually(
    [&] { return live.get_json("/api/terminals/" + terminal)["foreground"] == "script"; }));
  live.type(terminal, dev_server + " 0\r");
  REQUIRE(live.events.wait_for(event_kind::server_started));

  live.type(terminal, "\x1a");
  const auto suspended = live.events.wait_for(event_kind::server_unreachable);
  REQUIRE(suspended);
  CHECK(suspended->reason == unreachable_reason::suspended);
  live.type(terminal, "fg\r");

  CHECK(live.events.wait_for(event_kind::server_recovered));
  CHECK(live.preview_status() == 200);
}

TEST_CASE("Ctrl+Z suspends it, fg brings it back", "[system][suspended]") {
  previewed p;

  p.live.type(p.terminal, "\x1a");
  const auto suspended = p.live.events.wait_for(event_kind::server_unreachable);
  REQUIRE(suspended);
  CHECK(suspended->reason == unreachable_reason::suspended);
  CHECK_FALSE(suspended->hint.empty());
  CHECK(p.live.get_json("/api/preview-status/shop/ann")["available"] == false);
  p.live.type(p.terminal, "fg\r");
  REQUIRE(p.live.events.wait_for(event_kind::server_recovered));

  CHECK(p.live.preview_status() == 200);
  CHECK(p.live.events.count(event_kind::server_stopped) == 0);
  p.websocket->send("still");
  CHECK(p.websocket->read() == "still");
}

TEST_CASE("the shell exits", "[system][removal][terminal]") {
  // It outlives the first signals, of which its end would be known as soon as the shell's.
  previewed p{"0 stubborn &"};

  p.live.type(p.terminal, "exit 3\r");
  p.check_gone(stop_reason::terminal_exited);

  const auto exit = p.live.events.wait_for(event_kind::terminal_exit);
  REQUIRE(exit);
  CHECK(exit->terminal->exit == exit_status{3, {}});
  CHECK(eventually([&] { return !alive(p.pid); }));
  CHECK(p.live.get_json("/api/terminals/" + p.terminal)["state"] == "exited");
  CHECK(p.live.get_json("/api/terminals/" + p.terminal)["exitCode"] == 3);
}

TEST_CASE("closing the terminal ends everything in it, what ignores signals too",
  "[system][removal][terminal][I3]") {
  resource_check resources;
  {
    previewed p{"0 stubborn"};

    CHECK(p.live.close_terminal(p.terminal) == 204);

    // 204 means: unregistered already.
    CHECK(p.live.get_json("/api/preview-status/shop/ann")["available"] == false);
    const stop_record record = p.check_gone(stop_reason::terminal_closed);
    CHECK(stop_message(record.reason) == "Terminal closed, dev server stopped");
    CHECK(eventually([&] { return !alive(p.pid); }));
    CHECK(eventually(
      [&] { return fetch(p.live.port(), "GET /api/terminals/" + p.terminal).status == 404; }));
  }
}

TEST_CASE("removed by generation; a late removal of an older one changes nothing",
  "[system][removal][I1]") {
  previewed p;
  const std::string old = std::to_string(p.server.generation);

  CHECK(fetch(p.live.port(), "DELETE /api/servers/" + old).status == 204);
  p.check_gone(stop_reason::removed);
  // Its process still listens, and is not found again until its socket is another.
  CHECK(alive(p.pid));
  p.live.type(p.terminal, "\x03");
  REQUIRE(eventually([&] { return !alive(p.pid); }));
  const event next = p.start("0");

  const auto late = fetch(p.live.port(), "DELETE /api/servers/" + old);
  CHECK(late.status == 410);
  CHECK(late.body.find("server_gone") != std::string::npos);
  CHECK(p.live.preview_status() == 200);
  CHECK(p.live.get_json("/api/preview-status/shop/ann")["server"]["generation"] ==
        next.server->ref.generation);
}

TEST_CASE(
  "the service ends: servers are told stopped, processes ended", "[system][removal][shutdown]") {
  resource_check resources;
  {
    previewed p;

    p.live.get().stop();

    const auto stopped = p.live.events.wait_for(event_kind::server_stopped);
    REQUIRE(stopped);
    CHECK(stopped->stop->reason == stop_reason::shutdown);
    CHECK_FALSE(alive(p.pid));
    CHECK(p.websocket->read().empty());
    CHECK_FALSE(connection{p.live.port()}.connected());
  }
}

TEST_CASE("no connection reaches the old port once the stop is told", "[system][I2]") {
  previewed p;
  const auto port =
    static_cast<uint16_t>(p.live.get_json("/api/preview-status/shop/ann")["server"]["port"]);

  p.live.type(p.terminal, "\x03");
  REQUIRE(p.live.events.wait_for(event_kind::server_stopped));
  // Somebody else takes the port, outside any terminal: this process.
  const int stranger = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  const int on = 1;
  setsockopt(stranger, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  address.sin_port = htons(port);
  REQUIRE(bind(stranger, reinterpret_cast<const sockaddr*>(&address), sizeof address) == 0);
  REQUIRE(listen(stranger, 16) == 0);
  for (int i = 0; i < 20; ++i) CHECK(p.live.preview_status() == 503);

  CHECK(accept(stranger, nullptr, nullptr) < 0);
  CHECK(errno == EAGAIN);
  close(stranger);
}
