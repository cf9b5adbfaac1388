#include "previewd/actors/unsaved.hpp"

#include <utility>

namespace previewd::actors {

namespace {

stored_server stored(const server_entry& entry) {
  stored_server result;
  result.generation = entry.info.ref.generation;
  result.previous_generation = entry.info.previous_generation;
  result.description = entry.description;
  // It changes with every job that comes and goes, and says nothing in the next process.
  result.description.foreground = false;
  result.description.answers = false;
  result.started_at = entry.info.started_at;
  result.primary = entry.info.primary;
  return result;
}

}  // namespace

unsaved::unsaved(const restored_state& known) {
  for (const auto* list : {&known.alive, &known.gone})
    for (const stored_server& one : *list) servers_.emplace(one.generation, one);
  for (const stored_workspace& one : known.workspaces) workspaces_.emplace(one.key, one);
}

store_batch unsaved::next(server_table& table, uint64_t highest) {
  store_batch changes;
  for (workspace_key& key : table.take_forgotten()) touched_.insert(std::move(key));
  if (!touched_.empty()) {
    compare_servers(table, changes);
    compare_workspaces(table, changes);
    touched_.clear();
  }
  if (is_near(highest)) changes.highest = reserved_ = highest + reserve;
  return changes;
}

store_batch unsaved::last(server_table& table, uint64_t highest) {
  store_batch changes = next(table, highest);
  changes.highest = reserved_ = highest;
  return changes;
}

void unsaved::compare_servers(server_table& table, store_batch& changes) {
  table.for_each([&](const server_entry& entry) {
    if (!touched_.contains(entry.info.ref.key)) return;
    stored_server now = stored(entry);
    stored_server& known = servers_[now.generation];
    if (known == now) return;
    known = now;
    changes.servers.push_back(std::move(now));
  });
  std::erase_if(servers_, [&](const auto& item) {
    const auto& [generation, known] = item;
    if (!touched_.contains(known.description.key) || table.find(generation) != nullptr)
      return false;
    changes.ended.push_back(generation);
    return true;
  });
}

void unsaved::compare_workspaces(server_table& table, store_batch& changes) {
  for (const workspace_key& key : touched_) {
    stored_workspace now = table.said_of(key);
    const auto known = workspaces_.find(key);
    if (known == workspaces_.end() ? now.is_plain() : known->second == now) continue;
    if (now.is_plain()) {
      workspaces_.erase(known);
    } else {
      workspaces_[key] = now;
    }
    changes.workspaces.push_back(std::move(now));
  }
}

}  // namespace previewd::actors
