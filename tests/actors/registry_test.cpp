#include <algorithm>
#include <catch2/catch.hpp>

#include "previewd/messages/error.hpp"
#include "previewd/tests/actors/world.hpp"

using namespace previewd;
using namespace previewd::test;
using namespace std::chrono_literals;

TEST_CASE("a server is announced once every thread has its route", "[actors][registry][I2]") {
  world w;
  const terminal_info terminal = w.open_terminal();
  w.io.applies_at_once = false;

  caf::anon_send(w.registry, add_atom_v, w.dev_server(terminal));
  w.kernel.listening.insert(1);
  w.run();
  CHECK(w.io.events.empty());
  w.io.apply();
  w.run();

  REQUIRE(w.io.events.size() == 1);
  const event& started = w.io.events.front();
  CHECK(started.kind == event_kind::server_started);
  CHECK(started.server->ref == server_ref{{"shop", "ann"}, 100});
  CHECK(started.server->primary);
  CHECK(started.server->previous_generation == 0);
  CHECK(started.sequence == 101);
}

TEST_CASE(
  "a server that has not answered is starting, and announced when it does", "[actors][registry]") {
  world w;
  const terminal_info terminal = w.open_terminal();
  server_description what = w.dev_server(terminal);
  what.answers = false;
  what.serves_page = false;

  const server_ref ref = w.add(what);
  CHECK(w.status().servers.front().state == server_state::starting);
  CHECK(w.io.route_of(ref)->state == route_state::starting);
  CHECK(w.io.events.empty());
  what.answers = what.serves_page = true;
  what.type = "next";
  caf::anon_send(w.registry, identity_atom_v, ref, what);
  w.run();

  CHECK(w.io.reachable(ref));
  REQUIRE(w.io.events.size() == 1);
  CHECK(w.io.events.front().server->type == "next");
}

TEST_CASE("workspaces that print alike are apart", "[actors][registry]") {
  world w;
  const terminal_info first = w.open_terminal({"a_b", "c"});
  const terminal_info second = w.open_terminal({"a", "b_c"});
  const server_ref one = w.add(w.dev_server(first, 5173, 1));
  const server_ref two = w.add(w.dev_server(second, 5174, 2));

  w.kernel.close(1);
  w.kernel.end_leader(job);
  caf::anon_send(w.registry, remove_atom_v, one.generation);
  w.run();

  CHECK(server_key(one.key) == server_key(two.key));
  CHECK(w.io.route_of(one) == nullptr);
  CHECK(w.io.reachable(two));
  CHECK(w.io.routes.at(one.key).label != w.io.routes.at(two.key).label);
}

TEST_CASE("a port that another workspace's server holds is taken", "[actors][registry]") {
  world w;
  w.add(w.dev_server(w.open_terminal({"a", "ann"})));

  const auto refused = w.deterministic.ask<server_ref>(
    w.registry, add_atom_v, w.dev_server(w.open_terminal({"b", "bob"}), 5173, 2));

  CHECK(code_of(refused.error()) == errc::port_taken);
}

TEST_CASE("the same sockets are registered once", "[actors][registry]") {
  world w;
  const terminal_info terminal = w.open_terminal();
  const server_ref first = w.add(w.dev_server(terminal));

  server_description again = w.dev_server(terminal);
  again.listeners.push_back({9, 5173, true});  // its IPv6 socket is there now

  CHECK(w.add(again) == first);
  CHECK(w.status().servers.size() == 1);
}

TEST_CASE("the one that answers with a page is the preview, whoever came first",
  "[actors][registry][primary]") {
  world w;
  const terminal_info terminal = w.open_terminal();
  server_description api = w.dev_server(terminal, 3000, 1);
  api.job_leader = 1;
  api.serves_page = false;
  const server_ref first = w.add(api);
  CHECK(w.io.route_of(first)->primary);

  server_description page = w.dev_server(terminal, 5173, 2);
  page.job_leader = 2;
  const server_ref second = w.add(page);
  CHECK_FALSE(w.io.route_of(first)->primary);
  CHECK(w.io.route_of(second)->primary);
  CHECK(w.status().servers.front().ref == second);

  SECTION("a later page does not take its place, one that was started with it may") {
    const bool together = GENERATE(true, false);
    w.clock += together ? 5s : 11s;
    server_description later = w.dev_server(terminal, 5174, 3);
    later.job_leader = 3;
    CHECK_FALSE(w.io.route_of(w.add(later))->primary);
    server_description printed = w.dev_server(terminal, 5175, 4);
    printed.job_leader = 4;
    printed.printed = GENERATE(true, false);
    const server_ref last = w.add(printed);
    // Its address may be printed after it was found.
    printed.printed = true;
    caf::anon_send(w.registry, identity_atom_v, last, printed);
    w.run();
    CHECK(w.io.route_of(last)->primary == together);
  }
  const auto end_the_page = [&] {
    w.kernel.close(2);
    w.kernel.end_leader(2);
    w.run();
  };
  SECTION("the next in rank with a page takes its place in the step in which it goes") {
    server_description other = w.dev_server(terminal, 5174, 3);
    other.job_leader = 3;
    const server_ref next = w.add(other);
    end_the_page();
    CHECK(w.io.route_of(next)->primary);
    CHECK(w.io.events.back().kind == event_kind::server_primary);
    CHECK(w.io.events.back().server->ref == next);
  }
  SECTION("one without a page does not take its place") {
    end_the_page();
    CHECK_FALSE(w.io.route_of(first)->primary);
    CHECK(w.io.events.back().kind == event_kind::server_stopped);

    SECTION("nor does it later, or what it becomes by a restart") {
      api.printed = true;
      caf::anon_send(w.registry, identity_atom_v, first, api);
      w.run();
      CHECK_FALSE(w.io.route_of(first)->primary);
      w.kernel.close(1);
      w.run();
      api.listeners = {{4, 3000, false}};
      const server_ref again = w.add(api);
      CHECK_FALSE(w.io.route_of(again)->primary);
    }
    SECTION("but once it has a page") {
      api.serves_page = true;
      caf::anon_send(w.registry, identity_atom_v, first, api);
      w.run();
      CHECK(w.io.route_of(first)->primary);
    }
    SECTION("but whatever is started then") {
      server_description later = w.dev_server(terminal, 3001, 5);
      later.job_leader = 5;
      later.serves_page = false;
      const server_ref next = w.add(later);
      CHECK(w.io.route_of(next)->primary);
      CHECK_FALSE(w.io.route_of(first)->primary);
    }
  }
  SECTION("nor does one without a page, if it restarts and ends before it answers") {
    w.kernel.close(2);
    w.run();
    server_description again = page;
    again.listeners = {{4, 5173, false}};
    again.answers = again.serves_page = false;
    w.add(again);
    w.kernel.close(4);
    w.kernel.end_leader(2);
    w.run();
    CHECK(w.status().servers.size() == 1);
    CHECK_FALSE(w.io.route_of(first)->primary);
  }
  SECTION("nothing is promoted while it restarts") {
    w.kernel.close(2);
    w.run();
    CHECK_FALSE(w.io.route_of(first)->primary);
    CHECK(w.io.route_of(second)->primary);
    page.listeners = {{4, 5173, false}};
    page.answers = page.serves_page = false;
    const server_ref next = w.add(page);
    CHECK(w.io.route_of(next)->primary);
    CHECK_FALSE(w.io.route_of(first)->primary);
  }
}

TEST_CASE("what has never answered keeps nothing from what has", "[actors][registry][primary]") {
  world w;
  const terminal_info terminal = w.open_terminal();
  server_description silent = w.dev_server(terminal, 3000, 1);
  silent.job_leader = 1;
  silent.answers = silent.serves_page = false;
  const server_ref first = w.add(silent);
  CHECK(w.io.route_of(first)->primary);
  w.clock += 1min;

  server_description api = w.dev_server(terminal, 40000, 2);
  api.job_leader = 2;
  api.serves_page = false;
  const server_ref second = w.add(api);

  CHECK(w.io.route_of(second)->primary);
  CHECK_FALSE(w.io.route_of(first)->primary);
}

TEST_CASE("of several servers of a job the one on its port, or of its program, is its successor",
  "[actors][registry][restart]") {
  world w;
  const terminal_info terminal = w.open_terminal();
  server_description api = w.dev_server(terminal, 3000, 1);
  api.pid = 11;
  api.command = "node api.js";
  server_description web = w.dev_server(terminal, 5173, 2);
  web.pid = 12;
  web.command = "node vite";
  const server_ref first = w.add(api);
  const server_ref second = w.add(web);
  w.kernel.close(1);
  w.kernel.close(2);
  w.run();

  SECTION("on its port") {
    web.pid = 22;
    web.listeners = {{3, 5173, false}};
    CHECK(w.info_of(w.add(web)).previous_generation == second.generation);
    api.pid = 21;
    api.listeners = {{4, 3000, false}};
    CHECK(w.info_of(w.add(api)).previous_generation == first.generation);
  }
  SECTION("of its program, on another port") {
    web.pid = 22;
    web.upstream.port = 5174;
    web.listeners = {{3, 5174, false}};
    CHECK(w.info_of(w.add(web)).previous_generation == second.generation);
  }
  SECTION("of its process, on another port") {
    web.command = "vite (moved)";
    web.upstream.port = 5174;
    web.listeners = {{3, 5174, false}};
    CHECK(w.info_of(w.add(web)).previous_generation == second.generation);
  }
  SECTION("of two of a program that one which was as much chosen") {
    server_description own = w.dev_server(terminal, 41000, 3);
    own.pid = 11;
    own.command = "node api.js";
    const server_ref third = w.add(own);
    w.kernel.close(3);
    w.run();
    own.pid = 31;
    own.upstream.port = 42000;
    own.listeners = {{4, 42000, false}};
    CHECK(w.info_of(w.add(own)).previous_generation == third.generation);
  }
  SECTION("another program of the job is another server") {
    server_description docs = w.dev_server(terminal, 8000, 3);
    docs.pid = 13;
    docs.command = "node docs.js";
    CHECK(w.info_of(w.add(docs)).previous_generation == 0);
  }
  CHECK(w.io.count(event_kind::server_stopped) == 0);
}

TEST_CASE(
  "a status call waits for a server, at most as long as it said", "[actors][registry][wait]") {
  world w;
  const terminal_info terminal = w.open_terminal();
  caf::scoped_actor self{w.deterministic.system()};
  auto answer = self->request(caf::actor_cast<caf::actor>(w.registry), caf::infinite, status_atom_v,
    workspace_key{"shop", "ann"}, caf::timespan{30s});
  w.run();
  w.advance(1s);
  workspace_status got;

  SECTION("it comes") {
    w.add(w.dev_server(terminal));
    answer.receive(
      [&](workspace_status& status) { got = std::move(status); }, [](const caf::error&) {});
    REQUIRE(got.servers.size() == 1);
    CHECK(got.servers.front().state == server_state::ready);
  }
  SECTION("the service ends first") {
    caf::anon_send(w.registry, shutdown_atom_v);
    w.run();
    answer.receive(
      [&](workspace_status& status) { got = std::move(status); }, [](const caf::error&) {});
    CHECK(got.sequence >= 100);
  }
  SECTION("it does not come") {
    w.deterministic.advance(29s, 500ms);
    answer.receive(
      [&](workspace_status& status) { got = std::move(status); }, [](const caf::error&) {});
    CHECK(got.servers.empty());
    CHECK(got.sequence == 100);
  }
}

TEST_CASE("a snapshot is of one project and names the newest event it has",
  "[actors][registry][snapshot]") {
  world w;
  const terminal_info ann = w.open_terminal({"shop", "ann"});
  w.open_terminal({"blog", "ann"});
  w.add(w.dev_server(ann));

  const auto snapshot =
    w.deterministic.ask<project_snapshot>(w.registry, snapshot_atom_v, std::string{"shop"});

  REQUIRE(snapshot);
  CHECK(snapshot->servers.size() == 1);
  CHECK(snapshot->terminals.size() == 1);
  CHECK(snapshot->sequence == w.io.events.back().sequence);
}

TEST_CASE("wrong requests get an error that names what is wrong, and change nothing",
  "[actors][registry][I7]") {
  world w;
  terminal_request request;
  request.key = {"shop", "ann"};
  errc expected = errc::invalid_field;
  SECTION("a bad name") {
    request.key.user = "../etc";
    expected = errc::invalid_name;
  }
  SECTION("too many variables") {
    for (int i = 0; i < 1025; ++i) request.env.emplace_back("V" + std::to_string(i), "");
  }
  SECTION("too long a command") {
    request.command = {"/bin/echo", std::string(65536, 'x')};
  }
  SECTION("no columns") {
    request.size.columns = 0;
  }
  SECTION("too many rows") {
    request.size.rows = 1001;
  }
  SECTION("a relative directory") {
    request.cwd = "src";
  }

  const auto answer = w.deterministic.ask<terminal_info>(w.registry, open_atom_v, request);

  CHECK(code_of(answer.error()) == expected);
  CHECK(w.io.terminals.empty());
  CHECK(w.deterministic.running_actors() == w.quiet_actors);
}

TEST_CASE(
  "a user has a limited number of terminals over all projects", "[actors][registry][limits]") {
  auto settings = world::default_settings();
  settings.terminals_per_user = 2;
  world w{settings};
  const terminal_info first = w.open_terminal({"shop", "ann"});
  w.open_terminal({"blog", "ann"});

  terminal_request request;
  request.key = {"third", "ann"};
  CHECK(code_of(w.deterministic.ask<terminal_info>(w.registry, open_atom_v, request).error()) ==
        errc::limit_reached);
  // One that has exited gives way.
  caf::anon_send(w.io.terminals.at(first.id).actor, exited_atom_v, exit_status{0, {}});
  w.run();
  CHECK(w.deterministic.ask<terminal_info>(w.registry, open_atom_v, request));
  CHECK_FALSE(w.io.terminals.contains(first.id));
}

TEST_CASE("limits that change hold for what begins afterwards", "[actors][registry][reload]") {
  auto settings = world::default_settings();
  settings.terminals_per_user = 1;
  world w{settings};
  const terminal_info terminal = w.open_terminal();
  w.add(w.dev_server(terminal, 5173, 1));
  registry_limits limits;
  limits.hold = 1s;
  limits.terminals_per_user = 2;
  limits.probe_interval = 1min;
  limits.probe_timeout = 1s;

  caf::anon_send(w.registry, settings_atom_v, limits);
  w.run();
  w.add(w.dev_server(terminal, 8080, 2));
  w.io.probes.clear();
  w.advance(40s);

  const auto probes_of = [&w](uint16_t port) {
    return std::count_if(w.io.probes.begin(), w.io.probes.end(),
      [port](const auto& probe) { return probe.target.port == port; });
  };
  CHECK(probes_of(5173) >= 2);
  CHECK(probes_of(8080) <= 1);
  terminal_request request;
  request.key = {"blog", "ann"};
  CHECK(w.deterministic.ask<terminal_info>(w.registry, open_atom_v, request));
  CHECK(code_of(w.deterministic.ask<terminal_info>(w.registry, open_atom_v, request).error()) ==
        errc::limit_reached);
}

TEST_CASE(
  "a terminal that cannot be opened says why and leaves nothing", "[actors][registry][terminal]") {
  world w;
  w.io.starts_terminals = false;
  terminal_request request;
  request.key = {"shop", "ann"};
  errc code = errc::none;
  {
    caf::scoped_actor self{w.deterministic.system()};
    auto answer =
      self->request(caf::actor_cast<caf::actor>(w.registry), caf::infinite, open_atom_v, request);
    w.run();

    caf::anon_send(
      w.io.terminals.begin()->second.actor, failed_atom_v, make_error(errc::pty_failed, "no PTY"));
    w.run();

    answer.receive(
      [](const terminal_info&) {}, [&](const caf::error& why) { code = code_of(why); });
  }
  CHECK(code == errc::pty_failed);
  CHECK(w.io.terminals.empty());
  CHECK(w.deterministic.running_actors() == w.quiet_actors);
}

TEST_CASE("who may not see a server any more is told no sooner than he is shut out",
  "[actors][registry][share][I6]") {
  world w;
  const terminal_info terminal = w.open_terminal();
  const server_ref server = w.add(w.dev_server(terminal));
  const auto share = [&w](uint64_t generation, preview_access access) {
    return w.deterministic.ask<server_info>(w.registry, access_atom_v, generation, access);
  };

  SECTION("with every thread") {
    const auto answer = share(server.generation, preview_access::project);
    REQUIRE(answer);
    CHECK(answer->access == preview_access::project);
    CHECK(w.io.route_of(server)->access == preview_access::project);
    REQUIRE(w.io.events.back().kind == event_kind::server_access);
    CHECK(w.io.events.back().server->access == preview_access::project);
    const std::size_t told = w.io.events.size();
    CHECK(share(server.generation, preview_access::project));
    CHECK(w.io.events.size() == told);
  }
  SECTION("and not while one has older routes") {
    w.io.applies_at_once = false;
    caf::anon_send(w.registry, access_atom_v, server.generation, preview_access::everyone);
    w.run();
    CHECK(w.io.count(event_kind::server_access) == 0);
    w.io.apply();
    w.run();
    CHECK(w.io.count(event_kind::server_access) == 1);
  }
  SECTION("of one that is not there") {
    CHECK(code_of(share(server.generation + 100, preview_access::everyone).error()) ==
          errc::no_such_server);
    w.deterministic.ask<stop_record>(w.registry, remove_atom_v, server.generation);
    CHECK(code_of(share(server.generation, preview_access::everyone).error()) == errc::server_gone);
  }
  SECTION("and it stays so when the job restarts on another port") {
    REQUIRE(share(server.generation, preview_access::everyone));
    w.kernel.close(1);
    w.run();
    const server_ref next = w.add(w.dev_server(terminal, 5199, 2));
    CHECK(next.generation > server.generation);
    CHECK(w.io.route_of(next)->access == preview_access::everyone);
  }
}
