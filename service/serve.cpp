#include "previewd/service/serve.hpp"

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <ctime>
#include <string>
#include <string_view>
#include <utility>

#include "previewd/os/service_manager.hpp"
#include "previewd/service/settings_change.hpp"
#include "previewd/support/log.hpp"

namespace previewd {

namespace {

using std::chrono::steady_clock;
using namespace std::chrono_literals;

/// What CLOCK_MONOTONIC says, by which a service manager knows which reload it is told of.
std::string monotonic_now() {
  timespec now{};
  ::clock_gettime(CLOCK_MONOTONIC, &now);
  return std::to_string(now.tv_sec * 1'000'000 + now.tv_nsec / 1000);
}

/// What is wrong, without what a program begins its last words with.
std::string sentence_of(const early_exit& wrong) {
  constexpr std::string_view begin = "previewd: ";
  std::string_view sentence = wrong.err;
  if (sentence.starts_with(begin)) sentence.remove_prefix(begin.size());
  return std::string{sentence.substr(0, sentence.find('\n'))};
}

/// What the program does while it serves.
class serving {
public:
  serving(service& running, const settings& started_with,
    const std::function<std::variant<settings, early_exit>()>& read_again)
      : service_{running},
        settings_{started_with},
        read_again_{read_again},
        manager_{started_with.manager.notify_socket},
        watchdog_{started_with.manager.watchdog} {}

  void run() {
    tell(ready());
    due_ = steady_clock::now();
    for (;;) {
      if (watchdog_.count() > 0 && steady_clock::now() >= due_) tell_watchdog();
      switch (next_signal()) {
        case SIGHUP:
          reload();
          break;
        case SIGTERM:
        case SIGINT:
          tell("STOPPING=1\nSTATUS=Ending terminals and connections");
          return;
        default:
          break;
      }
    }
  }

private:
  std::string ready() const {
    std::string listening;
    for (const std::string& address : service_.addresses())
      listening += (listening.empty() ? "" : ", ") + address;
    return "READY=1\nSTATUS=Listening on " + listening;
  }

  /// The next signal; 0 when the watchdog wants to hear something before one comes.
  int next_signal() const {
    const sigset_t awaited = served_signals();
    if (watchdog_.count() == 0) return ::sigwaitinfo(&awaited, nullptr);
    const auto left = std::max<steady_clock::duration>(due_ - steady_clock::now(), 0s);
    const auto seconds = std::chrono::floor<std::chrono::seconds>(left);
    const timespec limit{static_cast<std::time_t>(seconds.count()),
      static_cast<long>(std::chrono::nanoseconds{left - seconds}.count())};
    return ::sigtimedwait(&awaited, nullptr, &limit);
  }

  /// Twice in the time that it waits, as sd_watchdog_enabled(3) advises. The answer of a service
  /// that is only slow still comes before it has passed.
  void tell_watchdog() {
    due_ = steady_clock::now() + watchdog_ / 2;
    const auto patience = std::min<std::chrono::microseconds>(watchdog_ / 4, 2s);
    if (service_.answers(patience)) {
      tell("WATCHDOG=1");
      return;
    }
    log::error("watchdog",
      "The service does not answer itself; the service manager is not told that all is well");
  }

  void reload() {
    tell("RELOADING=1\nMONOTONIC_USEC=" + monotonic_now() + "\nSTATUS=Reading settings again");
    const auto read = read_again_();
    if (const auto* wrong = std::get_if<early_exit>(&read)) {
      log::error("reload_failed", "The settings stay as they were: " + sentence_of(*wrong));
    } else {
      change_to(std::get<settings>(read));
    }
    tell(ready());
  }

  void change_to(const settings& read) {
    settings_change change = change_of(settings_, read);
    log::configure(change.merged.log);
    // In the sentence, since one that is said again within a second is only counted.
    std::string changed;
    for (const std::string& name : change.live) changed += (changed.empty() ? "" : ", ") + name;
    log::info("reload",
      "The settings have been read again; changed: " + (changed.empty() ? "nothing" : changed));
    service_.change(change.merged);
    for (const std::string& name : change.needs_restart)
      log::warn("needs_restart", "The setting " + name + " has changed, and needs a restart",
        {{"setting", name}});
    settings_ = std::move(change.merged);
  }

  void tell(const std::string& assignments) {
    const auto failure = manager_.tell(assignments);
    if (!failure || std::exchange(failed_, true)) return;
    log::warn("notify_failed",
      "The service manager (NOTIFY_SOCKET) cannot be told how the service is",
      {{"error", failure.message()}});
  }

  service& service_;
  settings settings_;  // those that hold
  const std::function<std::variant<settings, early_exit>()>& read_again_;
  os::service_manager manager_;
  std::chrono::microseconds watchdog_;  // 0: none
  steady_clock::time_point due_;        // to be told
  bool failed_ = false;
};

}  // namespace

sigset_t served_signals() noexcept {
  sigset_t signals;
  sigemptyset(&signals);
  for (const int one : {SIGTERM, SIGINT, SIGHUP}) sigaddset(&signals, one);
  return signals;
}

void serve(service& running, const settings& started_with,
  const std::function<std::variant<settings, early_exit>()>& read_again) {
  serving{running, started_with, read_again}.run();
  // A second signal ends the process at once, as it would without us.
  const sigset_t signals = served_signals();
  pthread_sigmask(SIG_UNBLOCK, &signals, nullptr);
  running.stop();
}

}  // namespace previewd
