#include "previewd/net/http/forwarding.hpp"

#include <algorithm>
#include <array>
#include <charconv>

namespace previewd::net::http {

namespace {

constexpr std::string_view via_name = "previewd";

void add(std::string& out, std::string_view name, std::string_view value) {
  out.append(name).append(": ").append(value).append("\r\n");
}

// `localhost:5173`: how every dev server knows itself.
std::string server_host(const endpoint& upstream) {
  return "localhost:" + std::to_string(upstream.port);
}

std::string server_origin(const endpoint& upstream) {
  return std::string{to_string(upstream.scheme)} + "://" + server_host(upstream);
}

struct parsed_url {
  std::string_view scheme;
  std::string_view authority;
  std::string_view rest;  // from the path on, may be empty
};

std::optional<parsed_url> parse_absolute(std::string_view url) {
  const std::size_t colon = url.find("://");
  if (colon == std::string_view::npos) return std::nullopt;
  parsed_url result;
  result.scheme = url.substr(0, colon);
  if (!equal_no_case(result.scheme, "http") && !equal_no_case(result.scheme, "https"))
    return std::nullopt;
  url.remove_prefix(colon + 3);
  const std::size_t end = std::min(url.find_first_of("/?#"), url.size());
  result.authority = url.substr(0, end);
  result.rest = url.substr(end);
  return result;
}

// `//localhost:5173/there`: by the scheme of whoever reads it (RFC 3986, section 4.2).
std::optional<parsed_url> parse_network_path(std::string_view url, std::string_view scheme) {
  if (url.substr(0, 2) != "//") return std::nullopt;
  url.remove_prefix(2);
  const std::size_t end = std::min(url.find_first_of("/?#"), url.size());
  return parsed_url{scheme, url.substr(0, end), url.substr(end)};
}

// Fields that end at each hop (RFC 9110, section 7.6.1), whatever Connection says.
bool is_hop_by_hop(std::string_view name) noexcept {
  switch (name.size()) {
    case 2:
      return equal_no_case(name, "te");
    case 7:
      return equal_no_case(name, "upgrade");
    case 10:
      return equal_no_case(name, "connection") || equal_no_case(name, "keep-alive");
    case 14:
      return equal_no_case(name, "http2-settings");
    case 16:
      return equal_no_case(name, "proxy-connection");
    case 17:
      return equal_no_case(name, "transfer-encoding");
    case 18:
      return equal_no_case(name, "proxy-authenticate");
    case 19:
      return equal_no_case(name, "proxy-authorization");
    default:
      return false;
  }
}

// What an HTTPS server says of its own port alone: that it never be met by HTTP again (RFC 6797),
// which a browser would take for all ports of the host, and where else it may be met (RFC 7838).
bool is_of_the_connection(std::string_view name) noexcept {
  return equal_no_case(name, "strict-transport-security") || equal_no_case(name, "alt-svc");
}

bool is_forwarding_name(std::string_view name) noexcept {
  constexpr std::array<std::string_view, 3> names{"forwarded", "x-real-ip", "x-forwarded-"};
  // Programs behind CGI and WSGI read an underscore as a hyphen.
  const auto same = [](char a, char b) {
    return a == b || (a >= 'A' && a <= 'Z' && a - 'A' + 'a' == b) || (a == '_' && b == '-');
  };
  return std::any_of(names.begin(), names.end(), [&](std::string_view known) {
    const bool fits =
      known.back() == '-' ? name.size() > known.size() : name.size() == known.size();
    return fits && std::equal(known.begin(), known.end(), name.begin(),
                     [&](char k, char n) { return same(n, k); });
  });
}

// All values of a field as one list, with `added` at its end.
std::string
extended(const std::vector<field>& fields, std::string_view name, std::string_view added) {
  std::string out;
  const auto append = [&out](std::string_view value) {
    if (value.empty()) return;
    if (!out.empty()) out += ", ";
    out += value;
  };
  for (const field& f : fields)
    if (equal_no_case(f.name, name)) append(f.value);
  append(added);
  return out;
}

// The names in Connection. Those that carry the message itself cannot be named away.
class named_fields {
public:
  explicit named_fields(const std::vector<field>& fields) {
    for (const field& f : fields) {
      if (!equal_no_case(f.name, "connection")) continue;
      for_each_element(f.value, [&](std::string_view name) {
        if (equal_no_case(name, "close") || equal_no_case(name, "keep-alive") ||
            equal_no_case(name, "upgrade") || equal_no_case(name, "host") ||
            equal_no_case(name, "content-length"))
          return;
        names_.push_back(name);
      });
    }
  }
  bool has(std::string_view name) const noexcept {
    return std::any_of(names_.begin(), names_.end(),
      [name](std::string_view other) { return equal_no_case(name, other); });
  }

private:
  std::vector<std::string_view> names_;
};

// The target that goes upstream: byte for byte what follows the prefix.
void add_target(std::string& out, const forwarding& how) {
  std::string_view path = how.request.path;
  // Of a target that is all authority (RFC 9112, section 3.2.4).
  const bool everything =
    path.empty() && how.request.method == "OPTIONS" && how.request.query.data() == nullptr;
  if (how.strips()) path.remove_prefix(std::min(how.target.prefix.size(), path.size()));
  if (path.empty()) path = everything ? "*" : "/";
  out += path;
  if (how.request.query.data() != nullptr) {
    out += '?';
    out += how.request.query;
  }
}

using cookie_names = std::vector<std::string>;

std::string_view name_of(std::string_view pair) noexcept {
  return trimmed(pair.substr(0, pair.find('=')));
}

bool is_withheld(std::string_view pair, const cookie_names* withheld) noexcept {
  return withheld != nullptr &&
         std::find(withheld->begin(), withheld->end(), name_of(pair)) != withheld->end();
}

bool is_own_cookie(std::string_view pair) noexcept {
  std::string_view name = trimmed(pair);
  // Browsers take a cookie of this name from https alone (RFC 6265bis, section 4.1.3.2).
  constexpr std::string_view host_only = "__Host-";
  if (name.substr(0, host_only.size()) == host_only) name.remove_prefix(host_only.size());
  return name.substr(0, own_cookie_prefix.size()) == own_cookie_prefix;
}

void add_cookies(
  std::string& out, std::string_view name, std::string_view value, const cookie_names* withheld) {
  if (withheld == nullptr && value.find(own_cookie_prefix) == std::string_view::npos) {
    add(out, name, value);
    return;
  }
  std::string kept;
  while (!value.empty()) {
    const std::string_view pair = take_part(value);
    if (!pair.empty() && !is_own_cookie(pair) && !is_withheld(pair, withheld)) {
      if (!kept.empty()) kept += "; ";
      kept += pair;
    }
  }
  if (!kept.empty()) add(out, name, kept);
}

// Whether an Origin or the origin of a Referer is the address that the request itself came to.
bool is_own_address(std::string_view authority, const forwarding& how) noexcept {
  return equal_no_case(authority, how.request.host);
}

void add_referer(
  std::string& out, std::string_view name, std::string_view value, const forwarding& how) {
  const auto url = parse_absolute(value);
  if (!url || !is_own_address(url->authority, how)) {
    add(out, name, value);
    return;
  }
  std::string_view rest = url->rest;
  if (how.strips()) {
    // Another page of the service's own origin is nothing the server could know.
    if (rest.substr(0, how.target.prefix.size()) != how.target.prefix) return;
    rest.remove_prefix(how.target.prefix.size());
    if (!rest.empty() && std::string_view{"/?#"}.find(rest.front()) == std::string_view::npos)
      return;
  }
  std::string mapped = server_origin(how.upstream);
  if (rest.empty() || rest.front() != '/') mapped += '/';
  mapped += rest;
  add(out, name, mapped);
}

// `for` of Forwarded (RFC 7239, section 6).
std::string node_name(std::string_view address) {
  if (address.find(':') != std::string_view::npos) return "\"[" + std::string{address} + "]\"";
  return address == "unix" ? std::string{"unknown"} : std::string{address};
}

std::string quoted(std::string_view text) {
  std::string out = "\"";
  for (char c : text) {
    if (c == '"' || c == '\\') out += '\\';
    out += c;
  }
  return out + '"';
}

// Whether an authority is one by which the server may call itself.
bool names_server(const parsed_url& url, const endpoint& upstream) {
  std::string_view host = url.authority;
  unsigned port = equal_no_case(url.scheme, "https") ? 443 : 80;
  const std::size_t colon = host.rfind(':');
  if (colon != std::string_view::npos && host.find(']', colon) == std::string_view::npos) {
    const std::string_view digits = host.substr(colon + 1);
    const auto read = std::from_chars(digits.data(), digits.data() + digits.size(), port);
    if (read.ec != std::errc{} || read.ptr != digits.data() + digits.size()) return false;
    host = host.substr(0, colon);
  }
  if (port != upstream.port) return false;
  if (host.size() > 2 && host.front() == '[') host = host.substr(1, host.size() - 2);
  constexpr std::array<std::string_view, 5> names{"localhost", "127.0.0.1", "::1", "0.0.0.0", "::"};
  return host == upstream.address || std::any_of(names.begin(), names.end(),
                                       [&](std::string_view n) { return equal_no_case(n, host); });
}

// A path of the server below the prefix, unless the server has put it there itself.
std::string below_prefix(std::string_view path, const forwarding& how) {
  if (!how.strips()) return std::string{path};
  const std::string_view prefix = how.target.prefix;
  if (path.substr(0, prefix.size()) == prefix) {
    const std::string_view rest = path.substr(prefix.size());
    if (rest.empty() || rest.front() == '/' || rest.front() == '?' || rest.front() == '#')
      return std::string{path};
  }
  std::string result{prefix};
  if (path.empty() || path.front() != '/') result += '/';
  return result.append(path);
}

// What the name says that a browser takes the cookie by (RFC 6265bis, section 4.1.3), in any case
// of its letters (section 5.7).
bool is_named_with(std::string_view cookie, std::string_view name_prefix) noexcept {
  return equal_no_case(trimmed(cookie).substr(0, name_prefix.size()), name_prefix);
}

// Whether a browser takes the cookie only as a `Secure` one (RFC 6265bis, sections 4.1.3 and
// 5.7).
bool has_to_be_secure(std::string_view cookie) noexcept {
  if (is_named_with(cookie, "__Secure-") || is_named_with(cookie, "__Host-")) return true;
  take_part(cookie);
  while (!cookie.empty()) {
    const std::string_view attribute = take_part(cookie);
    const std::size_t equals = attribute.find('=');
    const std::string_view name = trimmed(attribute.substr(0, equals));
    if (equal_no_case(name, "partitioned")) return true;
    if (equals != std::string_view::npos && equal_no_case(name, "samesite") &&
        equal_no_case(trimmed(attribute.substr(equals + 1)), "none"))
      return true;
  }
  return false;
}

void add_set_cookie(
  std::string& out, std::string_view name, std::string_view value, const forwarding& how) {
  // A page must not set the cookies by which previewd finds its way. One without a name (`=a=b`)
  // comes back as `a=b`; one that is nothing is no cookie, and its first attribute must not become
  // one.
  std::string_view pair = trimmed(value.substr(0, value.find(';')));
  while (!pair.empty() && pair.front() == '=') pair = trimmed(pair.substr(1));
  if (pair.empty() || is_own_cookie(pair) || is_withheld(pair, how.withheld)) return;
  // The server believes that the browser came by HTTPS. Where it came by HTTP, Safari would refuse
  // such a cookie everywhere, the others only beyond `localhost` and its subdomains.
  const bool not_secure =
    how.upstream.scheme == scheme::https && how.client_scheme == "http" && !has_to_be_secure(value);
  // Of another path than `/` it would be refused.
  const bool whole_host = is_named_with(pair, "__Host-");
  std::string mapped;
  bool first = true;
  std::string_view rest = value;
  while (!rest.empty()) {
    const std::string_view part = take_part(rest);
    const std::size_t equals = part.find('=');
    const std::string_view attribute = trimmed(part.substr(0, equals));
    // The server's own domain is not the one that the browser sees; without one the cookie stays
    // where it came from.
    if (!first && equal_no_case(attribute, "domain")) continue;
    if (!first && not_secure && equal_no_case(attribute, "secure")) continue;
    if (!mapped.empty()) mapped += "; ";
    if (!first && !whole_host && equals != std::string_view::npos &&
        equal_no_case(attribute, "path")) {
      const std::string_view path = trimmed(part.substr(equals + 1));
      mapped.append("Path=").append(
        path.empty() || path.front() != '/' ? std::string{path} : below_prefix(path, how));
    } else {
      mapped += part;
    }
    first = false;
  }
  add(out, name, mapped);
}

// `5; url=/there`.
void add_refresh(
  std::string& out, std::string_view name, std::string_view value, const forwarding& how) {
  const std::size_t semicolon = value.find_first_of(";,");
  if (semicolon == std::string_view::npos) {
    add(out, name, value);
    return;
  }
  std::string_view url = trimmed(value.substr(semicolon + 1));
  if (url.size() > 4 && equal_no_case(url.substr(0, 3), "url")) {
    std::string_view after = trimmed(url.substr(3));
    if (!after.empty() && after.front() == '=') url = trimmed(after.substr(1));
  }
  if (url.size() >= 2 && (url.front() == '"' || url.front() == '\'') && url.back() == url.front())
    url = url.substr(1, url.size() - 2);
  add(out, name,
    std::string{trimmed(value.substr(0, semicolon))} + "; url=" + client_location(url, how));
}

// The policy without its frame-ancestors. Returns whether it had any.
bool without_frame_ancestors(std::string_view policy, std::string& kept) {
  bool found = false;
  while (!policy.empty()) {
    const std::string_view directive = take_part(policy);
    if (equal_no_case(directive.substr(0, directive.find_first_of(" \t")), "frame-ancestors")) {
      found = true;
    } else if (!directive.empty()) {
      if (!kept.empty()) kept += "; ";
      kept += directive;
    }
  }
  return found;
}

std::string with_port(std::string_view sources, std::string_view host) {
  constexpr std::string_view placeholder = "{port}";
  const std::size_t colon = host.rfind(':');
  const bool has_port =
    colon != std::string_view::npos && host.find(']', colon) == std::string_view::npos;
  std::string out{sources};
  for (std::size_t at = 0; (at = out.find(placeholder, at)) != std::string::npos;)
    out.replace(at, placeholder.size(), has_port ? host.substr(colon) : std::string_view{});
  return out;
}

}  // namespace

unsigned hops_of(const request_head& head) {
  unsigned hops = 0;
  for (const field& f : head.fields) {
    if (!equal_no_case(f.name, "via")) continue;
    for_each_element(f.value, [&](std::string_view element) {
      const std::size_t blank = element.find(' ');
      if (blank == std::string_view::npos) return;
      const std::string_view by = trimmed(element.substr(blank));
      if (by.substr(0, by.find(' ')) == via_name) ++hops;
    });
  }
  return hops;
}

std::string_view forwarded_scheme(const request_head& head) noexcept {
  const std::string_view scheme = head["x-forwarded-proto"];
  if (equal_no_case(scheme, "https")) return "https";
  return equal_no_case(scheme, "http") ? "http" : std::string_view{};
}

std::optional<uint64_t> hops_left(const request_head& head) noexcept {
  if (head.method != "OPTIONS") return std::nullopt;
  const std::string_view digits = head["max-forwards"];
  uint64_t hops = 0;
  const char* end = digits.data() + digits.size();
  const auto read = std::from_chars(digits.data(), end, hops);
  if (digits.empty() || read.ec != std::errc{} || read.ptr != end) return std::nullopt;
  return hops;
}

void write_upstream_request(std::string& out, const forwarding& how) {
  const request_head& request = how.request;
  const bool trusted = how.trust == peer_trust::forwarding;
  // What previewd adds to, or would say itself.
  const auto is_own_forwarding = [&](std::string_view name) {
    return equal_no_case(name, "forwarded") || equal_no_case(name, "x-forwarded-for") ||
           equal_no_case(name, "x-forwarded-host") || equal_no_case(name, "x-forwarded-proto") ||
           equal_no_case(name, "x-forwarded-prefix");
  };
  out.append(request.method).append(" ");
  add_target(out, how);
  out += " HTTP/1.1\r\n";
  add(out, "Host", server_host(how.upstream));

  const named_fields named{request.fields};
  bool origin_sent = false;
  bool length_sent = false;
  for (const field& f : request.fields) {
    if (equal_no_case(f.name, "host") || is_hop_by_hop(f.name) || named.has(f.name)) continue;
    if (is_forwarding_name(f.name) && (!trusted || how.names_hidden || is_own_forwarding(f.name)))
      continue;
    if (equal_no_case(f.name, "content-length")) {
      // Two that agree become one, in the one spelling that everybody reads alike.
      if (!length_sent) add(out, f.name, std::to_string(request.content_length.value_or(0)));
      length_sent = true;
    } else if (equal_no_case(f.name, "expect")) {
      // From a client of HTTP/1.0 it means nothing.
      if (request.version == 11) add(out, f.name, f.value);
    } else if (equal_no_case(f.name, "max-forwards")) {
      const auto left = hops_left(request);
      add(out, f.name, left && *left > 0 ? std::to_string(*left - 1) : std::string{f.value});
    } else if (equal_no_case(f.name, "origin")) {
      const auto url = parse_absolute(f.value);
      // A foreign one stays what it is: whether it may is the app's to say. On an upgrade it has
      // been checked before.
      const bool own = request.websocket_upgrade || (url && is_own_address(url->authority, how));
      add(out, f.name, own ? server_origin(how.upstream) : std::string{f.value});
      origin_sent = true;
    } else if (equal_no_case(f.name, "referer")) {
      add_referer(out, f.name, f.value, how);
    } else if (equal_no_case(f.name, "cookie")) {
      add_cookies(out, f.name, f.value, how.withheld);
    } else {
      add(out, f.name, f.value);
    }
  }
  if (request.chunked) add(out, "Transfer-Encoding", "chunked");
  if (request.websocket_upgrade) {
    if (!origin_sent) add(out, "Origin", server_origin(how.upstream));
    out += "Connection: Upgrade\r\nUpgrade: websocket\r\n";
  }

  std::string element = "for=" + node_name(how.client_address);
  if (!how.names_hidden)
    element.append(";host=")
      .append(quoted(request.host))
      .append(";proto=")
      .append(how.client_scheme);
  const std::vector<field> nothing;
  const std::vector<field>& believed = trusted ? request.fields : nothing;
  const auto told = [&](std::string_view name, std::string_view otherwise) {
    const std::string_view value = find_field(believed, name);
    return value.empty() ? otherwise : value;
  };
  // Its elements name hosts.
  add(out, "Forwarded", extended(how.names_hidden ? nothing : believed, "forwarded", element));
  // Whoever comes by a UNIX socket has no address, but may know those before it.
  const std::string_view last =
    how.client_address == "unix" ? std::string_view{} : how.client_address;
  const std::string from = extended(believed, "x-forwarded-for", last);
  if (!from.empty()) add(out, "X-Forwarded-For", from);
  if (!how.names_hidden) {
    add(out, "X-Forwarded-Host", told("x-forwarded-host", request.host));
    add(out, "X-Forwarded-Proto", told("x-forwarded-proto", how.client_scheme));
  }
  const std::string prefix = std::string{told("x-forwarded-prefix", {})} +
                             (how.strips() ? how.target.prefix : std::string{});
  if (!prefix.empty()) add(out, "X-Forwarded-Prefix", prefix);
  out.append("Via: ")
    .append(request.version == 10 ? "1.0 " : "1.1 ")
    .append(via_name)
    .append("\r\n\r\n");
}

std::string client_location(std::string_view location, const forwarding& how) {
  const auto own_address = [&](std::string_view path) {
    return std::string{how.client_scheme} + "://" + std::string{how.request.host} +
           below_prefix(path.empty() ? std::string_view{"/"} : path, how);
  };
  auto url = parse_absolute(location);
  // The server believes that its reader came by its own scheme.
  if (!url) url = parse_network_path(location, to_string(how.upstream.scheme));
  if (url) {
    // By either name it means itself: its own, and the one it was told in X-Forwarded-Host.
    if (names_server(*url, how.upstream)) return own_address(url->rest);
    if (is_own_address(url->authority, how)) return own_address(url->rest);
    return std::string{location};
  }
  const bool from_root = !location.empty() && location.front() == '/';
  return from_root ? below_prefix(location, how) : std::string{location};
}

void write_client_answer(
  std::string& out, const answer_head& answer, const forwarding& how, const answer_form& form) {
  out += "HTTP/1.1 ";
  out += std::to_string(answer.status);
  out += ' ';
  out += answer.reason.empty() ? reason_phrase(answer.status) : answer.reason;
  out += "\r\n";

  const bool interim = answer.status < 200 && answer.status != 101;
  // Such answers have no body, whatever they say (RFC 9110, section 8.6).
  const bool no_length = answer.status < 200 || answer.status == 204;
  const named_fields named{answer.fields};
  bool framing_forbidden = false;
  bool length_sent = false;
  for (const field& f : answer.fields) {
    if (is_hop_by_hop(f.name) || named.has(f.name)) continue;
    if (equal_no_case(f.name, "content-length")) {
      if (length_sent || form.chunked || no_length) continue;
      length_sent = true;
      add(out, f.name, std::to_string(answer.content_length.value_or(0)));
    } else if (equal_no_case(f.name, "location") || equal_no_case(f.name, "content-location")) {
      add(out, f.name, client_location(f.value, how));
    } else if (equal_no_case(f.name, "set-cookie")) {
      add_set_cookie(out, f.name, f.value, how);
    } else if (equal_no_case(f.name, "refresh")) {
      add_refresh(out, f.name, f.value, how);
    } else if (how.upstream.scheme == scheme::https && is_of_the_connection(f.name)) {
      continue;
    } else if (!form.frame_ancestors.empty() && equal_no_case(f.name, "x-frame-options")) {
      framing_forbidden = true;
    } else if (!form.frame_ancestors.empty() && equal_no_case(f.name, "content-security-policy")) {
      std::string kept;
      framing_forbidden |= without_frame_ancestors(f.value, kept);
      if (!kept.empty()) add(out, f.name, kept);
    } else {
      add(out, f.name, f.value);
    }
  }
  if (interim) {
    out += "\r\n";
    return;
  }
  if (framing_forbidden)
    add(out, "Content-Security-Policy",
      "frame-ancestors " + with_port(form.frame_ancestors, how.request.host));
  if (form.set_cookie) {
    std::string value{preview_cookie};
    value.append("=").append(
      std::string_view{how.target.prefix}.substr(std::string_view{"/preview/"}.size()));
    add(out, "Set-Cookie",
      value + "; Path=/; HttpOnly; SameSite=Lax" +
        (how.client_scheme == "https" ? "; Secure" : ""));
  }
  if (answer.status == 101) {
    out += "Connection: Upgrade\r\nUpgrade: websocket\r\n\r\n";
    return;
  }
  if (form.chunked && !no_length) out += "Transfer-Encoding: chunked\r\n";
  // What is asked for is part of this answer's meaning (RFC 9110, section 15.5.22).
  const bool upgrade = answer.status == 426 && answer.websocket_upgrade;
  if (upgrade) out += "Upgrade: websocket\r\n";
  if (upgrade) {
    out += form.keep_alive ? "Connection: Upgrade\r\n" : "Connection: close, Upgrade\r\n";
  } else if (!form.keep_alive) {
    out += "Connection: close\r\n";
  } else if (how.request.version == 10) {
    out += "Connection: keep-alive\r\n";
  }
  out += "\r\n";
}

}  // namespace previewd::net::http
