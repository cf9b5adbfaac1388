#include "previewd/service/settings_table.hpp"

#include <arpa/inet.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cctype>
#include <cerrno>
#include <charconv>
#include <cstring>
#include <utility>

#include "previewd/net/http/forward_address.hpp"
#include "previewd/net/http/trusted_peers.hpp"

namespace previewd {

namespace {

using std::chrono::milliseconds;
using problem = std::optional<std::string>;

std::string quoted(std::string_view text) {
  // What was written goes to a terminal: no control character of it may.
  return '"' + log::one_line(text) + '"';
}

/// No text has one: a zero would end what the system is told of it before its end, and a line break
/// would begin another line of a report or of a head.
problem check_characters(std::string_view written) {
  const bool good = std::none_of(written.begin(), written.end(),
    [](char c) { return static_cast<unsigned char>(c) < 0x20 || c == 0x7f; });
  return good ? std::nullopt : problem{quoted(written) + " has a control character"};
}

std::string lower(std::string_view text) {
  std::string result{text};
  for (char& c : result) c = static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
  return result;
}

struct unit {
  std::string_view name;
  uint64_t factor;
};

constexpr std::array duration_units{
  unit{"ms", 1}, unit{"s", 1000}, unit{"m", 60'000}, unit{"h", 3'600'000}, unit{"d", 86'400'000}};
constexpr std::array size_units{
  unit{"B", 1}, unit{"KiB", 1 << 10}, unit{"MiB", 1 << 20}, unit{"GiB", 1 << 30}};

/// The value in the largest unit that divides it.
template <std::size_t N> std::string in_units(uint64_t value, const std::array<unit, N>& units) {
  const unit* best = &units.front();
  for (const unit& u : units)
    if (value != 0 && value % u.factor == 0) best = &u;
  return std::to_string(value / best->factor) + std::string{best->name};
}

std::string show_duration(milliseconds value) {
  return value.count() == 0 ? "0" : in_units(static_cast<uint64_t>(value.count()), duration_units);
}

std::string show_size(uint64_t value) {
  return value < 1024 ? std::to_string(value) : in_units(value, size_units);
}

/// A whole number with the rest of the text behind it; nothing if there is no number, or it is
/// beyond 64 bits.
std::optional<std::pair<uint64_t, std::string_view>> leading_number(std::string_view text) {
  uint64_t number = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (error != std::errc{}) return std::nullopt;
  return std::pair{number, text.substr(static_cast<std::size_t>(end - text.data()))};
}

/// Reads a number with one of the units into `result`; `bare` is the factor of one without a unit,
/// 0 when it must have one.
template <std::size_t N>
problem read_with_unit(std::string_view text, const std::array<unit, N>& units, uint64_t bare,
  std::string_view example, uint64_t& result) {
  const auto number = leading_number(text);
  if (!number)
    return quoted(text) + " is not a whole number with a unit; write for example " +
           std::string{example};
  uint64_t factor = 0;
  if (number->second.empty()) {
    factor = number->first == 0 ? 1 : bare;
    if (factor == 0)
      return quoted(text) + " has no unit; write for example " + std::string{example};
  }
  for (const unit& u : units)
    if (number->second == u.name) factor = u.factor;
  if (factor == 0) {
    std::string names;
    for (const unit& u : units) names += (names.empty() ? "" : ", ") + std::string{u.name};
    return quoted(text) + " has a unit that is not known (" + names + "); write for example " +
           std::string{example};
  }
  if (__builtin_mul_overflow(number->first, factor, &result)) return quoted(text) + " is too large";
  return std::nullopt;
}

problem check_range(std::string_view text, uint64_t value, uint64_t least, uint64_t most) {
  if (value < least) return quoted(text) + " is too small";
  if (value > most) return quoted(text) + " is too large";
  return std::nullopt;
}

/// Wraps the reader of one text into what a setting with one value takes: the last one written
/// counts.
template <class Reader> auto one_value(Reader reader) {
  return [reader = std::move(reader)](const std::vector<std::string>& written) -> problem {
    if (written.empty()) return "has no value";
    return reader(written.back());
  };
}

setting duration(std::string_view name, milliseconds& field, milliseconds least, milliseconds most,
  std::string_view example, std::string_view meaning) {
  setting result;
  result.name = name;
  result.value = "DURATION";
  result.allowed = show_duration(least) + " to " + show_duration(most);
  result.meaning = meaning;
  result.set = one_value([&field, least, most, example](const std::string& text) -> problem {
    uint64_t value = 0;
    if (auto wrong = read_with_unit(text, duration_units, 0, example, value)) return wrong;
    if (auto wrong = check_range(
          text, value, static_cast<uint64_t>(least.count()), static_cast<uint64_t>(most.count())))
      return wrong;
    field = milliseconds{static_cast<milliseconds::rep>(value)};
    return std::nullopt;
  });
  result.show = [&field] { return std::vector{show_duration(field)}; };
  return result;
}

setting size(std::string_view name, uint64_t& field, uint64_t least, uint64_t most,
  std::string_view example, std::string_view meaning) {
  setting result;
  result.name = name;
  result.value = "SIZE";
  result.allowed = show_size(least) + " to " + show_size(most);
  result.meaning = meaning;
  result.set = one_value([&field, least, most, example](const std::string& text) -> problem {
    uint64_t value = 0;
    if (auto wrong = read_with_unit(text, size_units, 1, example, value)) return wrong;
    if (auto wrong = check_range(text, value, least, most)) return wrong;
    field = value;
    return std::nullopt;
  });
  result.show = [&field] { return std::vector{show_size(field)}; };
  return result;
}

setting count(
  std::string_view name, uint32_t& field, uint32_t least, uint32_t most, std::string_view meaning) {
  setting result;
  result.name = name;
  result.value = "NUMBER";
  result.allowed = std::to_string(least) + " to " + std::to_string(most);
  result.meaning = meaning;
  result.set = one_value([&field, least, most](const std::string& text) -> problem {
    const auto number = leading_number(text);
    if (!number || !number->second.empty()) return quoted(text) + " is not a whole number";
    if (auto wrong = check_range(text, number->first, least, most)) return wrong;
    field = static_cast<uint32_t>(number->first);
    return std::nullopt;
  });
  result.show = [&field] { return std::vector{std::to_string(field)}; };
  return result;
}

template <class Enum> using choices = std::vector<std::pair<std::string_view, Enum>>;

template <class Enum>
setting choice(std::string_view name, Enum& field, choices<Enum> values, std::string_view meaning) {
  setting result;
  result.name = name;
  result.value = "NAME";
  for (const auto& [text, value] : values)
    result.allowed += (result.allowed.empty() ? "" : ", ") + std::string{text};
  result.meaning = meaning;
  result.set = one_value([&field, values](const std::string& written) -> problem {
    for (const auto& [text, value] : values) {
      if (text != written) continue;
      field = value;
      return std::nullopt;
    }
    return quoted(written) + " is not one of its values";
  });
  result.show = [&field, values] {
    for (const auto& [text, value] : values)
      if (value == field) return std::vector{std::string{text}};
    return std::vector<std::string>{};
  };
  return result;
}

/// Reads one text into a value, or says what is wrong with it.
using text_reader = problem (*)(std::string_view written, std::string& result);

setting text(std::string_view name, std::string& field, std::string_view value, std::string allowed,
  text_reader reader, std::string_view meaning) {
  setting result;
  result.name = name;
  result.value = value;
  result.allowed = std::move(allowed);
  result.meaning = meaning;
  result.set = one_value([&field, reader](const std::string& written) {
    auto wrong = check_characters(written);
    return wrong ? wrong : reader(written, field);
  });
  result.show = [&field] { return std::vector{field}; };
  return result;
}

setting texts(std::string_view name, std::vector<std::string>& field, std::string_view value,
  std::string allowed, text_reader reader, std::string_view meaning) {
  setting result;
  result.name = name;
  result.value = value;
  result.allowed = std::move(allowed);
  result.meaning = meaning;
  result.values = arity::many;
  result.set = [&field, reader](const std::vector<std::string>& written) -> problem {
    std::vector<std::string> read;
    for (const std::string& item : written) {
      std::string one;
      if (auto wrong = check_characters(item)) return wrong;
      if (auto wrong = reader(item, one)) return wrong;
      if (std::find(read.begin(), read.end(), one) == read.end()) read.push_back(std::move(one));
    }
    field = std::move(read);
    return std::nullopt;
  };
  result.show = [&field] { return field; };
  return result;
}

/// A DNS name in letters, digits and hyphens (RFC 1123, section 2.1), in lower case.
bool is_host_name(std::string_view name) {
  if (name.empty() || name.size() > 253) return false;
  std::size_t label = 0;
  for (std::size_t i = 0; i <= name.size(); ++i) {
    if (i == name.size() || name[i] == '.') {
      if (label == 0 || label > 63 || name[i - 1] == '-') return false;
      label = 0;
      continue;
    }
    const auto c = static_cast<unsigned char>(name[i]);
    if (std::isalnum(c) == 0 && !(c == '-' && label > 0)) return false;
    ++label;
  }
  return true;
}

bool is_numeric(int family, const std::string& address) {
  std::array<unsigned char, sizeof(in6_addr)> binary{};
  return inet_pton(family, address.c_str(), binary.data()) == 1;
}

/// A host as it stands in a `Host` field: a name, an IPv4 address, or an IPv6 address in brackets.
bool is_host(std::string_view host) {
  if (host.size() > 2 && host.front() == '[' && host.back() == ']')
    return is_numeric(AF_INET6, std::string{host.substr(1, host.size() - 2)});
  return is_host_name(host);
}

std::optional<uint16_t> read_port(std::string_view text) {
  const auto number = leading_number(text);
  if (!number || !number->second.empty() || number->first > 65535) return std::nullopt;
  return static_cast<uint16_t>(number->first);
}

problem read_domain(std::string_view written, std::string& result) {
  // A label of 63 characters, a dot, and the port of a further server must still fit before it (RFC
  // 1035, 2.3.4).
  if (!is_host_name(written) || written.size() > 180)
    return quoted(written) +
           " is not a DNS name of at most 180 characters; write for example preview.localhost";
  result = lower(written);
  return std::nullopt;
}

problem read_host(std::string_view written, std::string& result) {
  if (!is_host(written))
    return quoted(written) +
           " is not a host name; write for example ide.example.com, without a port";
  result = lower(written);
  return std::nullopt;
}

/// An origin as a browser sends it (RFC 6454, section 6.2): scheme, host, and a port unless it is
/// the scheme's own.
problem read_origin(std::string_view written, std::string& result) {
  const std::string origin = lower(written);
  std::string_view rest = origin;
  std::string_view own_port;
  if (rest.substr(0, 7) == "http://") {
    rest.remove_prefix(7);
    own_port = ":80";
  } else if (rest.substr(0, 8) == "https://") {
    rest.remove_prefix(8);
    own_port = ":443";
  }
  std::string_view host = rest;
  bool good = !own_port.empty();
  const std::size_t colon = rest.rfind(':');
  if (good && colon != std::string_view::npos && rest.find(']', colon) == std::string_view::npos) {
    host = rest.substr(0, colon);
    good = read_port(rest.substr(colon + 1)).value_or(0) != 0;
  }
  if (!good || !is_host(host))
    return quoted(written) +
           " is not an origin; write for example https://ide.example.com, without a path";
  result = origin;
  if (rest.substr(host.size()) == own_port) result.resize(result.size() - own_port.size());
  return std::nullopt;
}

constexpr uint16_t usual_port(url_scheme scheme) {
  return scheme == url_scheme::https ? 443 : 80;
}

problem read_public_address(std::string_view written, std::optional<public_address>& result) {
  if (written.empty()) {
    result.reset();
    return std::nullopt;
  }
  const std::string text = lower(written);
  const std::size_t colon = std::min(text.find(':'), text.size());
  const std::string_view scheme = std::string_view{text}.substr(0, colon);
  public_address read;
  if (scheme == "http") read.scheme = url_scheme::http;
  bool good = scheme == "http" || scheme == "https";
  if (colon < text.size()) {
    const uint16_t port = read_port(std::string_view{text}.substr(colon + 1)).value_or(0);
    good = good && port != 0;
    if (port != usual_port(read.scheme)) read.port = port;
  }
  if (!good)
    return quoted(written) + " is no scheme with a port or without; write for example https:8443";
  result = read;
  return std::nullopt;
}

std::string show_address(const public_address& value) {
  const std::string scheme = value.scheme == url_scheme::https ? "https" : "http";
  return value.port == 0 ? scheme : scheme + ':' + std::to_string(value.port);
}

/// A source of a CSP `frame-ancestors` directive; only what could break out of the header is
/// refused.
problem read_frame_ancestor(std::string_view written, std::string& result) {
  const bool good = !written.empty() && std::all_of(written.begin(), written.end(), [](char c) {
    return c > ' ' && c < 0x7f && c != ';' && c != ',';
  });
  if (!good)
    return quoted(written) +
           " is not a source; write for example https://ide.example.com, one source a value";
  result = written;
  return std::nullopt;
}

/// A peer whose forwarding fields are believed.
problem read_peer(std::string_view written, std::string& result) {
  net::http::trusted_peers peers;
  if (!peers.add(written))
    return quoted(written) +
           " is neither an address nor a network; write for example 10.0.0.0/8, ::1 or unix";
  result = written;
  return std::nullopt;
}

/// A file that is read later: keys.
problem read_path(std::string_view written, std::string& result) {
  if (written.empty() || written.front() != '/')
    return quoted(written) + " is not an absolute path; write for example /etc/previewd/ide.pem";
  result = written;
  return std::nullopt;
}

/// The same, or none.
problem read_path_or_none(std::string_view written, std::string& result) {
  if (!written.empty()) return read_path(written, result);
  result.clear();
  return std::nullopt;
}

problem read_store_path(std::string_view written, std::string& result) {
  if (!written.empty() && (written.front() != '/' || written.back() == '/'))
    return quoted(written) +
           " is not the absolute path of a file; write for example /var/lib/previewd/state.db";
  result = written;
  return std::nullopt;
}

/// The name of a service in tokens.
problem read_audience(std::string_view written, std::string& result) {
  const bool good =
    std::all_of(written.begin(), written.end(), [](char c) { return c > ' ' && c < 0x7f; });
  if (!good || written.empty() || written.size() > 256)
    return quoted(written) + " is not 1 to 256 characters without blanks";
  result = written;
  return std::nullopt;
}

problem read_forward_url(std::string_view written, std::string& result) {
  net::http::forward_address ignored;
  if (!written.empty() && !net::http::read_forward_address(written, ignored))
    return quoted(written) +
           " is neither http:// with a loopback address nor unix: with an absolute path; write for "
           "example http://127.0.0.1:3000/auth or unix:/run/app.sock:/auth";
  result = written;
  return std::nullopt;
}

problem read_cookie_name(std::string_view written, std::string& result) {
  constexpr std::string_view separators = "()<>@,;:\\\"/[]?={} \t";
  const bool good = std::all_of(written.begin(), written.end(),
    [&](char c) { return c > ' ' && c < 0x7f && separators.find(c) == std::string_view::npos; });
  if (!good || written.empty() || written.size() > 256)
    return quoted(written) + " is no name of a cookie (RFC 6265, section 4.1.1)";
  result = written;
  return std::nullopt;
}

problem read_shell(std::string_view written, std::string& result) {
  const std::string path{written};
  if (path.empty() || path.front() != '/')
    return quoted(written) + " is not an absolute path; write for example /bin/bash";
  if (access(path.c_str(), X_OK) != 0) {
    const int error = errno;
    return quoted(written) + " cannot be executed (" + std::strerror(error) +
           "); write for example /bin/bash";
  }
  result = path;
  return std::nullopt;
}

problem read_account(std::string_view written, std::string& result) {
  std::string name{written};
  for (const std::string_view placeholder : {"{project}", "{user}"}) {
    for (std::size_t at = 0; (at = name.find(placeholder)) != std::string::npos;)
      name.erase(at, placeholder.size());
  }
  // What adduser(8) could allow; the files have fields between colons, and lines.
  const bool good = std::all_of(name.begin(), name.end(), [](char c) {
    return c > ' ' && c < 0x7f && std::string_view{":{}/,"}.find(c) == std::string_view::npos;
  });
  if (!good || written.size() > 256)
    return quoted(written) + " is no account; write for example coder or dev-{user}";
  result = written;
  return std::nullopt;
}

problem read_listen_address(const std::string& written, listen_address& result) {
  if (written.rfind("unix:", 0) == 0) {
    result.path = written.substr(5);
    // sun_path holds 107 bytes and a zero (unix(7)).
    if (result.path.size() > 1 && result.path.front() == '/' && result.path.size() <= 107)
      return std::nullopt;
    return quoted(written) +
           " does not name an absolute path of at most 107 bytes; write for example "
           "unix:/run/previewd.sock";
  }
  const std::size_t colon = written.rfind(':');
  const std::string host = written.substr(0, std::min(colon, written.size()));
  const auto port = colon == std::string::npos
                      ? std::nullopt
                      : read_port(std::string_view{written}.substr(colon + 1));
  const bool v6 = host.size() > 2 && host.front() == '[' && host.back() == ']';
  result.address = v6 ? host.substr(1, host.size() - 2) : host;
  result.port = port.value_or(0);
  if (port && is_numeric(v6 ? AF_INET6 : AF_INET, result.address)) return std::nullopt;
  return quoted(written) +
         " is not a numeric address with a port; write for example 127.0.0.1:4000";
}

/// A network in CIDR notation (RFC 4632, section 3.1; RFC 4291, section 2.3) without host bits.
problem read_network(std::string_view written, std::string& result) {
  const std::size_t slash = written.rfind('/');
  const std::string address{written.substr(0, slash)};
  std::array<unsigned char, 16> bytes{};
  const bool v6 = address.find(':') != std::string::npos;
  bool good = slash != std::string_view::npos &&
              inet_pton(v6 ? AF_INET6 : AF_INET, address.c_str(), bytes.data()) == 1;
  std::size_t length = 0;
  if (good) {
    const std::string_view digits = written.substr(slash + 1);
    const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), length);
    const std::size_t most = v6 ? 128 : 32;
    good = error == std::errc{} && end == digits.data() + digits.size() && length <= most;
    for (std::size_t bit = length; good && bit < most; ++bit)
      good = (bytes[bit / 8] & (0x80U >> (bit % 8))) == 0;
  }
  if (!good)
    return quoted(written) + " is not a network; write for example 10.1.0.0/16, without host bits";
  result = written;
  return std::nullopt;
}

setting frame_ancestors(std::optional<std::vector<std::string>>& field) {
  std::vector<std::string> unused;
  setting result =
    texts("preview.frame_ancestors", unused, "SOURCE", "CSP sources", read_frame_ancestor,
      "who may frame a preview whose server forbids it; an empty list: its answers are left as "
      "they are");
  result.default_text = "the service's own origins";
  result.set = [&field](const std::vector<std::string>& written) -> problem {
    std::vector<std::string> read;
    if (auto wrong = texts({}, read, {}, {}, read_frame_ancestor, {}).set(written)) return wrong;
    field = std::move(read);
    return std::nullopt;
  };
  result.show = [&field] { return field.value_or(std::vector<std::string>{}); };
  return result;
}

setting listen(std::vector<listen_address>& field) {
  setting result;
  result.name = "listen";
  result.value = "ADDRESS";
  result.allowed = "addresses with a port (0: any free one), unix:/path";
  result.meaning =
    "where the service listens, unless sockets are handed over to it (LISTEN_FDS); beyond loopback "
    "only with auth.mode = token or forward";
  result.values = arity::many;
  result.set = [&field](const std::vector<std::string>& written) -> problem {
    std::vector<listen_address> read;
    for (const std::string& item : written) {
      listen_address one;
      if (auto wrong = check_characters(item)) return wrong;
      if (auto wrong = read_listen_address(item, one)) return wrong;
      if (std::find(read.begin(), read.end(), one) != read.end() && one.port != 0)
        return quoted(item) + " is there twice";
      read.push_back(std::move(one));
    }
    if (read.empty()) return "names no address; write for example 127.0.0.1:4000";
    field = std::move(read);
    return std::nullopt;
  };
  result.show = [&field] {
    std::vector<std::string> shown;
    for (const listen_address& item : field) shown.push_back(to_string(item));
    return shown;
  };
  return result;
}

setting address_for_browsers(std::optional<public_address>& field) {
  setting result;
  result.name = "public.address";
  result.value = "SCHEME";
  result.allowed = "http or https, which may have :PORT after it";
  result.meaning =
    "by which scheme, and port unless it is the scheme's own, browsers reach public.hosts and "
    "previews, where a proxy before the service has others than the service itself";
  result.set = one_value([&field](const std::string& written) {
    auto wrong = check_characters(written);
    return wrong ? wrong : read_public_address(written, field);
  });
  result.show = [&field] { return std::vector{field ? show_address(*field) : std::string{}}; };
  return result;
}

/// What `service::change` takes over while the service runs. Whatever would need more than a new
/// value, for what begins afterwards, is not among it.
constexpr std::array<std::string_view, 21> live{"tls.certificate_file", "tls.key_file",
  "health.interval", "health.timeout", "health.failures", "proxy.hold", "proxy.hold_bytes",
  "proxy.connect_timeout", "proxy.upgrade_timeout", "proxy.response_timeout", "proxy.idle_timeout",
  "proxy.pipes", "limits.header_bytes", "limits.header_timeout", "limits.connections",
  "limits.terminals_per_user", "auth.secret_file", "auth.public_key_file", "shutdown.timeout",
  "log.level", "log.format"};

}  // namespace

std::vector<setting> setting_table(settings& target) {
  using namespace std::chrono_literals;
  constexpr uint64_t kib = 1024;
  constexpr uint64_t mib = 1024 * kib;

  std::vector<setting> table;
  std::string_view group = "Addresses";
  auto add = [&](setting one) -> setting& {
    one.group = group;
    if (std::find(live.begin(), live.end(), one.name) != live.end()) one.changes = change::live;
    return table.emplace_back(std::move(one));
  };

  add(listen(target.listen));
  add(
    texts("public.hosts", target.public_names.hosts, "NAME", "host names without a port", read_host,
      "further names under which the service is reached, beside loopback addresses and localhost"));
  add(address_for_browsers(target.public_names.address));
  add(text("tls.certificate_file", target.tls.certificate_file, "PATH", "an absolute path",
    read_path_or_none,
    "a certificate in PEM, followed by those that vouch for it; with it every TCP address speaks "
    "HTTPS, UNIX sockets do not; read again on SIGHUP"));
  add(text("tls.key_file", target.tls.key_file, "PATH", "an absolute path", read_path_or_none,
    "its key in PEM, without a passphrase, which other users of the machine cannot read; read "
    "again on SIGHUP"));
  add(text("preview.domain", target.preview.domain, "NAME", "a DNS name", read_domain,
    "the suffix of preview origins; a real one needs a wildcard DNS entry"));
  add(choice<path_addresses>("preview.path", target.preview.path,
    {{"auto", path_addresses::by_mode}, {"on", path_addresses::on}, {"off", path_addresses::off}},
    "whether previews have path addresses (/preview/project/user/) too; auto: with auth.mode = "
    "none alone, since an app under one shares the origin of the service, and can do there what "
    "its user can"));
  add(choice<preview_sharing>("preview.access", target.preview.access,
    {{"private", preview_sharing::members}, {"project", preview_sharing::project},
      {"public", preview_sharing::everyone}},
    "who sees a preview until somebody says it (PATCH /api/servers/{generation}); private: who may "
    "use its workspace; project: who has a right in its project; public: whoever knows its "
    "address; with auth.mode = none everybody does"));
  add(frame_ancestors(target.preview.frame_ancestors));
  add(texts("preview.allow_upstreams", target.preview.allow_upstreams, "NETWORK",
    "networks in CIDR notation", read_network,
    "networks whose servers may be registered by hand, beside loopback addresses"));

  group = "Dev servers";
  add(duration("health.interval", target.health.interval, 500ms, 1h, "5s",
    "between two probes of a server; up to four times as long while it is unreachable"));
  add(duration("health.timeout", target.health.timeout, 50ms, 1min, "1s",
    "how long a probe waits for a connection"));
  add(count("health.failures", target.health.failures, 0, 100,
    "time-outs in a row, beyond the first, that make a server unreachable; a refusal counts at "
    "once"));
  add(duration("detection.timeout", target.detection.timeout, 1s, 10min, "30s",
    "how long new servers are looked for often after output or a change of the foreground job"));
  add(duration("detection.interval", target.detection.interval, 10ms, 1s, "40ms",
    "between two such looks; otherwise there is one every 80ms, or as seldom as this if it is "
    "longer"));

  group = "Proxy";
  add(duration("proxy.hold", target.proxy.hold, 0ms, 1min, "2s",
    "how long requests wait for a server that starts or restarts; 0: not at all"));
  add(size("proxy.hold_bytes", target.proxy.hold_bytes, 0, 16 * mib, "64KiB",
    "the largest body of a request that is held"));
  add(duration("proxy.connect_timeout", target.proxy.connect_timeout, 50ms, 1min, "2s",
    "for a connection to a dev server"));
  add(duration("proxy.upgrade_timeout", target.proxy.upgrade_timeout, 100ms, 10min, "10s",
    "for a dev server's answer to a WebSocket upgrade"));
  add(duration("proxy.response_timeout", target.proxy.response_timeout, 0ms, 24h, "60s",
    "for the first byte of a dev server's answer; 0: none"));
  add(duration("proxy.idle_timeout", target.proxy.idle_timeout, 1s, 1h, "60s",
    "for a client: between two requests, for the next part of a body, and for one write"));
  add(count("proxy.pipes", target.proxy.pipes, 0, 10'000,
    "pipes of each I/O thread, through which the kernel moves long bodies and busy WebSockets; two "
    "descriptors and at most 1 MiB each; without one they are copied"));
  add(texts("proxy.trusted", target.proxy.trusted, "PEER", "addresses, networks, unix", read_peer,
    "front proxies whose Forwarded and X-Forwarded-* fields are passed on and added to; those of "
    "others are dropped"));

  group = "Terminals";
  add(text("terminal.shell", target.terminal.shell, "PATH", "an executable file", read_shell,
        "what a terminal runs when no command is given"))
    .default_text = "$SHELL, else /bin/bash";
  add(duration("terminal.detached", target.terminal.detached, 0ms, 24h * 30, "1h",
    "how long a terminal lives with nobody attached or using it, and one that has exited can be "
    "read; 0: for ever"));
  add(
    text("terminal.run_as", target.terminal.run_as, "ACCOUNT", "an account; {user}, {project}",
      read_account,
      "the user of this machine whose rights terminals have, with that account's groups and home; "
      "{user} and {project} in it are the workspace's, for an account each; previewd has to be "
      "started as root for it"))
    .default_text = "previewd's own";
  add(choice<bool>("terminal.no_new_privileges", target.terminal.no_new_privileges,
    {{"off", false}, {"on", true}},
    "on: nothing in a terminal gets more rights than that, as by sudo or su"));
  add(choice<exit_policy>("terminal.on_exit", target.terminal.on_exit,
    {{"kill", exit_policy::kill}, {"keep", exit_policy::keep}},
    "what happens to what still runs in a terminal when its shell ends"));
  add(size("terminal.scrollback", target.terminal.scrollback, 4 * kib, 64 * mib, "256KiB",
    "output kept for those who attach later"));

  group = "Limits";
  add(size("limits.header_bytes", target.limits.header_bytes, 1 * kib, 1 * mib, "32KiB",
    "the largest head of a request"));
  add(duration("limits.header_timeout", target.limits.header_timeout, 100ms, 10min, "15s",
    "for the whole head of a request"));
  add(count("limits.connections", target.limits.connections, 16, 1'000'000,
    "connections of clients at once, WebSockets among them; more of them wait"));
  add(count("limits.per_address", target.limits.per_address, 0, 1'000'000,
    "connections of clients of one address, but for those in proxy.trusted; more of them are "
    "answered 429; 0: no limit"));
  add(count("limits.per_workspace", target.limits.per_workspace, 0, 1'000'000,
    "connections to the dev servers of one workspace, WebSockets among them; what needs one more "
    "is "
    "answered 429; 0: no limit"));
  add(count("limits.terminals_per_user", target.limits.terminals_per_user, 1, 10'000,
    "running terminals of one user, over all projects"));
  add(size("limits.client_buffer", target.limits.client_buffer, 64 * kib, 1024 * mib, "1MiB",
    "how far a client may fall behind before it is disconnected"));
  add(count("limits.event_ring", target.limits.event_ring, 16, 1'048'576,
    "events kept for clients that come back"));

  group = "Clients";
  add(duration("socketio.recovery", target.socketio.recovery, 0ms, 1h, "2m",
    "how long a Socket.IO client whose connection broke may be away and still get its name, its "
    "rooms and the events it has missed (connection state recovery); 0: it begins anew"));

  group = "Process";
  add(count("io.threads", target.io.threads, 0, 256, "threads that move bytes; 0: one a core"));
  add(count("actors.threads", target.actors.threads, 1, 256, "threads that run actors"));
  add(choice<auth_mode>("auth.mode", target.auth.mode,
    {{"none", auth_mode::none}, {"token", auth_mode::token}, {"forward", auth_mode::forward}},
    "who may use the service; none: whoever reaches its loopback address; token: who has a JSON "
    "Web Token; forward: whom the embedding application lets in (docs/security.md)"));
  add(texts("auth.secret_file", target.auth.secret_files, "PATH", "absolute paths", read_path,
    "files with a secret of HS256 each, which other users of the machine cannot read; read again "
    "on SIGHUP"));
  add(texts("auth.public_key_file", target.auth.public_key_files, "PATH", "absolute paths",
    read_path, "files with public keys in PEM, Ed25519 or RSA; read again on SIGHUP"));
  add(text("auth.audience", target.auth.audience, "NAME", "1 to 256 characters", read_audience,
    "what a token's aud must name; a token without aud is taken"));
  add(duration("auth.leeway", target.auth.leeway, 0ms, 5min, "30s",
    "how far apart the clocks may be of who issues tokens and of this machine"));
  add(count("auth.attempts", target.auth.attempts, 0, 1'000'000,
    "tokens and links of one address that may be refused in a minute, but for those in "
    "proxy.trusted; then it is answered 429 for the rest of it; 0: no limit"));
  add(count("auth.hand_overs", target.auth.hand_overs, 1, 65'536,
    "links for browsers that may be asked for in a minute"));
  add(duration("auth.session", target.auth.session, 1min, 24h * 30, "12h",
    "how long a browser that was handed over may stay; never longer than its token is valid"));
  add(text("auth.forward_url", target.auth.forward_url, "URL",
    "http:// with a loopback address, or unix:/path, which may have :/target after it",
    read_forward_url, "where the embedding application is asked, with auth.mode = forward"));
  add(duration("auth.forward_timeout", target.auth.forward_timeout, 50ms, 1min, "2s",
    "for one question to the application; then the request is answered 503"));
  add(duration("auth.forward_cache", target.auth.forward_cache, 0ms, 10min, "10s",
    "how long what the application grants is not asked again; 0: each request is asked about"));
  add(count("auth.forward_asks", target.auth.forward_asks, 1, 65'536,
    "questions to the application that may be under way; beyond it requests are answered 503"));
  add(texts("auth.forward_cookie", target.auth.forward_cookies, "NAME", "names of cookies",
    read_cookie_name,
    "cookies by which the application knows its users: no dev server gets or sets one"));
  add(texts("auth.origins", target.auth.origins, "ORIGIN", "origins", read_origin,
    "further origins whose pages may use the service, beside its own"));
  add(choice<metrics_visibility>("metrics.public", target.metrics.visibility,
    {{"off", metrics_visibility::guarded}, {"on", metrics_visibility::open}},
    "whether /metrics answers under any host name, for a Prometheus elsewhere"));
  add(duration(
    "shutdown.timeout", target.shutdown.timeout, 100ms, 10min, "10s", "for an orderly end"));
  add(text("store.path", target.store.path, "PATH", "an absolute path, or empty", read_store_path,
        "where what is registered is kept, so that servers that survive a crash of previewd keep "
        "their generation (docs/store.md); one previewd alone has it; empty: nothing is kept"))
    .default_text = "$XDG_STATE_HOME/previewd/state.db, in ~/.local/state when that is not set";
  add(choice<log::level>("log.level", target.log.threshold,
    {{"debug", log::level::debug}, {"info", log::level::info}, {"warn", log::level::warn},
      {"error", log::level::error}, {"off", log::level::off}},
    "the least severe lines that are written"));
  add(choice<log::format>("log.format", target.log.format,
    {{"text", log::format::text}, {"json", log::format::json}}, "how lines are written"));
  return table;
}

std::string variable_name(std::string_view setting_name) {
  std::string result = "PREVIEWD_";
  for (const char c : setting_name)
    result += c == '.' ? '_' : static_cast<char>(std::toupper(static_cast<unsigned char>(c)));
  return result;
}

}  // namespace previewd
