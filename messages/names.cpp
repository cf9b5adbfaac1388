// How the enumerations are written outside. One table each, so that a new value cannot be forgotten
// silently: the switch statements have no default and -Wswitch is an error.
#include "previewd/messages/detector.hpp"
#include "previewd/messages/events.hpp"
#include "previewd/messages/preview_server.hpp"
#include "previewd/messages/route.hpp"
#include "previewd/messages/server.hpp"
#include "previewd/messages/terminal.hpp"

namespace previewd {

std::string_view to_string(scheme value) noexcept {
  return value == scheme::https ? "https" : "http";
}

std::string_view to_string(prefix_mode value) noexcept {
  return value == prefix_mode::kept ? "kept" : "stripped";
}

std::string_view to_string(preview_access value) noexcept {
  switch (value) {
    case preview_access::members:
      return "private";
    case preview_access::project:
      return "project";
    case preview_access::everyone:
      return "public";
  }
  return "private";
}

caf::optional<preview_access> access_of(std::string_view text) noexcept {
  for (const auto value :
    {preview_access::members, preview_access::project, preview_access::everyone})
    if (text == to_string(value)) return value;
  return caf::none;
}

std::string_view to_string(server_state value) noexcept {
  switch (value) {
    case server_state::starting:
      return "starting";
    case server_state::ready:
      return "ready";
    case server_state::restarting:
      return "restarting";
    case server_state::suspended:
      return "suspended";
    case server_state::unreachable:
      return "unreachable";
  }
  return "starting";
}

std::string_view to_string(stop_reason value) noexcept {
  switch (value) {
    case stop_reason::process_exited:
      return "process_exited";
    case stop_reason::terminal_exited:
      return "terminal_exited";
    case stop_reason::terminal_closed:
      return "terminal_closed";
    case stop_reason::refused:
      return "refused";
    case stop_reason::probe_failed:
      return "probe_failed";
    case stop_reason::listener_closed:
      return "listener_closed";
    case stop_reason::removed:
      return "removed";
    case stop_reason::superseded:
      return "superseded";
    case stop_reason::restore_failed:
      return "restore_failed";
    case stop_reason::shutdown:
      return "shutdown";
  }
  return "removed";
}

std::string_view stop_message(stop_reason value) noexcept {
  return value == stop_reason::terminal_closed ? "Terminal closed, dev server stopped"
                                               : "Dev server has stopped";
}

std::string_view to_string(observer value) noexcept {
  switch (value) {
    case observer::kernel:
      return "kernel";
    case observer::proxy:
      return "proxy";
    case observer::websocket:
      return "websocket";
    case observer::unanswered_websocket:
      return "unanswered_websocket";
    case observer::probe:
      return "probe";
  }
  return "kernel";
}

std::string_view to_string(probe_outcome value) noexcept {
  switch (value) {
    case probe_outcome::alive:
      return "alive";
    case probe_outcome::refused:
      return "refused";
    case probe_outcome::timed_out:
      return "timed_out";
  }
  return "timed_out";
}

std::string_view to_string(route_state value) noexcept {
  switch (value) {
    case route_state::up:
      return "up";
    case route_state::starting:
      return "starting";
    case route_state::held:
      return "held";
    case route_state::suspended:
      return "suspended";
  }
  return "held";
}

std::string_view to_string(terminal_state value) noexcept {
  switch (value) {
    case terminal_state::running:
      return "running";
    case terminal_state::closing:
      return "closing";
    case terminal_state::exited:
      return "exited";
  }
  return "exited";
}

std::string_view to_string(event_kind value) noexcept {
  switch (value) {
    case event_kind::server_started:
      return "previewServerStarted";
    case event_kind::server_stopped:
      return "previewServerStopped";
    case event_kind::server_unreachable:
      return "previewServerUnreachable";
    case event_kind::server_recovered:
      return "previewServerRecovered";
    case event_kind::server_primary:
      return "previewServerPrimary";
    case event_kind::server_access:
      return "previewServerAccess";
    case event_kind::terminal_exit:
      return "terminalExit";
  }
  return "previewServerStarted";
}

std::string_view to_string(unreachable_reason value) noexcept {
  switch (value) {
    case unreachable_reason::restarting:
      return "restarting";
    case unreachable_reason::suspended:
      return "suspended";
    case unreachable_reason::timeout:
      return "timeout";
  }
  return "timeout";
}

}  // namespace previewd
