#include "previewd/actors/registry.hpp"

#include <algorithm>
#include <caf/actor_cast.hpp>
#include <caf/send.hpp>
#include <caf/typed_event_based_actor.hpp>
#include <caf/typed_response_promise.hpp>
#include <deque>
#include <list>
#include <map>
#include <set>
#include <unordered_map>
#include <utility>

#include "previewd/actors/event_bus.hpp"
#include "previewd/actors/preview_server.hpp"
#include "previewd/actors/server_table.hpp"
#include "previewd/actors/terminal.hpp"
#include "previewd/actors/unsaved.hpp"
#include "previewd/actors/ws_connection.hpp"
#include "previewd/messages/data_plane.hpp"
#include "previewd/messages/error.hpp"
#include "previewd/support/log.hpp"

namespace previewd::actors {

namespace {

constexpr std::size_t remembered_removals = 1024;

caf::error port_taken(const endpoint& at) {
  return make_error(errc::port_taken,
    "Port " + std::to_string(at.port) + " belongs to a server of another workspace.");
}

caf::error no_terminal(const std::string& id) {
  return make_error(errc::terminal_not_found, "No terminal has the id " + id + ".");
}

/// Whether nobody has asked for it.
bool is_seen(stop_reason reason) {
  switch (reason) {
    case stop_reason::process_exited:
    case stop_reason::refused:
    case stop_reason::probe_failed:
    case stop_reason::listener_closed:
      return true;
    default:
      return false;
  }
}

}  // namespace

/// The registry's decisions and their effects; the behaviour below only hands messages to it.
class registrar {
public:
  using self_pointer = registry_actor::stateful_pointer<registry_state>;

  registrar(self_pointer self, registry_settings settings, actor_ports ports)
      : self_{self},
        settings_{std::move(settings)},
        ports_{ports},
        table_{settings_.first_number, remembered_removals, settings_.access},
        sequence_{settings_.first_number},
        journal_{std::make_shared<event_journal>(settings_.first_number)},
        clients_{self},
        unsaved_{settings_.found} {
    start_event_bus();
    if (settings_.store) self->monitor(settings_.store);
  }

  // -- terminals
  // ----------------------------------------------------------------------------------------------------------

  caf::result<terminal_info> open(terminal_request request) {
    if (shutting_down_) return make_error(errc::shutting_down, "The service is ending.");
    if (caf::error wrong = check(request, settings_.terminal)) return wrong;
    if (caf::error over = make_room_for(request.key.user)) return over;

    terminal_order order{settings_.new_terminal_id(), std::move(request), {}};
    order.label = table_.know(order.request.key);
    // A preview address of this workspace is known from now on, also before there is a server.
    ports_.io->publish(table_.next_routes(order.request.key), registry_actor{});
    terminal_entry& entry = terminals_[order.id];
    entry.info.id = order.id;
    entry.info.key = order.request.key;
    entry.info.size = order.request.size;
    const terminal_spec spec = spec_of(order, settings_.terminal);
    entry.info.cwd = spec.cwd;
    entry.info.command = command_line(spec.argv);
    entry.info.created_at = settings_.now();
    entry.opening = self_->make_response_promise<terminal_info>();
    const std::string id = order.id;
    entry.actor = self_->spawn<caf::monitored>(terminal, std::move(order), settings_.terminal,
      settings_.detection, caf::actor_cast<registry_actor>(self_), ports_);
    owners_[caf::actor_cast<caf::actor_addr>(entry.actor)] = id;
    return entry.opening;
  }

  void terminal_opened(const std::string& id, int32_t pid, std::string cwd) {
    terminal_entry* entry = find_terminal(id);
    if (entry == nullptr) return;
    entry->info.pid = pid;
    entry->info.cwd = std::move(cwd);
    entry->running = true;
    log::info("terminal_opened", "Terminal opened",
      {{"key", server_key(entry->info.key)}, {"terminal", id}, {"pid", pid}});
    entry->opening.deliver(entry->info);
  }

  void terminal_failed(const std::string& id, caf::error why) {
    terminal_entry* entry = find_terminal(id);
    if (entry == nullptr) return;
    entry->opening.deliver(std::move(why));
    forget_terminal(id);
    finish_shutdown();
  }

  caf::result<terminal_info> close(const std::string& id) {
    terminal_entry* entry = find_terminal(id);
    if (entry == nullptr || entry->info.state == terminal_state::closing) return no_terminal(id);
    if (entry->info.state == terminal_state::exited && !entry->running) {
      const terminal_info info = entry->info;
      forget_terminal(id);
      return info;
    }
    entry->info.state = terminal_state::closing;
    closing_call call{entry->info, {}, {}};
    for (const server_ref& ref : table_.of_terminal(id)) {
      call.remaining.insert(ref.generation);
      remove(ref, {stop_reason::terminal_closed, observer::kernel, {}});
    }
    self_->send(entry->actor, close_atom_v);
    if (call.remaining.empty()) return call.info;
    log::info(
      "terminal_closed", "Manually closing terminal, removing preview server", {{"terminal", id}});
    // The terminal may be gone before its servers are: the call waits on its own.
    call.promise = self_->make_response_promise<terminal_info>();
    closing_.push_back(std::move(call));
    return closing_.back().promise;
  }

  void terminal_exited(const std::string& id, const exit_status& status) {
    terminal_entry* entry = find_terminal(id);
    if (entry == nullptr || entry->exited) return;
    entry->exited = true;
    entry->info.exit = status;
    if (entry->info.state == terminal_state::running) entry->info.state = terminal_state::exited;
    const std::vector<server_ref> servers = table_.of_terminal(id);
    if (settings_.terminal.on_exit == on_terminal_exit::kill) {
      if (!servers.empty())
        log::info("terminal_exited",
          "Terminal exited, removing preview server for " + server_key(entry->info.key),
          {{"terminal", id}});
      for (const server_ref& ref : servers) {
        const bool is_own = table_.find(ref)->info.pid == entry->info.pid;
        remove(
          ref, {stop_reason::terminal_exited, observer::kernel, is_own ? status : exit_status{}});
      }
    } else {
      bool news = false;
      for (const server_ref& ref : servers) {
        server_entry* server = table_.find(ref);
        server->description.terminal_id.clear();
        server->info.terminal_id.clear();
        // Nobody looks at it any more: requests go to it as it is.
        news = news || !server->description.answers || !server->description.prefix_known;
        use_as_it_is(*server);
      }
      keep(entry->info.key);
      if (news) after_change(entry->info.key);
    }
    if (entry->info.pid == 0) return;  // it never ran, so nobody has heard of it
    event what;
    what.kind = event_kind::terminal_exit;
    what.key = entry->info.key;
    what.terminal = entry->info;
    publish(std::move(what));
  }

  /// Nothing that was started in the terminal is alive any more. One that was closed is gone now;
  /// one that exited by itself can still be read for a while.
  void terminal_ended(const std::string& id) {
    terminal_entry* entry = find_terminal(id);
    if (entry == nullptr) return;
    entry->running = false;
    if (entry->actor) owners_.erase(caf::actor_cast<caf::actor_addr>(entry->actor));
    entry->actor = terminal_actor{};
    if (entry->info.state == terminal_state::closing || shutting_down_) {
      forget_terminal(id);
    } else {
      entry->forget_at = self_->clock().now() + settings_.exited_kept;
      wake_at(entry->forget_at);
    }
    finish_shutdown();
  }

  void foreground_changed(const std::string& id, int32_t group, int32_t shell) {
    terminal_entry* entry = find_terminal(id);
    if (entry == nullptr) return;
    entry->foreground = group;
    for (const server_ref& ref : table_.of_terminal(id))
      self_->send(table_.find(ref)->actor, foreground_atom_v, group, shell);
  }

  std::vector<terminal_info> terminals(const workspace_filter& filter) const {
    std::vector<terminal_info> result;
    for (const auto& [id, entry] : terminals_)
      if (filter.matches(entry.info.key) && entry.info.pid != 0) result.push_back(entry.info);
    std::stable_sort(result.begin(), result.end(),
      [](const terminal_info& a, const terminal_info& b) { return a.created_at < b.created_at; });
    return result;
  }

  caf::result<terminal_info> terminal_of(const std::string& id) {
    const terminal_entry* entry = find_terminal(id);
    if (entry == nullptr) return no_terminal(id);
    return entry->info;
  }

  // -- servers
  // ------------------------------------------------------------------------------------------------------------

  caf::result<server_ref> add(server_description what) {
    if (shutting_down_) return make_error(errc::shutting_down, "The service is ending.");
    if (!valid(what.key))
      return make_error(errc::invalid_name,
        "A project and a user have 1 to 64 characters of A-Z a-z 0-9 . _ ~ @ + -.");
    if (what.by_hand) {
      if (runs_elsewhere(what)) return port_taken(what.upstream);
      forget_ended_home(what);
    }
    const terminal_entry* home =
      what.terminal_id.empty() ? nullptr : find_terminal(what.terminal_id);
    if (!what.terminal_id.empty() &&
        (home == nullptr || home->info.state != terminal_state::running))
      return no_terminal(what.terminal_id);
    if (server_entry* known = table_.same_listener(what)) {
      if (what.by_hand) {
        take_word(*known, what);
      } else {
        take_sockets(*known, what);
      }
      return known->info.ref;
    }
    // Whoever names what has been removed wants it back.
    if (!what.by_hand && table_.names_ended_listeners(what))
      return make_error(errc::server_gone, "The server with these sockets has ended.");
    if (table_.taken_by_another(what)) return port_taken(what.upstream);

    uint64_t previous = 0;
    caf::optional<server_entry> replaced;
    if (const server_entry* old = table_.replaced_by(what)) {
      previous = old->info.ref.generation;
      replaced = drop_replaced(server_ref{old->info.ref});  // a copy: its entry goes
    }
    server_entry& entry = table_.add(std::move(what), previous, settings_.now());
    if (replaced) {
      entry.info.primary = replaced->info.primary;
      entry.showed_page = replaced->showed_page;
      entry.passed_over = replaced->passed_over;
      table_.keep_access(entry, replaced->info.access);
    }
    const server_ref ref = entry.info.ref;
    watch(entry);
    if (home != nullptr)
      self_->send(entry.actor, foreground_atom_v, home->foreground, home->info.pid);
    after_change(ref.key);
    return ref;
  }

  /// Some of its sockets are closed and others are open: it may be reached elsewhere now.
  void take_sockets(server_entry& entry, server_description what) {
    server_description& known = entry.description;
    if (entry.info.state == server_state::restarting || known.listeners == what.listeners) return;
    known.listeners = what.listeners;
    known.upstream.address = what.upstream.address;
    entry.info.upstream.address = what.upstream.address;
    self_->send(entry.actor, listeners_atom_v, known.upstream, std::move(what.listeners));
    after_change(entry.info.ref.key);
  }

  /// A look at a registered server showed more than was known when it was added.
  void identified(const server_ref& ref, server_description what) {
    server_entry* entry = table_.find(ref);
    if (entry == nullptr || entry->removal) return;
    server_description& known = entry->description;
    if (known.said_type) what.type = known.type;
    if (known.said_scheme) what.upstream.scheme = known.upstream.scheme;
    // Somebody takes it for a server, whatever it answers.
    what.answers = what.answers || known.by_hand;
    what.prefix_known = what.prefix_known || known.by_hand;
    // That it was printed only matters for its rank among several. Routes that say nothing new
    // would be taken for news by a request that waits for what became of its server.
    const bool risen = what.printed && !known.printed && table_.servers_of(ref.key).size() > 1;
    const bool news = risen || known.type != what.type || known.prefix != what.prefix ||
                      known.prefix_known != what.prefix_known ||
                      known.upstream.scheme != what.upstream.scheme ||
                      known.answers != what.answers || known.serves_page != what.serves_page;
    known.type = entry->info.type = what.type;
    known.prefix = entry->info.prefix = what.prefix;
    known.prefix_known = what.prefix_known;
    known.upstream.scheme = entry->info.upstream.scheme = what.upstream.scheme;
    known.answers = what.answers;
    known.serves_page = what.serves_page;
    known.printed = what.printed;
    keep(ref.key);
    if (known.answers && entry->info.state == server_state::starting)
      entry->info.state = server_state::ready;
    if (news) after_change(ref.key);
  }

  void went_down(const server_ref& ref, steady_moment noticed) {
    server_entry* entry = table_.find(ref);
    if (entry == nullptr || entry->removal) return stale();
    entry->info.state = server_state::restarting;
    const uint64_t revision = publish_routes(ref.key);
    if (noticed.count() != 0)
      effects_[ref.key].push_back({revision, effect_kind::measure_down, ref, noticed});
    if (!entry->description.terminal_id.empty())
      ports_.kernel->scan(entry->description.terminal_id);
    graces_.push_back({self_->clock().now() + settings_.restart_grace, ref});
    wake_at(graces_.back().first);
  }

  void stopped(const server_ref& ref, const stop_cause& cause) {
    if (table_.find(ref) == nullptr) return stale();
    remove(ref, cause);
  }

  void state_changed(const server_ref& ref, server_state wanted, std::string hint) {
    server_entry* entry = table_.find(ref);
    if (entry == nullptr || entry->removal || entry->info.state == server_state::restarting) return;
    // One that has to prove itself first is not tried by clients meanwhile.
    if (wanted == server_state::unreachable && entry->restoring) wanted = server_state::ready;
    if (wanted == server_state::ready && !entry->description.answers)
      wanted = server_state::starting;
    entry->info.state = wanted;
    entry->hint = std::move(hint);
    after_change(ref.key);
  }

  /// The same endpoint is another process' now: a restart.
  void succeeded(const server_ref& ref, const std::vector<listener_fact>& by) {
    const server_entry* entry = table_.find(ref);
    if (entry == nullptr || entry->removal || entry->info.state != server_state::restarting) return;
    // Of one that has to prove itself first it is not known whose successor that would be.
    if (entry->restoring) return;
    server_description next = entry->description;
    const listener_fact& first = by.front();
    next.job_leader = first.job_leader;
    if (next.by_hand && next.terminal_id.empty()) {
      next.pid = 0;  // nobody is told who it is
    } else if (!first.owners.empty()) {
      next.pid = first.owners.front();
      if (!first.command.empty()) next.command = first.command;
    }
    next.listeners.clear();
    for (const listener_fact& socket : by) next.listeners.push_back(socket.id);
    // Those that it was to take over when its own were gone are the next one's.
    std::erase_if(table_.find(ref)->description.listeners, [&](const listener_id& one) {
      return std::find(next.listeners.begin(), next.listeners.end(), one) != next.listeners.end();
    });
    // If it may not be had, the old one ends as if nobody had come.
    static_cast<void>(add(std::move(next)));
  }

  /// Of one that is not known the command still says what was started.
  void owner_changed(const server_ref& ref, int32_t pid, const std::string& command) {
    server_entry* entry = table_.find(ref);
    if (entry == nullptr || entry->removal) return;
    entry->description.pid = entry->info.pid = pid;
    if (!command.empty()) entry->description.command = entry->info.command = command;
    keep(ref.key);
  }

  void health_changed(const server_ref& ref, const server_health& health) {
    server_entry* entry = table_.find(ref);
    if (entry == nullptr) return;
    entry->info.health = health;
    if (!entry->restoring || entry->removal || health.failures != 0) return;
    // It takes connections, and so it is what it was.
    entry->restoring = false;
    entry->description.answers = true;
    if (entry->info.state != server_state::starting) return;
    entry->info.state = server_state::ready;
    after_change(ref.key);
  }

  void tunnels_changed(const server_ref& ref, uint64_t tunnels) {
    if (server_entry* entry = table_.find(ref)) entry->info.tunnels = tunnels;
  }

  caf::result<stop_record> remove_by_hand(uint64_t generation) {
    server_entry* entry = table_.find(generation);
    if (entry == nullptr) {
      if (table_.record_of(generation) != nullptr) stale();
      return no_server(generation);
    }
    auto promise = self_->make_response_promise<stop_record>();
    removing_[generation].push_back(promise);
    remove(entry->info.ref, {stop_reason::removed, observer::kernel, {}});
    return promise;
  }

  caf::result<server_info> make_primary(uint64_t generation) {
    server_entry* entry = table_.find(generation);
    if (entry == nullptr || entry->removal) return no_server(generation);
    table_.prefer(*entry);
    after_change(entry->info.ref.key);
    return entry->info;
  }

  /// Who may not see it any more is told no sooner than he is shut out.
  caf::result<server_info> share(uint64_t generation, preview_access access) {
    server_entry* entry = table_.find(generation);
    if (entry == nullptr || entry->removal) return no_server(generation);
    if (entry->info.access != access)
      log::info("server_access", "Who sees the preview was changed",
        {{"key", server_key(entry->info.ref.key)}, {"generation", generation},
          {"access", to_string(access)}});
    const effect_kind told =
      entry->info.access != access ? effect_kind::tell_access : effect_kind::answer_access;
    table_.share(*entry, access);
    const server_ref ref = entry->info.ref;
    effect next{publish_routes(ref.key), told, ref};
    next.sharing = self_->make_response_promise<server_info>();
    const auto answer = next.sharing;
    effects_[ref.key].push_back(std::move(next));
    return answer;
  }

  caf::result<server_info> server_of(uint64_t generation) {
    if (const server_entry* entry = table_.find(generation)) return entry->info;
    return no_server(generation);
  }

  caf::result<stop_record> record_of(uint64_t generation) {
    if (const stop_record* record = table_.record_of(generation)) return *record;
    return make_error(errc::no_such_server,
      "No removal of generation " + std::to_string(generation) + " is known.");
  }

  std::vector<server_info> servers(const workspace_filter& filter) const {
    return table_.list(filter);
  }

  caf::result<workspace_status> status(const workspace_key& key, caf::timespan wait) {
    workspace_status now = status_of(key);
    if (wait.count() <= 0 || available(now) || shutting_down_) return now;
    if (waiting_.size() >= settings_.waiting_calls)
      return make_error(
        errc::limit_reached, "Too many calls are waiting already; ask again without wait.");
    waiting_.push_back(
      {key, self_->clock().now() + wait, self_->make_response_promise<workspace_status>()});
    wake_at(waiting_.back().until);
    return waiting_.back().promise;
  }

  project_snapshot snapshot(const std::string& project) const {
    return {table_.list({project, {}}), terminals({project, {}}), sequence_};
  }

  // -- the store
  // ----------------------------------------------------------------------------------------------------------

  /// Takes up what an earlier process has left: what is there still gets its generation back and is
  /// probed before it is routed to; of the rest it is told that it is gone.
  void restore() {
    const restored_state found = std::exchange(settings_.found, {});
    for (const stored_workspace& one : found.workspaces) table_.recall(one);
    for (const stored_server& one : found.gone) not_restored(one);
    std::set<workspace_key> changed;
    for (const stored_server& one : found.alive) {
      server_entry& entry = table_.restore(one);
      watch(entry);
      self_->send(entry.actor, probe_atom_v);
      changed.insert(entry.info.ref.key);
    }
    for (const workspace_key& key : changed) after_change(key);
    for (const stored_server& one : found.gone) keep(one.description.key);
    if (settings_.store) save_soon();
    if (!found.alive.empty() || !found.gone.empty())
      log::info("restored", "Servers of an earlier run have been looked for",
        {{"found", found.alive.size()}, {"gone", found.gone.size()}});
  }

  /// Sends the store what it does not know. One batch is under way at a time: what comes meanwhile
  /// is part of the next one.
  void save() {
    store_batch changes =
      last_save_ ? unsaved_.last(table_, highest()) : unsaved_.next(table_, highest());
    if (settings_.store && !changes.empty()) {
      self_->send(settings_.store, save_atom_v, std::move(changes));
    } else {
      saved();
    }
  }

  void saved() {
    saving_ = false;
    if (settings_.store && (unsaved_.any() || unsaved_.is_near(highest())) && !last_save_)
      save_soon();
    finish_shutdown();
  }

  // -- events
  // -------------------------------------------------------------------------------------------------------------

  void subscribe(const event_subscriber_actor& subscriber) {
    if (!subscribers_.emplace(caf::actor_cast<caf::actor_addr>(subscriber), subscriber).second)
      return;
    self_->monitor(subscriber);
    self_->send(events_, subscribe_atom_v, subscriber);
  }

  const event_bus_actor& events() const { return events_; }

  void client_opened(connection_id id) { clients_.add(self_, id, ports_); }

  void delivered(uint64_t sequence) {
    while (!undelivered_.empty() && undelivered_.front().sequence <= sequence)
      undelivered_.pop_front();
    finish_shutdown();
  }

  void go_by(const registry_limits& limits) {
    settings_.hold = limits.hold;
    settings_.terminals_per_user = limits.terminals_per_user;
    settings_.probe = {limits.probe_interval, limits.probe_timeout, limits.probe_failures};
  }

  registry_counters counters() {
    registry_counters now = counters_;
    table_.for_each([&](const server_entry& entry) {
      ++now.servers[static_cast<std::size_t>(entry.info.state)];
    });
    now.known_terminals = terminals_.size();
    for (const auto& [id, entry] : terminals_) {
      if (entry.running) ++now.terminals;
      if (entry.opening.pending()) ++now.calls;
    }
    for (const auto& [key, effects] : effects_) now.effects += effects.size();
    now.calls += waiting_.size() + closing_.size() + removing_.size() + shutdown_.size();
    now.undelivered = undelivered_.size();
    now.saving = saving_ ? 1 : 0;
    now.mailbox = self_->mailbox().size();
    now.shutting_down = shutting_down_;
    return now;
  }

  // -- the I/O threads have applied the routes of a workspace up to a revision
  // ----------------------------------------------

  void applied(const workspace_key& key, uint64_t revision) {
    auto& effects = effects_[key];
    while (!effects.empty() && effects.front().revision <= revision) {
      effect next = std::move(effects.front());
      effects.pop_front();
      switch (next.what) {
        case effect_kind::remove:
          finish_removal(next.ref);
          break;
        case effect_kind::tell_state:
          tell_state(next.ref);
          break;
        case effect_kind::tell_primary:
          tell_primary(next.ref);
          break;
        case effect_kind::tell_access:
        case effect_kind::answer_access:
          tell_access(next);
          break;
        case effect_kind::measure_down:
          counters_.stop_detect.observe(self_->clock().now().time_since_epoch() - next.since);
          break;
      }
    }
    if (effects.empty()) effects_.erase(key);
    answer_waiting(key);
    finish_shutdown();
  }

  /// The one timer: restarts that take long enough to be told, waiting calls, terminals to forget.
  void wake(uint64_t due) {
    timers_.erase(time_point{time_point::duration{static_cast<int64_t>(due)}});
    const auto now = self_->clock().now();
    while (!graces_.empty() && graces_.front().first <= now) {
      if (server_entry* entry = table_.find(graces_.front().second)) entry->grace_over = true;
      tell_state(graces_.front().second);
      graces_.pop_front();
    }
    for (auto it = waiting_.begin(); it != waiting_.end();) {
      if (it->until <= now) {
        it->promise.deliver(status_of(it->key));
        it = waiting_.erase(it);
      } else {
        wake_at(it->until);
        ++it;
      }
    }
    std::vector<std::string> forgotten;
    for (const auto& [id, entry] : terminals_) {
      if (entry.forget_at <= now) {
        forgotten.push_back(id);
      } else {
        wake_at(entry.forget_at);
      }
    }
    for (const std::string& id : forgotten) forget_terminal(id);
    if (!graces_.empty()) wake_at(graces_.front().first);
  }

  // -- faults and the end
  // -------------------------------------------------------------------------------------------------

  /// An actor of ours has ended. Each tells us before it ends as it should; what is still
  /// registered under it has met a fault.
  void actor_ended(const caf::down_msg& down) {
    if (clients_.erase(down.source)) return;
    if (const auto it = servers_.find(down.source); it != servers_.end()) {
      const server_ref ref = it->second;
      servers_.erase(it);
      server_entry* entry = table_.find(ref);
      if (entry == nullptr) return;
      if (!entry->removal) fault("preview_server", server_key(ref.key));
      remove(ref, {stop_reason::removed, observer::kernel, {}});
    } else if (const auto owner = owners_.find(down.source); owner != owners_.end()) {
      const std::string id = owner->second;
      owners_.erase(owner);
      terminal_entry* entry = find_terminal(id);
      if (entry == nullptr) return;
      fault("terminal", server_key(entry->info.key));
      if (entry->opening.pending())
        entry->opening.deliver(make_error(errc::internal, "The terminal could not be kept."));
      for (const server_ref& ref : table_.of_terminal(id))
        remove(ref, {stop_reason::terminal_exited, observer::kernel, {}});
      if (entry->info.pid != 0)
        ports_.kernel->end_processes(
          id, entry->info.pid, settings_.terminal.ladder, terminal_actor{});
      entry->actor = terminal_actor{};
      terminal_exited(id, {});
      forget_terminal(id);
      finish_shutdown();
    } else if (down.source == caf::actor_cast<caf::actor_addr>(events_)) {
      log::error("actor_fault", "An actor ended by a fault; another one takes its place",
        {{"actor", "event_bus"}, {"events_under_way", undelivered_.size()}});
      start_event_bus();
    } else if (settings_.store &&
               down.source == caf::actor_cast<caf::actor_addr>(settings_.store)) {
      log::error("actor_fault",
        "An actor ended by a fault; from now on nothing is kept for the next run",
        {{"actor", "store"}});
      settings_.store = store_actor{};
      saved();
    } else {
      subscribers_.erase(down.source);
    }
  }

  caf::result<uint64_t> shut_down() {
    shutdown_.push_back(self_->make_response_promise<uint64_t>());
    const caf::result<uint64_t> answer = shutdown_.back();
    if (!std::exchange(shutting_down_, true)) removed_by_shutdown_ = table_.size();
    for (waiting_call& call : std::exchange(waiting_, {}))
      call.promise.deliver(status_of(call.key));
    for (const server_ref& ref : table_.all())
      remove(ref, {stop_reason::shutdown, observer::kernel, {}});
    std::vector<std::string> over;
    for (auto& [id, entry] : terminals_) {
      if (entry.actor) {
        self_->send(entry.actor, close_atom_v);
      } else {
        over.push_back(id);
      }
    }
    for (const std::string& id : over) forget_terminal(id);
    finish_shutdown();
    return answer;
  }

private:
  using time_point = std::chrono::steady_clock::time_point;

  struct terminal_entry {
    terminal_info info;
    terminal_actor actor;
    bool running = false;  // its processes are not known to have ended
    bool exited = false;   // its exit has been told
    int32_t foreground = 0;
    time_point forget_at = time_point::max();
    caf::typed_response_promise<terminal_info> opening;
  };

  /// Somebody who closed a terminal and waits until its servers are unregistered.
  struct closing_call {
    terminal_info info;
    std::set<uint64_t> remaining;  // generations
    caf::typed_response_promise<terminal_info> promise;
  };

  /// What is done once every I/O thread has applied a revision.
  enum class effect_kind : uint8_t {
    remove,
    tell_state,
    tell_primary,
    tell_access,    // and answer who has changed it
    answer_access,  // who has changed nothing
    measure_down
  };
  struct effect {
    uint64_t revision;
    effect_kind what;
    server_ref ref;
    steady_moment since = steady_moment::zero();            // measure_down
    caf::typed_response_promise<server_info> sharing = {};  // tell_access, answer_access
  };

  struct waiting_call {
    workspace_key key;
    time_point until;
    caf::typed_response_promise<workspace_status> promise;
  };

  terminal_entry* find_terminal(const std::string& id) {
    const auto it = terminals_.find(id);
    return it == terminals_.end() ? nullptr : &it->second;
  }

  /// Somebody has named a server that is there already, and says what it is. The I/O threads close
  /// what is open to an endpoint whose scheme changes.
  void take_word(server_entry& entry, const server_description& what) {
    server_description& known = entry.description;
    // Whoever names it takes it for a server, whatever it has answered.
    bool news = !known.answers || !known.prefix_known;
    known.by_hand = true;
    use_as_it_is(entry);
    if (what.said_type) {
      news = news || known.type != what.type;
      known.said_type = true;
      known.type = entry.info.type = what.type;
    }
    if (what.said_scheme) {
      news = news || known.upstream.scheme != what.upstream.scheme || known.prefix != what.prefix;
      known.said_scheme = true;
      known.upstream.scheme = entry.info.upstream.scheme = what.upstream.scheme;
      known.prefix = entry.info.prefix = what.prefix;
    }
    news ? after_change(entry.info.ref.key) : keep(entry.info.ref.key);
  }

  /// Whatever it has answered, and whether it has.
  static void use_as_it_is(server_entry& entry) {
    entry.description.answers = entry.description.prefix_known = true;
    if (entry.info.state == server_state::starting) entry.info.state = server_state::ready;
  }

  /// Whether a terminal of another workspace has the sockets that somebody has named, also if they
  /// are not, or no more, registered there: nobody gets at what others have started by being quick.
  bool runs_elsewhere(const server_description& what) {
    const terminal_entry* home = find_terminal(what.terminal_id);
    return home != nullptr && home->info.key != what.key;
  }

  /// What a terminal has left behind that has ended belongs to none.
  void forget_ended_home(server_description& what) {
    const terminal_entry* home = find_terminal(what.terminal_id);
    if (home != nullptr && home->info.state == terminal_state::running) return;
    what.terminal_id.clear();
    what.pid = 0;
    what.command.clear();
  }

  /// Counts the user's terminals over all projects. One that has exited makes room for a new one.
  caf::error make_room_for(const std::string& user) {
    uint32_t running = 0;
    const std::string* oldest = nullptr;
    uint32_t all = 0;
    for (const auto& [id, entry] : terminals_) {
      if (entry.info.key.user != user) continue;
      ++all;
      if (entry.info.state != terminal_state::exited || entry.running) {
        ++running;
      } else if (oldest == nullptr ||
                 entry.info.created_at < terminals_.at(*oldest).info.created_at) {
        oldest = &id;
      }
    }
    if (running >= settings_.terminals_per_user)
      return make_error(errc::limit_reached, "limits.terminals_per_user is " +
                                               std::to_string(settings_.terminals_per_user) +
                                               "; close a terminal of this user first.");
    if (all >= settings_.terminals_per_user && oldest != nullptr)
      forget_terminal(std::string{*oldest});
    return {};
  }

  void forget_terminal(const std::string& id) {
    const auto it = terminals_.find(id);
    if (it == terminals_.end()) return;
    if (it->second.actor) owners_.erase(caf::actor_cast<caf::actor_addr>(it->second.actor));
    terminals_.erase(it);
    ports_.io->forget_terminal(id);
  }

  /// This generation is unregistered.
  void answer_closing(uint64_t generation) {
    std::erase_if(closing_, [generation](closing_call& call) {
      if (call.remaining.erase(generation) == 0 || !call.remaining.empty()) return false;
      call.promise.deliver(call.info);
      return true;
    });
  }

  static caf::error gone(const stop_record& record) {
    return make_error(errc::server_gone,
      "Generation " + std::to_string(record.ref.generation) + " of " + server_key(record.ref.key) +
        " ended at " + to_rfc3339(record.at) + " (" + std::string{to_string(record.reason)} + ").");
  }

  caf::error no_server(uint64_t generation) const {
    if (const stop_record* record = table_.record_of(generation)) return gone(*record);
    return make_error(
      errc::no_such_server, "No server has the generation " + std::to_string(generation) + ".");
  }

  void stale() { ++counters_.stale_removals; }

  /// From now on what becomes of it is seen.
  void watch(server_entry& entry) {
    entry.actor = self_->spawn<caf::monitored>(preview_server, entry.info.ref, entry.description,
      settings_.hold, settings_.probe, caf::actor_cast<registry_actor>(self_), ports_);
    servers_[caf::actor_cast<caf::actor_addr>(entry.actor)] = entry.info.ref;
  }

  /// A server of an earlier process that is not there any more.
  void not_restored(const stored_server& what) {
    stop_record record;
    record.ref = {what.description.key, what.generation};
    record.terminal_id = what.description.terminal_id;
    record.port = what.description.upstream.port;
    record.reason = stop_reason::restore_failed;
    table_.recall(table_.said_of(record.ref.key));
    tell_stopped(std::move(record), observer::kernel);
  }

  /// The store is to be told of this workspace, soon.
  void keep(const workspace_key& key) {
    if (!settings_.store) return;
    unsaved_.touch(key);
    save_soon();
  }

  /// What is to be kept is gathered in a turn of its own: until then nothing is half done.
  void save_soon() {
    if (!std::exchange(saving_, true)) self_->send(self_, save_atom_v);
  }

  uint64_t highest() const { return std::max(sequence_, table_.highest_generation()); }

  /// Step one of a removal, whatever its cause: the server leaves the routes of every I/O thread.
  /// The rest follows when all have said that they applied them.
  void remove(const server_ref& ref, const stop_cause& cause) {
    server_entry* entry = table_.find(ref);
    if (entry == nullptr) return stale();
    if (entry->removal) return;
    entry->removal = cause;
    if (entry->restoring && is_seen(cause.reason))
      entry->removal->reason = stop_reason::restore_failed;
    server_entry* promoted = table_.choose_primary(ref.key);
    const uint64_t revision = publish_routes(ref.key);
    effects_[ref.key].push_back({revision, effect_kind::remove, ref});
    if (promoted != nullptr)
      effects_[ref.key].push_back({revision, effect_kind::tell_primary, promoted->info.ref});
  }

  /// Step two: no I/O thread can reach it any more.
  void finish_removal(const server_ref& ref) {
    if (table_.find(ref) == nullptr) return;
    const server_entry entry = table_.take(ref);
    end_server(entry);
    stop_record record;
    record.ref = ref;
    record.terminal_id = entry.info.terminal_id;
    record.port = entry.info.upstream.port;
    record.reason = entry.removal->reason;
    record.exit = entry.removal->exit;
    record = tell_stopped(std::move(record), entry.removal->seen_by);
    for (auto& promise : std::exchange(removing_[ref.generation], {})) promise.deliver(record);
    removing_.erase(ref.generation);
    answer_closing(ref.generation);
    keep(ref.key);
  }

  /// Returns the record as it was told.
  stop_record tell_stopped(stop_record record, observer seen_by) {
    record.sequence = sequence_ + 1;
    record.at = settings_.now();
    table_.remember(record);
    ++counters_.removals[static_cast<std::size_t>(record.reason)];
    // The loading page and the 503s say why.
    ports_.io->publish(table_.next_routes(record.ref.key), registry_actor{});
    log_removal(record, seen_by);
    event what;
    what.kind = event_kind::server_stopped;
    what.key = record.ref.key;
    what.stop = record;
    publish(std::move(what));
    return record;
  }

  /// A new generation takes the place of a restarting one: no stop is told, and nothing of the old
  /// one may act any more. Returns what that was.
  server_entry drop_replaced(const server_ref& ref) {
    server_entry entry = table_.take(ref);
    end_server(entry);
    stop_record record;
    record.ref = ref;
    record.terminal_id = entry.info.terminal_id;
    record.port = entry.info.upstream.port;
    record.reason = stop_reason::superseded;
    record.sequence = sequence_;
    record.at = settings_.now();
    table_.remember_superseded(record);
    ++counters_.removals[static_cast<std::size_t>(record.reason)];
    for (auto& promise : std::exchange(removing_[ref.generation], {})) promise.deliver(record);
    removing_.erase(ref.generation);
    return entry;
  }

  void end_server(const server_entry& entry) {
    servers_.erase(caf::actor_cast<caf::actor_addr>(entry.actor));
    self_->demonitor(caf::actor_cast<caf::actor_addr>(entry.actor));
    self_->send(entry.actor, close_atom_v);
  }

  uint64_t publish_routes(const workspace_key& key) {
    workspace_routes routes = table_.next_routes(key);
    const uint64_t revision = routes.revision;
    ports_.io->publish(std::move(routes), caf::actor_cast<registry_actor>(self_));
    keep(key);
    return revision;
  }

  /// Something about the workspace's servers has changed: the I/O threads get it, then whatever is
  /// new is told.
  void after_change(const workspace_key& key) {
    server_entry* promoted = table_.choose_primary(key);
    const uint64_t revision = publish_routes(key);
    auto& effects = effects_[key];
    table_.for_each([&](server_entry& entry) {
      if (entry.info.ref.key == key && !entry.removal)
        effects.push_back({revision, effect_kind::tell_state, entry.info.ref});
    });
    if (promoted != nullptr && promoted->announced)
      effects.push_back({revision, effect_kind::tell_primary, promoted->info.ref});
  }

  /// Tells clients what they have not been told of this server's state.
  void tell_state(const server_ref& ref) {
    server_entry* entry = table_.find(ref);
    if (entry == nullptr || entry->removal) return;
    event what;
    what.key = ref.key;
    what.server = entry->info;
    what.hint = entry->hint;
    switch (entry->info.state) {
      case server_state::starting:
        return;
      case server_state::ready:
        if (!entry->announced) {
          entry->announced = true;
          what.kind = event_kind::server_started;
          log::info("server_started", "Preview server started",
            {{"key", server_key(ref.key)}, {"generation", ref.generation},
              {"port", entry->info.upstream.port}, {"type", entry->info.type}});
        } else if (entry->told_unreachable) {
          what.kind = event_kind::server_recovered;
          what.reason = *entry->told_unreachable;
        } else {
          return;
        }
        entry->told_unreachable = caf::none;
        break;
      case server_state::restarting:
        if (!entry->grace_over) return;
        [[fallthrough]];
      case server_state::suspended:
      case server_state::unreachable: {
        const auto reason =
          entry->info.state == server_state::restarting  ? unreachable_reason::restarting
          : entry->info.state == server_state::suspended ? unreachable_reason::suspended
                                                         : unreachable_reason::timeout;
        if (entry->told_unreachable && *entry->told_unreachable == reason) return;
        entry->told_unreachable = reason;
        what.kind = event_kind::server_unreachable;
        what.reason = reason;
        break;
      }
    }
    publish(std::move(what));
  }

  void tell_primary(const server_ref& ref) {
    const server_entry* entry = table_.find(ref);
    if (entry == nullptr || entry->removal || !entry->announced || !entry->info.primary) return;
    event what;
    what.kind = event_kind::server_primary;
    what.key = ref.key;
    what.server = entry->info;
    publish(std::move(what));
  }

  void tell_access(effect& done) {
    const server_entry* entry = table_.find(done.ref);
    if (entry == nullptr) {
      const stop_record* record = table_.record_of(done.ref.generation);
      done.sharing.deliver(record != nullptr
                             ? gone(*record)
                             : make_error(errc::server_gone, "The server has just ended."));
      return;
    }
    const server_info now = entry->info;
    if (done.what == effect_kind::tell_access && entry->announced && !entry->removal) {
      event what;
      what.kind = event_kind::server_access;
      what.key = done.ref.key;
      what.server = now;
      publish(std::move(what));
    }
    done.sharing.deliver(now);
  }

  void publish(event what) {
    what.sequence = ++sequence_;
    if (settings_.store && unsaved_.is_near(sequence_)) save_soon();
    ++counters_.events[static_cast<std::size_t>(what.kind)];
    what.at = settings_.now();
    undelivered_.push_back(what);
    self_->send(events_, event_atom_v, std::move(what));
  }

  /// The first one, or one for a predecessor that has ended: it takes up the events that were
  /// under way.
  void start_event_bus() {
    events_ = self_->spawn<caf::monitored>(
      event_bus, journal_, settings_.event_ring, caf::actor_cast<registry_actor>(self_), ports_);
    for (const auto& [address, subscriber] : subscribers_)
      self_->send(events_, subscribe_atom_v, subscriber);
    for (const event& what : undelivered_) self_->send(events_, event_atom_v, what);
  }

  static void log_removal(const stop_record& record, observer seen_by) {
    const std::string name = server_key(record.ref.key);
    const std::string port = std::to_string(record.port);
    std::string sentence;
    switch (record.reason) {
      case stop_reason::probe_failed:
        sentence =
          "[HEALTH CHECK] Server " + name + " on port " + port + " is not responding, removing...";
        break;
      case stop_reason::refused:
        switch (seen_by) {
          case observer::websocket:
            sentence = "[WS] Server " + name + " appears to be down, removing from registry";
            break;
          case observer::unanswered_websocket:
            sentence = "[WS] Server " + name + " not responding, removing...";
            break;
          default:
            sentence = "[PROXY] Server appears to be down, removing from registry";
        }
        break;
      default:
        sentence = std::string{stop_message(record.reason)};
    }
    log::info("server_stopped", sentence,
      {{"key", name}, {"generation", record.ref.generation}, {"port", port},
        {"reason", to_string(record.reason)}, {"seen_by", to_string(seen_by)}});
  }

  static void fault(std::string_view actor, const std::string& key) {
    log::error("actor_fault", "An actor ended by a fault; what it stood for is removed",
      {{"actor", actor}, {"key", key}});
  }

  workspace_status status_of(const workspace_key& key) const {
    workspace_status result;
    result.servers = table_.servers_of(key);
    if (const stop_record* record = table_.last_stop(key)) result.last_stop = *record;
    result.sequence = sequence_;
    return result;
  }

  static bool available(const workspace_status& status) {
    return !status.servers.empty() && status.servers.front().primary &&
           status.servers.front().state == server_state::ready;
  }

  void answer_waiting(const workspace_key& key) {
    for (auto it = waiting_.begin(); it != waiting_.end();) {
      if (it->key == key) {
        workspace_status now = status_of(key);
        if (available(now)) {
          it->promise.deliver(std::move(now));
          it = waiting_.erase(it);
          continue;
        }
      }
      ++it;
    }
  }

  /// Delayed messages cannot be taken back, and one may stay on its way for an hour: none is sent
  /// while an earlier one is, which looks again when it comes.
  void wake_at(time_point when) {
    if (when == time_point::max() || (!timers_.empty() && *timers_.begin() <= when)) return;
    timers_.insert(when);
    const auto delay =
      std::max<caf::timespan>(when - self_->clock().now(), std::chrono::milliseconds{1});
    self_->delayed_send(
      self_, delay, tick_atom_v, static_cast<uint64_t>(when.time_since_epoch().count()));
  }

  void finish_shutdown() {
    if (!shutting_down_ || table_.size() != 0 || !terminals_.empty() || !undelivered_.empty())
      return;
    if (settings_.store) {
      if (saving_) return;
      if (!std::exchange(last_save_, true)) return save_soon();
    }
    for (auto& promise : std::exchange(shutdown_, {})) promise.deliver(removed_by_shutdown_);
  }

  self_pointer self_;
  registry_settings settings_;
  actor_ports ports_;
  server_table table_;
  uint64_t sequence_;
  registry_counters counters_;  // what is counted; what is held is looked up
  event_bus_actor events_;
  std::shared_ptr<event_journal> journal_;
  std::deque<event> undelivered_;  // not known to have been handed on
  std::map<caf::actor_addr, event_subscriber_actor> subscribers_;
  owned_connections clients_;  // WebSockets to the service itself
  std::map<std::string, terminal_entry> terminals_;
  std::map<caf::actor_addr, std::string> owners_;  // terminal actors
  std::map<caf::actor_addr, server_ref> servers_;  // preview_server actors
  std::unordered_map<workspace_key, std::deque<effect>> effects_;
  std::map<uint64_t, std::vector<caf::typed_response_promise<stop_record>>> removing_;
  std::list<closing_call> closing_;
  std::list<waiting_call> waiting_;
  std::deque<std::pair<time_point, server_ref>> graces_;
  std::set<time_point> timers_;  // when those that are on their way come
  unsaved unsaved_;
  bool saving_ = false;     // the store is to be told, or is being told
  bool last_save_ = false;  // nothing will change any more
  bool shutting_down_ = false;
  uint64_t removed_by_shutdown_ = 0;
  std::vector<caf::typed_response_promise<uint64_t>> shutdown_;
};

registry_actor::behavior_type registry(registry_actor::stateful_pointer<registry_state> self,
  registry_settings settings, actor_ports ports) {
  hold_ports(self, ports);
  const auto logic = std::make_shared<registrar>(self, std::move(settings), ports);
  self->state.logic = logic;
  registrar* r = logic.get();
  self->set_down_handler([r](caf::down_msg& down) { r->actor_ended(down); });
  return {
    [=](open_atom, terminal_request& request) { return r->open(std::move(request)); },
    [=](close_atom, const std::string& id) { return r->close(id); },
    [=](list_atom, terminal_atom, const workspace_filter& filter) { return r->terminals(filter); },
    [=](lookup_atom, terminal_atom, const std::string& id) { return r->terminal_of(id); },
    [=](add_atom, server_description& what) { return r->add(std::move(what)); },
    [=](remove_atom, uint64_t generation) { return r->remove_by_hand(generation); },
    [=](primary_atom, uint64_t generation) { return r->make_primary(generation); },
    [=](access_atom, uint64_t generation, preview_access access) {
      return r->share(generation, access);
    },
    [=](list_atom, server_atom, const workspace_filter& filter) { return r->servers(filter); },
    [=](lookup_atom, server_atom, uint64_t generation) { return r->server_of(generation); },
    [=](lookup_atom, stopped_atom, uint64_t generation) { return r->record_of(generation); },
    [=](status_atom, const workspace_key& key, caf::timespan wait) { return r->status(key, wait); },
    [=](snapshot_atom, const std::string& project) { return r->snapshot(project); },
    [=](shutdown_atom) { return r->shut_down(); },
    [=](counters_atom) { return r->counters(); },
    [=](settings_atom, const registry_limits& limits) { r->go_by(limits); },
    [=](opened_atom, const std::string& id, int32_t pid, std::string& cwd) {
      r->terminal_opened(id, pid, std::move(cwd));
    },
    [=](failed_atom, const std::string& id, caf::error& why) {
      r->terminal_failed(id, std::move(why));
    },
    [=](exited_atom, const std::string& id, const exit_status& status) {
      r->terminal_exited(id, status);
    },
    [=](ended_atom, const std::string& id) { r->terminal_ended(id); },
    [=](foreground_atom, const std::string& id, int32_t group, int32_t shell) {
      r->foreground_changed(id, group, shell);
    },
    [=](down_atom, const server_ref& ref, steady_moment noticed) { r->went_down(ref, noticed); },
    [=](stopped_atom, const server_ref& ref, const stop_cause& cause) { r->stopped(ref, cause); },
    [=](state_atom, const server_ref& ref, server_state state, std::string& hint) {
      r->state_changed(ref, state, std::move(hint));
    },
    [=](identity_atom, const server_ref& ref, server_description& what) {
      r->identified(ref, std::move(what));
    },
    [=](owner_atom, const server_ref& ref, int32_t pid, const std::string& command) {
      r->owner_changed(ref, pid, command);
    },
    [=](listeners_atom, const server_ref& ref, const std::vector<listener_fact>& by) {
      if (!by.empty()) r->succeeded(ref, by);
    },
    [=](health_atom, const server_ref& ref, const server_health& health) {
      r->health_changed(ref, health);
    },
    [=](tunnel_atom, const server_ref& ref, uint64_t tunnels) { r->tunnels_changed(ref, tunnels); },
    [=](subscribe_atom, const event_subscriber_actor& subscriber) { r->subscribe(subscriber); },
    [=](replay_atom, uint64_t after) { return self->delegate(r->events(), replay_atom_v, after); },
    [=](client_atom, connection_id id) { r->client_opened(id); },
    [=](delivered_atom, uint64_t sequence) { r->delivered(sequence); },
    [=](applied_atom, const workspace_key& key, uint64_t revision) { r->applied(key, revision); },
    [=](restore_atom) { r->restore(); },
    [=](save_atom) { r->save(); },
    [=](saved_atom) { r->saved(); },
    [=](tick_atom, uint64_t round) { r->wake(round); },
  };
}

}  // namespace previewd::actors
