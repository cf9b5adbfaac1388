#include "previewd/os/procfs.hpp"

#include <dirent.h>
#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <cstring>
#include <memory>

#include "previewd/os/system_call.hpp"
#include "previewd/os/unique_fd.hpp"

namespace previewd::os {

namespace {

const call_site open_file{"proc.open", {EMFILE, ENFILE, ENOMEM}};
const call_site read_from_file{"proc.read", {ENOMEM, short_transfer}};
const call_site open_directory{"proc.list", {EMFILE, ENFILE, ENOMEM}};
const call_site next_entry{"proc.entry", {ENOMEM}};
const call_site read_link{"proc.link", {ENOMEM}};

/// Room for "/proc/PID/task/TID/children" and the like.
class proc_path {
public:
  explicit proc_path(pid_t pid) noexcept { add("/proc/").add(pid); }

  proc_path& add(std::string_view text) noexcept {
    const std::size_t n = std::min(text.size(), text_.size() - 1 - size_);
    std::memcpy(text_.data() + size_, text.data(), n);
    size_ += n;
    text_[size_] = '\0';
    return *this;
  }
  proc_path& add(pid_t number) noexcept {
    char digits[16];
    const auto end = std::to_chars(digits, digits + sizeof digits, number).ptr;
    return add(std::string_view{digits, static_cast<std::size_t>(end - digits)});
  }
  const char* c_str() const noexcept { return text_.data(); }

private:
  std::array<char, 96> text_{};
  std::size_t size_ = 0;
};

template <class Number> std::optional<Number> to_number(std::string_view text) noexcept {
  Number value{};
  const auto [end, failure] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (failure != std::errc{} || end != text.data() + text.size()) return std::nullopt;
  return value;
}

/// Appends a file of /proc, which has no size before it is read, up to `limit` bytes.
error_code append_file(const char* path, std::string& text, std::size_t limit) {
  const unique_fd file{system_call(open_file, [&] { return ::open(path, O_RDONLY | O_CLOEXEC); })};
  if (!file) return last_error();
  const std::size_t before = text.size();
  std::array<char, 4096> buffer;
  while (text.size() - before < limit) {
    const std::size_t room = std::min(buffer.size(), limit - (text.size() - before));
    const ssize_t n = system_call(read_from_file, room,
      [&](std::size_t size) { return ::read(file.get(), buffer.data(), size); });
    if (n < 0) return last_error();
    if (n == 0) break;
    text.append(buffer.data(), static_cast<std::size_t>(n));
  }
  return {};
}

template <class Visit> error_code for_each_number(const char* path, Visit visit) {
  struct closer {
    void operator()(DIR* directory) const noexcept { ::closedir(directory); }
  };
  const std::unique_ptr<DIR, closer> directory{
    system_call(open_directory, [&] { return ::opendir(path); })};
  if (!directory) return last_error();
  for (;;) {
    const dirent* const entry = system_call(next_entry, [&] {
      errno = 0;  // which tells the end from an error (readdir(3))
      return ::readdir(directory.get());
    });
    if (entry == nullptr) return errno == 0 ? error_code{} : last_error();
    const auto number = to_number<pid_t>(entry->d_name);
    if (!number) continue;
    const std::optional<error_code> end = visit(*number, ::dirfd(directory.get()), entry->d_name);
    if (end) return *end;
  }
}

/// What ends a visit: what could not be seen for want of something. Whatever else fails has gone.
std::optional<error_code> end_at(const error_code& failure) {
  return is_shortage(failure) ? std::optional{failure} : std::nullopt;
}

/// Visits the inodes of a process' sockets, until `visit` says true.
template <class Visit> error_code for_each_socket(pid_t pid, Visit visit) {
  return for_each_number(proc_path{pid}.add("/fd").c_str(),
    [&](pid_t, int directory, const char* name) -> std::optional<error_code> {
      constexpr std::string_view prefix = "socket:[";
      char target[64];
      const ssize_t n = system_call(
        read_link, [&] { return ::readlinkat(directory, name, target, sizeof target); });
      if (n < 0) return end_at(last_error());
      const std::string_view link{target, static_cast<std::size_t>(n)};
      if (!link.starts_with(prefix) || link.back() != ']') return std::nullopt;
      const std::string_view digits = link.substr(prefix.size(), link.size() - prefix.size() - 1);
      const auto inode = to_number<uint64_t>(digits);
      return inode && visit(*inode) ? std::optional{error_code{}} : std::nullopt;
    });
}

/// Takes the next field, which a space ends.
std::string_view next_field(std::string_view& rest) noexcept {
  const std::size_t end = std::min(rest.find(' '), rest.size());
  const std::string_view field = rest.substr(0, end);
  rest.remove_prefix(std::min(end + 1, rest.size()));
  return field;
}

/// How much of an environment is searched: far more than execve(2) lets through by default.
constexpr std::size_t environment_limit = 4 * 1024 * 1024;

}  // namespace

std::optional<process_stat> parse_stat(std::string_view line) {
  if (!line.empty() && line.back() == '\n') line.remove_suffix(1);
  const std::size_t open = line.find(" (");
  const std::size_t close = line.rfind(") ");
  if (open == std::string_view::npos || close == std::string_view::npos || close < open + 2)
    return std::nullopt;
  const auto pid = to_number<pid_t>(line.substr(0, open));
  if (!pid) return std::nullopt;

  process_stat result;
  result.pid = *pid;
  result.name = line.substr(open + 2, close - open - 2);
  std::string_view rest = line.substr(close + 2);
  const std::string_view state = next_field(rest);
  if (state.size() != 1) return std::nullopt;
  result.state = state[0];
  const auto parent = to_number<pid_t>(next_field(rest));
  const auto group = to_number<pid_t>(next_field(rest));
  const auto session = to_number<pid_t>(next_field(rest));
  const auto terminal = to_number<int>(next_field(rest));
  const auto terminal_group = to_number<pid_t>(next_field(rest));
  const auto flags = to_number<uint64_t>(next_field(rest));
  // 4 counts of faults, 4 times, priority, nice
  for (int field = 10; field <= 19; ++field) next_field(rest);
  const auto threads = to_number<int64_t>(next_field(rest));
  next_field(rest);  // itrealvalue
  const auto start_time = to_number<uint64_t>(next_field(rest));
  if (!parent || !group || !session || !terminal || !terminal_group || !flags || !threads ||
      !start_time)
    return std::nullopt;
  result.parent = *parent;
  result.group = *group;
  result.session = *session;
  result.terminal = *terminal;
  result.terminal_group = *terminal_group;
  result.flags = *flags;
  result.threads = *threads;
  result.start_time = *start_time;
  return result;
}

result<process_stat> read_stat(pid_t pid) {
  std::string line;
  if (const error_code failure = append_file(proc_path{pid}.add("/stat").c_str(), line, 4096))
    return failure.value() == ENOENT ? system_error(ESRCH) : failure;
  auto stat = parse_stat(line);
  if (!stat) return system_error(EBADMSG);
  return std::move(*stat);
}

bool is_gone(const error_code& code) noexcept {
  return code == system_error(ESRCH);
}

bool is_alive(const process_id& process) {
  const auto now = read_stat(process.pid);
  if (!now) return !is_gone(now.error());
  return now->start_time == process.start_time && now->is_alive();
}

std::string read_command(pid_t pid, std::size_t limit) {
  std::string text;
  append_file(proc_path{pid}.add("/cmdline").c_str(), text, limit);
  while (!text.empty() && (text.back() == '\0' || text.back() == ' ')) text.pop_back();
  std::replace(text.begin(), text.end(), '\0', ' ');
  if (!text.empty()) return text;
  const auto stat = read_stat(pid);
  return stat ? "[" + stat->name + "]" : std::string{};
}

environment_variable read_environment(pid_t pid, std::string_view name) {
  std::string text;
  if (append_file(proc_path{pid}.add("/environ").c_str(), text, environment_limit) || text.empty())
    return {};
  std::string_view rest = text;
  while (!rest.empty()) {
    const std::size_t end = std::min(rest.find('\0'), rest.size());
    const std::string_view variable = rest.substr(0, end);
    if (variable.size() > name.size() && variable.starts_with(name) && variable[name.size()] == '=')
      return {std::string{variable.substr(name.size() + 1)}, true};
    rest.remove_prefix(std::min(end + 1, rest.size()));
  }
  return {std::nullopt, true};
}

error_code append_children(pid_t pid, std::vector<pid_t>& children) {
  std::string text;
  return for_each_number(proc_path{pid}.add("/task").c_str(), [&](pid_t thread, int, const char*) {
    text.clear();
    constexpr std::size_t limit = 1024 * 1024;
    const error_code failure =
      append_file(proc_path{pid}.add("/task/").add(thread).add("/children").c_str(), text, limit);
    std::string_view rest = text;
    while (!rest.empty()) {
      if (const auto child = to_number<pid_t>(next_field(rest))) children.push_back(*child);
    }
    return end_at(failure);
  });
}

error_code append_socket_inodes(pid_t pid, std::vector<uint64_t>& inodes) {
  return for_each_socket(pid, [&](uint64_t inode) {
    inodes.push_back(inode);
    return false;
  });
}

result<bool> holds_socket(pid_t pid, const std::vector<uint64_t>& inodes) {
  bool holds = false;
  const error_code failure = for_each_socket(pid, [&](uint64_t inode) {
    holds = std::find(inodes.begin(), inodes.end(), inode) != inodes.end();
    return holds;
  });
  if (failure) return {boost::system::in_place_error, failure};
  return holds;
}

error_code append_processes(std::vector<pid_t>& pids) {
  return for_each_number("/proc", [&](pid_t pid, int, const char*) -> std::optional<error_code> {
    pids.push_back(pid);
    return std::nullopt;
  });
}

}  // namespace previewd::os
