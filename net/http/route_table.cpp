#include "previewd/net/http/route_table.hpp"

#include <algorithm>
#include <utility>

namespace previewd::net::http {

std::shared_ptr<upstream_server> workspace_entry::find(uint16_t port) const {
  std::shared_ptr<upstream_server> best;
  for (const auto& server : servers) {
    if (port == 0 ? !server->what.primary : server->what.upstream.port != port) continue;
    // While one moves to a new generation both may be there.
    const bool better = best == nullptr || (best->closed_off && !server->closed_off) ||
                        (best->closed_off == server->closed_off &&
                          best->what.ref.generation < server->what.ref.generation);
    if (better) best = server;
  }
  return best;
}

bool route_table::apply(workspace_routes routes) {
  const workspace_key key = routes.key;
  slot& at = slots_[key];
  workspace_entry& entry = at.entry;
  if (routes.revision <= entry.revision && entry.revision != 0) return false;
  entry.revision = routes.revision;
  entry.last_stop = std::move(routes.last_stop);
  set_label(key, at, std::move(routes.label));

  std::vector<std::shared_ptr<upstream_server>> before = std::move(entry.servers);
  entry.servers.clear();
  std::vector<std::shared_ptr<upstream_server>> narrowed;
  for (route& r : routes.routes) {
    const auto same = std::find_if(before.begin(), before.end(), [&](const auto& server) {
      return server != nullptr && server->what.ref.generation == r.ref.generation &&
             server->what.upstream == r.upstream;
    });
    std::shared_ptr<upstream_server> server;
    if (same != before.end()) {
      server = std::move(*same);
      *same = nullptr;
      if (r.access < server->what.access) narrowed.push_back(server);
      server->what = std::move(r);
    } else {
      server = std::make_shared<upstream_server>(std::move(r));
    }
    server->closed_off = server->what.state == route_state::held;
    if (server->what.state == route_state::up || server->what.state == route_state::starting) {
      server->spared_until = steady_clock::time_point::min();
      server->told = 0;
    }
    entry.servers.push_back(std::move(server));
  }
  for (const auto& server : before)
    if (server != nullptr) server->closed_off = true;
  // Only now, when every look at the table shows the new routes: who loses a connection may look
  // for another one at once.
  for (const auto& server : before)
    if (server != nullptr) server->close_users(close_reason::route_down);
  const std::vector<std::shared_ptr<upstream_server>> now = entry.servers;
  for (const auto& server : now)
    if (server->closed_off) server->close_users(close_reason::route_down);
  for (const auto& server : narrowed) server->close_strangers(close_reason::route_down);

  const std::vector<hold_waiter*> waiting = entry.waiters;
  for (hold_waiter* who : waiting) {
    const std::vector<hold_waiter*>& still = entry.waiters;
    if (std::find(still.begin(), still.end(), who) != still.end()) who->routes_changed();
  }
  mark_forgettable(key, at);
  forget_oldest();
  return true;
}

void route_table::close_server(const server_ref& ref) {
  workspace_entry* entry = find(ref.key);
  if (entry == nullptr) return;
  const std::vector<std::shared_ptr<upstream_server>> servers = entry->servers;
  for (const auto& server : servers) {
    if (server->what.ref.generation != ref.generation) continue;
    server->closed_off = true;
    server->what.state = route_state::held;
    server->close_users(close_reason::route_down);
  }
}

workspace_entry* route_table::find(const workspace_key& key) {
  const auto found = slots_.find(key);
  return found == slots_.end() ? nullptr : &found->second.entry;
}

const workspace_key* route_table::by_label(std::string_view label) const {
  const auto found = labels_.find(label);
  return found == labels_.end() ? nullptr : &found->second;
}

void route_table::wait(const workspace_key& key, hold_waiter& who) {
  slots_[key].entry.waiters.push_back(&who);
  ++waiting_;
}

void route_table::leave(const workspace_key& key, hold_waiter& who) {
  const auto found = slots_.find(key);
  if (found == slots_.end()) return;
  std::vector<hold_waiter*>& waiters = found->second.entry.waiters;
  const auto place = std::find(waiters.begin(), waiters.end(), &who);
  if (place == waiters.end()) return;
  waiters.erase(place);
  --waiting_;
}

void route_table::set_label(const workspace_key& key, slot& at, std::string label) {
  if (label == at.entry.label) return;
  const auto before = labels_.find(at.entry.label);
  if (before != labels_.end() && before->second == key) labels_.erase(before);
  if (!label.empty()) labels_[label] = key;
  at.entry.label = std::move(label);
}

void route_table::mark_forgettable(const workspace_key& key, slot& at) {
  const bool empty = at.entry.servers.empty();
  if (at.forgettable) forgettable_.erase(at.place);
  at.forgettable = empty;
  if (empty) at.place = forgettable_.insert(forgettable_.end(), key);
}

void route_table::forget_oldest() {
  while (forgettable_.size() > remembered_) {
    const auto found = slots_.find(forgettable_.front());
    forgettable_.pop_front();
    if (found == slots_.end()) continue;
    set_label(found->first, found->second, {});
    waiting_ -= found->second.entry.waiters.size();
    slots_.erase(found);
  }
}

}  // namespace previewd::net::http
