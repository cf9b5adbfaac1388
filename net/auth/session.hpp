#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "previewd/net/auth/grant.hpp"

namespace previewd::net::auth {

/// Where a session counts: on the service's own addresses, or on the origins of previews. One never
/// counts as the other, since an app under preview may see what is set on its origin.
enum class place : uint8_t { service, preview };

/// What a browser's cookie stands for.
struct session {
  grant who;
  auth::place at = place::service;
};

/// Writes sessions into cookies so that nobody else can: with an HMAC under a key that lives as
/// long as this. Nothing is kept of a session, so there may be any number. Does not change once
/// made: any thread.
class session_seal {
public:
  session_seal();
  session_seal(const session_seal&) = delete;
  session_seal& operator=(const session_seal&) = delete;
  ~session_seal();

  /// The value of a cookie: letters, digits, `-`, `_` and one `.`.
  std::string close(const session& what) const;

  /// Nothing: it is not one of this seal, or has ended.
  std::optional<session>
  open(std::string_view value, std::chrono::system_clock::time_point now) const;

private:
  std::string key_;
};

}  // namespace previewd::net::auth
