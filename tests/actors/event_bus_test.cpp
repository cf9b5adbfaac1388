#include <catch2/catch.hpp>
#include <stdexcept>

#include "previewd/actors/event_bus.hpp"
#include "previewd/messages/error.hpp"
#include "previewd/support/log.hpp"
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

/// I/O threads that some event is too much for.
class brittle_data_plane final : public fake_data_plane {
public:
  uint64_t breaks_at = 0;  // sequence
  int times = 0;           // how often

  void deliver(const event& what) override {
    if (what.sequence == breaks_at && times-- > 0) throw std::runtime_error{"too much"};
    fake_data_plane::deliver(what);
  }
};

/// A registry whose event bus ends by a fault at an event of the test's choice.
struct brittle_world {
  brittle_world() {
    log::configure({.threshold = log::level::off});
    actors::registry_settings settings;
    settings.first_number = 100;
    settings.new_terminal_id = [this] { return "t" + std::to_string(++opened); };
    registry = deterministic.system().spawn(
      actors::registry, std::move(settings), actors::actor_ports{&io, &kernel, {}});
    deterministic.run();
  }
  ~brittle_world() {
    caf::anon_send_exit(registry, caf::exit_reason::user_shutdown);
    deterministic.run();
    io.clear();
    kernel.clear();
    deterministic.advance(std::chrono::hours{2}, std::chrono::minutes{10});
    log::configure({});
  }
  brittle_world(const brittle_world&) = delete;
  brittle_world& operator=(const brittle_world&) = delete;

  /// One event: a terminal opens and its shell exits.
  void exit_a_shell() {
    terminal_request request;
    request.key = {"shop", "u" + std::to_string(opened)};
    const auto info = deterministic.ask<terminal_info>(registry, open_atom_v, request);
    caf::anon_send(io.terminals.at(info->id).actor, exited_atom_v, exit_status{0, {}});
    deterministic.run();
  }

  std::vector<uint64_t> delivered() const {
    std::vector<uint64_t> result;
    for (const event& what : io.events) result.push_back(what.sequence);
    return result;
  }

  brittle_data_plane io;
  fake_kernel_watch kernel;
  deterministic_system deterministic;
  registry_actor registry;
  int opened = 0;
};

}  // namespace

TEST_CASE("events are replayed after a sequence while they are held", "[actors][event_bus]") {
  world w;
  const auto journal = std::make_shared<actors::event_journal>(100);  // the first event has 101
  const event_bus_actor bus = w.deterministic.system().spawn(
    actors::event_bus, journal, std::size_t{16}, w.registry, w.ports());
  for (uint64_t n = 101; n <= 103; ++n) caf::anon_send(bus, event_atom_v, numbered(n));
  w.run();

  const auto after = w.deterministic.ask<std::vector<event>>(bus, replay_atom_v, uint64_t{101});
  REQUIRE(after);
  REQUIRE(after->size() == 2);
  CHECK(after->front().sequence == 102);
  CHECK(w.deterministic.ask<std::vector<event>>(bus, replay_atom_v, uint64_t{100})->size() == 3);
  CHECK(w.deterministic.ask<std::vector<event>>(bus, replay_atom_v, uint64_t{103})->empty());

  for (uint64_t n = 104; n <= 140; ++n) caf::anon_send(bus, event_atom_v, numbered(n));
  w.run();
  CHECK_FALSE(w.deterministic.ask<std::vector<event>>(bus, replay_atom_v, uint64_t{101}));
  CHECK(w.deterministic.ask<std::vector<event>>(bus, replay_atom_v, uint64_t{124})->size() == 16);
}

TEST_CASE("an event that was handed on already is not handed on again", "[actors][event_bus]") {
  world w;
  const auto journal = std::make_shared<actors::event_journal>(100);
  const event_bus_actor bus = w.deterministic.system().spawn(
    actors::event_bus, journal, std::size_t{16}, w.registry, w.ports());

  for (const uint64_t n : {101, 102, 101, 102, 103}) caf::anon_send(bus, event_atom_v, numbered(n));
  w.run();

  CHECK(w.io.events.size() == 3);
  CHECK(journal->ring.size() == 3);
}

TEST_CASE("an actor that subscribes gets every later event until it ends", "[actors][event_bus]") {
  world w;
  std::vector<uint64_t> seen;
  const event_subscriber_actor subscriber = w.deterministic.system().spawn(
    [&seen](event_subscriber_actor::pointer) -> event_subscriber_actor::behavior_type {
      return {[&seen](event_atom, const event& what) { seen.push_back(what.sequence); }};
    });
  const terminal_info first = w.open_terminal();
  const terminal_info second = w.open_terminal();
  const terminal_info third = w.open_terminal();
  const auto exit_shell = [&](const terminal_info& info) {
    caf::anon_send(w.io.terminals.at(info.id).actor, exited_atom_v, exit_status{0, {}});
    w.run();
  };
  exit_shell(first);
  REQUIRE(w.io.events.size() == 1);

  caf::anon_send(w.registry, subscribe_atom_v, subscriber);
  w.run();
  exit_shell(second);
  caf::anon_send_exit(subscriber, caf::exit_reason::user_shutdown);
  w.run();
  exit_shell(third);

  CHECK(seen == std::vector<uint64_t>{w.io.events.at(1).sequence});
  CHECK(w.deterministic.running_actors() == w.quiet_actors);
}

TEST_CASE("a client's connection is an actor that ends with it, and closes it when it ends",
  "[actors][event_bus]") {
  world w;
  caf::anon_send(w.registry, client_atom_v, connection_id{0, 3});
  caf::anon_send(w.registry, client_atom_v, connection_id{0, 4});
  w.run();
  REQUIRE(w.io.open == std::set<uint64_t>{3, 4});

  w.io.open.erase(3);
  caf::anon_send(w.io.connections.at(3), closed_atom_v);
  caf::anon_send_exit(w.io.connections.at(4), caf::exit_reason::unhandled_exception);
  w.run();

  CHECK(w.io.open.empty());
  CHECK(w.deterministic.running_actors() == w.quiet_actors);
}

TEST_CASE(
  "an event bus that ends by a fault is replaced, and nothing is lost", "[actors][event_bus][I3]") {
  brittle_world w;
  std::vector<uint64_t> seen;
  const event_subscriber_actor subscriber = w.deterministic.system().spawn(
    [&seen](event_subscriber_actor::pointer) -> event_subscriber_actor::behavior_type {
      return {[&seen](event_atom, const event& what) { seen.push_back(what.sequence); }};
    });
  caf::anon_send(w.registry, subscribe_atom_v, subscriber);
  caf::anon_send(w.registry, client_atom_v, connection_id{0, 3});
  w.deterministic.run();
  const std::size_t actors = w.deterministic.running_actors();
  w.io.breaks_at = 102;
  w.io.times = 1;

  for (int i = 0; i < 3; ++i) w.exit_a_shell();

  CHECK(w.delivered() == std::vector<uint64_t>{101, 102, 103});
  CHECK(seen == std::vector<uint64_t>{101, 102, 103});
  CHECK(w.io.open == std::set<uint64_t>{3});  // the client notices nothing
  CHECK(w.deterministic.running_actors() == actors);
  const auto replayed =
    w.deterministic.ask<std::vector<event>>(w.registry, replay_atom_v, uint64_t{100});
  REQUIRE(replayed);
  CHECK(replayed->size() == 3);
  caf::anon_send_exit(subscriber, caf::exit_reason::user_shutdown);
  w.deterministic.run();
}

TEST_CASE("an event that no event bus survives is kept for replay, and the rest goes on",
  "[actors][event_bus]") {
  brittle_world w;
  w.io.breaks_at = 101;
  w.io.times = 1000;

  for (int i = 0; i < 2; ++i) w.exit_a_shell();

  CHECK(w.delivered() == std::vector<uint64_t>{102});
  const auto replayed =
    w.deterministic.ask<std::vector<event>>(w.registry, replay_atom_v, uint64_t{100});
  REQUIRE(replayed);
  CHECK(replayed->size() == 2);
  const auto ended = w.deterministic.ask<uint64_t>(w.registry, shutdown_atom_v);
  CHECK(ended);
}
