#include "previewd/net/terminal/terminal_hub.hpp"

#include <fcntl.h>
#include <signal.h>
#include <sys/stat.h>
#include <unistd.h>

#include <catch2/catch.hpp>
#include <fstream>
#include <thread>

#include "previewd/tests/net/terminal/hub_world.hpp"
#include "previewd/tests/support/eventually.hpp"

namespace {

using namespace std::chrono_literals;
using previewd::errc;
using previewd::terminal_size;
using previewd::net::terminal::terminal_hub_settings;
using previewd::test::eventually;
using previewd::test::hub_world;
using previewd::test::test_client;
using previewd::test::test_terminal;
using previewd::test::told;

using heard = test_client::heard;

/// What a login shell without anybody's settings is called with.
const std::vector<std::string> shell{"/bin/bash", "--norc", "--noprofile", "-i"};

std::vector<std::string> run(const std::string& script) {
  return {"/bin/sh", "-c", script};
}

std::size_t open_descriptors() {
  std::size_t count = 0;
  for (int fd = 0; fd < 1024; ++fd)
    if (::fcntl(fd, F_GETFD) != -1) ++count;
  return count;
}

bool alive(int32_t pid) {
  return ::kill(pid, 0) == 0;
}

}  // namespace

TEST_CASE("a terminal opens, shows its output and takes input", "[net][terminal]") {
  hub_world world;
  test_terminal terminal = world.open(shell);
  const auto client = world.attach(terminal);

  CHECK(world.input(terminal, "echo $((40+2))_is_it\r") == errc::none);

  CHECK(client->got.becomes(
    [](const heard& h) { return h.bytes.find("42_is_it") != std::string::npos; }));
  CHECK(client->got.now().sequences_fit);
  world.end(terminal);
}

TEST_CASE("the actor hears of the opening first, and every thread knows the terminal by then",
  "[net][terminal]") {
  hub_world world;

  test_terminal terminal = world.open(shell);

  CHECK(terminal.pid > 1);
  CHECK_FALSE(terminal.heard->now().foreground_before_opened);
  CHECK(world.facts(terminal, 0).has_value());
  CHECK(world.facts(terminal, 1).has_value());
  world.end(terminal);
  CHECK(eventually([&] { return !world.facts(terminal, 0) && !world.facts(terminal, 1); }));
}

TEST_CASE("a terminal that cannot be opened says why", "[net][terminal]") {
  hub_world world;
  previewd::terminal_spec spec = world.spec({"/no/such/program"});
  SECTION("no such program") {}
  SECTION("no such folder") {
    spec = world.spec({"/bin/sh"});
    spec.cwd = "/no/such/folder";
  }

  test_terminal terminal = world.begin(spec);

  REQUIRE(terminal.heard->becomes([](const told& t) { return t.failed.has_value(); }));
  CHECK(terminal.heard->now().failed == errc::spawn_failed);
  CHECK(terminal.heard->now().failure.find("/no/such/") != std::string::npos);
  CHECK(world.input(terminal, "x") == errc::terminal_not_found);
  CHECK_FALSE(world.facts(terminal).has_value());
}

TEST_CASE("a program sees the size of the window, and its changes", "[net][terminal]") {
  hub_world world;
  previewd::terminal_spec spec = world.spec(shell);
  spec.size = {.columns = 97, .rows = 31};
  test_terminal terminal = world.open(spec);

  world.input(terminal, "stty size\r");
  CHECK(world.puts_out(terminal, "31 97"));

  CHECK(world.resize(terminal, {.columns = 132, .rows = 43}) == errc::none);
  world.input(terminal, "stty size\r");
  CHECK(world.puts_out(terminal, "43 132"));
  CHECK(world.facts(terminal)->size == terminal_size{.columns = 132, .rows = 43});
  world.end(terminal);
}

TEST_CASE("the smallest wish of the attached clients is the size", "[net][terminal]") {
  hub_world world;
  test_terminal terminal = world.open(shell);
  const auto wide = world.attach(terminal);
  const auto high = world.attach(terminal, 0, true, 1);
  const auto size_is = [&](terminal_size size) {
    return eventually([&] { return world.facts(terminal)->size == size; });
  };

  world.on(0, [&] { wide->place->resize({.columns = 200, .rows = 20}); });
  CHECK(size_is({.columns = 200, .rows = 20}));
  world.on(1, [&] { high->place->resize({.columns = 90, .rows = 60}); });
  CHECK(size_is({.columns = 90, .rows = 20}));
  world.resize(terminal, {.columns = 10, .rows = 10});
  CHECK(size_is({.columns = 90, .rows = 20}));
  world.detach(wide);
  CHECK(size_is({.columns = 90, .rows = 60}));
  world.detach(high, 1);
  CHECK(size_is({.columns = 10, .rows = 10}));
  world.end(terminal);
}

TEST_CASE("a flood is read in small parts while somebody types", "[net][terminal]") {
  const auto typing = GENERATE(0ms, 3600'000ms);
  terminal_hub_settings settings;
  settings.typing = typing;
  hub_world world{settings};
  test_terminal terminal = world.open(run("read x; yes | head -c 600000; read x"));
  // At the terminal's own thread it is always up to date.
  const std::size_t thread = world.hub->home_of(terminal.id).index();
  const auto client = world.attach(terminal, 0, true, thread);

  world.input(terminal, "\r");

  // Each line ends in two characters here.
  REQUIRE(client->got.becomes([](const heard& h) { return h.sequence >= 900'000; }));
  CHECK(client->got.now().sequences_fit);
  if (typing > 0ms)
    CHECK(client->got.now().largest <= settings.read_bytes_typing);
  else
    CHECK(client->got.now().largest > settings.read_bytes_typing);
  world.detach(client, thread);
  world.end(terminal);
}

TEST_CASE("a client that comes later gets what the scrollback holds, and resumes without gap",
  "[net][terminal]") {
  hub_world world;
  test_terminal terminal = world.open(run("printf one; read x; printf two; read y"));
  const auto first = world.attach(terminal);
  REQUIRE(first->got.becomes([](const heard& h) { return h.bytes == "one"; }));
  world.detach(first);

  world.input(terminal, "\r");
  REQUIRE(world.puts_out(terminal, "two"));
  const auto second = world.attach(terminal, first->got.now().sequence, true, 1);

  CHECK(second->got.becomes([](const heard& h) { return h.bytes == "\r\ntwo"; }));
  CHECK(second->got.now().start->from == 3);
  CHECK(second->got.now().start->lost == 0);
  CHECK(world.read(terminal)->bytes == "one\r\ntwo");
  CHECK(world.read(terminal, 5)->bytes == "two");
  CHECK(world.read(terminal, 5)->sequence == 8);
  world.detach(second, 1);
  world.end(terminal);
}

TEST_CASE(
  "what has left the scrollback is counted, and the screen stands for it", "[net][terminal]") {
  hub_world world;
  previewd::terminal_spec spec = world.spec(run("head -c 100000 /dev/zero | tr '\\0' x; read x"));
  spec.scrollback_bytes = 10'000;
  test_terminal terminal = world.open(spec);
  const auto lazy = world.attach(terminal, 0, false);
  REQUIRE(eventually([&] { return world.facts(terminal)->sequence == 100'000; }));

  const auto late = world.attach(terminal);
  world.on(0, [&] { lazy->place->pull(); });

  CHECK(late->got.becomes([](const heard& h) { return h.sequence == 100'000; }));
  // The screen is painted as it was some way behind the oldest byte.
  const std::size_t kept = late->got.now().bytes.size();
  CHECK(kept > 5'000);
  CHECK(kept <= 10'000);
  CHECK(late->got.now().start->lost == 100'000 - kept);
  REQUIRE(late->got.now().start->screen);
  CHECK(late->got.now().start->screen->find(std::string(80, 'x')) != std::string::npos);
  CHECK(lazy->got.becomes([](const heard& h) { return h.chunks == 1; }));
  // It may have been attached when a part was out already.
  CHECK(lazy->got.now().start->lost + lazy->got.now().lost == 100'000 - kept);
  CHECK(lazy->got.now().bytes.size() == kept);
  CHECK(world.read(terminal, 5)->lost == 90'000 - 5);
  world.detach(late);
  world.detach(lazy);
  world.end(terminal);
}

TEST_CASE("a client that acknowledges is never far behind, and others read all the same",
  "[net][terminal][I5]") {
  terminal_hub_settings settings;
  settings.stall_timeout = 1h;  // it is slow, and has not stopped
  hub_world world{settings};
  test_terminal terminal = world.open(run("yes"));
  const auto slow = world.attach(terminal, 0, false);
  world.on(0, [&] { slow->place->acknowledge(0); });
  const auto eager = world.attach(terminal, 0, true, 1);

  // It stops exactly at the limit, or had passed it before the first acknowledgement.
  uint64_t before = 0;
  REQUIRE(eventually([&] {
    const uint64_t now = world.facts(terminal)->sequence;
    return now >= 100'000 && std::exchange(before, now) == now;
  }));
  const uint64_t stopped_at = world.facts(terminal)->sequence;

  SECTION("it goes on when the client has caught up") {
    world.on(0, [&] { slow->place->acknowledge(stopped_at); });
    CHECK(eventually([&] { return world.facts(terminal)->sequence >= stopped_at + 100'000; }));
    CHECK(world.facts(terminal)->sequence == stopped_at + 100'000);
  }
  SECTION("it does not go on before half of it is shown") {
    world.on(0, [&] { slow->place->acknowledge(stopped_at - 60'000); });
    CHECK(world.input(terminal, "") == errc::none);
    CHECK(world.facts(terminal)->sequence == stopped_at);
  }
  SECTION("it goes on without the client") {
    world.detach(slow);
    CHECK(eventually([&] { return world.facts(terminal)->sequence > stopped_at + 1'000'000; }));
  }
  world.detach(slow);
  world.detach(eager, 1);
  world.end(terminal);
}

TEST_CASE(
  "nobody has to listen: a program writes on, and memory stays bounded", "[net][terminal][I5]") {
  hub_world world;
  test_terminal terminal = world.open(run("head -c 1000000 /dev/zero; echo done; read x"));

  CHECK(eventually([&] { return world.facts(terminal)->sequence == 1'000'006; }));

  CHECK(world.read(terminal)->bytes.size() == 256 * 1024);
  world.end(terminal);
}

TEST_CASE("input that nobody reads is bounded", "[net][terminal][I5]") {
  terminal_hub_settings settings;
  settings.input_bytes = 100'000;
  hub_world world{settings};
  // Raw, so that the line discipline drops nothing, and read only when told.
  test_terminal terminal =
    world.open(run("stty raw -echo; echo ready; while ! [ -e \"$0.never\" ]; do sleep 100; done"));
  REQUIRE(world.puts_out(terminal, "ready"));

  errc last = errc::none;
  for (int i = 0; i < 100 && last == errc::none; ++i)
    last = world.input(terminal, std::string(10'000, 'x'));

  CHECK(last == errc::limit_reached);
  world.end(terminal);
}

TEST_CASE("a large input arrives whole and in order", "[net][terminal]") {
  hub_world world;
  test_terminal terminal =
    world.open(run("stty raw -echo; echo ready; head -c 300000 | cksum; read x"));
  REQUIRE(world.puts_out(terminal, "ready"));
  std::string input;
  while (input.size() < 300'000) input += "line " + std::to_string(input.size()) + "\n";
  input.resize(300'000);
  const std::string path = "/tmp/previewd-input-" + std::to_string(::getpid());
  const int fd = ::open(path.c_str(), O_CREAT | O_TRUNC | O_WRONLY | O_CLOEXEC, 0600);
  REQUIRE(::write(fd, input.data(), input.size()) == static_cast<ssize_t>(input.size()));
  ::close(fd);
  test_terminal other = world.open(run("cksum < " + path + "; read x"));

  CHECK(world.input(terminal, input) == errc::none);

  REQUIRE(world.puts_out(other, " 300000"));
  const std::string expected = world.read(other)->bytes;
  const std::string sum = expected.substr(0, expected.find(" 300000"));
  CHECK(world.puts_out(terminal, sum + " 300000"));
  ::unlink(path.c_str());
  world.end(terminal);
  world.end(other);
}

TEST_CASE("a signal reaches the foreground job and not the shell", "[net][terminal]") {
  hub_world world;
  test_terminal terminal = world.open(shell);
  world.input(terminal, "sleep 1000\r");
  REQUIRE(eventually([&] { return world.facts(terminal)->foreground == "sleep"; }));

  CHECK(world.signal(terminal, SIGINT) == errc::none);

  CHECK(eventually([&] { return world.facts(terminal)->foreground == "bash"; }));
  world.input(terminal, "echo still_$((1+1))\r");
  CHECK(world.puts_out(terminal, "still_2"));
  world.end(terminal);
}

TEST_CASE("the actor hears which job has the terminal, also when it starts without a word",
  "[net][terminal]") {
  hub_world world;
  test_terminal terminal = world.open(shell);
  const int32_t shell_group = terminal.pid;
  REQUIRE(terminal.heard->becomes(
    [&](const told& t) { return !t.foreground.empty() && t.foreground.back() == shell_group; }));

  world.input(terminal, "sleep 1000 >/dev/null 2>&1\r");
  CHECK(terminal.heard->becomes([&](const told& t) { return t.foreground.back() != shell_group; }));
  // Between fork and exec the job is still a shell, which may keep an interrupt to itself.
  REQUIRE(eventually([&] { return world.facts(terminal)->foreground == "sleep"; }));
  world.input(terminal, "\x03");
  CHECK(terminal.heard->becomes([&](const told& t) { return t.foreground.back() == shell_group; }));
  world.end(terminal);
}

TEST_CASE(
  "the detector hears of addresses, and of output, but not of every line", "[net][terminal]") {
  terminal_hub_settings settings;
  settings.output_interval = 50ms;
  hub_world world{settings};
  test_terminal terminal =
    world.open(run("i=0; while [ $i -lt 3000 ]; do echo line $i; i=$((i+1)); done; "
                   "echo '  Local:   http://localhost:\x1b[1m5173\x1b[22m/'; read x"));

  CHECK(terminal.heard->becomes([](const told& t) { return !t.hints.empty(); }));

  CHECK(terminal.heard->now().hints.front().port == 5173);
  CHECK(terminal.heard->now().notices < 300);
  world.end(terminal);
}

TEST_CASE("the end comes after the last byte", "[net][terminal]") {
  hub_world world;
  test_terminal terminal =
    world.open(run("read x; head -c 50000 /dev/zero | tr '\\0' x; echo last"));
  const auto eager = world.attach(terminal);
  const auto lazy = world.attach(terminal, 0, false, 1);
  world.input(terminal, "\r");
  REQUIRE(eventually(
    [&] { return ::kill(terminal.pid, 0) != 0 || world.facts(terminal)->sequence >= 50'008; }));

  world.hub->finish(terminal.id);

  CHECK(terminal.heard->becomes([](const told& t) { return t.drained == 1; }));
  CHECK(eager->got.becomes([](const heard& h) { return h.ends == 1; }));
  CHECK(eager->got.now().bytes.substr(eager->got.now().bytes.size() - 6) == "last\r\n");
  CHECK(lazy->got.now().ends == 0);
  CHECK_FALSE(world.facts(terminal)->open);

  SECTION("for a client that reads later, too") {
    for (int i = 0; i < 3; ++i) world.on(1, [&] { lazy->place->pull(); });
    CHECK(lazy->got.becomes([](const heard& h) { return h.chunks == 1; }));
    world.on(1, [&] { lazy->place->pull(); });
    CHECK(lazy->got.becomes([](const heard& h) { return h.ends == 1; }));
    CHECK(lazy->got.now().bytes == eager->got.now().bytes);
  }
  SECTION("for a client that comes later, too") {
    const auto late = world.attach(terminal);
    CHECK(late->got.becomes([](const heard& h) { return h.ends == 1; }));
    CHECK(late->got.now().bytes == eager->got.now().bytes);
    world.detach(late);
  }
  SECTION("input is refused from then on, and finishing again is answered again") {
    CHECK(world.input(terminal, "x") == errc::terminal_exited);
    CHECK(world.signal(terminal, SIGINT) == errc::terminal_exited);
    world.hub->finish(terminal.id);
    CHECK(terminal.heard->becomes([](const told& t) { return t.drained == 2; }));
  }
  SECTION("forgetting ends all clients") {
    world.hub->forget(terminal.id);
    CHECK(lazy->got.becomes([](const heard& h) { return h.ends == 1; }));
    CHECK(world.input(terminal, "x") == errc::terminal_not_found);
    CHECK_FALSE(world.read(terminal).has_value());
  }
  world.detach(eager);
  world.detach(lazy, 1);
  world.end(terminal);
}

TEST_CASE(
  "a background job that holds the terminal does not hold up its end", "[net][terminal][I3]") {
  hub_world world;
  const std::string job = GENERATE(as<std::string>{}, "sleep 1000", "yes");
  // Told by a file: what floods may have pushed a line out of the scrollback before it is read.
  const std::string path = "/tmp/previewd-job-" + std::to_string(::getpid());
  test_terminal terminal =
    world.open(run("trap '' HUP; " + job + " & echo $! > " + path + "; exit 0"));
  pid_t pid = 0;
  REQUIRE(eventually([&] { return bool{std::ifstream{path} >> pid}; }));

  world.hub->finish(terminal.id);

  CHECK(terminal.heard->becomes([](const told& t) { return t.drained == 1; }));
  ::kill(pid, SIGKILL);
  ::unlink(path.c_str());
  world.end(terminal);
}

TEST_CASE("a terminal may be finished and forgotten before it has opened", "[net][terminal][I3]") {
  const std::size_t before = open_descriptors();
  {
    hub_world world;
    test_terminal finished = world.begin(world.spec(shell));
    world.hub->finish(finished.id);
    test_terminal forgotten = world.begin(world.spec(shell));
    world.hub->forget(forgotten.id);

    CHECK(finished.heard->becomes([](const told& t) { return t.opened && t.drained == 1; }));
    CHECK(eventually([&] { return !world.facts(forgotten); }));
    finished.pid = *finished.heard->now().opened;
    world.end(finished);
  }
  CHECK(open_descriptors() == before);
}

TEST_CASE(
  "terminals that open and close leave no descriptor and no process", "[net][terminal][I3]") {
  hub_world world;
  // Each thread makes its reactor when the first terminal comes to it.
  for (int i = 0; i < 12; ++i) {
    test_terminal warm = world.open(shell);
    world.end(warm);
  }
  const std::size_t before = open_descriptors();
  std::vector<int32_t> pids;

  for (int i = 0; i < 50; ++i) {
    test_terminal terminal = world.open(i % 2 == 0 ? shell : run("cat"));
    const auto client = world.attach(terminal, 0, true, static_cast<std::size_t>(i % 2));
    world.input(terminal, "hello\r");
    if (i % 3 == 0) world.hub->finish(terminal.id);
    world.end(terminal);
    pids.push_back(terminal.pid);
    world.detach(client, static_cast<std::size_t>(i % 2));
  }

  CHECK(eventually([&] { return open_descriptors() == before; }));
  for (int32_t pid : pids) CHECK_FALSE(alive(pid));
}

TEST_CASE("clients that come and go while a terminal floods and ends hear each end once",
  "[net][terminal][I3]") {
  hub_world world;
  test_terminal terminal = world.open(run("yes"));
  std::vector<std::shared_ptr<test_client>> clients;
  for (std::size_t i = 0; i < 20; ++i) clients.push_back(world.attach(terminal, 0, true, i % 2));
  for (std::size_t i = 0; i < 10; ++i) world.detach(clients[i], i % 2);

  world.hub->finish(terminal.id);
  world.hub->forget(terminal.id);

  for (std::size_t i = 10; i < 20; ++i) {
    CHECK(clients[i]->got.becomes([](const heard& h) { return h.ends == 1; }));
    CHECK(clients[i]->got.now().sequences_fit);
    world.detach(clients[i], i % 2);
  }
  world.end(terminal);
}

TEST_CASE("a client of a terminal that is not known is told at once", "[net][terminal]") {
  hub_world world;
  test_client client{true};

  const bool attached = world.on(0,
    [&] { return world.hub->attach(*world.threads[0], "no-such-terminal", 0, client) != nullptr; });

  CHECK_FALSE(attached);
}

TEST_CASE("a terminal that nobody is attached to says so again and again, an attached one does not",
  "[net][terminal]") {
  terminal_hub_settings settings;
  settings.detached = 150ms;
  hub_world world{settings};
  test_terminal alone = world.open(shell);
  test_terminal attached = world.open(shell);
  const auto client = world.attach(attached);
  REQUIRE(client->got.becomes([](const heard& h) { return h.start.has_value(); }));
  // The one that is alone is the clock of the other.
  const auto passes = [&](unsigned times) {
    const unsigned before = alone.heard->now().detached;
    return alone.heard->becomes([&](const told& t) { return t.detached >= before + times; });
  };
  REQUIRE(passes(1));
  const unsigned before = attached.heard->now().detached;

  REQUIRE(passes(3));

  CHECK(attached.heard->now().detached == before);
  world.detach(client);
  CHECK(attached.heard->becomes([&](const told& t) { return t.detached > before; }));
  world.end(alone);
  world.end(attached);
}

TEST_CASE("whoever types into a terminal or reads it uses it", "[net][terminal]") {
  const auto use = GENERATE(0, 1, 2, 3);
  constexpr auto period = 300ms;
  terminal_hub_settings settings;
  settings.detached = period;
  hub_world world{settings};
  test_terminal terminal = world.open(shell);
  bool begins_anew = false;

  // A machine that is slow enough may hide one use behind a notice that is under way already.
  for (int attempt = 0; attempt < 3 && !begins_anew; ++attempt) {
    const unsigned before = terminal.heard->now().detached;
    REQUIRE(terminal.heard->becomes([&](const told& t) { return t.detached > before; }));
    // No event to wait for: the use has to fall into the middle of a period.
    std::this_thread::sleep_for(period / 2);
    const unsigned now = terminal.heard->now().detached;
    const auto used_at = std::chrono::steady_clock::now();
    if (use == 0) world.input(terminal, " ");
    if (use == 1) world.read(terminal);
    if (use == 2) world.resize(terminal, {.columns = 90, .rows = 30});
    if (use == 3) world.signal(terminal, SIGWINCH);
    REQUIRE(terminal.heard->becomes([&](const told& t) { return t.detached > now; }));
    begins_anew = std::chrono::steady_clock::now() - used_at >= period;
  }

  CHECK(begins_anew);
  world.end(terminal);
}
