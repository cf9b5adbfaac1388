#include "previewd/net/ws/frame_reader.hpp"

#include <algorithm>
#include <cstring>

namespace previewd::net::ws {

namespace {

constexpr std::size_t most_control = 125;

bool is_control(opcode type) noexcept {
  return type >= opcode::close;
}

/// Codes that may stand in a close frame (section 7.4).
bool may_be_sent(uint16_t code) noexcept {
  return (code >= 1000 && code <= 1014 && (code < 1004 || code > 1006)) ||
         (code >= 3000 && code <= 4999);
}

}  // namespace

bool utf8_check::feed(std::string_view bytes) noexcept {
  for (std::size_t i = 0; i < bytes.size();) {
    if (left_ == 0) {
      uint64_t eight = 0;
      while (bytes.size() - i >= sizeof eight) {
        std::memcpy(&eight, bytes.data() + i, sizeof eight);
        if ((eight & 0x8080808080808080U) != 0) break;
        i += sizeof eight;
      }
      if (i == bytes.size()) break;
    }
    const auto c = static_cast<unsigned char>(bytes[i++]);
    if (left_ > 0) {
      if (c < least_ || c > most_) return false;
      --left_;
      least_ = 0x80;
      most_ = 0xbf;
    } else if (c >= 0x80) {
      if (c < 0xc2 || c > 0xf4) return false;
      left_ = c < 0xe0 ? 1 : c < 0xf0 ? 2 : 3;
      // Overlong forms, surrogates, and what lies above U+10FFFF.
      least_ = c == 0xe0 ? 0xa0 : c == 0xf0 ? 0x90 : 0x80;
      most_ = c == 0xed ? 0x9f : c == 0xf4 ? 0x8f : 0xbf;
    }
  }
  return true;
}

std::optional<incoming_frame> frame_reader::next(char*& at, const char* end) {
  if (given_) {
    given_ = false;
    (is_control(frame_) ? control_ : message_) = {};
  }
  while (fault_ == 0) {
    if (!in_frame_ && !read_head(at, end)) return std::nullopt;
    const auto count =
      static_cast<std::size_t>(std::min<uint64_t>(left_, static_cast<uint64_t>(end - at)));
    for (std::size_t i = 0; i < count; ++i)
      at[i] = static_cast<char>(at[i] ^ static_cast<char>(mask_[(masked_ + i) & 3]));
    masked_ = static_cast<uint8_t>((masked_ + count) & 3);
    std::string_view bytes{at, count};
    at += count;
    left_ -= count;
    const bool controls = is_control(frame_);
    if (!controls && type_ == opcode::text && !utf8_.feed(bytes))
      return fail(close_code::invalid_data);
    std::string& held = controls ? control_ : message_;
    const bool last = controls || final_;
    // Mostly a message comes whole, and is given out where it lies.
    if (left_ > 0 || !last || !held.empty()) {
      held += bytes;
      bytes = held;
    }
    if (left_ > 0) return std::nullopt;
    in_frame_ = false;
    if (controls) return control(bytes);
    in_message_ = !final_;
    if (!final_) continue;
    if (type_ == opcode::text && !utf8_.is_whole()) return fail(close_code::invalid_data);
    given_ = true;
    return incoming_frame{type_, bytes, 0};
  }
  return std::nullopt;
}

bool frame_reader::read_head(char*& at, const char* end) {
  const auto size = [this]() -> std::size_t {
    if (head_size_ < 2) return 2;
    const int length = head_[1] & 0x7f;
    return 2U + 4U + (length == 126 ? 2U : length == 127 ? 8U : 0U);
  };
  while (head_size_ < size()) {
    if (at == end) return false;
    head_[head_size_++] = static_cast<unsigned char>(*at++);
  }
  head_size_ = 0;
  return begin_frame();
}

bool frame_reader::begin_frame() {
  final_ = (head_[0] & 0x80) != 0;
  const int type = head_[0] & 0x0f;
  const bool known = type <= 2 || (type >= 8 && type <= 10);
  const bool masked = (head_[1] & 0x80) != 0;
  if ((head_[0] & 0x70) != 0 || !known || !masked)
    return fail(close_code::protocol_error).has_value();
  uint64_t length = head_[1] & 0x7f;
  std::size_t digits = 2;
  if (length >= 126) {
    const uint64_t least = length == 126 ? 126 : 65536;
    digits += length == 126 ? 2 : 8;
    length = 0;
    for (std::size_t i = 2; i < digits; ++i) length = length << 8 | head_[i];
    // The shortest form, and no more than 63 bits.
    if (length < least || length >> 63 != 0) return fail(close_code::protocol_error).has_value();
  }
  std::copy_n(head_.begin() + static_cast<std::ptrdiff_t>(digits), mask_.size(), mask_.begin());
  masked_ = 0;
  frame_ = static_cast<opcode>(type);
  if (is_control(frame_)) {
    if (!final_ || length > most_control) return fail(close_code::protocol_error).has_value();
  } else {
    if ((frame_ == opcode::continuation) != in_message_)
      return fail(close_code::protocol_error).has_value();
    if (!in_message_) {
      type_ = frame_;
      utf8_ = {};
    }
    if (length > message_bytes_ - std::min(message_bytes_, message_.size()))
      return fail(close_code::too_big).has_value();
  }
  left_ = length;
  in_frame_ = true;
  return true;
}

std::optional<incoming_frame> frame_reader::control(std::string_view bytes) {
  given_ = true;
  if (frame_ != opcode::close) return incoming_frame{frame_, bytes, 0};
  if (bytes.empty()) return incoming_frame{frame_, {}, close_code::no_code};
  if (bytes.size() == 1) return fail(close_code::protocol_error);
  const auto code = static_cast<uint16_t>(
    static_cast<unsigned char>(bytes[0]) << 8 | static_cast<unsigned char>(bytes[1]));
  if (!may_be_sent(code)) return fail(close_code::protocol_error);
  bytes.remove_prefix(2);
  utf8_check reason;
  if (!reason.feed(bytes) || !reason.is_whole()) return fail(close_code::invalid_data);
  return incoming_frame{frame_, bytes, code};
}

std::optional<incoming_frame> frame_reader::fail(uint16_t code) noexcept {
  fault_ = code;
  return std::nullopt;
}

frame_head::frame_head(opcode type, uint64_t payload) noexcept {
  bytes[0] = static_cast<char>(0x80 | static_cast<unsigned char>(type));
  if (payload < 126) {
    bytes[1] = static_cast<char>(payload);
    return;
  }
  const bool fits_in_two = payload < 65536;
  bytes[1] = fits_in_two ? 126 : 127;
  size = fits_in_two ? 4 : 10;
  for (std::size_t i = size; i > 2; payload >>= 8) bytes[--i] = static_cast<char>(payload & 0xff);
}

}  // namespace previewd::net::ws
