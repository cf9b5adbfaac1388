// Every way in which a server can go, to the same end state: not in any route, told once, nothing
// left.
#include <catch2/catch.hpp>

#include "previewd/messages/error.hpp"
#include "previewd/tests/actors/world.hpp"

using namespace previewd;
using namespace previewd::test;
using namespace std::chrono_literals;

namespace {

/// One terminal with one dev server in its foreground, and a tunnel to it.
struct running_server : world {
  explicit running_server(actors::registry_settings settings = default_settings())
      : world{std::move(settings)} {
    terminal = open_terminal();
    actors_before_server = deterministic.running_actors();
    foreground(terminal, job);
    server = add(dev_server(terminal));
    caf::anon_send(io.route_of(server)->server, tunnel_atom_v, connection_id{0, 7});
    run();
    REQUIRE(io.reachable(server));
    REQUIRE(io.open.contains(7));
    REQUIRE(io.count(event_kind::server_started) == 1);
  }

  void check_gone(stop_reason reason) {
    CHECK(io.route_of(server) == nullptr);
    CHECK(io.violations == std::vector<std::string>{});
    CHECK(io.open.empty());
    CHECK(kernel.watching.empty());
    CHECK(io.count(event_kind::server_stopped) == 1);
    CHECK(io.count(event_kind::server_unreachable) == 0);
    CHECK(last_stop().reason == reason);
    CHECK(last_stop().ref == server);
    CHECK(status().servers.empty());
    advance(1min);  // no timer of it is left that would act
    CHECK(io.count(event_kind::server_stopped) == 1);
  }

  terminal_info terminal;
  server_ref server;
  std::size_t actors_before_server = 0;
};

}  // namespace

TEST_CASE(
  "a server whose socket and job leader are gone is removed at once", "[actors][removal][I2][I3]") {
  running_server w;

  w.kernel.close(1);
  w.kernel.end_leader(job);
  w.run();

  w.check_gone(stop_reason::process_exited);
  CHECK(w.last_stop().exit == exit_status{});  // the leader is not the server
  CHECK(w.deterministic.running_actors() == w.actors_before_server);
}

TEST_CASE("how a server ended is told when it is the terminal's own process, and not of another",
  "[actors][removal]") {
  world w;
  const terminal_info terminal = w.open_terminal();
  server_description what = w.dev_server(terminal);
  what.job_leader = terminal.pid;
  const bool is_that_process = GENERATE(true, false);
  what.pid = is_that_process ? terminal.pid : terminal.pid + 1;
  w.add(what);

  SECTION("its leader is gone, and then it listens no more") {
    w.kernel.end_leader(terminal.pid);
    w.kernel.close(1);
  }
  SECTION("its terminal exits") {
    caf::anon_send(w.io.terminals.at(terminal.id).actor, exited_atom_v, exit_status{130, {}});
  }
  w.run();

  REQUIRE(w.io.count(event_kind::server_stopped) == 1);
  CHECK(w.last_stop().exit == (is_that_process ? exit_status{130, {}} : exit_status{}));
}

TEST_CASE("who holds a server's socket is shown as it is known, and of no later one",
  "[actors][removal][I1]") {
  world w;
  const terminal_info terminal = w.open_terminal();
  server_description what = w.dev_server(terminal);
  what.job_leader = what.pid = terminal.pid;
  what.command = "serve";
  const server_ref server = w.add(what);
  const preview_server_actor actor = w.io.route_of(server)->server;
  w.kernel.end_leader(terminal.pid);

  caf::anon_send(actor, owner_atom_v, job + 7, std::string{"serve --child"});
  w.run();
  CHECK(w.status().servers.front().pid == job + 7);
  CHECK(w.status().servers.front().command == "serve --child");
  caf::anon_send(actor, owner_atom_v, 0, std::string{});
  w.run();
  CHECK(w.status().servers.front().pid == 0);
  CHECK(w.status().servers.front().command == "serve --child");
  w.kernel.close(1);
  w.run();

  // It has outlived the process whose status is known.
  REQUIRE(w.io.count(event_kind::server_stopped) == 1);
  CHECK(w.last_stop().exit == exit_status{});
  const server_ref next = w.add(w.dev_server(terminal, 5173, 2));
  caf::anon_send(w.registry, owner_atom_v, server, job + 9, std::string{"late"});
  w.run();
  CHECK(w.status().servers.front().ref == next);
  CHECK(w.status().servers.front().pid == job + 1);
}

TEST_CASE("a server whose socket is gone while the shell has the terminal again is removed at once",
  "[actors][removal]") {
  running_server w;

  SECTION("the socket goes first") {
    w.kernel.close(1);
    w.run();
    CHECK(w.io.route_of(w.server)->state == route_state::held);
    w.foreground(w.terminal, w.terminal.pid);
  }
  SECTION("the prompt comes first") {
    w.foreground(w.terminal, w.terminal.pid);
    // The kernel was asked, and something still listened; it stops listening with the job's end.
    w.kernel.close(1);
    w.kernel.end_leader(job);
    w.run();
  }

  w.check_gone(stop_reason::process_exited);
}

TEST_CASE("a server whose job lives on is held, and removed when the hold ends",
  "[actors][removal][restart]") {
  running_server w;

  w.kernel.close(1);
  w.run();
  CHECK(w.io.route_of(w.server)->state == route_state::held);
  CHECK(w.status().servers.front().state == server_state::restarting);
  w.advance(200ms);
  CHECK(w.io.events.size() == 1);
  w.advance(100ms);
  REQUIRE(w.io.count(event_kind::server_unreachable) == 1);
  CHECK(w.io.last(event_kind::server_unreachable)->reason == unreachable_reason::restarting);
  w.advance(1600ms);
  CHECK(w.io.count(event_kind::server_stopped) == 0);
  w.advance(200ms);

  CHECK(w.io.count(event_kind::server_stopped) == 1);
  CHECK(w.last_stop().reason == stop_reason::listener_closed);
  CHECK(w.io.route_of(w.server) == nullptr);
  CHECK(w.deterministic.running_actors() == w.actors_before_server);
}

TEST_CASE("a new listener of the same job within the hold is a restart without a stop",
  "[actors][restart]") {
  running_server w;
  w.kernel.close(1);
  w.run();

  uint16_t port = 5173;
  SECTION("on the same port") {}
  SECTION("on another port") {
    port = 5199;
  }
  const server_ref next = w.add(w.dev_server(w.terminal, port, 2));

  CHECK(next.generation > w.server.generation);
  CHECK(w.io.reachable(next));
  CHECK(w.io.route_of(next)->primary);
  CHECK(w.io.route_of(w.server) == nullptr);
  CHECK(w.io.count(event_kind::server_stopped) == 0);
  REQUIRE(w.io.count(event_kind::server_started) == 2);
  CHECK(w.io.events.back().server->previous_generation == w.server.generation);
  CHECK(w.io.events.back().server->upstream.port == port);
  CHECK(w.kernel.watching.size() == 1);
  // The old one's timers and late news change nothing.
  caf::anon_send(
    w.registry, stopped_atom_v, w.server, stop_cause{stop_reason::refused, observer::proxy, {}});
  w.advance(10s);
  CHECK(w.io.reachable(next));
  CHECK(w.io.count(event_kind::server_stopped) == 0);
}

TEST_CASE("a socket replaced between two looks is a restart too", "[actors][restart]") {
  running_server w;

  // The old socket's end is not known yet.
  const server_ref next = w.add(w.dev_server(w.terminal, 5173, 2));
  w.kernel.close(1);
  w.run();

  CHECK(w.io.reachable(next));
  CHECK(w.io.route_of(w.server) == nullptr);
  CHECK(w.io.count(event_kind::server_stopped) == 0);
}

TEST_CASE(
  "an end that was noticed of sockets which others had joined is a restart", "[actors][restart]") {
  const bool told_first = GENERATE(true, false);
  running_server w;
  server_description both = w.dev_server(w.terminal);
  both.listeners.push_back({2, 5173, false});
  w.kernel.listening.insert(2);
  const preview_server_actor actor = w.kernel.watching.at(w.server).reply_to;

  // The kernel's word and the registry's cross, in either order.
  if (told_first) {
    w.add(both);
    w.kernel.listening.erase(1);
    caf::anon_send(actor, gone_atom_v, w.kernel.noticed);
  } else {
    caf::anon_send(w.registry, add_atom_v, both);
    w.kernel.close(1);
  }
  w.run();
  server_description left = w.dev_server(w.terminal, 5173, 2);
  const server_ref next = w.add(left);
  w.advance(10s);

  CHECK(next != w.server);
  CHECK(w.io.reachable(next));
  CHECK(w.info_of(next).previous_generation == w.server.generation);
  CHECK(w.io.count(event_kind::server_stopped) == 0);
}

TEST_CASE("a refusal is believed only when the kernel says that nobody listens",
  "[actors][removal][refused]") {
  running_server w;
  const preview_server_actor server = w.io.route_of(w.server)->server;

  SECTION("nobody listens and the job is over: removed as refused") {
    w.kernel.listening.clear();
    const auto who = GENERATE(observer::proxy, observer::websocket);
    caf::anon_send(server, refused_atom_v, who);
    w.kernel.end_leader(job);
    w.run();
    w.check_gone(stop_reason::refused);
  }
  SECTION("somebody listens: it stays, and threads that took the route down get it back") {
    const uint64_t revision = w.io.routes.at(w.server.key).revision;
    caf::anon_send(server, refused_atom_v, observer::proxy);
    w.run();
    CHECK(w.io.reachable(w.server));
    CHECK(w.io.routes.at(w.server.key).revision > revision);
    CHECK(w.io.events.size() == 1);
  }
  SECTION("somebody listens whose last owner is ending: it is asked again until that is over") {
    w.kernel.owners_alive = false;
    const uint64_t revision = w.io.routes.at(w.server.key).revision;
    caf::anon_send(server, refused_atom_v, observer::proxy);
    w.advance(50ms);
    CHECK(w.io.routes.at(w.server.key).revision == revision);
    SECTION("nobody listens then") {
      w.kernel.listening.clear();
      w.kernel.end_leader(job);
      w.advance(20ms);
      w.check_gone(stop_reason::refused);
    }
    SECTION("another owner was found") {
      w.kernel.owners_alive = true;
      w.advance(20ms);
      CHECK(w.io.routes.at(w.server.key).revision > revision);
    }
    SECTION("not for ever") {
      w.advance(1s);
      CHECK(w.io.routes.at(w.server.key).revision > revision);
      CHECK(w.io.reachable(w.server));
    }
  }
}

TEST_CASE("a refusal of a server without known sockets is believed only when it refuses again",
  "[actors][removal][refused]") {
  world w;
  server_description what;
  what.key = {"shop", "ann"};
  what.upstream = {"127.0.0.1", 7000, scheme::http};
  what.answers = true;
  const server_ref ref = w.add(what);
  const auto who = GENERATE(observer::proxy, observer::websocket, observer::unanswered_websocket);

  caf::anon_send(w.io.route_of(ref)->server, refused_atom_v, who);
  w.run();
  REQUIRE(w.io.probes.size() == 1);
  CHECK(w.io.reachable(ref));
  const auto answer = [&](probe_outcome outcome) {
    caf::anon_send(w.io.probes[0].reply_to, w.io.probes[0].round, outcome, uint64_t{50});
    w.io.probes.clear();
    w.run();
  };

  SECTION("it does") {
    answer(probe_outcome::refused);
    CHECK(w.io.route_of(ref)->state == route_state::held);
    w.advance(2100ms);
    REQUIRE(w.io.count(event_kind::server_stopped) == 1);
    CHECK(w.last_stop().reason == stop_reason::refused);
    CHECK(w.deterministic.running_actors() == w.quiet_actors);
  }
  SECTION("it accepts, or cannot be reached just now") {
    const uint64_t revision = w.io.routes.at(ref.key).revision;
    answer(GENERATE(probe_outcome::alive, probe_outcome::timed_out));
    CHECK(w.io.reachable(ref));
    CHECK(w.io.routes.at(ref.key).revision > revision);  // threads put the route up again
    w.advance(3s);
    CHECK(w.io.count(event_kind::server_stopped) == 0);
  }
}

TEST_CASE("a server that does not answer is probed less and less often", "[actors][probe]") {
  running_server w;
  const auto probes_within = [&](std::chrono::milliseconds time) {
    w.io.probes.clear();
    w.advance(time);
    return w.io.probes.size();
  };
  // Every 5 s, a tenth more by chance, and 2 s until an attempt is given up.
  CHECK(probes_within(40s) <= 5);
  CHECK(w.status().servers.front().state == server_state::unreachable);
  const std::size_t rare = probes_within(120s);
  CHECK(rare >= 5);
  CHECK(rare <= 6);

  // Once it answers it is asked as often as before.
  while (probes_within(100ms) == 0) {
  }
  caf::anon_send(
    w.io.probes.back().reply_to, w.io.probes.back().round, probe_outcome::alive, uint64_t{50});
  w.run();
  CHECK(w.status().servers.front().state == server_state::ready);
  CHECK(probes_within(6s) == 1);
}

TEST_CASE("what is removed, told and refused as stale is counted", "[actors][registry]") {
  running_server w;
  const auto counters = [&] {
    return *w.deterministic.ask<registry_counters>(w.registry, counters_atom_v);
  };
  const auto removed = [&](stop_reason reason) {
    return counters().removals[static_cast<std::size_t>(reason)];
  };
  CHECK(counters().servers[static_cast<std::size_t>(server_state::ready)] == 1);
  CHECK(counters().terminals == 1);
  CHECK(counters().events[static_cast<std::size_t>(event_kind::server_started)] == 1);

  w.advance(1s);
  w.kernel.noticed = 500ms;  // of the clock's time
  w.kernel.close(1);
  w.run();
  CHECK(counters().stop_detect.count() == 1);
  CHECK(counters().stop_detect.nanoseconds() > 0);
  const server_ref next = w.add(w.dev_server(w.terminal, 5173, 2));
  CHECK(removed(stop_reason::superseded) == 1);
  w.deterministic.ask<stop_record>(w.registry, remove_atom_v, next.generation);
  CHECK(removed(stop_reason::removed) == 1);
  CHECK(counters().stale_removals == 0);
  w.deterministic.ask<stop_record>(w.registry, remove_atom_v, next.generation);
  caf::anon_send(
    w.registry, stopped_atom_v, w.server, stop_cause{stop_reason::refused, observer::proxy, {}});
  w.run();

  CHECK(counters().stale_removals == 2);
  CHECK(counters().events[static_cast<std::size_t>(event_kind::server_stopped)] == 1);
  CHECK(counters().effects == 0);
  CHECK(counters().calls == 0);
  CHECK(counters().undelivered == 0);
}

TEST_CASE(
  "a failed probe, a refusal and the kernel's news at once remove once", "[actors][removal][I1]") {
  running_server w;
  const preview_server_actor server = w.io.route_of(w.server)->server;

  w.kernel.listening.clear();
  caf::anon_send(server, refused_atom_v, observer::websocket);
  caf::anon_send(server, probe_atom_v, probe_outcome::refused, uint64_t{10});
  w.kernel.close(1);
  w.kernel.end_leader(job);
  caf::anon_send(w.registry, remove_atom_v, w.server.generation);
  w.run();

  CHECK(w.io.count(event_kind::server_stopped) == 1);
  CHECK(w.io.route_of(w.server) == nullptr);
  CHECK(w.deterministic.running_actors() == w.actors_before_server);
}

TEST_CASE(
  "a probe that is refused with nobody listening removes the server", "[actors][removal][probe]") {
  running_server w;
  w.advance(5600ms);
  REQUIRE(w.io.probes.size() == 1);

  w.kernel.listening.clear();
  caf::anon_send(
    w.io.probes[0].reply_to, w.io.probes[0].round, probe_outcome::refused, uint64_t{50});
  w.kernel.end_leader(job);
  w.io.probes.clear();
  w.run();

  w.check_gone(stop_reason::probe_failed);
}

TEST_CASE("time-outs alone make a server unreachable, never removed", "[actors][probe]") {
  running_server w;

  for (int i = 0; i < 3; ++i) {
    w.advance(8s);  // no answer comes: the probe's own deadline is the time-out
  }
  CHECK(w.status().servers.front().state == server_state::unreachable);
  REQUIRE(w.io.count(event_kind::server_unreachable) == 1);
  CHECK(w.io.last(event_kind::server_unreachable)->reason == unreachable_reason::timeout);
  CHECK(w.io.count(event_kind::server_stopped) == 0);
  const auto probes = w.io.probes.size();
  while (w.io.probes.size() == probes) w.advance(100ms);
  const auto probe = w.io.probes.back();
  caf::anon_send(probe.reply_to, probe.round, probe_outcome::alive, uint64_t{50});
  w.run();

  CHECK(w.status().servers.front().state == server_state::ready);
  CHECK(w.io.count(event_kind::server_recovered) == 1);
}

TEST_CASE("a stopped server is suspended with a hint, and recovers", "[actors][suspended]") {
  running_server w;

  w.kernel.stopped = true;  // Ctrl+Z
  w.foreground(w.terminal, w.terminal.pid);
  CHECK(w.status().servers.front().state == server_state::suspended);
  CHECK(w.io.route_of(w.server)->state == route_state::suspended);
  REQUIRE(w.io.count(event_kind::server_unreachable) == 1);
  CHECK(w.io.last(event_kind::server_unreachable)->reason == unreachable_reason::suspended);
  CHECK(w.io.last(event_kind::server_unreachable)->hint.find("fg") != std::string::npos);
  CHECK(w.io.open.contains(7));
  w.kernel.stopped = false;  // fg
  w.foreground(w.terminal, job);

  CHECK(w.io.reachable(w.server));
  CHECK(w.io.count(event_kind::server_recovered) == 1);
  CHECK(w.io.count(event_kind::server_stopped) == 0);
}

TEST_CASE(
  "a background job's restart is not taken for its end by the prompt", "[actors][restart]") {
  running_server w;

  w.foreground(w.terminal, w.terminal.pid);  // Ctrl+Z, bg: it runs on behind the prompt
  w.kernel.close(1);
  w.run();
  CHECK(w.io.count(event_kind::server_stopped) == 0);
  const server_ref next = w.add(w.dev_server(w.terminal, 5173, 2));

  CHECK(w.io.reachable(next));
  CHECK(w.io.count(event_kind::server_stopped) == 0);
}

TEST_CASE(
  "closing a terminal removes its servers before it answers", "[actors][removal][terminal]") {
  running_server w;
  w.kernel.ends_processes = false;  // the ladder takes its time

  const auto closed = w.deterministic.ask<terminal_info>(w.registry, close_atom_v, w.terminal.id);

  REQUIRE(closed);
  CHECK(closed->state == terminal_state::closing);
  w.check_gone(stop_reason::terminal_closed);
  CHECK(w.kernel.ladders == std::vector{w.terminal.id});
  CHECK(
    w.deterministic.ask<terminal_info>(w.registry, lookup_atom_v, terminal_atom_v, w.terminal.id));
  caf::anon_send(
    w.io.terminals.at(w.terminal.id).actor, exited_atom_v, exit_status{caf::none, "SIGHUP"});
  caf::anon_send(w.io.terminals.at(w.terminal.id).actor, ended_atom_v);
  w.run();
  CHECK_FALSE(
    w.deterministic.ask<terminal_info>(w.registry, lookup_atom_v, terminal_atom_v, w.terminal.id));
  CHECK(w.io.terminals.empty());
  CHECK(w.kernel.tracked.empty());
  CHECK(w.io.count(event_kind::terminal_exit) == 1);
  CHECK(w.deterministic.running_actors() == w.quiet_actors);
}

TEST_CASE("a terminal that exits takes its servers with it", "[actors][removal][terminal]") {
  running_server w;

  caf::anon_send(w.io.terminals.at(w.terminal.id).actor, exited_atom_v, exit_status{0, {}});
  w.run();

  w.check_gone(stop_reason::terminal_exited);
  CHECK(w.io.count(event_kind::terminal_exit) == 1);
  CHECK(w.io.last(event_kind::terminal_exit)->terminal->exit == exit_status{0, {}});
  CHECK(w.kernel.ladders.size() == 1);
  CHECK(w.deterministic.running_actors() == w.quiet_actors);
  const auto still_readable =
    w.deterministic.ask<terminal_info>(w.registry, lookup_atom_v, terminal_atom_v, w.terminal.id);
  REQUIRE(still_readable);
  CHECK(still_readable->state == terminal_state::exited);
  w.deterministic.advance(61min, 1min);
  CHECK(w.io.terminals.empty());
}

TEST_CASE(
  "with terminal.on_exit = keep a background server outlives its terminal", "[actors][terminal]") {
  auto settings = world::default_settings();
  settings.terminal.on_exit = actors::on_terminal_exit::keep;
  running_server w{settings};

  caf::anon_send(w.io.terminals.at(w.terminal.id).actor, exited_atom_v, exit_status{0, {}});
  w.run();

  CHECK(w.io.reachable(w.server));
  CHECK(w.status().servers.front().terminal_id.empty());
  CHECK(w.kernel.ladders.empty());
}

TEST_CASE(
  "what outlives its terminal before it has answered is used as it is", "[actors][terminal]") {
  auto settings = world::default_settings();
  settings.terminal.on_exit = actors::on_terminal_exit::keep;
  world w{settings};
  const terminal_info terminal = w.open_terminal();
  server_description silent = w.dev_server(terminal);
  silent.answers = silent.serves_page = silent.prefix_known = false;
  const server_ref server = w.add(silent);
  CHECK_FALSE(w.io.reachable(server));

  caf::anon_send(w.io.terminals.at(terminal.id).actor, exited_atom_v, exit_status{0, {}});
  w.run();

  CHECK(w.io.reachable(server));
  CHECK(w.io.route_of(server)->prefix_known);
  CHECK(w.io.count(event_kind::server_started) == 1);
}

TEST_CASE("removal by hand answers once nothing can reach the server", "[actors][removal][I2]") {
  running_server w;
  w.io.applies_at_once = false;
  caf::scoped_actor self{w.deterministic.system()};
  auto answer = self->request(
    caf::actor_cast<caf::actor>(w.registry), caf::infinite, remove_atom_v, w.server.generation);

  w.run();
  CHECK(w.io.count(event_kind::server_stopped) == 0);  // a thread still has the route
  w.io.apply();
  w.run();

  bool answered = false;
  answer.receive(
    [&](const stop_record& record) { answered = record.reason == stop_reason::removed; },
    [&](const caf::error&) {});
  CHECK(answered);
  w.io.applies_at_once = true;
  w.check_gone(stop_reason::removed);
}

TEST_CASE("a late removal of an older generation changes nothing", "[actors][removal][I1]") {
  running_server w;
  w.kernel.close(1);
  w.kernel.end_leader(job);
  w.run();
  const server_ref next = w.add(w.dev_server(w.terminal, 5173, 2));
  const auto events = w.io.events.size();

  caf::anon_send(
    w.registry, stopped_atom_v, w.server, stop_cause{stop_reason::refused, observer::proxy, {}});
  caf::anon_send(w.registry, down_atom_v, w.server, steady_moment{0});
  caf::anon_send(w.registry, state_atom_v, w.server, server_state::unreachable, std::string{});
  const auto by_hand =
    w.deterministic.ask<stop_record>(w.registry, remove_atom_v, w.server.generation);

  CHECK(code_of(by_hand.error()) == errc::server_gone);
  CHECK(w.io.reachable(next));
  CHECK(w.io.events.size() == events);
  // The generation alone is not enough: the key has to fit too.
  caf::anon_send(w.registry, stopped_atom_v, server_ref{{"a", "b"}, next.generation},
    stop_cause{stop_reason::refused, observer::proxy, {}});
  w.run();
  CHECK(w.io.reachable(next));
}

TEST_CASE("the death of any actor takes its entries with it", "[actors][fault][I3]") {
  running_server w;
  SECTION("of the preview server") {
    caf::anon_send_exit(w.io.route_of(w.server)->server, caf::exit_reason::unhandled_exception);
    w.run();
    w.check_gone(stop_reason::removed);
    CHECK(w.deterministic.running_actors() == w.actors_before_server);
  }
  SECTION("of its probe") {
    w.advance(5600ms);
    caf::anon_send_exit(w.io.probes.at(0).reply_to, caf::exit_reason::unhandled_exception);
    w.io.probes.clear();
    w.run();
    w.check_gone(stop_reason::removed);
  }
  SECTION("of a tunnel's: the tunnel goes, the server stays") {
    caf::anon_send_exit(w.io.connections.at(7), caf::exit_reason::unhandled_exception);
    w.run();
    CHECK(w.io.open.empty());
    CHECK(w.io.reachable(w.server));
    CHECK(w.status().servers.front().tunnels == 0);
  }
  SECTION("of the terminal") {
    caf::anon_send_exit(
      w.io.terminals.at(w.terminal.id).actor, caf::exit_reason::unhandled_exception);
    w.run();
    w.check_gone(stop_reason::terminal_exited);
    CHECK(w.io.terminals.empty());
    CHECK(w.kernel.tracked.empty());
    CHECK(w.kernel.ladders == std::vector{w.terminal.id});
    CHECK(w.deterministic.running_actors() == w.quiet_actors);
  }
  SECTION("of its detector") {
    caf::anon_send_exit(
      w.io.terminals.at(w.terminal.id).detector, caf::exit_reason::unhandled_exception);
    w.run();
    w.check_gone(stop_reason::terminal_exited);
    CHECK(w.io.terminals.empty());
    CHECK(w.deterministic.running_actors() == w.quiet_actors);
  }
}

TEST_CASE("shutting down removes everything and answers when nothing is left",
  "[actors][removal][shutdown]") {
  running_server w;

  bool done = false;
  {
    caf::scoped_actor self{w.deterministic.system()};
    auto answer =
      self->request(caf::actor_cast<caf::actor>(w.registry), caf::infinite, shutdown_atom_v);
    w.run();
    answer.receive([&](uint64_t removed) { done = removed == 1; }, [](const caf::error&) {});
  }

  CHECK(done);
  w.check_gone(stop_reason::shutdown);
  CHECK(w.io.terminals.empty());
  CHECK(w.deterministic.running_actors() == w.quiet_actors);
  terminal_request request;
  request.key = {"shop", "ann"};
  CHECK(code_of(w.deterministic.ask<terminal_info>(w.registry, open_atom_v, request).error()) ==
        errc::shutting_down);
}
