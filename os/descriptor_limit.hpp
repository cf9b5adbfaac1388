#pragma once

#include <sys/types.h>

#include <cstdint>

namespace previewd::os {

/// Raises this process' soft limit of open descriptors to the hard one (setrlimit(2)), and returns
/// what it is now. Processes that `start_process` starts get back the one of before: programs that
/// use select(2), or close every descriptor there could be, are not made for a large one. Once,
/// before other threads start.
uint64_t raise_descriptor_limit() noexcept;

/// Gives a process the limit that this one began with. Does nothing before
/// `raise_descriptor_limit`.
void restore_descriptor_limit(pid_t process) noexcept;

}  // namespace previewd::os
