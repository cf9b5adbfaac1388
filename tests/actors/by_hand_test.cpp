// Servers that somebody has named, whose sockets were looked up.
#include <catch2/catch.hpp>

#include "previewd/messages/error.hpp"
#include "previewd/tests/actors/world.hpp"

using namespace previewd;
using namespace previewd::test;
using namespace std::chrono_literals;

namespace {

/// What the API makes of a call: a server of which only its socket and its job are known.
server_description named(uint64_t inode = 1, uint16_t port = 5173) {
  server_description what;
  what.key = {"shop", "ann"};
  what.upstream = {"127.0.0.1", port, scheme::http};
  what.job_leader = job;
  what.listeners = {{inode, port, false}};
  what.answers = true;
  what.by_hand = true;
  return what;
}

listener_fact fact(uint64_t inode, uint16_t port = 5173) {
  return {{inode, port, false}, "127.0.0.1", {job + 5}, job + 5, {}};
}

}  // namespace

TEST_CASE("a server that was named is down as soon as its socket is gone", "[actors][by_hand]") {
  world w;
  const server_ref server = w.add(named());
  REQUIRE(w.io.reachable(server));
  CHECK(w.io.route_of(server)->inodes == std::vector<uint64_t>{1});

  w.kernel.close(1);
  w.run();
  CHECK_FALSE(w.io.reachable(server));

  SECTION("and removed when its job has ended") {
    w.kernel.end_leader(job);
    w.run();
    REQUIRE(w.io.count(event_kind::server_stopped) == 1);
    CHECK(w.last_stop().reason == stop_reason::process_exited);
    CHECK(w.last_stop().exit == exit_status{});
  }
  SECTION("and removed when nobody listens there again") {
    CHECK(w.kernel.awaited == std::vector{server.generation});
    CHECK(w.io.count(event_kind::server_stopped) == 0);
    w.advance(2s);
    REQUIRE(w.io.count(event_kind::server_stopped) == 1);
    CHECK(w.last_stop().reason == stop_reason::listener_closed);
  }
  CHECK(w.io.violations == std::vector<std::string>{});
  CHECK(w.kernel.watching.empty());
}

TEST_CASE("who listens where a named server did takes its place", "[actors][by_hand][I1]") {
  world w;
  const server_ref old = w.add(named());
  const preview_server_actor actor = w.io.route_of(old)->server;
  // Nothing has happened to it.
  caf::anon_send(w.registry, listeners_atom_v, old, std::vector{fact(2)});
  w.run();
  CHECK(w.io.reachable(old));
  w.kernel.close(1);
  w.run();
  w.kernel.listening.insert(2);

  SECTION("found by the kernel watch") {
    caf::anon_send(actor, listeners_atom_v, std::vector{fact(2)});
    w.run();
  }
  SECTION("named once more") {
    w.add(named(2));
  }

  const auto servers = w.status().servers;
  REQUIRE(servers.size() == 1);
  CHECK(servers.front().previous_generation == old.generation);
  CHECK(servers.front().primary);
  CHECK(w.io.reachable(servers.front().ref));
  CHECK(w.io.route_of(servers.front().ref)->inodes == std::vector<uint64_t>{2});
  w.advance(5s);
  CHECK(w.io.count(event_kind::server_stopped) == 0);
  // Late news of the old one.
  caf::anon_send(w.registry, listeners_atom_v, old, std::vector{fact(3)});
  w.run();
  CHECK(w.status().servers.front().ref == servers.front().ref);
}

TEST_CASE("what was removed by hand is registered again by whoever names it, and by nobody else",
  "[actors][by_hand]") {
  world w;
  const terminal_info terminal = w.open_terminal();
  const server_ref first = w.add(w.dev_server(terminal));
  caf::anon_send(w.registry, remove_atom_v, first.generation);
  w.run();

  const auto found =
    w.deterministic.ask<server_ref>(w.registry, add_atom_v, w.dev_server(terminal));
  CHECK(code_of(found.error()) == errc::server_gone);
  server_description what = w.dev_server(terminal);
  what.by_hand = true;
  const server_ref second = w.add(what);

  CHECK(second.generation > first.generation);
  CHECK(w.io.reachable(second));
  CHECK(w.status().servers.front().terminal_id == terminal.id);
  CHECK(w.status().servers.front().pid == job + 1);
  // Found once more, it is that one.
  CHECK(w.add(w.dev_server(terminal)) == second);
  // It goes with its terminal.
  REQUIRE(w.deterministic.ask<terminal_info>(w.registry, close_atom_v, terminal.id));
  CHECK(w.last_stop().ref == second);
  CHECK(w.last_stop().reason == stop_reason::terminal_closed);
}

TEST_CASE(
  "what runs in another workspace's terminal cannot be had by naming it", "[actors][by_hand][I6]") {
  world w;
  const terminal_info other = w.open_terminal({"blog", "bob"});
  server_description what = named();
  what.terminal_id = other.id;
  what.pid = job + 1;

  const auto added = w.deterministic.ask<server_ref>(w.registry, add_atom_v, what);

  CHECK(code_of(added.error()) == errc::port_taken);
  CHECK(w.status().servers.empty());
  what.key = {"blog", "bob"};
  CHECK(w.deterministic.ask<server_ref>(w.registry, add_atom_v, what));
}

TEST_CASE("who runs in no terminal of the workspace is not told", "[actors][by_hand][I6]") {
  world w;
  const server_ref server = w.add(named());

  caf::anon_send(
    w.io.route_of(server)->server, owner_atom_v, job + 2, std::string{"serve --secret"});
  w.run();

  const server_info info = w.status().servers.front();
  CHECK(info.terminal_id.empty());
  CHECK(info.pid == 0);
  CHECK(info.command.empty());
}

TEST_CASE("a named server of which no sockets are known is the one that is named with them",
  "[actors][by_hand]") {
  world w;
  server_description unknown = named();
  unknown.listeners.clear();
  const server_ref server = w.add(unknown);

  CHECK(w.add(named()) == server);

  CHECK(w.status().servers.size() == 1);
}

TEST_CASE("who is named is sent requests, whatever a look shows", "[actors][by_hand]") {
  world w;
  const terminal_info terminal = w.open_terminal();
  server_description silent = w.dev_server(terminal);
  silent.answers = silent.serves_page = silent.prefix_known = false;
  const bool found_first = GENERATE(true, false);
  if (found_first) w.add(silent);

  const server_ref server = w.add(named());
  caf::anon_send(w.registry, identity_atom_v, server, silent);
  w.run();

  CHECK(w.io.reachable(server));
  CHECK(w.io.route_of(server)->prefix_known);
}

TEST_CASE("what is said of a server that is there already is taken", "[actors][by_hand]") {
  world w;
  const terminal_info terminal = w.open_terminal();
  const bool was_found = GENERATE(true, false);
  server_description what = was_found ? w.dev_server(terminal) : named();
  const server_ref server = w.add(what);
  const std::string type_before = w.status().servers.front().type;
  what.by_hand = true;
  what.type = "nuxt";
  what.upstream.scheme = scheme::https;

  SECTION("nothing is said") {
    CHECK(w.add(what) == server);
    CHECK(w.status().servers.front().type == type_before);
    CHECK(w.io.route_of(server)->upstream.scheme == scheme::http);
  }
  SECTION("the type") {
    what.said_type = true;
    CHECK(w.add(what) == server);
    CHECK(w.status().servers.front().type == "nuxt");
    CHECK(w.io.route_of(server)->upstream.scheme == scheme::http);
    // A look knows no better.
    server_description seen = what;
    seen.type = "vite";
    caf::anon_send(w.registry, identity_atom_v, server, seen);
    w.run();
    CHECK(w.status().servers.front().type == "nuxt");
  }
  SECTION("the scheme") {
    what.said_scheme = true;
    CHECK(w.add(what) == server);
    CHECK(w.status().servers.front().type == type_before);
    CHECK(w.status().servers.front().upstream.scheme == scheme::https);
    CHECK(w.io.route_of(server)->upstream.scheme == scheme::https);
    server_description seen = what;
    seen.upstream.scheme = scheme::http;
    caf::anon_send(w.registry, identity_atom_v, server, seen);
    w.run();
    CHECK(w.io.route_of(server)->upstream.scheme == scheme::https);
  }
  CHECK(w.status().servers.size() == 1);
  CHECK(w.io.count(event_kind::server_started) == 1);
}
