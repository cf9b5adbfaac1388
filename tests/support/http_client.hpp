#pragma once

#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#include <string>
#include <string_view>
#include <utility>

#include "previewd/tests/support/eventually.hpp"

namespace previewd::test {

/// A blocking connection to a loopback port. Reading gives up after the tests' deadline.
class connection {
public:
  explicit connection(uint16_t port) {
    fd_ = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    address.sin_port = htons(port);
    timeval limit{std::chrono::duration_cast<std::chrono::seconds>(deadline).count(), 0};
    setsockopt(fd_, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
    connected_ = ::connect(fd_, reinterpret_cast<const sockaddr*>(&address), sizeof address) == 0;
  }
  ~connection() { ::close(fd_); }
  connection(const connection&) = delete;
  connection& operator=(const connection&) = delete;

  bool connected() const { return connected_; }

  void send(std::string_view bytes) {
    while (!bytes.empty()) {
      const ssize_t n = ::send(fd_, bytes.data(), bytes.size(), MSG_NOSIGNAL);
      if (n == -1 && errno == EINTR) continue;
      if (n <= 0) return;
      bytes.remove_prefix(static_cast<std::size_t>(n));
    }
  }

  /// The next bytes; empty at the end, also when it was not a clean one. `ended` tells that from a
  /// time-out.
  std::string read() {
    char bytes[16384];
    ssize_t n;
    // With a time-out a call is not restarted after a signal (signal(7)), and SIGCHLD comes often.
    do n = ::recv(fd_, bytes, sizeof bytes, 0);
    while (n == -1 && errno == EINTR);
    if (n <= 0) {
      ended_ = n == 0 || (errno != EAGAIN && errno != EWOULDBLOCK);
      return {};
    }
    return {bytes, static_cast<std::size_t>(n)};
  }

  /// Reads until `end` has come or nothing more does.
  std::string read_until(std::string_view end) {
    std::string all;
    while (all.find(end) == std::string::npos) {
      const std::string more = read();
      if (more.empty()) break;
      all += more;
    }
    return all;
  }

  std::string read_all() {
    std::string all;
    for (std::string more = read(); !more.empty(); more = read()) all += more;
    return all;
  }

  bool ended() const { return ended_; }

private:
  int fd_;
  bool connected_ = false;
  bool ended_ = false;
};

struct http_answer {
  int status = 0;  // 0: no answer
  std::string head;
  std::string body;
};

/// One request on a connection of its own. `fields`: further header lines, each ended by CRLF.
inline http_answer fetch(uint16_t port, const std::string& method_and_target,
  const std::string& fields = {}, const std::string& body = {}) {
  connection to{port};
  std::string request = method_and_target + " HTTP/1.1\r\n";
  if (fields.find("Host:") == std::string::npos)
    request += "Host: 127.0.0.1:" + std::to_string(port) + "\r\n";
  request += fields + "Connection: close\r\n";
  if (!body.empty()) request += "Content-Length: " + std::to_string(body.size()) + "\r\n";
  to.send(request + "\r\n" + body);
  const std::string all = to.read_all();
  http_answer answer;
  const auto end = all.find("\r\n\r\n");
  if (end == std::string::npos || all.size() < 12) return answer;
  answer.status = std::atoi(all.c_str() + 9);
  answer.head = all.substr(0, end + 2);
  answer.body = all.substr(end + 4);
  return answer;
}

}  // namespace previewd::test
