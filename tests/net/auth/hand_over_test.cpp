#include "previewd/net/auth/hand_over.hpp"

#include <catch2/catch.hpp>
#include <set>

using namespace std::chrono_literals;
using namespace previewd::net::auth;

namespace {

const hand_over_desk::time_point start{std::chrono::hours{1}};

hand_over to_shop() {
  hand_over what;
  what.workspace = {"shop", "ann"};
  what.path = "/";
  return what;
}

}  // namespace

TEST_CASE("a code is good once", "[net][auth][I6]") {
  hand_over_desk desk{8};
  const auto code = desk.issue(to_shop(), start);
  REQUIRE(code);

  const auto first = desk.redeem(*code, start + 59s);
  const auto second = desk.redeem(*code, start + 59s);

  REQUIRE(first);
  CHECK(first->workspace.user == "ann");
  CHECK_FALSE(second);
}

TEST_CASE("a code is good for a minute", "[net][auth][I6]") {
  hand_over_desk desk{8};
  const auto code = desk.issue(to_shop(), start);
  REQUIRE(code);

  CHECK_FALSE(desk.redeem(*code, start + 60s));
  CHECK(desk.size() == 0);
}

TEST_CASE("another code is none", "[net][auth][I6]") {
  hand_over_desk desk{8};
  const auto code = desk.issue(to_shop(), start);
  REQUIRE(code);

  CHECK_FALSE(desk.redeem("", start));
  CHECK_FALSE(desk.redeem(code->substr(1), start));
  CHECK_FALSE(desk.redeem(*code + "A", start));
  CHECK(desk.size() == 1);
}

TEST_CASE("codes differ, and only so many are out", "[net][auth][I5]") {
  hand_over_desk desk{8};
  std::set<std::string> codes;

  for (int i = 0; i < 8; ++i) codes.insert(desk.issue(to_shop(), start).value_or(""));

  CHECK(codes.size() == 8);
  CHECK(codes.begin()->size() == 43);
  CHECK_FALSE(desk.issue(to_shop(), start + 59s));
  // To redeem one makes no room: who asks for so many in a minute has enough.
  CHECK(desk.redeem(*codes.begin(), start));
  CHECK_FALSE(desk.issue(to_shop(), start + 59s));
  CHECK(desk.issue(to_shop(), start + 60s));
}
