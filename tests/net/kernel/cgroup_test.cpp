// What the watch does with a delegated cgroup.
#include <unistd.h>

#include <catch2/catch.hpp>
#include <fstream>

#include "previewd/net/kernel/kernel_watch.hpp"
#include "previewd/tests/net/kernel/kernel_world.hpp"
#include "previewd/tests/support/test_cgroup.hpp"

using namespace previewd;
using test::kernel_world;
using test::terminal_said;
using test::test_terminal;

TEST_CASE(
  "who hides from a terminal ends with it where it has a cgroup", "[net][kernel][cgroup][I3]") {
  const test::test_cgroup delegated;
  if (delegated.folder.empty()) return;
  const std::string id = "t-cgroup-" + std::to_string(::getpid());
  const std::string folder = delegated.folder + "/previewd-" + id;
  net::kernel::kernel_watch_settings settings;
  settings.cgroup = delegated.folder;
  kernel_world world{settings};
  test_terminal terminal{world.reaper, {"bash", "-c", test::hiding}};
  world.track(id, terminal.pid());
  REQUIRE(test::eventually([&] {
    pid_t there = 0;
    std::ifstream{folder + "/cgroup.procs"} >> there;
    return there == terminal.pid();
  }));
  terminal.type("\n");
  const auto hidden = terminal.await_number("hidden=");
  REQUIRE(hidden);
  REQUIRE(test::eventually([&] {
    const auto stat = os::read_stat(*hidden);
    return stat && stat->session != terminal.pid() && stat->parent != terminal.pid();
  }));

  world.kernel->end_processes(id, terminal.pid(),
    {.after_hangup = std::chrono::milliseconds{50},
      .after_terminate = std::chrono::milliseconds{50}},
    world.terminal);

  CHECK(world.terminal_in->await(
    [](const terminal_said& what) { return what.what == terminal_said::kind::ended; }));
  const auto left = os::read_stat(*hidden);
  CHECK((!left || !left->is_alive()));
  world.kernel->untrack(id);
  CHECK(test::eventually([&] { return ::access(folder.c_str(), F_OK) != 0; }));
}
