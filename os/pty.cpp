#include "previewd/os/pty.hpp"

#include <fcntl.h>
#include <sys/ioctl.h>
#include <termios.h>
#include <unistd.h>

#include <cstdlib>

#include "previewd/os/system_call.hpp"

namespace previewd::os {

namespace {

const call_site open_master{"pty.open", {EMFILE, ENFILE, ENOMEM, EAGAIN, ENOSPC, EIO}};
const call_site unlock_slave{"pty.unlock", {EIO}};
const call_site name_slave{"pty.name", {EIO}};
const call_site open_slave_site{"pty.open_slave", {EMFILE, ENFILE, ENOMEM, EIO}};
const call_site give_slave{"pty.give", {EPERM, EIO}};
const call_site change_size{"pty.resize", {EIO}};
const call_site ask_group{"pty.foreground", {ENOTTY}};
const call_site ask_session{"pty.session", {ENOTTY}};

error_code set_size(int fd, window_size size) noexcept {
  winsize wanted{};
  wanted.ws_col = size.columns;
  wanted.ws_row = size.rows;
  if (system_call(change_size, [&] { return ::ioctl(fd, TIOCSWINSZ, &wanted); }) == -1)
    return last_error();
  return {};
}

}  // namespace

result<pty> pty::open(window_size size) {
  unique_fd master{system_call(
    open_master, [] { return ::posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC | O_NONBLOCK); })};
  if (!master) return last_error();
  // grantpt(3) does nothing on devpts, which gives the slave to whoever opens the master.
  if (system_call(unlock_slave, [&] { return ::unlockpt(master.get()); }) == -1)
    return last_error();
  char path[64];
  if (system_call(name_slave, [&] {
        errno = ::ptsname_r(master.get(), path, sizeof path);
        return errno == 0 ? 0 : -1;
      }) == -1)
    return last_error();
  if (const error_code failure = set_size(master.get(), size)) return failure;
  return pty{std::move(master), path};
}

result<unique_fd> pty::open_slave() const {
  unique_fd slave{system_call(open_slave_site,
    [this] { return ::open(slave_path_.c_str(), O_RDWR | O_NOCTTY | O_CLOEXEC); })};
  if (!slave) return last_error();
  return slave;
}

error_code pty::give_to(uid_t user) const noexcept {
  constexpr auto same_group = static_cast<gid_t>(-1);
  if (system_call(give_slave, [&] { return ::chown(slave_path_.c_str(), user, same_group); }) == -1)
    return last_error();
  return {};
}

error_code pty::resize(window_size size) const noexcept {
  return set_size(master_.get(), size);
}

result<pid_t> pty::foreground_group() const noexcept {
  pid_t group = 0;
  if (system_call(ask_group, [&] { return ::ioctl(master_.get(), TIOCGPGRP, &group); }) == -1)
    return last_error();
  return group;
}

result<pid_t> pty::session() const noexcept {
  const pid_t session = system_call(ask_session, [&] { return ::tcgetsid(master_.get()); });
  if (session == -1) return last_error();
  return session;
}

}  // namespace previewd::os
