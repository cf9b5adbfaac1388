#include "previewd/net/terminal/scrollback.hpp"

#include <catch2/catch.hpp>
#include <random>

namespace {

using previewd::net::terminal::scrollback;

}  // namespace

TEST_CASE("the scrollback gives back what follows a sequence, and says what it has forgotten",
  "[net][terminal]") {
  scrollback ring{8};
  ring.append("abcde");
  CHECK(ring.sequence() == 5);
  CHECK(ring.oldest() == 0);
  CHECK(ring.read(0, 100).bytes == "abcde");
  CHECK(ring.read(3, 100).bytes == "de");
  CHECK(ring.read(3, 1).bytes == "d");
  CHECK(ring.read(3, 1).sequence == 4);
  CHECK(ring.read(5, 100).bytes.empty());
  CHECK(ring.read(99, 100).sequence == 5);

  ring.append("fghij");

  CHECK(ring.sequence() == 10);
  CHECK(ring.oldest() == 2);
  const auto all = ring.read(0, 100);
  CHECK(all.bytes == "cdefghij");
  CHECK(all.sequence == 10);
  CHECK(all.lost == 2);
  CHECK(ring.read(2, 100).lost == 0);
  CHECK(ring.read(9, 100).bytes == "j");
}

TEST_CASE("the scrollback agrees with a string of all that was appended", "[net][terminal]") {
  for (unsigned seed = 0; seed < 50; ++seed) {
    std::mt19937 random{seed};
    INFO(seed);
    const std::size_t limit = 1 + random() % 50;
    scrollback ring{limit};
    std::string all;
    for (int i = 0; i < 60; ++i) {
      std::string bytes;
      for (std::size_t n = random() % 70; n > 0; --n)
        bytes += static_cast<char>('a' + random() % 26);
      all += bytes;
      ring.append(bytes);

      const std::size_t kept = std::min(limit, all.size());
      REQUIRE(ring.sequence() == all.size());
      REQUIRE(ring.oldest() == all.size() - kept);
      const std::size_t after = random() % (all.size() + 1);
      const std::size_t from = std::max(after, all.size() - kept);
      const std::size_t most = random() % 60;
      const auto slice = ring.read(after, most);
      REQUIRE(slice.bytes == all.substr(from, most));
      REQUIRE(slice.lost == from - after);
      REQUIRE(slice.sequence == from + slice.bytes.size());
    }
  }
}
