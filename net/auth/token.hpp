#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <variant>

#include "previewd/net/auth/grant.hpp"
#include "previewd/net/auth/key_set.hpp"

namespace previewd::net::auth {

/// The largest token; a larger one is not even looked at.
constexpr std::size_t most_token_bytes = 8 * 1024;

/// Why a token is refused. The order is that of the checks: nothing of a token is believed, or
/// told apart, before its signature is.
enum class token_fault : uint8_t {
  too_large,
  malformed,  // not a JSON Web Token in its compact form (RFC 7515, section 7.1)
  algorithm,  // none of ours, `none` above all
  extension,  // says that it must be understood in a way that is not (`crit`)
  unknown_key,
  signature,
  claims,    // one of `exp`, `project`, `user`, `role` is missing or of the wrong form
  audience,  // it is for somebody else (`aud`)
  too_early,
  expired,
};

/// A sentence for whoever sent the token.
std::string_view sentence_of(token_fault why) noexcept;

/// How tokens are judged.
struct token_rules {
  /// What an `aud` must name; a token without `aud` is for us.
  std::string audience = "previewd";
  /// How far the clocks of who issues tokens and of this machine may be apart.
  std::chrono::seconds leeway{30};
};

/// Checks a JSON Web Token (RFC 7519) in its compact form: signature, times, and the claims
/// `project`, `user` (each a name or `*`) and `role` (`view` or `edit`). Any thread; one check
/// costs some microseconds with HS256, some ten with RS256, and about a hundred with EdDSA.
std::variant<grant, token_fault> check_token(std::string_view token, const key_set& keys,
  const token_rules& rules, std::chrono::system_clock::time_point now);

}  // namespace previewd::net::auth
