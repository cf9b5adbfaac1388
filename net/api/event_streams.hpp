#pragma once

#include <caf/fwd.hpp>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <unordered_map>

#include "previewd/messages/events.hpp"
#include "previewd/messages/registry.hpp"
#include "previewd/net/api/json.hpp"
#include "previewd/net/asio_types.hpp"
#include "previewd/net/http/exchange.hpp"

namespace previewd::net::auth {
class key_set;
}

namespace previewd::net::terminal {
class terminal_hub;
}

namespace previewd::net::api {

struct event_streams_settings {
  address_settings addresses;
  /// A reader that falls so many bytes behind is disconnected (`limits.client_buffer`).
  std::size_t client_buffer = 1024 * 1024;
  /// Between two comment lines: they keep proxies on the way from giving up, and find readers that
  /// have gone.
  std::chrono::milliseconds heartbeat{15'000};
  /// Most events that wait while a reader's past is looked up; one that needs more is disconnected.
  std::size_t waiting_events = 4096;
};

/// What the streams speak with. All of it outlives them.
struct event_streams_parts {
  caf::actor_system& system;
  registry_actor registry;
  event_source_actor events;
  terminal::terminal_hub& terminals;
};

/// The readers of Server-Sent Events (WHATWG HTML, section 9.2) on one I/O thread, every call on
/// that thread. Must stay until the thread has stopped running, and go before the thread does.
class event_streams {
public:
  event_streams(io_thread& thread, event_streams_parts parts, event_streams_settings settings);
  ~event_streams();

  event_streams(const event_streams&) = delete;
  event_streams& operator=(const event_streams&) = delete;

  /// Answers a request with the events of the workspaces in `filter`. `after`: the sequence up to
  /// which the reader knows all of them; it gets every later one, or, when some are no longer held
  /// or they are more than half of `client_buffer`, an event `reset` with the present state.
  /// Without it: those from now on.
  void
  open(const http::exchange_ptr& request, workspace_filter filter, std::optional<uint64_t> after);

  /// Tells all readers whose filter matches. Events come in the order of their sequence.
  void deliver(const std::shared_ptr<const encoded_event>& what);

  /// Readers whose right comes from none of these keys any more go at once.
  void withdraw(const auth::key_set& keys);

  std::size_t reader_count() const noexcept { return readers_.size(); }

  /// Ends all streams, and refuses new ones.
  void stop();

private:
  struct reader;

  reader* find(uint64_t number);
  void look_up(uint64_t number, const workspace_filter& filter, uint64_t after);
  void replay(uint64_t number, uint64_t after, const project_snapshot& present);
  void reset(uint64_t number, project_snapshot present);
  void catch_up(reader& to, uint64_t seen);
  void end(uint64_t number);
  static bool is_over(const reader& to);
  void send(reader& to, const std::shared_ptr<const std::string>& bytes) const;
  void beat();

  io_thread& thread_;
  event_streams_parts parts_;
  event_streams_settings settings_;
  steady_timer heartbeat_;
  std::unordered_map<uint64_t, std::unique_ptr<reader>> readers_;
  uint64_t next_number_ = 0;
  bool stopped_ = false;
};

}  // namespace previewd::net::api
