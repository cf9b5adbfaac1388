#pragma once

#include <sys/types.h>

#include <chrono>
#include <cstdint>
#include <functional>
#include <optional>
#include <string>

#include "process_cost.hpp"

namespace previewd::bench {

/// What each client does, again and again.
enum class load_kind : uint8_t {
  http,             // one request after the other on one connection
  download,         // the same with a long answer
  upload,           // the same with a long body of the request
  churn,            // a new connection for each request
  websocket_churn,  // connect, upgrade, one message there and back, close
  echo,             // WebSockets that stay open: one message after the other
  idle,             // WebSockets that stay open and say nothing
  stop              // the same until the server behind the proxy is killed
};

/// One run of the load generator, on the loopback interface.
struct load_settings {
  load_kind kind = load_kind::http;
  uint16_t port = 0;
  std::string host;        // the Host field; empty: 127.0.0.1:port
  std::string path = "/";  // of requests; for a download, what the server answers with is its own
  uint32_t clients = 32;   // at once; 1 to 20000
  uint64_t bytes = 64 << 20;                  // of an uploaded body; 1 to 1 GiB
  uint32_t message_bytes = 128;               // of a WebSocket message; 1 to 4096
  std::chrono::milliseconds duration{3000};   // 100 ms to 5 min, after the warm-up
  std::chrono::milliseconds warm_up{300};     // not measured
  std::chrono::milliseconds patience{30000};  // for WebSockets to open, or to close; 1 s to 5 min
  observed_process observed;                  // whose time and memory are reported
  pid_t victim = 0;                           // for `stop`: ended by SIGKILL
};

/// Where a run is, a few times a second.
struct load_progress {
  double done;  // 0 to 1
  uint64_t completed;
  uint64_t failed;
};

/// What came of it. Times in microseconds, from the connection's (on kept ones: the request's)
/// start to its end.
struct load_result {
  uint64_t completed = 0;  // requests, round trips, or tunnels that opened
  uint64_t total = 0;      // completed ones, with those of the warm-up
  uint64_t failed = 0;     // refused, reset, wrongly answered, or without an end
  double seconds = 0;
  uint64_t bytes = 0;  // of bodies and messages, one way
  uint32_t p50 = 0;
  uint32_t p99 = 0;
  uint32_t max = 0;
  std::string first_error;  // empty: none

  // Of the observed process, while it was measured.
  std::optional<double> processor_seconds;
  std::optional<uint64_t> bytes_before;  // proportional memory before the clients came
  std::optional<uint64_t> bytes_with;    // and with all of them there, at the end
};

/// Runs the load on the calling thread; `progress` may be null. Ends after the duration at the
/// latest, and the time that WebSockets take to open or to close; a client that made no progress in
/// the measured time counts as failed. Throws std::system_error when there is no epoll.
load_result
run_load(const load_settings& settings, const std::function<void(const load_progress&)>& progress);

}  // namespace previewd::bench
