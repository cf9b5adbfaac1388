#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "previewd/messages/connection.hpp"
#include "previewd/net/http/core.hpp"
#include "previewd/net/http/live.hpp"
#include "previewd/net/http/relay.hpp"
#include "previewd/net/http/upstream.hpp"
#include "previewd/net/ready_socket.hpp"

namespace previewd::net::http {

class connection;

/// What is known of a WebSocket when its 101 has been passed on.
struct tunnel_description {
  std::shared_ptr<upstream_server> server;
  std::string client_address;
  std::string path;
  std::string protocol;
  std::string up_first;      // what the client has sent already
  uint64_t down_passed = 0;  // bytes that came with the server's 101 and have been passed on
  open_slot client_slot;     // in the count of the client's address
  open_slot workspace_slot;  // in that of the workspace
  tls_hold upstream_hold;    // where the server speaks HTTPS
  preview_access needs;      // the least with which the client is let in
};

/// One proxied WebSocket after its 101: bytes both ways. While it is idle it has no buffer; what a
/// slow peer does not take is kept, and nothing more is read for it until it has. While it is busy
/// its bytes go through a pipe. Owned by its thread's table.
class tunnel final : public timed_object, private server_user, private readiness::watcher {
public:
  /// Opens one with the sockets of both, on which nothing is under way and which close; gives it a
  /// number, and tells the server's actor.
  static void
  open(server_core& core, connection& client, upstream_link& upstream, tunnel_description what);

  tunnel(server_core& core, tunnel_description what, uint64_t number);

  /// `closed` goes to `actor` when it closes.
  void tell(ws_connection_actor actor) { actor_ = std::move(actor); }

  tunnel_info info() const;

protected:
  void closing() override;
  void deadline_passed() override;

private:
  void leave_server(close_reason why) override { close(why); }
  preview_access needs() const noexcept override { return what_.needs; }

  // One end, by its place in `readiness`.
  enum side : uint32_t { at_client, at_upstream };
  // One direction. `left`: bytes that its target did not take. `relayed`: its pipe, while it is
  // busy.
  struct direction {
    std::string left;
    std::unique_ptr<relay> relayed;
    uint64_t bytes = 0;
    uint32_t streak = 0;  // bytes since the last small turn; with a pipe, small turns in a row
    bool awaits_source = false;
    bool awaits_target = false;
    bool over = false;  // its source has ended, and its target has been told
    bool may_relay = true;
  };

  void start(connection& client, upstream_link& upstream);
  void ready(uint32_t which, readiness::change what) override;
  void pump(direction& d, watched_socket& from, watched_socket& to);
  void relay_on(direction& d, watched_socket& from, watched_socket& to);
  /// How much the target has taken; closes the tunnel when it is broken.
  std::size_t write(std::string_view bytes, watched_socket& to);
  /// Whether the target has taken all that was left.
  bool flush(direction& d, watched_socket& to);
  void turn_ended(direction& d, std::size_t moved);
  void go_on_later(direction& d, watched_socket& from, watched_socket& to);
  void source_ended(direction& d, watched_socket& to);

  server_core& core_;
  watched_socket client_;
  watched_socket upstream_;
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
