#include "previewd/net/api/json_body.hpp"

#include <algorithm>
#include <nlohmann/json.hpp>

namespace previewd::net::api {

namespace {

bool has_nul(std::string_view text) noexcept {
  return text.find('\0') != std::string_view::npos;
}

/// The name of a field as it may stand in a sentence: printable and short.
std::string shown(std::string_view name) {
  std::string text;
  for (char c : name.substr(0, 40)) text += c > 0x20 && c < 0x7F ? c : '?';
  return text;
}

}  // namespace

json_body::json_body(std::string_view text, std::initializer_list<std::string_view> known)
    : object_{std::make_unique<const nlohmann::json>(nlohmann::json::parse(text, nullptr, false))} {
  if (object_->is_discarded()) {
    error_ = make_error(errc::invalid_json, "The body is not JSON (RFC 8259).");
  } else if (!object_->is_object()) {
    error_ = make_error(errc::invalid_json, "The body must be a JSON object.");
  } else {
    for (const auto& [name, value] : object_->items())
      if (std::find(known.begin(), known.end(), name) == known.end())
        refuse(shown(name), "is not known here.");
  }
}

json_body::~json_body() = default;

void json_body::refuse(std::string_view name, std::string_view what) {
  if (error_) return;
  error_ = make_error(errc::invalid_field, std::string{name} + " " + std::string{what});
}

const nlohmann::json* json_body::find(std::string_view name, presence wanted) {
  if (error_) return nullptr;
  const auto found = object_->find(std::string{name});
  if (found != object_->end()) return &*found;
  if (wanted == presence::required) refuse(name, "is missing.");
  return nullptr;
}

std::string json_body::text(std::string_view name, presence wanted) {
  const nlohmann::json* value = find(name, wanted);
  if (value == nullptr) return {};
  if (!value->is_string()) {
    refuse(name, "must be a string.");
    return {};
  }
  auto text = value->get<std::string>();
  if (has_nul(text)) refuse(name, "must not contain NUL.");
  return text;
}

std::optional<uint64_t>
json_body::number(std::string_view name, uint64_t least, uint64_t most, presence wanted) {
  const nlohmann::json* value = find(name, wanted);
  if (value == nullptr) return std::nullopt;
  if (value->is_number_unsigned()) {
    const auto number = value->get<uint64_t>();
    if (number >= least && number <= most) return number;
  }
  refuse(name,
    "must be a whole number from " + std::to_string(least) + " to " + std::to_string(most) + ".");
  return std::nullopt;
}

std::optional<bool> json_body::flag(std::string_view name, presence wanted) {
  const nlohmann::json* value = find(name, wanted);
  if (value == nullptr) return std::nullopt;
  if (value->is_boolean()) return value->get<bool>();
  refuse(name, "must be true or false.");
  return std::nullopt;
}

std::vector<std::string> json_body::texts(std::string_view name) {
  std::vector<std::string> list;
  const nlohmann::json* value = find(name, presence::optional);
  if (value == nullptr) return list;
  const bool fits =
    value->is_array() && std::all_of(value->begin(), value->end(), [](const nlohmann::json& each) {
      return each.is_string() && !has_nul(each.get_ref<const std::string&>());
    });
  if (!fits) {
    refuse(name, "must be a list of strings without NUL.");
    return list;
  }
  for (const nlohmann::json& each : *value) list.push_back(each.get<std::string>());
  return list;
}

std::vector<std::pair<std::string, std::string>> json_body::text_map(std::string_view name) {
  std::vector<std::pair<std::string, std::string>> map;
  const nlohmann::json* value = find(name, presence::optional);
  if (value == nullptr) return map;
  bool fits = value->is_object();
  if (fits)
    for (const auto& [key, each] : value->items())
      fits =
        fits && each.is_string() && !has_nul(each.get_ref<const std::string&>()) && !has_nul(key);
  if (!fits) {
    refuse(name, "must be an object whose values are strings without NUL.");
    return map;
  }
  for (const auto& [key, each] : value->items()) map.emplace_back(key, each.get<std::string>());
  return map;
}

}  // namespace previewd::net::api
