#pragma once

#include <caf/meta/type_name.hpp>
#include <caf/optional.hpp>
#include <caf/timespan.hpp>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "previewd/messages/workspace.hpp"

namespace previewd {

/// Wall-clock time as it is shown outside (RFC 3339, UTC, milliseconds). Never used to measure a
/// duration.
using wall_time = std::chrono::system_clock::time_point;

/// A moment of the steady clock, as the time since that clock's epoch; 0: not known. For durations
/// between two threads of this process.
using steady_moment = caf::timespan;

/// `2026-01-01T00:00:00.000Z` (RFC 3339).
std::string to_rfc3339(wall_time time);

/// One registration of one preview server. The generation is given by the registry and grows for
/// ever, so that a removal which names an older registration changes nothing.
struct server_ref {
  workspace_key key;
  uint64_t generation = 0;

  friend bool operator==(const server_ref& a, const server_ref& b) {
    return a.generation == b.generation && a.key == b.key;
  }
  friend bool operator!=(const server_ref& a, const server_ref& b) { return !(a == b); }
  template <class Inspector>
  friend typename Inspector::result_type inspect(Inspector& f, server_ref& x) {
    return f(caf::meta::type_name("server_ref"), x.key, x.generation);
  }
};

enum class scheme : uint8_t { http, https };
std::string_view to_string(scheme value) noexcept;

/// Where a dev server listens: the socket's own address, never a name. An unspecified address
/// (`0.0.0.0`, `::`) is stored as the loopback address of the same family, or as `127.0.0.1` where
/// there is no `::1`, since that is what one connects to.
struct endpoint {
  std::string address;  // numeric, "127.0.0.1" or "::1"
  uint16_t port = 0;
  previewd::scheme scheme = previewd::scheme::http;

  friend bool operator==(const endpoint& a, const endpoint& b) {
    return a.port == b.port && a.scheme == b.scheme && a.address == b.address;
  }
  template <class Inspector>
  friend typename Inspector::result_type inspect(Inspector& f, endpoint& x) {
    return f(caf::meta::type_name("endpoint"), x.address, x.port, x.scheme);
  }
};

/// How the path prefix `/preview/p/u` travels upstream: left out, or as it came (the dev server was
/// told its base).
enum class prefix_mode : uint8_t { stripped, kept };
std::string_view to_string(prefix_mode value) noexcept;

/// Who sees a preview, beside those who may use its workspace: `members` are they alone, `project`
/// is everybody who has a right in its project, `everyone` whoever knows its address. The later the
/// value, the more it lets in.
enum class preview_access : uint8_t { members, project, everyone };
/// `private`, `project` or `public`.
std::string_view to_string(preview_access value) noexcept;
/// The access that is written so; nothing: none is.
caf::optional<preview_access> access_of(std::string_view text) noexcept;

/// `starting`: listens, has not answered yet. `restarting`: its socket is gone, its job lives on.
/// `suspended`: stopped (state T). `unreachable`: listens, but does not accept connections. Only
/// `ready` is available.
enum class server_state : uint8_t { starting, ready, restarting, suspended, unreachable };
constexpr std::size_t server_states = 5;
std::string_view to_string(server_state value) noexcept;

/// Why a server is no longer registered (docs/events.md).
enum class stop_reason : uint8_t {
  process_exited,
  terminal_exited,
  terminal_closed,
  refused,
  probe_failed,
  listener_closed,
  removed,
  superseded,
  restore_failed,
  shutdown,
};
constexpr std::size_t stop_reasons = 10;
std::string_view to_string(stop_reason value) noexcept;

/// The sentence people know: "Dev server has stopped", or "Terminal closed, dev server stopped" for
/// `terminal_closed`.
std::string_view stop_message(stop_reason value) noexcept;

/// How a process ended: an exit code, or the name of the signal that ended it; neither when it is
/// not known (not our child).
struct exit_status {
  caf::optional<int> code;
  std::string signal;  // "SIGKILL"; empty: none

  friend bool operator==(const exit_status& a, const exit_status& b) {
    return a.code == b.code && a.signal == b.signal;
  }
  template <class Inspector>
  friend typename Inspector::result_type inspect(Inspector& f, exit_status& x) {
    return f(caf::meta::type_name("exit_status"), x.code, x.signal);
  }
};

/// A listening socket as the kernel names it. `inode` is unique among living sockets of the network
/// namespace.
struct listener_id {
  uint64_t inode = 0;
  uint16_t port = 0;
  bool v6 = false;

  friend bool operator==(const listener_id& a, const listener_id& b) {
    return a.inode == b.inode && a.port == b.port && a.v6 == b.v6;
  }
  friend bool operator!=(const listener_id& a, const listener_id& b) { return !(a == b); }
  template <class Inspector>
  friend typename Inspector::result_type inspect(Inspector& f, listener_id& x) {
    return f(caf::meta::type_name("listener_id"), x.inode, x.port, x.v6);
  }
};

/// What is known of a dev server when it is registered.
struct server_description {
  workspace_key key;
  std::string terminal_id;  // empty: not started in a terminal
  endpoint upstream;
  std::string type = "http";  // vite, next, ...; http when not told apart
  prefix_mode prefix = prefix_mode::stripped;
  bool prefix_known = true;
  int32_t pid = 0;         // an owner of the listening socket; 0: not known
  int32_t job_leader = 0;  // process group of its job, as a shell knows it; 0: not known
  std::string command;
  std::vector<listener_id> listeners;  // v4 and v6 sockets of one port are one server
  bool answers = false;                // has answered an HTTP request
  bool serves_page = false;            // answered `GET /` below 400 with HTML
  bool printed = false;                // its port was printed in the terminal
  bool foreground = false;             // its job had the terminal when it was found
  bool by_hand = false;                // somebody has named it
  bool said_type = false;              // and said the type, or the scheme: a look changes neither
  bool said_scheme = false;

  friend bool operator==(const server_description&, const server_description&) = default;
  template <class Inspector>
  friend typename Inspector::result_type inspect(Inspector& f, server_description& x) {
    return f(caf::meta::type_name("server_description"), x.key, x.terminal_id, x.upstream, x.type,
      x.prefix, x.prefix_known, x.pid, x.job_leader, x.command, x.listeners, x.answers,
      x.serves_page, x.printed, x.foreground, x.by_hand, x.said_type, x.said_scheme);
  }
};

/// The last health check of a server. Times: wall clock, and microseconds.
struct server_health {
  caf::optional<wall_time> checked_at;
  uint64_t latency_us = 0;
  uint32_t failures = 0;  // in a row

  template <class Inspector>
  friend typename Inspector::result_type inspect(Inspector& f, server_health& x) {
    return f(caf::meta::type_name("server_health"), x.checked_at, x.latency_us, x.failures);
  }
};

/// A registered server as it is shown outside.
struct server_info {
  server_ref ref;
  std::string terminal_id;
  endpoint upstream;
  std::string type;
  prefix_mode prefix = prefix_mode::stripped;
  int32_t pid = 0;
  std::string command;
  server_state state = server_state::starting;
  bool primary = false;
  uint64_t previous_generation = 0;  // 0: none
  wall_time started_at;
  server_health health;
  uint64_t tunnels = 0;
  std::string label;  // of its workspace's origin
  preview_access access = preview_access::members;

  template <class Inspector>
  friend typename Inspector::result_type inspect(Inspector& f, server_info& x) {
    return f(caf::meta::type_name("server_info"), x.ref, x.terminal_id, x.upstream, x.type,
      x.prefix, x.pid, x.command, x.state, x.primary, x.previous_generation, x.started_at, x.health,
      x.tunnels, x.label, x.access);
  }
};

/// What is kept, and told, of a server that was removed.
struct stop_record {
  server_ref ref;
  std::string terminal_id;
  uint16_t port = 0;
  stop_reason reason = stop_reason::process_exited;
  exit_status exit;
  uint64_t sequence = 0;
  wall_time at;

  template <class Inspector>
  friend typename Inspector::result_type inspect(Inspector& f, stop_record& x) {
    return f(caf::meta::type_name("stop_record"), x.ref, x.terminal_id, x.port, x.reason, x.exit,
      x.sequence, x.at);
  }
};

}  // namespace previewd
