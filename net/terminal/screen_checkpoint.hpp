#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "previewd/messages/terminal.hpp"
#include "previewd/net/terminal/scrollback.hpp"

namespace previewd::net::terminal {

/// What a terminal's screen showed when its oldest bytes left the scrollback, so that who comes
/// later sees the screen right. Only text is kept, an emulator runs for moments: when output leaves
/// the scrollback, and even then not for lines that will have been scrolled away
/// (docs/decisions/0007-screens-are-painted-from-checkpoints.md). Any one thread at a time.
class screen_checkpoint {
public:
  /// Of a terminal that has put out nothing yet. Screens of more than `most_cells` cells are not
  /// kept: nothing is restored then.
  screen_checkpoint(terminal_size size, std::size_t most_cells);

  /// Adds `bytes` to the scrollback, and keeps what the screen needs of those that leave it.
  void append(scrollback& to, std::string_view bytes);

  /// The window has another size from here on.
  void resize(const scrollback& at, terminal_size size);

  /// How somebody is brought up to date who misses bytes that have left the scrollback.
  struct restored {
    std::string paint;  // shows the screen, whatever was shown before; empty: nothing is known
    uint64_t from = 0;  // output follows from this sequence on
  };

  /// On the ordinary screen output follows from early on, so that it can be scrolled back to; on
  /// the alternate one, which has no history, as late as possible.
  restored restore(const scrollback& from) const;

private:
  struct size_change {
    uint64_t sequence;
    terminal_size size;
  };
  /// A screen and how far it has come.
  struct point {
    uint64_t sequence = 0;
    terminal_size size;         // in force
    std::string paint;          // empty: a blank screen in its first state
    terminal_size painted_for;  // the size it had then
    std::string pen;            // selected since
    bool scrolls_whole = true;  // new lines at the end scroll the whole screen
    bool alternate = false;
    std::size_t changes = 0;  // of the size that have come into force
  };

  /// How far a point is brought.
  struct way {
    uint64_t until;   // so far, if it can be cut there
    uint64_t forced;  // so far even inside a sequence
    uint64_t most;    // not farther than this
  };

  bool is_too_large() const;
  void begin_anew(uint64_t sequence);
  void advance(point& at, const scrollback& bytes, way how) const;
  void skip(point& at, const scrollback& bytes, uint64_t most) const;
  bool emulate(point& at, const scrollback& bytes, way how) const;
  std::size_t most_rows(const point& at) const;

  std::size_t most_cells_;
  point point_;
  std::vector<size_change> changes_;  // since then, at most `most_changes`
};

}  // namespace previewd::net::terminal
