#pragma once

#include <array>
#include <cstdint>
#include <functional>
#include <list>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "previewd/net/http/buffer.hpp"
#include "previewd/net/http/core.hpp"
#include "previewd/net/http/forward.hpp"
#include "previewd/net/http/forwarding.hpp"
#include "previewd/net/http/live.hpp"
#include "previewd/net/http/message.hpp"
#include "previewd/net/http/router.hpp"
#include "previewd/net/ready_socket.hpp"

namespace previewd::net::http {

struct admission;
class proxied_request;
class service_exchange;

/// A client's connection: one request at a time, whatever arrives of the next one waits. Owned by
/// its thread's table.
class connection final : public timed_object, private forward_waiter {
public:
  connection(server_core& core, new_client client, open_slot slot);
  ~connection() override;

  /// Takes its socket and begins to read. `read_already`: what another thread has read of it.
  /// Error: it cannot be watched, and is closed.
  error_code start(os::unique_fd socket, std::string_view read_already);

  const request_head& head() const noexcept { return head_; }
  const std::string& client_address() const noexcept { return client_address_; }
  /// `http` or `https`: by what the client reached us, or the front proxy that we believe or that
  /// the settings know of.
  std::string_view scheme() const noexcept { return scheme_of(head_); }
  /// The same for a head that is not the connection's any more.
  std::string_view scheme_of(const request_head& head) const noexcept;
  peer_trust trust() const noexcept { return trust_; }
  server_core& core() noexcept { return core_; }

  // For the proxied request. Each call that ends the request is the last thing its caller does.

  /// The bytes after the head that have arrived and have not been used.
  std::string_view unread() const noexcept { return in_.view(); }
  void consume(std::size_t count) noexcept { in_.consume(count); }
  body_reader& body() noexcept { return body_; }

  /// Whether the client has said that it sends nothing more, and nothing of it waits to be read.
  bool input_ended() const noexcept { return input_ended_ && in_.empty(); }
  /// Whether it has said so, whatever waits: no read tells any more whether it is there.
  bool is_silent() const noexcept { return input_ended_; }

  /// Sees to it that a read is under way, if there is room: the next part of the body, the next
  /// request, or the client's end.
  void read();

  /// Writes all, gathered; then `proxied_request::client_sent`. One at a time.
  void send(std::array<asio::const_buffer, 2> bytes);

  // For a relay, which reads and writes by itself. The socket is non-blocking.
  ready_socket& socket() noexcept { return socket_; }
  bool reading() const noexcept { return reading_; }
  /// Waits for bytes or the client's end; then `proxied_request::client_received`.
  void wait_to_read();
  /// Waits until the client takes bytes; then `proxied_request::client_sent`.
  void wait_to_send();

  using timed_object::clear_deadline;
  using timed_object::set_deadline;

  /// Answers instead of a server.
  void answer(response what);

  /// The head of the answer to the present request is known.
  void answered(unsigned status);

  /// The answer is complete. `keep`: another request may follow.
  void finished(bool keep);

  /// Closes so that the client sees that something is missing: for an answer whose end is that of
  /// its connection.
  void cut(close_reason why);

  /// The socket, for a tunnel, when no operation is under way. The connection closes.
  watched_socket take_socket(readiness::watcher& watcher, uint32_t which);
  open_slot take_slot() noexcept { return std::move(slot_); }

  // For the exchange.
  void respond(response what);
  void read_body(std::size_t limit, std::function<void(std::string)> done);
  void start_stream(response head);
  bool write(std::shared_ptr<const std::string> bytes, std::size_t limit);
  void finish_stream();
  void watch_for_end();
  std::optional<released_connection> release();
  void move_to(io_thread& other);
  /// The last pointer to the exchange has gone.
  void exchange_dropped(bool answered);

protected:
  void closing() override;
  void deadline_passed() override;

private:
  enum class phase : uint8_t {
    head,
    asking,  // the application, who this is
    service,
    proxying,
    answering,
    streaming,
    lingering
  };
  struct chunk {
    std::string before;
    std::shared_ptr<const std::string> bytes;
    bool large = false;  // than what may be queued: not counted in `queued_bytes_`
  };

  void received(const error_code& error);
  void parse();
  void refuse(const message_error& error);
  void serve();
  void ask_who(routing where);
  void judged(const forward_verdict& verdict) override;
  void admitted(routing where, admission who);
  void go(routing&& where, std::shared_ptr<const auth::grant> grant, preview_access needs);
  void write_own(response what);
  void send_own();
  void show_to_page(response& what) const;
  void own_written(const error_code& error);
  bool body_is_read();
  void feed_body();
  void write_stream();
  void end_stream();
  void linger();
  int family() const;  // of the socket (socket(2))
  template <class Next> void write(std::string_view first, std::string_view second, Next next);
  std::shared_ptr<service_exchange> detach_exchange();

  server_core& core_;
  ready_socket socket_;
  std::array<iovec, 2> parts_{};  // of the write under way
  tls_hold hold_;
  transport over_;
  std::string client_address_;
  peer_trust trust_;
  open_slot slot_;  // in the count of the address
  flat_buffer in_;
  head_scanner scanner_{head_scanner::kind::request};
  std::string head_text_;
  request_head head_;
  const std::string* listed_origin_ = nullptr;  // of the page that asks (routing::listed_origin)
  body_reader body_;
  std::unique_ptr<proxied_request> proxied_;
  std::unique_ptr<routing>
    asked_for_;  // where the request goes that the application is asked about
  service_exchange* exchange_ = nullptr;
  phase phase_ = phase::head;
  bool reading_ = false;
  bool input_ended_ = false;
  bool head_begun_ = false;
  bool sending_ = false;
  bool keep_ = false;                                        // after the answer under way
  http_counters::kind kind_ = http_counters::kind::service;  // of the present request
  steady_clock::time_point asked_at_;  // when its head was there; none: it is not, or is answered
  std::size_t lingered_ = 0;           // bytes
  steady_clock::time_point lingers_until_;  // at most

  // An answer of our own, while it is written.
  response own_;
  std::string own_head_;

  // A body that the service wants.
  std::function<void(std::string)> body_done_;
  std::string body_content_;
  std::size_t body_limit_ = 0;

  // An answer without a known length.
  std::list<chunk> queue_;
  std::size_t queued_bytes_ = 0;
  bool large_queued_ = false;
  std::size_t writing_ = 0;  // chunks of the write under way
  std::vector<iovec> gathered_;
  bool stream_ends_ = false;
};

/// A request that the service answers: what outlives the connection, if its holder does. On the
/// connection's thread.
class service_exchange final : public exchange,
                               public std::enable_shared_from_this<service_exchange> {
public:
  service_exchange(connection& from, std::string head_text, request_head head,
    std::optional<preview_target> target, std::shared_ptr<const auth::grant> grant);
  ~service_exchange() override;

  const request_head& head() const override { return head_; }
  io_thread& thread() const override { return thread_; }
  const preview_target* preview() const override { return target_ ? &*target_ : nullptr; }
  const std::string& client_address() const override { return client_address_; }
  std::string_view scheme() const override { return scheme_; }
  const auth::grant* grant() const override { return grant_.get(); }
  void read_body(std::size_t limit, std::function<void(std::string body)> done) override;
  void respond(response answer) override;
  void start_stream(response head) override;
  bool write(std::shared_ptr<const std::string> bytes, std::size_t limit) override;
  void finish() override;
  void on_gone(std::function<void()> gone) override;
  bool gone() const override { return connection_ == nullptr; }
  std::optional<released_connection> release() override;
  void move_to(io_thread& other) override;

private:
  friend class connection;
  enum class progress : uint8_t { open, answered, streaming, finished };

  connection* connection_;
  io_thread& thread_;
  std::string client_address_;
  std::string_view scheme_;  // of static storage
  std::string head_text_;
  request_head head_;
  std::optional<preview_target> target_;
  std::shared_ptr<const auth::grant> grant_;
  std::function<void()> gone_;
  progress progress_ = progress::open;
};

}  // namespace previewd::net::http
