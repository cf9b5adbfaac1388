#include <catch2/catch.hpp>
#include <nlohmann/json.hpp>

#include "previewd/net/socketio/engine_codec.hpp"
#include "previewd/net/socketio/packet.hpp"

namespace {

using namespace previewd::net::socketio;
using nlohmann::json;

json binary(std::string_view bytes) {
  return json::binary(std::vector<uint8_t>(bytes.begin(), bytes.end()));
}

/// Takes a packet apart and reads its attachments in.
bool survives(const packet_head& head, const json& payload) {
  encoded_packet sent = encode_packet(head, payload);
  json got;
  const auto decoded = decode_packet(sent.text, packet_limits{}, got);
  if (!decoded || decoded->name_space != head.name_space || decoded->id != head.id) return false;
  if (decoded->attachments != sent.attachments.size()) return false;
  return insert_attachments(got, sent.attachments) && got == payload;
}

}  // namespace

TEST_CASE("base64 is undone by decoding, for every length", "[net][socketio]") {
  std::string bytes;
  for (int i = 0; i < 300; ++i) {
    CHECK(decode_base64(encode_base64(bytes)) == bytes);
    bytes += static_cast<char>(i * 7);
  }
  CHECK(encode_base64("\x01\x02\x03\x04") == "AQIDBA==");
  CHECK(decode_base64("AQIDBA") == "\x01\x02\x03\x04");
}

TEST_CASE("text that is no base64 is refused", "[net][socketio]") {
  const char* text = GENERATE("A", "AAAAA", "A===", "AA=A", "!!!!", "AA=", "AB CD");
  INFO(text);
  CHECK_FALSE(decode_base64(text).has_value());
}

TEST_CASE("a text packet may carry binary as base64", "[net][socketio]") {
  const auto packet = decode_packet("bAQIDBA==");

  REQUIRE(packet);
  CHECK(packet->type == engine_packet_type::message);
  CHECK(packet->kind == message_kind::binary);
  CHECK(packet->data == "\x01\x02\x03\x04");
  CHECK_FALSE(decode_packet("b!!!!").has_value());
}

TEST_CASE("a payload is undone by decoding", "[net][socketio]") {
  std::string payload;
  append_to_payload(
    payload, message_kind::text, encode_packet(engine_packet_type::message, "hällo"));
  append_to_payload(payload, message_kind::binary, std::string_view{"\0\x1e\xff", 3});
  append_to_payload(payload, message_kind::text, encode_packet(engine_packet_type::ping, ""));

  const auto packets = decode_payload(payload, 3);

  REQUIRE(packets);
  REQUIRE(packets->size() == 3);
  CHECK((*packets)[0].data == "hällo");
  CHECK((*packets)[1].kind == message_kind::binary);
  CHECK((*packets)[1].data == std::string_view{"\0\x1e\xff", 3});
  CHECK((*packets)[2].type == engine_packet_type::ping);
  CHECK_FALSE(decode_payload(payload, 2).has_value());
}

TEST_CASE("a malformed payload is refused whole", "[net][socketio]") {
  const char* payload = GENERATE("", "\x1e", "4a\x1e",
    "\x1e"
    "4a",
    "7", "a", "b?", "4a\x1ex");
  INFO(payload);
  CHECK_FALSE(decode_payload(payload, 100).has_value());
}

TEST_CASE("a packet is undone by decoding", "[net][socketio]") {
  packet_head head;
  SECTION("an event") {
    CHECK(survives(head, json::array({"name", 1, -2, 1.5, nullptr, true, {{"a", "ü"}}})));
  }
  SECTION("an event of a namespace that wants an acknowledgement") {
    head.name_space = "/admin";
    head.id = 12;
    CHECK(survives(head, json::array({"name"})));
  }
  SECTION("an acknowledgement") {
    head.type = packet_type::ack;
    head.id = 0;
    CHECK(survives(head, json::array()));
  }
  SECTION("binary, deep inside and twice") {
    head.id = 7;
    CHECK(survives(head, json::array({"name", binary("one"), {{"deep", {binary(""), 2}}}})));
  }
  SECTION("a connect with its auth") {
    head.type = packet_type::connect;
    CHECK(survives(head, json{{"token", "x"}}));
  }
}

TEST_CASE("packets have the form of the protocol", "[net][socketio]") {
  packet_head head;
  head.name_space = "/admin";
  head.id = 456;
  const encoded_packet packet = encode_packet(head, json::array({"project:delete", binary("abc")}));

  CHECK(packet.text == R"(51-/admin,456["project:delete",{"_placeholder":true,"num":0}])");
  CHECK(packet.attachments == std::vector<std::string>{"abc"});
  CHECK(encode_event("/", "a", "") == R"(2["a"])");
  CHECK(encode_event("/n", "a", "1,2") == R"(2/n,["a",1,2])");
  CHECK(encode_ack("/n", 3, "true") == R"(3/n,3[true])");
}

TEST_CASE("a malformed packet is refused", "[net][socketio]") {
  const char* text = GENERATE("", "7", "a", "2", "2{}", "2[]", "2[null]", "2[\"connect\"]",
    "2[\"disconnecting\"]", "2[\"a\"", "2[\"a\"]x", "2abc[\"a\"]", "299999999999999999999[\"a\"]",
    "2[\"\xff\"]", "0[]", "0\"x\"", "1{}", "3", "3{}", "4", "4[]", "5[\"a\"]", "5-[\"a\"]",
    "5a-[\"a\"]", "565-[\"a\"]", "51[\"a\"]", "6[1]", "2/n", "2/n[\"a\"]");
  INFO(text);
  json payload;
  CHECK_FALSE(decode_packet(text, packet_limits{}, payload).has_value());
}

TEST_CASE("nesting is bounded, brackets in strings do not count", "[net][socketio]") {
  const std::string open(70, '[');
  const std::string close(70, ']');
  json payload;
  CHECK_FALSE(decode_packet("2[\"a\"," + open + close + "]", packet_limits{}, payload).has_value());
  CHECK(decode_packet("2[\"a\",\"\\\"" + open + "\"]", packet_limits{}, payload).has_value());
}

TEST_CASE("a placeholder must name an attachment that is there", "[net][socketio]") {
  const char* text =
    GENERATE(R"([{"_placeholder":true,"num":1}])", R"([{"_placeholder":true,"num":-1}])",
      R"([{"_placeholder":true,"num":"0"}])", R"([{"_placeholder":true}])");
  json payload = json::parse(text);
  std::vector<std::string> attachments{"one"};
  CHECK_FALSE(insert_attachments(payload, attachments));
}

TEST_CASE(
  "an attachment has one place: many would take memory without bound", "[net][socketio][I5]") {
  const std::vector<std::string> attachments{std::string(1000, 'x')};
  json payload =
    json::parse(R"(["e",{"_placeholder":true,"num":0},[{"_placeholder":true,"num":0}]])");
  CHECK_FALSE(insert_attachments(payload, attachments));
}
