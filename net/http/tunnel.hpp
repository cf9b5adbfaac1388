#pragma once

#include <boost/asio/generic/stream_protocol.hpp>
#include <cstdint>
#include <memory>
#include <string>

#include "previewd/messages/connection.hpp"
#include "previewd/net/http/core.hpp"
#include "previewd/net/http/live.hpp"
#include "previewd/net/http/relay.hpp"
#include "previewd/net/http/upstream.hpp"

namespace previewd::net::http {

/// What is known of a WebSocket when its 101 has been passed on.
struct tunnel_description {
  std::shared_ptr<upstream_server> server;
  std::string client_address;
  std::string path;
  std::string protocol;
  std::string up_first;      // what the client has sent already
  open_slot client_slot;     // in the count of the client's address
  open_slot workspace_slot;  // in that of the workspace
  tls_hold upstream_hold;    // where the server speaks HTTPS
  preview_access needs;      // the least with which the client is let in
};

/// One proxied WebSocket after its 101: bytes both ways. While it is idle it has no buffer; what a
/// slow peer does not take is kept, and nothing more is read for it until it has. While it is busy
/// its bytes go through a pipe. Owned by its thread's table.
class tunnel final : public timed_object, private server_user {
public:
  /// Opens one, gives it a number, and tells the server's actor.
  static void
  open(server_core& core, client_socket client, client_socket upstream, tunnel_description what);

  tunnel(server_core& core, client_socket client, client_socket upstream, tunnel_description what,
    uint64_t number);

  /// `closed` goes to `actor` when it closes.
  void tell(ws_connection_actor actor) { actor_ = std::move(actor); }

  tunnel_info info() const;

protected:
  void closing() override;
  void deadline_passed() override;

private:
  void leave_server(close_reason why) override { close(why); }
  preview_access needs() const noexcept override { return what_.needs; }

  // One direction. `left`: bytes its target did not take.
  // `relayed`: its pipe, while it is busy.
  struct direction {
    std::string left;
    std::unique_ptr<relay> relayed;
    uint64_t bytes = 0;
    uint32_t streak = 0;  // bytes since the last small turn; with a pipe, small turns in a row
    bool awaits_source = false;
    bool may_relay = true;
  };

  template <class From, class To> void wait(direction& d, From& from, To& to);
  template <class From, class To> void pump(direction& d, From& from, To& to);
  void turn_ended(direction& d, std::size_t moved);
  template <class From, class To> void relay_on(direction& d, From& from, To& to);
  template <class From, class To> void flush(direction& d, From& from, To& to);
  template <class To> void source_ended(direction& d, To& to);
  void start();

  server_core& core_;
  client_socket client_;
  client_socket upstream_;
  tunnel_description what_;
  uint64_t number_;
  direction up_;
  direction down_;
  wall_time opened_at_;
  steady_clock::time_point last_byte_;
  bool draining_ = false;
  ws_connection_actor actor_;
};

}  // namespace previewd::net::http
