#include "previewd/os/process_tree.hpp"

#include <unistd.h>

#include <algorithm>
#include <catch2/catch.hpp>

#include "previewd/tests/support/test_process.hpp"

using namespace previewd;

namespace {

const std::string id = "t-tree-" + std::to_string(::getpid());

bool holds(const std::vector<os::process_stat>& members, pid_t pid) {
  return std::any_of(
    members.begin(), members.end(), [&](const os::process_stat& one) { return one.pid == pid; });
}

os::process_id identity_of(pid_t pid) {
  const auto stat = os::read_stat(pid);
  return stat ? stat->id() : os::process_id{};
}

/// Prints the pid of a process that has left session, group and parent behind.
const char* const daemon_script =
  "import os, sys, time\n"
  "if os.fork(): os._exit(0)\n"
  "os.setsid()\n"
  "if os.fork(): os._exit(0)\n"
  "print('daemon=%d' % os.getpid(), flush=True)\n"
  "time.sleep(1000)\n";

}  // namespace

TEST_CASE("a terminal has its descendants, sessions of their own included", "[os][process_tree]") {
  const auto where = GENERATE(os::process_search::descendants, os::process_search::everything);
  os::child_reaper reaper{os::reap_mode::own};
  test::test_terminal terminal{
    reaper, {"bash", "-c", "setsid sleep 1000 & echo inner=$!; sleep 1000 & echo plain=$!; wait"}};
  const auto plain = terminal.await_number("plain=");
  const auto inner = terminal.await_number("inner=");
  REQUIRE(plain);
  REQUIRE(inner);
  os::process_tree tree{where};
  tree.follow(id, identity_of(terminal.pid()));

  tree.refresh();

  CHECK(holds(tree.members(id), terminal.pid()));
  CHECK(holds(tree.members(id), *plain));
  CHECK(holds(tree.members(id), *inner));
  CHECK_FALSE(holds(tree.members(id), ::getpid()));
  ::kill(*inner, SIGKILL);
}

TEST_CASE("a daemon is found by its mark, and stays a member", "[os][process_tree]") {
  os::child_reaper reaper{os::reap_mode::own};
  test::test_terminal terminal{reaper, {"bash", "-c", "python3 -c \"$SCRIPT\"; sleep 1000"},
    {"PREVIEWD_TERMINAL=" + id, std::string{"SCRIPT="} + daemon_script}};
  const auto daemon = terminal.await_number("daemon=");
  REQUIRE(daemon);
  os::process_tree tree{os::process_search::everything};
  tree.follow(id, identity_of(terminal.pid()));

  tree.refresh();
  const bool found = holds(tree.members(id), *daemon);
  tree.refresh(os::process_search::descendants);
  const bool kept = holds(tree.members(id), *daemon);
  ::kill(*daemon, SIGKILL);

  CHECK(found);
  CHECK(kept);
  CHECK(test::eventually([&] {
    tree.refresh();
    return !holds(tree.members(id), *daemon);
  }));
}

TEST_CASE("a terminal whose leader is unknown is found by its mark", "[os][process_tree]") {
  os::child_reaper reaper{os::reap_mode::own};
  test::test_terminal terminal{
    reaper, {"bash", "-c", "sleep 1000 & echo child=$!; wait"}, {"PREVIEWD_TERMINAL=" + id}};
  const auto child = terminal.await_number("child=");
  REQUIRE(child);
  os::process_tree tree{os::process_search::everything};
  tree.follow(id, {.pid = terminal.pid(), .start_time = 0});

  tree.refresh();

  CHECK(holds(tree.members(id), terminal.pid()));
  CHECK(holds(tree.members(id), *child));
}

TEST_CASE("a later bearer of the leader's pid is a stranger", "[os][process_tree]") {
  os::child_reaper reaper{os::reap_mode::own};
  test::test_terminal terminal{reaper, {"bash", "-c", "sleep 1000 & echo child=$!; wait"}};
  const auto child = terminal.await_number("child=");
  REQUIRE(child);
  os::process_tree tree{os::process_search::everything};
  os::process_id other = identity_of(terminal.pid());
  const auto start_time = GENERATE(as<uint64_t>{}, 1, 0);
  other.start_time = start_time;
  tree.follow(id, other);

  tree.refresh();

  CHECK(tree.members(id).empty());
}

TEST_CASE("nobody belongs to a terminal that never had a leader", "[os][process_tree]") {
  os::process_tree tree{os::process_search::everything};
  tree.follow(id, {.pid = 0, .start_time = 0});

  tree.refresh();

  CHECK(tree.members(id).empty());
}

TEST_CASE("who has ended is no member, waited for or not", "[os][process_tree]") {
  os::child_reaper reaper{os::reap_mode::own};
  test::test_terminal terminal{reaper, {"sleep", "1000"}};
  os::process_tree tree{os::process_search::descendants};
  tree.follow(id, identity_of(terminal.pid()));
  tree.refresh();
  REQUIRE(holds(tree.members(id), terminal.pid()));

  ::kill(terminal.pid(), SIGKILL);

  CHECK(test::eventually([&] {
    tree.refresh();
    return tree.members(id).empty();
  }));
}
