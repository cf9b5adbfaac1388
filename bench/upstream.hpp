#pragma once

#include <cstdint>

namespace previewd::bench {

/// The server behind the proxies. A GET of `/bytes/N` is answered with N bytes, any other one with
/// a page of `body_bytes`; the body of any other request is read, and answered with a short one;
/// WebSocket messages of at most 4 KiB are echoed.
struct upstream_settings {
  uint16_t port = 0;           // 0: any free one
  uint32_t body_bytes = 1024;  // 64 to 1 MiB
};

/// Serves on 127.0.0.1 and prints its address to stdout, until SIGTERM, SIGINT or SIGHUP. Returns
/// an exit code.
int run_upstream(const upstream_settings& settings);

}  // namespace previewd::bench
