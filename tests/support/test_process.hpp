#pragma once

#include <poll.h>
#include <sys/prctl.h>
#include <unistd.h>

#include <chrono>
#include <csignal>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "previewd/os/child_reaper.hpp"
#include "previewd/os/procfs.hpp"
#include "previewd/os/pty.hpp"
#include "previewd/tests/support/eventually.hpp"

extern char** environ;

namespace previewd::test {

/// The environment of the test, with `extra` set.
inline std::vector<std::string> environment_with(std::vector<std::string> extra = {}) {
  std::vector<std::string> result;
  for (char** variable = environ; *variable != nullptr; ++variable) result.emplace_back(*variable);
  for (std::string& variable : extra) result.push_back(std::move(variable));
  return result;
}

/// Makes this process adopt its orphaned descendants while it lives; then waits for what is left.
class subreaper_scope {
public:
  subreaper_scope() { os::become_subreaper(); }
  ~subreaper_scope() {
    ::prctl(PR_SET_CHILD_SUBREAPER, 0, 0, 0, 0);
    eventually([] {
      std::vector<pid_t> children;
      os::child_reaper{os::reap_mode::all}.reap();
      os::append_children(::getpid(), children);
      return children.empty();
    });
  }
  subreaper_scope(const subreaper_scope&) = delete;
  subreaper_scope& operator=(const subreaper_scope&) = delete;
};

/// A program on a PTY, as a terminal has it. Whatever still runs in it is killed when this goes.
class test_terminal {
public:
  explicit test_terminal(
    os::child_reaper& reaper, std::vector<std::string> argv, std::vector<std::string> extra = {})
      : reaper_{reaper}, pty_{os::pty::open({.columns = 200, .rows = 50}).value()} {
    os::process_spec spec;
    spec.argv = std::move(argv);
    spec.environment = environment_with(std::move(extra));
    spec.cwd = "/";
    spec.terminal = pty_->slave_path();
    const os::start_result started = reaper.start(spec);
    if (started) pid_ = started.pid();
  }
  ~test_terminal() {
    pty_.reset();
    if (pid_ <= 0) return;
    std::vector<pid_t> pids;
    os::append_processes(pids);
    for (const pid_t pid : pids) {
      const auto stat = os::read_stat(pid);
      if (stat && stat->session == pid_) ::kill(pid, SIGKILL);
    }
    eventually([&] {
      const auto stat = os::read_stat(pid_);
      return !stat || !stat->is_alive();
    });
    reaper_.release(pid_);
    reaper_.reap();
  }
  test_terminal(const test_terminal&) = delete;
  test_terminal& operator=(const test_terminal&) = delete;

  pid_t pid() const { return pid_; }
  os::pty& master() { return *pty_; }
  const std::string& output() const { return output_; }

  /// Hangs up: closes the master.
  void close() { pty_.reset(); }

  void type(const std::string& text) {
    [[maybe_unused]] const auto n = ::write(pty_->master(), text.data(), text.size());
  }

  /// Reads until the output holds `text`; false when it does not come in time.
  bool await_output(const std::string& text) {
    const auto end = std::chrono::steady_clock::now() + deadline;
    while (output_.find(text) == std::string::npos) {
      if (std::chrono::steady_clock::now() > end) return false;
      pollfd ready{pty_->master(), POLLIN, 0};
      ::poll(&ready, 1, 50);
      char buffer[4096];
      const ssize_t n = ::read(pty_->master(), buffer, sizeof buffer);
      if (n > 0) output_.append(buffer, static_cast<std::size_t>(n));
      if (n < 0 && errno == EIO && output_.find(text) == std::string::npos) return false;
    }
    return true;
  }

  /// The number that follows `label` in the output; nothing when it does not come in time.
  std::optional<int> await_number(const std::string& label) {
    const auto end = std::chrono::steady_clock::now() + deadline;
    for (;;) {
      const auto at = output_.rfind(label);
      if (at != std::string::npos) {
        const auto last = output_.find_first_not_of("0123456789", at + label.size());
        if (last != std::string::npos && last > at + label.size())
          return std::stoi(output_.substr(at + label.size()));
      }
      if (std::chrono::steady_clock::now() > end) return std::nullopt;
      pollfd ready{pty_->master(), POLLIN, 0};
      ::poll(&ready, 1, 50);
      char buffer[4096];
      const ssize_t n = ::read(pty_->master(), buffer, sizeof buffer);
      if (n > 0) output_.append(buffer, static_cast<std::size_t>(n));
    }
  }

  /// What has been put out is no longer of interest.
  void forget_output() { output_.clear(); }

private:
  os::child_reaper& reaper_;
  std::optional<os::pty> pty_;
  pid_t pid_ = 0;
  std::string output_;
};

}  // namespace previewd::test
