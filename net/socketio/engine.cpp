#include "previewd/net/socketio/engine.hpp"

#include <sys/random.h>

#include <algorithm>
#include <array>
#include <cctype>
#include <charconv>
#include <cstdlib>
#include <optional>

namespace previewd::net::socketio {

namespace {

using steady_clock = std::chrono::steady_clock;
using boost::system::error_code;

/// The errors of a handshake, as the reference implementation numbers them.
enum : int {
  unknown_transport = 0,
  unknown_session = 1,
  bad_handshake_method = 2,
  bad_request = 3,
  forbidden = 4,
  unsupported_version = 5,
};

std::string_view message_of(int code) {
  constexpr std::array<std::string_view, 6> messages{"Transport unknown", "Session ID unknown",
    "Bad handshake method", "Bad request", "Forbidden", "Unsupported protocol version"};
  return messages[static_cast<std::size_t>(code)];
}

/// 128 bits of chance in the URL-safe alphabet (RFC 4648, section 5).
std::string random_id() {
  std::array<char, 16> bytes{};
  std::size_t filled = 0;
  while (filled < bytes.size()) {
    const ssize_t n = ::getrandom(bytes.data() + filled, bytes.size() - filled, 0);
    // It fails for a bad address or a missing system call only; a guessable id would be worse than
    // an end.
    if (n < 0 && errno != EINTR) std::abort();
    if (n > 0) filled += static_cast<std::size_t>(n);
  }
  std::string text = encode_base64({bytes.data(), bytes.size()});
  text.resize(22);
  std::replace(text.begin(), text.end(), '+', '-');
  std::replace(text.begin(), text.end(), '/', '_');
  return text;
}

/// The thread's index at the front of a session id.
std::optional<std::size_t> thread_of(std::string_view id) {
  std::size_t index = 0;
  const auto [end, error] = std::from_chars(id.data(), id.data() + id.size(), index);
  if (error != std::errc{} || end == id.data() + id.size() || *end != '-') return std::nullopt;
  return index;
}

int hex_value(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  if (c >= 'A' && c <= 'F') return c - 'A' + 10;
  return -1;
}

/// Undoes application/x-www-form-urlencoded; what is no escape stays as it is.
std::string decode_form(std::string_view text) {
  std::string decoded;
  decoded.reserve(text.size());
  for (std::size_t i = 0; i < text.size(); ++i) {
    const bool escape = text[i] == '%' && i + 2 < text.size() && hex_value(text[i + 1]) >= 0 &&
                        hex_value(text[i + 2]) >= 0;
    if (escape) {
      decoded += static_cast<char>(hex_value(text[i + 1]) * 16 + hex_value(text[i + 2]));
      i += 2;
    } else {
      decoded += text[i] == '+' ? ' ' : text[i];
    }
  }
  return decoded;
}

name_values parse_query(std::string_view query) {
  name_values parameters;
  while (!query.empty()) {
    const std::size_t end = std::min(query.find('&'), query.size());
    const std::string_view part = query.substr(0, end);
    const std::size_t equals = std::min(part.find('='), part.size());
    if (!part.empty()) {
      parameters.add(decode_form(part.substr(0, equals)),
        decode_form(part.substr(std::min(equals + 1, part.size()))));
    }
    query.remove_prefix(std::min(end + 1, query.size()));
  }
  return parameters;
}

handshake copy_of(const http::exchange& exchange) {
  handshake request;
  const http::request_head& head = exchange.head();
  request.target = head.target;
  request.query = parse_query(head.query);
  for (const http::field& field : head.fields) {
    std::string name{field.name};
    std::transform(name.begin(), name.end(), name.begin(),
      [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
    request.fields.add(name, field.value);
  }
  request.query.shrink();
  request.fields.shrink();
  request.address = exchange.client_address();
  request.secure = exchange.scheme() == "https";
  request.at = std::chrono::system_clock::now();
  if (exchange.grant() != nullptr)
    request.grant = std::make_shared<const auth::grant>(*exchange.grant());
  return request;
}

/// Whether what is queued at a session's end waits for the client's next GET. A client that broke
/// the protocol, fell silent or went away finds its session unknown instead, as it does with the
/// Node implementation.
bool may_be_fetched(session_end why) {
  return why == session_end::server_closed || why == session_end::too_slow ||
         why == session_end::client_closed;
}

frame text_frame(engine_packet_type type, std::string_view data = {}) {
  return {message_kind::text, std::make_shared<const std::string>(encode_packet(type, data))};
}

}  // namespace

std::string_view to_string(session_end value) noexcept {
  switch (value) {
    case session_end::client_closed:
    case session_end::transport_closed:
      return "transport close";
    case session_end::server_closed:
      return "forced close";
    case session_end::transport_error:
      return "transport error";
    case session_end::ping_timeout:
      return "ping timeout";
    case session_end::protocol_error:
      return "parse error";
    case session_end::too_slow:
      return "client too slow";
  }
  return "unknown";
}

void name_values::add(std::string_view name, std::string_view value) {
  // A head is far from being so large; what does not fit is left out.
  if (name.size() + value.size() > UINT32_MAX - bytes_.size()) return;
  bytes_ += name;
  ends_.push_back(static_cast<uint32_t>(bytes_.size()));
  bytes_ += value;
  ends_.push_back(static_cast<uint32_t>(bytes_.size()));
}

void name_values::shrink() {
  bytes_.shrink_to_fit();
  ends_.shrink_to_fit();
}

name_values::value_type name_values::at(std::size_t index) const noexcept {
  const uint32_t begin = index == 0 ? 0 : ends_[2 * index - 1];
  const uint32_t middle = ends_[2 * index];
  const std::string_view bytes = bytes_;
  return {bytes.substr(begin, middle - begin), bytes.substr(middle, ends_[2 * index + 1] - middle)};
}

std::string_view name_values::operator[](std::string_view name) const noexcept {
  for (const auto& [key, value] : *this) {
    if (key == name) return value;
  }
  return {};
}

std::string_view handshake::parameter(std::string_view name) const noexcept {
  return query[name];
}

void engine_handler::admit(const handshake&, std::function<void(bool)> answer) {
  answer(true);
}

// ---- a session

engine_session::engine_session(engine& owner, uint64_t number, std::string id, handshake request)
    : engine_{owner},
      number_{number},
      id_{std::move(id)},
      request_{std::move(request)},
      base64_{!request_.parameter("b64").empty()},
      timer_{owner.thread().context()} {}

engine_session::~engine_session() = default;

transport_kind engine_session::transport() const noexcept {
  return websocket_ ? transport_kind::websocket : transport_kind::polling;
}

void engine_session::send(std::string_view text) {
  enqueue(text_frame(engine_packet_type::message, text));
}

void engine_session::send_binary(std::string bytes) {
  enqueue({message_kind::binary, std::make_shared<const std::string>(std::move(bytes))});
}

void engine_session::send_encoded(std::shared_ptr<const std::string> packet) {
  enqueue({message_kind::text, std::move(packet)});
}

std::size_t engine_session::queued_bytes() const noexcept {
  return queue_bytes_ + (websocket_ ? websocket_->queued_bytes() : 0);
}

void engine_session::enqueue(frame what) {
  if (!open_) return;
  const std::size_t queued = queued_bytes();
  if (queued > 0 && queued + what.bytes->size() > engine_.settings_.client_buffer) {
    close(session_end::too_slow);
    return;
  }
  if (websocket_ && queue_.empty()) {
    send_to_websocket(std::move(what));
    return;
  }
  queue_bytes_ += what.bytes->size();
  queue_.push_back(std::move(what));
  flush();
}

void engine_session::flush() {
  if (websocket_) {
    flush_to_websocket();
  } else if (poll_ && !queue_.empty()) {
    answer_poll();
  }
}

void engine_session::flush_to_websocket() {
  while (!queue_.empty()) {
    queue_bytes_ -= queue_.front().bytes->size();
    send_to_websocket(std::move(queue_.front()));
    queue_.pop_front();
  }
}

void engine_session::send_to_websocket(frame what) {
  if (base64_ && what.kind == message_kind::binary) {
    std::string text;
    append_to_payload(text, what.kind, *what.bytes);
    what = {message_kind::text, std::make_shared<const std::string>(std::move(text))};
  }
  websocket_->send(std::move(what));
}

void engine_session::answer_poll() {
  http::response answer;
  answer.content_type = "text/plain; charset=UTF-8";
  for (std::size_t packets = 0; !queue_.empty() && packets < engine_.settings_.packets_out;
       ++packets) {
    append_to_payload(answer.body, queue_.front().kind, *queue_.front().bytes);
    queue_bytes_ -= queue_.front().bytes->size();
    queue_.pop_front();
  }
  release_poll(std::move(answer));
  // From the event loop: whoever sends right now does not expect to be called.
  if (open_) {
    engine_.thread_.post([&owner = engine_, number = number_] {
      engine_session* self = owner.find(number);
      if (self && self->open_) owner.handler_.on_sent(*self);
    });
  }
}

void engine_session::release_poll(http::response answer) {
  const http::exchange_ptr poll = std::exchange(poll_, nullptr);
  if (!poll) return;
  poll->on_gone(nullptr);
  engine_.respond(*poll, std::move(answer));
}

void engine_session::begin(websocket* transport) {
  websocket_ = transport;
  schedule_ping();
}

/// Timers find the session by its number, so that one which was about to run when the session ended
/// finds nothing.
template <class Then>
void engine_session::arm(steady_timer& timer, std::chrono::milliseconds delay, Then then) {
  timer.expires_after(delay);
  timer.async_wait([&owner = engine_, number = number_, then](error_code error) {
    if (error) return;
    if (engine_session* self = owner.find(number)) then(*self);
  });
}

void engine_session::schedule_ping() {
  awaiting_pong_ = false;
  arm(timer_, engine_.settings_.ping_interval, [](engine_session& self) { self.on_timer(); });
}

void engine_session::on_timer() {
  // A timer that was set anew while its handler was on the way.
  if (steady_clock::now() < timer_.expiry()) return;
  if (!open_) {
    engine_.erase(*this);
    return;
  }
  if (awaiting_pong_) {
    close(session_end::ping_timeout);
    return;
  }
  awaiting_pong_ = true;
  arm(timer_, engine_.settings_.ping_timeout, [](engine_session& self) { self.on_timer(); });
  enqueue(text_frame(engine_packet_type::ping));
}

void engine_session::on_packet(engine_packet packet) {
  if (!open_) return;
  switch (packet.type) {
    case engine_packet_type::message:
      engine_.handler_.on_message(*this, packet.kind, packet.data);
      return;
    case engine_packet_type::pong:
      if (!awaiting_pong_) return;
      schedule_ping();
      engine_.handler_.on_sent(*this);
      return;
    case engine_packet_type::close:
      close(session_end::client_closed);
      return;
    case engine_packet_type::noop:
      return;
    case engine_packet_type::open:
    case engine_packet_type::ping:
    case engine_packet_type::upgrade:
      close(session_end::protocol_error);
      return;
  }
}

void engine_session::on_upgrade_timeout() {
  if (!upgrade_timer_ || steady_clock::now() < upgrade_timer_->expiry()) return;
  drop_probe();
}

void engine_session::drop_probe() {
  upgrade_timer_.reset();
  probed_ = false;
  if (websocket* probe = std::exchange(probe_, nullptr)) {
    probe->abort();
    if (!open_) engine_.end_later(number_);
  }
}

void engine_session::upgrade() {
  upgrade_timer_.reset();
  probed_ = false;
  websocket_ = std::exchange(probe_, nullptr);
  if (poll_) {
    http::response answer;
    answer.content_type = "text/plain; charset=UTF-8";
    answer.body = "6";
    release_poll(std::move(answer));
  }
  if (open_) return flush();
  // Closed meanwhile. The close packet, the last in the queue, is polling's way to say so.
  if (!queue_.empty()) queue_.pop_back();
  flush_to_websocket();
  std::exchange(websocket_, nullptr)->close();
  queue_bytes_ = 0;
  engine_.end_later(number_);
}

void engine_session::close(session_end why) {
  if (!open_) return;
  why_ = why;
  // A client that is changing its transport no longer polls: it learns of our close at the end of
  // the change.
  if (why != session_end::server_closed) drop_probe();
  timer_.cancel();
  // By the client's own close the waiting GET ends with a noop; else the client is told.
  const frame last = text_frame(
    why == session_end::client_closed ? engine_packet_type::noop : engine_packet_type::close);
  const bool reachable =
    why != session_end::transport_closed && why != session_end::transport_error;
  open_ = false;
  if (why == session_end::too_slow) drop_queue();
  if (websocket_) {
    websocket* transport = std::exchange(websocket_, nullptr);
    if (why == session_end::too_slow || why == session_end::ping_timeout || !reachable) {
      transport->abort();
    } else {
      transport->close();
    }
  } else if (reachable) {
    queue_.push_back(last);
    queue_bytes_ += last.bytes->size();
    flush();
  }
  if (!may_be_fetched(why)) drop_queue();
  engine_.end_later(number_);
}

void engine_session::drop_queue() {
  queue_.clear();
  queue_bytes_ = 0;
}

// ---- the engine

struct engine::link {
  link(uint64_t number, http::released_connection connection, ws::websocket_limits limits,
    engine& owner)
      : socket{number, std::move(connection), limits, owner} {}

  websocket socket;
  uint64_t session = 0;                // 0: none yet, or none any more
  std::unique_ptr<handshake> request;  // of a session that begins with this WebSocket
};

engine::engine(io_thread& thread, std::vector<io_thread*> threads, engine_settings settings,
  engine_handler& handler)
    : thread_{thread},
      threads_{std::move(threads)},
      settings_{std::move(settings)},
      handler_{handler},
      next_number_{settings_.first_number} {}

engine::~engine() = default;

engine_session* engine::find(uint64_t number) noexcept {
  const auto found = sessions_.find(number);
  return found == sessions_.end() ? nullptr : found->second.get();
}

engine_session* engine::find_id(std::string_view id) noexcept {
  const auto found = ids_.find(id);
  return found == ids_.end() ? nullptr : found->second;
}

void engine::for_each(const std::function<void(engine_session&)>& visit) {
  std::vector<uint64_t> numbers;
  numbers.reserve(sessions_.size());
  for (const auto& [number, session] : sessions_) numbers.push_back(number);
  for (const uint64_t number : numbers) {
    engine_session* session = find(number);
    if (session && session->is_open()) visit(*session);
  }
}

void engine::respond(http::exchange& exchange, http::response answer) const {
  answer.fields.emplace_back("Cache-Control", "no-store");
  if (!settings_.cors_origin.empty()) {
    answer.fields.emplace_back("Access-Control-Allow-Origin", settings_.cors_origin);
  }
  exchange.respond(std::move(answer));
}

void engine::refuse(http::exchange& exchange, int code) const {
  http::response answer;
  answer.status = code == forbidden ? 403 : 400;
  answer.content_type = "application/json";
  answer.body =
    "{\"code\":" + std::to_string(code) + ",\"message\":\"" + std::string{message_of(code)} + "\"}";
  respond(exchange, std::move(answer));
}

void engine::handle(http::exchange_ptr exchange) {
  const http::request_head& head = exchange->head();
  const name_values query = parse_query(head.query);
  if (head.method == "OPTIONS" && !settings_.cors_origin.empty()) {
    http::response answer;
    answer.status = 204;
    answer.fields.emplace_back("Access-Control-Allow-Methods", "GET, POST");
    answer.fields.emplace_back("Access-Control-Allow-Headers", "Content-Type");
    respond(*exchange, std::move(answer));
    return;
  }
  const std::string_view transport = query["transport"];
  if (transport != "polling" && transport != "websocket")
    return refuse(*exchange, unknown_transport);
  const transport_kind kind =
    transport == "websocket" ? transport_kind::websocket : transport_kind::polling;
  const std::string_view id = query["sid"];
  if (id.empty()) {
    if (head.method != "GET") return refuse(*exchange, bad_handshake_method);
    if ((kind == transport_kind::websocket) != head.websocket_upgrade)
      return refuse(*exchange, bad_request);
    if (query["EIO"] != "4") return refuse(*exchange, unsupported_version);
    handshake_begins(std::move(exchange), kind);
    return;
  }
  const std::optional<std::size_t> home = thread_of(id);
  if (!home || *home >= threads_.size()) return refuse(*exchange, unknown_session);
  if (threads_[*home] != &thread_) return exchange->move_to(*threads_[*home]);
  engine_session* session = find_id(id);
  // A closed session answers one more poll: what was queued, and that it is closed.
  const bool lingering = session && !session->open_ && head.method == "GET" &&
                         kind == transport_kind::polling &&
                         (!session->queue_.empty() || session->probe_);
  if (!session || (!session->open_ && !lingering)) return refuse(*exchange, unknown_session);
  if ((kind == transport_kind::websocket) != head.websocket_upgrade)
    return refuse(*exchange, bad_request);
  if (kind == transport_kind::websocket) return upgrade(*session, exchange);
  if (session->websocket_) return refuse(*exchange, bad_request);
  if (head.method == "GET") return poll(*session, exchange);
  if (head.method == "POST") return push(*session, exchange);
  refuse(*exchange, bad_request);
}

void engine::handshake_begins(http::exchange_ptr exchange, transport_kind kind) {
  if (stopping_ || sessions_.size() >= settings_.sessions) {
    http::response answer;
    answer.status = 503;
    answer.content_type = "application/json";
    answer.body = R"({"code":3,"message":"Too many clients are connected"})";
    answer.fields.emplace_back("Retry-After", "1");
    return respond(*exchange, std::move(answer));
  }
  handshake request = copy_of(*exchange);
  handler_.admit(request, [this, exchange, kind, request](bool allowed) mutable {
    if (!allowed) return refuse(*exchange, forbidden);
    admitted(std::move(exchange), kind, std::move(request));
  });
}

void engine::admitted(http::exchange_ptr exchange, transport_kind kind, handshake request) {
  if (exchange->gone() || stopping_) return;
  if (kind == transport_kind::websocket) {
    accept_websocket(exchange, std::move(request), 0);
    return;
  }
  engine_session* session = open_session(std::move(request));
  http::response answer;
  answer.content_type = "text/plain; charset=UTF-8";
  answer.body = open_packet(*session, kind);
  respond(*exchange, std::move(answer));
  session->begin(nullptr);
  handler_.on_open(*session);
}

engine_session* engine::open_session(handshake request) {
  const uint64_t number = next_number_++;
  std::string id = std::to_string(thread_.index()) + '-' + random_id();
  auto session = std::make_unique<engine_session>(*this, number, std::move(id), std::move(request));
  engine_session* const opened = session.get();
  sessions_.emplace(number, std::move(session));
  ids_.emplace(opened->id(), opened);
  return opened;
}

std::string engine::open_packet(const engine_session& session, transport_kind kind) const {
  std::string text = "{\"sid\":\"" + session.id() + "\",\"upgrades\":[";
  if (kind == transport_kind::polling) text += "\"websocket\"";
  text += "],\"pingInterval\":" + std::to_string(settings_.ping_interval.count());
  text += ",\"pingTimeout\":" + std::to_string(settings_.ping_timeout.count());
  text += ",\"maxPayload\":" + std::to_string(settings_.max_payload) + "}";
  return encode_packet(engine_packet_type::open, text);
}

void engine::poll(engine_session& session, const http::exchange_ptr& exchange) {
  if (session.poll_) {
    // Two at once: which of them would get what comes next is anybody's guess.
    session.close(session_end::protocol_error);
    return refuse(*exchange, bad_request);
  }
  session.poll_ = exchange;
  exchange->on_gone([this, number = session.number()] {
    engine_session* gone = find(number);
    if (!gone) return;
    gone->poll_.reset();
    gone->close(session_end::transport_closed);
  });
  if (exchange->gone()) {
    session.poll_.reset();
    session.close(session_end::transport_closed);
  } else if (!session.queue_.empty()) {
    session.answer_poll();
    if (!session.open_ && session.reported_) end_later(session.number());
  } else if (session.probed_) {
    // The client waits for this answer before it upgrades.
    http::response answer;
    answer.content_type = "text/plain; charset=UTF-8";
    answer.body = "6";
    session.release_poll(std::move(answer));
  }
}

void engine::push(engine_session& session, const http::exchange_ptr& exchange) {
  if (exchange->head().content_length.value_or(0) > settings_.max_payload) {
    // Without a body, and with the fields that let a script of another origin see the status.
    http::response answer;
    answer.status = 413;
    answer.close = true;
    respond(*exchange, std::move(answer));
    return;
  }
  exchange->read_body(settings_.max_payload, [this, number = session.number(), exchange](
                                               std::string body) {
    engine_session* receiver = find(number);
    if (!receiver || !receiver->open_) return refuse(*exchange, unknown_session);
    std::optional<std::vector<engine_packet>> packets = decode_payload(body, settings_.packets_in);
    if (!packets) {
      receiver->close(session_end::protocol_error);
      return refuse(*exchange, bad_request);
    }
    for (engine_packet& packet : *packets) receiver->on_packet(std::move(packet));
    if (!receiver->open_ && receiver->why_ == session_end::protocol_error)
      return refuse(*exchange, bad_request);
    http::response answer;
    answer.content_type = "text/html";
    answer.body = "ok";
    respond(*exchange, std::move(answer));
  });
}

void engine::upgrade(engine_session& session, const http::exchange_ptr& exchange) {
  if (session.websocket_ || session.probe_) return accept_surplus(exchange);
  accept_websocket(exchange, {}, session.number());
}

void engine::accept_surplus(const http::exchange_ptr& exchange) {
  std::optional<http::released_connection> connection = exchange->release();
  if (connection) add_websocket(std::move(*connection)).socket.start();
}

void engine::accept_websocket(
  const http::exchange_ptr& exchange, handshake request, uint64_t session) {
  std::optional<http::released_connection> connection = exchange->release();
  if (!connection) return;
  link& added = add_websocket(std::move(*connection));
  if (session == 0) added.request = std::make_unique<handshake>(std::move(request));
  added.session = session;
  if (session != 0) {
    engine_session& upgrading = *find(session);
    upgrading.probe_ = &added.socket;
    upgrading.upgrade_timer_ = std::make_unique<steady_timer>(thread_.context());
    upgrading.arm(*upgrading.upgrade_timer_, settings_.upgrade_timeout,
      [](engine_session& self) { self.on_upgrade_timeout(); });
  }
  added.socket.start();
}

engine::link& engine::add_websocket(http::released_connection connection) {
  ws::websocket_limits limits;
  limits.message_bytes = settings_.max_payload;
  limits.closing = settings_.close_timeout;
  limits.tells = ws::tells_of::waiting;
  const uint64_t number = next_websocket_++;
  auto made = std::make_unique<link>(number, std::move(connection), limits, *this);
  return *websockets_.emplace(number, std::move(made)).first->second;
}

void engine::on_open(websocket& from) {
  link& opened = *websockets_.at(from.number());
  if (opened.session != 0) return;  // its probe comes first
  if (!opened.request) return from.close();
  if (stopping_ || sessions_.size() >= settings_.sessions) return from.abort();
  engine_session* session = open_session(std::move(*opened.request));
  opened.request.reset();
  opened.session = session->number();
  from.send({message_kind::text,
    std::make_shared<const std::string>(open_packet(*session, transport_kind::websocket))});
  session->begin(&from);
  handler_.on_open(*session);
}

void engine::on_frame(websocket& from, message_kind kind, std::string_view bytes) {
  engine_session* session = find(websockets_.at(from.number())->session);
  if (!session) return from.abort();
  if (session->probe_ == &from) return on_probe_frame(*session, from, kind, bytes);
  if (session->websocket_ != &from) return;
  if (kind == message_kind::binary) {
    handler_.on_message(*session, kind, bytes);
    return;
  }
  std::optional<engine_packet> packet = decode_packet(bytes);
  if (!packet) return session->close(session_end::protocol_error);
  session->on_packet(std::move(*packet));
}

void engine::on_probe_frame(
  engine_session& session, websocket& from, message_kind kind, std::string_view bytes) {
  if (kind == message_kind::text && bytes == "2probe") {
    session.probed_ = true;
    from.send({message_kind::text, std::make_shared<const std::string>("3probe")});
    if (session.poll_) {
      http::response answer;
      answer.content_type = "text/plain; charset=UTF-8";
      answer.body = "6";
      session.release_poll(std::move(answer));
    }
  } else if (kind == message_kind::text && bytes == "5" && session.probed_) {
    session.upgrade();
  } else {
    session.drop_probe();
  }
}

void engine::on_sent(websocket& from) {
  engine_session* session = find(websockets_.at(from.number())->session);
  if (session && session->websocket_ == &from) handler_.on_sent(*session);
}

void engine::on_gone(websocket& from) {
  const uint64_t number = from.number();
  engine_session* session = find(websockets_.at(number)->session);
  if (session && session->probe_ == &from) {
    session->drop_probe();
  } else if (session && session->websocket_ == &from) {
    session->websocket_ = nullptr;
    session->close(session_end::transport_closed);
  }
  websockets_.erase(number);
  report_stopped();
}

void engine::end_later(uint64_t number) {
  thread_.post([this, number] { end(number); });
}

void engine::end(uint64_t number) {
  engine_session* session = find(number);
  if (!session) return;
  if (!session->reported_) {
    session->reported_ = true;
    handler_.on_close(*session, session->why_);
  }
  const bool has_last_word = (!session->queue_.empty() || session->probe_) && !stopping_ &&
                             session->why_ != session_end::client_closed;
  if (has_last_word) {
    session->arm(
      session->timer_, settings_.close_timeout, [](engine_session& self) { self.on_timer(); });
    return;
  }
  erase(*session);
}

void engine::erase(engine_session& session) {
  session.drop_probe();
  if (session.poll_) {
    http::response answer;
    answer.content_type = "text/plain; charset=UTF-8";
    answer.body = "1";
    session.release_poll(std::move(answer));
  }
  const uint64_t number = session.number();
  ids_.erase(session.id());
  sessions_.erase(number);
  report_stopped();
}

void engine::stop(std::function<void()> done) {
  stopping_ = true;
  stopped_ = std::move(done);
  for_each([](engine_session& session) { session.close(session_end::server_closed); });
  std::vector<engine_session*> lingering;
  for (const auto& [number, session] : sessions_) {
    if (session->reported_) lingering.push_back(session.get());
  }
  for (engine_session* session : lingering) erase(*session);
  // Handshakes and probes that belong to no session.
  for (const auto& [number, held] : websockets_) {
    if (held->session == 0) held->socket.abort();
  }
  thread_.post([this] { report_stopped(); });
}

void engine::report_stopped() {
  if (!stopping_ || !stopped_ || !sessions_.empty() || !websockets_.empty()) return;
  const std::function<void()> done = std::exchange(stopped_, nullptr);
  done();
}

}  // namespace previewd::net::socketio
