#include "previewd/net/terminal/output_scanner.hpp"

#include <algorithm>
#include <array>

namespace previewd::net::terminal {

namespace {

constexpr unsigned char escape_byte = 0x1B;
constexpr unsigned char cancel = 0x18;
constexpr unsigned char substitute = 0x1A;
constexpr unsigned char bell = 0x07;

// A sequence longer than these is not one, or was cut off: what follows is text again.
constexpr std::size_t longest_csi = 256;
constexpr std::size_t longest_osc = 8 * 1024;
constexpr std::size_t longest_string = 1024 * 1024;  // DCS: images

constexpr std::size_t longest_host = 255;
constexpr unsigned most_columns = 100'000;

/// Printable characters of one byte with which no URL begins: most of all output.
constexpr std::array<bool, 256> begins_nothing = [] {
  std::array<bool, 256> those{};
  for (std::size_t byte = 0x20; byte < 0x7F; ++byte) those[byte] = byte != 'h' && byte != 'H';
  return those;
}();

bool is_digit(char c) noexcept {
  return c >= '0' && c <= '9';
}
bool is_letter(char c) noexcept {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}
char lower(char c) noexcept {
  return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
}

bool is_ipv4(std::string_view host) noexcept {
  unsigned parts = 1;
  unsigned digits = 0;
  unsigned value = 0;
  for (char c : host) {
    if (c == '.') {
      if (digits == 0) return false;
      ++parts;
      digits = value = 0;
    } else if (!is_digit(c) || ++digits > 3 ||
               (value = value * 10 + static_cast<unsigned>(c - '0')) > 255) {
      return false;
    }
  }
  return parts == 4 && digits > 0;
}

/// Whether the host may be this machine: an address, `localhost` or below it, mDNS, or a name of
/// its own.
bool may_be_here(std::string_view host) noexcept {
  if (host.empty()) return false;
  if (host.find('.') == std::string_view::npos) return true;
  return is_ipv4(host) || host.ends_with(".localhost") || host.ends_with(".local");
}

}  // namespace

void output_scanner::feed(std::string_view bytes, std::vector<url_hint>& found) {
  found_ = &found;
  while (!bytes.empty()) {
    if (skips_text()) {
      const auto* const end = std::find_if(bytes.begin(), bytes.end(),
        [](char byte) { return !begins_nothing[static_cast<unsigned char>(byte)]; });
      const auto size = static_cast<std::size_t>(end - bytes.begin());
      pass(size);
      bytes.remove_prefix(size);
      if (bytes.empty()) break;
    }
    take(static_cast<unsigned char>(bytes.front()));
    bytes.remove_prefix(1);
  }
  found_ = nullptr;
}

bool output_scanner::skips_text() const noexcept {
  return escape_ == escape::none && url_ == url::none && !full_ && ended_line_.empty();
}

void output_scanner::pass(std::size_t characters) {
  if (characters == 0) return;
  if (columns_ == 0) {
    column_ = static_cast<unsigned>(std::min<std::size_t>(column_ + characters, most_columns));
  } else {
    const std::size_t from = column_ >= columns_ ? 0 : column_;
    column_ = static_cast<unsigned>((from + characters - 1) % columns_ + 1);
  }
}

void output_scanner::settle(std::vector<url_hint>& found) {
  found_ = &found;
  publish_ended_line();
  // It stays where it is: should digits follow after all, they make a port of their own.
  if (!editing_ && url_ == url::port && digits_ > 0 && port_ >= 1 && port_ <= 65535)
    add(found, {.scheme = scheme_, .port = static_cast<uint16_t>(port_)});
  found_ = nullptr;
}

void output_scanner::take(unsigned char byte) {
  if (escape_ != escape::none) {
    take_escape(byte);
  } else if (byte == escape_byte) {
    escape_ = escape::started;
    sequence_length_ = 0;
  } else if (byte < 0x20 || byte == 0x7F) {
    control(byte);
  } else {
    printable(byte);
  }
}

void output_scanner::take_escape(unsigned char byte) {
  ++sequence_length_;
  if (byte == cancel || byte == substitute) {
    escape_ = escape::none;
    string_escaped_ = false;
    return;
  }
  if (escape_ == escape::osc || escape_ == escape::string) {
    const bool is_osc = escape_ == escape::osc;
    if (string_escaped_) {
      string_escaped_ = false;
      escape_ = escape::none;
      if (byte == '\\') return;
      // The string was cut off by another sequence, which this is the second byte of.
      escape_ = escape::started;
      sequence_length_ = 0;
      take_escape(byte);
    } else if (byte == escape_byte) {
      string_escaped_ = true;
    } else if ((is_osc && byte == bell) ||
               sequence_length_ > (is_osc ? longest_osc : longest_string)) {
      escape_ = escape::none;
    }
    return;
  }
  if (byte == escape_byte) {
    escape_ = escape::started;
    sequence_length_ = 0;
    return;
  }
  if (byte < 0x20) {  // within other sequences a control acts as if it had come before them
    control(byte);
    return;
  }
  if (byte >= 0x7F) {
    escape_ = escape::none;
    if (byte > 0x7F) printable(byte);
    return;
  }
  switch (escape_) {
    case escape::started:
      parameters_size_ = 0;
      if (byte == '[') {
        escape_ = escape::csi;
      } else if (byte == ']') {
        escape_ = escape::osc;
      } else if (byte == 'P' || byte == 'X' || byte == '^' || byte == '_') {
        escape_ = escape::string;
      } else if (byte <= 0x2F) {
        escape_ = escape::intermediate;
      } else {
        escape_ = escape::none;
        if (std::string_view{"8DEMc"}.find(static_cast<char>(byte)) != std::string_view::npos)
          end_url();
      }
      break;
    case escape::intermediate:
      if (byte > 0x2F) escape_ = escape::none;
      break;
    default:
      take_csi(byte);
  }
}

void output_scanner::take_csi(unsigned char byte) {
  if (byte >= 0x40) {
    escape_ = escape::none;
    end_csi(byte);
  } else if (sequence_length_ > longest_csi) {
    escape_ = escape::none;
  } else if (parameters_size_ < parameters_.size()) {
    parameters_[parameters_size_++] = static_cast<char>(byte);
  }
}

unsigned output_scanner::parameter(unsigned index) const {
  unsigned value = 0;
  for (std::size_t i = 0; i < parameters_size_; ++i) {
    if (parameters_[i] == ';') {
      if (index == 0) break;
      --index;
    } else if (index == 0 && is_digit(parameters_[i])) {
      value = std::min(value * 10 + static_cast<unsigned>(parameters_[i] - '0'), most_columns);
    }
  }
  return std::max(1U, value);  // left out and 0 both mean 1 where a number of cells is meant
}

void output_scanner::end_csi(unsigned char last) {
  const std::string_view parameters{parameters_.data(), parameters_size_};
  const auto is_one_of = [&](std::string_view set) {
    return set.find(static_cast<char>(last)) != std::string_view::npos;
  };
  if (parameters == "?2004") {
    if (last != 'h' && last != 'l') return;
    editing_ = last == 'h';
    line_.clear();
    ended_line_.clear();
    if (url_ != url::none) url_ = url::none;
    return;
  }
  // Colours, modes, questions and erasing to the end of the line leave the text where it is.
  if (is_one_of("mhlnctqpyuK") && !(last == 'u' && parameters.empty())) return;
  end_url();
  full_ = false;
  switch (last) {
    case 'G':
    case '`':
      column_ = parameter(0) - 1;
      break;
    case 'H':
    case 'f':
      column_ = parameter(1) - 1;
      line_is_over();
      break;
    case 'C':
      column_ = std::min(column_ + parameter(0), most_columns);
      break;
    case 'D':
      column_ -= std::min(column_, parameter(0));
      break;
    case 'E':
    case 'F':
      column_ = 0;
      line_is_over();
      break;
    case 'd':
      line_is_over();
      break;
    default:
      break;
  }
}

void output_scanner::control(unsigned char byte) {
  const bool at_margin = columns_ != 0 && column_ >= columns_;
  switch (byte) {
    case '\r':
      full_ = full_ || at_margin;
      column_ = 0;
      // Text that follows without a line feed writes over this line; `printable` and `\n` tell
      // which it is.
      if (!full_) end_url();
      break;
    case '\n':
      // A line that ends exactly at the margin is most likely the first part of a longer one.
      if (!full_ && !at_margin) {
        end_url();
        line_is_over();
      }
      full_ = false;
      column_ = 0;
      break;
    case '\t':
      end_url();
      column_ = std::min((column_ / 8 + 1) * 8, most_columns);
      break;
    case '\b':
      end_url();
      column_ -= std::min(column_, 1U);
      break;
    case 0x0B:
    case 0x0C:
      end_url();
      break;
    default:
      break;  // a bell or NUL shows nothing
  }
}

void output_scanner::printable(unsigned char byte) {
  publish_ended_line();
  if (full_) {
    full_ = false;
    end_url();
  }
  if ((byte & 0xC0U) != 0x80) {  // each character counts once
    if (columns_ != 0 && column_ >= columns_) column_ = 0;
    if (column_ < most_columns) ++column_;
  }
  url_byte(static_cast<char>(byte));
}

void output_scanner::url_byte(char byte) {
  switch (url_) {
    case url::none:
    case url::scheme:
      match_scheme(byte);
      return;
    case url::host:
      if (byte == '[' && host_.empty()) {
        url_ = url::bracket;
      } else if (byte == ':') {
        url_ = may_be_here(host_) ? url::port : url::none;
        port_ = digits_ = 0;
      } else if ((is_letter(byte) || is_digit(byte) || byte == '.' || byte == '-' || byte == '_') &&
                 host_.size() < longest_host) {
        host_ += lower(byte);
      } else {
        url_ = url::none;
      }
      return;
    case url::bracket:
      if (byte == ']') {
        url_ = host_.empty() ? url::none : url::after_bracket;
      } else if ((is_letter(byte) || is_digit(byte) || byte == ':' || byte == '.' || byte == '%') &&
                 host_.size() < longest_host) {
        host_ += byte;
      } else {
        url_ = url::none;
      }
      return;
    case url::after_bracket:
      url_ = byte == ':' ? url::port : url::none;
      port_ = digits_ = 0;
      return;
    case url::port:
      if (is_digit(byte)) {
        port_ = std::min<uint32_t>(port_ * 10 + static_cast<uint32_t>(byte - '0'), 100'000);
        ++digits_;
        return;
      }
      if (is_letter(byte)) {  // `http://localhost:3000x` names no port
        url_ = url::none;
      } else {
        end_url();
      }
      match_scheme(byte);
      return;
  }
}

void output_scanner::match_scheme(char byte) {
  const char c = lower(byte);
  const std::size_t at = url_ == url::scheme ? matched_ : 0;
  const auto advance = [&](std::size_t to) {
    url_ = url::scheme;
    matched_ = to;
  };
  // 0 to 4: "http"; 5: an "s" after it; 6 and 7: ":" and ":/".
  if (at < 4 && c == std::string_view{"http"}[at]) return advance(at + 1);
  if (at == 4 && c == 's') return advance(5);
  if ((at == 4 || at == 5) && c == ':') {
    scheme_ = at == 5 ? previewd::scheme::https : previewd::scheme::http;
    return advance(6);
  }
  if (at == 6 && c == '/') return advance(7);
  if (at == 7 && c == '/') {
    url_ = url::host;
    host_.clear();
    return;
  }
  url_ = url::none;
  if (c == 'h') advance(1);
}

void output_scanner::end_url() {
  const bool complete = url_ == url::port && digits_ > 0 && port_ >= 1 && port_ <= 65535;
  url_ = url::none;
  if (!complete) return;
  add(editing_ ? line_ : *found_, {.scheme = scheme_, .port = static_cast<uint16_t>(port_)});
}

void output_scanner::line_is_over() {
  if (!editing_) return;
  publish_ended_line();
  ended_line_.swap(line_);
}

void output_scanner::publish_ended_line() {
  for (const url_hint& hint : ended_line_) add(*found_, hint);
  ended_line_.clear();
}

void output_scanner::add(std::vector<url_hint>& list, const url_hint& hint) {
  if (list.size() < most_hints && std::find(list.begin(), list.end(), hint) == list.end())
    list.push_back(hint);
}

}  // namespace previewd::net::terminal
