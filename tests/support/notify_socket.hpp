#pragma once

#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>

#include <cerrno>
#include <chrono>
#include <cstddef>
#include <cstring>
#include <stdexcept>
#include <string>

#include "previewd/os/unique_fd.hpp"
#include "previewd/tests/support/eventually.hpp"

namespace previewd::test {

/// What a service manager hears of a service (sd_notify(3)).
class notify_socket {
public:
  /// `name`: a path, or `@` and a name in the abstract namespace, as $NOTIFY_SOCKET has it.
  explicit notify_socket(const std::string& name) {
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    std::memcpy(address.sun_path, name.data(), name.size());
    if (name.front() == '@') address.sun_path[0] = '\0';
    const auto length = static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + name.size());
    const timeval limit{std::chrono::duration_cast<std::chrono::seconds>(deadline).count(), 0};
    ::setsockopt(fd_.get(), SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
    if (::bind(fd_.get(), reinterpret_cast<const sockaddr*>(&address), length) != 0)
      throw std::runtime_error{"cannot bind " + name};
  }

  /// The next message; empty when none comes in time.
  std::string receive() const {
    char bytes[4096];
    ssize_t n = 0;
    do n = ::recv(fd_.get(), bytes, sizeof bytes, 0);
    while (n == -1 && errno == EINTR);
    return n <= 0 ? std::string{} : std::string{bytes, static_cast<std::size_t>(n)};
  }

private:
  os::unique_fd fd_{::socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0)};
};

}  // namespace previewd::test
