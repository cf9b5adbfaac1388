// A server for the public Socket.IO suites (docs/socketio.md): four profiles, on the
// Socket.IO library alone.
#include <atomic>
#include <boost/asio/signal_set.hpp>
#include <boost/asio/steady_timer.hpp>
#include <charconv>
#include <chrono>
#include <cstdio>
#include <cstring>
#include <ctime>
#include <map>
#include <memory>
#include <nlohmann/json.hpp>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "previewd/net/http/listener.hpp"
#include "previewd/net/http/server.hpp"
#include "previewd/net/socketio/server.hpp"

namespace {

using namespace std::chrono_literals;
using nlohmann::json;
namespace net = previewd::net;
namespace sio = previewd::net::socketio;

struct options {
  std::string profile;
  uint16_t port = 0;
  std::size_t threads = 1;
  sio::server_settings settings;
};

/// Sends every message back, and what else the suites of Engine.IO want.
class echo_handler final : public sio::engine_handler {
public:
  explicit echo_handler(bool greets) : greets_{greets} {}

  void admit(const sio::handshake& request, std::function<void(bool)> answer) override {
    bool denied = false;
    for (const auto& [name, value] : request.query) denied = denied || name == "deny";
    answer(!(greets_ && denied));
  }
  void on_open(sio::engine_session& session) override {
    if (greets_) session.send("hi");
  }
  void on_message(
    sio::engine_session& session, sio::message_kind kind, std::string_view bytes) override {
    if (kind == sio::message_kind::binary) {
      session.send_binary(std::string{bytes});
    } else if (greets_ && bytes == "give binary") {
      session.send_binary(std::string{"\0\1\2\3\4", 5});
    } else if (greets_ && bytes == "give utf8") {
      session.send("пойду спать всем спокойной ночи");
    } else {
      session.send(bytes);
    }
  }
  void on_sent(sio::engine_session&) override {}
  void on_close(sio::engine_session&, sio::session_end) override {}

private:
  const bool greets_;
};

std::string now_text() {
  const std::time_t now = std::time(nullptr);
  std::tm parts{};
  gmtime_r(&now, &parts);
  char text[32];
  std::strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%S.000Z", &parts);
  return text;
}

json handshake_json(const sio::handshake& request, const json& auth) {
  json query = json::object();
  for (const auto& [name, value] : request.query) query[std::string{name}] = value;
  json headers = json::object();
  for (const auto& [name, value] : request.fields) headers[std::string{name}] = value;
  return json{{"headers", headers}, {"query", query}, {"auth", auth}, {"address", request.address},
    {"secure", request.secure}, {"url", request.target}, {"time", now_text()},
    {"xdomain", headers.contains("origin")},
    {"issued", std::chrono::duration_cast<std::chrono::milliseconds>(request.at.time_since_epoch())
                 .count()}};
}

json bytes_of(std::string_view text) {
  return json::binary(std::vector<uint8_t>(text.begin(), text.end()));
}

/// The servers of all I/O threads.
using server_list = std::vector<std::unique_ptr<sio::server>>;

/// Tells everybody in the room, on whatever thread.
void say(const server_list& servers, sio::server& here, const std::string& room,
  const sio::shared_packet& packet) {
  for (const auto& each : servers) {
    if (each.get() == &here) {
      here.of("/").send_to(room, packet);
    } else {
      each->engine().thread().post(
        [to = each.get(), room, packet] { to->of("/").send_to(room, packet); });
    }
  }
}

/// Calls `then` on the thread after a while.
template <class Then>
void after(net::io_thread& thread, std::chrono::milliseconds delay, Then then) {
  auto timer = std::make_shared<net::asio::steady_timer>(thread.context(), delay);
  timer->async_wait([timer, then](boost::system::error_code) { then(); });
}

/// How long after it has joined a socket is greeted. The suite waits for one message at a time, and
/// misses the second of two that arrive at once.
constexpr auto greeting_delay = 20ms;

void set_up_protocol_suite(sio::server& server, const server_list& servers) {
  const auto greet = [&server](sio::socket& s) {
    after(server.engine().thread(), greeting_delay, [&server, number = s.number()] {
      sio::socket* joined = server.find(number);
      if (joined) joined->emit("auth", json::array({joined->auth()}));
    });
  };
  sio::name_space& main = server.of("/");
  main.on_connect(greet);
  main.on("message", [](sio::socket& s, const json& arguments, const sio::reply&) {
    s.emit("message-back", arguments);
  });
  main.on("message-with-ack",
    [](sio::socket&, const json& arguments, const sio::reply& answer) { answer(arguments); });
  // For the tests of this repository: rooms, and acknowledgements asked of the client.
  main.on("join", [](sio::socket& s, const json& arguments, const sio::reply& answer) {
    if (arguments.size() == 1 && arguments[0].is_string()) s.join(arguments[0].get<std::string>());
    answer(json::array({true}));
  });
  main.on("leave", [](sio::socket& s, const json& arguments, const sio::reply& answer) {
    if (arguments.size() == 1 && arguments[0].is_string()) s.leave(arguments[0].get<std::string>());
    answer(json::array({true}));
  });
  main.on(
    "say", [&server, &servers](sio::socket& s, const json& arguments, const sio::reply& answer) {
      if (arguments.size() == 2 && arguments[0].is_string()) {
        say(servers, server, arguments[0].get<std::string>(),
          s.space().encode("said", arguments[1].dump()));
      }
      answer(json::array({true}));
    });
  main.on("ask-me", [](sio::socket& s, const json& arguments, const sio::reply& answer) {
    s.emit("question", arguments, [answer](json replied) { answer(replied); });
  });
  main.on("leave-me", [](sio::socket& s, const json&, const sio::reply&) { s.disconnect(); });
  main.on("close-me", [](sio::socket& s, const json&, const sio::reply&) { s.close(); });
  server.of("/custom").on_connect(greet);
}

/// What a socket of the client suite has sent so far.
using seen_events = std::map<uint64_t, std::set<std::string>>;

void set_up_client_suite(sio::server& server, net::io_thread& thread) {
  server.on_admit([&thread](const sio::handshake&, std::function<void(bool)> answer) {
    after(thread, 10ms, [answer] { answer(true); });
  });
  for (const char* name : {"/timeout_socket", "/valid", "/asd"}) server.of(name);
  const auto id = [](sio::socket& s, const json&, const sio::reply& answer) {
    answer(json::array({s.id()}));
  };
  server.of("/foo").on("getId", id);
  server.of("/abc").on_connect([](sio::socket& s) {
    s.emit("handshake", json::array({handshake_json(s.session().request(), s.auth())}));
  });
  server.of("/no").use([](const sio::connect_request&,
                         std::function<void(std::optional<sio::connect_refusal>)> answer) {
    answer(sio::connect_refusal{"Auth failed (custom namespace)", {}});
  });
  sio::name_space& main = server.of("/");
  main.use([](const sio::connect_request& request,
             std::function<void(std::optional<sio::connect_refusal>)> answer) {
    if (request.request.parameter("fail").empty()) return answer(std::nullopt);
    answer(sio::connect_refusal{"Auth failed (main namespace)", {}});
  });
  const auto seen = std::make_shared<seen_events>();
  main.on_disconnect([seen](sio::socket& s) { seen->erase(s.number()); });
  const auto is_binary = [](const json& arguments, const char* key = nullptr) {
    if (arguments.empty()) return false;
    if (!key) return arguments[0].is_binary();
    return arguments[0].is_object() && arguments[0].contains(key) && arguments[0][key].is_binary();
  };
  main.on(
    "hi", [](sio::socket& s, const json&, const sio::reply&) { s.emit("hi", json::array()); });
  main.on("echo", [](sio::socket&, const json& arguments, const sio::reply& answer) {
    answer(arguments.empty() ? json::array({nullptr}) : json::array({arguments[0]}));
  });
  main.on("ack", [&server](sio::socket& s, const json&, const sio::reply&) {
    s.emit("ack", json::array(), [&server, number = s.number()](json replied) {
      sio::socket* asked = server.find(number);
      const bool right = replied.size() == 2 && replied[0] == 5 && replied[1].is_object() &&
                         replied[1].value("test", false);
      if (asked && right) asked->emit("got it", json::array());
    });
  });
  main.on("getAckDate",
    [](sio::socket&, const json&, const sio::reply& answer) { answer(json::array({now_text()})); });
  main.on("getDate", [](sio::socket& s, const json&, const sio::reply&) {
    s.emit("takeDate", json::array({now_text()}));
  });
  main.on("getDateObj", [](sio::socket& s, const json&, const sio::reply&) {
    s.emit("takeDateObj", json::array({json{{"date", now_text()}}}));
  });
  main.on("getUtf8", [](sio::socket& s, const json&, const sio::reply&) {
    for (const char* text :
      {"てすと", "Я Б Г Д Ж Й", "Ä ä Ü ü ß", "utf8 — string", "utf8 — string"}) {
      s.emit("takeUtf8", json::array({text}));
    }
  });
  main.on("false",
    [](sio::socket& s, const json&, const sio::reply&) { s.emit("false", json::array({false})); });
  main.on("doge", [](sio::socket& s, const json&, const sio::reply&) {
    s.emit("doge", json::array({bytes_of("asdfasdf")}));
  });
  main.on("getbin", [](sio::socket& s, const json&, const sio::reply&) {
    s.emit("takebin", json::array({bytes_of("asdfasdf")}));
  });
  const auto on_binary = [&](const char* event, const char* key, const char* answer) {
    main.on(event, [=](sio::socket& s, const json& arguments, const sio::reply&) {
      if (is_binary(arguments, key)) s.emit(answer, json::array());
    });
  };
  on_binary("buffa", nullptr, "buffack");
  on_binary("jsonbuff", "message", "jsonbuff-ack");
  on_binary("blob", nullptr, "back");
  on_binary("jsonblob", "message", "jsonblob-ack");
  const auto note = [&](const char* event) {
    main.on(event, [=](sio::socket& s, const json& arguments, const sio::reply&) {
      if (is_binary(arguments)) (*seen)[s.number()].insert(event);
    });
  };
  note("abuff1");
  note("blob1");
  main.on("abuff2", [=](sio::socket& s, const json&, const sio::reply&) {
    if ((*seen)[s.number()].count("abuff1") != 0) s.emit("abuff2-ack", json::array());
  });
  main.on("blob2", [=](sio::socket& s, const json& arguments, const sio::reply&) {
    const bool right =
      (*seen)[s.number()].count("blob1") != 0 && !arguments.empty() && arguments[0] == "second";
    if (right) (*seen)[s.number()].insert("blob2");
  });
  main.on("blob3", [=](sio::socket& s, const json& arguments, const sio::reply&) {
    if ((*seen)[s.number()].count("blob2") != 0 && is_binary(arguments))
      s.emit("blob3-ack", json::array());
  });
  main.on("getHandshake", [](sio::socket& s, const json&, const sio::reply& answer) {
    answer(json::array({handshake_json(s.session().request(), s.auth())}));
  });
  main.on("getId", id);
}

bool parse(int count, char** values, options& into) {
  const auto number = [](const char* text, auto& value) {
    const auto [end, error] = std::from_chars(text, text + std::strlen(text), value);
    return error == std::errc{} && *end == '\0';
  };
  for (int i = 1; i + 1 < count; i += 2) {
    const std::string_view name = values[i];
    uint64_t milliseconds = 0;
    const auto duration = [&](std::chrono::milliseconds& value) {
      if (!number(values[i + 1], milliseconds)) return false;
      value = std::chrono::milliseconds{milliseconds};
      return true;
    };
    bool good = true;
    if (name == "--profile") {
      into.profile = values[i + 1];
      sio::engine_settings& engine = into.settings.engine;
      engine.cors_origin = "*";
      if (into.profile == "eio" || into.profile == "eio-client") engine.path = "/engine.io/";
      if (into.profile == "eio" || into.profile == "sio") {
        engine.ping_interval = 300ms;
        engine.ping_timeout = 200ms;
        into.settings.connect_timeout = 1000ms;
      } else if (into.profile == "eio-client") {
        engine.ping_interval = 500ms;
        engine.max_payload = 100;
      } else if (into.profile == "sio-client") {
        engine.ping_interval = 2000ms;
        into.settings.recovery.max_disconnection = 2min;
      } else {
        good = false;
      }
    } else if (name == "--port") {
      good = number(values[i + 1], into.port);
    } else if (name == "--threads") {
      good = number(values[i + 1], into.threads) && into.threads > 0 && into.threads <= 16;
    } else if (name == "--path") {
      into.settings.engine.path = values[i + 1];
    } else if (name == "--ping-interval") {
      good = duration(into.settings.engine.ping_interval);
    } else if (name == "--ping-timeout") {
      good = duration(into.settings.engine.ping_timeout);
    } else if (name == "--connect-timeout") {
      good = duration(into.settings.connect_timeout);
    } else if (name == "--recovery") {
      good = duration(into.settings.recovery.max_disconnection);
    } else if (name == "--max-payload") {
      good = number(values[i + 1], into.settings.engine.max_payload);
    } else {
      good = false;
    }
    if (!good) return false;
  }
  return count % 2 == 1 && !into.profile.empty();
}

}  // namespace

int main(int count, char** values) {
  options wanted;
  if (!parse(count, values, wanted)) {
    std::fputs(
      "usage: socketio_conformance --profile eio|sio|eio-client|sio-client [--port N] [--threads "
      "N] [--path P]\n"
      "  [--ping-interval MS] [--ping-timeout MS] [--connect-timeout MS] [--recovery MS] "
      "[--max-payload BYTES]   (after --profile)\n",
      stderr);
    return 2;
  }
  std::vector<std::unique_ptr<net::io_thread>> owned;
  std::vector<net::io_thread*> threads;
  for (std::size_t i = 0; i < wanted.threads; ++i) {
    owned.push_back(std::make_unique<net::io_thread>(static_cast<uint32_t>(i)));
    threads.push_back(owned.back().get());
  }
  echo_handler echo{wanted.profile == "eio-client"};
  std::vector<std::unique_ptr<sio::engine>> engines;
  server_list servers;
  std::vector<net::http::service_handler> handlers;
  const std::string path = wanted.settings.engine.path;
  for (net::io_thread* thread : threads) {
    net::http::service_handler handler;
    if (wanted.profile == "eio" || wanted.profile == "eio-client") {
      engines.push_back(
        std::make_unique<sio::engine>(*thread, threads, wanted.settings.engine, echo));
      handler = [engine = engines.back().get()](
                  net::http::exchange_ptr exchange) { engine->handle(std::move(exchange)); };
    } else {
      servers.push_back(std::make_unique<sio::server>(*thread, threads, wanted.settings));
      sio::server& server = *servers.back();
      if (wanted.profile == "sio") {
        set_up_protocol_suite(server, servers);
      } else {
        set_up_client_suite(server, *thread);
      }
      if (servers.size() > 1) server.share_recovery(*servers.front());
      handler = [&server](net::http::exchange_ptr exchange) { server.handle(std::move(exchange)); };
    }
    handlers.emplace_back([path, handler](net::http::exchange_ptr exchange) {
      const std::string_view asked = exchange->head().path;
      if (asked == path || asked == std::string_view{path}.substr(0, path.size() - 1))
        return handler(std::move(exchange));
      net::http::response answer;
      answer.status = 404;
      exchange->respond(std::move(answer));
    });
  }
  net::http::listen_result opened = net::http::open_listeners(
    {{.address = "127.0.0.1", .port = wanted.port, .path = {}}}, threads.size());
  if (!opened.error.empty()) {
    std::fprintf(stderr, "%s\n", opened.error.c_str());
    return 1;
  }
  std::vector<std::unique_ptr<net::http::server>> fronts;
  std::vector<net::http::server*> peers;
  for (std::size_t i = 0; i < threads.size(); ++i) {
    fronts.push_back(std::make_unique<net::http::server>(
      *threads[i], net::http::http_settings{}, handlers[i], net::http::preview_pages{}));
    peers.push_back(fronts.back().get());
  }
  for (std::size_t i = 0; i < threads.size(); ++i) {
    fronts[i]->set_peers(peers);
    fronts[i]->listen(std::move(opened.listeners[0].sockets[i]));
  }
  std::printf("listening on 127.0.0.1:%u\n", static_cast<unsigned>(opened.listeners[0].at.port));
  std::fflush(stdout);
  for (const auto& thread : owned) thread->start("socketio");
  net::asio::io_context signals{1};
  net::asio::signal_set ends{signals, SIGINT, SIGTERM};
  ends.async_wait([](boost::system::error_code, int) {});
  signals.run();
  for (const auto& thread : owned) thread->stop();
  fronts.clear();
  servers.clear();
  engines.clear();
  return 0;
}
