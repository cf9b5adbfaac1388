#include "previewd/net/auth/session.hpp"

#include <catch2/catch.hpp>

using namespace std::chrono_literals;
using namespace previewd::net::auth;

namespace {

const std::chrono::system_clock::time_point now{std::chrono::seconds{1'800'000'000}};

session some_session() {
  session what;
  what.who = {
    .project = "shop", .user = "*", .may = role::edit, .expires = now + 1h, .key = UINT64_MAX};
  what.at = place::preview;
  return what;
}

}  // namespace

TEST_CASE("a session is read as it was written", "[net][auth]") {
  const session_seal seal;

  const auto read = seal.open(seal.close(some_session()), now);

  REQUIRE(read);
  CHECK(read->at == place::preview);
  CHECK(read->who.project == "shop");
  CHECK(read->who.user == "*");
  CHECK(read->who.may_edit());
  CHECK(read->who.expires == now + 1h);
  CHECK(read->who.key == UINT64_MAX);
}

TEST_CASE("a session ends when it says so", "[net][auth]") {
  const session_seal seal;
  const std::string value = seal.close(some_session());

  CHECK(seal.open(value, now + 1h - 1s));
  CHECK_FALSE(seal.open(value, now + 1h));
}

TEST_CASE("nobody else can write a session, or change one", "[net][auth][I6]") {
  const session_seal seal;
  const std::string good = seal.close(some_session());

  CHECK_FALSE(session_seal{}.open(good, now));
  CHECK_FALSE(seal.open("", now));
  CHECK_FALSE(seal.open(".", now));
  CHECK_FALSE(seal.open(std::string(100'000, 'A') + ".A", now));
  for (std::size_t i = 0; i < good.size(); ++i) {
    std::string changed = good;
    changed[i] = changed[i] == 'A' ? 'B' : 'A';
    INFO(i);
    CHECK_FALSE(seal.open(changed, now));
    CHECK_FALSE(seal.open(good.substr(0, i), now));
  }
}

TEST_CASE("a session is fit for a cookie", "[net][auth]") {
  const std::string value = session_seal{}.close(some_session());

  CHECK(
    value.find_first_not_of("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_.") ==
    std::string::npos);
  CHECK(value.size() < 400);
}
