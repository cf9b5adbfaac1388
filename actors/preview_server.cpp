#include "previewd/actors/preview_server.hpp"

#include <caf/actor_cast.hpp>
#include <caf/typed_event_based_actor.hpp>
#include <utility>

#include "previewd/actors/health_probe.hpp"
#include "previewd/actors/ws_connection.hpp"
#include "previewd/messages/data_plane.hpp"
#include "previewd/messages/monitor.hpp"

namespace previewd::actors {

namespace {

constexpr const char* suspended_hint =
  "The dev server is stopped. Type fg in its terminal to let it run again; in the background, "
  "start it with "
  "< /dev/null so that it does not wait for the keyboard.";

/// The decisions of one preview server; the behaviour below only hands messages to it.
// How long the end of a process may take before it is believed to be alive after all.
constexpr std::chrono::milliseconds ask_again_after{10};
constexpr uint32_t most_asked_again = 50;

// A server that lives on for so long without the leader of its job does not end with it.
constexpr std::chrono::seconds ends_with_leader{1};

class watcher {
public:
  using self_pointer = preview_server_actor::stateful_pointer<preview_server_state>;

  watcher(self_pointer self, server_ref ref, server_description description, caf::timespan hold,
    uint32_t failures, registry_actor registry, actor_ports ports)
      : self_{self},
        ref_{std::move(ref)},
        description_{std::move(description)},
        hold_{hold},
        failures_{failures},
        registry_{std::move(registry)},
        ports_{ports},
        tunnels_{self} {
    state().was_foreground = description_.foreground;
  }

  void sockets_gone(steady_moment noticed) {
    if (state().down) return;
    state().down = true;
    state().down_since = self_->clock().now();
    self_->send(registry_, down_atom_v, ref_, noticed);
    decide();
    if (state().ended) return;
    // It may be said of the sockets that it had before, and those that it has now are open.
    if (state().moved) ports_.kernel->confirm(ref_);
    self_->delayed_send(self_, hold_, tick_atom_v);
    // No detector looks for what comes after it: it was named, or found by an earlier process.
    if (description_.terminal_id.empty())
      ports_.kernel->await_successor(ref_, description_.upstream);
  }

  /// Also what is gone already is said: nothing can fall between being found and being watched.
  void watch_sockets() {
    if (description_.listeners.empty()) return;
    ports_.kernel->watch(ref_, description_.listeners, {description_.pid}, description_.job_leader,
      caf::actor_cast<preview_server_actor>(self_));
  }

  void succeeded(std::vector<listener_fact> by) {
    if (!state().ended) self_->send(registry_, listeners_atom_v, ref_, std::move(by));
  }

  void hold_over() {
    const stop_reason reason =
      state().seen_by == observer::kernel ? stop_reason::listener_closed : reason_seen();
    end(reason, {});
  }

  void leader_ended(exit_status status) {
    state().leader_gone = self_->clock().now();
    // How it ended is known of a terminal's own process, which may be only what started the server.
    if (description_.pid == description_.job_leader) state().own_exit = std::move(status);
    decide();
  }

  void owner_changed(int32_t pid, std::string command) {
    // Of one that was named and runs in no terminal of its workspace nobody is told who it is.
    if (state().down || (description_.by_hand && description_.terminal_id.empty())) return;
    description_.pid = pid;
    // It outlives the process whose status that was.
    state().own_exit = {};
    self_->send(registry_, owner_atom_v, ref_, pid, std::move(command));
  }

  void foreground_changed(int32_t group, int32_t shell) {
    preview_server_state& st = state();
    st.foreground = group;
    st.shell = shell;
    if (!st.down && group == description_.job_leader) st.was_foreground = true;
    decide();
    // Ctrl+Z and fg both move the terminal: the kernel knows whether the job is stopped now.
    if (!st.down) ask_the_kernel();
  }

  void moved(endpoint to, std::vector<listener_id> listeners) {
    preview_server_state& st = state();
    if (st.ended) return;
    if (description_.upstream != to) self_->send(st.probe, to);
    description_.upstream = std::move(to);
    description_.listeners = std::move(listeners);
    st.moved = true;
    watch_sockets();
    if (st.down) ports_.kernel->confirm(ref_);
  }

  void refused(observer who) {
    if (state().down) return;
    state().route_taken = true;
    if (state().asking) return;
    state().asking = who;
    ask_the_kernel();
  }

  void kernel_said(const listener_state& what) {
    preview_server_state& st = state();
    if (st.down) {
      if (what.listening && std::exchange(st.moved, false)) succeeded(own_sockets());
      return;
    }
    // A process that ends closes its connections before its listening socket: what it refuses or
    // cuts then is no reason to think that somebody is there.
    if (what.listening && !what.owners_alive && st.asking && st.asked_again < most_asked_again) {
      ++st.asked_again;
      self_->delayed_send(self_, ask_again_after, confirm_atom_v);
      return;
    }
    st.asked_again = 0;
    const caf::optional<observer> asked_by = std::exchange(st.asking, caf::none);
    if (!what.listening) {
      if (asked_by) st.seen_by = *asked_by;
      sockets_gone(what.noticed);
      return;
    }
    // It runs on while the shell has the terminal: a background job, whose restarts the prompt says
    // nothing about.
    if (!what.stopped && st.shell != 0 && st.foreground == st.shell) st.was_foreground = false;
    const bool route_taken = std::exchange(st.route_taken, false);
    if (what.stopped) {
      show(server_state::suspended, suspended_hint);
    } else if (st.shown == server_state::suspended) {
      st.timeouts = 0;
      show(server_state::ready, {});
    } else if (st.shown == server_state::ready && st.timeouts > failures_) {
      show(server_state::unreachable, {});
    } else if (route_taken) {
      // Somebody listens after all: the threads that took the route down put it up again.
      self_->send(registry_, state_atom_v, ref_, st.shown, std::string{});
    }
  }

  void ask_again() {
    if (!state().down && state().asking) ask_the_kernel();
  }

  void probed(probe_outcome outcome, uint64_t latency_us) {
    preview_server_state& st = state();
    if (st.down) return;
    st.health.checked_at = std::chrono::system_clock::now();
    st.health.latency_us = latency_us;
    st.health.failures = outcome == probe_outcome::alive ? 0 : st.health.failures + 1;
    self_->send(registry_, health_atom_v, ref_, st.health);
    if (outcome == probe_outcome::timed_out) {
      ++st.timeouts;  // whether it is unreachable, or only stopped, the kernel says
    } else {
      st.timeouts = 0;
      if (outcome == probe_outcome::alive && st.shown == server_state::unreachable)
        show(server_state::ready, {});
    }
    if (description_.listeners.empty()) {
      if (outcome == probe_outcome::refused && !st.asking) st.asking = observer::probe;
      attempt_said(outcome != probe_outcome::refused);
    } else if (!st.asking) {
      // A stopped process accepts connections too, so the kernel is asked whatever the outcome.
      if (outcome == probe_outcome::refused) st.asking = observer::probe;
      ask_the_kernel();
    }
  }

  void tunnel_opened(connection_id id) {
    tunnels_.add(self_, id, ports_);
    tunnels_changed();
  }

  void tell_tunnels() {
    state().tells_tunnels = false;
    // Of one that is gone nobody counts them any more.
    if (state().ended) return;
    self_->send(registry_, tunnel_atom_v, ref_, static_cast<uint64_t>(tunnels_.size()));
  }

  void child_ended(const caf::down_msg& down) {
    if (tunnels_.erase(down.source)) {
      tunnels_changed();
    } else {
      // The registry, or the probe: without either there is nothing left to do right.
      self_->quit(down.reason ? down.reason : caf::error{caf::exit_reason::unhandled_exception});
    }
  }

private:
  /// Whether anybody listens, and whether it is stopped. Of one that was registered by hand no
  /// sockets are known: whether it takes a connection has to do.
  void ask_the_kernel() {
    if (!description_.listeners.empty()) {
      ports_.kernel->confirm(ref_);
    } else if (state().asking) {
      self_->send(state().probe, probe_atom_v);
    } else {
      attempt_said(true);
    }
  }

  std::vector<listener_fact> own_sockets() const {
    std::vector<listener_fact> facts;
    for (const listener_id& one : description_.listeners) {
      listener_fact& fact = facts.emplace_back();
      fact.id = one;
      fact.job_leader = description_.job_leader;
    }
    return facts;
  }

  void attempt_said(bool listening) {
    listener_state what;
    what.listening = listening;
    what.owners_alive = true;
    what.noticed = self_->clock().now().time_since_epoch();
    kernel_said(what);
  }

  preview_server_state& state() { return self_->state; }

  stop_reason reason_seen() {
    switch (state().seen_by) {
      case observer::kernel:
        return stop_reason::process_exited;
      case observer::proxy:
      case observer::websocket:
      case observer::unanswered_websocket:
        return stop_reason::refused;
      case observer::probe:
        return stop_reason::probe_failed;
    }
    return stop_reason::process_exited;
  }

  /// Down, and the job is over: gone for good. Otherwise it may be restarting, until the hold ends.
  void decide() {
    preview_server_state& st = state();
    if (!st.down || st.ended) return;
    // A command that is the terminal's own process has no shell to go back to.
    const bool under_a_shell = description_.job_leader != 0 && description_.job_leader != st.shell;
    const bool shell_is_back =
      under_a_shell && st.was_foreground && st.shell != 0 && st.foreground == st.shell;
    const bool leader_is_gone =
      st.leader_gone && st.down_since - *st.leader_gone <= caf::timespan{ends_with_leader};
    if (leader_is_gone || shell_is_back) end(reason_seen(), st.own_exit);
  }

  void end(stop_reason reason, exit_status status) {
    if (std::exchange(state().ended, true)) return;
    self_->send(
      registry_, stopped_atom_v, ref_, stop_cause{reason, state().seen_by, std::move(status)});
  }

  void show(server_state what, std::string hint) {
    if (state().shown == what) return;
    state().shown = what;
    self_->send(registry_, state_atom_v, ref_, what, std::move(hint));
  }

  /// Once for all tunnels that come and go before its turn has come.
  void tunnels_changed() {
    if (!std::exchange(state().tells_tunnels, true)) self_->send(self_, tunnel_atom_v);
  }

  self_pointer self_;
  server_ref ref_;
  server_description description_;
  caf::timespan hold_;
  uint32_t failures_;
  registry_actor registry_;
  actor_ports ports_;
  owned_connections tunnels_;
};

}  // namespace

preview_server_actor::behavior_type
preview_server(preview_server_actor::stateful_pointer<preview_server_state> self, server_ref ref,
  server_description description, caf::timespan hold, probe_settings probe, registry_actor registry,
  actor_ports ports) {
  const auto me = caf::actor_cast<preview_server_actor>(self);
  hold_ports(self, ports);
  monitor_while_alive(self, registry);
  self->state.probe = self->spawn<caf::monitored>(
    health_probe, description.upstream, probe, ref.generation, me, ports);
  const auto w =
    std::make_shared<watcher>(self, ref, description, hold, probe.failures, registry, ports);
  w->watch_sockets();
  self->set_down_handler([w](caf::down_msg& down) { w->child_ended(down); });
  // Runs whatever ends the actor. The probe watches us and ends by itself.
  self->attach_functor([ref, ports](const caf::error&) { ports.kernel->unwatch(ref); });
  return {
    [=](gone_atom, steady_moment noticed) { w->sockets_gone(noticed); },
    [=](leader_atom, exit_status& status) { w->leader_ended(std::move(status)); },
    [=](
      owner_atom, int32_t pid, std::string& command) { w->owner_changed(pid, std::move(command)); },
    [=](listeners_atom, std::vector<listener_fact>& by) { w->succeeded(std::move(by)); },
    [=](foreground_atom, int32_t group, int32_t shell) { w->foreground_changed(group, shell); },
    [=](listeners_atom, endpoint& to, std::vector<listener_id>& listeners) {
      w->moved(std::move(to), std::move(listeners));
    },
    [=](refused_atom, observer who) { w->refused(who); },
    [=](confirm_atom, const listener_state& what) { w->kernel_said(what); },
    [=](confirm_atom) { w->ask_again(); },
    [=](probe_atom, probe_outcome outcome, uint64_t latency_us) { w->probed(outcome, latency_us); },
    [=](probe_atom) { self->send(self->state.probe, probe_atom_v); },
    [=](tunnel_atom, connection_id id) { w->tunnel_opened(id); },
    [=](tunnel_atom) { w->tell_tunnels(); },
    [=](tick_atom) { w->hold_over(); },
    [=](close_atom) { self->quit(); },
  };
}

}  // namespace previewd::actors
