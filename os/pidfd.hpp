#pragma once

#include <sys/types.h>

#include <utility>

#include "previewd/os/result.hpp"
#include "previewd/os/unique_fd.hpp"

namespace previewd::os {

/// A process that no later one can be mistaken for: readable once it has ended, even if it is not
/// our child (pidfd_open(2), Linux 5.3). Move-only, close-on-exec, closed on destruction. Never
/// blocks. Distinct objects may be used on distinct threads.
class pidfd {
public:
  /// Opens `pid`. Errors: `no_such_process` (already gone: treat as ended), `too_many_files_open`.
  /// A pid from /proc may be reused by now: compare its start time (proc(5), stat 22) afterwards.
  static result<pidfd> open(pid_t pid) noexcept;

  /// The descriptor, still owned: for poll(2). It becomes readable when the process ends, also
  /// while nobody has waited for it.
  int get() const noexcept { return fd_.get(); }

  /// Gives the descriptor away.
  [[nodiscard]] unique_fd release() noexcept { return std::move(fd_); }

  /// Sends a signal to this very process (pidfd_send_signal(2)). Errors: `no_such_process` when it
  /// has ended, `operation_not_permitted`.
  error_code send_signal(int number) const noexcept;

private:
  explicit pidfd(unique_fd fd) noexcept : fd_{std::move(fd)} {}

  unique_fd fd_;
};

}  // namespace previewd::os
