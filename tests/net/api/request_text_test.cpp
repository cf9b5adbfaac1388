#include "previewd/net/api/request_text.hpp"

#include <catch2/catch.hpp>

using namespace previewd::net::api;
using namespace std::chrono_literals;

TEST_CASE("percent escapes are decoded, and broken ones are no text", "[net][api]") {
  CHECK(percent_decoded("a%20b%2Fc") == "a b/c");
  CHECK(percent_decoded("%e2%82%AC") == "\xE2\x82\xAC");
  CHECK(percent_decoded("a+b") == "a+b");
  CHECK(percent_decoded("a+b", plus_sign::space) == "a b");
  CHECK_FALSE(percent_decoded("%").has_value());
  CHECK_FALSE(percent_decoded("%2").has_value());
  CHECK_FALSE(percent_decoded("%2g").has_value());
}

TEST_CASE("a path is split before it is decoded", "[net][api]") {
  using segments = std::vector<std::string>;
  CHECK(path_segments("/") == segments{});
  CHECK(path_segments("/a/b%2Fc") == segments{"a", "b/c"});
  CHECK(path_segments("/a/") == segments{"a", ""});
  CHECK(path_segments("//a") == segments{"", "a"});
  CHECK_FALSE(path_segments("a").has_value());
  CHECK_FALSE(path_segments("").has_value());
  CHECK_FALSE(path_segments("/a/%zz").has_value());
}

TEST_CASE("a query gives the first value of a name", "[net][api]") {
  CHECK(query_value("a=1&b=2&a=3", "a") == "1");
  CHECK(query_value("a=1&b=x+y%21", "b") == "x y!");
  CHECK(query_value("a&b=2", "a") == "");
  CHECK_FALSE(query_value("ab=1", "a").has_value());
  CHECK_FALSE(query_value("", "a").has_value());
  CHECK_FALSE(query_value("a=%", "a").has_value());
}

TEST_CASE("numbers and durations are taken whole or not at all", "[net][api]") {
  CHECK(whole_number("18446744073709551615") == 18446744073709551615ULL);
  CHECK(whole_number("0") == 0);
  for (const char* wrong : {"", "-1", "+1", " 1", "1 ", "1x", "18446744073709551616"})
    CHECK_FALSE(whole_number(wrong).has_value());

  CHECK(duration_of("30s") == 30s);
  CHECK(duration_of("250ms") == 250ms);
  CHECK(duration_of("1m") == 60s);
  CHECK(duration_of("0s") == 0s);
  for (const char* wrong :
    {"", "30", "s", "-1s", "1.5s", "1h", "1 s", "99999999999999999999s", "86401s"})
    CHECK_FALSE(duration_of(wrong).has_value());
}
