#pragma once

#include <sys/types.h>

#include <cstdint>
#include <string>

#include "previewd/os/result.hpp"
#include "previewd/os/unique_fd.hpp"

namespace previewd::os {

/// The size of a terminal's window in character cells.
struct window_size {
  uint16_t columns = 80;
  uint16_t rows = 24;
};

/// The master of a pseudo terminal (pty(7)): non-blocking, close-on-exec, closed on destruction,
/// which hangs up on the session at the other end. Move-only; for one thread at a time.
class pty {
public:
  /// Opens one with that size. Errors: `too_many_files_open`, `no_space_on_device` (no PTY left).
  static result<pty> open(window_size size);

  /// The descriptor, still owned. A read fails with EIO once the last slave is closed; while a
  /// background job holds it, that may be long after the shell has ended.
  int master() const noexcept { return master_.get(); }

  /// Where the slave is opened, for example "/dev/pts/3".
  const std::string& slave_path() const noexcept { return slave_path_; }

  /// Opens the slave, as nobody's controlling terminal. Errors as for `open`.
  result<unique_fd> open_slave() const;

  /// Makes the slave that user's own, as login(1) does: programs open it by its name. Takes root's
  /// rights, or CAP_CHOWN.
  error_code give_to(uid_t user) const noexcept;

  /// Sets the size; the foreground job gets SIGWINCH when it changes (TIOCSWINSZ, tty_ioctl(4)).
  error_code resize(window_size size) const noexcept;

  /// The process group that has the terminal (tcgetpgrp(3)); 0 when there is none, for example
  /// because no session has it yet.
  result<pid_t> foreground_group() const noexcept;

  /// The session that the terminal controls (tcgetsid(3)). Error:
  /// `inappropriate_io_control_operation` when there is none.
  result<pid_t> session() const noexcept;

private:
  pty(unique_fd master, std::string slave_path) noexcept
      : master_{std::move(master)}, slave_path_{std::move(slave_path)} {}

  unique_fd master_;
  std::string slave_path_;
};

}  // namespace previewd::os
