// Every reason for which a server goes: what is told, counted, logged and remembered of it.
#include <fcntl.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <caf/scoped_actor.hpp>
#include <catch2/catch.hpp>
#include <csignal>
#include <cstdio>
#include <thread>
#include <utility>

#include "previewd/tests/support/captured_stderr.hpp"
#include "previewd/tests/support/metrics.hpp"
#include "previewd/tests/system/live_service.hpp"

using namespace previewd;
using namespace previewd::test;
using namespace std::chrono_literals;

namespace {

const std::string dev_server = PREVIEWD_DEV_SERVER;

settings quick() {
  settings wanted;
  wanted.proxy.hold = 300ms;
  wanted.health.interval = 500ms;
  wanted.health.timeout = 200ms;
  return wanted;
}

/// A busy machine misses the time that `quick` gives a probe.
settings without_probes() {
  settings wanted = quick();
  wanted.health.interval = 1h;
  return wanted;
}

/// A listening socket of this process, as somebody has it who registers a server by hand.
class hand_made {
public:
  enum class manner : uint8_t {
    silent,  // connections wait in the kernel's queue
    cuts,    // each is accepted and ended before it is answered
    full     // there is room for none: those who try to connect hear nothing
  };

  explicit hand_made(manner how) {
    fd_ = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    REQUIRE(bind(fd_, reinterpret_cast<const sockaddr*>(&address), sizeof address) == 0);
    REQUIRE(listen(fd_, how == manner::full ? 0 : 64) == 0);
    socklen_t size = sizeof address;
    getsockname(fd_, reinterpret_cast<sockaddr*>(&address), &size);
    port_ = ntohs(address.sin_port);
    if (how == manner::full) fill(address);
    if (how == manner::cuts) thread_ = std::thread{[this] { cut(); }};
  }
  ~hand_made() {
    end();
    for (const int one : waiting_) ::close(one);
    if (fd_ >= 0) ::close(fd_);
  }
  hand_made(const hand_made&) = delete;
  hand_made& operator=(const hand_made&) = delete;

  uint16_t port() const { return port_; }

  server_description describe(const workspace_key& key) const {
    server_description what;
    what.key = key;
    what.upstream = {"127.0.0.1", port_, scheme::http};
    what.answers = true;
    return what;
  }

  /// From now on nobody listens there.
  void end() {
    // Wakes the thread that accepts.
    if (fd_ >= 0) ::shutdown(fd_, SHUT_RDWR);
    if (thread_.joinable()) thread_.join();
    if (fd_ >= 0) ::close(fd_);
    fd_ = -1;
  }

  /// Takes the connections that wait: there is room again.
  void make_room() {
    for (const int one : waiting_) ::close(one);
    waiting_.clear();
    listen(fd_, 64);
    thread_ = std::thread{[this] { cut(); }};
  }

private:
  void cut() const {
    for (int one; (one = accept4(fd_, nullptr, nullptr, SOCK_CLOEXEC)) >= 0;) {
      const linger reset{1, 0};
      char byte;
      if (recv(one, &byte, 1, 0) > 0) setsockopt(one, SOL_SOCKET, SO_LINGER, &reset, sizeof reset);
      ::close(one);
    }
  }

  void fill(const sockaddr_in& address) {
    for (int i = 0; i < 4; ++i) {
      waiting_.push_back(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
      ::connect(waiting_.back(), reinterpret_cast<const sockaddr*>(&address), sizeof address);
    }
  }

  int fd_ = -1;
  uint16_t port_ = 0;
  std::vector<int> waiting_;
  std::thread thread_;
};

/// A service whose log is caught, and what it must have said of a removal.
struct watched {
  explicit watched(settings wanted = without_probes()) : live{std::move(wanted)} {
    log::configure({.threshold = log::level::info});
    terminal = live.open_terminal();
  }

  event start(const std::string& how = "0") {
    const std::size_t from = live.events.size();
    live.type(terminal, dev_server + " " + how + "\r");
    const auto started = live.events.wait_for(event_kind::server_started, from);
    REQUIRE(started);
    return *started;
  }

  /// Registers what was made by hand, for a workspace of its own.
  server_ref add(const hand_made& what) {
    caf::scoped_actor self{live.system()};
    server_ref ref;
    self->request(live.get().registry(), caf::infinite, add_atom_v, what.describe({"hand", "ann"}))
      .receive([&](const server_ref& added) { ref = added; }, [](const caf::error&) {});
    REQUIRE(ref.generation != 0);
    return ref;
  }

  double removals(stop_reason reason) {
    return metrics_of(
      live.port())["previewd_removals_total{reason=\"" + std::string{to_string(reason)} + "\"}"];
  }

  /// The one removal so far was this one.
  stop_record
  check_told(const server_ref& ref, stop_reason reason, const std::vector<std::string>& log_lines) {
    const auto stopped = live.events.wait_for(event_kind::server_stopped);
    REQUIRE(stopped);
    CHECK(live.events.count(event_kind::server_stopped) == 1);
    CHECK(stopped->stop->ref == ref);
    CHECK(stopped->stop->reason == reason);
    CHECK(stopped->stop->sequence == stopped->sequence);

    auto metrics = metrics_of(live.port());
    double all = 0;
    for (const auto& [name, value] : metrics)
      if (name.rfind("previewd_removals_total{", 0) == 0) all += value;
    CHECK(all == 1);
    CHECK(removals(reason) == 1);
    CHECK(metrics["previewd_events_total{event=\"previewServerStopped\"}"] == 1);

    const std::string target = "GET /api/servers/" + std::to_string(ref.generation);
    const http_answer gone = fetch(live.port(), target);
    CHECK(gone.status == 410);
    const auto problem = nlohmann::json::parse(gone.body, nullptr, false);
    CHECK(problem["code"] == "server_gone");
    const auto status =
      live.get_json("/api/preview-status/" + ref.key.project + "/" + ref.key.user);
    for (const nlohmann::json& record : {problem["lastStop"], status["lastStop"]}) {
      CHECK(record["reason"] == to_string(reason));
      CHECK(record["message"] == stop_message(reason));
      CHECK(record["generation"] == ref.generation);
      CHECK(record["serverKey"] == server_key(ref.key));
      CHECK(record["sequence"] == stopped->sequence);
      CHECK(record["exitCode"] ==
            (stopped->stop->exit.code ? nlohmann::json(*stopped->stop->exit.code) : nullptr));
      CHECK(record["signal"] == (stopped->stop->exit.signal.empty()
                                    ? nlohmann::json(nullptr)
                                    : nlohmann::json(stopped->stop->exit.signal)));
    }
    for (const std::string& line : log_lines) {
      INFO(line);
      CHECK(eventually([&] { return log.text().find(line) != std::string::npos; }));
    }
    return *stopped->stop;
  }

  captured_stderr log;
  live_service live;
  std::string terminal;
};

/// A dev server that runs beside the service, in no terminal.
class outsider {
public:
  outsider() {
    int ends[2];
    REQUIRE(pipe2(ends, O_CLOEXEC) == 0);
    posix_spawn_file_actions_t files;
    posix_spawn_file_actions_init(&files);
    posix_spawn_file_actions_adddup2(&files, ends[1], STDOUT_FILENO);
    posix_spawnattr_t how;
    posix_spawnattr_init(&how);
    posix_spawnattr_setflags(&how, POSIX_SPAWN_SETPGROUP);
    std::string program = dev_server, port = "0";
    char* arguments[] = {program.data(), port.data(), nullptr};
    const int failed = posix_spawn(&pid_, program.c_str(), &files, &how, arguments, environ);
    posix_spawnattr_destroy(&how);
    posix_spawn_file_actions_destroy(&files);
    ::close(ends[1]);
    REQUIRE(failed == 0);
    FILE* said = fdopen(ends[0], "r");
    unsigned number = 0;
    CHECK(std::fscanf(said, " Local: http://localhost:%u/", &number) == 1);
    port_ = static_cast<uint16_t>(number);
    std::fclose(said);
  }
  ~outsider() { end(); }
  outsider(const outsider&) = delete;
  outsider& operator=(const outsider&) = delete;

  uint16_t port() const { return port_; }
  void signal(int number) const { kill(pid_, number); }

  void end() {
    if (pid_ == 0) return;
    kill(pid_, SIGKILL);
    // The service may be the one that waits for it.
    waitpid(std::exchange(pid_, 0), nullptr, 0);
  }

private:
  pid_t pid_ = 0;
  uint16_t port_ = 0;
};

nlohmann::json register_by_hand(live_service& live, nlohmann::json body) {
  body["project"] = "shop";
  body["user"] = "ann";
  const http_answer answer =
    fetch(live.port(), "POST /api/servers", "Content-Type: application/json\r\n", body.dump());
  REQUIRE(answer.status == 201);
  return nlohmann::json::parse(answer.body);
}

const std::string plain_line = "Dev server has stopped event=server_stopped key=shop_ann";

}  // namespace

TEST_CASE("process_exited: Ctrl+C at a dev server", "[system][removal][reasons]") {
  watched w;
  const event started = w.start();
  const double detected = metrics_of(w.live.port())["previewd_stop_detect_seconds_count"];

  w.live.type(w.terminal, "\x03");

  const stop_record record =
    w.check_told(started.server->ref, stop_reason::process_exited, {plain_line});
  CHECK(record.exit == exit_status{});  // not our child: the shell waited for it
  CHECK(metrics_of(w.live.port())["previewd_stop_detect_seconds_count"] == detected + 1);
}

TEST_CASE("process_exited: the terminal's own command is killed, and its signal is told",
  "[system][removal][reasons]") {
  watched w;
  const http_answer opened =
    fetch(w.live.port(), "POST /api/terminals", "Content-Type: application/json\r\n",
      nlohmann::json{{"project", "shop"}, {"user", "bob"}, {"command", {dev_server, "0"}}}.dump());
  REQUIRE(opened.status == 201);
  const auto started = w.live.events.wait_for(event_kind::server_started);
  REQUIRE(started);

  kill(started->server->pid, SIGKILL);

  const auto stopped = w.live.events.wait_for(event_kind::server_stopped);
  REQUIRE(stopped);
  // Its socket, its process and its terminal end together.
  if (stopped->stop->reason != stop_reason::process_exited)
    CHECK(stopped->stop->reason == stop_reason::terminal_exited);
  CHECK(stopped->stop->exit == exit_status{caf::none, "SIGKILL"});
}

TEST_CASE(
  "process_exited: of a server that outlives its terminal's command, whose exit is not its own",
  "[system][removal][reasons]") {
  settings wanted = without_probes();
  wanted.terminal.on_exit = exit_policy::keep;
  watched w{wanted};
  // The command ends once it has read a line.
  const std::string script = dev_server + " 0 stubborn & read line; exit 5";
  const http_answer opened =
    fetch(w.live.port(), "POST /api/terminals", "Content-Type: application/json\r\n",
      nlohmann::json{{"project", "shop"}, {"user", "bob"}, {"command", {"bash", "-c", script}}}
        .dump());
  REQUIRE(opened.status == 201);
  const auto started = w.live.events.wait_for(event_kind::server_started);
  REQUIRE(started);
  w.live.type(nlohmann::json::parse(opened.body)["id"], "\r");
  const auto exited = w.live.events.wait_for(event_kind::terminal_exit);
  REQUIRE(exited);
  CHECK(exited->terminal->exit == exit_status{5, {}});

  kill(started->server->pid, SIGKILL);

  const auto stopped = w.live.events.wait_for(event_kind::server_stopped);
  REQUIRE(stopped);
  CHECK(stopped->stop->ref == started->server->ref);
  CHECK(stopped->stop->exit == exit_status{});
}

TEST_CASE("process_exited: of a server that was registered by hand", "[system][removal][by_hand]") {
  watched w;
  outsider server;
  const nlohmann::json registered = register_by_hand(w.live, {{"port", server.port()}});
  CHECK(registered["terminalId"].is_null());
  CHECK(registered["pid"].is_null());

  server.end();

  w.check_told({{"shop", "ann"}, registered["generation"].get<uint64_t>()},
    stop_reason::process_exited, {plain_line});
}

TEST_CASE("a server that was registered by hand restarts", "[system][restart][by_hand]") {
  settings wanted = without_probes();
  wanted.proxy.hold = 10s;
  watched w{wanted};
  outsider server;
  const nlohmann::json registered = register_by_hand(w.live, {{"port", server.port()}});
  REQUIRE(w.live.events.wait_for(event_kind::server_started));

  server.signal(SIGUSR2);

  const auto again = w.live.events.wait_for(event_kind::server_started, 1);
  REQUIRE(again);
  CHECK(again->server->previous_generation == registered["generation"]);
  CHECK(w.live.preview_status() == 200);
  CHECK(w.live.events.count(event_kind::server_stopped) == 0);
}

TEST_CASE(
  "a server that is registered by hand once more is what is said then", "[system][by_hand]") {
  watched w;
  outsider server;
  const nlohmann::json first = register_by_hand(w.live, {{"port", server.port()}});
  CHECK(first["type"] != "rails");

  const nlohmann::json second =
    register_by_hand(w.live, {{"port", server.port()}, {"type", "rails"}});
  const nlohmann::json third = register_by_hand(w.live, {{"port", server.port()}});

  CHECK(second["generation"] == first["generation"]);
  CHECK(second["type"] == "rails");
  CHECK(third["type"] == "rails");
  CHECK(w.live.preview_status() == 200);
}

TEST_CASE("a server of a terminal that was removed by hand is registered by hand as what it is",
  "[system][removal][by_hand]") {
  watched w;
  const event started = w.start();
  const std::string target =
    "DELETE /api/servers/" + std::to_string(started.server->ref.generation);
  REQUIRE(fetch(w.live.port(), target).status == 204);

  const nlohmann::json again = register_by_hand(w.live, {{"port", started.server->upstream.port}});
  CHECK(again["generation"] > started.server->ref.generation);
  CHECK(again["terminalId"] == w.terminal);
  CHECK(again["pid"] == started.server->pid);

  stop_reason reason = stop_reason::process_exited;
  SECTION("and ends like any other") {
    w.live.type(w.terminal, "\x03");
  }
  SECTION("and goes with its terminal") {
    CHECK(w.live.close_terminal(w.terminal) == 204);
    reason = stop_reason::terminal_closed;
  }
  const auto stopped = w.live.events.wait([&](const event& e) {
    return e.kind == event_kind::server_stopped && e.stop->ref.generation == again["generation"];
  });
  REQUIRE(stopped);
  CHECK(stopped->stop->reason == reason);
}

TEST_CASE("terminal_exited", "[system][removal][reasons]") {
  watched w;
  // It outlives the first signals, of which its end would be known as soon as the terminal's.
  const event started = w.start("0 stubborn &");

  w.live.type(w.terminal, "exit 3\r");

  const stop_record record = w.check_told(started.server->ref, stop_reason::terminal_exited,
    {"Terminal exited, removing preview server for shop_ann", plain_line});
  CHECK(record.exit == exit_status{});  // that is how the shell ended
  CHECK(record.terminal_id == w.terminal);
}

TEST_CASE("terminal_closed", "[system][removal][reasons]") {
  watched w;
  const event started = w.start();

  CHECK(w.live.close_terminal(w.terminal) == 204);

  w.check_told(started.server->ref, stop_reason::terminal_closed,
    {"Manually closing terminal, removing preview server",
      "Terminal closed, dev server stopped event=server_stopped key=shop_ann"});
}

TEST_CASE("listener_closed", "[system][removal][reasons]") {
  watched w;
  const event started = w.start();

  kill(started.server->pid, SIGUSR1);

  w.check_told(started.server->ref, stop_reason::listener_closed, {plain_line});
}

TEST_CASE("removed", "[system][removal][reasons]") {
  watched w;
  const event started = w.start();
  const std::string target =
    "DELETE /api/servers/" + std::to_string(started.server->ref.generation);

  CHECK(fetch(w.live.port(), target).status == 204);

  w.check_told(started.server->ref, stop_reason::removed, {plain_line});
  CHECK(metrics_of(w.live.port())["previewd_stale_removals_total"] == 0);
  CHECK(fetch(w.live.port(), target).status == 410);
  CHECK(metrics_of(w.live.port())["previewd_stale_removals_total"] == 1);
}

TEST_CASE("refused: by a request", "[system][removal][reasons]") {
  watched w;
  hand_made server{hand_made::manner::silent};
  const server_ref ref = w.add(server);
  server.end();

  CHECK(w.live.preview_status("/preview/hand/ann/") == 503);

  w.check_told(ref, stop_reason::refused,
    {"[PROXY] Server appears to be down, removing from registry event=server_stopped "
     "key=hand_ann"});
  CHECK(metrics_of(w.live.port())["previewd_upstream_refused_total"] >= 1);
}

TEST_CASE("refused: by a WebSocket", "[system][removal][reasons]") {
  watched w;
  hand_made server{hand_made::manner::silent};
  const server_ref ref = w.add(server);
  server.end();

  CHECK(fetch(w.live.port(), "GET /preview/hand/ann/hmr",
          "Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
          "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nConnection: Upgrade\r\n")
          .status == 503);

  w.check_told(ref, stop_reason::refused,
    {"[WS] Server hand_ann appears to be down, removing from registry event=server_stopped"});
}

TEST_CASE("probe_failed", "[system][removal][reasons]") {
  watched w{quick()};
  hand_made server{hand_made::manner::silent};
  const server_ref ref = w.add(server);

  server.end();

  w.check_told(ref, stop_reason::probe_failed,
    {"[HEALTH CHECK] Server hand_ann on port " + std::to_string(server.port()) +
      " is not responding, removing..."});
  CHECK(metrics_of(w.live.port())["previewd_probe_seconds_count"] >= 1);
}

TEST_CASE(
  "superseded by a restart: counted and remembered, but not told", "[system][removal][reasons]") {
  settings wanted = without_probes();
  wanted.proxy.hold = deadline;
  watched w{wanted};
  const event started = w.start();

  kill(started.server->pid, SIGUSR2);
  REQUIRE(w.live.events.wait_for(event_kind::server_started, 1));

  CHECK(w.removals(stop_reason::superseded) == 1);
  CHECK(w.live.events.count(event_kind::server_stopped) == 0);
  const http_answer gone =
    fetch(w.live.port(), "GET /api/servers/" + std::to_string(started.server->ref.generation));
  CHECK(gone.status == 410);
  CHECK(nlohmann::json::parse(gone.body)["lastStop"]["reason"] == "superseded");
}

TEST_CASE("shutdown", "[system][removal][reasons]") {
  watched w;
  const event started = w.start();

  w.live.get().stop();

  const auto stopped = w.live.events.wait_for(event_kind::server_stopped);
  REQUIRE(stopped);
  CHECK(stopped->stop->ref == started.server->ref);
  CHECK(stopped->stop->reason == stop_reason::shutdown);
  CHECK(eventually([&] { return w.log.text().find(plain_line) != std::string::npos; }));
  CHECK(w.log.text().find("reason=shutdown") != std::string::npos);
}

TEST_CASE("a server that cuts every connection and goes on listening is never removed",
  "[system][removal][refused]") {
  watched w{quick()};
  hand_made server{hand_made::manner::cuts};
  const server_ref ref = w.add(server);

  for (int i = 0; i < 5; ++i) {
    const int status = w.live.preview_status("/preview/hand/ann/");
    CHECK((status == 502 || status == 503));
    const int upgrade = fetch(w.live.port(), "GET /preview/hand/ann/hmr",
      "Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
      "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nConnection: Upgrade\r\n")
                          .status;
    CHECK((upgrade == 502 || upgrade == 503));
  }

  CHECK(w.live.get_json("/api/servers/" + std::to_string(ref.generation))["state"] == "ready");
  CHECK(w.live.events.count(event_kind::server_stopped) == 0);
  CHECK(metrics_of(w.live.port())["previewd_upstream_refused_total"] >= 5);
}

TEST_CASE(
  "a server that takes no connections is unreachable, and recovers", "[system][unreachable]") {
  watched w{quick()};
  hand_made server{hand_made::manner::full};
  const server_ref ref = w.add(server);

  const auto unreachable = w.live.events.wait_for(event_kind::server_unreachable);
  REQUIRE(unreachable);
  CHECK(unreachable->reason == unreachable_reason::timeout);
  const std::string path = "/api/servers/" + std::to_string(ref.generation);
  CHECK(w.live.get_json(path)["state"] == "unreachable");
  CHECK(w.live.get_json(path)["health"]["failures"] >= 2);
  server.make_room();
  const auto recovered = w.live.events.wait_for(event_kind::server_recovered);

  REQUIRE(recovered);
  CHECK(recovered->reason == unreachable_reason::timeout);
  CHECK(w.live.get_json(path)["state"] == "ready");
  CHECK(w.live.events.count(event_kind::server_stopped) == 0);
}
