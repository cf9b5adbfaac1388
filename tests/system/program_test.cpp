// The program, as a service manager starts it.
#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>

#include <catch2/catch.hpp>
#include <cstddef>
#include <cstring>
#include <ctime>
#include <filesystem>
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
  environment.emplace_back("PREVIEWD_STORE_PATH=");  // one of them alone could have it
  return {PREVIEWD_PROGRAM, std::move(arguments), std::move(environment), std::move(sockets), {}};
}

int64_t monotonic_microseconds() {
  timespec now{};
  ::clock_gettime(CLOCK_MONOTONIC, &now);
  return int64_t{now.tv_sec} * 1'000'000 + now.tv_nsec / 1000;
}

/// A socket that listens, or is only bound, as a service manager may have it.
struct handed_over {
  handed_over(int family, int type, const std::string& address = {})
      : fd{::socket(family, type, 0)} {
    sockaddr_storage at{};
    socklen_t length = 0;
    if (family == AF_UNIX) {
      sockaddr_un un{};
      un.sun_family = AF_UNIX;
      std::memcpy(un.sun_path, address.data(), address.size());
      if (address.front() == '@') un.sun_path[0] = '\0';
      length = static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + address.size());
      std::memcpy(&at, &un, sizeof un);
    } else if (family == AF_INET) {
      sockaddr_in in{};
      in.sin_family = AF_INET;
      ::inet_pton(AF_INET, address.c_str(), &in.sin_addr);
      length = sizeof in;
      std::memcpy(&at, &in, sizeof in);
    } else {
      sockaddr_in6 in{};
      in.sin6_family = AF_INET6;
      ::inet_pton(AF_INET6, address.c_str(), &in.sin6_addr);
      length = sizeof in;
      std::memcpy(&at, &in, sizeof in);
    }
    REQUIRE(::bind(fd.get(), reinterpret_cast<const sockaddr*>(&at), length) == 0);
    length = sizeof at;
    ::getsockname(fd.get(), reinterpret_cast<sockaddr*>(&bound), &length);
    bound_length = length;
  }
  handed_over&& listening() && {
    REQUIRE(::listen(fd.get(), 64) == 0);
    return std::move(*this);
  }

  std::string port() const {
    sockaddr_in in{};  // the port is where it is in a sockaddr_in6 as well
    std::memcpy(&in, &bound, sizeof in);
    return std::to_string(ntohs(in.sin_port));
  }

  /// A client of it, who has asked for `/healthz` and not been answered yet.
  os::unique_fd ask() const {
    os::unique_fd client{::socket(bound.ss_family, SOCK_STREAM | SOCK_CLOEXEC, 0)};
    const timeval limit{std::chrono::duration_cast<std::chrono::seconds>(deadline).count(), 0};
    ::setsockopt(client.get(), SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
    REQUIRE(::connect(client.get(), reinterpret_cast<const sockaddr*>(&bound), bound_length) == 0);
    const std::string_view request =
      "GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
    ::send(client.get(), request.data(), request.size(), MSG_NOSIGNAL);
    return client;
  }

  static bool is_answered(const os::unique_fd& client) {
    std::string answer;
    char bytes[4096];
    for (ssize_t n = 0; (n = ::recv(client.get(), bytes, sizeof bytes, 0)) > 0;)
      answer.append(bytes, static_cast<std::size_t>(n));
    return answer.starts_with("HTTP/1.1 200 ");
  }

  os::unique_fd fd;
  sockaddr_storage bound{};
  socklen_t bound_length = 0;
};

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

TEST_CASE("sockets that are handed over are served on every I/O thread, in place of listen",
  "[system][program][listeners]") {
  const temporary_folder folder;
  const std::string path = folder.path() + "/previewd.sock";
  const auto v4 = handed_over{AF_INET, SOCK_STREAM, "127.0.0.1"}.listening();
  const auto v6 = handed_over{AF_INET6, SOCK_STREAM, "::1"}.listening();
  const auto by_path = handed_over{AF_UNIX, SOCK_STREAM, path}.listening();
  const auto by_name = handed_over{AF_UNIX, SOCK_STREAM, "@" + path}.listening();

  started_program service{program({"--listen", "127.0.0.1:1"}, {},
    {v4.fd.get(), v6.fd.get(), by_path.fd.get(), by_name.fd.get()})};
  const std::vector<const handed_over*> all{&v4, &v6, &by_path, &by_name};
  std::vector<os::unique_fd> clients;
  for (int i = 0; i < 50; ++i)
    for (const handed_over* each : all) clients.push_back(each->ask());

  for (const os::unique_fd& client : clients) CHECK(handed_over::is_answered(client));
  REQUIRE(service.await_out("unix:@"));
  service.signal(SIGTERM);
  CHECK(service.exit_code() == 0);
  CHECK(service.out() == "previewd listening on http://127.0.0.1:" + v4.port() +
                           "\npreviewd listening on http://[::1]:" + v6.port() +
                           "\npreviewd listening on unix:" + path +
                           "\npreviewd listening on unix:@" + path + "\n");
}

TEST_CASE("a client that comes between two runs on a handed over socket is answered by the second",
  "[system][program][listeners]") {
  const temporary_folder folder;
  const std::string path = folder.path() + "/previewd.sock";
  const bool by_path = GENERATE(true, false);
  const auto socket = by_path ? handed_over{AF_UNIX, SOCK_STREAM, path}.listening()
                              : handed_over{AF_INET, SOCK_STREAM, "127.0.0.1"}.listening();
  {
    started_program first{program({}, {}, {socket.fd.get()})};
    CHECK(handed_over::is_answered(socket.ask()));
    first.signal(SIGTERM);
    CHECK(first.exit_code() == 0);
  }

  CHECK(std::filesystem::exists(path) == by_path);
  const os::unique_fd client = socket.ask();
  started_program second{program({}, {}, {socket.fd.get()})};

  CHECK(handed_over::is_answered(client));
}

TEST_CASE("settings are read again with the sockets that were handed over",
  "[system][program][listeners][manager]") {
  const temporary_folder folder;
  const std::string name = folder.path() + "/notify";
  const notify_socket manager{name};
  const auto socket = handed_over{AF_INET, SOCK_STREAM, "127.0.0.1"}.listening();
  started_program service{program({}, {"NOTIFY_SOCKET=" + name}, {socket.fd.get()})};
  const std::string ready = manager.receive();

  service.signal(SIGHUP);

  CHECK(manager.receive().starts_with("RELOADING=1\n"));
  CHECK(manager.receive() == ready);
  CHECK(handed_over::is_answered(socket.ask()));
}

TEST_CASE(
  "settings that are read again: what is live changes, the rest is named, and wrong ones do "
  "nothing",
  "[system][program][reload]") {
  temporary_folder folder;
  const std::string name = folder.path() + "/notify";
  const notify_socket manager{name};
  const std::string start =
    "[log]\nlevel = \"error\"\n[limits]\nterminals_per_user = 1\nevent_ring = 100\n";
  const std::string file = folder.write("config.toml", start);
  // A flag of the start wins again.
  started_program service{program({"--config", file, "--health.interval", "2s"},
    {"NOTIFY_SOCKET=" + name, "PREVIEWD_PROXY_HOLD=1s"})};
  const uint16_t port = service.port();
  const std::string ready = manager.receive();
  const auto reload = [&](const std::string& content) {
    folder.write("config.toml", content);
    service.signal(SIGHUP);
    return manager.receive().starts_with("RELOADING=1\n") && manager.receive() == ready;
  };
  const auto open = [port] {
    return fetch(port, "POST /api/terminals", "Content-Type: application/json\r\n",
      R"({"project":"shop","user":"ann"})")
      .status;
  };
  const auto long_head = [port] {
    return fetch(port, "GET /healthz", "X-A: " + std::string(2000, 'a') + "\r\n").status;
  };
  REQUIRE(open() == 201);
  REQUIRE(open() == 429);
  REQUIRE(long_head() == 200);

  REQUIRE(reload("[health]\ninterval = \"5\"\n[limits]\nterminals_per_user = 2\n"));
  CHECK(open() == 429);
  CHECK(
    service.await_err("error The settings stay as they were: health.interval: \"5\" has no "
                      "unit; write for example 5s (allowed: 500ms to 1h) [from " +
                      file + ", line 2] event=reload_failed\n"));

  REQUIRE(
    reload("[log]\nlevel = \"info\"\n[limits]\nterminals_per_user = 2\nheader_bytes = "
           "\"1KiB\"\nevent_ring = 200\n[health]\ninterval = \"9s\"\n[proxy]\nhold = \"9s\"\n"
           "[preview]\ndomain = \"x.localhost\"\n"));
  CHECK(open() == 201);
  CHECK(long_head() == 431);
  CHECK(
    service.await_err("info The settings have been read again; changed: limits.header_bytes, "
                      "limits.terminals_per_user, log.level event=reload\n"));
  for (const char* setting : {"preview.domain", "limits.event_ring"})
    CHECK(service.await_err(
      "warning The setting " + std::string{setting} +
      " has changed, and needs a restart event=needs_restart setting=" + setting + "\n"));

  REQUIRE(reload("[log]\nformat = \"json\"\n"));
  CHECK(service.await_err("\"event\":\"reload\""));
  CHECK(open() == 201);
  REQUIRE(std::filesystem::remove(file));
  service.signal(SIGHUP);
  CHECK(service.await_err("The settings stay as they were: cannot read the settings file"));
  CHECK(open() == 201);
  service.signal(SIGTERM);
  CHECK(service.exit_code() == 0);
}

TEST_CASE("a socket that reaches beyond this machine needs auth.mode, whoever opened it",
  "[system][program][listeners][I6]") {
  const bool v6 = GENERATE(false, true);
  const auto socket = v6 ? handed_over{AF_INET6, SOCK_STREAM, "::"}.listening()
                         : handed_over{AF_INET, SOCK_STREAM, "0.0.0.0"}.listening();

  started_program service{program({}, {}, {socket.fd.get()})};

  CHECK(service.exit_code() == 2);
  CHECK(service.out().empty());
  CHECK_THAT(service.err(), Catch::StartsWith("previewd: listen: "));
  CHECK_THAT(service.err(), Catch::Contains(":" + socket.port() +
                                            " (LISTEN_FDS) can be reached "
                                            "from other machines") &&
                              Catch::Contains("auth.mode"));
}

TEST_CASE("of sockets that take both kinds of addresses a client has the one that it came from",
  "[system][program][listeners]") {
  temporary_folder folder;
  const auto both = handed_over{AF_INET6, SOCK_STREAM, "::"}.listening();
  const std::string secret =
    folder.write("key", "0123456789abcdef0123456789abcdef0123456789abcdef", 0600);
  // Two clients of an address are one too many, and 127.0.0.1 is trusted.
  started_program service{program({"--auth.mode", "token", "--auth.secret_file", secret,
                                    "--limits.per_address", "1", "--proxy.trusted", "127.0.0.1"},
    {}, {both.fd.get()})};
  const auto port = static_cast<uint16_t>(std::stoi(both.port()));

  const connection first{port};
  REQUIRE(first.connected());

  CHECK(fetch(port, "GET /healthz").status == 200);
  CHECK(fetch(port, "GET /healthz").status == 200);
}

TEST_CASE(
  "what is handed over and cannot be served is one sentence", "[system][program][listeners][I7]") {
  const temporary_folder folder;
  const auto good = handed_over{AF_INET, SOCK_STREAM, "127.0.0.1"}.listening();
  const handed_over silent{AF_INET, SOCK_STREAM, "127.0.0.1"};
  const handed_over datagrams{AF_INET, SOCK_DGRAM, "127.0.0.1"};
  const auto packets = handed_over{AF_UNIX, SOCK_SEQPACKET, folder.path() + "/packets"}.listening();
  const os::unique_fd file{::open("/dev/null", O_RDWR | O_CLOEXEC)};
  struct row {
    int descriptor;
    std::string_view sentence;
  };
  const std::vector<row> rows{
    {silent.fd.get(), "does not listen"},
    {datagrams.fd.get(), "is neither a TCP socket nor a UNIX stream socket"},
    {packets.fd.get(), "is neither a TCP socket nor a UNIX stream socket"},
    {file.get(), "is no socket"},
  };

  for (const row& each : rows) {
    started_program service{
      program({}, {"LISTEN_FDNAMES=web:\x1bother"}, {good.fd.get(), each.descriptor})};

    CHECK(service.exit_code() == 1);
    CHECK(service.out().empty());
    CHECK(service.err() == "previewd: LISTEN_FDS hands over descriptor 4 (\\x1bother), which " +
                             std::string{each.sentence} + "\n");
  }
  program_start missing = program({}, {}, {good.fd.get()});
  for (const auto& [said, sentence] : std::vector<std::pair<std::string, std::string>>{
         {"2", "LISTEN_FDS hands over descriptor 4, which is not open"},
         {"junk", "LISTEN_FDS is \"junk\", which is no number of descriptors"}}) {
    missing.said = said;
    started_program service{missing};

    CHECK(service.exit_code() == 1);
    CHECK(service.err() == "previewd: " + sentence + '\n');
  }
}

TEST_CASE("terminals get nothing of what was handed over", "[system][program][listeners][I6]") {
  const auto socket = handed_over{AF_INET, SOCK_STREAM, "127.0.0.1"}.listening();
  started_program service{program({}, {"LISTEN_FDNAMES=web"}, {socket.fd.get()})};

  const std::string output = output_of(service.port(),
    "tr '\\0' '\\n' </proc/self/environ; for i in /proc/self/fd/*; do readlink $i; done; true");

  INFO(output);
  CHECK(output.find("HOME=") != std::string::npos);
  CHECK(output.find("LISTEN_") == std::string::npos);
  CHECK(output.find("socket:") == std::string::npos);
}
