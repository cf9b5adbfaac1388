#pragma once

#include <caf/meta/type_name.hpp>
#include <caf/optional.hpp>
#include <cstdint>
#include <string>
#include <vector>

#include "previewd/messages/preview_server.hpp"
#include "previewd/messages/server.hpp"

namespace previewd {

/// `up`: requests go to it. `starting`: it listens and has not answered; requests wait up to
/// `proxy.hold` and then go to it all the same. `held`: nothing may be sent, it is restarting or
/// has to prove itself; requests wait as long. `suspended`: nothing is sent, what is open stays
/// open.
enum class route_state : uint8_t { up, starting, held, suspended };
std::string_view to_string(route_state value) noexcept;

/// What an I/O thread needs to proxy to one server.
struct route {
  server_ref ref;
  endpoint upstream;
  prefix_mode prefix = prefix_mode::stripped;
  bool prefix_known = true;  // else nothing is sent that came by a path address
  /// It compares the names in `X-Forwarded-*` with `Host` or `Origin`, which say what it believes
  /// to be, and refuses what differs: it is told no others.
  bool names_hidden = false;
  route_state state = route_state::held;
  bool primary = false;
  preview_server_actor server;  // who is told of refusals and tunnels
  /// Of its listening sockets. A connection counts only while one of them is there: otherwise
  /// somebody else may have taken the port over. Empty: not known.
  std::vector<uint64_t> inodes;
  /// Who is let in. A thread that applies a narrower one than before closes what others have open.
  preview_access access = preview_access::members;

  template <class Inspector>
  friend typename Inspector::result_type inspect(Inspector& f, route& x) {
    return f(caf::meta::type_name("route"), x.ref, x.upstream, x.prefix, x.prefix_known,
      x.names_hidden, x.state, x.primary, x.server, x.inodes, x.access);
  }
};

/// All that the I/O threads know of one workspace. Published whole at every change; a thread keeps
/// the highest revision. A server that is absent or `held` may not be reached any more: a thread
/// that applies the routes closes what it has open to it.
struct workspace_routes {
  workspace_key key;
  uint64_t revision = 0;
  std::string label;  // of its origin; empty: it has none
  std::vector<route> routes;
  caf::optional<stop_record> last_stop;

  template <class Inspector>
  friend typename Inspector::result_type inspect(Inspector& f, workspace_routes& x) {
    return f(
      caf::meta::type_name("workspace_routes"), x.key, x.revision, x.label, x.routes, x.last_stop);
  }
};

}  // namespace previewd
