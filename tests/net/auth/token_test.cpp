#include "previewd/net/auth/token.hpp"

#include <catch2/catch.hpp>

#include "previewd/tests/support/tokens.hpp"

using namespace std::chrono_literals;
using namespace previewd;
using namespace previewd::net::auth;
using namespace previewd::test;
using nlohmann::json;

namespace {

const std::string secret = "a secret of enough bytes, and a few more";

std::variant<grant, token_fault> check(const key_set& keys, const std::string& token) {
  return check_token(token, keys, {}, std::chrono::system_clock::now());
}

/// The fault of a token; none when it is good.
std::optional<token_fault> fault(const key_set& keys, const std::string& token) {
  const auto result = check(keys, token);
  const auto* why = std::get_if<token_fault>(&result);
  return why == nullptr ? std::nullopt : std::optional{*why};
}

struct secret_keys {
  secret_keys() { REQUIRE(set.add_secret("main", secret).empty()); }
  key_set set;
};

}  // namespace

TEST_CASE("a good token grants what it says", "[net][auth]") {
  secret_keys keys;

  const auto result = check(keys.set, hs256_token(secret, claims_of("shop", "ann", "view")));

  REQUIRE(std::holds_alternative<grant>(result));
  const grant& granted = std::get<grant>(result);
  CHECK(granted.covers({"shop", "ann"}));
  CHECK_FALSE(granted.covers({"shop", "bob"}));
  CHECK_FALSE(granted.covers({"forum", "ann"}));
  CHECK_FALSE(granted.covers_everything());
  CHECK_FALSE(granted.may_edit());
  CHECK(keys.set.vouches(granted.key));
}

TEST_CASE("a star stands for any name, and only where it is written", "[net][auth]") {
  secret_keys keys;

  const auto project = check(keys.set, hs256_token(secret, claims_of("shop", "*", "edit")));
  const auto all = check(keys.set, hs256_token(secret, claims_of("*", "*", "edit")));

  REQUIRE(std::holds_alternative<grant>(project));
  CHECK(std::get<grant>(project).covers({"shop", "bob"}));
  CHECK_FALSE(std::get<grant>(project).covers({"forum", "bob"}));
  CHECK_FALSE(std::get<grant>(project).covers_everything());
  CHECK(std::get<grant>(project).may_edit());
  REQUIRE(std::holds_alternative<grant>(all));
  CHECK(std::get<grant>(all).covers({"forum", "bob"}));
  CHECK(std::get<grant>(all).covers_everything());
}

TEST_CASE("tokens of public keys are checked with them", "[net][auth]") {
  const key_pair ed = key_pair::ed25519();
  const key_pair rsa = key_pair::rsa(2048);
  key_set keys;
  REQUIRE(keys.add_public_keys("ide", ed.public_pem() + rsa.public_pem()).empty());
  const json claims = claims_of("shop", "ann", "edit");

  CHECK_FALSE(fault(keys, ed.token(claims)));
  CHECK_FALSE(fault(keys, rsa.token(claims)));
  CHECK(fault(keys, key_pair::ed25519().token(claims)) == token_fault::signature);
  CHECK(fault(keys, key_pair::rsa(2048).token(claims)) == token_fault::signature);
}

TEST_CASE("keys rotate: old and new ones count side by side", "[net][auth]") {
  const std::string next = "another secret, which has enough bytes too";
  secret_keys keys;
  REQUIRE(keys.set.add_secret("next", next).empty());
  const json claims = claims_of("shop", "ann", "edit");
  const auto named = [](const char* name) { return json{{"alg", "HS256"}, {"kid", name}}; };

  CHECK_FALSE(fault(keys.set, hs256_token(secret, claims)));
  CHECK_FALSE(fault(keys.set, hs256_token(next, claims)));
  CHECK_FALSE(fault(keys.set, hs256_token(secret, claims, named("main"))));
  CHECK_FALSE(fault(keys.set, hs256_token(next, claims, named("next"))));
  CHECK(fault(keys.set, hs256_token(next, claims, named("main"))) == token_fault::signature);
  CHECK(fault(keys.set, hs256_token(next, claims, named("gone"))) == token_fault::unknown_key);
}

TEST_CASE("a token cannot choose how it is checked", "[net][auth][I6]") {
  const key_pair rsa = key_pair::rsa(2048);
  const key_pair ed = key_pair::ed25519();
  key_set keys;
  REQUIRE(keys.add_public_keys("ide", rsa.public_pem() + ed.public_pem()).empty());
  const json claims = claims_of("*", "*", "edit");
  const auto with = [](const char* name) { return json{{"alg", name}}; };

  // The public key, which everybody has, as if it were the secret.
  CHECK(fault(keys, hs256_token(rsa.public_pem(), claims)) == token_fault::unknown_key);
  CHECK(
    fault(keys, hs256_token(rsa.public_pem(), claims, with("RS256"))) == token_fault::signature);
  CHECK(fault(keys, rsa.token(claims, with("EdDSA"))) == token_fault::signature);
  CHECK(fault(keys, ed.token(claims, with("RS256"))) == token_fault::signature);
  for (const char* name : {"none", "None", "NONE", "", "hs256", "HS384", "ES256", "RS256 "}) {
    INFO(name);
    CHECK(fault(keys, to_sign(with(name), claims) + ".") == token_fault::algorithm);
    CHECK(fault(keys, rsa.token(claims, with(name))) == token_fault::algorithm);
  }
  CHECK(fault(keys, to_sign(with("RS256"), claims) + ".") == token_fault::signature);
}

TEST_CASE("times count, but for clocks that are a little apart", "[net][auth]") {
  secret_keys keys;
  const auto now = std::chrono::system_clock::time_point{std::chrono::seconds{1'800'000'000}};
  const auto judged = [&](const char* name, json when) {
    json claims = claims_of("shop", "ann", "edit");
    claims["exp"] = 1'800'000'500;
    claims[name] = std::move(when);
    const auto result = check_token(hs256_token(secret, claims), keys.set, {.leeway = 30s}, now);
    const auto* why = std::get_if<token_fault>(&result);
    return why == nullptr ? std::nullopt : std::optional{*why};
  };

  CHECK_FALSE(judged("exp", 1'800'000'001));
  CHECK_FALSE(judged("exp", 1'799'999'971));
  CHECK(judged("exp", 1'799'999'970) == token_fault::expired);
  CHECK(judged("exp", 0) == token_fault::expired);
  CHECK_FALSE(judged("exp", 1'800'000'001.5));
  CHECK_FALSE(judged("exp", 1e300));
  CHECK_FALSE(judged("exp", UINT64_MAX));
  CHECK_FALSE(judged("nbf", 1'800'000'030));
  CHECK(judged("nbf", 1'800'000'031) == token_fault::too_early);
  CHECK(judged("nbf", 1e300) == token_fault::too_early);
  for (const json& odd : {json(-1), json("1800000500"), json(true), json(nullptr), json::array()}) {
    INFO(odd.dump());
    CHECK(judged("exp", odd) == token_fault::claims);
    CHECK(judged("nbf", odd) == token_fault::claims);
  }
}

TEST_CASE("a claim that is missing or odd is no right", "[net][auth][I6]") {
  secret_keys keys;
  const auto name = GENERATE("project", "user", "role", "exp");
  INFO(name);

  json missing = claims_of("shop", "ann", "edit");
  missing.erase(name);
  CHECK(fault(keys.set, hs256_token(secret, missing)) == token_fault::claims);
  for (const json& odd : {json(nullptr), json(""), json(true), json("a/b"), json(".."), json("**"),
         json("shop\n"), json::array({"shop"}), json::object(), json(std::string(65, 'a'))}) {
    INFO(odd.dump());
    json claims = claims_of("shop", "ann", "edit");
    claims[name] = odd;
    CHECK(fault(keys.set, hs256_token(secret, claims)) == token_fault::claims);
  }
}

TEST_CASE("a token for another service is none for this one", "[net][auth][I6]") {
  secret_keys keys;
  const auto judged = [&](json audience) {
    json claims = claims_of("shop", "ann", "edit");
    claims["aud"] = std::move(audience);
    return fault(keys.set, hs256_token(secret, claims));
  };

  CHECK_FALSE(judged("previewd"));
  CHECK_FALSE(judged(json::array({"mail", "previewd"})));
  CHECK(judged("mail") == token_fault::audience);
  CHECK(judged(json::array({"mail"})) == token_fault::audience);
  CHECK(judged(json::array()) == token_fault::audience);
  CHECK(judged(nullptr) == token_fault::audience);
}

TEST_CASE("what is no token is told apart before a key is used", "[net][auth][I7]") {
  secret_keys keys;
  const std::string good = hs256_token(secret, claims_of("shop", "ann", "edit"));
  const std::string header = good.substr(0, good.find('.'));
  const std::string rest = good.substr(good.find('.'));

  for (const std::string& token :
    {std::string{}, std::string{"x"}, std::string{".."}, std::string{"..."}, header, good + ".",
      good + "=", good + "\n", " " + good, header + "=" + rest, "e30" + rest,
      to_base64url("[]") + rest, to_base64url("{\"alg\":1}") + rest, to_base64url("{") + rest,
      to_base64url(R"({"alg":"HS256","kid":7})") + rest}) {
    INFO(token);
    CHECK(fault(keys.set, token) == token_fault::malformed);
  }
  const json must{{"alg", "HS256"}, {"crit", json::array({"b64"})}, {"b64", false}};
  CHECK(fault(keys.set, hs256_token(secret, claims_of("*", "*", "edit"), must)) ==
        token_fault::extension);
  const std::string large = hs256_token(secret, {{"x", std::string(most_token_bytes, 'x')}});
  CHECK(fault(keys.set, large) == token_fault::too_large);
  const std::string deep =
    hs256_token(secret, json::parse(std::string(2000, '[') + std::string(2000, ']')));
  CHECK(fault(keys.set, deep) == token_fault::claims);
}

TEST_CASE("a token that was changed anywhere is refused", "[net][auth][I6]") {
  secret_keys keys;
  const std::string good = hs256_token(secret, claims_of("shop", "ann", "view"));
  REQUIRE_FALSE(fault(keys.set, good));

  for (std::size_t i = 0; i < good.size(); ++i) {
    std::string changed = good;
    changed[i] = changed[i] == 'A' ? 'B' : 'A';
    INFO(i);
    CHECK(fault(keys.set, changed));
    CHECK(fault(keys.set, good.substr(0, i)));
  }
}

TEST_CASE("the signature of RFC 7515, appendix A.1, is right", "[net][auth]") {
  key_set keys;
  const auto key = from_base64url(
    "AyM1SysPpbyDfgZld3umj1qzKObwVMkoqQ-EstJQLr_T-1qS0gZH75aKtMN3Yj0iPS4hcgUuTwjAzZr1Z9CAow");
  REQUIRE(key);
  REQUIRE(keys.add_secret("rfc", *key).empty());

  // Right, so that the first thing to be missed is a claim of ours.
  CHECK(fault(keys,
          "eyJ0eXAiOiJKV1QiLA0KICJhbGciOiJIUzI1NiJ9."
          "eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0"
          "cnVlfQ.dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk") == token_fault::claims);
}
