#include "previewd/tests/model/machine.hpp"

#include <algorithm>
#include <limits>
#include <stdexcept>

#include "previewd/actors/registry.hpp"
#include "previewd/messages/error.hpp"

namespace previewd::test {

using namespace std::chrono_literals;

namespace {

// The answers of the I/O threads, which settle() lets arrive first.
constexpr std::size_t acknowledgements = std::numeric_limits<std::size_t>::max();

std::string name(const server_ref& ref) {
  return server_key(ref.key) + "/" + std::to_string(ref.generation);
}

}  // namespace

deterministic_system& shared_system() {
  // Never destroyed: at the program's end parts of CAF are gone before any static of ours.
  static deterministic_system* const system = std::make_unique<deterministic_system>().release();
  return *system;
}

template <class Handle, class... Message>
void machine::later(std::size_t order, const Handle& whom, Message... message) {
  if (!whom) return;
  flight_.push_back({[whom, message...] { caf::anon_send(whom, message...); }, order});
}

template <class Answer, class... Message>
void machine::request(std::function<std::string(const Answer&)> show,
  std::vector<std::string>& where, Message... message) {
  ++unanswered;
  clients_.push_back(
    system_.system().spawn([this, show, &where, message...](caf::event_based_actor* self) {
      self->request(caf::actor_cast<caf::actor>(registry), caf::infinite, message...)
        .then(
          [this, show, &where](const Answer& answer) {
            --unanswered;
            where.push_back(show(answer));
          },
          [this, &where](const caf::error& why) {
            --unanswered;
            where.push_back(std::string{to_code(code_of(why))});
          });
    }));
}

machine::machine(actors::on_terminal_exit on_exit, bool with_probes) : on_exit_{on_exit} {
  actors_before_ = system_.running_actors();
  actors::registry_settings settings;
  settings.first_number = first_number;
  settings.terminals_per_user = 3;
  settings.event_ring = 16;
  settings.exited_kept = 60s;
  settings.terminal.on_exit = on_exit;
  settings.now = [this] { return wall_time{now_}; };
  settings.new_terminal_id = [this] {
    // All of one length, so that their order is that of their opening.
    return "t" + std::to_string(1000 + ++opened_);
  };
  // Where the specification says how probes went, nothing else may.
  settings.probe.interval = with_probes ? caf::timespan{500ms} : caf::timespan{10h};
  settings.probe.timeout = 100ms;
  const actors::actor_ports ports{this, this, {}};
  registry = system_.system().spawn(actors::registry, std::move(settings), ports);
  system_.run();
}

machine::~machine() {
  left_behind();
}

bool machine::is_published(const server_ref& ref) const {
  const auto it = published_.find(ref.key);
  return it != published_.end() && std::any_of(it->second->routes.begin(), it->second->routes.end(),
                                     [&](const route& one) { return one.ref == ref; });
}

std::string machine::accounts() {
  std::string wrong;
  const std::vector<server_info> registered = servers();
  std::size_t running = 0;
  for (const terminal_info& info : terminals())
    if (info.state == terminal_state::running) ++running;
  std::size_t tracked = 0;
  for (const terminal_fact& one : terminal_facts) tracked += one.tracked ? 1 : 0;
  if (tracked != running) wrong += "tracked terminals are not those that run (I3)\n";
  std::size_t with_sockets = 0;
  for (const server_info& info : registered) {
    const server_fact* fact = fact_of(info.ref.generation);
    if (fact == nullptr) {
      wrong += "a server has no route\n";
    } else if (fact->socket) {
      ++with_sockets;
    }
  }
  if (watching_.size() != with_sockets) wrong += "watches are not those of the servers (I3)\n";
  for (const tunnel_fact& tunnel : tunnels)
    if (tunnel.open && !is_published(tunnel.ref)) wrong += "a tunnel to nothing is open (I2)\n";
  if (status_of(*this, {"a", "b"}).sequence != first_number + events.size())
    wrong += "an event was not handed on\n";
  const std::size_t wanted =
    actors_before_ + 2 + 2 * running + 2 * registered.size() + open_tunnels() + unanswered;
  if (system_.running_actors() != wanted)
    wrong += std::to_string(system_.running_actors()) + " actors instead of " +
             std::to_string(wanted) + " (I3)\n";
  return wrong;
}

std::string machine::left_behind() {
  if (!registry) return {};
  caf::anon_send_exit(registry, caf::exit_reason::user_shutdown);
  system_.run();
  std::string left;
  if (const auto n = system_.running_actors() - actors_before_; n != 0 && unanswered == 0)
    left += std::to_string(n) + " actors outlive the registry (I3)\n";
  if (!watching_.empty()) left += "a watch outlives the registry (I3)\n";
  for (const tunnel_fact& tunnel : tunnels)
    if (tunnel.open && tunnel.actor) left += "a tunnel outlives the registry (I3)\n";
  for (const terminal_fact& one : terminal_facts)
    if (one.tracked) left += "a terminal is tracked that has no actor (I3)\n";
  for (const caf::actor& client : clients_)
    caf::anon_send_exit(client, caf::exit_reason::user_shutdown);
  clients_.clear();
  flight_.clear();
  watching_.clear();
  published_.clear();
  probes_.clear();
  terminal_facts.clear();
  server_facts.clear();
  tunnels.clear();
  for (auto& thread : threads) thread = {};
  registry = registry_actor{};
  // Timers hold their actors until they fire.
  system_.coordinator().advance_time(12h);
  system_.run();
  return left;
}

// -- what happens

void machine::open_terminal(const workspace_key& key, unsigned wrong) {
  terminal_request wanted;
  wanted.key = key;
  switch (wrong) {
    case 1:
      wanted.key.user = "../etc";
      break;
    case 2:
      wanted.size.columns = 0;
      break;
    case 3:
      wanted.cwd = "src";
      break;
    case 4:
      fail_next_open = true;
      break;
    default:
      break;
  }
  request<terminal_info>(
    [](const terminal_info& info) { return info.id; }, answers, open_atom_v, wanted);
}

void machine::leave_shell(std::size_t index, int code) {
  terminal_fact& terminal = terminal_facts[index];
  if (!std::exchange(terminal.running, false)) return;
  if (on_exit_ == actors::on_terminal_exit::kill) terminal.doomed = true;
  terminal.causes.insert(stop_reason::terminal_exited);
  // The kernel watch says it of those it follows; of a later one as soon as it does.
  if (terminal.tracked) later(0, terminal.actor, exited_atom_v, exit_status{code, {}});
  const int32_t shell = terminal.pid;
  end_leader(shell, code);
  for (std::size_t i = 0; i < sockets.size(); ++i)
    if (sockets[i].job == shell) close_socket(i, true);
}

void machine::close_terminal(const std::string& id) {
  if (terminal_fact* terminal = find_terminal(id);
      terminal != nullptr && (terminal->running || terminal->tracked)) {
    terminal->doomed = true;
    terminal->causes.insert(stop_reason::terminal_closed);
  }
  request<terminal_info>(
    [](const terminal_info& info) { return info.id; }, answers, close_atom_v, id);
}

std::size_t machine::listen(const socket_fact& what) {
  sockets.push_back(what);
  sockets.back().inode = next_inode_++;
  if (finds_servers) send_listing(what.terminal);
  return sockets.size() - 1;
}

void machine::send_listing(std::size_t index) {
  const terminal_fact& terminal = terminal_facts[index];
  if (!terminal.tracked) return;
  std::vector<listener_fact> facts;
  for (const socket_fact& socket : sockets)
    if (socket.listening && socket.terminal == index && socket.inode != 0)
      facts.push_back(
        {{socket.inode, socket.port, false}, "127.0.0.1", {socket.job + 1}, socket.job, "dev"});
  std::sort(facts.begin(), facts.end(),
    [](const listener_fact& a, const listener_fact& b) { return a.id.port < b.id.port; });
  // One thread sends them, so they arrive in order, however late.
  later(index + 1, terminal.detector, listeners_atom_v, std::move(facts));
}

void machine::set_foreground(std::size_t index, int32_t group) {
  terminal_fact& terminal = terminal_facts[index];
  terminal.foreground = group;
  later(0, terminal.actor, foreground_atom_v, group);
}

void machine::close_socket(std::size_t index, bool noticed) {
  sockets[index].listening = false;
  if (noticed) notice_socket(index);
}

void machine::notice() {
  for (std::size_t i = 0; i < sockets.size(); ++i) notice_socket(i);
}

void machine::notice_socket(std::size_t index) {
  socket_fact& socket = sockets[index];
  if (socket.listening || std::exchange(socket.noticed, true) || socket.inode == 0) return;
  for (const auto& [generation, what] : watching_)
    if (what.socket == index) later(0, what.reply_to, gone_atom_v, steady_moment{0});
  if (finds_servers) send_listing(socket.terminal);
}

void machine::end_leader(int32_t job, int code) {
  job_fact& fact = jobs[job];
  if (!std::exchange(fact.alive, false)) return;
  fact.stopped = false;
  for (const auto& [generation, what] : watching_)
    if (what.job_leader == job) later(0, what.reply_to, leader_atom_v, exit_status{code, {}});
}

void machine::refuse(std::size_t index, std::size_t thread, observer who) {
  server_fact& server = server_facts[index];
  if (!route_is_up(thread, server.ref)) return;
  threads[thread].marked_down.insert(server.ref.generation);
  // What was registered by hand has no sockets that could be asked about.
  if (!server.socket) server.doomed = true;
  later(0, server.actor, refused_atom_v, who);
}

void machine::open_tunnel(std::size_t index, std::size_t thread) {
  const server_fact& server = server_facts[index];
  if (!route_is_up(thread, server.ref)) return;
  const connection_id id{static_cast<uint32_t>(thread), next_connection_++};
  tunnels.push_back({id, server.ref, {}, true});
  later(0, server.actor, tunnel_atom_v, id);
}

void machine::hang_up(std::size_t index) {
  close(tunnels[index]);
}

void machine::close(tunnel_fact& tunnel) {
  if (!std::exchange(tunnel.open, false)) return;
  later(0, tunnel.actor, closed_atom_v);
}

void machine::add(const server_description& what) {
  request<server_ref>([](const server_ref& ref) { return std::to_string(ref.generation); }, answers,
    add_atom_v, what);
}

void machine::remove(uint64_t generation) {
  if (server_fact* server = fact_of(generation)) {
    server->doomed = true;
    server->causes.insert(stop_reason::removed);
  }
  request<stop_record>(
    [](const stop_record& record) { return std::string{to_string(record.reason)}; }, answers,
    remove_atom_v, generation);
}

void machine::wait_for(const workspace_key& key, caf::timespan time) {
  request<workspace_status>(
    [](const workspace_status& status) {
      return status.servers.empty() || !status.servers.front().primary
               ? "nothing"
               : std::to_string(status.servers.front().ref.generation);
    },
    waits, status_atom_v, key, time);
}

void machine::shut_down() {
  shutting_down = true;
  request<uint64_t>([](uint64_t removed) { return "removed " + std::to_string(removed); }, answers,
    shutdown_atom_v);
}

void machine::kill_server(std::size_t index) {
  server_facts[index].doomed = true;
  server_facts[index].causes.insert(stop_reason::removed);
  caf::anon_send_exit(server_facts[index].actor, caf::exit_reason::unhandled_exception);
}

void machine::kill_terminal(std::size_t index, bool detector) {
  terminal_fact& terminal = terminal_facts[index];
  terminal.doomed = true;
  terminal.causes.insert(stop_reason::terminal_exited);
  if (detector) {
    caf::anon_send_exit(terminal.detector, caf::exit_reason::unhandled_exception);
  } else {
    caf::anon_send_exit(terminal.actor, caf::exit_reason::unhandled_exception);
  }
}

void machine::kill_tunnel(std::size_t index) {
  if (tunnels[index].actor)
    caf::anon_send_exit(tunnels[index].actor, caf::exit_reason::unhandled_exception);
}

void machine::kill_probe() {
  if (probes_.empty()) return;
  for (server_fact& server : server_facts) {
    if (server.port != probes_.back().second) continue;
    server.doomed = true;
    server.causes.insert(stop_reason::removed);
  }
  caf::anon_send_exit(probes_.back().first, caf::exit_reason::unhandled_exception);
  probes_.pop_back();
}

server_description machine::describe(std::size_t index) const {
  const socket_fact& socket = sockets[index];
  const terminal_fact& terminal = terminal_facts[socket.terminal];
  server_description what;
  what.key = terminal.key;
  what.terminal_id = terminal.id;
  what.upstream = {"127.0.0.1", socket.port, scheme::http};
  what.pid = socket.job + 1;
  what.job_leader = socket.job;
  what.listeners = {{socket.inode, socket.port, false}};
  what.answers = socket.answers;
  what.serves_page = socket.answers && socket.page;
  what.foreground = terminal.foreground == socket.job;
  return what;
}

// -- who runs, and when

bool machine::arrive(std::size_t which, bool again) {
  if (flight_.empty()) return false;
  which %= flight_.size();
  const std::size_t order = flight_[which].order;
  const bool ordered = order != 0 && order != acknowledgements;
  if (ordered)
    for (std::size_t i = 0; i < which; ++i)
      if (flight_[i].order == order) which = i;
  const message_under_way next = flight_[which];
  // A copy of what has to arrive in order may come at once only.
  if (!again || ordered) flight_.erase(flight_.begin() + static_cast<std::ptrdiff_t>(which));
  next.arrive();
  if (again && ordered) next.arrive();
  return true;
}

bool machine::apply(std::size_t index) {
  io_thread_fact& thread = threads[index % thread_count];
  if (thread.inbox.empty()) return false;
  const auto [routes, acknowledgement] = std::move(thread.inbox.front());
  thread.inbox.pop_front();
  auto& present = thread.routes[routes->key];
  if (!present || routes->revision > present->revision) {
    present = routes;
    // Every revision says anew which routes are up.
    for (const route& one : routes->routes) {
      thread.marked_down.erase(one.ref.generation);
      thread.seen.insert(one.ref.generation);
    }
    close_tunnels_of(index % thread_count, routes->key);
  }
  if (--acknowledgement->remaining == 0)
    later(acknowledgements, acknowledgement->reply_to, applied_atom_v, acknowledgement->key,
      acknowledgement->revision);
  return true;
}

void machine::close_tunnels_of(std::size_t thread, const workspace_key& key) {
  for (tunnel_fact& tunnel : tunnels) {
    if (!tunnel.open || tunnel.id.thread != thread || tunnel.ref.key != key) continue;
    const route* one = route_of(thread, tunnel.ref);
    if (one == nullptr || one->state == route_state::held) close(tunnel);
  }
}

void machine::run_some(unsigned count, unsigned chosen_by) {
  auto& jobs_waiting = system_.coordinator().jobs;
  for (; count > 0 && !jobs_waiting.empty(); --count) {
    chosen_by = chosen_by * 1103515245U + 12345U;
    std::swap(jobs_waiting.front(), jobs_waiting[(chosen_by >> 16) % jobs_waiting.size()]);
    system_.coordinator().try_run_once();
  }
}

void machine::settle() {
  while (true) {
    system_.run();
    bool applied = false;
    for (std::size_t i = 0; i < thread_count; ++i)
      while (apply(i)) applied = true;
    if (applied) {
      // What the threads say of it arrives before anything else.
      const auto acknowledged = std::stable_partition(flight_.begin(), flight_.end(),
        [](const message_under_way& one) { return one.order != acknowledgements; });
      std::vector<message_under_way> first{
        std::make_move_iterator(acknowledged), std::make_move_iterator(flight_.end())};
      flight_.erase(acknowledged, flight_.end());
      for (const message_under_way& one : first) one.arrive();
      continue;
    }
    if (!arrive(0)) return;
  }
}

void machine::pass(std::chrono::milliseconds time, std::chrono::milliseconds step) {
  for (auto passed = 0ms; passed < time; passed += step) {
    now_ += step;
    system_.coordinator().advance_time(step);
    settle();
  }
}

void machine::let_time_pass(std::chrono::milliseconds time) {
  now_ += time;
  system_.coordinator().advance_time(time);
}

// -- what can be seen

std::vector<server_info> machine::servers() {
  const auto answer =
    system_.ask<std::vector<server_info>>(registry, list_atom_v, server_atom_v, workspace_filter{});
  if (answer) return *answer;
  broken("the registry does not answer");
  return {};
}

std::vector<terminal_info> machine::terminals() {
  const auto answer = system_.ask<std::vector<terminal_info>>(
    registry, list_atom_v, terminal_atom_v, workspace_filter{});
  if (answer) return *answer;
  broken("the registry does not answer");
  return {};
}

workspace_status status_of(machine& m, const workspace_key& key) {
  const auto answer =
    shared_system().ask<workspace_status>(m.registry, status_atom_v, key, caf::timespan{0});
  if (answer) return *answer;
  m.violations.push_back("the registry does not answer");
  return {};
}

const route* machine::route_of(std::size_t thread, const server_ref& ref) const {
  const auto it = threads[thread].routes.find(ref.key);
  if (it == threads[thread].routes.end()) return nullptr;
  for (const route& one : it->second->routes)
    if (one.ref == ref) return &one;
  return nullptr;
}

bool machine::route_is_up(std::size_t thread, const server_ref& ref) const {
  const route* one = route_of(thread, ref);
  return one != nullptr && one->state == route_state::up &&
         !threads[thread].marked_down.contains(ref.generation);
}

const machine::socket_fact* machine::socket_at(uint16_t port) const {
  for (const socket_fact& socket : sockets)
    if (socket.listening && socket.port == port) return &socket;
  return nullptr;
}

bool machine::port_in_use(uint16_t port) const {
  return socket_at(port) != nullptr;
}

machine::server_fact* machine::fact_of(uint64_t generation) {
  for (server_fact& server : server_facts)
    if (server.ref.generation == generation) return &server;
  return nullptr;
}

machine::terminal_fact* machine::find_terminal(const std::string& id) {
  for (terminal_fact& terminal : terminal_facts)
    if (terminal.id == id) return &terminal;
  return nullptr;
}

std::size_t machine::open_tunnels() const {
  return static_cast<std::size_t>(std::count_if(
    tunnels.begin(), tunnels.end(), [](const tunnel_fact& tunnel) { return tunnel.open; }));
}

bool machine::may_leave(const server_ref& ref) {
  const server_fact* server = fact_of(ref.generation);
  if (server == nullptr || server->doomed || shutting_down) return true;
  if (!server->socket)  // its actor has not said yet which socket it watches
    return std::any_of(sockets.begin(), sockets.end(), [&](const socket_fact& socket) {
      return socket.inode != 0 && socket.port == server->port &&
             (!socket.listening || terminal_facts[socket.terminal].doomed);
    });
  const socket_fact& socket = sockets[*server->socket];
  return !socket.listening || terminal_facts[socket.terminal].doomed;
}

std::set<stop_reason> machine::causes_of(const server_fact& server) const {
  std::set<stop_reason> causes = server.causes;
  if (shutting_down) causes.insert(stop_reason::shutdown);
  bool gone = !server.socket && server.doomed;
  for (std::size_t i = 0; i < sockets.size(); ++i) {
    const socket_fact& socket = sockets[i];
    if (server.socket ? i != *server.socket : socket.port != server.port) continue;
    gone = gone || !socket.listening;
    if (socket.inode == 0) continue;
    const auto& of_terminal = terminal_facts[socket.terminal].causes;
    causes.insert(of_terminal.begin(), of_terminal.end());
  }
  if (gone)
    causes.insert({stop_reason::process_exited, stop_reason::listener_closed, stop_reason::refused,
      stop_reason::probe_failed});
  return causes;
}

// -- data_plane

void machine::publish(workspace_routes what, registry_actor reply_to) {
  auto& before = published_[what.key];
  if (before && what.revision <= before->revision) broken("a revision does not grow");
  for (const route& one : what.routes) {
    if (one.ref.key != what.key) broken("a route of another workspace");
    server_fact* known = fact_of(one.ref.generation);
    if (known == nullptr) {
      for (const server_fact& other : server_facts)
        if (other.ref.generation >= one.ref.generation) broken("a generation does not grow (I1)");
      server_facts.push_back(
        {one.ref, caf::none, one.upstream.port, one.server, false, false, {}, {}});
      known = &server_facts.back();
    } else if (known->ref != one.ref) {
      broken("two servers have one generation (I1)");
    } else if (known->actor != one.server) {
      broken("a generation has another actor");
    }
    if (one.state == route_state::up) {
      known->was_up = true;
    } else if (one.state == route_state::held && known->was_up &&
               last_event_[one.ref.generation] == 1 && !may_leave(one.ref)) {
      broken("I1: " + name(one.ref) + " is held though nothing happened to it");
    }
  }
  if (std::count_if(
        what.routes.begin(), what.routes.end(), [](const route& one) { return one.primary; }) > 1)
    broken("more than one primary");
  if (before) {
    for (const route& one : before->routes) {
      const bool still = std::any_of(what.routes.begin(), what.routes.end(),
        [&](const route& other) { return other.ref == one.ref; });
      if (!still && !may_leave(one.ref))
        broken("I1: " + name(one.ref) + " is removed though nothing happened to it");
      if (server_fact* server = fact_of(one.ref.generation); !still && server != nullptr)
        server->may_tell = causes_of(*server);
    }
  }
  before = std::make_shared<const workspace_routes>(std::move(what));
  const auto acknowledgement =
    std::make_shared<io_thread_fact::acknowledgement>(io_thread_fact::acknowledgement{
      before->key, before->revision, std::move(reply_to), thread_count});
  for (io_thread_fact& thread : threads) thread.inbox.emplace_back(before, acknowledgement);
}

void machine::deliver(const event& what) {
  // No event twice: one that ends the bus again and again is left to be replayed.
  if (fail_next_deliver && what.sequence != failed_event) {
    fail_next_deliver = false;
    failed_event = what.sequence;
    throw std::runtime_error{"no event today"};
  }
  if (what.sequence != first_number + events.size() + 1)
    broken("the sequence of events has a gap or goes back");
  if (what.stop) {
    const server_ref& ref = what.stop->ref;
    for (std::size_t i = 0; i < thread_count; ++i)
      if (route_of(i, ref) != nullptr)
        broken("I2: " + name(ref) + " is told stopped, thread " + std::to_string(i) +
               " has a route to it");
    for (const tunnel_fact& tunnel : tunnels)
      if (tunnel.open && tunnel.ref == ref) broken("I2: told stopped with a tunnel open");
    if (last_event_[ref.generation] == 2) broken("an event of a generation after its end");
    last_event_[ref.generation] = 2;
    if (const server_fact* server = fact_of(ref.generation);
        server != nullptr && !server->may_tell.contains(what.stop->reason))
      broken("told stopped by what came later than its end: " +
             std::string{to_string(what.stop->reason)});
    if (what.stop->sequence != what.sequence) broken("a stop record names another sequence");
  } else if (what.server) {
    const server_info& server = *what.server;
    uint64_t& last = last_event_[server.ref.generation];
    if (last == 2) broken("an event of a generation after its end");
    if (what.kind == event_kind::server_started) {
      if (last == 1) broken("a generation is started twice");
      last = 1;
      for (const io_thread_fact& thread : threads)
        if (!thread.seen.contains(server.ref.generation))
          broken("told started before every thread has its route");
      if (server.previous_generation != 0) {
        if (server.previous_generation >= server.ref.generation)
          broken("a previous generation is newer (I1)");
        if (last_event_[server.previous_generation] == 2)
          broken("a generation is replaced after its end");
        last_event_[server.previous_generation] = 2;
      }
    } else if (last == 0 && what.kind != event_kind::server_unreachable) {
      broken("a generation recovers before it was started");
    }
  }
  events.push_back(what);
}

void machine::probe(
  const endpoint& target, caf::timespan, uint64_t round, health_probe_actor reply_to) {
  if (target.port != bystander_port) probes_.emplace_back(reply_to, target.port);
  if (probes_.size() > 8) probes_.erase(probes_.begin());
  const socket_fact* socket = socket_at(target.port);
  if (socket != nullptr && socket->hung) return;  // its own deadline is the answer
  for (server_fact& server : server_facts)
    if (!server.socket && server.port == target.port && socket == nullptr) server.doomed = true;
  later(0, reply_to, round, socket == nullptr ? probe_outcome::refused : probe_outcome::alive,
    uint64_t{100});
}

void machine::identify(const endpoint& target, const workspace_key&, caf::timespan, uint64_t token,
  detector_actor reply_to) {
  if (!detectors_look) return;
  const socket_fact* socket = socket_at(target.port);
  identity what;
  if (socket != nullptr) {
    what.outcome = identity::verdict::http;
    what.status = socket->answers ? 200 : 503;
    what.html = socket->page;
  }
  later(0, reply_to, identity_atom_v, token, what);
}

void machine::open_terminal(terminal_spec spec, terminal_actor actor, detector_actor detector) {
  if (std::exchange(fail_next_open, false))
    return later(0, actor, failed_atom_v, make_error(errc::pty_failed, "There is no PTY left."));
  terminal_fact fact;
  fact.id = spec.id;
  fact.key = spec.key;
  fact.pid = next_pid_++;
  fact.actor = actor;
  fact.detector = std::move(detector);
  fact.running = true;
  fact.foreground = fact.pid;
  jobs[fact.pid] = {};
  later(0, actor, opened_atom_v, fact.pid, spec.cwd);
  terminal_facts.push_back(std::move(fact));
}

void machine::finish_terminal(const std::string& id) {
  terminal_fact* terminal = find_terminal(id);
  if (terminal == nullptr || std::exchange(terminal->finished, true)) return;
  later(0, terminal->actor, drained_atom_v);
}

void machine::forget_terminal(const std::string& id) {
  if (terminal_fact* terminal = find_terminal(id)) terminal->forgotten = true;
}

void machine::adopt_connection(connection_id id, ws_connection_actor actor) {
  for (tunnel_fact& tunnel : tunnels) {
    if (!(tunnel.id == id)) continue;
    tunnel.actor = std::move(actor);
    if (!tunnel.open) later(0, tunnel.actor, closed_atom_v);
  }
}

void machine::close_connection(connection_id id) {
  for (tunnel_fact& tunnel : tunnels) {
    if (!(tunnel.id == id)) continue;
    tunnel.open = false;
    tunnel.actor = ws_connection_actor{};
  }
}

// -- kernel_watch

void machine::track(const std::string& id, int32_t, terminal_actor, detector_actor) {
  terminal_fact* terminal = find_terminal(id);
  if (terminal == nullptr) return;
  if (!std::exchange(terminal->tracked, true) && !terminal->running)
    later(0, terminal->actor, exited_atom_v, exit_status{});
  if (finds_servers) send_listing(static_cast<std::size_t>(terminal - terminal_facts.data()));
}

void machine::untrack(const std::string& id) {
  if (terminal_fact* terminal = find_terminal(id)) terminal->tracked = false;
}

void machine::scan(const std::string&) {}

void machine::watch(const server_ref& ref, std::vector<listener_id> listeners, std::vector<int32_t>,
  int32_t job_leader, preview_server_actor reply_to) {
  for (std::size_t i = 0; i < sockets.size(); ++i) {
    if (sockets[i].inode != listeners.front().inode) continue;
    if (server_fact* server = fact_of(ref.generation)) server->socket = i;
    watching_[ref.generation] = {i, job_leader, reply_to};
    if (!sockets[i].listening) later(0, reply_to, gone_atom_v, steady_moment{0});
  }
}

void machine::unwatch(const server_ref& ref) {
  watching_.erase(ref.generation);
}

void machine::confirm(const server_ref& ref) {
  const auto it = watching_.find(ref.generation);
  if (it == watching_.end()) return;
  const socket_fact& socket = sockets[it->second.socket];
  later(0, it->second.reply_to, confirm_atom_v,
    listener_state{
      socket.listening, socket.listening && jobs[socket.job].stopped, true, steady_moment{0}});
}

void machine::end_processes(const std::string& id, int32_t, kill_ladder, terminal_actor reply_to) {
  terminal_fact* terminal = find_terminal(id);
  if (terminal == nullptr) return;
  const auto index = static_cast<std::size_t>(terminal - terminal_facts.data());
  if (std::exchange(terminal->running, false))
    later(0, terminal->actor, exited_atom_v, exit_status{caf::none, "SIGHUP"});
  for (std::size_t i = 0; i < sockets.size(); ++i) {
    if (sockets[i].terminal != index || sockets[i].inode == 0) continue;
    end_leader(sockets[i].job, 129);
    close_socket(i, true);
  }
  later(0, reply_to, ended_atom_v);
}

}  // namespace previewd::test
