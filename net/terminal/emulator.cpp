#include "previewd/net/terminal/emulator.hpp"

#include <vterm.h>

#include <algorithm>
#include <cstdint>

namespace previewd::net::terminal {

namespace {

/// What a cell holds that has never been written to, or was erased.
constexpr uint32_t nothing = 0;
constexpr std::string_view full_reset =
  "\x1b"
  "c";
/// libvterm stays in the alternate screen at a full reset, and might be what paints.
constexpr std::string_view leave_alternate = "\x1b[?1049l";
/// The right half of a wide character.
constexpr auto right_half = static_cast<uint32_t>(-1);

terminal_size at_least(terminal_size size) {
  return {.columns = std::max<uint16_t>(2, size.columns), .rows = std::max<uint16_t>(1, size.rows)};
}

/// How a cell looks, beside its characters.
struct look {
  VTermScreenCellAttrs attributes{};
  VTermColor front{};
  VTermColor back{};
};

bool same(const look& a, const look& b) {
  return a.attributes.bold == b.attributes.bold &&
         a.attributes.underline == b.attributes.underline &&
         a.attributes.italic == b.attributes.italic && a.attributes.blink == b.attributes.blink &&
         a.attributes.reverse == b.attributes.reverse &&
         a.attributes.strike == b.attributes.strike && vterm_color_is_equal(&a.front, &b.front) &&
         vterm_color_is_equal(&a.back, &b.back);
}

void add_color(std::string& text, const VTermColor& color, bool front) {
  if (front ? VTERM_COLOR_IS_DEFAULT_FG(&color) : VTERM_COLOR_IS_DEFAULT_BG(&color)) return;
  const unsigned base = front ? 30 : 40;
  if (VTERM_COLOR_IS_INDEXED(&color)) {
    const unsigned index = color.indexed.idx;
    if (index < 8) {
      text += ';' + std::to_string(base + index);
    } else if (index < 16) {
      text += ';' + std::to_string(base + 60 + index - 8);
    } else {
      text += ';' + std::to_string(base + 8) + ";5;" + std::to_string(index);
    }
    return;
  }
  text += ';' + std::to_string(base + 8) + ";2;" + std::to_string(color.rgb.red) + ';' +
          std::to_string(color.rgb.green) + ';' + std::to_string(color.rgb.blue);
}

/// Selects a look, whichever is selected.
std::string selecting(const look& wanted) {
  std::string text = "\x1b[0";
  if (wanted.attributes.bold) text += ";1";
  if (wanted.attributes.italic) text += ";3";
  if (wanted.attributes.underline == VTERM_UNDERLINE_SINGLE) text += ";4";
  if (wanted.attributes.underline == VTERM_UNDERLINE_DOUBLE) text += ";21";
  if (wanted.attributes.underline == VTERM_UNDERLINE_CURLY) text += ";4:3";
  if (wanted.attributes.blink) text += ";5";
  if (wanted.attributes.reverse) text += ";7";
  if (wanted.attributes.strike) text += ";9";
  add_color(text, wanted.front, true);
  add_color(text, wanted.back, false);
  return text + 'm';
}

void add_character(std::string& text, uint32_t code) {
  if (code < 0x20 || code > 0x10ffff || (code >= 0xd800 && code < 0xe000)) code = 0xfffd;
  const auto add = [&](uint32_t byte) { text += static_cast<char>(byte); };
  if (code < 0x80) {
    add(code);
  } else if (code < 0x800) {
    add(0xc0 | code >> 6);
    add(0x80 | (code & 0x3f));
  } else if (code < 0x10000) {
    add(0xe0 | code >> 12);
    add(0x80 | (code >> 6 & 0x3f));
    add(0x80 | (code & 0x3f));
  } else {
    add(0xf0 | code >> 18);
    add(0x80 | (code >> 12 & 0x3f));
    add(0x80 | (code >> 6 & 0x3f));
    add(0x80 | (code & 0x3f));
  }
}

void add_characters(std::string& text, const VTermScreenCell& cell) {
  for (const uint32_t code : cell.chars) {
    if (code == nothing) break;
    add_character(text, code);
  }
}

std::string position(int row, int column) {
  return "\x1b[" + std::to_string(row + 1) + ';' + std::to_string(column + 1) + 'H';
}

VTermScreenCell cell_at(VTerm* terminal, int row, int column) {
  VTermScreenCell cell{};
  vterm_screen_get_cell(vterm_obtain_screen(terminal), {.row = row, .col = column}, &cell);
  return cell;
}

look look_of(const VTermScreenCell& cell) {
  return {.attributes = cell.attrs, .front = cell.fg, .back = cell.bg};
}

VTermPos cursor_of(VTerm* terminal) {
  VTermPos cursor{};
  vterm_state_get_cursorpos(vterm_obtain_state(terminal), &cursor);
  return cursor;
}

/// The look of what would be written next.
look pen_of(VTerm* terminal) {
  const VTermState* state = vterm_obtain_state(terminal);
  const auto value = [&](VTermAttr attribute) {
    VTermValue found{};
    vterm_state_get_penattr(state, attribute, &found);
    return found;
  };
  const auto flag = [&](VTermAttr attribute) { return value(attribute).boolean != 0 ? 1U : 0U; };
  look pen;
  pen.attributes.bold = flag(VTERM_ATTR_BOLD) & 1U;
  pen.attributes.underline = static_cast<unsigned>(value(VTERM_ATTR_UNDERLINE).number) & 3U;
  pen.attributes.italic = flag(VTERM_ATTR_ITALIC) & 1U;
  pen.attributes.blink = flag(VTERM_ATTR_BLINK) & 1U;
  pen.attributes.reverse = flag(VTERM_ATTR_REVERSE) & 1U;
  pen.attributes.strike = flag(VTERM_ATTR_STRIKE) & 1U;
  pen.front = value(VTERM_ATTR_FOREGROUND).color;
  pen.back = value(VTERM_ATTR_BACKGROUND).color;
  return pen;
}

/// All rows of the screen that is shown, onto a blank one. What was never written to is not
/// written to here either.
void add_rows(std::string& text, VTerm* terminal, terminal_size size) {
  look selected = look_of(VTermScreenCell{});
  bool any_selected = false;
  for (int row = 0; row < size.rows; ++row) {
    int placed = -1;  // where the other terminal's cursor is in this row
    for (int column = 0; column < size.columns; ++column) {
      const VTermScreenCell cell = cell_at(terminal, row, column);
      if (cell.chars[0] == right_half) continue;
      const bool blank = cell.chars[0] == nothing;
      if (blank && VTERM_COLOR_IS_DEFAULT_BG(&cell.bg) && !cell.attrs.reverse) continue;
      if (placed != column) text += position(row, column);
      if (const look wanted = look_of(cell); !any_selected || !same(wanted, selected)) {
        text += selecting(wanted);
        selected = wanted;
        any_selected = true;
      }
      if (blank) {
        text += "\x1b[X";  // as it came to be: erased with a background
        placed = column;
      } else {
        add_characters(text, cell);
        placed = column + std::max<int>(1, cell.width);
        // Whether the cursor waits in the last column depends on the terminal.
        if (placed >= size.columns) placed = -1;
      }
    }
  }
}

/// Whether the next character goes to the next line, although the cursor stands on this one's last.
/// Writes one to find out.
bool wrap_is_due(VTerm* terminal) {
  const VTermPos before = cursor_of(terminal);
  vterm_input_write(terminal, "x", 1);
  const VTermPos after = cursor_of(terminal);
  return after.row != before.row || after.col < before.col;
}

}  // namespace

void emulator::deleter::operator()(VTerm* terminal) const {
  vterm_free(terminal);
}

std::unique_ptr<VTerm, emulator::deleter> emulator::blank(terminal_size size) {
  std::unique_ptr<VTerm, deleter> terminal{vterm_new(size.rows, size.columns)};
  vterm_set_utf8(terminal.get(), 1);
  vterm_output_set_callback(
    terminal.get(), [](const char*, std::size_t, void*) {}, nullptr);  // nobody is answered
  VTermScreen* screen = vterm_obtain_screen(terminal.get());
  vterm_screen_enable_altscreen(screen, 1);
  vterm_screen_set_damage_merge(screen, VTERM_DAMAGE_SCREEN);
  vterm_screen_reset(screen, 1);
  vterm_input_write(terminal.get(),
    "\x1b"
    "7",
    2);  // what is kept before anything is
  return terminal;
}

emulator::emulator(terminal_size size) : size_{at_least(size)}, terminal_{blank(size_)} {}

emulator::~emulator() = default;

void emulator::write(std::string_view bytes) {
  if (!bytes.empty()) vterm_input_write(terminal_.get(), bytes.data(), bytes.size());
}

std::size_t emulator::feed(std::string_view bytes) {
  std::string screen;
  modes_.feed(bytes, screen);
  modes_.rewind();
  write(screen);
  return modes_.cut();
}

void emulator::feed_whole(std::string_view bytes) {
  std::string screen;
  modes_.feed(bytes, screen);
  write(screen);
}

void emulator::resize(terminal_size size) {
  size = at_least(size);
  if (size == size_) return;
  modes_.resized();
  // libvterm keeps rows that a smaller window does not have, and writes there: so it gets no other
  // size, but another one is painted. What is above goes first.
  const VTermPos cursor = cursor_of(terminal_.get());
  write("\x1b[?6l\x1b[r");
  int row = cursor.row;
  if (const int over = cursor.row - (size.rows - 1); over > 0) {
    write("\x1b[" + std::to_string(over) + 'S');
    row -= over;
  }
  write(position(row, cursor.col));
  const std::string shown = paint();
  size_ = size;
  terminal_ = blank(size_);
  modes_ = mode_tracker{};
  feed_whole(shown);
}

std::string emulator::paint() {
  VTerm* const terminal = terminal_.get();
  std::string text{leave_alternate};
  text += full_reset;
  if (!modes_.title().empty()) text += "\x1b]2;" + modes_.title() + "\x1b\\";

  const look pen = pen_of(terminal);
  VTermPos cursor = cursor_of(terminal);
  // A repetition up to the end leaves libvterm's behind it.
  cursor.col = std::min<int>(cursor.col, size_.columns - 1);
  std::string alternate_rows;
  std::string due;  // brings the cursor behind the last column
  // libvterm's cursor stays on the left half of a wide character that ends the line.
  if (const VTermScreenCell last = cell_at(terminal, cursor.row, cursor.col);
      cursor.col + std::max<int>(1, last.width) >= size_.columns) {
    due = selecting(look_of(last));
    add_characters(due, last);
    if (last.chars[0] == nothing) due += " \x1b[K";  // it has been erased since
  }
  if (modes_.alternate()) {
    add_rows(alternate_rows, terminal, size_);
    if (!wrap_is_due(terminal)) due.clear();
    write("\x1b[?1049l");  // shows the ordinary screen again, with its cursor
    add_rows(text, terminal, size_);
    const VTermPos left = cursor_of(terminal);
    // Entering the other screen keeps the cursor of this one, and its colour fills it.
    text +=
      selecting(pen_of(terminal)) + position(left.row, left.col) + "\x1b[?1049h\x1b[0m\x1b[2J";
    text += alternate_rows;
  } else {
    add_rows(text, terminal, size_);
    if (!wrap_is_due(terminal)) due.clear();
    write(
      "\x1b"
      "8");  // goes back to the cursor that was kept
    const VTermPos kept = cursor_of(terminal);
    text += selecting(pen_of(terminal)) + position(kept.row, kept.col) +
            "\x1b"
            "7";
  }
  text += modes_.restore_margins();
  text += position(cursor.row - static_cast<int>(modes_.origin()), cursor.col);
  text += due;
  text += selecting(pen);
  text += modes_.restore_modes();
  return text;
}

}  // namespace previewd::net::terminal
