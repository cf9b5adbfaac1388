#include "previewd/net/http/forward_address.hpp"

#include <arpa/inet.h>
#include <netinet/in.h>

#include <algorithm>
#include <charconv>

namespace previewd::net::http {

namespace {

constexpr std::size_t longest_socket_path = 107;  // sun_path less its zero (unix(7))
constexpr std::size_t longest_target = 1024;

// What may stand in a request's target as it is (RFC 3986, section 3.3 and 3.4).
bool is_target(std::string_view text) noexcept {
  return !text.empty() && text.size() <= longest_target && text.front() == '/' &&
         std::all_of(
           text.begin(), text.end(), [](char c) { return c > ' ' && c < 0x7f && c != '#'; });
}

bool is_loopback(const std::string& host) noexcept {
  if (in_addr v4{}; ::inet_pton(AF_INET, host.c_str(), &v4) == 1)
    return ntohl(v4.s_addr) >> 24 == 127;
  in6_addr v6{};
  return ::inet_pton(AF_INET6, host.c_str(), &v6) == 1 && IN6_IS_ADDR_LOOPBACK(&v6);
}

}  // namespace

bool read_forward_address(std::string_view written, forward_address& address) {
  forward_address result;
  constexpr std::string_view unix_scheme = "unix:";
  constexpr std::string_view http_scheme = "http://";
  if (written.substr(0, unix_scheme.size()) == unix_scheme) {
    written.remove_prefix(unix_scheme.size());
    const std::size_t colon = std::min(written.find(':'), written.size());
    result.path = std::string{written.substr(0, colon)};
    if (colon != written.size()) result.target = std::string{written.substr(colon + 1)};
    if (result.path.size() > longest_socket_path || result.path.empty() ||
        result.path.front() != '/' || !is_target(result.target))
      return false;
    address = std::move(result);
    return true;
  }
  if (written.substr(0, http_scheme.size()) != http_scheme) return false;
  written.remove_prefix(http_scheme.size());
  const std::size_t slash = std::min(written.find('/'), written.size());
  std::string_view host = written.substr(0, slash);
  if (slash != written.size()) result.target = std::string{written.substr(slash)};
  result.port = 80;
  const std::size_t colon = host.rfind(':');
  if (colon != std::string_view::npos && host.find(']', colon) == std::string_view::npos) {
    const std::string_view digits = host.substr(colon + 1);
    const auto read = std::from_chars(digits.data(), digits.data() + digits.size(), result.port);
    if (read.ec != std::errc{} || read.ptr != digits.data() + digits.size() || result.port == 0)
      return false;
    host = host.substr(0, colon);
  }
  if (host.size() > 2 && host.front() == '[' && host.back() == ']')
    host = host.substr(1, host.size() - 2);
  if (host == "localhost") host = "127.0.0.1";
  result.host = std::string{host};
  // What says who may is not asked over a network that others can listen to.
  if (!is_loopback(result.host) || !is_target(result.target)) return false;
  address = std::move(result);
  return true;
}

}  // namespace previewd::net::http
