#pragma once

#include <caf/type_id.hpp>
#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "previewd/messages/fwd.hpp"

namespace previewd {

struct connection_id;
struct exit_status;
struct identity;
struct listener_fact;
struct listener_id;
struct listener_state;
struct registry_counters;
struct registry_limits;
struct server_health;
struct stop_cause;
struct store_batch;
struct terminal_size;
struct terminal_spec;
struct url_hint;
struct workspace_filter;
enum class event_kind : uint8_t;
enum class observer : uint8_t;
enum class prefix_mode : uint8_t;
enum class probe_outcome : uint8_t;
enum class preview_access : uint8_t;
enum class route_state : uint8_t;
enum class scheme : uint8_t;
enum class server_state : uint8_t;
enum class stop_reason : uint8_t;
enum class terminal_state : uint8_t;
enum class unreachable_reason : uint8_t;

}  // namespace previewd

// The one block of type ids. An application that embeds previewd begins its own at
// caf::id_block::previewd::end and calls add_message_types<caf::id_block::previewd>() on its
// configuration. An atom's text has at most 10 characters and is its type.
CAF_BEGIN_TYPE_ID_BLOCK(previewd, caf::first_custom_type_id)

CAF_ADD_TYPE_ID(previewd, (previewd::workspace_key))
CAF_ADD_TYPE_ID(previewd, (previewd::workspace_filter))
CAF_ADD_TYPE_ID(previewd, (previewd::workspace_routes))
CAF_ADD_TYPE_ID(previewd, (previewd::workspace_status))
CAF_ADD_TYPE_ID(previewd, (previewd::project_snapshot))
CAF_ADD_TYPE_ID(previewd, (previewd::server_ref))
CAF_ADD_TYPE_ID(previewd, (previewd::server_description))
CAF_ADD_TYPE_ID(previewd, (previewd::server_info))
CAF_ADD_TYPE_ID(previewd, (previewd::server_health))
CAF_ADD_TYPE_ID(previewd, (previewd::stop_record))
CAF_ADD_TYPE_ID(previewd, (previewd::stop_cause))
CAF_ADD_TYPE_ID(previewd, (previewd::store_batch))
CAF_ADD_TYPE_ID(previewd, (previewd::exit_status))
CAF_ADD_TYPE_ID(previewd, (previewd::endpoint))
CAF_ADD_TYPE_ID(previewd, (previewd::route))
CAF_ADD_TYPE_ID(previewd, (previewd::event))
CAF_ADD_TYPE_ID(previewd, (previewd::terminal_request))
CAF_ADD_TYPE_ID(previewd, (previewd::terminal_info))
CAF_ADD_TYPE_ID(previewd, (previewd::terminal_spec))
CAF_ADD_TYPE_ID(previewd, (previewd::terminal_size))
CAF_ADD_TYPE_ID(previewd, (previewd::connection_id))
CAF_ADD_TYPE_ID(previewd, (previewd::registry_counters))
CAF_ADD_TYPE_ID(previewd, (previewd::registry_limits))
CAF_ADD_TYPE_ID(previewd, (previewd::identity))
CAF_ADD_TYPE_ID(previewd, (previewd::listener_fact))
CAF_ADD_TYPE_ID(previewd, (previewd::listener_id))
CAF_ADD_TYPE_ID(previewd, (previewd::listener_state))
CAF_ADD_TYPE_ID(previewd, (previewd::url_hint))
CAF_ADD_TYPE_ID(previewd, (previewd::event_kind))
CAF_ADD_TYPE_ID(previewd, (previewd::observer))
CAF_ADD_TYPE_ID(previewd, (previewd::prefix_mode))
CAF_ADD_TYPE_ID(previewd, (previewd::preview_access))
CAF_ADD_TYPE_ID(previewd, (previewd::probe_outcome))
CAF_ADD_TYPE_ID(previewd, (previewd::route_state))
CAF_ADD_TYPE_ID(previewd, (previewd::scheme))
CAF_ADD_TYPE_ID(previewd, (previewd::server_state))
CAF_ADD_TYPE_ID(previewd, (previewd::stop_reason))
CAF_ADD_TYPE_ID(previewd, (previewd::terminal_state))
CAF_ADD_TYPE_ID(previewd, (previewd::unreachable_reason))
CAF_ADD_TYPE_ID(previewd, (std::vector<previewd::server_info>))
CAF_ADD_TYPE_ID(previewd, (std::vector<previewd::terminal_info>))
CAF_ADD_TYPE_ID(previewd, (std::vector<previewd::event>))
CAF_ADD_TYPE_ID(previewd, (std::vector<previewd::url_hint>))
CAF_ADD_TYPE_ID(previewd, (std::vector<previewd::listener_fact>))

CAF_ADD_ATOM(previewd, previewd, access_atom, "access")
CAF_ADD_ATOM(previewd, previewd, applied_atom, "applied")
CAF_ADD_ATOM(previewd, previewd, client_atom, "client")
CAF_ADD_ATOM(previewd, previewd, closed_atom, "closed")
CAF_ADD_ATOM(previewd, previewd, confirm_atom, "confirm")
CAF_ADD_ATOM(previewd, previewd, counters_atom, "counters")
CAF_ADD_ATOM(previewd, previewd, delivered_atom, "delivered")
CAF_ADD_ATOM(previewd, previewd, detached_atom, "detached")
CAF_ADD_ATOM(previewd, previewd, down_atom, "down")
CAF_ADD_ATOM(previewd, previewd, drained_atom, "drained")
CAF_ADD_ATOM(previewd, previewd, ended_atom, "ended")
CAF_ADD_ATOM(previewd, previewd, event_atom, "event")
CAF_ADD_ATOM(previewd, previewd, exited_atom, "exited")
CAF_ADD_ATOM(previewd, previewd, failed_atom, "failed")
CAF_ADD_ATOM(previewd, previewd, foreground_atom, "foreground")
CAF_ADD_ATOM(previewd, previewd, gone_atom, "gone")
CAF_ADD_ATOM(previewd, previewd, health_atom, "health")
CAF_ADD_ATOM(previewd, previewd, identity_atom, "identity")
CAF_ADD_ATOM(previewd, previewd, leader_atom, "leader")
CAF_ADD_ATOM(previewd, previewd, list_atom, "list")
CAF_ADD_ATOM(previewd, previewd, listeners_atom, "listeners")
CAF_ADD_ATOM(previewd, previewd, lookup_atom, "lookup")
CAF_ADD_ATOM(previewd, previewd, opened_atom, "opened")
CAF_ADD_ATOM(previewd, previewd, output_atom, "output")
CAF_ADD_ATOM(previewd, previewd, owner_atom, "owner")
CAF_ADD_ATOM(previewd, previewd, primary_atom, "primary")
CAF_ADD_ATOM(previewd, previewd, probe_atom, "probe")
CAF_ADD_ATOM(previewd, previewd, refused_atom, "refused")
CAF_ADD_ATOM(previewd, previewd, remove_atom, "remove")
CAF_ADD_ATOM(previewd, previewd, replay_atom, "replay")
CAF_ADD_ATOM(previewd, previewd, restore_atom, "restore")
CAF_ADD_ATOM(previewd, previewd, save_atom, "save")
CAF_ADD_ATOM(previewd, previewd, saved_atom, "saved")
CAF_ADD_ATOM(previewd, previewd, scan_atom, "scan")
CAF_ADD_ATOM(previewd, previewd, server_atom, "server")
CAF_ADD_ATOM(previewd, previewd, settings_atom, "settings")
CAF_ADD_ATOM(previewd, previewd, shutdown_atom, "shutdown")
CAF_ADD_ATOM(previewd, previewd, snapshot_atom, "snapshot")
CAF_ADD_ATOM(previewd, previewd, state_atom, "state")
CAF_ADD_ATOM(previewd, previewd, status_atom, "status")
CAF_ADD_ATOM(previewd, previewd, stopped_atom, "stopped")
CAF_ADD_ATOM(previewd, previewd, terminal_atom, "terminal")
CAF_ADD_ATOM(previewd, previewd, tunnel_atom, "tunnel")

CAF_END_TYPE_ID_BLOCK(previewd)

namespace previewd {

// Atoms that CAF itself has under the same text are the same types; these are the ones we use.
using add_atom = caf::add_atom;
using close_atom = caf::close_atom;
using open_atom = caf::open_atom;
using subscribe_atom = caf::subscribe_atom;
using tick_atom = caf::tick_atom;
using caf::add_atom_v;
using caf::close_atom_v;
using caf::open_atom_v;
using caf::subscribe_atom_v;
using caf::tick_atom_v;

}  // namespace previewd
