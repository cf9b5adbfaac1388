#include "previewd/net/http/access.hpp"

#include <algorithm>
#include <utility>

#include "previewd/net/http/message.hpp"
#include "previewd/net/http/pages.hpp"

namespace previewd::net::http {

namespace {

using grant_ptr = std::shared_ptr<const auth::grant>;
using std::chrono::steady_clock;
using std::chrono::system_clock;

/// A right to nothing: for what everybody may ask.
const grant_ptr& nobody() {
  static const grant_ptr none = std::make_shared<const auth::grant>();
  return none;
}

/// What is asked without a right: it tells nobody anything, or asks for the right itself.
bool is_open(const request_head& head, const routing& where, const http_settings& settings) {
  if (where.target)
    return where.target->by == preview_target::address::origin && head.path == preview_entrance;
  return head.path == "/healthz" || head.path == "/readyz" || head.path == service_entrance ||
         (head.path == "/metrics" && settings.metrics == metrics_access::open);
}

/// What finds out by itself who asks, when it is not said yet: a Socket.IO client says it in its
/// first packet.
bool asks_itself(const request_head& head, const routing& where) noexcept {
  return !where.target && (head.path == "/socket.io" || head.path.substr(0, 11) == "/socket.io/");
}

response unauthorized(
  const request_head& head, errc code, std::string_view sentence, std::string_view challenge) {
  response answer =
    error_answer(head, static_cast<unsigned>(http_status(code)), to_code(code), sentence);
  if (code == errc::not_authenticated)
    answer.fields.emplace_back("WWW-Authenticate", std::string{challenge});
  if (code == errc::limit_reached) answer.fields.emplace_back("Retry-After", "60");
  if (answer.content_type.find("html") == std::string::npos)
    answer.fields.emplace_back("Cache-Control", "no-store");
  return answer;
}

constexpr std::string_view no_token = "Bearer realm=\"previewd\"";
constexpr std::string_view bad_token = "Bearer realm=\"previewd\", error=\"invalid_token\"";

admission refusal_of(const request_head& head, const caf::expected<grant_ptr>& why) {
  // Good after all, when it was not a moment ago: it is asked again.
  if (why) return {nullptr, unauthorized(head, errc::not_authenticated, "Try again.", no_token)};
  return {nullptr, unauthorized(head, code_of(why.error()), detail_of(why.error()), bad_token)};
}

constexpr std::string_view who_are_you =
  "This takes a token (Authorization: Bearer), or a browser that was handed over "
  "(POST /api/hand-overs).";
constexpr std::string_view not_yours = "What you have shown is not for this workspace.";

/// Whether a request has anything by which the application may know who it is.
bool shows_something(const request_head& head, const http_settings& settings) {
  if (!head["authorization"].empty()) return true;
  return settings.withheld_cookies.empty() ? !head["cookie"].empty()
                                           : has_cookie_of(head, settings.withheld_cookies);
}

preview_access needed_by(const auth::grant* who, const workspace_key& key) noexcept {
  if (who == nullptr) return preview_access::everyone;
  if (who->covers(key)) return preview_access::members;
  return who->is_of_project(key) ? preview_access::project : preview_access::everyone;
}

// What the application says to somebody whom it does not let in: to a browser's page as it is, to
// anything else as our own.
response passed_on(const request_head& head, const forward_verdict& verdict) {
  response answer;
  if (is_navigation(head)) {
    if (!verdict.body.empty() || !verdict.location.empty()) {
      answer.status = verdict.status;
      answer.content_type = verdict.content_type;
      answer.body = verdict.body;
    } else {
      answer = error_answer(head, verdict.status, {}, "The application does not let you in.");
      answer.fields.clear();
    }
    if (!verdict.location.empty()) answer.fields.emplace_back("Location", verdict.location);
    answer.fields.emplace_back("Cache-Control", "no-store");
  } else if (verdict.status == 403) {
    return unauthorized(head, errc::not_allowed, "The application does not let you in.", {});
  } else {
    answer = unauthorized(head, errc::not_authenticated,
      "The application wants to know who you are; log in there.", {});
    std::erase_if(answer.fields, [](const auto& each) { return each.first == "WWW-Authenticate"; });
  }
  if (!verdict.challenge.empty()) answer.fields.emplace_back("WWW-Authenticate", verdict.challenge);
  return answer;
}

// Only on an origin of its own: under a path address an app could do on the service's origin what
// everybody can who looks at it.
bool is_shared(const preview_target& target, preview_access needs, route_table& routes) {
  if (target.by != preview_target::address::origin) return false;
  const workspace_entry* entry = routes.find(target.key);
  const auto server = entry != nullptr ? entry->find(target.port) : nullptr;
  return server != nullptr && server->lets_in(needs);
}

}  // namespace

response not_shared(const request_head& head, preview_access needs) {
  return needs == preview_access::project
           ? unauthorized(head, errc::not_allowed, not_yours, {})
           : unauthorized(head, errc::not_authenticated, who_are_you, no_token);
}

std::string_view bearer_token(std::string_view authorization) noexcept {
  constexpr std::string_view scheme = "bearer ";
  if (authorization.size() <= scheme.size() ||
      !equal_no_case(authorization.substr(0, scheme.size()), scheme))
    return {};
  return trimmed(authorization.substr(scheme.size()));
}

access::access(access_parts parts, trusted_peers unlimited)
    : parts_{std::move(parts)}, unlimited_{std::move(unlimited)} {}

bool access::exhausted(const std::string& address) const {
  return address != "unix" && !unlimited_.contains(address) &&
         parts_.attempts->exhausted(address, steady_clock::now());
}

void access::refused(const std::string& address) const {
  if (address != "unix") parts_.attempts->refused(address, steady_clock::now());
}

caf::expected<grant_ptr>
access::with_token(std::string_view token, const std::string& address) const {
  if (exhausted(address))
    return make_error(errc::limit_reached,
      "Too many tokens of this address were refused (auth.attempts); try again in a minute.");
  auto result = auth::check_token(token, *parts_.keys, parts_.rules, system_clock::now());
  if (auto* granted = std::get_if<auth::grant>(&result))
    return grant_ptr{std::make_shared<const auth::grant>(std::move(*granted))};
  const auto why = std::get<auth::token_fault>(result);
  // One that was good until lately tries nothing.
  if (why != auth::token_fault::expired) refused(address);
  return make_error(errc::not_authenticated, std::string{sentence_of(why)});
}

grant_ptr access::with_cookies(std::string_view field, auth::place at) const {
  grant_ptr plain;
  bool planted = false;
  while (!field.empty()) {
    const std::string_view pair = take_part(field);
    const std::size_t equals = std::min(pair.find('='), pair.size());
    const std::string_view name = pair.substr(0, equals);
    if (name != session_cookie && name != secure_session_cookie) continue;
    const auto session =
      parts_.seal->open(pair.substr(std::min(equals + 1, pair.size())), system_clock::now());
    if (!session || session->at != at || (session->who.guest && at != auth::place::preview) ||
        (parts_.keys != nullptr && !parts_.keys->vouches(session->who.key)))
      continue;
    auto found = std::make_shared<const auth::grant>(session->who);
    if (name == secure_session_cookie) return found;
    // Another host of the domain can plant one beside it, and which is which is not to be known.
    planted = planted || plain != nullptr;
    plain = std::move(found);
  }
  return planted ? nullptr : plain;
}

/// A token of ours in the field, without counting those that are not: an app has tokens too.
grant_ptr access::own_token(std::string_view authorization) const {
  const std::string_view token = bearer_token(authorization);
  if (token.empty()) return nullptr;
  auto result = auth::check_token(token, *parts_.keys, parts_.rules, system_clock::now());
  auto* granted = std::get_if<auth::grant>(&result);
  return granted ? std::make_shared<const auth::grant>(std::move(*granted)) : nullptr;
}

void access::take_out_token(request_head& head, const std::string& address, grant_ptr& who) const {
  bool is_ours = false;
  for (const field& each : head.fields) {
    if (!equal_no_case(each.name, "authorization") || bearer_token(each.value).empty()) continue;
    // Who tries too much is not worth the sums, nor anything that he sends to be passed on.
    grant_ptr owner = exhausted(address) ? nullptr : own_token(each.value);
    is_ours = is_ours || owner != nullptr || exhausted(address);
    if (who == nullptr) who = std::move(owner);
  }
  if (!is_ours) return;
  head.fields.erase(std::remove_if(head.fields.begin(), head.fields.end(),
                      [](const field& each) { return equal_no_case(each.name, "authorization"); }),
    head.fields.end());
}

bool has_cookie_of(const request_head& head, const std::vector<std::string>& names) {
  for (const field& each : head.fields) {
    if (!equal_no_case(each.name, "cookie")) continue;
    std::string_view rest = each.value;
    while (!rest.empty()) {
      const std::string_view pair = take_part(rest);
      if (std::find(names.begin(), names.end(), pair.substr(0, pair.find('='))) != names.end())
        return true;
    }
  }
  return false;
}

admission access::admit(request_head& head, const routing& where, const std::string& address,
  const http_settings& settings, route_table& routes) const {
  // What says the same to everybody; but whether a preview exists is not everybody's to know.
  if (where.what == routing::kind::answer && where.answer.status != 404) return {nobody(), {}};
  if (where.what == routing::kind::service && is_open(head, where, settings)) return {nobody(), {}};

  const bool by_origin = where.target && where.target->by == preview_target::address::origin;
  grant_ptr who;
  for (const field& each : head.fields) {
    if (who == nullptr && equal_no_case(each.name, "cookie"))
      who = with_cookies(each.value, by_origin ? auth::place::preview : auth::place::service);
  }
  if (parts_.keys == nullptr) {
    // The application is asked about its token, when that comes.
    if (who == nullptr && asks_itself(head, where) && !shows_something(head, settings))
      return {nobody(), {}};
    // A session says it, and what everybody may see needs no asking.
    const bool is_public = where.what == routing::kind::preview &&
                           is_shared(*where.target, preview_access::everyone, routes);
    if (who == nullptr && !is_public) return {.grant = {}, .refusal = {}, .ask = true};
    return decide(head, where, std::move(who), routes);
  }
  const std::string_view token = bearer_token(head["authorization"]);
  if (where.what == routing::kind::preview) {
    take_out_token(head, address, who);
    const preview_access needs = needed_by(who.get(), where.target->key);
    const bool shared = needs != preview_access::members && is_shared(*where.target, needs, routes);
    // The app's own way to say who somebody is: ours has been said, or is not needed.
    if (who == nullptr && !token.empty() && !shared)
      return refusal_of(head, with_token(token, address));
  } else if (!token.empty()) {
    // It says more clearly than a cookie who is meant.
    auto owner = with_token(token, address);
    if (!owner) return refusal_of(head, owner);
    who = std::move(*owner);
  }
  if (who == nullptr && asks_itself(head, where)) return {nobody(), {}};
  return decide(head, where, std::move(who), routes);
}

admission access::decide(
  const request_head& head, const routing& where, grant_ptr who, route_table& routes) const {
  if (where.what == routing::kind::preview) {
    const preview_access needs = needed_by(who.get(), where.target->key);
    if (needs != preview_access::members && is_shared(*where.target, needs, routes))
      return {nobody(), {}, needs};
  }
  if (who == nullptr)
    return {nullptr, unauthorized(head, errc::not_authenticated, who_are_you, no_token)};
  if (where.target && !who->covers(where.target->key))
    return {nullptr, unauthorized(head, errc::not_allowed, not_yours, {})};
  return {std::move(who), {}};
}

admission access::judge(const request_head& head, const routing& where,
  const forward_verdict& verdict, route_table& routes) const {
  switch (verdict.what) {
    case forward_verdict::kind::granted:
      return decide(head, where, verdict.who, routes);
    case forward_verdict::kind::refused:
      return {nullptr, passed_on(head, verdict)};
    case forward_verdict::kind::unavailable:
      break;
  }
  response answer = error_answer(head, 503, "auth_unavailable",
    "The application that says who may (auth.forward_url) has given no answer; try again later.");
  answer.fields.emplace_back("Retry-After", "1");
  return {nullptr, std::move(answer)};
}

std::string session_cookie_field(
  const request_head& head, bool secure, std::string_view value, std::chrono::seconds lifetime) {
  const bool framed = head["sec-fetch-site"] == "cross-site" &&
                      (head["sec-fetch-dest"] == "iframe" || head["sec-fetch-dest"] == "frame");
  std::string text{secure ? secure_session_cookie : session_cookie};
  text.append("=").append(value);
  text.append("; Path=/; HttpOnly; Max-Age=").append(std::to_string(lifetime.count()));
  // Browsers take names under localhost for secure ones, also without https.
  if (secure || framed) text += "; Secure";
  text += framed ? "; SameSite=None; Partitioned" : "; SameSite=Lax";
  return text;
}

}  // namespace previewd::net::http
