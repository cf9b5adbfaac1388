#pragma once

#include <cstddef>
#include <string>
#include <string_view>

namespace previewd::net::terminal {

/// The length of the longest prefix that does not end inside a character (RFC 3629). Bytes that are
/// no UTF-8 count as whole: only up to 3 bytes that a further byte could complete are left out.
std::size_t complete_utf8(std::string_view bytes) noexcept;

/// Turns a stream of bytes, cut anywhere, into text that is never cut inside a character. What is
/// no UTF-8 becomes U+FFFD, as a browser's TextDecoder has it. A value; any one thread at a time.
class utf8_stream {
public:
  /// The text of the bytes held back before and of `bytes`, up to the last whole character.
  std::string feed(std::string_view bytes);

  /// What `feed` held back, 0 to 3 bytes: the text's own sequence is that of the bytes less this.
  std::size_t held() const noexcept { return held_.size(); }

  /// The text of what is held back: U+FFFD, or nothing. For the end of the stream, or a gap in it.
  std::string flush();

private:
  std::string held_;
};

}  // namespace previewd::net::terminal
