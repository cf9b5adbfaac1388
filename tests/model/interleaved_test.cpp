// Messages are under way, threads apply routes each at its own time, and actors run in any order;
// the invariants hold after every step, and once everything is quiet the registry has what is
// there.
#include <algorithm>
#include <array>
#include <catch2/catch.hpp>
#include <optional>
#include <sstream>

#include "previewd/support/log.hpp"
#include "previewd/tests/model/check.hpp"
#include "previewd/tests/model/machine.hpp"

using namespace previewd;
using namespace previewd::test;
using namespace std::chrono_literals;

namespace {

// They print alike; the bystander's is the second.
const std::array<workspace_key, 2> workspaces{{{"a_b", "c"}, {"shop", "ann"}}};
const workspace_key bystander_key{"a", "b_c"};
constexpr uint16_t bystander_port = 6000;
constexpr std::size_t nowhere = 1U << 20;  // the terminal of what runs in none
constexpr int burst_size = 2000;

class interleaving {
public:
  explicit interleaving(bool keeps)
      : machine_{keeps ? actors::on_terminal_exit::keep : actors::on_terminal_exit::kill, true} {
    machine_.finds_servers = machine_.detectors_look = true;
    machine_.bystander_port = bystander_port;
    machine_.open_terminal(bystander_key, 0);
    machine_.settle();
    machine::socket_fact socket;
    socket.port = bystander_port;
    socket.job = machine_.next_job++;
    machine_.listen(socket);
    machine_.pass(100ms, 10ms);
    for (const workspace_key& key : workspaces) machine_.open_terminal(key, 0);
    machine_.settle();
  }

  std::string replay(const history& what) {
    std::size_t number = 0;
    for (const command& one : what.commands) {
      perform(one);
      const std::string wrong = broken();
      if (!wrong.empty()) {
        std::ostringstream out;
        out << "after command " << number << ' ' << history{{one}} << ":\n" << wrong;
        return out.str();
      }
      ++number;
    }
    calm_down();
    const std::string wrong = broken() + compare_with_truth() + machine_.accounts();
    return wrong.empty() ? machine_.left_behind() : "once everything is quiet:\n" + wrong;
  }

private:
  void perform(const command& one) {
    switch (one.what) {
      case op::open:
        if (machine_.terminal_facts.size() < 8)
          machine_.open_terminal(workspaces[one.a % 2], one.b % 8 == 0 ? 4 : 0);
        return;
      case op::leave:
        if (const auto i = terminal(one.a)) machine_.leave_shell(*i, one.b % 3);
        return;
      case op::close:
        if (const auto i = terminal(one.a)) machine_.close_terminal(machine_.terminal_facts[*i].id);
        return;
      case op::up:
        return up(one);
      case op::answer:
        if (const auto i = socket(one.a)) machine_.sockets[*i].answers = true;
        return;
      case op::again:
        // Old news and new: what was known of any socket, whatever became of it.
        if (const auto i = socket(one.a); i && machine_.sockets[*i].inode != 0)
          if (was_registered(*i)) machine_.add(machine_.describe(*i));
        return;
      case op::down:
      case op::vanish:
        if (const auto i = socket(one.a)) machine_.close_socket(*i, one.what == op::down);
        return;
      case op::notice:
        return machine_.notice();
      case op::die:
        if (const auto i = socket(one.a)) machine_.end_leader(machine_.sockets[*i].job, one.b % 3);
        return;
      case op::prompt:
        if (const auto i = terminal(one.a))
          machine_.set_foreground(*i, machine_.terminal_facts[*i].pid);
        return;
      case op::foreground:
        if (const auto i = socket(one.a); i && machine_.sockets[*i].terminal != nowhere)
          machine_.set_foreground(machine_.sockets[*i].terminal, machine_.sockets[*i].job);
        return;
      case op::stop:
      case op::cont:
        if (const auto i = socket(one.a)) {
          auto& job = machine_.jobs[machine_.sockets[*i].job];
          job.stopped = one.what == op::stop && job.alive;
        }
        return;
      case op::hang:
        if (const auto i = socket(one.a)) machine_.sockets[*i].hung = one.b % 2 == 0;
        return;
      case op::refuse:
        if (const auto i = server(one.a))
          machine_.refuse(*i, one.b % machine::thread_count,
            one.c % 2 == 0 ? observer::proxy : observer::websocket);
        return;
      case op::tunnel:
        if (const auto i = server(one.a)) machine_.open_tunnel(*i, one.b % machine::thread_count);
        return;
      case op::hang_up:
        if (!machine_.tunnels.empty()) machine_.hang_up(one.a % machine_.tunnels.size());
        return;
      case op::hand_add:
        return hand_add(one);
      case op::hand_remove:
        if (const auto i = server(one.a)) machine_.remove(machine_.server_facts[*i].ref.generation);
        return;
      case op::stale:
        return stale(one);
      case op::kill:
        return kill(one);
      case op::wait:
        return machine_.wait_for(workspaces[one.a % 2], 1s * (1 + one.b % 3));
      case op::pass:
        return pass(one);
      case op::shut_down:
        return machine_.shut_down();
      case op::apply:
        machine_.apply(one.a);
        return;
      case op::deliver:
        machine_.arrive(one.a);
        return;
      case op::duplicate:
        machine_.arrive(one.a, true);
        return;
      case op::run:
        return machine_.run_some(1 + one.a % 12, one.b);
      case op::burst:
        return burst(one);
      default:
        return;
    }
  }

  // -- operands, without the bystander, which is the first of each

  std::optional<std::size_t> terminal(std::size_t which) const {
    return among(machine_.terminal_facts.size(), which);
  }
  std::optional<std::size_t> socket(std::size_t which) const {
    return among(machine_.sockets.size(), which);
  }
  std::optional<std::size_t> server(std::size_t which) const {
    return among(machine_.server_facts.size(), which);
  }
  static std::optional<std::size_t> among(std::size_t count, std::size_t which) {
    if (count < 2) return std::nullopt;
    // The youngest are the most interesting.
    return count - 1 - which % (count - 1);
  }

  bool was_registered(std::size_t index) const {
    return std::any_of(machine_.server_facts.begin(), machine_.server_facts.end(),
      [&](const machine::server_fact& fact) { return fact.socket && *fact.socket == index; });
  }

  // -- commands

  void up(const command& one) {
    const auto home = terminal(one.a);
    if (!home || !machine_.terminal_facts[*home].running) return;
    const auto port = static_cast<uint16_t>(5000 + one.b % 4);
    if (machine_.port_in_use(port)) return;
    machine::socket_fact fact;
    fact.terminal = *home;
    fact.port = port;
    fact.answers = one.c % 4 != 3;
    fact.page = one.c / 4 % 2 == 0;
    fact.job = 0;
    if (one.c / 8 % 2 == 0)  // the job that was there last starts anew
      for (const machine::socket_fact& other : machine_.sockets)
        if (other.terminal == *home && machine_.jobs[other.job].alive) fact.job = other.job;
    if (fact.job == 0) {
      fact.job = machine_.next_job++;
      if (one.c / 16 % 2 == 0) machine_.set_foreground(*home, fact.job);
    }
    machine_.listen(fact);
  }

  void hand_add(const command& one) {
    const auto port = static_cast<uint16_t>(7000 + one.b % 2);
    if (!machine_.port_in_use(port)) {
      machine::socket_fact fact;
      fact.terminal = nowhere;
      fact.port = port;
      fact.job = machine_.next_job++;
      machine_.sockets.push_back(fact);
    }
    server_description what;
    what.key = workspaces[one.a % 2];
    what.upstream = {"127.0.0.1", port, scheme::http};
    what.answers = what.serves_page = true;
    machine_.add(what);
  }

  void stale(const command& one) {
    const auto index = server(one.a);
    if (!index) return;
    server_ref ref = machine_.server_facts[*index].ref;
    if (machine_.is_published(ref)) ref.key = bystander_key;
    switch (one.b % 6) {
      case 0:
        return caf::anon_send(machine_.registry, down_atom_v, ref, steady_moment{0});
      case 1:
        return caf::anon_send(machine_.registry, stopped_atom_v, ref,
          stop_cause{stop_reason::refused, observer::proxy, {}});
      case 2:
        return caf::anon_send(
          machine_.registry, state_atom_v, ref, server_state::unreachable, std::string{});
      case 3:
        return caf::anon_send(machine_.registry, applied_atom_v,
          machine_.server_facts[*index].ref.key, static_cast<uint64_t>(one.c % 4));
      case 4:
        return caf::anon_send(machine_.registry, tick_atom_v, static_cast<uint64_t>(one.c % 8));
      default:
        return caf::anon_send(machine_.registry, tunnel_atom_v, ref, uint64_t{7});
    }
  }

  void kill(const command& one) {
    switch (one.b % 6) {
      case 0:
      case 1:
        if (const auto i = terminal(one.a)) machine_.kill_terminal(*i, one.b % 6 == 1);
        return;
      case 2:
        return machine_.kill_probe();
      case 3:
        if (!machine_.tunnels.empty()) machine_.kill_tunnel(one.a % machine_.tunnels.size());
        return;
      case 4:
        machine_.fail_next_deliver = true;
        return;
      default:
        if (const auto i = server(one.a)) machine_.kill_server(*i);
    }
  }

  /// Time goes by while messages stay under way.
  void pass(const command& one) {
    constexpr std::array times{20ms, 35ms, 100ms, 250ms, 600ms, 2100ms};
    machine_.let_time_pass(times[one.a % times.size()]);
  }

  void burst(const command& one) {
    const auto index = server(one.a);
    if (!index) return;
    const machine::server_fact& fact = machine_.server_facts[*index];
    for (int i = 0; i < burst_size; ++i) {
      switch (one.b % 3) {
        case 0:
          caf::anon_send(fact.actor, foreground_atom_v, 1, 2);
          break;
        case 1:
          caf::anon_send(machine_.registry, applied_atom_v, fact.ref.key, uint64_t{1});
          break;
        default:
          caf::anon_send(machine_.registry, health_atom_v, fact.ref, server_health{});
      }
    }
  }

  // -- the verdict

  std::string broken() {
    std::string wrong;
    for (const std::string& one : machine_.violations) wrong += one + "\n";
    if (machine_.shutting_down) return wrong;
    const server_ref bystander = machine_.server_facts.front().ref;
    for (std::size_t i = 0; i < machine::thread_count; ++i)
      if (bystander.key != bystander_key || !machine_.route_is_up(i, bystander))
        wrong += "the bystander's route is not up\n";
    return wrong;
  }

  /// Everything under way arrives, nobody is stopped or hung any more, and the kernel watch sees
  /// what there is.
  void calm_down() {
    for (auto& [pid, job] : machine_.jobs) job.stopped = false;
    for (machine::socket_fact& fact : machine_.sockets) fact.hung = false;
    machine_.settle();
    machine_.notice();
    machine_.pass(7s, 100ms);
  }

  std::string compare_with_truth() {
    std::string wrong;
    const std::vector<server_info> registered = machine_.servers();
    for (const server_info& info : registered) {
      const std::string name = std::to_string(info.ref.generation);
      const machine::server_fact* fact = machine_.fact_of(info.ref.generation);
      const auto index = fact->socket ? fact->socket : hand_socket(fact->port);
      if (!index || !machine_.sockets[*index].listening) {
        wrong += name + " is registered and nobody listens\n";
        continue;
      }
      const auto wanted =
        machine_.sockets[*index].answers ? server_state::ready : server_state::starting;
      // Without its terminal nobody looks at it again.
      if (info.state != wanted && !info.terminal_id.empty())
        wrong += name + " is " + std::string{to_string(info.state)} + " and should be " +
                 std::string{to_string(wanted)} + "\n";
      for (std::size_t i = 0; i < machine::thread_count; ++i)
        if (info.state == server_state::ready && !machine_.route_is_up(i, info.ref))
          wrong += name + " is ready and thread " + std::to_string(i) + " does not have it up\n";
    }
    for (const auto& thread : machine_.threads)
      for (const auto& [key, routes] : thread.routes)
        for (const route& one : routes->routes)
          if (std::none_of(registered.begin(), registered.end(),
                [&](const server_info& info) { return info.ref == one.ref; }))
            wrong += "a thread has a route to nothing\n";
    for (std::size_t i = 0; i < machine_.sockets.size(); ++i) {
      const machine::socket_fact& fact = machine_.sockets[i];
      if (!fact.listening || fact.inode == 0 || machine_.shutting_down ||
          !machine_.terminal_facts[fact.terminal].tracked || was_removed(i))
        continue;
      if (std::none_of(registered.begin(), registered.end(), [&](const server_info& info) {
            const machine::server_fact* server = machine_.fact_of(info.ref.generation);
            return server->socket && *server->socket == i;
          }))
        wrong += "a dev server listens on " + std::to_string(fact.port) + " and is not found\n";
    }
    if (machine_.unanswered != 0) wrong += "a request is never answered\n";
    return wrong;
  }

  caf::optional<std::size_t> hand_socket(uint16_t port) const {
    for (std::size_t i = 0; i < machine_.sockets.size(); ++i)
      if (machine_.sockets[i].inode == 0 && machine_.sockets[i].port == port &&
          machine_.sockets[i].listening)
        return i;
    return caf::none;
  }

  /// Somebody had a reason to remove its server: it is not found again.
  bool was_removed(std::size_t index) const {
    return std::any_of(machine_.server_facts.begin(), machine_.server_facts.end(),
      [&](const machine::server_fact& fact) {
        return fact.socket && *fact.socket == index && fact.doomed;
      });
  }

  machine machine_;
};

std::string replay(const history& what) {
  const bool keeps = std::any_of(what.commands.begin(), what.commands.end(),
    [](const command& one) { return one.what == op::keep; });
  return interleaving{keeps}.replay(what);
}

}  // namespace

TEST_CASE("no order of messages breaks the invariants", "[model][I1][I2][I3]") {
  log::configure({.threshold = log::level::off});
  CHECK(check_histories("interleaved", default_histories(50000), 120,
    {{1, op::keep}, {4, op::open}, {3, op::leave}, {3, op::close}, {16, op::up}, {3, op::answer},
      {3, op::again}, {8, op::down}, {5, op::vanish}, {3, op::notice}, {5, op::die},
      {6, op::prompt}, {4, op::foreground}, {3, op::stop}, {3, op::cont}, {3, op::hang},
      {8, op::refuse}, {8, op::tunnel}, {2, op::hang_up}, {3, op::hand_add}, {4, op::hand_remove},
      {6, op::stale}, {5, op::kill}, {2, op::wait}, {24, op::pass}, {1, op::shut_down},
      {24, op::apply}, {50, op::deliver}, {8, op::duplicate}, {50, op::run}, {1, op::burst}},
    replay));
}

TEST_CASE("kept histories with messages under way go well", "[model][kept]") {
  log::configure({.threshold = log::level::off});
  for (const kept_history& kept : kept_interleaved_histories()) {
    INFO(kept.name);
    CHECK(replay(kept.what) == "");
  }
}
