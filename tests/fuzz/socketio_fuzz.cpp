#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "previewd/net/socketio/engine_codec.hpp"
#include "previewd/net/socketio/packet.hpp"
#include "previewd/tests/fuzz/property.hpp"

// What an Engine.IO client sends. The first byte chooses: `p` a polling payload, `b` base64,
// anything else a Socket.IO packet, whose attachments follow it, parted by line breaks. What is
// taken is the same when it is written and read again, and is no larger than what came.

using namespace previewd::fuzz;
using namespace previewd::net::socketio;
using nlohmann::json;

namespace {

constexpr std::size_t most_packets = 16;

void payload(std::string_view input) {
  const auto packets = decode_payload(input, most_packets);
  if (!packets) return;
  require(!packets->empty() && packets->size() <= most_packets, "packets are bounded");
  std::string again;
  std::size_t bytes = 0;
  for (const engine_packet& packet : *packets) {
    bytes += packet.data.size();
    append_to_payload(again, packet.kind,
      packet.kind == message_kind::binary ? packet.data : encode_packet(packet.type, packet.data));
  }
  require(bytes <= input.size(), "packets are no larger than their payload");
  const auto second = decode_payload(again, most_packets);
  require(second && second->size() == packets->size(), "a payload can be written again");
  for (std::size_t i = 0; i < packets->size(); ++i) {
    const engine_packet& a = (*packets)[i];
    const engine_packet& b = (*second)[i];
    require(a.type == b.type && a.kind == b.kind && a.data == b.data,
      "a packet is the same when it is written again");
  }
}

/// Bytes of all binary values in it.
std::size_t binary_bytes(const json& value) {
  if (value.is_binary()) return value.get_binary().size();
  std::size_t bytes = 0;
  if (value.is_structured())
    for (const json& each : value) bytes += binary_bytes(each);
  return bytes;
}

void packet(std::string_view input) {
  const std::size_t end = std::min(input.find('\n'), input.size());
  const packet_limits limits{.attachments = 8, .depth = 16};
  json value;
  const auto head = decode_packet(input.substr(0, end), limits, value);
  if (!head) return;
  require(head->attachments <= limits.attachments, "attachments are bounded");
  require(head->name_space.front() == '/', "a namespace begins with a slash");
  std::string_view rest = input.substr(std::min(end + 1, input.size()));
  std::vector<std::string> attachments;
  std::size_t bytes = 0;
  while (attachments.size() < head->attachments) {
    const std::size_t line = std::min(rest.find('\n'), rest.size());
    attachments.emplace_back(rest.substr(0, line));
    bytes += line;
    rest.remove_prefix(std::min(line + 1, rest.size()));
  }
  if (!insert_attachments(value, attachments)) return;
  require(binary_bytes(value) <= bytes, "attachments do not grow where they are put");
  const encoded_packet sent = encode_packet(*head, value);
  json got;
  const auto again = decode_packet(sent.text, limits, got);
  require(again && again->name_space == head->name_space && again->id == head->id,
    "a packet can be written again");
  require(again->attachments == sent.attachments.size(), "it says how many attachments follow");
  require(insert_attachments(got, sent.attachments), "each has its place");
  require(got.dump(-1, ' ', false, json::error_handler_t::replace) ==
            value.dump(-1, ' ', false, json::error_handler_t::replace),
    "a payload is the same when it is written again");
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, std::size_t size) {
  std::string_view input = text_of(data, size);
  switch (choice(input)) {
    case 'p':
      payload(input);
      break;
    case 'b':
      if (const auto bytes = decode_base64(input))
        require(decode_base64(encode_base64(*bytes)) == bytes, "base64 is undone by decoding");
      break;
    default:
      packet(input);
  }
  return 0;
}
