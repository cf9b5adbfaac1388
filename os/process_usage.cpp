#include "previewd/os/process_usage.hpp"

#include <dirent.h>
#include <malloc.h>
#include <sys/resource.h>
#include <unistd.h>

#include <array>
#include <cctype>
#include <cstdlib>
#include <fstream>
#include <memory>
#include <sstream>
#include <string_view>
#include <vector>

#include "previewd/os/procfs.hpp"

namespace previewd::os {

namespace {

std::string kind_of(std::string_view target) {
  constexpr std::array<std::pair<std::string_view, const char*>, 9> kinds{{{"socket:", "socket"},
    {"pipe:", "pipe"}, {"/dev/ptmx", "pty"}, {"/dev/pts/", "pty"}, {"anon_inode:[pidfd]", "pidfd"},
    {"anon_inode:[eventpoll]", "epoll"}, {"anon_inode:[eventfd]", "event"},
    {"anon_inode:[timerfd]", "timer"}, {"anon_inode:[signalfd]", "signal"}}};
  for (const auto& [start, kind] : kinds)
    if (target.substr(0, start.size()) == start) return kind;
  return "file";
}

void read_descriptors(process_usage& usage) {
  const std::unique_ptr<DIR, int (*)(DIR*)> directory{::opendir("/proc/self/fd"), &::closedir};
  if (!directory) return;
  const int own = ::dirfd(directory.get());
  std::array<char, 128> target{};
  while (const dirent* entry = ::readdir(directory.get())) {
    if (std::isdigit(static_cast<unsigned char>(entry->d_name[0])) == 0) continue;
    if (std::atoi(entry->d_name) == own) continue;
    const ssize_t length = ::readlinkat(own, entry->d_name, target.data(), target.size());
    if (length > 0) ++usage.descriptors[kind_of({target.data(), static_cast<std::size_t>(length)})];
  }
}

/// Fields of /proc/self/stat after the name, which may hold spaces: the first is number 3, the
/// state.
std::vector<std::string> stat_fields() {
  std::ifstream file{"/proc/self/stat"};
  std::string line;
  std::getline(file, line);
  std::vector<std::string> fields;
  const std::size_t name_end = line.rfind(')');
  if (name_end == std::string::npos) return fields;
  std::istringstream rest{line.substr(name_end + 1)};
  for (std::string field; rest >> field;) fields.push_back(field);
  return fields;
}

double boot_seconds() {
  std::ifstream file{"/proc/stat"};
  for (std::string word; file >> word;) {
    double seconds = 0;
    if (word == "btime" && file >> seconds) return seconds;
  }
  return 0;
}

}  // namespace

process_usage read_process_usage() {
  process_usage usage;
  const auto ticks = static_cast<double>(::sysconf(_SC_CLK_TCK));
  const auto page = static_cast<uint64_t>(::sysconf(_SC_PAGESIZE));
  const std::vector<std::string> fields = stat_fields();
  const auto field = [&](std::size_t number) -> uint64_t {
    const std::size_t place = number - 3;
    return place < fields.size() ? std::strtoull(fields[place].c_str(), nullptr, 10) : 0;
  };
  usage.cpu_seconds = static_cast<double>(field(14) + field(15)) / ticks;
  usage.threads = field(20);
  // Kept, since the boot time that the kernel tells can change with the clock by a second.
  static const double boot = boot_seconds();
  usage.start_seconds = boot + static_cast<double>(field(22)) / ticks;
  usage.virtual_bytes = field(23);
  usage.resident_bytes = field(24) * page;
  const struct mallinfo2 heap = ::mallinfo2();
  usage.allocated_bytes = heap.uordblks + heap.hblkhd;
  std::vector<pid_t> children;
  append_children(::getpid(), children);
  usage.children = children.size();
  rlimit limit{};
  if (::getrlimit(RLIMIT_NOFILE, &limit) == 0) usage.descriptor_limit = limit.rlim_cur;
  read_descriptors(usage);
  return usage;
}

}  // namespace previewd::os
