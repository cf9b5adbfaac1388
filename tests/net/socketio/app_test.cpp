#include "previewd/net/socketio/previewd_app.hpp"

#include <algorithm>
#include <caf/actor_cast.hpp>
#include <caf/actor_system.hpp>
#include <caf/actor_system_config.hpp>
#include <caf/event_based_actor.hpp>
#include <caf/scoped_actor.hpp>
#include <caf/send.hpp>
#include <caf/typed_response_promise.hpp>
#include <catch2/catch.hpp>
#include <deque>
#include <future>
#include <nlohmann/json.hpp>

#include "previewd/messages/error.hpp"
#include "previewd/messages/route.hpp"
#include "previewd/messages/store.hpp"
#include "previewd/tests/net/terminal/hub_world.hpp"
#include "previewd/tests/support/eventually.hpp"

namespace {

using namespace previewd;
using namespace previewd::net::socketio;
using nlohmann::json;
namespace net = previewd::net;
namespace http = previewd::net::http;
namespace api = previewd::net::api;
using previewd::test::hub_world;
using previewd::test::watched;

/// A request without a connection: its answer is a promise.
class fake_exchange final : public http::exchange {
public:
  fake_exchange(net::io_thread& home, std::string method, std::string query, std::string body)
      : home_{home}, method_{std::move(method)}, query_{std::move(query)}, body_{std::move(body)} {
    head_.method = method_;
    head_.target = query_;
    head_.path = "/socket.io/";
    head_.query = query_;
  }
  const http::request_head& head() const override { return head_; }
  net::io_thread& thread() const override { return home_; }
  const std::string& client_address() const override { return address_; }
  std::string_view scheme() const override { return "http"; }
  void read_body(std::size_t, std::function<void(std::string)> done) override { done(body_); }
  void respond(http::response answer) override {
    if (!std::exchange(answered_, true)) promise.set_value(std::move(answer));
  }
  void start_stream(http::response) override {}
  bool write(std::shared_ptr<const std::string>, std::size_t) override { return false; }
  void finish() override {}
  void on_gone(std::function<void()>) override {}
  bool gone() const override { return false; }
  std::optional<http::released_connection> release() override { return std::nullopt; }
  void move_to(net::io_thread&) override {}

  std::promise<http::response> promise;

private:
  net::io_thread& home_;
  std::string method_, query_, body_, address_ = "127.0.0.1";
  http::request_head head_;
  bool answered_ = false;
};

/// What the fake actors were asked, and what they answer.
struct script {
  std::vector<std::string> asked;
  project_snapshot snapshot;
  std::optional<std::vector<event>> missed;  // nothing: no longer held
  terminal_info terminal;
  bool refuse_to_open = false;
  bool hold_lookups = false;            // until they are released
  std::function<void()> before_replay;  // what the event bus does before it answers
  std::optional<connection_id> connected;
  unsigned closed = 0;
};

caf::behavior fake_registry(caf::event_based_actor* self, std::shared_ptr<watched<script>> notes) {
  const auto held = std::make_shared<std::vector<caf::typed_response_promise<terminal_info>>>();
  return {
    [=](lookup_atom, terminal_atom, const std::string& id) -> caf::result<terminal_info> {
      notes->change([&](script& s) { s.asked.push_back("lookup " + id); });
      const script now = notes->now();
      if (now.hold_lookups) {
        held->push_back(self->make_response_promise<terminal_info>());
        return held->back();
      }
      if (id != now.terminal.id)
        return make_error(errc::terminal_not_found, "No terminal has the id " + id + ".");
      return now.terminal;
    },
    // Answers the lookups that were held, in the order that is worst: the newest first.
    [=](delivered_atom) {
      const terminal_info found = notes->now().terminal;
      for (auto each = held->rbegin(); each != held->rend(); ++each) each->deliver(found);
      held->clear();
    },
    [=](snapshot_atom, const std::string& project) {
      notes->change([&](script& s) { s.asked.push_back("snapshot " + project); });
      return notes->now().snapshot;
    },
    [=](open_atom, const terminal_request& request) -> caf::result<terminal_info> {
      notes->change([&](script& s) { s.asked.push_back("open " + request.key.project); });
      if (notes->now().refuse_to_open)
        return make_error(errc::limit_reached, "limits.terminals_per_user");
      return notes->now().terminal;
    },
    [=](close_atom, const std::string& id) -> caf::result<terminal_info> {
      notes->change([&](script& s) { s.asked.push_back("close " + id); });
      if (id == "unknown")
        return make_error(errc::terminal_not_found, "No terminal has the id unknown.");
      return notes->now().terminal;
    },
  };
}

caf::behavior fake_event_bus(caf::event_based_actor*, std::shared_ptr<watched<script>> notes) {
  return {
    [=](replay_atom, uint64_t) -> caf::result<std::vector<event>> {
      const script now = notes->now();
      if (now.before_replay) now.before_replay();
      const auto& missed = now.missed;
      if (!missed) return make_error(errc::not_found, "no longer held");
      return *missed;
    },
    [=](client_atom, const connection_id& id) {
      notes->change([&](script& s) { s.connected = id; });
    },
  };
}

caf::behavior
fake_connection(caf::event_based_actor* self, std::shared_ptr<watched<script>> notes) {
  return {[=](closed_atom) {
    notes->change([](script& s) { ++s.closed; });
    self->quit();
  }};
}

struct app_world {
  /// With a grant each client has it.
  explicit app_world(const previewd_app_settings& with = {},
    std::shared_ptr<const net::auth::grant> grant = nullptr) {
    config.add_message_types<caf::id_block::previewd>();
    config.set("scheduler.policy", caf::atom("sharing"));
    config.set("scheduler.max-threads", std::size_t{1});
    system = std::make_unique<caf::actor_system>(config);
    registry = system->spawn(fake_registry, notes);
    bus = system->spawn(fake_event_bus, notes);
    hub.on(0, [&] {
      std::vector<net::io_thread*> threads;
      for (const auto& thread : hub.threads) threads.push_back(thread.get());
      previewd_app_parts parts{*system, caf::actor_cast<registry_actor>(registry),
        caf::actor_cast<event_source_actor>(bus), *hub.hub};
      if (grant)
        parts.identify = [grant](const handshake&, const std::string&,
                           const previewd_app_parts::identified& done) { done(grant); };
      app = std::make_unique<previewd_app>(*threads[0], threads, std::move(parts), with);
    });
  }
  ~app_world() {
    std::promise<void> stopped;
    hub.on(0, [&] { app->stop([&] { stopped.set_value(); }); });
    stopped.get_future().wait();
    hub.on(0, [] {});  // what it has left to the event loop is done
    caf::anon_send_exit(registry, caf::exit_reason::user_shutdown);
    caf::anon_send_exit(bus, caf::exit_reason::user_shutdown);
    // What it still asks is answered before it goes; one answer may lead to one more question.
    for (int round = 0; round < 2; ++round) {
      system->await_all_actors_done();
      hub.on(0, [] {});
    }
    hub.on(0, [&] { app.reset(); });
  }

  std::future<http::response>
  request(std::string method, std::string query, std::string body = {}) {
    auto exchange = std::make_shared<fake_exchange>(
      *hub.threads[0], std::move(method), std::move(query), std::move(body));
    auto answer = exchange->promise.get_future();
    hub.threads[0]->post([this, exchange] { app->handle(exchange); });
    return answer;
  }

  /// From now on the registry knows this terminal.
  void know(const test::test_terminal& terminal) {
    notes->change([&](script& s) {
      s.terminal.id = terminal.id;
      s.terminal.key = {"shop", "ann"};
    });
  }

  /// The registry answers lookups again.
  void release_lookups() {
    notes->change([](script& s) { s.hold_lookups = false; });
    caf::anon_send(registry, delivered_atom_v);
  }

  void deliver(uint64_t sequence, const std::string& project, const std::string& terminal = {},
    std::size_t size = 0) {
    auto what = std::make_shared<api::encoded_event>();
    what->name = terminal.empty() ? "previewServerStarted" : "terminalExit";
    what->project = project;
    what->terminal_id = terminal;
    what->sequence = sequence;
    json payload{{"sequence", sequence}};
    if (size > 0) payload["filling"] = std::string(size, 'x');
    what->json = payload.dump();
    hub.on(0, [&] { app->deliver(what); });
  }

  caf::actor_system_config config;
  std::shared_ptr<watched<script>> notes = std::make_shared<watched<script>>();
  std::unique_ptr<caf::actor_system> system;
  caf::actor registry;
  caf::actor bus;
  hub_world hub;
  std::unique_ptr<previewd_app> app;
};

/// The right to all of one project, and to nothing else: the registry knows whose a terminal is.
std::shared_ptr<const net::auth::grant> grant_for(const std::string& project) {
  auto grant = std::make_shared<net::auth::grant>();
  grant->project = project;
  grant->user = net::auth::any_name;
  grant->may = net::auth::role::edit;
  grant->expires = std::chrono::system_clock::now() + std::chrono::hours{1};
  return grant;
}

previewd_app_settings remembering(std::chrono::milliseconds time) {
  previewd_app_settings settings;
  settings.server.recovery.max_disconnection = time;
  return settings;
}

/// A Socket.IO client on long polling.
class client {
public:
  explicit client(app_world& world, const json& auth = nullptr) : world_{world} {
    const http::response open = get(world.request("GET", "EIO=4&transport=polling"));
    session_ =
      "EIO=4&transport=polling&sid=" + json::parse(open.body.substr(1))["sid"].get<std::string>();
    post("40" + (auth.is_null() ? "" : auth.dump()));
    const std::string packet = next_packet();
    REQUIRE(packet.rfind("40{", 0) == 0);
    const json connected = json::parse(packet.substr(2));
    name = connected["sid"];
    secret = connected.value("pid", "");
  }

  void emit(const std::string& event, const json& argument) {
    post("42" + json::array({event, argument}).dump());
  }

  /// The acknowledgement of an event; what comes before it is kept.
  json ask(const std::string& event, const json& argument) {
    const std::string id = std::to_string(next_id_++);
    post("42" + id + json::array({event, argument}).dump());
    return answer(id);
  }
  std::string begin(const std::string& event, const json& argument) {
    std::string id = std::to_string(next_id_++);
    post("42" + id + json::array({event, argument}).dump());
    return id;
  }
  /// Several events, each `[name, argument]`, in one payload: all of them are carried out before
  /// anything else happens on the thread.
  std::vector<std::string> begin_all(const json& events) {
    std::vector<std::string> ids;
    std::string payload;
    for (const json& event : events) {
      ids.push_back(std::to_string(next_id_++));
      if (!payload.empty()) payload += '\x1e';
      payload += "42" + ids.back() + event.dump();
    }
    post(payload);
    return ids;
  }
  json answer(const std::string& id) {
    for (;;) {
      const std::string packet = next_packet();
      if (packet.rfind("43" + id + "[", 0) == 0)
        return json::parse(packet.substr(2 + id.size()))[0];
      kept_.push_back(packet);
    }
  }

  /// The next event: `[name, payload]`.
  json next_event() {
    std::string packet;
    if (kept_.empty()) {
      packet = next_packet();
    } else {
      packet = kept_.front();
      kept_.pop_front();
    }
    REQUIRE(packet.rfind("42[", 0) == 0);
    return json::parse(packet.substr(2));
  }

  /// Output until it has `text` in it.
  std::string output_with(const std::string& text) {
    std::string all;
    while (all.find(text) == std::string::npos) {
      const json event = next_event();
      REQUIRE(event[0] == "terminalData");
      all += event[1]["data"].get<std::string>();
    }
    return all;
  }

  /// Leaves, and waits until its end has been carried out: the server does that after its answer.
  void leave() {
    post("1");
    world_.hub.on(0, [] {});
  }

  /// Whether the server has put it out: the next answer says so, and nothing follows.
  bool is_put_out() {
    const http::response last = get(world_.request("GET", session_));
    return last.body == "1" && get(world_.request("GET", session_)).status == 400;
  }

  std::string name;
  std::string secret;  // by which it comes back

private:
  http::response get(std::future<http::response> answer) {
    REQUIRE(answer.wait_for(previewd::test::deadline) == std::future_status::ready);
    return answer.get();
  }
  void post(const std::string& body) {
    REQUIRE(get(world_.request("POST", session_, body)).status == 200);
  }
  std::string next_packet() {
    while (packets_.empty()) {
      const http::response answer = get(world_.request("GET", session_));
      REQUIRE(answer.status == 200);
      std::string_view rest = answer.body;
      for (;;) {
        const std::size_t end = std::min(rest.find('\x1e'), rest.size());
        packets_.emplace_back(rest.substr(0, end));
        if (end == rest.size()) break;
        rest.remove_prefix(end + 1);
      }
    }
    std::string packet = packets_.front();
    packets_.pop_front();
    return packet;
  }

  app_world& world_;
  std::string session_;
  std::deque<std::string> packets_;
  std::deque<std::string> kept_;
  uint64_t next_id_ = 1;
};

std::string code_of(const json& answer) {
  return answer["ok"] == false ? answer["error"]["code"].get<std::string>() : "ok";
}

}  // namespace

TEST_CASE(
  "who joins a project gets a snapshot and the events after it, without gap", "[net][socketio]") {
  app_world world;
  world.notes->change([](script& s) { s.snapshot.sequence = 10; });
  client who{world};
  client stranger{world};

  for (const char* name : {"..", "a/b"}) {
    const json refused = who.ask("joinProject", {{"projectId", "shop"}, {"userId", name}});
    CHECK(refused["ok"] == false);
    CHECK(refused["error"]["code"] == "invalid_name");
  }
  const json answer = who.ask("joinProject", {{"projectId", "shop"}, {"userId", "ann"}});
  world.deliver(9, "shop");
  world.deliver(10, "shop");
  world.deliver(11, "other");
  world.deliver(12, "shop");

  CHECK(answer["ok"] == true);
  CHECK(answer["sequence"] == 10);
  CHECK(answer["servers"].is_array());
  CHECK(answer["terminals"].is_array());
  CHECK(who.next_event() == json::array({"previewServerStarted", {{"sequence", 12}}}));
  CHECK(stranger.ask("leaveProject", "shop")["ok"] == true);
}

TEST_CASE("a bare string joins, and who leaves hears nothing more", "[net][socketio]") {
  app_world world;
  client who{world};
  REQUIRE(who.ask("joinProject", "shop")["ok"] == true);
  world.deliver(1, "shop");
  REQUIRE(who.next_event()[1]["sequence"] == 1);

  CHECK(who.ask("leaveProject", {{"projectId", "shop"}})["ok"] == true);
  world.deliver(2, "shop");
  REQUIRE(who.ask("joinProject", "shop")["ok"] == true);
  world.deliver(3, "shop");

  CHECK(who.next_event()[1]["sequence"] == 3);
}

TEST_CASE("after a sequence the missed events come instead of a snapshot", "[net][socketio]") {
  app_world world;
  event missed;
  missed.sequence = 8;
  missed.kind = event_kind::terminal_exit;
  missed.key = {"shop", "ann"};
  missed.terminal = terminal_info{};
  event foreign = missed;
  foreign.sequence = 9;
  foreign.key.project = "other";
  world.notes->change([&](script& s) {
    s.snapshot.sequence = 9;
    s.missed = std::vector<event>{missed, foreign};
  });
  client who{world};

  const json answer = who.ask("joinProject", {{"projectId", "shop"}, {"after", 7}});
  world.deliver(9, "shop");
  world.deliver(10, "shop");

  CHECK(answer["replayed"] == 1);
  CHECK(answer["sequence"] == 9);
  CHECK_FALSE(answer.contains("servers"));
  CHECK(who.next_event()[1]["sequence"] == 8);
  CHECK(who.next_event()[1]["sequence"] == 10);

  world.notes->change([](script& s) { s.missed.reset(); });
  CHECK(who.ask("joinProject", {{"projectId", "shop"}, {"after", 1}}).contains("servers"));
  CHECK(who.ask("joinProject", {{"projectId", "shop"}, {"after", 99}}).contains("servers"));
}

TEST_CASE("who loses its connection gets what it missed, and nothing twice or of others",
  "[net][socketio][recovery][I6]") {
  app_world world{remembering(std::chrono::minutes{1})};
  client who{world};
  REQUIRE(who.ask("joinProject", "first")["ok"] == true);
  world.deliver(5, "first");
  REQUIRE(who.next_event() == json::array({"previewServerStarted", {{"sequence", 5}}, "5"}));
  world.deliver(7, "shop");  // before it joins there: in its snapshot
  world.notes->change([](script& s) { s.snapshot.sequence = 10; });
  REQUIRE(who.ask("joinProject", "shop")["sequence"] == 10);
  REQUIRE(who.ask("joinProject", "left")["ok"] == true);
  REQUIRE(who.ask("leaveProject", "left")["ok"] == true);
  who.leave();
  world.deliver(11, "shop");
  world.deliver(12, "other");
  world.deliver(13, "left");
  world.deliver(14, "first");

  client back{world, {{"pid", who.secret}, {"offset", "5"}}};
  world.deliver(14, "first");  // as another thread's server has told it already
  world.deliver(15, "other");
  world.deliver(16, "shop");

  CHECK(back.name == who.name);
  CHECK(back.next_event()[1]["sequence"] == 11);
  CHECK(back.next_event()[1]["sequence"] == 14);
  CHECK(back.next_event()[1]["sequence"] == 16);
}

TEST_CASE("a client that does not take its events is put out, and begins anew",
  "[net][socketio][recovery][I5]") {
  previewd_app_settings settings = remembering(std::chrono::minutes{1});
  settings.server.engine.client_buffer = 64 * 1024;
  app_world world{settings};
  client slow{world};
  client quick{world};
  for (client* each : {&slow, &quick}) REQUIRE(each->ask("joinProject", "shop")["ok"] == true);
  world.deliver(1, "shop");
  for (client* each : {&slow, &quick}) REQUIRE(each->next_event()[1]["sequence"] == 1);
  constexpr uint64_t count = 80;

  uint64_t heard = 1;
  for (uint64_t sequence = 2; sequence <= count; ++sequence) {
    world.deliver(sequence, "shop", {}, 1024);
    const json event = quick.next_event();
    if (event[1]["sequence"] == heard + 1) ++heard;
  }

  CHECK(heard == count);  // nobody waits for the other one
  CHECK(slow.is_put_out());
  client back{world, {{"pid", slow.secret}, {"offset", "1"}}};
  // What it missed is more than may wait for it: a snapshot says it all.
  CHECK(back.name != slow.name);
  world.notes->change([](script& now) { now.snapshot.sequence = count; });
  CHECK(back.ask("joinProject", "shop")["sequence"] == count);
  world.deliver(count + 1, "shop");
  CHECK(back.next_event()[1]["sequence"] == count + 1);
}

TEST_CASE(
  "who is still there, or never was, is nobody who comes back", "[net][socketio][recovery][I6]") {
  app_world world{remembering(std::chrono::minutes{1})};
  client who{world};
  REQUIRE(who.ask("joinProject", "shop")["ok"] == true);
  world.deliver(1, "shop");
  REQUIRE(who.next_event()[2] == "1");
  SECTION("a name that nobody has") {
    client stranger{world, {{"pid", "x" + who.secret}, {"offset", "1"}}};
    CHECK(stranger.name != who.name);
  }
  SECTION("while it is still there") {
    client twin{world, {{"pid", who.secret}, {"offset", "1"}}};
    CHECK(twin.name != who.name);
    world.deliver(2, "shop");
    CHECK(who.next_event()[1]["sequence"] == 2);
  }
}

TEST_CASE("what is wrong with an event is said by field, and nobody is asked", "[net][socketio]") {
  app_world world;
  client who{world};
  struct row {
    const char* event;
    json argument;
    const char* code;
    const char* field;
  };
  const auto [event, argument, code, field] = GENERATE_REF(values<row>({
    {"joinProject", json::object(), "invalid_field", "projectId"},
    {"joinProject", 7, "invalid_field", "object"},
    {"joinProject", {{"projectId", 7}}, "invalid_field", "projectId"},
    {"joinProject", {{"projectId", "a/b"}}, "invalid_name", "projectId"},
    {"joinProject", {{"projectId", "p"}, {"userId", 1}}, "invalid_field", "userId"},
    {"joinProject", {{"projectId", "p"}, {"after", "1"}}, "invalid_field", "after"},
    {"createTerminal", {{"projectId", "p"}}, "invalid_field", "userId"},
    {"createTerminal", {{"projectId", "p"}, {"userId", "u"}, {"cols", 0}}, "invalid_field", "cols"},
    {"createTerminal", {{"projectId", "p"}, {"userId", "u"}, {"rows", 1001}}, "invalid_field",
      "rows"},
    {"createTerminal", {{"projectId", "p"}, {"userId", "u"}, {"command", "sh"}}, "invalid_field",
      "command"},
    {"createTerminal", {{"projectId", "p"}, {"userId", "u"}, {"env", {{"A", 1}}}}, "invalid_field",
      "env"},
    {"attachTerminal", {{"terminalId", "unknown"}}, "terminal_not_found", "unknown"},
    {"terminalInput", {{"terminalId", "t"}}, "invalid_field", "data"},
    {"terminalInput", {{"terminalId", "t"}, {"data", 1}}, "invalid_field", "data"},
    {"terminalInput", {{"terminalId", "t"}, {"data", "x"}}, "terminal_not_found", "t"},
    {"resizeTerminal", {{"terminalId", "t"}, {"cols", 80}}, "invalid_field", "rows"},
    {"terminalAck", {{"terminalId", "t"}, {"sequence", 1}}, "terminal_not_found", "t"},
    {"terminalAck", {{"terminalId", "t"}, {"sequence", -1}}, "invalid_field", "sequence"},
    {"closeTerminal", "unknown", "terminal_not_found", "unknown"},
    {"noSuchEvent", nullptr, "not_found", "event"},
  }));
  INFO(event << ' ' << argument.dump());

  const json answer = who.ask(event, argument);

  CHECK(code_of(answer) == code);
  CHECK(answer["error"]["detail"].get<std::string>().find(field) != std::string::npos);
}

TEST_CASE("the actor of a connection is told when it closes, and can close it", "[net][socketio]") {
  app_world world;
  client who{world};
  REQUIRE(world.notes->becomes([](const script& s) { return s.connected.has_value(); }));
  const connection_id id = *world.notes->now().connected;
  CHECK(id.number >= first_client_number);
  const auto adopt = [&] {
    const caf::actor actor = world.system->spawn(fake_connection, world.notes);
    world.hub.on(
      0, [&] { world.app->adopt(id.number, caf::actor_cast<ws_connection_actor>(actor)); });
  };

  adopt();
  world.hub.on(0, [&] { world.app->close_connection(id.number); });
  CHECK(world.notes->becomes([](const script& s) { return s.closed == 1; }));
  adopt();  // too late: told at once
  CHECK(world.notes->becomes([](const script& s) { return s.closed == 2; }));
}

TEST_CASE("a terminal's life over Socket.IO: open, type, resize, output, exit",
  "[net][socketio][terminal]") {
  app_world world;
  test::test_terminal terminal = world.hub.open(std::vector<std::string>{
    "/bin/sh", "-c", "stty size; read line; echo \"got:$line:€\"; read end"});
  world.notes->change([&](script& s) {
    s.terminal.id = terminal.id;
    s.terminal.key = {"shop", "ann"};
  });
  client who{world};

  const json created =
    who.ask("createTerminal", {{"projectId", "shop"}, {"userId", "ann"}, {"unknown", true}});
  CHECK(created["ok"] == true);
  CHECK(created["terminalId"] == terminal.id);
  CHECK(created["terminal"]["id"] == terminal.id);
  who.output_with("24 80");
  CHECK(who.ask("resizeTerminal",
          {{"terminalId", terminal.id}, {"cols", 100}, {"rows", 40}})["ok"] == true);
  CHECK(who.ask("terminalInput", {{"terminalId", terminal.id}, {"data", "abc\r"}})["ok"] == true);
  who.output_with("got:abc:€");
  CHECK(who.ask("terminalAck", {{"terminalId", terminal.id}, {"sequence", 1}})["ok"] == true);

  client late{world};
  const json attached = late.ask("attachTerminal", {{"terminalId", terminal.id}});
  CHECK(attached["ok"] == true);
  CHECK(attached["lost"] == 0);
  CHECK(attached["sequence"] > 0);
  late.output_with("got:abc:€");
  CHECK(late.ask("detachTerminal", {{"terminalId", terminal.id}})["ok"] == true);

  // The exit comes behind the rest of the output, once.
  world.deliver(5, "shop", terminal.id);
  world.hub.end(terminal);
  json last = who.next_event();
  while (last[0] == "terminalData") last = who.next_event();
  CHECK(last == json::array({"terminalExit", {{"sequence", 5}}}));
  world.deliver(6, "shop");
  CHECK(who.next_event()[1]["sequence"] == 6);
  CHECK(who.ask("closeTerminal", {{"terminalId", terminal.id}})["ok"] == true);
}

TEST_CASE("a terminal that cannot be opened says why", "[net][socketio]") {
  app_world world;
  world.notes->change([](script& s) { s.refuse_to_open = true; });
  client who{world};

  const json answer = who.ask("createTerminal", {{"projectId", "shop"}, {"userId", "ann"}});

  CHECK(code_of(answer) == "limit_reached");
}

TEST_CASE("what is typed while the right to a terminal is looked up keeps its order",
  "[net][socketio][terminal]") {
  app_world world{previewd_app_settings{}, grant_for("shop")};
  test::test_terminal terminal = world.hub.open(std::vector<std::string>{
    "/bin/sh", "-c", "stty -echo; read line; echo \"got:$line\"; read end"});
  world.know(terminal);
  world.notes->change([](script& s) { s.hold_lookups = true; });
  client who{world};
  const json at{{"terminalId", terminal.id}};
  const auto input = [&](const char* data) {
    return json{{"terminalId", terminal.id}, {"data", data}};
  };

  std::vector<std::string> ids;
  ids.push_back(who.begin("terminalInput", input("a")));
  ids.push_back(who.begin("terminalInput", input("b")));
  ids.push_back(who.begin("attachTerminal", at));
  ids.push_back(who.begin("terminalInput", input("c\r")));
  // Asked last: whatever was asked before has come to the registry too.
  REQUIRE(who.ask("joinProject", "shop")["ok"] == true);
  world.release_lookups();

  for (const std::string& id : ids) CHECK(who.answer(id)["ok"] == true);
  CHECK(world.hub.puts_out(terminal, "got:abc"));
  const std::vector<std::string> asked = world.notes->now().asked;
  CHECK(std::count(asked.begin(), asked.end(), "lookup " + terminal.id) == 1);
  world.hub.end(terminal);
}

TEST_CASE("who detaches while its right is looked up is not attached afterwards",
  "[net][socketio][terminal]") {
  app_world world{previewd_app_settings{}, grant_for("shop")};
  test::test_terminal terminal = world.hub.open(std::vector<std::string>{"/bin/cat"});
  world.know(terminal);
  world.notes->change([](script& s) { s.hold_lookups = true; });
  client who{world};
  const json at{{"terminalId", terminal.id}};

  const std::string attach = who.begin("attachTerminal", at);
  const std::string detach = who.begin("detachTerminal", at);
  REQUIRE(who.ask("joinProject", "shop")["ok"] == true);
  world.release_lookups();

  CHECK(code_of(who.answer(attach)) == "not_found");
  CHECK(who.answer(detach)["ok"] == true);
  CHECK(code_of(who.ask("terminalAck", {{"terminalId", terminal.id}, {"sequence", 0}})) ==
        "terminal_not_found");
  world.hub.end(terminal);
}

TEST_CASE("calls that wait for the right to a terminal have a limit, and share the refusal",
  "[net][socketio][I5]") {
  previewd_app_settings settings;
  settings.waiting_calls = 2;
  app_world world{settings, grant_for("shop")};
  world.notes->change([](script& s) {
    s.hold_lookups = true;
    s.terminal.key = {"other", "bob"};
  });
  client who{world};
  const json input{{"terminalId", "t"}, {"data", "x"}};

  const std::string first = who.begin("terminalInput", input);
  const std::string second = who.begin("terminalInput", input);
  const std::string third = who.begin("terminalInput", input);

  CHECK(code_of(who.answer(third)) == "limit_reached");
  world.release_lookups();
  CHECK(code_of(who.answer(first)) == "terminal_not_found");
  CHECK(code_of(who.answer(second)) == "terminal_not_found");
}

TEST_CASE("who goes while its right is looked up has typed nothing", "[net][socketio][terminal]") {
  app_world world{previewd_app_settings{}, grant_for("shop")};
  test::test_terminal terminal = world.hub.open(std::vector<std::string>{
    "/bin/sh", "-c", "stty -echo; read line; echo \"got:$line\"; read end"});
  world.know(terminal);
  world.notes->change([](script& s) { s.hold_lookups = true; });
  client gone{world};
  client other{world};

  gone.begin_all(
    json::array({json::array({"terminalInput", {{"terminalId", terminal.id}, {"data", "a"}}}),
      json::array({"terminalInput", {{"terminalId", terminal.id}, {"data", "b"}}})}));
  gone.leave();
  world.release_lookups();

  CHECK(other.ask("terminalInput", {{"terminalId", terminal.id}, {"data", "c\r"}})["ok"] == true);
  CHECK(world.hub.puts_out(terminal, "got:c"));
  world.hub.end(terminal);
}

TEST_CASE("an attachTerminal that another event overtakes is answered all the same",
  "[net][socketio][terminal]") {
  app_world world;
  test::test_terminal terminal =
    world.hub.open(std::vector<std::string>{"/bin/sh", "-c", "printf ready; read end"});
  REQUIRE(world.hub.puts_out(terminal, "ready"));
  client who{world};
  const json at{{"terminalId", terminal.id}};

  SECTION("by a detachTerminal") {
    const auto ids = who.begin_all(
      json::array({json::array({"attachTerminal", at}), json::array({"detachTerminal", at})}));
    CHECK(code_of(who.answer(ids[0])) == "not_found");
    CHECK(who.answer(ids[1])["ok"] == true);
  }
  SECTION("by one for another place") {
    const json later{{"terminalId", terminal.id}, {"after", 3}};
    const auto ids = who.begin_all(
      json::array({json::array({"attachTerminal", at}), json::array({"attachTerminal", later})}));
    const json first = who.answer(ids[0]);
    const json second = who.answer(ids[1]);
    CHECK(first["from"] == 3);
    CHECK(first["lost"] == 3);  // of what it asked for this does not come
    CHECK(second["from"] == 3);
    CHECK(second["lost"] == 0);
    CHECK(who.output_with("dy") == "dy");
    CHECK(who.ask("detachTerminal", at)["ok"] == true);
  }
  world.hub.end(terminal);
}

TEST_CASE("who attaches once more keeps the size it wished for", "[net][socketio][terminal]") {
  app_world world;
  test::test_terminal terminal = world.hub.open(std::vector<std::string>{"/bin/cat"});
  const json at{{"terminalId", terminal.id}};
  const auto size = [&](unsigned columns, unsigned rows) {
    return json{{"terminalId", terminal.id}, {"cols", columns}, {"rows", rows}};
  };
  client who{world};
  client other{world};
  for (client* each : {&who, &other}) REQUIRE(each->ask("attachTerminal", at)["ok"] == true);
  REQUIRE(who.ask("resizeTerminal", size(100, 40))["ok"] == true);

  REQUIRE(who.ask("attachTerminal", at)["ok"] == true);
  REQUIRE(other.ask("resizeTerminal", size(120, 30))["ok"] == true);

  const auto in_force = [&] { return world.hub.facts(terminal)->size; };
  CHECK(test::eventually([&] { return in_force().rows == 30; }));
  CHECK(in_force().columns == 100);
  for (client* each : {&who, &other}) REQUIRE(each->ask("detachTerminal", at)["ok"] == true);
  world.hub.end(terminal);
}

TEST_CASE(
  "the exit of a terminal that has ended long ago is told, once", "[net][socketio][terminal][I6]") {
  previewd_app_settings settings;
  settings.remembered_exits = 0;
  app_world world{settings};
  test::test_terminal terminal = world.hub.open(std::vector<std::string>{"/bin/echo", "bye"});
  REQUIRE(world.hub.puts_out(terminal, "bye"));
  world.hub.hub->finish(terminal.id);
  REQUIRE(terminal.heard->becomes([](const test::told& t) { return t.drained == 1; }));
  world.know(terminal);
  world.notes->change([](script& s) {
    s.terminal.state = terminal_state::exited;
    s.terminal.exit.code = 3;
  });
  client who{world};
  REQUIRE(who.ask("joinProject", "shop")["ok"] == true);
  const auto attach = [&] {
    REQUIRE(who.ask("attachTerminal", {{"terminalId", terminal.id}})["ok"] == true);
    who.output_with("bye");
  };
  const auto told = [&](const json& exit_code) {
    const json exit = who.next_event();
    CHECK(exit[0] == "terminalExit");
    CHECK(exit[1] == json{{"terminalId", terminal.id}, {"exitCode", exit_code}, {"signal", nullptr},
                       {"sequence", 0}});
  };

  SECTION("its event is forgotten") {
    world.deliver(7, "shop", terminal.id);
    REQUIRE(who.next_event()[1]["sequence"] == 7);  // to the room
    attach();
    told(3);
  }
  SECTION("the registry has forgotten it too") {
    world.notes->change([](script& s) { s.terminal.id = "another"; });
    attach();
    told(nullptr);
  }
  SECTION("its event is on its way") {
    world.notes->change(
      [&](script& s) { s.before_replay = [&] { world.deliver(7, "shop", terminal.id); }; });
    attach();
    CHECK(who.next_event() == json::array({"terminalExit", {{"sequence", 7}}}));
  }
  SECTION("the registry does not know its exit yet") {
    world.notes->change([](script& s) {
      s.terminal.state = terminal_state::running;
      s.terminal.exit = {};
    });
    attach();
    REQUIRE(
      world.notes->becomes([](const script& s) { return s.asked.back() != "snapshot shop"; }));
    world.deliver(7, "shop", terminal.id);
    CHECK(who.next_event() == json::array({"terminalExit", {{"sequence", 7}}}));
  }
  world.deliver(8, "shop");
  CHECK(who.next_event()[1]["sequence"] == 8);
  // It is attached no more.
  CHECK(code_of(who.ask("terminalAck", {{"terminalId", terminal.id}, {"sequence", 1}})) ==
        "terminal_not_found");
  world.hub.end(terminal);
}
