#pragma once

#include <caf/actor_cast.hpp>
#include <caf/send.hpp>
#include <map>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "previewd/messages/data_plane.hpp"
#include "previewd/messages/kernel_watch.hpp"

namespace previewd::test {

/// I/O threads that do nothing but keep what they are told, for tests of actors.
class fake_data_plane : public data_plane {
public:
  struct terminal_record {
    terminal_spec spec;
    terminal_actor actor;
    detector_actor detector;
    bool finished = false;
  };
  struct look {
    endpoint target;
    uint64_t token;
    detector_actor reply_to;
  };
  struct probe_call {
    endpoint target;
    uint64_t round;
    health_probe_actor reply_to;
  };

  /// Whether routes count as applied by every thread at once; otherwise the test calls `apply`.
  bool applies_at_once = true;
  /// Whether a terminal's process starts at once.
  bool starts_terminals = true;

  std::map<workspace_key, workspace_routes> routes;  // as the threads have them
  std::vector<event> events;
  std::vector<std::string> violations;
  std::map<std::string, terminal_record> terminals;
  std::vector<look> looks;
  std::vector<probe_call> probes;
  std::map<uint64_t, ws_connection_actor> connections;  // by number
  std::set<uint64_t> open;                              // connections that are open
  int32_t next_pid = 1000;

  void publish(workspace_routes what, registry_actor reply_to) override {
    waiting.push_back({std::move(what), std::move(reply_to)});
    if (applies_at_once) apply();
  }

  /// Applies everything that was published, as the slowest thread would at last.
  void apply() {
    for (auto& [what, reply_to] : std::exchange(waiting, {})) {
      workspace_routes& present = routes[what.key];
      const auto key = what.key;
      const auto revision = what.revision;
      if (what.revision > present.revision) present = std::move(what);
      if (reply_to) caf::anon_send(reply_to, applied_atom_v, key, revision);
    }
  }

  void deliver(const event& what) override {
    if (what.kind == event_kind::server_stopped && reachable(what.stop->ref))
      violations.push_back("I2: told stopped while a thread still has a route to it");
    if (!events.empty() && what.sequence <= events.back().sequence)
      violations.push_back("sequence does not grow");
    events.push_back(what);
  }

  void probe(
    const endpoint& target, caf::timespan, uint64_t round, health_probe_actor reply_to) override {
    probes.push_back({target, round, std::move(reply_to)});
  }

  void identify(const endpoint& target, const workspace_key&, caf::timespan, uint64_t token,
    detector_actor reply_to) override {
    looks.push_back({target, token, std::move(reply_to)});
  }

  void
  open_terminal(terminal_spec spec, terminal_actor terminal, detector_actor detector) override {
    const std::string id = spec.id;
    const std::string cwd = spec.cwd.empty() ? "/home/of/account" : spec.cwd;
    terminals[id] = {std::move(spec), terminal, std::move(detector), false};
    if (starts_terminals) caf::anon_send(terminal, opened_atom_v, next_pid++, cwd);
  }

  void finish_terminal(const std::string& id) override {
    const auto it = terminals.find(id);
    if (it == terminals.end() || std::exchange(it->second.finished, true)) return;
    caf::anon_send(it->second.actor, drained_atom_v);
  }

  void forget_terminal(const std::string& id) override { terminals.erase(id); }

  void adopt_connection(connection_id id, ws_connection_actor actor) override {
    connections[id.number] = std::move(actor);
    open.insert(id.number);
  }

  void close_connection(connection_id id) override {
    open.erase(id.number);
    connections.erase(id.number);
  }

  const route* route_of(const server_ref& ref) const {
    const auto it = routes.find(ref.key);
    if (it == routes.end()) return nullptr;
    for (const route& one : it->second.routes)
      if (one.ref == ref) return &one;
    return nullptr;
  }

  /// Whether a request could reach it.
  bool reachable(const server_ref& ref) const {
    const route* one = route_of(ref);
    return one != nullptr && one->state == route_state::up;
  }

  std::size_t count(event_kind kind) const {
    std::size_t n = 0;
    for (const event& e : events) n += e.kind == kind ? 1 : 0;
    return n;
  }

  const event* last(event_kind kind) const {
    for (auto it = events.rbegin(); it != events.rend(); ++it)
      if (it->kind == kind) return &*it;
    return nullptr;
  }

  /// Lets go of every actor, so that the system can end.
  void clear() {
    waiting.clear();
    routes.clear();
    terminals.clear();
    looks.clear();
    probes.clear();
    connections.clear();
  }

private:
  std::vector<std::pair<workspace_routes, registry_actor>> waiting;
};

/// A kernel with the sockets and processes that the test says.
class fake_kernel_watch final : public kernel_watch {
public:
  struct watched {
    std::vector<listener_id> listeners;
    int32_t job_leader;
    preview_server_actor reply_to;
  };

  std::map<server_ref, watched, bool (*)(const server_ref&, const server_ref&)> watching{
    [](const server_ref& a, const server_ref& b) { return a.generation < b.generation; }};
  std::map<std::string, std::pair<terminal_actor, detector_actor>> tracked;
  std::set<uint64_t> listening;  // inodes in the table
  bool stopped = false;          // every process is in state T
  bool owners_alive = true;      // not so while the last of them ends
  bool ends_processes = true;    // the kill ladder is over at once
  std::size_t scans = 0;
  steady_moment noticed = steady_moment::zero();  // what is said to have been noticed then
  std::vector<std::string> ladders;
  std::size_t confirms = 0;       // asked for
  std::vector<uint64_t> awaited;  // generations whose successors are waited for

  void
  track(const std::string& id, int32_t, terminal_actor terminal, detector_actor detector) override {
    tracked[id] = {std::move(terminal), std::move(detector)};
  }
  void untrack(const std::string& id) override { tracked.erase(id); }
  void scan(const std::string&) override { ++scans; }

  void watch(const server_ref& ref, std::vector<listener_id> listeners, std::vector<int32_t>,
    int32_t job_leader, preview_server_actor reply_to) override {
    if (!listens(listeners)) caf::anon_send(reply_to, gone_atom_v, noticed);
    watching[ref] = {std::move(listeners), job_leader, std::move(reply_to)};
  }
  void await_successor(const server_ref& ref, const endpoint&) override {
    awaited.push_back(ref.generation);
  }
  void unwatch(const server_ref& ref) override { watching.erase(ref); }

  void confirm(const server_ref& ref) override {
    ++confirms;
    const auto it = watching.find(ref);
    if (it == watching.end()) return;
    caf::anon_send(it->second.reply_to, confirm_atom_v,
      listener_state{listens(it->second.listeners), stopped, owners_alive, noticed});
  }

  void
  end_processes(const std::string& id, int32_t, kill_ladder, terminal_actor reply_to) override {
    ladders.push_back(id);
    if (ends_processes && reply_to) caf::anon_send(reply_to, ended_atom_v);
  }

  // What happens in this kernel.

  /// The socket closes; whoever watches it is told.
  void close(uint64_t inode) {
    listening.erase(inode);
    for (auto& [ref, what] : watching)
      if (!listens(what.listeners)) caf::anon_send(what.reply_to, gone_atom_v, noticed);
  }

  /// The leader of the job ends.
  void end_leader(int32_t pid) {
    for (auto& [ref, what] : watching)
      if (what.job_leader == pid)
        caf::anon_send(what.reply_to, leader_atom_v, exit_status{130, {}});
  }

  bool listens(const std::vector<listener_id>& listeners) const {
    for (const listener_id& id : listeners)
      if (listening.contains(id.inode)) return true;
    return false;
  }

  void clear() {
    watching.clear();
    tracked.clear();
  }
};

}  // namespace previewd::test
