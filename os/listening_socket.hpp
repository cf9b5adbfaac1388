#pragma once

#include <array>
#include <cstdint>
#include <string>

namespace previewd::os {

enum class address_family : uint8_t { v4, v6 };

/// A TCP socket that listens, as the kernel lists it.
struct listening_socket {
  uint64_t inode = 0;  // unique among the living sockets of the network namespace
  uint16_t port = 0;
  address_family family = address_family::v4;
  /// Whether a v6 socket takes v6 connections only (IPV6_V6ONLY, ipv6(7)). Not known from
  /// /proc/net: false there.
  bool v6only = false;
  uint32_t uid = 0;                   // of who made it
  std::array<uint8_t, 16> address{};  // network order; the first 4 bytes for v4

  friend bool operator==(const listening_socket&, const listening_socket&) = default;
};

/// The order of all lists: port, family, address, inode.
bool operator<(const listening_socket& a, const listening_socket& b) noexcept;

/// The bound address as text: "127.0.0.1", "::".
std::string address_text(const listening_socket& socket);

}  // namespace previewd::os
