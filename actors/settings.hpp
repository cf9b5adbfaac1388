#pragma once

#include <caf/error.hpp>
#include <caf/timespan.hpp>
#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "previewd/messages/kernel_watch.hpp"
#include "previewd/messages/server.hpp"
#include "previewd/messages/store.hpp"
#include "previewd/support/actor_census.hpp"

namespace previewd::actors {

/// How preview servers are checked.
struct probe_settings {
  caf::timespan interval = std::chrono::seconds{5};  // 500 ms to 1 h
  caf::timespan timeout = std::chrono::seconds{1};   // 50 ms to 1 min
  /// Time-outs in a row, beyond the first, that make a server unreachable. 0 to 100.
  uint32_t failures = 1;
};

/// What happens to what runs in a terminal when its shell ends.
enum class on_terminal_exit : uint8_t { kill, keep };

/// Whose rights terminals have.
struct run_as_settings {
  static constexpr std::string_view project_placeholder = "{project}";
  static constexpr std::string_view user_placeholder = "{user}";
  /// The first user id that is a person's (UID_MIN, login.defs(5)).
  static constexpr uint32_t least_user = 1000;

  /// A user of this machine; in it `{project}` and `{user}` mean those of the workspace. An account
  /// that a workspace names has to be a person's. Empty: the rights of this process.
  std::string account;
  bool no_new_privileges = false;

  bool depends_on_workspace() const { return account.find('{') != std::string::npos; }
};

/// How terminals are started and ended.
struct terminal_settings {
  std::string shell = "/bin/bash";  // an absolute path
  std::string home;                 // where a terminal begins when nobody says
  std::vector<std::string>
    base_env;  // NAME=value; what a terminal inherits, without anything of previewd's own
  std::string preview_domain = "preview.localhost";
  /// The public origin of a workspace with this label, without a final slash. Any thread.
  std::function<std::string(const std::string& label)> origin_of;
  on_terminal_exit on_exit = on_terminal_exit::kill;
  uint64_t scrollback_bytes = 256 * 1024;
  kill_ladder ladder;
  run_as_settings run_as;
};

/// How dev servers are found.
struct detection_settings {
  /// A socket that closes sooner was a port check, not a server.
  caf::timespan settle = std::chrono::milliseconds{30};
  /// How long a new listener is looked at before it counts as one that is never ready.
  caf::timespan timeout = std::chrono::seconds{30};
  /// Between two looks at a listener that refused.
  caf::timespan retry = std::chrono::milliseconds{250};
  /// Between two looks at one that says that it is not ready yet: while it is younger than `eager`,
  /// and later.
  caf::timespan eager_retry = std::chrono::milliseconds{80};
  caf::timespan eager = std::chrono::seconds{5};
  caf::timespan late_retry = std::chrono::seconds{1};
  uint32_t refusals = 4;  // looks in a row that may be refused
};

/// The registry's own settings and those it hands to the actors it starts.
struct registry_settings {
  /// How long a server whose socket is gone may be restarting.
  caf::timespan hold = std::chrono::seconds{2};
  /// A restart that is over sooner is not announced as an interruption.
  caf::timespan restart_grace = std::chrono::milliseconds{250};
  uint32_t terminals_per_user = 16;  // running ones, over all projects
  /// How long a terminal that has exited can still be read.
  caf::timespan exited_kept = std::chrono::hours{1};
  uint32_t waiting_calls = 1024;  // status calls that may wait at once
  /// Who sees a preview of which nobody has said it.
  preview_access access = preview_access::members;
  std::size_t event_ring = 4096;  // events that are kept to be replayed; at least 1
  /// Above every generation and sequence that was ever given: a clock reading in milliseconds, or
  /// more where the store knows of more.
  uint64_t first_number = 1;
  /// Who keeps what is registered for the time after the process; null: nobody does.
  store_actor store;
  /// What has been found there; taken up by `restore`.
  restored_state found;
  std::function<std::string()> new_terminal_id;  // 128 random bits, URL-safe; must be set
  std::function<wall_time()> now = [] { return std::chrono::system_clock::now(); };
  probe_settings probe;
  terminal_settings terminal;
  detection_settings detection;
};

/// The ports of the process that actors use.
struct actor_ports {
  data_plane* io = nullptr;
  kernel_watch* kernel = nullptr;
  /// Counts the actors that use the ports. Whoever owns the ports waits until nobody holds this any
  /// more before it lets them go. May be empty: then they outlive everybody.
  std::weak_ptr<actor_census> in_use;
};

/// Keeps the ports until the actor has ended, all that it does at its end included, and counts it
/// meanwhile. Every actor that uses them calls it first.
template <class Actor>
void hold_ports(Actor& actor, std::string_view kind, const actor_ports& ports) {
  auto held = ports.in_use.lock();
  if (held == nullptr) return;
  const std::size_t place = actor_census::place_of(kind);
  held->begins(place);
  actor.attach_functor([held = std::move(held), place](const caf::error&) { held->ends(place); });
}
template <class Self> void hold_ports(Self* self, const actor_ports& ports) {
  hold_ports(*self, self->state.name, ports);
}

}  // namespace previewd::actors
