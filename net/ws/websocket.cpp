#include "previewd/net/ws/websocket.hpp"

#include <boost/asio/buffer.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/beast/core/flat_buffer.hpp>
#include <boost/beast/http/empty_body.hpp>
#include <boost/beast/http/parser.hpp>
#include <boost/beast/websocket/stream.hpp>
#include <deque>
#include <utility>

namespace previewd::net::ws {

namespace {

namespace beast = boost::beast;
namespace rfc6455 = boost::beast::websocket;
using boost::system::error_code;

}  // namespace

struct websocket::state {
  enum class phase : uint8_t { handshake, open, draining, closing, aborted };

  websocket& self;
  const uint64_t number;
  const websocket_limits limits;
  websocket_owner& owner;
  std::string head;
  const http::open_slot slot;
  const bool early_bytes;
  rfc6455::stream<http::client_socket> stream;
  asio::steady_timer timer;
  beast::http::request<beast::http::empty_body> request;
  beast::flat_buffer incoming;
  std::deque<frame> outgoing;
  std::size_t outgoing_bytes = 0;
  std::size_t pending = 0;  // handlers that have not run
  std::string protocol;
  uint16_t code = close_code::normal;
  phase now = phase::handshake;
  bool writing = false;

  state(websocket& s, uint64_t n, http::released_connection&& connection, websocket_limits l,
    websocket_owner& o, std::string p)
      : self{s},
        number{n},
        limits{l},
        owner{o},
        head{std::move(connection.head)},
        slot{std::move(connection.slot)},
        early_bytes{!connection.unread.empty()},
        stream{std::move(connection.socket)},
        timer{stream.get_executor()},
        protocol{std::move(p)} {}

  template <class Next> auto counted(Next next) {
    ++pending;
    return [this, next = std::move(next)](error_code error, std::size_t = 0) {
      next(error);
      if (--pending == 0 && now == phase::aborted)
        owner.on_gone(self);  // destroys *this: nothing may follow
    };
  }

  void start() {
    // A client has nothing to say before our answer (RFC 6455, section 4.1); nor has a stream in an
    // unknown state.
    beast::http::request_parser<beast::http::empty_body> parser;
    parser.header_limit(static_cast<uint32_t>(head.size()));
    error_code error;
    parser.put(asio::buffer(head), error);
    if (early_bytes || error || !parser.is_header_done()) {
      abort();
      return;
    }
    request = parser.release();
    head = {};
    error_code ignored;
    stream.next_layer().set_option(
      asio::ip::tcp::no_delay{true}, ignored);  // a UNIX socket has no such thing
    rfc6455::stream_base::timeout timeouts{};
    timeouts.handshake_timeout = limits.handshake;
    timeouts.idle_timeout = rfc6455::stream_base::none();
    timeouts.keep_alive_pings = limits.silence.count() > 0;
    if (timeouts.keep_alive_pings) timeouts.idle_timeout = limits.silence;
    stream.set_option(timeouts);
    stream.set_option(rfc6455::stream_base::decorator([this](rfc6455::response_type& answer) {
      answer.set(beast::http::field::server, "previewd");
      if (!protocol.empty()) answer.set(beast::http::field::sec_websocket_protocol, protocol);
    }));
    stream.read_message_max(limits.message_bytes);
    stream.auto_fragment(false);  // a message is one frame, written from where it is
    stream.async_accept(request, counted([this](error_code ec) {
      if (now == phase::aborted) return;
      if (ec) return abort();
      request = {};
      if (now == phase::handshake) now = phase::open;
      read();
      if (now == phase::open) owner.on_open(self);
      write();
    }));
  }

  void read() {
    stream.async_read(incoming, counted([this](error_code ec) {
      if (now == phase::aborted) return;
      if (ec) {
        // While our own close is under way it is the one that ends.
        if (now != phase::closing) abort();
        return;
      }
      if (now == phase::open) {
        const auto bytes = incoming.cdata();
        owner.on_frame(self, stream.got_text() ? message_kind::text : message_kind::binary,
          {static_cast<const char*>(bytes.data()), bytes.size()});
      }
      incoming.consume(incoming.size());
      if (now != phase::aborted) read();
    }));
  }

  void write() {
    if (writing || (now != phase::open && now != phase::draining)) return;
    if (outgoing.empty()) {
      if (now == phase::draining) send_close();
      return;
    }
    writing = true;
    const frame& next = outgoing.front();
    stream.binary(next.kind == message_kind::binary);
    stream.async_write(asio::buffer(*next.bytes), counted([this](error_code ec) {
      writing = false;
      if (now == phase::aborted) return;
      if (ec) return abort();
      outgoing_bytes -= outgoing.front().bytes->size();
      outgoing.pop_front();
      if (now == phase::open) owner.on_sent(self);
      write();
    }));
  }

  void close(uint16_t with) {
    if (now != phase::handshake && now != phase::open) return;
    code = with;
    if (now == phase::handshake) return abort();
    now = phase::draining;
    timer.expires_after(limits.closing);
    timer.async_wait(counted([this](error_code ec) {
      if (!ec && now != phase::aborted) abort();
    }));
    write();
  }

  void send_close() {
    now = phase::closing;
    stream.async_close(rfc6455::close_reason{code}, counted([this](error_code) {
      if (now != phase::aborted) abort();
    }));
  }

  void abort() {
    if (now == phase::aborted) return;
    now = phase::aborted;
    error_code ignored;
    stream.next_layer().close(ignored);
    timer.cancel();
    // Whoever called us may go on using us: the owner hears of it from a handler.
    asio::post(
      stream.get_executor(), [done = counted([](error_code) {})]() mutable { done(error_code{}); });
  }
};

websocket::websocket(uint64_t number, http::released_connection connection, websocket_limits limits,
  websocket_owner& owner, std::string protocol)
    : state_{std::make_unique<state>(
        *this, number, std::move(connection), limits, owner, std::move(protocol))} {}

websocket::~websocket() = default;

void websocket::start() {
  state_->start();
}

void websocket::send(frame what) {
  if (state_->now != state::phase::open) return;
  state_->outgoing_bytes += what.bytes->size();
  state_->outgoing.push_back(std::move(what));
  state_->write();
}

std::size_t websocket::queued_bytes() const noexcept {
  return state_->outgoing_bytes;
}

void websocket::close(uint16_t code) {
  state_->close(code);
}

void websocket::abort() {
  state_->abort();
}

uint64_t websocket::number() const noexcept {
  return state_->number;
}

}  // namespace previewd::net::ws
