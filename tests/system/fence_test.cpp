// After previewServerStopped no byte reaches the old server (I2), whoever is at its endpoint: seen
// from there, by another process, while clients hammer.
#include <unistd.h>

#include <atomic>
#include <catch2/catch.hpp>
#include <csignal>
#include <fstream>
#include <set>
#include <thread>

#include "previewd/os/child_reaper.hpp"
#include "previewd/tests/support/resource_check.hpp"
#include "previewd/tests/support/test_process.hpp"
#include "previewd/tests/system/live_service.hpp"

using namespace previewd;
using namespace previewd::test;
using namespace std::chrono_literals;

namespace {

const std::string dev_server = PREVIEWD_DEV_SERVER;

/// What a dev server has seen, in its own words.
class server_log {
public:
  explicit server_log(const std::string& name)
      : path_{"/tmp/previewd-fence-" + std::to_string(::getpid()) + "-" + name} {
    ::unlink(path_.c_str());
  }
  ~server_log() { ::unlink(path_.c_str()); }
  server_log(const server_log&) = delete;
  server_log& operator=(const server_log&) = delete;

  std::string argument() const { return "log=" + path_; }

  std::vector<std::string> lines() const {
    std::vector<std::string> result;
    std::ifstream file{path_};
    for (std::string line; std::getline(file, line);) result.push_back(line);
    return result;
  }

  std::size_t count(std::string_view beginning) const {
    std::size_t n = 0;
    for (const std::string& line : lines()) n += line.rfind(beginning, 0) == 0 ? 1 : 0;
    return n;
  }

private:
  std::string path_;
};

/// The number after `letter` in a target like "/e12-n345", or in the bytes "e12;".
int number_after(const std::string& text, char letter) {
  const std::size_t at = text.rfind(letter);
  return at == std::string::npos ? -1 : std::atoi(text.c_str() + at + 1);
}

/// Clients of a workspace's path address, who never pause. Each request and each piece of a
/// WebSocket bears the epoch in which it was begun; an epoch ends in the moment in which a
/// subscriber is told of a stop.
class hammer {
public:
  explicit hammer(live_service& live, int clients = 4) : live_{live}, rounds_(2 * clients) {
    watcher_ = live.system().spawn(
      [this](event_subscriber_actor::pointer) -> event_subscriber_actor::behavior_type {
        return {[this](event_atom, const event& what) {
          if (what.kind == event_kind::server_stopped) ++epoch_;
        }};
      });
    caf::anon_send(live.get().events(), subscribe_atom_v, watcher_);
    for (int i = 0; i < clients; ++i) {
      threads_.emplace_back([this, i] { send_requests(rounds_[2 * i]); });
      threads_.emplace_back([this, i] { keep_tunnels(rounds_[2 * i + 1]); });
    }
  }
  ~hammer() { stop(); }

  void stop() {
    over_ = true;
    for (std::thread& thread : threads_) thread.join();
    threads_.clear();
    if (watcher_) caf::anon_send_exit(watcher_, caf::exit_reason::user_shutdown);
    watcher_ = nullptr;
  }

  int epoch() const { return epoch_; }

  /// Waits until every client has begun and ended something anew `times` more.
  bool go_round(int times = 2) {
    std::vector<int> before;
    for (const auto& one : rounds_) before.push_back(one);
    return eventually([&] {
      for (std::size_t i = 0; i < before.size(); ++i)
        if (rounds_[i] < before[i] + times) return false;
      return true;
    });
  }

  int answered() const { return answered_; }
  int tunnelled() const { return tunnelled_; }

private:
  void send_requests(std::atomic<int>& rounds) {
    while (!over_) {
      const int n = ++number_;
      const http_answer answer =
        fetch(live_.port(), std::string{n % 3 == 0 ? "POST" : "GET"} + " /preview/shop/ann/e" +
                              std::to_string(epoch_) + "-n" + std::to_string(n));
      if (answer.status == 200) ++answered_;
      ++rounds;
    }
  }

  void keep_tunnels(std::atomic<int>& rounds) {
    while (!over_) {
      connection socket{live_.port()};
      socket.send("GET /preview/shop/ann/e" + std::to_string(epoch_) + "-n" +
                  std::to_string(++number_) +
                  " HTTP/1.1\r\nHost: 127.0.0.1:" + std::to_string(live_.port()) +
                  "\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
                  "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n");
      if (socket.read_until("\r\n\r\n").substr(0, 12) == "HTTP/1.1 101") {
        ++tunnelled_;
        do {
          socket.send("e" + std::to_string(epoch_) + ";");
          ++rounds;
        } while (!socket.read().empty() && !over_);
      }
      ++rounds;
    }
  }

  live_service& live_;
  event_subscriber_actor watcher_;
  std::atomic<bool> over_{false};
  std::atomic<int> epoch_{0}, number_{0}, answered_{0}, tunnelled_{0};
  std::vector<std::atomic<int>> rounds_;
  std::vector<std::thread> threads_;
};

settings two_threads() {
  settings wanted;
  wanted.io.threads = 2;
  wanted.proxy.hold = 50ms;  // clients of a server that is gone are told soon
  return wanted;
}

event start(live_service& live, const std::string& terminal, const std::string& how) {
  const std::size_t from = live.events.size();
  live.type(terminal, dev_server + " " + how + "\r");
  const auto started = live.events.wait_for(event_kind::server_started, from);
  REQUIRE(started);
  return *started;
}

bool await_stop(live_service& live, const server_ref& ref) {
  return live.events
    .wait(
      [&](const event& e) { return e.kind == event_kind::server_stopped && e.stop->ref == ref; })
    .has_value();
}

}  // namespace

TEST_CASE("a server that is removed and lives on sees nothing that was begun after the event",
  "[system][fence][I2]") {
  constexpr int rounds = 12;
  resource_check resources;
  {
    live_service live{two_threads()};
    const std::string terminal = live.open_terminal();
    hammer clients{live};
    for (int round = 0; round < rounds; ++round) {
      INFO("round " << round);
      const server_log log{"removed"};
      const event started = start(live, terminal, "0 " + log.argument());
      REQUIRE(eventually([&] { return log.count("bytes") > 0 && log.count("request") > 3; }));
      const int last_epoch = clients.epoch();
      const auto generation = std::to_string(started.server->ref.generation);

      CHECK(fetch(live.port(), "DELETE /api/servers/" + generation).status == 204);

      REQUIRE(await_stop(live, started.server->ref));
      CHECK(live.get_json("/debug/connections")["totalConnections"] == 0);
      REQUIRE(clients.go_round());
      // Each is answered behind all that has reached the server: so it has written that down.
      for (int i = 0; i < 3; ++i) {
        connection behind{started.server->upstream.port};
        behind.send("GET /e0-n0 HTTP/1.1\r\n\r\n");
        REQUIRE(behind.read_until("dev server").find("dev server") != std::string::npos);
      }
      const auto seen = log.lines();
      for (const std::string& line : seen) {
        INFO(line);
        CHECK(number_after(line, 'e') <= last_epoch);
      }
      // Not one more, of whatever epoch; and every tunnel has its end.
      REQUIRE(clients.go_round());
      CHECK(log.lines() == seen);
      std::set<std::string> tunnels, closed;
      for (const std::string& line : seen) {
        const std::string words = line.substr(line.find(' ') + 1);
        if (line.rfind("bytes ", 0) == 0) tunnels.insert(words.substr(0, words.find(' ')));
        if (line.rfind("closed ", 0) == 0) closed.insert(words);
      }
      for (const std::string& tunnel : tunnels) CHECK(closed.count(tunnel) == 1);
      CHECK(::kill(started.server->pid, 0) == 0);
      ::kill(started.server->pid, SIGKILL);
    }
    clients.stop();
    CHECK(clients.answered() > rounds);
    CHECK(clients.tunnelled() >= rounds);
  }
  CHECK(resources.difference() == "");
}

TEST_CASE("the next generation on the same port gets nothing that was meant for the one before",
  "[system][fence][I1][I2]") {
  constexpr int rounds = 12;
  resource_check resources;
  {
    live_service live{two_threads()};
    const std::string first = live.open_terminal();
    const std::string second = live.open_terminal();
    hammer clients{live};
    for (int round = 0; round < rounds; ++round) {
      INFO("round " << round);
      const server_log old_log{"old"};
      const server_log new_log{"new"};
      const event before = start(live, first, "0 " + old_log.argument());
      REQUIRE(
        eventually([&] { return old_log.count("bytes") > 0 && old_log.count("request") > 3; }));
      const std::size_t from = live.events.size();
      live.type(second, dev_server + " " + std::to_string(before.server->upstream.port) +
                          " retry " + new_log.argument() + "\r");
      ::kill(before.server->pid, SIGKILL);

      REQUIRE(await_stop(live, before.server->ref));
      const auto after = live.events.wait(
        [&](const event& e) {
          return e.kind == event_kind::server_started &&
                 e.server->upstream.port == before.server->upstream.port;
        },
        from);
      REQUIRE(after);
      CHECK(after->server->ref.generation > before.server->ref.generation);
      REQUIRE(clients.go_round());
      const auto old_lines = old_log.lines();
      const auto new_lines = new_log.lines();
      // Its tunnels are its own, and what may not be repeated came to one of them only.
      std::set<std::string> opened, posted;
      for (const std::string& line : new_lines) {
        INFO(line);
        if (line.rfind("request ", 0) == 0) opened.insert(line.substr(8));
        if (line.rfind("bytes ", 0) == 0)
          CHECK(opened.count(line.substr(6, line.find(' ', 6) - 6)) == 1);
      }
      for (const auto* lines : {&old_lines, &new_lines}) {
        for (const std::string& line : *lines) {
          if (line.rfind("request ", 0) != 0 || number_after(line, 'n') % 3 != 0) continue;
          INFO(line);
          CHECK(posted.insert(line).second);
        }
      }
      CHECK_FALSE(opened.empty());
      ::kill(after->server->pid, SIGKILL);
      REQUIRE(await_stop(live, after->server->ref));
    }
  }
  CHECK(resources.difference() == "");
}

TEST_CASE("a stranger who takes over the port of a dead server sees nothing, ever",
  "[system][fence][I2][I6]") {
  constexpr int rounds = 12;
  resource_check resources;
  {
    live_service live{two_threads()};
    const std::string terminal = live.open_terminal();
    hammer clients{live};
    for (int round = 0; round < rounds; ++round) {
      INFO("round " << round);
      const server_log log{"mine"};
      const server_log stranger_log{"stranger"};
      const event started = start(live, terminal, "0 " + log.argument());
      REQUIRE(eventually([&] { return log.count("bytes") > 0 && log.count("request") > 3; }));
      os::process_spec spec;
      spec.argv = {dev_server, std::to_string(started.server->upstream.port), "retry",
        stranger_log.argument()};
      spec.environment = {"PATH=/usr/bin:/bin"};
      const auto stranger = os::start_process(spec);
      REQUIRE(stranger);

      ::kill(started.server->pid, SIGKILL);

      REQUIRE(await_stop(live, started.server->ref));
      REQUIRE(clients.go_round(3));
      // It has had the port all the while; and connections perhaps, but not a byte.
      REQUIRE(eventually([&] { return stranger_log.count("listening") == 1; }));
      REQUIRE(clients.go_round());
      CHECK(stranger_log.lines() == std::vector<std::string>{"listening"});
      // The service waits for every child, this one too.
      ::kill(stranger.pid(), SIGKILL);
      CHECK(eventually([&] { return ::kill(stranger.pid(), 0) != 0; }));
    }
  }
  CHECK(resources.difference() == "");
}
