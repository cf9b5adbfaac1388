#pragma once

#include <cstdint>
#include <string>

namespace previewd::bench {

/// The server behind the proxies: answers every GET with a page of `body_bytes`, and echoes
/// WebSocket messages.
struct upstream_settings {
  uint16_t port = 0;           // 0: any free one
  uint32_t body_bytes = 1024;  // 64 to 1 MiB
};

/// Serves on 127.0.0.1 and prints its address to stdout, until SIGTERM, SIGINT or SIGHUP. Returns
/// an exit code.
int run_upstream(const upstream_settings& settings);

}  // namespace previewd::bench
