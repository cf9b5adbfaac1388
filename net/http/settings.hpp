#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "previewd/messages/server.hpp"
#include "previewd/net/http/trusted_peers.hpp"

namespace previewd::net::http {

/// Whether previews also have path addresses (`preview.path`).
enum class path_addresses : uint8_t { on, off };

/// Whether `/metrics` answers under every host name and to every origin (`metrics.public`).
enum class metrics_access : uint8_t { guarded, open };

/// What is spoken on a connection to a client: HTTP as it is, or inside TLS.
enum class transport : uint8_t { plain, tls };

/// By which scheme and port browsers reach the service through a proxy before it
/// (`public.address`).
struct front_address {
  previewd::scheme scheme = previewd::scheme::https;
  uint16_t port = 443;
};

/// Settings of one thread's HTTP server and proxy. Times are durations of the steady clock.
struct http_settings {
  /// How long a request waits for a server that is down and may come back; 0: never. 0 to 1 min.
  std::chrono::milliseconds hold{2000};
  /// The largest body of a request that waits. 0 to 16 MiB.
  uint64_t hold_bytes = 64 * 1024;
  /// Requests that wait for one workspace, on all threads. 1 to 10000.
  uint32_t max_held = 64;
  /// How long a server that refused a connection is spared when nobody says what became of it.
  std::chrono::milliseconds spare{5000};

  /// To accept a connection. 50 ms to 1 min.
  std::chrono::milliseconds connect_timeout{2000};
  /// To answer an upgrade. 100 ms to 10 min.
  std::chrono::milliseconds upgrade_timeout{10000};
  /// To the first byte of an answer; 0: none. To 24 h.
  std::chrono::milliseconds response_timeout{60000};
  /// For a client: between two requests, for the next part of a body, and for one write. 1 s to 1
  /// h.
  std::chrono::milliseconds idle_timeout{60000};
  /// For a client's whole request head. 100 ms to 10 min.
  std::chrono::milliseconds header_timeout{15000};
  /// How long what is still under way may take to arrive after one side has ended. 100 ms to 1 min.
  std::chrono::milliseconds drain{2000};

  /// How long an unused connection to a server is kept. Less than the 5 s of node, or requests
  /// meet its end. 0 to 1 min.
  std::chrono::milliseconds pool_timeout{4000};
  /// Unused connections kept for one server, on this thread. 0 to 1000.
  std::size_t pool_connections = 32;

  /// Pipes through which long bodies and busy tunnels are moved in the kernel (splice(2)), on this
  /// thread; without one they are copied. Two descriptors each. 0 to 10000.
  std::size_t pipes = 64;

  std::size_t header_bytes = 32 * 1024;         // of a request's head; 1 KiB to 1 MiB
  std::size_t answer_header_bytes = 64 * 1024;  // of an answer's head; 1 KiB to 1 MiB
  /// Connections and tunnels of clients, on all threads. 16 to 1000000.
  std::size_t connections = 4096;
  /// Of clients of one address, on all threads; 0: no limit. Not of those in `trusted`.
  uint32_t per_address = 0;
  /// To servers of one workspace, tunnels among them, on all threads; 0: no limit.
  uint32_t per_workspace = 0;
  /// Workspaces without a server whose last stop is remembered, on this thread. 1 to 1000000.
  std::size_t remembered_workspaces = 4096;
  /// Times a request may come through previewd before it is a loop (508). 1 to 100.
  unsigned hops = 5;

  /// What TCP listeners speak; UNIX sockets are always plain.
  transport over = transport::plain;

  trusted_peers trusted;  // whose forwarding fields are believed

  std::string preview_domain = "preview.localhost";  // lower case
  path_addresses paths = path_addresses::on;
  metrics_access metrics = metrics_access::guarded;
  std::vector<std::string> public_hosts;  // further names of the service, lower case
  /// How browsers reach `public_hosts` and previews; none given: as the listeners speak.
  std::optional<front_address> front;
  std::vector<std::string> auth_origins;  // further origins that may use the service, lower case
  /// Cookies by which the application that is asked (`forward.hpp`) knows its users: no server
  /// behind a preview gets or sets one.
  std::vector<std::string> withheld_cookies;
  /// Who may frame a preview that forbids it (CSP `frame-ancestors` sources). None given: the
  /// service's own origins. An empty list: such answers are left as they are.
  std::optional<std::vector<std::string>> frame_ancestors;
};

}  // namespace previewd::net::http
