#include "previewd/net/http/router.hpp"

#include <algorithm>
#include <array>
#include <boost/asio/ip/address.hpp>
#include <charconv>

#include "previewd/net/http/forwarding.hpp"
#include "previewd/net/http/message.hpp"
#include "previewd/net/http/pages.hpp"

namespace previewd::net::http {

namespace {

constexpr std::string_view path_root = "/preview/";
constexpr std::string_view reserved = "/.previewd/";

bool starts_with(std::string_view text, std::string_view start) noexcept {
  return text.substr(0, start.size()) == start;
}

std::optional<uint16_t> port_number(std::string_view digits) noexcept {
  uint16_t port = 0;
  const auto read = std::from_chars(digits.data(), digits.data() + digits.size(), port);
  if (digits.empty() || read.ec != std::errc{} || read.ptr != digits.data() + digits.size() ||
      port == 0)
    return std::nullopt;
  return port;
}

// Percent-decodes a segment; nothing: a broken escape. What it may hold is checked afterwards.
std::optional<std::string> decoded(std::string_view segment) {
  const auto hex = [](char c) {
    if (c >= '0' && c <= '9') return c - '0';
    if (c >= 'a' && c <= 'f') return c - 'a' + 10;
    return c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
  };
  std::string out;
  for (std::size_t i = 0; i < segment.size(); ++i) {
    if (segment[i] != '%') {
      out += segment[i];
      continue;
    }
    if (i + 2 >= segment.size() || hex(segment[i + 1]) < 0 || hex(segment[i + 2]) < 0)
      return std::nullopt;
    out += static_cast<char>(hex(segment[i + 1]) * 16 + hex(segment[i + 2]));
    i += 2;
  }
  return out;
}

bool is_public_host(std::string_view name, const http_settings& settings) {
  return std::find(settings.public_hosts.begin(), settings.public_hosts.end(), name) !=
         settings.public_hosts.end();
}

bool is_service_name(std::string_view name, const http_settings& settings) {
  if (name == "localhost") return true;
  boost::system::error_code not_numeric;
  const auto address = asio::ip::make_address(std::string{name}, not_numeric);
  if (!not_numeric && address.is_loopback()) return true;
  return is_public_host(name, settings);
}

// What a name has before `.{preview_domain}`; empty: it is none of a preview.
std::string_view label_of(std::string_view name, const http_settings& settings) {
  const std::string_view domain = settings.preview_domain;
  if (name.size() <= domain.size() + 1) return {};
  const std::size_t dot = name.size() - domain.size() - 1;
  return name[dot] == '.' && name.substr(dot + 1) == domain ? name.substr(0, dot)
                                                            : std::string_view{};
}

// The one of `auth_origins` that a page is of; null: none.
const std::string* listed_origin(std::string_view origin, const http_settings& settings) {
  const auto found = std::find_if(settings.auth_origins.begin(), settings.auth_origins.end(),
    [origin](const std::string& allowed) { return equal_no_case(origin, allowed); });
  return found == settings.auth_origins.end() ? nullptr : &*found;
}

// Whether an Origin is one of the service's own, or one that the settings name. A preview's origin
// is neither: its name is none of the service's.
bool is_service_origin(
  std::string_view origin, const host_and_port& host, const http_settings& settings) {
  if (listed_origin(origin, settings) != nullptr) return true;
  const std::size_t colon = origin.find("://");
  if (colon == std::string_view::npos) return false;
  const bool https = equal_no_case(origin.substr(0, colon), "https");
  // Where the service speaks HTTPS alone, a page that came by HTTP is not its own.
  if (!https &&
      (settings.over == transport::tls || !equal_no_case(origin.substr(0, colon), "http")))
    return false;
  const auto from = split_host(origin.substr(colon + 3));
  if (!from || !is_service_name(from->name, settings)) return false;
  const uint16_t usual = https ? 443 : 80;
  const uint16_t port = from->port != 0 ? from->port : usual;
  // Behind a proxy a public name has this one origin, whatever port the proxy puts into Host.
  if (settings.front && is_public_host(from->name, settings))
    return https == (settings.front->scheme == scheme::https) && port == settings.front->port;
  return port == (host.port != 0 ? host.port : usual);
}

bool is_same_host(std::string_view origin, const request_head& head) noexcept {
  const std::size_t colon = origin.find("://");
  return colon != std::string_view::npos && equal_no_case(origin.substr(colon + 3), head.host);
}

bool has_origin(const request_head& head) noexcept {
  return std::any_of(head.fields.begin(), head.fields.end(),
    [](const field& f) { return equal_no_case(f.name, "origin"); });
}

routing answered(response answer) {
  routing result;
  result.what = routing::kind::answer;
  result.answer = std::move(answer);
  return result;
}

routing refuse_origin(const request_head& head) {
  return answered(error_answer(head, 403, to_code(errc::origin_not_allowed),
    "Pages of this origin may not use the service; auth.origins lists those that may."));
}

routing to_service(std::optional<preview_target> target = {}) {
  routing result;
  result.target = std::move(target);
  return result;
}

routing to_preview(preview_target target) {
  routing result;
  result.what = routing::kind::preview;
  result.target = std::move(target);
  return result;
}

// A name below `preview.domain`.
routing route_origin(const request_head& head, const host_and_port& host, std::string_view label,
  const http_settings& settings, const route_table& routes) {
  preview_target target;
  target.by = preview_target::address::origin;
  const workspace_key* key = routes.by_label(label);
  if (key == nullptr) {
    const std::size_t dashes = label.find("--");
    const auto port =
      dashes == std::string_view::npos ? std::nullopt : port_number(label.substr(0, dashes));
    if (port) {
      key = routes.by_label(label.substr(dashes + 2));
      target.port = *port;
    }
  }
  if (key == nullptr)
    return answered(
      error_answer(head, 404, to_code(errc::not_found), "No preview has this address."));
  target.key = *key;

  const bool own =
    is_same_host(head["origin"], head) || is_service_origin(head["origin"], host, settings);
  const bool foreign = has_origin(head) && !own;
  if (starts_with(head.path, reserved))
    return foreign ? refuse_origin(head) : to_service(std::move(target));
  if (head.websocket_upgrade && foreign) return refuse_origin(head);
  return to_preview(std::move(target));
}

// What follows `/preview/p/u` and is previewd's own.
bool is_own_below_prefix(std::string_view rest) noexcept {
  return rest == "/iframe" || starts_with(rest, reserved);
}

// What an app under a path address may not shadow: its loading page and scripts ask for these.
bool is_api_path(std::string_view path) noexcept {
  constexpr std::array<std::string_view, 6> own{"/api/preview-status/", "/api/terminals",
    "/api/servers", "/api/events", "/socket.io/", "/debug/"};
  return std::any_of(
    own.begin(), own.end(), [path](std::string_view o) { return starts_with(path, o); });
}

// What tells nobody anything, or what the settings show to everybody.
bool is_open_path(std::string_view path, const http_settings& settings) noexcept {
  return path == "/healthz" || path == "/readyz" ||
         (path == "/metrics" && settings.metrics == metrics_access::open);
}

// The preview under whose path address the page lies that asks for a root-absolute path.
std::optional<std::string> prefix_of_referer(const request_head& head) {
  const std::string_view referer = head["referer"];
  const std::size_t colon = referer.find("://");
  if (colon == std::string_view::npos) return std::nullopt;
  const std::string_view rest = referer.substr(colon + 3);
  const std::size_t slash = rest.find('/');
  if (slash == std::string_view::npos || !equal_no_case(rest.substr(0, slash), head.host))
    return std::nullopt;
  const std::string_view path = rest.substr(slash, rest.find_first_of("?#", slash) - slash);
  const auto parts = parse_preview_path(path);
  if (!parts || !parts->valid || is_own_below_prefix(path.substr(parts->length)))
    return std::nullopt;
  return std::string{path.substr(0, parts->length)};
}

std::optional<preview_target> target_of_cookie(const request_head& head) {
  for (const field& f : head.fields) {
    if (!equal_no_case(f.name, "cookie")) continue;
    std::string_view rest = f.value;
    while (!rest.empty()) {
      const std::string_view pair = take_part(rest);
      const std::size_t equals = pair.find('=');
      if (equals == std::string_view::npos || pair.substr(0, equals) != preview_cookie) continue;
      const std::string path = std::string{path_root} + std::string{pair.substr(equals + 1)};
      const auto parts = parse_preview_path(path);
      if (!parts || !parts->valid || parts->length != path.size()) continue;
      // No prefix: the path goes upstream as it came.
      return preview_target{parts->key, parts->port, preview_target::address::path, {}};
    }
  }
  return std::nullopt;
}

routing route_path(const request_head& head, const preview_path_parts& parts, bool foreign,
  const http_settings& settings) {
  if (!parts.valid)
    return answered(error_answer(head, 400, to_code(errc::invalid_name),
      "Project and user are 1 to 64 characters of A-Z a-z 0-9 . _ ~ @ + -, neither . nor .., and a "
      "port is a number."));
  preview_target target{parts.key, parts.port, preview_target::address::path,
    std::string{head.path.substr(0, parts.length)}};
  if (is_own_below_prefix(head.path.substr(parts.length)))
    return foreign ? refuse_origin(head) : to_service(std::move(target));
  if (settings.paths == path_addresses::off)
    return answered(error_answer(head, 404, to_code(errc::not_found),
      "Path addresses are off (preview.path); the preview has an origin address."));
  if (head.websocket_upgrade && foreign) return refuse_origin(head);
  return to_preview(std::move(target));
}

// Before the browser sends what is more than a form could send, it asks whether it may (Fetch,
// section 4.8). What may be done is decided when it does it.
bool is_preflight(const request_head& head) noexcept {
  return head.method == "OPTIONS" && !head["access-control-request-method"].empty();
}

response preflight_answer(const request_head& head) {
  response answer;
  answer.status = 204;
  answer.fields = {{"Access-Control-Allow-Methods", "GET, HEAD, POST, PATCH, DELETE"},
    {"Access-Control-Max-Age", "600"}};
  const std::string_view fields = head["access-control-request-headers"];
  if (!fields.empty()) answer.fields.emplace_back("Access-Control-Allow-Headers", fields);
  return answer;
}

routing
choose_route(const request_head& head, const http_settings& settings, const route_table& routes) {
  const auto host = split_host(head.host);
  const std::string_view label = host ? label_of(host->name, settings) : std::string_view{};
  if (!label.empty()) return route_origin(head, *host, label, settings, routes);
  if (host && is_open_path(head.path, settings)) return to_service();
  if (!host || !is_service_name(host->name, settings))
    return answered(error_answer(head, 403, to_code(errc::host_not_allowed),
      "The service does not answer to this host name; public.hosts lists further ones."));

  const bool foreign = has_origin(head) && !is_service_origin(head["origin"], *host, settings);
  if (const auto parts = parse_preview_path(head.path))
    return route_path(head, *parts, foreign, settings);

  if (settings.paths == path_addresses::on && !is_api_path(head.path)) {
    if (head.websocket_upgrade) {
      if (auto target = target_of_cookie(head))
        return foreign ? refuse_origin(head) : to_preview(std::move(*target));
    } else if (const auto prefix = prefix_of_referer(head)) {
      response answer;
      answer.status = 307;
      std::string where = *prefix + std::string{head.path};
      if (head.query.data() != nullptr) where.append("?").append(head.query);
      answer.fields.emplace_back("Location", std::move(where));
      answer.fields.emplace_back("Cache-Control", "no-store");
      answer.fields.emplace_back("Vary", "Referer");
      return answered(std::move(answer));
    }
  }
  return foreign ? refuse_origin(head) : to_service();
}

}  // namespace

std::optional<host_and_port> split_host(std::string_view host) {
  host_and_port result;
  std::string_view name = host;
  std::string_view port;
  if (!host.empty() && host.front() == '[') {
    const std::size_t end = host.find(']');
    if (end == std::string_view::npos) return std::nullopt;
    name = host.substr(1, end - 1);
    port = host.substr(end + 1);
    if (!port.empty() && port.front() != ':') return std::nullopt;
  } else {
    const std::size_t colon = std::min(host.find(':'), host.size());
    name = host.substr(0, colon);
    port = host.substr(colon);
  }
  // A colon with nothing behind it means the scheme's own port (RFC 3986, section 6.2.3).
  if (port.size() > 1) {
    const auto number = port_number(port.substr(1));
    if (!number) return std::nullopt;
    result.port = *number;
  }
  if (name.empty()) return std::nullopt;
  result.name = std::string{name};
  for (char& c : result.name)
    if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
  return result;
}

bool is_public(std::string_view host, const http_settings& settings) {
  const auto parts = split_host(host);
  return parts &&
         (is_public_host(parts->name, settings) || !label_of(parts->name, settings).empty());
}

std::optional<preview_path_parts> parse_preview_path(std::string_view path) {
  if (!starts_with(path, path_root)) return std::nullopt;
  const std::size_t slash = path.find('/', path_root.size());
  if (slash == std::string_view::npos || slash == path_root.size()) return std::nullopt;
  const std::size_t end = std::min(path.find('/', slash + 1), path.size());
  if (end == slash + 1) return std::nullopt;

  preview_path_parts parts;
  parts.length = end;
  const auto project = decoded(path.substr(path_root.size(), slash - path_root.size()));
  const auto user = decoded(path.substr(slash + 1, end - slash - 1));
  if (!project || !user) return parts;
  parts.key = {*project, *user};
  const std::size_t colon = user->find(':');
  if (colon != std::string::npos) {
    const auto port = port_number(std::string_view{*user}.substr(colon + 1));
    if (!port) return parts;
    parts.port = *port;
    parts.key.user.resize(colon);
  }
  parts.valid = valid(parts.key);
  return parts;
}

routing
route_request(const request_head& head, const http_settings& settings, const route_table& routes) {
  routing result = choose_route(head, settings, routes);
  if (result.what == routing::kind::preview || settings.auth_origins.empty()) return result;
  result.listed_origin = listed_origin(head["origin"], settings);
  if (result.listed_origin != nullptr && result.what == routing::kind::service &&
      is_preflight(head)) {
    result.what = routing::kind::answer;
    result.answer = preflight_answer(head);
  }
  return result;
}

}  // namespace previewd::net::http
