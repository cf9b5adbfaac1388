#include "previewd/net/http/look.hpp"

#include <algorithm>
#include <array>
#include <boost/asio/error.hpp>
#include <boost/asio/write.hpp>
#include <cerrno>
#include <utility>

#include "previewd/messages/workspace.hpp"
#include "previewd/os/result.hpp"

namespace previewd::net::http {

namespace {

constexpr std::chrono::milliseconds silence{500};
// Most further steps take less, and a word that is taken back would be acted upon meanwhile.
constexpr std::chrono::milliseconds early_word{50};
// What is no page is told by its head.
constexpr std::chrono::milliseconds body_pause{50};
// Any step but those whose answer may have to be compiled: the first, and the page under the base.
constexpr std::chrono::seconds most_of_step{2};
constexpr std::chrono::seconds most_of_base{10};
constexpr std::chrono::milliseconds shortage_pause{100};
constexpr std::size_t most_body = 64 * 1024;
constexpr std::size_t most_head = 64 * 1024;

// As deep as a base path, and below none: all of those begin with `/preview/`.
constexpr std::string_view decoy_path = "/preview-none/p/u";

bool has(std::string_view text, std::string_view part) {
  return text.find(part) != std::string_view::npos;
}

struct marker {
  std::string_view text;
  std::string_view type;
};

// Frameworks built on another one come first: they show its marks too.
constexpr std::array body_markers{
  marker{"__NUXT__", "nuxt"},
  marker{"/_nuxt/", "nuxt"},
  marker{"__NEXT_DATA__", "next"},
  marker{"/_next/", "next"},
  marker{"content=\"Astro v", "astro"},
  marker{"astro-island", "astro"},
  marker{"astro-dev-toolbar", "astro"},
  marker{"data-astro-source-file", "astro"},
  marker{"__sveltekit", "sveltekit"},
  marker{"__reactRouterContext", "react-router"},
  marker{"__remixContext", "remix"},
  marker{"id=\"___gatsby\"", "gatsby"},
  marker{"<app-root", "angular"},
  marker{"storybook-root", "storybook"},
  marker{"@vite/client", "vite"},
  marker{"static/js/bundle.js", "webpack"},
  marker{"chunk-vendors.js", "webpack"},
  marker{"webpack-dev-server", "webpack"},
};

struct field_marker {
  std::string_view name;
  std::string_view part;
  std::string_view type;
};

constexpr std::array field_markers{
  field_marker{"x-powered-by", "Next.js", "next"},
  field_marker{"x-powered-by", "Nuxt", "nuxt"},
  field_marker{"x-powered-by", "PHP", "php"},
  field_marker{"x-powered-by", "Express", "express"},
  field_marker{"server", "Werkzeug", "flask"},
  field_marker{"server", "WSGIServer", "django"},
  field_marker{"server", "uvicorn", "uvicorn"},
  field_marker{"server", "SimpleHTTP", "python"},
  field_marker{"server", "WEBrick", "webrick"},
};

// What speaks HTTP only to say that it does not: V8's inspector, and MongoDB.
constexpr std::array<std::string_view, 2> no_http{
  "WebSockets request was expected", "trying to access MongoDB over HTTP"};

// The first byte of an alert (RFC 8446, section 5.1), with which others say so.
constexpr char tls_alert = 0x15;

// Answered by servers of WebSockets alone (RFC 9110, section 15.5.22), as Vite's separate one for
// HMR.
constexpr unsigned upgrade_required = 426;

bool is_redirect(unsigned status) {
  return status >= 300 && status < 400 && status != 304;
}

bool is_good(unsigned status) {
  return status >= 200 && status < 300;
}

bool is_error(unsigned status) {
  return status >= 500;
}

bool has_media_type(const answer_head& head, std::string_view type) {
  return equal_no_case(find_field(head.fields, "content-type").substr(0, type.size()), type);
}

// `1.234567`: how long Rails took for the answer (Rack::Runtime).
bool is_seconds(std::string_view text) {
  const auto all_digits = [](std::string_view part) {
    return !part.empty() && part.find_first_not_of("0123456789") == std::string_view::npos;
  };
  const std::size_t point = std::min(text.find('.'), text.size());
  return all_digits(text.substr(0, point)) &&
         all_digits(text.substr(std::min(point + 1, text.size())));
}

// Whether a path is the base or below it. The base has no final slash.
bool is_below(std::string_view path, std::string_view base) {
  return path.substr(0, base.size()) == base &&
         (path.size() == base.size() || path[base.size()] == '/' || path[base.size()] == '?');
}

// The path of a Location on the same server; nothing for one that leads elsewhere.
std::string local_path(std::string_view location, const endpoint& target) {
  const std::size_t scheme_end = location.find("://");
  if (scheme_end != std::string_view::npos && scheme_end < 6) {
    std::string_view rest = location.substr(scheme_end + 3);
    const std::size_t slash = std::min(rest.find('/'), rest.size());
    if (!has(rest.substr(0, slash), ":" + std::to_string(target.port))) return {};
    location = rest.substr(slash);
  }
  if (location.empty() || location.front() != '/' || location.substr(0, 2) == "//") return {};
  // What a server says goes into a request: no more of it than a target may have.
  const auto bad = [](char c) { return static_cast<unsigned char>(c) <= 0x20 || c == 0x7f; };
  if (std::any_of(location.begin(), location.end(), bad)) return {};
  return std::string{location.substr(0, location.find('#'))};
}

}  // namespace

look_evidence evidence_in(const answer_head& head, std::string_view body) {
  look_evidence result;
  result.status = head.status;
  result.location = std::string{find_field(head.fields, "location")};
  result.html = has_media_type(head, "text/html");
  result.speaks_http = std::none_of(
    no_http.begin(), no_http.end(), [&](std::string_view said) { return has(body, said); });
  if (result.status == upgrade_required) {
    result.type = std::string{websockets_only};
    return result;
  }
  for (const marker& m : body_markers) {
    if (!has(body, m.text)) continue;
    result.type = std::string{m.type};
    return result;
  }
  for (const field_marker& m : field_markers) {
    if (!has(find_field(head.fields, m.name), m.part)) continue;
    result.type = std::string{m.type};
    return result;
  }
  if (is_seconds(find_field(head.fields, "x-runtime"))) result.type = "rails";
  return result;
}

look::look(live_table& table, tls_client& tls, endpoint target, const workspace_key& key,
  steady_clock::duration timeout, std::function<void(identity)> said, look_words words)
    : timed_object{table},
      target_{std::move(target)},
      base_{preview_path(key)},
      end_{steady_clock::now() + timeout},
      step_end_{end_},
      said_{std::move(said)},
      words_{words},
      tls_{tls},
      socket_{context()} {
  result_.scheme = target_.scheme;
}

void look::start() {
  ask(step::root, "/");
}

void look::closing() {
  stop_timer();
  said_ = nullptr;
  hold_.abort();
  error_code ignored;  // a socket that fails to close is closed all the same
  socket_.close(ignored);
}

void look::say(const identity& what) {
  if (said_) said_(what);
}

void look::deadline_passed() {
  const auto now = steady_clock::now();
  if (now >= early_) {
    early_ = steady_clock::time_point::max();
    result_.settled = false;
    say(result_);
    result_.settled = true;
  }
  if (now >= step_end_) step_overdue();
  if (!closed()) await_deadline();
}

void look::await_deadline() {
  set_deadline(std::min(step_end_, early_));
}

void look::bound_step() {
  // The first answer may take as long as the whole look; but TLS that is tried upon a 400 may be
  // none, and then says nothing for ever.
  const bool whole = step_ == step::root && (!plain_ || hands_shaken_);
  // Who has nothing to act upon yet does not wait for that.
  const bool is_base =
    words_ == look_words::early && (step_ == step::base || step_ == step::base_followed);
  const steady_clock::duration most = whole     ? steady_clock::duration{silence}
                                      : is_base ? most_of_base
                                                : most_of_step;
  step_end_ = whole && silence_said_ ? end_ : std::min(steady_clock::now() + most, end_);
  await_deadline();
}

void look::step_overdue() {
  const bool over = steady_clock::now() >= end_;
  if (postponed_ && !over) {
    ask(step_, std::string{path_});
    return;
  }
  if (head_read_) {
    // It answers, and does not come to an end: a body without a length.
    answered(evidence_in(head_, content_));
    return;
  }
  if (step_ != step::root || (plain_ && !hands_shaken_)) {
    failed(identity::verdict::silent);
    return;
  }
  if (!std::exchange(silence_said_, true)) {
    identity silent;
    silent.outcome = identity::verdict::silent;
    silent.scheme = target_.scheme;
    say(silent);
  }
  if (over) {
    close(close_reason::timed_out);
  } else {
    step_end_ = end_;
  }
}

void look::ask(step what, std::string path) {
  step_ = what;
  path_ = std::move(path);
  postponed_ = false;
  const uint64_t round = ++round_;
  error_code error;
  hold_.abort();
  socket_.close(error);
  scanner_.reset();
  head_read_ = false;
  content_.clear();
  in_.consume(in_.view().size());
  request_ = "GET " + path_ + " HTTP/1.1\r\nHost: localhost:" + std::to_string(target_.port) +
             "\r\nUser-Agent: previewd\r\nAccept: text/html,*/*;q=0.8\r\nConnection: close\r\n\r\n";

  const auto address = address_of(target_);
  bound_step();
  error = open_socket(socket_, address);
  if (is_our_shortage(error)) {
    postpone();
    return;
  }
  if (error) {
    failed(identity::verdict::refused);
    return;
  }
  socket_.async_connect(address, counted([this, round](const error_code& failure, std::size_t) {
    if (round != round_) return;
    if (is_our_shortage(failure)) {
      postpone();
    } else if (failure) {
      failed(identity::verdict::refused);
    } else {
      connected();
    }
  }));
}

// For want of something of ours, which says nothing of the server.
void look::postpone() {
  ++round_;
  postponed_ = true;
  step_end_ = std::min(steady_clock::now() + shortage_pause, end_);
  await_deadline();
}

void look::connected() {
  if (target_.scheme == scheme::http) {
    send_request();
    return;
  }
  tls_bridge::half made;
  error_code failure = tls_bridge::connect(table(), tls_.scratch, tls_.context, nullptr,
    std::move(socket_), made, [this, round = round_](const error_code& error) {
      if (round != round_) return;
      if (!error) {
        hands_shaken_ = true;
        if (plain_) bound_step();
        send_request();
      } else {
        const auto verdict = error == os::system_error(EPROTO) ? identity::verdict::not_http
                                                               : identity::verdict::closed;
        if (!try_other_scheme(verdict)) failed(verdict);
      }
    });
  hold_ = std::move(made.hold);
  socket_ = client_socket{context()};
  if (!failure) socket_.assign({AF_UNIX, 0}, made.socket.get(), failure);
  if (failure) {
    postpone();
    return;
  }
  (void)made.socket.release();
  socket_.non_blocking(true, failure);
}

void look::send_request() {
  asio::async_write(socket_, asio::buffer(request_), counted([](const error_code&, std::size_t) {
    // What became of it the answer says.
  }));
  receive();
}

bool look::try_other_scheme(identity::verdict verdict) {
  if (step_ != step::root || first_verdict_) return false;
  first_verdict_ = verdict;
  target_.scheme = target_.scheme == scheme::http ? scheme::https : scheme::http;
  ask(step::root, "/");
  return true;
}

void look::receive() {
  const auto room = in_.prepare(4096, most_head + most_body);
  socket_.async_read_some(
    room, counted([this, round = round_](const error_code& error, std::size_t count) {
      if (round != round_) return;
      in_.commit(count);
      received(error);
    }));
}

void look::received(const error_code& error) {
  if (!head_read_ && !read_head(error)) return;
  in_.consume(body_.feed(in_.view(), &content_));
  // The beginning tells; a page may also never end, and an event stream does not.
  const bool enough = content_.size() >= most_body || has_media_type(head_, "text/event-stream");
  if (!body_.complete() && !body_.malformed() && !error && !enough) {
    receive();
  } else {
    answered(evidence_in(head_, content_));
  }
}

// Returns whether it is there; what else is to be done has begun.
bool look::read_head(const error_code& error) {
  const auto progress = scanner_.scan(in_.view(), most_head);
  if (progress == head_scanner::progress::incomplete && !error) {
    receive();
    return false;
  }
  if (progress != head_scanner::progress::complete) {
    const auto verdict = in_.empty() ? identity::verdict::closed : identity::verdict::not_http;
    // Who speaks TLS closes without a word, or with one that is no HTTP.
    const bool may_be_tls =
      target_.scheme == scheme::http && (in_.empty() || in_.view().front() == tls_alert);
    if (!may_be_tls || !try_other_scheme(verdict)) failed(verdict);
    return false;
  }
  head_text_.assign(in_.view().substr(0, scanner_.end()));
  if (!read_answer_head(head_text_, head_)) {
    failed(identity::verdict::not_http);
    return false;
  }
  in_.consume(scanner_.end());
  if (head_.status < 200) {
    scanner_.reset();
    return read_head(error);
  }
  head_read_ = true;
  await_body();
  return true;
}

void look::await_body() {
  body_.begin(head_);
  const auto most = has_media_type(head_, "text/html") ? silence : body_pause;
  step_end_ = std::min(step_end_, steady_clock::now() + most);
  await_deadline();
}

void look::note(const look_evidence& seen) {
  result_.html = result_.html || seen.html;
  if (!seen.type.empty() && result_.type == "http") result_.type = seen.type;
}

// Some want the final slash, others do not: what counts is that there is a page in the end.
bool look::follow(const look_evidence& seen, std::string_view below, step next) {
  if (!is_redirect(seen.status)) return false;
  const std::string path = local_path(seen.location, target_);
  if (path.empty() || !is_below(path, below)) return false;
  ask(next, path);
  return true;
}

void look::answered(const look_evidence& seen) {
  switch (step_) {
    case step::root:
      root_answered(seen);
      return;
    case step::root_followed:
      note(seen);
      if (is_good(seen.status)) {
        // A page of its own elsewhere: it has not been told its base.
        conclude();
      } else {
        ask(step::base, base_ + "/");
      }
      return;
    case step::base:
      if (follow(seen, base_, step::base_followed)) return;
      [[fallthrough]];
    case step::base_followed:
      // Also an error is of the app, and may be one for now.
      if (is_good(seen.status) || is_error(seen.status)) under_base_ = seen;
      // Single-page apps are served everywhere. One that leads to the base itself knows it.
      if (under_base_ && !root_leads_to_base_) {
        ask(step::decoy, std::string{decoy_path} + "/");
      } else {
        conclude();
      }
      return;
    case step::decoy:
      if (follow(seen, decoy_path, step::decoy_followed)) return;
      [[fallthrough]];
    case step::decoy_followed:
      if (is_good(seen.status) || (is_error(seen.status) && is_error(under_base_->status)))
        under_base_.reset();
      conclude();
      return;
  }
}

void look::root_answered(const look_evidence& seen) {
  if (!seen.speaks_http) {
    failed(identity::verdict::not_http);
    return;
  }
  // So do HTTPS servers answer who speaks plainly, each in its own words.
  if (seen.status == 400 && target_.scheme == scheme::http && !first_verdict_) {
    plain_ = seen;
    try_other_scheme(identity::verdict::http);
    return;
  }
  plain_.reset();
  result_.scheme = target_.scheme;
  result_.outcome = identity::verdict::http;
  result_.status = static_cast<uint16_t>(seen.status);
  note(seen);
  if (is_good(seen.status) || is_error(seen.status)) {
    conclude();
    return;
  }
  if (words_ == look_words::early) early_ = steady_clock::now() + early_word;
  const std::string path =
    is_redirect(seen.status) ? local_path(seen.location, target_) : std::string{};
  root_leads_to_base_ = is_below(path, base_);
  if (!path.empty() && !root_leads_to_base_) {
    ask(step::root_followed, path);
  } else {
    ask(step::base, base_ + "/");
  }
}

void look::failed(identity::verdict verdict) {
  if (step_ != step::root) {
    // What it is has been seen; only the base path stays open.
    conclude();
  } else if (plain_) {
    target_.scheme = scheme::http;
    const look_evidence seen = *std::exchange(plain_, std::nullopt);
    root_answered(seen);
  } else {
    // If it understands neither scheme, the likelier one says what it is.
    result_.outcome = first_verdict_.value_or(verdict);
    conclude();
  }
}

void look::conclude() {
  if (closed()) return;
  // Who leads there knows its base, whatever is there for the moment.
  if (under_base_ || root_leads_to_base_) result_.prefix = prefix_mode::kept;
  if (under_base_) {
    result_.status = static_cast<uint16_t>(under_base_->status);
    note(*under_base_);
  }
  say(result_);
  close(close_reason::finished);
}

connect_probe::connect_probe(live_table& table, const endpoint& target,
  steady_clock::duration timeout, std::function<void(probe_outcome, uint64_t)> done)
    : timed_object{table},
      address_{address_of(target)},
      timeout_{timeout},
      done_{std::move(done)},
      socket_{context()} {}

void connect_probe::start() {
  begun_ = steady_clock::now();
  set_deadline(timeout_);
  if (open_socket(socket_, address_)) {
    // Our own lack of descriptors is nothing that the server can be blamed for.
    finish(probe_outcome::timed_out);
    return;
  }
  socket_.async_connect(address_, counted([this](const error_code& error, std::size_t) {
    if (!error) {
      finish(probe_outcome::alive);
    } else {
      // Our own lack of ports is nothing that the server can be blamed for.
      const bool unknown = error == asio::error::timed_out || is_our_shortage(error);
      finish(unknown ? probe_outcome::timed_out : probe_outcome::refused);
    }
  }));
}

void connect_probe::finish(probe_outcome outcome) {
  const auto took =
    std::chrono::duration_cast<std::chrono::microseconds>(steady_clock::now() - begun_);
  if (auto done = std::exchange(done_, nullptr)) done(outcome, static_cast<uint64_t>(took.count()));
  close(close_reason::finished);
}

void connect_probe::closing() {
  stop_timer();
  done_ = nullptr;
  error_code ignored;  // a socket that fails to close is closed all the same
  socket_.close(ignored);
}

}  // namespace previewd::net::http
