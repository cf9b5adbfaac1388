#include "previewd/os/pty.hpp"

#include <fcntl.h>
#include <sys/ioctl.h>
#include <termios.h>

#include <cstdlib>

namespace previewd::os {

namespace {

error_code set_size(int fd, window_size size) noexcept {
  winsize wanted{};
  wanted.ws_col = size.columns;
  wanted.ws_row = size.rows;
  if (retry_interrupted([&] { return ::ioctl(fd, TIOCSWINSZ, &wanted); }) == -1)
    return last_error();
  return {};
}

}  // namespace

result<pty> pty::open(window_size size) {
  unique_fd master{
    retry_interrupted([] { return ::posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC | O_NONBLOCK); })};
  if (!master) return last_error();
  // grantpt(3) does nothing on devpts, which gives the slave to whoever opens the master.
  if (::unlockpt(master.get()) == -1) return last_error();
  char path[64];
  if (const int failure = ::ptsname_r(master.get(), path, sizeof path); failure != 0)
    return system_error(failure);
  if (const error_code failure = set_size(master.get(), size)) return failure;
  return pty{std::move(master), path};
}

error_code pty::resize(window_size size) const noexcept {
  return set_size(master_.get(), size);
}

result<pid_t> pty::foreground_group() const noexcept {
  pid_t group = 0;
  if (retry_interrupted([&] { return ::ioctl(master_.get(), TIOCGPGRP, &group); }) == -1)
    return last_error();
  return group;
}

result<pid_t> pty::session() const noexcept {
  const pid_t session = ::tcgetsid(master_.get());
  if (session == -1) return last_error();
  return session;
}

}  // namespace previewd::os
