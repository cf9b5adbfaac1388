#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace previewd::net::http {

/// Where the application is asked. A value.
struct forward_address {
  std::string host;  // a numeric loopback address; empty: `path` is meant
  uint16_t port = 0;
  std::string path;          // of a UNIX socket
  std::string target = "/";  // path and query of the request
};

/// Reads `http://127.0.0.1:3000/auth` (also with `localhost` or `[::1]`) or `unix:/run/app.sock`,
/// which may have the request's path after a second colon. False: it is neither.
bool read_forward_address(std::string_view written, forward_address& address);

}  // namespace previewd::net::http
