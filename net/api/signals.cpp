#include "previewd/net/api/signals.hpp"

#include <signal.h>

#include <algorithm>
#include <array>
#include <utility>

namespace previewd::net::api {

namespace {

constexpr std::array<std::pair<std::string_view, int>, 11> signals{
  {{"SIGHUP", SIGHUP}, {"SIGINT", SIGINT}, {"SIGQUIT", SIGQUIT}, {"SIGKILL", SIGKILL},
    {"SIGUSR1", SIGUSR1}, {"SIGUSR2", SIGUSR2}, {"SIGTERM", SIGTERM}, {"SIGCONT", SIGCONT},
    {"SIGSTOP", SIGSTOP}, {"SIGTSTP", SIGTSTP}, {"SIGWINCH", SIGWINCH}}};

}  // namespace

std::optional<int> signal_number(std::string_view name) noexcept {
  const auto* const known = std::find_if(
    signals.begin(), signals.end(), [&](const auto& each) { return each.first == name; });
  return known == signals.end() ? std::nullopt : std::optional{known->second};
}

}  // namespace previewd::net::api
