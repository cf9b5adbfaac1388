#include "previewd/os/inherited_listeners.hpp"

#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <charconv>
#include <cstddef>
#include <cstring>
#include <optional>
#include <system_error>

namespace previewd::os {

namespace {

constexpr int first_descriptor = 3;  // SD_LISTEN_FDS_START

/// Makes of the first part of a list between colons what is returned.
std::string_view take_name(std::string_view& names) {
  const std::size_t colon = names.find(':');
  const std::string_view name = names.substr(0, colon);
  names.remove_prefix(colon == std::string_view::npos ? names.size() : colon + 1);
  return name;
}

/// An option of a socket; nothing when it cannot be had.
std::optional<int> option(int descriptor, int which) {
  int value = 0;
  socklen_t length = sizeof value;
  if (::getsockopt(descriptor, SOL_SOCKET, which, &value, &length) != 0) return std::nullopt;
  return value;
}

/// What keeps it from being one of ours, as the end of a sentence; empty: nothing.
std::string objection(int descriptor) {
  // At once: no process that is started meanwhile may get it.
  if (::fcntl(descriptor, F_SETFD, FD_CLOEXEC) != 0) return "is not open";
  const auto type = option(descriptor, SO_TYPE);
  if (!type) return "is no socket";
  const auto domain = option(descriptor, SO_DOMAIN);
  const bool is_tcp =
    (domain == AF_INET || domain == AF_INET6) && option(descriptor, SO_PROTOCOL) == IPPROTO_TCP;
  if (type != SOCK_STREAM || (!is_tcp && domain != AF_UNIX))
    return "is neither a TCP socket nor a UNIX stream socket";
  if (option(descriptor, SO_ACCEPTCONN) != 1) return "does not listen";
  return {};
}

std::string numeric(int family, const void* address) {
  std::array<char, INET6_ADDRSTRLEN> text{};
  return ::inet_ntop(family, address, text.data(), text.size()) == nullptr ? "" : text.data();
}

/// Where a socket listens. False: it cannot be said.
bool find_address(inherited_listener& listener) {
  sockaddr_storage bound{};
  socklen_t length = sizeof bound;
  if (::getsockname(listener.descriptor, reinterpret_cast<sockaddr*>(&bound), &length) != 0)
    return false;
  if (bound.ss_family == AF_INET) {
    sockaddr_in in{};
    std::memcpy(&in, &bound, sizeof in);
    listener.address = numeric(AF_INET, &in.sin_addr);
    listener.port = ntohs(in.sin_port);
    return !listener.address.empty();
  }
  if (bound.ss_family == AF_INET6) {
    sockaddr_in6 in{};
    std::memcpy(&in, &bound, sizeof in);
    listener.address = numeric(AF_INET6, &in.sin6_addr);
    listener.port = ntohs(in.sin6_port);
    return !listener.address.empty();
  }
  sockaddr_un un{};
  std::memcpy(&un, &bound, sizeof un);
  if (length <= offsetof(sockaddr_un, sun_path)) return false;
  std::string_view path{un.sun_path, length - offsetof(sockaddr_un, sun_path)};
  if (path.front() == '\0') {
    listener.path = "@";
    listener.path += path.substr(1);
    return true;
  }
  // The kernel counts the zero at its end (unix(7)).
  listener.path = path.substr(0, path.find('\0'));
  return true;
}

}  // namespace

std::variant<std::vector<inherited_listener>, std::string>
inherited_listeners(const listeners_offer& offer) {
  std::vector<inherited_listener> listeners;
  if (offer.pid != std::to_string(::getpid()) || offer.fds.empty()) return listeners;
  unsigned count = 0;
  const char* const fds_end = offer.fds.data() + offer.fds.size();
  const auto [end, error] = std::from_chars(offer.fds.data(), fds_end, count);
  // More than a process can have are not there.
  if (error != std::errc{} || end != fds_end || count > 1U << 20)
    return "LISTEN_FDS is \"" + std::string{offer.fds} + "\", which is no number of descriptors";
  std::string_view names = offer.fdnames;
  for (unsigned i = 0; i < count; ++i) {
    inherited_listener listener;
    listener.descriptor = first_descriptor + static_cast<int>(i);
    const std::string name{take_name(names)};
    std::string wrong = objection(listener.descriptor);
    if (wrong.empty() && !find_address(listener)) wrong = "has no address";
    if (!wrong.empty())
      return "LISTEN_FDS hands over descriptor " + std::to_string(listener.descriptor) +
             (name.empty() ? "" : " (" + name + ")") + ", which " + wrong;
    listeners.push_back(std::move(listener));
  }
  return listeners;
}

}  // namespace previewd::os
