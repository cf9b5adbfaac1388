#include "previewd/net/http/proxy.hpp"

#include <algorithm>
#include <boost/asio/error.hpp>
#include <cerrno>
#include <utility>

#include "previewd/net/http/access.hpp"
#include "previewd/net/http/connection.hpp"
#include "previewd/net/http/forwarding.hpp"
#include "previewd/net/http/pages.hpp"
#include "previewd/net/http/tunnel.hpp"
#include "previewd/os/result.hpp"

namespace previewd::net::http {

namespace {

constexpr std::size_t answer_buffer = 64 * 1024;
// What is shorter is copied sooner than a pipe is made.
constexpr uint64_t least_relayed = 256 * 1024;
// A request that cannot be sent twice takes no connection whose end may be near (node closes after
// 5 s).
constexpr std::chrono::seconds safe_idle{1};

asio::const_buffer bytes_of(std::string_view text) {
  return {text.data(), text.size()};
}

constexpr std::string_view nothing_there = "No dev server of this workspace is running now.";
constexpr std::string_view starting =
  "The dev server is starting or restarting; try again in a moment.";
constexpr std::string_view stopped =
  "The dev server is stopped (Ctrl+Z); type fg in its terminal to let it run again.";
constexpr std::string_view no_tls = "What the dev server speaks is neither HTTPS nor TLS at all.";
constexpr std::string_view not_http = "The dev server's answer is not HTTP.";
constexpr std::string_view too_many =
  "The workspace has limits.per_workspace connections to its dev servers open; try again later.";
constexpr std::string_view no_resources =
  "previewd has run out of descriptors or ports for connections to dev servers; try again later.";
constexpr std::string_view no_answer = "The dev server closed the connection without an answer.";

}  // namespace

forwarding proxied_request::forwarding_of() const {
  return {client_.head(), target_, server_->what.prefix, server_->what.upstream,
    client_.client_address(), client_.scheme(), client_.trust(),
    core_.settings.withheld_cookies.empty() ? nullptr : &core_.settings.withheld_cookies,
    server_->what.names_hidden};
}

observer proxied_request::seen_as() const {
  return client_.head().websocket_upgrade ? observer::websocket : observer::proxy;
}

bool proxied_request::may_repeat() const {
  const request_head& head = client_.head();
  return !repeated_ && is_idempotent(head.method) &&
         client_.body().how() != body_reader::framing::chunked &&
         head.content_length.value_or(0) == 0;
}

void proxied_request::start(preview_target target, preview_access needs) {
  target_ = std::move(target);
  needs_ = needs;
  server_.reset();
  link_ = nullptr;
  pooled_ = fresh_ = repeated_ = shaken_off_ = false;
  resend_ = resend::allowed;
  hold_begun_ = waiting_for_routes_ = false;
  up_body_ = down_bytes_ = 0;
  up_failed_ = sending_down_ = answer_begun_ = awaiting_body_ = told_to_go_on_ = false;
  ends_with_connection_ = false;
  may_relay_ = true;
  stage_ = stage::none;
  if (hops_of(client_.head()) >= core_.settings.hops) {
    fail(508, "loop_detected",
      "The request has come through previewd too often: the preview leads back to itself.");
    return;
  }
  if (hops_left(client_.head()) == uint64_t{0}) {
    response last;
    last.status = 204;
    last.fields.emplace_back("Allow", "GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS");
    client_.answer(std::move(last));
    return;
  }
  dispatch();
}

void proxied_request::dispatch() {
  workspace_entry* entry = core_.routes.find(target_.key);
  std::shared_ptr<upstream_server> server = entry != nullptr ? entry->find(target_.port) : nullptr;
  // It may have waited for somebody else than was there when it was let in.
  if (needs_ != preview_access::members && (server == nullptr || !server->lets_in(needs_))) {
    shut_out();
    return;
  }
  if (server == nullptr) {
    unavailable(nothing_there);
    return;
  }
  server_ = std::move(server);
  const request_head& head = client_.head();
  const bool bare = target_.by == preview_target::address::path &&
                    server_->what.prefix == prefix_mode::stripped && server_->what.prefix_known &&
                    !target_.prefix.empty() && head.path.size() == target_.prefix.size();
  if (bare && !head.websocket_upgrade) {
    leave_hold();
    response answer;
    answer.status = 308;
    std::string where = target_.prefix + '/';
    if (head.query.data() != nullptr) where.append("?").append(head.query);
    answer.fields.emplace_back("Location", std::move(where));
    // Another server may want it otherwise.
    answer.fields.emplace_back("Cache-Control", "no-store");
    stage_ = stage::none;
    client_.answer(std::move(answer));
    return;
  }
  if (server_->what.state == route_state::suspended) {
    unavailable(stopped);
    return;
  }
  if (server_->closed_off || server_->spared_until > steady_clock::now()) {
    if (!hold()) unavailable(starting);
    return;
  }
  const bool unclear = target_.by == preview_target::address::path && !server_->what.prefix_known;
  if (server_->what.state == route_state::starting || unclear) {
    if (hold()) return;
    // It listens: what cannot wait, or has waited, is sent to it, for it may only be compiling. But
    // not with a path of which it is not known yet what it means to it.
    if (unclear) {
      unavailable(starting);
      return;
    }
  }
  if (resend_ == resend::no) {
    // It must not be sent again. The server that took it is alive, or has a successor that knows
    // nothing of it.
    if (server_->what.ref.generation == unanswered_generation_) {
      fail(502, "bad_gateway", no_answer);
    } else {
      unavailable(starting);
    }
    return;
  }
  leave_hold();
  answer_begun_ = false;
  const auto oldest = may_repeat()
                        ? core_.settings.pool_timeout
                        : std::min<steady_clock::duration>(safe_idle, core_.settings.pool_timeout);
  link_ = fresh_ || head.websocket_upgrade ? nullptr : core_.idle->take(*server_, oldest, *this);
  pooled_ = link_ != nullptr;
  if (pooled_) {
    send_request();
    return;
  }
  open_slot slot;
  if (!core_.workspaces->take(target_.key, slot)) {
    // One that nobody uses makes room.
    if (!server_->idle.empty()) server_->idle.front()->close(close_reason::finished);
    if (!core_.workspaces->take(target_.key, slot)) {
      fail(429, to_code(errc::limit_reached), too_many);
      return;
    }
  }
  stage_ = stage::connecting;
  client_.set_deadline(core_.settings.connect_timeout);
  link_ = &core_.new_link(server_, std::move(slot));
  link_->attach(*this);
  link_->connect();
  if (!head.websocket_upgrade && client_.body().complete()) client_.read();
}

bool proxied_request::hold() {
  const request_head& head = client_.head();
  const bool fits = client_.body().how() != body_reader::framing::chunked &&
                    head.content_length.value_or(0) <= core_.settings.hold_bytes;
  const auto now = steady_clock::now();
  if (!hold_begun_) {
    hold_begun_ = true;
    hold_until_ = now + core_.settings.hold;
  }
  if (!fits || now >= hold_until_) return false;
  if (!waiting_for_routes_) {
    if (!core_.held->take(target_.key, held_slot_)) return false;
    core_.routes.wait(target_.key, *this);
    waiting_for_routes_ = true;
  }
  stage_ = stage::held;
  client_.set_deadline(hold_until_);
  // To notice when the client gives up. An upgrade's socket is kept free of operations: it may
  // leave the connection.
  if (!head.websocket_upgrade) client_.read();
  return true;
}

void proxied_request::leave_hold() {
  if (!std::exchange(waiting_for_routes_, false)) return;
  core_.routes.leave(target_.key, *this);
  held_slot_ = {};
}

void proxied_request::unavailable(std::string_view sentence) {
  leave_hold();
  drop_link();
  stage_ = stage::none;
  if (needs_ != preview_access::members) {
    // The page that waits asks what is the workspace's own to know.
    response answer = error_answer(
      client_.head(), 503, to_code(errc::preview_unavailable), "The preview is not available now.");
    answer.fields.emplace_back("Retry-After", "1");
    if (is_navigation(client_.head())) answer.fields.emplace_back("Refresh", "2");
    client_.answer(std::move(answer));
    return;
  }
  const workspace_entry* entry = core_.routes.find(target_.key);
  const stop_record* last_stop =
    entry != nullptr && entry->last_stop ? &*entry->last_stop : nullptr;
  client_.answer(unavailable_answer(client_.head(), target_, core_.pages, last_stop, sentence));
}

void proxied_request::shut_out() {
  leave_hold();
  drop_link();
  stage_ = stage::none;
  client_.answer(not_shared(client_.head(), needs_));
}

void proxied_request::fail(unsigned status, std::string_view code, std::string_view sentence) {
  leave_hold();
  drop_link();
  stage_ = stage::none;
  response answer = error_answer(client_.head(), status, code, sentence);
  if (status == 503) answer.fields.emplace_back("Retry-After", "1");
  client_.answer(std::move(answer));
}

void proxied_request::close_relays() {
  up_relay_.close();
  down_relay_.close();
}

void proxied_request::drop_link() {
  close_relays();
  client_.consume(std::exchange(up_body_, 0));
  upstream_link* link = std::exchange(link_, nullptr);
  if (link == nullptr) return;
  link->detach();
  link->close(close_reason::finished);
}

void proxied_request::abandon() {
  leave_hold();
  drop_link();
  server_.reset();
  stage_ = stage::none;
}

void proxied_request::link_connected(const error_code& error) {
  if (!error) {
    core_.short_said = false;
    send_request();
    return;
  }
  if (is_our_shortage(error)) {
    core_.short_of(error);
    // A page comes back by itself.
    if (is_navigation(client_.head())) {
      unavailable(no_resources);
    } else {
      fail(503, "out_of_resources", no_resources);
    }
    return;
  }
  if (error == asio::error::timed_out || error == asio::error::host_unreachable ||
      error == asio::error::network_unreachable) {
    fail(504, "timed_out", "The dev server did not accept the connection in time.");
    return;
  }
  if (error == os::system_error(EPROTO)) {
    fail(502, "bad_gateway", no_tls);
    return;
  }
  if (server_->what.upstream.scheme == scheme::https && error != asio::error::connection_refused) {
    died_in_handshake();
    return;
  }
  // Nothing has been sent: whoever comes back may have it.
  core_.refused(*server_, seen_as());
  drop_link();
  dispatch();
}

void proxied_request::send_request() {
  stage_ = stage::waiting;
  scanner_.reset();
  up_head_.clear();
  write_upstream_request(up_head_, forwarding_of());
  up_body_ = client_.body().feed(client_.unread());
  if (client_.body().malformed()) {
    fail(400, "bad_request", "The body's chunks are malformed.");
    return;
  }
  await_answer();
  link_->send({bytes_of(up_head_), bytes_of(client_.unread().substr(0, up_body_))});
  link_->receive(answer_buffer);
  if (up_body_ != 0 || client_.head().websocket_upgrade) return;
  // Bytes that were expected with the head come late; who waits for a 100 waits for the server.
  if (!client_.body().complete() && !client_.head().expects_continue) await_body();
  client_.read();
}

void proxied_request::await_answer() {
  awaiting_body_ = false;
  const auto limit = client_.head().websocket_upgrade ? core_.settings.upgrade_timeout
                                                      : core_.settings.response_timeout;
  if (limit == std::chrono::milliseconds::zero()) {
    client_.clear_deadline();
  } else {
    client_.set_deadline(limit);
  }
}

void proxied_request::await_body() {
  awaiting_body_ = true;
  client_.set_deadline(core_.settings.idle_timeout);
}

void proxied_request::upload_goes_on() {
  // It is not overdue, whatever is waited for; who is slow to take the answer is.
  if (stage_ == stage::waiting) {
    await_answer();
  } else if (stage_ == stage::answering && !sending_down_) {
    client_.set_deadline(core_.settings.idle_timeout);
  }
}

void proxied_request::end_sending() {
  if (link_ == nullptr || link_->sending()) return;
  // Bytes that wait may be the next request, which the connection to the server is kept for.
  if (client_.input_ended()) link_->end_sending();
  // Whether the client is still there cannot be known: not for ever.
  if (stage_ == stage::answering && !sending_down_)
    client_.set_deadline(core_.settings.idle_timeout);
  if (stage_ == stage::waiting && core_.settings.response_timeout.count() == 0)
    client_.set_deadline(core_.settings.idle_timeout);
}

bool proxied_request::client_ended() {
  if (!client_.body().complete()) return false;
  // Half a connection is of no use to a WebSocket; an answer that is none can be waited for.
  if (client_.head().websocket_upgrade && stage_ != stage::answering) return false;
  switch (stage_) {
    case stage::connecting:
      return true;
    case stage::waiting:
    case stage::answering:
      end_sending();
      return true;
    case stage::held:  // who waits for nothing in particular has given up
    case stage::none:
    case stage::switching:
      return false;
  }
  return false;
}

void proxied_request::cut(close_reason why) {
  if (ends_with_connection_) {
    client_.cut(why);
  } else {
    client_.close(why);
  }
}

void proxied_request::link_sent(const error_code& error) {
  client_.consume(std::exchange(up_body_, 0));
  if (!up_back_.empty()) std::string{}.swap(up_back_);
  if (error) {
    // What it has to say may have arrived before; if not, the read says that it is gone.
    up_failed_ = true;
    return;
  }
  switch (stage_) {
    case stage::waiting:
      if (!client_.head().websocket_upgrade) pump_up();
      return;
    case stage::answering:
      pump_up();
      return;
    case stage::switching:
      open_tunnel();
      return;
    case stage::none:
    case stage::held:
    case stage::connecting:
      return;
  }
}

void proxied_request::client_received() {
  // In the other stages the bytes wait in the buffer, and in the socket behind it.
  if (stage_ == stage::waiting || stage_ == stage::answering) pump_up();
}

void proxied_request::pump_up() {
  if (link_ == nullptr || link_->sending() || up_failed_) return;
  if (client_.body().complete()) {
    if (awaiting_body_ && stage_ == stage::waiting) await_answer();
    // The answer may have begun before: from now on it is the server that has to go on.
    if (stage_ == stage::answering && !sending_down_) await_more_of_answer();
    if (client_.is_silent()) {
      end_sending();
    } else {
      client_.read();
    }
    return;
  }
  if (relay_up()) return;
  up_body_ = client_.body().feed(client_.unread());
  if (client_.body().malformed()) {
    if (stage_ == stage::waiting && !sending_down_) {
      fail(400, "bad_request", "The body's chunks are malformed.");
    } else {
      client_.close(close_reason::misbehaved);
    }
    return;
  }
  if (up_body_ == 0) {
    if (stage_ == stage::waiting && (!client_.head().expects_continue || told_to_go_on_))
      await_body();
    client_.read();
    return;
  }
  upload_goes_on();
  link_->send({bytes_of(client_.unread().substr(0, up_body_)), {}});
}

bool proxied_request::relay_up() {
  body_reader& body = client_.body();
  if (!up_relay_.is_open()) {
    if (!may_relay_ || body.counted_left() < least_relayed || !client_.unread().empty() ||
        client_.reading() || !up_relay_.open(core_.pipes))
      return false;
    up_left_ = body.counted_left();
  }
  uint64_t moved = 0;
  const auto where =
    up_relay_.move(client_.socket().descriptor(), link_->socket().descriptor(), up_left_, moved);
  body.pass(moved);
  if (moved != 0) upload_goes_on();
  switch (where) {
    case relay::stop::complete:
      up_relay_.close();
      pump_up();
      return true;
    case relay::stop::wait_for_target:
      link_->socket().filled();
      link_->wait_to_send();
      return true;
    case relay::stop::wait_for_source:
      client_.socket().read_all();
      if (stage_ == stage::waiting && (!client_.head().expects_continue || told_to_go_on_))
        await_body();
      client_.wait_to_read();
      return true;
    case relay::stop::turn_over:
      client_.wait_to_read();
      return true;
    case relay::stop::source_ended:
    case relay::stop::source_failed:
      client_.close(close_reason::peer_closed);
      return true;
    case relay::stop::target_failed:
      up_failed_ = true;
      up_relay_.close();
      return true;
    case relay::stop::refused:
      break;
  }
  may_relay_ = false;
  up_back_ = up_relay_.take_back();
  if (up_back_.empty()) return false;
  body.pass(up_back_.size());
  link_->send({bytes_of(up_back_), {}});
  return true;
}

void proxied_request::link_received(const error_code& error) {
  if (!error) {
    answer_begun_ = true;
    pump_down();
    return;
  }
  if (stage_ == stage::waiting) {
    if (client_.input_ended()) {
      // Many servers end with a client that has ended: it says nothing of their health.
      client_.close(close_reason::peer_closed);
    } else if (!answer_begun_) {
      died_before_answer();
    } else if (sending_down_) {
      // An interim answer is on its way: another one cannot be begun.
      client_.close(close_reason::peer_closed);
    } else {
      fail(502, "bad_gateway", not_http);
    }
    return;
  }
  if (stage_ == stage::answering) {
    if (error == asio::error::eof) answer_body_.end_of_stream();
    if (answer_body_.complete()) {
      answer_complete();
    } else {
      cut(close_reason::peer_closed);
    }
  }
}

void proxied_request::died_before_answer() {
  drop_link();
  if (pooled_ && may_repeat()) {
    // It was closed while nobody used it, and the server has hardly seen the request: that is no
    // repeat yet. The next connection is a fresh one, so this happens once.
    fresh_ = true;
    dispatch();
    return;
  }
  // Between the death of a server and the end of its socket the kernel accepts and resets: as good
  // as a refusal.
  core_.refused(
    *server_, client_.head().websocket_upgrade ? observer::unanswered_websocket : observer::proxy);
  if (may_repeat()) {
    repeated_ = fresh_ = true;
  } else {
    resend_ = resend::no;
    unanswered_generation_ = server_->what.ref.generation;
  }
  dispatch();
}

void proxied_request::died_in_handshake() {
  drop_link();
  core_.refused(
    *server_, client_.head().websocket_upgrade ? observer::unanswered_websocket : observer::proxy);
  // Nothing has been sent, so that it may be sent again whatever it is; not to a server that turns
  // out to be alive and does the same again.
  if (std::exchange(shaken_off_, true)) {
    resend_ = resend::no;
    unanswered_generation_ = server_->what.ref.generation;
  }
  dispatch();
}

void proxied_request::link_closed(close_reason why) {
  close_relays();
  client_.consume(std::exchange(up_body_, 0));
  link_ = nullptr;
  switch (stage_) {
    case stage::connecting:
      dispatch();
      return;
    case stage::waiting:
      if (sending_down_ || answer_begun_) {
        client_.close(why);
      } else if (may_repeat()) {
        repeated_ = fresh_ = true;
        dispatch();
      } else if (!server_->lets_in(needs_)) {
        shut_out();
      } else {
        unavailable(starting);
      }
      return;
    case stage::answering:
    case stage::switching:
      cut(why);
      return;
    case stage::none:
    case stage::held:
      return;
  }
}

void proxied_request::pump_down() {
  if (sending_down_ || link_ == nullptr) return;
  if (stage_ == stage::waiting) {
    switch (scanner_.scan(link_->unread(), core_.settings.answer_header_bytes)) {
      case head_scanner::progress::incomplete:
        link_->receive(std::max(answer_buffer, core_.settings.answer_header_bytes + 1024));
        return;
      case head_scanner::progress::malformed:
      case head_scanner::progress::too_large:
        fail(502, "bad_gateway", not_http);
        return;
      case head_scanner::progress::complete:
        head_arrived(scanner_.end());
        return;
    }
  }
  if (stage_ != stage::answering) return;
  if (answer_body_.complete()) {
    answer_complete();
    return;
  }
  if (relay_down()) return;
  const bool decode = answer_.chunked && client_.head().version == 10;
  decoded_.clear();
  down_bytes_ = answer_body_.feed(link_->unread(), decode ? &decoded_ : nullptr);
  if (answer_body_.malformed()) {
    cut(close_reason::peer_closed);
    return;
  }
  if (down_bytes_ == 0) {
    await_more_of_answer();
    link_->receive(answer_buffer);
    return;
  }
  sending_down_ = true;
  client_.set_deadline(core_.settings.idle_timeout);
  client_.send(
    {bytes_of(decode ? std::string_view{decoded_} : link_->unread().substr(0, down_bytes_)), {}});
}

void proxied_request::await_more_of_answer() {
  // It may take its time (SSE), unless it is the client that has to go on.
  if (client_.body().complete() && !client_.is_silent()) {
    client_.clear_deadline();
  } else {
    client_.set_deadline(core_.settings.idle_timeout);
  }
}

bool proxied_request::relay_down() {
  if (!down_relay_.is_open()) {
    if (!may_relay_ || answer_body_.counted_left() < least_relayed || !link_->unread().empty() ||
        link_->receiving() || !down_relay_.open(core_.pipes))
      return false;
    down_left_ = answer_body_.counted_left();
  }
  uint64_t moved = 0;
  const auto where = down_relay_.move(
    link_->socket().descriptor(), client_.socket().descriptor(), down_left_, moved);
  answer_body_.pass(moved);
  switch (where) {
    case relay::stop::complete:
      down_relay_.close();
      answer_complete();
      return true;
    case relay::stop::wait_for_target:
      client_.socket().filled();
      sending_down_ = true;
      client_.set_deadline(core_.settings.idle_timeout);
      client_.wait_to_send();
      return true;
    case relay::stop::wait_for_source:
      link_->socket().read_all();
      [[fallthrough]];
    case relay::stop::turn_over:
      await_more_of_answer();
      link_->wait_to_receive();
      return true;
    case relay::stop::source_ended:
    case relay::stop::source_failed:
    case relay::stop::target_failed:
      cut(close_reason::peer_closed);
      return true;
    case relay::stop::refused:
      break;
  }
  may_relay_ = false;
  down_back_ = down_relay_.take_back();
  if (down_back_.empty()) return false;
  answer_body_.pass(down_back_.size());
  sending_down_ = true;
  client_.set_deadline(core_.settings.idle_timeout);
  client_.send({bytes_of(down_back_), {}});
  return true;
}

void proxied_request::head_arrived(std::size_t length) {
  answer_text_.assign(link_->unread().substr(0, length));
  if (!read_answer_head(answer_text_, answer_)) {
    fail(502, "bad_gateway", not_http);
    return;
  }
  const request_head& head = client_.head();
  const unsigned status = answer_.status;
  const bool switches = status == 101;
  if (switches && (!head.websocket_upgrade || !answer_.websocket_upgrade)) {
    fail(502, "bad_gateway", "The dev server switched to a protocol that nobody asked for.");
    return;
  }
  down_head_.clear();
  if (status < 200 && !switches) {
    link_->consume(length);
    scanner_.reset();
    if (head.version == 10) {
      // HTTP/1.0 knows no interim answers.
      pump_down();
      return;
    }
    write_client_answer(down_head_, answer_, forwarding_of(), {});
    down_bytes_ = 0;
    sending_down_ = told_to_go_on_ = true;
    client_.send({bytes_of(down_head_), {}});
    return;
  }

  client_.answered(status);
  answer_form form;
  form.frame_ancestors = core_.frame_ancestors;
  if (switches) {
    write_client_answer(down_head_, answer_, forwarding_of(), form);
    down_bytes_ = link_->unread().size();
    after_switch_ = down_bytes_ - length;
    stage_ = stage::switching;
    client_.set_deadline(core_.settings.idle_timeout);
    sending_down_ = true;
    client_.send({bytes_of(down_head_), bytes_of(link_->unread().substr(length))});
    return;
  }

  answer_body_.begin(answer_, head.method == "HEAD");
  const bool no_body = answer_body_.how() == body_reader::framing::none;
  const bool until_close = answer_body_.how() == body_reader::framing::until_close;
  const bool decode = answer_.chunked && head.version == 10;
  // What follows an answer without a body, against its own word, would be taken for the next one.
  const bool body_denied =
    status == 204 && (answer_.chunked || answer_.content_length.value_or(0) != 0);
  keep_link_ = answer_.keep_alive && !until_close && !body_denied;
  ends_with_connection_ = until_close || (decode && !no_body);
  // An answer that comes before the whole request ends the connection: what is left of the body has
  // nowhere to go (RFC 9112, section 9.6).
  keep_client_ = head.keep_alive && !ends_with_connection_ && !core_.stopping &&
                 client_.body().complete() && !client_.input_ended();
  form.keep_alive = keep_client_;
  form.chunked = answer_.chunked && head.version == 11;
  form.set_cookie =
    target_.by == preview_target::address::path && !target_.prefix.empty() && is_navigation(head);
  write_client_answer(down_head_, answer_, forwarding_of(), form);
  decoded_.clear();
  const std::string_view rest = link_->unread().substr(length);
  const std::size_t body = answer_body_.feed(rest, decode ? &decoded_ : nullptr);
  if (answer_body_.malformed()) {
    fail(502, "bad_gateway", not_http);
    return;
  }
  stage_ = stage::answering;
  // The socket need not be kept free of operations any more, and the client's end is to be noticed.
  if (head.websocket_upgrade) client_.read();
  down_bytes_ = length + body;
  client_.set_deadline(core_.settings.idle_timeout);
  sending_down_ = true;
  client_.send(
    {bytes_of(down_head_), bytes_of(decode ? std::string_view{decoded_} : rest.substr(0, body))});
}

void proxied_request::client_sent(const error_code& error) {
  sending_down_ = false;
  if (!down_back_.empty()) std::string{}.swap(down_back_);
  if (error) {
    client_.close(close_reason::peer_closed);
    return;
  }
  if (link_ == nullptr) return;
  link_->consume(std::exchange(down_bytes_, 0));
  if (stage_ == stage::switching) {
    open_tunnel();
    return;
  }
  // After an interim answer it is the client's turn.
  if (stage_ == stage::waiting && !client_.body().complete() && !link_->sending()) await_body();
  pump_down();
}

void proxied_request::answer_complete() {
  close_relays();
  upstream_link* link = std::exchange(link_, nullptr);
  stage_ = stage::none;
  // An answer that came before the whole request was read ends both connections: what is left of
  // the body has nowhere to go.
  const bool request_done =
    client_.body().complete() && !link->sending() && !up_failed_ && !client_.input_ended();
  client_.consume(std::exchange(up_body_, 0));
  link->detach();
  if (keep_link_ && request_done) {
    core_.idle->park(*link);
  } else {
    link->close(close_reason::finished);
  }
  client_.clear_deadline();
  client_.finished(keep_client_ && client_.body().complete());
}

void proxied_request::open_tunnel() {
  // Both the request and the 101 have to be out: then nothing is under way on either socket.
  if (sending_down_ || link_->sending()) return;
  upstream_link* link = std::exchange(link_, nullptr);
  stage_ = stage::none;
  tunnel_description what;
  what.server = server_;
  what.needs = needs_;
  what.client_address = client_.client_address();
  what.path = std::string{client_.head().path};
  what.protocol = std::string{find_field(answer_.fields, "sec-websocket-protocol")};
  what.up_first = std::string{client_.unread()};
  what.down_passed = after_switch_;
  link->detach();
  what.workspace_slot = link->take_slot();
  what.client_slot = client_.take_slot();
  what.upstream_hold = link->take_hold();
  tunnel::open(core_, client_, *link, std::move(what));
}

void proxied_request::deadline_passed() {
  switch (stage_) {
    case stage::held:
      hold_until_ = steady_clock::now();
      dispatch();
      return;
    case stage::connecting:
      fail(504, "timed_out", "The dev server did not accept the connection in time.");
      return;
    case stage::waiting:
      if (sending_down_) {
        client_.close(close_reason::timed_out);
      } else if (awaiting_body_) {
        fail(408, "request_timeout", "The request's body did not arrive in time.");
      } else {
        fail(504, "timed_out", "The dev server did not answer in time.");
      }
      return;
    case stage::answering:
    case stage::switching:
      cut(close_reason::timed_out);
      return;
    case stage::none:
      return;
  }
}

}  // namespace previewd::net::http
