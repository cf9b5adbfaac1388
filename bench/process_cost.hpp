#pragma once

#include <sys/types.h>

#include <cstdint>
#include <optional>

namespace previewd::bench {

/// What is looked at: a process, alone or with all its descendants.
struct observed_process {
  enum class extent : uint8_t { alone, with_descendants };

  pid_t root = 0;  // 0: nothing
  extent how_far = extent::alone;
};

/// User and system time, in seconds, to a clock tick (proc(5), stat 14 and 15). Nothing: there is
/// no such process.
std::optional<double> processor_seconds(const observed_process& what);

/// Proportional memory, in bytes (proc(5), smaps_rollup: Pss): a page that several processes share
/// counts once. Nothing: there is no such process, or it may not be looked at.
std::optional<uint64_t> proportional_bytes(const observed_process& what);

}  // namespace previewd::bench
