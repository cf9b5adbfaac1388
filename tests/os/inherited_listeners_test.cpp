// What is handed over for real is in tests/system/program_test.cpp: descriptor 3 is taken here.
#include "previewd/os/inherited_listeners.hpp"

#include <unistd.h>

#include <catch2/catch.hpp>
#include <string>
#include <variant>
#include <vector>

using namespace previewd;

TEST_CASE("sockets for another process, or for nobody, are not ours", "[os][listeners]") {
  const std::string mine = std::to_string(::getpid());
  const auto none = [](const os::listeners_offer& offer) {
    const auto taken = os::inherited_listeners(offer);
    return std::holds_alternative<std::vector<os::inherited_listener>>(taken) &&
           std::get<0>(taken).empty();
  };

  CHECK(none({.pid = {}, .fds = {}, .fdnames = {}}));
  CHECK(none({.pid = {}, .fds = "1", .fdnames = {}}));
  CHECK(none({.pid = "1", .fds = "1", .fdnames = {}}));
  CHECK(none({.pid = "junk", .fds = "junk", .fdnames = {}}));
  CHECK(none({.pid = mine, .fds = {}, .fdnames = {}}));
  CHECK(none({.pid = mine, .fds = "0", .fdnames = "a:b"}));
}

TEST_CASE("a number of sockets that is none is one sentence", "[os][listeners][I7]") {
  const std::string mine = std::to_string(::getpid());
  const std::string fds = GENERATE("junk", "-1", "1x", " 1", "4294967297", "99999999999999999999");

  const auto taken = os::inherited_listeners({.pid = mine, .fds = fds, .fdnames = {}});

  REQUIRE(std::holds_alternative<std::string>(taken));
  CHECK(std::get<std::string>(taken) ==
        "LISTEN_FDS is \"" + fds + "\", which is no number of descriptors");
}
