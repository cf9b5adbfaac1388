#pragma once

#include <cstddef>
#include <memory>
#include <string>
#include <string_view>

#include "previewd/messages/terminal.hpp"
#include "previewd/net/terminal/mode_tracker.hpp"

struct VTerm;

namespace previewd::net::terminal {

/// A terminal's screens as a person would see them, made from its output (by libvterm), which can
/// be painted on another terminal. Takes about 80 bytes per cell: not to be kept. What it does not
/// know is not painted: faint and hidden text, hyperlinks, tab stops, which lines were wrapped. Any
/// one thread at a time.
class emulator {
public:
  /// A blank one. Sizes below two columns are taken for two.
  explicit emulator(terminal_size size);
  ~emulator();
  emulator(const emulator&) = delete;
  emulator& operator=(const emulator&) = delete;

  /// Shows what it can of `bytes`, up to the last place where they may be cut, and says how many
  /// those are. The others have to be given again, with what follows them.
  std::size_t feed(std::string_view bytes);

  /// Shows all of `bytes`, wherever they end.
  void feed_whole(std::string_view bytes);

  /// The window has another size.
  void resize(terminal_size size);

  const mode_tracker& modes() const noexcept { return modes_; }

  /// What makes any terminal of this size, or a larger one, show the same, in every mode that is
  /// on: both screens with their colours and attributes, the cursors, the title. Begins with a full
  /// reset. Asks nothing that would be answered. Ends the emulator: nothing else may be called.
  std::string paint();

private:
  struct deleter {
    void operator()(VTerm* terminal) const;
  };

  static std::unique_ptr<VTerm, deleter> blank(terminal_size size);
  void write(std::string_view bytes);

  terminal_size size_;
  std::unique_ptr<VTerm, deleter> terminal_;
  mode_tracker modes_;
};

}  // namespace previewd::net::terminal
