#pragma once

#include <cctype>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

#include "previewd/net/http/message.hpp"
#include "previewd/tests/fuzz/property.hpp"

/// HTTP again, written for clarity and not for speed, to compare with.
namespace previewd::fuzz {

using net::http::field;
using net::http::head_scanner;

/// How a scan of a whole head ends: what is refused is refused, whatever for.
enum class scanned { incomplete, complete, refused };

inline scanned outcome_of(head_scanner::progress progress) {
  switch (progress) {
    case head_scanner::progress::incomplete:
      return scanned::incomplete;
    case head_scanner::progress::complete:
      return scanned::complete;
    case head_scanner::progress::malformed:
    case head_scanner::progress::too_large:
      return scanned::refused;
  }
  return scanned::refused;
}

/// Scans all at once, and in pieces of `piece` bytes: both have to say the same. The scanner is
/// left as after the first.
inline scanned
scan_both(head_scanner& whole, head_scanner::kind kind, std::string_view text, std::size_t piece) {
  constexpr std::size_t limit = 4096;
  const scanned at_once = outcome_of(whole.scan(text, limit));
  head_scanner pieces{kind};
  scanned bit_by_bit = scanned::incomplete;
  for (std::size_t end = 0; bit_by_bit == scanned::incomplete && end < text.size();) {
    end = end + piece < text.size() ? end + piece : text.size();
    bit_by_bit = outcome_of(pieces.scan(text.substr(0, end), limit));
  }
  require(text.empty() || at_once == bit_by_bit, "a head is read alike in pieces");
  if (at_once == scanned::complete)
    require(whole.begin() == pieces.begin() && whole.end() == pieces.end(),
      "a head has one beginning and one end");
  return at_once;
}

/// A field's name as everybody would compare it.
inline std::string lower(std::string_view text) {
  std::string result{text};
  for (char& c : result) c = static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
  return result;
}

/// No field of a head may hold what ends a line, or a name what another reader could see
/// otherwise.
inline void require_clean(const std::vector<field>& fields) {
  for (const field& f : fields) {
    require(!f.name.empty(), "a field has a name");
    for (char c : f.name)
      require(
        static_cast<unsigned char>(c) > 0x20 && static_cast<unsigned char>(c) < 0x7f && c != ':',
        "a name is a token");
    for (char c : f.value)
      require(c != '\r' && c != '\n' && c != '\0', "a value stays in its line");
  }
}

/// The one framing that the fields have (RFC 9112, section 6.3), or nothing when others could see
/// another one.
struct framing {
  bool chunked = false;
  std::optional<std::string> length;
};
inline std::optional<framing> only_framing(const std::vector<field>& fields) {
  framing result;
  for (const field& f : fields) {
    const std::string name = lower(f.name);
    if (name == "content-length") {
      std::string digits{f.value};
      if (digits.empty() || digits.find_first_not_of("0123456789") != std::string::npos)
        return std::nullopt;
      digits.erase(0, std::min(digits.find_first_not_of('0'), digits.size() - 1));
      if (result.length && *result.length != digits) return std::nullopt;
      result.length = digits;
    } else if (name == "transfer-encoding") {
      std::string codings = lower(f.value);
      // Empty elements of a list are none.
      codings.erase(0, std::min(codings.find_first_not_of(", \t"), codings.size()));
      codings.erase(codings.find_last_not_of(", \t") + 1);
      if (codings.empty()) continue;
      if (codings != "chunked" || result.chunked) return std::nullopt;
      result.chunked = true;
    }
  }
  if (result.chunked && result.length) return std::nullopt;
  return result;
}

/// What a chunked body holds, and how long it is with its framing. Only for one that is complete
/// and right.
inline std::pair<std::string, std::size_t> decode_chunks(std::string_view text) {
  std::string content;
  std::size_t at = 0;
  const auto line = [&] {
    const std::size_t end = text.find("\r\n", at);
    require(end != std::string_view::npos, "a complete body has whole lines");
    const std::string_view result = text.substr(at, end - at);
    at = end + 2;
    return result;
  };
  while (true) {
    const std::string size{line()};
    require(!size.empty() && std::isxdigit(static_cast<unsigned char>(size[0])) != 0,
      "a chunk begins with its size");
    const std::size_t bytes = std::strtoull(size.c_str(), nullptr, 16);
    if (bytes == 0) break;
    require(bytes <= text.size() - at, "a complete body has whole chunks");
    content += text.substr(at, bytes);
    at += bytes;
    require(line().empty(), "a chunk ends with its line");
  }
  while (!line().empty()) {
  }
  return {content, at};
}

/// What a reader makes of a body when it gets it in pieces.
struct body_outcome {
  std::size_t used = 0;
  bool complete = false;
  bool malformed = false;
  std::string content;

  friend bool operator==(const body_outcome&, const body_outcome&) = default;
};
inline body_outcome
read_body(net::http::body_reader reader, std::string_view text, std::size_t piece) {
  body_outcome result;
  while (result.used < text.size() && !reader.complete() && !reader.malformed())
    result.used += reader.feed(text.substr(result.used, piece), &result.content);
  result.complete = reader.complete();
  result.malformed = reader.malformed();
  return result;
}

}  // namespace previewd::fuzz
