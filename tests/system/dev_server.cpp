// A dev server that does what the real ones do, on order, for the system tests: pages, WebSockets,
// restarts, and bad ends.
#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace {

volatile std::sig_atomic_t wanted = 0;

void note(int signal) {
  wanted = signal;
}

int log_file = -1;

/// One write for each line, so that those of several processes do not mix.
void write_log(const std::string& line) {
  if (log_file < 0) return;
  [[maybe_unused]] const ssize_t n = write(log_file, line.data(), line.size());
}

/// A socket that has the port and does not listen yet; -1 with errno when it cannot.
int try_to_bind(int port, bool v6, bool retry = false) {
  const int fd = socket(v6 ? AF_INET6 : AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  const int on = 1;
  setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
  sockaddr_in6 six{};
  six.sin6_family = AF_INET6;
  six.sin6_addr = in6addr_loopback;
  six.sin6_port = htons(static_cast<uint16_t>(port));
  sockaddr_in four{};
  four.sin_family = AF_INET;
  four.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  four.sin_port = six.sin6_port;
  const auto* address =
    v6 ? reinterpret_cast<const sockaddr*>(&six) : reinterpret_cast<const sockaddr*>(&four);
  int bound = -1;
  do {
    bound = bind(fd, address, v6 ? sizeof six : sizeof four);
  } while (bound != 0 && retry && errno == EADDRINUSE);
  if (bound == 0) return fd;
  const int why = errno;
  close(fd);
  errno = why;
  return -1;
}

/// The same, for one that listens.
int try_to_listen(int port, bool v6, bool retry = false) {
  const int fd = try_to_bind(port, v6, retry);
  if (fd < 0 || listen(fd, 512) == 0) return fd;
  const int why = errno;
  close(fd);
  errno = why;
  return -1;
}

[[noreturn]] void fail() {
  std::perror("dev_server");
  std::exit(1);
}

int listen_on(int port, bool v6, bool retry = false) {
  const int fd = try_to_listen(port, v6, retry);
  if (fd < 0) fail();
  return fd;
}

int port_of(int fd) {
  sockaddr_in6 bound{};
  socklen_t size = sizeof bound;
  getsockname(fd, reinterpret_cast<sockaddr*>(&bound), &size);
  return ntohs(bound.sin6_port);
}

struct client {
  int fd;
  std::string opened_by;  // the target of an upgrade
  std::string read;
  bool websocket = false;
};

void send_all(int fd, std::string_view text) {
  while (!text.empty()) {
    const ssize_t n = send(fd, text.data(), text.size(), MSG_NOSIGNAL);
    if (n <= 0) return;
    text.remove_prefix(static_cast<std::size_t>(n));
  }
}

void print_address(int port) {
  std::printf("\n  Local: http://localhost:%d/ pid %d\n", port, static_cast<int>(getpid()));
  std::fflush(stdout);
}

}  // namespace

// dev_server PORT [v6] [both] [mute] [child] [prefork] [stubborn] [retry] [log=FILE]
//   both: listens on 127.0.0.1 and on ::1, and SIGUSR1 closes the former
//   mute: accepts and never answers    child: a child process holds the socket, this one only waits
//   prefork: two processes hold it and serve    stubborn: ignores SIGHUP, SIGINT and SIGTERM
//   retry: takes the port as soon as it is free
//   log: appends "listening" when it has taken the port, "request TARGET", and "bytes UPGRADE
//   BYTES" for what comes through a WebSocket, and "closed UPGRADE" at its end
// SIGUSR1 closes the listening socket for good, SIGUSR2 replaces it by a new one on the same port,
// SIGALRM by one on another port, after a pause.
int main(int argc, char** argv) {
  bool v6 = false, both = false, mute = false, child = false, prefork = false, stubborn = false,
       retry = false;
  for (int i = 2; i < argc; ++i) {
    const std::string_view word{argv[i]};
    v6 |= word == "v6";
    both |= word == "both";
    mute |= word == "mute";
    child |= word == "child";
    prefork |= word == "prefork";
    stubborn |= word == "stubborn";
    retry |= word == "retry";
    if (word.substr(0, 4) == "log=")
      log_file = open(argv[i] + 4, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0600);
  }
  if (stubborn)
    for (const int signal : {SIGHUP, SIGINT, SIGTERM}) std::signal(signal, SIG_IGN);
  // Taken only in the wait: one that came just before it would be noticed with the next event.
  sigset_t orders, usual;
  sigemptyset(&orders);
  sigaddset(&orders, SIGUSR1);
  sigaddset(&orders, SIGUSR2);
  sigaddset(&orders, SIGALRM);
  sigprocmask(SIG_BLOCK, &orders, &usual);
  struct sigaction action {};
  action.sa_handler = note;
  sigaction(SIGUSR1, &action, nullptr);
  sigaction(SIGUSR2, &action, nullptr);
  sigaction(SIGALRM, &action, nullptr);
  if (child && fork() != 0) {
    for (;;) pause();
  }
  const int given = argc > 1 ? std::atoi(argv[1]) : 0;
  int listener = listen_on(given, v6, retry);
  int second = -1;
  // The same port of the other family may be somebody's: then both on another one.
  for (int tries = 0; both && (second = try_to_listen(port_of(listener), true)) < 0; ++tries) {
    if (errno != EADDRINUSE || given != 0 || tries == 20) fail();
    close(listener);
    listener = listen_on(0, v6);
  }
  int port = port_of(listener);
  if (retry) write_log("listening\n");
  if (prefork) fork();
  print_address(port);

  std::vector<client> clients;
  for (;;) {
    const int signal = wanted;
    wanted = 0;
    if (signal == SIGUSR1 && listener >= 0) {
      close(listener);
      listener = std::exchange(second, -1);
    } else if (signal == SIGUSR2) {
      close(listener);
      for (const client& one : clients) close(one.fd);
      clients.clear();
      listener = listen_on(port, v6);
    } else if (signal == SIGALRM) {
      // Taken while it has the old one: so it is another.
      const int next = try_to_bind(0, v6);
      if (next < 0) fail();
      close(listener);
      for (const client& one : clients) close(one.fd);
      clients.clear();
      // As long as a dev server needs that reads its configuration again.
      poll(nullptr, 0, 50);
      if (listen(next, 512) != 0) fail();
      listener = next;
      port = port_of(listener);
      print_address(port);
    }
    std::vector<pollfd> waits{{listener, POLLIN, 0}, {second, POLLIN, 0}};
    for (const client& one : clients) waits.push_back({one.fd, POLLIN, 0});
    if (ppoll(waits.data(), waits.size(), nullptr, &usual) < 0) continue;
    for (std::size_t i = 0; i < 2; ++i) {
      if ((waits[i].revents & POLLIN) == 0) continue;
      const int fd = accept4(waits[i].fd, nullptr, nullptr, SOCK_CLOEXEC);
      if (fd >= 0) clients.push_back({fd, {}, {}});
    }
    for (std::size_t i = 2; i < waits.size(); ++i) {
      if (waits[i].revents == 0) continue;
      client& one = clients[i - 2];
      char bytes[16384];
      const ssize_t n = recv(one.fd, bytes, sizeof bytes, 0);
      if (n <= 0) {
        if (one.websocket) write_log("closed " + one.opened_by + "\n");
        close(one.fd);
        one.fd = -1;
        continue;
      }
      if (one.websocket) {
        write_log(
          "bytes " + one.opened_by + " " + std::string(bytes, static_cast<std::size_t>(n)) + "\n");
        send_all(one.fd, {bytes, static_cast<std::size_t>(n)});
        continue;
      }
      one.read.append(bytes, static_cast<std::size_t>(n));
      for (std::size_t end; !mute && (end = one.read.find("\r\n\r\n")) != std::string::npos;) {
        const std::string head = one.read.substr(0, end + 4);
        one.read.erase(0, end + 4);
        const std::size_t target = head.find(' ') + 1;
        const std::string asked_for = head.substr(target, head.find(' ', target) - target);
        write_log("request " + asked_for + "\n");
        if (head.find("pgrade: websocket") != std::string::npos) {
          send_all(one.fd,
            "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: "
            "Upgrade\r\n\r\n");
          one.websocket = true;
          one.opened_by = asked_for;
          break;
        }
        const std::string body = "<!doctype html><p>dev server " + std::to_string(getpid());
        send_all(one.fd, "HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: " +
                           std::to_string(body.size()) + "\r\n\r\n" + body);
      }
    }
    std::erase_if(clients, [](const client& one) { return one.fd < 0; });
  }
}
