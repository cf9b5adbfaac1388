#include <algorithm>
#include <string>

#include "previewd/net/terminal/emulator.hpp"
#include "previewd/tests/fuzz/property.hpp"

// What programs print, as an emulator shows it: nothing harms it, however the bytes are cut, and
// what paints the screen can be read to its end.

using namespace previewd;
using namespace previewd::fuzz;
using previewd::net::terminal::emulator;
using previewd::net::terminal::mode_tracker;

namespace {

std::string painted(std::string_view text, std::size_t piece, terminal_size size) {
  emulator screen{size};
  std::string held;
  while (!text.empty()) {
    const std::string_view part = text.substr(0, piece);
    text.remove_prefix(part.size());
    held += part;
    held.erase(0, screen.feed(held));
  }
  return screen.paint();
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, std::size_t size) {
  std::string_view input = text_of(data, size);
  const auto columns = static_cast<uint16_t>(1 + choice(input) % 100);
  const auto rows = static_cast<uint16_t>(1 + choice(input) % 50);
  const std::size_t piece = 1 + choice(input) % 64;
  const terminal_size window{.columns = columns, .rows = rows};
  // Pieces may show something else where controls stand inside a sequence that is read again, and
  // where libvterm meets a combining character apart from its base: only harm is looked for.
  painted(input, piece, window);
  const std::string whole = painted(input, std::max<std::size_t>(input.size(), 1), window);

  mode_tracker reader;
  std::string screen;
  reader.feed(whole, screen);
  require(reader.cut() == whole.size(), "a painted screen ends outside any sequence");

  emulator other{window};
  require(other.feed(whole) == whole.size(), "a painted screen is shown whole");
  other.paint();
  return 0;
}
