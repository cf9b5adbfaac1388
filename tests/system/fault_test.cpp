// The whole service while any one of its system calls fails: a terminal, a dev server, a request, a
// WebSocket, and their ends. Each step succeeds, or says why not and does later; nothing is lost or
// left.
#include <catch2/catch.hpp>
#include <csignal>

#include "previewd/tests/support/faults.hpp"
#include "previewd/tests/support/resource_check.hpp"
#include "previewd/tests/system/live_service.hpp"

using namespace previewd;
using namespace previewd::test;

namespace {

const std::string dev_server = PREVIEWD_DEV_SERVER;

std::string host_of(const live_service& live) {
  return "Host: 127.0.0.1:" + std::to_string(live.port()) + "\r\n";
}

/// Opens a terminal, tried again after an answer that says why it cannot be opened now. A
/// connection that is cut has opened none either.
std::string open_terminal(live_service& live) {
  std::string id;
  eventually([&] {
    const auto answer = fetch(live.port(), "POST /api/terminals",
      "Content-Type: application/json\r\n", R"({"project":"shop","user":"ann"})");
    const auto body = nlohmann::json::parse(answer.body, nullptr, false);
    if (answer.status == 201) {
      id = body["id"].get<std::string>();
      return true;
    }
    if (answer.status != 0) {
      INFO(answer.head << answer.body);
      CHECK((answer.status == 503 || answer.status == 422));
      // Without a descriptor not even the connection is taken.
      const bool refused = body["code"] == "out_of_resources";
      CHECK((refused || body["code"] == "pty_failed" || body["code"] == "spawn_failed"));
      CHECK((refused || body["detail"].get<std::string>().rfind("Cannot ", 0) == 0));
    }
    return false;
  });
  return id;
}

void type(live_service& live, const std::string& terminal, const std::string& text) {
  CHECK(eventually([&] {
    return fetch(live.port(), "POST /api/terminals/" + terminal + "/input", {}, text).status == 204;
  }));
}

bool echoes_through_a_tunnel(live_service& live) {
  connection socket{live.port()};
  socket.send("GET /preview/shop/ann/hmr HTTP/1.1\r\n" + host_of(live) +
              "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
              "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n");
  if (socket.read_until("\r\n\r\n").substr(0, 12) != "HTTP/1.1 101") return false;
  socket.send("ping");
  return socket.read() == "ping";
}

/// A terminal and a dev server from their beginning to their end.
void live_and_die(live_service& live) {
  const std::size_t from = live.events.size();
  const std::string terminal = open_terminal(live);
  REQUIRE_FALSE(terminal.empty());
  type(live, terminal, dev_server + " 0\r");
  const auto started = live.events.wait_for(event_kind::server_started, from);
  REQUIRE(started);
  CHECK(eventually([&] { return live.preview_status() == 200; }));
  CHECK(eventually([&] { return echoes_through_a_tunnel(live); }));
  // As a user looks at it: with the name of the foreground job.
  CHECK(
    eventually([&] { return fetch(live.port(), "GET /api/terminals/" + terminal).status == 200; }));

  ::kill(started->server->pid, SIGKILL);
  const auto stopped = live.events.wait_for(event_kind::server_stopped, from);
  REQUIRE(stopped);
  CHECK(stopped->stop->ref == started->server->ref);
  CHECK(eventually([&] { return live.close_terminal(terminal) == 204; }));
  CHECK(
    eventually([&] { return fetch(live.port(), "GET /api/terminals/" + terminal).status == 404; }));
  std::size_t starts = 0;
  for (const event& e : live.events.all())
    if (e.kind == event_kind::server_started && e.sequence >= started->sequence) ++starts;
  CHECK(starts == 1);
}

void survive(const std::vector<std::string>& prefixes) {
  const resource_check all;
  {
    settings wanted;
    wanted.io.threads = 2;
    live_service live{wanted};
    const std::size_t actors = live.quiet_actors();
    live_and_die(live);
    REQUIRE(eventually([&] { return live.running_actors() == actors; }));
    const resource_check before{100};
    for (const fault& fault : all_faults(prefixes)) {
      INFO(fault.describe());
      {
        const faults::armed armed{fault.at->name(), fault.plan(1, 3)};
        live_and_die(live);
      }
      CHECK(before.difference() == "");
      CHECK(eventually([&] { return live.running_actors() == actors; }));
    }
  }
  CHECK(all.difference() == "");
}

}  // namespace

TEST_CASE("the service survives failing PTYs and processes", "[system][faults][I3]") {
  survive({"pty.", "process.", "reaper.wait"});
}

TEST_CASE("the service survives failing terminals", "[system][faults][I3]") {
  survive({"terminal."});
}

TEST_CASE(
  "the service survives when processes cannot be watched or looked at", "[system][faults][I3]") {
  survive({"pidfd.", "proc.", "kernel."});
}

TEST_CASE("the service survives when the kernel does not tell of sockets", "[system][faults][I3]") {
  survive({"netlink."});
}

TEST_CASE("the service survives failing connections", "[system][faults][I3]") {
  survive({"http.", "upstream."});
}

TEST_CASE("every way in which a start can fail is one sentence", "[system][faults]") {
  for (const fault& fault : all_faults({"listen.", "reaper.adopt", "descriptors."})) {
    INFO(fault.describe());
    const resource_check resources;
    {
      const faults::armed armed{fault.at->name(), fault.plan()};
      std::string said;
      try {
        live_service live;
        CHECK(fetch(live.port(), "GET /healthz").status == 200);
        CHECK((fault.error == EINTR || armed.hits() == 0));
      } catch (const std::runtime_error& why) {
        said = why.what();
        CHECK(said.rfind("cannot ", 0) == 0);
        CHECK(armed.hits() == 1);
      }
    }
    CHECK(resources.difference() == "");
  }
}

TEST_CASE("no system call escapes the faults", "[system][faults]") {
  // The last ones in tests of their own, of os, net/kernel, net/http, net/ws, net/auth and store.
  const std::vector<std::string> met{"pty.", "process.", "reaper.", "terminal.", "pidfd.", "proc.",
    "kernel.", "netlink.", "http.", "upstream.", "listen.", "descriptors.", "proc_net.", "cgroup.",
    "relay.", "socket.", "tunnel.", "readiness.", "account.", "key_file.", "tls.", "websocket.",
    "link.", "manager.", "store.", "loopback."};
  std::size_t known = 0;
  for (const std::string& prefix : met) known += all_faults({prefix}).size();
  CHECK(known == all_faults().size());
}
