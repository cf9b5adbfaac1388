#include "previewd/tests/model/specification.hpp"

#include <algorithm>
#include <tuple>
#include <utility>

namespace previewd::test {

// -- requests

std::string
specification::open(const std::string& id, int workspace, int user, int pid, unsigned wrong) {
  if (shutting_down_) return "shutting_down";
  if (wrong == 1) return "invalid_name";
  if (wrong == 2 || wrong == 3) return "invalid_field";
  std::size_t running = 0;
  std::size_t all = 0;
  for (const terminal& one : terminals_) {
    if (one.user != user) continue;
    ++all;
    if (one.running) ++running;
  }
  if (running >= terminals_per_user) return "limit_reached";
  // One that has exited makes room.
  if (all >= terminals_per_user) {
    const auto oldest = std::find_if(terminals_.begin(), terminals_.end(),
      [&](const terminal& one) { return one.user == user && !one.running; });
    terminals_.erase(oldest);
  }
  if (wrong == 4) return "pty_failed";
  static_cast<void>(workspace);
  terminals_.push_back({id, user, pid, 0, true, 0});
  return id;
}

std::string specification::close(const std::string& id) {
  terminal* home = find_terminal(id);
  if (home == nullptr) return "terminal_not_found";
  if (home->running) {
    stop_all_of(id, "terminal_closed");
    applied();
    events.push_back("exit " + id);
  }
  forget(id);
  return id;
}

std::string specification::add(server what, const truth& is) {
  if (shutting_down_) return "shutting_down";
  const terminal* home = find_terminal(what.terminal);
  if (!what.terminal.empty() && (home == nullptr || !home->running)) return "terminal_not_found";
  for (const server& one : live) {
    if (one.workspace != what.workspace) continue;
    // The same sockets, also if they are known to be gone by now: old news registers nothing. Or,
    // by hand, an address that is registered already.
    if (what.socket >= 0 ? one.socket == what.socket : one.port == what.port && !one.down)
      return std::to_string(one.generation);
  }
  // A socket that was a server's once never is another's.
  if (ended_sockets_.contains(what.socket)) return "server_gone";
  for (const server& one : live)
    if (one.workspace != what.workspace && one.port == what.port && !one.down) return "port_taken";
  // A restart: of the port; else of the job, on whatever port, once its old sockets are gone.
  const auto of_port = [&](const server& old) {
    return !what.terminal.empty() && old.terminal == what.terminal && old.port == what.port;
  };
  const auto of_job = [&](const server& old) {
    return !what.terminal.empty() && old.terminal == what.terminal && old.down &&
           old.job == what.job;
  };
  auto replaced = std::find_if(live.begin(), live.end(), of_port);
  if (replaced == live.end()) replaced = std::find_if(live.begin(), live.end(), of_job);
  if (replaced != live.end()) {
    what.previous = replaced->generation;
    what.primary = replaced->primary;
    what.showed_page = replaced->showed_page;
    what.passed_over = replaced->passed_over;
    records_[replaced->generation] = "superseded";
    if (replaced->socket >= 0) ended_sockets_.insert(replaced->socket);
    live.erase(replaced);
  }
  what.showed_page |= what.page;
  what.started = now_;
  what.generation = next_++;
  const uint64_t generation = what.generation;
  if (home != nullptr) {
    what.shell = home->pid;
    what.foreground = home->foreground;
    if (what.foreground == what.job) what.prompt_ends_it = true;
  }
  live.push_back(what);
  changed(what.workspace);
  applied();
  if (what.socket >= 0) {
    if (!is.listening) socket_gone(what.socket);
    if (home != nullptr) looked(generation, std::nullopt, is);
  }
  return std::to_string(generation);
}

std::string specification::remove(uint64_t generation) {
  if (server* what = find(generation)) {
    stop(*what, "removed");
    applied();
    return "removed";
  }
  return records_.contains(generation) ? "server_gone" : "server_not_found";
}

std::string specification::shut_down() {
  shutting_down_ = true;
  for (waiting_call& call : waiting_) call.until = now_;
  answer_waits();
  const std::size_t removed = live.size();
  for (server& one : live) stop(one, "shutdown");
  applied();
  for (const terminal& one : terminals_)
    if (one.running) events.push_back("exit " + one.id);
  terminals_.clear();
  return "removed " + std::to_string(removed);
}

void specification::wait(int workspace, int64_t time) {
  waiting_.push_back({workspace, shutting_down_ ? now_ : now_ + time});
  answer_waits();
}

// -- what becomes known

void specification::shell_left(const std::string& id) {
  terminal* home = find_terminal(id);
  events.push_back("exit " + id);
  if (keeps_) {
    for (server& one : live) {
      if (one.terminal != id) continue;
      one.terminal.clear();
      // Nobody looks at it any more.
      if (!std::exchange(one.answers, true)) changed(one.workspace);
    }
  } else {
    stop_all_of(id, "terminal_exited");
  }
  home->running = false;
  home->forget_at = now_ + exited_kept;
  applied();
}

void specification::terminal_died(const std::string& id) {
  events.push_back("exit " + id);
  stop_all_of(id, "terminal_exited");
  forget(id);
  applied();
}

void specification::foreground_is(const std::string& id, int group) {
  terminal* home = find_terminal(id);
  home->foreground = group;
  for (server& one : live) {
    if (one.terminal != id) continue;
    one.shell = home->pid;
    one.foreground = group;
    if (!one.down && group == one.job) one.prompt_ends_it = true;
    end_if_over(one);
  }
  applied();
}

void specification::identified(uint64_t generation, bool page) {
  server* what = find(generation);
  if (what == nullptr) return;
  what->answers = true;
  what->page = page;
  what->showed_page |= page;
  changed(what->workspace);
  applied();
}

void specification::socket_gone(int socket) {
  for (server& one : live)
    if (one.socket == socket) go_down(one, cause::kernel);
  applied();
}

void specification::leader_ended(int job) {
  std::vector<uint64_t> of_job;
  for (const server& one : live)
    if (one.job == job) of_job.push_back(one.generation);
  for (const uint64_t generation : of_job) {
    server* one = find(generation);
    one->leader_gone = now_;
    end_if_over(*one);
    applied();
  }
}

void specification::looked(uint64_t generation, std::optional<cause> on_behalf, const truth& is) {
  server* what = find(generation);
  if (what == nullptr || what->down) return;
  if (!is.listening) {
    go_down(*what, on_behalf.value_or(cause::kernel));
    return applied();
  }
  // A job that runs while the shell has the terminal is in the background: the prompt says nothing
  // of it.
  if (!is.stopped && what->shell != 0 && what->foreground == what->shell)
    what->prompt_ends_it = false;
  const trouble before = what->trouble;
  if (is.stopped) {
    what->trouble = trouble::suspended;
  } else if (before == trouble::suspended) {
    what->trouble = trouble::none;
    what->timeouts = 0;
  } else if (before == trouble::none && what->timeouts > 1) {
    what->trouble = trouble::unreachable;
  }
  if (what->trouble != before) changed(what->workspace);
  applied();
}

void specification::probed(uint64_t generation, probe_result result, const truth& is) {
  server* what = find(generation);
  if (what == nullptr || what->down) return;
  what->timeouts = result == probe_result::timed_out ? what->timeouts + 1 : 0;
  if (result == probe_result::alive && what->trouble == trouble::unreachable) {
    what->trouble = trouble::none;
    changed(what->workspace);
    applied();
  }
  if (result == probe_result::refused) {
    looked(generation, cause::probe, is);
  } else {
    looked(generation, std::nullopt, is);
  }
}

void specification::actor_died(uint64_t generation) {
  if (server* what = find(generation)) stop(*what, "removed");
  applied();
}

void specification::time_passed(int64_t step) {
  now_ += step;
  const auto take_due = [this](std::vector<due>& from) {
    const auto later = std::stable_partition(
      from.begin(), from.end(), [this](const due& d) { return d.at <= now_; });
    std::vector<due> result{from.begin(), later};
    from.erase(from.begin(), later);
    return result;
  };
  for (const due& one : take_due(graces_)) tell(one.generation, true);
  answer_waits();
  for (const due& one : take_due(holds_))
    if (server* what = find(one.generation))
      stop(*what, *what->down == cause::kernel ? "listener_closed" : reason_seen(*what));
  applied();
  std::erase_if(
    terminals_, [this](const terminal& one) { return !one.running && one.forget_at <= now_; });
}

// -- what follows

void specification::go_down(server& what, cause seen_by) {
  if (what.down) return;
  what.down = seen_by;
  what.down_since = now_;
  what.tunnels = 0;
  graces_.push_back({now_ + restart_grace, what.generation});
  holds_.push_back({now_ + hold, what.generation});
  end_if_over(what);
}

/// Down, and the job is over or the shell has the terminal again: this is the end, no restart.
void specification::end_if_over(server& what) {
  if (!what.down) return;
  const bool shell_is_back = what.prompt_ends_it && what.shell != 0 && what.job != what.shell &&
                             what.foreground == what.shell;
  const bool leader_is_gone =
    what.leader_gone && what.down_since - *what.leader_gone <= ends_with_leader;
  if (leader_is_gone || shell_is_back) stop(what, reason_seen(what));
}

void specification::stop(server& what, const std::string& reason) {
  if (!what.removal.empty()) return;
  what.removal = reason;
  if (std::exchange(what.primary, false) && what.showed_page) {
    for (server& one : live)
      if (one.workspace == what.workspace && one.removal.empty() && one.answers && !one.page)
        one.passed_over = true;
  }
  effects_.push_back({effect::kind::stop, what.generation});
  if (const server* promoted = choose_primary(what.workspace))
    effects_.push_back({effect::kind::primary, promoted->generation});
}

void specification::stop_all_of(const std::string& id, const std::string& reason) {
  for (server& one : live)
    if (one.terminal == id) stop(one, reason);
}

void specification::changed(int workspace) {
  const server* promoted = choose_primary(workspace);
  for (const server& one : live)
    if (one.workspace == workspace && one.removal.empty())
      effects_.push_back({effect::kind::state, one.generation});
  if (promoted != nullptr && promoted->announced)
    effects_.push_back({effect::kind::primary, promoted->generation});
}

/// The best: one that is there before one that restarts, then who has answered, page, printed, a
/// port that somebody chose, and age. Not one without a page that was passed over. The present one
/// stays while it restarts, until it answers again, and while the best is no better in what it
/// shows, unless both were started together.
specification::server* specification::choose_primary(int workspace) {
  server* present = nullptr;
  server* best = nullptr;
  const auto rank = [](const server& one) {
    return std::make_tuple(
      !one.down, one.answers, one.page, one.printed, one.port < first_ephemeral_port);
  };
  for (server& one : live) {
    if (one.workspace != workspace || !one.removal.empty()) continue;
    if (one.primary) present = &one;
    if (one.passed_over && !one.page) continue;
    if (best == nullptr || rank(*best) < rank(one)) best = &one;
  }
  if (best == nullptr || best == present) return nullptr;
  if (present != nullptr) {
    if (present->down || (!present->answers && present->previous != 0)) return nullptr;
    const bool together = std::abs(best->started - present->started) <= start_up;
    const bool shows_more = (best->answers && !present->answers) || (best->page && !present->page);
    if (!shows_more && !(together && rank(*present) < rank(*best))) return nullptr;
    present->primary = false;
  }
  best->primary = true;
  return best;
}

void specification::tell(uint64_t generation, bool grace_is_over) {
  server* what = find(generation);
  if (what == nullptr || !what->removal.empty()) return;
  const std::string name = std::to_string(generation);
  const std::string state = state_of(*what);
  if (state == "starting" || (state == "restarting" && !grace_is_over)) return;
  if (state != "ready") {
    const std::string reason = state == "unreachable" ? "timeout" : state;
    if (what->told == reason) return;
    what->told = reason;
    events.push_back("unreachable " + name + " " + reason);
  } else if (!what->announced) {
    what->announced = true;
    what->told.clear();
    events.push_back("started " + name + " after " + std::to_string(what->previous) +
                     (what->primary ? " primary" : ""));
  } else if (!what->told.empty()) {
    events.push_back("recovered " + name + " " + what->told);
    what->told.clear();
  }
}

void specification::applied() {
  for (std::size_t i = 0; i < effects_.size(); ++i) {
    const effect next = effects_[i];
    server* what = find(next.generation);
    if (what == nullptr) continue;
    switch (next.what) {
      case effect::kind::state:
        tell(next.generation, false);
        break;
      case effect::kind::primary:
        if (what->removal.empty() && what->announced && what->primary)
          events.push_back("primary " + std::to_string(next.generation));
        break;
      case effect::kind::stop:
        records_[next.generation] = what->removal;
        last_stops_[what->workspace] = std::to_string(next.generation) + " " + what->removal;
        events.push_back("stopped " + std::to_string(next.generation) + " " + what->removal);
        if (what->socket >= 0) ended_sockets_.insert(what->socket);
        live.erase(live.begin() + (what - live.data()));
        break;
    }
  }
  effects_.clear();
  answer_waits();
}

bool specification::available(int workspace) const {
  return std::any_of(live.begin(), live.end(), [&](const server& one) {
    return one.workspace == workspace && one.primary && state_of(one) == "ready";
  });
}

void specification::answer_waits() {
  std::erase_if(waiting_, [this](const waiting_call& call) {
    if (!available(call.workspace) && call.until > now_) return false;
    std::string answer = "nothing";
    for (const server& one : live)
      if (one.workspace == call.workspace && one.primary) answer = std::to_string(one.generation);
    waits.push_back(answer);
    return true;
  });
}

void specification::forget(const std::string& id) {
  std::erase_if(terminals_, [&](const terminal& one) { return one.id == id; });
}

// -- what is to be seen

std::string specification::state_of(const server& what) {
  if (what.down) return "restarting";
  switch (what.trouble) {
    case trouble::suspended:
      return "suspended";
    case trouble::unreachable:
      return "unreachable";
    case trouble::none:
      break;
  }
  return what.answers ? "ready" : "starting";
}

std::string specification::reason_seen(const server& what) {
  switch (*what.down) {
    case cause::kernel:
      return "process_exited";
    case cause::refused:
      return "refused";
    case cause::probe:
      return "probe_failed";
  }
  return {};
}

specification::server* specification::find(uint64_t generation) {
  for (server& one : live)
    if (one.generation == generation) return &one;
  return nullptr;
}

specification::terminal* specification::find_terminal(const std::string& id) {
  for (terminal& one : terminals_)
    if (one.id == id) return &one;
  return nullptr;
}

bool specification::terminal_runs(const std::string& id) const {
  return std::any_of(terminals_.begin(), terminals_.end(),
    [&](const terminal& one) { return one.id == id && one.running; });
}

std::vector<std::string> specification::servers() const {
  std::vector<std::string> result;
  for (const server& one : live)
    result.push_back(std::to_string(one.generation) + " in " + std::to_string(one.workspace) +
                     " of " + one.terminal + " at " + std::to_string(one.port) + " " +
                     state_of(one) + (one.primary ? " primary" : "") + " after " +
                     std::to_string(one.previous) + " tunnels " + std::to_string(one.tunnels));
  return result;
}

std::vector<std::string> specification::terminals() const {
  std::vector<std::string> result;
  for (const terminal& one : terminals_)
    result.push_back(one.id + (one.running ? " running" : " exited"));
  return result;
}

std::vector<std::string> specification::routes(int workspace) const {
  std::vector<std::string> result;
  for (const server& one : live) {
    if (one.workspace != workspace) continue;
    const std::string state = state_of(one);
    result.push_back(std::to_string(one.generation) +
                     (state == "suspended"                          ? " suspended"
                       : state == "ready" || state == "unreachable" ? " up"
                       : state == "starting"                        ? " starting"
                                                                    : " held") +
                     (one.primary ? " primary" : ""));
  }
  return result;
}

std::string specification::last_stop(int workspace) const {
  const auto it = last_stops_.find(workspace);
  return it == last_stops_.end() ? "none" : it->second;
}

std::string specification::record_of(uint64_t generation) const {
  const auto it = records_.find(generation);
  return it == records_.end() ? "server_not_found" : it->second;
}

}  // namespace previewd::test
