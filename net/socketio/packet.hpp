#pragma once

#include <cstddef>
#include <cstdint>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

/// Socket.IO protocol 5: packets (https://socket.io/docs/v4/socket-io-protocol/). Pure functions;
/// any thread.
namespace previewd::net::socketio {

enum class packet_type : uint8_t {
  connect,
  disconnect,
  event,
  ack,
  connect_error,
  binary_event,
  binary_ack
};

/// What stands before the payload of a packet.
struct packet_head {
  packet_type type = packet_type::event;
  std::string name_space = "/";
  std::optional<uint64_t> id;   // of the acknowledgement that is wanted or given
  std::size_t attachments = 0;  // binary messages that follow
};

/// What one packet may be made of.
struct packet_limits {
  std::size_t attachments = 64;  // binary messages of a packet
  std::size_t depth = 64;        // of nested arrays and objects
};

/// Takes a packet apart. `payload` becomes null when there is none; where attachments belong it
/// holds placeholders. Nothing when the packet is malformed, its payload does not suit its type, or
/// it exceeds the limits.
std::optional<packet_head>
decode_packet(std::string_view text, const packet_limits& limits, nlohmann::json& payload);

/// Puts the attachments where their placeholders are, as json binary values, each in one place:
/// many placeholders of a large one would take memory without bound. False when a placeholder names
/// an attachment that is not there, or has its place already.
bool insert_attachments(nlohmann::json& payload, std::vector<std::string> attachments);

/// A packet ready to be sent: the text, and the binary messages that follow it.
struct encoded_packet {
  std::string text;
  std::vector<std::string> attachments;
};

/// Encodes a packet. Binary values in the payload become attachments and the type the binary one; a
/// null payload is left out.
encoded_packet encode_packet(packet_head head, const nlohmann::json& payload);

/// An event whose arguments are JSON already: `arguments` is the inside of the array after the
/// name, may be empty.
std::string
encode_event(std::string_view name_space, std::string_view name, std::string_view arguments);

/// The acknowledgement `id` with arguments that are JSON already.
std::string encode_ack(std::string_view name_space, uint64_t id, std::string_view arguments);

}  // namespace previewd::net::socketio
