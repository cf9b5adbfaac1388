#include "previewd/net/kernel/kernel_watch.hpp"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <catch2/catch.hpp>
#include <csignal>
#include <iterator>
#include <memory>
#include <utility>

#include "previewd/os/unique_fd.hpp"
#include "previewd/tests/net/kernel/kernel_world.hpp"
#include "previewd/tests/support/resource_check.hpp"

using namespace previewd;
using test::kernel_world;
using test::server_said;
using test::terminal_said;
using test::test_terminal;

namespace {

const std::string id = "t-kernel-" + std::to_string(::getpid());
const server_ref ref{.key = {.project = "shop", .user = "ann"}, .generation = 7};

/// A Python program that listens and says where: `port=N`, and then does `then`.
std::vector<std::string>
listening(const std::string& then = "signal.pause()", const std::string& before = {}) {
  return {"python3", "-c",
    "import os, signal, socket, sys, time\n"
    "s = socket.create_server(('127.0.0.1', 0))\n" +
      before + "print('port=%d' % s.getsockname()[1], flush=True)\n" + then + "\n"};
}

std::vector<std::string> interactive_bash() {
  return {"bash", "--norc", "--noprofile", "-i"};
}

std::string mark() {
  return "PREVIEWD_TERMINAL=" + id;
}

/// A line for a shell that starts `listening` as a job.
std::string job_line(const std::string& rest = "") {
  return "python3 -c \"import signal,socket; s=socket.create_server(('127.0.0.1',0)); "
         "print('po'+'rt=%d'%s.getsockname()[1], flush=True); signal.pause()\"" +
         rest + "\n";
}

std::vector<listener_fact> only(const std::vector<listener_fact>& facts, int port) {
  std::vector<listener_fact> result;
  for (const listener_fact& fact : facts) {
    if (fact.id.port == port) result.push_back(fact);
  }
  return result;
}

bool is_gone(pid_t pid) {
  const auto stat = os::read_stat(pid);
  return !stat || !stat->is_alive();
}

kill_ladder quick_ladder() {
  return {.after_hangup = std::chrono::milliseconds{150},
    .after_terminate = std::chrono::milliseconds{150}};
}

}  // namespace

TEST_CASE("a listener of a terminal is told with its owner", "[net][kernel]") {
  net::kernel::kernel_watch_settings settings;
  settings.source =
    GENERATE(net::kernel::listener_source::automatic, net::kernel::listener_source::proc_net);
  kernel_world world{settings};
  test_terminal terminal{world.reaper, listening(), {mark()}};
  world.track(id, terminal.pid());
  const auto port = terminal.await_number("port=");
  REQUIRE(port);

  const auto facts = world.await_port(static_cast<uint16_t>(*port));

  REQUIRE(facts);
  REQUIRE(facts->size() == 1);
  CHECK(facts->front().address == "127.0.0.1");
  CHECK_FALSE(facts->front().id.v6);
  CHECK(facts->front().owners == std::vector<int32_t>{terminal.pid()});
  CHECK(facts->front().job_leader == terminal.pid());
  CHECK(facts->front().command.find("python3 -c import os") != std::string::npos);
}

TEST_CASE("v4 and v6 sockets of one port are two facts, and gone with the last", "[net][kernel]") {
  kernel_world world;
  test_terminal terminal{world.reaper,
    listening("t = socket.create_server(('::1', s.getsockname()[1]), family=socket.AF_INET6)\n"
              "print('both', flush=True)\n"
              "sys.stdin.readline()\ns.close()\nprint('one', flush=True)\n"
              "sys.stdin.readline()\nt.close()\nsignal.pause()"),
    {mark()}};
  world.track(id, terminal.pid());
  const auto port = terminal.await_number("port=");
  REQUIRE(port);
  const auto both = world.await_port(static_cast<uint16_t>(*port), 2);
  REQUIRE(both);
  world.watch(ref, *both);

  terminal.type("\n");
  REQUIRE(terminal.await_output("one"));
  const auto one_left = world.confirm(ref);
  CHECK(world.await_port(static_cast<uint16_t>(*port), 1));
  terminal.type("\n");

  REQUIRE(one_left);
  CHECK(one_left->listening);
  const auto said = world.server_in->await();
  REQUIRE(said);
  CHECK(said->what == server_said::kind::gone);
  const auto state = world.confirm(ref);
  REQUIRE(state);
  CHECK_FALSE(state->listening);
}

TEST_CASE("setsid, double forks and background jobs keep their terminal", "[net][kernel]") {
  const auto mode = GENERATE(os::reap_mode::own, os::reap_mode::all);
  // Where all children are reaped, orphans come to this process.
  std::optional<test::subreaper_scope> adopting;
  if (mode == os::reap_mode::all) adopting.emplace();
  kernel_world world{{}, mode};
  const auto prefix =
    GENERATE(as<std::string>{}, "setsid ", "( ", "( setsid sh -c 'exec \"$0\" \"$@\" & ' ");
  std::string line = prefix + job_line();
  line.pop_back();
  if (prefix.starts_with("(")) line += prefix == "( " ? " & )" : " )";
  test_terminal terminal{world.reaper, interactive_bash(), {mark()}};
  world.track(id, terminal.pid());
  terminal.type(line + "\n");
  const auto port = terminal.await_number("port=");
  INFO(terminal.output());
  REQUIRE(port);

  const auto facts = world.await_port(static_cast<uint16_t>(*port));

  CHECK(facts);
  world.kernel->end_processes(id, terminal.pid(), quick_ladder(), world.terminal);
  CHECK(world.terminal_in->await(
    [](const terminal_said& what) { return what.what == terminal_said::kind::ended; }));
  if (facts) CHECK(is_gone(only(*facts, *port).front().owners.front()));
}

TEST_CASE("listeners of others are nobody's", "[net][kernel]") {
  kernel_world world;
  test_terminal stranger{world.reaper, listening()};
  const auto foreign = stranger.await_number("port=");
  REQUIRE(foreign);
  const os::unique_fd own{::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)};
  REQUIRE(::listen(own.get(), 1) == 0);

  test_terminal terminal{world.reaper, listening(), {mark()}};
  world.track(id, terminal.pid());
  const auto port = terminal.await_number("port=");
  REQUIRE(port);
  const auto facts = world.await_port(static_cast<uint16_t>(*port));

  REQUIRE(facts);
  CHECK(facts->size() == 1);
}

TEST_CASE("Ctrl+C: the server is gone and its job's leader too", "[net][kernel][I2]") {
  const test::resource_check resources;
  {
    kernel_world world;
    test_terminal terminal{world.reaper, interactive_bash(), {mark()}};
    world.track(id, terminal.pid());
    terminal.type(job_line());
    const auto port = terminal.await_number("port=");
    REQUIRE(port);
    const auto facts = world.await_port(static_cast<uint16_t>(*port));
    REQUIRE(facts);
    CHECK(facts->front().job_leader != terminal.pid());
    world.watch(ref, *facts);
    REQUIRE(world.confirm(ref)->listening);

    terminal.type("\x03");

    bool gone = false;
    bool leader = false;
    for (int i = 0; i < 2; ++i) {
      const auto said = world.server_in->await();
      REQUIRE(said);
      gone = gone || said->what == server_said::kind::gone;
      leader = leader || said->what == server_said::kind::leader;
    }
    CHECK(gone);
    CHECK(leader);
    CHECK(world.await_port(static_cast<uint16_t>(*port), 0));
    CHECK(world.server_in->size() == 0);
    CHECK(world.terminal_in->size() == 0);
    world.kernel->unwatch(ref);
    world.kernel->untrack(id);
  }
  CHECK(resources.difference() == "");
}

TEST_CASE("a socket that closed before it was watched is gone at once", "[net][kernel][I2]") {
  kernel_world world;
  const listener_id none{.inode = 0xffffffffff, .port = 1, .v6 = false};
  const pid_t nobody = 0x3fffff;

  world.kernel->watch(ref, {none}, {nobody}, nobody, world.server);

  // Of a leader that had ended before nothing is told: the server may have outlived it.
  const auto first = world.server_in->await();
  REQUIRE(first);
  CHECK(first->what == server_said::kind::gone);
  CHECK(world.server_in->size() == 0);
}

TEST_CASE("a process that closes its socket and lives on is gone", "[net][kernel][I2]") {
  net::kernel::kernel_watch_settings settings;
  settings.source =
    GENERATE(net::kernel::listener_source::automatic, net::kernel::listener_source::proc_net);
  kernel_world world{settings};
  test_terminal terminal{
    world.reaper, listening("sys.stdin.readline()\ns.close()\nsignal.pause()"), {mark()}};
  world.track(id, terminal.pid());
  const auto port = terminal.await_number("port=");
  REQUIRE(port);
  const auto facts = world.await_port(static_cast<uint16_t>(*port));
  REQUIRE(facts);
  world.watch(ref, *facts);

  terminal.type("\n");

  const auto said = world.server_in->await();
  REQUIRE(said);
  CHECK(said->what == server_said::kind::gone);
  CHECK_FALSE(is_gone(terminal.pid()));
}

TEST_CASE("a socket that another process shares stays until that one closes it", "[net][kernel]") {
  kernel_world world;
  test_terminal terminal{world.reaper,
    listening("signal.signal(signal.SIGHUP, signal.SIG_IGN)\n"
              "child = os.fork()\n"
              "if child: print('child=%d' % child, flush=True)\n"
              "signal.pause()"),
    {mark()}};
  world.track(id, terminal.pid());
  const auto port = terminal.await_number("port=");
  const auto child = terminal.await_number("child=");
  REQUIRE(port);
  REQUIRE(child);
  const auto facts = world.await_port(static_cast<uint16_t>(*port));
  REQUIRE(facts);
  world.watch(ref, *facts);
  REQUIRE(world.confirm(ref)->listening);

  ::kill(terminal.pid(), SIGKILL);
  REQUIRE(world.terminal_in->await());
  const auto leader = world.server_in->await();
  const auto state = world.confirm(ref);
  const std::size_t more = world.server_in->size();
  const auto owners = world.detector_in->await([&](const std::vector<listener_fact>& now) {
    return now.size() == 1 && now.front().owners == std::vector<int32_t>{*child};
  });
  ::kill(*child, SIGKILL);

  REQUIRE(leader);
  CHECK(leader->what == server_said::kind::leader);
  CHECK(leader->status.signal == "SIGKILL");
  REQUIRE(state);
  CHECK(state->listening);
  CHECK(more == 0);
  CHECK(owners);
  const auto said = world.server_in->await();
  REQUIRE(said);
  CHECK(said->what == server_said::kind::gone);
}

TEST_CASE("who holds a socket is named anew when the one that did has ended", "[net][kernel]") {
  kernel_world world;
  const bool is_tracked = GENERATE(true, false);
  // What is told of the child comes after its terminal is forgotten, if it is.
  test_terminal terminal{world.reaper,
    listening("signal.signal(signal.SIGHUP, signal.SIG_IGN)\n"
              "sys.stdin.readline()\n"
              "child = os.fork()\n"
              "if child: print('child=%d' % child, flush=True)\n"
              "else: os.execvp('sleep', ['sleep', '1000'])\n"
              "signal.pause()",
      "s.set_inheritable(True)\n"),
    {mark()}};
  world.track(id, terminal.pid());
  const auto port = terminal.await_number("port=");
  REQUIRE(port);
  const auto facts = world.await_port(static_cast<uint16_t>(*port));
  REQUIRE(facts);
  world.watch(ref, *facts);
  REQUIRE(world.confirm(ref)->listening);
  if (!is_tracked) world.kernel->untrack(id);
  terminal.type("\n");
  const auto child = terminal.await_number("child=");
  REQUIRE(child);
  REQUIRE(test::eventually([&] { return os::read_command(*child) == "sleep 1000"; }));
  REQUIRE(world.confirm(ref)->listening);
  CHECK(world.owner_in->size() == 0);

  ::kill(terminal.pid(), SIGKILL);
  const auto owner = world.owner_in->await();
  ::kill(*child, SIGKILL);

  REQUIRE(owner);
  CHECK(owner->pid == *child);
  CHECK(owner->command == "sleep 1000");
  CHECK(world.server_in->await(
    [](const server_said& what) { return what.what == server_said::kind::gone; }));
  CHECK(world.owner_in->size() == 0);
}

TEST_CASE("sockets are found by their endpoint, with who holds them", "[net][kernel]") {
  kernel_world world;
  const bool is_tracked = GENERATE(true, false);
  const std::string other =
    "t = socket.create_server(('::1', s.getsockname()[1]), family=socket.AF_INET6)\n";
  test_terminal terminal{world.reaper, listening("signal.pause()", other), {mark()}};
  if (is_tracked) world.track(id, terminal.pid());
  const auto number = terminal.await_number("port=");
  REQUIRE(number);
  const auto port = static_cast<uint16_t>(*number);

  const found_listeners found = world.find({"127.0.0.1", port, scheme::http});

  // The other socket is the same server's if that is known.
  REQUIRE(found.sockets.size() == (is_tracked ? 2 : 1));
  CHECK(found.sockets.front().address == "127.0.0.1");
  CHECK(found.sockets.front().id.port == port);
  CHECK(found.sockets.front().id.inode != 0);
  CHECK(found.sockets.front().owners == std::vector<int32_t>{terminal.pid()});
  CHECK(found.sockets.front().job_leader == terminal.pid());
  CHECK(found.terminal_id == (is_tracked ? id : ""));
  CHECK(world.find({"::1", port, scheme::http}).sockets.front().id.v6);
  CHECK(world.find({"127.0.0.2", port, scheme::http}).sockets.empty());
  CHECK(world.find({"192.0.2.1", port, scheme::http}).sockets.empty());
}

TEST_CASE(
  "a socket that takes connections from all addresses is found by any of them", "[net][kernel]") {
  kernel_world world;
  const os::unique_fd socket{::socket(AF_INET6, SOCK_STREAM | SOCK_CLOEXEC, 0)};
  const int v6_only = GENERATE(0, 1);
  REQUIRE(::setsockopt(socket.get(), IPPROTO_IPV6, IPV6_V6ONLY, &v6_only, sizeof v6_only) == 0);
  REQUIRE(::listen(socket.get(), 1) == 0);
  sockaddr_in6 bound{};
  socklen_t size = sizeof bound;
  REQUIRE(::getsockname(socket.get(), reinterpret_cast<sockaddr*>(&bound), &size) == 0);
  const uint16_t port = ntohs(bound.sin6_port);

  const auto by_v6 = world.find({"::1", port, scheme::http});
  const auto by_v4 = world.find({"127.0.0.9", port, scheme::http});
  const auto elsewhere = world.find({"192.0.2.1", port, scheme::http});

  CHECK(by_v6.sockets.size() == 1);
  CHECK(by_v4.sockets.size() == (v6_only ? 0 : 1));
  CHECK(elsewhere.sockets.empty());
}

TEST_CASE("who listens where a server in no terminal did is its successor", "[net][kernel]") {
  kernel_world world;
  const bool in_terminal = GENERATE(false, true);
  test_terminal stranger{world.reaper,
    listening("port = s.getsockname()[1]\nsys.stdin.readline()\ns.close()\n"
              "print('closed', flush=True)\nsys.stdin.readline()\n"
              "s = socket.create_server(('127.0.0.1', port))\n"
              "print('again', flush=True)\nsignal.pause()"),
    {mark()}};
  const auto number = stranger.await_number("port=");
  REQUIRE(number);
  const endpoint at{"127.0.0.1", static_cast<uint16_t>(*number), scheme::http};
  world.watch(ref, world.find(at).sockets);
  REQUIRE(world.confirm(ref)->listening);
  stranger.type("\n");
  REQUIRE(world.server_in->await(
    [](const server_said& what) { return what.what == server_said::kind::gone; }));
  if (in_terminal) world.track(id, stranger.pid());

  world.kernel->await_successor(ref, at);
  stranger.type("\n");

  if (in_terminal) {
    // Its detector is told, and nobody else.
    REQUIRE(world.await_port(at.port));
    CHECK(world.owner_in->size() == 0);
  } else {
    const auto said = world.owner_in->await();
    REQUIRE(said);
    CHECK(said->pid == stranger.pid());
    CHECK(said->command == "127.0.0.1");
  }
  world.kernel->unwatch(ref);
}

TEST_CASE("a successor is soon found beside terminals, however seldom new servers are looked for",
  "[net][kernel]") {
  net::kernel::kernel_watch_settings settings;
  settings.fast_interval = settings.slow_interval = std::chrono::minutes{10};
  kernel_world world{settings};
  test_terminal terminal{world.reaper, {"sleep", "1000"}, {mark()}};
  world.track(id, terminal.pid());
  test_terminal stranger{
    world.reaper, listening("port = s.getsockname()[1]\nsys.stdin.readline()\ns.close()\n"
                            "print('closed', flush=True)\nsys.stdin.readline()\n"
                            "s = socket.create_server(('127.0.0.1', port))\n"
                            "signal.pause()")};
  const auto number = stranger.await_number("port=");
  REQUIRE(number);
  const endpoint at{"127.0.0.1", static_cast<uint16_t>(*number), scheme::http};
  world.watch(ref, world.find(at).sockets);
  REQUIRE(world.confirm(ref)->listening);
  stranger.type("\n");
  REQUIRE(world.server_in->await(
    [](const server_said& what) { return what.what == server_said::kind::gone; }));

  world.kernel->await_successor(ref, at);
  stranger.type("\n");

  const auto said = world.owner_in->await();
  REQUIRE(said);
  CHECK(said->pid == stranger.pid());
  world.kernel->unwatch(ref);
}

TEST_CASE("a stopped server listens, and is told to be stopped, asked or not", "[net][kernel]") {
  const bool asked = GENERATE(true, false);
  kernel_world world;
  test_terminal terminal{world.reaper, listening(), {mark()}};
  world.track(id, terminal.pid());
  const auto port = terminal.await_number("port=");
  REQUIRE(port);
  const auto facts = world.await_port(static_cast<uint16_t>(*port));
  REQUIRE(facts);
  world.watch(ref, *facts);
  const auto before = world.confirm(ref);
  const auto told = [&](bool stopped) {
    REQUIRE(
      test::eventually([&] { return os::read_stat(terminal.pid())->is_stopped() == stopped; }));
    if (asked) world.kernel->confirm(ref);
    return world.server_in->await([&](const server_said& what) {
      return what.what == server_said::kind::confirm && what.state.stopped == stopped;
    });
  };

  ::kill(terminal.pid(), SIGSTOP);
  const auto stopped = told(true);
  ::kill(terminal.pid(), SIGCONT);
  const auto after = told(false);

  REQUIRE((before && stopped && after));
  CHECK_FALSE(before->stopped);
  CHECK(stopped->state.listening);
  CHECK(stopped->state.owners_alive);
  CHECK(after->state.listening);
}

TEST_CASE("a job is what a shell knows: a supervisor, and what it starts in other groups",
  "[net][kernel]") {
  kernel_world world;
  test_terminal terminal{world.reaper, interactive_bash(), {mark()}};
  world.track(id, terminal.pid());
  const auto in_background = GENERATE(as<std::string>{}, "", " &");
  terminal.type(
    "python3 -c \"import os, signal, socket, sys\nprint('supervi' + 'sor=%d' % "
    "os.getpid(), flush=True)\nif os.fork(): signal.pause()\nos.setpgid(0, 0)\n"
    "s = socket.create_server(('127.0.0.1', 0))\nprint('po' + 'rt=%d' % "
    "s.getsockname()[1], flush=True)\nsignal.pause()\"" +
    in_background + "\n");
  const auto supervisor = terminal.await_number("supervisor=");
  const auto port = terminal.await_number("port=");
  INFO(terminal.output());
  REQUIRE((supervisor && port));

  const auto facts = world.await_port(static_cast<uint16_t>(*port));

  REQUIRE(facts);
  const listener_fact fact = only(*facts, *port).front();
  CHECK(fact.job_leader == *supervisor);
  CHECK(fact.owners.front() != *supervisor);
  // With its leader the job ends.
  world.watch(ref, {fact});
  REQUIRE(world.confirm(ref));  // it is watched by now
  ::kill(static_cast<pid_t>(*supervisor), SIGKILL);
  CHECK(world.server_in->await(
    [](const server_said& what) { return what.what == server_said::kind::leader; }));
}

TEST_CASE("a restart on the same port is a new socket", "[net][kernel]") {
  kernel_world world;
  test_terminal terminal{world.reaper,
    listening("port = s.getsockname()[1]\nsys.stdin.readline()\ns.close()\n"
              "s = socket.create_server(('127.0.0.1', port))\n"
              "signal.pause()"),
    {mark()}};
  world.track(id, terminal.pid());
  const auto port = terminal.await_number("port=");
  REQUIRE(port);
  const auto first = world.await_port(static_cast<uint16_t>(*port));
  REQUIRE(first);
  world.watch(ref, *first);

  terminal.type("\n");

  const auto said = world.server_in->await();
  REQUIRE(said);
  CHECK(said->what == server_said::kind::gone);
  const auto second = world.detector_in->await([&](const std::vector<listener_fact>& facts) {
    return facts.size() == 1 && facts.front().id != first->front().id;
  });
  REQUIRE(second);
  CHECK(second->front().id.port == *port);
}

TEST_CASE("the end of a terminal's process is told with its status", "[net][kernel]") {
  const auto mode = GENERATE(os::reap_mode::own, os::reap_mode::all);
  const test::resource_check resources;
  {
    kernel_world world{{}, mode};
    const auto early = GENERATE(false, true);
    test_terminal terminal{world.reaper, {"sh", "-c", "read x; exit 5"}, {mark()}};
    if (early) {
      // It has ended, and may have been waited for, before anybody tracks it.
      terminal.type("\n");
      REQUIRE(test::eventually([&] { return is_gone(terminal.pid()); }));
      world.reaper.reap();
    }

    world.track(id, terminal.pid());
    terminal.type("\n");

    const auto said = world.terminal_in->await();
    REQUIRE(said);
    CHECK(said->what == terminal_said::kind::exited);
    REQUIRE(said->status.code);
    CHECK(*said->status.code == 5);
    CHECK(said->status.signal.empty());
    world.kernel->end_processes(id, terminal.pid(), quick_ladder(), world.terminal);
    const auto ended = world.terminal_in->await();
    REQUIRE(ended);
    CHECK(ended->what == terminal_said::kind::ended);
    world.kernel->untrack(id);
  }
  CHECK(resources.difference() == "");
}

TEST_CASE("the end of some terminals is never told of others that begin", "[net][kernel][I3]") {
  const test::resource_check resources;
  constexpr int rounds = 24;
  constexpr int together = 8;
  const auto name = [](int round, int number) {
    return id + "-" + std::to_string(round) + "-" + std::to_string(number);
  };
  {
    kernel_world world;
    const test_terminal last{world.reaper, {"true"}};
    REQUIRE(test::eventually([&] { return is_gone(last.pid()); }));
    std::vector<std::unique_ptr<test_terminal>> old;
    // Kept until all is said: how one has ended is known only while it is claimed.
    std::vector<std::unique_ptr<test_terminal>> ended;
    for (int round = 0; round < rounds; ++round) {
      std::vector<std::unique_ptr<test_terminal>> fresh;
      for (int number = 0; number < together; ++number) {
        fresh.push_back(std::make_unique<test_terminal>(world.reaper,
          std::vector<std::string>{"sh", "-c", "read x"}, std::vector<std::string>{mark()}));
      }
      // The ends of the old ones are still to be told while their places are given to new ones.
      for (const auto& terminal : old) {
        REQUIRE(terminal->pid() > 0);
        REQUIRE(::kill(terminal->pid(), SIGKILL) == 0);
      }
      for (int number = 0; number < together; ++number) {
        if (round > 0) world.kernel->untrack(name(round - 1, number));
        world.track(name(round, number), fresh[static_cast<std::size_t>(number)]->pid());
      }
      std::move(old.begin(), old.end(), std::back_inserter(ended));
      old = std::move(fresh);
    }
    // All that was asked for before this has been done.
    world.kernel->end_processes("t-last", last.pid(), quick_ladder(), world.terminal);
    std::size_t of_the_living = 0;
    REQUIRE(world.terminal_in->await([&](const terminal_said& said) {
      // Nobody has waited for a process that lives, so nothing is known of how it ended.
      if (said.what == terminal_said::kind::exited && !said.status.code &&
          said.status.signal.empty())
        ++of_the_living;
      return said.what == terminal_said::kind::ended;
    }));
    CHECK(of_the_living == 0);
    for (int number = 0; number < together; ++number)
      world.kernel->untrack(name(rounds - 1, number));
  }
  CHECK(resources.difference() == "");
}

TEST_CASE("what ignores hang-up and termination is killed, and nobody else", "[net][kernel][I3]") {
  const test::resource_check resources;
  {
    kernel_world world;
    test_terminal stranger{world.reaper, {"sleep", "1000"}};
    test_terminal terminal{world.reaper, interactive_bash(), {mark()}};
    world.track(id, terminal.pid());
    terminal.type(
      "bash -c 'trap \"\" HUP TERM INT; echo stub''born=$$; while :; do sleep 1; done' &\n");
    const auto stubborn = terminal.await_number("stubborn=");
    REQUIRE(stubborn);
    terminal.type(
      "setsid bash -c 'trap \"\" HUP TERM; echo sess''ion=$$; while :; do sleep 1; done' &\n");
    const auto session = terminal.await_number("session=");
    REQUIRE(session);

    world.kernel->end_processes(id, terminal.pid(), quick_ladder(), world.terminal);

    const auto exited = world.terminal_in->await();
    const auto ended = world.terminal_in->await();
    REQUIRE(exited);
    REQUIRE(ended);
    CHECK(exited->what == terminal_said::kind::exited);
    CHECK(ended->what == terminal_said::kind::ended);
    CHECK(is_gone(terminal.pid()));
    CHECK(is_gone(*stubborn));
    CHECK(is_gone(*session));
    CHECK_FALSE(is_gone(stranger.pid()));
    world.kernel->untrack(id);
  }
  CHECK(resources.difference() == "");
}

TEST_CASE("a stopped job is ended too", "[net][kernel][I3]") {
  kernel_world world;
  test_terminal terminal{world.reaper, interactive_bash(), {mark()}};
  world.track(id, terminal.pid());
  terminal.type(job_line());
  const auto port = terminal.await_number("port=");
  REQUIRE(port);
  const auto facts = world.await_port(static_cast<uint16_t>(*port));
  REQUIRE(facts);
  const pid_t owner = facts->front().owners.front();
  terminal.type("\x1a");
  REQUIRE(test::eventually([&] {
    const auto stat = os::read_stat(owner);
    return stat && stat->is_stopped();
  }));

  world.kernel->end_processes(id, terminal.pid(), quick_ladder(), world.terminal);

  CHECK(world.terminal_in->await(
    [](const terminal_said& what) { return what.what == terminal_said::kind::ended; }));
  CHECK(is_gone(owner));
}

TEST_CASE("a terminal that nobody tracks any more is ended by its mark", "[net][kernel][I3]") {
  kernel_world world;
  test_terminal terminal{world.reaper, interactive_bash(), {mark()}};
  terminal.type("setsid sleep 1000 & echo a''way=$!\n");
  const auto away = terminal.await_number("away=");
  REQUIRE(away);

  SECTION("and somebody waits") {
    world.kernel->end_processes(id, terminal.pid(), quick_ladder(), world.terminal);
    const auto ended = world.terminal_in->await();
    REQUIRE(ended);
    CHECK(ended->what == terminal_said::kind::ended);
    CHECK(is_gone(terminal.pid()));
  }
  SECTION("and nobody waits") {
    world.kernel->end_processes(id, terminal.pid(), quick_ladder(), terminal_actor{});
    CHECK(test::eventually([&] { return is_gone(terminal.pid()) && is_gone(*away); }));
  }
}

TEST_CASE("a terminal without processes has ended at once", "[net][kernel]") {
  kernel_world world;

  world.kernel->end_processes(id, 0x3fffff, kill_ladder{}, world.terminal);

  const auto ended = world.terminal_in->await();
  REQUIRE(ended);
  CHECK(ended->what == terminal_said::kind::ended);
}

TEST_CASE("adopted orphans are waited for when SIGCHLD is handled", "[net][kernel][I3]") {
  const test::subreaper_scope adopting;
  const test::resource_check resources;
  {
    net::kernel::kernel_watch_settings settings;
    settings.signals = net::kernel::child_signals::handled;
    kernel_world world{settings, os::reap_mode::all};
    test_terminal terminal{world.reaper,
      {"sh", "-c", "(sleep 0.01; exit 3) & (setsid sleep 0.02 &) ; exit 0"}, {mark()}};

    world.track(id, terminal.pid());

    const auto said = world.terminal_in->await();
    REQUIRE(said);
    CHECK(said->status.code == caf::optional<int>{0});
    CHECK(test::eventually([] { return test::resource_snapshot::take().children.empty(); }));
    world.kernel->untrack(id);
  }
  CHECK(resources.difference() == "");
}

TEST_CASE("what is stopped in the middle of everything leaves nothing", "[net][kernel][I3]") {
  const test::resource_check resources;
  {
    kernel_world world;
    test_terminal terminal{world.reaper, listening(), {mark()}};
    const auto port = terminal.await_number("port=");
    REQUIRE(port);
    world.track(id, terminal.pid());
    const auto facts = world.await_port(static_cast<uint16_t>(*port));
    REQUIRE(facts);
    world.watch(ref, *facts);
    world.kernel->end_processes(id, terminal.pid(), kill_ladder{}, world.terminal);
    world.kernel->scan(id);

    world.kernel->stop();

    world.kernel->confirm(ref);
    world.kernel->untrack(id);
  }
  CHECK(resources.difference() == "");
}

TEST_CASE("what the kernel did not tell in time is found by looking", "[net][kernel]") {
  kernel_world world;
  test_terminal terminal{world.reaper,
    listening("sys.stdin.readline()\n"
              "more = [socket.create_server(('127.0.0.1', 0)) for _ in range(400)]\n"
              "for _ in range(5):\n"
              "    for m in more: m.close()\n"
              "    more = [socket.create_server(('127.0.0.1', 0)) for _ in range(400)]\n"
              "s.close()\n"
              "for m in more: m.close()\n"
              "signal.pause()"),
    {mark()}};
  world.track(id, terminal.pid());
  const auto port = terminal.await_number("port=");
  REQUIRE(port);
  const auto facts = world.await_port(static_cast<uint16_t>(*port));
  REQUIRE(facts);
  world.watch(ref, *facts);

  terminal.type("\n");

  const auto said = world.server_in->await();
  REQUIRE(said);
  CHECK(said->what == server_said::kind::gone);
  CHECK(
    world.detector_in->await([](const std::vector<listener_fact>& now) { return now.empty(); }));
}
