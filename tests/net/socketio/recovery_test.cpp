#include "previewd/net/socketio/recovery.hpp"

#include <catch2/catch.hpp>

using namespace previewd::net::socketio;
using namespace std::chrono_literals;

namespace {

struct memory {
  explicit memory(recovery_settings settings) : store{settings} {}

  /// Keeps an event for a room; returns its number.
  uint64_t event(const std::string& room, const std::string& bytes = "x") {
    const uint64_t number = store.next_number();
    keep(number, room, bytes);
    return number;
  }
  void keep(uint64_t number, const std::string& room, const std::string& bytes = "x") {
    store.keep({number, room, std::make_shared<const std::string>(bytes), {}, now});
  }
  void leave(const std::string& name, std::set<std::string> rooms) {
    store.leave(name, {"id of " + name, std::move(rooms), {}}, now);
  }
  /// The numbers of what was missed; nothing when it is not recovered.
  std::optional<std::vector<uint64_t>> back(const std::string& name, const std::string& offset) {
    const auto got = store.come_back(name, offset, now);
    if (!got) return std::nullopt;
    CHECK(got->was.id == "id of " + name);
    std::vector<uint64_t> numbers;
    for (const kept_event& each : got->missed) numbers.push_back(each.number);
    return numbers;
  }
  std::optional<std::vector<uint64_t>> back(const std::string& name, uint64_t offset) {
    return back(name, recovery_store::offset_of(offset));
  }

  recovery_store store;
  recovery_store::time_point now{std::chrono::hours{1}};
};

recovery_settings for_a_minute() {
  recovery_settings settings;
  settings.max_disconnection = 60s;
  return settings;
}

using numbers = std::vector<uint64_t>;

}  // namespace

TEST_CASE("who comes back gets what its rooms were told since, once", "[socketio][recovery]") {
  memory m{for_a_minute()};
  const uint64_t heard = m.event("a");
  m.leave("ann", {"a", "b"});
  const uint64_t first = m.event("b");
  m.event("c");
  const uint64_t second = m.event("a");
  // Told to two of its rooms, and by each of two threads.
  m.keep(second, "b");
  m.keep(second, "a");
  const uint64_t early = m.store.next_number();
  const uint64_t late = m.event("a");
  m.keep(early, "a");

  CHECK(m.back("ann", heard) == numbers{first, second, early, late});
  CHECK_FALSE(m.back("ann", heard));
}

TEST_CASE("attachments come with their event", "[socketio][recovery]") {
  memory m{for_a_minute()};
  m.leave("ann", {"a"});
  m.store.keep({m.store.next_number(), "a", std::make_shared<const std::string>("451-"),
    {"first", "second"}, m.now});

  const auto got = m.store.come_back("ann", "0", m.now);

  REQUIRE(got);
  REQUIRE(got->missed.size() == 1);
  CHECK(*got->missed[0].bytes == "451-");
  CHECK(got->missed[0].attachments == std::vector<std::string>{"first", "second"});
}

TEST_CASE(
  "whoever stays away too long, or asks for too much, begins anew", "[socketio][recovery]") {
  memory m{for_a_minute()};
  const uint64_t old = m.event("a");
  m.now += 10s;
  const uint64_t heard = m.event("a");
  m.leave("ann", {"a"});

  SECTION("in time, although what it heard last is kept no more") {
    m.now += 60s;
    CHECK(m.back("ann", heard) == numbers{});
  }
  SECTION("too late") {
    m.now += 61s;
    CHECK_FALSE(m.back("ann", heard));
  }
  SECTION("with an offset from before what is kept") {
    m.now += 55s;
    m.event("a");
    CHECK_FALSE(m.back("ann", old - 1));
  }
  SECTION("with an offset that never was, or is none") {
    for (const char* offset : {"1000", "", "x", "1x", "-1", "99999999999999999999"}) {
      m.leave("bob", {"a"});
      INFO(offset);
      CHECK_FALSE(m.back("bob", std::string{offset}));
    }
  }
  SECTION("under a name that nobody has") {
    CHECK_FALSE(m.back("eve", heard));
  }
}

TEST_CASE("what is kept is bounded", "[socketio][recovery][I5]") {
  recovery_settings settings = for_a_minute();
  settings.events = 3;
  settings.bytes = 100;
  settings.clients = 2;
  memory m{settings};

  SECTION("by events") {
    m.leave("ann", {"a"});
    m.leave("bob", {"a"});
    const uint64_t first = m.event("a");
    const uint64_t second = m.event("a");
    for (int i = 0; i < 2; ++i) m.event("a");
    CHECK_FALSE(m.back("ann", first - 1));
    CHECK(m.back("bob", first) == numbers{second, second + 1, second + 2});
  }
  SECTION("by bytes, of an event that is too large too") {
    m.leave("ann", {"a"});
    const uint64_t large = m.event("a", std::string(101, 'x'));
    CHECK_FALSE(m.back("ann", large - 1));
    m.leave("ann", {"a"});
    CHECK(m.back("ann", large) == numbers{});
  }
  SECTION("by clients") {
    for (const char* name : {"ann", "bob", "cyd"}) m.leave(name, {});
    CHECK_FALSE(m.back("ann", "0"));
    CHECK(m.back("bob", "0") == numbers{});
    CHECK(m.back("cyd", "0") == numbers{});
  }
}

TEST_CASE("secret names do not repeat", "[socketio][recovery]") {
  std::set<std::string> names;
  for (int i = 0; i < 1000; ++i) names.insert(recovery_store::private_id());
  CHECK(names.size() == 1000);
  CHECK(names.begin()->size() == 24);
}
