#pragma once

#include <chrono>
#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "previewd/messages/preview_server.hpp"
#include "previewd/net/http/exchange.hpp"
#include "previewd/net/http/live.hpp"
#include "previewd/net/http/open_counts.hpp"
#include "previewd/net/http/pages.hpp"
#include "previewd/net/http/relay.hpp"
#include "previewd/net/http/route_table.hpp"
#include "previewd/net/http/server.hpp"
#include "previewd/net/http/settings.hpp"
#include "previewd/net/http/tunnel_news.hpp"
#include "previewd/net/http/upstream.hpp"
#include "previewd/net/readiness.hpp"
#include "previewd/os/unique_fd.hpp"

namespace previewd::net::http {

class acceptor;
class access;
class forward_desk;
class tunnel;

/// A connection on its way from one thread to another: its socket, and what has been read from it.
struct connection_move {
  os::unique_fd socket;
  std::string client_address;
  transport over = transport::plain;
  std::string read_already;
};

/// A client's connection as it comes: what is said to be its address, what it speaks, and the hold
/// on the encrypted side where that is this thread's.
struct new_client {
  os::unique_fd socket;  // non-blocking
  std::string address;
  transport over = transport::plain;
  tls_hold hold;
};

/// Sends it there. The socket is closed if the other thread has stopped.
void hand_to(io_thread& thread, server& target, connection_move what);

/// What the connections of one I/O thread share. Inside net/http only.
struct server_core {
  server_core(io_thread& on, http_settings with, service_handler answers, preview_pages shows);
  ~server_core();

  io_thread& thread;
  http_settings settings;  // changed by `server::change` alone
  const service_handler service;
  const preview_pages pages;
  std::unique_ptr<access> rules;          // null: nobody is asked who he is
  std::unique_ptr<forward_desk> forward;  // null: no application is asked
  const std::string frame_ancestors;      // for the proxy, as a CSP source list; empty: none
  std::vector<server*> peers;
  // All threads' together, once they know each other.
  std::shared_ptr<open_clients> clients;
  std::shared_ptr<open_counts> addresses;
  std::shared_ptr<open_counts> workspaces;
  std::shared_ptr<open_counts> held;  // requests, by workspace

  route_table routes;
  std::vector<acceptor*> acceptors;
  std::map<uint64_t, tunnel*> tunnels;  // by number, so the oldest comes first
  uint64_t next_number = 1;
  std::size_t connections = 0;
  http_counters counters;
  uint64_t turned_away = 0;  // clients that were answered before they had asked
  bool stopping = false;
  bool short_said = false;  // once, until a server has been connected to
  pipe_budget pipes;        // of long bodies and busy tunnels
  readiness ready;          // the sockets of tunnels
  tunnel_news news;
  std::vector<char> scratch;  // for whoever reads right now and keeps nothing

  port_guard guard;
  tls_client to_servers{{}, scratch};
  std::shared_ptr<const tls::server_context> certificate;  // null: nothing to be shown

  // Last, since what it owns uses the rest.
  live_table live;
  idle_links* idle = nullptr;

  /// The value of a Date field.
  std::string_view date();

  /// A connection to a server was refused, or ended before the first byte: nothing is sent to it
  /// for a while, and its actor is told, once for each observer.
  void refused(upstream_server& server, observer who);

  /// A connection could not be tried for want of something of ours (`is_our_shortage`).
  void short_of(const error_code& error);

  /// A new connection to `server`, not yet connected.
  upstream_link& new_link(const std::shared_ptr<upstream_server>& server, open_slot slot);

  /// Begins to serve a client. Error: its socket cannot be watched, and is closed.
  error_code add_connection(new_client client, std::string_view read_already, open_slot slot);

  /// Keeps one descriptor back, to answer with when there are no more.
  void keep_descriptor();
  os::unique_fd reserve;
  std::size_t refusals = 0;  // under way

  /// A client of `clients` has gone: there is room for another one, on whatever thread.
  void client_gone();

  /// There may be room for more of those who wait at this thread.
  void let_in();
  /// The same for those of the others.
  void let_in_elsewhere();

private:
  std::string date_;
  std::chrono::system_clock::time_point date_of_;
};

}  // namespace previewd::net::http
