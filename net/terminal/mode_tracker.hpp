#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

namespace previewd::net::terminal {

/// Reads a terminal's output for what libvterm does not do: finds where it may be cut (not inside
/// an escape sequence or a character) and which modes are on, and keeps from libvterm what it does
/// not understand or has no limits for. Sources: ECMA-48, and "XTerm Control Sequences" for private
/// modes. Any one thread at a time.
class mode_tracker {
public:
  /// Reads on. Adds to `screen` what changes a screen: whole characters, and sequences that are
  /// known, with few and small numbers. No string, no question.
  void feed(std::string_view bytes, std::string& screen);

  /// How many of the last `feed`'s bytes lie before its last place where it may be cut.
  std::size_t cut() const noexcept { return cut_; }

  /// Forgets a sequence or character that has begun: it will be read again.
  void rewind() noexcept { state_ = state_at_cut_; }

  /// A string has begun that has not ended (a title, a picture): what follows is not shown.
  bool in_string() const noexcept;

  /// The alternate screen is shown.
  bool alternate() const noexcept { return alternate_; }

  /// New lines at the end of the screen scroll all of it: the ordinary screen is shown, with no
  /// margins.
  bool scrolls_whole() const noexcept {
    return !alternate_ && top_ == 0 && bottom_ == 0 && !is_set(private_mode::margins);
  }

  /// The title that a program has set, at most 256 bytes.
  const std::string& title() const noexcept { return title_; }

  /// Restores all modes that are not as they are after a full reset, but those that move the cursor
  /// (margins, origin) or concern the screen that is shown.
  std::string restore_modes() const;

  /// Restores the margins and the origin mode; moves the cursor. Empty when there are none.
  std::string restore_margins() const;

  /// The row that row 1 means in cursor positions, from 0: not 0 only in origin mode.
  unsigned origin() const noexcept;

  /// Lines wrap at the last column.
  bool wraps() const noexcept { return is_set(private_mode::wrap); }

  /// The window has another size, which resets the margins.
  void resized() noexcept { top_ = bottom_ = 0; }

private:
  enum class state : uint8_t {
    ground,
    character,
    escape,
    escape_intermediate,
    control_sequence,
    command,  // OSC
    string,   // DCS, SOS, PM, APC
    string_escape,
  };
  /// Places in `private_modes`.
  enum private_mode : std::size_t { origin_mode, wrap, margins, count = 21 };

  void step(unsigned char byte, std::string& screen);
  void begin_sequence();
  void end_character(std::string& screen);
  void control(unsigned char byte, std::string& screen);
  void end_escape(unsigned char byte, std::string& screen);
  void end_control_sequence(unsigned char final, std::string& screen);
  void end_command();
  void set_private(unsigned number, bool on);
  void reset(bool hard);
  bool is_set(private_mode which) const noexcept { return on_[which]; }

  static const std::array<uint16_t, count> private_modes;

  state state_ = state::ground;
  state state_at_cut_ = state::ground;  // or, where there was none, before the last feed
  unsigned missing_ = 0;                // bytes of a character
  std::size_t cut_ = 0;                 // of the last feed
  std::string collected_;               // of a character, sequence or command; bounded
  bool after_plain_ = false;            // what was read last is a character of one byte
  bool overlong_ = false;               // more than was collected
  std::array<bool, count> on_{false, true, false, true};
  bool alternate_ = false;
  bool insert_ = false;
  bool keypad_ = false;
  bool shifted_ = false;  // G1 is in use
  std::array<char, 2> sets_{'B', 'B'};
  unsigned cursor_style_ = 0;
  unsigned top_ = 0;     // from 1; 0: none
  unsigned bottom_ = 0;  // 0: the last row
  std::string title_;
};

}  // namespace previewd::net::terminal
