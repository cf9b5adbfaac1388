#include "previewd/net/terminal/mode_tracker.hpp"

#include <algorithm>
#include <array>
#include <utility>
#include <vector>

namespace previewd::net::terminal {

namespace {

constexpr std::size_t longest_sequence = 256;  // xterm has 30 parameters at most
constexpr std::size_t longest_title = 256;
constexpr unsigned largest_number = 65535;
/// Of rows, columns and times: as many as a window may have.
constexpr unsigned largest_count = 1000;
/// In one sequence: libvterm has room for 16 and does not look.
constexpr std::size_t most_numbers = 15;
/// U+FFFD.
const std::string replacement = "\xef\xbf\xbd";

constexpr unsigned char bell = 0x07;
constexpr unsigned char shift_out = 0x0e;
constexpr unsigned char shift_in = 0x0f;
constexpr unsigned char cancel = 0x18;
constexpr unsigned char substitute = 0x1a;
constexpr unsigned char escape_byte = 0x1b;

/// The parameters of a control sequence; those left out are 0. Sub-parameters end a number.
std::vector<unsigned> numbers_in(std::string_view text) {
  std::vector<unsigned> numbers(1, 0);
  for (const char each : text) {
    if (each >= '0' && each <= '9') {
      numbers.back() =
        std::min(largest_number, numbers.back() * 10 + static_cast<unsigned>(each - '0'));
    } else if (each == ';' || each == ':') {
      numbers.push_back(0);
    }
  }
  return numbers;
}

/// Whether the private mode changes what is on the screen, or where.
bool concerns_screen(unsigned mode) {
  constexpr std::array<unsigned, 7> those{6, 7, 47, 69, 1047, 1048, 1049};
  return std::find(those.begin(), those.end(), mode) != those.end();
}

/// The character set that libvterm knows for the one that is named: DEC's drawings, British, ASCII.
char known_set(unsigned char name) {
  return name == '0' || name == 'A' ? static_cast<char>(name) : 'B';
}

/// Characters that are one byte, and no control.
bool is_plain(char byte) {
  return byte >= 0x20 && byte < 0x7f;
}

/// Bytes that follow the first one of a character (RFC 3629, section 3).
unsigned following(unsigned char first) {
  if (first >= 0xc2 && first <= 0xdf) return 1;
  if (first >= 0xe0 && first <= 0xef) return 2;
  if (first >= 0xf0 && first <= 0xf4) return 3;
  return 0;
}

}  // namespace

// In the order of `private_mode`. The second that is on after a reset is 25, the cursor.
const std::array<uint16_t, mode_tracker::count> mode_tracker::private_modes{6, 7, 69, 25, 1, 5, 9,
  12, 45, 66, 1000, 1002, 1003, 1004, 1005, 1006, 1007, 1015, 1016, 2004, 2031};

void mode_tracker::feed(std::string_view bytes, std::string& screen) {
  cut_ = 0;
  state_at_cut_ = state_;
  for (std::size_t at = 0; at < bytes.size(); ++at) {
    if (state_ == state::ground) {
      const std::size_t begin = at;
      while (at < bytes.size() && is_plain(bytes[at])) ++at;
      screen += bytes.substr(begin, at - begin);
      if (at > begin) after_plain_ = true;
      cut_ = at;
      if (at == bytes.size()) break;
    } else if (state_ == state::string && bytes[at] != '\x1b') {
      // Pictures are long: all that matters is where they end.
      at = bytes.find_first_of("\x1b\x18\x1a", at);
      if (at == std::string_view::npos) break;
    }
    step(static_cast<unsigned char>(bytes[at]), screen);
    if (state_ == state::ground) cut_ = at + 1;
  }
  if (cut_ > 0) state_at_cut_ = state::ground;
}

bool mode_tracker::in_string() const noexcept {
  return state_ == state::command || state_ == state::string || state_ == state::string_escape;
}

unsigned mode_tracker::origin() const noexcept {
  return is_set(private_mode::origin_mode) && top_ > 0 ? top_ - 1 : 0;
}

void mode_tracker::begin_sequence() {
  collected_.clear();
  overlong_ = false;
}

void mode_tracker::step(unsigned char byte, std::string& screen) {
  if (state_ == state::character) {
    if ((byte & 0xc0) == 0x80) {
      collected_ += static_cast<char>(byte);
      if (--missing_ == 0) end_character(screen);
      return;
    }
    end_character(screen);  // broken; this byte stands for itself
  }
  if (state_ == state::ground && byte != escape_byte) after_plain_ = false;
  if (byte == cancel || byte == substitute) {
    state_ = state::ground;
    return;
  }
  if (byte == escape_byte) {
    if (in_string()) {
      state_ = state::string_escape;
    } else {
      state_ = state::escape;
      begin_sequence();
    }
    return;
  }
  switch (state_) {
    case state::string_escape:
      if (byte == '\\') {
        end_command();
        state_ = state::ground;
        return;
      }
      // Another sequence has ended the string.
      begin_sequence();
      state_ = state::escape;
      break;
    case state::command:
      if (byte == bell) {
        end_command();
        state_ = state::ground;
      } else if (collected_.size() < longest_title + 2) {
        collected_ += static_cast<char>(byte);
      } else {
        overlong_ = true;
      }
      return;
    case state::string:
      return;
    default:
      break;
  }
  if (byte < 0x20 || byte == 0x7f) {
    control(byte, screen);
    return;
  }
  switch (state_) {
    case state::escape:
    case state::escape_intermediate:
      end_escape(byte, screen);
      return;
    case state::control_sequence:
      if (byte >= 0x40 && byte <= 0x7e) {
        if (!overlong_) end_control_sequence(byte, screen);
        state_ = state::ground;
      } else if (collected_.size() < longest_sequence) {
        collected_ += static_cast<char>(byte);
      } else {
        overlong_ = true;
      }
      return;
    default:
      break;
  }
  collected_.assign(1, static_cast<char>(byte));
  missing_ = following(byte);
  state_ = state::character;
  if (missing_ == 0) end_character(screen);
}

void mode_tracker::end_character(std::string& screen) {
  state_ = state::ground;
  // Not what xterm takes for a control (U+0080 to U+009F).
  const bool control = collected_.size() == 2 && collected_[0] == '\xc2' && collected_[1] < '\xa0';
  if (!control) screen += missing_ == 0 && collected_.size() > 1 ? collected_ : replacement;
}

void mode_tracker::control(unsigned char byte, std::string& screen) {
  if (byte == shift_out) shifted_ = true;
  if (byte == shift_in) shifted_ = false;
  if (byte >= 0x08 && byte <= shift_in) screen += static_cast<char>(byte);
}

void mode_tracker::end_escape(unsigned char byte, std::string& screen) {
  if (byte >= 0x20 && byte <= 0x2f) {
    if (collected_.size() < longest_sequence) collected_ += static_cast<char>(byte);
    state_ = state::escape_intermediate;
    return;
  }
  const bool plain = state_ == state::escape;
  state_ = state::ground;
  if (!plain || byte != '[') after_plain_ = false;
  const auto pass_on = [&] { screen += '\x1b' + collected_ + static_cast<char>(byte); };
  if (!plain) {
    if (collected_ == "(") sets_[0] = static_cast<char>(byte);
    if (collected_ == ")") sets_[1] = static_cast<char>(byte);
    if (collected_ == "(" || collected_ == ")") {
      // Others are like ASCII but for a few characters; and libvterm takes `ESC ( P` for the
      // beginning of a string.
      screen += '\x1b' + collected_ + known_set(byte);
    } else if (collected_ == "#" && byte == '8') {
      pass_on();
    }
    return;
  }
  switch (byte) {
    case '[':
      state_ = state::control_sequence;
      break;
    case ']':
      state_ = state::command;
      break;
    case 'P':
    case 'X':
    case '^':
    case '_':
      state_ = state::string;
      overlong_ = true;  // not a title
      break;
    case '=':
      keypad_ = true;
      break;
    case '>':
      keypad_ = false;
      break;
    case 'c':
      // libvterm would stay in the alternate screen; xterm does not.
      if (alternate_) screen += "\x1b[?1049l";
      reset(true);
      pass_on();
      break;
    case '7':
    case '8':
    case 'D':
    case 'E':
    case 'H':
    case 'M':
      pass_on();
      break;
    default:
      break;
  }
}

void mode_tracker::end_control_sequence(unsigned char final, std::string& screen) {
  std::string_view text{collected_};
  const auto end = static_cast<char>(final);
  const bool may_repeat = std::exchange(after_plain_, false);
  const auto pass_on = [&](std::string_view leader, const std::vector<unsigned>& numbers) {
    if (numbers.size() > most_numbers) return;
    screen += "\x1b[";
    screen += leader;
    for (std::size_t each = 0; each < numbers.size(); ++each) {
      if (each > 0) screen += ';';
      if (numbers[each] > 0 || each > 0) screen += std::to_string(numbers[each]);
    }
    screen += end;
  };
  if (!text.empty() && text.front() == '?') {
    for (const unsigned each : numbers_in(text.substr(1))) {
      if (final == 'J' || final == 'K') pass_on("?", {std::min(each, largest_count)});
      if (final != 'h' && final != 'l') continue;
      set_private(each, final == 'h');
      if (concerns_screen(each)) pass_on("?", {each});
    }
  } else if (text == "!" && final == 'p') {
    reset(false);
    screen += "\x1b[!p";
  } else if (!text.empty() && text.back() == ' ' && final == 'q') {
    cursor_style_ = numbers_in(text.substr(0, text.size() - 1)).front();
  } else if (final == 'm') {
    // The numbers of one colour belong together, and its parts may be parted by colons.
    if (text.find_first_not_of("0123456789;:") == std::string_view::npos &&
        numbers_in(text).size() <= most_numbers)
      screen += "\x1b[" + collected_ + 'm';
  } else if (text.find_first_not_of("0123456789;") != std::string_view::npos) {
    return;
  } else if (final == 'h' || final == 'l') {
    for (const unsigned each : numbers_in(text)) {
      if (each == 4) insert_ = final == 'h';
      if (each == 4 || each == 20) pass_on("", {each});
    }
  } else if (final == 'b') {
    // libvterm never ends to repeat nothing.
    if (may_repeat) pass_on("", {std::min(numbers_in(text).front(), largest_count)});
  } else if (std::string_view{"@ABCDEFGHIJKLMPSTXZ`adefgrsu"}.find(end) != std::string_view::npos) {
    std::vector<unsigned> numbers = numbers_in(text);
    for (unsigned& each : numbers) each = std::min(each, largest_count);
    if (final == 'r') {
      top_ = numbers[0] <= 1 ? 0 : numbers[0];
      bottom_ = numbers.size() > 1 ? numbers[1] : 0;
      if (bottom_ > 0 && top_ == 0) top_ = 1;
    }
    pass_on("", numbers);
  }
}

void mode_tracker::end_command() {
  if (overlong_ || collected_.size() < 2 || collected_[1] != ';') return;
  if (collected_[0] != '0' && collected_[0] != '2') return;
  title_ = collected_.substr(2);
}

void mode_tracker::set_private(unsigned number, bool on) {
  if (number == 47 || number == 1047 || number == 1049) {
    alternate_ = on;
    return;
  }
  const auto known = std::find(private_modes.begin(), private_modes.end(), number);
  if (known != private_modes.end())
    on_[static_cast<std::size_t>(known - private_modes.begin())] = on;
}

void mode_tracker::reset(bool hard) {
  const mode_tracker fresh;
  insert_ = false;
  keypad_ = false;
  shifted_ = false;
  sets_ = fresh.sets_;
  top_ = bottom_ = 0;
  on_[private_mode::origin_mode] = false;
  on_[private_mode::wrap] = true;
  on_[3] = true;   // the cursor
  on_[4] = false;  // cursor keys
  if (!hard) return;
  on_ = fresh.on_;
  alternate_ = false;
  cursor_style_ = 0;
}

std::string mode_tracker::restore_modes() const {
  const mode_tracker fresh;
  std::string text;
  for (std::size_t each = 0; each < count; ++each) {
    if (each == private_mode::origin_mode || on_[each] == fresh.on_[each]) continue;
    text += "\x1b[?" + std::to_string(private_modes[each]) + (on_[each] ? 'h' : 'l');
  }
  if (insert_) text += "\x1b[4h";
  if (keypad_) text += "\x1b=";
  if (cursor_style_ > 0) text += "\x1b[" + std::to_string(cursor_style_) + " q";
  if (sets_[0] != 'B') text += std::string{"\x1b("} + sets_[0];
  if (sets_[1] != 'B') text += std::string{"\x1b)"} + sets_[1];
  if (shifted_) text += static_cast<char>(shift_out);
  return text;
}

std::string mode_tracker::restore_margins() const {
  std::string text;
  if (top_ > 0) {
    text += "\x1b[" + std::to_string(top_) + ';';
    if (bottom_ > 0) text += std::to_string(bottom_);
    text += 'r';
  }
  if (is_set(private_mode::origin_mode)) text += "\x1b[?6h";
  return text;
}

}  // namespace previewd::net::terminal
