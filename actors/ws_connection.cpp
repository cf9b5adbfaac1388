#include "previewd/actors/ws_connection.hpp"

#include <caf/actor_config.hpp>
#include <caf/actor_control_block.hpp>
#include <caf/actor_system.hpp>
#include <caf/error.hpp>
#include <caf/exit_reason.hpp>
#include <caf/mailbox_element.hpp>
#include <caf/make_actor.hpp>
#include <caf/message.hpp>
#include <caf/sec.hpp>
#include <utility>

namespace previewd::actors {

ws_connection::ws_connection(caf::actor_config& config, connection_id id, const actor_ports& ports)
    : caf::monitorable_actor{config}, id_{id}, io_{ports.io}, ports_held_{ports.in_use.lock()} {
  if (ports_held_) ports_held_->begins(actor_census::place_of(kind));
  register_at_system();
}

void ws_connection::enqueue(caf::mailbox_element_ptr what, caf::execution_unit* host) {
  if (handle_system_message(*what, host, false)) return;
  if (what->content().match_elements<closed_atom>()) {
    // Without a reason: what has closed needs no closing.
    cleanup(caf::none, host);
    return;
  }
  if (what->mid.is_request() && what->sender)
    what->sender->enqueue(nullptr, what->mid.response_id(),
      caf::make_message(caf::make_error(caf::sec::unexpected_message)), host);
}

bool ws_connection::cleanup(caf::error&& why, caf::execution_unit* host) {
  const bool must_close = static_cast<bool>(why);
  // Only the first of those that end it at once.
  if (!caf::monitorable_actor::cleanup(std::move(why), host)) return false;
  if (must_close) io_->close_connection(id_);
  // From here on the ports may go.
  if (const auto held = std::move(ports_held_)) held->ends(actor_census::place_of(kind));
  unregister_from_system();
  return true;
}

void ws_connection::on_destroy() {
  if (!getf(is_cleaned_up_flag)) cleanup(caf::exit_reason::unreachable, nullptr);
  caf::monitorable_actor::on_destroy();
}

ws_connection_actor
start_connection(caf::actor_system& system, connection_id id, const actor_ports& ports) {
  caf::actor_config config;
  const auto started = caf::make_actor<ws_connection, caf::strong_actor_ptr>(
    system.next_actor_id(), system.node(), &system, config, id, ports);
  return caf::actor_cast<ws_connection_actor>(started);
}

}  // namespace previewd::actors
