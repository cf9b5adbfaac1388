#include "terminal.hpp"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <atomic>
#include <chrono>
#include <fstream>
#include <iostream>
#include <memory>
#include <nlohmann/json.hpp>
#include <sstream>
#include <stdexcept>
#include <string>
#include <thread>
#include <utility>
#include <vector>

namespace previewd::bench {

namespace {

using steady = std::chrono::steady_clock;
using nlohmann::ordered_json;

constexpr std::chrono::seconds patience{60};

double seconds_since(steady::time_point begin) {
  return std::chrono::duration<double>(steady::now() - begin).count();
}

/// User and system time of a process, in seconds (proc(5), stat 14 and 15).
double processor_seconds(int pid) {
  std::ifstream file{"/proc/" + std::to_string(pid) + "/stat"};
  std::string text{std::istreambuf_iterator<char>{file}, {}};
  std::istringstream rest{text.substr(text.rfind(')') + 2)};
  std::string skipped;
  for (int field = 3; field < 14; ++field) rest >> skipped;
  double user = 0;
  double system = 0;
  rest >> user >> system;
  return (user + system) / static_cast<double>(::sysconf(_SC_CLK_TCK));
}

/// What a process has in memory, in KiB (proc(5), status).
long resident_kib(int pid) {
  std::ifstream file{"/proc/" + std::to_string(pid) + "/status"};
  for (std::string line; std::getline(file, line);)
    if (line.rfind("VmRSS:", 0) == 0) return std::stol(line.substr(6));
  throw std::runtime_error{"the server has ended"};
}

/// A WebSocket that reads only when it is told to. Blocks. Throws when the connection fails.
class socket {
public:
  /// Upgrades `path` (RFC 6455, section 4). `small`: with the smallest buffer for what has not been
  /// read.
  socket(uint16_t port, const std::string& path, bool small = false)
      : fd_{::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)} {
    const int one = 1;
    ::setsockopt(fd_, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    if (small) ::setsockopt(fd_, SOL_SOCKET, SO_RCVBUF, &one, sizeof one);
    sockaddr_in to{};
    to.sin_family = AF_INET;
    to.sin_port = htons(port);
    to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    if (::connect(fd_, reinterpret_cast<const sockaddr*>(&to), sizeof to) != 0)
      throw std::runtime_error{"cannot connect"};
    write("GET " + path + " HTTP/1.1\r\nHost: 127.0.0.1:" + std::to_string(port) +
          "\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
          "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n");
    std::size_t end = std::string::npos;
    while ((end = held_.find("\r\n\r\n")) == std::string::npos) read_more();
    if (held_.find(" 101 ") > 16) throw std::runtime_error{"refused: " + held_.substr(0, 60)};
    held_.erase(0, end + 4);
  }
  ~socket() { ::close(fd_); }
  socket(const socket&) = delete;
  socket& operator=(const socket&) = delete;

  /// Sends one binary frame of at most 125 bytes, masked with zeros.
  void type(const std::string& keys) {
    write(
      std::string{"\x82"} + static_cast<char>(0x80 | keys.size()) + std::string(4, '\0') + keys);
  }

  /// The payload of the next data frame, or of a part of it. Empty when the server has closed.
  std::string_view next() {
    for (;;) {
      if (left_ == 0 && !begin_frame()) return {};
      need(1);
      const std::size_t size = std::min(left_, held_.size() - at_);
      const std::string_view part{held_.data() + at_, size};
      at_ += size;
      left_ -= size;
      if (data_ && size > 0) return part;
    }
  }

private:
  bool begin_frame() {
    need(2);
    const auto byte = [&](std::size_t place) {
      return static_cast<unsigned char>(held_[at_ + place]);
    };
    const int kind = byte(0) & 0x0f;
    std::size_t size = byte(1) & 0x7f;
    std::size_t begin = 2;
    if (size >= 126) {
      const std::size_t digits = size == 126 ? 2 : 8;
      begin += digits;
      need(begin);
      size = 0;
      for (std::size_t place = 2; place < begin; ++place) size = size << 8 | byte(place);
    }
    at_ += begin;
    left_ = size;
    data_ = kind <= 2;
    return kind != 8;
  }

  void need(std::size_t size) {
    while (held_.size() - at_ < size) read_more();
  }

  void read_more() {
    held_.erase(0, std::exchange(at_, 0));
    pollfd ready{fd_, POLLIN, 0};
    if (::poll(&ready, 1, std::chrono::milliseconds{patience}.count()) != 1)
      throw std::runtime_error{"nothing came for a minute"};
    const std::size_t before = held_.size();
    held_.resize(before + 256 * 1024);
    const ssize_t count = ::read(fd_, held_.data() + before, 256 * 1024);
    held_.resize(before + static_cast<std::size_t>(std::max<ssize_t>(0, count)));
    if (count <= 0) throw std::runtime_error{"the connection has ended"};
  }

  void write(std::string_view bytes) {
    while (!bytes.empty()) {
      const ssize_t count = ::send(fd_, bytes.data(), bytes.size(), MSG_NOSIGNAL);
      if (count <= 0) throw std::runtime_error{"the connection has ended"};
      bytes.remove_prefix(static_cast<std::size_t>(count));
    }
  }

  int fd_;
  std::string held_;
  std::size_t at_ = 0;
  std::size_t left_ = 0;  // of the frame
  bool data_ = false;
};

struct options {
  std::string what;
  uint16_t port = 0;
  int pid = 0;
  std::vector<std::string> paths;
  std::size_t bytes = 64'000'000;
  unsigned keys = 500;
  double seconds = 3;
  long before = 0;  // KiB
};

/// A program that waits for a key and then puts out so many bytes: how fast, and at what cost.
ordered_json measure_bulk(const options& how) {
  socket terminal{how.port, how.paths.at(0)};
  terminal.type("\r");
  std::string_view got = terminal.next();
  const double processor = processor_seconds(how.pid);
  const auto begin = steady::now();
  std::size_t count = got.size();
  while (count < how.bytes && !(got = terminal.next()).empty()) count += got.size();
  const double took = seconds_since(begin);
  return {{"bytes", count}, {"megabytesPerSecond", static_cast<double>(count) / 1e6 / took},
    {"processorMsPerMegabyte",
      (processor_seconds(how.pid) - processor) * 1e9 / static_cast<double>(count)}};
}

/// How long after a key its echo comes, while the terminal of the second path floods.
ordered_json measure_echo(const options& how) {
  socket terminal{how.port, how.paths.at(0)};
  std::atomic<bool> over = false;
  std::thread flood;
  if (how.paths.size() > 1) {
    flood = std::thread{[&] {
      try {
        socket other{how.port, how.paths[1]};
        while (!over && !other.next().empty()) {
        }
      } catch (const std::runtime_error&) {
      }
    }};
    std::this_thread::sleep_for(std::chrono::seconds{1});  // until it floods
  }
  std::vector<double> took;
  std::string failure;
  try {
    for (unsigned key = 0; key < how.keys; ++key) {
      const auto begin = steady::now();
      terminal.type("k");
      terminal.next();
      took.push_back(seconds_since(begin) * 1000);
      std::this_thread::sleep_for(std::chrono::milliseconds{5});  // as a person does, only faster
    }
  } catch (const std::runtime_error& error) {
    failure = error.what();
  }
  over = true;
  if (flood.joinable()) flood.join();
  if (!failure.empty()) throw std::runtime_error{failure};
  std::sort(took.begin(), took.end());
  return {{"p50", took[took.size() / 2]}, {"p99", took[took.size() * 99 / 100]}};
}

/// How much the server grows while a client of a flooding terminal reads nothing.
ordered_json measure_stalled(const options& how) {
  const long before = resident_kib(how.pid);
  socket terminal{how.port, how.paths.at(0), true};
  long most = before;
  for (const auto begin = steady::now(); seconds_since(begin) < how.seconds;) {
    most = std::max(most, resident_kib(how.pid));
    std::this_thread::sleep_for(std::chrono::milliseconds{20});
  }
  return {{"growthKiB", most - before}};
}

/// What each of many attached terminals takes.
ordered_json measure_idle(const options& how) {
  const long before = how.before > 0 ? how.before : resident_kib(how.pid);
  std::vector<std::unique_ptr<socket>> terminals;
  for (const std::string& path : how.paths) {
    terminals.push_back(std::make_unique<socket>(how.port, path));
    terminals.back()->next();  // its prompt
  }
  return {{"eachKiB",
    static_cast<double>(resident_kib(how.pid) - before) / static_cast<double>(how.paths.size())}};
}

}  // namespace

std::function<int()> add_terminal_command(CLI::App& app) {
  auto how = std::make_shared<options>();
  CLI::App* command = app.add_subcommand("terminal", "terminals by raw WebSockets");
  command->add_option("what", how->what, "bulk, echo, stalled or idle")
    ->required()
    ->check(CLI::IsMember({"bulk", "echo", "stalled", "idle"}));
  command->add_option("--port", how->port, "of the server")->required();
  command->add_option("--pid", how->pid, "of the server")->required();
  command->add_option("--path", how->paths, "of a terminal's WebSocket; may repeat")->required();
  command->add_option("--bytes", how->bytes, "of bulk output");
  command->add_option("--keys", how->keys, "typed")->check(CLI::Range(100, 4000));
  command->add_option("--seconds", how->seconds, "without reading")->check(CLI::Range(0.1, 60.0));
  command->add_option("--before", how->before,
    "KiB that the server took before idle terminals were opened; 0: what it takes before they are "
    "attached");
  return [how] {
    try {
      const ordered_json result = how->what == "bulk"      ? measure_bulk(*how)
                                  : how->what == "echo"    ? measure_echo(*how)
                                  : how->what == "stalled" ? measure_stalled(*how)
                                                           : measure_idle(*how);
      std::cout << result.dump() << '\n';
      return 0;
    } catch (const std::exception& error) {
      std::cerr << "previewd-bench terminal " << how->what << ": " << error.what() << '\n';
      return 1;
    }
  };
}

}  // namespace previewd::bench
