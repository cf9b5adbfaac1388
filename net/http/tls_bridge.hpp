#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "previewd/net/http/exchange.hpp"
#include "previewd/net/http/live.hpp"
#include "previewd/net/tls/context.hpp"
#include "previewd/net/tls/stream.hpp"
#include "previewd/os/unique_fd.hpp"

namespace previewd::net::http {

class tls_bridge;

/// Holds on to the encrypted side of a socket whose plain half is its owner's, until it is let go.
/// Movable. On the bridge's I/O thread.
class tls_hold {
public:
  tls_hold() = default;
  ~tls_hold() { let_go(); }
  tls_hold(tls_hold&& other) noexcept;
  tls_hold& operator=(tls_hold&& other) noexcept;

  /// Whether the bytes are encrypted on their way, or were until their connection ended.
  bool is_secure() const noexcept { return secure_; }

  /// Closes the encrypted side at once: nothing that is still on its way to it arrives.
  void abort();

  /// The same, so that the peer sees a connection that broke.
  void reset();

  /// From now on the plain half alone rules: when it is closed, what has been written to it is
  /// delivered first. It may be used on another thread.
  void let_go() noexcept;

  /// How the connection ended, as a socket of its own would have said it, for what the plain half
  /// says.
  error_code end_of(const error_code& error) const noexcept;

private:
  friend class tls_bridge;
  tls_bridge* bridge_ = nullptr;
  bool secure_ = false;
  error_code broken_;
};

/// A socket whose bytes are encrypted on their way: what is written to its plain half, which is a
/// UNIX socket, leaves through a TCP connection, and the other way round. The plain half behaves as
/// the connection would: it ends when that ends, is full when that is full, and takes the
/// connection along. Holds at most one record (16 KiB) a direction, and none while both peers keep
/// up. Owned by its thread's table.
class tls_bridge final : public timed_object {
public:
  /// The plain half, and the hold on its bridge.
  struct half {
    os::unique_fd socket;  // non-blocking
    tls_hold hold;
  };

  /// Connects through: speaks as the client, to a server on this machine. `connected` is called
  /// once, never within this call, unless the hold lets it close before: with EPROTO if the server
  /// speaks something else, `eof` if it went away. `scratch`: of 16 KiB at least, for whoever
  /// reads right now; outlives the bridge, as `resumed` does. Errors: a shortage (`socketpair(2)`);
  /// `socket` is closed then.
  static error_code connect(live_table& table, std::vector<char>& scratch, tls::client_context& how,
    std::shared_ptr<tls::session_slot> resumed, client_socket socket, half& made,
    std::function<void(const error_code&)> connected);

  /// Accepts: speaks as the server. A client that never says a word that makes sense is its
  /// owner's to bound. `drain`: how long, after the plain half has been closed, the peer may take
  /// nothing of what has been written. Errors as above.
  static error_code accept(live_table& table, std::vector<char>& scratch,
    const std::shared_ptr<const tls::server_context>& how, client_socket socket, half& made,
    steady_clock::duration drain);

  tls_bridge(live_table& table, std::vector<char>& scratch, client_socket outer,
    client_socket inner, tls::stream stream, steady_clock::duration drain);

protected:
  void closing() override;
  void deadline_passed() override;

private:
  friend class tls_hold;

  // What is waited for on a socket; one wait of each kind at a time.
  struct waits {
    bool read = false;
    bool write = false;
  };

  static error_code pair(live_table& table, client_socket& inner, os::unique_fd& plain);
  void hold_with(tls_hold& hold) noexcept;
  void watch_plain_half();
  void run();
  bool shake_hands();
  // One direction each. False: the bridge has closed.
  bool move_in();
  bool move_out();
  bool await(tls::progress what);
  void wait_for(client_socket& socket, bool waits::*kind, asio::socket_base::wait_type type);
  bool plain_half_is_gone();
  int untaken();
  void deliver_on();
  void fail(const error_code& why);
  void say_plainly();

  std::vector<char>& scratch_;
  client_socket outer_;  // TCP
  client_socket inner_;  // our half of the pair
  tls::stream stream_;
  steady_clock::duration drain_;
  // Keep alive what the stream uses.
  std::shared_ptr<tls::session_slot> resumed_;
  std::shared_ptr<const tls::server_context> context_;
  tls_hold* hold_ = nullptr;
  std::function<void(const error_code&)> connected_;
  std::string in_left_;   // decrypted, and not taken by the plain half
  std::string out_left_;  // of the plain half, and not yet encrypted or not taken
  waits outer_waits_;
  waits inner_waits_;
  bool in_ended_ = false;   // nothing more comes from the peer
  bool out_ended_ = false;  // nothing more comes from the plain half
  bool in_passed_ = false;  // and each has been passed on
  bool out_passed_ = false;
  bool abandoned_ = false;  // the plain half has been closed
  int untaken_ = 0;         // since then: what the kernel held when there was progress last
  error_code broken_;
};

}  // namespace previewd::net::http
