#include "previewd/os/child_process.hpp"

#include <fcntl.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/wait.h>

#include <atomic>
#include <catch2/catch.hpp>
#include <thread>

#include "previewd/os/child_reaper.hpp"
#include "previewd/os/descriptor_limit.hpp"
#include "previewd/os/signal_name.hpp"
#include "previewd/tests/support/resource_check.hpp"
#include "previewd/tests/support/test_process.hpp"

using namespace previewd;

namespace {

os::process_spec command(std::vector<std::string> argv) {
  os::process_spec spec;
  spec.argv = std::move(argv);
  spec.environment = test::environment_with();
  return spec;
}

std::optional<os::exit_status> end_of(os::child_reaper& reaper, pid_t pid) {
  std::optional<os::exit_status> status;
  test::eventually([&] {
    status = reaper.take(pid);
    return status.has_value();
  });
  return status;
}

}  // namespace

TEST_CASE("exit codes and signals are told apart", "[os][child_reaper]") {
  const test::resource_check resources;
  const auto mode = GENERATE(os::reap_mode::own, os::reap_mode::all);
  os::child_reaper reaper{mode};

  const auto left = reaper.start(command({"sh", "-c", "exit 7"}));
  const auto killed = reaper.start(command({"sh", "-c", "kill -KILL $$"}));
  REQUIRE(left);
  REQUIRE(killed);

  CHECK(end_of(reaper, left.pid()) == os::exit_status{.code = 7, .signal = {}});
  CHECK(end_of(reaper, killed.pid()) == os::exit_status{.code = std::nullopt, .signal = "SIGKILL"});
  CHECK_FALSE(reaper.take(left.pid()));
  CHECK(resources.difference() == "");
}

TEST_CASE("a status is never lost to another thread that reaps all", "[os][child_reaper]") {
  os::child_reaper reaper{os::reap_mode::all};
  std::atomic<bool> over{false};
  std::thread other{[&] {
    while (!over) {
      reaper.reap();
      std::this_thread::yield();
    }
  }};

  std::vector<std::optional<os::exit_status>> seen;
  for (int i = 0; i < 50; ++i) {
    const auto started = reaper.start(command({"true"}));
    if (started) seen.push_back(end_of(reaper, started.pid()));
  }
  over = true;
  other.join();

  CHECK(seen.size() == 50);
  for (const auto& status : seen) CHECK(status == os::exit_status{.code = 0, .signal = {}});
}

TEST_CASE("a reaper of its own children leaves others alone", "[os][child_reaper]") {
  os::child_reaper reaper{os::reap_mode::own};
  const auto foreign = os::start_process(command({"sh", "-c", "exit 3"}));
  REQUIRE(foreign);
  REQUIRE(test::eventually([&] {
    const auto stat = os::read_stat(foreign.pid());
    return stat && stat->state == 'Z';
  }));

  reaper.reap();

  int status = 0;
  CHECK(::waitpid(foreign.pid(), &status, WNOHANG) == foreign.pid());
  CHECK(WEXITSTATUS(status) == 3);
}

TEST_CASE("a released child leaves no zombie", "[os][child_reaper][I3]") {
  const test::resource_check resources;
  os::child_reaper reaper{os::reap_mode::own};
  const auto started = reaper.start(command({"true"}));
  REQUIRE(started);

  reaper.release(started.pid());

  CHECK(test::eventually([&] {
    reaper.reap();
    return resources.difference(std::chrono::milliseconds{0}).empty();
  }));
}

TEST_CASE("what keeps a process from starting is said", "[os][child_process]") {
  const test::resource_check resources;
  auto spec = command({"sh", "-c", "exit 0"});

  SECTION("the directory is missing") {
    spec.cwd = "/no/such/place";
    const auto outcome = os::start_process(spec);
    REQUIRE_FALSE(outcome);
    CHECK(outcome.failure().step == os::start_step::working_directory);
    CHECK(outcome.failure().describe(spec) ==
          "Cannot start in the directory \"/no/such/place\": no such file or directory.");
  }
  SECTION("the directory is a file") {
    spec.cwd = "/etc/passwd";
    const auto outcome = os::start_process(spec);
    REQUIRE_FALSE(outcome);
    CHECK(outcome.failure().step == os::start_step::working_directory);
    CHECK(outcome.failure().code.value() == ENOTDIR);
  }
  SECTION("the command is missing") {
    spec.argv = {"no-such-command-anywhere"};
    const auto outcome = os::start_process(spec);
    REQUIRE_FALSE(outcome);
    CHECK(outcome.failure().step == os::start_step::command);
    CHECK(outcome.failure().code.value() == ENOENT);
  }
  SECTION("the command is not a program") {
    spec.argv = {"/etc/passwd"};
    const auto outcome = os::start_process(spec);
    REQUIRE_FALSE(outcome);
    CHECK(outcome.failure().step == os::start_step::command);
    CHECK(outcome.failure().code.value() == EACCES);
  }

  CHECK(resources.difference() == "");
}

TEST_CASE("a child has its session, terminal, directory and nothing else of ours",
  "[os][child_process][I3]") {
  os::child_reaper reaper{os::reap_mode::own};
  // Neither of these is close-on-exec.
  const os::unique_fd stray{::open("/dev/null", O_RDONLY)};
  const os::unique_fd far{::fcntl(stray.get(), F_DUPFD, 700)};
  sigset_t blocked;
  sigset_t before;
  sigemptyset(&blocked);
  sigaddset(&blocked, SIGTERM);
  sigaddset(&blocked, SIGINT);
  ::pthread_sigmask(SIG_BLOCK, &blocked, &before);
  auto* const old = ::signal(SIGHUP, SIG_IGN);

  test::test_terminal terminal{
    reaper, {"python3", "-c",
              "import os, signal\n"
              "print('fds', sorted(int(f) for f in os.listdir('/proc/self/fd'))[:4])\n"
              "print('session', os.getsid(0) == os.getpid(), os.tcgetpgrp(0) == os.getpid())\n"
              "print('tty', os.ttyname(0) == os.ttyname(2), bool(os.open('/dev/tty', os.O_RDWR)))\n"
              "print('mask', signal.pthread_sigmask(signal.SIG_BLOCK, []))\n"
              "print('hup', signal.getsignal(signal.SIGHUP) == signal.SIG_DFL)\n"
              "print('cwd', os.getcwd())\n"
              "print('over')\n"}};
  const bool over = terminal.await_output("over");
  ::signal(SIGHUP, old);
  ::pthread_sigmask(SIG_SETMASK, &before, nullptr);

  INFO(terminal.output());
  CHECK(over);
  CHECK(terminal.await_output("fds [0, 1, 2, 3]"));
  CHECK(terminal.output().find("session True True") != std::string::npos);
  CHECK(terminal.output().find("tty True True") != std::string::npos);
  CHECK(terminal.output().find("mask set()") != std::string::npos);
  CHECK(terminal.output().find("hup True") != std::string::npos);
  CHECK(terminal.output().find("cwd /\r") != std::string::npos);
}

TEST_CASE("a shell with a dash before its name is a login shell", "[os][child_process]") {
  os::child_reaper reaper{os::reap_mode::own};
  auto pty = os::pty::open({});
  REQUIRE(pty.has_value());
  auto spec = command({"bash", "-c", "echo $0"});
  spec.argv0 = "-bash";
  // No profile of whoever runs the tests, which may do anything and take its time.
  spec.environment = {"PATH=/usr/bin:/bin", "HOME=/nonexistent"};
  const auto started = reaper.start(spec);
  REQUIRE(started);

  const std::string shown = os::read_command(started.pid());

  CHECK((shown.empty() || shown.starts_with("-bash") || shown.starts_with("[bash")));
  CHECK(end_of(reaper, started.pid()) == os::exit_status{.code = 0, .signal = {}});
}

TEST_CASE("signals have names and numbers", "[os][signal_name]") {
  CHECK(os::signal_name(SIGKILL) == "SIGKILL");
  CHECK(os::signal_name(SIGHUP) == "SIGHUP");
  CHECK(os::signal_name(SIGRTMIN + 2) == "SIGRTMIN+2");
  CHECK(os::signal_number("SIGTERM") == SIGTERM);
  CHECK(os::signal_number("INT") == SIGINT);
  CHECK(os::signal_number("SIGNOTHING") == 0);
  CHECK(os::signal_number("") == 0);
}

TEST_CASE("what is started has the limit of descriptors that there was before it was raised",
  "[os][child_process]") {
  rlimit before{};
  REQUIRE(::getrlimit(RLIMIT_NOFILE, &before) == 0);
  rlimit small = before;
  small.rlim_cur = 500;
  REQUIRE(::setrlimit(RLIMIT_NOFILE, &small) == 0);
  os::child_reaper reaper{os::reap_mode::own};

  const uint64_t raised = os::raise_descriptor_limit();
  const auto child = reaper.start(command({"sleep", "100"}));
  REQUIRE(child);
  rlimit childs{};
  const bool read = ::prlimit(child.pid(), RLIMIT_NOFILE, nullptr, &childs) == 0;
  ::kill(child.pid(), SIGKILL);
  end_of(reaper, child.pid());
  ::setrlimit(RLIMIT_NOFILE, &before);

  CHECK(raised == before.rlim_max);
  CHECK(read);
  CHECK(childs.rlim_cur == 500);
  CHECK(childs.rlim_max == before.rlim_max);
}
