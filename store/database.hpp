#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "previewd/messages/store.hpp"
#include "previewd/os/procfs.hpp"

namespace previewd::store {

/// A server as it is kept, and by what it is known again.
struct kept_server {
  stored_server server;
  os::process_id owner;  // held its sockets when it was written; pid 0: not known
  std::string boot;      // of the machine, in which that was (random(4), boot_id)

  friend bool operator==(const kept_server&, const kept_server&) = default;
};

/// All that is kept.
struct content {
  std::vector<kept_server> servers;  // by generation
  std::vector<stored_workspace> workspaces;
  uint64_t highest = 0;  // no generation and no sequence above it has been given; 0: not known
};

/// What is to be written together.
struct changes {
  std::vector<kept_server> servers;
  std::vector<uint64_t> ended;
  std::vector<stored_workspace> workspaces;  // a plain one is forgotten
  uint64_t highest = 0;                      // 0: as it was

  bool empty() const noexcept {
    return servers.empty() && ended.empty() && workspaces.empty() && highest == 0;
  }
};

/// Why a database cannot be used. `damaged`: it is no store of ours, or not whole. `newer`: it is
/// one of a later version, whole as far as we know. `unusable`: the disk or the rights are against
/// it.
struct database_failure {
  enum class kind : uint8_t { damaged, newer, unusable };
  kind what = kind::unusable;
  std::string reason;
};

/// The store's SQLite database. Every call may block on the disk. For one thread at a time.
/// Move-only; closed on destruction.
class database {
public:
  /// The version of the tables that this program writes.
  static constexpr int version = 1;

  /// Opens the file, which must be there and may be empty: then the tables are made. Looks at all
  /// of it. Whoever calls it keeps others away.
  static std::variant<database, database_failure> open(const std::string& path);

  database(database&&) noexcept;
  database& operator=(database&&) noexcept;
  ~database();

  /// Reads everything.
  std::variant<content, database_failure> read();

  /// Writes all of it, or nothing. Returns why not; nothing: it is done. No changes are a write
  /// too, which alters nothing: it fails where others would.
  std::optional<std::string> write(const changes& what);

private:
  struct parts;
  explicit database(std::unique_ptr<parts> opened);

  std::unique_ptr<parts> parts_;
};

}  // namespace previewd::store
