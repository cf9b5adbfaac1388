#include "previewd/net/terminal/utf8.hpp"

#include <catch2/catch.hpp>

namespace {

using previewd::net::terminal::complete_utf8;
using previewd::net::terminal::utf8_stream;

constexpr std::string_view replacement = "\xEF\xBF\xBD";

// One, two, three and four bytes a character.
constexpr std::string_view sample =
  "a\xC3\xA9\xE2\x82\xAC\xF0\x9F\x98\x80z\xED\x9F\xBF\xF4\x8F\xBF\xBF";

std::string whole(std::string_view bytes) {
  utf8_stream stream;
  std::string text = stream.feed(bytes);
  return text + stream.flush();
}

}  // namespace

TEST_CASE("text is the same wherever the bytes are cut, and never cut inside a character",
  "[net][terminal][utf8]") {
  for (std::size_t first = 0; first <= sample.size(); ++first) {
    for (std::size_t second = first; second <= sample.size(); ++second) {
      utf8_stream stream;
      std::string text;
      for (const std::string_view piece :
        {sample.substr(0, first), sample.substr(first, second - first), sample.substr(second)}) {
        const std::string part = stream.feed(piece);
        CHECK(complete_utf8(part) == part.size());
        CHECK(part.find(replacement) == std::string::npos);
        CHECK(stream.held() <= 3);
        text += part;
      }
      CHECK(text == sample);
      CHECK(stream.held() == 0);
      CHECK(stream.flush().empty());
    }
  }
}

TEST_CASE("bytes that are no UTF-8 become U+FFFD as a browser has it", "[net][terminal][utf8]") {
  const std::string r{replacement};

  CHECK(whole("\xFF") == r);
  CHECK(whole("a\x80z") == "a" + r + "z");
  CHECK(whole("\xC0\xAF") == r + r);
  CHECK(whole("\xE2\x82z") == r + "z");
  CHECK(whole("\xE0\x80\x80") == r + r + r);
  CHECK(whole("\xED\xA0\x80") == r + r + r);
  CHECK(whole("\xF0\x9F\x98z") == r + "z");
  CHECK(whole("\xF4\x90\x80\x80") == r + r + r + r);
  CHECK(whole("\xF0\x9F\x98") == r);
}

TEST_CASE("only what a further byte could complete is held back", "[net][terminal][utf8]") {
  CHECK(complete_utf8("") == 0);
  CHECK(complete_utf8("abc") == 3);
  CHECK(complete_utf8("ab\xC3") == 2);
  CHECK(complete_utf8("ab\xE2\x82") == 2);
  CHECK(complete_utf8("a\xF0\x9F\x98") == 1);
  CHECK(complete_utf8("ab\x80") == 3);
  CHECK(complete_utf8("ab\xFF") == 3);
  CHECK(complete_utf8("a\xE0\x80") == 3);
  CHECK(complete_utf8("\xF0\x9F\x98\x80") == 4);
}
