// The program is killed, or ends, and is started again: what it still knows, and what it does not
// believe any more.
#include <sys/resource.h>
#include <sys/stat.h>

#include <catch2/catch.hpp>
#include <filesystem>

#include "previewd/os/procfs.hpp"
#include "previewd/store/store.hpp"
#include "previewd/tests/support/previewd_program.hpp"
#include "previewd/tests/support/raw_peer.hpp"
#include "previewd/tests/support/temporary_folder.hpp"

using namespace previewd;
using namespace previewd::test;
using json = nlohmann::json;

namespace {

const std::string program = PREVIEWD_PROGRAM;
const std::string dev_server = PREVIEWD_DEV_SERVER;
const std::string status_path = "/api/preview-status/shop/ann";

/// Dev servers that outlive whoever started them, killed when this goes.
class left_behind {
public:
  ~left_behind() {
    for (const os::process_id& one : processes_)
      if (os::is_alive(one)) ::kill(one.pid, SIGKILL);
  }
  void add(pid_t pid) {
    const auto stat = os::read_stat(pid);
    REQUIRE(stat.has_value());
    processes_.push_back(stat->id());
  }
  /// Kills the newest and waits until it is gone.
  void end_last() {
    const os::process_id last = processes_.back();
    ::kill(last.pid, SIGKILL);
    REQUIRE(eventually([&] { return !os::is_alive(last); }));
  }

private:
  std::vector<os::process_id> processes_;
};

/// Whether the store has been told of everything.
bool is_kept(previewd_program& previewd) {
  return eventually([&] {
    const json state = previewd.get("/debug/state");
    return state.is_object() && state["underWay"]["stores"] == 0;
  });
}

/// Starts a dev server that survives its terminal, and returns it as it is shown when it is kept.
json start_server(previewd_program& previewd, left_behind& left, const std::string& user = "ann",
  const std::string& words = "0") {
  const json terminal =
    previewd.send("POST /api/terminals", {{"project", "shop"}, {"user", user}}, 201);
  const std::string id = terminal.at("id");
  const http_answer typed = fetch(previewd.port(), "POST /api/terminals/" + id + "/input", {},
    "setsid " + dev_server + " " + words + " >/dev/null 2>&1 &\r");
  CHECK(typed.status == 204);
  const json found = previewd.get("/api/preview-status/shop/" + user + "?wait=20s");
  REQUIRE(found["available"] == true);
  left.add(found["server"]["pid"].get<pid_t>());
  REQUIRE(is_kept(previewd));
  return found["server"];
}

json wait_for_server(previewd_program& previewd, const std::string& user = "ann") {
  return previewd.get("/api/preview-status/shop/" + user + "?wait=20s");
}

std::string preview(previewd_program& previewd) {
  const http_answer answer = fetch(previewd.port(), "GET /preview/shop/ann/");
  return std::to_string(answer.status) + ' ' + answer.body;
}

/// The first event in the ring that has this name.
json first_event(previewd_program& previewd, const std::string& name) {
  const json now = previewd.get(status_path);
  connection reading{previewd.port()};
  reading.send("GET /api/events?after=" + std::to_string(now["sequence"].get<uint64_t>() - 1) +
               " HTTP/1.1\r\nHost: 127.0.0.1:" + std::to_string(previewd.port()) + "\r\n\r\n");
  std::string all;
  for (;;) {
    const std::string more = reading.read();
    if (more.empty()) return nullptr;
    all += more;
    const auto event = all.find("event: " + name + "\n");
    const auto data = all.find("data: ", event);
    if (event == std::string::npos || data == std::string::npos) continue;
    const auto end = all.find('\n', data);
    if (end != std::string::npos)
      return json::parse(all.substr(data + 6, end - data - 6), nullptr, false);
  }
}

}  // namespace

TEST_CASE("a dev server that survives a kill -9 of previewd keeps its generation and is served",
  "[system][store]") {
  const temporary_folder folder;
  left_behind left;
  json before;
  std::string page;
  {
    previewd_program previewd{program, folder.path()};
    before = start_server(previewd, left);
    page = preview(previewd);
    CHECK(before["terminalId"].is_string());
    previewd.send("PATCH /api/servers/" + std::to_string(before["generation"].get<uint64_t>()),
      {{"primary", true}}, 200);
    REQUIRE(is_kept(previewd));
    CHECK_FALSE(previewd.end(SIGKILL));
  }

  previewd_program previewd{program, folder.path()};
  const json found = wait_for_server(previewd);

  REQUIRE(found["available"] == true);
  const json& after = found["server"];
  CHECK(after["generation"] == before["generation"]);
  CHECK(after["terminalId"].is_null());
  for (const char* same : {"port", "address", "scheme", "type", "basePath", "pid", "command",
         "startedAt", "primary", "previousGeneration", "originUrl", "access"}) {
    INFO(same);
    if (std::string{same} == "originUrl") continue;  // has the port of this run
    CHECK(after.value(same, json{}) == before.value(same, json{}));
  }
  CHECK(preview(previewd) == page);
  CHECK(page.substr(0, 4) == "200 ");
  CHECK(previewd.get("/readyz")["checks"]["store"] == "ok");

  // It is watched like any other.
  left.end_last();
  REQUIRE(eventually([&] { return previewd.get(status_path)["lastStop"].is_object(); }));
  const json stop = previewd.get(status_path)["lastStop"];
  CHECK(stop["generation"] == before["generation"]);
  CHECK(stop["reason"] == "process_exited");
  CHECK(preview(previewd).substr(0, 4) == "503 ");

  // And what comes later is above it.
  const json next = start_server(previewd, left);
  CHECK(next["generation"].get<uint64_t>() > before["generation"].get<uint64_t>());
  CHECK(previewd.end(SIGTERM) == 0);
}

TEST_CASE("a dev server that has survived a kill -9 of previewd survives its own restart too",
  "[system][store][restart]") {
  const bool has_terminals = GENERATE(false, true);
  const temporary_folder folder;
  left_behind left;
  json before;
  {
    previewd_program previewd{program, folder.path()};
    before = start_server(previewd, left);
    CHECK_FALSE(previewd.end(SIGKILL));
  }
  // However long it takes the kernel watch of a busy machine.
  previewd_program previewd{program, folder.path(), {"--proxy.hold", "20s"}};
  const json found = wait_for_server(previewd);
  REQUIRE(found["available"] == true);
  REQUIRE(found["server"]["generation"] == before["generation"]);
  // Then it has to be seen first that none of them has the new socket.
  if (has_terminals)
    previewd.send("POST /api/terminals", {{"project", "shop"}, {"user", "ann"}}, 201);

  REQUIRE(::kill(before["pid"].get<pid_t>(), SIGUSR2) == 0);

  json status;
  REQUIRE(eventually([&] {
    status = previewd.get(status_path);
    return status["available"] == true && status["server"]["generation"] != before["generation"];
  }));
  const json& after = status["server"];
  CHECK(after["generation"].get<uint64_t>() > before["generation"].get<uint64_t>());
  CHECK(after["previousGeneration"] == before["generation"]);
  CHECK(after["terminalId"].is_null());
  for (const char* same : {"port", "address", "scheme", "type", "pid", "command", "primary"}) {
    INFO(same);
    CHECK(after.value(same, json{}) == before.value(same, json{}));
  }
  CHECK(status["servers"].size() == 1);
  CHECK(status["lastStop"].is_null());
  CHECK(preview(previewd).substr(0, 4) == "200 ");
  CHECK(previewd.end(SIGTERM) == 0);
}

TEST_CASE(
  "a server that was named survives a kill -9 too, as often as it comes", "[system][store]") {
  const temporary_folder folder;
  left_behind left;
  uint64_t generation = 0;
  uint64_t port = 0;
  {
    previewd_program previewd{program, folder.path()};
    const json found = start_server(previewd, left);
    port = found["port"];
    previewd.end(SIGKILL);
  }
  // In no terminal of this one: it is gone from what this one knows.
  const temporary_folder other;
  for (int i = 0; i < 3; ++i) {
    previewd_program previewd{program, other.path()};
    REQUIRE(previewd.port() != 0);
    if (i == 0) {
      generation = previewd.send("POST /api/servers",
        {{"project", "shop"}, {"user", "ann"}, {"port", port}}, 201)["generation"];
    }
    const json found = wait_for_server(previewd);
    REQUIRE(found["available"] == true);
    CHECK(found["server"]["generation"] == generation);
    CHECK(found["server"]["pid"].is_null());
    CHECK(preview(previewd).substr(0, 4) == "200 ");
    REQUIRE(is_kept(previewd));
    previewd.end(SIGKILL);
  }
}

TEST_CASE("a port that a stranger holds by now is never routed to", "[system][store][I6]") {
  const temporary_folder folder;
  left_behind left;
  json before;
  {
    previewd_program previewd{program, folder.path()};
    before = start_server(previewd, left);
    previewd.end(SIGKILL);
  }
  left.end_last();
  const raw_server stranger{before["port"].get<uint16_t>()};
  REQUIRE(stranger.port() != 0);

  previewd_program previewd{program, folder.path()};
  REQUIRE(previewd.port() != 0);
  const json status = previewd.get(status_path);

  CHECK(status["available"] == false);
  CHECK(status["lastStop"]["reason"] == "restore_failed");
  CHECK(status["lastStop"]["generation"] == before["generation"]);
  CHECK(preview(previewd).substr(0, 4) == "503 ");
  const json told = first_event(previewd, "previewServerStopped");
  CHECK(told["reason"] == "restore_failed");
  CHECK(told["generation"] == before["generation"]);
  CHECK(told["terminalId"] == before["terminalId"]);
  CHECK(told["serverKey"] == "shop_ann");
  CHECK(fetch(previewd.port(),
          "GET /api/servers/" + std::to_string(before["generation"].get<uint64_t>()))
          .status == 410);
  CHECK_FALSE(stranger.has_visitor());

  // It is told once.
  REQUIRE(is_kept(previewd));
  previewd.end(SIGKILL);
  previewd_program again{program, folder.path()};
  REQUIRE(again.port() != 0);
  CHECK(again.get(status_path)["lastStop"].is_null());
}

TEST_CASE(
  "after an orderly end there is nothing to restore but what was given", "[system][store]") {
  const temporary_folder folder;
  left_behind left;
  json before;
  {
    previewd_program previewd{program, folder.path()};
    before = start_server(previewd, left);
    CHECK(previewd.end(SIGTERM) == 0);
  }
  const std::string path = folder.path() + "/.local/state/previewd/state.db";
  struct stat facts {};
  REQUIRE(::stat(path.c_str(), &facts) == 0);
  CHECK((facts.st_mode & 07777U) == 0600);
  CHECK_FALSE(std::filesystem::exists(path + "-wal"));

  previewd_program previewd{program, folder.path()};
  REQUIRE(previewd.port() != 0);
  const json status = previewd.get(status_path);

  CHECK(status["servers"].empty());
  CHECK(status["lastStop"].is_null());
  const json next = start_server(previewd, left);
  CHECK(next["generation"].get<uint64_t>() > before["generation"].get<uint64_t>());
  CHECK(previewd.end(SIGTERM) == 0);
}

TEST_CASE(
  "numbers are above any that was given, also when the clock went back", "[system][store][I1]") {
  const temporary_folder folder;
  const std::string path = folder.path() + "/state.db";
  left_behind left;
  uint64_t highest = 4'000'000'000'000;  // milliseconds: what a clock says in 2096
  {
    const auto opened = store::open_store(path, highest);
    REQUIRE(std::get_if<std::string>(&opened) == nullptr);
  }

  for (int i = 0; i < 3; ++i) {
    previewd_program previewd{program, folder.path(), {"--store.path", path}};
    const json server = start_server(previewd, left);
    const json status = previewd.get(status_path);

    CHECK(server["generation"].get<uint64_t>() > highest);
    CHECK(status["sequence"].get<uint64_t>() > highest);
    highest = std::max(server["generation"].get<uint64_t>(), status["sequence"].get<uint64_t>());
    // However it ends.
    previewd.end(i == 0 ? SIGTERM : SIGKILL);
    left.end_last();
  }
}

TEST_CASE("two instances never have one store", "[system][store]") {
  const temporary_folder folder;
  const std::string path = folder.path() + "/state.db";
  previewd_program first{program, folder.path(), {"--store.path", path}};
  REQUIRE(first.port() != 0);
  const temporary_folder other;

  previewd_program second{program, other.path(), {"--store.path", path}};

  CHECK(second.port() == 0);
  CHECK(second.wait() == 1);
  const std::string said = second.log();
  CHECK(said == "previewd: cannot start: the store " + path +
                  " is in use by another previewd (pid " + std::to_string(first.pid()) +
                  "); name another file in store.path, or none (empty) to keep nothing\n");

  // The lock goes with its holder, however that ends.
  first.end(SIGKILL);
  previewd_program third{program, folder.path(), {"--store.path", path}};
  CHECK(third.port() != 0);
  CHECK(third.end(SIGTERM) == 0);
}

TEST_CASE("a store that cannot be used stops the start with one sentence", "[system][store][I7]") {
  temporary_folder folder;
  folder.write("file", "");
  const bool is_below_a_file = GENERATE(true, false);
  const std::string path =
    is_below_a_file ? folder.path() + "/file/state.db" : "/proc/previewd/state.db";

  previewd_program previewd{program, folder.path(), {"--store.path", path}};

  CHECK(previewd.wait() == 1);
  const std::string said = previewd.log();
  CHECK_THAT(
    said, Catch::StartsWith("previewd: cannot start: the store " + path + " cannot be made: "));
  CHECK(std::count(said.begin(), said.end(), '\n') == 1);
}

TEST_CASE("without a store nothing is written, and readiness says so", "[system][store]") {
  const temporary_folder folder;
  previewd_program previewd{program, folder.path(), {"--store.path", ""}};
  REQUIRE(previewd.port() != 0);

  CHECK(previewd.get("/readyz")["checks"]["store"] == "memory");

  CHECK(previewd.end(SIGTERM) == 0);
  CHECK_FALSE(std::filesystem::exists(folder.path() + "/.local"));
}

TEST_CASE("a damaged store is moved aside, and the service starts", "[system][store]") {
  temporary_folder folder;
  folder.write(".local/state/previewd/state.db", std::string(9000, '#'));

  previewd_program previewd{program, folder.path()};
  REQUIRE(previewd.port() != 0);

  CHECK(previewd.get("/readyz")["checks"]["store"] == "ok");
  CHECK(previewd.end(SIGTERM) == 0);
  CHECK_THAT(previewd.log(), Catch::Contains(" error ") && Catch::Contains("event=store_damaged") &&
                               Catch::Contains("moved_to=" + folder.path()));
  bool kept = false;
  for (const auto& entry :
    std::filesystem::directory_iterator{folder.path() + "/.local/state/previewd"})
    kept |= entry.path().filename().string().starts_with("state.db.damaged-");
  CHECK(kept);
}

TEST_CASE(
  "while the disk is full the service goes on, and says that it is not ready", "[system][store]") {
  const temporary_folder folder;
  left_behind left;
  previewd_program previewd{program, folder.path(), {"--log.level", "error"}};
  REQUIRE(previewd.port() != 0);
  // What the log takes, and no page of a database.
  rlimit none{4096, RLIM_INFINITY};
  rlimit before{};
  REQUIRE(::prlimit(previewd.pid(), RLIMIT_FSIZE, nullptr, &before) == 0);
  none.rlim_max = before.rlim_max;
  REQUIRE(::prlimit(previewd.pid(), RLIMIT_FSIZE, &none, nullptr) == 0);

  const json server = start_server(previewd, left);
  CHECK(preview(previewd).substr(0, 4) == "200 ");
  CHECK(eventually([&] { return fetch(previewd.port(), "GET /readyz").status == 503; }));
  CHECK_THAT(previewd.get("/readyz")["checks"]["store"].get<std::string>(),
    Catch::StartsWith("cannot be written: "));

  REQUIRE(::prlimit(previewd.pid(), RLIMIT_FSIZE, &before, nullptr) == 0);
  CHECK(eventually([&] { return fetch(previewd.port(), "GET /readyz").status == 200; }));
  previewd.end(SIGKILL);
  const std::string log = previewd.log();
  const auto said = log.find("event=store_failed");
  CHECK(said != std::string::npos);
  CHECK(log.find("event=store_failed", said + 1) == std::string::npos);

  // What could not be written then has been written since.
  previewd_program again{program, folder.path()};
  CHECK(wait_for_server(again)["server"]["generation"] == server["generation"]);
  CHECK(again.end(SIGTERM) == 0);
}
