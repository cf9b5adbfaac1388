// The program, as a service manager starts it.
#include <sys/socket.h>
#include <sys/un.h>

#include <catch2/catch.hpp>
#include <ctime>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "previewd/tests/support/http_client.hpp"
#include "previewd/tests/support/notify_socket.hpp"
#include "previewd/tests/support/started_program.hpp"
#include "previewd/tests/support/temporary_folder.hpp"

using namespace previewd;
using namespace previewd::test;

namespace {

using texts = std::vector<std::string>;

/// The program on a free port, without anything of this machine's settings.
program_start program(texts arguments = {}, texts environment = {}, std::vector<int> sockets = {}) {
  const texts common{"--listen", "127.0.0.1:0", "--io.threads", "2", "--terminal.shell", "/bin/sh"};
  arguments.insert(arguments.begin(), common.begin(), common.end());
  environment.emplace_back("XDG_CONFIG_HOME=/nonexistent");
  environment.emplace_back("HOME=/tmp");
  return {PREVIEWD_PROGRAM, std::move(arguments), std::move(environment), std::move(sockets)};
}

int64_t monotonic_microseconds() {
  timespec now{};
  ::clock_gettime(CLOCK_MONOTONIC, &now);
  return int64_t{now.tv_sec} * 1'000'000 + now.tv_nsec / 1000;
}

/// What a command puts out in a terminal of the service, to its end.
std::string output_of(uint16_t port, const std::string& command) {
  const nlohmann::json order{{"project", "shop"}, {"user", "ann"},
    {"command", {"/bin/sh", "-c", command + "; echo all-$((1+1))"}}};
  const auto opened =
    fetch(port, "POST /api/terminals", "Content-Type: application/json\r\n", order.dump());
  if (opened.status != 201) return opened.head + opened.body;
  const auto id = nlohmann::json::parse(opened.body).at("id").get<std::string>();
  std::string output;
  eventually([&] {
    output = fetch(port, "GET /api/terminals/" + id + "/output?after=0").body;
    return output.find("all-2") != std::string::npos;
  });
  return output;
}

}  // namespace

TEST_CASE("a service manager hears that the service is ready, reads settings again, and ends",
  "[system][program][manager]") {
  const temporary_folder folder;
  const std::string name = GENERATE(true, false) ? folder.path() + "/notify" : "@" + folder.path();
  const notify_socket manager{name};
  started_program service{program({}, {"NOTIFY_SOCKET=" + name})};

  const std::string ready = manager.receive();
  // By then it serves.
  const uint16_t port = service.port();
  CHECK(ready == "READY=1\nSTATUS=Listening on http://127.0.0.1:" + std::to_string(port));
  CHECK(fetch(port, "GET /healthz").status == 200);

  const int64_t before = monotonic_microseconds();
  service.signal(SIGHUP);
  const std::string reloading = manager.receive();
  const std::string begin = "RELOADING=1\nMONOTONIC_USEC=";
  REQUIRE(reloading.starts_with(begin));
  const int64_t told = std::stoll(reloading.substr(begin.size()));
  CHECK(told >= before);
  CHECK(told <= monotonic_microseconds());
  CHECK(manager.receive() == ready);

  service.signal(SIGTERM);
  CHECK(manager.receive().starts_with("STOPPING=1\n"));
  CHECK(service.exit_code() == 0);
}

TEST_CASE("a watchdog hears again and again that all is well", "[system][program][manager]") {
  const temporary_folder folder;
  const std::string name = folder.path() + "/notify";
  const notify_socket manager{name};
  started_program service{program({}, {"NOTIFY_SOCKET=" + name, "WATCHDOG_USEC=400000"})};

  CHECK(manager.receive().starts_with("READY=1\n"));
  for (int i = 0; i < 3; ++i) CHECK(manager.receive() == "WATCHDOG=1");
  service.signal(SIGTERM);

  std::string last = "WATCHDOG=1";
  while (last == "WATCHDOG=1") last = manager.receive();
  CHECK(last.starts_with("STOPPING=1\n"));
  CHECK(service.exit_code() == 0);
}

TEST_CASE("a watchdog of another process is not told", "[system][program][manager]") {
  const temporary_folder folder;
  const std::string name = folder.path() + "/notify";
  const notify_socket manager{name};
  // If it were meant for us, it would be told at once, and before the end.
  started_program service{
    program({}, {"NOTIFY_SOCKET=" + name, "WATCHDOG_USEC=1", "WATCHDOG_PID=1"})};

  CHECK(manager.receive().starts_with("READY=1\n"));
  service.signal(SIGTERM);

  CHECK(manager.receive().starts_with("STOPPING=1\n"));
  CHECK(service.exit_code() == 0);
}

TEST_CASE("a service manager that is not there changes nothing", "[system][program][manager][I7]") {
  const std::string name = GENERATE("/nonexistent/notify", "notify", "@", "@previewd-nobody");
  started_program service{program({}, {"NOTIFY_SOCKET=" + name, "WATCHDOG_USEC=junk"})};

  const uint16_t port = service.port();
  CHECK(fetch(port, "GET /healthz").status == 200);
  CHECK(service.await_err("event=notify_failed"));
  service.signal(SIGTERM);

  CHECK(service.exit_code() == 0);
}

TEST_CASE("terminals know nothing of the service manager", "[system][program][manager][I6]") {
  const temporary_folder folder;
  const std::string name = folder.path() + "/notify";
  const notify_socket manager{name};
  started_program service{
    program({}, {"NOTIFY_SOCKET=" + name, "WATCHDOG_USEC=60000000", "LISTEN_PID=1", "LISTEN_FDS=1",
                  "LISTEN_FDNAMES=http", "INVOCATION_ID=0", "MINE=kept"})};

  const std::string output = output_of(service.port(), "tr '\\0' '\\n' </proc/self/environ");

  INFO(output);
  CHECK(output.find("MINE=kept") != std::string::npos);
  for (const char* other : {"NOTIFY_", "WATCHDOG_", "LISTEN_", "INVOCATION_"})
    CHECK(output.find(other) == std::string::npos);
}
