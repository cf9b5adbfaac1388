#include "previewd/net/http/trusted_peers.hpp"

#include <arpa/inet.h>

#include <algorithm>
#include <charconv>
#include <cstddef>
#include <optional>
#include <string>

namespace previewd::net::http {

namespace {

using address_bytes = std::array<unsigned char, 16>;

struct numeric_address {
  address_bytes bytes{};
  unsigned bits = 128;  // of the address as it was written
};

std::optional<numeric_address> numeric(std::string_view text) {
  const std::string address{text};
  numeric_address result;
  if (inet_pton(AF_INET6, address.c_str(), result.bytes.data()) == 1) return result;
  if (inet_pton(AF_INET, address.c_str(), result.bytes.data() + 12) != 1) return std::nullopt;
  std::fill_n(result.bytes.begin(), 10, static_cast<unsigned char>(0));
  result.bytes[10] = result.bytes[11] = 0xff;
  result.bits = 32;
  return result;
}

}  // namespace

bool trusted_peers::add(std::string_view peer) {
  if (peer == "unix") {
    unix_ = true;
    return true;
  }
  const std::size_t slash = peer.find('/');
  const auto address = numeric(peer.substr(0, slash));
  if (!address) return false;
  unsigned prefix = address->bits;
  if (slash != std::string_view::npos) {
    const std::string_view digits = peer.substr(slash + 1);
    const char* end = digits.data() + digits.size();
    const auto read = std::from_chars(digits.data(), end, prefix);
    if (digits.empty() || read.ec != std::errc{} || read.ptr != end || prefix > address->bits)
      return false;
  }
  networks_.push_back({address->bytes, prefix + (128 - address->bits)});
  return true;
}

bool trusted_peers::contains(std::string_view address) const {
  if (address == "unix") return unix_;
  if (networks_.empty()) return false;
  const auto given = numeric(address);
  if (!given) return false;
  const address_bytes& bytes = given->bytes;
  return std::any_of(networks_.begin(), networks_.end(), [&](const network& n) {
    const std::size_t whole = n.prefix / 8;
    if (!std::equal(
          bytes.begin(), bytes.begin() + static_cast<std::ptrdiff_t>(whole), n.bytes.begin()))
      return false;
    const unsigned rest = n.prefix % 8;
    return rest == 0 || ((bytes[whole] ^ n.bytes[whole]) >> (8 - rest)) == 0;
  });
}

}  // namespace previewd::net::http
