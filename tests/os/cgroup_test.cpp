#include "previewd/os/cgroup.hpp"

#include <sys/wait.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <algorithm>
#include <catch2/catch.hpp>
#include <fstream>
#include <string>
#include <vector>

#include "previewd/os/process_tree.hpp"
#include "previewd/tests/support/test_cgroup.hpp"
#include "previewd/tests/support/test_process.hpp"

using namespace previewd;
using previewd::test::eventually;
using previewd::test::test_cgroup;

namespace {

bool holds(const std::vector<os::process_stat>& members, pid_t pid) {
  return std::any_of(
    members.begin(), members.end(), [&](const os::process_stat& one) { return one.pid == pid; });
}

bool exists(const std::string& path) {
  return ::access(path.c_str(), F_OK) == 0;
}

}  // namespace

TEST_CASE("who hides from a terminal is found in its cgroup and killed there", "[os][cgroup]") {
  const test_cgroup delegated;
  if (delegated.folder.empty()) return;
  const auto where = GENERATE(os::process_search::descendants, os::process_search::everything);
  const std::string id = "hides";
  os::child_reaper reaper{os::reap_mode::own};
  test::test_terminal terminal{reaper, {"bash", "-c", test::hiding}};
  const auto leader = os::read_stat(terminal.pid());
  REQUIRE(leader.has_value());
  os::process_tree tree{where, delegated.folder};
  os::process_tree without{where};
  tree.follow(id, leader->id());
  without.follow(id, leader->id());
  terminal.type("\n");
  const auto hidden = terminal.await_number("hidden=");
  REQUIRE(hidden);
  REQUIRE(eventually([&] {
    const auto stat = os::read_stat(*hidden);
    return stat && stat->session != terminal.pid() && stat->parent != terminal.pid();
  }));

  REQUIRE_FALSE(tree.refresh());
  REQUIRE_FALSE(without.refresh());

  CHECK(holds(tree.members(id), *hidden));
  CHECK(holds(tree.members(id), terminal.pid()));
  CHECK_FALSE(holds(tree.members(id), ::getpid()));
  CHECK_FALSE(holds(without.members(id), *hidden));  // else this would show nothing

  tree.kill(id);

  CHECK(eventually([&] {
    reaper.reap();
    return !tree.refresh() && tree.members(id).empty();
  }));
  CHECK(eventually([&] { return !os::read_stat(*hidden) || !os::read_stat(*hidden)->is_alive(); }));
  CHECK(eventually([&] {
    tree.forget(id);
    tree.follow(id, {});  // makes nothing: nobody is known by this
    os::terminal_cgroups{delegated.folder};
    return !exists(delegated.folder + "/previewd-" + id);
  }));
}

TEST_CASE(
  "a cgroup in which somebody is stays, and an empty one goes at the next start", "[os][cgroup]") {
  const test_cgroup delegated;
  if (delegated.folder.empty()) return;
  const std::string path = delegated.folder + "/previewd-kept";
  os::child_reaper reaper{os::reap_mode::own};
  {
    test::test_terminal terminal{reaper, {"sleep", "1000"}};
    os::terminal_cgroups groups{delegated.folder};
    REQUIRE_FALSE(groups.add("kept", terminal.pid()));

    groups.remove("kept");
    os::terminal_cgroups{delegated.folder};

    CHECK(exists(path));
    std::vector<pid_t> pids;
    CHECK_FALSE(groups.append_members("kept", pids));
    CHECK(pids == std::vector<pid_t>{terminal.pid()});
    CHECK_FALSE(groups.kill("kept"));
  }
  CHECK(eventually([&] {
    reaper.reap();
    os::terminal_cgroups{delegated.folder};
    return !exists(path);
  }));
}

TEST_CASE("without a delegated cgroup there is none, and nothing fails", "[os][cgroup]") {
  os::terminal_cgroups none;
  std::vector<pid_t> pids;

  CHECK_FALSE(none.is_used());
  CHECK_FALSE(none.add("one", ::getpid()));
  CHECK_FALSE(none.append_members("one", pids));
  CHECK(pids.empty());
  CHECK_FALSE(none.kill("one"));
}

TEST_CASE("a cgroup counts as delegated when its attribute says so", "[os][cgroup]") {
  const test_cgroup delegated;
  if (delegated.folder.empty()) return;
  const bool says_so = GENERATE(true, false);
  if (says_so && ::setxattr(delegated.folder.c_str(), "user.delegate", "1", 1, 0) != 0 &&
      ::setxattr(delegated.folder.c_str(), "trusted.delegate", "1", 1, 0) != 0) {
    WARN("skipped: cgroups have no attributes here");
    return;
  }

  // Moving is for good, so a process of its own moves there and looks.
  const pid_t pid = ::fork();
  if (pid == 0) {
    std::ofstream{delegated.folder + "/cgroup.procs"} << "0" << std::flush;
    ::_exit(os::delegated_cgroup() == (says_so ? delegated.folder : "") ? 0 : 1);
  }

  int status = -1;
  REQUIRE(::waitpid(pid, &status, 0) == pid);
  CHECK(WEXITSTATUS(status) == 0);
}
