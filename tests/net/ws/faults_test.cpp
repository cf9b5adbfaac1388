// WebSockets when system calls fail: no message is lost, doubled or out of order, or the connection
// ends.
#include <catch2/catch.hpp>
#include <cerrno>
#include <string>

#include "previewd/tests/net/ws/websocket_world.hpp"
#include "previewd/tests/support/faults.hpp"
#include "previewd/tests/support/resource_check.hpp"

using previewd::test::eventually;
using previewd::test::masked;
using previewd::test::resource_check;
using previewd::test::websocket_world;
using previewd::test::faults::armed;
using previewd::test::faults::every_call;
using previewd::test::faults::plan;

TEST_CASE("short, interrupted and unready reads and writes lose no message", "[net][ws][faults]") {
  struct disturbance {
    const char* what;
    plan reads, writes;
  };
  const auto how = GENERATE(values<disturbance>({
    {"one byte at a time", {.most = 1, .times = every_call}, {.most = 1, .times = every_call}},
    {"seven bytes at a time", {.most = 7, .times = every_call}, {.most = 7, .times = every_call}},
    {"interrupted", {.error = EINTR, .times = 100}, {.error = EINTR, .times = 100}},
    {"not ready", {.most = 50, .times = every_call}, {.error = EAGAIN, .times = 50}},
  }));
  INFO(how.what);
  websocket_world w;
  w.peer.read_head();
  const armed reads{"websocket.read", how.reads};
  const armed writes{"websocket.write", how.writes};
  std::string expected;

  for (int i = 100; i < 300; ++i) {
    const std::string text = "message " + std::to_string(i);
    w.peer.send(masked(0x81, text));
    expected += std::string{"\x81\x0b"} + text;
  }

  CHECK(w.peer.read_exactly(expected.size()) == expected);
  CHECK(reads.hits() > 0);
  CHECK(writes.hits() > 0);
}

TEST_CASE("a connection that breaks ends, once and with all it has", "[net][ws][faults][I3]") {
  struct breach {
    const char* site;
    int error;
  };
  const auto how = GENERATE(values<breach>({{"websocket.read", ECONNRESET},
    {"websocket.read", ENOMEM}, {"websocket.write", EPIPE}, {"websocket.write", ECONNRESET}}));
  INFO(how.site << ' ' << how.error);
  const resource_check resources;
  {
    websocket_world w;
    w.peer.read_head();
    REQUIRE(eventually([&] { return w.open.load(); }));
    const armed fault{how.site, {.error = how.error, .times = 1}};

    w.peer.send(masked(0x81, "text"));

    CHECK(w.peer.wait_for_end());
    CHECK(eventually([&] { return w.gone.load(); }));
    CHECK(fault.hits() == 1);
  }
  CHECK(resources.difference() == "");
}
