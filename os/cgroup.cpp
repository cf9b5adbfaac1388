#include "previewd/os/cgroup.hpp"

#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <charconv>
#include <fstream>
#include <memory>
#include <sstream>

#include "previewd/os/system_call.hpp"
#include "previewd/os/unique_fd.hpp"

namespace previewd::os {

namespace {

const call_site open_file{"cgroup.open", {EMFILE, ENFILE, ENOMEM}};
const call_site read_file{"cgroup.read", {ENOMEM}};
const call_site write_file{"cgroup.write", {EAGAIN, ENOMEM}};
const call_site make_folder{"cgroup.make", {EAGAIN, ENOMEM, ENOSPC}};
const call_site remove_folder{"cgroup.remove", {EBUSY}};

constexpr std::string_view prefix = "previewd-";

/// The path of this process in the hierarchy of version 2, as /proc/self/cgroup has it.
std::string own_path() {
  std::ifstream file{"/proc/self/cgroup"};
  for (std::string line; std::getline(file, line);)
    if (line.rfind("0::", 0) == 0) return line.substr(3);
  return {};
}

/// Where that hierarchy is mounted, and which part of it (proc(5), mountinfo).
struct mounted {
  std::string root;
  std::string folder;
};

mounted hierarchy() {
  std::ifstream file{"/proc/self/mountinfo"};
  for (std::string line; std::getline(file, line);) {
    if (line.find(" - cgroup2 ") == std::string::npos) continue;
    std::istringstream fields{line};
    std::string skipped;
    mounted found;
    fields >> skipped >> skipped >> skipped >> found.root >> found.folder;
    return found;
  }
  return {};
}

bool is_delegated(const std::string& folder) {
  for (const char* name : {"user.delegate", "trusted.delegate"}) {
    char value[2] = {};
    if (::getxattr(folder.c_str(), name, value, sizeof value) == 1 && value[0] == '1') return true;
  }
  return false;
}

error_code write_text(const std::string& path, std::string_view text) {
  const unique_fd file{
    system_call(open_file, [&] { return ::open(path.c_str(), O_WRONLY | O_CLOEXEC); })};
  if (!file) return last_error();
  if (system_call(write_file, [&] { return ::write(file.get(), text.data(), text.size()); }) == -1)
    return last_error();
  return {};
}

}  // namespace

std::string delegated_cgroup() {
  const std::string path = own_path();
  const mounted at = hierarchy();
  if (path.empty() || at.folder.empty()) return {};
  std::string_view below = path;
  if (at.root != "/") {
    if (below.substr(0, at.root.size()) != at.root) return {};
    below.remove_prefix(at.root.size());
  }
  std::string folder = at.folder;
  if (below != "/") folder += below;
  if (!is_delegated(folder) || ::access(folder.c_str(), W_OK) != 0) return {};
  return folder;
}

terminal_cgroups::terminal_cgroups(std::string folder) : folder_{std::move(folder)} {
  if (!is_used()) return;
  const std::unique_ptr<DIR, int (*)(DIR*)> list{::opendir(folder_.c_str()), &::closedir};
  if (!list) return;
  while (const dirent* entry = ::readdir(list.get())) {
    const std::string_view name = entry->d_name;
    if (name.substr(0, prefix.size()) == prefix) remove(name.substr(prefix.size()));
  }
}

std::string terminal_cgroups::path_of(std::string_view id) const {
  return folder_ + '/' + std::string{prefix} + std::string{id};
}

error_code terminal_cgroups::add(std::string_view id, pid_t pid) {
  if (!is_used()) return {};
  const std::string path = path_of(id);
  if (system_call(make_folder, [&] { return ::mkdir(path.c_str(), 0755); }) == -1 &&
      errno != EEXIST)
    return last_error();
  const error_code failure = write_text(path + "/cgroup.procs", std::to_string(pid));
  if (failure) remove(id);
  return failure;
}

error_code terminal_cgroups::append_members(std::string_view id, std::vector<pid_t>& pids) const {
  if (!is_used()) return {};
  const std::string path = path_of(id) + "/cgroup.procs";
  const unique_fd file{
    system_call(open_file, [&] { return ::open(path.c_str(), O_RDONLY | O_CLOEXEC); })};
  if (!file) return errno == ENOENT ? error_code{} : last_error();
  std::string text;
  std::array<char, 4096> part{};
  for (;;) {
    const ssize_t count =
      system_call(read_file, [&] { return ::read(file.get(), part.data(), part.size()); });
    if (count == -1) return errno == ENODEV ? error_code{} : last_error();  // removed meanwhile
    if (count == 0) break;
    text.append(part.data(), static_cast<std::size_t>(count));
  }
  for (const char* at = text.data(); at < text.data() + text.size(); ++at) {
    pid_t pid = 0;
    const auto [end, failure] = std::from_chars(at, text.data() + text.size(), pid);
    // 0: one that this process's namespace does not know.
    if (failure == std::errc{} && pid > 0) pids.push_back(pid);
    at = end;
  }
  return {};
}

error_code terminal_cgroups::kill(std::string_view id) const {
  return is_used() ? write_text(path_of(id) + "/cgroup.kill", "1") : error_code{};
}

void terminal_cgroups::remove(std::string_view id) const {
  if (!is_used()) return;
  const std::string path = path_of(id);
  (void)system_call(remove_folder, [&] { return ::rmdir(path.c_str()); });
}

}  // namespace previewd::os
