#include "previewd/net/auth/encoding.hpp"

#include <catch2/catch.hpp>

using namespace previewd::net::auth;

namespace {

std::string hex(std::string_view bytes) {
  std::string text;
  for (const char c : bytes) {
    constexpr std::string_view digits = "0123456789abcdef";
    text += digits[static_cast<unsigned char>(c) >> 4];
    text += digits[static_cast<unsigned char>(c) & 15U];
  }
  return text;
}

}  // namespace

TEST_CASE("bytes survive base64url", "[net][auth]") {
  std::string bytes;
  for (int i = 0; i < 300; ++i) {
    CHECK(from_base64url(to_base64url(bytes)) == bytes);
    bytes += static_cast<char>(i * 7);
  }
}

TEST_CASE("base64url is that of RFC 7515", "[net][auth]") {
  CHECK(to_base64url("\x03\xec\xff\xe0\xc1") == "A-z_4ME");
  CHECK(to_base64url("") == "");
}

TEST_CASE("only one spelling of the same bytes is taken", "[net][auth]") {
  // Padding, the other alphabet, white space, bits left over, one character too many.
  const std::string text =
    GENERATE("A-z_4ME=", "A+z/4ME", "A-z_ 4ME", "A-z_4MF", "A-z_4", "=", "\n");
  INFO(text);

  CHECK_FALSE(from_base64url(text).has_value());
}

TEST_CASE("the digests are those of the standards", "[net][auth]") {
  // FIPS 180-4, and RFC 4231 test case 2.
  CHECK(hex(view_of(sha256("abc"))) ==
        "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
  CHECK(hex(view_of(hmac_sha256("Jefe", "what do ya want for nothing?"))) ==
        "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843");
}

TEST_CASE("texts are compared whole", "[net][auth]") {
  CHECK(equal_in_constant_time("", ""));
  CHECK(equal_in_constant_time("abc", "abc"));
  CHECK_FALSE(equal_in_constant_time("abc", "abd"));
  CHECK_FALSE(equal_in_constant_time("abc", "ab"));
}
