// The kernel watch when system calls fail: nothing is told that is not known, nothing is lost.
#include <catch2/catch.hpp>
#include <csignal>

#include "previewd/net/kernel/kernel_watch.hpp"
#include "previewd/tests/net/kernel/kernel_world.hpp"
#include "previewd/tests/support/faults.hpp"
#include "previewd/tests/support/resource_check.hpp"

using namespace previewd;
using namespace std::chrono_literals;
using test::kernel_world;
using test::server_said;
using test::terminal_said;
using test::test_terminal;
using test::faults::armed;
using test::faults::every_call;

namespace {

const std::string id = "t-faults-" + std::to_string(::getpid());
const server_ref ref{.key = {.project = "shop", .user = "ann"}, .generation = 7};

/// Listens, says where, and does `then`.
std::vector<std::string> listening(const std::string& then = "signal.pause()") {
  return {"python3", "-c",
    "import os, signal, socket, sys\n"
    "s = socket.create_server(('127.0.0.1', 0))\n"
    "print('port=%d' % s.getsockname()[1], flush=True)\n" +
      then + "\n"};
}

/// Closes its socket when it is typed to, and lives on.
std::vector<std::string> closing() {
  return listening("sys.stdin.readline()\ns.close()\nsignal.pause()");
}

std::string mark() {
  return "PREVIEWD_TERMINAL=" + id;
}

kill_ladder quick_ladder() {
  return {.after_hangup = 50ms, .after_terminate = 50ms};
}

bool has_gone(pid_t pid) {
  const auto stat = os::read_stat(pid);
  return stat ? !stat->is_alive() : os::is_gone(stat.error());
}

uint64_t calls_at(std::string_view name) {
  for (const test::faults::site* site : test::faults::sites())
    if (name == site->name()) return site->calls();
  return 0;
}

/// A terminal whose program listens, watched as a server.
struct watched_program {
  explicit watched_program(std::vector<std::string> argv, const std::string& extra = {},
    net::kernel::kernel_watch_settings settings = {})
      : world{settings}, terminal{world.reaper, std::move(argv), {mark(), extra}} {
    world.track(id, terminal.pid());
    const auto port = terminal.await_number("port=");
    REQUIRE(port);
    world.kernel->scan(id);
    const auto facts = world.await_port(static_cast<uint16_t>(*port));
    REQUIRE(facts);
    world.watch(ref, *facts);
    const auto state = world.confirm(ref);
    REQUIRE(state);
    REQUIRE(state->listening);
  }

  kernel_world world;
  test_terminal terminal;
};

}  // namespace

TEST_CASE("where the kernel knows no pidfds processes are polled, and signalled all the same",
  "[net][kernel][faults][I3]") {
  const int error = GENERATE(ENOSYS, EMFILE, ENFILE, ENOMEM);
  INFO(std::strerror(error));
  const test::resource_check resources;
  {
    const armed missing{"pidfd.open", {.error = error, .times = every_call}};
    // A look by itself comes too late for the test: what is polled has a pace of its own.
    net::kernel::kernel_watch_settings settings;
    settings.slow_interval = settings.detection_timeout = std::chrono::minutes{10};
    watched_program p{listening("for n in (signal.SIGHUP, signal.SIGTERM): signal.signal(n, "
                                "signal.SIG_IGN)\n"
                                "print('stub'+'born', flush=True)\nsignal.pause()"),
      {}, settings};
    REQUIRE(p.terminal.await_output("stubborn"));

    p.world.kernel->end_processes(id, p.terminal.pid(), quick_ladder(), p.world.terminal);

    const auto leader = p.world.server_in->await(
      [](const server_said& what) { return what.what == server_said::kind::leader; });
    const auto exited = p.world.terminal_in->await(
      [](const terminal_said& what) { return what.what == terminal_said::kind::exited; });
    REQUIRE(leader);
    REQUIRE(exited);
    CHECK(exited->status.signal == "SIGKILL");
    CHECK(p.world.terminal_in->await(
      [](const terminal_said& what) { return what.what == terminal_said::kind::ended; }));
  }
  CHECK(resources.difference() == "");
}

TEST_CASE("what cannot be looked at has not ended", "[net][kernel][faults]") {
  const char* site = GENERATE("proc.open", "proc.list", "proc.read");
  INFO(site);
  watched_program p{listening()};
  auto short_of_all = std::make_unique<armed>(
    site, test::faults::plan{
            .error = std::string_view{site} == "proc.read" ? ENOMEM : EMFILE, .times = every_call});
  // Everything that looks at processes, again and again.
  for (int i = 0; i < 5; ++i) {
    p.world.kernel->scan(id);
    const auto state = p.world.confirm(ref);
    REQUIRE(state);
    CHECK(state->listening);
    CHECK(state->owners_alive);
    CHECK_FALSE(state->stopped);
  }
  p.world.kernel->end_processes(id, p.terminal.pid(), quick_ladder(), p.world.terminal);
  CHECK(test::eventually([&] { return short_of_all->hits() > 10; }));
  CHECK(p.world.confirm(ref));
  CHECK(p.world.terminal_in->size() == 0);
  CHECK(p.world.server_in->size() == 0);

  short_of_all.reset();

  CHECK(p.world.terminal_in->await(
    [](const terminal_said& what) { return what.what == terminal_said::kind::ended; }));
  CHECK(has_gone(p.terminal.pid()));
}

TEST_CASE("a terminal tracked during a shortage is known after it", "[net][kernel][faults]") {
  kernel_world world;
  test_terminal terminal{world.reaper, listening(), {mark()}};
  const auto port = terminal.await_number("port=");
  REQUIRE(port);
  auto short_of_all =
    std::make_unique<armed>("proc.open", test::faults::plan{.error = EMFILE, .times = every_call});
  world.track(id, terminal.pid());
  // For far longer than the owner of a socket is looked for.
  CHECK(test::eventually([&] { return short_of_all->hits() > 20; }));
  CHECK(world.terminal_in->size() == 0);

  short_of_all.reset();

  const auto facts = world.await_port(static_cast<uint16_t>(*port));
  REQUIRE(facts);
  CHECK(facts->front().owners == std::vector<int32_t>{terminal.pid()});
  CHECK_FALSE(facts->front().command.empty());
  ::kill(terminal.pid(), SIGKILL);
  const auto said = world.terminal_in->await();
  REQUIRE(said);
  CHECK(said->what == terminal_said::kind::exited);
  CHECK(said->status.signal == "SIGKILL");
}

TEST_CASE("a listener that vanishes in an overrun is noticed", "[net][kernel][faults][I2]") {
  // Nothing but the overrun leads to a look.
  net::kernel::kernel_watch_settings settings;
  settings.slow_interval = settings.fast_interval = std::chrono::minutes{10};
  watched_program p{closing(), {}, settings};
  const armed overrun{"netlink.event", {.error = ENOBUFS, .made = true}};

  p.terminal.type("\n");

  const auto said = p.world.server_in->await();
  REQUIRE(said);
  CHECK(said->what == server_said::kind::gone);
  CHECK(overrun.hits() == 1);
}

TEST_CASE(
  "when the kernel's events fail, closed sockets are found by looking, and heard of again "
  "later",
  "[net][kernel][faults][I2]") {
  net::kernel::kernel_watch_settings settings;
  settings.slow_interval = settings.fast_interval = std::chrono::minutes{10};
  watched_program p{closing(), {}, settings};
  const uint64_t joined = calls_at("netlink.join");
  const armed broken{"netlink.event", {.error = ENOMEM, .made = true}};

  p.terminal.type("\n");

  const auto said = p.world.server_in->await();
  REQUIRE(said);
  CHECK(said->what == server_said::kind::gone);
  CHECK(test::eventually([&] { return calls_at("netlink.join") >= joined + 2; }));
}

TEST_CASE("without a descriptor for socket diagnosis at the start, it is used later",
  "[net][kernel][faults]") {
  const char* site = GENERATE("netlink.open", "netlink.timeout", "netlink.bind", "netlink.join",
    "kernel.copy_events", "kernel.watch_events");
  INFO(site);
  const test::resource_check resources;
  {
    const bool queue = std::string_view{site} == "kernel.watch_events";
    const bool memory = std::string_view{site} == "netlink.bind" ||
                        std::string_view{site} == "netlink.join" ||
                        std::string_view{site} == "netlink.timeout";
    const armed missing{site, {.error = queue ? ENOSPC : memory ? ENOMEM : EMFILE, .times = 2}};
    const uint64_t asked = calls_at("netlink.ask");
    watched_program p{closing()};
    CHECK(missing.hits() > 0);
    CHECK(test::eventually([&] { return calls_at("netlink.ask") > asked + 2; }));

    p.terminal.type("\n");

    const auto said = p.world.server_in->await();
    REQUIRE(said);
    CHECK(said->what == server_said::kind::gone);
  }
  CHECK(resources.difference() == "");
}

TEST_CASE("where there is no ::1 a server on :: that takes v4 too is told as one on 0.0.0.0",
  "[net][kernel][faults]") {
  // A lack of descriptors says nothing about addresses.
  const auto [site, error, stack, address] =
    GENERATE(table<const char*, int, std::string, std::string>({
      {"loopback.bind", EADDRNOTAVAIL, "True", "0.0.0.0"},
      {"loopback.bind", EADDRNOTAVAIL, "False", "::"},
      {"loopback.open", EAFNOSUPPORT, "True", "0.0.0.0"},
      {"loopback.open", EMFILE, "True", "::"},
    }));
  INFO(site << ": " << std::strerror(error) << ", dual stack: " << stack);
  const armed missing{site, {.error = error}};
  kernel_world world;
  test_terminal terminal{world.reaper,
    {"python3", "-c",
      "import signal, socket\n"
      "s = socket.create_server(('::', 0), family=socket.AF_INET6, dualstack_ipv6=" +
        stack +
        ")\n"
        "print('port=%d' % s.getsockname()[1], flush=True)\nsignal.pause()\n"},
    {mark()}};
  world.track(id, terminal.pid());
  const auto number = terminal.await_number("port=");
  REQUIRE(number);
  const auto port = static_cast<uint16_t>(*number);

  const auto facts = world.await_port(port);
  const found_listeners found = world.find({"127.0.0.1", port, scheme::http});

  CHECK(missing.hits() == 1);
  REQUIRE(facts);
  CHECK(facts->front().address == address);
  CHECK(facts->front().id.v6);
  // By its endpoint it is the same socket.
  REQUIRE(found.sockets.size() == (stack == "True" ? 1 : 0));
  if (!found.sockets.empty()) CHECK(found.sockets.front() == facts->front());
}

TEST_CASE("nobody looks more often than fast_interval says", "[net][kernel][faults]") {
  // Here no event of the kernel, of whichever process, leads to a look.
  net::kernel::kernel_watch_settings settings;
  settings.source = net::kernel::listener_source::proc_net;
  settings.costly_interval = 10ms;
  settings.fast_interval = std::chrono::minutes{10};
  kernel_world world{settings};
  test_terminal terminal{world.reaper,
    {"python3", "-c",
      "import sys, time\nsys.stdin.readline()\ntime.sleep(0.5)\nprint('la' + 'ter', flush=True)\n"},
    {mark()}};
  world.track(id, terminal.pid());
  world.find({"127.0.0.1", 1, scheme::http});  // which looks, after the first look
  const uint64_t looks = calls_at("proc_net.open");
  REQUIRE(looks > 0);

  terminal.type("\n");
  REQUIRE(terminal.await_output("later"));

  CHECK(calls_at("proc_net.open") == looks);
}

TEST_CASE("who asks while the sockets cannot be listed is answered when they can",
  "[net][kernel][faults]") {
  watched_program p{listening()};
  for (const test::fault& fault : test::all_faults({"netlink.ask", "netlink.answer"})) {
    INFO(fault.describe());
    const armed failing{fault.at->name(), fault.plan(1, 9, 20)};

    const auto state = p.world.confirm(ref);

    REQUIRE(state);
    CHECK(state->listening);
    CHECK(state->owners_alive);
  }
}
