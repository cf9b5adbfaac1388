#pragma once

#include <vterm.h>

#include <memory>
#include <string>
#include <string_view>

#include "previewd/messages/terminal.hpp"

namespace previewd::test {

/// A screen as a browser would have it: shows whatever it is given, and tells what it shows.
class vterm_screen {
public:
  explicit vterm_screen(terminal_size size)
      : size_{size}, terminal_{vterm_new(size.rows, size.columns), &vterm_free} {
    vterm_set_utf8(terminal_.get(), 1);
    vterm_output_set_callback(
      terminal_.get(),
      [](const char* bytes, size_t count, void* self) {
        static_cast<vterm_screen*>(self)->answers.append(bytes, count);
      },
      this);
    VTermScreen* screen = vterm_obtain_screen(terminal_.get());
    vterm_screen_enable_altscreen(screen, 1);
    static const VTermScreenCallbacks callbacks{
      nullptr, nullptr, nullptr, &note_property, nullptr, nullptr, nullptr, nullptr};
    vterm_screen_set_callbacks(screen, &callbacks, this);
    vterm_screen_reset(screen, 1);
    feed(
      "\x1b"
      "7");  // so that going back is defined
  }

  void feed(std::string_view bytes) {
    if (!bytes.empty()) vterm_input_write(terminal_.get(), bytes.data(), bytes.size());
  }

  void resize(terminal_size size) {
    size_ = size;
    vterm_set_size(terminal_.get(), size.rows, size.columns);
  }

  /// Every cell with its characters, attributes and colours, a row a line; then the cursor.
  std::string cells() const {
    std::string text;
    for (int row = 0; row < size_.rows; ++row) {
      for (int column = 0; column < size_.columns; ++column) {
        VTermScreenCell cell{};
        vterm_screen_get_cell(vterm_obtain_screen(terminal_.get()), {row, column}, &cell);
        if (cell.chars[0] == 0) {
          // Of what was erased only the background can be seen.
          text += VTERM_COLOR_IS_DEFAULT_BG(&cell.bg) ? " ." : " e" + color(cell.bg);
          continue;
        }
        text += ' ';
        if (cell.chars[0] == static_cast<uint32_t>(-1)) {
          text += 'r';  // the right half of a wide one
          continue;
        }
        for (const uint32_t each : cell.chars) {
          if (each == 0) break;
          text += std::to_string(each) + '+';
        }
        text += std::to_string(cell.attrs.bold) + std::to_string(cell.attrs.underline) +
                std::to_string(cell.attrs.italic) + std::to_string(cell.attrs.blink) +
                std::to_string(cell.attrs.reverse) + std::to_string(cell.attrs.strike);
        text += color(cell.fg) + color(cell.bg);
      }
      text += '\n';
    }
    VTermPos cursor{};
    vterm_state_get_cursorpos(vterm_obtain_state(terminal_.get()), &cursor);
    return text + "cursor " + std::to_string(cursor.row) + ',' + std::to_string(cursor.col) +
           " visible " + std::to_string(visible) + " alternate " + std::to_string(alternate) +
           " shape " + std::to_string(shape);
  }

  /// A row's text.
  std::string row(int number) const {
    std::string text(std::size_t{size_.columns} * 24, '\0');
    text.resize(vterm_screen_get_text(vterm_obtain_screen(terminal_.get()), text.data(),
      text.size(), {number, number + 1, 0, size_.columns}));
    return text;
  }

  /// What a key would type now.
  std::string typed(VTermKey key) {
    answers.clear();
    vterm_keyboard_key(terminal_.get(), key, VTERM_MOD_NONE);
    return answers;
  }

  std::string pasted() {
    answers.clear();
    vterm_keyboard_start_paste(terminal_.get());
    return answers;
  }

  std::string answers;  // to questions in what it was given
  std::string title;
  bool visible = true;
  bool alternate = false;
  int mouse = 0;  // libvterm looks at the first of several modes only
  int shape = 1;

private:
  static std::string color(const VTermColor& which) {
    if (which.type & VTERM_COLOR_DEFAULT_MASK) return "-";
    if (VTERM_COLOR_IS_INDEXED(&which)) return "i" + std::to_string(which.indexed.idx);
    return "#" + std::to_string(which.rgb.red) + '.' + std::to_string(which.rgb.green) + '.' +
           std::to_string(which.rgb.blue);
  }

  static int note_property(VTermProp property, VTermValue* value, void* self) {
    auto* const screen = static_cast<vterm_screen*>(self);
    if (property == VTERM_PROP_CURSORVISIBLE) screen->visible = value->boolean != 0;
    if (property == VTERM_PROP_ALTSCREEN) screen->alternate = value->boolean != 0;
    if (property == VTERM_PROP_MOUSE) screen->mouse = value->number;
    if (property == VTERM_PROP_CURSORSHAPE) screen->shape = value->number;
    if (property == VTERM_PROP_TITLE) screen->title = value->string;
    return 1;
  }

  terminal_size size_;
  std::unique_ptr<VTerm, void (*)(VTerm*)> terminal_;
};

}  // namespace previewd::test
