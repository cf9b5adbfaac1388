#pragma once

#include <array>
#include <caf/timespan.hpp>
#include <cstddef>
#include <cstdint>
#include <string_view>

#include "previewd/messages/counters.hpp"

namespace previewd::net::http {

/// What one I/O thread's server has done since the start. That thread only, so counting is plain
/// addition.
struct http_counters {
  /// Who answers a request: previewd itself, or a preview's address by HTTP or by a WebSocket.
  enum class kind : uint8_t { service, preview, websocket };
  static constexpr std::array<std::string_view, 3> kind_names{"service", "preview", "websocket"};
  static constexpr std::size_t code_classes = 5;  // 1xx to 5xx

  std::array<std::array<uint64_t, code_classes>, kind_names.size()> answers{};
  duration_histogram answer_time;  // from a request's head to the head of its answer
  duration_histogram probe_time;   // of health checks
  uint64_t upstream_refused = 0;   // connections refused, or closed before the first byte

  void answered(kind who, unsigned status) noexcept {
    const std::size_t place = status >= 100 && status < 600 ? status / 100 - 1 : code_classes - 1;
    ++answers[static_cast<std::size_t>(who)][place];
  }

  void add(const http_counters& other) noexcept {
    for (std::size_t i = 0; i < answers.size(); ++i)
      for (std::size_t j = 0; j < code_classes; ++j) answers[i][j] += other.answers[i][j];
    answer_time.add(other.answer_time);
    probe_time.add(other.probe_time);
    upstream_refused += other.upstream_refused;
  }
};

}  // namespace previewd::net::http
