#include "previewd/net/terminal/output_scanner.hpp"

#include <algorithm>
#include <catch2/catch.hpp>
#include <fstream>
#include <iterator>
#include <ostream>
#include <random>
#include <sstream>
#include <string>
#include <utility>

namespace previewd {

std::ostream& operator<<(std::ostream& out, const url_hint& hint) {
  return out << (hint.scheme == scheme::https ? "https:" : "http:") << hint.port;
}

}  // namespace previewd

namespace {

using previewd::scheme;
using previewd::url_hint;
using previewd::net::terminal::output_scanner;

url_hint http(uint16_t port) {
  return {.scheme = scheme::http, .port = port};
}
url_hint https(uint16_t port) {
  return {.scheme = scheme::https, .port = port};
}

using hints = std::vector<url_hint>;

std::string recording(const std::string& name) {
  std::ifstream file{std::string{PREVIEWD_TERMINAL_CORPUS} + "/" + name + ".raw", std::ios::binary};
  REQUIRE(file);
  return {std::istreambuf_iterator<char>{file}, {}};
}

/// A line of expected.txt: a recording's name, and what is to be found in it.
std::pair<std::string, hints> expectation(const std::string& line) {
  std::istringstream words{line};
  std::pair<std::string, hints> result;
  words >> result.first;
  for (std::string word; words >> word;) {
    const std::size_t colon = word.find(':');
    REQUIRE(colon != std::string::npos);
    const auto port = static_cast<uint16_t>(std::stoi(word.substr(colon + 1)));
    result.second.push_back(word.substr(0, colon) == "https" ? https(port) : http(port));
  }
  return result;
}

hints scan(std::string_view text, unsigned columns = 100) {
  output_scanner scanner;
  scanner.set_columns(columns);
  hints found;
  scanner.feed(text, found);
  return found;
}

/// The same, with the text cut into pieces of at most `longest` bytes.
template <class Length>
hints scan_pieces(std::string_view text, Length next_length, unsigned columns = 100) {
  output_scanner scanner;
  scanner.set_columns(columns);
  hints all;
  while (!text.empty()) {
    const std::size_t n = std::min<std::size_t>(text.size(), next_length());
    hints found;
    scanner.feed(text.substr(0, n), found);
    for (const url_hint& hint : found)
      if (std::find(all.begin(), all.end(), hint) == all.end()) all.push_back(hint);
    text.remove_prefix(n);
  }
  return all;
}

}  // namespace

TEST_CASE(
  "in recordings of real dev servers what they print is found and nothing else, however "
  "they are cut",
  "[net][terminal][scanner][corpus]") {
  std::ifstream list{PREVIEWD_TERMINAL_CORPUS "/expected.txt"};
  std::size_t recordings = 0;
  for (std::string line; std::getline(list, line); ++recordings) {
    const auto [name, expected] = expectation(line);
    const std::string text = recording(name);
    INFO(name);

    CHECK(scan(text) == expected);
    CHECK(scan_pieces(text, [] { return 1; }) == expected);
    for (unsigned seed = 0; seed < 5; ++seed) {
      INFO(seed);
      std::mt19937 random{seed};
      CHECK(scan_pieces(text, [&] { return 1 + random() % 40; }) == expected);
    }
    // Every way to read it in two pieces.
    std::size_t cut_wrongly = 0;
    for (std::size_t at = 1; text.size() <= 1000 && at < text.size(); ++at) {
      std::size_t piece = at;
      const hints found = scan_pieces(text, [&] { return std::exchange(piece, text.size()); });
      cut_wrongly += found == expected ? 0 : 1;
    }
    CHECK(cut_wrongly == 0);
  }
  CHECK(recordings == 74);
}

TEST_CASE("an address is read as a person reads it", "[net][terminal][scanner]") {
  const auto [text, expected] = GENERATE(table<std::string, hints>({
    {"http://localhost:3000\n", {http(3000)}},
    {"http://localhost:3000/path?q=1\n", {http(3000)}},
    {"see http://localhost:3000.\n", {http(3000)}},
    {"(http://localhost:3000)\n", {http(3000)}},
    {"\"http://localhost:3000\",", {http(3000)}},
    {"https://localhost:8443/\n", {https(8443)}},
    {"HTTP://LOCALHOST:3000/\n", {http(3000)}},
    {"hhttp://127.0.0.1:3000/\n", {http(3000)}},
    {"http://0.0.0.0:3000/\n", {http(3000)}},
    {"http://[::]:3000/ \n", {http(3000)}},
    {"http://[::1]:3000/\n", {http(3000)}},
    {"http://192.168.1.7:3000/\n", {http(3000)}},
    {"http://app.localhost:3000/\n", {http(3000)}},
    {"http://laptop:3000/\n", {http(3000)}},
    {"http://laptop.local:3000/\n", {http(3000)}},
    {"http://localhost:3000 http://localhost:3001 http://localhost:3000\n",
      {http(3000), http(3001)}},
    {"\x1b[36mhttp://localhost:\x1b[1m51\x1b[22m73/\x1b[39m\n", {http(5173)}},
    {"http://local\x1b(Bhost\x1b[m:5173\x1b(B/\n", {http(5173)}},
    {"\x1b]8;;http://localhost:1/\x1b\\link\x1b]8;;\x1b\\ http://localhost:2/\n", {http(2)}},
    {"\x1b]0;title http://localhost:1/\x07http://localhost:2/\n", {http(2)}},
    {"\x1bPq http://localhost:1/ \x1b\\http://localhost:2/\n", {http(2)}},
    {"http://localhost:3000\x1b[2;1Hx", {http(3000)}},
  }));

  INFO(text);
  CHECK(scan(text) == expected);
}

TEST_CASE("what is no address of a dev server is not found", "[net][terminal][scanner]") {
  const std::string text = GENERATE(as<std::string>{}, "http://example.com:3000/\n",
    "https://github.com/vitejs\n", "http://localhost/\n", "http://localhost:/\n",
    "http://localhost:${PORT}/\n", "http://localhost:0/\n", "http://localhost:65536/\n",
    "http://localhost:123456789012345678901234567890/\n", "http:/localhost:3000\n",
    "http://:3000\n", "localhost:3000\n", "http://localhost:3000x\n", "http://[]:3000\n",
    "http://1.2.3:3000\n", "http://local host:3000\n", "http://localhost:\n3000\n");

  INFO(text);
  CHECK(scan(text).empty());
}

TEST_CASE("an address that was wrapped at the last column is joined", "[net][terminal][scanner]") {
  CHECK(scan("0123 http://localhost:51\r\n73/ \r\n", 24) == hints{http(5173)});
  CHECK(scan("0123 http://localhost:51\r\n73/ \r\n", 80) == hints{http(51)});
  CHECK(scan("\xE2\x9E\x9C    http://localhost:51\r\n73/ \r\n", 24) == hints{http(5173)});
}

TEST_CASE("what is typed at a shell's prompt is not output", "[net][terminal][scanner]") {
  const std::string prompt = "\x1b[?2004h$ ";
  const std::string enter = "\r\n\x1b[?2004l\r";

  CHECK(scan(prompt + "curl http://localhost:1/" + enter).empty());
  CHECK(scan("\x1b[?2004hline one http://localhost:2/\r\n$ curl http://localhost:1/" + enter) ==
        hints{http(2)});
  CHECK(scan(prompt + "curl http://localhost:1/" + enter + "http://localhost:3/\r\n") ==
        hints{http(3)});

  SECTION("but a background job may print while the prompt is there") {
    CHECK(
      scan(prompt + "\r\n  Local: http://localhost:4/\r\n  Network: off\r\n") == hints{http(4)});
  }
}

TEST_CASE("an address at the very end counts when nothing more comes", "[net][terminal][scanner]") {
  output_scanner scanner;
  hints found;

  scanner.feed("http://localhost:30", found);
  CHECK(found.empty());
  scanner.settle(found);
  CHECK(found == hints{http(30)});

  found.clear();
  scanner.feed("00\n", found);
  CHECK(found == hints{http(3000)});
}

TEST_CASE("endless and broken sequences hide no later address", "[net][terminal][scanner]") {
  const auto filler = [](std::size_t n) { return std::string(n, ';'); };

  CHECK(scan("\x1b[" + filler(1000) + "\nhttp://localhost:3000\n") == hints{http(3000)});
  CHECK(scan("\x1b]0;" + filler(10'000) + "\nhttp://localhost:3000\n") == hints{http(3000)});
  CHECK(scan("\x1bP" + filler(1'100'000) + "\nhttp://localhost:3000\n") == hints{http(3000)});
  CHECK(scan("\x1b[12\x18http://localhost:3000\n") == hints{http(3000)});
  CHECK(scan("\x1b\x1b[1mhttp://localhost:3000\n") == hints{http(3000)});
  CHECK(
    scan("http://" + std::string(5000, 'a') + ":1/ http://localhost:3000\n") == hints{http(3000)});
}

TEST_CASE("a flood of addresses keeps to its limit", "[net][terminal][scanner]") {
  std::string text;
  for (int port = 1000; port < 2000; ++port)
    text += "http://localhost:" + std::to_string(port) + "\n";

  CHECK(scan(text).size() == output_scanner::most_hints);
}

TEST_CASE("any bytes are read alike however they are cut", "[net][terminal][scanner]") {
  const std::vector<std::string> parts{"http", "https", "://", "localhost", ":", "3000", "51", "73",
    "\r", "\n", "\r\n", "\x1b", "[", "\x1b[", "?2004h", "?2004l", "\x1b[?2004h", "\x1b[?2004l", "m",
    "H", "\x1b]", "\x07", "\x1b\\", "P", "\x18", "\xE2\x9E\x9C", "\x9C", " ", "/",
    "http://localhost:4", "\b", "\t", "\x1b[5C", "a run of text", "nineteen letters  "};
  for (unsigned seed = 0; seed < 300; ++seed) {
    std::mt19937 random{seed};
    std::string text;
    for (int i = 0; i < 200; ++i) text += parts[random() % parts.size()];
    INFO(seed);

    const hints whole = scan_pieces(
      text, [&] { return text.size(); }, 20);

    REQUIRE(scan_pieces(
              text, [] { return 1; }, 20) == whole);
    REQUIRE(scan_pieces(
              text, [&] { return 1 + random() % 9; }, 20) == whole);
  }
}
