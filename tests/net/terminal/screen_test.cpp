// Screens that are painted for those who have missed too much: libvterm on the other side judges.
#include <catch2/catch.hpp>
#include <random>
#include <string>
#include <vector>

#include "previewd/net/terminal/emulator.hpp"
#include "previewd/net/terminal/screen_checkpoint.hpp"
#include "previewd/tests/net/terminal/vterm_screen.hpp"

namespace {

using previewd::terminal_size;
using previewd::net::terminal::emulator;
using previewd::net::terminal::mode_tracker;
using previewd::net::terminal::screen_checkpoint;
using previewd::net::terminal::scrollback;
using previewd::test::vterm_screen;

constexpr terminal_size small{.columns = 20, .rows = 6};
constexpr std::size_t enough_cells = 100'000;

/// The same screen and modes, and the same after what comes next: a character (which may wrap), the
/// way back from the alternate screen, and lines within the margins.
void check_same(vterm_screen& is, vterm_screen& wanted) {
  CHECK(is.cells() == wanted.cells());
  CHECK(is.mouse == wanted.mouse);
  CHECK(is.typed(VTERM_KEY_UP) == wanted.typed(VTERM_KEY_UP));
  CHECK(is.typed(VTERM_KEY_KP_5) == wanted.typed(VTERM_KEY_KP_5));
  CHECK(is.pasted() == wanted.pasted());
  std::vector<std::string> more{"x", "\r\nlast", "\n\n\n\n\n\ny"};
  more.push_back(wanted.alternate ? "\x1b[?1049lz"
                                  : "\x1b"
                                    "8z");
  for (const std::string& next : more) {
    is.feed(next);
    wanted.feed(next);
    INFO("after " << (next[0] == '\x1b' ? "the cursor went back" : next));
    CHECK(is.cells() == wanted.cells());
  }
}

std::string painted(std::string_view output, terminal_size size = small) {
  emulator screen{size};
  screen.feed(output);
  return screen.paint();
}

}  // namespace

TEST_CASE("a painted screen is the screen that was", "[net][terminal][screen]") {
  const std::string output = GENERATE(values<std::string>({
    "",
    "$ ls\r\none two",
    "\x1b[1;31mred\x1b[0m \x1b[4;3;38;5;200;48;2;1;2;3mfine\x1b[0m \x1b[7mback",
    "\x1b[97;104mbright\x1b[9mstruck\x1b[21mtwice\x1b[5mblinks",
    "wide \xe6\x97\xa5\xe6\x9c\xac and e\xcc\x81",
    "\x1b[44m\x1b[2J\x1b[3;3Hon blue\x1b[K",
    "12345678901234567890",             // the next one wraps
    "\x1b[3;19H\xe6\x97\xa5",           // as does the one after a wide one
    "12345678901234567890\x1b[D",       // but not this one
    "\x1b[?7l12345678901234567890123",  // nor this one
    "main\r\n\x1b[?1049h\x1b[2Jfull\x1b[5;5Hscreen",
    "left \x1b[3;7H\x1b[32m\x1b[?1049h\x1b[H\x1b[0mtop\x1b[6;20Hx",
    "\x1b[2;4r\x1b[4;1Hin the margins",
    "\x1b[2;4r\x1b[?6h\x1b[2;2Hrelative",
    "\x1b[?1h\x1b=\x1b[?2004h\x1b[?1002h\x1b[?1006h\x1b[?25l\x1b[4 q",
    "\x1b(0lqqk\x1b(B plain \x1b(0x",
    "\x1b)0\x0elqk",
    "kept\x1b[31m\x1b"
    "7\x1b[0m\x1b[5;5Hmoved",
    "\x1b[4h\x1b[1;1Hinserting",
    "\xff\xfe broken \xc3",
    "bars ||\x1b[5b end",
    "to the end |\x1b[90b",
  }));
  vterm_screen wanted{small};
  wanted.feed(output);
  wanted.feed("\x18");  // ends what was left unfinished
  vterm_screen is{small};
  is.feed("something else\x1b[?1049h\x1b[31mand more\x1b[?25l");

  is.feed(painted(output));

  INFO(output);
  CHECK(is.answers.empty());
  check_same(is, wanted);
}

TEST_CASE("the title is restored, whatever is in it", "[net][terminal][screen]") {
  vterm_screen is{small};

  is.feed(painted("\x1b]0;vim: \xc3\xa4.txt\x07text\x1b]52;c;AAAA\x07"));

  CHECK(is.title == "vim: \xc3\xa4.txt");
  CHECK(painted("\x1b]2;" + std::string(5000, 't') + "\x1b\\").find("]2;") == std::string::npos);
}

TEST_CASE("questions in the output are not asked again", "[net][terminal][screen]") {
  const std::string text = painted("a\x1b[6n\x1b[c\x1b[?1;2c\x1b]10;?\x07\x1bP$qm\x1b\\b");
  vterm_screen is{small};

  is.feed(text);

  CHECK(is.answers.empty());
  CHECK(is.row(0) == "ab");
}

TEST_CASE("output is not cut inside a character or an escape sequence", "[net][terminal][screen]") {
  const std::string_view output = GENERATE(values<std::string_view>({"\xe6\x97\xa5", "\x1b[1;31m",
    "\x1b]0;title\x07", "\x1b]0;title\x1b\\", "\x1bP1;2|17/ab\x1b\\", "\x1b(B",
    "\x1b"
    "7",
    "\x1b[?25l", "\xf0\x9f\x8e\x89", "\x1b_apc\x1b\\", "\x1b[38;5;200;48;2;1;2;3m"}));
  for (std::size_t size = 1; size < output.size(); ++size) {
    mode_tracker reader;
    std::string screen;

    reader.feed(output.substr(0, size), screen);

    INFO(size);
    CHECK(reader.cut() == 0);
    CHECK(screen.empty());
  }
  mode_tracker reader;
  std::string screen;
  reader.feed(output, screen);
  CHECK(reader.cut() == output.size());
}

TEST_CASE("whoever comes late sees what was always watched, however the output was cut",
  "[net][terminal][screen]") {
  // Each kind of output by itself, and all of them mixed. Not the cursor's visibility: libvterm
  // keeps and restores it with the cursor, xterm does not.
  const std::vector<std::string> lines{"a line\r\n", "\x1b[32mgreen\x1b[0m\r\n", "$ \x1b[K",
    "a line that is longer than the window is wide\r\n", "\x1b[1;35mbold \r\n",
    "\t\xe6\x97\xa5\r\n"};
  const std::vector<std::string> moves{"\x1b[H", "\x1b[2J", "\x1b[5;3H", "\x1b[A", "\x1b[2;4r",
    "\x1b[r",
    "\x1b"
    "7",
    "\x1b"
    "8",
    "\x1b[?7l", "\x1b[?7h", "\x1b[L", "\x1b[M", "\x1bM", "\x1b[44mblue\x1b[K", "\x1b]2;t\x07",
    "x\xcc\x81y", "\n", "\x1b[?1h", "\x1b[?2004h", "\x1b(0q\x1b(B", "\x1b[?1049h", "\x1b[?1049l",
    "text without an end "};
  const auto seed = GENERATE(range(1U, 41U));
  std::mt19937 random{seed};
  const auto pick = [&](const std::vector<std::string>& from) {
    return from[random() % from.size()];
  };
  vterm_screen always{small};
  scrollback ring{8 * 1024};
  screen_checkpoint checkpoint{small, enough_cells};
  bool in_alternate = false;

  for (unsigned round = 0; round < 30; ++round) {
    std::string output;
    const auto kind = random() % 3;  // lines, moves, or a flood of one line
    const std::string flood = pick(lines);
    while (output.size() < (kind == 2 ? 20'000U : 700U)) {
      std::string next = kind == 2 ? flood : random() % 4 < kind * 2 ? pick(moves) : pick(lines);
      // Which of the two screens has the kept cursor differs between terminals.
      if (in_alternate && (next == "\x1b"
                                   "7" ||
                            next == "\x1b[?1049h"))
        continue;
      if (!in_alternate && next == "\x1b[?1049l") continue;
      if (next == "\x1b[?1049h") in_alternate = true;
      if (next == "\x1b[?1049l") in_alternate = false;
      output += next;
    }
    always.feed(output);
    for (std::string_view rest = output; !rest.empty();) {
      const std::size_t size = std::min<std::size_t>(rest.size(), 1 + random() % 3000);
      checkpoint.append(ring, rest.substr(0, size));
      rest.remove_prefix(size);
    }
    if (ring.oldest() == 0) continue;

    const screen_checkpoint::restored late = checkpoint.restore(ring);

    REQUIRE(late.from >= ring.oldest());
    vterm_screen is{small};
    is.feed(late.paint);
    is.feed(ring.read(late.from, ring.limit()).bytes);
    INFO("seed " << seed << ", round " << round);
    REQUIRE(is.cells() == always.cells());
    CHECK(is.typed(VTERM_KEY_UP) == always.typed(VTERM_KEY_UP));
    CHECK(is.pasted() == always.pasted());
  }
}

TEST_CASE(
  "a change of the window's size is made where it was in the output", "[net][terminal][screen]") {
  constexpr terminal_size large{.columns = 40, .rows = 12};
  scrollback ring{4096};
  screen_checkpoint checkpoint{small, enough_cells};
  vterm_screen always{large};
  checkpoint.append(ring, "\x1b[?1049h\x1b[2Jsmall");
  checkpoint.resize(ring, large);
  std::string output = "\x1b[2J\x1b[12;1Hbottom\x1b[1;30Hright";
  for (int each = 0; each < 2000; ++each) output += "\x1b[6;6H" + std::to_string(each);

  checkpoint.append(ring, output);
  const screen_checkpoint::restored late = checkpoint.restore(ring);

  always.feed("\x1b[?1049h" + output);
  vterm_screen is{large};
  is.feed(late.paint);
  CHECK(late.from == ring.sequence());
  CHECK(is.cells() == always.cells());
}

TEST_CASE("the alternate screen is painted as it is, the ordinary one with its history",
  "[net][terminal][screen]") {
  scrollback ring{4096};
  screen_checkpoint checkpoint{small, enough_cells};
  for (int each = 0; each < 1000; ++each)
    checkpoint.append(ring, "line " + std::to_string(each) + "\r\n");

  CHECK(checkpoint.restore(ring).from < ring.oldest() + 2048);

  checkpoint.append(ring, "\x1b[?1049h\x1b[Hpage\xe6");

  const screen_checkpoint::restored late = checkpoint.restore(ring);
  CHECK(late.from == ring.sequence() - 1);  // the character has only begun
  vterm_screen is{small};
  is.feed(late.paint);
  CHECK(is.row(0) == "page");
  is.feed("\x1b[?1049l");
  CHECK(is.row(4) == "line 999");
}

TEST_CASE("what is endless is passed over, and text after it is shown", "[net][terminal][screen]") {
  const std::string beginning = GENERATE(values<std::string>({"\x1b]52;c;", "\x1bPq"}));
  scrollback ring{8192};
  screen_checkpoint checkpoint{small, enough_cells};
  checkpoint.append(ring, "before\r\n" + beginning);
  for (int each = 0; each < 100; ++each) checkpoint.append(ring, std::string(1000, 'A'));
  checkpoint.append(ring, "\x1b\\\r\nafter");

  const screen_checkpoint::restored late = checkpoint.restore(ring);

  vterm_screen is{small};
  is.feed(late.paint);
  is.feed(ring.read(late.from, ring.limit()).bytes);
  CHECK(is.row(0) == "before");
  CHECK(is.cells().find("65+") == std::string::npos);  // no A
  is.feed("\x1b[H\x1b[2Jclear");
  CHECK(is.row(0) == "clear");
}

TEST_CASE("a repetition of nothing repeats nothing", "[net][terminal][screen]") {
  const std::string before =
    GENERATE(values<std::string>({"", "x\x1b[m", "x\r\n", "\xe6\x97\xa5", "\x1b[2J"}));
  vterm_screen is{small};
  vterm_screen wanted{small};

  is.feed(painted(before + "\x1b[5b"));

  wanted.feed(before);
  CHECK(is.cells() == wanted.cells());
}

TEST_CASE("text in a character set that libvterm does not know is shown, and repeated",
  "[net][terminal][screen]") {
  // libvterm alone takes the second and third for strings, which swallow the text.
  const std::string set =
    GENERATE(values<std::string>({"\x1b(R", "\x1b(P", "\x1b)]", "\x1b(0\x1b(X"}));
  CAPTURE(set);
  CHECK(painted(set + "sample\x1b[3b").find("sampleeee") != std::string::npos);
}

TEST_CASE("a window that is too large is not painted, and painted again when it is smaller",
  "[net][terminal][screen]") {
  scrollback ring{4096};
  screen_checkpoint checkpoint{{.columns = 500, .rows = 500}, 10'000};
  const std::string text = "\x1b[5;5H" + std::string(3000, 'x');
  for (int each = 0; each < 5; ++each) checkpoint.append(ring, text);

  CHECK(checkpoint.restore(ring).paint.empty());
  CHECK(checkpoint.restore(ring).from == ring.oldest());

  checkpoint.resize(ring, small);
  for (int each = 0; each < 5; ++each) checkpoint.append(ring, text);
  checkpoint.append(ring, "\x1b[?1049h\x1b[Hsmall again");

  vterm_screen is{small};
  is.feed(checkpoint.restore(ring).paint);
  CHECK(is.row(0) == "small again");
}

TEST_CASE("no bytes harm the emulator, in windows of any size", "[net][terminal][screen]") {
  const auto seed = GENERATE(range(1U, 31U));
  std::mt19937 random{seed};
  INFO("seed " << seed);
  scrollback ring{4096};
  const auto any_size = [&] {
    return terminal_size{.columns = static_cast<uint16_t>(1 + random() % 90),
      .rows = static_cast<uint16_t>(1 + random() % 40)};
  };
  screen_checkpoint checkpoint{any_size(), enough_cells};

  for (unsigned round = 0; round < 40; ++round) {
    std::string bytes(random() % 2000, '\0');
    for (char& each : bytes) {
      static constexpr std::string_view likely =
        "\x1b\x1b[[;;?0123456789hlmrHJKLMP@Xbst(]P\x07\\\r\n";
      each = random() % 3 == 0 ? static_cast<char>(random()) : likely[random() % likely.size()];
    }
    checkpoint.append(ring, bytes);
    if (random() % 4 == 0) checkpoint.resize(ring, any_size());
  }

  const auto late = checkpoint.restore(ring);
  CHECK(late.from >= ring.oldest());
  CHECK(late.paint.find("\x1b"
                        "c") != std::string::npos);
}
