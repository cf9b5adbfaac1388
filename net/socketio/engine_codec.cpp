#include "previewd/net/socketio/engine_codec.hpp"

#include <algorithm>
#include <array>
#include <utility>

namespace previewd::net::socketio {

namespace {

constexpr char separator = '\x1e';
constexpr std::string_view alphabet =
  "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

constexpr std::array<int8_t, 256> make_values() {
  std::array<int8_t, 256> values{};
  for (int8_t& value : values) value = -1;
  for (std::size_t i = 0; i < alphabet.size(); ++i) {
    values[static_cast<unsigned char>(alphabet[i])] = static_cast<int8_t>(i);
  }
  return values;
}
constexpr std::array<int8_t, 256> values = make_values();

}  // namespace

std::optional<engine_packet> decode_packet(std::string_view text) {
  if (!text.empty() && text[0] == 'b') {
    std::optional<std::string> bytes = decode_base64(text.substr(1));
    if (!bytes) return std::nullopt;
    return engine_packet{engine_packet_type::message, message_kind::binary, std::move(*bytes)};
  }
  if (text.empty() || text[0] < '0' || text[0] > '6') return std::nullopt;
  engine_packet packet;
  packet.type = static_cast<engine_packet_type>(text[0] - '0');
  packet.data = text.substr(1);
  return packet;
}

std::optional<std::vector<engine_packet>>
decode_payload(std::string_view payload, std::size_t limit) {
  std::vector<engine_packet> packets;
  for (;;) {
    if (packets.size() == limit) return std::nullopt;
    const std::size_t end = std::min(payload.find(separator), payload.size());
    std::optional<engine_packet> packet = decode_packet(payload.substr(0, end));
    if (!packet) return std::nullopt;
    packets.push_back(std::move(*packet));
    if (end == payload.size()) return packets;
    payload.remove_prefix(end + 1);
  }
}

std::string encode_packet(engine_packet_type type, std::string_view data) {
  std::string text;
  text.reserve(data.size() + 1);
  text += static_cast<char>('0' + static_cast<int>(type));
  text += data;
  return text;
}

void append_to_payload(std::string& payload, message_kind kind, std::string_view packet) {
  if (!payload.empty()) payload += separator;
  if (kind == message_kind::text) {
    payload += packet;
  } else {
    payload += 'b';
    payload += encode_base64(packet);
  }
}

std::string encode_base64(std::string_view bytes) {
  std::string text;
  text.reserve((bytes.size() + 2) / 3 * 4);
  for (std::size_t i = 0; i < bytes.size(); i += 3) {
    const std::size_t count = std::min<std::size_t>(3, bytes.size() - i);
    uint32_t group = 0;
    for (std::size_t j = 0; j < 3; ++j) {
      group = group << 8 | (j < count ? static_cast<unsigned char>(bytes[i + j]) : 0U);
    }
    for (std::size_t j = 0; j < 4; ++j) {
      text += j <= count ? alphabet[group >> (18 - 6 * j) & 63U] : '=';
    }
  }
  return text;
}

std::optional<std::string> decode_base64(std::string_view text) {
  std::size_t padding = 0;
  while (padding < 2 && !text.empty() && text.back() == '=') {
    text.remove_suffix(1);
    ++padding;
  }
  if (text.size() % 4 == 1) return std::nullopt;
  if (padding != 0 && (text.size() + padding) % 4 != 0) return std::nullopt;
  std::string bytes;
  bytes.reserve(text.size() / 4 * 3 + 2);
  uint32_t group = 0;
  unsigned bits = 0;
  for (const char c : text) {
    const int8_t value = values[static_cast<unsigned char>(c)];
    if (value < 0) return std::nullopt;
    group = (group << 6 | static_cast<uint32_t>(value)) & 0xffffffU;
    bits += 6;
    if (bits >= 8) {
      bits -= 8;
      bytes += static_cast<char>(group >> bits & 0xffU);
    }
  }
  return bytes;
}

}  // namespace previewd::net::socketio
