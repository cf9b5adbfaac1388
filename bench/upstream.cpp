#include "upstream.hpp"

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/epoll.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <csignal>
#include <cstring>
#include <iostream>
#include <memory>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

#include "event_loop.hpp"

namespace previewd::bench {

namespace {

constexpr std::size_t most_received = 64 * 1024;

class session;

/// What all connections share: the answers, and themselves.
struct shared {
  event_loop loop;
  // The page, for a connection that goes on and for one that ends (RFC 9112, section 9.6).
  std::string kept;
  std::string last;
  std::string zeros = std::string(256 * 1024, '\0');
  std::unordered_map<session*, std::unique_ptr<session>> sessions;
  std::vector<std::unique_ptr<session>> ended;  // until nobody can have an event for them
};

/// One connection. The clients are ours: heads and frames are as the load generator and proxies
/// write them.
class session final : public watcher {
public:
  session(shared& all, int socket) : all_{all}, socket_{socket} {
    const int yes = 1;
    ::setsockopt(socket, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof yes);
  }
  ~session() { ::close(socket_); }

  void ready(uint32_t events) override {
    if (over_) return;
    if ((events & EPOLLOUT) != 0) flush();
    while (!over_ && unsent() == 0) {
      const bool discards = body_left_ != 0;
      auto& scratch = all_.loop.scratch();
      const std::size_t room =
        discards ? static_cast<std::size_t>(std::min<uint64_t>(body_left_, most_discarded_at_once))
                 : scratch.size();
      const ssize_t n =
        discards ? discard(socket_, room) : ::recv(socket_, scratch.data(), room, 0);
      if (n < 0 && errno == EAGAIN) return;
      if (n <= 0) {
        end();
        return;
      }
      if (discards) {
        body_left_ -= static_cast<uint64_t>(n);
        if (body_left_ == 0) answer_upload();
      } else {
        received_.append(scratch.data(), static_cast<std::size_t>(n));
        understand();
      }
      const bool ended = (events & (EPOLLRDHUP | EPOLLHUP | EPOLLERR)) != 0;
      if (static_cast<std::size_t>(n) < room && !ended) return;
    }
  }

private:
  uint64_t unsent() const noexcept { return out_.size() + zeros_left_; }

  void understand() {
    while (!over_ && unsent() == 0 && body_left_ == 0 && !received_.empty())
      if (!(upgraded_ ? understand_frame() : understand_request())) break;
    if (received_.size() > most_received) end();
  }

  // False: it has not come whole.
  bool understand_request() {
    const std::size_t end_of_head = received_.find("\r\n\r\n");
    if (end_of_head == std::string::npos) return false;
    const std::string_view head{received_.data(), end_of_head + 2};
    closes_ = head.find("onnection: close\r\n") != std::string_view::npos;
    // Names may be sent on in another case: the value is what all proxies keep.
    upgraded_ = head.find(": websocket\r\n") != std::string_view::npos;
    if (upgraded_) {
      // The answer to the one key that the load generator sends (RFC 6455, section 1.3).
      send(
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        "Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n");
    } else if (head.compare(0, 4, "GET ") != 0) {
      for (const std::string_view name : {"Content-Length: ", "content-length: "}) {
        const std::size_t at = head.find(name);
        if (at != std::string_view::npos)
          std::from_chars(head.data() + at + name.size(), head.data() + head.size(), body_left_);
      }
    } else if (head.compare(4, 7, "/bytes/") == 0) {
      uint64_t size = 0;
      std::from_chars(head.data() + 11, head.data() + head.size(), size);
      zeros_left_ = size;
      send("HTTP/1.1 200 OK\r\nContent-Type: application/octet-stream\r\nContent-Length: " +
           std::to_string(size) + "\r\n\r\n");
    } else {
      send(closes_ ? all_.last : all_.kept);
    }
    const bool is_upload = body_left_ != 0;
    const std::size_t begun =
      static_cast<std::size_t>(std::min<uint64_t>(body_left_, received_.size() - end_of_head - 4));
    body_left_ -= begun;
    received_.erase(0, end_of_head + 4 + begun);
    if (is_upload && body_left_ == 0) answer_upload();
    return true;
  }

  void answer_upload() {
    send("HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 3\r\n\r\nok\n");
  }

  bool understand_frame() {
    if (received_.size() < 4) return false;
    const auto byte = [this](std::size_t at) { return static_cast<unsigned char>(received_[at]); };
    std::size_t length = byte(1) & 0x7f;
    std::size_t head = 2;
    if (length == 126) {
      length = static_cast<std::size_t>(byte(2) << 8 | byte(3));
      head = 4;
    }
    if (length > 4096) {
      end();
      return false;
    }
    if (received_.size() < head + 4 + length) return false;
    const bool close = (byte(0) & 0x0f) == 8;
    std::string frame{received_[0]};
    frame += static_cast<char>(byte(1) & 0x7f);
    if (head == 4) frame.append(received_, 2, 2);
    for (std::size_t i = 0; i < length; ++i)
      frame += static_cast<char>(received_[head + 4 + i] ^ received_[head + i % 4]);
    received_.erase(0, head + 4 + length);
    closes_ = close;
    send(std::move(frame));
    return true;
  }

  void send(std::string bytes) {
    out_ = std::move(bytes);
    flush();
  }

  void flush() {
    while (unsent() != 0) {
      const bool zeros = out_.empty();
      const std::string_view bytes =
        zeros ? std::string_view{all_.zeros}.substr(
                  0, static_cast<std::size_t>(std::min<uint64_t>(zeros_left_, all_.zeros.size())))
              : std::string_view{out_};
      const ssize_t n = ::send(socket_, bytes.data(), bytes.size(),
        MSG_NOSIGNAL | (!zeros && zeros_left_ != 0 ? MSG_MORE : 0));
      if (n < 0) {
        if (errno != EAGAIN) end();
        return;
      }
      if (zeros) {
        zeros_left_ -= static_cast<uint64_t>(n);
      } else {
        out_.erase(0, static_cast<std::size_t>(n));
      }
    }
    if (out_.capacity() > 512) std::string{}.swap(out_);
    if (closes_) end();
  }

  void end() {
    if (std::exchange(over_, true)) return;
    const auto self = all_.sessions.find(this);
    all_.ended.push_back(std::move(self->second));
    all_.sessions.erase(self);
    all_.loop.stop();
  }

  shared& all_;
  int socket_;
  bool over_ = false;
  bool upgraded_ = false;
  bool closes_ = false;
  uint64_t body_left_ = 0;
  uint64_t zeros_left_ = 0;
  std::string received_;
  std::string out_;
};

class listener final : public watcher {
public:
  listener(shared& all, int socket) : all_{all}, socket_{socket} {}

  void ready(uint32_t) override {
    for (;;) {
      const int client = ::accept4(socket_, nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC);
      if (client < 0) return;
      auto made = std::make_unique<session>(all_, client);
      session& added = *made;
      all_.sessions.emplace(&added, std::move(made));
      all_.loop.watch(client, added);
    }
  }

private:
  shared& all_;
  int socket_;
};

class signals final : public watcher {
public:
  signals(event_loop& loop, bool& seen) : loop_{loop}, seen_{seen} {}
  void ready(uint32_t) override {
    seen_ = true;
    loop_.stop();
  }

private:
  event_loop& loop_;
  bool& seen_;
};

int failed(const char* what) {
  std::cerr << "the server cannot be started: " << what << ": " << std::strerror(errno) << '\n';
  return 1;
}

}  // namespace

int run_upstream(const upstream_settings& settings) {
  shared all;
  std::string body = "<!doctype html><title>bench</title><p>";
  body.resize(settings.body_bytes, 'x');
  const std::string fields =
    "HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: " + std::to_string(body.size()) +
    "\r\n";
  all.kept = fields + "\r\n" + body;
  all.last = fields + "Connection: close\r\n\r\n" + body;

  const int socket = ::socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  if (socket < 0) return failed("socket");
  const int yes = 1;
  ::setsockopt(socket, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes);
  sockaddr_in address{};
  socklen_t size = sizeof address;
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  address.sin_port = htons(settings.port);
  auto* where = reinterpret_cast<sockaddr*>(&address);
  if (::bind(socket, where, size) != 0) return failed("bind");
  if (::listen(socket, 4096) != 0) return failed("listen");
  ::getsockname(socket, where, &size);

  sigset_t ends;
  ::sigemptyset(&ends);
  for (const int signal : {SIGTERM, SIGINT, SIGHUP}) ::sigaddset(&ends, signal);
  ::sigprocmask(SIG_BLOCK, &ends, nullptr);
  const int told = ::signalfd(-1, &ends, SFD_NONBLOCK | SFD_CLOEXEC);
  if (told < 0) return failed("signalfd");

  bool over = false;
  listener accepting{all, socket};
  signals ending{all.loop, over};
  if (!all.loop.watch(socket, accepting) || !all.loop.watch(told, ending))
    return failed("epoll_ctl");
  std::cout << "  Local: http://127.0.0.1:" << ntohs(address.sin_port) << "/" << std::endl;
  while (!over) {
    // Ends early when a connection has, and then no event of it is left.
    all.loop.run_until(clock::now() + std::chrono::milliseconds{500});
    all.ended.clear();
  }
  ::close(told);
  ::close(socket);
  return 0;
}

}  // namespace previewd::bench
