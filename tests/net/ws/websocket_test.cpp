#include <atomic>
#include <catch2/catch.hpp>
#include <string>

#include "previewd/tests/net/ws/websocket_world.hpp"

using namespace previewd;
using namespace previewd::net;
using namespace std::string_literals;
using namespace std::chrono_literals;
using test::eventually;
using test::masked;
using test::websocket_handshake;
using test::websocket_world;

TEST_CASE("a handshake is answered, and messages come back", "[net][ws]") {
  websocket_world w{{}, websocket_handshake, "chosen"};

  const std::string head = w.peer.read_head();
  CHECK(eventually([&] { return w.named_right.load(); }));
  CHECK(head.find("HTTP/1.1 101 ") == 0);
  CHECK(
    head.find("\r\nSec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n") != std::string::npos);
  CHECK(head.find("\r\nSec-WebSocket-Protocol: chosen\r\n") != std::string::npos);
  w.peer.send(masked(0x81, "text") + masked(0x82, "\x00\xff"s) + masked(0x89, "ping"));
  CHECK(w.peer.read_exactly(16) == "\x81\x04text\x82\x02\x00\xff\x8a\x04ping"s);
  CHECK(eventually([&] { return w.sent > 0; }));
}

TEST_CASE("a handshake that is none is refused", "[net][ws][I7]") {
  const auto with = [](const std::string& from, const std::string& to) {
    std::string head = websocket_handshake;
    return head.replace(head.find(from), from.size(), to);
  };
  const auto [head, status] = GENERATE_COPY(table<std::string, std::string>({
    {with("Version: 13", "Version: 12"), "426"},
    {with("dGhlIHNhbXBsZSBub25jZQ==", "dGhlIHNhbXBsZSBub25jZQ"), "400"},
    {with("dGhlIHNhbXBsZSBub25jZQ==", "dGhlIHNhbXBsZSBub25j!!=="), "400"},
    {with("Host: localhost\r\n", ""), "400"},
    {with("HTTP/1.1", "HTTP/1.0"), "400"},
  }));
  websocket_world w{{}, head};

  const std::string answer = w.peer.read_to_end();
  CHECK(answer.find("HTTP/1.1 " + status + " ") == 0);
  CHECK(answer.find("\r\nDate: ") != std::string::npos);
  CHECK(answer.find("\r\nContent-Type: application/problem+json\r\n") != std::string::npos);
  CHECK(answer.find("\"code\":\"") != std::string::npos);
  w.peer.close();
  CHECK(eventually([&] { return w.gone.load(); }));
  CHECK_FALSE(w.open);
}

TEST_CASE("a close frame is answered with its code", "[net][ws]") {
  websocket_world w;
  w.peer.read_head();

  w.peer.send(masked(0x88, "\x0f\xa1" + "bye"s) + masked(0x81, "after"));

  CHECK(w.peer.read_exactly(4) == "\x88\x02\x0f\xa1"s);
  CHECK(w.peer.wait_for_end());
  CHECK(eventually([&] { return w.gone.load(); }));
}

TEST_CASE(
  "what breaks the protocol is told by its code, and the connection ends", "[net][ws][I7]") {
  websocket_world w;
  w.peer.read_head();

  w.peer.send("\x81\x01x" + std::string(5000, 'y'));

  CHECK(w.peer.read_exactly(4) == "\x88\x02\x03\xea"s);
  CHECK(w.peer.wait_for_end());
  CHECK_FALSE(w.peer.was_reset());
  w.peer.close();
  CHECK(eventually([&] { return w.gone.load(); }));
}

TEST_CASE("what a peer does not take waits, in order, and then the close frame", "[net][ws][I5]") {
  ws::websocket_limits limits;
  limits.tells = ws::tells_of::waiting;
  websocket_world w{limits};
  w.peer.read_head();
  REQUIRE(eventually([&] { return w.open.load(); }));
  constexpr std::size_t count = 400;
  const std::string filling(10'000, 'f');
  std::size_t queued = 0;

  w.run([&] {
    for (std::size_t i = 0; i < count; ++i) w.send(std::to_string(1000 + i) + filling);
    queued = w.server().queued_bytes();
    w.server().close(1001);
    w.send("too late");
  });

  CHECK(queued > count * filling.size() / 2);
  CHECK(w.sent == 0);
  bool in_order = true;
  for (std::size_t i = 0; i < count; ++i) {
    const std::string frame = w.peer.read_exactly(4 + 4 + filling.size());
    in_order = in_order && frame == "\x81\x7e\x27\x14" + std::to_string(1000 + i) + filling;
  }
  CHECK(in_order);
  CHECK(w.peer.read_exactly(4) == "\x88\x02\x03\xe9"s);
  w.peer.send(masked(0x88, "\x03\xe9"));
  CHECK(w.peer.wait_for_end());
}

TEST_CASE("who waits is told once there is room", "[net][ws]") {
  ws::websocket_limits limits;
  limits.tells = ws::tells_of::waiting;
  websocket_world w{limits};
  w.peer.read_head();
  REQUIRE(eventually([&] { return w.open.load(); }));
  const std::string large(4'000'000, 'l');

  w.run([&] {
    w.send("small");
    w.send(large);
  });

  CHECK(w.peer.read_exactly(7) == "\x81\x05small");
  CHECK(w.peer.read_exactly(10 + large.size()).substr(10) == large);
  CHECK(eventually([&] { return w.sent == 1; }));
  w.run([&] { CHECK(w.server().queued_bytes() == 0); });
}

TEST_CASE("pings of a peer that takes nothing are answered by one pong", "[net][ws][I5]") {
  websocket_world w;
  w.peer.read_head();
  REQUIRE(eventually([&] { return w.open.load(); }));
  const std::string large(4'000'000, 'l');
  std::atomic<bool> heard = false;
  w.run([&] {
    w.on_message = [&](std::string_view) { heard = true; };
    w.send(large);
  });

  for (int i = 0; i < 1000; ++i) w.peer.send(masked(0x89, std::to_string(1000 + i)));
  w.peer.send(masked(0x81, "all"));
  REQUIRE(eventually([&] { return heard.load(); }));

  w.peer.read_exactly(10 + large.size());
  CHECK(w.peer.read_exactly(6) == "\x8a\x04" + "1999"s);
  w.peer.send(masked(0x88, ""));
  CHECK(w.peer.read_exactly(2) == "\x88\x00"s);
}

TEST_CASE("a silent peer is pinged, and given up", "[net][ws]") {
  ws::websocket_limits limits;
  limits.silence = 1600ms;
  websocket_world w{limits};
  w.peer.read_head();

  for (int i = 0; i < 3; ++i) {
    CHECK(w.peer.read_exactly(2) == "\x89\x00"s);
    w.peer.send(masked(0x8a, ""));
  }
  CHECK(w.peer.read_to_end().find("\x88") == std::string::npos);
  CHECK(eventually([&] { return w.gone.load(); }));
}

TEST_CASE("a peer that does not answer our close is let go", "[net][ws]") {
  ws::websocket_limits limits;
  limits.closing = 100ms;
  websocket_world w{limits};
  w.peer.read_head();
  REQUIRE(eventually([&] { return w.open.load(); }));

  w.run([&] { w.server().close(); });

  CHECK(w.peer.read_exactly(4) == "\x88\x02\x03\xe8"s);
  CHECK(w.peer.wait_for_end());
  CHECK(eventually([&] { return w.gone.load(); }));
}
