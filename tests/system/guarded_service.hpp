#pragma once

#include <atomic>
#include <catch2/catch.hpp>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "previewd/tests/support/raw_peer.hpp"
#include "previewd/tests/support/temporary_folder.hpp"
#include "previewd/tests/support/tokens.hpp"
#include "previewd/tests/support/websocket_client.hpp"
#include "previewd/tests/system/live_service.hpp"

/// What tests of who may need: a service that wants tokens, and those who have some.
namespace previewd::test {

using nlohmann::json;

inline const std::string secret = "the secret of the tests, which has enough bytes";

inline std::string bearer(const std::string& token) {
  return "Authorization: Bearer " + token + "\r\n";
}

inline std::string
as(const std::string& project, const std::string& user, const std::string& role) {
  return bearer(hs256_token(secret, claims_of(project, user, role)));
}

inline const std::string operators = as("*", "*", "edit");
inline const std::string ann = as("shop", "ann", "edit");
inline const std::string viewer = as("shop", "ann", "view");
inline const std::string bob = as("shop", "bob", "edit");

/// A file with a key, that goes with this.
class key_file {
public:
  explicit key_file(const std::string& content) { write(content); }

  void write(const std::string& content) { path_ = folder_.write("main.key", content); }
  const std::string& path() const { return path_; }

private:
  temporary_folder folder_;
  std::string path_;
};

inline settings with_tokens(const key_file& keys) {
  settings wanted;
  wanted.auth.mode = auth_mode::token;
  wanted.auth.secret_files = {keys.path()};
  wanted.auth.attempts = 0;
  return wanted;
}

/// A service that wants tokens.
struct guarded_service {
  explicit guarded_service(void (*change)(settings&) = [](settings&) {})
      : wanted{with_tokens(keys)} {
    change(wanted);
    live = std::make_unique<live_service>(wanted, operators);
  }

  http_answer ask(const std::string& who, const std::string& target, const json& body = {}) const {
    return fetch(live->port(), target, who, body.is_null() ? std::string{} : body.dump());
  }
  json list(const std::string& who, const std::string& target) const {
    return json::parse(ask(who, target).body, nullptr, false);
  }
  std::string open_terminal(const std::string& who, const std::string& user) const {
    const http_answer answer =
      ask(who, "POST /api/terminals", {{"project", "shop"}, {"user", user}});
    REQUIRE(answer.status == 201);
    return json::parse(answer.body).at("id");
  }

  key_file keys{secret + "\n"};
  settings wanted;
  std::unique_ptr<live_service> live;
};

/// A dev server that notes what it is asked.
class noting_server {
public:
  noting_server()
      : thread_{[this] {
          while (!over_) {
            raw_peer peer = listener_.accept();
            std::string head = peer.read_head();
            if (head.empty()) continue;
            {
              const std::lock_guard lock{mutex_};
              last_ = std::move(head);
            }
            peer.send(
              "HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: 5\r\n"
              "Connection: close\r\n\r\nhello");
          }
        }} {}
  ~noting_server() {
    over_ = true;
    raw_peer::connect(listener_.port()).close();  // ends the wait
    thread_.join();
  }
  noting_server(const noting_server&) = delete;
  noting_server& operator=(const noting_server&) = delete;

  uint16_t port() const { return listener_.port(); }
  std::string last() {
    const std::lock_guard lock{mutex_};
    return last_;
  }

private:
  raw_server listener_;
  std::atomic<bool> over_{false};
  std::mutex mutex_;
  std::string last_;
  std::thread thread_;
};

inline std::string field_of(const http_answer& answer, const std::string& name) {
  const auto at = answer.head.find("\r\n" + name + ": ");
  if (at == std::string::npos) return {};
  const auto begin = at + name.size() + 4;
  return answer.head.substr(begin, answer.head.find("\r\n", begin) - begin);
}

/// The lines of a browser that asks for a page of a preview.
inline std::string browser_at(const std::string& host, const std::string& lines = {}) {
  return "Host: " + host + "\r\nSec-Fetch-Mode: navigate\r\n" + lines;
}

/// Registers a server for ann and says under which host name its origin is.
inline std::string register_for_ann(const guarded_service& service, const noting_server& dev) {
  const http_answer added = service.ask(
    ann, "POST /api/servers", {{"project", "shop"}, {"user", "ann"}, {"port", dev.port()}});
  REQUIRE(added.status == 201);
  const std::string url = json::parse(added.body).at("originUrl");
  REQUIRE(url.substr(0, 7) == "http://");
  return url.substr(7, url.size() - 8);
}

/// Follows a link as a browser does: the answer, which has the cookie.
inline http_answer
follow(const guarded_service& service, const std::string& url, const std::string& lines = {}) {
  const auto slash = url.find('/', 7);
  return fetch(
    service.live->port(), "GET " + url.substr(slash), browser_at(url.substr(7, slash - 7), lines));
}

inline std::string hand_over(const guarded_service& service, const std::string& who, json wanted) {
  wanted["project"] = "shop";
  wanted["user"] = "ann";
  const http_answer answer = service.ask(who, "POST /api/hand-overs", wanted);
  INFO(answer.head << answer.body);
  REQUIRE(answer.status == 201);
  return json::parse(answer.body).at("url");
}

/// The line that a browser sends for a `Set-Cookie` field.
inline std::string cookie_line(const http_answer& answer) {
  const std::string value = field_of(answer, "Set-Cookie");
  return "Cookie: theme=dark; " + value.substr(0, value.find(';')) + "\r\n";
}

/// A Socket.IO client by WebSocket.
class event_client {
public:
  event_client(uint16_t port, const json& auth, const std::string& fields = {})
      : socket_{port, "/socket.io/?EIO=4&transport=websocket", fields} {
    if (!socket_.is_open()) return;
    socket_.next();  // the session's open packet
    socket_.text("40" + (auth.is_null() ? std::string{} : auth.dump()));
    connected = next();
  }

  /// The next packet of the namespace; pings are answered.
  std::string next() {
    for (auto frame = socket_.next(); frame; frame = socket_.next()) {
      if (frame->payload != "2") return frame->payload;
      socket_.text("3");
    }
    return {};
  }
  /// An event's acknowledgement; events that come before it are kept.
  json ask(const std::string& event, const json& argument) {
    const std::string id = std::to_string(next_id_++);
    socket_.text("42" + id + json::array({event, argument}).dump());
    for (std::string packet = next(); !packet.empty(); packet = next()) {
      if (packet.rfind("43" + id + "[", 0) == 0)
        return json::parse(packet.substr(2 + id.size()))[0];
      events.push_back(packet);
    }
    return {};
  }

  std::string connected;
  std::vector<std::string> events;
  websocket_client& socket() { return socket_; }

private:
  websocket_client socket_;
  int next_id_ = 0;
};

inline json token_of(const std::string& line) {
  const std::string value = line.substr(line.find("Bearer ") + 7);
  return {{"token", value.substr(0, value.size() - 2)}};
}

}  // namespace previewd::test
