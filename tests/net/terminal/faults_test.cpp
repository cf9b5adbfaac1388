// Terminals when system calls fail: no byte is lost or doubled, and no PTY or process stays behind.
#include <signal.h>

#include <catch2/catch.hpp>

#include "previewd/tests/net/terminal/hub_world.hpp"
#include "previewd/tests/support/faults.hpp"
#include "previewd/tests/support/resource_check.hpp"

namespace {

using previewd::errc;
using previewd::test::eventually;
using previewd::test::hub_world;
using previewd::test::test_terminal;
using previewd::test::told;
using previewd::test::faults::armed;
using previewd::test::faults::every_call;
using previewd::test::faults::plan;
namespace os = previewd::os;

std::vector<std::string> run(const std::string& script) {
  return {"/bin/sh", "-c", script};
}

/// Lines that differ, so that a lost, doubled or displaced one shows.
std::string numbered_lines(std::size_t bytes) {
  std::string text;
  while (text.size() < bytes) text += "line " + std::to_string(text.size()) + "\n";
  return text;
}

}  // namespace

TEST_CASE("interrupted, short and unready reads and writes lose and double no byte",
  "[net][terminal][faults]") {
  struct disturbance {
    const char* what;
    plan reads, writes;
  };
  const auto how = GENERATE(values<disturbance>({
    {"one byte at a time", {.most = 1, .times = every_call}, {.most = 1, .times = every_call}},
    {"seven bytes at a time", {.most = 7, .times = every_call}, {.most = 7, .times = every_call}},
    {"interrupted", {.error = EINTR, .times = 500}, {.error = EINTR, .times = 500}},
    {"not ready", {.error = EAGAIN, .times = 200}, {.error = EAGAIN, .times = 200}},
    {"short of memory", {.most = 100, .times = every_call}, {.error = ENOMEM, .times = 3}},
  }));
  INFO(how.what);
  hub_world world;
  test_terminal terminal = world.open(run("stty raw -echo; echo ready; exec cat"));
  const auto client = world.attach(terminal);
  REQUIRE(world.puts_out(terminal, "ready\n"));
  const std::size_t before = world.read(terminal)->bytes.size();
  const std::string text = numbered_lines(20'000);
  const armed reads{"terminal.read", how.reads};
  const armed writes{"terminal.write", how.writes};

  CHECK(world.input(terminal, text) == errc::none);

  REQUIRE(
    client->got.becomes([&](const auto& h) { return h.bytes.size() >= before + text.size(); }));
  CHECK(client->got.now().bytes.substr(before) == text);
  CHECK(client->got.now().sequences_fit);
  CHECK(reads.hits() > 0);
  CHECK(writes.hits() > 0);
  world.end(terminal);
}

TEST_CASE("a PTY that cannot be opened is told, nothing stays behind, and the next one opens",
  "[net][terminal][faults][I3]") {
  const previewd::test::fault fault = GENERATE(from_range(previewd::test::all_faults({"pty.open",
    "pty.unlock", "pty.name", "pty.open_slave", "pty.resize", "process.", "terminal.watch"})));
  INFO(fault.describe());
  hub_world world;
  // What the threads open when they are first used they keep.
  test_terminal first = world.open(run("exec sleep 1000"));
  world.end(first);
  const previewd::test::resource_check resources;
  {
    const armed failing{fault.at->name(), fault.plan()};
    test_terminal terminal = world.begin(world.spec(run("exec sleep 1000")));
    REQUIRE(terminal.heard->becomes([](const told& t) { return t.failed || t.opened; }));
    const told heard = terminal.heard->now();
    CHECK(heard.opened.has_value() == (fault.error == EINTR || failing.hits() == 0));
    if (heard.opened) {
      terminal.pid = *heard.opened;
      world.end(terminal);
    } else {
      const bool may_be_the_command = fault.error == EACCES;
      CHECK(heard.failed == (may_be_the_command ? errc::spawn_failed : errc::pty_failed));
      CHECK(heard.failure.substr(0, 7) == "Cannot ");
      CHECK_FALSE(world.facts(terminal).has_value());
    }
  }

  test_terminal next = world.open(run("echo fi''ne; exec sleep 1000"));

  CHECK(world.puts_out(next, "fine"));
  world.end(next);
  CHECK(resources.difference() == "");
}

TEST_CASE("when all PTYs are in use that is what is said", "[net][terminal][faults]") {
  hub_world world;
  const armed exhausted{"pty.open", {.error = ENOSPC}};

  test_terminal terminal = world.begin(world.spec(run("exec sleep 1000")));

  REQUIRE(terminal.heard->becomes([](const told& t) { return t.failed.has_value(); }));
  CHECK(
    terminal.heard->now().failure == "Cannot open a PTY: all of them are in use (kernel.pty.max).");
}

TEST_CASE(
  "without processes or memory for a shell that is what is said", "[net][terminal][faults]") {
  hub_world world;
  const int error = GENERATE(EAGAIN, ENOMEM);
  const armed failing{"process.spawn", {.error = error}};

  test_terminal terminal = world.begin(world.spec(run("exec sleep 1000")));

  REQUIRE(terminal.heard->becomes([](const told& t) { return t.failed.has_value(); }));
  CHECK(terminal.heard->now().failed == errc::pty_failed);
  CHECK(terminal.heard->now().failure.find("Cannot start a process: ") == 0);
}
