// After each command everything that can happen happens; then the registry, the routes of every
// thread and the events must be what the specification says, exactly.
#include <algorithm>
#include <array>
#include <catch2/catch.hpp>
#include <sstream>

#include "previewd/messages/error.hpp"
#include "previewd/support/log.hpp"
#include "previewd/tests/model/check.hpp"
#include "previewd/tests/model/machine.hpp"
#include "previewd/tests/model/specification.hpp"

using namespace previewd;
using namespace previewd::test;
using namespace std::chrono_literals;

namespace {

// The first two print alike.
const std::array<workspace_key, 3> workspaces{{{"a_b", "c"}, {"a", "b_c"}, {"shop", "ann"}}};

int workspace_index(const workspace_key& key) {
  return static_cast<int>(
    std::find(workspaces.begin(), workspaces.end(), key) - workspaces.begin());
}

std::string text_of(const event& what) {
  switch (what.kind) {
    case event_kind::server_started:
      return "started " + std::to_string(what.server->ref.generation) + " after " +
             std::to_string(what.server->previous_generation) +
             (what.server->primary ? " primary" : "");
    case event_kind::server_stopped:
      return "stopped " + std::to_string(what.stop->ref.generation) + " " +
             std::string{to_string(what.stop->reason)};
    case event_kind::server_unreachable:
      return "unreachable " + std::to_string(what.server->ref.generation) + " " +
             std::string{to_string(what.reason)};
    case event_kind::server_recovered:
      return "recovered " + std::to_string(what.server->ref.generation) + " " +
             std::string{to_string(what.reason)};
    case event_kind::server_primary:
      return "primary " + std::to_string(what.server->ref.generation);
    case event_kind::server_access:
      return "access " + std::to_string(what.server->ref.generation);
    case event_kind::terminal_exit:
      return "exit " + what.terminal->id;
  }
  return {};
}

std::string text_of(const server_info& info) {
  return std::to_string(info.ref.generation) + " in " +
         std::to_string(workspace_index(info.ref.key)) + " of " + info.terminal_id + " at " +
         std::to_string(info.upstream.port) + " " + std::string{to_string(info.state)} +
         (info.primary ? " primary" : "") + " after " + std::to_string(info.previous_generation) +
         " tunnels " + std::to_string(info.tunnels);
}

std::string text_of(const route& one) {
  return std::to_string(one.ref.generation) + " " + std::string{to_string(one.state)} +
         (one.primary ? " primary" : "");
}

std::string list_of(const std::vector<std::string>& lines) {
  std::string result;
  for (const std::string& line : lines) result += "    " + line + "\n";
  return result.empty() ? "    nothing\n" : result;
}

/// Replays one history in the machine and in the specification at once.
class lockstep {
public:
  explicit lockstep(bool keeps)
      : machine_{keeps ? actors::on_terminal_exit::keep : actors::on_terminal_exit::kill, false},
        specification_{keeps, machine::first_number} {}

  std::string replay(const history& what) {
    std::size_t number = 0;
    for (const command& one : what.commands) {
      expected_answers_.clear();
      machine_.answers.clear();
      perform(one);
      machine_.settle();
      const std::string wrong = compare();
      if (!wrong.empty()) {
        std::ostringstream out;
        out << "after command " << number << ' ' << history{{one}} << ":\n" << wrong;
        return out.str();
      }
      ++number;
    }
    const std::string wrong = compare_for_good();
    return wrong.empty() ? machine_.left_behind() : "at the end:\n" + wrong;
  }

private:
  using cause = specification::cause;

  void perform(const command& one) {
    switch (one.what) {
      case op::open:
        return open(one);
      case op::leave:
        if (const auto terminal = running_terminal(one.a)) leave(*terminal, one.b % 3);
        return;
      case op::close:
        return close(one);
      case op::up:
        return up(one);
      case op::answer:
        return answer(one);
      case op::again:
        if (!machine_.sockets.empty()) register_socket(one.a % machine_.sockets.size());
        return;
      case op::down:
      case op::vanish:
        if (const auto socket = socket_of(one.a)) close_socket(*socket, one.what == op::down);
        return;
      case op::notice:
        machine_.notice();
        return tell_noticed();
      case op::die:
        return die(one);
      case op::prompt:
        if (const auto terminal = running_terminal(one.a))
          set_foreground(*terminal, machine_.terminal_facts[*terminal].pid);
        return;
      case op::foreground:
        if (const auto socket = socket_of(one.a)) {
          const machine::socket_fact& fact = machine_.sockets[*socket];
          if (machine_.terminal_facts[fact.terminal].running)
            set_foreground(fact.terminal, fact.job);
        }
        return;
      case op::stop:
      case op::cont:
        if (const auto socket = socket_of(one.a)) {
          machine::job_fact& job = machine_.jobs[machine_.sockets[*socket].job];
          job.stopped = one.what == op::stop && job.alive;
        }
        return;
      case op::refuse:
        return refuse(one);
      case op::probe:
        return probe(one);
      case op::tunnel:
        return tunnel(one);
      case op::hang_up:
        return hang_up(one, false);
      case op::hand_add:
        return hand_add(one);
      case op::hand_remove:
        return hand_remove(one);
      case op::stale:
        return stale(one);
      case op::kill:
        return kill(one);
      case op::wait: {
        const std::size_t which = one.a % workspaces.size();
        machine_.wait_for(workspaces[which], 1s * (1 + one.b % 3));
        return specification_.wait(static_cast<int>(which), 1000 * (1 + one.b % 3));
      }
      case op::pass:
        return pass(one);
      case op::shut_down:
        if (specification_.shutting_down()) return;
        machine_.shut_down();
        return expect(specification_.shut_down());
      default:
        return;
    }
  }

  // -- operands: counted round among those that there are

  std::optional<std::size_t> running_terminal(std::size_t which) const {
    std::vector<std::size_t> running;
    for (std::size_t i = 0; i < machine_.terminal_facts.size(); ++i)
      if (specification_.terminal_runs(machine_.terminal_facts[i].id)) running.push_back(i);
    if (running.empty()) return std::nullopt;
    return running[which % running.size()];
  }

  specification::server* live(std::size_t which) {
    auto& servers = specification_.live;
    return servers.empty() ? nullptr : &servers[which % servers.size()];
  }

  /// The socket of a server that is registered.
  std::optional<std::size_t> socket_of(std::size_t which) {
    std::vector<std::size_t> sockets;
    for (const specification::server& one : specification_.live)
      if (one.socket >= 0) sockets.push_back(static_cast<std::size_t>(one.socket));
    if (sockets.empty()) return std::nullopt;
    return sockets[which % sockets.size()];
  }

  std::size_t fact_index(uint64_t generation) const {
    for (std::size_t i = 0; i < machine_.server_facts.size(); ++i)
      if (machine_.server_facts[i].ref.generation == generation) return i;
    return machine_.server_facts.size();
  }

  specification::truth truth_of(int socket) {
    if (socket < 0) return {};
    const machine::socket_fact& fact = machine_.sockets[static_cast<std::size_t>(socket)];
    const machine::job_fact& job = machine_.jobs[fact.job];
    return {fact.listening, fact.listening && job.stopped};
  }

  void expect(const std::string& answer) { expected_answers_.push_back(answer); }

  // -- commands

  void open(const command& one) {
    const std::size_t which = one.a % workspaces.size();
    const unsigned wrong = one.b % 8 < 4 ? 0 : one.b % 8 - 3;
    const std::size_t before = machine_.terminal_facts.size();
    machine_.open_terminal(workspaces[which], wrong);
    machine_.settle();
    machine_.fail_next_open = false;
    const bool opened = machine_.terminal_facts.size() > before;
    expect(
      specification_.open(opened ? machine_.terminal_facts.back().id : "", static_cast<int>(which),
        static_cast<int>(which), opened ? machine_.terminal_facts.back().pid : 0, wrong));
  }

  void leave(std::size_t terminal, int code) {
    const machine::terminal_fact fact = machine_.terminal_facts[terminal];
    machine_.leave_shell(terminal, code);
    specification_.leader_ended(fact.pid);
    tell_noticed();
    specification_.shell_left(fact.id);
  }

  void close(const command& one) {
    std::string id = "nobody";
    if (one.b % 8 != 7 && !machine_.terminal_facts.empty())
      id = machine_.terminal_facts[one.a % machine_.terminal_facts.size()].id;
    machine_.close_terminal(id);
    expect(specification_.close(id));
  }

  void up(const command& one) {
    const auto terminal = running_terminal(one.a);
    if (!terminal) return;
    const auto port = static_cast<uint16_t>(one.b % 8 == 7 ? 40000 : 5000 + one.b % 4);
    if (machine_.port_in_use(port)) return;
    machine::socket_fact socket;
    socket.terminal = *terminal;
    socket.port = port;
    socket.answers = one.c % 4 != 3;
    socket.page = one.c / 4 % 2 == 0;
    const int32_t shell = machine_.terminal_facts[*terminal].pid;
    int32_t last_job = 0;
    for (const machine::socket_fact& other : machine_.sockets)
      if (other.terminal == *terminal && machine_.jobs[other.job].alive) last_job = other.job;
    switch (one.c / 8 % 5) {
      case 0:  // a new job in the foreground
      case 1:
        socket.job = machine_.next_job++;
        set_foreground(*terminal, socket.job);
        machine_.settle();
        break;
      case 2:  // a new job in the background
        socket.job = machine_.next_job++;
        break;
      case 3:  // the job that was there last starts anew
        socket.job = last_job != 0 ? last_job : machine_.next_job++;
        break;
      default:  // the terminal's own process
        socket.job = shell;
    }
    printed_.push_back(one.c / 64 % 2 == 1);
    register_socket(machine_.listen(socket));
  }

  void register_socket(std::size_t index) {
    const machine::socket_fact& socket = machine_.sockets[index];
    server_description what = machine_.describe(index);
    what.printed = printed_[index];
    machine_.add(what);
    specification::server server;
    server.workspace = workspace_index(what.key);
    server.terminal = what.terminal_id;
    server.port = socket.port;
    server.job = socket.job;
    server.socket = static_cast<int>(index);
    server.answers = what.answers;
    server.page = what.serves_page;
    server.printed = what.printed;
    server.prompt_ends_it = what.foreground;
    expect(specification_.add(server, truth_of(server.socket)));
  }

  void answer(const command& one) {
    specification::server* server = live(one.a);
    if (server == nullptr || server->socket < 0) return;
    const auto index = static_cast<std::size_t>(server->socket);
    machine_.sockets[index].answers = true;
    machine_.sockets[index].page = one.b % 2 == 1;
    server_description what = machine_.describe(index);
    what.printed = server->printed;
    caf::anon_send(machine_.registry, identity_atom_v,
      machine_.server_facts[fact_index(server->generation)].ref, what);
    specification_.identified(server->generation, what.serves_page);
  }

  void close_socket(std::size_t socket, bool noticed) {
    machine_.close_socket(socket, noticed);
    if (noticed) tell_noticed();
  }

  /// What the kernel watch has noticed and not said yet.
  void tell_noticed() {
    for (std::size_t i = 0; i < machine_.sockets.size(); ++i)
      if (machine_.sockets[i].noticed && noticed_.insert(i).second)
        specification_.socket_gone(static_cast<int>(i));
  }

  void die(const command& one) {
    const auto socket = socket_of(one.a);
    if (!socket) return;
    const machine::socket_fact fact = machine_.sockets[*socket];
    if (!machine_.jobs[fact.job].alive) return;
    if (fact.job == machine_.terminal_facts[fact.terminal].pid) {
      if (machine_.terminal_facts[fact.terminal].running) leave(fact.terminal, one.b % 3);
      return;
    }
    machine_.end_leader(fact.job, one.b % 3);
    specification_.leader_ended(fact.job);
  }

  void set_foreground(std::size_t terminal, int32_t group) {
    const std::string id = machine_.terminal_facts[terminal].id;
    machine_.set_foreground(terminal, group);
    specification_.foreground_is(id, group);
    // Both the prompt and fg make it look.
    std::vector<std::pair<uint64_t, int>> of_terminal;
    for (const specification::server& one : specification_.live)
      if (one.terminal == id && !one.down) of_terminal.emplace_back(one.generation, one.socket);
    for (const auto& [generation, socket] : of_terminal)
      specification_.looked(generation, std::nullopt, truth_of(socket));
  }

  void refuse(const command& one) {
    const specification::server* server = live(one.a);
    if (server == nullptr) return;
    const std::size_t index = fact_index(server->generation);
    const std::size_t thread = one.b % machine::thread_count;
    if (!machine_.route_is_up(thread, machine_.server_facts[index].ref)) return;
    machine_.refuse(index, thread, one.c % 2 == 0 ? observer::proxy : observer::websocket);
    specification::truth is = truth_of(server->socket);
    // Who runs elsewhere and refuses is believed.
    if (server->socket < 0) is.listening = false;
    specification_.looked(server->generation, cause::refused, is);
  }

  void probe(const command& one) {
    const specification::server* server = live(one.a);
    if (server == nullptr) return;
    const auto outcome = static_cast<probe_outcome>(one.b % 3);
    const std::size_t index = fact_index(server->generation);
    if (server->socket < 0 && outcome == probe_outcome::refused)
      machine_.server_facts[index].doomed = true;
    caf::anon_send(machine_.server_facts[index].actor, probe_atom_v, outcome, uint64_t{100});
    specification::truth is = truth_of(server->socket);
    if (server->socket < 0) is.listening = outcome != probe_outcome::refused;
    specification_.probed(server->generation,
      outcome == probe_outcome::alive     ? specification::probe_result::alive
      : outcome == probe_outcome::refused ? specification::probe_result::refused
                                          : specification::probe_result::timed_out,
      is);
  }

  void tunnel(const command& one) {
    specification::server* server = live(one.a);
    if (server == nullptr) return;
    const std::size_t index = fact_index(server->generation);
    const std::size_t thread = one.b % machine::thread_count;
    if (!machine_.route_is_up(thread, machine_.server_facts[index].ref)) return;
    machine_.open_tunnel(index, thread);
    ++server->tunnels;
  }

  void hang_up(const command& one, bool fault) {
    std::vector<std::size_t> open;
    for (std::size_t i = 0; i < machine_.tunnels.size(); ++i)
      if (machine_.tunnels[i].open) open.push_back(i);
    if (open.empty()) return;
    const std::size_t which = open[one.a % open.size()];
    if (auto* server = specification_.find(machine_.tunnels[which].ref.generation))
      --server->tunnels;
    if (fault) {
      machine_.kill_tunnel(which);
    } else {
      machine_.hang_up(which);
    }
  }

  void hand_add(const command& one) {
    const std::size_t which = one.a % workspaces.size();
    server_description what;
    what.key = workspaces[which];
    what.upstream = {"127.0.0.1", static_cast<uint16_t>(7000 + one.b % 2), scheme::http};
    what.answers = true;
    what.serves_page = one.c % 2 == 0;
    machine_.add(what);
    specification::server server;
    server.workspace = static_cast<int>(which);
    server.port = what.upstream.port;
    server.answers = true;
    server.page = what.serves_page;
    expect(specification_.add(server, {}));
  }

  void hand_remove(const command& one) {
    uint64_t generation = 1;
    // One that is there, or was once.
    if (one.b % 8 != 7 && !machine_.server_facts.empty())
      generation = machine_.server_facts[one.a % machine_.server_facts.size()].ref.generation;
    machine_.remove(generation);
    expect(specification_.remove(generation));
  }

  /// Late news of a generation that has ended, or of a living one under another workspace's name:
  /// nothing may come of it.
  void stale(const command& one) {
    if (machine_.server_facts.empty()) return;
    const machine::server_fact& fact = machine_.server_facts[one.a % machine_.server_facts.size()];
    server_ref ref = fact.ref;
    if (specification_.find(ref.generation) != nullptr) {
      ref.key = workspaces[static_cast<std::size_t>(workspace_index(ref.key) + 1 + one.c % 2) %
                           workspaces.size()];
    }
    switch (one.b % 9) {
      case 0:
        return caf::anon_send(machine_.registry, down_atom_v, ref, steady_moment{0});
      case 1:
        return caf::anon_send(machine_.registry, stopped_atom_v, ref,
          stop_cause{stop_reason::refused, observer::proxy, {}});
      case 2:
        return caf::anon_send(machine_.registry, state_atom_v, ref,
          static_cast<server_state>(1 + 2 * (one.c % 2)), std::string{});
      case 3: {
        server_description what;
        what.key = ref.key;
        what.answers = what.serves_page = true;
        return caf::anon_send(machine_.registry, identity_atom_v, ref, what);
      }
      case 4:
        return caf::anon_send(machine_.registry, tunnel_atom_v, ref, uint64_t{9});
      case 5:
        return caf::anon_send(machine_.registry, health_atom_v, ref, server_health{});
      case 6:
        return caf::anon_send(
          machine_.registry, applied_atom_v, fact.ref.key, static_cast<uint64_t>(one.c % 8));
      case 7:
        return caf::anon_send(machine_.registry, tick_atom_v, static_cast<uint64_t>(one.c % 8));
      default:
        return caf::anon_send(machine_.registry, ended_atom_v, std::string{"nobody"});
    }
  }

  void kill(const command& one) {
    switch (one.b % 4) {
      case 0:
      case 1:
        if (const auto terminal = running_terminal(one.a)) {
          const std::string id = machine_.terminal_facts[*terminal].id;
          machine_.kill_terminal(*terminal, one.b % 4 == 1);
          specification_.terminal_died(id);
          // Its processes are ended too; nobody who is registered minds.
        }
        return;
      case 2:
        if (const specification::server* server = live(one.a)) {
          machine_.kill_server(fact_index(server->generation));
          specification_.actor_died(server->generation);
        }
        return;
      default:
        return hang_up(one, true);
    }
  }

  void pass(const command& one) {
    constexpr std::array<int64_t, 6> times{50, 200, 250, 1000, 1750, 61000};
    int64_t left = times[one.a % times.size()];
    while (left > 0) {
      // Once nothing is under way that is due in a moment, time goes by in greater steps.
      const int64_t step = left > 58000 || left < 3000 ? 50 : 1000;
      machine_.pass(std::chrono::milliseconds{step}, std::chrono::milliseconds{step});
      specification_.time_passed(step);
      left -= step;
    }
  }

  // -- comparison

  static void differ(std::string& wrong, const std::string& what,
    const std::vector<std::string>& expected, const std::vector<std::string>& is) {
    if (expected != is)
      wrong += what + " should be\n" + list_of(expected) + "  but is\n" + list_of(is);
  }

  std::string compare() {
    std::string wrong;
    std::vector<std::string> events;
    for (const event& one : machine_.events) events.push_back(text_of(one));
    differ(wrong, "the events", specification_.events, events);
    differ(wrong, "the answers", expected_answers_, machine_.answers);
    differ(wrong, "the answers to who waited", specification_.waits, machine_.waits);
    if (machine_.unanswered != specification_.waiting()) wrong += "a request is not answered\n";
    std::vector<std::string> servers;
    std::vector<server_info> infos = machine_.servers();
    std::sort(infos.begin(), infos.end(), [](const server_info& a, const server_info& b) {
      return a.ref.generation < b.ref.generation;
    });
    for (const server_info& info : infos) servers.push_back(text_of(info));
    differ(wrong, "the servers", specification_.servers(), servers);
    std::vector<std::string> terminals;
    for (const terminal_info& info : machine_.terminals())
      terminals.push_back(info.id + " " + std::string{to_string(info.state)});
    differ(wrong, "the terminals", specification_.terminals(), terminals);
    for (std::size_t i = 0; i < workspaces.size(); ++i) compare_routes(wrong, i);
    for (const std::string& one : machine_.violations) wrong += one + "\n";
    return wrong;
  }

  void compare_routes(std::string& wrong, std::size_t workspace) {
    const auto expected = specification_.routes(static_cast<int>(workspace));
    const std::string expected_stop = specification_.last_stop(static_cast<int>(workspace));
    for (std::size_t i = 0; i < machine::thread_count; ++i) {
      std::vector<std::string> routes;
      std::string stop = "none";
      const auto it = machine_.threads[i].routes.find(workspaces[workspace]);
      if (it != machine_.threads[i].routes.end()) {
        for (const route& one : it->second->routes) {
          routes.push_back(text_of(one));
          if (one.state == route_state::up && !machine_.route_is_up(i, one.ref))
            wrong += "a thread took a route down and never got it back\n";
        }
        if (const auto& record = it->second->last_stop)
          stop =
            std::to_string(record->ref.generation) + " " + std::string{to_string(record->reason)};
      }
      differ(wrong, "the routes of workspace " + std::to_string(workspace), expected, routes);
      if (stop != expected_stop)
        wrong += "the last stop should be " + expected_stop + " but is " + stop + "\n";
    }
  }

  /// What is dear to ask and changes seldom.
  std::string compare_for_good() {
    std::string wrong;
    for (const machine::server_fact& fact : machine_.server_facts) {
      const auto record = shared_system().ask<stop_record>(
        machine_.registry, lookup_atom_v, stopped_atom_v, fact.ref.generation);
      const std::string is = record ? std::string{to_string(record->reason)}
                                    : std::string{to_code(code_of(record.error()))};
      const std::string expected = specification_.record_of(fact.ref.generation);
      if (is != expected) wrong += "the record should be " + expected + " but is " + is + "\n";
    }
    for (std::size_t i = 0; i < workspaces.size(); ++i) {
      const workspace_status status = status_of(machine_, workspaces[i]);
      if (status.sequence != machine::first_number + machine_.events.size())
        wrong += "the sequence of a status is not that of the newest event\n";
    }
    return wrong;
  }

  machine machine_;
  specification specification_;
  std::vector<std::string> expected_answers_;
  std::vector<bool> printed_;  // by socket
  std::set<std::size_t> noticed_;
};

std::string replay(const history& what) {
  const bool keeps = std::any_of(what.commands.begin(), what.commands.end(),
    [](const command& one) { return one.what == op::keep; });
  return lockstep{keeps}.replay(what);
}

}  // namespace

TEST_CASE("the registry does what its specification says", "[model][I1][I2][I3][I7]") {
  log::configure({.threshold = log::level::off});
  CHECK(check_histories("quiescent", default_histories(50000), 80,
    {{1, op::keep}, {8, op::open}, {3, op::leave}, {3, op::close}, {14, op::up}, {5, op::answer},
      {3, op::again}, {8, op::down}, {4, op::vanish}, {2, op::notice}, {5, op::die},
      {6, op::prompt}, {4, op::foreground}, {4, op::stop}, {3, op::cont}, {6, op::refuse},
      {8, op::probe}, {5, op::tunnel}, {2, op::hang_up}, {3, op::hand_add}, {4, op::hand_remove},
      {6, op::stale}, {4, op::kill}, {3, op::wait}, {12, op::pass}, {1, op::shut_down}},
    replay));
}

TEST_CASE("kept histories go well", "[model][kept]") {
  log::configure({.threshold = log::level::off});
  for (const kept_history& kept : kept_quiescent_histories()) {
    INFO(kept.name);
    CHECK(replay(kept.what) == "");
  }
}
