#include "previewd/net/readiness.hpp"

#include <fcntl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <catch2/catch.hpp>
#include <future>
#include <utility>
#include <vector>

#include "previewd/os/unique_fd.hpp"
#include "previewd/tests/support/eventually.hpp"

using namespace previewd;
using net::readiness;

namespace {

struct socket_pair {
  socket_pair() {
    std::array<int, 2> ends{};
    REQUIRE(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, ends.data()) == 0);
    near.reset(ends[0]);
    far.reset(ends[1]);
  }
  os::unique_fd near;
  os::unique_fd far;
};

struct noting final : readiness::watcher {
  void ready(uint32_t which, readiness::change what) override { told.emplace_back(which, what); }
  bool is_told(uint32_t which, bool readable, bool ended) const {
    for (const auto& [of, what] : told)
      if (of == which && what.readable == readable && what.ended == ended) return true;
    return false;
  }
  std::vector<std::pair<uint32_t, readiness::change>> told;
};

/// A thread with what is tested on it.
struct world {
  world() { thread.start("test"); }
  ~world() {
    run([this] { sockets.reset(); });
    thread.stop();
  }
  /// Runs on the thread, and waits for it.
  template <class Task> void run(Task task) {
    std::promise<void> done;
    thread.post([&] {
      task();
      done.set_value();
    });
    done.get_future().wait();
  }
  /// Lets the thread look after whatever is ready now: its own wait comes in the same round.
  bool eventually(const std::function<bool()>& happened) {
    return test::eventually([&] {
      bool has = false;
      run([&] { has = happened(); });
      return has;
    });
  }
  net::io_thread thread{0};
  std::unique_ptr<readiness> sockets = std::make_unique<readiness>(thread);
  noting who;
};

}  // namespace

TEST_CASE("who watches a socket is told of bytes, of room and of its end", "[net][readiness]") {
  world w;
  socket_pair pair;
  readiness::ticket ticket;
  w.run([&] {
    auto watched = w.sockets->watch(pair.near.get(), w.who, 7);
    REQUIRE(watched.has_value());
    ticket = std::move(*watched);
  });
  CHECK(w.eventually([&] { return !w.who.told.empty(); }));
  w.run([&] {
    CHECK(w.who.told.front().second.writable);
    CHECK_FALSE(w.who.told.front().second.readable);
    w.who.told.clear();
  });

  REQUIRE(::write(pair.far.get(), "x", 1) == 1);
  CHECK(w.eventually([&] { return w.who.is_told(7, true, false); }));
  pair.far.reset();
  CHECK(w.eventually([&] { return w.who.is_told(7, true, true); }));
  w.run([&] { ticket.reset(); });
}

TEST_CASE("what there is already is told at once", "[net][readiness]") {
  world w;
  socket_pair pair;
  REQUIRE(::write(pair.far.get(), "x", 1) == 1);
  readiness::ticket ticket;
  w.run([&] { ticket = std::move(*w.sockets->watch(pair.near.get(), w.who, 0)); });

  CHECK(w.eventually([&] { return w.who.is_told(0, true, false); }));
  w.run([&] { ticket.reset(); });
}

TEST_CASE(
  "a socket that is forgotten but lives on in another process is not taken for the next one",
  "[net][readiness]") {
  world w;
  socket_pair first;
  socket_pair second;
  noting other;
  // As a child has it until it loads its program.
  const os::unique_fd inherited{::fcntl(first.near.get(), F_DUPFD_CLOEXEC, 0)};
  readiness::ticket ticket;
  w.run([&] { ticket = std::move(*w.sockets->watch(first.near.get(), w.who, 1)); });
  CHECK(w.eventually([&] { return !w.who.told.empty(); }));

  w.run([&] {
    ticket.reset();
    first.near.reset();
    w.who.told.clear();
    ticket = std::move(*w.sockets->watch(second.near.get(), other, 2));
  });
  REQUIRE(::write(first.far.get(), "x", 1) == 1);
  REQUIRE(::write(second.far.get(), "x", 1) == 1);

  CHECK(w.eventually([&] { return other.is_told(2, true, false); }));
  w.run([&] {
    CHECK(w.who.told.empty());
    CHECK_FALSE(other.is_told(1, true, false));
    ticket.reset();
  });
}

TEST_CASE("more sockets than are looked after at once are all told of", "[net][readiness]") {
  world w;
  std::vector<socket_pair> pairs(300);
  std::vector<readiness::ticket> tickets;
  for (const socket_pair& one : pairs) REQUIRE(::write(one.far.get(), "x", 1) == 1);
  w.run([&] {
    for (const socket_pair& one : pairs)
      tickets.push_back(
        std::move(*w.sockets->watch(one.near.get(), w.who, static_cast<uint32_t>(tickets.size()))));
  });

  CHECK(w.eventually([&] { return w.who.told.size() >= pairs.size(); }));
  w.run([&] {
    for (uint32_t each = 0; each < pairs.size(); ++each) CHECK(w.who.is_told(each, true, false));
    tickets.clear();
  });
}

TEST_CASE("a watch that cannot be had says why, and the next one works", "[net][readiness]") {
  world w;
  socket_pair pair;
  w.run([&] {
    const auto failed = w.sockets->watch(-1, w.who, 0);
    REQUIRE_FALSE(failed.has_value());
    CHECK(failed.error() == os::system_error(EBADF));
    CHECK(w.sockets->watch(pair.near.get(), w.who, 0).has_value());
  });
}
