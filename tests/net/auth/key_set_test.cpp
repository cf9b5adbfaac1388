#include "previewd/net/auth/key_set.hpp"

#include <catch2/catch.hpp>
#include <string>

#include "previewd/tests/support/temporary_folder.hpp"
#include "previewd/tests/support/tokens.hpp"

using namespace previewd::net::auth;
using namespace previewd::test;

namespace {

const std::string secret(40, 's');

std::string refusal(const key_files& files) {
  auto loaded = load_keys(files);
  const auto* why = std::get_if<std::string>(&loaded);
  return why == nullptr ? "" : *why;
}

}  // namespace

TEST_CASE("keys are named by their files", "[net][auth]") {
  temporary_folder folder;
  const key_pair ed = key_pair::ed25519();
  const key_pair rsa = key_pair::rsa(2048);

  const auto loaded = load_keys({.secrets = {folder.write("2026-01.key", secret + "\n")},
    .public_keys = {folder.write("ide.pub.pem", ed.public_pem() + rsa.public_pem(), 0644)}});

  REQUIRE(std::holds_alternative<std::shared_ptr<const key_set>>(loaded));
  const key_set& keys = *std::get<0>(loaded);
  CHECK(keys.size() == 3);
  const std::string january = "2026-01";
  const std::string ide = "ide.pub";
  CHECK(keys.knows(algorithm::hs256, &january));
  CHECK(keys.knows(algorithm::eddsa, &ide));
  CHECK(keys.knows(algorithm::rs256, &ide));
  CHECK_FALSE(keys.knows(algorithm::rs256, &january));
  // The line break at the end of a file is no part of its secret.
  const uint64_t signer =
    keys.signer(algorithm::hs256, nullptr, "text", view_of(hmac_sha256(secret, "text")));
  CHECK(signer != 0);
  CHECK(keys.vouches(signer));
  CHECK_FALSE(keys.vouches(signer + 1));
}

TEST_CASE("a file of keys that is wrong is named, and its content is not", "[net][auth][I7]") {
  temporary_folder folder;
  const key_pair ed = key_pair::ed25519();

  const auto says = [](const key_files& files, const std::string& what) {
    const std::string why = refusal(files);
    INFO(why);
    CHECK(why.find(what) != std::string::npos);
    CHECK(why.find(secret.substr(0, 8)) == std::string::npos);
  };
  says({}, "there is no key file");
  says(
    {.secrets = {"/nowhere/at/all.key"}, .public_keys = {}}, "/nowhere/at/all.key cannot be read");
  says({.secrets = {folder.path()}, .public_keys = {}}, "is not a file");
  says(
    {.secrets = {folder.write("short.key", secret.substr(0, 31))}, .public_keys = {}}, "32 bytes");
  says({.secrets = {folder.write("open.key", secret, 0644)}, .public_keys = {}}, "chmod");
  says({.secrets = {folder.write("huge.key", std::string(most_key_bytes + 1, 's'))},
         .public_keys = {}},
    "larger than 64 KiB");
  const std::string twice = folder.write("twice.key", secret);
  says({.secrets = {twice, twice}, .public_keys = {}}, "there already");
  const auto as_public = [&](const std::string& content) {
    return key_files{.secrets = {}, .public_keys = {folder.write("x.pem", content, 0644)}};
  };
  says(as_public(""), "no public key");
  says(as_public(secret), "no public key");
  says(as_public(ed.private_pem()), "private key");
  says(as_public(ed.public_pem() + ed.private_pem()), "private key");
  says(as_public(key_pair::rsa(1024).public_pem()), "2048");
  says(as_public(key_pair::p256().public_pem()), "neither Ed25519 nor RSA");
  says(
    as_public("-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n"), "not a public key");
}

TEST_CASE("there is a limit to the keys of a set", "[net][auth][I5]") {
  key_set keys;
  for (std::size_t i = 0; i < most_keys; ++i)
    REQUIRE(keys.add_secret("k", secret + std::to_string(i)).empty());

  CHECK_FALSE(keys.add_secret("k", secret).empty());
  CHECK(keys.size() == most_keys);
}
