#pragma once

#include <chrono>
#include <cstdint>
#include <string>
#include <vector>

namespace previewd::bench {

/// What each client does again and again.
enum class load_kind : uint8_t {
  keep_alive,  // one request after the other on one connection
  churn,       // a new connection for each request
  websocket,   // connect, upgrade, one message there and back, close
};

/// One run of the load generator.
struct load_settings {
  load_kind kind = load_kind::keep_alive;
  std::string address = "127.0.0.1";  // numeric, IPv4
  uint16_t port = 0;
  std::string host;  // the Host field; empty: address:port
  std::string path = "/";
  uint32_t clients = 32;                     // at once; 1 to 1000
  std::chrono::milliseconds duration{3000};  // 100 ms to 1 min, after the warm-up
  std::chrono::milliseconds warm_up{300};    // not measured
};

/// What came of it. Latencies in microseconds, from the connection's (keep-alive: the request's)
/// start to its end.
struct load_result {
  uint64_t completed = 0;
  uint64_t total = 0;   // completed ones, with those of the warm-up
  uint64_t failed = 0;  // connections that were refused, reset or answered wrongly
  double seconds = 0;
  uint64_t bytes = 0;  // received
  uint32_t p50 = 0;
  uint32_t p99 = 0;
  std::string first_error;  // empty: none
};

/// Runs the load on the calling thread. Ends after the duration; a client that hangs then is
/// abandoned and counts as failed.
load_result run_load(const load_settings& settings);

}  // namespace previewd::bench
