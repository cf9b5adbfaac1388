#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

namespace previewd::os {

/// A listening stream socket that this process was started with.
struct inherited_listener {
  int descriptor = -1;  // open as long as the process, closed on exec
  std::string address;  // numeric; empty for a UNIX socket
  uint16_t port = 0;
  std::string path;  // of a UNIX socket; `@name` in the abstract namespace (unix(7))

  friend bool operator==(const inherited_listener&, const inherited_listener&) = default;
};

/// What a service manager says of the sockets that it hands over (sd_listen_fds(3)): the variables
/// without their `LISTEN_`.
struct listeners_offer {
  std::string_view pid;      // for whom they are
  std::string_view fds;      // how many; the first is descriptor 3
  std::string_view fdnames;  // what the manager calls them, between colons; may be empty
};

/// The sockets that are handed over to this process, or one sentence: what is wrong with which.
/// None where the offer is made to another process, or to nobody. Call it before descriptors are
/// opened. Any number of times.
std::variant<std::vector<inherited_listener>, std::string>
inherited_listeners(const listeners_offer& offer);

}  // namespace previewd::os
