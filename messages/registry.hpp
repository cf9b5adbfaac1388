#pragma once

#include <caf/meta/type_name.hpp>
#include <caf/optional.hpp>
#include <caf/timespan.hpp>
#include <cstdint>
#include <string>
#include <vector>

#include "previewd/messages/caf.hpp"
#include "previewd/messages/counters.hpp"
#include "previewd/messages/events.hpp"
#include "previewd/messages/preview_server.hpp"
#include "previewd/messages/server.hpp"
#include "previewd/messages/terminal.hpp"
#include "previewd/messages/type_ids.hpp"

namespace previewd {

/// Which entries to list: an empty half means any.
struct workspace_filter {
  std::string project;
  std::string user;

  bool matches(const workspace_key& key) const {
    return (project.empty() || project == key.project) && (user.empty() || user == key.user);
  }
  template <class Inspector>
  friend typename Inspector::result_type inspect(Inspector& f, workspace_filter& x) {
    return f(caf::meta::type_name("workspace_filter"), x.project, x.user);
  }
};

/// The servers of one workspace, the primary first, and how the last one ended.
struct workspace_status {
  std::vector<server_info> servers;
  caf::optional<stop_record> last_stop;
  uint64_t sequence = 0;  // of the newest event it reflects

  template <class Inspector>
  friend typename Inspector::result_type inspect(Inspector& f, workspace_status& x) {
    return f(caf::meta::type_name("workspace_status"), x.servers, x.last_stop, x.sequence);
  }
};

/// All of a project, as later events continue it without gap.
struct project_snapshot {
  std::vector<server_info> servers;
  std::vector<terminal_info> terminals;
  uint64_t sequence = 0;

  template <class Inspector>
  friend typename Inspector::result_type inspect(Inspector& f, project_snapshot& x) {
    return f(caf::meta::type_name("project_snapshot"), x.servers, x.terminals, x.sequence);
  }
};

/// Why a server is to be removed, by whom it was seen, and how its own process ended if that is
/// known.
struct stop_cause {
  stop_reason reason = stop_reason::process_exited;
  observer seen_by = observer::kernel;
  exit_status exit;

  template <class Inspector>
  friend typename Inspector::result_type inspect(Inspector& f, stop_cause& x) {
    return f(caf::meta::type_name("stop_cause"), x.reason, x.seen_by, x.exit);
  }
};

/// Settings of the registry that may change while it runs. They hold for what begins afterwards.
struct registry_limits {
  caf::timespan hold{0};            // how long a server whose socket is gone may be restarting
  uint32_t terminals_per_user = 0;  // running ones, over all projects
  caf::timespan probe_interval{0};
  caf::timespan probe_timeout{0};
  uint32_t probe_failures = 0;  // time-outs in a row, beyond the first, that make one unreachable

  template <class Inspector>
  friend typename Inspector::result_type inspect(Inspector& f, registry_limits& x) {
    return f(caf::meta::type_name("registry_limits"), x.hold, x.terminals_per_user,
      x.probe_interval, x.probe_timeout, x.probe_failures);
  }
};

/// The one serializer of every add and remove. Whatever names a generation that is not registered
/// changes nothing.
using registry_actor = caf::typed_actor<
  // Open a terminal; answers when its process runs. From the API, Socket.IO and embedding
  // applications.
  answers<terminal_info, open_atom, terminal_request>,
  // Close a terminal; answers once its servers are unregistered, while its processes are still
  // being ended. From the same.
  answers<terminal_info, close_atom, std::string>,
  answers<std::vector<terminal_info>, list_atom, terminal_atom, workspace_filter>,
  answers<terminal_info, lookup_atom, terminal_atom, std::string>,
  // Register a server. From a detector, the API and embedding applications.
  answers<server_ref, add_atom, server_description>,
  // Remove the server with this generation; answers with its record once no I/O thread can reach
  // it, or with `server_gone`. From the API and embedding applications.
  answers<stop_record, remove_atom, uint64_t>,
  // Make the server with this generation the one behind its workspace's address; whoever listens
  // on its port later is preferred too. From the API and embedding applications.
  answers<server_info, primary_atom, uint64_t>,
  // Say who sees the server with this generation, and whoever listens on its port later; answers
  // once every I/O thread goes by it and what others had open is closed. From the same.
  answers<server_info, access_atom, uint64_t, preview_access>,
  answers<std::vector<server_info>, list_atom, server_atom, workspace_filter>,
  answers<server_info, lookup_atom, server_atom, uint64_t>,
  // How the server with this generation ended, if that is still known.
  answers<stop_record, lookup_atom, stopped_atom, uint64_t>,
  // The state of one workspace; waits until a server is ready, at most for the timespan (0: does
  // not wait).
  answers<workspace_status, status_atom, workspace_key, caf::timespan>,
  // All of one project (empty: of all), for clients that then follow the events.
  answers<project_snapshot, snapshot_atom, std::string>,
  // Remove everything with reason `shutdown` and end all terminals; answers when nothing is left,
  // with the number of servers that were removed. From the service.
  answers<uint64_t, shutdown_atom>,
  // What has been counted and what is held. From the metrics.
  answers<registry_counters, counters_atom>,
  // Go by these from now on. From the service.
  accepts<settings_atom, registry_limits>,

  // A terminal's process runs with this pid and began in that directory. From the terminal.
  accepts<opened_atom, std::string, int32_t, std::string>,
  // A terminal could not be opened. From the terminal.
  accepts<failed_atom, std::string, caf::error>,
  // A terminal's process has ended and its output is read. From the terminal.
  accepts<exited_atom, std::string, exit_status>,
  // All that was started in the terminal has ended. From the terminal.
  accepts<ended_atom, std::string>,
  // The process group that has the terminal, and the shell's own. From the terminal.
  accepts<foreground_atom, std::string, int32_t, int32_t>,

  // The server's sockets are gone, noticed at that moment; whether it restarts is not known yet.
  // From its preview_server.
  accepts<down_atom, server_ref, steady_moment>,
  // The server is gone for good. From its preview_server.
  accepts<stopped_atom, server_ref, stop_cause>,
  // The server is ready, suspended or unreachable; a hint for the user. From its preview_server.
  accepts<state_atom, server_ref, server_state, std::string>,
  // What a look at a registered server showed, later than its registration. From its detector.
  accepts<identity_atom, server_ref, server_description>,
  // Another process holds its sockets now, and the command of that one (preview_server_actor). From
  // its preview_server.
  accepts<owner_atom, server_ref, int32_t, std::string>,
  // Others listen where the sockets of this one did, which was registered by hand. From its
  // preview_server.
  accepts<listeners_atom, server_ref, std::vector<listener_fact>>,
  // The newest health check, and the number of tunnels. From its preview_server.
  accepts<health_atom, server_ref, server_health>, accepts<tunnel_atom, server_ref, uint64_t>,

  // The interface of an event source (messages/events.hpp).
  accepts<subscribe_atom, event_subscriber_actor>,
  answers<std::vector<event>, replay_atom, uint64_t>, accepts<client_atom, connection_id>,
  // The event with this sequence, and all before it, have been handed on. From the event bus.
  accepts<delivered_atom, uint64_t>,

  // Take up what was found at the start (registry_settings::found). From the service, once, before
  // anything else.
  accepts<restore_atom>,
  // Send the store what it does not know. From itself.
  accepts<save_atom>,
  // The store has tried to keep what it was sent. From the store.
  accepts<saved_atom>,

  // Every I/O thread has applied this revision of the workspace's routes. From the data plane.
  accepts<applied_atom, workspace_key, uint64_t>,
  // A timer of its own: restart grace and waiting status calls.
  accepts<tick_atom, uint64_t>>;

}  // namespace previewd
