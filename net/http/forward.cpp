#include "previewd/net/http/forward.hpp"

#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/local/stream_protocol.hpp>
#include <boost/asio/write.hpp>
#include <charconv>
#include <optional>
#include <utility>

#include "previewd/messages/workspace.hpp"
#include "previewd/net/auth/encoding.hpp"
#include "previewd/os/result.hpp"
#include "previewd/support/log.hpp"

namespace previewd::net::http {

namespace {

constexpr std::size_t most_head = 32 * 1024;
constexpr std::size_t most_body = 16 * 1024;
constexpr std::chrono::seconds longest_grant{30 * 24 * 3600};

using stream = asio::generic::stream_protocol;

stream::endpoint endpoint_of(const forward_address& address) {
  if (address.host.empty()) return asio::local::stream_protocol::endpoint{address.path};
  return asio::ip::tcp::endpoint{asio::ip::make_address(address.host), address.port};
}

// By hand, since Asio's own way lets the processes of a terminal inherit it.
error_code open_stream(stream_socket& socket, int family) {
  const int descriptor = ::socket(family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  if (descriptor < 0) return os::last_error();
  error_code error;
  socket.assign(stream{family, 0}, descriptor, error);
  if (error) ::close(descriptor);
  return error;
}

// The only value of a field. Nothing: there is none; an empty text: there are several.
std::optional<std::string_view> only(const answer_head& head, std::string_view name) {
  std::optional<std::string_view> found;
  for (const field& each : head.fields) {
    if (!equal_no_case(each.name, name)) continue;
    if (found) return std::string_view{};
    found = trimmed(each.value);
  }
  return found;
}

bool is_name_or_any(std::string_view text) {
  return text == auth::any_name || valid_name(text);
}

void add(std::string& out, std::string_view name, std::string_view value) {
  if (!value.empty()) out.append(name).append(": ").append(value).append("\r\n");
}

void add_part(std::string& out, std::string_view part) {
  // With its length before it: no two lists of parts have the same text.
  out.append(std::to_string(part.size())).append(":").append(part);
}

bool is_credential(std::string_view name) noexcept {
  return equal_no_case(name, "cookie") || equal_no_case(name, "authorization");
}

}  // namespace

forward_verdict read_verdict(const answer_head& head, std::string body,
  std::chrono::system_clock::time_point now, std::chrono::seconds lifetime) {
  forward_verdict result;
  if (head.status >= 200 && head.status < 300) {
    const auto project = only(head, "previewd-project");
    const auto user = only(head, "previewd-user");
    const auto role = only(head, "previewd-role");
    const auto expires = only(head, "previewd-expires-in");
    // A yes that does not say to whom may be anybody's page.
    if (!project || !user || !is_name_or_any(*project) || !is_name_or_any(*user)) return result;
    if (role && *role != "view" && *role != "edit") return result;
    uint32_t seconds = 0;
    if (expires) {
      const auto read =
        std::from_chars(expires->data(), expires->data() + expires->size(), seconds);
      if (expires->empty() || read.ec != std::errc{} ||
          read.ptr != expires->data() + expires->size())
        return result;
      lifetime = std::min<std::chrono::seconds>(std::chrono::seconds{seconds}, longest_grant);
    }
    auth::grant who;
    who.project = std::string{*project};
    who.user = std::string{*user};
    who.may = role == "edit" ? auth::role::edit : auth::role::view;
    who.expires = now + lifetime;
    result.what = forward_verdict::kind::granted;
    result.who = std::make_shared<const auth::grant>(std::move(who));
    return result;
  }
  const std::string_view location = find_field(head.fields, "location");
  const bool leads_on =
    (head.status == 302 || head.status == 303 || head.status == 307) && !location.empty();
  if (head.status != 401 && head.status != 403 && !leads_on) return result;
  result.what = forward_verdict::kind::refused;
  result.status = head.status;
  if (leads_on) result.location = std::string{location};
  result.challenge = std::string{find_field(head.fields, "www-authenticate")};
  result.content_type = std::string{find_field(head.fields, "content-type")};
  result.body = std::move(body);
  return result;
}

std::string write_question(const forward_address& address, const forward_question& question) {
  const request_head& head = question.head;
  std::string out = "GET " + address.target + " HTTP/1.1\r\nHost: ";
  if (address.host.empty()) {
    out += "localhost";
  } else {
    const bool v6 = address.host.find(':') != std::string::npos;
    out.append(v6 ? "[" : "").append(address.host).append(v6 ? "]" : "");
    if (address.port != 80) out.append(":").append(std::to_string(address.port));
  }
  out += "\r\nConnection: close\r\n";
  add(out, "X-Forwarded-Method", head.method);
  add(out, "X-Forwarded-Proto", question.scheme);
  add(out, "X-Forwarded-Host", head.host);
  std::string uri{head.path};
  if (head.query.data() != nullptr) uri.append("?").append(head.query);
  add(out, "X-Forwarded-Uri", uri);
  std::string from{question.forwarded_for};
  if (question.client_address != "unix")
    from.append(from.empty() ? "" : ", ").append(question.client_address);
  add(out, "X-Forwarded-For", from);
  add(out, "Previewd-Workspace", question.workspace);
  for (const field& each : head.fields) {
    if (is_credential(each.name) || equal_no_case(each.name, "origin") ||
        equal_no_case(each.name, "user-agent") || equal_no_case(each.name, "accept") ||
        equal_no_case(each.name, "accept-language"))
      add(out, each.name, each.value);
  }
  return out += "\r\n";
}

/// Somebody who waits without being a connection, until he is told.
class forward_desk::caller final : public forward_waiter {
public:
  caller(forward_desk& desk, std::function<void(const forward_verdict&)> done)
      : desk_{desk}, done_{std::move(done)} {}

  void judged(const forward_verdict& verdict) override {
    const auto done = std::move(done_);
    // Destroys *this.
    desk_.callers_.remove_if([this](const auto& each) { return each.get() == this; });
    done(verdict);
  }

private:
  forward_desk& desk_;
  std::function<void(const forward_verdict&)> done_;
};

forward_desk::forward_desk(live_table& table, forward_settings settings)
    : table_{table}, settings_{std::move(settings)} {
  if (settings_.secret.empty()) settings_.secret = auth::random_bytes(32);
}

forward_desk::~forward_desk() = default;

std::string forward_desk::key_of(const forward_question& question) const {
  std::string text;
  add_part(text, question.workspace);
  add_part(text, question.client_address);
  add_part(text, question.forwarded_for);
  add_part(text, question.scheme);
  std::string host{question.head.host};
  std::transform(host.begin(), host.end(), host.begin(),
    [](char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c; });
  add_part(text, host);
  add_part(text, question.head["origin"]);
  // The application may lead a page somewhere else, and refuse a script.
  add_part(text, is_navigation(question.head) ? "page" : "");
  for (const field& each : question.head.fields) {
    if (!is_credential(each.name)) continue;
    add_part(text, equal_no_case(each.name, "cookie") ? "c" : "a");
    add_part(text, each.value);
  }
  return std::string{auth::view_of(auth::hmac_sha256(settings_.secret, text))};
}

forward_desk::verdict_ptr forward_desk::recall(const std::string& key) {
  const auto found = known_.find(key);
  if (found == known_.end()) return nullptr;
  if (steady_clock::now() < found->second->until && !found->second->verdict->who->is_over())
    return found->second->verdict;
  memories_.erase(found->second);
  known_.erase(found);
  return nullptr;
}

void forward_desk::remember(const std::string& key, verdict_ptr verdict) {
  if (settings_.cache.count() == 0) return;
  forward_memory what{key, steady_clock::now() + settings_.cache, std::move(verdict)};
  if (others_) others_(what);
  learn(std::move(what));
}

void forward_desk::learn(forward_memory what) {
  if (settings_.remembered == 0) return;
  const auto found = known_.find(what.key);
  if (found != known_.end()) {
    // Both have asked, and this one lately.
    if (found->second->until >= what.until) return;
    memories_.erase(found->second);
    known_.erase(found);
  }
  if (memories_.size() >= settings_.remembered) {
    known_.erase(memories_.front().key);
    memories_.pop_front();
  }
  memories_.push_back(std::move(what));
  known_.emplace(memories_.back().key, std::prev(memories_.end()));
}

forward_desk::verdict_ptr forward_desk::ask(const forward_question& question, forward_waiter& who) {
  std::string key = key_of(question);
  if (auto known = recall(key)) return known;
  auto under_way = asks_.find(key);
  if (under_way == asks_.end()) {
    if (asks_.size() >= settings_.asks) return std::make_shared<const forward_verdict>();
    auto& made = table_.add(std::make_unique<forward_ask>(
      table_, *this, key, write_question(settings_.address, question)));
    under_way = asks_.emplace(std::move(key), &made).first;
    made.start();
  }
  under_way->second->waiters_.push_back(&who);
  return nullptr;
}

void forward_desk::ask(
  const forward_question& question, std::function<void(const forward_verdict& verdict)> done) {
  caller& who = *callers_.emplace_back(std::make_unique<caller>(*this, std::move(done)));
  if (const auto verdict = ask(question, who)) who.judged(*verdict);
}

void forward_desk::leave(forward_waiter& who) {
  for (auto& [key, ask] : asks_) std::erase(ask->waiters_, &who);
  if (departing_ != nullptr) std::erase(departing_->waiters_, &who);
}

void forward_desk::concluded(forward_ask& ask, forward_verdict verdict) {
  asks_.erase(ask.key_);
  if (verdict.what == forward_verdict::kind::unavailable) {
    if (!std::exchange(failing_, true))
      log::warn("auth_unavailable",
        "The application does not say who may (auth.forward_url); requests are answered 503.");
  } else {
    failing_ = false;
  }
  const auto shared = std::make_shared<const forward_verdict>(std::move(verdict));
  if (shared->what == forward_verdict::kind::granted) remember(ask.key_, shared);
  // Each is out of the list before it is told: it may leave, or take others along.
  departing_ = &ask;
  while (!ask.waiters_.empty()) {
    forward_waiter* next = ask.waiters_.back();
    ask.waiters_.pop_back();
    next->judged(*shared);
  }
  departing_ = nullptr;
}

void forward_desk::gone(forward_ask& ask) {
  const auto found = asks_.find(ask.key_);
  if (found != asks_.end() && found->second == &ask) asks_.erase(found);
}

forward_ask::forward_ask(
  live_table& table, forward_desk& desk, std::string key, std::string request)
    : timed_object{table},
      desk_{desk},
      key_{std::move(key)},
      request_{std::move(request)},
      socket_{context()} {}

void forward_ask::start() {
  set_deadline(desk_.settings_.timeout);
  const stream::endpoint where = endpoint_of(desk_.settings_.address);
  if (open_stream(socket_, where.protocol().family())) {
    // Never from within `ask`.
    asio::post(context(), [next = counted([this](const error_code&, std::size_t) {
      conclude({});
    })]() mutable { next(error_code{}); });
    return;
  }
  socket_.async_connect(where, counted([this](const error_code& error, std::size_t) {
    if (error) {
      conclude({});
      return;
    }
    asio::async_write(socket_, asio::buffer(request_), counted([](const error_code&, std::size_t) {
      // What became of it the answer says.
    }));
    receive();
  }));
}

void forward_ask::receive() {
  socket_.async_read_some(in_.prepare(4096, most_head + most_body),
    counted([this](const error_code& error, std::size_t count) {
      in_.commit(count);
      received(error);
    }));
}

void forward_ask::received(const error_code& error) {
  if (!head_read_) {
    const auto progress = scanner_.scan(in_.view(), most_head);
    if (progress == head_scanner::progress::incomplete && !error) {
      receive();
      return;
    }
    if (progress != head_scanner::progress::complete) {
      conclude({});
      return;
    }
    head_text_.assign(in_.view().substr(0, scanner_.end()));
    in_.consume(scanner_.end());
    if (!read_answer_head(head_text_, head_) || head_.status == 101) {
      conclude({});
      return;
    }
    if (head_.status < 200) {
      scanner_.reset();
      received(error);
      return;
    }
    head_read_ = true;
    if (head_.status < 300) {
      conclude(read_verdict(head_, {}, std::chrono::system_clock::now(), desk_.settings_.lifetime));
      return;
    }
    body_.begin(head_);
  }
  in_.consume(body_.feed(in_.view(), &content_));
  if (error == asio::error::eof) body_.end_of_stream();
  if (body_.malformed() || content_.size() > most_body) {
    conclude({});
  } else if (body_.complete()) {
    conclude(read_verdict(
      head_, std::move(content_), std::chrono::system_clock::now(), desk_.settings_.lifetime));
  } else if (error) {
    conclude({});
  } else {
    receive();
  }
}

void forward_ask::deadline_passed() {
  conclude({});
}

void forward_ask::conclude(forward_verdict verdict) {
  if (closed()) return;
  close(close_reason::finished);
  desk_.concluded(*this, std::move(verdict));
}

void forward_ask::closing() {
  stop_timer();
  error_code ignored;  // a socket that fails to close is closed all the same
  socket_.close(ignored);
  desk_.gone(*this);
}

}  // namespace previewd::net::http
