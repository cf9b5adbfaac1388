#include "previewd/net/http/tls_bridge.hpp"

#include <linux/sockios.h>
#include <poll.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <boost/asio/buffer.hpp>
#include <boost/asio/error.hpp>
#include <cerrno>
#include <string_view>
#include <utility>

#include "previewd/os/result.hpp"
#include "previewd/os/system_call.hpp"

namespace previewd::net::http {

namespace {

const os::call_site make_pair{"tls.pair", {EMFILE, ENFILE, ENOMEM, ENOBUFS}};
const os::call_site watch_half{"tls.watch", {ENOMEM, ENOSPC}};

constexpr int rounds_a_turn = 8;
constexpr std::size_t record = 16 * 1024;

constexpr std::string_view plain_http =
  "This port speaks HTTPS alone: ask again with an address that begins with https.\n";

bool assign(client_socket& socket, int descriptor) {
  error_code error;
  return os::system_call(watch_half, [&] {
    socket.assign(asio::generic::stream_protocol{AF_UNIX, 0}, descriptor, error);
    errno = error.value();
    return error ? -1 : 0;
  }) == 0;
}

}  // namespace

// --- The hold ---

tls_hold::tls_hold(tls_hold&& other) noexcept
    : bridge_{std::exchange(other.bridge_, nullptr)},
      secure_{std::exchange(other.secure_, false)},
      broken_{std::exchange(other.broken_, {})} {
  if (bridge_ != nullptr) bridge_->hold_ = this;
}

tls_hold& tls_hold::operator=(tls_hold&& other) noexcept {
  if (this == &other) return *this;
  let_go();
  bridge_ = std::exchange(other.bridge_, nullptr);
  secure_ = std::exchange(other.secure_, false);
  broken_ = std::exchange(other.broken_, {});
  if (bridge_ != nullptr) bridge_->hold_ = this;
  return *this;
}

void tls_hold::abort() {
  tls_bridge* bridge = bridge_;
  let_go();
  if (bridge != nullptr) bridge->close(close_reason::ordered);
}

void tls_hold::reset() {
  if (bridge_ == nullptr) return;
  error_code ignored;  // an end that looks like a complete one is all that is left then
  bridge_->outer_.set_option(asio::socket_base::linger{true, 0}, ignored);
  bridge_->fail(asio::error::connection_reset);
}

void tls_hold::let_go() noexcept {
  if (bridge_ != nullptr) bridge_->hold_ = nullptr;
  bridge_ = nullptr;
}

error_code tls_hold::end_of(const error_code& error) const noexcept {
  return error == asio::error::eof && broken_ ? broken_ : error;
}

// --- The bridge ---

error_code tls_bridge::pair(live_table& table, client_socket& inner, os::unique_fd& plain) {
  std::array<int, 2> halves{-1, -1};
  if (os::system_call(make_pair, [&] {
        return ::socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, halves.data());
      }) != 0)
    return os::last_error();
  inner = client_socket{table.thread().context()};
  plain.reset(halves[1]);
  if (!assign(inner, halves[0])) {
    const error_code failed = os::last_error();
    ::close(halves[0]);
    return failed;
  }
  return {};
}

error_code tls_bridge::connect(live_table& table, std::vector<char>& scratch,
  tls::client_context& how, std::shared_ptr<tls::session_slot> resumed, client_socket socket,
  half& made, std::function<void(const error_code&)> connected) {
  client_socket inner{table.thread().context()};
  if (const error_code failed = pair(table, inner, made.socket)) return failed;
  tls::stream stream{how, socket.native_handle(), resumed.get()};
  auto& bridge = table.add(std::make_unique<tls_bridge>(table, scratch, std::move(socket),
    std::move(inner), std::move(stream), steady_clock::duration::zero()));
  bridge.resumed_ = std::move(resumed);
  bridge.connected_ = std::move(connected);
  bridge.hold_with(made.hold);
  bridge.watch_plain_half();
  asio::post(bridge.context(), [next = bridge.counted([&bridge](const error_code&, std::size_t) {
    bridge.run();
  })]() mutable { next(error_code{}); });
  return {};
}

error_code tls_bridge::accept(live_table& table, std::vector<char>& scratch,
  const std::shared_ptr<const tls::server_context>& how, client_socket socket, half& made,
  steady_clock::duration drain) {
  client_socket inner{table.thread().context()};
  if (const error_code failed = pair(table, inner, made.socket)) return failed;
  tls::stream stream{*how, socket.native_handle()};
  auto& bridge = table.add(std::make_unique<tls_bridge>(
    table, scratch, std::move(socket), std::move(inner), std::move(stream), drain));
  bridge.context_ = how;
  bridge.hold_with(made.hold);
  bridge.watch_plain_half();
  bridge.wait_for(bridge.outer_, &waits::read, asio::socket_base::wait_read);
  return {};
}

tls_bridge::tls_bridge(live_table& table, std::vector<char>& scratch, client_socket outer,
  client_socket inner, tls::stream stream, steady_clock::duration drain)
    : timed_object{table},
      scratch_{scratch},
      outer_{std::move(outer)},
      inner_{std::move(inner)},
      stream_{std::move(stream)},
      drain_{drain} {
  error_code ignored;  // they do not block already; this tells Asio so
  outer_.non_blocking(true, ignored);
  inner_.non_blocking(true, ignored);
}

void tls_bridge::hold_with(tls_hold& hold) noexcept {
  hold.let_go();
  hold.bridge_ = this;
  hold.secure_ = true;
  hold.broken_ = {};
  hold_ = &hold;
}

void tls_bridge::watch_plain_half() {
  inner_.async_wait(
    asio::socket_base::wait_error, counted([this](const error_code& error, std::size_t) {
      if (error) {
        fail(error);
      } else if (!plain_half_is_gone()) {
        watch_plain_half();
      } else if (!stream_.established()) {
        close(close_reason::finished);
      } else {
        // What it has written is delivered yet, to a peer that takes it.
        abandoned_ = true;
        run();
        if (!closed()) deliver_on();
      }
    }));
}

int tls_bridge::untaken() {
  int bytes = 0;  // when the kernel does not say, no progress is seen
  ::ioctl(outer_.native_handle(), SIOCOUTQ, &bytes);
  return bytes;
}

void tls_bridge::deliver_on() {
  untaken_ = untaken();
  set_deadline(drain_);
}

void tls_bridge::deadline_passed() {
  // The kernel takes more only when much of what it holds has gone: a slow peer may have taken some
  // all the while. It has to be a record's worth, so that this ends.
  if (abandoned_ && untaken() + static_cast<int>(record) <= untaken_) {
    deliver_on();
  } else {
    close(close_reason::timed_out);
  }
}

void tls_bridge::closing() {
  stop_timer();
  // The last words of those that end together with it.
  if (why_closed() == close_reason::stopping && stream_.established()) move_out();
  // To a peer that can take it; nobody waits for one that cannot.
  if (!broken_ && !out_passed_ && out_left_.empty()) stream_.end();
  error_code ignored;  // a socket that fails to close is closed all the same
  outer_.close(ignored);
  inner_.close(ignored);
  connected_ = nullptr;
  if (hold_ != nullptr) {
    hold_->broken_ = broken_;
    hold_->let_go();
  }
}

void tls_bridge::fail(const error_code& why) {
  broken_ = why;
  if (auto told = std::exchange(connected_, nullptr)) {
    // It may drop the hold, and close.
    told(why);
  }
  close(close_reason::peer_closed);
}

void tls_bridge::say_plainly() {
  // One attempt: it is meant for people.
  const std::string answer =
    "HTTP/1.1 400 Bad Request\r\nServer: previewd\r\nConnection: close\r\n"
    "Content-Type: text/plain; charset=utf-8\r\nContent-Length: " +
    std::to_string(plain_http.size()) + "\r\n\r\n" + std::string{plain_http};
  ::send(outer_.native_handle(), answer.data(), answer.size(), MSG_NOSIGNAL | MSG_DONTWAIT);
  error_code ignored;
  outer_.shutdown(client_socket::shutdown_send, ignored);
  // What it has asked is read, or the answer could be lost in a reset.
  for (int i = 0; i < rounds_a_turn; ++i)
    if (::recv(outer_.native_handle(), scratch_.data(), scratch_.size(), MSG_DONTWAIT) <= 0) break;
}

void tls_bridge::run() {
  if (!stream_.established() && !shake_hands()) return;
  if (!move_in() || !move_out()) return;
  if (in_passed_ && out_passed_) close(close_reason::finished);
}

bool tls_bridge::shake_hands() {
  switch (const auto how = stream_.handshake()) {
    case tls::progress::done:
      break;
    case tls::progress::ended:
      fail(asio::error::eof);
      return false;
    case tls::progress::failed:
      if (stream_.met_plain_http() && context_ != nullptr) say_plainly();
      fail(stream_.error());
      return false;
    default:
      await(how);
      return false;
  }
  if (auto told = std::exchange(connected_, nullptr)) told({});
  return !closed();
}

bool tls_bridge::await(tls::progress what) {
  if (what == tls::progress::wants_read) {
    wait_for(outer_, &waits::read, asio::socket_base::wait_read);
  } else {
    wait_for(outer_, &waits::write, asio::socket_base::wait_write);
  }
  return true;
}

void tls_bridge::wait_for(
  client_socket& socket, bool waits::*kind, asio::socket_base::wait_type type) {
  waits& of = &socket == &outer_ ? outer_waits_ : inner_waits_;
  if (std::exchange(of.*kind, true)) return;
  socket.async_wait(type, counted([this, &of, kind](const error_code& error, std::size_t) {
    of.*kind = false;
    if (error) {
      fail(error);
    } else {
      run();
    }
  }));
}

bool tls_bridge::plain_half_is_gone() {
  pollfd asked{inner_.native_handle(), 0, 0};
  return ::poll(&asked, 1, 0) == 1 && (asked.revents & (POLLHUP | POLLERR)) != 0;
}

bool tls_bridge::move_in() {
  for (int round = 0; round < rounds_a_turn && !in_passed_; ++round) {
    error_code error;
    if (!in_left_.empty()) {
      const std::size_t taken = inner_.write_some(asio::buffer(in_left_), error);
      in_left_.erase(0, taken);
      if (in_left_.empty()) std::string{}.swap(in_left_);
    } else if (in_ended_) {
      in_passed_ = true;
      inner_.shutdown(client_socket::shutdown_send, error);
    } else {
      std::size_t count = 0;
      const auto how = stream_.read(scratch_.data(), std::min(scratch_.size(), record), count);
      std::size_t written = 0;
      while (written < count && !error)
        written +=
          inner_.write_some(asio::buffer(scratch_.data() + written, count - written), error);
      if (written < count) in_left_.assign(scratch_.data() + written, count - written);
      if (how == tls::progress::ended) {
        in_ended_ = true;
      } else if (how == tls::progress::failed) {
        fail(stream_.error());
        return false;
      } else if (how != tls::progress::done) {
        return await(how);
      }
    }
    if (error == asio::error::would_block) {
      wait_for(inner_, &waits::write, asio::socket_base::wait_write);
      return true;
    }
    if (error) {
      // The plain half has been closed: there is nobody to read any more. What it has written goes
      // out yet.
      std::string{}.swap(in_left_);
      in_ended_ = in_passed_ = true;
    }
  }
  if (in_passed_) return true;
  // There may be more: others have their turn before.
  if (in_left_.empty() && !in_ended_) return await(tls::progress::wants_read);
  wait_for(inner_, &waits::write, asio::socket_base::wait_write);
  return true;
}

bool tls_bridge::move_out() {
  for (int round = 0; round < rounds_a_turn && !out_passed_; ++round) {
    if (out_left_.empty() && !out_ended_) {
      error_code error;
      const std::size_t count =
        inner_.read_some(asio::buffer(scratch_.data(), std::min(scratch_.size(), record)), error);
      if (error == asio::error::would_block) {
        wait_for(inner_, &waits::read, asio::socket_base::wait_read);
        return true;
      }
      // A half that is closed with bytes unread says that it was reset: what it wrote before has
      // been read by now.
      out_ended_ = static_cast<bool>(error);
      std::size_t sent = 0;
      auto how = tls::progress::done;
      while (sent < count && how == tls::progress::done) {
        std::size_t now = 0;
        how = stream_.write(scratch_.data() + sent, count - sent, now);
        sent += now;
      }
      // A peer that is slow, and takes it, is not overdue.
      if (abandoned_ && sent != 0) deliver_on();
      if (sent < count) out_left_.assign(scratch_.data() + sent, count - sent);
      if (how == tls::progress::failed || how == tls::progress::ended) {
        fail(how == tls::progress::ended ? error_code{asio::error::eof} : stream_.error());
        return false;
      }
      if (how != tls::progress::done) return await(how);
    } else if (!out_left_.empty()) {
      std::size_t sent = 0;
      const auto how = stream_.write(out_left_.data(), out_left_.size(), sent);
      out_left_.erase(0, sent);
      if (abandoned_ && sent != 0) deliver_on();
      if (how == tls::progress::failed || how == tls::progress::ended) {
        fail(how == tls::progress::ended ? error_code{asio::error::eof} : stream_.error());
        return false;
      }
      if (how != tls::progress::done) return await(how);
      if (out_left_.empty()) std::string{}.swap(out_left_);
    } else {
      const auto how = stream_.end();
      if (how == tls::progress::failed) {
        fail(stream_.error());
        return false;
      }
      if (how == tls::progress::wants_write || how == tls::progress::wants_read) return await(how);
      out_passed_ = true;
      error_code ignored;  // a connection that is broken says so when it is read
      outer_.shutdown(client_socket::shutdown_send, ignored);
    }
  }
  if (out_passed_) {
    // All has been said; who has not closed the plain half may listen yet.
    if (abandoned_) close(close_reason::finished);
    return !abandoned_;
  }
  if (!out_left_.empty() || out_ended_) return await(tls::progress::wants_write);
  wait_for(inner_, &waits::read, asio::socket_base::wait_read);
  return true;
}

}  // namespace previewd::net::http
