#pragma once

#include <fcntl.h>
#include <poll.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <csignal>
#include <stdexcept>
#include <string>
#include <vector>

#include "previewd/os/pidfd.hpp"
#include "previewd/os/unique_fd.hpp"
#include "previewd/tests/support/eventually.hpp"

namespace previewd::test {

/// What a program is started with.
struct program_start {
  std::string program;
  std::vector<std::string> arguments;
  std::vector<std::string> environment;  // complete, but for a PATH
  std::vector<int> sockets;  // become descriptors 3, 4, ... with LISTEN_PID and LISTEN_FDS
  std::string said;          // by LISTEN_FDS; empty: how many there are
  std::string log{};         // where stderr is appended to; empty: `err` has it
};

/// A program of ours in a process of its own. Killed when this goes, if it has not ended.
class started_program {
public:
  explicit started_program(const program_start& what) {
    os::unique_fd out_end = open_pipe(out_);
    os::unique_fd err_end = open_pipe(err_);
    posix_spawn_file_actions_t actions;
    ::posix_spawn_file_actions_init(&actions);
    ::posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDWR, 0);
    ::posix_spawn_file_actions_adddup2(&actions, out_end.get(), 1);
    if (what.log.empty()) {
      ::posix_spawn_file_actions_adddup2(&actions, err_end.get(), 2);
    } else {
      ::posix_spawn_file_actions_addopen(
        &actions, 2, what.log.c_str(), O_WRONLY | O_CREAT | O_APPEND, 0600);
    }
    // Out of the way first: one may be where another one goes.
    std::vector<os::unique_fd> high;
    for (std::size_t i = 0; i < what.sockets.size(); ++i) {
      high.emplace_back(::fcntl(what.sockets[i], F_DUPFD_CLOEXEC, 100));
      ::posix_spawn_file_actions_adddup2(&actions, high.back().get(), 3 + static_cast<int>(i));
    }
    // Whoever started the tests may have left more.
    ::posix_spawn_file_actions_addclosefrom_np(&actions, 3 + static_cast<int>(what.sockets.size()));
    // The shell becomes the program, and so knows its pid beforehand.
    std::vector<std::string> arguments{"sh", "-c",
      what.sockets.empty() ? R"(exec "$0" "$@")" : R"(LISTEN_PID=$$ exec "$0" "$@")", what.program};
    arguments.insert(arguments.end(), what.arguments.begin(), what.arguments.end());
    std::vector<std::string> environment = what.environment;
    environment.emplace_back("PATH=/usr/local/bin:/usr/bin:/bin");
    if (!what.sockets.empty())
      environment.push_back(
        "LISTEN_FDS=" + (what.said.empty() ? std::to_string(what.sockets.size()) : what.said));
    const int failed = ::posix_spawn(&pid_, "/bin/sh", &actions, nullptr,
      pointers_to(arguments).data(), pointers_to(environment).data());
    ::posix_spawn_file_actions_destroy(&actions);
    if (failed != 0) throw std::runtime_error{"cannot start " + what.program};
  }
  ~started_program() {
    if (pid_ <= 0) return;
    ::kill(pid_, SIGKILL);
    wait_for_it();
  }
  started_program(const started_program&) = delete;
  started_program& operator=(const started_program&) = delete;

  pid_t pid() const { return pid_; }
  void signal(int number) const { ::kill(pid_, number); }

  /// What it has written so far, as `await_out` and `await_err` have read it.
  const std::string& out() const { return out_.text; }
  const std::string& err() const { return err_.text; }

  /// Reads until `text` has come; false when it does not come in time, or the stream ends before.
  bool await_out(const std::string& text) { return await(out_, text); }
  bool await_err(const std::string& text) { return await(err_, text); }

  /// The port of the first line on stdout; 0 when there is none.
  uint16_t port() {
    if (!await_out("\n")) return 0;
    const std::string line = out().substr(0, out().find('\n'));
    return static_cast<uint16_t>(std::atoi(line.c_str() + line.rfind(':') + 1));
  }

  /// Waits for its end, and returns its exit code; below zero: the number of the signal, or -1000
  /// when it does not end in time. Then `out` and `err` are complete.
  int exit_code() {
    const auto process = os::pidfd::open(pid_);
    pollfd ended{process ? process->get() : -1, POLLIN, 0};
    // What it writes is read meanwhile, lest it waits for us.
    await(out_, never);
    await(err_, never);
    const auto limit = std::chrono::duration_cast<std::chrono::milliseconds>(deadline).count();
    if (!process || ::poll(&ended, 1, static_cast<int>(limit)) != 1) return -1000;
    const int status = wait_for_it();
    pid_ = 0;
    return WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
  }

private:
  struct stream {
    os::unique_fd read_end;
    std::string text;
  };

  /// No program of ours writes a zero.
  static inline const std::string never{'\0'};

  static os::unique_fd open_pipe(stream& to) {
    int ends[2];
    if (::pipe2(ends, O_CLOEXEC) != 0) throw std::runtime_error{"cannot open a pipe"};
    to.read_end.reset(ends[0]);
    return os::unique_fd{ends[1]};
  }

  static std::vector<char*> pointers_to(std::vector<std::string>& strings) {
    std::vector<char*> result;
    for (std::string& text : strings) result.push_back(text.data());
    result.push_back(nullptr);
    return result;
  }

  static bool await(stream& from, const std::string& text) {
    const auto end = std::chrono::steady_clock::now() + deadline;
    while (from.text.find(text) == std::string::npos) {
      if (std::chrono::steady_clock::now() > end) return false;
      pollfd ready{from.read_end.get(), POLLIN, 0};
      if (::poll(&ready, 1, 100) != 1) continue;
      char buffer[4096];
      const ssize_t n = ::read(from.read_end.get(), buffer, sizeof buffer);
      if (n == 0 || (n == -1 && errno != EINTR)) return false;
      if (n > 0) from.text.append(buffer, static_cast<std::size_t>(n));
    }
    return true;
  }

  int wait_for_it() const {
    int status = 0;
    while (::waitpid(pid_, &status, 0) == -1 && errno == EINTR) {
    }
    return status;
  }

  stream out_;
  stream err_;
  pid_t pid_ = 0;
};

}  // namespace previewd::test
