// Exit, refusal, failed probe, close, removal by hand and a restart at once, in every order that
// chance finds.
#include <catch2/catch.hpp>
#include <functional>

#include "previewd/tests/actors/world.hpp"

using namespace previewd;
using namespace previewd::test;
using namespace std::chrono_literals;

TEST_CASE("no order of exit, refusal, probe, close and restart breaks I1 to I3",
  "[actors][registry][I1][I2][I3]") {
  for (unsigned seed = 0; seed < 400; ++seed) {
    INFO("seed " << seed);
    std::mt19937 random{seed};
    world w;
    const terminal_info terminal = w.open_terminal();
    const terminal_info other = w.open_terminal({"blog", "bob"});
    const std::size_t actors_before = w.deterministic.running_actors();
    w.foreground(terminal, job);
    const server_ref old = w.add(w.dev_server(terminal));
    const server_ref bystander = w.add(w.dev_server(other, 6000, 50));
    const preview_server_actor actor = w.io.route_of(old)->server;
    w.io.applies_at_once = random() % 2 == 0;
    caf::optional<server_ref> next;
    bool closes_terminal = false;

    std::vector<std::function<void()>> happenings{
      [&] { w.kernel.close(1); },
      [&] { w.kernel.end_leader(job); },
      [&] { caf::anon_send(actor, refused_atom_v, observer::proxy); },
      [&] { caf::anon_send(actor, refused_atom_v, observer::websocket); },
      [&] { caf::anon_send(actor, probe_atom_v, probe_outcome::refused, uint64_t{1}); },
      [&] {
        caf::anon_send(actor, tunnel_atom_v, connection_id{0, 7});
      },
      [&] { caf::anon_send(w.registry, remove_atom_v, old.generation); },
      [&] {
        caf::anon_send(
          w.registry, stopped_atom_v, old, stop_cause{stop_reason::refused, observer::proxy, {}});
      },
      [&, shell = w.io.terminals.at(terminal.id).actor] {
        caf::anon_send(shell, foreground_atom_v, terminal.pid);
      },
      [&] {
        // The user starts it again: the same port, a new socket, a new job.
        server_description what = w.dev_server(terminal, 5173, 2);
        what.job_leader = job + 100;
        w.kernel.listening.insert(2);
        w.deterministic.system().spawn([&w, &next, what](caf::event_based_actor* self) {
          self->request(caf::actor_cast<caf::actor>(w.registry), caf::infinite, add_atom_v, what)
            .then([&next](const server_ref& ref) { next = ref; }, [](const caf::error&) {});
        });
      },
      [&] { w.io.apply(); },
      [&] { w.deterministic.coordinator().advance_time(300ms); },
    };
    if (random() % 3 == 0)
      happenings.push_back([&] {
        closes_terminal = true;
        caf::anon_send(w.registry, close_atom_v, terminal.id);
      });
    if (random() % 4 == 0)
      happenings.push_back(
        [&] { caf::anon_send_exit(actor, caf::exit_reason::unhandled_exception); });
    std::shuffle(happenings.begin(), happenings.end(), random);
    for (const auto& happening : happenings) {
      happening();
      for (auto n = random() % 6; n > 0 && w.deterministic.run_one_of_them(random); --n) {
        REQUIRE(w.io.violations == std::vector<std::string>{});
        REQUIRE(w.io.reachable(bystander));
      }
    }
    w.io.applies_at_once = true;
    w.io.apply();
    while (w.deterministic.run_one_of_them(random)) {
    }
    w.io.apply();
    // One round of timers: holds end, restarts are over.
    w.deterministic.advance(3s, 100ms);

    REQUIRE(w.io.violations == std::vector<std::string>{});
    REQUIRE(w.io.route_of(old) == nullptr);
    REQUIRE(w.io.reachable(bystander));
    std::size_t stops_of_old = 0;
    for (const event& e : w.io.events)
      stops_of_old += e.kind == event_kind::server_stopped && e.stop->ref == old ? 1 : 0;
    REQUIRE(stops_of_old <= 1);
    if (closes_terminal) {
      REQUIRE(w.deterministic
                .ask<std::vector<server_info>>(
                  w.registry, list_atom_v, server_atom_v, workspace_filter{"shop", "ann"})
                ->empty());
      // The other workspace's terminal, detector, server and probe.
      REQUIRE(w.deterministic.running_actors() == actors_before);
    } else {
      // The new server is never touched by what was meant for the old one.
      REQUIRE(next);
      REQUIRE(w.io.reachable(*next));
      REQUIRE(w.io.route_of(*next)->primary);
      REQUIRE(w.deterministic.running_actors() == actors_before + 4);
    }
    REQUIRE(w.io.open.empty());
  }
}
