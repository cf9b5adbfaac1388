#include "previewd/net/terminal/utf8.hpp"

#include <algorithm>

namespace previewd::net::terminal {

namespace {

constexpr std::string_view replacement = "\xEF\xBF\xBD";  // U+FFFD

/// What a lead byte asks for (RFC 3629, section 4): its character's length, and the range of the
/// second byte. Length 1 stands for ASCII and for bytes that lead nothing; `valid` tells them
/// apart.
struct lead {
  std::size_t length = 1;
  unsigned char low = 0x80;
  unsigned char high = 0xBF;
  bool valid = true;
};

lead lead_of(unsigned char byte) noexcept {
  if (byte < 0x80) return {};
  if (byte < 0xC2 || byte > 0xF4) return {.valid = false};
  if (byte < 0xE0) return {.length = 2};
  if (byte == 0xE0) return {.length = 3, .low = 0xA0};
  if (byte == 0xED) return {.length = 3, .high = 0x9F};  // no surrogates
  if (byte < 0xF0) return {.length = 3};
  if (byte == 0xF0) return {.length = 4, .low = 0x90};
  if (byte == 0xF4) return {.length = 4, .high = 0x8F};
  return {.length = 4};
}

/// How many bytes at the start of `bytes` belong to its first character, whole or not: at least
/// one.
std::size_t first_run(std::string_view bytes, const lead& first) noexcept {
  std::size_t n = 1;
  for (; n < first.length && n < bytes.size(); ++n) {
    const auto byte = static_cast<unsigned char>(bytes[n]);
    const bool fits =
      n == 1 ? byte >= first.low && byte <= first.high : byte >= 0x80 && byte <= 0xBF;
    if (!fits) break;
  }
  return n;
}

}  // namespace

std::size_t complete_utf8(std::string_view bytes) noexcept {
  // An unfinished character has its lead byte among the last three.
  for (std::size_t back = 1; back <= std::min<std::size_t>(3, bytes.size()); ++back) {
    const std::string_view tail = bytes.substr(bytes.size() - back);
    const lead first = lead_of(static_cast<unsigned char>(tail.front()));
    if (first.length > back && first_run(tail, first) == back) return bytes.size() - back;
  }
  return bytes.size();
}

std::string utf8_stream::feed(std::string_view bytes) {
  std::string joined;
  if (!held_.empty()) {
    joined = std::move(held_);
    joined += bytes;
    bytes = joined;
  }
  const std::size_t whole = complete_utf8(bytes);
  std::string text;
  text.reserve(whole);
  for (std::size_t at = 0; at < whole;) {
    const std::string_view rest = bytes.substr(at, whole - at);
    const lead first = lead_of(static_cast<unsigned char>(rest.front()));
    const std::size_t run = first_run(rest, first);
    if (first.valid && run == first.length) {
      text += rest.substr(0, run);
    } else {
      text += replacement;
    }
    at += run;
  }
  held_ = bytes.substr(whole);
  return text;
}

std::string utf8_stream::flush() {
  if (held_.empty()) return {};
  held_.clear();
  return std::string{replacement};
}

}  // namespace previewd::net::terminal
