// previewd inside a larger CAF application: its actors live in the application's own actor_system,
// and the application opens terminals, hears of servers and removes them by messages.
#include <caf/actor_system.hpp>
#include <caf/actor_system_config.hpp>
#include <caf/scoped_actor.hpp>
#include <caf/send.hpp>
#include <caf/typed_event_based_actor.hpp>
#include <chrono>
#include <iostream>

#include "previewd/messages/all.hpp"
#include "previewd/service/service.hpp"

// The application's own messages begin where previewd's end.
CAF_BEGIN_TYPE_ID_BLOCK(embedding, caf::id_block::previewd::end)
CAF_ADD_ATOM(embedding, embedding, report_atom, "report")
CAF_END_TYPE_ID_BLOCK(embedding)

namespace {

/// Prints every event.
previewd::event_subscriber_actor::behavior_type printer(previewd::event_subscriber_actor::pointer) {
  return {[](previewd::event_atom, const previewd::event& what) {
    std::cout << "event " << what.sequence << ": " << previewd::to_string(what.kind) << " "
              << previewd::server_key(what.key) << std::endl;
  }};
}

}  // namespace

int main() {
  caf::actor_system_config config;
  config.add_message_types<caf::id_block::previewd>();
  config.add_message_types<caf::id_block::embedding>();
  caf::actor_system system{config};

  previewd::settings settings;
  settings.listen = {{.address = "127.0.0.1", .port = 0, .path = {}}};
  settings.inherited.environment = {"PATH=/usr/local/bin:/usr/bin:/bin"};
  auto started = previewd::service::start(system, settings, previewd::process_role::embedded);
  if (const auto* why = std::get_if<std::string>(&started)) {
    std::cerr << *why << "\n";
    return 1;
  }
  // Declared after the actor system: it ends first.
  const auto service = std::move(std::get<0>(started));
  std::cout << "listening on " << service->addresses().front() << std::endl;
  const auto events = system.spawn(printer);
  caf::anon_send(service->events(), previewd::subscribe_atom_v, events);

  int result = 1;
  {
    caf::scoped_actor self{system};
    previewd::terminal_request request;
    request.key = {"shop", "ann"};
    request.cwd = "/tmp";
    request.command = {"/bin/echo", "hello from a terminal"};
    self->request(service->registry(), std::chrono::seconds{10}, previewd::open_atom_v, request)
      .receive(
        [&](const previewd::terminal_info& terminal) {
          std::cout << "terminal " << terminal.id << " runs " << terminal.command << std::endl;
          result = 0;
        },
        [&](const caf::error& why) { std::cerr << system.render(why) << "\n"; });
    self
      ->request(service->registry(), std::chrono::seconds{10}, previewd::status_atom_v,
        previewd::workspace_key{"shop", "ann"}, caf::timespan{0})
      .receive(
        [&](const previewd::workspace_status& status) {
          std::cout << status.servers.size() << " servers at sequence " << status.sequence
                    << std::endl;
        },
        [&](const caf::error&) { result = 1; });
  }
  service->stop();
  caf::anon_send_exit(events, caf::exit_reason::user_shutdown);
  return result;
}
