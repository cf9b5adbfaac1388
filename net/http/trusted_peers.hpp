#pragma once

#include <array>
#include <string_view>
#include <vector>

namespace previewd::net::http {

/// Peers whose `Forwarded` and `X-Forwarded-*` fields are believed (`proxy.trusted`): addresses,
/// networks, and clients of UNIX sockets.
class trusted_peers {
public:
  /// Adds `10.0.0.0/8`, `127.0.0.1`, `fd00::/8` or `unix`. False: it is none of these.
  bool add(std::string_view peer);

  /// Whether an address is one of them: numeric, or "unix".
  bool contains(std::string_view address) const;

private:
  // An address of IPv4 stands as the IPv6 one that it is mapped to (RFC 4291, section 2.5.5.2).
  struct network {
    std::array<unsigned char, 16> bytes;
    unsigned prefix;  // bits
  };

  std::vector<network> networks_;
  bool unix_ = false;
};

}  // namespace previewd::net::http
