#include "previewd/support/log.hpp"

#include <catch2/catch.hpp>
#include <string>
#include <thread>
#include <vector>

#include "previewd/tests/support/captured_stderr.hpp"
#include "previewd/tests/support/eventually.hpp"

namespace {

using namespace previewd;
using previewd::test::captured_stderr;

std::size_t count(const std::string& text, const std::string& part) {
  std::size_t found = 0;
  for (std::size_t at = 0; (at = text.find(part, at)) != std::string::npos; at += part.size())
    ++found;
  return found;
}

}  // namespace

TEST_CASE("a log line is its time, level, sentence, event and fields", "[support][log]") {
  log::configure({});
  captured_stderr stderr_;

  log::info("server_refused", "[PROXY] Server appears to be down, removing from registry",
    {{"key", "shop_ann"}, {"generation", 7}});

  const std::string line = stderr_.text();
  REQUIRE(line.size() > 25);
  CHECK(line.substr(4, 1) == "-");
  CHECK(line.substr(23) ==
        "Z info [PROXY] Server appears to be down, removing from registry event=server_refused "
        "key=shop_ann "
        "generation=7\n");
}

TEST_CASE("no control character, quote or broken UTF-8 from outside reaches a text line",
  "[support][log][I7]") {
  log::configure({});
  captured_stderr stderr_;

  log::warn("forged", "from \x1b[2J outside\nwarning all is well",
    {{"path", "a \"b\"\r\n\\"}, {"bytes", "\xff\xc3("}, {"turned", "x\u202ey"},
      {"name", "gr\u00fcn"}, {"none", ""}});

  REQUIRE(stderr_.lines().size() == 1);
  const std::string line = stderr_.lines().front();
  CHECK(
    line.find(R"(from \x1b[2J outside\nwarning all is well event=forged)") != std::string::npos);
  CHECK(
    line.find(R"( path="a \"b\"\r\n\\" bytes="\xff\xc3(" turned="x\u202ey" name="grün" none="")") !=
    std::string::npos);
}

TEST_CASE("a JSON line is one object with escaped strings", "[support][log]") {
  log::configure({.threshold = log::level::info, .format = log::format::json});
  captured_stderr stderr_;

  log::error("json_line", "said \"so\"\n", {{"value", "\xff\x01"}});

  log::configure({});
  REQUIRE(stderr_.lines().size() == 1);
  const std::string line = stderr_.lines().front();
  CHECK(line.substr(0, 9) == R"({"time":")");
  CHECK(
    line.find(R"(Z","level":"error","message":"said \"so\"\u000a","event":"json_line","value":")"
              "\xef\xbf\xbd"
              R"(\u0001"})") != std::string::npos);
}

TEST_CASE("lines below the threshold are not written", "[support][log]") {
  log::configure({.threshold = log::level::warn, .format = log::format::text});
  captured_stderr stderr_;

  log::info("quiet_info", "not said");
  log::debug("quiet_debug", "not said");
  log::warn("loud", "said");

  CHECK_FALSE(log::enabled(log::level::info));
  CHECK(log::enabled(log::level::error));
  log::configure({});
  CHECK(stderr_.lines().size() == 1);
}

TEST_CASE(
  "a line that repeats is counted, and the count is said with a later line", "[support][log]") {
  log::configure({});
  captured_stderr stderr_;

  for (int i = 0; i < 100; ++i) log::warn("flood", "the same again");

  CHECK(count(stderr_.text(), "the same again") == 1);
  // Any later line brings the count along once the second is over.
  uint64_t round = 0;
  REQUIRE(test::eventually([&] {
    log::info("other", "line " + std::to_string(++round));
    return count(stderr_.text(), "repeated=99") == 1;
  }));
  CHECK(count(stderr_.text(), "the same again") == 2);
}

TEST_CASE("the same line about two servers is two lines", "[support][log]") {
  log::configure({});
  captured_stderr stderr_;

  log::info("gone", "Server appears to be down", {{"key", "a_b"}, {"generation", 1}});
  log::info("gone", "Server appears to be down", {{"key", "a_b"}, {"generation", 2}});
  log::info("gone", "Server appears to be down", {{"key", "a_b"}, {"generation", 2}});

  CHECK(stderr_.lines().size() == 2);
}

TEST_CASE("threads write whole lines", "[support][log]") {
  log::configure({});
  captured_stderr stderr_;

  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t)
    threads.emplace_back([t] {
      for (int i = 0; i < 50; ++i)
        log::info(
          "thread", std::string(300, static_cast<char>('a' + t)) + std::to_string(i), {{"t", t}});
    });
  for (std::thread& thread : threads) thread.join();

  const auto lines = stderr_.lines();
  CHECK(lines.size() == 200);
  for (const std::string& line : lines) CHECK(count(line, " event=thread t=") == 1);
}
