#include "previewd/net/http/connection.hpp"

#include <sys/socket.h>

#include <algorithm>
#include <boost/asio/error.hpp>
#include <cstdio>
#include <utility>

#include "previewd/net/http/access.hpp"
#include "previewd/net/http/proxy.hpp"
#include "previewd/net/http/router.hpp"

namespace previewd::net::http {

namespace {

constexpr std::size_t first_read = 4 * 1024;
constexpr std::size_t body_buffer = 32 * 1024;
constexpr std::size_t most_lingered = 64 * 1024 * 1024;
constexpr std::chrono::seconds longest_linger{30};
constexpr std::size_t most_chunks_at_once = 16;
constexpr std::string_view continue_answer = "HTTP/1.1 100 Continue\r\n\r\n";

/// sendmsg(2) wants what it does not change mutable.
iovec part_of(const void* bytes, std::size_t size) {
  return {const_cast<void*>(bytes), size};
}
iovec part_of(std::string_view text) {
  return part_of(text.data(), text.size());
}

std::size_t size_of(const response& answer) {
  return answer.shared_body ? answer.shared_body->size() : answer.body.size();
}

}  // namespace

connection::connection(server_core& core, new_client client, open_slot slot)
    : timed_object{core.live},
      core_{core},
      socket_{core_.ready, context()},
      hold_{std::move(client.hold)},
      over_{client.over},
      client_address_{std::move(client.address)},
      trust_{core_.settings.trusted.contains(client_address_) ? peer_trust::forwarding
                                                              : peer_trust::none},
      slot_{std::move(slot)} {
  ++core_.connections;
  core_.clients->add();
}

connection::~connection() {
  if (exchange_ != nullptr) exchange_->connection_ = nullptr;
}

std::string_view connection::scheme_of(const request_head& head) const noexcept {
  const std::string_view told =
    trust_ == peer_trust::forwarding ? forwarded_scheme(head) : std::string_view{};
  if (!told.empty()) return told;
  if (over_ == transport::tls) return "https";
  // Browsers come by these names through a proxy, also one that says nothing or is not believed.
  const auto& front = core_.settings.front;
  if (front && is_public(head.host, core_.settings)) return to_string(front->scheme);
  return "http";
}

error_code connection::start(os::unique_fd socket, std::string_view read_already) {
  if (const error_code failed = socket_.adopt(std::move(socket))) {
    close(close_reason::peer_closed);
    return failed;
  }
  in_.append(read_already);
  set_deadline(core_.settings.header_timeout);
  if (in_.empty()) {
    read();
  } else {
    parse();
  }
  return {};
}

void connection::closing() {
  --core_.connections;
  stop_timer();
  socket_.close();
  if (proxied_ != nullptr) proxied_->abandon();
  if (asked_for_ != nullptr) core_.forward->leave(*this);
  slot_ = {};
  queue_.clear();
  body_done_ = nullptr;
  if (const auto exchange = detach_exchange()) {
    if (auto gone = std::exchange(exchange->gone_, nullptr)) gone();
  }
  core_.client_gone();
}

void connection::deadline_passed() {
  switch (phase_) {
    case phase::head:
      if (!head_begun_) {
        close(close_reason::timed_out);
      } else {
        refuse({408, "request_timeout", "The request's head did not arrive in time."});
      }
      return;
    case phase::proxying:
      proxied_->deadline_passed();
      return;
    case phase::service:
      if (body_done_) {
        exchange_->progress_ = service_exchange::progress::answered;
        response what =
          problem(408, "request_timeout", "The request's body did not arrive in time.");
        what.close = true;
        respond(std::move(what));
      }
      return;
    case phase::asking:
    case phase::answering:
    case phase::streaming:
    case phase::lingering:
      close(close_reason::timed_out);
      return;
  }
}

void connection::read() {
  if (reading_ || input_ended_ || closed()) return;
  // Room for a head that is still incomplete, else only for what may wait meanwhile.
  const std::size_t most = phase_ == phase::head
                             ? std::max(core_.settings.header_bytes + first_read, body_buffer)
                             : body_buffer;
  const std::size_t least =
    phase_ == phase::head || body_.complete() ? first_read / 4 : body_buffer / 2;
  const asio::mutable_buffer room = in_.prepare(least, most);
  if (room.size() == 0) return;
  reading_ = true;
  socket_.async_read_some(room, counted([this](const error_code& error, std::size_t count) {
    reading_ = false;
    in_.commit(count);
    received(hold_.end_of(error));
  }));
}

void connection::received(const error_code& error) {
  if (error) {
    input_ended_ = true;
    // A client that has said all may still listen (RFC 9112, section 9.6 expects no less of us).
    if (phase_ == phase::proxying && error == asio::error::eof && proxied_->client_ended()) return;
    // A service request that is being answered may be answered yet, unless it wants to know of the
    // end.
    const bool answer_first =
      phase_ == phase::answering || phase_ == phase::asking ||
      (phase_ == phase::service && !body_done_ && exchange_ != nullptr && !exchange_->gone_);
    if (!answer_first) close(close_reason::peer_closed);
    return;
  }
  switch (phase_) {
    case phase::head:
      parse();
      return;
    case phase::proxying:
      proxied_->client_received();
      return;
    case phase::service:
      if (body_done_) {
        feed_body();
      } else {
        read();
      }
      return;
    case phase::answering:
    case phase::streaming:
      read();
      return;
    case phase::lingering:
      // Who still sends has not seen the answer yet.
      if (!in_.empty())
        set_deadline(std::min(steady_clock::now() + core_.settings.drain, lingers_until_));
      lingered_ += in_.view().size();
      in_.consume(in_.view().size());
      if (lingered_ > most_lingered) {
        close(close_reason::misbehaved);
      } else {
        read();
      }
      return;
    case phase::asking:  // the next request waits
      return;
  }
}

void connection::parse() {
  switch (scanner_.scan(in_.view(), core_.settings.header_bytes)) {
    case head_scanner::progress::incomplete:
      if (input_ended_) {
        close(close_reason::peer_closed);
        return;
      }
      if (!head_begun_) {
        head_begun_ = true;
        set_deadline(core_.settings.header_timeout);
      }
      read();
      return;
    case head_scanner::progress::malformed:
      refuse({400, "bad_request", "This is not a request of HTTP/1.1."});
      return;
    case head_scanner::progress::too_large:
      if (scanner_.in_first_line()) {
        refuse({414, "uri_too_long", "The request's target is larger than limits.header_bytes."});
        return;
      }
      refuse({431, "header_too_large", "The request's head is larger than limits.header_bytes."});
      return;
    case head_scanner::progress::complete:
      break;
  }
  head_text_.assign(in_.view().substr(scanner_.begin(), scanner_.end() - scanner_.begin()));
  in_.consume(scanner_.end());
  kind_ = http_counters::kind::service;
  asked_at_ = steady_clock::now();
  if (const auto error = read_request_head(head_text_, head_)) {
    refuse(*error);
  } else {
    serve();
  }
}

void connection::refuse(const message_error& error) {
  // Whatever was meant, the next request cannot be told apart from this one.
  head_ = request_head{};
  head_.keep_alive = false;
  listed_origin_ = nullptr;
  body_.begin(body_reader::framing::none);
  response what = problem(error.status, error.code, std::string{error.detail});
  what.close = true;
  answer(std::move(what));
}

void connection::serve() {
  clear_deadline();
  if (head_.chunked) {
    body_.begin(body_reader::framing::chunked, 0, head_scanner::kind::request);
  } else {
    body_.begin(body_reader::framing::length, head_.content_length.value_or(0));
  }
  routing where = route_request(head_, core_.settings, core_.routes);
  listed_origin_ = where.listed_origin;
  if (core_.rules == nullptr) {
    go(std::move(where), nullptr, preview_access::members);
    return;
  }
  admission who = core_.rules->admit(head_, where, client_address_, core_.settings, core_.routes);
  if (who.ask) {
    ask_who(std::move(where));
  } else {
    admitted(std::move(where), std::move(who));
  }
}

void connection::ask_who(routing where) {
  phase_ = phase::asking;
  const std::string workspace =
    where.target ? where.target->key.project + "/" + where.target->key.user : std::string{};
  const forward_question question{head_, scheme(), client_address_,
    trust_ == peer_trust::forwarding ? head_["x-forwarded-for"] : std::string_view{}, workspace};
  asked_for_ = std::make_unique<routing>(std::move(where));
  if (const auto verdict = core_.forward->ask(question, *this)) judged(*verdict);
}

void connection::judged(const forward_verdict& verdict) {
  routing where = std::move(*std::exchange(asked_for_, nullptr));
  // What let the client in is not for the app to see. Where none of the application's cookies did,
  // it was this.
  if (where.what == routing::kind::preview &&
      !has_cookie_of(head_, core_.settings.withheld_cookies))
    std::erase_if(
      head_.fields, [](const field& each) { return equal_no_case(each.name, "authorization"); });
  admission who = core_.rules->judge(head_, where, verdict, core_.routes);
  admitted(std::move(where), std::move(who));
}

void connection::admitted(routing where, admission who) {
  if (who.refusal) {
    answer(std::move(*who.refusal));
  } else {
    go(std::move(where), std::move(who.grant), who.needs);
  }
}

void connection::go(
  routing&& where, std::shared_ptr<const auth::grant> grant, preview_access needs) {
  switch (where.what) {
    case routing::kind::answer:
      answer(std::move(where.answer));
      return;
    case routing::kind::preview:
      phase_ = phase::proxying;
      kind_ =
        head_.websocket_upgrade ? http_counters::kind::websocket : http_counters::kind::preview;
      if (proxied_ == nullptr) proxied_ = std::make_unique<proxied_request>(*this, core_);
      proxied_->start(std::move(*where.target), needs);
      return;
    case routing::kind::service:
      break;
  }
  phase_ = phase::service;
  auto exchange = std::make_shared<service_exchange>(
    *this, std::move(head_text_), std::move(head_), std::move(where.target), std::move(grant));
  exchange_ = exchange.get();
  // The head is the exchange's now; what is needed of it to write the answer stays here.
  head_ = request_head{};
  head_.version = exchange->head_.version;
  head_.keep_alive = exchange->head_.keep_alive;
  head_.expects_continue = exchange->head_.expects_continue;
  head_.websocket_upgrade = exchange->head_.websocket_upgrade;
  head_.method = exchange->head_.method == "HEAD" ? "HEAD" : "";
  if (core_.service) core_.service(std::move(exchange));
}

template <class Next>
void connection::write(std::string_view first, std::string_view second, Next next) {
  sending_ = true;
  parts_ = {part_of(first), part_of(second)};
  socket_.async_write(parts_, counted([this, next](const error_code& error, std::size_t) {
    sending_ = false;
    next(error);
  }));
}

void connection::send(std::array<asio::const_buffer, 2> bytes) {
  sending_ = true;
  parts_ = {part_of(bytes[0].data(), bytes[0].size()), part_of(bytes[1].data(), bytes[1].size())};
  socket_.async_write(parts_, counted([this](const error_code& error, std::size_t) {
    sending_ = false;
    proxied_->client_sent(error);
  }));
}

void connection::wait_to_read() {
  if (reading_) return;
  reading_ = true;
  socket_.async_wait_to_read(counted([this](const error_code& error, std::size_t) {
    reading_ = false;
    received(error);
  }));
}

void connection::wait_to_send() {
  sending_ = true;
  socket_.async_wait_to_write(counted([this](const error_code& error, std::size_t) {
    sending_ = false;
    proxied_->client_sent(error);
  }));
}

void connection::answer(response what) {
  write_own(std::move(what));
}

bool connection::body_is_read() {
  if (!body_.complete()) in_.consume(body_.feed(in_.view()));
  return body_.complete();
}

void connection::answered(unsigned status) {
  core_.counters.answered(kind_, status);
  const auto asked_at = std::exchange(asked_at_, {});
  // A head that never was complete has no time of its own.
  if (asked_at != steady_clock::time_point{})
    core_.counters.answer_time.observe(steady_clock::now() - asked_at);
}

/// Lets a page of another origin see the answer, where the settings name its origin (Fetch, section
/// 3.2).
void connection::show_to_page(response& what) const {
  if (listed_origin_ == nullptr) return;
  what.fields.emplace_back("Access-Control-Allow-Origin", *listed_origin_);
  what.fields.emplace_back("Access-Control-Allow-Credentials", "true");
  what.fields.emplace_back("Access-Control-Expose-Headers",
    "Location, Previewd-Lost, Previewd-Sequence, Retry-After, WWW-Authenticate");
  what.fields.emplace_back("Vary", "Origin");
}

void connection::write_own(response what) {
  show_to_page(what);
  answered(what.status);
  phase_ = phase::answering;
  own_ = std::move(what);
  keep_ = head_.keep_alive && !own_.close && !core_.stopping && body_is_read() && !input_ended();
  own_head_.clear();
  write_answer_head(own_head_, own_,
    {.version = head_.version, .keep_alive = keep_, .length = size_of(own_)}, core_.date());
  set_deadline(core_.settings.idle_timeout);
  // A 100 that the client has yet to take goes first.
  if (!sending_) send_own();
}

void connection::send_own() {
  const bool no_body = head_.method == "HEAD" || own_.status == 204 || own_.status == 304;
  const std::string_view body =
    own_.shared_body ? std::string_view{*own_.shared_body} : std::string_view{own_.body};
  write(own_head_, no_body ? std::string_view{} : body,
    [this](const error_code& error) { own_written(error); });
}

void connection::own_written(const error_code& error) {
  own_ = response{};
  detach_exchange();
  if (error) {
    close(close_reason::peer_closed);
  } else {
    finished(keep_);
  }
}

void connection::finished(bool keep) {
  if (closed()) return;
  if (!keep || input_ended() || core_.stopping) {
    linger();
    return;
  }
  phase_ = phase::head;
  head_begun_ = false;
  scanner_.reset();
  if (!in_.empty()) {
    parse();
    return;
  }
  if (!reading_ && in_.capacity() > first_read) in_.release();
  set_deadline(core_.settings.idle_timeout);
  read();
}

void connection::linger() {
  // Closing with bytes unread would reset the connection, and the answer could be lost with it (RFC
  // 9112, section 9.6).
  phase_ = phase::lingering;
  if (input_ended_) {
    close(close_reason::finished);
    return;
  }
  if (::shutdown(socket_.descriptor(), SHUT_WR) == -1) {
    close(close_reason::finished);
    return;
  }
  set_deadline(core_.settings.drain);
  lingers_until_ =
    steady_clock::now() + std::max<steady_clock::duration>(longest_linger, core_.settings.drain);
  lingered_ = 0;
  in_.consume(in_.view().size());
  read();
}

void connection::cut(close_reason why) {
  hold_.reset();
  // When this fails an end that looks like a complete one is all that is left.
  const struct linger at_once { .l_onoff = 1, .l_linger = 0 };
  ::setsockopt(socket_.descriptor(), SOL_SOCKET, SO_LINGER, &at_once, sizeof at_once);
  close(why);
}

watched_socket connection::take_socket(readiness::watcher& watcher, uint32_t which) {
  watched_socket socket = socket_.hand_on(watcher, which);
  close(close_reason::handed_on);
  return socket;
}

std::shared_ptr<service_exchange> connection::detach_exchange() {
  service_exchange* exchange = std::exchange(exchange_, nullptr);
  if (exchange == nullptr) return nullptr;
  exchange->connection_ = nullptr;
  // Null while its destructor runs.
  return exchange->weak_from_this().lock();
}

// --- What the service asks ---

void connection::respond(response what) {
  body_done_ = nullptr;
  write_own(std::move(what));
}

void connection::read_body(std::size_t limit, std::function<void(std::string)> done) {
  body_limit_ = limit;
  body_content_.clear();
  body_done_ = std::move(done);
  // Who is to be refused is not asked for what would be discarded (RFC 9110, section 10.1.1).
  const bool wanted = exchange_->head_.content_length.value_or(0) <= body_limit_;
  if (!body_.complete() && in_.empty() && head_.expects_continue && wanted) {
    write(continue_answer, {}, [this](const error_code& error) {
      if (error) {
        close(close_reason::peer_closed);
      } else if (phase_ == phase::streaming) {
        write_stream();
      } else if (phase_ == phase::answering) {
        send_own();
      }
    });
  }
  feed_body();
}

void connection::feed_body() {
  in_.consume(body_.feed(in_.view(), &body_content_));
  if (body_.malformed()) {
    exchange_->progress_ = service_exchange::progress::answered;
    response what = problem(400, "bad_request", "The body's chunks are malformed.");
    what.close = true;
    respond(std::move(what));
  } else if (body_content_.size() > body_limit_ ||
             exchange_->head_.content_length.value_or(0) > body_limit_) {
    exchange_->progress_ = service_exchange::progress::answered;
    response what = problem(errc::payload_too_large, "The body is larger than the " +
                                                       std::to_string(body_limit_) +
                                                       " bytes that are allowed here.");
    what.close = true;
    respond(std::move(what));
  } else if (body_.complete()) {
    clear_deadline();
    auto done = std::exchange(body_done_, nullptr);
    // Kept while its holder is called, whatever it drops.
    const auto keep = exchange_->weak_from_this().lock();
    done(std::exchange(body_content_, {}));
  } else {
    set_deadline(core_.settings.idle_timeout);
    read();
  }
}

void connection::watch_for_end() {
  if (!head_.websocket_upgrade && !body_done_ &&
      (phase_ == phase::service || phase_ == phase::streaming))
    read();
}

void connection::start_stream(response head) {
  show_to_page(head);
  answered(head.status);
  phase_ = phase::streaming;
  body_done_ = nullptr;
  stream_ends_ = false;
  keep_ = head_.keep_alive && !head.close && head_.version == 11 && body_is_read();
  chunk first;
  write_answer_head(first.before, head,
    {.version = head_.version, .keep_alive = keep_, .length = {}}, core_.date());
  queued_bytes_ += first.before.size();
  queue_.push_back(std::move(first));
  write_stream();
  if (!closed()) read();
}

bool connection::write(std::shared_ptr<const std::string> bytes, std::size_t limit) {
  if (stream_ends_ || bytes == nullptr) return false;
  if (head_.method == "HEAD" || bytes->empty()) return true;
  // One message at a time may be larger than the limit: nobody would ever get it otherwise, however
  // often he came again.
  const bool large = bytes->size() > limit;
  if (large ? large_queued_ : queued_bytes_ + bytes->size() > limit) {
    close(close_reason::misbehaved);
    return false;
  }
  chunk next;
  next.large = large;
  if (head_.version == 11) {
    std::array<char, 24> size{};
    const int n = std::snprintf(size.data(), size.size(), "%zx\r\n", bytes->size());
    next.before.assign(size.data(), static_cast<std::size_t>(n));
  }
  if (large) {
    large_queued_ = true;
  } else {
    queued_bytes_ += bytes->size();
  }
  next.bytes = std::move(bytes);
  queue_.push_back(std::move(next));
  write_stream();
  return true;
}

void connection::finish_stream() {
  if (stream_ends_) return;
  stream_ends_ = true;
  if (head_.version == 11 && head_.method != "HEAD") {
    chunk last;
    last.before = "0\r\n\r\n";
    queue_.push_back(std::move(last));
  }
  write_stream();
}

void connection::write_stream() {
  if (sending_) return;
  if (queue_.empty()) {
    clear_deadline();
    if (stream_ends_) end_stream();
    return;
  }
  constexpr std::string_view line_end = "\r\n";
  writing_ = std::min(queue_.size(), most_chunks_at_once);
  gathered_.clear();
  auto next = queue_.begin();
  for (std::size_t i = 0; i < writing_; ++i) {
    const chunk& c = *next++;
    if (!c.before.empty()) gathered_.push_back(part_of(c.before));
    if (c.bytes == nullptr) continue;
    gathered_.push_back(part_of(*c.bytes));
    if (head_.version == 11) gathered_.push_back(part_of(line_end));
  }
  set_deadline(core_.settings.idle_timeout);
  sending_ = true;
  socket_.async_write(gathered_, counted([this](const error_code& error, std::size_t) {
    sending_ = false;
    if (error) {
      close(close_reason::peer_closed);
      return;
    }
    for (; writing_ != 0; --writing_) {
      const chunk& c = queue_.front();
      if (c.large) {
        large_queued_ = false;
      } else if (c.bytes != nullptr) {
        queued_bytes_ -= c.bytes->size();
      }
      queue_.pop_front();
    }
    write_stream();
  }));
}

void connection::end_stream() {
  detach_exchange();
  queued_bytes_ = 0;
  large_queued_ = false;
  finished(keep_);
}

std::optional<released_connection> connection::release() {
  // A read that has been under way since the request before has taken nothing, and is dropped.
  if (!head_.websocket_upgrade || sending_ || phase_ != phase::service) return std::nullopt;
  answered(101);
  released_connection result{client_socket{context()}, exchange_->head_text_,
    std::string{in_.view()}, std::move(slot_), std::string{core_.date()}};
  detach_exchange();
  os::unique_fd socket = socket_.release();
  close(close_reason::handed_on);
  error_code error;
  result.socket.assign({family(), 0}, socket.get(), error);
  if (error) return std::nullopt;
  (void)socket.release();
  result.socket.non_blocking(true, error);
  return result;
}

int connection::family() const {
  return client_address_ == "unix" || over_ == transport::tls ? AF_UNIX
         : client_address_.find(':') != std::string::npos     ? AF_INET6
                                                              : AF_INET;
}

void connection::move_to(io_thread& other) {
  if (phase_ != phase::service || sending_) return;
  const std::string head_text = exchange_->head_text_;
  detach_exchange();
  server* target = other.index() < core_.peers.size() ? core_.peers[other.index()] : nullptr;
  if (target == nullptr) {
    close(close_reason::ordered);
    return;
  }
  // What the client sends meanwhile is read there; a read that is under way here has nothing yet.
  hand_to(other, *target,
    {socket_.release(), client_address_, over_, head_text + std::string{in_.view()}});
  close(close_reason::handed_on);
}

void connection::exchange_dropped(bool answered) {
  exchange_ = nullptr;
  if (answered || closed()) return;
  if (phase_ == phase::streaming) {
    // Nobody is left to end it: the client sees that it is cut.
    close(close_reason::finished);
  } else {
    respond(problem(errc::internal, "The service has no answer to this request."));
  }
}

// --- The exchange ---

service_exchange::service_exchange(connection& from, std::string head_text, request_head head,
  std::optional<preview_target> target, std::shared_ptr<const auth::grant> grant)
    : connection_{&from},
      thread_{from.core().thread},
      client_address_{from.client_address()},
      scheme_{from.scheme_of(head)},
      head_text_{std::move(head_text)},
      head_{std::move(head)},
      target_{std::move(target)},
      grant_{std::move(grant)} {}

service_exchange::~service_exchange() {
  if (connection_ != nullptr)
    connection_->exchange_dropped(
      progress_ == progress::answered || progress_ == progress::finished);
}

void service_exchange::read_body(std::size_t limit, std::function<void(std::string)> done) {
  if (connection_ != nullptr && progress_ == progress::open)
    connection_->read_body(limit, std::move(done));
}

void service_exchange::respond(response answer) {
  if (connection_ == nullptr || progress_ != progress::open) return;
  progress_ = progress::answered;
  connection_->respond(std::move(answer));
}

void service_exchange::start_stream(response head) {
  if (connection_ == nullptr || progress_ != progress::open) return;
  progress_ = progress::streaming;
  connection_->start_stream(std::move(head));
}

bool service_exchange::write(std::shared_ptr<const std::string> bytes, std::size_t limit) {
  if (connection_ == nullptr || progress_ != progress::streaming) return false;
  return connection_->write(std::move(bytes), limit);
}

void service_exchange::finish() {
  if (connection_ == nullptr || progress_ != progress::streaming) return;
  progress_ = progress::finished;
  connection_->finish_stream();
}

void service_exchange::on_gone(std::function<void()> gone) {
  gone_ = std::move(gone);
  if (connection_ != nullptr && gone_) connection_->watch_for_end();
}

std::optional<released_connection> service_exchange::release() {
  if (connection_ == nullptr || progress_ != progress::open) return std::nullopt;
  progress_ = progress::answered;
  return connection_->release();
}

void service_exchange::move_to(io_thread& other) {
  if (connection_ == nullptr || progress_ != progress::open) return;
  progress_ = progress::answered;
  connection_->move_to(other);
}

}  // namespace previewd::net::http
