#include "previewd/tests/model/history.hpp"

#include <array>

namespace previewd::test {

namespace {

constexpr std::array names{"keep", "open", "leave", "close", "up", "answer", "again", "down",
  "vanish", "notice", "die", "prompt", "foreground", "stop", "cont", "hang", "refuse", "probe",
  "tunnel", "hang_up", "hand_add", "hand_remove", "stale", "kill", "wait", "pass", "shut_down",
  "apply", "deliver", "duplicate", "run", "burst"};
static_assert(names.size() == static_cast<std::size_t>(op::burst) + 1);

}  // namespace

std::ostream& operator<<(std::ostream& out, const history& what) {
  out << "{{";
  const char* separator = "";
  for (const command& one : what.commands) {
    out << separator << "{op::" << names[static_cast<std::size_t>(one.what)] << ", " << int{one.a}
        << ", " << int{one.b} << ", " << int{one.c} << '}';
    separator = ", ";
  }
  return out << "}}";
}

}  // namespace previewd::test
