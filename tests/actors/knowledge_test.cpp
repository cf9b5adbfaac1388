// What histories of the model test (tests/model/) once found, one named case each.
#include <catch2/catch.hpp>

#include "previewd/messages/error.hpp"
#include "previewd/tests/actors/world.hpp"

using namespace previewd;
using namespace previewd::test;
using namespace std::chrono_literals;

namespace {

/// Asks the registry and keeps the answer for when it comes.
template <class Answer, class... Message>
void ask_later(world& w, caf::optional<caf::expected<Answer>>& answer, Message... message) {
  w.deterministic.system().spawn([&w, &answer, message...](caf::event_based_actor* self) {
    self->request(caf::actor_cast<caf::actor>(w.registry), caf::infinite, message...)
      .then([&answer](const Answer& value) { answer = caf::expected<Answer>{value}; },
        [&answer](const caf::error& why) { answer = caf::expected<Answer>{why}; });
  });
}

server_ref started(world& w, const terminal_info& terminal) {
  w.foreground(terminal, job);
  return w.add(w.dev_server(terminal));
}

}  // namespace

TEST_CASE("closing a terminal is answered also when its processes end before its routes do",
  "[actors][terminal][I3]") {
  world w;
  const terminal_info terminal = w.open_terminal();
  started(w, terminal);
  w.io.applies_at_once = false;
  caf::optional<caf::expected<terminal_info>> answer;

  ask_later<terminal_info>(w, answer, close_atom_v, terminal.id);
  w.run();
  CHECK_FALSE(answer);
  w.io.apply();
  w.run();

  REQUIRE(answer);
  CHECK((*answer)->id == terminal.id);
}

TEST_CASE("a shutdown is answered also when a terminal cannot be opened any more, and each call is",
  "[actors][shutdown][I3]") {
  world w;
  w.io.starts_terminals = false;
  caf::optional<caf::expected<terminal_info>> opened;
  caf::optional<caf::expected<uint64_t>> first;
  caf::optional<caf::expected<uint64_t>> second;
  terminal_request request;
  request.key = {"shop", "ann"};

  ask_later<terminal_info>(w, opened, open_atom_v, request);
  w.run();
  ask_later<uint64_t>(w, first, shutdown_atom_v);
  ask_later<uint64_t>(w, second, shutdown_atom_v);
  w.run();
  CHECK_FALSE(first);
  caf::anon_send(
    w.io.terminals.begin()->second.actor, failed_atom_v, make_error(errc::pty_failed, "no PTY"));
  w.run();

  REQUIRE(opened);
  CHECK(code_of(opened->error()) == errc::pty_failed);
  CHECK(first);
  CHECK(second);
}

TEST_CASE("a short restart is not told because something else in the workspace changes",
  "[actors][restart]") {
  world w;
  const terminal_info terminal = w.open_terminal();
  started(w, terminal);
  w.kernel.close(1);
  w.run();

  server_description other = w.dev_server(terminal, 3000, 2);
  other.job_leader = job + 1;
  w.add(other);
  CHECK(w.io.count(event_kind::server_unreachable) == 0);
  w.advance(300ms);

  CHECK(w.io.count(event_kind::server_unreachable) == 1);
}

TEST_CASE("a thread that was refused gets its route back also while a probe asks the same",
  "[actors][refused]") {
  world w;
  const server_ref server = started(w, w.open_terminal());
  const preview_server_actor actor = w.io.route_of(server)->server;
  const uint64_t revision = w.io.routes.at(server.key).revision;

  caf::anon_send(actor, probe_atom_v, probe_outcome::refused, uint64_t{1});
  caf::anon_send(actor, refused_atom_v, observer::proxy);
  w.run();

  CHECK(w.io.reachable(server));
  CHECK(w.io.routes.at(server.key).revision > revision);
}

TEST_CASE("old news of sockets that are gone registers nothing and replaces nothing",
  "[actors][registry][I1]") {
  world w;
  const terminal_info terminal = w.open_terminal();
  const server_ref old = started(w, terminal);
  w.kernel.close(1);
  w.run();

  // While it restarts: it is still that one.
  CHECK(*w.deterministic.ask<server_ref>(w.registry, add_atom_v, w.dev_server(terminal)) == old);
  const server_ref next = w.add(w.dev_server(terminal, 5173, 2));
  const auto answer =
    w.deterministic.ask<server_ref>(w.registry, add_atom_v, w.dev_server(terminal));

  CHECK(code_of(answer.error()) == errc::server_gone);
  CHECK(w.io.reachable(next));
  CHECK(w.status().servers.size() == 1);
}

TEST_CASE(
  "one that is there becomes primary before one that restarts", "[actors][registry][primary]") {
  world w;
  const terminal_info terminal = w.open_terminal();
  const server_ref first = started(w, terminal);
  server_description second = w.dev_server(terminal, 3000, 2);
  second.job_leader = job + 1;
  w.add(second);
  server_description third = w.dev_server(terminal, 3001, 3);
  third.job_leader = job + 2;
  const server_ref there = w.add(third);
  w.kernel.close(2);
  w.run();

  caf::anon_send(w.registry, remove_atom_v, first.generation);
  w.run();

  CHECK(w.io.route_of(there)->primary);
}

TEST_CASE("a stopped server is never told unreachable by its time-outs", "[actors][suspended]") {
  world w;
  const server_ref server = started(w, w.open_terminal());
  const preview_server_actor actor = w.io.route_of(server)->server;

  caf::anon_send(actor, probe_atom_v, probe_outcome::timed_out, uint64_t{0});
  w.run();
  w.kernel.stopped = true;
  caf::anon_send(actor, probe_atom_v, probe_outcome::timed_out, uint64_t{0});
  w.run();

  REQUIRE(w.io.count(event_kind::server_unreachable) == 1);
  CHECK(w.io.last(event_kind::server_unreachable)->reason == unreachable_reason::suspended);
}

TEST_CASE("an address that is registered by hand twice is one server", "[actors][registry]") {
  world w;
  server_description what;
  what.key = {"shop", "ann"};
  what.upstream = {"127.0.0.1", 8000, scheme::http};
  what.answers = true;

  const server_ref first = w.add(what);

  CHECK(w.add(what) == first);
  CHECK(w.status().servers.size() == 1);
}

TEST_CASE("a terminal that dies before it runs has not exited", "[actors][terminal]") {
  world w;
  w.io.starts_terminals = false;
  caf::optional<caf::expected<terminal_info>> opened;
  terminal_request request;
  request.key = {"shop", "ann"};
  ask_later<terminal_info>(w, opened, open_atom_v, request);
  w.run();

  caf::anon_send_exit(w.io.terminals.begin()->second.actor, caf::exit_reason::unhandled_exception);
  w.run();

  REQUIRE(opened);
  CHECK_FALSE(*opened);
  CHECK(w.io.count(event_kind::terminal_exit) == 0);
}

TEST_CASE(
  "a port that another workspace has just left is found once that is known", "[actors][detector]") {
  world w;
  w.add(w.dev_server(w.open_terminal({"blog", "bob"}), 5173, 1));
  const terminal_info terminal = w.open_terminal();
  w.kernel.listening = {2};  // nobody has said yet that socket 1 is gone
  caf::anon_send(w.io.terminals.at(terminal.id).detector, listeners_atom_v,
    std::vector<listener_fact>{{{2, 5173, false}, "127.0.0.1", {job + 1}, job, "vite"}});
  const auto answer_looks = [&] {
    w.advance(300ms);
    for (const auto& look : std::exchange(w.io.looks, {}))
      caf::anon_send(look.reply_to, identity_atom_v, look.token,
        identity{identity::verdict::http, 200, true, "vite", prefix_mode::stripped});
    w.run();
  };

  answer_looks();
  CHECK(w.status().servers.empty());
  w.kernel.close(1);
  w.run();
  answer_looks();

  CHECK(w.status().servers.size() == 1);
}
