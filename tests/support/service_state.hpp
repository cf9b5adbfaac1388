#pragma once

#include <nlohmann/json.hpp>
#include <string>

#include "previewd/tests/support/http_client.hpp"

namespace previewd::test {

/// What a service holds at this moment (`GET /debug/state`), name by name. Empty: it does not
/// answer. `fields`: further lines of the request, by which whoever asks has the right to.
inline nlohmann::json service_state(uint16_t port, const std::string& fields = {}) {
  const http_answer answer = fetch(port, "GET /debug/state", fields);
  if (answer.status != 200) return nlohmann::json::object();
  nlohmann::json state = nlohmann::json::parse(answer.body, nullptr, false);
  if (!state.is_object()) return nlohmann::json::object();
  state.erase("residentBytes");  // an allocator keeps what it likes
  return state.flatten();
}

/// The state once it no longer changes from one look to the next.
inline nlohmann::json settled_state(uint16_t port, const std::string& fields = {}) {
  nlohmann::json state;
  int unchanged = 0;
  eventually(
    [&] {
      nlohmann::json now = service_state(port, fields);
      unchanged = now == state ? unchanged + 1 : 0;
      state = std::move(now);
      return unchanged == 3;
    },
    std::chrono::seconds{5});
  return state;
}

/// Closes every terminal and removes every server, then says what the service holds more or less of
/// than `start`, one a line. Empty: nothing.
inline std::string
left_in_service(uint16_t port, const nlohmann::json& start, const std::string& fields = {}) {
  const auto remove_all = [&](const char* list, const char* name) {
    const auto all = nlohmann::json::parse(
      fetch(port, std::string{"GET /api/"} + list, fields).body, nullptr, false);
    if (!all.is_object()) return;
    for (const nlohmann::json& one : all.value(list, nlohmann::json::array())) {
      const nlohmann::json& id = one.at(name);
      fetch(port,
        std::string{"DELETE /api/"} + list + "/" +
          (id.is_string() ? id.get<std::string>() : id.dump()),
        fields);
    }
  };
  remove_all("servers", "generation");
  remove_all("terminals", "id");
  std::string difference;
  eventually([&] {
    difference.clear();
    const nlohmann::json now = service_state(port, fields);
    for (const auto& [name, count] : start.items())
      if (!now.contains(name) || now[name] != count)
        difference +=
          name + ": " + count.dump() + " -> " + now.value(name, nlohmann::json{}).dump() + "\n";
    return difference.empty();
  });
  return difference;
}

}  // namespace previewd::test
