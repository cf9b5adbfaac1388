#pragma once

#include <chrono>
#include <thread>

namespace previewd::test {

/// How long a test waits for something that must come. Never a measure: only what ends a test that
/// would hang.
constexpr std::chrono::seconds deadline{20};

/// Polls `condition` until it holds, at most until the deadline. For kernel facts that have no
/// event to wait for.
template <class Condition>
bool eventually(Condition condition, std::chrono::milliseconds limit = deadline) {
  const auto end = std::chrono::steady_clock::now() + limit;
  while (!condition()) {
    if (std::chrono::steady_clock::now() > end) return false;
    std::this_thread::yield();
    std::this_thread::sleep_until(std::chrono::steady_clock::now() + std::chrono::milliseconds{1});
  }
  return true;
}

}  // namespace previewd::test
