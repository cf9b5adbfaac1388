#include <algorithm>
#include <catch2/catch.hpp>

#include "previewd/actors/terminal.hpp"
#include "previewd/messages/error.hpp"
#include "previewd/tests/actors/world.hpp"

using namespace previewd;
using namespace previewd::test;

TEST_CASE(
  "a terminal's environment says where its preview will be, and nobody can pass for another",
  "[actors][terminal]") {
  actors::terminal_settings settings;
  settings.shell = "/bin/zsh";
  settings.home = "/home/ann";
  settings.base_env = {"PATH=/bin", "TERM=dumb"};
  settings.origin_of = [](const std::string& label) {
    return "http://" + label + ".preview.localhost:4000";
  };
  actors::terminal_order order;
  order.id = "abc";
  order.label = "shop--ann";
  order.request.key = {"shop", "ann"};
  order.request.env = {{"PREVIEWD_TERMINAL", "another"}, {"NAME", "value"}};

  const terminal_spec spec = actors::spec_of(order, settings);

  const auto has = [&](const std::string& variable) {
    return std::count(spec.env.begin(), spec.env.end(), variable) == 1;
  };
  CHECK(has("PREVIEWD_TERMINAL=abc"));
  CHECK(has("PREVIEWD_BASE=/preview/shop/ann/"));
  CHECK(has("PREVIEWD_ORIGIN=http://shop--ann.preview.localhost:4000"));
  CHECK(has("PREVIEWD_PROJECT=shop"));
  CHECK(has("PREVIEWD_USER=ann"));
  CHECK(has("__VITE_ADDITIONAL_SERVER_ALLOWED_HOSTS=.preview.localhost"));
  CHECK(has("TERM=xterm-256color"));
  CHECK(has("COLORTERM=truecolor"));
  CHECK(has("NAME=value"));
  CHECK(has("PATH=/bin"));
  CHECK_FALSE(has("TERM=dumb"));
  CHECK_FALSE(has("PREVIEWD_TERMINAL=another"));
  CHECK(spec.argv == std::vector<std::string>{"/bin/zsh"});
  CHECK(spec.login_shell);
  CHECK(spec.cwd == "/home/ann");
}

TEST_CASE("a command is run as it is, not in a login shell", "[actors][terminal]") {
  actors::terminal_order order;
  order.request.command = {"npm", "run", "dev"};
  order.request.cwd = "/srv";

  const terminal_spec spec = actors::spec_of(order, {});

  CHECK(spec.argv == order.request.command);
  CHECK_FALSE(spec.login_shell);
  CHECK(spec.cwd == "/srv");
}

TEST_CASE("a command is shown as far as it is of use", "[actors][terminal]") {
  CHECK(actors::command_line({"npm", "run", "dev"}) == "npm run dev");
  const std::string shown = actors::command_line({"echo", std::string(1018, 'x') + "\u00e9", "y"});
  CHECK(shown == "echo " + std::string(1018, 'x'));
}

TEST_CASE(
  "no two workspaces that a pattern tells apart get the same account", "[actors][terminal][I6]") {
  const auto [pattern, project, user, taken] =
    GENERATE(table<std::string, std::string, std::string, bool>({
      {"{project}-{user}", "shop", "ann", true},
      {"{project}-{user}", "a-b", "c", false},
      {"{project}-{user}", "a", "b-c", false},
      {"x-{user}--{project}.dev", "shop-1", "ann-2", true},
      {"x-{user}--{project}.dev", "-shop", "ann", false},
      {"x-{user}--{project}.dev", "shop", "ann-", false},
      {"{project}{user}", "shop", "ann", false},
      {"dev-{user}", "a-b", "b-c", true},
      {"", "a-b", "b-c", true},
    }));
  actors::terminal_settings settings;
  settings.run_as.account = pattern;
  terminal_request request;
  request.key = {project, user};

  const caf::error wrong = actors::check(request, settings);

  CHECK(!wrong == taken);
  if (wrong) CHECK(code_of(wrong) == errc::invalid_name);
}

TEST_CASE("a terminal of another account inherits what concerns everybody", "[actors][terminal]") {
  actors::terminal_settings settings;
  settings.home = "/root";
  settings.base_env = {"PATH=/bin", "LC_ALL=C", "HOME=/root", "SSH_AUTH_SOCK=/run/agent"};
  actors::terminal_order order;
  order.request.key = {"shop", "ann"};
  const auto [pattern, account, least] =
    GENERATE(table<std::string, std::string, uint32_t>({{"coder", "coder", 0},
      {"{user}", "ann", 1000}, {"{project}-{user}.dev", "shop-ann.dev", 1000}}));
  settings.run_as.account = pattern;

  const terminal_spec spec = actors::spec_of(order, settings);

  CHECK(spec.account == account);
  CHECK(spec.least_uid == least);
  CHECK(spec.cwd.empty());
  const auto has = [&](const std::string& variable) {
    return std::find(spec.env.begin(), spec.env.end(), variable) != spec.env.end();
  };
  CHECK(has("PATH=/bin"));
  CHECK(has("LC_ALL=C"));
  CHECK_FALSE(has("HOME=/root"));
  CHECK_FALSE(has("SSH_AUTH_SOCK=/run/agent"));
}

TEST_CASE("a terminal closed before its process runs still ends it", "[actors][terminal][I3]") {
  world w;
  w.io.starts_terminals = false;
  terminal_request request;
  request.key = {"shop", "ann"};
  caf::anon_send(w.registry, open_atom_v, request);
  w.run();
  const std::string id = w.io.terminals.begin()->first;

  caf::anon_send(w.registry, close_atom_v, id);
  w.run();
  CHECK(w.kernel.ladders.empty());
  caf::anon_send(w.io.terminals.at(id).actor, opened_atom_v, int32_t{77}, std::string{"/home/ann"});
  w.run();

  CHECK(w.kernel.ladders == std::vector{id});
  CHECK(w.io.terminals.empty());
  CHECK(w.deterministic.running_actors() == w.quiet_actors);
}

TEST_CASE(
  "a terminal that nobody uses is closed as if somebody asked for it", "[actors][terminal]") {
  world w;
  terminal_request request;
  request.key = {"shop", "ann"};
  caf::anon_send(w.registry, open_atom_v, request);
  w.run();
  const std::string id = w.io.terminals.begin()->first;
  const terminal_actor terminal = w.io.terminals.at(id).actor;

  caf::anon_send(terminal, detached_atom_v);
  w.run();
  caf::anon_send(terminal, detached_atom_v);
  w.run();

  CHECK(w.kernel.ladders == std::vector{id});
  CHECK(w.io.terminals.empty());
  CHECK(w.deterministic.running_actors() == w.quiet_actors);
}
