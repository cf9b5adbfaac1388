#include "previewd/os/sock_diag.hpp"

#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include <algorithm>
#include <catch2/catch.hpp>

#include "previewd/os/pidfd.hpp"
#include "previewd/os/proc_net.hpp"
#include "previewd/tests/support/resource_check.hpp"
#include "previewd/tests/support/test_process.hpp"

using namespace previewd;

namespace {

struct listener {
  os::unique_fd fd;
  uint16_t port = 0;
  uint64_t inode = 0;
};

/// Listens on a loopback address; port 0 is any.
listener listen_on(int family, uint16_t port = 0) {
  listener result;
  result.fd.reset(::socket(family, SOCK_STREAM | SOCK_CLOEXEC, 0));
  sockaddr_storage address{};
  socklen_t size = 0;
  if (family == AF_INET) {
    auto& v4 = reinterpret_cast<sockaddr_in&>(address);
    v4.sin_family = AF_INET;
    v4.sin_port = htons(port);
    v4.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    size = sizeof v4;
  } else {
    const int only = 1;
    ::setsockopt(result.fd.get(), IPPROTO_IPV6, IPV6_V6ONLY, &only, sizeof only);
    auto& v6 = reinterpret_cast<sockaddr_in6&>(address);
    v6.sin6_family = AF_INET6;
    v6.sin6_port = htons(port);
    v6.sin6_addr = in6addr_loopback;
    size = sizeof v6;
  }
  auto* const raw = reinterpret_cast<sockaddr*>(&address);
  if (::bind(result.fd.get(), raw, size) != 0 || ::listen(result.fd.get(), 16) != 0) return {};
  ::getsockname(result.fd.get(), raw, &size);
  result.port = ntohs(family == AF_INET ? reinterpret_cast<sockaddr_in&>(address).sin_port
                                        : reinterpret_cast<sockaddr_in6&>(address).sin6_port);
  struct stat status {};
  ::fstat(result.fd.get(), &status);
  result.inode = status.st_ino;
  return result;
}

std::optional<os::listening_socket>
find(const std::vector<os::listening_socket>& sockets, uint64_t inode) {
  for (const auto& socket : sockets) {
    if (socket.inode == inode) return socket;
  }
  return std::nullopt;
}

bool await_readable(int fd) {
  pollfd ready{fd, POLLIN, 0};
  return ::poll(&ready, 1, 20000) == 1;
}

}  // namespace

TEST_CASE("listening sockets are listed in order, with address and inode", "[os][sock_diag]") {
  const test::resource_check resources;
  {
    const listener v4 = listen_on(AF_INET);
    const listener v6 = listen_on(AF_INET6);
    REQUIRE(v4.inode != 0);
    REQUIRE(v6.inode != 0);
    std::vector<os::listening_socket> sockets;
    const bool from_proc = GENERATE(false, true);

    if (from_proc) {
      REQUIRE_FALSE(os::append_listeners_from_proc(sockets));
    } else {
      auto diag = os::sock_diag::open();
      REQUIRE(diag.has_value());
      REQUIRE_FALSE(diag->append_listeners(sockets));
    }

    CHECK(std::is_sorted(sockets.begin(), sockets.end()));
    const auto first = find(sockets, v4.inode);
    REQUIRE(first);
    CHECK(first->port == v4.port);
    CHECK(first->family == os::address_family::v4);
    CHECK(first->uid == ::getuid());
    CHECK(os::address_text(*first) == "127.0.0.1");
    const auto second = find(sockets, v6.inode);
    REQUIRE(second);
    CHECK(second->port == v6.port);
    CHECK(second->family == os::address_family::v6);
    CHECK(os::address_text(*second) == "::1");
    CHECK(second->v6only == !from_proc);
  }
  CHECK(resources.difference() == "");
}

TEST_CASE("who listens at an address is told, and that nobody does", "[os][sock_diag]") {
  auto diag = os::sock_diag::open();
  REQUIRE(diag.has_value());
  const int family = GENERATE(AF_INET, AF_INET6);
  const auto kind = family == AF_INET ? os::address_family::v4 : os::address_family::v6;
  listener held = listen_on(family);
  REQUIRE(held.inode != 0);
  std::array<uint8_t, 16> loopback{};
  if (family == AF_INET) {
    loopback = {127, 0, 0, 1};
  } else {
    loopback.back() = 1;
  }

  const auto found = diag->listener_at(kind, loopback, held.port);
  held.fd.reset();
  const auto gone = diag->listener_at(kind, loopback, held.port);

  REQUIRE(found.has_value());
  CHECK(*found == held.inode);
  REQUIRE(gone.has_value());
  CHECK(*gone == 0);
}

TEST_CASE("a list is appended and the same twice when nothing changed", "[os][sock_diag]") {
  const listener held = listen_on(AF_INET);
  auto diag = os::sock_diag::open();
  REQUIRE(diag.has_value());
  std::vector<os::listening_socket> sockets;
  REQUIRE_FALSE(diag->append_listeners(sockets));
  CHECK(find(sockets, held.inode));
  const std::size_t n = sockets.size();

  REQUIRE_FALSE(diag->append_listeners(sockets));

  CHECK(sockets.size() >= n + 1);
}

TEST_CASE("many listeners come in one list", "[os][sock_diag]") {
  std::vector<listener> held;
  for (int i = 0; i < 300; ++i) held.push_back(listen_on(AF_INET));
  auto diag = os::sock_diag::open();
  REQUIRE(diag.has_value());
  std::vector<os::listening_socket> sockets;

  REQUIRE_FALSE(diag->append_listeners(sockets));

  CHECK(std::all_of(held.begin(), held.end(),
    [&](const listener& one) { return find(sockets, one.inode).has_value(); }));
}

TEST_CASE("the end of a listening socket is told, that of a connection is not", "[os][sock_diag]") {
  auto events = os::destroy_events::open();
  REQUIRE(events.has_value());
  listener held = listen_on(AF_INET);
  std::vector<os::destroyed_socket> destroyed;
  REQUIRE(events->take(destroyed).has_value());
  destroyed.clear();
  {
    const os::unique_fd client{::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)};
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_port = htons(held.port);
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    REQUIRE(
      ::connect(client.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) == 0);
    const os::unique_fd accepted{::accept4(held.fd.get(), nullptr, nullptr, SOCK_CLOEXEC)};
    const linger reset{1, 0};
    ::setsockopt(client.get(), SOL_SOCKET, SO_LINGER, &reset, sizeof reset);
  }
  const auto told = [&] {
    return std::count(destroyed.begin(), destroyed.end(),
      os::destroyed_socket{.family = os::address_family::v4, .port = held.port});
  };

  held.fd.reset();

  // Some may be lost, where others on this machine close thousands meanwhile.
  bool overrun = false;
  REQUIRE(test::eventually([&] {
    const auto taken = events->take(destroyed);
    overrun = overrun || (taken && *taken == os::destroy_events::outcome::overrun);
    return taken.has_value() && (told() > 0 || overrun);
  }));
  if (!overrun) CHECK(told() == 1);
}

TEST_CASE("a shared socket is told of when its last holder closes it", "[os][sock_diag]") {
  auto events = os::destroy_events::open();
  REQUIRE(events.has_value());
  listener held = listen_on(AF_INET);
  int gate[2];
  REQUIRE(::pipe2(gate, O_CLOEXEC) == 0);
  os::unique_fd gate_read{gate[0]};
  os::unique_fd gate_write{gate[1]};
  const pid_t child = ::fork();
  if (child == 0) {
    gate_write.reset();
    char byte = 0;
    [[maybe_unused]] const auto n = ::read(gate_read.get(), &byte, 1);
    ::_exit(0);
  }
  REQUIRE(child > 0);
  auto diag = os::sock_diag::open();
  REQUIRE(diag.has_value());
  std::vector<os::listening_socket> sockets;

  held.fd.reset();
  REQUIRE_FALSE(diag->append_listeners(sockets));
  CHECK(find(sockets, held.inode));
  gate_write.reset();
  int status = 0;
  ::waitpid(child, &status, 0);

  // Told by name, or that some were lost where others on this machine close thousands meanwhile.
  std::vector<os::destroyed_socket> destroyed;
  CHECK(test::eventually([&] {
    const auto taken = events->take(destroyed);
    return taken.has_value() &&
           (*taken == os::destroy_events::outcome::overrun ||
             std::count(destroyed.begin(), destroyed.end(),
               os::destroyed_socket{.family = os::address_family::v4, .port = held.port}) > 0);
  }));
  sockets.clear();
  REQUIRE_FALSE(diag->append_listeners(sockets));
  CHECK_FALSE(find(sockets, held.inode));
}

TEST_CASE("lost events are told as an overrun", "[os][sock_diag]") {
  auto events = os::destroy_events::open();
  REQUIRE(events.has_value());
  const int smallest = 1;
  ::setsockopt(events->get(), SOL_SOCKET, SO_RCVBUF, &smallest, sizeof smallest);

  for (int i = 0; i < 2000; ++i) listen_on(AF_INET);
  bool overrun = false;
  REQUIRE(test::eventually([&] {
    std::vector<os::destroyed_socket> destroyed;
    const auto taken = events->take(destroyed);
    overrun = overrun || (taken && *taken == os::destroy_events::outcome::overrun);
    return overrun;
  }));

  // And it goes on. The buffer is small still, and others on this machine fill it too.
  const listener later = listen_on(AF_INET);
  const uint16_t port = later.port;
  CHECK(test::eventually([&] {
    std::vector<os::destroyed_socket> destroyed;
    listen_on(AF_INET6, port);
    return events->take(destroyed).has_value() &&
           std::count(destroyed.begin(), destroyed.end(),
             os::destroyed_socket{.family = os::address_family::v6, .port = port}) > 0;
  }));
}

TEST_CASE("a pidfd is readable when its process has ended, child or not", "[os][pidfd]") {
  const test::resource_check resources;
  {
    os::child_reaper reaper{os::reap_mode::own};
    test::test_terminal terminal{reaper, {"sh", "-c", "sleep 1000 & echo pid=$!; wait"}};
    const auto grandchild = terminal.await_number("pid=");
    REQUIRE(grandchild);
    const auto watched = os::pidfd::open(*grandchild);
    REQUIRE(watched.has_value());
    pollfd ready{watched->get(), POLLIN, 0};
    CHECK(::poll(&ready, 1, 0) == 0);

    CHECK_FALSE(watched->send_signal(SIGKILL));

    CHECK(await_readable(watched->get()));
  }
  CHECK(os::pidfd::open(0x3fffff).error().value() == ESRCH);
  CHECK(resources.difference() == "");
}
