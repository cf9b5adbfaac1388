#include <algorithm>
#include <chrono>
#include <optional>
#include <string>

#include "previewd/net/auth/encoding.hpp"
#include "previewd/net/auth/key_set.hpp"
#include "previewd/net/auth/token.hpp"
#include "previewd/tests/fuzz/property.hpp"

// Tokens from outside. The first byte chooses: `s` takes the rest as header, claims and signature,
// parted by line breaks, and signs it, so that the claims are reached; anything else takes the rest
// as it is.

using namespace previewd;
using namespace previewd::fuzz;
using namespace previewd::net::auth;

namespace {

const std::string secret(32, 'k');

const key_set& keys() {
  static const key_set* const all = [] {
    auto* made = new key_set;
    require(made->add_secret("a", secret).empty(), "the secret is taken");
    return made;
  }();
  return *all;
}

void judge(const std::string& token, bool signed_by_us) {
  const auto now = std::chrono::system_clock::time_point{std::chrono::seconds{1'800'000'000}};
  const auto result = check_token(token, keys(), {}, now);
  if (const auto* why = std::get_if<token_fault>(&result)) {
    require(!sentence_of(*why).empty(), "a fault has a sentence");
    return;
  }
  const auto& granted = std::get<grant>(result);
  require(signed_by_us, "nobody is let in without a signature");
  require(granted.expires > now, "nobody is let in afterwards");
  require(keys().vouches(granted.key), "the key that signed it is one of the set");
  for (const std::string& name : {granted.project, granted.user})
    require(name == any_name || valid_name(name), "a grant is for names that may be");
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, std::size_t size) {
  const std::string_view input{reinterpret_cast<const char*>(data), size};
  if (const auto bytes = from_base64url(input))
    require(to_base64url(*bytes) == input, "there is one spelling of the same bytes");
  if (input.empty() || input.front() != 's') {
    judge(std::string{input}, false);
    return 0;
  }
  const std::size_t end = std::min(input.find('\n'), input.size());
  const std::string text = to_base64url(input.substr(1, end - 1)) + "." +
                           to_base64url(input.substr(std::min(end + 1, input.size())));
  judge(text + "." + to_base64url(view_of(hmac_sha256(secret, text))), true);
  return 0;
}
