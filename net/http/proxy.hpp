#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

#include "previewd/messages/preview_server.hpp"
#include "previewd/net/http/core.hpp"
#include "previewd/net/http/message.hpp"
#include "previewd/net/http/preview_target.hpp"
#include "previewd/net/http/relay.hpp"
#include "previewd/net/http/upstream.hpp"

namespace previewd::net::http {

class connection;

/// The request of one connection on its way to a server and back. Belongs to the connection and is
/// used again for its next request. Both directions go on independently of each other: a server may
/// answer without reading what it is sent.
class proxied_request final : public link_user, public hold_waiter {
public:
  proxied_request(connection& client, server_core& core) : client_{client}, core_{core} {}

  /// Begins. The connection has the head, and the bytes that follow it.
  /// `needs`: the least access of a server with which the client is let in.
  void start(preview_target target, preview_access needs);

  // From the connection.
  void client_received();
  void client_sent(const error_code& error);
  /// The client has ended its side of the connection and may still wait for the answer. False:
  /// there is nothing that it could get.
  bool client_ended();
  void deadline_passed();
  /// The connection closes: lets go of everything.
  void abandon();

  // From the connection to the server.
  void link_connected(const error_code& error) override;
  void link_sent(const error_code& error) override;
  void link_received(const error_code& error) override;
  void link_closed(close_reason why) override;
  preview_access needs() const noexcept override { return needs_; }

  // From the route table.
  void routes_changed() override { dispatch(); }

private:
  enum class stage : uint8_t {
    none,  // no request, or previewd itself answers it
    held,  // waits for the routes to change
    connecting,
    waiting,    // for the answer's head
    answering,  // the head has been passed on
    switching   // the 101 has: the rest is the tunnel's
  };
  /// What becomes of a request that a server took and did not answer, when that server turns out to
  /// be alive.
  enum class resend : uint8_t { allowed, no };

  void dispatch();
  /// Whether the request waits now for the routes to change.
  bool hold();
  void leave_hold();
  void unavailable(std::string_view sentence);
  void shut_out();
  void fail(unsigned status, std::string_view code, std::string_view sentence);
  void drop_link();
  void send_request();
  void pump_up();
  void await_answer();
  void await_body();
  void upload_goes_on();
  void end_sending();
  void cut(close_reason why);
  void pump_down();
  // False: the bytes have to be copied.
  bool relay_up();
  bool relay_down();
  void close_relays();
  void await_more_of_answer();
  void head_arrived(std::size_t length);
  void died_before_answer();
  void died_in_handshake();
  void answer_complete();
  void open_tunnel();
  bool may_repeat() const;
  observer seen_as() const;
  struct forwarding forwarding_of() const;

  connection& client_;
  server_core& core_;
  preview_target target_;
  preview_access needs_ = preview_access::members;
  std::shared_ptr<upstream_server> server_;
  upstream_link* link_ = nullptr;
  stage stage_ = stage::none;

  bool pooled_ = false;      // the connection has served a request before
  bool fresh_ = false;       // take no pooled one
  bool repeated_ = false;    // the request has been sent twice
  bool shaken_off_ = false;  // the server went away in the midst of a handshake
  resend resend_ = resend::allowed;
  uint64_t unanswered_generation_ = 0;  // with resend::no: who took it
  bool waiting_for_routes_ = false;
  open_slot held_slot_;  // meanwhile, in the count of the workspace
  bool hold_begun_ = false;
  steady_clock::time_point hold_until_;

  std::string up_head_;
  std::size_t up_body_ = 0;  // bytes of the client's buffer that are being sent
  bool up_failed_ = false;
  bool awaiting_body_ = false;  // the deadline is for the client's next bytes
  bool told_to_go_on_ = false;  // an interim answer has been passed on
  uint64_t after_switch_ = 0;   // bytes that came with the 101

  head_scanner scanner_{head_scanner::kind::answer};
  std::string answer_text_;
  answer_head answer_;
  body_reader answer_body_;
  std::string down_head_;
  std::string decoded_;         // a chunked body, for a client that knows no chunks
  std::size_t down_bytes_ = 0;  // of the server's buffer that are being sent
  // Long bodies of a known length.
  bool may_relay_ = true;
  relay up_relay_;
  relay down_relay_;
  uint64_t up_left_ = 0;    // bytes that the relay has yet to take
  uint64_t down_left_ = 0;  // the same
  std::string up_back_;     // what a relay had taken and could not give to its target
  std::string down_back_;

  bool sending_down_ = false;
  bool answer_begun_ = false;          // a byte has come back
  bool ends_with_connection_ = false;  // the answer does, as the client sees it
  bool keep_client_ = true;
  bool keep_link_ = true;
};

}  // namespace previewd::net::http
