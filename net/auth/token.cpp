#include "previewd/net/auth/token.hpp"

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>
#include <optional>
#include <utility>

#include "previewd/net/auth/encoding.hpp"

namespace previewd::net::auth {

namespace {

using nlohmann::json;
using clock = std::chrono::system_clock;

/// An object that is written in base64url; a discarded value for anything else.
json object_in(std::string_view part) {
  const auto text = from_base64url(part);
  if (!text) return json(json::value_t::discarded);
  json value = json::parse(*text, nullptr, false);
  return value.is_object() ? value : json(json::value_t::discarded);
}

/// A string of an object; null when it is not there, or no string.
const std::string* text_in(const json& object, const char* name) {
  const auto found = object.find(name);
  return found != object.end() && found->is_string() ? found->get_ptr<const std::string*>()
                                                     : nullptr;
}

std::optional<algorithm> algorithm_of(const std::string& name) noexcept {
  for (const algorithm each : {algorithm::hs256, algorithm::rs256, algorithm::eddsa})
    if (name == to_string(each)) return each;
  return std::nullopt;
}

/// A NumericDate (RFC 7519, section 2). What is beyond the clock is its end.
std::optional<clock::time_point> time_of(const json& value) {
  if (!value.is_number()) return std::nullopt;
  const auto seconds = value.get<double>();
  if (!std::isfinite(seconds) || seconds < 0) return std::nullopt;
  // The clock counts nanoseconds in 64 bits: to the year 2262.
  constexpr double last = 9'000'000'000.0;
  return clock::time_point{std::chrono::duration_cast<clock::duration>(
    std::chrono::duration<double>{std::min(seconds, last)})};
}

bool is_meant(const json& audience, const std::string& us) {
  const auto names_us = [&us](const json& each) {
    return each.is_string() && each.get_ref<const std::string&>() == us;
  };
  if (audience.is_array()) return std::any_of(audience.begin(), audience.end(), names_us);
  return names_us(audience);
}

std::variant<grant, token_fault>
read_claims(const json& claims, const token_rules& rules, clock::time_point now) {
  grant result;
  const std::string* project = text_in(claims, "project");
  const std::string* user = text_in(claims, "user");
  const std::string* role_name = text_in(claims, "role");
  const auto is_name = [](const std::string* name) {
    return name != nullptr && (*name == any_name || valid_name(*name));
  };
  if (!is_name(project) || !is_name(user) || role_name == nullptr) return token_fault::claims;
  if (*role_name != to_string(role::view) && *role_name != to_string(role::edit))
    return token_fault::claims;
  result.project = *project;
  result.user = *user;
  result.may = *role_name == to_string(role::edit) ? role::edit : role::view;

  const auto expires = claims.contains("exp") ? time_of(claims["exp"]) : std::nullopt;
  if (!expires) return token_fault::claims;
  result.expires = *expires + rules.leeway;
  const auto not_before = claims.find("nbf");
  std::optional<clock::time_point> begins;
  if (not_before != claims.end()) {
    begins = time_of(*not_before);
    if (!begins) return token_fault::claims;
  }
  if (const auto audience = claims.find("aud");
      audience != claims.end() && !is_meant(*audience, rules.audience))
    return token_fault::audience;
  if (begins && now + rules.leeway < *begins) return token_fault::too_early;
  if (now >= result.expires) return token_fault::expired;
  return result;
}

}  // namespace

std::string_view sentence_of(token_fault why) noexcept {
  switch (why) {
    case token_fault::too_large:
      return "The token is larger than 8 KiB.";
    case token_fault::malformed:
      return "This is not a JSON Web Token.";
    case token_fault::algorithm:
      return "The token is not signed with HS256, RS256 or EdDSA.";
    case token_fault::extension:
      return "The token demands an extension (crit) that is not known here.";
    case token_fault::unknown_key:
      return "The token names a key (kid), or an algorithm (alg), for which there is no key.";
    case token_fault::signature:
      return "The token's signature is wrong.";
    case token_fault::claims:
      return "The token must have exp, project and user (a name or *), and role (view or edit).";
    case token_fault::audience:
      return "The token is for another service (aud).";
    case token_fault::too_early:
      return "The token is not valid yet (nbf).";
    case token_fault::expired:
      return "The token has expired (exp); ask for a new one.";
  }
  return {};
}

std::variant<grant, token_fault> check_token(
  std::string_view token, const key_set& keys, const token_rules& rules, clock::time_point now) {
  if (token.size() > most_token_bytes) return token_fault::too_large;
  const std::size_t first = token.find('.');
  const std::size_t second = first == std::string_view::npos ? first : token.find('.', first + 1);
  if (second == std::string_view::npos) return token_fault::malformed;

  const json header = object_in(token.substr(0, first));
  const std::string* how = header.is_object() ? text_in(header, "alg") : nullptr;
  if (how == nullptr) return token_fault::malformed;
  const auto signed_with = algorithm_of(*how);
  if (!signed_with) return token_fault::algorithm;
  if (header.contains("crit")) return token_fault::extension;
  const std::string* name = text_in(header, "kid");
  if (name == nullptr && header.contains("kid")) return token_fault::malformed;
  const auto signature = from_base64url(token.substr(second + 1));
  if (!signature) return token_fault::malformed;
  if (!keys.knows(*signed_with, name)) return token_fault::unknown_key;
  const uint64_t signer = keys.signer(*signed_with, name, token.substr(0, second), *signature);
  if (signer == 0) return token_fault::signature;

  // Only now is anything that it says worth reading.
  const json claims = object_in(token.substr(first + 1, second - first - 1));
  if (!claims.is_object()) return token_fault::claims;
  auto result = read_claims(claims, rules, now);
  if (auto* granted = std::get_if<grant>(&result)) granted->key = signer;
  return result;
}

}  // namespace previewd::net::auth
