#include <catch2/catch.hpp>

#include "previewd/messages/error.hpp"
#include "previewd/tests/actors/world.hpp"

using namespace previewd;
using namespace previewd::test;

namespace {

event numbered(uint64_t sequence) {
  event what;
  what.sequence = sequence;
  what.kind = event_kind::terminal_exit;
  return what;
}

}  // namespace

TEST_CASE("events are replayed after a sequence while they are held", "[actors][event_bus]") {
  world w;  // the first event has sequence 101; 16 are held
  for (uint64_t n = 101; n <= 103; ++n) caf::anon_send(w.events, event_atom_v, numbered(n));
  w.run();

  const auto after =
    w.deterministic.ask<std::vector<event>>(w.events, replay_atom_v, uint64_t{101});
  REQUIRE(after);
  REQUIRE(after->size() == 2);
  CHECK(after->front().sequence == 102);
  CHECK(
    w.deterministic.ask<std::vector<event>>(w.events, replay_atom_v, uint64_t{100})->size() == 3);
  CHECK(w.deterministic.ask<std::vector<event>>(w.events, replay_atom_v, uint64_t{103})->empty());

  for (uint64_t n = 104; n <= 140; ++n) caf::anon_send(w.events, event_atom_v, numbered(n));
  w.run();
  CHECK_FALSE(w.deterministic.ask<std::vector<event>>(w.events, replay_atom_v, uint64_t{101}));
  CHECK(
    w.deterministic.ask<std::vector<event>>(w.events, replay_atom_v, uint64_t{124})->size() == 16);
}

TEST_CASE("an actor that subscribes gets every later event until it ends", "[actors][event_bus]") {
  world w;
  std::vector<uint64_t> seen;
  const event_subscriber_actor subscriber = w.deterministic.system().spawn(
    [&seen](event_subscriber_actor::pointer) -> event_subscriber_actor::behavior_type {
      return {[&seen](event_atom, const event& what) { seen.push_back(what.sequence); }};
    });
  caf::anon_send(w.events, event_atom_v, numbered(101));
  w.run();

  caf::anon_send(w.events, subscribe_atom_v, subscriber);
  w.run();
  caf::anon_send(w.events, event_atom_v, numbered(102));
  w.run();
  caf::anon_send_exit(subscriber, caf::exit_reason::user_shutdown);
  w.run();
  caf::anon_send(w.events, event_atom_v, numbered(103));
  w.run();

  CHECK(seen == std::vector<uint64_t>{102});
  CHECK(w.deterministic.running_actors() == w.quiet_actors);
}

TEST_CASE("a client's connection is an actor that ends with it, and closes it when it ends",
  "[actors][event_bus]") {
  world w;
  caf::anon_send(w.events, client_atom_v, connection_id{0, 3});
  caf::anon_send(w.events, client_atom_v, connection_id{0, 4});
  w.run();
  REQUIRE(w.io.open == std::set<uint64_t>{3, 4});

  caf::anon_send(w.io.connections.at(3), closed_atom_v);
  caf::anon_send_exit(w.io.connections.at(4), caf::exit_reason::unhandled_exception);
  w.run();

  CHECK(w.io.open.empty());
  CHECK(w.deterministic.running_actors() == w.quiet_actors);
}
