#include "previewd/os/child_reaper.hpp"

#include <sys/prctl.h>
#include <sys/wait.h>

#include <utility>
#include <vector>

#include "previewd/os/signal_name.hpp"
#include "previewd/os/system_call.hpp"

namespace previewd::os {

namespace {

const call_site wait_for_child{"reaper.wait"};
const call_site adopt_orphans{"reaper.adopt", {EINVAL}};

exit_status status_of(int status) {
  exit_status result;
  if (WIFEXITED(status)) {
    result.code = WEXITSTATUS(status);
  } else if (WIFSIGNALED(status)) {
    result.signal = signal_name(WTERMSIG(status));
  }
  return result;
}

}  // namespace

start_result child_reaper::start(const process_spec& spec) {
  {
    const std::lock_guard lock{mutex_};
    ++starting_;
  }
  // Not under the lock: loading a program may wait for a disk, and others have children to reap.
  const start_result outcome = start_process(spec);
  const std::lock_guard lock{mutex_};
  if (outcome) {
    claim& mine = claims_[outcome.pid()];
    mine = {};
    if (const auto ended = unclaimed_.find(outcome.pid()); ended != unclaimed_.end())
      mine.status = std::move(ended->second);
  }
  if (--starting_ == 0) unclaimed_.clear();
  return outcome;
}

void child_reaper::reap() {
  const std::lock_guard lock{mutex_};
  reap_locked();
}

std::optional<exit_status> child_reaper::take(pid_t pid) {
  const std::lock_guard lock{mutex_};
  reap_locked();
  const auto found = claims_.find(pid);
  if (found == claims_.end() || !found->second.status) return std::nullopt;
  std::optional<exit_status> status = std::move(found->second.status);
  claims_.erase(found);
  return status;
}

void child_reaper::release(pid_t pid) {
  const std::lock_guard lock{mutex_};
  const auto found = claims_.find(pid);
  if (found == claims_.end()) return;
  found->second.status_wanted = wanted::no;
  if (found->second.status) claims_.erase(found);
}

void child_reaper::reap_locked() {
  int status = 0;
  if (mode_ == reap_mode::all) {
    for (;;) {
      const pid_t pid =
        system_call(wait_for_child, [&] { return ::waitpid(-1, &status, WNOHANG); });
      if (pid <= 0) return;
      note_locked(pid, status_of(status));
    }
  }
  std::vector<std::pair<pid_t, exit_status>> ended;
  for (const auto& entry : claims_) {
    if (entry.second.status) continue;
    const pid_t pid = entry.first;
    const pid_t waited =
      system_call(wait_for_child, [&] { return ::waitpid(pid, &status, WNOHANG); });
    if (waited == pid) {
      ended.emplace_back(pid, status_of(status));
    } else if (waited == -1) {
      // Somebody else in this process has waited for it: it has ended, and nobody knows how.
      ended.emplace_back(pid, exit_status{});
    }
  }
  for (auto& [pid, how] : ended) note_locked(pid, std::move(how));
}

void child_reaper::note_locked(pid_t pid, exit_status status) {
  const auto found = claims_.find(pid);
  if (found == claims_.end() || found->second.status) {
    // An orphan that was adopted, or the next bearer of a pid whose claim has ended.
    if (starting_ > 0) unclaimed_[pid] = std::move(status);
  } else if (found->second.status_wanted == wanted::yes) {
    found->second.status = std::move(status);
  } else {
    claims_.erase(found);
  }
}

error_code become_subreaper() noexcept {
  if (system_call(adopt_orphans, [] { return ::prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0); }) == -1)
    return last_error();
  return {};
}

}  // namespace previewd::os
