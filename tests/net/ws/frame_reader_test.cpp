#include "previewd/net/ws/frame_reader.hpp"

#include <catch2/catch.hpp>
#include <string>
#include <vector>

using namespace previewd::net::ws;
using namespace std::string_literals;

namespace {

/// A frame as a client sends it, by its first byte; `mask` must have four bytes.
std::string frame(
  unsigned char first, const std::string& payload, const std::string& mask = "\x11\x22\x33\x44") {
  std::string text{static_cast<char>(first)};
  if (payload.size() < 126) {
    text += static_cast<char>(0x80 | payload.size());
  } else if (payload.size() < 65536) {
    text += '\xfe';
    text += static_cast<char>(payload.size() >> 8);
    text += static_cast<char>(payload.size() & 0xff);
  } else {
    text += '\xff';
    for (int shift = 56; shift >= 0; shift -= 8)
      text += static_cast<char>((payload.size() >> shift) & 0xff);
  }
  text += mask;
  for (std::size_t i = 0; i < payload.size(); ++i)
    text += static_cast<char>(payload[i] ^ mask[i % 4]);
  return text;
}

struct message {
  opcode type;
  std::string bytes;
  uint16_t code;

  bool operator==(const message& other) const {
    return type == other.type && bytes == other.bytes && code == other.code;
  }
};

struct outcome {
  std::vector<message> messages;
  uint16_t fault = 0;
};

/// What comes of the bytes when they arrive in pieces of `step`.
outcome read(std::string bytes, std::size_t step, std::size_t limit = 100'000) {
  outcome result;
  frame_reader reader{limit};
  for (std::size_t begin = 0; begin < bytes.size(); begin += step) {
    char* at = bytes.data() + begin;
    const char* const end = bytes.data() + std::min(begin + step, bytes.size());
    while (const auto got = reader.next(at, end))
      result.messages.push_back({got->type, std::string{got->bytes}, got->code});
    if (reader.fault() != 0) break;
    CHECK(at == end);
  }
  result.fault = reader.fault();
  return result;
}

}  // namespace

TEST_CASE("messages are the same in whatever pieces they arrive", "[ws]") {
  const std::string large(70'000, 'x');
  const std::string middle(300, 'y');
  const std::string bytes = frame(0x81, "first") + frame(0x89, "ping") + frame(0x01, "par") +
                            frame(0x8a, "") + frame(0x00, "") + frame(0x80, "ts \xc3\xa9") +
                            frame(0x82, large) + frame(0x82, "") + frame(0x81, middle) +
                            frame(0x88, "\x0f\xa0" + "bye"s);
  const std::vector<message> expected{{opcode::text, "first", 0}, {opcode::ping, "ping", 0},
    {opcode::pong, "", 0}, {opcode::text, "parts \xc3\xa9", 0}, {opcode::binary, large, 0},
    {opcode::binary, "", 0}, {opcode::text, middle, 0}, {opcode::close, "bye", 4000}};

  const std::size_t step = GENERATE(1U, 2U, 3U, 7U, 4096U, 1'000'000U);
  const outcome result = read(bytes, step);

  CHECK(result.fault == 0);
  CHECK(result.messages == expected);
}

TEST_CASE("what breaks RFC 6455 has its code", "[ws][I7]") {
  struct row {
    const char* what;
    std::string bytes;
    uint16_t code;
  };
  const auto row = GENERATE(values<struct row>({
    {"a reserved bit", frame(0xc1, "x"), 1002},
    {"a reserved opcode", frame(0x83, "x"), 1002},
    {"a reserved control opcode", frame(0x8b, "x"), 1002},
    {"no mask", "\x81\x01x", 1002},
    {"a ping in parts", frame(0x09, "x"), 1002},
    {"a ping of 126 bytes", frame(0x89, std::string(126, 'x')), 1002},
    {"a continuation of nothing", frame(0x80, "x"), 1002},
    {"a message inside a message", frame(0x01, "x") + frame(0x81, "y"), 1002},
    {"a length that would fit in fewer bytes", "\x82\xfe\x00\x05"s + "abcd" + "12345", 1002},
    {"the same with eight bytes", "\x82\xff\x00\x00\x00\x00\x00\x00\xff\xff"s + "abcd", 1002},
    {"a length of more than 63 bits", "\x82\xff\x80\x00\x00\x00\x00\x00\x00\x00"s + "abcd", 1002},
    {"a close frame of one byte", frame(0x88, "x"), 1002},
    {"a close code that may not be sent", frame(0x88, "\x03\xed"), 1002},
    {"a close code of nobody", frame(0x88, "\x07\xd0"), 1002},
    {"a reason that is not UTF-8", frame(0x88, "\x03\xe8\xff"), 1007},
    {"text that is not UTF-8", frame(0x81, "\xc3("), 1007},
    {"text that ends in a character", frame(0x81, "\xe2\x82"), 1007},
    {"a surrogate", frame(0x81, "\xed\xa0\x80"), 1007},
    {"an overlong form", frame(0x81, "\xc0\xaf"), 1007},
    {"beyond U+10FFFF", frame(0x81, "\xf4\x90\x80\x80"), 1007},
    {"half a character between parts", frame(0x01, "\xe2") + frame(0x80, "("), 1007},
  }));
  const std::size_t step = GENERATE(1U, 1000U);
  INFO(row.what);

  const outcome result = read(row.bytes + frame(0x81, "after"), step);

  CHECK(result.messages.empty());
  CHECK(result.fault == row.code);
}

TEST_CASE("a character may be cut between parts", "[ws]") {
  CHECK(read(frame(0x01, "\xe2") + frame(0x00, "\x82") + frame(0x80, "\xac"), 5).messages ==
        std::vector<message>{{opcode::text, "\xe2\x82\xac", 0}});
}

TEST_CASE("a message that is too large is refused before it has come", "[ws][I5]") {
  const std::string head = "\x82\xff\x00\x00\x00\x00\x40\x00\x00\x00"s + "abcd";
  CHECK(read(head, 1000, 1000).fault == 1009);
  CHECK(read(frame(0x82, std::string(1000, 'x')), 100, 1000).messages.size() == 1);
  CHECK(read(frame(0x82, std::string(1001, 'x')), 100, 1000).fault == 1009);
  // Also in parts.
  CHECK(
    read(frame(0x02, std::string(900, 'x')) + frame(0x80, std::string(101, 'x')), 64, 1000).fault ==
    1009);
}

TEST_CASE("the head of a frame has the shortest form", "[ws]") {
  const auto head = [](uint64_t size) {
    const frame_head made{opcode::binary, size};
    return std::string{made.bytes.data(), made.size};
  };
  CHECK(head(0) == "\x82\x00"s);
  CHECK(head(125) == "\x82\x7d"s);
  CHECK(head(126) == "\x82\x7e\x00\x7e"s);
  CHECK(head(65535) == "\x82\x7e\xff\xff"s);
  CHECK(head(65536) == "\x82\x7f\x00\x00\x00\x00\x00\x01\x00\x00"s);
}
