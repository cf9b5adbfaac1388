#pragma once

#include <csignal>
#include <cstdint>
#include <fstream>
#include <iterator>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "previewd/tests/support/http_client.hpp"
#include "previewd/tests/support/started_program.hpp"

namespace previewd::test {

/// The program itself, in a process of its own, on a free loopback port. Its home is `folder`,
/// where its store is too unless the flags say something else. Killed when this goes.
class previewd_program {
public:
  previewd_program(
    std::string program, const std::string& folder, std::vector<std::string> flags = {})
      : log_{folder + "/log"},
        process_{start(std::move(program), folder, log_, std::move(flags))} {}

  pid_t pid() const { return process_.pid(); }

  /// Where it listens; 0: it has ended, or has not said it in time.
  uint16_t port() { return process_.port(); }

  /// Sends it a signal and waits for its end. Its exit code; nothing: it was a signal that ended
  /// it, or it did not end in time.
  std::optional<int> end(int signal) {
    process_.signal(signal);
    return wait();
  }

  /// The same, for one that ends by itself.
  std::optional<int> wait() {
    const int code = process_.exit_code();
    return code < 0 ? std::nullopt : std::optional{code};
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
  static program_start start(std::string program, const std::string& folder, const std::string& log,
    std::vector<std::string> flags) {
    flags.insert(flags.begin(), {"--listen", "127.0.0.1:0"});
    return {std::move(program), std::move(flags),
      {"HOME=" + folder, "XDG_CONFIG_HOME=" + folder + "/config", "SHELL=/bin/bash", "PS1=ready> "},
      {}, {}, log};
  }

  std::string log_;
  started_program process_;
};

}  // namespace previewd::test
