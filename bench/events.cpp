#include "events.hpp"

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <functional>
#include <iostream>
#include <memory>
#include <nlohmann/json.hpp>
#include <stdexcept>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "event_loop.hpp"
#include "process_cost.hpp"

namespace previewd::bench {

namespace {

using nlohmann::json;

constexpr std::string_view project = "bench";
/// For everybody to join, and for one event to reach everybody.
constexpr std::chrono::seconds patience{60};
constexpr std::size_t most_held = 1 << 20;
constexpr uint32_t most_joining = 64;

struct options {
  uint16_t port = 0;
  observed_process observed;
  uint32_t clients = 1000;
  uint32_t events = 100;
  uint32_t warm_up = 10;
};

sockaddr_in loopback(uint16_t port) {
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(port);
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  return address;
}

/// A masked text frame with mask 0 (RFC 6455, section 5.2) of at most 125 bytes.
std::string frame_of(std::string_view text) {
  std::string frame{'\x81', static_cast<char>(0x80 | text.size())};
  return frame.append(4, '\0').append(text);
}

/// A connection to the server that is read as far as it goes. Throws std::runtime_error.
class peer : public watcher {
public:
  peer(event_loop& loop, uint16_t port)
      : loop_{loop}, fd_{::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)} {
    const sockaddr_in to = loopback(port);
    const int one = 1;
    ::setsockopt(fd_, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    if (fd_ < 0 || ::connect(fd_, reinterpret_cast<const sockaddr*>(&to), sizeof to) != 0)
      throw std::runtime_error{std::string{"cannot connect: "} + std::strerror(errno)};
    if (!loop.watch(fd_, *this)) throw std::runtime_error{"cannot watch a connection"};
  }
  virtual ~peer() { ::close(fd_); }
  peer(const peer&) = delete;
  peer& operator=(const peer&) = delete;

  void ready(uint32_t) final {
    for (;;) {
      auto& buffer = loop_.scratch();
      const ssize_t count = ::recv(fd_, buffer.data(), buffer.size(), MSG_DONTWAIT);
      if (count < 0 && errno == EINTR) continue;
      if (count < 0 && (errno == EAGAIN || errno == EWOULDBLOCK)) return;
      if (count <= 0) throw std::runtime_error{"the server has closed a connection"};
      const std::string_view got{buffer.data(), static_cast<std::size_t>(count)};
      if (held_.empty()) {
        held_ = got.substr(take(got));
      } else {
        held_ += got;
        held_.erase(0, take(held_));
      }
      if (held_.size() > most_held) throw std::runtime_error{"an answer that has no end"};
      if (got.size() < buffer.size()) return;
    }
  }

protected:
  /// Handles what is whole; answers how much that was.
  virtual std::size_t take(std::string_view bytes) = 0;

  void write(std::string_view bytes) const {
    // A few hundred bytes at most, of which nothing waits: they fit.
    if (::send(fd_, bytes.data(), bytes.size(), MSG_NOSIGNAL) != static_cast<ssize_t>(bytes.size()))
      throw std::runtime_error{"the server takes nothing"};
  }

  event_loop& loop_;

private:
  int fd_;
  std::string held_;  // of what is not whole yet
};

/// What all clients of a run share.
struct room {
  uint32_t joined = 0;
  uint64_t told = 0;
  clock::time_point last;      // when the last of them was told
  std::function<void()> next;  // somebody has joined, or has been told
};

/// A Socket.IO client on a WebSocket from the beginning, in the project's room.
class member final : public peer {
public:
  member(event_loop& loop, uint16_t port, room& in) : peer{loop, port}, in_{in} {
    write("GET /socket.io/?EIO=4&transport=websocket HTTP/1.1\r\nHost: 127.0.0.1:" +
          std::to_string(port) +
          "\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
          "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n");
  }

private:
  std::size_t take(std::string_view bytes) override {
    std::size_t at = 0;
    if (!upgraded_) {
      const std::size_t end = bytes.find("\r\n\r\n");
      if (end == std::string_view::npos) return 0;
      if (bytes.substr(0, 12) != "HTTP/1.1 101")
        throw std::runtime_error{"refused: " + std::string{bytes.substr(0, 60)}};
      upgraded_ = true;
      at = end + 4;
    }
    while (bytes.size() - at >= 2) {
      const auto byte = [&](std::size_t place) {
        return static_cast<unsigned char>(bytes[at + place]);
      };
      std::size_t size = byte(1);
      std::size_t begin = 2;
      if (size >= 126) {
        begin = size == 126 ? 4 : 10;
        if (bytes.size() - at < begin) break;
        size = 0;
        for (std::size_t place = 2; place < begin; ++place) size = size << 8 | byte(place);
      }
      if (bytes.size() - at < begin + size) break;
      if ((byte(0) & 0x0f) == 8) throw std::runtime_error{"the server has closed a WebSocket"};
      on_packet(bytes.substr(at + begin, size));
      at += begin + size;
    }
    return at;
  }

  void on_packet(std::string_view packet) {
    if (packet == "2") return write(frame_of("3"));
    if (packet.substr(0, 1) == "0") return write(frame_of("40"));
    if (packet.substr(0, 2) == "40")
      return write(
        frame_of(R"(420["joinProject",{"projectId":")" + std::string{project} + R"("}])"));
    if (packet.substr(0, 3) == "430") {
      if (packet.find(R"("ok":true)") == std::string_view::npos)
        throw std::runtime_error{"nobody may join: " + std::string{packet.substr(0, 200)}};
      ++in_.joined;
      return in_.next();
    }
    if (packet.substr(0, 2) != "42")
      throw std::runtime_error{"an unexpected packet: " + std::string{packet.substr(0, 60)}};
    ++in_.told;
    in_.last = clock::now();
    in_.next();
  }

  room& in_;
  bool upgraded_ = false;
};

/// Registers and removes a server: the connection that is behind the events.
class registrar final : public peer {
public:
  registrar(event_loop& loop, uint16_t port, std::function<void()> answered)
      : peer{loop, port}, port_{port}, answered_{std::move(answered)} {}

  void order(const std::string& what, const std::string& body) {
    is_answered = false;
    write(what + " HTTP/1.1\r\nHost: 127.0.0.1:" + std::to_string(port_) +
          "\r\nContent-Type: application/json\r\nContent-Length: " + std::to_string(body.size()) +
          "\r\n\r\n" + body);
  }

  bool is_answered = false;
  std::string answer;

private:
  std::size_t take(std::string_view bytes) override {
    const std::size_t end = bytes.find("\r\n\r\n");
    if (end == std::string_view::npos) return 0;
    std::string head{bytes.substr(0, end)};
    std::transform(head.begin(), head.end(), head.begin(), [](unsigned char c) {
      return static_cast<char>(c >= 'A' && c <= 'Z' ? c + ('a' - 'A') : c);
    });
    if (head.substr(9, 1) != "2")
      throw std::runtime_error{"refused: " + std::string{bytes.substr(0, 400)}};
    const std::size_t field = head.find("\r\ncontent-length:");
    const std::size_t size = field == std::string::npos ? 0 : std::stoul(head.substr(field + 17));
    if (bytes.size() < end + 4 + size) return 0;
    answer = bytes.substr(end + 4, size);
    is_answered = true;
    answered_();
    return end + 4 + size;
  }

  uint16_t port_;
  std::function<void()> answered_;
};

/// A server that is there to be registered: whoever looks what it is gets a page.
class listening_server final : public watcher {
public:
  explicit listening_server(event_loop& loop)
      : loop_{loop}, fd_{::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0)} {
    sockaddr_in address = loopback(0);
    socklen_t size = sizeof address;
    if (fd_ < 0 || ::bind(fd_, reinterpret_cast<sockaddr*>(&address), sizeof address) != 0 ||
        ::listen(fd_, 64) != 0 ||
        ::getsockname(fd_, reinterpret_cast<sockaddr*>(&address), &size) != 0 ||
        !loop.watch(fd_, *this))
      throw std::runtime_error{std::string{"cannot listen: "} + std::strerror(errno)};
    port_ = ntohs(address.sin_port);
  }
  virtual ~listening_server() { ::close(fd_); }
  listening_server(const listening_server&) = delete;
  listening_server& operator=(const listening_server&) = delete;

  uint16_t port() const noexcept { return port_; }
  /// Forgets who has been answered. Not while the loop runs.
  void tidy() {
    std::erase_if(visitors_, [](const auto& each) { return each->fd < 0; });
  }

  void ready(uint32_t) override {
    for (;;) {
      const int fd = ::accept4(fd_, nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK);
      if (fd < 0) return;
      visitors_.push_back(std::make_unique<visitor>(fd));
      if (!loop_.watch(fd, *visitors_.back()))
        throw std::runtime_error{"cannot watch a connection"};
    }
  }

private:
  struct visitor final : watcher {
    explicit visitor(int f) : fd{f} {}
    virtual ~visitor() {
      if (fd >= 0) ::close(fd);
    }
    void ready(uint32_t) override {
      constexpr std::string_view answer =
        "HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: 3\r\n"
        "Connection: close\r\n\r\n<p>";
      std::array<char, 4096> request;
      if (fd < 0) return;
      const ssize_t count = ::recv(fd, request.data(), request.size(), MSG_DONTWAIT);
      if (count < 0) return;
      // What is not taken is a visitor's own loss.
      if (count > 0) ::send(fd, answer.data(), answer.size(), MSG_NOSIGNAL);
      ::close(std::exchange(fd, -1));
    }

    int fd;
  };

  event_loop& loop_;
  int fd_;
  uint16_t port_ = 0;
  std::vector<std::unique_ptr<visitor>> visitors_;
};

class run {
public:
  explicit run(const options& how) : how_{how}, registrar_{loop_, how.port, [this] { check(); }} {
    room_.next = [this] { check(); };
  }

  nlohmann::ordered_json measure() {
    tell(how_.warm_up, 0);
    const auto before = proportional_bytes(how_.observed);
    // Not all at once: the queue of a listening socket is no longer than the server has made it.
    while (members_.size() < how_.clients) {
      const auto more = std::min<std::size_t>(most_joining, how_.clients - members_.size());
      for (std::size_t i = 0; i < more; ++i)
        members_.push_back(std::make_unique<member>(loop_, how_.port, room_));
      wait([this] { return room_.joined == members_.size(); }, "to join");
    }
    const auto with = proportional_bytes(how_.observed);
    tell(how_.warm_up, how_.clients);
    const auto processor = processor_seconds(how_.observed);
    std::vector<double> took = tell(how_.events, how_.clients);
    const auto processor_after = processor_seconds(how_.observed);
    const auto after = proportional_bytes(how_.observed);
    if (!processor || !processor_after || !before || !with || !after)
      throw std::runtime_error{"the process that is observed has ended, or must not be"};
    std::sort(took.begin(), took.end());
    const auto each = [&](uint64_t bytes) {
      return (static_cast<double>(bytes) - static_cast<double>(*before)) / 1024 / how_.clients;
    };
    return {{"clients", how_.clients}, {"events", took.size()}, {"p50", took[took.size() / 2]},
      {"p99", took[took.size() * 99 / 100]},
      {"processorUs",
        (*processor_after - *processor) * 1e6 / (static_cast<double>(took.size()) * how_.clients)},
      {"eachKiB", each(*with)}, {"eachKiBAfterwards", each(*after)}};
  }

private:
  /// Lets a server come and go; how long it takes until everybody knows, in ms.
  std::vector<double> tell(uint32_t times, uint32_t listeners) {
    std::vector<double> took;
    for (uint32_t i = 0; i < 2 * times; ++i) {
      const bool comes = i % 2 == 0;
      room_.told = 0;
      const auto begin = clock::now();
      if (comes) {
        registrar_.order("POST /api/servers",
          json{{"project", project}, {"user", "ann"}, {"port", server_.port()}}.dump());
      } else {
        registrar_.order("DELETE /api/servers/" + std::to_string(generation_), "");
      }
      wait([&] { return registrar_.is_answered && room_.told >= listeners; }, "to be told");
      if (room_.told > listeners) throw std::runtime_error{"an event came twice"};
      if (comes) generation_ = json::parse(registrar_.answer).at("generation").get<uint64_t>();
      server_.tidy();
      took.push_back(std::chrono::duration<double, std::milli>(room_.last - begin).count());
    }
    return took;
  }

  void wait(std::function<bool()> until, const char* what) {
    until_ = std::move(until);
    if (!until_()) loop_.run_until(clock::now() + patience);
    if (!until_()) throw std::runtime_error{std::string{"too long "} + what};
  }

  void check() {
    if (until_ && until_()) loop_.stop();
  }

  options how_;
  event_loop loop_;
  listening_server server_{loop_};
  room room_;
  std::function<bool()> until_;
  registrar registrar_;
  std::vector<std::unique_ptr<member>> members_;
  uint64_t generation_ = 0;
};

}  // namespace

std::function<int()> add_events_command(CLI::App& app) {
  auto how = std::make_shared<options>();
  CLI::App* command = app.add_subcommand("events",
    "Socket.IO clients in one project's room that are told of a server's coming and going");
  command->add_option("--port", how->port, "of the server on 127.0.0.1")
    ->required()
    ->check(CLI::Range(1, 65535));
  command->add_option("--pid", how->observed.root, "of the server")->required();
  command->add_option("--clients", how->clients, "in the room, 1 to 20000 (1000)")
    ->check(CLI::Range(1, 20000));
  command->add_option("--events", how->events, "pairs that are measured, 1 to 10000 (100)")
    ->check(CLI::Range(1, 10000));
  return [how] {
    try {
      std::cout << run{*how}.measure().dump() << '\n';
      return 0;
    } catch (const std::exception& error) {
      std::cerr << "previewd-bench events: " << error.what() << '\n';
      return 1;
    }
  };
}

}  // namespace previewd::bench
