#include "previewd/net/ws/websocket.hpp"

#include <openssl/evp.h>
#include <sys/socket.h>
#include <sys/uio.h>

#include <algorithm>
#include <array>
#include <boost/asio/buffer.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/post.hpp>
#include <boost/beast/http/empty_body.hpp>
#include <boost/beast/http/parser.hpp>
#include <boost/beast/http/rfc7230.hpp>
#include <cerrno>
#include <deque>
#include <optional>
#include <utility>

#include "previewd/net/asio_types.hpp"
#include "previewd/net/http/message.hpp"
#include "previewd/os/system_call.hpp"

namespace previewd::net::ws {

namespace {

namespace http1 = boost::beast::http;
using boost::system::error_code;
using steady_clock = std::chrono::steady_clock;

const os::call_site read_socket{"websocket.read", {ECONNRESET, ENOMEM, os::short_transfer}};
const os::call_site write_socket{
  "websocket.write", {EAGAIN, EPIPE, ECONNRESET, os::short_transfer}};

/// Frames that one system call takes.
constexpr std::size_t frames_at_once = 16;
/// Bytes that are written before other connections have their turn.
constexpr std::size_t bytes_a_turn = 512 * 1024;

/// What `Sec-WebSocket-Accept` answers to a key (RFC 6455, section 4.2.2). Empty: no memory.
std::string answer_to(std::string key) {
  key += "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";
  std::array<unsigned char, EVP_MAX_MD_SIZE> digest{};
  unsigned size = 0;
  if (EVP_Digest(key.data(), key.size(), digest.data(), &size, EVP_sha1(), nullptr) != 1) return {};
  std::array<unsigned char, std::size_t{EVP_MAX_MD_SIZE} * 2> text{};
  const int length = EVP_EncodeBlock(text.data(), digest.data(), static_cast<int>(size));
  return {reinterpret_cast<const char*>(text.data()), static_cast<std::size_t>(length)};
}

/// 16 bytes in base64.
bool is_key(std::string_view key) {
  const auto is_digit = [](unsigned char c) {
    return (c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || c == '+' ||
           c == '/';
  };
  return key.size() == 24 && key.substr(22) == "==" &&
         std::all_of(key.begin(), key.begin() + 22, is_digit);
}

/// The answer to a handshake, to its last byte.
struct handshake_answer {
  std::string text;
  bool agreed = false;
};

/// An answer that agrees to nothing, after which the connection ends.
handshake_answer refusal(http::response answer, std::string_view date) {
  handshake_answer result;
  http::write_answer_head(
    result.text, answer, {.version = 11, .keep_alive = false, .length = answer.body.size()}, date);
  result.text += answer.body;
  return result;
}

/// `head`: of the request. `date`: the value of a Date field.
handshake_answer
answer_to_handshake(const std::string& head, const std::string& protocol, std::string_view date) {
  const auto malformed = [date] {
    return refusal(http::problem(400, "bad_request",
                     "This is no handshake of a WebSocket (RFC 6455, section 4.2.1)."),
      date);
  };
  http1::request_parser<http1::empty_body> parser;
  parser.header_limit(static_cast<uint32_t>(head.size()));
  error_code error;
  parser.put(asio::buffer(head), error);
  if (error || !parser.is_header_done()) return malformed();
  const auto& request = parser.get();
  const auto text = [&](http1::field name) {
    const auto value = request[name];
    return std::string{value.data(), value.size()};
  };
  const auto lists = [&](http1::field name, const char* token) {
    return http1::token_list{request[name]}.exists(token);
  };
  const std::string key = text(http1::field::sec_websocket_key);
  const bool asks = request.method() == http1::verb::get && request.version() == 11 &&
                    request.count(http1::field::host) == 1 &&
                    lists(http1::field::upgrade, "websocket") &&
                    lists(http1::field::connection, "upgrade") && is_key(key);
  if (!asks) return malformed();
  if (text(http1::field::sec_websocket_version) != "13") {
    http::response answer = http::problem(
      426, "upgrade_required", "Only version 13 of the WebSocket protocol is spoken here.");
    answer.fields.emplace_back("Sec-WebSocket-Version", "13");
    return refusal(std::move(answer), date);
  }
  const std::string accept = answer_to(key);
  if (accept.empty()) return malformed();
  http::response answer;
  answer.status = 101;
  answer.fields = {
    {"Upgrade", "websocket"}, {"Connection", "Upgrade"}, {"Sec-WebSocket-Accept", accept}};
  if (!protocol.empty()) answer.fields.emplace_back("Sec-WebSocket-Protocol", protocol);
  handshake_answer result;
  result.agreed = true;
  http::write_answer_head(
    result.text, answer, {.version = 11, .keep_alive = true, .length = 0}, date);
  return result;
}

/// Where a thread's connections read to: what is read is handled at once.
std::array<char, std::size_t{64} * 1024>& scratch() {
  static thread_local std::array<char, std::size_t{64} * 1024> bytes;
  return bytes;
}

/// A frame that has not been written whole, or the answer to the handshake.
struct unwritten {
  enum class what : uint8_t { answer, message, pong, other_control };

  what is = what::message;
  frame_head head{opcode::text, 0};  // of no bytes before an answer
  std::shared_ptr<const std::string> bytes;
  std::size_t written = 0;

  std::size_t size() const noexcept { return head.size + bytes->size(); }
};

unwritten control_frame(opcode type, std::string payload) {
  unwritten frame;
  frame.is = type == opcode::pong ? unwritten::what::pong : unwritten::what::other_control;
  frame.head = {type, payload.size()};
  frame.bytes = std::make_shared<const std::string>(std::move(payload));
  return frame;
}

/// The parts of a frame that have not been written, at most two; how many they are.
std::size_t fill(const unwritten& what, iovec* into) noexcept {
  std::size_t parts = 0;
  const std::size_t of_head = std::min<std::size_t>(what.written, what.head.size);
  if (of_head < what.head.size) {
    // sendmsg(2) only reads.
    into[parts].iov_base = const_cast<char*>(what.head.bytes.data() + of_head);
    into[parts++].iov_len = what.head.size - of_head;
  }
  const std::size_t of_bytes = what.written - of_head;
  if (of_bytes < what.bytes->size()) {
    into[parts].iov_base = const_cast<char*>(what.bytes->data() + of_bytes);
    into[parts++].iov_len = what.bytes->size() - of_bytes;
  }
  return parts;
}

}  // namespace

struct websocket::state {
  enum class phase : uint8_t {
    handshake,  // its answer is being written
    open,
    draining,  // our close frame follows what is queued
    closing,   // it follows at once, or has been written: the peer's is waited for
    parting,   // nothing more is said, and nothing heard, until the peer has ended too
    aborted
  };

  /// What is there until the answer to the handshake.
  struct opening {
    std::string head;
    std::string protocol;
    std::string date;
    bool early_bytes;
  };

  websocket& self;
  const uint64_t number;
  const websocket_limits limits;
  websocket_owner& owner;
  const http::open_slot slot;
  http::client_socket socket;
  std::unique_ptr<steady_timer> timer;  // only while something is limited
  std::unique_ptr<opening> begins;
  frame_reader reader;
  std::unique_ptr<std::deque<unwritten>> backlog;  // null: nothing waits for the peer
  std::size_t queued = 0;                          // bytes of messages in it
  steady_clock::time_point heard{};                // something of the peer; only for `silence`
  uint32_t pending = 0;                            // handlers that have not run
  uint16_t code = close_code::normal;
  phase now = phase::handshake;
  bool awaits_room = false;  // for what is in the backlog
  bool tells_soon = false;   // of what has been written
  bool peer_closed = false;  // its close frame has come

  state(websocket& s, uint64_t n, http::released_connection&& connection, websocket_limits l,
    websocket_owner& o, std::string protocol)
      : self{s},
        number{n},
        limits{l},
        owner{o},
        slot{std::move(connection.slot)},
        socket{std::move(connection.socket)},
        begins{std::make_unique<opening>(opening{std::move(connection.head), std::move(protocol),
          std::move(connection.date), !connection.unread.empty()})},
        reader{l.message_bytes} {}

  template <class Next> auto counted(Next next) {
    ++pending;
    return [this, next = std::move(next)](error_code error = {}) {
      next(error);
      if (--pending == 0 && now == phase::aborted)
        owner.on_gone(self);  // destroys *this: nothing may follow
    };
  }

  // ---- its beginning

  void start() {
    const std::unique_ptr<opening> with = std::move(begins);
    // A client has nothing to say before our answer (RFC 6455, section 4.1); nor has a stream in an
    // unknown state.
    if (with->early_bytes) return abort();
    error_code ignored;
    // A UNIX socket has no such thing.
    socket.set_option(asio::ip::tcp::no_delay{true}, ignored);
    handshake_answer answer = answer_to_handshake(with->head, with->protocol, with->date);
    unwritten first;
    first.is = unwritten::what::answer;
    first.head.size = 0;
    first.bytes = std::make_shared<const std::string>(std::move(answer.text));
    if (!answer.agreed) {
      write(std::move(first));
      part();
      if (now != phase::aborted) await_bytes();
      return;
    }
    set_timer(limits.handshake);
    write(std::move(first));
    asio::post(socket.get_executor(), counted([this](error_code) {
      if (now == phase::handshake && !backlog) begin();
    }));
  }

  void begin() {
    now = phase::open;
    timer.reset();
    if (limits.silence.count() > 0) {
      heard = steady_clock::now();
      set_timer(limits.silence / 2);
    }
    await_bytes();
    owner.on_open(self);
  }

  // ---- in

  void await_bytes() {
    socket.async_wait(asio::socket_base::wait_read, counted([this](error_code error) {
      if (now == phase::aborted) return;
      if (error) return abort();
      read();
      if (now != phase::aborted) await_bytes();
    }));
  }

  void read() {
    auto& bytes = scratch();
    const ssize_t count = os::system_call(read_socket, bytes.size(), [&](std::size_t size) {
      return ::recv(socket.native_handle(), bytes.data(), size, MSG_DONTWAIT);
    });
    if (count < 0 && (errno == EAGAIN || errno == EWOULDBLOCK)) return;
    if (count <= 0) return abort();
    if (now == phase::parting || peer_closed) return;
    if (limits.silence.count() > 0) heard = steady_clock::now();
    char* at = bytes.data();
    const char* const end = at + count;
    while (const auto frame = reader.next(at, end)) {
      on_frame(*frame);
      if (now == phase::aborted || peer_closed) return;
    }
    if (reader.fault() != 0) on_fault();
  }

  void on_frame(const incoming_frame& frame) {
    switch (frame.type) {
      case opcode::ping:
        if (now == phase::open) pong(std::string{frame.bytes});
        return;
      case opcode::pong:
      case opcode::continuation:
        return;
      case opcode::close:
        return on_close(frame.code);
      case opcode::text:
      case opcode::binary:
        if (now == phase::open)
          owner.on_frame(self,
            frame.type == opcode::text ? message_kind::text : message_kind::binary, frame.bytes);
    }
  }

  /// Only the latest is answered while the peer does not take the answers (section 5.5.3).
  void pong(std::string payload) {
    unwritten frame = control_frame(opcode::pong, std::move(payload));
    if (backlog && !backlog->empty() && backlog->back().is == unwritten::what::pong &&
        backlog->back().written == 0) {
      backlog->back() = std::move(frame);
    } else {
      write(std::move(frame));
    }
  }

  /// The peer's close frame.
  void on_close(uint16_t with) {
    peer_closed = true;
    if (now == phase::closing) {
      if (!backlog) abort();  // else once ours is out
      return;
    }
    // What it has not taken of ours it does not want any more.
    drop_unwritten();
    if (now == phase::open) set_timer(limits.closing);
    if (now == phase::draining) with = code;
    now = phase::closing;
    write_close(with == close_code::no_code ? 0 : with);
    if (!backlog) abort();
  }

  void on_fault() {
    if (now != phase::closing) {
      drop_unwritten();
      write_close(reader.fault());
    }
    part();
  }

  // ---- out

  void send(frame what) {
    if (now != phase::open) return;
    unwritten next;
    next.head = {
      what.kind == message_kind::binary ? opcode::binary : opcode::text, what.bytes->size()};
    next.bytes = std::move(what.bytes);
    queued += next.bytes->size();
    write(std::move(next));
  }

  /// Writes it if nothing waits before it; queues what the peer does not take.
  void write(unwritten what) {
    if (now == phase::aborted) return;
    if (!backlog) {
      std::array<iovec, 2> parts{};
      const std::size_t count = fill(what, parts.data());
      if (!put(parts.data(), count, what.size(), what.written)) return abort();
      if (what.written == what.size()) return wrote(what);
      backlog = std::make_unique<std::deque<unwritten>>();
    }
    backlog->push_back(std::move(what));
    await_room();
  }

  /// A frame has left at once.
  void wrote(const unwritten& what) {
    if (what.is != unwritten::what::message) return;
    queued -= what.bytes->size();
    if (limits.tells != tells_of::all || std::exchange(tells_soon, true)) return;
    asio::post(socket.get_executor(), counted([this](error_code) {
      tells_soon = false;
      if (now == phase::open) owner.on_sent(self);
    }));
  }

  /// Adds to `written` what the peer took. False: the connection has broken.
  bool put(iovec* parts, std::size_t count, std::size_t size, std::size_t& written) noexcept {
    const ssize_t done = os::system_call(write_socket, size, [&](std::size_t allowed) {
      msghdr message{};
      message.msg_iov = parts;
      message.msg_iovlen = count;
      if (allowed < size) {  // a shorter transfer, which tests ask for
        parts->iov_len = std::min(parts->iov_len, allowed);
        message.msg_iovlen = 1;
      }
      return ::sendmsg(socket.native_handle(), &message, MSG_DONTWAIT | MSG_NOSIGNAL);
    });
    if (done < 0) return errno == EAGAIN || errno == EWOULDBLOCK;
    written += static_cast<std::size_t>(done);
    return true;
  }

  void await_room() {
    if (awaits_room || now == phase::aborted) return;
    awaits_room = true;
    socket.async_wait(asio::socket_base::wait_write, counted([this](error_code error) {
      awaits_room = false;
      if (now == phase::aborted) return;
      if (error) return abort();
      flush();
    }));
  }

  void flush() {
    bool sent = false;
    for (std::size_t turn = 0; turn < bytes_a_turn && !backlog->empty();) {
      std::array<iovec, 2 * frames_at_once> parts{};
      std::size_t count = 0;
      std::size_t size = 0;
      for (std::size_t i = 0; i < std::min(frames_at_once, backlog->size()); ++i) {
        const unwritten& each = (*backlog)[i];
        count += fill(each, parts.data() + count);
        size += each.size() - each.written;
      }
      std::size_t written = 0;
      if (!put(parts.data(), count, size, written)) return abort();
      turn += written;
      const bool took_all = written == size;
      while (!backlog->empty()) {
        unwritten& front = backlog->front();
        const std::size_t part = std::min(written, front.size() - front.written);
        front.written += part;
        written -= part;
        if (front.written < front.size()) break;
        if (front.is == unwritten::what::message) {
          queued -= front.bytes->size();
          sent = true;
        }
        backlog->pop_front();
      }
      if (!took_all) break;
    }
    if (backlog->empty()) {
      backlog.reset();
      written_all();
    } else {
      await_room();
    }
    if (sent && now == phase::open) owner.on_sent(self);
  }

  void written_all() {
    switch (now) {
      case phase::handshake:
        return begin();
      case phase::draining:
        now = phase::closing;
        return write_close(code);
      case phase::closing:
        if (peer_closed) abort();
        return;
      case phase::parting:
        return shut();
      case phase::open:
      case phase::aborted:
        return;
    }
  }

  /// Forgets whatever has not been begun. The wait for room finds what there is then.
  void drop_unwritten() {
    while (backlog && !backlog->empty() && backlog->back().written == 0) {
      if (backlog->back().is == unwritten::what::message) queued -= backlog->back().bytes->size();
      backlog->pop_back();
    }
  }

  // ---- its end

  void close(uint16_t with) {
    if (now != phase::handshake && now != phase::open) return;
    code = with;
    if (now == phase::handshake) return abort();
    now = phase::draining;
    set_timer(limits.closing);
    if (!backlog) written_all();
  }

  /// `with` 0: a close frame without a code.
  void write_close(uint16_t with) {
    std::string payload;
    if (with != 0) payload = {static_cast<char>(with >> 8), static_cast<char>(with & 0xff)};
    write(control_frame(opcode::close, std::move(payload)));
  }

  /// Ends our direction once all is written, and waits for the peer to end its: what it has sent
  /// and we have not read would make the kernel throw away what we said last.
  void part() {
    if (now == phase::aborted) return;
    now = phase::parting;
    set_timer(limits.closing);
    if (!backlog) shut();
  }

  void shut() {
    error_code ignored;
    socket.shutdown(asio::socket_base::shutdown_send, ignored);
  }

  void set_timer(std::chrono::milliseconds after) {
    if (!timer) timer = std::make_unique<steady_timer>(socket.get_executor());
    timer->expires_after(after);
    timer->async_wait(counted([this](error_code error) {
      // One that was set anew while its handler was on the way is not due.
      if (error || now == phase::aborted || !timer || steady_clock::now() < timer->expiry()) return;
      if (now == phase::open) return on_silence();
      abort();
    }));
  }

  void on_silence() {
    const auto silent = steady_clock::now() - heard;
    const auto half = limits.silence / 2;
    if (silent >= limits.silence) return abort();
    if (silent >= half) write(control_frame(opcode::ping, {}));
    if (now != phase::open) return;
    set_timer(std::chrono::ceil<std::chrono::milliseconds>(
      (silent >= half ? limits.silence : half) - silent));
  }

  void abort() {
    if (now == phase::aborted) return;
    now = phase::aborted;
    error_code ignored;
    socket.close(ignored);
    timer.reset();
    // Whoever called us may go on using us: the owner hears of it from a handler.
    asio::post(socket.get_executor(), counted([](error_code) {}));
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
  state_->send(std::move(what));
}

std::size_t websocket::queued_bytes() const noexcept {
  return state_->queued;
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
