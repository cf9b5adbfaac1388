// The life of terminals as a client sees it, with real programs in them.
#include <dirent.h>
#include <signal.h>

#include <catch2/catch.hpp>
#include <cctype>
#include <cstdlib>
#include <fstream>
#include <sstream>

#include "previewd/tests/support/resource_check.hpp"
#include "previewd/tests/support/websocket_client.hpp"
#include "previewd/tests/system/live_service.hpp"

using namespace previewd;
using namespace previewd::test;
using namespace std::chrono_literals;
using nlohmann::json;

namespace {

std::string open_command(
  live_service& live, const std::vector<std::string>& command, const json& env = json::object()) {
  const auto answer =
    fetch(live.port(), "POST /api/terminals", "Content-Type: application/json\r\n",
      json{{"project", "shop"}, {"user", "ann"}, {"command", command}, {"env", env}}.dump());
  if (answer.status != 201) throw std::runtime_error{answer.head + answer.body};
  return json::parse(answer.body).at("id").get<std::string>();
}

bool puts_out(live_service& live, const std::string& terminal, const std::string& text) {
  return eventually([&] { return live.output(terminal).find(text) != std::string::npos; });
}

/// Waits until a terminal has exited, and returns its code; -1: it was a signal, or never.
int exit_code(live_service& live, const std::string& terminal) {
  const auto over = live.events.wait([&](const event& what) {
    return what.kind == event_kind::terminal_exit && what.terminal->id == terminal;
  });
  return over && over->terminal->exit.code ? *over->terminal->exit.code : -1;
}

bool known(live_service& live, const std::string& terminal) {
  return fetch(live.port(), "GET /api/terminals/" + terminal).status == 200;
}

std::vector<std::string> process_numbers() {
  std::vector<std::string> result;
  DIR* folder = ::opendir("/proc");
  while (const dirent* entry = ::readdir(folder))
    if (std::isdigit(static_cast<unsigned char>(entry->d_name[0])) != 0)
      result.emplace_back(entry->d_name);
  ::closedir(folder);
  return result;
}

/// Live processes that carry the terminal's mark in their environment.
std::size_t marked(const std::string& terminal) {
  std::size_t found = 0;
  for (const std::string& pid : process_numbers()) {
    std::ifstream file{"/proc/" + pid + "/environ", std::ios::binary};
    std::ostringstream environment;
    environment << file.rdbuf();
    found += environment.str().find("PREVIEWD_TERMINAL=" + terminal) != std::string::npos ? 1 : 0;
  }
  return found;
}

/// The first block of shell in a page of the documentation.
std::string example_of(const std::string& path) {
  std::ifstream file{path};
  std::ostringstream page;
  page << file.rdbuf();
  const std::string text = page.str();
  const std::string fence = "```sh\n";
  const auto begin = text.find(fence);
  if (begin == std::string::npos) return {};
  const auto end = text.find("\n```\n", begin);
  return text.substr(begin + fence.size(), end - begin - fence.size());
}

}  // namespace

TEST_CASE("a terminal that nobody uses is closed with its servers", "[system][terminal][I3]") {
  settings wanted;
  wanted.terminal.detached = 1500ms;
  live_service live{wanted};
  const std::string terminal =
    open_command(live, {"/bin/sh", "-c", "trap '' HUP; python3 -m http.server 0"});
  {
    // The time runs from the opening on, and python may take longer to listen.
    const websocket_client user{live.port(), "/api/terminals/" + terminal + "/attach"};
    REQUIRE(user.is_open());
    REQUIRE(live.events.wait_for(event_kind::server_started));
  }

  const auto stopped = live.events.wait_for(event_kind::server_stopped);

  REQUIRE(stopped);
  CHECK(stopped->stop->reason == stop_reason::terminal_closed);
  CHECK(stopped->stop->terminal_id == terminal);
  CHECK(eventually([&] { return !known(live, terminal) && marked(terminal) == 0; }));
}

TEST_CASE("the example for agents does what it says", "[system][terminal][docs]") {
  const std::string example = example_of(PREVIEWD_AGENTS_PAGE);
  REQUIRE(example.size() > 500);
  live_service live;

  // In a terminal, since the service in this process waits for every child there is.
  const std::string runs = open_command(live, {"/bin/bash", "-eu", "-o", "pipefail", "-c", example},
    {{"PREVIEWD_ADDRESS", "http://127.0.0.1:" + std::to_string(live.port())}});
  const int code = exit_code(live, runs);

  const std::string output = live.output(runs);
  INFO(output);
  CHECK(code == 0);
  CHECK(output.find("\"python\"") != std::string::npos);
  CHECK(output.find("<title>") != std::string::npos);
  CHECK(output.find("Serving HTTP on 127.0.0.1") != std::string::npos);
  CHECK(output.find("\"process_exited\"") != std::string::npos);
  CHECK(output.find("Keyboard interrupt") != std::string::npos);
  CHECK(
    eventually([&] { return live.get_json("/api/terminals?user=agent")["terminals"].empty(); }));
}

TEST_CASE("a program sees nothing of the service but the terminal", "[system][terminal][I6]") {
  ::setenv("PREVIEWD_AUTH_SECRET_FILE", "/run/secret", 1);
  live_service live;

  // The descriptor of the listing itself is the fourth.
  const std::string terminal = open_command(live,
    {"/bin/sh", "-c", "readlink /proc/self/fd/[0-2]; ls -1 /proc/self/fd; cat /proc/self/environ"});
  const int code = exit_code(live, terminal);
  ::unsetenv("PREVIEWD_AUTH_SECRET_FILE");

  const std::string output = live.output(terminal);
  INFO(output);
  CHECK(code == 0);
  CHECK(output.find("0\r\n1\r\n2\r\n3\r\n") != std::string::npos);
  CHECK(output.find("\r\n4\r\n") == std::string::npos);
  CHECK(output.find("socket:") == std::string::npos);
  CHECK(output.find("PREVIEWD_TERMINAL=" + terminal) != std::string::npos);
  CHECK(output.find("PREVIEWD_AUTH") == std::string::npos);
  CHECK(output.find("secret") == std::string::npos);
}

TEST_CASE("closing ends daemons, sessions of their own, and what ignores every signal it can",
  "[system][terminal][I3]") {
  resource_check resources;
  {
    live_service live;
    const std::string terminal = live.open_terminal();
    live.type(terminal,
      "trap '' HUP TERM INT\r"
      "setsid sleep 1000 & (setsid sh -c 'trap \"\" HUP TERM; sleep 1000 & wait' &)\r"
      "nohup sleep 1000 >/dev/null 2>&1 & tmux -L $PREVIEWD_TERMINAL -f /dev/null new -d 'sleep "
      "1000'\r"
      "echo all-$((1+1))\r");
    REQUIRE(puts_out(live, terminal, "all-2"));
    REQUIRE(eventually([&] { return marked(terminal) >= 7; }));

    CHECK(live.close_terminal(terminal) == 204);

    CHECK(eventually([&] { return !known(live, terminal); }));
    CHECK(marked(terminal) == 0);
  }
  CHECK(resources.difference() == "");
}

TEST_CASE("what a shell leaves running ends with it, or is kept", "[system][terminal]") {
  settings wanted;
  wanted.terminal.on_exit = GENERATE(exit_policy::kill, exit_policy::keep);
  const bool keeps = wanted.terminal.on_exit == exit_policy::keep;
  live_service live{wanted};
  // The shell may be gone, and the hang-up sent, before setsid(1) has left its session.
  const std::string terminal = open_command(
    live, {"/bin/sh", "-c", "trap '' HUP; setsid sleep 1000 >/dev/null 2>&1 & echo $! is-left"});
  REQUIRE(exit_code(live, terminal) == 0);
  const int left = std::atoi(live.output(terminal).c_str());
  REQUIRE(left > 1);

  if (keeps) {
    // Between two programs a process shows no environment.
    CHECK(eventually([&] { return marked(terminal) == 1; }));
    ::kill(left, SIGKILL);
  }

  CHECK(eventually([&] { return marked(terminal) == 0; }));
  CHECK(live.get_json("/api/terminals/" + terminal)["state"] == "exited");
}

TEST_CASE("programs of full screens run, follow the size and end", "[system][terminal]") {
  live_service live;
  const std::string terminal = live.open_terminal();
  live.type(terminal, "seq 1 500 >/tmp/$PREVIEWD_TERMINAL; cd /tmp; PS1='done> '\r");

  SECTION("less") {
    live.type(terminal, "less ./$PREVIEWD_TERMINAL\r");
    REQUIRE(puts_out(live, terminal, "\x1b[?1049h"));
    live.type(terminal, "Gq");
    CHECK(puts_out(live, terminal, "\x1b[?1049l"));
    CHECK(live.output(terminal).find("\r\n500\r\n") != std::string::npos);
  }
  SECTION("vim") {
    live.type(terminal, "vim -u NONE -c 'set ttimeoutlen=0' ./$PREVIEWD_TERMINAL\r");
    REQUIRE(puts_out(live, terminal, "\x1b[?1049h"));
    live.type(terminal, ":q!\r");
    CHECK(puts_out(live, terminal, "\x1b[?1049l"));
  }
  SECTION("tmux") {
    live.type(terminal, "tmux -L $PREVIEWD_TERMINAL -f /dev/null new 'stty size; read line'\r");
    REQUIRE(puts_out(live, terminal, "\x1b[?1049h"));
    CHECK(puts_out(live, terminal, "23 80"));
    const std::string body = json{{"cols", 90}, {"rows", 40}}.dump();
    CHECK(fetch(live.port(), "POST /api/terminals/" + terminal + "/resize",
            "Content-Type: application/json\r\n", body)
            .status == 204);
    CHECK(live.get_json("/api/terminals/" + terminal)["cols"] == 90);
    live.type(terminal, "\r");
    CHECK(puts_out(live, terminal, "\x1b[?1049l"));
  }

  live.type(terminal, "rm ./$PREVIEWD_TERMINAL; echo over-$((1+1))\r");
  CHECK(puts_out(live, terminal, "over-2"));
  CHECK(live.close_terminal(terminal) == 204);
}

TEST_CASE("a thousand terminals opened and closed leave nothing", "[system][terminal][I3]") {
  constexpr int rounds = 20;
  constexpr int at_once = 50;
  resource_check resources;
  {
    settings wanted;
    wanted.limits.terminals_per_user = at_once;
    live_service live{wanted};
    const std::size_t actors = live.quiet_actors();
    for (int round = 0; round < rounds; ++round) {
      std::vector<std::string> open;
      for (int i = 0; i < at_once; ++i) open.push_back(open_command(live, {"/bin/cat"}));
      // Each way in which they end: closed, or by themselves and then closed.
      for (int i = 0; i < at_once; i += 2) live.type(open[static_cast<std::size_t>(i)], "\x04");
      for (const std::string& terminal : open) CHECK(live.close_terminal(terminal) == 204);
      for (const std::string& terminal : open)
        REQUIRE(eventually([&] { return !known(live, terminal); }));
      REQUIRE(eventually([&] { return live.running_actors() == actors; }));
    }
    CHECK(live.get_json("/api/terminals")["terminals"].empty());
  }
  CHECK(resources.difference() == "");
}

TEST_CASE("a hundred terminals opened and closed leave nothing", "[system][terminal][I3]") {
  resource_check resources;
  {
    live_service live;
    for (int round = 0; round < 10; ++round) {
      std::vector<std::string> open;
      for (int i = 0; i < 10; ++i) open.push_back(live.open_terminal());
      for (const std::string& terminal : open) CHECK(live.close_terminal(terminal) == 204);
      for (const std::string& terminal : open)
        CHECK(eventually([&] { return !known(live, terminal); }));
    }
    CHECK(live.get_json("/api/terminals")["terminals"].empty());
  }
  CHECK(resources.difference() == "");
}
