#include "previewd/store/database.hpp"

#include <sqlite3.h>

#include <chrono>
#include <cstring>
#include <limits>
#include <string_view>
#include <system_error>
#include <utility>

namespace previewd::store {

namespace {

using kind = database_failure::kind;

// Marks the file as ours ("pvd" and a zero, in ASCII).
constexpr int application_id = 0x70766400;
constexpr int busy_milliseconds = 2000;

constexpr const char* tables = R"(
CREATE TABLE instance (
  id INTEGER PRIMARY KEY CHECK (id = 1),
  highest INTEGER NOT NULL,
  starts INTEGER NOT NULL) STRICT;
INSERT INTO instance VALUES (1, 0, 0);
CREATE TABLE server (
  generation INTEGER PRIMARY KEY,
  previous INTEGER NOT NULL,
  project TEXT NOT NULL,
  user TEXT NOT NULL,
  terminal TEXT NOT NULL,
  address TEXT NOT NULL,
  port INTEGER NOT NULL,
  scheme TEXT NOT NULL,
  type TEXT NOT NULL,
  prefix TEXT NOT NULL,
  pid INTEGER NOT NULL,
  job_leader INTEGER NOT NULL,
  command TEXT NOT NULL,
  serves_page INTEGER NOT NULL,
  printed INTEGER NOT NULL,
  by_hand INTEGER NOT NULL,
  said_type INTEGER NOT NULL,
  said_scheme INTEGER NOT NULL,
  started_at INTEGER NOT NULL,
  is_primary INTEGER NOT NULL,
  owner_pid INTEGER NOT NULL,
  owner_start INTEGER NOT NULL,
  boot TEXT NOT NULL) STRICT;
CREATE TABLE listener (
  generation INTEGER NOT NULL,
  place INTEGER NOT NULL,
  inode INTEGER NOT NULL,
  port INTEGER NOT NULL,
  v6 INTEGER NOT NULL,
  PRIMARY KEY (generation, place)) STRICT, WITHOUT ROWID;
CREATE TABLE workspace (
  project TEXT NOT NULL,
  user TEXT NOT NULL,
  preferred_port INTEGER NOT NULL,
  PRIMARY KEY (project, user)) STRICT, WITHOUT ROWID;
CREATE TABLE sharing (
  project TEXT NOT NULL,
  user TEXT NOT NULL,
  place INTEGER NOT NULL,
  port INTEGER NOT NULL,
  access TEXT NOT NULL,
  PRIMARY KEY (project, user, place)) STRICT, WITHOUT ROWID;
)";

constexpr const char* insert_server =
  "INSERT OR REPLACE INTO server (generation, previous, project, user, terminal, address, port, "
  "scheme, type, prefix, pid, job_leader, command, serves_page, printed, by_hand, said_type, "
  "said_scheme, started_at, is_primary, owner_pid, owner_start, boot) "
  "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)";
constexpr const char* select_servers =
  "SELECT generation, previous, project, user, terminal, address, port, scheme, type, prefix, pid, "
  "job_leader, command, serves_page, printed, by_hand, said_type, said_scheme, started_at, "
  "is_primary, owner_pid, owner_start, boot FROM server ORDER BY generation";

/// What SQLite says of its newest call, with the system's word where there is one.
std::string message_of(sqlite3* handle) {
  std::string text = sqlite3_errmsg(handle);
  if (const int number = sqlite3_system_errno(handle); number != 0)
    text += " (" + std::error_code{number, std::generic_category()}.message() + ')';
  return text;
}

/// Which failure a code of SQLite means. `schema`: an error in a statement is one of the tables.
kind kind_of(int code) {
  switch (code & 0xff) {
    case SQLITE_CORRUPT:
    case SQLITE_NOTADB:
    case SQLITE_ERROR:
    case SQLITE_SCHEMA:
    case SQLITE_MISMATCH:
      return kind::damaged;
    default:
      return code == SQLITE_IOERR_SHORT_READ ? kind::damaged : kind::unusable;
  }
}

database_failure failure_of(sqlite3* handle) {
  return {kind_of(sqlite3_extended_errcode(handle)), message_of(handle)};
}

/// One prepared statement. Its text is ours, so that it fails only where the tables are not.
class statement {
public:
  statement(sqlite3* handle, const char* text) {
    code_ = sqlite3_prepare_v2(handle, text, -1, &handle_, nullptr);
  }
  ~statement() { sqlite3_finalize(handle_); }
  statement(const statement&) = delete;
  statement& operator=(const statement&) = delete;

  /// The next parameter. Texts are copied.
  statement& with(int64_t value) {
    if (code_ == SQLITE_OK) code_ = sqlite3_bind_int64(handle_, ++bound_, value);
    return *this;
  }
  statement& with(uint64_t value) { return with(static_cast<int64_t>(value)); }
  statement& with(std::string_view text) {
    if (code_ == SQLITE_OK)
      code_ = sqlite3_bind_text64(
        handle_, ++bound_, text.data(), text.size(), SQLITE_TRANSIENT, SQLITE_UTF8);
    return *this;
  }
  statement& with_flag(bool value) { return with(int64_t{value ? 1 : 0}); }

  /// Whether there is a row.
  bool next() {
    if (code_ == SQLITE_OK || code_ == SQLITE_ROW) code_ = sqlite3_step(handle_);
    column_ = 0;
    return code_ == SQLITE_ROW;
  }

  /// Does what it says, once; false: it failed.
  bool run() {
    while (next()) {
    }
    return is_done();
  }

  /// Whether the rows ended because there were no more.
  bool is_done() const noexcept { return code_ == SQLITE_DONE; }

  /// For another run.
  void reset() {
    if (handle_ == nullptr) return;
    code_ = sqlite3_reset(handle_);
    bound_ = 0;
  }

  /// The next column of the row.
  int64_t number() { return sqlite3_column_int64(handle_, column_++); }
  std::string text() {
    const void* bytes = sqlite3_column_blob(handle_, column_);
    const auto size = static_cast<std::size_t>(sqlite3_column_bytes(handle_, column_++));
    return size == 0 ? std::string{} : std::string{static_cast<const char*>(bytes), size};
  }
  bool flag() { return number() != 0; }

private:
  sqlite3_stmt* handle_ = nullptr;
  int code_ = SQLITE_OK;
  int bound_ = 0;
  int column_ = 0;
};

bool execute(sqlite3* handle, const char* text) {
  return sqlite3_exec(handle, text, nullptr, nullptr, nullptr) == SQLITE_OK;
}

std::optional<int64_t> ask_number(sqlite3* handle, const char* text) {
  statement asked{handle, text};
  if (!asked.next()) return std::nullopt;
  return asked.number();
}

int64_t milliseconds_of(wall_time time) {
  return std::chrono::duration_cast<std::chrono::milliseconds>(time.time_since_epoch()).count();
}

template <class Value>
bool read_choice(const std::string& text, Value first, Value second, Value& result) {
  if (text != to_string(first) && text != to_string(second)) return false;
  result = text == to_string(first) ? first : second;
  return true;
}

bool read_port(int64_t number, uint16_t& result) {
  if (number < 0 || number > std::numeric_limits<uint16_t>::max()) return false;
  result = static_cast<uint16_t>(number);
  return true;
}

bool read_pid(int64_t number, int32_t& result) {
  if (number < 0 || number > std::numeric_limits<int32_t>::max()) return false;
  result = static_cast<int32_t>(number);
  return true;
}

/// False: a value is none that we write.
bool read_server(statement& row, kept_server& result) {
  stored_server& server = result.server;
  server_description& what = server.description;
  server.generation = static_cast<uint64_t>(row.number());
  server.previous_generation = static_cast<uint64_t>(row.number());
  what.key.project = row.text();
  what.key.user = row.text();
  what.terminal_id = row.text();
  what.upstream.address = row.text();
  bool good = read_port(row.number(), what.upstream.port);
  good &= read_choice(row.text(), scheme::http, scheme::https, what.upstream.scheme);
  what.type = row.text();
  good &= read_choice(row.text(), prefix_mode::stripped, prefix_mode::kept, what.prefix);
  good &= read_pid(row.number(), what.pid);
  good &= read_pid(row.number(), what.job_leader);
  what.command = row.text();
  what.serves_page = row.flag();
  what.printed = row.flag();
  what.by_hand = row.flag();
  what.said_type = row.flag();
  what.said_scheme = row.flag();
  server.started_at = wall_time{std::chrono::milliseconds{row.number()}};
  server.primary = row.flag();
  good &= read_pid(row.number(), result.owner.pid);
  result.owner.start_time = static_cast<uint64_t>(row.number());
  result.boot = row.text();
  return good && valid(what.key) && server.generation != 0;
}

database_failure odd_value() {
  return {kind::damaged, "a value in it is none that previewd writes"};
}

}  // namespace

struct database::parts {
  ~parts() { sqlite3_close(handle); }

  std::optional<database_failure> begin();
  std::optional<database_failure> make_tables();
  std::optional<database_failure> check();
  bool write_server(const kept_server& one);
  bool write_workspace(const stored_workspace& one);
  bool write_all(const changes& what);

  sqlite3* handle = nullptr;
};

database::database(std::unique_ptr<parts> opened) : parts_{std::move(opened)} {}
database::database(database&&) noexcept = default;
database& database::operator=(database&&) noexcept = default;
database::~database() = default;

std::variant<database, database_failure> database::open(const std::string& path) {
  auto opened = std::make_unique<parts>();
  constexpr int flags =
    SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOMUTEX | SQLITE_OPEN_NOFOLLOW | SQLITE_OPEN_EXRESCODE;
  if (sqlite3_open_v2(path.c_str(), &opened->handle, flags, nullptr) != SQLITE_OK)
    return failure_of(opened->handle);
  if (auto why = opened->begin()) return std::move(*why);
  return database{std::move(opened)};
}

/// Looks whose it is before anything of it is changed.
std::optional<database_failure> database::parts::begin() {
  sqlite3_busy_timeout(handle, busy_milliseconds);
  // Nothing that somebody has written into the file runs.
  sqlite3_db_config(handle, SQLITE_DBCONFIG_DEFENSIVE, 1, nullptr);
  sqlite3_db_config(handle, SQLITE_DBCONFIG_TRUSTED_SCHEMA, 0, nullptr);
  sqlite3_db_config(handle, SQLITE_DBCONFIG_ENABLE_TRIGGER, 0, nullptr);
  sqlite3_db_config(handle, SQLITE_DBCONFIG_ENABLE_VIEW, 0, nullptr);
  // Alone with it, SQLite keeps the index of its log in memory: there is no file to map.
  if (!execute(handle, "PRAGMA locking_mode = EXCLUSIVE; PRAGMA cell_size_check = ON;"))
    return failure_of(handle);
  const auto mark = ask_number(handle, "PRAGMA application_id");
  if (!mark) return failure_of(handle);
  const auto has = ask_number(handle, "PRAGMA user_version");
  if (!has) return failure_of(handle);
  const auto known = ask_number(handle, "SELECT count(*) FROM sqlite_schema");
  if (!known) return failure_of(handle);
  const bool is_new = *mark == 0 && *has == 0 && *known == 0;
  if (!is_new) {
    if (*mark != application_id || *has < 1)
      return database_failure{kind::damaged, "it is no store of previewd"};
    if (*has > version) return database_failure{kind::newer, "version " + std::to_string(*has)};
  }
  // A commit that a crash of the machine loses is no loss: the servers are gone with it.
  if (!execute(handle,
        "PRAGMA journal_mode = WAL; PRAGMA synchronous = NORMAL; PRAGMA journal_size_limit = "
        "1048576;"))
    return failure_of(handle);
  return is_new ? make_tables() : check();
}

std::optional<database_failure> database::parts::make_tables() {
  const std::string text = "BEGIN IMMEDIATE;" + std::string{tables} +
                           "PRAGMA application_id = " + std::to_string(application_id) +
                           "; PRAGMA user_version = " + std::to_string(version) + "; COMMIT;";
  if (execute(handle, text.c_str())) return std::nullopt;
  return database_failure{kind::unusable, message_of(handle)};
}

std::optional<database_failure> database::parts::check() {
  statement looked{handle, "PRAGMA quick_check(1)"};
  if (!looked.next()) return failure_of(handle);
  const std::string said = looked.text();
  if (said != "ok") return database_failure{kind::damaged, said};
  return std::nullopt;
}

std::variant<content, database_failure> database::read() {
  content result;
  sqlite3* const handle = parts_->handle;
  // The one write of a start: whether it can be written at all is known then.
  if (!execute(handle, "UPDATE instance SET starts = starts + 1")) return failure_of(handle);
  const auto highest = ask_number(handle, "SELECT highest FROM instance WHERE id = 1");
  if (!highest) return database_failure{kind::damaged, "it does not say which numbers were given"};
  result.highest = static_cast<uint64_t>(*highest);

  statement servers{handle, select_servers};
  while (servers.next())
    if (!read_server(servers, result.servers.emplace_back())) return odd_value();
  if (!servers.is_done()) return failure_of(handle);

  statement listeners{
    handle, "SELECT inode, port, v6 FROM listener WHERE generation = ? ORDER BY place"};
  for (kept_server& one : result.servers) {
    listeners.reset();
    listeners.with(one.server.generation);
    while (listeners.next()) {
      listener_id& listener = one.server.description.listeners.emplace_back();
      listener.inode = static_cast<uint64_t>(listeners.number());
      if (!read_port(listeners.number(), listener.port)) return odd_value();
      listener.v6 = listeners.flag();
    }
    if (!listeners.is_done()) return failure_of(handle);
  }

  statement workspaces{handle, "SELECT project, user, preferred_port FROM workspace"};
  statement sharing{
    handle, "SELECT port, access FROM sharing WHERE project = ? AND user = ? ORDER BY place"};
  while (workspaces.next()) {
    stored_workspace& one = result.workspaces.emplace_back();
    one.key.project = workspaces.text();
    one.key.user = workspaces.text();
    if (!valid(one.key) || !read_port(workspaces.number(), one.preferred_port)) return odd_value();
    sharing.reset();
    sharing.with(one.key.project).with(one.key.user);
    while (sharing.next()) {
      port_access& said = one.said_access.emplace_back();
      const bool good = read_port(sharing.number(), said.port);
      const auto access = access_of(sharing.text());
      if (!good || !access) return odd_value();
      said.access = *access;
    }
    if (!sharing.is_done()) return failure_of(handle);
  }
  if (!workspaces.is_done()) return failure_of(handle);
  return result;
}

bool database::parts::write_server(const kept_server& one) {
  const stored_server& server = one.server;
  const server_description& what = server.description;
  statement insert{handle, insert_server};
  insert.with(server.generation).with(server.previous_generation);
  insert.with(what.key.project).with(what.key.user).with(what.terminal_id);
  insert.with(what.upstream.address).with(int64_t{what.upstream.port});
  insert.with(to_string(what.upstream.scheme)).with(what.type).with(to_string(what.prefix));
  insert.with(int64_t{what.pid}).with(int64_t{what.job_leader}).with(what.command);
  insert.with_flag(what.serves_page).with_flag(what.printed).with_flag(what.by_hand);
  insert.with_flag(what.said_type).with_flag(what.said_scheme);
  insert.with(milliseconds_of(server.started_at)).with_flag(server.primary);
  insert.with(int64_t{one.owner.pid}).with(one.owner.start_time).with(one.boot);
  if (!insert.run()) return false;
  statement forget{handle, "DELETE FROM listener WHERE generation = ?"};
  if (!forget.with(server.generation).run()) return false;
  int64_t place = 0;
  for (const listener_id& listener : what.listeners) {
    statement add{handle, "INSERT INTO listener VALUES (?, ?, ?, ?, ?)"};
    add.with(server.generation).with(place++).with(listener.inode);
    add.with(int64_t{listener.port}).with_flag(listener.v6);
    if (!add.run()) return false;
  }
  return true;
}

bool database::parts::write_workspace(const stored_workspace& one) {
  for (const char* text : {"DELETE FROM workspace WHERE project = ? AND user = ?",
         "DELETE FROM sharing WHERE project = ? AND user = ?"}) {
    statement forget{handle, text};
    if (!forget.with(one.key.project).with(one.key.user).run()) return false;
  }
  if (one.is_plain()) return true;
  statement add{handle, "INSERT INTO workspace VALUES (?, ?, ?)"};
  add.with(one.key.project).with(one.key.user).with(int64_t{one.preferred_port});
  if (!add.run()) return false;
  int64_t place = 0;
  for (const port_access& said : one.said_access) {
    statement share{handle, "INSERT INTO sharing VALUES (?, ?, ?, ?, ?)"};
    share.with(one.key.project).with(one.key.user).with(place++);
    share.with(int64_t{said.port}).with(to_string(said.access));
    if (!share.run()) return false;
  }
  return true;
}

bool database::parts::write_all(const changes& what) {
  if (!execute(handle, "BEGIN IMMEDIATE")) return false;
  for (const uint64_t generation : what.ended) {
    for (const char* text :
      {"DELETE FROM server WHERE generation = ?", "DELETE FROM listener WHERE generation = ?"}) {
      statement forget{handle, text};
      if (!forget.with(generation).run()) return false;
    }
  }
  for (const kept_server& one : what.servers)
    if (!write_server(one)) return false;
  for (const stored_workspace& one : what.workspaces)
    if (!write_workspace(one)) return false;
  if (what.highest != 0) {
    statement set{handle, "UPDATE instance SET highest = ? WHERE id = 1"};
    if (!set.with(what.highest).run()) return false;
  }
  // SQLite leaves out a row that stays as it is, and never this number.
  if (what.empty() &&
      !execute(handle, ("PRAGMA user_version = " + std::to_string(version)).c_str()))
    return false;
  return execute(handle, "COMMIT");
}

std::optional<std::string> database::write(const changes& what) {
  sqlite3* const handle = parts_->handle;
  if (parts_->write_all(what)) return std::nullopt;
  std::string why = message_of(handle);
  if (sqlite3_get_autocommit(handle) == 0) execute(handle, "ROLLBACK");
  return why;
}

}  // namespace previewd::store
