#pragma once

#include <arpa/inet.h>
#include <linux/sockios.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

#include "previewd/tests/support/eventually.hpp"

namespace previewd::test {

/// Where a UNIX socket is (unix(7)). The path has at most 107 bytes.
inline sockaddr_un local_address(const std::string& path) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  path.copy(address.sun_path, sizeof address.sun_path - 1);
  return address;
}

/// One end of a connection that sends exactly the bytes it is told, and stops where it is told.
/// Every wait ends at the tests' deadline. For one thread at a time.
class raw_peer {
public:
  raw_peer() = default;
  explicit raw_peer(int descriptor) : descriptor_{descriptor} {}
  ~raw_peer() { close(); }
  raw_peer(raw_peer&& other) noexcept
      : descriptor_{std::exchange(other.descriptor_, -1)},
        read_{std::move(other.read_)},
        ended_{other.ended_},
        reset_{other.reset_} {}
  raw_peer& operator=(raw_peer&& other) noexcept {
    if (this != &other) {
      close();
      descriptor_ = std::exchange(other.descriptor_, -1);
      read_ = std::move(other.read_);
      ended_ = other.ended_;
      reset_ = other.reset_;
    }
    return *this;
  }

  static raw_peer connect(uint16_t port) {
    raw_peer peer = unconnected();
    peer.connect_to(port);
    return peer;
  }

  /// To a UNIX socket.
  static raw_peer connect(const std::string& path) {
    raw_peer peer{::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0)};
    const sockaddr_un address = local_address(path);
    if (::connect(peer.descriptor_, reinterpret_cast<const sockaddr*>(&address), sizeof address) !=
        0)
      peer.close();
    return peer;
  }

  /// Has its descriptor, and nobody at the other end yet.
  static raw_peer unconnected() {
    return raw_peer{::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)};
  }

  /// Connects, or closes.
  void connect_to(uint16_t port) {
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    address.sin_port = htons(port);
    if (::connect(descriptor_, reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0)
      close();
    const int on = 1;
    if (open()) ::setsockopt(descriptor_, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
  }

  bool open() const { return descriptor_ >= 0; }

  /// Sends all. False: the other side does not take it any more.
  bool send(std::string_view bytes) {
    while (!bytes.empty()) {
      if (!ready(POLLOUT)) return false;
      const ssize_t n =
        ::send(descriptor_, bytes.data(), bytes.size(), MSG_NOSIGNAL | MSG_DONTWAIT);
      if (n < 0 && errno == EAGAIN) continue;
      if (n <= 0) return false;
      bytes.remove_prefix(static_cast<std::size_t>(n));
    }
    return true;
  }

  /// Whether all that was sent is there for the other side to read.
  bool all_arrived() const {
    int left = 0;
    return ::ioctl(descriptor_, SIOCOUTQ, &left) == 0 && left == 0;
  }

  /// Everything up to and including `end`. What comes after it is kept for the next call. Less: the
  /// other side has ended, or the deadline has passed.
  std::string read_until(std::string_view end) {
    while (read_.find(end) == std::string::npos && receive()) {
    }
    const std::size_t at = read_.find(end);
    return take(at == std::string::npos ? read_.size() : at + end.size());
  }
  std::string read_head() { return read_until("\r\n\r\n"); }

  /// Exactly so many bytes, or less as above.
  std::string read_exactly(std::size_t count) {
    while (read_.size() < count && receive()) {
    }
    return take(std::min(count, read_.size()));
  }

  /// Everything until the other side ends.
  std::string read_to_end() {
    while (receive()) {
    }
    return take(read_.size());
  }

  /// Waits for the other side's end (a FIN or a reset), whatever it sends before.
  bool wait_for_end() {
    read_to_end();
    return ended_;
  }

  /// Whether bytes, or the end, are there right now.
  bool has_something() {
    pollfd p{descriptor_, POLLIN, 0};
    return !read_.empty() || ::poll(&p, 1, 0) > 0;
  }

  /// Whether bytes are there right now; an end is none.
  bool has_bytes() {
    char byte = 0;
    return !read_.empty() || (open() && ::recv(descriptor_, &byte, 1, MSG_PEEK | MSG_DONTWAIT) > 0);
  }

  /// Whether the other side's end, once read, was a reset.
  bool was_reset() const { return reset_; }

  /// No more bytes from this side (a FIN); it still reads.
  void shutdown() { ::shutdown(descriptor_, SHUT_WR); }

  /// Ends with a reset.
  void reset() {
    const linger now{1, 0};
    ::setsockopt(descriptor_, SOL_SOCKET, SO_LINGER, &now, sizeof now);
    close();
  }

  void close() {
    if (descriptor_ >= 0) ::close(std::exchange(descriptor_, -1));
  }

  /// The descriptor, which is somebody else's now.
  int release() { return std::exchange(descriptor_, -1); }

private:
  bool ready(short events) {
    if (descriptor_ < 0) return false;
    pollfd p{descriptor_, events, 0};
    int n;
    do n = ::poll(&p, 1, static_cast<int>(std::chrono::milliseconds{deadline}.count()));
    while (n == -1 && errno == EINTR);
    return n > 0;
  }

  bool receive() {
    if (ended_ || !ready(POLLIN)) return false;
    char bytes[65536];
    const ssize_t n = ::recv(descriptor_, bytes, sizeof bytes, 0);
    if (n <= 0) {
      reset_ = n < 0 && errno == ECONNRESET;
      ended_ = true;
      return false;
    }
    read_.append(bytes, static_cast<std::size_t>(n));
    return true;
  }

  std::string take(std::size_t count) {
    std::string result = read_.substr(0, count);
    read_.erase(0, count);
    return result;
  }

  int descriptor_ = -1;
  std::string read_;
  bool ended_ = false;
  bool reset_ = false;
};

/// A dev server that does only what the test says.
class raw_server {
public:
  /// Whether others may listen on the same port (SO_REUSEPORT).
  enum class sharing { alone, shared };

  /// On any loopback port, or on this one.
  explicit raw_server(uint16_t port = 0, sharing how = sharing::alone) {
    descriptor_ = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    const int on = 1;
    ::setsockopt(descriptor_, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    if (how == sharing::shared) ::setsockopt(descriptor_, SOL_SOCKET, SO_REUSEPORT, &on, sizeof on);
    sockaddr_in address{};
    address.sin_port = htons(port);
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t length = sizeof address;
    if (::bind(descriptor_, reinterpret_cast<const sockaddr*>(&address), length) == 0 &&
        ::listen(descriptor_, 128) == 0 &&
        ::getsockname(descriptor_, reinterpret_cast<sockaddr*>(&address), &length) == 0)
      port_ = ntohs(address.sin_port);
  }
  /// On a UNIX socket, in place of what was there.
  explicit raw_server(const std::string& path)
      : descriptor_{::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0)} {
    const sockaddr_un address = local_address(path);
    ::unlink(path.c_str());
    if (::bind(descriptor_, reinterpret_cast<const sockaddr*>(&address), sizeof address) == 0)
      ::listen(descriptor_, 128);
  }
  ~raw_server() { stop(); }
  raw_server(const raw_server&) = delete;
  raw_server& operator=(const raw_server&) = delete;

  /// 0: it is on a UNIX socket.
  uint16_t port() const { return port_; }

  /// What the kernel lists it under.
  uint64_t inode() const {
    struct stat status {};
    return ::fstat(descriptor_, &status) == 0 ? status.st_ino : 0;
  }

  /// Whether somebody waits to be accepted.
  bool has_visitor() const {
    pollfd p{descriptor_, POLLIN, 0};
    return ::poll(&p, 1, 0) == 1;
  }

  /// The next connection; not open when none has come by the deadline.
  raw_peer accept() {
    pollfd p{descriptor_, POLLIN, 0};
    if (::poll(&p, 1, static_cast<int>(std::chrono::milliseconds{deadline}.count())) <= 0)
      return {};
    return raw_peer{::accept4(descriptor_, nullptr, nullptr, SOCK_CLOEXEC)};
  }

  /// Whether a connection waits to be accepted right now.
  bool has_connection() const {
    pollfd p{descriptor_, POLLIN, 0};
    return ::poll(&p, 1, 0) > 0;
  }

  /// From now on connections are refused.
  void stop() {
    if (descriptor_ >= 0) ::close(std::exchange(descriptor_, -1));
  }

private:
  int descriptor_ = -1;
  uint16_t port_ = 0;
};

}  // namespace previewd::test
