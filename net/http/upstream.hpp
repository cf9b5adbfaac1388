#pragma once

#include <array>
#include <boost/asio/ip/tcp.hpp>
#include <cstdint>
#include <list>
#include <memory>
#include <optional>
#include <string_view>
#include <unordered_set>
#include <vector>

#include "previewd/messages/route.hpp"
#include "previewd/net/http/buffer.hpp"
#include "previewd/net/http/live.hpp"
#include "previewd/net/http/open_counts.hpp"
#include "previewd/net/http/tls_bridge.hpp"
#include "previewd/net/ready_socket.hpp"
#include "previewd/os/sock_diag.hpp"

namespace previewd::net::http {

class upstream_link;

/// The address to connect to. Port 0: not one.
asio::ip::tcp::endpoint address_of(const endpoint& target);

/// Opens a socket for it that no child process inherits.
error_code open_socket(client_socket& socket, const asio::ip::tcp::endpoint& address);

/// Whether a connection failed for want of descriptors, memory or ports of our own, which tells
/// nothing about the server.
bool is_our_shortage(const error_code& error) noexcept;

/// What leads to a server: a connection to it, or a tunnel.
class server_user {
public:
  virtual void leave_server(close_reason why) = 0;
  /// The least access with which whoever uses it is let in.
  virtual preview_access needs() const noexcept = 0;

protected:
  ~server_user() = default;
};

/// What one I/O thread knows, and has open, of one generation of a server. That thread only.
struct upstream_server {
  explicit upstream_server(route what);

  route what;
  asio::ip::tcp::endpoint address;
  /// After a refusal nothing is sent until then, unless the registry says that it is up.
  steady_clock::time_point spared_until = steady_clock::time_point::min();
  /// Whom of `observer` the server's actor has been told since the registry last said that it is
  /// up; one bit each.
  uint8_t told = 0;
  /// Absent from the routes, or held: nothing may be open to it.
  bool closed_off = false;

  /// Of its last connection, where it speaks HTTPS.
  std::shared_ptr<tls::session_slot> session = std::make_shared<tls::session_slot>();

  /// The last connection that is known to have led to it (`port_guard`), and all before.
  uint64_t proved = 0;

  std::unordered_set<server_user*> users;
  std::vector<upstream_link*> idle;  // the last one used comes last

  /// Closes all that is open to it. No byte reaches it afterwards.
  void close_users(close_reason why);
  /// Closes what is open to it for those whom its access does not let in.
  void close_strangers(close_reason why);
  bool lets_in(preview_access needs) const noexcept { return needs <= what.access; }
};

/// Sees to it that who is connected to is the server, and not somebody who has taken its port over
/// before the news of its end has come. For one I/O thread.
class port_guard {
public:
  /// Opens what it asks the kernel with, so that a thread holds the same before and after its first
  /// connection; what cannot be had now is tried again when it is needed.
  port_guard();

  /// A connection has been made: its number.
  uint64_t made() noexcept { return ++made_; }

  /// To be asked when a connection has been made. One of the route's sockets listens still: as the
  /// port was never free, it is that server's connection, and so is each that was made before.
  /// Nobody else's socket listens there by itself, but for SO_REUSEPORT, which the kernel grants to
  /// the same user only (socket(7)). Errors: `connection_refused`; a shortage (`is_our_shortage`).
  /// None where the sockets are not known, or the kernel has no socket diagnosis.
  error_code check(upstream_server& server, uint64_t connection);

private:
  error_code ask(const upstream_server& server);

  uint64_t made_ = 0;
  std::optional<os::sock_diag> diag_;
  bool missing_ = false;  // the kernel has none
  std::vector<os::listening_socket> sockets_;
};

/// What the connections of one I/O thread to servers that speak HTTPS share.
struct tls_client {
  tls::client_context context;
  std::vector<char>& scratch;  // of whoever reads right now and keeps nothing
};

/// Who uses a connection to a server. Each call is the last thing that its caller does.
class link_user {
public:
  virtual void link_connected(const error_code& error) = 0;
  virtual void link_sent(const error_code& error) = 0;
  virtual void link_received(const error_code& error) = 0;
  /// It was closed by somebody else, and is no longer there to be used.
  virtual void link_closed(close_reason why) = 0;
  /// The least access with which whoever it is for is let in.
  virtual preview_access needs() const noexcept = 0;

protected:
  ~link_user() = default;
};

/// One connection to a server: used by one request, or idle.
class upstream_link final : public live_object, private server_user {
public:
  /// `ready`, `guard` and `tls` outlive it. `slot`: its place in the count of the workspace.
  upstream_link(live_table& table, std::shared_ptr<upstream_server> server, readiness& ready,
    port_guard& guard, tls_client& tls, open_slot slot);

  const std::shared_ptr<upstream_server>& server() const noexcept { return server_; }

  void attach(link_user& user) noexcept { user_ = &user; }
  void detach() noexcept { user_ = nullptr; }

  /// Connects, makes sure to whom, and shakes hands where the server speaks HTTPS; then
  /// `link_connected`: with EPROTO if what it speaks is not TLS, `eof` or a reset if it went away
  /// in the midst of that.
  void connect();

  /// Writes all of both, gathered; then `link_sent`. One at a time; the bytes stay where they are
  /// until then, or until close.
  void send(std::array<asio::const_buffer, 2> bytes);
  bool sending() const noexcept { return sending_; }

  /// Waits until it takes bytes, which its user sends by itself; then `link_sent`.
  void wait_to_send();

  /// Nothing more is sent: the server sees the end of what it is sent, and may answer yet.
  void end_sending();

  /// Sees to it that a read is under way; then `link_received`. `most`: bytes that may be held
  /// unread.
  void receive(std::size_t most);
  bool receiving() const noexcept { return receiving_; }

  /// Waits until it has bytes or its end, which its user reads by itself; then `link_received`.
  void wait_to_receive();

  /// For a relay.
  ready_socket& socket() noexcept { return socket_; }
  std::string_view unread() const noexcept { return in_.view(); }
  void consume(std::size_t count) noexcept { in_.consume(count); }

  /// The socket, for a tunnel. Nothing may be under way; the link closes. The hold of one that is
  /// encrypted has to be taken before.
  watched_socket take_socket(readiness::watcher& watcher, uint32_t which);
  tls_hold take_hold() noexcept { return std::move(hold_); }
  open_slot take_slot() noexcept { return std::move(slot_); }

protected:
  void closing() override;

private:
  friend class idle_links;
  void connect_later();
  void reached(const error_code& error);
  error_code encrypt();

  void leave_server(close_reason why) override { close(why); }
  preview_access needs() const noexcept override {
    return user_ != nullptr ? user_->needs() : preview_access::members;
  }

  std::shared_ptr<upstream_server> server_;
  port_guard& guard_;
  tls_client& tls_;
  os::unique_fd connecting_;  // until it is there, and known to be the server
  uint64_t number_ = 0;       // among the connections that were made
  ready_socket socket_;
  std::array<iovec, 2> parts_{};  // of the write under way
  tls_hold hold_;
  open_slot slot_;
  link_user* user_ = nullptr;
  flat_buffer in_;
  bool sending_ = false;
  bool receiving_ = false;
  bool filled_ = false;  // the last read took all the room there was
  steady_clock::time_point idle_since_;
  std::list<upstream_link*>::iterator parked_;
  class idle_links* parked_with_ = nullptr;
};

/// The unused connections of one thread, to all servers. Each one waits, with a read, for its end.
class idle_links final : public timed_object {
public:
  idle_links(live_table& table, std::size_t most_for_a_server, steady_clock::duration timeout);

  /// The connection that was used last, if one is at most `oldest` unused. Its user is attached.
  upstream_link* take(upstream_server& server, steady_clock::duration oldest, link_user& user);

  /// Keeps a connection whose last answer is complete, or closes it.
  void park(upstream_link& link);

  std::size_t size() const noexcept { return links_.size(); }

protected:
  void closing() override { stop_timer(); }
  void deadline_passed() override;

private:
  friend class upstream_link;
  void remove(upstream_link& link);

  std::size_t most_for_a_server_;
  steady_clock::duration timeout_;
  std::list<upstream_link*> links_;  // the longest unused comes first
};

}  // namespace previewd::net::http
