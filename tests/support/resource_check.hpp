#pragma once

#include <dirent.h>
#include <sys/types.h>
#include <unistd.h>

#include <cctype>
#include <chrono>
#include <cstdlib>
#include <fstream>
#include <map>
#include <memory>
#include <string>
#include <thread>
#include <utility>

#include "previewd/tests/support/eventually.hpp"

namespace previewd::test {

/// What this process holds at one moment: descriptors by what they name, child processes (zombies
/// too) and threads.
struct resource_snapshot {
  std::map<std::string, int> descriptors;  // link target, sockets and pipes by kind; how many
  std::map<std::string, int> children;     // "name pid state"
  int threads = 0;

  friend bool operator==(const resource_snapshot&, const resource_snapshot&) = default;

  static resource_snapshot take() {
    resource_snapshot result;
    for_each_entry("/proc/self/fd", [&](const std::string& name, int directory) {
      if (std::atoi(name.c_str()) == directory) return;
      char target[4096];
      const ssize_t n = ::readlink(("/proc/self/fd/" + name).c_str(), target, sizeof target);
      if (n <= 0) return;
      std::string text{target, static_cast<std::size_t>(n)};
      // "socket:[123]": the number tells nothing, and differs from run to run.
      if (const auto bracket = text.find(":["); bracket != std::string::npos) text.resize(bracket);
      ++result.descriptors[text];
    });
    for_each_entry("/proc/self/task", [&](const std::string& thread, int) {
      ++result.threads;
      std::ifstream pids{"/proc/self/task/" + thread + "/children"};
      for (std::string pid; pids >> pid;) {
        if (const std::string who = describe(pid); !who.empty()) ++result.children[who];
      }
    });
    return result;
  }

  /// What `now` has more or less of, one a line. Empty: nothing.
  std::string difference(const resource_snapshot& now) const {
    std::string text;
    compare(descriptors, now.descriptors, "descriptor ", text);
    compare(children, now.children, "child ", text);
    if (threads != now.threads)
      text += "threads: " + std::to_string(threads) + " -> " + std::to_string(now.threads) + "\n";
    return text;
  }

private:
  template <class Visit> static void for_each_entry(const char* path, Visit visit) {
    const std::unique_ptr<DIR, int (*)(DIR*)> directory{::opendir(path), &::closedir};
    if (!directory) return;
    while (const dirent* entry = ::readdir(directory.get())) {
      if (std::isdigit(static_cast<unsigned char>(entry->d_name[0])) != 0)
        visit(std::string{entry->d_name}, ::dirfd(directory.get()));
    }
  }

  static std::string describe(const std::string& pid) {
    std::ifstream stat{"/proc/" + pid + "/stat"};
    std::string line;
    if (!std::getline(stat, line)) return {};
    const auto open = line.find('(');
    const auto close = line.rfind(')');
    if (open == std::string::npos || close == std::string::npos || close + 2 >= line.size())
      return {};
    return line.substr(open, close - open + 1) + " pid " + pid + " state " + line[close + 2];
  }

  static void compare(const std::map<std::string, int>& before,
    const std::map<std::string, int>& after, const char* what, std::string& text) {
    for (const auto& [name, count] : after) {
      const auto old = before.find(name);
      const int had = old == before.end() ? 0 : old->second;
      if (had != count)
        text += what + name + ": " + std::to_string(had) + " -> " + std::to_string(count) + "\n";
    }
    for (const auto& [name, count] : before) {
      if (after.count(name) == 0) text += what + name + ": " + std::to_string(count) + " -> 0\n";
    }
  }
};

/// Compares what this process holds now with what it held when this was made. At the end of a
/// test's scope, when all it used is gone:
///
///     resource_check resources;
///     { ... }
///     CHECK(resources.difference() == "");
///
/// What ends in the background (a joined thread that the kernel still lists, a zombie about to be
/// reaped) has until the deadline.
class resource_check {
public:
  /// @param looks So many equal ones in a row, before it begins: more where other threads still
  /// close what a service that goes on has done with.
  explicit resource_check(int looks = 3) {
    // ThreadSanitizer begins a thread of its own with the first that a program starts.
    static const bool started = (std::thread{[] {}}.join(), true);
    static_cast<void>(started);
    // What an earlier test has joined may be listed for a moment yet: begin when nothing changes.
    int unchanged = 0;
    eventually(
      [&] {
        resource_snapshot now = resource_snapshot::take();
        unchanged = now == before_ ? unchanged + 1 : 0;
        before_ = std::move(now);
        return unchanged == looks;
      },
      looks * std::chrono::milliseconds{300});
  }

  /// Empty when everything is as it was; otherwise what is different, one a line.
  std::string difference(std::chrono::milliseconds limit = std::chrono::seconds{5}) const {
    std::string text;
    eventually(
      [&] {
        text = before_.difference(resource_snapshot::take());
        return text.empty();
      },
      limit);
    return text;
  }

private:
  resource_snapshot before_;
};

}  // namespace previewd::test
