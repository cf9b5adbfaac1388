#include "previewd/net/terminal/screen_checkpoint.hpp"

#include <algorithm>
#include <utility>

#include "previewd/net/terminal/emulator.hpp"

namespace previewd::net::terminal {

namespace {

/// Changes of size that are remembered, each with its place in the output.
constexpr std::size_t most_changes = 64;
/// Bytes that an emulator is given at once.
constexpr std::size_t piece_bytes = 16 * 1024;
/// Lines are skipped when it is worth looking for their end.
constexpr std::size_t worth_skipping = 2 * 1024;
/// Selections of colours that are kept as they are.
constexpr std::size_t longest_pen = 1024;
constexpr std::string_view full_reset =
  "\x1b"
  "c";
constexpr std::string_view line_end = "\r\n";
/// Goes before the rest of a string whose beginning has gone: a command that nobody knows.
constexpr std::string_view inside_string = "\x1b]9999;";

/// How long `ESC [ digits m` or `... K` is, which is at the beginning; 0 when something else is.
std::size_t harmless_sequence(std::string_view text) {
  if (text.size() < 3 || text[1] != '[') return 0;
  const std::size_t end = text.find_first_not_of("0123456789;:", 2);
  return end != std::string_view::npos && (text[end] == 'm' || text[end] == 'K') ? end + 1 : 0;
}

/// How far `text` has only characters, ends of lines and colours. Other controls could be anything.
std::size_t plain_size(std::string_view text) {
  // Shifts, and the first byte of C1 controls.
  std::size_t most = text.size();
  for (const char other : {'\x0e', '\x0f', '\xc2'})
    most = std::min(most, text.substr(0, most).find(other));
  most = std::min(most, text.size());
  for (std::size_t at = 0; at < most;) {
    at = text.find('\x1b', at);
    if (at >= most) return most;
    const std::size_t length = harmless_sequence(text.substr(at));
    if (length == 0) return at;
    at += length;
  }
  return most;
}

/// Whether `text` is plain and has so many ends of lines.
bool has_lines(std::string_view text, std::size_t many) {
  if (text.size() < worth_skipping || plain_size(text) < text.size()) return false;
  for (std::size_t at = 0; many > 0; --many) {
    at = text.find(line_end, at);
    if (at == std::string_view::npos) return false;
    ++at;
  }
  return true;
}

/// Adds the selections in `text`, all of whose sequences are harmless. What came before a reset has
/// no effect.
void add_selections(std::string& pen, std::string_view text) {
  for (std::size_t at = text.find('\x1b'); at != std::string_view::npos;
       at = text.find('\x1b', at)) {
    const std::size_t length = harmless_sequence(text.substr(at));
    const std::string_view sequence = text.substr(at, length);
    at += std::max<std::size_t>(1, length);
    if (sequence.empty() || sequence.back() != 'm') continue;
    if (sequence == "\x1b[m" || sequence == "\x1b[0m") pen.clear();
    pen += sequence;
  }
}

}  // namespace

screen_checkpoint::screen_checkpoint(terminal_size size, std::size_t most_cells)
    : most_cells_{most_cells} {
  point_.size = size;
  point_.painted_for = size;
}

bool screen_checkpoint::is_too_large() const {
  const auto cells = [](terminal_size size) {
    return std::size_t{size.columns} * std::size_t{size.rows};
  };
  std::size_t most = std::max(cells(point_.size), cells(point_.painted_for));
  for (const size_change& each : changes_) most = std::max(most, cells(each.size));
  return most > most_cells_;
}

void screen_checkpoint::append(scrollback& to, std::string_view bytes) {
  // In parts, so that what has not left the scrollback yet reaches beyond what leaves it.
  const std::size_t part = std::max<std::size_t>(1, to.limit() / 4);
  while (!bytes.empty()) {
    const std::string_view next = bytes.substr(0, part);
    bytes.remove_prefix(next.size());
    const uint64_t after = to.sequence() + next.size();
    const uint64_t least = after - std::min<uint64_t>(after, to.limit());
    if (least > point_.sequence) {
      if (is_too_large()) {
        begin_anew(least);
      } else {
        advance(point_, to,
          {.until = least, .forced = least, .most = std::min(to.sequence(), least + part)});
      }
      changes_.erase(changes_.begin(),
        changes_.begin() + static_cast<std::ptrdiff_t>(std::exchange(point_.changes, 0)));
    }
    to.append(next);
  }
}

/// Nothing is known of the screen any more.
void screen_checkpoint::begin_anew(uint64_t sequence) {
  point blank;
  blank.sequence = sequence;
  blank.size = point_.size;
  while (point_.changes < changes_.size() && changes_[point_.changes].sequence <= sequence)
    blank.size = changes_[point_.changes++].size;
  blank.painted_for = blank.size;
  blank.changes = point_.changes;
  point_ = std::move(blank);
}

void screen_checkpoint::resize(const scrollback& at, terminal_size size) {
  if (!changes_.empty() && changes_.back().sequence == at.sequence()) {
    changes_.back().size = size;
    return;
  }
  if (at.sequence() == 0) {
    point_.size = point_.painted_for = size;
    return;
  }
  // So many, and so little output between them: the oldest are as good as one.
  if (changes_.size() == most_changes) changes_.erase(changes_.begin());
  changes_.push_back({.sequence = at.sequence(), .size = size});
}

void screen_checkpoint::advance(point& at, const scrollback& bytes, way how) const {
  do {
    if (at.scrolls_whole) skip(at, bytes, how.most);
  } while (at.sequence < how.until && emulate(at, bytes, how));
}

/// Passes lines that will have been scrolled away by those that follow them, as long as there are
/// enough of those in the scrollback.
void screen_checkpoint::skip(point& at, const scrollback& bytes, uint64_t most) const {
  // Twice the rows: the cursor reaches the last row, and then every row is scrolled away.
  const std::size_t needed = 2 * most_rows(at);
  const auto room = static_cast<std::size_t>(most - at.sequence) + piece_bytes;
  const scrollback::slice slice = bytes.read(at.sequence, room);
  const std::string_view text = slice.bytes;
  if (text.size() < worth_skipping) return;
  const std::string_view plain = text.substr(0, plain_size(text));
  if (plain.size() < worth_skipping) return;
  std::size_t end = plain.size();
  std::size_t lines = 0;
  for (; lines < needed; ++lines) {
    end = end == 0 ? std::string_view::npos : plain.rfind(line_end, end - 1);
    if (end == std::string_view::npos) return;
  }
  // The lines that follow begin at the left, wherever the cursor was.
  const std::size_t limit = std::min(end, static_cast<std::size_t>(most - at.sequence));
  const std::size_t begin = plain.substr(0, limit + 2).rfind(line_end);
  if (begin == std::string_view::npos || begin == 0) return;
  add_selections(at.pen, plain.substr(0, begin));
  at.sequence += begin;
  for (; at.changes < changes_.size() && changes_[at.changes].sequence <= at.sequence; ++at.changes)
    at.size = changes_[at.changes].size;
  if (at.pen.size() > longest_pen) {
    emulator screen{at.painted_for};
    screen.feed_whole(at.paint);
    screen.feed_whole(std::exchange(at.pen, {}));
    at.paint = screen.paint();
  }
}

/// Shows what follows to an emulator. Whether it has stopped because of lines that may be skipped.
bool screen_checkpoint::emulate(point& at, const scrollback& bytes, way how) const {
  emulator screen{at.painted_for};
  screen.feed_whole(at.paint);
  screen.feed_whole(std::exchange(at.pen, {}));
  screen.resize(at.size);
  const std::size_t many_lines = 2 * most_rows(at);
  const uint64_t first = at.sequence;
  bool skippable = false;
  bool cut_off = false;
  const auto change_size = [&] {
    at.size = changes_[at.changes++].size;
    screen.resize(at.size);
  };
  while (at.sequence < how.most) {
    uint64_t end = how.most;
    if (at.changes < changes_.size()) {
      end = std::min(end, changes_[at.changes].sequence);
      if (end <= at.sequence) {
        change_size();
        continue;
      }
    }
    const auto size = static_cast<std::size_t>(std::min<uint64_t>(end - at.sequence, piece_bytes));
    const std::string piece = bytes.read(at.sequence, size).bytes;
    if (at.sequence > first && screen.modes().scrolls_whole() && has_lines(piece, many_lines)) {
      skippable = true;
      break;
    }
    std::size_t shown = screen.feed(piece);
    if (shown == 0 && size < piece_bytes) {
      if (end < how.most) {
        change_size();  // inside a sequence: as well before it
        continue;
      }
      if (at.sequence >= how.forced) break;  // it has only begun
    }
    if (shown == 0) {
      // Endless. What is a string stays one, anything else is given up.
      screen.feed_whole(piece);
      shown = piece.size();
      cut_off = true;
    }
    at.sequence += shown;
  }
  const bool in_string = cut_off && screen.modes().in_string();
  at.scrolls_whole = screen.modes().scrolls_whole() && !in_string;
  at.alternate = screen.modes().alternate();
  at.paint = screen.paint();
  if (in_string) at.paint += inside_string;
  at.painted_for = at.size;
  return skippable;
}

std::size_t screen_checkpoint::most_rows(const point& at) const {
  std::size_t rows = std::max(at.size.rows, at.painted_for.rows);
  for (const size_change& each : changes_) rows = std::max<std::size_t>(rows, each.size.rows);
  return rows;
}

screen_checkpoint::restored screen_checkpoint::restore(const scrollback& from) const {
  if (is_too_large() || point_.sequence < from.oldest()) return {{}, from.oldest()};
  point now = point_;
  advance(now, from, {.until = from.sequence(), .forced = 0, .most = from.sequence()});
  const point& chosen = now.alternate ? now : point_;
  return {
    (chosen.paint.empty() ? std::string{full_reset} : chosen.paint) + chosen.pen, chosen.sequence};
}

}  // namespace previewd::net::terminal
