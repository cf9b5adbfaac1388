#include "previewd/net/terminal/terminal_directory.hpp"

#include <fcntl.h>
#include <unistd.h>

#include <array>

#include "previewd/os/system_call.hpp"
#include "previewd/os/unique_fd.hpp"

namespace previewd::net::terminal {

namespace {

const os::call_site open_name{"terminal.open_name", {EMFILE, ENFILE, ENOMEM}};
const os::call_site read_name{"terminal.read_name", {ENOMEM, ESRCH}};

/// The name of a process; empty when it is gone.
std::string command_name(int32_t pid) {
  const std::string path = "/proc/" + std::to_string(pid) + "/comm";
  const os::unique_fd file{
    os::system_call(open_name, [&] { return ::open(path.c_str(), O_RDONLY | O_CLOEXEC); })};
  if (!file) return {};
  std::array<char, 64> text{};  // TASK_COMM_LEN is 16
  const ssize_t n =
    os::system_call(read_name, [&] { return ::read(file.get(), text.data(), text.size()); });
  if (n <= 0) return {};
  std::string name{text.data(), static_cast<std::size_t>(n)};
  if (name.back() == '\n') name.pop_back();
  return name;
}

}  // namespace

void terminal_directory::add(std::string id, std::shared_ptr<const terminal_counters> counters) {
  terminals_.insert_or_assign(std::move(id), std::move(counters));
}

void terminal_directory::remove(const std::string& id) {
  terminals_.erase(id);
}

bool terminal_directory::contains(const std::string& id) const {
  return terminals_.count(id) != 0;
}

std::optional<terminal_facts> terminal_directory::facts(const std::string& id) const {
  const auto found = terminals_.find(id);
  if (found == terminals_.end()) return std::nullopt;
  const terminal_counters& now = *found->second;
  terminal_facts facts;
  facts.sequence = now.sequence.load(std::memory_order_relaxed);
  facts.attached = now.attached.load(std::memory_order_relaxed);
  facts.size.columns = now.columns.load(std::memory_order_relaxed);
  facts.size.rows = now.rows.load(std::memory_order_relaxed);
  facts.open = now.open.load(std::memory_order_relaxed);
  const int32_t group = now.foreground_group.load(std::memory_order_relaxed);
  if (facts.open && group > 0) facts.foreground = command_name(group);
  return facts;
}

}  // namespace previewd::net::terminal
