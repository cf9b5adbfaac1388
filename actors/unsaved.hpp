#pragma once

#include <cstdint>
#include <map>
#include <set>
#include <unordered_map>

#include "previewd/actors/server_table.hpp"
#include "previewd/messages/store.hpp"

namespace previewd::actors {

/// What the store does not know yet: it is found by comparing what is registered with what the
/// store was sent last. However long the store is busy, no more is held than that.
///
/// Not thread-safe; owned by the registry actor.
class unsaved {
public:
  /// `known`: what the store has.
  explicit unsaved(const restored_state& known);

  /// Something of this workspace may have changed.
  void touch(const workspace_key& key) { touched_.insert(key); }

  /// Whether the store should hear of numbers up to `highest` before many more are given. It keeps
  /// a number far above, so that it seldom has to.
  bool is_near(uint64_t highest) const noexcept { return highest + reserve / 2 > reserved_; }

  /// Whether there may be something for the store.
  bool any() const noexcept { return !touched_.empty(); }

  /// What the store is to be sent now, and is taken to know from then on. `highest`: no generation
  /// and no sequence above it has been given.
  store_batch next(server_table& table, uint64_t highest);

  /// The same for the last time: no number above `highest` will be given.
  store_batch last(server_table& table, uint64_t highest);

private:
  static constexpr uint64_t reserve = 1 << 20;

  void compare_servers(server_table& table, store_batch& changes);
  void compare_workspaces(server_table& table, store_batch& changes);

  std::set<workspace_key> touched_;
  uint64_t reserved_ = 0;
  std::map<uint64_t, stored_server> servers_;  // as the store was sent them, by generation
  std::unordered_map<workspace_key, stored_workspace> workspaces_;  // those that are not plain
};

}  // namespace previewd::actors
