#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "previewd/messages/connection.hpp"
#include "previewd/messages/detector.hpp"
#include "previewd/messages/preview_server.hpp"
#include "previewd/messages/route.hpp"
#include "previewd/net/http/counters.hpp"
#include "previewd/net/http/exchange.hpp"
#include "previewd/net/http/listener.hpp"
#include "previewd/net/http/pages.hpp"
#include "previewd/net/http/settings.hpp"
#include "previewd/net/io_thread.hpp"
#include "previewd/net/tls/context.hpp"

namespace previewd::net::http {

class access;
struct access_parts;
struct connection_move;
struct forward_question;
struct forward_settings;
struct forward_verdict;

/// One proxied WebSocket, for `/debug/connections`.
struct tunnel_info {
  connection_id id;
  server_ref server;
  std::string client_address;
  std::string path;      // as the client asked for it, without the query
  std::string protocol;  // the subprotocol agreed on; empty: none
  endpoint upstream;     // the other half
  wall_time opened_at;
  uint64_t bytes_up = 0;    // from the client
  uint64_t bytes_down = 0;  // to the client
  std::chrono::milliseconds idle{0};
};

/// What one thread's server holds right now.
struct server_counts {
  std::size_t connections = 0;  // of clients, tunnels not among them
  std::size_t tunnels = 0;
  std::size_t held = 0;            // requests that wait for a server to come back
  std::size_t idle_upstreams = 0;  // unused connections to servers
  std::size_t objects = 0;         // everything with operations under way
  std::size_t timers = 0;          // deadlines that are set
  std::size_t pipes = 0;           // of long bodies and busy tunnels
  uint64_t turned_away = 0;        // clients refused when they came, since the start: by
                                   // `limits.per_address`, or for want of descriptors
};

/// The HTTP server and proxy of one I/O thread: its connections, routes and tunnels. Construct it
/// before the thread starts or on it; every other call on the thread. Destroy it after
/// `on_stopped`, or after the thread has stopped; where it has peers after all their threads have.
/// The io_thread outlives it.
class server {
public:
  server(io_thread& thread, http_settings settings, service_handler service, preview_pages pages);
  ~server();

  server(const server&) = delete;
  server& operator=(const server&) = delete;

  /// All threads' servers by the index of their thread, so that connections can move, and what the
  /// application grants to one is known to all: either all of them `ask`, or none. Limits that are
  /// all threads' together are so from then on. Before the first request, and after `ask`.
  void set_peers(std::vector<server*> peers);

  /// From now on clients have to show who they are. Before the first request.
  void demand(access_parts rules);

  /// Asks the application who somebody is, where the rules do not know it. Before anybody comes.
  void ask(forward_settings settings);

  /// Asks the application about somebody who says later than by his request who he is, where it is
  /// asked at all (`ask`). The chain that a trusted peer sent is that of `question.head`. `done` is
  /// called once, now or later; not when the server stops before.
  void ask_about(
    const forward_question& question, std::function<void(const forward_verdict& verdict)> done);

  /// What clients are judged by; null: they are not. Lives as long as the server.
  access* rules() noexcept;

  /// What clients of TCP listeners are shown, with `http_settings::over` = tls; those that come
  /// later. Before the first client, and again for another certificate.
  void show(std::shared_ptr<const tls::server_context> certificate);

  /// Goes by these times and limits from now on: `hold`, `hold_bytes`, the time-outs but for
  /// `spare`, `drain` and `pool_timeout`, `header_bytes`, `connections` and `pipes`. The rest of
  /// `wanted` is not looked at. What waits keeps the deadline that it has.
  void change(const http_settings& wanted);

  /// Looks whether there is room for clients that wait here, since one has gone elsewhere. Any
  /// thread.
  void let_in();

  /// Accepts on this thread's share of a listener. May be called before the thread runs.
  void listen(listening_socket socket);

  /// Takes the routes of a workspace, unless newer ones are known. When it returns, nothing is open
  /// any more to servers that are absent from them or held, and nothing will be. Returns whether
  /// they were taken.
  bool apply(workspace_routes routes);

  /// Closes what is open to one server, as if it were held.
  void close_server(const server_ref& ref);

  /// Takes a connection over from another thread: its socket, and what has been read from it so
  /// far; of one that is encrypted the plain half.
  void adopt(connection_move what);

  /// From now on `actor` gets `closed` when the tunnel closes; at once if it has.
  void adopt_connection(uint64_t number, ws_connection_actor actor);

  /// Closes a tunnel. Returns whether there was one of that number.
  bool close_connection(uint64_t number);

  /// A number for a WebSocket connection of this thread, never used again: tunnels and others share
  /// them.
  uint64_t next_connection_number() noexcept;

  /// Connects to the endpoint once and closes; then calls `done` with the outcome and how long it
  /// took, in microseconds. Not called when the server stops before.
  void probe(const endpoint& target, std::chrono::milliseconds timeout,
    std::function<void(probe_outcome outcome, uint64_t microseconds)> done);

  /// Looks at a new listener with a `GET /`, and with one for the path address of `key` where that
  /// decides the prefix. Calls `said` once, or more often: with `silent` after 500 ms without an
  /// answer, with the answer if it comes within `timeout`, and, unless `words` are to be settled,
  /// before with what is known of it when the prefix takes its time.
  void look(const endpoint& target, const workspace_key& key, std::chrono::milliseconds timeout,
    std::function<void(identity)> said, look_words words = look_words::early);

  /// The tunnels of this thread, the oldest first.
  std::vector<tunnel_info> tunnels() const;

  server_counts counts() const;

  /// Valid as long as the server.
  const http_counters& counters() const;

  /// Stops accepting. What is open stays open.
  void stop_listening();

  /// Closes listeners, connections, tunnels. `on_stopped` is called once the last one has gone; do
  /// not destroy the server in it.
  void stop(std::function<void()> on_stopped);

private:
  std::unique_ptr<struct server_core> core_;
};

}  // namespace previewd::net::http
