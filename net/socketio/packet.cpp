#include "previewd/net/socketio/packet.hpp"

#include <algorithm>
#include <array>
#include <charconv>
#include <nlohmann/json.hpp>
#include <utility>

namespace previewd::net::socketio {

namespace {

using nlohmann::json;

bool is_digit(char c) {
  return c >= '0' && c <= '9';
}

bool is_binary(packet_type type) {
  return type == packet_type::binary_event || type == packet_type::binary_ack;
}

/// Reads a number off the front of `text`. Nothing when there is none or it is too large.
std::optional<uint64_t> take_number(std::string_view& text) {
  const std::size_t digits =
    static_cast<std::size_t>(std::find_if_not(text.begin(), text.end(), is_digit) - text.begin());
  uint64_t number = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + digits, number);
  if (digits == 0 || error != std::errc{}) return std::nullopt;
  text.remove_prefix(digits);
  return number;
}

/// Whether arrays and objects nest no deeper than `limit`: printing and walking a value recurses.
bool depth_within(std::string_view text, std::size_t limit) {
  std::size_t depth = 0;
  bool in_string = false;
  for (std::size_t i = 0; i < text.size(); ++i) {
    const char c = text[i];
    if (in_string) {
      if (c == '\\') {
        ++i;
      } else if (c == '"') {
        in_string = false;
      }
    } else if (c == '"') {
      in_string = true;
    } else if (c == '[' || c == '{') {
      if (++depth > limit) return false;
    } else if ((c == ']' || c == '}') && depth > 0) {
      --depth;
    }
  }
  return true;
}

/// Names that are events of the client library itself and never travel.
bool is_reserved(std::string_view name) {
  constexpr std::array<std::string_view, 6> reserved{
    "connect", "connect_error", "disconnect", "disconnecting", "newListener", "removeListener"};
  return std::find(reserved.begin(), reserved.end(), name) != reserved.end();
}

bool suits(packet_type type, const json& payload, bool has_payload) {
  switch (type) {
    case packet_type::connect:
      return !has_payload || payload.is_object();
    case packet_type::disconnect:
      return !has_payload;
    case packet_type::connect_error:
      return payload.is_object() || payload.is_string();
    case packet_type::event:
    case packet_type::binary_event:
      if (!payload.is_array() || payload.empty()) return false;
      if (payload[0].is_number()) return true;
      return payload[0].is_string() && !is_reserved(payload[0].get_ref<const std::string&>());
    case packet_type::ack:
    case packet_type::binary_ack:
      return payload.is_array();
  }
  return false;
}

bool is_placeholder(const json& value) {
  if (!value.is_object()) return false;
  const auto mark = value.find("_placeholder");
  return mark != value.end() && mark->is_boolean() && mark->get<bool>();
}

/// Moves binary values out of `value`, in the order in which they are met.
void extract_attachments(json& value, std::vector<std::string>& attachments) {
  if (value.is_binary()) {
    const json::binary_t& bytes = value.get_binary();
    const std::size_t number = attachments.size();
    attachments.emplace_back(bytes.begin(), bytes.end());
    value = json{{"_placeholder", true}, {"num", number}};
  } else if (value.is_structured()) {
    for (json& element : value) extract_attachments(element, attachments);
  }
}

bool has_binary(const json& value) {
  if (value.is_binary()) return true;
  return value.is_structured() && std::any_of(value.begin(), value.end(), has_binary);
}

std::string dump(const json& value) {
  return value.dump(-1, ' ', false, json::error_handler_t::replace);
}

void append_head(std::string& text, const packet_head& head) {
  text += static_cast<char>('0' + static_cast<int>(head.type));
  if (is_binary(head.type)) {
    text += std::to_string(head.attachments);
    text += '-';
  }
  if (head.name_space != "/") {
    text += head.name_space;
    text += ',';
  }
  if (head.id) text += std::to_string(*head.id);
}

}  // namespace

std::optional<packet_head>
decode_packet(std::string_view text, const packet_limits& limits, json& payload) {
  payload = nullptr;
  if (text.empty() || text[0] < '0' || text[0] > '6') return std::nullopt;
  packet_head head;
  head.type = static_cast<packet_type>(text[0] - '0');
  text.remove_prefix(1);
  if (is_binary(head.type)) {
    const std::optional<uint64_t> count = take_number(text);
    if (!count || *count > limits.attachments || text.empty() || text[0] != '-') {
      return std::nullopt;
    }
    head.attachments = static_cast<std::size_t>(*count);
    text.remove_prefix(1);
  }
  if (!text.empty() && text[0] == '/') {
    const std::size_t end = std::min(text.find(','), text.size());
    head.name_space = text.substr(0, end);
    text.remove_prefix(std::min(end + 1, text.size()));
  }
  if (!text.empty() && is_digit(text[0])) {
    head.id = take_number(text);
    if (!head.id) return std::nullopt;
  }
  const bool has_payload = !text.empty();
  if (has_payload) {
    if (!depth_within(text, limits.depth)) return std::nullopt;
    payload = json::parse(text, nullptr, false);
    if (payload.is_discarded()) return std::nullopt;
  }
  if (!suits(head.type, payload, has_payload)) return std::nullopt;
  return head;
}

namespace {

/// `placed`: those that have their place.
bool insert_attachments_left(
  json& payload, const std::vector<std::string>& attachments, std::vector<bool>& placed) {
  if (is_placeholder(payload)) {
    const auto number = payload.find("num");
    if (number == payload.end() || !number->is_number_unsigned()) return false;
    const uint64_t index = number->get<uint64_t>();
    if (index >= attachments.size() || placed[static_cast<std::size_t>(index)]) return false;
    placed[static_cast<std::size_t>(index)] = true;
    const std::string& bytes = attachments[static_cast<std::size_t>(index)];
    payload = json::binary(std::vector<uint8_t>(bytes.begin(), bytes.end()));
    return true;
  }
  if (!payload.is_structured()) return true;
  return std::all_of(payload.begin(), payload.end(),
    [&](json& element) { return insert_attachments_left(element, attachments, placed); });
}

}  // namespace

bool insert_attachments(json& payload, std::vector<std::string> attachments) {
  std::vector<bool> placed(attachments.size());
  return insert_attachments_left(payload, attachments, placed);
}

encoded_packet encode_packet(packet_head head, const json& payload) {
  encoded_packet packet;
  if (!has_binary(payload)) {
    head.attachments = 0;
    append_head(packet.text, head);
    if (!payload.is_null()) packet.text += dump(payload);
    return packet;
  }
  json stripped = payload;
  extract_attachments(stripped, packet.attachments);
  if (head.type == packet_type::event) head.type = packet_type::binary_event;
  if (head.type == packet_type::ack) head.type = packet_type::binary_ack;
  head.attachments = packet.attachments.size();
  append_head(packet.text, head);
  packet.text += dump(stripped);
  return packet;
}

std::string
encode_event(std::string_view name_space, std::string_view name, std::string_view arguments) {
  std::string text;
  text.reserve(name_space.size() + name.size() + arguments.size() + 16);
  packet_head head;
  head.name_space = name_space;
  append_head(text, head);
  text += '[';
  text += dump(json(name));
  if (!arguments.empty()) {
    text += ',';
    text += arguments;
  }
  text += ']';
  return text;
}

std::string encode_ack(std::string_view name_space, uint64_t id, std::string_view arguments) {
  std::string text;
  packet_head head;
  head.type = packet_type::ack;
  head.name_space = name_space;
  head.id = id;
  append_head(text, head);
  text += '[';
  text += arguments;
  text += ']';
  return text;
}

}  // namespace previewd::net::socketio
