#include "previewd/actors/server_table.hpp"

#include <algorithm>
#include <utility>

#include "previewd/messages/detector.hpp"

namespace previewd::actors {

namespace {

// Linux gives out ephemeral ports from here on (ip(7), ip_local_port_range); nobody chooses one for
// a preview.
constexpr uint16_t first_ephemeral_port = 32768;

// In which the servers of one project are started.
constexpr std::chrono::seconds start_up{10};

struct rank {
  bool there, preferred, answers, page, printed, chosen_port;
  friend auto operator<=>(const rank&, const rank&) = default;
};

// What can be only one server's, whichever scheme it speaks.
bool same_place(const endpoint& a, const endpoint& b) {
  return a.port == b.port && a.address == b.address;
}

rank rank_of(const server_entry& entry, uint16_t preferred_port) {
  const server_description& what = entry.description;
  return {entry.info.state != server_state::restarting, what.upstream.port == preferred_port,
    what.answers, what.serves_page, what.printed, what.upstream.port < first_ephemeral_port};
}

route_state route_state_of(const server_entry& entry) {
  switch (entry.info.state) {
    case server_state::ready:
    case server_state::unreachable:
      return route_state::up;
    case server_state::suspended:
      return route_state::suspended;
    case server_state::starting:
      // One that has to prove itself first is not tried by clients meanwhile.
      return entry.restoring ? route_state::held : route_state::starting;
    case server_state::restarting:
      return route_state::held;
  }
  return route_state::held;
}

// Next's Server Actions, the actions of Remix and React Router and Rails' forms compare `Origin`,
// Rails' host check a pattern, with `X-Forwarded-Host`.
bool compares_names(const std::string& type) {
  return type == "next" || type == "rails" || type == "remix" || type == "react-router";
}

bool share_a_listener(const server_description& a, const server_description& b) {
  return std::any_of(a.listeners.begin(), a.listeners.end(), [&](const listener_id& one) {
    return std::find(b.listeners.begin(), b.listeners.end(), one) != b.listeners.end();
  });
}

/// Of one in no terminal: whether it is known which server is meant, not only where it is reached.
bool is_certain(const server_description& what) {
  return what.by_hand || !what.listeners.empty();
}

constexpr std::size_t most_said_access = 64;

const preview_access*
access_said(const std::deque<std::pair<uint16_t, preview_access>>& said, uint16_t port) {
  const auto found =
    std::find_if(said.begin(), said.end(), [port](const auto& one) { return one.first == port; });
  return found == said.end() ? nullptr : &found->second;
}

bool has_all_listeners(const server_description& known, const server_description& wanted) {
  return std::all_of(wanted.listeners.begin(), wanted.listeners.end(), [&](const listener_id& one) {
    return std::find(known.listeners.begin(), known.listeners.end(), one) != known.listeners.end();
  });
}

}  // namespace

server_table::server_table(uint64_t first_generation, std::size_t remembered, preview_access access)
    : next_generation_{first_generation}, remembered_{remembered}, access_{access} {}

server_entry* server_table::find(const server_ref& ref) {
  server_entry* entry = find(ref.generation);
  return entry != nullptr && entry->info.ref == ref ? entry : nullptr;
}

server_entry* server_table::find(uint64_t generation) {
  const auto it = servers_.find(generation);
  return it == servers_.end() ? nullptr : &it->second;
}

server_entry* server_table::replaced_by(const server_description& description) {
  const bool in_terminal = !description.terminal_id.empty();
  if (!in_terminal && !is_certain(description)) return nullptr;
  server_entry* moved = nullptr;
  for (auto& [generation, entry] : servers_) {
    const server_description& old = entry.description;
    if (entry.removal || old.key != description.key || old.terminal_id != description.terminal_id)
      continue;
    const bool restarting = entry.info.state == server_state::restarting;
    if (!in_terminal) {
      if (is_certain(old) && restarting && same_place(old.upstream, description.upstream))
        return &entry;
      continue;
    }
    if (old.upstream.port == description.upstream.port) return &entry;
    // A job may have several servers: which of them has moved, its process or its program says.
    const bool same_job = old.job_leader != 0 && old.job_leader == description.job_leader;
    const bool same_program = (old.pid != 0 && old.pid == description.pid) ||
                              (!old.command.empty() && old.command == description.command);
    if (!restarting || !same_job || !same_program) continue;
    // Of several that one, too, which was as much somebody's choice as this is.
    const auto chosen = [](const server_description& what) {
      return what.upstream.port < first_ephemeral_port;
    };
    if (moved == nullptr ||
        (chosen(moved->description) != chosen(description) && chosen(old) == chosen(description)))
      moved = &entry;
  }
  return moved;
}

bool server_table::taken_by_another(const server_description& description) const {
  return std::any_of(servers_.begin(), servers_.end(), [&](const auto& item) {
    const server_entry& entry = item.second;
    return !entry.removal && entry.info.state != server_state::restarting &&
           entry.description.key != description.key &&
           same_place(entry.description.upstream, description.upstream);
  });
}

server_entry* server_table::same_listener(const server_description& description) {
  for (auto& [generation, entry] : servers_) {
    const server_description& known = entry.description;
    if (entry.removal || known.key != description.key) continue;
    const bool down = entry.info.state == server_state::restarting;
    const bool same = description.listeners.empty()
                        ? !down && same_place(known.upstream, description.upstream)
                      : down ? has_all_listeners(known, description)
                             : share_a_listener(known, description) ||
                                 (known.listeners.empty() && description.by_hand &&
                                   same_place(known.upstream, description.upstream));
    if (same) return &entry;
  }
  return nullptr;
}

bool server_table::names_ended_listeners(const server_description& description) const {
  const auto ended = [this](const listener_id& one) {
    if (std::find(ended_inodes_.begin(), ended_inodes_.end(), one.inode) != ended_inodes_.end())
      return true;
    return std::any_of(servers_.begin(), servers_.end(), [&](const auto& item) {
      const auto& listeners = item.second.description.listeners;
      return item.second.removal &&
             std::find(listeners.begin(), listeners.end(), one) != listeners.end();
    });
  };
  return !description.listeners.empty() &&
         std::all_of(description.listeners.begin(), description.listeners.end(), ended);
}

server_entry& server_table::add(server_description description, uint64_t previous, wall_time now) {
  server_entry& entry = insert(next_generation_++, std::move(description));
  entry.info.previous_generation = previous;
  entry.info.started_at = now;
  return entry;
}

server_entry& server_table::restore(const stored_server& what) {
  server_description description = what.description;
  description.terminal_id.clear();
  description.foreground = false;
  description.answers = false;
  server_entry& entry = insert(what.generation, std::move(description));
  entry.info.previous_generation = what.previous_generation;
  entry.info.started_at = what.started_at;
  entry.info.primary = what.primary;
  entry.restoring = true;
  return entry;
}

void server_table::recall(const stored_workspace& what) {
  workspace& home = workspace_of(what.key);
  home.preferred_port = what.preferred_port;
  home.said_access.clear();
  for (const port_access& one : what.said_access)
    home.said_access.emplace_back(one.port, one.access);
  if (home.generations.empty() && !home.idle) home.idle = idle_.insert(idle_.end(), what.key);
}

stored_workspace server_table::said_of(const workspace_key& key) const {
  stored_workspace said;
  said.key = key;
  const auto found = workspaces_.find(key);
  if (found == workspaces_.end()) return said;
  said.preferred_port = found->second.preferred_port;
  for (const auto& [port, access] : found->second.said_access)
    said.said_access.push_back({port, access});
  return said;
}

server_entry& server_table::insert(uint64_t generation, server_description description) {
  workspace& home = workspace_of(description.key);
  server_entry& entry = servers_[generation];
  server_info& info = entry.info;
  info.ref = {description.key, generation};
  info.terminal_id = description.terminal_id;
  info.upstream = description.upstream;
  info.type = description.type;
  info.prefix = description.prefix;
  info.pid = description.pid;
  info.command = description.command;
  info.state = description.answers ? server_state::ready : server_state::starting;
  info.label = home.label;
  const preview_access* said = access_said(home.said_access, info.upstream.port);
  info.access = said != nullptr ? *said : access_;
  entry.description = std::move(description);
  home.generations.push_back(generation);
  if (home.idle) idle_.erase(*home.idle);
  home.idle.reset();
  return entry;
}

server_entry server_table::take(const server_ref& ref) {
  auto node = servers_.extract(ref.generation);
  for (const listener_id& one : node.mapped().description.listeners)
    ended_inodes_.push_back(one.inode);
  while (ended_inodes_.size() > remembered_) ended_inodes_.pop_front();
  workspace& home = workspace_of(ref.key);
  std::erase(home.generations, ref.generation);
  if (home.generations.empty()) {
    home.idle = idle_.insert(idle_.end(), ref.key);
    forget_idle_workspaces();
  }
  return std::move(node.mapped());
}

void server_table::remember(const stop_record& record) {
  if (const auto it = workspaces_.find(record.ref.key); it != workspaces_.end())
    it->second.last_stop = record;
  remember_superseded(record);
}

void server_table::remember_superseded(const stop_record& record) {
  records_[record.ref.generation] = record;
  if (records_.size() > remembered_) records_.erase(records_.begin());
}

const stop_record* server_table::record_of(uint64_t generation) const {
  const auto it = records_.find(generation);
  return it == records_.end() ? nullptr : &it->second;
}

const stop_record* server_table::last_stop(const workspace_key& key) const {
  const auto it = workspaces_.find(key);
  return it == workspaces_.end() || !it->second.last_stop ? nullptr : &*it->second.last_stop;
}

void server_table::prefer(const server_entry& entry) {
  workspace_of(entry.info.ref.key).preferred_port = entry.info.upstream.port;
}

void server_table::share(server_entry& entry, preview_access access) {
  const uint16_t port = entry.info.upstream.port;
  auto& said = workspace_of(entry.info.ref.key).said_access;
  std::erase_if(said, [port](const auto& one) { return one.first == port; });
  said.emplace_back(port, access);
  if (said.size() > most_said_access) said.pop_front();
  entry.info.access = access;
}

void server_table::keep_access(server_entry& entry, preview_access before) {
  const preview_access* said =
    access_said(workspace_of(entry.info.ref.key).said_access, entry.info.upstream.port);
  const preview_access wanted = said != nullptr ? std::min(*said, before) : before;
  if (wanted != entry.info.access) share(entry, wanted);
}

server_entry* server_table::choose_primary(const workspace_key& key) {
  const auto home = workspaces_.find(key);
  if (home == workspaces_.end()) return nullptr;
  const auto rank = [port = home->second.preferred_port](
                      const server_entry& entry) { return rank_of(entry, port); };
  bool page_ended = false;
  for (const uint64_t generation : home->second.generations) {
    server_entry& entry = servers_.at(generation);
    entry.showed_page |= entry.description.serves_page;
    // By itself nothing without pages of any kind becomes what a workspace shows.
    const bool for_sockets = entry.info.type == websockets_only && !rank(entry).preferred;
    if (!entry.removal && !for_sockets) continue;
    page_ended |= entry.removal && entry.info.primary && entry.showed_page;
    entry.info.primary = false;
  }
  server_entry* present = nullptr;
  server_entry* best = nullptr;
  for (const uint64_t generation : home->second.generations) {
    server_entry& entry = servers_.at(generation);
    if (entry.removal) continue;
    const auto mine = rank(entry);
    // Whose front end has ended wants to know it, and not to see what its API says.
    if (page_ended && mine.answers && !mine.page) entry.passed_over = true;
    if (entry.info.primary) present = &entry;
    const bool waits_for_a_choice =
      entry.info.type == websockets_only || (entry.passed_over && !mine.page);
    if (waits_for_a_choice && !mine.preferred) continue;
    if (best == nullptr || rank(*best) < mine) best = &entry;
  }
  if (best == nullptr || best == present) return nullptr;
  if (present != nullptr) {
    const auto now = rank(*best);
    const auto before = rank(*present);
    const bool by_hand = now.preferred && !before.preferred;
    const bool coming_back =
      !before.answers && (present->info.previous_generation != 0 || present->restoring);
    if (!by_hand && (before.preferred || !before.there || coming_back)) return nullptr;
    // What is shown stays, unless it shows nothing, or was only the first of several that were
    // started together.
    const bool together =
      std::chrono::abs(best->info.started_at - present->info.started_at) <= start_up;
    const bool better =
      now.answers > before.answers || now.page > before.page || (together && before < now);
    if (!by_hand && !better) return nullptr;
    present->info.primary = false;
  }
  best->info.primary = true;
  return best;
}

const std::string& server_table::know(const workspace_key& key) {
  return workspace_of(key).label;
}

workspace_routes server_table::next_routes(const workspace_key& key) {
  workspace& home = workspace_of(key);
  workspace_routes routes;
  routes.key = key;
  routes.revision = ++revision_;
  routes.label = home.label;
  routes.last_stop = home.last_stop;
  for (const uint64_t generation : home.generations) {
    const server_entry& entry = servers_.at(generation);
    if (entry.removal) continue;
    std::vector<uint64_t> inodes;
    for (const listener_id& one : entry.description.listeners) inodes.push_back(one.inode);
    routes.routes.push_back({entry.info.ref, entry.info.upstream, entry.info.prefix,
      entry.description.prefix_known, compares_names(entry.info.type), route_state_of(entry),
      entry.info.primary, entry.actor, std::move(inodes), entry.info.access});
  }
  return routes;
}

std::vector<server_info> server_table::servers_of(const workspace_key& key) const {
  return list({key.project, key.user});
}

std::vector<server_info> server_table::list(const workspace_filter& filter) const {
  std::vector<server_info> result;
  for (const auto& [generation, entry] : servers_) {
    if (!filter.matches(entry.info.ref.key)) continue;
    result.push_back(entry.info);
    if (entry.removal) result.back().state = server_state::restarting;
  }
  std::stable_partition(
    result.begin(), result.end(), [](const server_info& info) { return info.primary; });
  return result;
}

std::vector<server_ref> server_table::all() const {
  std::vector<server_ref> result;
  for (const auto& [generation, entry] : servers_) result.push_back(entry.info.ref);
  return result;
}

std::vector<server_ref> server_table::of_terminal(const std::string& terminal_id) const {
  std::vector<server_ref> result;
  for (const auto& [generation, entry] : servers_)
    if (entry.description.terminal_id == terminal_id) result.push_back(entry.info.ref);
  return result;
}

server_table::workspace& server_table::workspace_of(const workspace_key& key) {
  const auto [it, created] = workspaces_.try_emplace(key);
  if (created) {
    std::string label = plain_origin_label(key);
    // Case is lost in a label, so two workspaces can want the same one: the second gets a hashed
    // one.
    if (label.empty() || labels_.contains(label)) label = hashed_origin_label(key);
    labels_.emplace(label, key);
    it->second.label = std::move(label);
  }
  return it->second;
}

void server_table::forget_idle_workspaces() {
  while (idle_.size() > remembered_) {
    const auto it = workspaces_.find(idle_.front());
    if (!said_of(it->first).is_plain()) forgotten_.push_back(it->first);
    labels_.erase(it->second.label);
    workspaces_.erase(it);
    idle_.pop_front();
  }
}

}  // namespace previewd::actors
