#include "previewd/os/pty.hpp"

#include <fcntl.h>

#include <catch2/catch.hpp>

#include "previewd/tests/support/resource_check.hpp"
#include "previewd/tests/support/test_process.hpp"

using namespace previewd;

TEST_CASE("a PTY is non-blocking, close-on-exec and gone with its owner", "[os][pty][I3]") {
  const test::resource_check resources;

  {
    auto pty = os::pty::open({.columns = 100, .rows = 30});
    REQUIRE(pty.has_value());
    CHECK((::fcntl(pty->master(), F_GETFL) & O_NONBLOCK) != 0);
    CHECK((::fcntl(pty->master(), F_GETFD) & FD_CLOEXEC) != 0);
    CHECK(pty->slave_path().starts_with("/dev/pts/"));
  }

  CHECK(resources.difference() == "");
}

TEST_CASE("the process in a PTY sees its size, also after a change", "[os][pty]") {
  os::child_reaper reaper{os::reap_mode::own};
  test::test_terminal terminal{reaper, {"sh", "-c", "stty size; read x; stty size"}};
  REQUIRE(terminal.await_output("50 200"));

  CHECK_FALSE(terminal.master().resize({.columns = 77, .rows = 33}));
  terminal.type("\n");

  CHECK(terminal.await_output("33 77"));
}

TEST_CASE("the foreground group is the shell's until a job has the terminal", "[os][pty]") {
  os::child_reaper reaper{os::reap_mode::own};
  test::test_terminal terminal{reaper, {"bash", "--norc", "--noprofile", "-i"}};
  terminal.type("echo re''ady\n");
  REQUIRE(terminal.await_output("ready"));
  const auto group = [&] {
    const auto value = terminal.master().foreground_group();
    return value ? *value : 0;
  };
  CHECK(group() == terminal.pid());
  CHECK(terminal.master().session().value() == terminal.pid());

  terminal.type("sleep 1000\n");
  // Not before the job is the program: the shell's own child would take no notice.
  CHECK(test::eventually([&] { return os::read_command(group()) == "sleep 1000"; }));
  terminal.type("\x03");

  CHECK(test::eventually([&] { return group() == terminal.pid(); }));
}
