#pragma once

#include <caf/fwd.hpp>
#include <chrono>
#include <cstddef>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "previewd/messages/detector.hpp"
#include "previewd/messages/kernel_watch.hpp"
#include "previewd/messages/registry.hpp"
#include "previewd/net/api/json.hpp"
#include "previewd/net/api/report.hpp"
#include "previewd/net/auth/hand_over.hpp"
#include "previewd/net/http/exchange.hpp"

namespace previewd::net::terminal {
class terminal_hub;
}

namespace previewd::net::api {

/// A file of the web pages. Immutable, shared by all threads.
struct page {
  std::string name;  // `index.html`, `terminal.html`, `iframe.html`, `assets/terminal-a1b2.js`
  std::string content_type;
  std::string cache_control;            // empty: `no-cache`
  std::string etag;                     // with its quotes (RFC 9110, section 8.8.3); empty: none
  std::string content_security_policy;  // empty: none
  std::shared_ptr<const std::string> bytes;
};

/// Limits of the API.
struct service_api_settings {
  /// Most bytes of a JSON body; more is answered 413.
  std::size_t json_bytes = 64 * 1024;
  /// Most bytes of one input; more is answered 413.
  std::size_t input_bytes = 1024 * 1024;
};

/// How browsers are handed over (`auth.mode = token`). The desk is one for all threads, and answers
/// on the request's own.
struct hand_over_calls {
  /// A code for it; nothing: too many wait to be redeemed.
  std::function<void(
    io_thread& here, auth::hand_over, std::function<void(std::optional<std::string> code)>)>
    issue;
  /// What a code is good for, once.
  std::function<void(const http::exchange_ptr& request, std::string code,
    std::function<void(std::optional<auth::hand_over>)>)>
    redeem;
  std::shared_ptr<const auth::session_seal> seal;
  /// The longest life of a session; it ends with its token all the same.
  std::chrono::seconds session{12 * 60 * 60};
};

/// What the API speaks with. All of it outlives the API.
struct service_api_parts {
  caf::actor_system& system;
  registry_actor registry;
  terminal::terminal_hub& terminals;
  address_settings addresses;
  std::vector<page> pages;
  /// Collects the proxied WebSockets of all I/O threads and gives them to the callback on the
  /// calling one.
  std::function<void(io_thread& here, std::function<void(std::vector<connection_info>)>)>
    connections;
  /// Takes what is under `/socket.io/`.
  http::service_handler socketio;
  /// Answers with a stream of the events of these workspaces, after a sequence (event_streams).
  std::function<void(const http::exchange_ptr&, workspace_filter, std::optional<uint64_t> after)>
    event_stream;
  /// Looks whether an endpoint accepts connections and what it is (server::look), once.
  std::function<void(
    io_thread& here, const endpoint&, const workspace_key&, std::function<void(const identity&)>)>
    look;
  /// Why no server at this endpoint may be registered by hand (`preview.allow_upstreams`): what
  /// completes a sentence that begins with "address". Empty: it may.
  std::function<std::string(const endpoint&)> objection;
  /// Turns an upgrade request into a WebSocket to a terminal, whose client has all its output up to
  /// `after` (attach_server::open).
  std::function<void(const http::exchange_ptr&, const terminal_info&, uint64_t after)> attach;
  /// Gathers the metrics, and what can be said of readiness; the callback runs on the calling
  /// thread.
  std::function<void(io_thread& here, std::function<void(caf::expected<service_report>)>)> report{};
  std::function<void(io_thread& here, std::function<void(readiness)>)> readiness_check{};
  /// Finds the sockets behind a loopback endpoint (kernel_watcher::find); the callback runs on the
  /// calling thread. Empty: nothing is known of them.
  std::function<void(io_thread& here, const endpoint&, std::function<void(const found_listeners&)>)>
    find_listeners{};
  /// Nothing: nobody has to show who he is, and there is nothing to hand over.
  std::optional<hand_over_calls> hand_overs{};
};

/// Answers the requests that are not for a preview: the REST API, pages, and what it hands on to
/// Socket.IO. Does not change once made, so that all I/O threads share one; whatever a request
/// needs is asked of the registry and the terminals.
class service_api {
public:
  explicit service_api(service_api_parts parts, service_api_settings settings = {});

  /// Answers `request`, now or later, on its thread. The request has passed the checks of its host
  /// and origin.
  void handle(const http::exchange_ptr& request) const;

private:
  using exchange_ptr = http::exchange_ptr;
  struct call;
  struct route_entry;
  struct server_request;
  static const std::vector<route_entry>& endpoints();

  static std::optional<uint64_t> generation_of(const call& at);
  static std::optional<uint64_t> output_known(const call& at);

  void open_terminal(const call& at) const;
  void list_terminals(const call& at) const;
  void show_terminal(const call& at) const;
  void close_terminal(const call& at) const;
  void type_into_terminal(const call& at) const;
  void resize_terminal(const call& at) const;
  void signal_terminal(const call& at) const;
  void read_terminal(const call& at) const;
  void attach_terminal(const call& at) const;
  void list_servers(const call& at) const;
  void show_server(const call& at) const;
  void register_server(const call& at) const;
  caf::expected<server_request> read_server_request(std::string_view text) const;
  void look_for_sockets(
    const http::exchange_ptr& request, server_request wanted, const identity& seen) const;
  void add_server(const http::exchange_ptr& request, server_request wanted) const;
  void change_server(const call& at) const;
  void remove_server(const call& at) const;
  void follow_events(const call& at) const;
  void stream_events(const call& at, workspace_filter filter) const;
  void preview_status(const call& at) const;
  void list_connections(const call& at) const;
  void health(const call& at) const;
  void ready(const call& at) const;
  void metrics(const call& at) const;
  void debug_state(const call& at) const;
  void start_page(const call& at) const;
  void terminal_page(const call& at) const;
  void dashboard_page(const call& at) const;
  void iframe_page(const call& at) const;
  void asset(const call& at) const;
  void hand_over(const call& at) const;
  void answer_hand_over(
    const exchange_ptr& request, auth::hand_over what, const std::string& entrance) const;
  void enter(const call& at) const;
  void redeem(const call& at, auth::place at_place, const workspace_key* key) const;

  void with_terminal(const call& at, std::function<void()> then) const;
  void with_server(const call& at, uint64_t generation, std::function<void()> then) const;
  void handle_preview(const http::exchange_ptr& request, const http::preview_target& preview) const;
  void status_of(const call& at, const workspace_key& key, uint16_t port = 0) const;
  void show_page(const call& at, const std::string& name) const;
  void answer_server(
    const call& at, uint64_t generation, const caf::expected<server_info>& server) const;
  void gone_or(const call& at, uint64_t generation, caf::error why) const;
  facts_lookup facts_on(io_thread& here) const;

  service_api_parts parts_;
  service_api_settings settings_;
  std::unordered_map<std::string, page> pages_;  // by name
};

}  // namespace previewd::net::api
