// However a dev server is started in a terminal: it is found as that terminal's, and ends with it.
#include <unistd.h>

#include <catch2/catch.hpp>
#include <cstdlib>
#include <fstream>

#include "previewd/tests/support/eventually.hpp"
#include "previewd/tests/support/resource_check.hpp"
#include "previewd/tests/support/temporary_folder.hpp"
#include "previewd/tests/system/live_service.hpp"

using namespace previewd;
using namespace previewd::test;

namespace {

const std::string dev_server = PREVIEWD_DEV_SERVER;

bool listens(const std::string& address, uint16_t port) {
  return address == "127.0.0.1" ? connection{port}.connected() : false;
}

}  // namespace

TEST_CASE(
  "a dev server is found however it is started, printing or not, and ends with its "
  "terminal",
  "[system][detection][I3]") {
  struct way {
    std::string name, command, address = "127.0.0.1";
  };
  const way how = GENERATE_COPY(from_range(std::vector<way>{
    {"in the foreground", "SERVER 0"},
    {"on ::1 alone", "SERVER 0 v6", "::1"},
    {"without a word", "SERVER 0 >/dev/null"},
    {"into a pipe", "SERVER 0 | cat"},
    {"in the background", "SERVER 0 &"},
    {"in the background without a word", "SERVER 0 >/dev/null 2>&1 &"},
    {"by a script", "sh -c 'SERVER 0 & wait'"},
    {"by an orphan", "(SERVER 0 >/dev/null 2>&1 &)"},
    {"with nohup", "nohup SERVER 0 >/dev/null 2>&1 &"},
    {"with setsid", "setsid SERVER 0 >/dev/null 2>&1 &"},
    {"as a daemon", "(setsid sh -c 'SERVER 0 & exit' >/dev/null 2>&1 &)"},
    {"as a child", "SERVER 0 child"},
    {"in two processes", "SERVER 0 prefork"},
    {"in tmux", "tmux -f /dev/null -S FOLDER/tmux new-session -d 'SERVER 0'"},
  }));
  if (how.name == "in tmux") REQUIRE(::access("/usr/bin/tmux", X_OK) == 0);
  INFO(how.name);
  const resource_check resources;
  const temporary_folder folder;
  std::string command = how.command;
  const auto put = [&command](const std::string& name, const std::string& value) {
    for (std::size_t at; (at = command.find(name)) != std::string::npos;)
      command.replace(at, name.size(), value);
  };
  put("SERVER", dev_server);
  put("FOLDER", folder.path());

  live_service live;
  const std::string terminal = live.open_terminal();
  live.type(terminal, command + "\r");
  const auto started = live.events.wait_for(event_kind::server_started);

  REQUIRE(started);
  CHECK(started->server->terminal_id == terminal);
  CHECK(started->server->upstream.address == how.address);
  CHECK(started->server->primary);
  CHECK(live.preview_status() == 200);

  CHECK(live.close_terminal(terminal) == 204);
  const auto stopped = live.events.wait_for(event_kind::server_stopped);
  REQUIRE(stopped);
  CHECK(stopped->stop->reason == stop_reason::terminal_closed);
  CHECK(live.preview_status() == 503);
  CHECK(eventually([&] { return !listens(how.address, started->server->upstream.port); }));
  CHECK(
    eventually([&] { return fetch(live.port(), "GET /api/terminals/" + terminal).status == 404; }));
}

TEST_CASE("several servers of one terminal are found, each with an address of its own",
  "[system][detection]") {
  live_service live;
  const std::string terminal = live.open_terminal();

  live.type(terminal,
    dev_server + " 0 & " + dev_server + " 0 v6 >/dev/null & " + dev_server + " 0 >/dev/null &\r");
  REQUIRE(eventually([&] { return live.events.count(event_kind::server_started) == 3; }));

  const auto servers = live.get_json("/api/servers?project=shop&user=ann")["servers"];
  REQUIRE(servers.size() == 3);
  int primaries = 0;
  for (const auto& server : servers) {
    primaries += server["primary"] == true ? 1 : 0;
    CHECK(live.preview_status(
            "/preview/shop/ann:" + std::to_string(server["port"].get<int>()) + "/") == 200);
  }
  CHECK(primaries == 1);
}

TEST_CASE("a background job that reads the terminal is suspended, and its user is told",
  "[system][detection][suspended]") {
  const temporary_folder folder;
  const std::string go = folder.path() + "/go";
  live_service live;
  const std::string terminal = live.open_terminal();
  // All of one job, which SIGTTIN stops as a whole: npm, Vite, and what reads the shortcuts.
  live.type(terminal, "(" + dev_server + " 0 & while ! [ -e " + go +
                        " ]; do sleep 0.05; done; exec cat </dev/tty) &\r");
  REQUIRE(live.events.wait_for(event_kind::server_started));

  std::ofstream{go} << "now";
  const auto suspended = live.events.wait_for(event_kind::server_unreachable);

  REQUIRE(suspended);
  CHECK(suspended->reason == unreachable_reason::suspended);
  CHECK_FALSE(suspended->hint.empty());
  CHECK(live.get_json("/api/preview-status/shop/ann")["available"] == false);
  CHECK(live.events.count(event_kind::server_stopped) == 0);

  SECTION("it comes back in the foreground") {
    live.type(terminal, "fg\r");
    CHECK(live.events.wait_for(event_kind::server_recovered));
    CHECK(live.preview_status() == 200);
  }
}
