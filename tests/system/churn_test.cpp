// Starting and stopping under load: nothing is removed wrongly, nothing stays behind.
#include <atomic>
#include <catch2/catch.hpp>
#include <csignal>
#include <cstdlib>
#include <mutex>
#include <thread>

#include "previewd/tests/support/resource_check.hpp"
#include "previewd/tests/system/live_service.hpp"

using namespace previewd;
using namespace previewd::test;

TEST_CASE("200 starts and stops while 20 HTTP and 20 WebSocket clients hammer",
  "[system][churn][I1][I2][I3]") {
  constexpr int cycles = 200;
  constexpr int clients = 20;
  const std::string dev_server = PREVIEWD_DEV_SERVER;
  resource_check resources;
  {
    settings wanted;
    wanted.proxy.hold =
      std::chrono::milliseconds{100};  // clients of a stopped server are told soon
    live_service live{wanted};
    const std::size_t actors_before = live.quiet_actors() + 2;  // a terminal and its detector
    const std::string terminal = live.open_terminal();

    std::atomic<bool> over{false};
    std::atomic<int> answered{0}, tunnelled{0};
    std::mutex wrong_mutex;
    std::vector<std::string> wrong;
    const auto note = [&](std::string what) {
      const std::lock_guard lock{wrong_mutex};
      wrong.push_back(std::move(what));
    };
    std::vector<std::thread> threads;
    for (int i = 0; i < clients; ++i) {
      threads.emplace_back([&] {
        while (!over) {
          const http_answer answer = fetch(live.port(), "GET /preview/shop/ann/");
          if (answer.status == 200 && answer.body.find("dev server") != std::string::npos) {
            ++answered;
          } else if (answer.status != 503 && answer.status != 0) {
            // 0: the server died in mid-answer, which the client sees as a cut.
            note(answer.head + answer.body);
          }
          std::this_thread::sleep_until(
            std::chrono::steady_clock::now() + std::chrono::milliseconds{5});  // a pace, not a wait
        }
      });
      threads.emplace_back([&] {
        while (!over) {
          connection socket{live.port()};
          socket.send(
            "GET /preview/shop/ann/hmr HTTP/1.1\r\nHost: 127.0.0.1:" + std::to_string(live.port()) +
            "\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
            "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n");
          const std::string head = socket.read_until("\r\n\r\n").substr(0, 12);
          if (head == "HTTP/1.1 101") {
            ++tunnelled;
            // Open until the server goes: then it must be closed, whoever closes it.
            while (!socket.read().empty()) {
            }
            if (!socket.ended()) note("a tunnel that stays open after its server");
          } else if (head != "HTTP/1.1 503" && !head.empty()) {
            note("upgrade: " + head);
          }
          std::this_thread::sleep_until(
            std::chrono::steady_clock::now() + std::chrono::milliseconds{5});  // a pace, not a wait
        }
      });
    }

    std::size_t seen = 0;
    int completed = 0;
    for (; completed < cycles; ++completed) {
      live.type(terminal, dev_server + " 0\r");
      const auto started = live.events.wait_for(event_kind::server_started, seen);
      if (!started) break;
      if (completed % 4 == 3) {
        kill(started->server->pid, SIGKILL);
      } else {
        live.type(terminal, "\x03");
      }
      const auto stopped = live.events.wait(
        [&](const event& e) {
          return e.kind == event_kind::server_stopped && e.stop->ref == started->server->ref;
        },
        seen);
      if (!stopped) break;
      seen = live.events.size();
    }
    over = true;
    for (std::thread& thread : threads) thread.join();

    CHECK(completed == cycles);
    CHECK(live.events.count(event_kind::server_started) == cycles);
    CHECK(live.events.count(event_kind::server_stopped) == cycles);
    CHECK(wrong == std::vector<std::string>{});
    CHECK(answered > 0);
    CHECK(tunnelled > 0);
    CHECK(live.get_json("/debug/connections")["totalConnections"] == 0);
    CHECK(live.get_json("/api/servers")["servers"].empty());
    eventually([&] { return live.running_actors() == actors_before; });
    CHECK(live.running_actors() == actors_before);
  }
}
