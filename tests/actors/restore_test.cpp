// What the registry sends to the store, and what it makes of what was found there.
#include <catch2/catch.hpp>

#include "previewd/actors/unsaved.hpp"
#include "previewd/tests/actors/world.hpp"

using namespace previewd;
using namespace previewd::test;
using namespace std::chrono_literals;

namespace {

/// A store without a disk, that answers when the test says.
struct fake_store {
  explicit fake_store(deterministic_system& deterministic) {
    actor =
      deterministic.system().spawn([this](store_actor::pointer self) -> store_actor::behavior_type {
        return {
          [this, self](save_atom, store_batch& batch) {
            batches.push_back(std::move(batch));
            const auto sender = caf::actor_cast<registry_actor>(self->current_sender());
            if (answers) {
              self->send(sender, saved_atom_v);
            } else {
              owed = sender;
            }
          },
          [](status_atom) -> std::string { return "ok"; },
          [](tick_atom) {},
          [self](close_atom) { self->quit(); },
        };
      });
  }

  void answer() { caf::anon_send(std::exchange(owed, registry_actor{}), saved_atom_v); }

  /// What a store would have by now.
  std::map<uint64_t, stored_server> servers() const {
    std::map<uint64_t, stored_server> all;
    for (const store_batch& batch : batches) {
      for (const stored_server& one : batch.servers) all[one.generation] = one;
      for (const uint64_t generation : batch.ended) all.erase(generation);
    }
    return all;
  }

  store_actor actor;
  std::vector<store_batch> batches;
  bool answers = true;
  registry_actor owed;
};

/// A world whose registry has a store, with something in it.
struct kept_world {
  explicit kept_world(restored_state found = {}) : store{w.deterministic} {
    caf::anon_send_exit(w.registry, caf::exit_reason::user_shutdown);
    w.run();
    actors::registry_settings settings = world::default_settings();
    settings.new_terminal_id = [this] { return "terminal-" + std::to_string(++terminals); };
    settings.store = store.actor;
    settings.found = std::move(found);
    for (const stored_server& one : settings.found.alive)
      for (const listener_id& id : one.description.listeners) w.kernel.listening.insert(id.inode);
    w.registry = w.deterministic.system().spawn(actors::registry, std::move(settings), w.ports());
    caf::anon_send(w.registry, restore_atom_v);
    w.run();
  }
  ~kept_world() {
    store.owed = registry_actor{};
    caf::anon_send_exit(store.actor, caf::exit_reason::user_shutdown);
    store.actor = store_actor{};
    w.run();
  }

  /// The probe that is under way goes like this.
  void probed(probe_outcome outcome) {
    REQUIRE_FALSE(w.io.probes.empty());
    const auto call = w.io.probes.back();
    caf::anon_send(call.reply_to, call.round, outcome, uint64_t{100});
    w.run();
  }

  world w;
  fake_store store;
  int terminals = 0;
};

stored_server survivor(uint64_t generation = 50, uint64_t inode = 1) {
  stored_server one;
  one.generation = generation;
  one.previous_generation = 40;
  server_description& what = one.description;
  what.key = {"shop", "ann"};
  what.terminal_id = "gone";
  what.upstream = {"127.0.0.1", 5173, scheme::http};
  what.type = "vite";
  what.pid = job + 1;
  what.job_leader = job;
  what.command = "vite";
  what.serves_page = true;
  what.listeners = {{inode, 5173, false}};
  one.started_at = wall_time{1764250000123ms};
  one.primary = true;
  return one;
}

}  // namespace

TEST_CASE("the store has what is registered, and nothing else", "[actors][store]") {
  kept_world k;
  world& w = k.w;
  const terminal_info terminal = w.open_terminal();

  const server_ref first = w.add(w.dev_server(terminal));
  const server_ref second = w.add(w.dev_server(terminal, 3000, 2));
  REQUIRE(k.store.servers().size() == 2);
  const stored_server kept = k.store.servers().at(first.generation);
  CHECK(kept.description.key == first.key);
  CHECK(kept.description.upstream.port == 5173);
  CHECK(kept.description.listeners == std::vector<listener_id>{{1, 5173, false}});
  CHECK(kept.primary);

  // A restart: the new one and the end of the old one belong together.
  const std::size_t before = k.store.batches.size();
  w.kernel.close(1);
  w.run();
  const server_ref again = w.add(w.dev_server(terminal, 5173, 3));
  bool together = false;
  for (std::size_t i = before; i < k.store.batches.size(); ++i) {
    const store_batch& batch = k.store.batches[i];
    if (batch.ended == std::vector{first.generation})
      together = !batch.servers.empty() && batch.servers.back().generation == again.generation;
  }
  CHECK(together);
  CHECK(k.store.servers().at(again.generation).previous_generation == first.generation);

  REQUIRE(w.deterministic.ask<stop_record>(w.registry, remove_atom_v, second.generation));
  w.run();
  CHECK(k.store.servers().size() == 1);
}

TEST_CASE("what is kept comes last in a removal", "[actors][store][I2]") {
  kept_world k;
  world& w = k.w;
  const terminal_info terminal = w.open_terminal();
  const server_ref server = w.add(w.dev_server(terminal));
  w.io.applies_at_once = false;

  w.kernel.close(1);
  w.kernel.end_leader(job);
  w.run();
  CHECK(k.store.servers().contains(server.generation));
  CHECK(w.io.count(event_kind::server_stopped) == 0);

  w.io.applies_at_once = true;
  w.io.apply();
  w.run();
  CHECK(w.io.count(event_kind::server_stopped) == 1);
  CHECK(k.store.servers().empty());
}

TEST_CASE(
  "a store that is busy gets one batch, with all that came meanwhile", "[actors][store][I5]") {
  kept_world k;
  world& w = k.w;
  const terminal_info terminal = w.open_terminal();
  k.store.answers = false;
  w.add(w.dev_server(terminal));
  const std::size_t before = k.store.batches.size();

  for (uint64_t inode = 2; inode < 500; ++inode) {
    const server_ref other = w.add(w.dev_server(terminal, 3000, inode));
    REQUIRE(w.deterministic.ask<stop_record>(w.registry, remove_atom_v, other.generation));
  }
  const server_ref last = w.add(w.dev_server(terminal, 3000, 1000));
  CHECK(k.store.batches.size() == before);
  k.store.answers = true;
  k.store.answer();
  w.run();

  CHECK(k.store.batches.size() == before + 1);
  CHECK(k.store.batches.back().servers.size() == 1);
  CHECK(k.store.batches.back().ended.empty());
  CHECK(k.store.servers().contains(last.generation));
}

TEST_CASE("what somebody has said of a workspace is kept", "[actors][store]") {
  kept_world k;
  world& w = k.w;
  const terminal_info terminal = w.open_terminal();
  w.add(w.dev_server(terminal));
  const server_ref second = w.add(w.dev_server(terminal, 3000, 2));

  REQUIRE(w.deterministic.ask<server_info>(
    w.registry, access_atom_v, second.generation, preview_access::everyone));
  REQUIRE(w.deterministic.ask<server_info>(w.registry, primary_atom_v, second.generation));
  w.run();

  stored_workspace said;
  for (const store_batch& batch : k.store.batches)
    for (const stored_workspace& one : batch.workspaces) said = one;
  CHECK(said.key == second.key);
  CHECK(said.preferred_port == 3000);
  CHECK(said.said_access == std::vector<port_access>{{3000, preview_access::everyone}});
  CHECK(k.store.servers().at(second.generation).primary);
}

TEST_CASE("a survivor is probed before it is routed to, and keeps its generation",
  "[actors][store][restore]") {
  kept_world k{{{survivor()}, {}, {{{"shop", "ann"}, 0, {{5173, preview_access::project}}}}}};
  world& w = k.w;
  const server_ref ref{{"shop", "ann"}, 50};

  // Held, not refused: somebody may be waiting for it.
  REQUIRE(w.io.route_of(ref) != nullptr);
  CHECK(w.io.route_of(ref)->state == route_state::held);
  CHECK(w.status().servers.front().state == server_state::starting);
  CHECK(w.io.events.empty());
  REQUIRE(w.io.probes.size() == 1);
  CHECK(w.io.probes.front().target == survivor().description.upstream);

  // However long it takes, nobody is sent there.
  for (int i = 0; i < 3; ++i) {
    const std::size_t probes = w.io.probes.size();
    k.probed(probe_outcome::timed_out);
    CHECK_FALSE(w.io.reachable(ref));
    while (w.io.probes.size() == probes) w.advance(100ms);
  }
  k.probed(probe_outcome::alive);

  CHECK(w.io.reachable(ref));
  const server_info info = w.status().servers.front();
  CHECK(info.ref == ref);
  CHECK(info.state == server_state::ready);
  CHECK(info.terminal_id.empty());
  CHECK(info.pid == job + 1);
  CHECK(info.command == "vite");
  CHECK(info.previous_generation == 40);
  CHECK(info.started_at == survivor().started_at);
  CHECK(info.primary);
  CHECK(info.access == preview_access::project);
  CHECK(w.io.count(event_kind::server_started) == 1);
  // A later one is above it, and takes nothing of it away.
  const terminal_info terminal = w.open_terminal();
  CHECK(w.add(w.dev_server(terminal, 3000, 2)).generation >= 100);
  CHECK(w.io.reachable(ref));
  // The terminal is gone in the store too.
  CHECK(k.store.servers().at(50).description.terminal_id.empty());
}

TEST_CASE("a survivor that is shown stays so, whoever of them is probed first",
  "[actors][store][restore]") {
  stored_server shown = survivor();
  shown.previous_generation = 0;
  stored_server other = survivor(51, 2);
  other.description.upstream.port = 3000;
  other.description.listeners = {{2, 3000, false}};
  other.primary = false;
  kept_world k{{{shown, other}, {}, {}}};

  k.probed(probe_outcome::alive);

  CHECK(k.w.io.reachable({{"shop", "ann"}, 51}));
  CHECK(k.w.io.route_of({{"shop", "ann"}, 50})->primary);
  CHECK_FALSE(k.w.io.route_of({{"shop", "ann"}, 51})->primary);
}

TEST_CASE("the end of a survivor is seen as that of any other", "[actors][store][restore]") {
  kept_world k{{{survivor()}, {}, {}}};
  world& w = k.w;
  REQUIRE(w.kernel.watching.size() == 1);
  CHECK(w.kernel.watching.begin()->second.job_leader == job);
  k.probed(probe_outcome::alive);

  w.kernel.end_leader(job);
  w.kernel.close(1);
  w.run();

  REQUIRE(w.io.count(event_kind::server_stopped) == 1);
  CHECK(w.last_stop().ref.generation == 50);
  CHECK(w.last_stop().reason == stop_reason::process_exited);
  CHECK(w.status().servers.empty());
}

TEST_CASE("one that ends before it has taken a connection could not be restored",
  "[actors][store][restore]") {
  kept_world k{{{survivor()}, {}, {}}};
  world& w = k.w;

  w.kernel.end_leader(job);
  w.kernel.close(1);
  k.probed(probe_outcome::refused);

  REQUIRE(w.io.count(event_kind::server_stopped) == 1);
  CHECK(w.last_stop().reason == stop_reason::restore_failed);
  CHECK(w.io.count(event_kind::server_started) == 0);
}

TEST_CASE("who listens where a survivor did takes its place, in its own time",
  "[actors][store][restore][restart]") {
  kept_world k{{{survivor()}, {}, {{{"shop", "ann"}, 0, {{5173, preview_access::project}}}}}};
  world& w = k.w;
  const server_ref old{{"shop", "ann"}, 50};
  const preview_server_actor actor = w.io.route_of(old)->server;
  const listener_fact next{{2, 5173, false}, "127.0.0.1", {job + 5}, job, "vite --host"};
  k.probed(probe_outcome::alive);

  w.kernel.close(1);
  w.run();
  CHECK(w.io.count(event_kind::server_stopped) == 0);
  CHECK(w.kernel.awaited == std::vector<uint64_t>{50});
  CHECK(w.status().servers.front().state == server_state::restarting);
  CHECK(w.io.route_of(old)->state == route_state::held);

  SECTION("nobody does") {
    w.advance(2s);
    REQUIRE(w.io.count(event_kind::server_stopped) == 1);
    CHECK(w.last_stop().ref == old);
    CHECK(w.last_stop().reason == stop_reason::listener_closed);
    CHECK(w.status().servers.empty());
  }
  SECTION("found by the kernel watch, or named") {
    const bool is_named = GENERATE(false, true);
    w.kernel.listening.insert(2);
    if (is_named) {
      server_description what = survivor(0, 2).description;
      what.terminal_id.clear();
      what.answers = what.by_hand = true;
      w.add(what);
    } else {
      caf::anon_send(actor, listeners_atom_v, std::vector{next});
      w.run();
    }

    const auto servers = w.status().servers;
    REQUIRE(servers.size() == 1);
    const server_info& info = servers.front();
    CHECK(info.ref.key == old.key);
    CHECK(info.ref.generation > old.generation);
    CHECK(info.previous_generation == old.generation);
    CHECK(info.state == server_state::ready);
    CHECK(info.type == "vite");
    CHECK(info.primary);
    CHECK(info.access == preview_access::project);
    if (!is_named) {
      CHECK(info.pid == job + 5);
      CHECK(info.command == "vite --host");
    }
    CHECK(w.io.reachable(info.ref));
    CHECK(w.io.route_of(info.ref)->inodes == std::vector<uint64_t>{2});
    CHECK(w.io.route_of(old) == nullptr);
    w.advance(5s);
    CHECK(w.io.count(event_kind::server_stopped) == 0);
    CHECK(w.io.count(event_kind::server_started) == 2);
    CHECK(k.store.servers().size() == 1);
    CHECK(k.store.servers().contains(info.ref.generation));
  }
  SECTION("in a terminal, whose detector finds it") {
    const terminal_info terminal = w.open_terminal();
    const server_ref found = w.add(w.dev_server(terminal, 5173, 2));
    // The kernel watch had said so before it knew.
    caf::anon_send(actor, listeners_atom_v, std::vector{next});
    w.run();
    w.advance(2s);

    const auto servers = w.status().servers;
    REQUIRE(servers.size() == 1);
    CHECK(servers.front().ref == found);
    CHECK(servers.front().terminal_id == terminal.id);
    CHECK(servers.front().primary);
    CHECK(w.io.reachable(found));
    REQUIRE(w.io.count(event_kind::server_stopped) == 1);
    CHECK(w.last_stop().ref == old);
  }
  CHECK(w.io.violations == std::vector<std::string>{});
}

TEST_CASE("nobody takes the place of one that has not taken a connection yet",
  "[actors][store][restore][I6]") {
  kept_world k{{{survivor()}, {}, {}}};
  world& w = k.w;
  const server_ref old{{"shop", "ann"}, 50};
  const preview_server_actor actor = w.io.route_of(old)->server;
  w.kernel.close(1);
  w.run();
  w.kernel.listening.insert(2);

  const listener_fact other{{2, 5173, false}, "127.0.0.1", {job + 5}, job, {}};
  caf::anon_send(actor, listeners_atom_v, std::vector{other});
  w.run();
  CHECK_FALSE(w.io.reachable(old));
  w.advance(2s);

  CHECK(w.status().servers.empty());
  REQUIRE(w.io.count(event_kind::server_stopped) == 1);
  CHECK(w.last_stop().ref == old);
  CHECK(w.last_stop().reason == stop_reason::restore_failed);
  CHECK(w.io.count(event_kind::server_started) == 0);
}

TEST_CASE("one that is gone is told as a stop, and is forgotten", "[actors][store][restore]") {
  kept_world k{{{}, {survivor()}, {}}};
  world& w = k.w;

  REQUIRE(w.io.count(event_kind::server_stopped) == 1);
  const stop_record& record = w.last_stop();
  CHECK(record.ref == server_ref{{"shop", "ann"}, 50});
  CHECK(record.reason == stop_reason::restore_failed);
  CHECK(record.terminal_id == "gone");
  CHECK(record.port == 5173);
  CHECK(w.status().last_stop->reason == stop_reason::restore_failed);
  CHECK(w.io.route_of(record.ref) == nullptr);
  CHECK(w.deterministic.ask<stop_record>(w.registry, lookup_atom_v, stopped_atom_v, uint64_t{50}));
  const store_batch& first = k.store.batches.front();
  CHECK(first.ended == std::vector<uint64_t>{50});
}

TEST_CASE(
  "after an orderly end there is nothing to restore but the highest number", "[actors][store]") {
  kept_world k{{{survivor()}, {}, {}}};
  world& w = k.w;
  k.probed(probe_outcome::alive);
  const terminal_info terminal = w.open_terminal();
  const server_ref server = w.add(w.dev_server(terminal, 3000, 2));

  const auto end = w.deterministic.ask<uint64_t>(w.registry, shutdown_atom_v);

  REQUIRE(end);
  CHECK(k.store.servers().empty());
  const uint64_t highest = k.store.batches.back().highest;
  CHECK(highest >= server.generation);
  CHECK(highest == w.io.events.back().sequence);
}

TEST_CASE("numbers are kept long before they are given", "[actors][store]") {
  const restored_state nothing;
  actors::server_table table{100};
  actors::unsaved unsaved{nothing};

  CHECK(unsaved.is_near(100));
  const uint64_t reserved = unsaved.next(table, 100).highest;
  CHECK(reserved > 100'000);
  CHECK_FALSE(unsaved.is_near(101));
  CHECK(unsaved.next(table, 101).empty());
  CHECK(unsaved.is_near(reserved - 10));
  CHECK(unsaved.next(table, reserved - 10).highest > reserved);
  CHECK(unsaved.last(table, reserved - 9).highest == reserved - 9);
}

TEST_CASE("a store that ends by a fault takes nothing along", "[actors][store][faults]") {
  kept_world k;
  world& w = k.w;
  const terminal_info terminal = w.open_terminal();
  k.store.answers = false;
  w.add(w.dev_server(terminal));

  caf::anon_send_exit(k.store.actor, caf::exit_reason::kill);
  w.run();
  const server_ref later = w.add(w.dev_server(terminal, 3000, 2));

  CHECK(w.io.reachable(later));
  CHECK(w.deterministic.ask<registry_counters>(w.registry, counters_atom_v)->saving == 0);
}
