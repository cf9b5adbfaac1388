#pragma once

#include <atomic>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "previewd/messages/data_plane.hpp"
#include "previewd/net/api/event_streams.hpp"
#include "previewd/net/api/json.hpp"
#include "previewd/net/attach/attach_server.hpp"
#include "previewd/net/http/server.hpp"
#include "previewd/net/io_thread.hpp"
#include "previewd/net/socketio/previewd_app.hpp"
#include "previewd/net/terminal/terminal_hub.hpp"

namespace previewd::net {

/// What lives on one I/O thread.
struct io_thread_parts {
  io_thread* thread = nullptr;
  http::server* http = nullptr;
  socketio::previewd_app* socketio = nullptr;
  attach::attach_server* attach = nullptr;
  api::event_streams* events = nullptr;
};

/// The I/O threads as the actors see them. Outlives all actors and the running of the threads.
class thread_data_plane final : public data_plane {
public:
  explicit thread_data_plane(api::address_settings addresses) : addresses_{std::move(addresses)} {}

  /// Before any other call: the parts of every thread, by its index, and the terminals.
  void connect(std::vector<io_thread_parts> threads, terminal::terminal_hub& terminals);

  void publish(workspace_routes routes, registry_actor reply_to) override;
  void deliver(const event& what) override;
  void probe(const endpoint& target, caf::timespan timeout, uint64_t round,
    health_probe_actor reply_to) override;
  void identify(const endpoint& target, const workspace_key& key, caf::timespan timeout,
    uint64_t token, detector_actor reply_to) override;
  void open_terminal(terminal_spec spec, terminal_actor terminal, detector_actor detector) override;
  void finish_terminal(const std::string& id) override;
  void forget_terminal(const std::string& id) override;
  void adopt_connection(connection_id id, ws_connection_actor actor) override;
  void close_connection(connection_id id) override;

  /// Collects the tunnels of all threads and gives them to `done` on `here`.
  void list_tunnels(io_thread& here, std::function<void(std::vector<api::connection_info>)> done);

private:
  /// Spreads work that belongs to no thread.
  io_thread_parts& next_thread();

  api::address_settings addresses_;
  std::vector<io_thread_parts> threads_;
  terminal::terminal_hub* terminals_ = nullptr;
  std::atomic<std::size_t> next_{0};
};

}  // namespace previewd::net
