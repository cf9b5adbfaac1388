#include "previewd/net/api/service_api.hpp"

#include <caf/actor_system.hpp>
#include <caf/actor_system_config.hpp>
#include <catch2/catch.hpp>
#include <future>
#include <nlohmann/json.hpp>

#include "previewd/messages/error.hpp"
#include "previewd/messages/route.hpp"
#include "previewd/messages/store.hpp"
#include "previewd/net/http/preview_target.hpp"
#include "previewd/net/terminal/terminal_hub.hpp"
#include "previewd/os/child_reaper.hpp"
#include "previewd/tests/support/eventually.hpp"

namespace {

using namespace previewd;
using namespace previewd::net;
using nlohmann::json;

/// A request of a client that is not there: notes its answer.
class fake_exchange final : public http::exchange {
public:
  fake_exchange(io_thread& thread, std::string method, std::string wanted, std::string body,
    std::vector<std::pair<std::string, std::string>> fields)
      : thread_{thread},
        method_{std::move(method)},
        target_{std::move(wanted)},
        body_{std::move(body)},
        fields_{std::move(fields)} {
    head_.method = method_;
    head_.target = target_;
    const std::size_t mark = std::min(target_.find('?'), target_.size());
    head_.path = head_.target.substr(0, mark);
    if (mark < target_.size()) head_.query = head_.target.substr(mark + 1);
    for (const auto& [name, value] : fields_) head_.fields.push_back({name, value});
  }

  const http::request_head& head() const override { return head_; }
  io_thread& thread() const override { return thread_; }
  const std::string& client_address() const override { return address_; }
  std::string_view scheme() const override { return "http"; }
  const http::preview_target* preview() const override { return target ? &*target : nullptr; }

  void read_body(std::size_t limit, std::function<void(std::string)> done) override {
    if (body_.size() > limit) {
      respond(http::problem(errc::payload_too_large, "Too large."));
      return;
    }
    thread_.post([done = std::move(done), body = body_] { done(body); });
  }

  void respond(http::response answer) override {
    if (answered_) return;
    answered_ = true;
    promise.set_value(std::move(answer));
  }

  void start_stream(http::response) override {}
  bool write(std::shared_ptr<const std::string>, std::size_t) override { return false; }
  void finish() override {}
  void on_gone(std::function<void()>) override {}
  bool gone() const override { return false; }
  std::optional<http::released_connection> release() override { return std::nullopt; }
  void move_to(io_thread&) override {}

  std::promise<http::response> promise;
  std::optional<http::preview_target> target;

private:
  io_thread& thread_;
  std::string method_;
  std::string target_;
  std::string body_;
  std::vector<std::pair<std::string, std::string>> fields_;
  std::string address_ = "127.0.0.1";
  http::request_head head_;
  bool answered_ = false;
};

server_info server_7() {
  server_info server;
  server.ref = {{"shop", "ann"}, 7};
  server.upstream = {"::1", 5173, scheme::http};
  server.type = "vite";
  server.state = server_state::ready;
  server.primary = true;
  server.label = "shop--ann";
  return server;
}

stop_record record_6() {
  stop_record record;
  record.ref = {{"shop", "ann"}, 6};
  record.port = 5173;
  record.reason = stop_reason::refused;
  record.sequence = 3;
  return record;
}

terminal_info terminal_1() {
  terminal_info terminal;
  terminal.id = "T1";
  terminal.key = {"shop", "ann"};
  terminal.pid = 99;
  terminal.command = "/bin/bash";
  return terminal;
}

/// What the fake registry was asked, for the test to read once the answer is there.
struct asked {
  terminal_request opened;
  std::vector<std::string> closed;
  std::vector<uint64_t> removed;
  workspace_filter filter;
  caf::timespan wait{0};
};

caf::error no_terminal(const std::string& id) {
  return make_error(errc::terminal_not_found, "No terminal has the id " + id + ".");
}

template <class T> caf::result<T> by_generation(uint64_t generation, T value) {
  if (generation == 7) return value;
  if (generation == 6) return make_error(errc::server_gone, "Generation 6 of shop_ann ended.");
  return make_error(errc::no_such_server, "No server has this generation.");
}

registry_actor::behavior_type fake_registry(registry_actor::pointer, asked* seen) {
  return {
    [=](open_atom, const terminal_request& request) -> caf::result<terminal_info> {
      seen->opened = request;
      if (request.key.user == "greedy")
        return make_error(errc::limit_reached, "limits.terminals_per_user is 16.");
      return terminal_1();
    },
    [=](close_atom, const std::string& id) -> caf::result<terminal_info> {
      if (id != "T1") return no_terminal(id);
      seen->closed.push_back(id);
      return terminal_1();
    },
    [=](list_atom, terminal_atom, const workspace_filter& filter) {
      seen->filter = filter;
      return std::vector<terminal_info>{terminal_1()};
    },
    [=](lookup_atom, terminal_atom, const std::string& id) -> caf::result<terminal_info> {
      if (id != "T1") return no_terminal(id);
      return terminal_1();
    },
    [=](add_atom, const server_description&) -> caf::result<server_ref> {
      return make_error(errc::internal, "Not asked in these tests.");
    },
    [=](remove_atom, uint64_t generation) {
      seen->removed.push_back(generation);
      return by_generation(generation, record_6());
    },
    [=](primary_atom, uint64_t generation) { return by_generation(generation, server_7()); },
    [=](access_atom, uint64_t generation, preview_access) {
      return by_generation(generation, server_7());
    },
    [=](settings_atom, const registry_limits&) {},
    [=](list_atom, server_atom, const workspace_filter& filter) {
      seen->filter = filter;
      return std::vector<server_info>{server_7()};
    },
    [=](lookup_atom, server_atom, uint64_t generation) {
      return by_generation(generation, server_7());
    },
    [=](lookup_atom, stopped_atom, uint64_t generation) -> caf::result<stop_record> {
      if (generation == 6) return record_6();
      return make_error(errc::no_such_server, "No removal of this generation is known.");
    },
    [=](status_atom, const workspace_key& key, caf::timespan wait) {
      seen->wait = wait;
      workspace_status status;
      if (key == workspace_key{"shop", "ann"}) status.servers = {server_7()};
      return status;
    },
    [=](snapshot_atom, const std::string&) { return project_snapshot{}; },
    [=](shutdown_atom) { return uint64_t{0}; },
    [=](counters_atom) { return registry_counters{}; },
    [=](subscribe_atom, const event_subscriber_actor&) {},
    [=](replay_atom, uint64_t) { return std::vector<event>{}; },
    [=](client_atom, connection_id) {},
    [=](delivered_atom, uint64_t) {},
    [=](opened_atom, const std::string&, int32_t, const std::string&) {},
    [=](failed_atom, const std::string&, const caf::error&) {},
    [=](exited_atom, const std::string&, const exit_status&) {},
    [=](ended_atom, const std::string&) {},
    [=](foreground_atom, const std::string&, int32_t, int32_t) {},
    [=](down_atom, const server_ref&, steady_moment) {},
    [=](stopped_atom, const server_ref&, const stop_cause&) {},
    [=](state_atom, const server_ref&, server_state, const std::string&) {},
    [=](identity_atom, const server_ref&, const server_description&) {},
    [=](owner_atom, const server_ref&, int32_t, const std::string&) {},
    [=](listeners_atom, const server_ref&, const std::vector<listener_fact>&) {},
    [=](health_atom, const server_ref&, const server_health&) {},
    [=](tunnel_atom, const server_ref&, uint64_t) {},
    [=](applied_atom, const workspace_key&, uint64_t) {},
    [=](restore_atom) {},
    [=](save_atom) {},
    [=](saved_atom) {},
    [=](tick_atom, uint64_t) {},
  };
}

caf::actor_system_config& configured(caf::actor_system_config& config) {
  config.set("scheduler.policy", caf::atom("sharing"));
  config.set("scheduler.max-threads", std::size_t{2});
  config.add_message_types<caf::id_block::previewd>();
  return config;
}

/// The API over a fake registry, with one I/O thread.
class world {
public:
  world() {
    auto bytes = [](const char* text) { return std::make_shared<const std::string>(text); };
    api.emplace(api::service_api_parts{system, registry, hub, {},
      {{"index.html", "text/html; charset=utf-8", "no-cache", "\"1\"", "default-src 'self'",
         bytes("start")},
        {"terminal.html", "text/html; charset=utf-8", "", "", "", bytes("terminal")},
        {"dashboard.html", "text/html; charset=utf-8", "", "", "", bytes("dashboard")},
        {"iframe.html", "text/html; charset=utf-8", "", "", "", bytes("iframe")},
        {"assets/app-1234.js", "text/javascript", "immutable", "\"2\"", "", bytes("code")}},
      [](io_thread&, const std::function<void(std::vector<api::connection_info>)>& done) {
        done({});
      },
      [](const http::exchange_ptr& request) {
        http::response answer;
        answer.body = "socket.io";
        request->respond(std::move(answer));
      },
      {}, {}, {}, {}});
    thread.start("test-io");
  }

  ~world() {
    thread.stop();
    caf::anon_send_exit(registry, caf::exit_reason::user_shutdown);
  }

  http::response call(std::string method, std::string target, std::string body = {},
    std::vector<std::pair<std::string, std::string>> fields = {},
    std::optional<http::preview_target> preview = {}) {
    auto request = std::make_shared<fake_exchange>(
      thread, std::move(method), std::move(target), std::move(body), std::move(fields));
    request->target = std::move(preview);
    auto answer = request->promise.get_future();
    thread.post([this, request] { api->handle(request); });
    REQUIRE(answer.wait_for(test::deadline) == std::future_status::ready);
    return answer.get();
  }

  asked seen;
  caf::actor_system_config config;
  caf::actor_system system{configured(config)};
  registry_actor registry = system.spawn(fake_registry, &seen);
  os::child_reaper reaper{os::reap_mode::own};
  io_thread thread{0};
  terminal::terminal_hub hub{{&thread}, reaper};
  std::optional<api::service_api> api;
};

std::string field(const http::response& answer, std::string_view name) {
  for (const auto& [key, value] : answer.fields)
    if (key == name) return value;
  return {};
}

std::string code(const http::response& answer) {
  return json::parse(answer.body).value("code", "");
}
std::string detail(const http::response& answer) {
  return json::parse(answer.body).value("detail", "");
}

std::string bytes(const http::response& answer) {
  return answer.shared_body ? *answer.shared_body : answer.body;
}

}  // namespace

TEST_CASE(
  "a terminal is opened with what was asked, and with defaults for the rest", "[net][api]") {
  world w;

  const auto answer = w.call("POST", "/api/terminals",
    R"({"project":"shop","user":"ann","cols":120,"cwd":"/srv","command":["npm","start"],"env":{"A":"1"}})");

  CHECK(answer.status == 201);
  CHECK(field(answer, "Location") == "/api/terminals/T1");
  CHECK(field(answer, "Cache-Control") == "no-store");
  CHECK(json::parse(answer.body)["id"] == "T1");
  CHECK(w.seen.opened.key == workspace_key{"shop", "ann"});
  CHECK(w.seen.opened.size == terminal_size{.columns = 120, .rows = 24});
  CHECK(w.seen.opened.cwd == "/srv");
  CHECK(w.seen.opened.command == std::vector<std::string>{"npm", "start"});
  CHECK(w.seen.opened.env == std::vector<std::pair<std::string, std::string>>{{"A", "1"}});
}

TEST_CASE(
  "a wrong order for a terminal is refused with its field, and opens none", "[net][api][I7]") {
  const auto [body, status, wanted, named] =
    GENERATE(table<std::string, unsigned, std::string, std::string>({
      {"", 400, "invalid_json", "JSON"},
      {"{", 400, "invalid_json", "JSON"},
      {"[]", 400, "invalid_json", "object"},
      {"{}", 400, "invalid_field", "project"},
      {R"({"project":"shop"})", 400, "invalid_field", "user"},
      {R"({"project":1,"user":"ann"})", 400, "invalid_field", "project"},
      {R"({"project":"sh op","user":"ann"})", 400, "invalid_name", "project"},
      {R"({"project":"shop","user":".."})", 400, "invalid_name", "user"},
      {R"({"project":"shop","user":""})", 400, "invalid_name", "user"},
      {R"({"project":"shop","user":"ann","cols":0})", 400, "invalid_field", "cols"},
      {R"({"project":"shop","user":"ann","cols":1001})", 400, "invalid_field", "cols"},
      {R"({"project":"shop","user":"ann","rows":"24"})", 400, "invalid_field", "rows"},
      {R"({"project":"shop","user":"ann","rows":2.5})", 400, "invalid_field", "rows"},
      {R"({"project":"shop","user":"ann","rows":-1})", 400, "invalid_field", "rows"},
      {R"({"project":"shop","user":"ann","cwd":"relative"})", 400, "invalid_field", "cwd"},
      {R"({"project":"shop","user":"ann","cwd":"/a\u0000b"})", 400, "invalid_field", "cwd"},
      {R"({"project":"shop","user":"ann","command":"ls"})", 400, "invalid_field", "command"},
      {R"({"project":"shop","user":"ann","command":["ls",1]})", 400, "invalid_field", "command"},
      {R"({"project":"shop","user":"ann","command":[""]})", 400, "invalid_field", "command"},
      {R"({"project":"shop","user":"ann","env":["A=1"]})", 400, "invalid_field", "env"},
      {R"({"project":"shop","user":"ann","env":{"A":1}})", 400, "invalid_field", "env"},
      {R"({"project":"shop","user":"ann","env":{"A=B":"1"}})", 400, "invalid_field", "env"},
      {R"({"project":"shop","user":"ann","colour":"red"})", 400, "invalid_field", "colour"},
      {R"({"project":"shop","user":"greedy"})", 429, "limit_reached", "limits.terminals_per_user"},
    }));
  INFO(body);
  world w;

  const auto answer = w.call("POST", "/api/terminals", body);

  CHECK(answer.status == status);
  CHECK(answer.content_type == "application/problem+json");
  CHECK(code(answer) == wanted);
  CHECK(detail(answer).find(named) != std::string::npos);
  if (status == 400) CHECK(w.seen.opened.key == workspace_key{});
}

TEST_CASE("what is too large is refused before it is looked at", "[net][api][I7]") {
  world w;

  CHECK(w.call("POST", "/api/terminals", std::string(70'000, ' ')).status == 413);
  CHECK(w.call("POST", "/api/terminals/T1/input", std::string(1'100'000, 'x')).status == 413);
}

TEST_CASE("every path and method that is wrong gets its own error", "[net][api][I7]") {
  const auto [method, target, status, wanted] =
    GENERATE(table<std::string, std::string, unsigned, std::string>({
      {"GET", "/api", 404, "not_found"},
      {"GET", "/api/nothing", 404, "not_found"},
      {"GET", "/api/terminals/", 404, "not_found"},
      {"GET", "/api/terminals/T1/nothing", 404, "not_found"},
      {"GET", "/api/events/1", 404, "not_found"},
      {"GET", "/assets/", 404, "not_found"},
      {"GET", "/assets/missing.js", 404, "not_found"},
      {"GET", "/assets/..%2Findex.html", 404, "not_found"},
      {"GET", "/api/terminals/%zz", 400, "invalid_field"},
      {"PUT", "/api/terminals", 405, "method_not_allowed"},
      {"DELETE", "/api/servers", 405, "method_not_allowed"},
      {"POST", "/healthz", 405, "method_not_allowed"},
      {"GET", "/api/terminals/T2", 404, "terminal_not_found"},
      {"DELETE", "/api/terminals/T2", 404, "terminal_not_found"},
      {"POST", "/api/terminals/T2/input", 404, "terminal_not_found"},
      {"GET", "/api/terminals/T2/output", 404, "terminal_not_found"},
      {"GET", "/api/terminals/T2/output?after=x", 400, "invalid_field"},
      {"GET", "/api/terminals?project=a%20b", 400, "invalid_name"},
      {"GET", "/api/servers?user=..", 400, "invalid_name"},
      {"GET", "/api/servers/5", 404, "server_not_found"},
      {"GET", "/api/servers/x", 404, "server_not_found"},
      {"DELETE", "/api/servers/5", 404, "server_not_found"},
      {"GET", "/api/preview-status/sh%20op/ann", 400, "invalid_name"},
      {"GET", "/api/preview-status/shop/%2E%2E", 400, "invalid_name"},
      {"GET", "/api/preview-status/shop", 404, "not_found"},
      {"GET", "/api/preview-status/shop/ann?wait=61s", 400, "invalid_field"},
      {"GET", "/api/preview-status/shop/ann?wait=30", 400, "invalid_field"},
      {"GET", "/api/preview-status/shop/ann?wait=", 400, "invalid_field"},
      {"GET", "/terminal/sh%20op/ann", 400, "invalid_name"},
      {"GET", "/preview/shop/%2E/iframe", 400, "invalid_name"},
      {"GET", "/preview/shop/ann/.previewd/status", 404, "not_found"},
    }));
  INFO(method << " " << target);
  world w;

  const auto answer = w.call(method, target);

  CHECK(answer.status == status);
  CHECK(answer.content_type == "application/problem+json");
  CHECK(code(answer) == wanted);
  CHECK(json::parse(answer.body)["status"] == status);
  CHECK(field(answer, "Cache-Control") == "no-store");
}

TEST_CASE("a wrong method is told which ones are right", "[net][api]") {
  world w;

  CHECK(field(w.call("PUT", "/api/terminals"), "Allow") == "GET, HEAD, POST");
  CHECK(field(w.call("POST", "/api/terminals/T1"), "Allow") == "GET, HEAD, DELETE");
  CHECK(field(w.call("GET", "/api/terminals/T1/input"), "Allow") == "POST");
}

TEST_CASE("terminals and servers are listed by project and user", "[net][api]") {
  world w;

  const auto terminals = w.call("GET", "/api/terminals?project=shop&user=ann");
  CHECK(terminals.status == 200);
  CHECK(terminals.content_type == "application/json");
  CHECK(json::parse(terminals.body)["terminals"][0]["id"] == "T1");
  CHECK(w.seen.filter.project == "shop");
  CHECK(w.seen.filter.user == "ann");

  const auto servers = w.call("HEAD", "/api/servers");
  CHECK(json::parse(servers.body)["servers"][0]["generation"] == 7);
  CHECK(w.seen.filter.project.empty());

  CHECK(json::parse(w.call("GET", "/api/terminals/T1").body)["state"] == "running");
  CHECK(json::parse(w.call("GET", "/api/terminals/%541").body)["id"] == "T1");
  CHECK(json::parse(w.call("GET", "/api/servers/7").body)["type"] == "vite");

  // A filter that cannot be read is not none.
  for (const char* target :
    {"/api/terminals?project=%zz", "/api/servers?user=%4", "/api/events?after=%"}) {
    const auto answer = w.call("GET", target);
    CHECK(answer.status == 400);
    CHECK(json::parse(answer.body)["code"] == "invalid_field");
  }
}

TEST_CASE("what is closed or removed has no content, and names what it means", "[net][api][I1]") {
  world w;

  CHECK(w.call("DELETE", "/api/terminals/T1").status == 204);
  CHECK(w.seen.closed == std::vector<std::string>{"T1"});
  CHECK(w.call("DELETE", "/api/servers/7").status == 204);
  CHECK(w.seen.removed == std::vector<uint64_t>{7});
}

TEST_CASE("a generation that is gone comes with its record", "[net][api][I1]") {
  const std::string method = GENERATE(as<std::string>{}, "GET", "DELETE");
  world w;

  const auto answer = w.call(method, "/api/servers/6");

  CHECK(answer.status == 410);
  CHECK(code(answer) == "server_gone");
  CHECK(json::parse(answer.body)["lastStop"]["generation"] == 6);
  CHECK(json::parse(answer.body)["lastStop"]["reason"] == "refused");
}

TEST_CASE("the preview status is given at once, or after a wait", "[net][api]") {
  world w;

  CHECK(json::parse(w.call("GET", "/api/preview-status/shop/ann").body)["server"]["port"] == 5173);
  CHECK(w.seen.wait == caf::timespan{0});
  CHECK(
    json::parse(w.call("GET", "/api/preview-status/shop/bob?wait=30s").body)["available"] == false);
  CHECK(w.seen.wait == caf::timespan{std::chrono::seconds{30}});
}

TEST_CASE("a preview's own status is that of its workspace, by either address", "[net][api]") {
  world w;
  const http::preview_target target{
    .key = {"shop", "ann"}, .port = 0, .by = http::preview_target::address::origin, .prefix = {}};

  CHECK(json::parse(w.call("GET", "/.previewd/status", {}, {}, target).body)["available"] == true);
  CHECK(w.call("GET", "/.previewd/other", {}, {}, target).status == 404);
  CHECK(w.call("GET", "/api/terminals", {}, {}, target).status == 404);
  CHECK(w.call("POST", "/.previewd/status", {}, {}, target).status == 405);
  CHECK(w.call("GET", "/.previewd/status").status == 404);

  http::preview_target by_path = target;
  by_path.by = http::preview_target::address::path;
  by_path.prefix = "/preview/shop/ann:3001";
  CHECK(json::parse(w.call("GET", "/preview/shop/ann:3001/.previewd/status", {}, {}, by_path)
                      .body)["available"] == true);
}

TEST_CASE("at a further server's address the status is that server's, at once", "[net][api]") {
  world w;
  http::preview_target target{.key = {"shop", "ann"},
    .port = 3001,
    .by = http::preview_target::address::origin,
    .prefix = {}};

  CHECK(json::parse(
          w.call("GET", "/.previewd/status?wait=30s", {}, {}, target).body)["available"] == false);
  CHECK(w.seen.wait == caf::timespan{0});
  CHECK(w.call("GET", "/.previewd/status?wait=30", {}, {}, target).status == 400);
  target.port = 5173;
  CHECK(json::parse(w.call("GET", "/.previewd/status", {}, {}, target).body)["available"] == true);
}

TEST_CASE("pages and assets come with what caches need to know", "[net][api]") {
  world w;

  const auto start = w.call("GET", "/");
  CHECK(start.status == 200);
  CHECK(bytes(start) == "start");
  CHECK(field(start, "Cache-Control") == "no-cache");
  CHECK(field(start, "Content-Security-Policy") == "default-src 'self'");
  CHECK(bytes(w.call("GET", "/terminal/shop/ann")) == "terminal");
  CHECK(bytes(w.call("GET", "/dashboard")) == "dashboard");
  CHECK(w.call("POST", "/dashboard").status == 405);
  CHECK(bytes(w.call("GET", "/preview/shop/ann/iframe")) == "iframe");
  const auto code = w.call("GET", "/assets/app-1234.js");
  CHECK(bytes(code) == "code");
  CHECK(code.content_type == "text/javascript");
  CHECK(field(code, "Cache-Control") == "immutable");
  const auto again = w.call("GET", "/assets/app-1234.js", {}, {{"If-None-Match", "\"2\""}});
  CHECK(again.status == 304);
  CHECK(bytes(again).empty());
}

TEST_CASE("health, connections and Socket.IO are where they belong", "[net][api]") {
  world w;

  CHECK(w.call("GET", "/healthz").body == "ok");
  CHECK(json::parse(w.call("GET", "/debug/connections").body)["totalConnections"] == 0);
  CHECK(w.call("POST", "/socket.io/?EIO=4&transport=polling").body == "socket.io");
}

TEST_CASE(
  "a real terminal is typed into, resized, signalled and read through the API", "[net][api]") {
  world w;
  terminal_spec spec;
  spec.id = "real";
  spec.cwd = "/";
  spec.argv = {"/bin/bash", "--norc", "--noprofile", "-i"};
  spec.env = {"PATH=/usr/bin:/bin", "PS1=$ ", "TERM=dumb"};
  w.hub.open(spec, terminal_actor{}, detector_actor{});
  REQUIRE(test::eventually(
    [&] { return w.call("POST", "/api/terminals/real/input", "").status == 204; }));
  const auto output_has = [&](std::string_view text) {
    return test::eventually([&] {
      return w.call("GET", "/api/terminals/real/output?after=0").body.find(text) !=
             std::string::npos;
    });
  };

  CHECK(w.call("POST", "/api/terminals/real/resize", R"({"cols":99,"rows":33})").status == 204);
  CHECK(w.call("POST", "/api/terminals/real/input",
           "stty size; sh -c 'echo in_$((1+1)); exec sleep 1000'; echo woken_$((1+1))\r")
          .status == 204);
  CHECK(output_has("33 99"));
  REQUIRE(output_has("in_2"));
  CHECK(w.call("POST", "/api/terminals/real/signal", R"({"signal":"SIGKILL"})").status == 204);
  CHECK(output_has("woken_2"));
  const auto output = w.call("GET", "/api/terminals/real/output");
  CHECK(field(output, "Previewd-Sequence") == std::to_string(output.body.size()));
  CHECK(field(output, "Previewd-Lost") == "0");

  CHECK(w.call("POST", "/api/terminals/real/resize", R"({"cols":99})").status == 400);
  CHECK(
    detail(w.call("POST", "/api/terminals/real/signal", R"({"signal":"SIGFOO"})")).find("signal") !=
    std::string::npos);
  w.hub.finish("real");
  const auto refused = w.call("POST", "/api/terminals/real/input", "x");
  CHECK(refused.status == 409);
  CHECK(code(refused) == "terminal_exited");
  w.hub.forget("real");
}
