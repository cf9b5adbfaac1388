#include <catch2/catch.hpp>

#include "previewd/tests/actors/world.hpp"

using namespace previewd;
using namespace previewd::test;
using namespace std::chrono_literals;

namespace {

listener_fact socket_at(std::string address, uint16_t port, uint64_t inode, int32_t leader = job) {
  return {{inode, port, address.find(':') != std::string::npos}, std::move(address), {leader + 1},
    leader, "node server.js"};
}

identity page(std::string type = "vite") {
  return {identity::verdict::http, 200, true, std::move(type), prefix_mode::stripped};
}

struct detecting : world {
  explicit detecting(actors::registry_settings settings = default_settings())
      : world{std::move(settings)} {
    terminal = open_terminal();
  }

  void sockets(std::vector<listener_fact> facts) {
    for (const listener_fact& fact : facts) kernel.listening.insert(fact.id.inode);
    caf::anon_send(detector(), listeners_atom_v, std::move(facts));
    run();
  }
  void answer(const identity& what) {
    caf::anon_send(detector(), identity_atom_v, io.looks.back().token, what);
    run();
  }
  detector_actor detector() { return io.terminals.at(terminal.id).detector; }

  terminal_info terminal;
};

}  // namespace

TEST_CASE(
  "a listener that stays and answers is registered where it listens", "[actors][detector]") {
  detecting w;
  w.foreground(w.terminal, job);

  w.sockets({socket_at("::1", 5173, 1)});
  CHECK(w.io.looks.empty());  // it may be a port check
  w.advance(40ms);
  REQUIRE(w.io.looks.size() == 1);
  w.answer(page());

  const auto servers = w.status().servers;
  REQUIRE(servers.size() == 1);
  CHECK(servers.front().upstream == endpoint{"::1", 5173, scheme::http});
  CHECK(servers.front().type == "vite");
  CHECK(servers.front().state == server_state::ready);
  CHECK(servers.front().terminal_id == w.terminal.id);
  CHECK(servers.front().command == "node server.js");
}

TEST_CASE("a server speaks what the look has found, whatever was printed", "[actors][detector]") {
  detecting w;
  const bool printed = GENERATE(false, true);
  const auto spoken = GENERATE(scheme::http, scheme::https);
  if (printed)
    caf::anon_send(w.detector(), output_atom_v, std::vector<url_hint>{{scheme::https, 5173}});
  w.sockets({socket_at("127.0.0.1", 5173, 1)});
  w.advance(40ms);
  REQUIRE(w.io.looks.size() == 1);
  CHECK(w.io.looks.front().target.scheme == (printed ? scheme::https : scheme::http));

  // Silent at first: a guess is corrected by the answer.
  identity what = page();
  what.outcome = identity::verdict::silent;
  what.scheme = w.io.looks.front().target.scheme;
  w.answer(what);
  what = page();
  what.scheme = spoken;
  w.answer(what);

  const auto servers = w.status().servers;
  REQUIRE(servers.size() == 1);
  CHECK(servers.front().upstream == endpoint{"127.0.0.1", 5173, spoken});
  REQUIRE(w.io.route_of(servers.front().ref) != nullptr);
  CHECK(w.io.route_of(servers.front().ref)->upstream.scheme == spoken);
}

TEST_CASE("a server is the same with other sockets, and reached by those that it has",
  "[actors][detector]") {
  detecting w;
  w.sockets({socket_at("127.0.0.1", 3000, 1), socket_at("::1", 3000, 2)});
  w.advance(40ms);
  w.answer(page());
  const server_ref ref = w.status().servers.front().ref;
  CHECK(w.status().servers.front().upstream.address == "127.0.0.1");

  SECTION("one more: it is reached as before") {
    w.sockets(
      {socket_at("0.0.0.0", 3000, 9), socket_at("127.0.0.1", 3000, 1), socket_at("::1", 3000, 2)});
    // Also when something else has changed.
    w.sockets({socket_at("0.0.0.0", 3000, 9), socket_at("127.0.0.1", 3000, 1),
      socket_at("::1", 3000, 2), socket_at("127.0.0.1", 9229, 10)});
    CHECK(w.io.route_of(ref)->inodes == std::vector<uint64_t>{1, 2, 9});
    CHECK(w.status().servers.front().upstream.address == "127.0.0.1");
  }
  SECTION("the one by which it was reached has gone") {
    w.kernel.close(1);
    w.sockets({socket_at("::1", 3000, 2)});
    CHECK(w.io.route_of(ref)->inodes == std::vector<uint64_t>{2});
    CHECK(w.io.route_of(ref)->upstream.address == "::1");
    w.advance(6s);
    CHECK(w.io.probes.back().target.address == "::1");
  }
  SECTION("all that it had have gone, one by one, and others are there") {
    w.sockets({socket_at("::1", 3000, 2), socket_at("::", 3000, 3)});
    w.kernel.close(1);
    w.kernel.close(2);
    w.sockets({socket_at("::", 3000, 3)});
    CHECK(w.io.route_of(ref)->inodes == std::vector<uint64_t>{3});
  }

  CHECK(w.io.reachable(ref));
  CHECK(w.io.looks.size() == 1);
  CHECK(w.io.events.size() == 1);
}

TEST_CASE("sockets that change while the registry is asked are known to it afterwards",
  "[actors][detector]") {
  detecting w;
  w.sockets({socket_at("127.0.0.1", 3000, 1)});
  w.advance(40ms);
  caf::anon_send(w.detector(), identity_atom_v, w.io.looks.back().token, page());
  w.sockets({socket_at("127.0.0.1", 3000, 1), socket_at("::1", 3000, 2)});

  const server_ref ref = w.status().servers.front().ref;
  CHECK(w.io.route_of(ref)->inodes == std::vector<uint64_t>{1, 2});
  CHECK(w.io.events.size() == 1);
}

TEST_CASE("a port check is no server", "[actors][detector]") {
  detecting w;

  w.sockets({socket_at("0.0.0.0", 5173, 1)});
  w.advance(10ms);
  w.sockets({});
  w.sockets({socket_at("::1", 5173, 2)});
  w.advance(100ms);

  REQUIRE(w.io.looks.size() == 1);
  CHECK(w.io.looks.front().target.address == "::1");
}

TEST_CASE("two sockets of one port are one server, gone with the last", "[actors][detector]") {
  detecting w;
  w.sockets({socket_at("0.0.0.0", 3000, 1)});
  w.advance(40ms);
  w.sockets({socket_at("0.0.0.0", 3000, 1), socket_at("::", 3000, 2)});
  w.advance(40ms);

  REQUIRE(w.io.looks.size() == 1);
  CHECK(w.io.looks.front().target.address == "127.0.0.1");
  w.answer(page());
  CHECK(w.status().servers.size() == 1);
}

TEST_CASE("what does not speak HTTP, and an inspector, are not registered", "[actors][detector]") {
  detecting w;
  w.sockets({socket_at("127.0.0.1", 9229, 1), socket_at("127.0.0.1", 5432, 2)});
  w.advance(40ms);

  REQUIRE(w.io.looks.size() == 1);
  CHECK(w.io.looks.front().target.port == 5432);
  w.answer({identity::verdict::not_http, 0, false, "http", prefix_mode::stripped});
  w.advance(5s);

  CHECK(w.status().servers.empty());
  CHECK(w.io.looks.size() == 1);
}

TEST_CASE(
  "a server that answers 5xx at first is starting until it does not", "[actors][detector]") {
  detecting w;
  w.sockets({socket_at("127.0.0.1", 3000, 1)});
  w.advance(40ms);
  w.answer({identity::verdict::http, 503, true, "http", prefix_mode::stripped});
  CHECK(w.status().servers.front().state == server_state::starting);
  w.advance(100ms);

  REQUIRE(w.io.looks.size() == 2);
  w.answer(page("nuxt"));

  CHECK(w.status().servers.front().state == server_state::ready);
  CHECK(w.status().servers.front().type == "nuxt");
  CHECK(w.io.count(event_kind::server_started) == 1);
  w.advance(1min);
  CHECK(w.io.looks.size() == 2);
}

TEST_CASE("a server that is never ready is looked at soon, then now and then, then no more",
  "[actors][detector]") {
  detecting w;
  w.sockets({socket_at("127.0.0.1", 3000, 1)});
  w.advance(40ms);
  const identity not_ready{identity::verdict::http, 503, false, "http", prefix_mode::stripped};

  for (int tenths = 0; tenths < 50; ++tenths) {
    w.answer(not_ready);
    w.advance(100ms);
  }
  const std::size_t early = w.io.looks.size();
  for (int tenths = 0; tenths < 300; ++tenths) {
    w.answer(not_ready);
    w.advance(100ms);
  }

  CHECK(early >= 49);
  CHECK(w.io.looks.size() - early <= 26);
  CHECK(w.status().servers.front().state != server_state::starting);
}

TEST_CASE(
  "a page that is an error is there at once, and ranked when it is mended", "[actors][detector]") {
  detecting w;
  w.sockets({socket_at("127.0.0.1", 3000, 1)});
  w.advance(40ms);
  w.answer({identity::verdict::http, 500, true, "django", prefix_mode::stripped});
  CHECK(w.status().servers.front().state == server_state::ready);
  w.sockets({socket_at("127.0.0.1", 3000, 1), socket_at("127.0.0.1", 8000, 2)});
  w.advance(40ms);
  w.answer({identity::verdict::http, 404, false, "express", prefix_mode::stripped});

  w.advance(1s);
  REQUIRE(w.io.looks.size() == 3);
  w.answer({identity::verdict::http, 500, true, "django", prefix_mode::stripped});
  w.advance(500ms);
  CHECK(w.io.looks.size() == 3);
  w.advance(1s);
  REQUIRE(w.io.looks.size() == 4);
  CHECK(w.io.looks.back().target.port == 3000);
  w.answer(page("django"));

  CHECK(w.status().servers.front().upstream.port == 3000);
  CHECK(w.io.count(event_kind::server_started) == 2);
  w.advance(1min);
  CHECK(w.io.looks.size() == 4);
}

TEST_CASE("a server that accepts and is silent is starting, and ready when its answer comes",
  "[actors][detector]") {
  detecting w;
  w.sockets({socket_at("::", 3000, 1)});
  w.advance(40ms);

  w.answer({identity::verdict::silent, 0, false, "http", prefix_mode::stripped});
  CHECK(w.status().servers.front().state == server_state::starting);
  w.answer(page("next"));

  CHECK(w.status().servers.front().state == server_state::ready);
  w.advance(1min);
  CHECK(w.io.looks.size() == 1);
}

TEST_CASE("a page that was slow when it was looked at again is a page", "[actors][detector]") {
  detecting w;
  w.sockets({socket_at("127.0.0.1", 3000, 1)});
  w.advance(40ms);
  w.answer({identity::verdict::http, 500, true, "django", prefix_mode::stripped});
  w.advance(1s);
  REQUIRE(w.io.looks.size() == 2);

  w.answer({identity::verdict::silent, 0, false, "http", prefix_mode::stripped});

  CHECK(w.status().servers.front().type == "django");
  CHECK(w.status().servers.front().state == server_state::ready);
  w.advance(1min);
  CHECK(w.io.looks.size() == 2);
}

TEST_CASE("who prints an address for each request is not asked for each", "[actors][detector]") {
  detecting w;
  w.sockets({socket_at("127.0.0.1", 3000, 1)});
  w.advance(40ms);

  for (int i = 0; i < 400; ++i) {
    w.answer({identity::verdict::http, 500, true, "nuxt", prefix_mode::stripped});
    caf::anon_send(w.detector(), output_atom_v, std::vector<url_hint>{{scheme::http, 3000}});
    w.advance(100ms);
  }

  CHECK(w.io.looks.size() <= 15);
}

TEST_CASE("an address is taken note of, however many were printed", "[actors][detector]") {
  detecting w;
  std::vector<url_hint> many;
  for (uint16_t port = 20000; port < 20100; ++port) many.push_back({scheme::http, port});
  caf::anon_send(w.detector(), output_atom_v, many);
  w.run();

  caf::anon_send(w.detector(), output_atom_v, std::vector<url_hint>{{scheme::https, 5173}});
  w.sockets({socket_at("127.0.0.1", 5173, 1)});
  w.advance(40ms);

  REQUIRE(w.io.looks.size() == 1);
  CHECK(w.io.looks.front().target.scheme == scheme::https);
}

TEST_CASE(
  "what has restarted is there before it answers, of the same job only", "[actors][detector]") {
  const bool same_job = GENERATE(true, false);
  detecting w;
  w.foreground(w.terminal, job);
  w.sockets({socket_at("127.0.0.1", 3000, 1)});
  w.advance(40ms);
  w.answer(page("next"));
  const server_ref first = w.status().servers.front().ref;
  w.kernel.close(1);
  w.sockets({});
  w.advance(1900ms);

  w.sockets({socket_at("127.0.0.1", 3000, 2, same_job ? job : job + 10)});
  w.advance(400ms);

  CHECK(w.io.count(event_kind::server_stopped) == (same_job ? 0 : 1));
  if (!same_job) return;
  const server_info next = w.status().servers.front();
  CHECK(next.state == server_state::starting);
  CHECK(next.type == "next");
  CHECK(next.previous_generation == first.generation);
  w.answer(page("next"));
  CHECK(w.status().servers.front().state == server_state::ready);
  CHECK(w.io.count(event_kind::server_started) == 2);
}

TEST_CASE("a server that is silent for longer than a look takes is ready once it answers",
  "[actors][detector]") {
  actors::registry_settings settings = world::default_settings();
  settings.detection.timeout = 1s;
  detecting w{settings};
  w.sockets({socket_at("::", 3000, 1)});
  w.advance(40ms);
  w.answer({identity::verdict::silent, 0, false, "http", prefix_mode::stripped});
  w.advance(600ms);
  CHECK(w.io.looks.size() == 1);  // the first one waits yet
  w.advance(1s);

  REQUIRE(w.io.looks.size() == 2);
  w.answer(page("next"));

  CHECK(w.status().servers.front().state == server_state::ready);
  w.advance(3s);
  CHECK(w.io.looks.size() == 2);
}

TEST_CASE("what has restarted and is silent is taken for what it was, of the same job only",
  "[actors][detector]") {
  const bool same_job = GENERATE(true, false);
  detecting w;
  w.sockets({socket_at("::", 3000, 1)});
  w.advance(40ms);
  identity known = page("next");
  known.prefix = prefix_mode::kept;
  w.answer(known);
  w.sockets({});
  w.sockets({socket_at("::", 3000, 2, same_job ? job : job + 10)});
  w.advance(40ms);

  w.answer({identity::verdict::silent, 0, false, "http", prefix_mode::stripped});

  const server_info server = w.status().servers.front();
  CHECK(server.state == server_state::starting);
  CHECK(server.type == (same_job ? "next" : "http"));
  CHECK(server.prefix == (same_job ? prefix_mode::kept : prefix_mode::stripped));
}

TEST_CASE("a listener that closes at once is looked at now and then, and when its port is printed",
  "[actors][detector]") {
  const identity closed{identity::verdict::closed, 0, false, "http", prefix_mode::stripped};
  detecting w;
  w.sockets({socket_at("127.0.0.1", 3000, 1)});
  w.advance(40ms);

  SECTION("it is not asked for ever") {
    std::size_t answered = 0;
    for (int i = 0; i < 400; ++i) {
      if (w.io.looks.size() > answered) w.answer(closed);
      answered = w.io.looks.size();
      w.advance(100ms);
    }
    CHECK(w.io.looks.size() >= 6);
    CHECK(w.io.looks.size() <= 10);
    CHECK(w.status().servers.empty());
  }
  SECTION("it is there when it answers") {
    w.answer(closed);
    w.advance(4s);
    w.answer(closed);
    const std::size_t before = w.io.looks.size();
    caf::anon_send(w.detector(), output_atom_v, std::vector<url_hint>{{scheme::http, 3000}});
    w.advance(1ms);
    REQUIRE(w.io.looks.size() == before + 1);
    w.answer(page());
    CHECK(w.status().servers.front().state == server_state::ready);
  }
}

TEST_CASE("what is known early is registered, and its base when it has been found out",
  "[actors][detector]") {
  detecting w;
  w.sockets({socket_at("127.0.0.1", 3000, 1)});
  w.advance(40ms);
  identity early = page("next");
  early.settled = false;
  identity late = page("next");
  late.prefix = prefix_mode::kept;

  SECTION("one after the other") {
    w.answer(early);
    const server_ref ref = w.status().servers.front().ref;
    CHECK(w.status().servers.front().state == server_state::ready);
    CHECK_FALSE(w.io.route_of(ref)->prefix_known);
    w.answer(late);
  }
  SECTION("both at once") {
    caf::anon_send(w.detector(), identity_atom_v, w.io.looks.back().token, early);
    w.answer(late);
  }
  SECTION("of what has restarted it is known before") {
    w.answer(late);
    w.sockets({});
    w.sockets({socket_at("127.0.0.1", 3000, 2)});
    w.advance(40ms);
    w.answer(early);
  }

  const server_info server = w.status().servers.front();
  CHECK(server.prefix == prefix_mode::kept);
  CHECK(w.io.route_of(server.ref)->prefix_known);
}

TEST_CASE("a listener that refuses is looked at a few times more", "[actors][detector]") {
  detecting w;
  w.sockets({socket_at("127.0.0.1", 3000, 1)});
  for (int i = 0; i < 10; ++i) {
    w.advance(300ms);
    if (!w.io.looks.empty()) w.answer({});
  }

  CHECK(w.io.looks.size() == 4);
  CHECK(w.status().servers.empty());
}

TEST_CASE(
  "output and a new foreground job hurry a look, and register nothing", "[actors][detector]") {
  detecting w;
  const auto before = w.kernel.scans;

  caf::anon_send(w.detector(), output_atom_v, std::vector<url_hint>{{scheme::http, 4000}});
  w.foreground(w.terminal, job);
  w.run();

  CHECK(w.kernel.scans == before + 2);
  CHECK(w.status().servers.empty());
}

TEST_CASE(
  "a server replaced on its port is a restart with the new socket", "[actors][detector][restart]") {
  detecting w;
  w.foreground(w.terminal, job);
  w.sockets({socket_at("::1", 5173, 1)});
  w.advance(40ms);
  w.answer(page());
  const server_ref first = w.status().servers.front().ref;

  w.kernel.close(1);
  w.run();
  w.sockets({});
  w.sockets({socket_at("::1", 5173, 2)});
  w.advance(40ms);
  w.answer(page());

  const auto servers = w.status().servers;
  REQUIRE(servers.size() == 1);
  CHECK(servers.front().previous_generation == first.generation);
  CHECK(w.io.count(event_kind::server_stopped) == 0);
  CHECK(w.io.count(event_kind::server_started) == 2);
}
