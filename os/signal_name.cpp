#include "previewd/os/signal_name.hpp"

#include <csignal>
#include <cstring>

namespace previewd::os {

std::string signal_name(int number) {
  if (const char* name = ::sigabbrev_np(number)) return std::string{"SIG"} + name;
  if (number >= SIGRTMIN && number <= SIGRTMAX)
    return "SIGRTMIN+" + std::to_string(number - SIGRTMIN);
  return "SIG" + std::to_string(number);
}

int signal_number(std::string_view name) noexcept {
  if (name.starts_with("SIG")) name.remove_prefix(3);
  for (int number = 1; number < SIGRTMIN; ++number) {
    const char* known = ::sigabbrev_np(number);
    if (known != nullptr && name == known) return number;
  }
  return 0;
}

}  // namespace previewd::os
