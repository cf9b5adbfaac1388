#include "previewd/net/attach/control.hpp"

#include <nlohmann/json.hpp>

#include "previewd/net/api/signals.hpp"

namespace previewd::net::attach {

namespace {

using nlohmann::json;

std::optional<uint64_t> number_in(const json& object, const char* name, uint64_t most) {
  const auto found = object.find(name);
  if (found == object.end() || !found->is_number_unsigned()) return std::nullopt;
  const auto value = found->get<uint64_t>();
  return value <= most ? std::optional{value} : std::nullopt;
}

}  // namespace

control read_control(std::string_view text) {
  const json object = json::parse(text, nullptr, false);
  if (!object.is_object()) return control_error::malformed;
  const auto type = object.find("type");
  if (type == object.end() || !type->is_string()) return control_error::malformed;
  if (*type == "resize") {
    constexpr uint64_t largest = 1000;
    const auto columns = number_in(object, "cols", largest);
    const auto rows = number_in(object, "rows", largest);
    if (columns.value_or(0) == 0 || rows.value_or(0) == 0) return control_error::malformed;
    return resize_wish{
      {.columns = static_cast<uint16_t>(*columns), .rows = static_cast<uint16_t>(*rows)}};
  }
  if (*type == "ack") {
    const auto sequence = number_in(object, "sequence", UINT64_MAX);
    if (!sequence) return control_error::malformed;
    return acknowledgement{*sequence};
  }
  if (*type == "signal") {
    const auto name = object.find("signal");
    if (name == object.end() || !name->is_string()) return control_error::malformed;
    const auto number = api::signal_number(name->get_ref<const std::string&>());
    if (!number) return control_error::malformed;
    return signal_order{*number};
  }
  return control_error::unknown;
}

std::string ready_text(uint64_t sequence, uint64_t replayed, uint64_t lost, terminal_size size) {
  return json{{"type", "ready"}, {"sequence", sequence}, {"replayed", replayed}, {"lost", lost},
    {"cols", size.columns}, {"rows", size.rows}}
    .dump();
}

std::string resize_text(terminal_size size) {
  return json{{"type", "resize"}, {"cols", size.columns}, {"rows", size.rows}}.dump();
}

std::string exit_text(const exit_status& status) {
  return json{{"type", "exit"}, {"exitCode", status.code ? json(*status.code) : json(nullptr)},
    {"signal", status.signal.empty() ? json(nullptr) : json(status.signal)}}
    .dump();
}

}  // namespace previewd::net::attach
