#pragma once

#include <optional>
#include <string_view>
#include <vector>

#include "previewd/os/listening_socket.hpp"
#include "previewd/os/result.hpp"

namespace previewd::os {

/// Parses one line of /proc/net/tcp or tcp6 (proc(5)). Nothing for the heading, for a socket that
/// does not listen, and for one without inode.
std::optional<listening_socket> parse_proc_net(std::string_view line, address_family family);

/// Appends all listening sockets of this network namespace, in order, from /proc/net/tcp{,6}: the
/// fall-back where sock_diag is missing, since the kernel walks all connections for it. On failure
/// nothing is appended; a kernel without IPv6 is none.
error_code append_listeners_from_proc(std::vector<listening_socket>& sockets);

}  // namespace previewd::os
