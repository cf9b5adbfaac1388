#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <unordered_map>
#include <variant>

#include "previewd/messages/store.hpp"
#include "previewd/store/database.hpp"
#include "previewd/store/file.hpp"

namespace previewd::store {

/// A store that this process alone has, and what was in it.
struct opened_store {
  taken_file file;  // let go of after the database has been closed
  database data;
  content found;
};

/// Takes the store at `path`, makes it where there is none, and reads all of it. One that is
/// damaged is moved aside, which the log says at level error, and begun anew. Every number up to
/// `highest` counts as given, also in the next run. Or why that cannot be, as one sentence without
/// its beginning. Blocks on the disk.
std::variant<std::unique_ptr<opened_store>, std::string>
open_store(const std::string& path, uint64_t highest);

/// What is to be written, however often that fails: a change of what waits already takes its place,
/// so that it is never more than what is registered and what the file has.
///
/// Not thread-safe; every call may block on the disk.
class writer {
public:
  explicit writer(std::unique_ptr<opened_store> opened);

  void add(store_batch changes);

  /// Whether something waits.
  bool is_behind() const noexcept;

  /// Writes what waits; where nothing does, something that changes nothing, which fails like any
  /// other. False: it failed, and all of it waits still.
  bool write();

  /// Why the newest attempt failed; empty: it did not.
  const std::string& wrong() const noexcept { return wrong_; }
  const std::string& path() const noexcept { return opened_->file.path; }

private:
  kept_server with_owner(const stored_server& server);

  std::unique_ptr<opened_store> opened_;
  std::string boot_;
  std::string wrong_;
  std::map<uint64_t, stored_server> servers_;  // wait, as the rest of them
  std::set<uint64_t> ended_;
  std::unordered_map<workspace_key, stored_workspace> workspaces_;
  uint64_t highest_ = 0;
  std::map<uint64_t, kept_server> written_;  // as the file has them
};

struct store_state {
  static inline const char* name = "store";
  store_state() = default;
  std::shared_ptr<writer> kept;  // null: it has been let go of
  uint64_t failures = 0;         // in a row
  bool retrying = false;         // a `tick` is on its way
};

/// Keeps what it is sent in an opened store. Blocks on the disk: to be spawned `detached`. While
/// nothing can be written, which the log says once, it tries again every second.
store_actor::behavior_type
store(store_actor::stateful_pointer<store_state> self, std::shared_ptr<writer> kept);

}  // namespace previewd::store
