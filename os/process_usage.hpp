#pragma once

#include <cstdint>
#include <map>
#include <string>

namespace previewd::os {

/// What this process uses of the machine (proc(5), getrlimit(2)). What cannot be read is 0.
struct process_usage {
  double cpu_seconds = 0;    // user and system, of all threads
  double start_seconds = 0;  // since 1970
  uint64_t resident_bytes = 0;
  /// What the program has from the allocator and has not given back (mallinfo(3)), without what the
  /// allocator keeps for later.
  uint64_t allocated_bytes = 0;
  uint64_t virtual_bytes = 0;
  uint64_t threads = 0;
  uint64_t children = 0;          // zombies too
  uint64_t descriptor_limit = 0;  // RLIMIT_NOFILE, the soft one
  /// Open descriptors by kind: `socket`, `pipe`, `pty`, `pidfd`, `epoll`, `event`, `timer`,
  /// `signal` and `file`, which is all else.
  std::map<std::string, uint64_t> descriptors;
};

/// Reads it. Takes some microseconds for every open descriptor: not for a thread that others wait
/// for.
process_usage read_process_usage();

}  // namespace previewd::os
