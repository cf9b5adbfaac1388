#include "previewd/store/store.hpp"

#include <algorithm>
#include <caf/actor_cast.hpp>
#include <caf/sec.hpp>
#include <caf/typed_event_based_actor.hpp>
#include <chrono>
#include <utility>

#include "previewd/messages/registry.hpp"
#include "previewd/store/survivors.hpp"
#include "previewd/support/log.hpp"

namespace previewd::store {

namespace {

constexpr std::chrono::seconds try_again_after{1};

using opening = std::variant<std::unique_ptr<opened_store>, database_failure>;

opening open_database(taken_file& file) {
  auto data = database::open(file.path);
  if (auto* why = std::get_if<database_failure>(&data)) return std::move(*why);
  auto found = std::get<0>(data).read();
  if (auto* why = std::get_if<database_failure>(&found)) return std::move(*why);
  return std::make_unique<opened_store>(
    opened_store{std::move(file), std::get<0>(std::move(data)), std::get<0>(std::move(found))});
}

/// The end of a sentence that the name of the store begins.
std::string sentence_of(const database_failure& failure) {
  if (failure.what == database_failure::kind::newer)
    return "was written by a newer previewd (" + failure.reason + "; this one knows version " +
           std::to_string(database::version) +
           "); start that one, or name another file in store.path";
  return "cannot be written: " + failure.reason;
}

}  // namespace

std::variant<std::unique_ptr<opened_store>, std::string>
open_store(const std::string& path, uint64_t highest) {
  const std::string name = "the store " + log::one_line(path) + ' ';
  auto taken = take_file(path);
  if (const auto* why = std::get_if<std::string>(&taken)) return name + *why;
  taken_file& file = std::get<0>(taken);
  opening opened = open_database(file);
  if (const auto* why = std::get_if<database_failure>(&opened);
      why != nullptr && why->what == database_failure::kind::damaged) {
    const auto moved = move_aside(file);
    if (const auto* how = std::get_if<std::string>(&moved)) return name + *how;
    log::error("store_damaged",
      "The store is damaged; it has been moved aside, and a new one begins",
      {{"path", file.path}, {"moved_to", std::get<0>(moved).path}, {"reason", why->reason}});
    if (const auto again = make_file(file)) return name + *again;
    opened = open_database(file);
  }
  if (const auto* why = std::get_if<database_failure>(&opened)) return name + sentence_of(*why);
  auto result = std::get<0>(std::move(opened));
  changes begin;
  begin.highest = std::max(highest, result->found.highest);
  result->found.highest = begin.highest;
  if (const auto why = result->data.write(begin)) return name + "cannot be written: " + *why;
  return result;
}

writer::writer(std::unique_ptr<opened_store> opened)
    : opened_{std::move(opened)}, boot_{boot_id()} {
  for (const kept_server& one : opened_->found.servers)
    written_.emplace(one.server.generation, one);
  opened_->found = {};
}

void writer::add(store_batch batch) {
  for (stored_server& one : batch.servers) servers_[one.generation] = std::move(one);
  for (const uint64_t generation : batch.ended) {
    servers_.erase(generation);
    if (written_.contains(generation)) ended_.insert(generation);
  }
  for (stored_workspace& one : batch.workspaces) workspaces_[one.key] = std::move(one);
  if (batch.highest != 0) highest_ = batch.highest;
}

bool writer::is_behind() const noexcept {
  return !servers_.empty() || !ended_.empty() || !workspaces_.empty() || highest_ != 0;
}

/// Who holds its sockets is looked up once for each set of them.
kept_server writer::with_owner(const stored_server& server) {
  const auto known = written_.find(server.generation);
  if (known != written_.end() && known->second.owner.pid != 0 && known->second.boot == boot_) {
    const server_description& before = known->second.server.description;
    const server_description& now = server.description;
    if (before.pid == now.pid && before.listeners == now.listeners)
      return {server, known->second.owner, boot_};
  }
  return {server, owner_of(server.description), boot_};
}

bool writer::write() {
  changes what;
  for (const auto& [generation, server] : servers_) what.servers.push_back(with_owner(server));
  what.ended.assign(ended_.begin(), ended_.end());
  for (const auto& [key, workspace] : workspaces_) what.workspaces.push_back(workspace);
  what.highest = highest_;
  if (auto why = opened_->data.write(what)) {
    wrong_ = std::move(*why);
    return false;
  }
  wrong_.clear();
  for (kept_server& one : what.servers) {
    const uint64_t generation = one.server.generation;
    written_.insert_or_assign(generation, std::move(one));
  }
  for (const uint64_t generation : what.ended) written_.erase(generation);
  servers_.clear();
  ended_.clear();
  workspaces_.clear();
  highest_ = 0;
  return true;
}

namespace {

/// Writes what waits, and says when that begins to fail and when it is over. What could not be
/// written may be gone meanwhile: that it can be now shows by a write all the same.
void attempt(store_state& state) {
  if (state.failures == 0 && !state.kept->is_behind()) return;
  if (state.kept->write()) {
    if (state.failures != 0)
      log::info("store_recovered", "The store can be written again",
        {{"path", state.kept->path()}, {"failures", state.failures}});
    state.failures = 0;
  } else if (++state.failures == 1) {
    log::error("store_failed",
      "The store cannot be written; what changes is kept in memory, and it is tried again",
      {{"path", state.kept->path()}, {"reason", state.kept->wrong()}});
  }
}

}  // namespace

store_actor::behavior_type
store(store_actor::stateful_pointer<store_state> self, std::shared_ptr<writer> kept) {
  self->state.kept = std::move(kept);
  // The registry says what it does about it.
  self->set_exception_handler(
    [](std::exception_ptr&) -> caf::error { return caf::sec::runtime_error; });
  const auto try_to_write = [self] {
    attempt(self->state);
    if (self->state.failures != 0 && !std::exchange(self->state.retrying, true))
      self->delayed_send(self, try_again_after, tick_atom_v);
  };
  return {
    [=](save_atom, store_batch& changes) {
      if (self->state.kept) {
        self->state.kept->add(std::move(changes));
        try_to_write();
      }
      self->send(caf::actor_cast<registry_actor>(self->current_sender()), saved_atom_v);
    },
    [=](status_atom) -> std::string {
      if (!self->state.kept) return "is closed";
      const std::string& wrong = self->state.kept->wrong();
      return wrong.empty() ? "ok" : "cannot be written: " + wrong;
    },
    [=](tick_atom) {
      self->state.retrying = false;
      if (self->state.kept) try_to_write();
    },
    [=](close_atom) {
      if (self->state.kept) attempt(self->state);
      self->state.kept.reset();
      self->quit();
    },
  };
}

}  // namespace previewd::store
