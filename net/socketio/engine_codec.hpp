#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "previewd/net/ws/message_kind.hpp"

/// Engine.IO protocol 4: packets, and the payloads that long polling packs them into
/// (https://socket.io/docs/v4/engine-io-protocol/). Pure functions; any thread.
namespace previewd::net::socketio {

enum class engine_packet_type : uint8_t { open, close, ping, pong, message, upgrade, noop };

using ws::message_kind;

/// One packet. A binary one is always a message.
struct engine_packet {
  engine_packet_type type = engine_packet_type::noop;
  message_kind kind = message_kind::text;
  std::string data;
};

/// The packet in a text frame of a WebSocket or between two separators of a payload; a binary
/// message is `b` and base64 there. A client that was told to do so sends such frames, too. Nothing
/// when it is empty, its type is unknown or its base64 is malformed.
std::optional<engine_packet> decode_packet(std::string_view text);

/// All packets of a payload. Nothing when one of them is malformed, or when there are more than
/// `limit`.
std::optional<std::vector<engine_packet>>
decode_payload(std::string_view payload, std::size_t limit);

/// The text of a packet: its type and its data.
std::string encode_packet(engine_packet_type type, std::string_view data);

/// Adds a packet to a payload: of text the encoded packet, of binary the bare bytes.
void append_to_payload(std::string& payload, message_kind kind, std::string_view packet);

/// Base64 with padding (RFC 4648, section 4).
std::string encode_base64(std::string_view bytes);

/// The bytes of base64 text; the padding may be left out. Nothing when it has other characters, or
/// an impossible length.
std::optional<std::string> decode_base64(std::string_view text);

}  // namespace previewd::net::socketio
