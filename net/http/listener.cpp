#include "previewd/net/http/listener.hpp"

#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <boost/asio/ip/address.hpp>
#include <cerrno>
#include <cstring>
#include <system_error>
#include <utility>

#include "previewd/os/system_call.hpp"

namespace previewd::net::http {

namespace {

const os::call_site open_socket{"listen.socket", {EMFILE, ENFILE, ENOMEM, ENOBUFS}};
const os::call_site set_option{"listen.option", {ENOMEM}};
const os::call_site bind_socket{"listen.bind", {EADDRINUSE, EADDRNOTAVAIL, EACCES, ENOMEM}};
const os::call_site begin_to_listen{"listen.listen", {EADDRINUSE, ENOMEM}};
const os::call_site ask_port{"listen.port", {ENOBUFS}};
const os::call_site try_other{"listen.connect", {EAGAIN, EMFILE}};
const os::call_site change_mode{"listen.chmod", {EPERM}};
const os::call_site change_flags{"listen.flags", {EPERM}};
const os::call_site share_socket{"listen.share", {EMFILE, ENFILE}};

constexpr int backlog = 1024;

// The socket API takes every kind of address as a pointer to `sockaddr`.
struct any_address {
  sockaddr_storage storage{};
  socklen_t length = 0;

  sockaddr* get() noexcept { return reinterpret_cast<sockaddr*>(&storage); }
};

enum class sharing : uint8_t { alone, with_threads };

std::string why(int error) {
  return std::system_category().message(error);
}

any_address tcp_address(const boost::asio::ip::address& address, uint16_t port) {
  any_address result;
  if (address.is_v4()) {
    sockaddr_in in{};
    in.sin_family = AF_INET;
    in.sin_port = htons(port);
    const auto bytes = address.to_v4().to_bytes();
    std::memcpy(&in.sin_addr, bytes.data(), bytes.size());
    std::memcpy(&result.storage, &in, sizeof in);
    result.length = sizeof in;
  } else {
    sockaddr_in6 in{};
    in.sin6_family = AF_INET6;
    in.sin6_port = htons(port);
    const auto bytes = address.to_v6().to_bytes();
    std::memcpy(&in.sin6_addr, bytes.data(), bytes.size());
    std::memcpy(&result.storage, &in, sizeof in);
    result.length = sizeof in;
  }
  return result;
}

int bind_to(int fd, any_address& address) {
  return os::system_call(bind_socket, [&] { return ::bind(fd, address.get(), address.length); });
}

int listen_at(int fd) {
  return os::system_call(begin_to_listen, [&] { return ::listen(fd, backlog); });
}

bool set(int fd, int level, int option, int value = 1) {
  return os::system_call(
           set_option, [&] { return ::setsockopt(fd, level, option, &value, sizeof value); }) == 0;
}

// What is accepted has these too (tcp(7)). A client that has vanished without a word is noticed
// after two minutes.
bool set_options_of_clients(int fd) {
  return set(fd, IPPROTO_TCP, TCP_NODELAY) && set(fd, SOL_SOCKET, SO_KEEPALIVE) &&
         set(fd, IPPROTO_TCP, TCP_KEEPIDLE, 60) && set(fd, IPPROTO_TCP, TCP_KEEPINTVL, 15) &&
         set(fd, IPPROTO_TCP, TCP_KEEPCNT, 4);
}

// A listening TCP socket; below zero: the negated errno.
int open_tcp(any_address& address, sharing how) {
  const int fd = os::system_call(open_socket, [&] {
    return ::socket(address.storage.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  });
  if (fd < 0) return -errno;
  bool failed = !set(fd, SOL_SOCKET, SO_REUSEADDR);
  if (address.storage.ss_family == AF_INET6) failed = failed || !set(fd, IPPROTO_IPV6, IPV6_V6ONLY);
  if (how == sharing::with_threads) failed = failed || !set(fd, SOL_SOCKET, SO_REUSEPORT);
  failed = failed || !set_options_of_clients(fd);
  failed = failed || bind_to(fd, address) != 0 || listen_at(fd) != 0;
  if (!failed) return fd;
  const int error = errno;
  ::close(fd);
  return -error;
}

uint16_t port_of(int fd) {
  any_address bound;
  bound.length = sizeof bound.storage;
  if (os::system_call(ask_port, [&] { return ::getsockname(fd, bound.get(), &bound.length); }) != 0)
    return 0;
  if (bound.storage.ss_family == AF_INET) {
    sockaddr_in in{};
    std::memcpy(&in, &bound.storage, sizeof in);
    return ntohs(in.sin_port);
  }
  sockaddr_in6 in{};
  std::memcpy(&in, &bound.storage, sizeof in);
  return ntohs(in.sin6_port);
}

std::string open_tcp_listener(opened_listener& listener, std::size_t threads) {
  listen_spec& at = listener.at;
  boost::system::error_code not_numeric;
  const auto parsed = boost::asio::ip::make_address(at.address, not_numeric);
  if (not_numeric) return "cannot listen on " + at.address + ": it is no numeric address";
  const std::string shown =
    (parsed.is_v6() ? "[" + at.address + "]" : at.address) + ":" + std::to_string(at.port);

  // Alone at first: with SO_REUSEPORT another service of the same user could share the port, and
  // would not be noticed.
  any_address first = tcp_address(parsed, at.port);
  const int probe = open_tcp(first, sharing::alone);
  if (probe < 0) return "cannot listen on " + shown + ": " + why(-probe);
  at.port = port_of(probe);
  if (at.port == 0) {
    const int error = errno;
    ::close(probe);
    return "cannot listen on " + shown + ": " + why(error);
  }
  const auto family = parsed.is_v4() ? listening_socket::family::v4 : listening_socket::family::v6;
  if (threads == 1) {
    listener.sockets.emplace_back(probe, family);
    return {};
  }
  ::close(probe);
  any_address same = tcp_address(parsed, at.port);
  for (std::size_t i = 0; i < threads; ++i) {
    const int fd = open_tcp(same, sharing::with_threads);
    if (fd < 0) return "cannot listen on " + shown + ": " + why(-fd);
    listener.sockets.emplace_back(fd, family);
  }
  return {};
}

std::string open_unix_listener(opened_listener& listener) {
  const std::string& path = listener.at.path;
  sockaddr_un un{};
  un.sun_family = AF_UNIX;
  if (path.size() >= sizeof un.sun_path)
    return "cannot listen on unix:" + path + ": the path is longer than " +
           std::to_string(sizeof un.sun_path - 1) + " bytes";
  std::memcpy(un.sun_path, path.data(), path.size());
  any_address address;
  std::memcpy(&address.storage, &un, sizeof un);
  address.length = sizeof un;

  const auto new_socket = [] {
    return os::system_call(
      open_socket, [] { return ::socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0); });
  };
  const int fd = new_socket();
  if (fd < 0) return "cannot listen on unix:" + path + ": " + why(errno);
  listening_socket guard{fd, listening_socket::family::unix_path};
  int failed = bind_to(fd, address) == 0 ? 0 : errno;
  if (failed == EADDRINUSE) {
    // Left behind by a service that has ended, or somebody's?
    struct stat what {};
    const int other = new_socket();
    const bool answers = other < 0 || os::system_call(try_other, [&] {
      return ::connect(other, address.get(), address.length);
    }) == 0 || errno != ECONNREFUSED;
    if (other >= 0) ::close(other);
    const bool is_socket = ::lstat(path.c_str(), &what) == 0 && S_ISSOCK(what.st_mode);
    if (!answers && is_socket && ::unlink(path.c_str()) == 0)
      failed = bind_to(fd, address) == 0 ? 0 : errno;
  }
  // Only the service's own user may connect.
  if (failed == 0 &&
      os::system_call(change_mode, [&] { return ::chmod(path.c_str(), S_IRUSR | S_IWUSR); }) != 0)
    failed = errno;
  if (failed == 0 && listen_at(fd) != 0) failed = errno;
  if (failed != 0) return "cannot listen on unix:" + path + ": " + why(failed);
  listener.sockets.push_back(std::move(guard));
  return {};
}

std::string text_of(const listen_spec& at) {
  if (!at.path.empty()) return "unix:" + at.path;
  const bool v6 = at.address.find(':') != std::string::npos;
  return (v6 ? "[" + at.address + "]" : at.address) + ":" + std::to_string(at.port);
}

std::string share_listener(opened_listener& listener, std::size_t threads) {
  const listen_spec& at = listener.at;
  const auto failed = [&at] { return "cannot listen on " + text_of(at) + ": " + why(errno); };
  auto family = listening_socket::family::unix_path;
  if (at.path.empty()) {
    const bool v6 = at.address.find(':') != std::string::npos;
    family = v6 ? listening_socket::family::v6 : listening_socket::family::v4;
    if (!set_options_of_clients(at.descriptor)) return failed();
  }
  // Of the threads that a client wakes all but one find nobody.
  const int flags = ::fcntl(at.descriptor, F_GETFL);
  if (flags == -1 || os::system_call(change_flags,
                       [&] { return ::fcntl(at.descriptor, F_SETFL, flags | O_NONBLOCK); }) == -1)
    return failed();
  for (std::size_t i = 0; i < threads; ++i) {
    const int fd =
      os::system_call(share_socket, [&] { return ::fcntl(at.descriptor, F_DUPFD_CLOEXEC, 3); });
    if (fd < 0) return failed();
    listener.sockets.emplace_back(fd, family);
  }
  return {};
}

std::string open_listener(opened_listener& listener, std::size_t threads) {
  if (listener.at.descriptor >= 0) return share_listener(listener, threads);
  return listener.at.path.empty() ? open_tcp_listener(listener, threads)
                                  : open_unix_listener(listener);
}

}  // namespace

listening_socket::~listening_socket() {
  if (descriptor_ >= 0) ::close(descriptor_);
}

listening_socket::listening_socket(listening_socket&& other) noexcept
    : descriptor_{other.release()}, family_{other.family_} {}

listening_socket& listening_socket::operator=(listening_socket&& other) noexcept {
  if (this != &other) {
    if (descriptor_ >= 0) ::close(descriptor_);
    descriptor_ = other.release();
    family_ = other.family_;
  }
  return *this;
}

int listening_socket::release() noexcept {
  return std::exchange(descriptor_, -1);
}

listen_result open_listeners(const std::vector<listen_spec>& where, std::size_t threads) {
  listen_result result;
  for (const listen_spec& spec : where) {
    opened_listener listener{spec, {}};
    result.error = open_listener(listener, threads);
    if (!result.error.empty()) {
      result.listeners.clear();
      return result;
    }
    result.listeners.push_back(std::move(listener));
  }
  return result;
}

}  // namespace previewd::net::http
