#include "previewd/net/auth/attempts.hpp"

#include <catch2/catch.hpp>
#include <string>

using namespace std::chrono_literals;
using previewd::net::auth::attempts;

namespace {

const attempts::time_point start{std::chrono::minutes{100}};

}  // namespace

TEST_CASE("an address that was refused too often waits for the next minute", "[net][auth][I5]") {
  attempts counts{3};

  for (int i = 0; i < 3; ++i) {
    CHECK_FALSE(counts.exhausted("10.0.0.1", start + 59s));
    counts.refused("10.0.0.1", start);
  }

  CHECK(counts.exhausted("10.0.0.1", start));
  CHECK(counts.exhausted("10.0.0.1", start + 59s));
  CHECK_FALSE(counts.exhausted("10.0.0.1", start + 60s));
  counts.refused("10.0.0.1", start + 60s);
  CHECK_FALSE(counts.exhausted("10.0.0.1", start + 61s));
}

TEST_CASE("without a limit nobody waits", "[net][auth]") {
  attempts counts{0};

  for (int i = 0; i < 1000; ++i) counts.refused("10.0.0.1", start);

  CHECK_FALSE(counts.exhausted("10.0.0.1", start));
}

TEST_CASE("addresses seldom share a limit", "[net][auth][I5]") {
  attempts counts{1};
  counts.refused("10.0.0.1", start);

  int shared = 0;
  for (int i = 0; i < 1000; ++i)
    shared +=
      counts.exhausted("10.1." + std::to_string(i / 250) + "." + std::to_string(i % 250), start)
        ? 1
        : 0;

  // One place of 4096 is taken: of a thousand others a quarter of one is expected there.
  CHECK(shared < 20);
}
