#include "previewd/os/process_tree.hpp"

#include <unistd.h>

#include <algorithm>

namespace previewd::os {

namespace {

constexpr std::string_view mark_name = "PREVIEWD_TERMINAL";

const std::vector<process_stat> nobody;

}  // namespace

void process_tree::follow(const std::string& id, process_id leader) {
  const bool is_new = terminals_.count(id) == 0;
  terminals_[id].leader = leader;
  // What it has started already is found as ever. Not by a pid that may be another's by now.
  if (is_new && is_alive(leader)) (void)cgroups_.add(id, leader.pid);
}

void process_tree::forget(const std::string& id) {
  std::erase_if(in_cgroups_, [&](const auto& entry) { return *entry.second == id; });
  if (terminals_.erase(id) > 0) cgroups_.remove(id);
  std::erase_if(belongs_, [&](const auto& entry) { return entry.second == id; });
}

const std::vector<process_stat>& process_tree::members(const std::string& id) const {
  const auto found = terminals_.find(id);
  return found == terminals_.end() ? nobody : found->second.members;
}

error_code process_tree::refresh(process_search where) {
  if (terminals_.empty()) {
    marks_.clear();
    return {};
  }
  // Half a picture would show processes as gone that are only not seen.
  result<cgroup_members> before = look_at_cgroups();
  if (!before) return before.error();
  in_cgroups_ = std::move(*before);
  const result<snapshot> seen = look(where);
  if (!seen) return seen.error();
  // Only who is still there: a pid may have gone to another process before it was looked at.
  const result<cgroup_members> after = look_at_cgroups();
  if (!after) return after.error();
  std::erase_if(in_cgroups_, [&](const auto& entry) { return after->count(entry.first) == 0; });
  const snapshot& all = *seen;
  for (auto& [id, entry] : terminals_) entry.members.clear();
  std::unordered_map<pid_t, const std::string*> known;
  for (const auto& [pid, process] : all) terminal_of(process, all, known);

  std::erase_if(marks_, [&](const auto& entry) {
    const auto found = all.find(entry.first.pid);
    return found == all.end() || found->second.id() != entry.first;
  });
  belongs_.clear();
  for (const auto& [pid, id] : known) {
    const process_stat& process = all.at(pid);
    if (id == nullptr || !process.is_alive()) continue;
    belongs_.emplace(process.id(), *id);
    terminals_.at(*id).members.push_back(process);
  }
  for (auto& [id, entry] : terminals_) {
    std::sort(entry.members.begin(), entry.members.end(),
      [](const process_stat& a, const process_stat& b) { return a.pid < b.pid; });
  }
  return {};
}

result<process_tree::cgroup_members> process_tree::look_at_cgroups() const {
  cgroup_members all;
  if (!cgroups_.is_used()) return all;
  std::vector<pid_t> pids;
  for (const auto& [id, entry] : terminals_) {
    pids.clear();
    if (const error_code failure = cgroups_.append_members(id, pids); is_shortage(failure))
      return failure;
    for (const pid_t pid : pids) all.emplace(pid, &id);
  }
  return all;
}

result<process_tree::snapshot> process_tree::look(process_search where) const {
  snapshot all;
  std::vector<pid_t> pids;
  if (where == process_search::everything) {
    if (const error_code failure = append_processes(pids); is_shortage(failure)) return failure;
    for (const pid_t pid : pids) {
      auto stat = read_stat(pid);
      if (stat) {
        all.emplace(pid, std::move(*stat));
      } else if (is_shortage(stat.error())) {
        return stat.error();
      }
    }
    return all;
  }
  if (const error_code failure = append_children(::getpid(), pids); is_shortage(failure))
    return failure;
  for (const auto& [id, entry] : terminals_) pids.push_back(entry.leader.pid);
  for (const auto& [process, id] : belongs_) pids.push_back(process.pid);
  for (const auto& [pid, id] : in_cgroups_) pids.push_back(pid);
  while (!pids.empty()) {
    const pid_t pid = pids.back();
    pids.pop_back();
    if (all.count(pid) != 0) continue;
    auto stat = read_stat(pid);
    if (!stat) {
      if (is_shortage(stat.error())) return stat.error();
      continue;
    }
    all.emplace(pid, std::move(*stat));
    if (const error_code failure = append_children(pid, pids); is_shortage(failure)) return failure;
  }
  return all;
}

const std::string* process_tree::terminal_of(const process_stat& process, const snapshot& all,
  std::unordered_map<pid_t, const std::string*>& known) {
  if (const auto found = known.find(process.pid); found != known.end()) return found->second;
  // Also what ends a circle, should a pid have been reused while we looked.
  known.emplace(process.pid, nullptr);
  if (process.pid == 1 || process.pid == ::getpid()) return nullptr;

  const std::string* id = nullptr;
  if (const auto found = in_cgroups_.find(process.pid); found != in_cgroups_.end())
    id = found->second;
  if (const auto found = belongs_.find(process.id()); id == nullptr && found != belongs_.end())
    id = name_of(found->second);
  if (id == nullptr) id = terminal_by_leader(process, all);
  if (id == nullptr) {
    const auto parent = all.find(process.parent);
    if (parent != all.end() && parent->second.start_time <= process.start_time)
      id = terminal_of(parent->second, all, known);
  }
  if (id == nullptr) id = terminal_by_mark(process);
  known[process.pid] = id;
  return id;
}

const std::string*
process_tree::terminal_by_leader(const process_stat& process, const snapshot& all) {
  for (auto& [id, entry] : terminals_) {
    process_id& leader = entry.leader;
    // Session 0 is that of the kernel's threads, and of all whose session lies outside of a
    // container.
    if (leader.pid <= 0) continue;
    if (process.pid == leader.pid) {
      if (leader.start_time == 0) {
        const std::string* marked = terminal_by_mark(process);
        if (marked != nullptr && *marked == id) leader.start_time = process.start_time;
      }
      if (leader.start_time == process.start_time) return &id;
    } else if (process.session == leader.pid) {
      // A session keeps its number while anybody is in it, so the number is not another's; unless
      // that one leads the session, because all of ours had ended before.
      const auto first = all.find(leader.pid);
      if (first != all.end()) {
        if (first->second.start_time == leader.start_time) return &id;
      } else if (const auto now = read_stat(leader.pid); !now && is_gone(now.error())) {
        return &id;
      }
    }
  }
  return nullptr;
}

const std::string* process_tree::terminal_by_mark(const process_stat& process) {
  environment_variable& mark = marks_[process.id()];
  if (!mark.known) mark = read_environment(process.pid, mark_name);
  return mark.value ? name_of(*mark.value) : nullptr;
}

const std::string* process_tree::name_of(const std::string& id) const {
  const auto found = terminals_.find(id);
  return found == terminals_.end() ? nullptr : &found->first;
}

}  // namespace previewd::os
