#include "load.hpp"

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cctype>
#include <cerrno>
#include <charconv>
#include <cstring>
#include <memory>
#include <string_view>
#include <utility>
#include <vector>

#include "event_loop.hpp"

namespace previewd::bench {

namespace {

/// Latencies that are kept; a run that has more measures its percentiles on the first ones.
constexpr std::size_t most_samples = 4'000'000;
/// Failures in a row after which a client gives up: a target that is gone must not be hammered.
constexpr uint32_t most_failures = 20;
constexpr std::size_t most_head = 64 * 1024;
/// WebSockets that are being opened at once: no more than the queues of listening sockets take.
constexpr uint32_t most_opening = 64;
constexpr std::chrono::milliseconds progress_period{200};

bool stays_open(load_kind kind) {
  return kind == load_kind::echo || kind == load_kind::idle || kind == load_kind::stop;
}

bool is_websocket(load_kind kind) {
  return kind == load_kind::websocket_churn || stays_open(kind);
}

bool equals_in_any_case(std::string_view a, std::string_view b) {
  return a.size() == b.size() && std::equal(a.begin(), a.end(), b.begin(), [](char x, char y) {
    return std::tolower(static_cast<unsigned char>(x)) ==
           std::tolower(static_cast<unsigned char>(y));
  });
}

/// The value of a field in the head of an answer.
std::optional<std::string_view> field_of(std::string_view head, std::string_view name) {
  for (std::size_t at = head.find("\r\n"); at != std::string_view::npos && at + 2 < head.size();) {
    const std::size_t end = head.find("\r\n", at + 2);
    const std::string_view line = head.substr(at + 2, end - at - 2);
    const std::size_t colon = line.find(':');
    if (colon != std::string_view::npos && equals_in_any_case(line.substr(0, colon), name)) {
      std::string_view value = line.substr(colon + 1);
      while (!value.empty() && value.front() == ' ') value.remove_prefix(1);
      return value;
    }
    at = end;
  }
  return std::nullopt;
}

/// A frame around `payload`. The client's is masked with mask 0 (RFC 6455, section 5.2).
std::string frame_of(std::string_view payload, bool from_client) {
  std::string frame{'\x82'};
  const char mask_bit = from_client ? '\x80' : '\0';
  const std::size_t size = payload.size();
  if (size < 126) {
    frame += static_cast<char>(static_cast<char>(size) | mask_bit);
  } else {
    frame += static_cast<char>('\x7e' | mask_bit);
    frame += static_cast<char>(size >> 8);
    frame += static_cast<char>(size & 0xff);
  }
  if (from_client) frame.append(4, '\0');
  return frame.append(payload);
}

std::string request_of(const load_settings& settings) {
  const std::string host =
    settings.host.empty() ? "127.0.0.1:" + std::to_string(settings.port) : settings.host;
  std::string request = settings.kind == load_kind::upload ? "POST " : "GET ";
  request += settings.path + " HTTP/1.1\r\nHost: " + host + "\r\nAccept: */*\r\n";
  if (settings.kind == load_kind::upload)
    request += "Content-Type: application/octet-stream\r\nContent-Length: " +
               std::to_string(settings.bytes) + "\r\n";
  if (settings.kind == load_kind::churn) request += "Connection: close\r\n";
  if (is_websocket(settings.kind))
    request +=
      "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
      "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";
  return request + "\r\n";
}

uint32_t percentile(std::vector<uint32_t>& values, std::size_t percent) {
  if (values.empty()) return 0;
  const auto at = values.begin() + static_cast<std::ptrdiff_t>((values.size() - 1) * percent / 100);
  std::nth_element(values.begin(), at, values.end());
  return *at;
}

/// What all clients of a run share.
struct run_state {
  explicit run_state(const load_settings& with) : settings{with}, request{request_of(with)} {
    const std::string message(with.message_bytes, 'm');
    sent_frame = frame_of(message, true);
    echoed_frame = frame_of(message, false);
    if (with.kind == load_kind::upload) body.assign(256 * 1024, 'u');
  }

  void sample(clock::time_point since, clock::time_point until) {
    const auto passed = std::chrono::duration_cast<std::chrono::microseconds>(until - since);
    if (latencies.size() < most_samples) latencies.push_back(static_cast<uint32_t>(passed.count()));
  }

  void failed(std::string what) {
    ++result.failed;
    if (result.first_error.empty()) result.first_error = std::move(what);
  }

  const load_settings& settings;
  event_loop loop;
  std::string request;
  std::string sent_frame;
  std::string echoed_frame;
  std::string body;  // of uploads, again and again
  load_result result;
  std::vector<uint32_t> latencies;
  bool measuring = false;
  bool over = false;
  // Of WebSockets that stay open.
  uint32_t opened = 0;
  uint32_t ended = 0;               // closed, or never opened
  clock::time_point killed{};       // when the server was, for `stop`
  std::function<void()> one_ended;  // an attempt to open one has come to its end
};

/// One client. Lives for the whole run.
class client final : public watcher {
public:
  client(run_state& run, uint32_t index) : run_{run}, index_{index} {}
  ~client() { close(); }

  void start() {
    if (run_.over || failures_ == most_failures) return;
    begun_ = progressed_ = run_.loop.now();
    if (socket_ >= 0) {
      send_request();
      return;
    }
    // Not the loop's time, which a connection that fails at once would not move.
    begun_ = clock::now();
    socket_ = ::socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (socket_ < 0) {
      fail(std::string{"socket: "} + std::strerror(errno));
      return;
    }
    const int yes = 1;
    ::setsockopt(socket_, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof yes);
    // Thousands of connections a second would run out of ports towards one target: each client has
    // a loopback address of its own, as far as they go.
    ::setsockopt(socket_, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &yes, sizeof yes);
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK + 1 + index_ % 200);
    // Without it the run only has fewer ports.
    static_cast<void>(::bind(socket_, reinterpret_cast<const sockaddr*>(&address), sizeof address));
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    address.sin_port = htons(run_.settings.port);
    state_ = state::connecting;
    if (::connect(socket_, reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0 &&
        errno != EINPROGRESS) {
      fail(std::string{"connect: "} + std::strerror(errno));
      return;
    }
    if (!run_.loop.watch(socket_, *this)) fail(std::string{"epoll_ctl: "} + std::strerror(errno));
  }

  /// Begins to exchange messages on a WebSocket that is open.
  void start_echo() {
    if (state_ != state::open) return;
    begun_ = progressed_ = run_.loop.now();
    send_message();
  }

  bool is_open() const noexcept { return state_ == state::open || state_ == state::echo; }
  clock::time_point progressed() const noexcept { return progressed_; }
  bool has_given_up() const noexcept { return failures_ == most_failures; }

  void ready(uint32_t events) override {
    if (socket_ < 0) return;
    if (state_ == state::connecting) {
      int error = 0;
      socklen_t size = sizeof error;
      ::getsockopt(socket_, SOL_SOCKET, SO_ERROR, &error, &size);
      if (error != 0) {
        fail(std::string{"connect: "} + std::strerror(error));
        return;
      }
      if ((events & EPOLLOUT) == 0) return;
      send_request();
      return;
    }
    if ((events & EPOLLOUT) != 0 && (!out_.empty() || upload_left_ != 0)) flush();
    ended_ = (events & (EPOLLRDHUP | EPOLLHUP | EPOLLERR)) != 0;
    if ((events & (EPOLLIN | EPOLLRDHUP | EPOLLHUP | EPOLLERR)) != 0) receive();
  }

private:
  enum class state : uint8_t { closed, connecting, head, body, open, echo, closing };

  void send_request() {
    state_ = state::head;
    out_ = run_.request;
    if (run_.settings.kind == load_kind::upload) upload_left_ = run_.settings.bytes;
    flush();
  }

  void send_message() {
    state_ = state::echo;
    out_ = run_.sent_frame;
    flush();
  }

  void flush() {
    while (!out_.empty() || upload_left_ != 0) {
      const bool is_body = out_.empty();
      const std::string_view bytes =
        is_body ? std::string_view{run_.body}.substr(
                    0, static_cast<std::size_t>(std::min<uint64_t>(upload_left_, run_.body.size())))
                : out_;
      const ssize_t n = ::send(socket_, bytes.data(), bytes.size(),
        MSG_NOSIGNAL | (!is_body && upload_left_ != 0 ? MSG_MORE : 0));
      if (n < 0) {
        // What the other side has said before it closed is read first.
        if (errno != EAGAIN && errno != EPIPE && errno != ECONNRESET)
          fail(std::string{"send: "} + std::strerror(errno));
        return;
      }
      if (is_body) {
        upload_left_ -= static_cast<uint64_t>(n);
        if (run_.measuring) run_.result.bytes += static_cast<uint64_t>(n);
        progressed_ = run_.loop.now();
      } else {
        out_.remove_prefix(static_cast<std::size_t>(n));
      }
    }
  }

  /// Reads until there is nothing more, or somebody else's turn has come.
  void receive() {
    auto& scratch = run_.loop.scratch();
    while (socket_ >= 0 && state_ != state::connecting) {
      const bool discards = state_ == state::body;
      const std::size_t room =
        discards ? static_cast<std::size_t>(std::min<uint64_t>(left_, most_discarded_at_once))
                 : scratch.size();
      const ssize_t n =
        discards ? discard(socket_, room) : ::recv(socket_, scratch.data(), room, 0);
      if (n < 0) {
        if (errno != EAGAIN) closed_by_peer(std::string{"recv: "} + std::strerror(errno));
        return;
      }
      if (n == 0) {
        closed_by_peer({});
        return;
      }
      progressed_ = run_.loop.now();
      const auto count = static_cast<std::size_t>(n);
      const int before = socket_;
      if (discards) {
        body_arrived(count);
      } else {
        arrived({scratch.data(), count});
      }
      // A short read has emptied the socket; the end of the connection makes one more worth it.
      if (socket_ != before || (count < room && !ended_)) return;
    }
  }

  void arrived(std::string_view bytes) {
    if (!received_.empty()) {
      received_.append(bytes);
      bytes = received_;
    }
    const std::size_t used = state_ == state::head   ? head_arrived(bytes)
                             : state_ == state::echo ? echo_arrived(bytes)
                                                     : unexpected();
    if (socket_ < 0 || used != 0) {
      received_.clear();
    } else if (received_.empty()) {
      received_.assign(bytes);
    }
  }

  std::size_t unexpected() {
    if (state_ == state::open) lost("bytes that nobody asked for");
    return 1;  // while closing, whatever comes
  }

  /// Bytes that were used: all, or none while the head is incomplete.
  std::size_t head_arrived(std::string_view bytes) {
    const std::size_t end = bytes.find("\r\n\r\n");
    if (end == std::string_view::npos) {
      if (bytes.size() > most_head) fail("the head of the answer is too large");
      return 0;
    }
    const std::string_view head = bytes.substr(0, end + 2);
    const std::string_view rest = bytes.substr(end + 4);
    const std::string_view status = head.substr(0, 12);
    if (is_websocket(run_.settings.kind)) {
      if (status != "HTTP/1.1 101") {
        fail("answered " + std::string{status});
      } else if (!rest.empty()) {
        fail("bytes that nobody asked for");
      } else {
        upgraded();
      }
      return 1;
    }
    if (status != "HTTP/1.1 200") {
      fail("answered " + std::string{status});
      return 1;
    }
    const auto length = field_of(head, "Content-Length");
    if (!length ||
        std::from_chars(length->data(), length->data() + length->size(), left_).ec != std::errc{}) {
      fail("an answer without Content-Length");
      return 1;
    }
    const auto connection = field_of(head, "Connection");
    closes_ = connection && equals_in_any_case(*connection, "close");
    state_ = state::body;
    if (rest.size() > left_) {
      fail("more than the answer");
    } else {
      body_arrived(rest.size());
    }
    return 1;
  }

  void body_arrived(std::size_t count) {
    left_ -= count;
    if (run_.measuring && run_.settings.kind != load_kind::upload) run_.result.bytes += count;
    if (left_ != 0) return;
    if (upload_left_ != 0 || !out_.empty()) {
      fail("answered before the request was sent");
      return;
    }
    if (run_.settings.kind == load_kind::churn || closes_) close();
    done();
    start();
  }

  void upgraded() {
    if (run_.settings.kind == load_kind::websocket_churn) {
      send_message();
      return;
    }
    state_ = state::open;
    ++run_.opened;
    run_.one_ended();
  }

  std::size_t echo_arrived(std::string_view bytes) {
    const std::string_view expected = run_.echoed_frame;
    if (bytes.size() < expected.size()) return 0;
    if (bytes != expected) {
      fail("not the echo");
      return 1;
    }
    if (run_.measuring) run_.result.bytes += run_.settings.message_bytes;
    if (run_.settings.kind == load_kind::websocket_churn) {
      // Until the server has closed, as RFC 6455, section 7.1.1 wants it.
      state_ = state::closing;
      out_ = std::string_view{"\x88\x82\0\0\0\0\x03\xe8", 8};
      flush();
      return 1;
    }
    done();
    begun_ = run_.loop.now();
    if (run_.over) {
      state_ = state::open;
    } else {
      send_message();
    }
    return 1;
  }

  void closed_by_peer(std::string error) {
    if (state_ == state::closing && error.empty()) {
      close();
      done();
      start();
    } else if (state_ == state::open || state_ == state::echo) {
      lost(error.empty() ? "a WebSocket was closed" : std::move(error));
    } else {
      fail(error.empty() ? "closed before the end of the answer" : std::move(error));
    }
  }

  /// A WebSocket that was open is no more.
  void lost(std::string why) {
    if (run_.settings.kind == load_kind::websocket_churn) {
      fail(std::move(why));
      return;
    }
    close();
    failures_ = most_failures;
    if (run_.over) return;
    ++run_.ended;
    if (run_.killed != clock::time_point{}) {
      run_.sample(run_.killed, clock::now());
      ++run_.result.completed;
      ++run_.result.total;
    } else {
      run_.failed(std::move(why));
    }
    if (run_.ended >= run_.settings.clients) run_.loop.stop();
  }

  void done() {
    failures_ = 0;
    ++run_.result.total;
    if (!run_.measuring) return;
    ++run_.result.completed;
    run_.sample(begun_, run_.loop.now());
  }

  void fail(std::string what) {
    close();
    if (run_.over) return;
    ++failures_;
    run_.failed(std::move(what));
    if (stays_open(run_.settings.kind)) {
      ++run_.ended;
      failures_ = most_failures;
      run_.one_ended();
      return;
    }
    start();
  }

  void close() {
    if (socket_ >= 0) ::close(std::exchange(socket_, -1));
    state_ = state::closed;
    received_.clear();
    out_ = {};
    upload_left_ = left_ = 0;
    ended_ = false;
  }

  run_state& run_;
  int socket_ = -1;
  uint32_t index_;
  uint32_t failures_ = 0;  // in a row
  state state_ = state::closed;
  bool ended_ = false;   // the other side has closed, as far as epoll knows
  bool closes_ = false;  // the answer is the connection's last
  std::string_view out_;
  uint64_t upload_left_ = 0;
  uint64_t left_ = 0;  // of the answer's body
  clock::time_point begun_;
  clock::time_point progressed_;
  std::string received_;  // the part of a head or a frame that has come so far
};

/// A whole run.
class load_run {
public:
  load_run(const load_settings& settings, const std::function<void(const load_progress&)>& progress)
      : settings_{settings}, progress_{progress}, run_{settings} {}

  load_result run() {
    load_result& result = run_.result;
    result.bytes_before = proportional_bytes(settings_.observed);
    for (uint32_t i = 0; i < settings_.clients; ++i)
      clients_.push_back(std::make_unique<client>(run_, i));
    if (stays_open(settings_.kind)) {
      open_all();
      if (settings_.kind == load_kind::echo)
        for (const auto& one : clients_) one->start_echo();
    } else {
      run_.one_ended = [] {};
      for (const auto& one : clients_) one->start();
    }
    go_on_for(settings_.warm_up);

    const auto processor = processor_seconds(settings_.observed);
    const auto begun = clock::now();
    if (settings_.kind == load_kind::stop) {
      kill_and_wait();
    } else {
      run_.measuring = true;
      go_on_for(settings_.duration);
    }
    const auto ended = clock::now();
    result.seconds = std::chrono::duration<double>(ended - begun).count();
    if (const auto after = processor_seconds(settings_.observed); after && processor)
      result.processor_seconds = *after - *processor;
    // Of `stop`, what is left when they have gone.
    result.bytes_with = proportional_bytes(settings_.observed);
    run_.over = true;
    count_the_silent(begun);
    if (settings_.kind == load_kind::idle) result.completed = result.total = open_now();
    result.p50 = percentile(run_.latencies, 50);
    result.p99 = percentile(run_.latencies, 99);
    result.max = percentile(run_.latencies, 100);
    return std::move(result);
  }

private:
  void say(double done) const {
    if (progress_) progress_({done, run_.result.completed, run_.result.failed});
  }

  uint64_t open_now() const {
    return static_cast<uint64_t>(std::count_if(
      clients_.begin(), clients_.end(), [](const auto& one) { return one->is_open(); }));
  }

  void open_all() {
    uint32_t next = 0;
    // Not from within a client's own handler: one after the other, as others come to their end.
    run_.one_ended = [this] { run_.loop.stop(); };
    const auto deadline = clock::now() + settings_.patience;
    while (run_.opened + run_.ended < settings_.clients && clock::now() < deadline) {
      while (next < settings_.clients && next - run_.opened - run_.ended < most_opening)
        clients_[next++]->start();
      if (run_.opened + run_.ended < settings_.clients)
        run_.loop.run_until(std::min(deadline, clock::now() + progress_period));
      say(static_cast<double>(run_.opened) / settings_.clients);
    }
    run_.one_ended = [] {};
    for (uint32_t i = run_.opened + run_.ended; i < settings_.clients; ++i)
      run_.failed("a WebSocket did not open in time");
  }

  void go_on_for(clock::duration duration) {
    const auto begun = clock::now();
    for (auto now = begun; now < begun + duration; now = clock::now()) {
      if (std::all_of(
            clients_.begin(), clients_.end(), [](const auto& one) { return one->has_given_up(); }))
        return;
      run_.loop.run_until(std::min(now + progress_period, begun + duration));
      if (run_.measuring)
        say(std::chrono::duration<double>(clock::now() - begun) /
            std::chrono::duration<double>(duration));
    }
  }

  void kill_and_wait() {
    run_.killed = clock::now();
    if (::kill(settings_.victim, SIGKILL) != 0) {
      run_.failed(std::string{"kill: "} + std::strerror(errno));
      return;
    }
    const auto deadline = run_.killed + settings_.patience;
    while (run_.ended < settings_.clients && clock::now() < deadline) {
      run_.loop.run_until(std::min(deadline, clock::now() + progress_period));
      say(static_cast<double>(run_.result.completed) / settings_.clients);
    }
    for (uint64_t left = open_now(); left != 0; --left)
      run_.failed("a WebSocket stayed open after its server's end");
  }

  void count_the_silent(clock::time_point measured_from) {
    if (settings_.kind == load_kind::idle || settings_.kind == load_kind::stop) return;
    // WebSockets that never opened are counted already.
    const bool only_open = stays_open(settings_.kind);
    for (const auto& one : clients_)
      if (!one->has_given_up() && (one->is_open() || !only_open) &&
          one->progressed() < measured_from)
        run_.failed("no answer");
  }

  const load_settings& settings_;
  const std::function<void(const load_progress&)>& progress_;
  run_state run_;
  std::vector<std::unique_ptr<client>> clients_;
};

}  // namespace

load_result
run_load(const load_settings& settings, const std::function<void(const load_progress&)>& progress) {
  return load_run{settings, progress}.run();
}

}  // namespace previewd::bench
