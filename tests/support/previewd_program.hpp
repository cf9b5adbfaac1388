#pragma once

#include <fcntl.h>
#include <poll.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <csignal>
#include <fstream>
#include <iterator>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "previewd/os/unique_fd.hpp"
#include "previewd/tests/support/http_client.hpp"
#include "previewd/tests/support/temporary_folder.hpp"

namespace previewd::test {

/// The program itself, in a process of its own, on a free loopback port. Its home is `folder`,
/// where its store is too unless the flags say something else. Killed when this goes.
class previewd_program {
public:
  previewd_program(
    std::string program, const std::string& folder, std::vector<std::string> flags = {})
      : log_{folder + "/log"} {
    std::vector<std::string> arguments{std::move(program), "--listen", "127.0.0.1:0"};
    arguments.insert(arguments.end(), flags.begin(), flags.end());
    std::vector<std::string> environment{"HOME=" + folder, "XDG_CONFIG_HOME=" + folder + "/config",
      "PATH=/usr/local/bin:/usr/bin:/bin", "SHELL=/bin/bash", "PS1=ready> "};
    std::array<int, 2> ends{};
    if (::pipe2(ends.data(), O_CLOEXEC) != 0) return;
    out_ = os::unique_fd{ends[0]};
    const os::unique_fd writing{ends[1]};
    posix_spawn_file_actions_t files;
    ::posix_spawn_file_actions_init(&files);
    ::posix_spawn_file_actions_adddup2(&files, writing.get(), 1);
    ::posix_spawn_file_actions_addopen(
      &files, 2, log_.c_str(), O_WRONLY | O_CREAT | O_APPEND, 0600);
    if (::posix_spawn(&pid_, arguments.front().c_str(), &files, nullptr, pointers(arguments).data(),
          pointers(environment).data()) != 0)
      pid_ = 0;
    ::posix_spawn_file_actions_destroy(&files);
  }
  ~previewd_program() {
    if (pid_ > 0) end(SIGKILL);
  }
  previewd_program(const previewd_program&) = delete;
  previewd_program& operator=(const previewd_program&) = delete;

  pid_t pid() const { return pid_; }

  /// Where it listens; 0: it has ended, or has not said it in time.
  uint16_t port() {
    while (port_ == 0 && read_more()) {
      const auto line = said_.find('\n');
      const auto colon = said_.rfind(':', line);
      if (line != std::string::npos && colon != std::string::npos)
        port_ = static_cast<uint16_t>(std::stoi(said_.substr(colon + 1)));
    }
    return port_;
  }

  /// Sends it a signal and waits for its end. Its exit code; nothing: it was a signal that ended
  /// it.
  std::optional<int> end(int signal) {
    if (pid_ <= 0) return std::nullopt;
    ::kill(pid_, signal);
    return wait();
  }

  /// The same, for one that ends by itself.
  std::optional<int> wait() {
    int status = 0;
    pid_t ended = 0;
    do ended = ::waitpid(std::exchange(pid_, 0), &status, 0);
    while (ended == -1 && errno == EINTR);
    if (!WIFEXITED(status)) return std::nullopt;
    return WEXITSTATUS(status);
  }

  /// What it, and those before it in the same folder, have written to stderr.
  std::string log() const {
    std::ifstream file{log_};
    return {std::istreambuf_iterator<char>{file}, {}};
  }

  nlohmann::json get(const std::string& path) {
    return nlohmann::json::parse(fetch(port(), "GET " + path).body, nullptr, false);
  }

  nlohmann::json
  send(const std::string& method_and_target, const nlohmann::json& body, int status) {
    const http_answer answer =
      fetch(port(), method_and_target, "Content-Type: application/json\r\n", body.dump());
    INFO(answer.head << answer.body);
    CHECK(answer.status == status);
    return nlohmann::json::parse(answer.body, nullptr, false);
  }

private:
  static std::vector<char*> pointers(std::vector<std::string>& texts) {
    std::vector<char*> result;
    for (std::string& text : texts) result.push_back(text.data());
    result.push_back(nullptr);
    return result;
  }

  bool read_more() {
    pollfd ready{out_.get(), POLLIN, 0};
    const auto limit = std::chrono::duration_cast<std::chrono::milliseconds>(deadline).count();
    if (::poll(&ready, 1, static_cast<int>(limit)) != 1) return false;
    std::array<char, 256> bytes{};
    const ssize_t count = ::read(out_.get(), bytes.data(), bytes.size());
    if (count <= 0) return false;
    said_.append(bytes.data(), static_cast<std::size_t>(count));
    return true;
  }

  std::string log_;
  os::unique_fd out_;
  std::string said_;
  pid_t pid_ = 0;
  uint16_t port_ = 0;
};

}  // namespace previewd::test
