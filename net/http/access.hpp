#pragma once

#include <caf/expected.hpp>
#include <chrono>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "previewd/messages/error.hpp"
#include "previewd/net/auth/attempts.hpp"
#include "previewd/net/auth/grant.hpp"
#include "previewd/net/auth/key_set.hpp"
#include "previewd/net/auth/session.hpp"
#include "previewd/net/auth/token.hpp"
#include "previewd/net/http/exchange.hpp"
#include "previewd/net/http/forward.hpp"
#include "previewd/net/http/router.hpp"
#include "previewd/net/http/settings.hpp"

namespace previewd::net::http {

/// What all I/O threads judge by together.
struct access_parts {
  auth::token_rules rules;
  std::shared_ptr<const auth::key_set> keys;  // null: there are no tokens, the application is asked
  std::shared_ptr<auth::attempts> attempts;
  std::shared_ptr<const auth::session_seal> seal;
};

/// What was found out about who asks.
struct admission {
  std::shared_ptr<const auth::grant> grant;  // never null without a refusal
  std::optional<response> refusal;
  /// Of a preview: the least access of the server with which he is let in.
  preview_access needs = preview_access::members;
  /// It is not known who asks: the application is to be asked (`judge`).
  bool ask = false;
};

/// Decides who may ask, where the settings want to know (`auth.mode` is not `none`): the service's
/// own addresses and every preview. One I/O thread's.
class access {
public:
  access(access_parts parts, trusted_peers unlimited);

  /// From now on tokens are checked with these; what others vouched for is void.
  void set_keys(std::shared_ptr<const auth::key_set> keys) { parts_.keys = std::move(keys); }

  /// Judges a request that goes where `where` says. Takes the token out of a request to a preview,
  /// so that it is not sent on. Previews are shared as `routes` say.
  admission admit(request_head& head, const routing& where, const std::string& address,
    const http_settings& settings, route_table& routes) const;

  /// Judges it when the application has been asked.
  admission judge(const request_head& head, const routing& where, const forward_verdict& verdict,
    route_table& routes) const;

  /// Whether there are tokens; else the application says who asks.
  bool takes_tokens() const noexcept { return parts_.keys != nullptr; }

  /// Whose token this is. Errors: `not_authenticated`, `limit_reached`.
  caf::expected<std::shared_ptr<const auth::grant>>
  with_token(std::string_view token, const std::string& address) const;

  /// Whose session the cookies of a `Cookie` field hold; null: nobody's.
  std::shared_ptr<const auth::grant> with_cookies(std::string_view field, auth::place at) const;

  /// Something that an address has shown was refused: counts against it.
  void refused(const std::string& address) const;
  /// Whether the address has to wait for the next minute.
  bool exhausted(const std::string& address) const;

private:
  admission decide(const request_head& head, const routing& where,
    std::shared_ptr<const auth::grant> who, route_table& routes) const;
  std::shared_ptr<const auth::grant> own_token(std::string_view authorization) const;
  void take_out_token(
    request_head& head, const std::string& address, std::shared_ptr<const auth::grant>& who) const;

  access_parts parts_;
  trusted_peers unlimited_;
};

/// What somebody gets whom a preview's access lets in no more, or never has.
response not_shared(const request_head& head, preview_access needs);

/// Whether a request has one of these cookies.
bool has_cookie_of(const request_head& head, const std::vector<std::string>& names);

/// The token of an `Authorization: Bearer` value (RFC 6750, section 2.1); empty: there is none.
std::string_view bearer_token(std::string_view authorization) noexcept;

/// The cookies that hold a session. With the prefix, which a browser takes by https alone, no other
/// host of the domain can set it (RFC 6265bis, section 4.1.3.2).
constexpr std::string_view session_cookie = "previewd_session";
constexpr std::string_view secure_session_cookie = "__Host-previewd_session";

/// Where a hand-over is redeemed, on the service's own addresses and on a preview's origin.
constexpr std::string_view service_entrance = "/enter";
constexpr std::string_view preview_entrance = "/.previewd/enter";

/// The `Set-Cookie` value that gives a browser a session. `head`: of the request that is answered;
/// `secure`: it came by https. A page in a frame of another site gets a cookie for frames of that
/// site alone (`Partitioned`).
std::string session_cookie_field(
  const request_head& head, bool secure, std::string_view value, std::chrono::seconds lifetime);

}  // namespace previewd::net::http
