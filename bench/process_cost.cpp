#include "process_cost.hpp"

#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <iterator>
#include <sstream>
#include <string>
#include <vector>

namespace previewd::bench {

namespace {

/// More than any service starts; a walk over processes that come and go has to end.
constexpr std::size_t most_processes = 4096;

std::string folder_of(pid_t process) {
  return "/proc/" + std::to_string(process);
}

std::optional<std::string> text_of(const std::string& path) {
  std::ifstream file{path};
  if (!file) return std::nullopt;
  return std::string{std::istreambuf_iterator<char>{file}, {}};
}

std::vector<pid_t> tree_of(pid_t root) {
  std::vector<pid_t> found{root};
  for (std::size_t i = 0; i < found.size() && found.size() < most_processes; ++i) {
    std::error_code error;
    std::filesystem::directory_iterator threads{folder_of(found[i]) + "/task", error};
    for (; !error && threads != std::filesystem::directory_iterator{}; threads.increment(error)) {
      std::ifstream children{threads->path() / "children"};
      for (pid_t child = 0; children >> child;) found.push_back(child);
    }
  }
  return found;
}

std::optional<double> own_processor_seconds(pid_t process) {
  const auto text = text_of(folder_of(process) + "/stat");
  if (!text) return std::nullopt;
  // The name in parentheses may hold blanks; what follows it are fields 3 and up.
  const std::size_t end = text->rfind(')');
  if (end == std::string::npos) return std::nullopt;
  std::istringstream fields{text->substr(end + 1)};
  std::string skipped;
  for (int field = 3; field < 14; ++field) fields >> skipped;
  double user = 0;
  double system = 0;
  if (!(fields >> user >> system)) return std::nullopt;
  return (user + system) / static_cast<double>(::sysconf(_SC_CLK_TCK));
}

std::optional<uint64_t> own_proportional_bytes(pid_t process) {
  const auto text = text_of(folder_of(process) + "/smaps_rollup");
  if (!text) return std::nullopt;
  const std::size_t at = text->find("\nPss:");
  uint64_t kibibytes = 0;
  if (at == std::string::npos || !(std::istringstream{text->substr(at + 5)} >> kibibytes))
    return std::nullopt;
  return kibibytes * 1024;
}

/// The sum over all of them; of the root at least there has to be a figure.
template <class Value, class Own>
std::optional<Value> sum_of(const observed_process& what, Own own) {
  std::optional<Value> sum = what.root > 0 ? own(what.root) : std::nullopt;
  if (!sum || what.how_far == observed_process::extent::alone) return sum;
  for (const pid_t process : tree_of(what.root))
    if (process != what.root) *sum += own(process).value_or(Value{});
  return sum;
}

}  // namespace

std::optional<double> processor_seconds(const observed_process& what) {
  return sum_of<double>(what, own_processor_seconds);
}

std::optional<uint64_t> proportional_bytes(const observed_process& what) {
  return sum_of<uint64_t>(what, own_proportional_bytes);
}

}  // namespace previewd::bench
