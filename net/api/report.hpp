#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <string>

#include "previewd/messages/counters.hpp"
#include "previewd/net/http/counters.hpp"
#include "previewd/net/kernel/kernel_watch.hpp"
#include "previewd/os/process_usage.hpp"
#include "previewd/support/actor_census.hpp"

/// What the whole service has counted and holds, for `/metrics` and `/debug/state`
/// (docs/metrics.md).
namespace previewd::net::api {

/// Of all I/O threads together. Every thread is asked at a moment of its own.
struct io_report {
  http::http_counters http;
  std::size_t connections = 0;  // of clients, tunnels not among them
  std::size_t tunnels = 0;
  std::size_t held_requests = 0;
  std::size_t pooled_upstreams = 0;
  std::size_t objects = 0;            // everything with operations under way
  std::size_t timers = 0;             // deadlines that are set
  std::size_t polling_clients = 0;    // of Socket.IO
  std::size_t websocket_clients = 0;  // of Socket.IO
  std::size_t stream_readers = 0;     // of Server-Sent Events
  std::size_t attached_clients = 0;   // of terminals, by raw WebSocket
  std::size_t open_terminals = 0;     // with a PTY, or with output that can still be read
  uint64_t terminal_bytes_in = 0;     // typed
  uint64_t terminal_bytes_out = 0;
};

struct service_report {
  io_report io;
  kernel::kernel_counts kernel;
  registry_counters registry;
  std::array<uint64_t, actor_census::kinds.size()> actors{};  // by actor_census::kinds
  uint64_t all_actors = 0;                                    // of the actor system
  os::process_usage process;
};

/// Whether requests can be served, and what was looked at: `ok`, or what is wrong.
struct readiness {
  std::string registry;
  std::string pty;
  std::string store;  // also `memory`: what is registered is not kept at all

  bool ready() const {
    return registry == "ok" && pty == "ok" && (store == "ok" || store == "memory");
  }
};

/// The exposition for Prometheus (text format 0.0.4).
std::string metrics_text(const service_report& report);

/// The answer of `GET /debug/state`.
std::string state_json(const service_report& report);

/// The answer of `GET /readyz`.
std::string readiness_json(const readiness& what);

}  // namespace previewd::net::api
