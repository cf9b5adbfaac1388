#include "previewd/os/listening_socket.hpp"

#include <arpa/inet.h>

#include <tuple>

namespace previewd::os {

bool operator<(const listening_socket& a, const listening_socket& b) noexcept {
  return std::tie(a.port, a.family, a.address, a.inode) <
         std::tie(b.port, b.family, b.address, b.inode);
}

std::string address_text(const listening_socket& socket) {
  char text[INET6_ADDRSTRLEN];
  const int family = socket.family == address_family::v4 ? AF_INET : AF_INET6;
  return ::inet_ntop(family, socket.address.data(), text, sizeof text) != nullptr ? text : "";
}

}  // namespace previewd::os
