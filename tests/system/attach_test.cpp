// Raw terminal WebSockets, in both dialects.
#include <catch2/catch.hpp>

#include "previewd/tests/net/terminal/vterm_screen.hpp"
#include "previewd/tests/support/resource_check.hpp"
#include "previewd/tests/support/websocket_client.hpp"
#include "previewd/tests/system/live_service.hpp"

using namespace previewd;
using namespace previewd::test;
using nlohmann::json;

namespace {

using kind = websocket_client::kind;

const std::string v1 = "Sec-WebSocket-Protocol: other, previewd.terminal.v1\r\n";

std::string attach_target(const std::string& terminal, uint64_t after = 0) {
  return "/api/terminals/" + terminal + "/attach?after=" + std::to_string(after);
}

/// A terminal that runs `command` alone.
std::string open_command(live_service& live, const std::vector<std::string>& command) {
  const auto answer =
    fetch(live.port(), "POST /api/terminals", "Content-Type: application/json\r\n",
      json{{"project", "shop"}, {"user", "ann"}, {"command", command}}.dump());
  if (answer.status != 201) throw std::runtime_error{answer.head + answer.body};
  return json::parse(answer.body).at("id").get<std::string>();
}

/// The control frame of this type among those that came, or the next that comes.
json control(websocket_client& client, const std::string& type) {
  std::size_t looked_at = 0;
  for (;;) {
    for (; looked_at < client.others.size(); ++looked_at) {
      if (client.others[looked_at].type != kind::text) continue;
      json message = json::parse(client.others[looked_at].payload, nullptr, false);
      if (message.value("type", "") == type) return message;
    }
    auto got = client.next();
    if (!got) return nullptr;
    if (got->type == kind::binary) {
      client.output += got->payload;
    } else {
      client.others.push_back(std::move(*got));
    }
  }
}

uint64_t sequence_of(live_service& live, const std::string& terminal) {
  return live.get_json("/api/terminals/" + terminal)["sequence"].get<uint64_t>();
}

}  // namespace

TEST_CASE("a raw client types and reads", "[system][attach]") {
  resource_check resources;
  {
    live_service live;
    const std::string terminal = live.open_terminal();
    auto open = std::make_unique<websocket_client>(live.port(), attach_target(terminal));
    websocket_client& client = *open;
    REQUIRE(client.is_open());
    CHECK(client.head.find("Sec-WebSocket-Protocol") == std::string::npos);
    CHECK(client.head.find("Server: previewd\r\n") != std::string::npos);

    // Text and binary frames alike are input, fragments too.
    client.text("echo te");
    client.binary("xt-$((6*");
    client.send(kind::text, "7)", false);
    client.send(kind::continuation, ")\r");

    CHECK(client.read_until("text-42"));
    CHECK(live.get_json("/api/terminals/" + terminal)["attached"] == 1);
    client.send(kind::close, "\x03\xe8");
    CHECK(client.close_code() == 1000);
    open.reset();
    CHECK(eventually([&] { return live.get_json("/api/terminals/" + terminal)["attached"] == 0; }));
    CHECK(live.get_json("/api/terminals/" + terminal)["state"] == "running");
  }
  CHECK(resources.difference() == "");
}

TEST_CASE("a client is served on whatever thread the terminal lives", "[system][attach]") {
  settings wanted;
  wanted.io.threads = 2;
  live_service live{wanted};
  // Where a connection is accepted, and where its terminal lives, are two throws of a coin.
  for (int number = 0; number < 8; ++number) {
    const std::string terminal = open_command(live, {"/bin/cat"});

    websocket_client client{live.port(), attach_target(terminal)};

    REQUIRE(client.is_open());
    client.text("typed\r");
    CHECK(client.read_until("typed\r\ntyped"));
    CHECK(live.close_terminal(terminal) == 204);
    CHECK(client.close_code() == 4001);
  }
}

TEST_CASE("a client hears how its terminal ends", "[system][attach]") {
  live_service live;
  const auto exit_by = GENERATE(values<std::string>({"exit 3\r", ""}));
  const std::string terminal = live.open_terminal();
  websocket_client raw{live.port(), attach_target(terminal)};
  websocket_client speaks{live.port(), attach_target(terminal), v1};
  REQUIRE(raw.is_open());
  REQUIRE(speaks.is_open());
  CHECK(speaks.head.find("Sec-WebSocket-Protocol: previewd.terminal.v1\r\n") != std::string::npos);
  REQUIRE(control(speaks, "ready").is_object());

  if (exit_by.empty()) {
    CHECK(live.close_terminal(terminal) == 204);
  } else {
    raw.text(exit_by);
  }

  const json exit = control(speaks, "exit");
  REQUIRE(exit.is_object());
  if (!exit_by.empty()) {
    CHECK(exit["exitCode"] == 3);
    CHECK(exit["signal"].is_null());
  }
  const int code = exit_by.empty() ? 4001 : 4000;
  CHECK(speaks.close_code() == code);
  CHECK(raw.close_code() == code);
}

TEST_CASE("a terminal that has exited is read to its end", "[system][attach]") {
  live_service live;
  const std::string terminal = open_command(live, {"/bin/sh", "-c", "echo last words; exit 5"});
  REQUIRE(live.events.wait_for(event_kind::terminal_exit));

  websocket_client client{live.port(), attach_target(terminal), v1};

  REQUIRE(client.read_until("last words"));
  const json exit = control(client, "exit");
  REQUIRE(exit.is_object());
  CHECK(exit["exitCode"] == 5);
  CHECK(client.close_code() == 4000);
}

TEST_CASE("a client that comes back gets exactly what it missed", "[system][attach]") {
  live_service live;
  const std::string terminal = live.open_terminal();
  std::string seen;
  uint64_t sequence = 0;
  {
    websocket_client first{live.port(), attach_target(terminal), v1};
    first.binary("echo one-$((1+1))\r");
    REQUIRE(first.read_until("one-2"));
    seen = first.output;
    sequence = seen.size();
  }
  live.type(terminal, "echo two-$((2+2))\r");
  REQUIRE(eventually([&] { return live.output(terminal).find("two-4") != std::string::npos; }));

  websocket_client second{live.port(), attach_target(terminal, sequence), v1};

  const json ready = control(second, "ready");
  REQUIRE(ready.is_object());
  CHECK(ready["lost"] == 0);
  CHECK(ready["replayed"] == ready["sequence"].get<uint64_t>() - sequence);
  CHECK(ready["replayed"] == second.output.size());
  CHECK(ready["cols"] == 80);
  CHECK(ready["rows"] == 24);
  const std::string all = live.output(terminal);
  CHECK(all.substr(0, seen.size() + second.output.size()) == seen + second.output);
}

TEST_CASE(
  "who comes back after much output, and has missed none, holds up nothing", "[system][attach]") {
  live_service live;
  const std::string terminal = open_command(
    live, {"/bin/sh", "-c", "head -c 300000 /dev/zero | tr '\\0' x; echo done; exec cat"});
  {
    websocket_client first{live.port(), attach_target(terminal)};
    REQUIRE(first.read_until("done"));
  }

  websocket_client again{live.port(), attach_target(terminal, sequence_of(live, terminal)), v1};
  REQUIRE(control(again, "ready").is_object());
  again.binary("typed\r");

  CHECK(again.read_until("typed\r\ntyped"));
}

TEST_CASE("who has missed too much is shown the screen as it is", "[system][attach]") {
  settings wanted;
  // More than may be on its way to a client: who watches loses nothing.
  wanted.terminal.scrollback = 128 * 1024;
  live_service live{wanted};
  const std::string terminal = live.open_terminal();
  websocket_client watching{live.port(), attach_target(terminal)};
  REQUIRE(watching.is_open());
  bool alternate = true;
  const auto times = [](unsigned count, const std::string& keys) {
    std::string text;
    for (; count > 0; --count) text += keys;
    return text;
  };
  SECTION("vim") {
    live.type(terminal, "vim -u NONE -c 'set number hlsearch ruler' " PREVIEWD_AGENTS_PAGE "\r");
    REQUIRE(watching.read_until("\x1b[?1049h"));
    live.type(terminal, "/the\r" + times(300, "\x0c\x06\x02"));
  }
  SECTION("less") {
    live.type(terminal, "less " PREVIEWD_AGENTS_PAGE "\r");
    REQUIRE(watching.read_until("\x1b[?1049h"));
    live.type(terminal, "/the\r" + times(400, "\x0c") + times(400, "fb"));
  }
  SECTION("htop") {
    live.type(terminal, "htop -d 1\r");
    REQUIRE(watching.read_until("\x1b[?1049h"));
    live.type(terminal, times(300, "\x0c"));
  }
  SECTION("a shell") {
    alternate = false;
    live.type(
      terminal, "for i in $(seq 20000); do printf '\\e[3%dm%d\\e[0m  \\r\\n' $((i%8)) $i; done\r");
  }
  const auto watch_until = [&](std::size_t size) {
    while (watching.output.size() < size) {
      const auto more = watching.next();
      if (!more) return false;
      watching.output += more->payload;
    }
    return true;
  };
  REQUIRE(watch_until(300'000));

  websocket_client late{live.port(), attach_target(terminal), v1};

  const json ready = control(late, "ready");
  REQUIRE(ready.is_object());
  CHECK(ready["lost"] > 0);
  const auto sequence = ready["sequence"].get<std::size_t>();
  REQUIRE(watch_until(sequence));
  vterm_screen is{{.columns = 80, .rows = 24}};
  vterm_screen always{{.columns = 80, .rows = 24}};
  is.feed(late.output);
  always.feed(watching.output.substr(0, sequence));
  CHECK(is.cells() == always.cells());
  CHECK(is.alternate == alternate);
  CHECK(is.pasted() == always.pasted());
  CHECK(is.typed(VTERM_KEY_UP) == always.typed(VTERM_KEY_UP));
}

TEST_CASE("the size is the smallest of all attached clients", "[system][attach]") {
  live_service live;
  const std::string terminal = live.open_terminal();
  websocket_client big{live.port(), attach_target(terminal), v1};
  REQUIRE(control(big, "ready").is_object());
  big.text(R"({"type":"resize","cols":120,"rows":40})");
  CHECK(control(big, "resize")["cols"] == 120);
  {
    websocket_client small{live.port(), attach_target(terminal), v1};
    small.text(R"({"type":"resize","cols":100,"rows":50})");
    big.others.clear();
    const json now = control(big, "resize");
    CHECK(now["cols"] == 100);
    CHECK(now["rows"] == 40);
    big.binary("stty size\r");
    CHECK(big.read_until("40 100"));
  }
  big.others.clear();
  const json back = control(big, "resize");
  CHECK(back["cols"] == 120);
  CHECK(back["rows"] == 40);
}

TEST_CASE("a signal goes to the foreground job", "[system][attach]") {
  live_service live;
  const std::string terminal = live.open_terminal();
  websocket_client client{live.port(), attach_target(terminal), v1};
  client.binary(
    "trap 'echo got-usr1' USR1; sh -c 'trap \"echo job-$((1+1))-usr1\" USR1; echo is-$((3+4)); "
    "while :; do sleep 0.1; done'\r");
  REQUIRE(client.read_until("is-7"));

  client.text(R"({"type":"signal","signal":"SIGUSR1"})");

  CHECK(client.read_until("job-2-usr1"));
}

TEST_CASE("what is no control message ends the connection", "[system][attach][I7]") {
  live_service live;
  const std::string terminal = live.open_terminal();
  struct wrong {
    const char* text;
    int code;
  };
  const auto row = GENERATE(values<wrong>({
    {"{", 1007},
    {"[]", 1007},
    {R"({"type":7})", 1007},
    {R"({"type":"resize","cols":0,"rows":5})", 1007},
    {R"({"type":"resize","cols":80})", 1007},
    {R"({"type":"ack","sequence":-1})", 1007},
    {R"({"type":"signal","signal":"SIGSEGV"})", 1007},
    {R"({"type":"paint"})", 1003},
    {"\xff", 1007},
  }));
  INFO(row.text);
  websocket_client client{live.port(), attach_target(terminal), v1};
  REQUIRE(control(client, "ready").is_object());

  client.text(row.text);

  CHECK(client.close_code() == row.code);
  CHECK(live.get_json("/api/terminals/" + terminal)["state"] == "running");
}

TEST_CASE("a message that is too large ends the connection", "[system][attach][I5]") {
  live_service live;
  websocket_client client{live.port(), attach_target(live.open_terminal())};
  client.binary(std::string(1024 * 1024 + 1, 'x'));
  CHECK(client.close_code() == 1009);
}

TEST_CASE("what cannot be attached is refused before the upgrade", "[system][attach][I7]") {
  live_service live;
  const std::string terminal = live.open_terminal();
  const auto code = [](const http_answer& answer) {
    return json::parse(answer.body, nullptr, false).value("code", "");
  };
  const auto unknown = fetch(live.port(), "GET /api/terminals/nosuch/attach");
  CHECK(unknown.status == 404);
  CHECK(code(unknown) == "terminal_not_found");
  const auto plain = fetch(live.port(), "GET /api/terminals/" + terminal + "/attach");
  CHECK(plain.status == 426);
  CHECK(code(plain) == "upgrade_required");
  CHECK(plain.head.find("Upgrade: websocket\r\n") != std::string::npos);
  CHECK(fetch(live.port(), "GET /api/terminals/" + terminal + "/attach?after=x").status == 400);
  websocket_client foreign{live.port(), attach_target(terminal), "Origin: http://evil.example\r\n"};
  CHECK(foreign.head.find(" 403 ") != std::string::npos);
}

TEST_CASE(
  "a client that stops reading neither costs memory nor holds up another", "[system][attach][I5]") {
  live_service live;
  const std::string terminal = live.open_terminal();
  websocket_client asleep{live.port(), attach_target(terminal)};
  websocket_client awake{live.port(), attach_target(terminal)};
  REQUIRE(asleep.is_open());

  // Far more than every buffer on the way to the sleeper can take.
  awake.text("head -c 30000000 /dev/zero | tr '\\0' x; echo; echo end-$((8*8))\r");

  std::size_t read = 0;
  std::string tail;
  while (tail.find("end-64") == std::string::npos) {
    const auto got = awake.next();
    REQUIRE(got);
    read += got->payload.size();
    tail = (tail + got->payload)
             .substr(
               tail.size() + got->payload.size() > 64 ? tail.size() + got->payload.size() - 64 : 0);
  }
  CHECK(read > 30'000'000);
  // It has lost output, so that its screen would be wrong: it is told, and comes back.
  CHECK(asleep.close_code() == 4008);
}

TEST_CASE("a terminal waits for its only client", "[system][attach][I5]") {
  live_service live;
  const std::string terminal = live.open_terminal();
  websocket_client client{live.port(), attach_target(terminal), v1};
  REQUIRE(control(client, "ready").is_object());
  client.text(R"({"type":"ack","sequence":0})");
  client.binary(
    "stty -echo; printf begin-%d- 7; head -c 3000000 /dev/zero | tr '\\0' x; echo end-$((8*8))\r");
  REQUIRE(client.read_until("begin-7-"));

  // It acknowledges nothing of that: the program is stopped within 100 000 bytes. What was sent
  // before its first acknowledgement, such as the prompt, counts as taken.
  const std::size_t begun = client.output.find("begin-7-");
  CHECK(eventually([&] { return sequence_of(live, terminal) > 90'000; }));
  CHECK(sequence_of(live, terminal) <= begun + 100'000);

  // From here on it does, and misses nothing.
  while (client.output.find("end-64") == std::string::npos) {
    const auto got = client.next();
    REQUIRE(got);
    if (got->type != kind::binary) continue;
    client.output += got->payload;
    client.text(R"({"type":"ack","sequence":)" + std::to_string(client.output.size()) + "}");
  }
  CHECK(client.output.size() > 3'000'000);
}

TEST_CASE("the service's end is told to attached clients", "[system][attach]") {
  resource_check resources;
  {
    live_service live;
    websocket_client client{live.port(), attach_target(live.open_terminal())};
    client.text("echo up-$((4+4))\r");
    REQUIRE(client.read_until("up-8"));
    live.get().stop();
    CHECK(client.close_code() == 1001);
  }
  CHECK(resources.difference() == "");
}
