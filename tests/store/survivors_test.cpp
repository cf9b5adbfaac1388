// Who is known again.
#include "previewd/store/survivors.hpp"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <catch2/catch.hpp>
#include <csignal>

#include "previewd/os/unique_fd.hpp"

using namespace previewd;
using namespace previewd::store;

namespace {

/// A socket of this process that listens on a loopback port.
class listener {
public:
  listener() : socket_{::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)} {
    sockaddr_in at{};
    at.sin_family = AF_INET;
    at.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    REQUIRE(::bind(socket_.get(), reinterpret_cast<const sockaddr*>(&at), sizeof at) == 0);
    REQUIRE(::listen(socket_.get(), 1) == 0);
    socklen_t size = sizeof at;
    REQUIRE(::getsockname(socket_.get(), reinterpret_cast<sockaddr*>(&at), &size) == 0);
    struct stat facts {};
    REQUIRE(::fstat(socket_.get(), &facts) == 0);
    id_ = {facts.st_ino, ntohs(at.sin_port), false};
  }
  const listener_id& id() const { return id_; }
  void close() { socket_ = os::unique_fd{}; }

private:
  os::unique_fd socket_;
  listener_id id_;
};

kept_server kept(const listener& at) {
  kept_server one;
  one.server.generation = 7;
  one.server.description.key = {"shop", "ann"};
  one.server.description.upstream = {"127.0.0.1", at.id().port, scheme::http};
  one.server.description.listeners = {at.id()};
  one.owner = os::read_stat(::getpid())->id();
  one.boot = boot_id();
  return one;
}

bool is_alive(const kept_server& one) {
  content found;
  found.servers = {one};
  const restored_state state = judge(std::move(found));
  REQUIRE(state.alive.size() + state.gone.size() == 1);
  return !state.alive.empty();
}

}  // namespace

TEST_CASE("a server is known again by its process, its socket and its port", "[store][survivors]") {
  listener at;
  kept_server one = kept(at);

  CHECK(is_alive(one));

  SECTION("not when its process is another one by now") {
    ++one.owner.start_time;
    CHECK_FALSE(is_alive(one));
  }
  SECTION("not when nobody is known to have held its socket") {
    one.owner = {};
    CHECK_FALSE(is_alive(one));
  }
  SECTION("not when its process holds the socket no more") {
    one.owner = os::read_stat(1)->id();
    CHECK_FALSE(is_alive(one));
  }
  SECTION("not when somebody else has the port") {
    ++one.server.description.listeners.front().inode;
    CHECK_FALSE(is_alive(one));
  }
  SECTION("not when its socket listens elsewhere") {
    ++one.server.description.listeners.front().port;
    CHECK_FALSE(is_alive(one));
  }
  SECTION("not when its socket is closed") {
    at.close();
    CHECK_FALSE(is_alive(one));
  }
  SECTION("not after the machine has started anew") {
    one.boot = "another";
    CHECK_FALSE(is_alive(one));
  }
  SECTION("not when no socket of it is known") {
    one.server.description.listeners.clear();
    CHECK_FALSE(is_alive(one));
  }
}

TEST_CASE("sockets that are gone are left out", "[store][survivors]") {
  const listener at;
  kept_server one = kept(at);
  one.server.description.listeners.push_back({at.id().inode + 1, at.id().port, true});
  content found;
  found.servers = {one};

  const restored_state state = judge(std::move(found));

  REQUIRE(state.alive.size() == 1);
  CHECK(state.alive.front().description.listeners == std::vector{at.id()});
}

TEST_CASE("of a server beyond this machine only an attempt can tell", "[store][survivors]") {
  const listener at;
  kept_server one = kept(at);
  one.server.description.listeners.clear();
  one.owner = {};
  one.server.description.upstream.address = "10.1.2.3";

  CHECK(is_alive(one));
}

TEST_CASE("who holds a socket is found, named or not", "[store][survivors]") {
  const listener at;
  server_description what = kept(at).server.description;
  const pid_t child = ::fork();
  if (child == 0)
    for (;;) ::pause();
  const os::process_id holder = os::read_stat(child)->id();

  CHECK(owner_of(what) == holder);
  what.pid = child;
  CHECK(owner_of(what) == holder);
  what.pid = 1;
  CHECK(owner_of(what) == holder);
  what.listeners.front().inode = 0;  // the number of none
  CHECK(owner_of(what).pid == 0);

  ::kill(child, SIGKILL);
  ::waitpid(child, nullptr, 0);
  what = kept(at).server.description;
  CHECK(owner_of(what).pid == 0);  // we will not survive ourselves
}
