// The actor of one WebSocket: it ends with its connection, and its connection with it.
#include "previewd/actors/ws_connection.hpp"

#include <caf/event_based_actor.hpp>
#include <caf/scoped_actor.hpp>
#include <catch2/catch.hpp>
#include <chrono>
#include <memory>
#include <optional>
#include <string>

#include "previewd/tests/actors/world.hpp"

using namespace previewd;
using namespace previewd::test;
using namespace std::chrono_literals;

namespace {

constexpr connection_id number_7{0, 7};

/// A connection's actor and somebody who watches it.
struct watched_connection : world {
  watched_connection() {
    io.open.insert(7);
    connection = actors::start_connection(deterministic.system(), number_7, counted_ports());
    watcher->monitor(connection);
  }

  actors::actor_ports counted_ports() { return {&io, &kernel, census}; }

  /// Why it has ended, if it has.
  std::optional<caf::error> end() {
    std::optional<caf::error> why;
    watcher->receive(
      [&](caf::down_msg& down) { why = std::move(down.reason); }, caf::after(0s) >> [] {});
    return why;
  }

  uint64_t counted() const {
    return census->count(actor_census::place_of(actors::ws_connection::kind));
  }

  std::shared_ptr<actor_census> census = std::make_shared<actor_census>();
  caf::scoped_actor watcher{deterministic.system()};
  ws_connection_actor connection;
};

}  // namespace

TEST_CASE("who is told that its connection has closed ends and closes nothing", "[actors][I3]") {
  watched_connection w;
  REQUIRE(w.counted() == 1);

  caf::anon_send(w.connection, closed_atom_v);

  CHECK(w.end() == caf::error{});
  CHECK(w.io.open.contains(7));
  CHECK(w.counted() == 0);
  CHECK(w.census.use_count() == 1);
}

TEST_CASE("whatever else ends it closes its connection, once", "[actors][I3]") {
  watched_connection w;
  const auto how = GENERATE(as<std::string>{}, "exit", "kill", "last reference");
  if (how == "last reference") {
    w.connection = ws_connection_actor{};
  } else {
    const auto why = how == "exit" ? caf::exit_reason::user_shutdown : caf::exit_reason::kill;
    caf::anon_send_exit(w.connection, why);
    w.io.open.insert(7);  // closed again it would be seen
    caf::anon_send(w.connection, closed_atom_v);
    caf::anon_send_exit(w.connection, why);
    CHECK(w.io.open.contains(7));
    w.io.open.erase(7);
  }

  const auto why = w.end();
  REQUIRE(why);
  CHECK(*why);
  CHECK_FALSE(w.io.open.contains(7));
  CHECK(w.counted() == 0);
}

TEST_CASE("an exit without a reason ends nobody", "[actors]") {
  watched_connection w;

  caf::anon_send(caf::actor_cast<caf::actor>(w.connection), caf::exit_msg{{}, caf::error{}});

  CHECK_FALSE(w.end());
  CHECK(w.io.open.contains(7));
  CHECK(w.counted() == 1);
}

TEST_CASE("it answers what it does not understand with an error", "[actors][I7]") {
  watched_connection w;
  caf::error said;

  w.watcher->request(caf::actor_cast<caf::actor>(w.connection), caf::infinite, std::string{"?"})
    .receive([] {}, [&](caf::error& why) { said = std::move(why); });

  CHECK(said == caf::sec::unexpected_message);
  CHECK_FALSE(w.end());
}

TEST_CASE("who is told too late that somebody watches hears of the end at once", "[actors]") {
  watched_connection w;
  caf::anon_send(w.connection, closed_atom_v);
  REQUIRE(w.end());

  w.watcher->monitor(w.connection);

  CHECK(w.end());
}
