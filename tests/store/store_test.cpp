// What is kept, on a real disk with the real SQLite.
#include "previewd/store/store.hpp"

#include <sqlite3.h>
#include <sys/resource.h>

#include <caf/actor_system.hpp>
#include <caf/actor_system_config.hpp>
#include <caf/scoped_actor.hpp>
#include <catch2/catch.hpp>
#include <csignal>
#include <filesystem>
#include <fstream>

#include "previewd/messages/all.hpp"
#include "previewd/store/survivors.hpp"
#include "previewd/tests/support/captured_stderr.hpp"
#include "previewd/tests/support/resource_check.hpp"
#include "previewd/tests/support/temporary_folder.hpp"

using namespace previewd;
using namespace previewd::store;
using namespace std::chrono_literals;
using previewd::test::temporary_folder;

namespace {

stored_server server_of(uint64_t generation, workspace_key key = {"shop", "ann"}) {
  stored_server server;
  server.generation = generation;
  server.previous_generation = generation - 1;
  server_description& what = server.description;
  what.key = std::move(key);
  what.terminal_id = "terminal";
  what.upstream = {"::1", 5173, scheme::https};
  what.type = "vite";
  what.prefix = prefix_mode::kept;
  what.pid = 4321;
  what.job_leader = 4320;
  what.command = std::string{"node\0vite \xff '; DROP TABLE server", 33};
  what.listeners = {{0xffffffff, 5173, false}, {7, 5173, true}};
  what.serves_page = what.printed = what.by_hand = what.said_type = what.said_scheme = true;
  server.started_at = wall_time{1764250000123ms};
  server.primary = true;
  return server;
}

stored_workspace workspace_of(workspace_key key = {"shop", "ann"}) {
  return {std::move(key), 5173,
    {{5173, preview_access::everyone}, {3000, preview_access::project},
      {1, preview_access::members}}};
}

std::unique_ptr<opened_store> open(const std::string& path, uint64_t highest = 1000) {
  auto opened = open_store(path, highest);
  if (const auto* why = std::get_if<std::string>(&opened)) FAIL(*why);
  return std::get<0>(std::move(opened));
}

std::string refusal(const std::string& path) {
  const auto opened = open_store(path, 1000);
  const auto* why = std::get_if<std::string>(&opened);
  return why == nullptr ? std::string{} : *why;
}

/// Writes one batch into the store at `path`, as one process would.
void keep(const std::string& path, store_batch batch) {
  writer kept{open(path)};
  kept.add(std::move(batch));
  REQUIRE(kept.write());
}

/// Runs SQL of the test's own on a store that nobody has.
void execute(const std::string& path, const char* text) {
  sqlite3* handle = nullptr;
  REQUIRE(sqlite3_open(path.c_str(), &handle) == SQLITE_OK);
  char* wrong = nullptr;
  sqlite3_exec(handle, text, nullptr, nullptr, &wrong);
  const std::string said = wrong == nullptr ? "" : wrong;
  sqlite3_free(wrong);
  sqlite3_close(handle);
  REQUIRE(said.empty());
}

std::vector<std::string> set_aside(const std::string& folder) {
  std::vector<std::string> found;
  for (const auto& entry : std::filesystem::directory_iterator{folder})
    if (entry.path().filename().string().starts_with("state.db.damaged-"))
      found.push_back(entry.path().string());
  return found;
}

/// As long as it lives, no file may grow beyond what a few lines of the log take: every write to a
/// database fails (setrlimit(2)).
class full_disk {
public:
  full_disk() {
    std::signal(SIGXFSZ, SIG_IGN);
    ::getrlimit(RLIMIT_FSIZE, &before_);
    rlimit none = before_;
    none.rlim_cur = 4096;
    ::setrlimit(RLIMIT_FSIZE, &none);
  }
  ~full_disk() { ::setrlimit(RLIMIT_FSIZE, &before_); }
  full_disk(const full_disk&) = delete;
  full_disk& operator=(const full_disk&) = delete;

private:
  rlimit before_{};
};

}  // namespace

TEST_CASE("what was kept is read as it was", "[store]") {
  const test::resource_check resources;
  {
    const temporary_folder folder;
    const std::string path = folder.path() + "/state.db";
    store_batch batch;
    batch.servers = {server_of(7), server_of(9, {"a_b", "c"})};
    batch.workspaces = {workspace_of(), workspace_of({"a", "b_c"})};
    batch.highest = 123456;

    keep(path, batch);
    const auto again = open(path);

    const content& found = again->found;
    REQUIRE(found.servers.size() == 2);
    CHECK(found.servers[0].server == batch.servers[0]);
    CHECK(found.servers[1].server == batch.servers[1]);
    CHECK(found.servers[0].boot == boot_id());
    CHECK(found.servers[0].owner.pid == 0);  // nobody has such sockets
    REQUIRE(found.workspaces.size() == 2);
    CHECK(std::find(found.workspaces.begin(), found.workspaces.end(), batch.workspaces[0]) !=
          found.workspaces.end());
    CHECK(std::find(found.workspaces.begin(), found.workspaces.end(), batch.workspaces[1]) !=
          found.workspaces.end());
    CHECK(found.highest == 123456);
  }
  CHECK(resources.difference() == "");
}

TEST_CASE("a change takes the place of what was kept, and an end takes it away", "[store]") {
  const temporary_folder folder;
  const std::string path = folder.path() + "/state.db";
  keep(path, {{server_of(7), server_of(8)}, {}, {workspace_of()}, 5000});
  stored_server changed = server_of(7);
  changed.description.listeners = {{42, 5173, false}};
  changed.primary = false;

  keep(path, {{changed}, {8}, {{{"shop", "ann"}, 0, {}}}, 4000});
  const auto again = open(path);

  REQUIRE(again->found.servers.size() == 1);
  CHECK(again->found.servers[0].server == changed);
  CHECK(again->found.workspaces.empty());
  CHECK(again->found.highest == 4000);
}

TEST_CASE("numbers are above any that was given, also when the clock went back", "[store]") {
  const temporary_folder folder;
  const std::string path = folder.path() + "/state.db";

  CHECK(open(path, 1000)->found.highest == 1000);
  CHECK(open(path, 500)->found.highest == 1000);
  keep(path, {{}, {}, {}, 2000});
  CHECK(open(path, 500)->found.highest == 2000);
  CHECK(open(path, 3000)->found.highest == 3000);
}

TEST_CASE("what waits is never more than what is registered and what the file has", "[store][I5]") {
  const temporary_folder folder;
  const std::string path = folder.path() + "/state.db";
  writer kept{open(path)};
  kept.add({{server_of(1)}, {}, {}, 0});
  REQUIRE(kept.write());
  CHECK_FALSE(kept.is_behind());
  {
    const full_disk full;
    kept.add({{server_of(2)}, {1}, {}, 0});
    CHECK_FALSE(kept.write());
    CHECK_FALSE(kept.wrong().empty());
    // Came and went while nothing could be written.
    for (uint64_t generation = 3; generation < 1000; ++generation) {
      kept.add({{server_of(generation)}, {generation - 1}, {}, 0});
      kept.add({{}, {generation}, {}, 0});
    }
    CHECK_FALSE(kept.write());
    CHECK(kept.is_behind());
  }

  CHECK(kept.write());

  CHECK(kept.wrong().empty());
  CHECK_FALSE(kept.is_behind());
}

TEST_CASE("a write of nothing fails where any other would, and changes nothing", "[store]") {
  const temporary_folder folder;
  const std::string path = folder.path() + "/state.db";
  keep(path, {{server_of(7)}, {}, {}, 5000});
  {
    writer kept{open(path)};
    {
      const full_disk full;
      CHECK_FALSE(kept.write());
      CHECK_FALSE(kept.wrong().empty());
    }
    CHECK(kept.write());
    CHECK(kept.wrong().empty());
  }

  const auto again = open(path);

  CHECK(again->found.servers.size() == 1);
  CHECK(again->found.highest == 5000);
}

TEST_CASE("a store that is damaged is moved aside, and a new one begins", "[store][damage]") {
  temporary_folder folder;
  const std::string path = folder.path() + "/state.db";
  const auto damage = GENERATE(as<std::string>{}, "garbage", "short", "truncated", "overwritten",
    "another program's", "a table is missing", "a column is missing", "a value is none of ours");
  INFO(damage);
  std::vector<stored_server> many;
  for (uint64_t generation = 1; generation < 500; ++generation)
    many.push_back(server_of(generation));
  if (damage == "garbage") {
    folder.write("state.db", std::string(5000, 'x'));
  } else if (damage == "short") {
    folder.write("state.db", "SQLite format 3");
  } else if (damage == "another program's") {
    execute(path, "CREATE TABLE theirs (x); INSERT INTO theirs VALUES (1)");
  } else {
    keep(path, {many, {}, {workspace_of()}, 9999});
  }
  if (damage == "truncated") std::filesystem::resize_file(path, 8192);
  if (damage == "overwritten") {
    std::fstream file{path};
    file.seekp(4096);
    file << std::string(3 * 4096, '\xa5');
  }
  if (damage == "a table is missing") execute(path, "DROP TABLE listener");
  if (damage == "a column is missing") execute(path, "ALTER TABLE server DROP COLUMN boot");
  if (damage == "a value is none of ours") execute(path, "UPDATE server SET scheme = 'gopher'");
  const auto size = std::filesystem::file_size(path);

  const auto opened = open(path, 5000);

  CHECK(opened->found.servers.empty());
  CHECK(opened->found.workspaces.empty());
  CHECK(opened->found.highest == 5000);
  const auto aside = set_aside(folder.path());
  REQUIRE(aside.size() == 1);
  // Nothing of it is lost.
  if (damage != "another program's") CHECK(std::filesystem::file_size(aside.front()) == size);
}

TEST_CASE("an empty file is a store that was never begun", "[store][damage]") {
  temporary_folder folder;
  const std::string path = folder.write("state.db", "");

  CHECK(open(path)->found.servers.empty());

  CHECK(set_aside(folder.path()).empty());
}

TEST_CASE("a store of a newer version is left as it is", "[store][damage]") {
  const temporary_folder folder;
  const std::string path = folder.path() + "/state.db";
  keep(path, {{server_of(7)}, {}, {}, 9999});
  execute(path, "ALTER TABLE server ADD COLUMN more TEXT; PRAGMA user_version = 2");
  const auto content_of = [&] {
    std::ifstream file{path};
    return std::string{std::istreambuf_iterator<char>{file}, {}};
  };
  const std::string before = content_of();

  CHECK(refusal(path) == "the store " + path +
                           " was written by a newer previewd (version 2; this one knows version "
                           "1); start that one, or name another file in store.path");

  CHECK(content_of() == before);
  CHECK(set_aside(folder.path()).empty());
}

TEST_CASE("a store that cannot be written is refused, and nothing is moved", "[store][damage]") {
  const temporary_folder folder;
  const std::string path = folder.path() + "/state.db";
  const bool is_new = GENERATE(true, false);
  if (!is_new) keep(path, {{server_of(7)}, {}, {}, 9999});
  {
    const full_disk full;
    CHECK_THAT(refusal(path), Catch::StartsWith("the store " + path + " cannot be written: "));
  }
  CHECK(set_aside(folder.path()).empty());
  CHECK(open(path)->found.servers.size() == (is_new ? 0 : 1));
}

TEST_CASE("a store is one service's at a time", "[store]") {
  const temporary_folder folder;
  const std::string path = folder.path() + "/state.db";
  const auto first = open(path);

  CHECK_THAT(
    refusal(path), Catch::StartsWith("the store " + path + " is in use by another previewd (pid "));
}

TEST_CASE(
  "while nothing can be written it is said once, and tried again until it can", "[store][actor]") {
  // Whether nothing waits any more when it can.
  const bool is_gone = GENERATE(false, true);
  const temporary_folder folder;
  const std::string path = folder.path() + "/state.db";
  caf::actor_system_config config;
  config.add_message_types<caf::id_block::previewd>();
  caf::actor_system system{config};
  test::captured_stderr log;
  const auto kept = system.spawn<caf::detached>(store::store, std::make_shared<writer>(open(path)));
  caf::scoped_actor self{system};
  const auto status = [&] {
    std::string said;
    self->request(kept, test::deadline, status_atom_v)
      .receive([&](std::string& what) { said = std::move(what); },
        [&](caf::error& why) { said = system.render(why); });
    return said;
  };
  const auto save = [&](const store_batch& batch) {
    self->send(kept, save_atom_v, batch);
    bool answered = false;
    self->receive([&](saved_atom) { answered = true; }, caf::after(test::deadline) >> [] {});
    CHECK(answered);
  };

  CHECK(status() == "ok");
  {
    const full_disk full;
    save({{server_of(1)}, {}, {}, 0});
    CHECK_THAT(status(), Catch::StartsWith("cannot be written: "));
    if (is_gone) {
      save({{}, {1}, {}, 0});
    } else {
      save({{server_of(2), server_of(3)}, {}, {}, 0});
    }
    CHECK_THAT(status(), Catch::StartsWith("cannot be written: "));
  }
  CHECK(test::eventually([&] { return status() == "ok"; }));

  self->request(kept, test::deadline, close_atom_v)
    .receive([] {}, [&](caf::error& why) { FAIL_CHECK(system.render(why)); });
  CHECK(open(path)->found.servers.size() == (is_gone ? 0 : 3));
  const std::string text = log.text();
  const auto first = text.find("event=store_failed");
  CHECK(first != std::string::npos);
  CHECK(text.find("event=store_failed", first + 1) == std::string::npos);
  CHECK_THAT(text, Catch::Contains("event=store_recovered") && Catch::Contains("failures="));
}
