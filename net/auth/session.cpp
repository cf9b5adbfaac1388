#include "previewd/net/auth/session.hpp"

#include <openssl/crypto.h>

#include <nlohmann/json.hpp>

#include "previewd/net/auth/encoding.hpp"

namespace previewd::net::auth {

namespace {

using nlohmann::json;
using std::chrono::system_clock;

constexpr std::size_t most_bytes = 1024;
constexpr std::size_t key_bytes = 32;

}  // namespace

session_seal::session_seal() : key_{random_bytes(key_bytes)} {}

session_seal::~session_seal() {
  OPENSSL_cleanse(key_.data(), key_.size());
}

std::string session_seal::close(const session& what) const {
  const auto until =
    std::chrono::duration_cast<std::chrono::seconds>(what.who.expires.time_since_epoch());
  const json value = json::array({what.at == place::preview, what.who.project, what.who.user,
    what.who.may_edit(), until.count(), what.who.key, what.who.guest});
  const std::string text = to_base64url(value.dump());
  return text + "." + to_base64url(view_of(hmac_sha256(key_, text)));
}

std::optional<session>
session_seal::open(std::string_view value, system_clock::time_point now) const {
  const std::size_t dot = value.find('.');
  if (dot == std::string_view::npos || value.size() > most_bytes) return std::nullopt;
  const std::string_view text = value.substr(0, dot);
  const auto mac = from_base64url(value.substr(dot + 1));
  if (!mac || !equal_in_constant_time(view_of(hmac_sha256(key_, text)), *mac)) return std::nullopt;

  // Ours, so it is as `close` wrote it.
  const json parts = json::parse(from_base64url(text).value_or(""), nullptr, false);
  if (!parts.is_array() || parts.size() != 7) return std::nullopt;
  session result;
  result.at = parts[0].get<bool>() ? place::preview : place::service;
  result.who.project = parts[1].get<std::string>();
  result.who.user = parts[2].get<std::string>();
  result.who.may = parts[3].get<bool>() ? role::edit : role::view;
  result.who.expires = system_clock::time_point{std::chrono::seconds{parts[4].get<int64_t>()}};
  result.who.key = parts[5].get<uint64_t>();
  result.who.guest = parts[6].get<bool>();
  if (now >= result.who.expires) return std::nullopt;
  return result;
}

}  // namespace previewd::net::auth
