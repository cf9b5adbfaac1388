#include "previewd/os/procfs.hpp"

#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <catch2/catch.hpp>
#include <cerrno>

#include "previewd/os/proc_net.hpp"
#include "previewd/os/unique_fd.hpp"
#include "previewd/tests/support/test_process.hpp"

using namespace previewd;

TEST_CASE("a line of stat is parsed whatever the name holds", "[os][procfs]") {
  const std::string rest =
    " S 10 42 43 34816 44 4194304 1 2 3 4 5 6 7 8 20 0 3 0 987654 1000 20 18446744073709551615 1\n";
  const auto name = GENERATE(as<std::string>{}, "node", "a b", "a) S 1 2", "(((", ")", "");

  const auto stat = os::parse_stat("42 (" + name + ")" + rest);

  REQUIRE(stat);
  CHECK(stat->pid == 42);
  CHECK(stat->name == name);
  CHECK(stat->state == 'S');
  CHECK(stat->parent == 10);
  CHECK(stat->group == 42);
  CHECK(stat->session == 43);
  CHECK(stat->terminal_group == 44);
  CHECK(stat->threads == 3);
  CHECK(stat->start_time == 987654);
  CHECK(stat->flags == 4194304);
}

TEST_CASE("a process on its way to its end is told from others", "[os][procfs]") {
  const auto with = [](const std::string& state, const std::string& flags) {
    return os::parse_stat(
      "42 (node) " + state + " 10 42 43 34816 44 " + flags + " 1 2 3 4 5 6 7 8 20 0 3 0 987654");
  };

  CHECK_FALSE(with("S", "4194304")->is_exiting());
  CHECK(with("R", "4194308")->is_exiting());  // PF_EXITING is 4
  // Only its first thread has ended.
  CHECK_FALSE(with("Z", "4194308")->is_exiting());
}

TEST_CASE("a line of stat that is cut short is none", "[os][procfs]") {
  const std::string line = "42 (node) S 10 42 43 34816 44 4194304 1 2 3 4 5 6 7 8 20 0 3 0 987654";
  REQUIRE(os::parse_stat(line));

  for (std::size_t n = 0; n < line.size() - 7; ++n) {
    INFO(n);
    CHECK_FALSE(os::parse_stat(line.substr(0, n)));
  }
}

TEST_CASE("this process is found as it is", "[os][procfs]") {
  const auto self = os::read_stat(::getpid());

  REQUIRE(self.has_value());
  CHECK(self->parent == ::getppid());
  CHECK(self->group == ::getpgrp());
  CHECK(self->session == ::getsid(0));
  CHECK(os::is_alive(self->id()));
  CHECK_FALSE(os::is_alive({self->pid, self->start_time + 1}));
  CHECK(os::read_command(::getpid()).find("previewd") != std::string::npos);
}

TEST_CASE("children, environment and command of a process are read", "[os][procfs]") {
  os::child_reaper reaper{os::reap_mode::own};
  test::test_terminal terminal{
    reaper, {"sh", "-c", "sleep 1000 & echo up; wait"}, {"PREVIEWD_X=1", "PREVIEWD=two words"}};
  REQUIRE(terminal.await_output("up"));

  std::vector<pid_t> ours;
  os::append_children(::getpid(), ours);
  std::vector<pid_t> children;
  os::append_children(terminal.pid(), children);

  CHECK(std::count(ours.begin(), ours.end(), terminal.pid()) == 1);
  REQUIRE(children.size() == 1);
  CHECK(test::eventually([&] { return os::read_command(children[0]) == "sleep 1000"; }));
  CHECK(os::read_environment(children[0], "PREVIEWD").value == "two words");
  CHECK(os::read_environment(children[0], "PREVIEWD_").value == std::nullopt);
  CHECK(os::read_environment(children[0], "PREVIEWD_").known);
  CHECK_FALSE(os::read_environment(2'000'000'000, "PREVIEWD").known);
}

TEST_CASE("a process is known by one of its sockets", "[os][procfs]") {
  const os::unique_fd first{::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)};
  const os::unique_fd second{::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)};
  std::vector<uint64_t> inodes;
  for (const int one : {first.get(), second.get()}) {
    struct stat what {};
    REQUIRE(::fstat(one, &what) == 0);
    inodes.push_back(what.st_ino);
  }

  CHECK(os::holds_socket(::getpid(), inodes).value());
  CHECK(os::holds_socket(::getpid(), {inodes[1]}).value());
  CHECK(os::holds_socket(::getpid(), {1, inodes[1]}).value());
  CHECK_FALSE(os::holds_socket(::getpid(), {1}).value());
  CHECK_FALSE(os::holds_socket(::getpid(), {}).value());
  CHECK(os::holds_socket(2'000'000'000, inodes).error() == os::system_error(ENOENT));
}

TEST_CASE("a stopped process and a zombie are told from a running one", "[os][procfs]") {
  os::child_reaper reaper{os::reap_mode::own};
  test::test_terminal terminal{reaper, {"sleep", "1000"}};
  ::kill(terminal.pid(), SIGSTOP);
  CHECK(test::eventually([&] {
    const auto stat = os::read_stat(terminal.pid());
    return stat && stat->is_stopped() && stat->is_alive();
  }));

  ::kill(terminal.pid(), SIGKILL);

  CHECK(test::eventually([&] {
    const auto stat = os::read_stat(terminal.pid());
    return stat && !stat->is_alive();
  }));
}

TEST_CASE("a line of /proc/net/tcp is parsed", "[os][proc_net]") {
  using os::address_family;
  const auto v4 = os::parse_proc_net(
    "   0: 0100007F:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000  1000        0 "
    "424242 1 0000000000000000 100 0 0 10 0",
    address_family::v4);
  const auto v6 = os::parse_proc_net(
    "   1: 00000000000000000000000001000000:1435 00000000000000000000000000000000:0000 0A "
    "00000000:00000000 00:00000000 00000000     0        0 77 1 0000000000000000 100 0 0 10 0",
    address_family::v6);

  REQUIRE(v4);
  CHECK(v4->port == 8080);
  CHECK(v4->inode == 424242);
  CHECK(v4->uid == 1000);
  CHECK(os::address_text(*v4) == "127.0.0.1");
  REQUIRE(v6);
  CHECK(v6->port == 5173);
  CHECK(os::address_text(*v6) == "::1");
}

TEST_CASE("lines that are no listener are left out", "[os][proc_net]") {
  using os::address_family;
  CHECK_FALSE(os::parse_proc_net("", address_family::v4));
  CHECK_FALSE(os::parse_proc_net(
    "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout "
    "inode",
    address_family::v4));
  // Established.
  CHECK_FALSE(
    os::parse_proc_net("0: 0100007F:1F90 0100007F:0050 01 0:0 0:0 0 0 0 5 1", address_family::v4));
  // A v4 address in the table of v6.
  CHECK_FALSE(
    os::parse_proc_net("0: 0100007F:1F90 00000000:0000 0A 0:0 0:0 0 0 0 5 1", address_family::v6));
  // No inode.
  CHECK_FALSE(
    os::parse_proc_net("0: 0100007F:1F90 00000000:0000 0A 0:0 0:0 0 0 0 0 1", address_family::v4));
}
