// Whose rights terminals have. Only root can give others; nobody (65534) is an account that every
// machine has and that counts as a person's.
#include <unistd.h>

#include <catch2/catch.hpp>

#include "previewd/tests/support/resource_check.hpp"
#include "previewd/tests/system/guarded_service.hpp"

using namespace previewd;
using namespace previewd::test;

namespace {

bool is_root() {
  if (geteuid() == 0) return true;
  WARN("not root: nothing is shown here");
  return false;
}

http_answer open_as(const guarded_service& service, const std::string& user, json order) {
  order["project"] = "shop";
  order["user"] = user;
  return service.ask(operators, "POST /api/terminals", order);
}

/// What a command puts out until it has exited.
std::string
output_of(const guarded_service& service, const std::string& user, const std::string& command) {
  const http_answer answer = open_as(service, user, {{"command", {"/bin/sh", "-c", command}}});
  INFO(answer.body);
  REQUIRE(answer.status == 201);
  const std::string id = json::parse(answer.body).at("id");
  REQUIRE(service.live->events.wait([&](const event& what) {
    return what.kind == event_kind::terminal_exit && what.terminal->id == id;
  }));
  return service.ask(operators, "GET /api/terminals/" + id + "/output").body;
}

std::string message_of(const http_answer& answer) {
  return json::parse(answer.body).at("detail");
}

}  // namespace

TEST_CASE("each user's terminals have the rights of an account of its own", "[system][run_as]") {
  if (!is_root()) return;
  guarded_service service{[](settings& wanted) {
    wanted.terminal.run_as = "{user}";
    wanted.inherited.environment = {
      "PATH=/usr/bin:/bin", "SECRET_OF_ROOT=1", "XDG_RUNTIME_DIR=/run"};
  }};

  const std::string shown = output_of(service, "nobody",
    "id -un; id -gn; echo groups=$(id -G); echo home=$HOME user=$USER logname=$LOGNAME; "
    "echo inherited=$SECRET_OF_ROOT$XDG_RUNTIME_DIR; pwd; "
    "grep -E 'Cap(Prm|Eff|Inh|Amb)' /proc/self/status | tr -d '\\n\\t'; "
    "echo; stat -c 'tty=%U' $(tty); kill -0 " +
      std::to_string(getpid()) + " || echo cannot signal the service");

  INFO(shown);
  CHECK(shown.starts_with("nobody\r\nnogroup\r\ngroups=65534\r\n"));
  CHECK(shown.find("home=/ user=nobody logname=nobody") != std::string::npos);  // it has none
  CHECK(shown.find("inherited=\r\n/\r\n") != std::string::npos);
  CHECK(shown.find("CapInh:0000000000000000CapPrm:0000000000000000CapEff:0000000000000000"
                   "CapAmb:0000000000000000") != std::string::npos);
  CHECK(shown.find("tty=nobody") != std::string::npos);
  CHECK(shown.find("cannot signal the service") != std::string::npos);
}

TEST_CASE(
  "a workspace gets no account of the system's, and none that is not there", "[system][run_as]") {
  if (!is_root()) return;
  guarded_service service{[](settings& wanted) { wanted.terminal.run_as = "{user}"; }};

  for (const std::string user : {"root", "daemon"}) {
    const http_answer answer = open_as(service, user, json::object());
    CAPTURE(user, answer.body);
    CHECK(answer.status == 422);
    CHECK(message_of(answer).find("is the system's") != std::string::npos);
  }
  const http_answer missing = open_as(service, "nobody-knows", json::object());
  CHECK(missing.status == 422);
  CHECK(message_of(missing) ==
        "The terminal would run as the account \"nobody-knows\": there is none on this machine.");
  CHECK(service.list(operators, "GET /api/terminals").at("terminals").empty());
}

TEST_CASE("a terminal begins where its account may go, and says where", "[system][run_as]") {
  if (!is_root()) return;
  guarded_service service{[](settings& wanted) { wanted.terminal.run_as = "nobody"; }};
  const temporary_folder folder;

  const http_answer closed = open_as(service, "ann", {{"cwd", folder.path()}});
  CHECK(closed.status == 422);
  CHECK(message_of(closed) ==
        "Cannot start in the directory \"" + folder.path() + "\": permission denied.");

  const http_answer open = open_as(service, "ann", json::object());
  REQUIRE(open.status == 201);
  CHECK(json::parse(open.body).at("cwd") == "/");
}

TEST_CASE(
  "what is started with another account's rights leaves nothing behind when it ends or "
  "cannot be started",
  "[system][run_as]") {
  if (!is_root()) return;
  guarded_service service{[](settings& wanted) {
    wanted.terminal.run_as = "nobody";
    wanted.terminal.no_new_privileges = true;
  }};
  CHECK(output_of(service, "ann", "grep NoNewPrivs /proc/self/status") == "NoNewPrivs:\t1\r\n");
  const resource_check resources{100};

  const http_answer unknown = open_as(service, "ann", {{"command", {"/etc/passwd"}}});
  CHECK(unknown.status == 422);
  CHECK(message_of(unknown) == "Cannot start \"/etc/passwd\": permission denied.");

  const http_answer sleeping = open_as(
    service, "ann", {{"command", {"/bin/sh", "-c", "trap '' HUP TERM; setsid sleep 1000 & wait"}}});
  REQUIRE(sleeping.status == 201);
  const std::string id = json::parse(sleeping.body).at("id");
  CHECK(service.ask(operators, "DELETE /api/terminals/" + id).status < 300);
  eventually([&] { return resources.difference().empty(); });
  CHECK(resources.difference() == "");
}

TEST_CASE(
  "nothing in a terminal gets more rights than it began with, if so wanted", "[system][run_as]") {
  guarded_service service{[](settings& wanted) { wanted.terminal.no_new_privileges = true; }};
  CHECK(output_of(service, "ann", "grep NoNewPrivs /proc/self/status; ps -o tty= -p $$")
          .starts_with("NoNewPrivs:\t1\r\npts/"));
}
