#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <catch2/catch.hpp>
#include <string>
#include <vector>

#include "previewd/tests/net/http/world.hpp"

using namespace previewd;
using namespace previewd::test;
using net::http::http_settings;

namespace {

const std::string host = "Host: shop--ann.preview.localhost\r\n";
const std::string plain = "GET / HTTP/1.1\r\n" + host + "\r\n";
const std::string upgrade =
  "GET /ws HTTP/1.1\r\n" + host + "Connection: Upgrade\r\nUpgrade: websocket\r\n\r\n";
const std::string switched =
  "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n";
const std::string to_service = "GET /.previewd/x HTTP/1.1\r\n" + host + "\r\n";

std::string status_of(const std::string& answer) {
  return answer.size() < 12 ? answer : answer.substr(9, 3);
}

bool names(const std::string& answer, const std::string& limit) {
  return answer.find("\"code\":\"limit_reached\"") != std::string::npos &&
         answer.find(limit) != std::string::npos;
}

bool is_out_of_resources(const std::string& answer) {
  return status_of(answer) == "503" &&
         answer.find("\"code\":\"out_of_resources\"") != std::string::npos;
}

// One status for one request on a connection that stays.
std::string asked(raw_peer& client) {
  client.send(to_service);
  return status_of(client.read_until("service /.previewd/x"));
}

struct limited_world : http_world {
  explicit limited_world(http_settings settings, std::size_t threads = 1)
      : http_world{std::move(settings), {}, threads} {
    apply(routes_of(1, {route_to(upstream.port())}));
  }
  // A client whose request a server has, and does not answer.
  raw_peer waiting(std::vector<raw_peer>& servers, const std::string& request = plain) {
    raw_peer client = connect();
    client.send(request);
    servers.push_back(upstream.accept());
    servers.back().read_head();
    return client;
  }
  raw_server upstream;
};

// While it lives this process opens no descriptor, not even in place of one that it closes.
class no_new_descriptors {
public:
  no_new_descriptors() {
    ::getrlimit(RLIMIT_NOFILE, &before_);
    rlimit now = before_;
    // Descriptor 0 is open; and poll(2) refuses to wait for more descriptors than the limit.
    now.rlim_cur = 1;
    ::setrlimit(RLIMIT_NOFILE, &now);
  }
  ~no_new_descriptors() { ::setrlimit(RLIMIT_NOFILE, &before_); }
  no_new_descriptors(const no_new_descriptors&) = delete;
  no_new_descriptors& operator=(const no_new_descriptors&) = delete;

private:
  rlimit before_{};
};

// While it lives this process opens no further descriptor, unless it closes one.
class no_descriptors {
public:
  no_descriptors() {
    ::getrlimit(RLIMIT_NOFILE, &before_);
    used_.push_back(::dup(0));
    rlimit now = before_;
    // What is open already keeps working; only numbers beyond are out of reach.
    now.rlim_cur = static_cast<rlim_t>(used_.back()) + 64;
    ::setrlimit(RLIMIT_NOFILE, &now);
    for (int next = ::dup(0); next >= 0; next = ::dup(0)) used_.push_back(next);
  }
  ~no_descriptors() {
    ::setrlimit(RLIMIT_NOFILE, &before_);
    for (const int fd : used_) ::close(fd);
  }
  no_descriptors(const no_descriptors&) = delete;
  no_descriptors& operator=(const no_descriptors&) = delete;

private:
  rlimit before_{};
  std::vector<int> used_;
};

}  // namespace

TEST_CASE("an address with too many connections gets 429, on whatever thread, and may come back",
  "[net][limits][I5]") {
  http_settings settings;
  settings.per_address = 3;
  limited_world world{settings, 2};
  std::vector<raw_peer> clients;
  std::vector<raw_peer> servers;
  clients.push_back(world.connect());
  clients.push_back(world.connect());
  const std::string first = asked(clients[0]);
  const std::string second = asked(clients[1]);
  // A WebSocket keeps its place.
  clients.push_back(world.waiting(servers, upgrade));
  servers[0].send(switched);
  clients[2].read_head();

  raw_peer fourth = world.connect();
  fourth.send(to_service);
  const std::string answer = fourth.read_to_end();
  clients[2].close();
  const bool back = eventually([&] {
    raw_peer again = world.connect();
    return asked(again) == "200";
  });

  CHECK(first == "200");
  CHECK(second == "200");
  CHECK(status_of(answer) == "429");
  CHECK(names(answer, "limits.per_address"));
  CHECK(answer.find("\r\nConnection: close\r\n") != std::string::npos);
  CHECK(back);
  CHECK(world.counts(0).turned_away + world.counts(1).turned_away >= 1);
}

TEST_CASE("a connection that moves to another thread, or leaves HTTP, keeps its place",
  "[net][limits][I5]") {
  http_settings settings;
  settings.per_address = 1;
  std::promise<std::shared_ptr<net::http::released_connection>> released;
  auto future = released.get_future();
  std::atomic<net::io_thread*> target{nullptr};
  http_world world{settings,
    [&](const net::http::exchange_ptr& exchange) {
      if (&exchange->thread() != target.load()) {
        exchange->move_to(*target.load());
      } else if (auto connection = exchange->release()) {
        released.set_value(
          std::make_shared<net::http::released_connection>(std::move(*connection)));
      }
    },
    2};
  const std::size_t other = GENERATE(0U, 1U);
  target = &world.thread(other);
  raw_peer client = world.connect();
  client.send(
    "GET /api/x HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n");
  REQUIRE(future.wait_for(deadline) == std::future_status::ready);
  auto connection = future.get();

  const std::string while_there = status_of(world.connect().read_to_end());
  world.on([gone = std::move(connection)](net::http::server&) mutable { gone.reset(); }, other);
  const bool back = eventually([&] {
    raw_peer again = world.connect();
    again.send("GET / HTTP/1.1\r\nHost: evil.example\r\nConnection: close\r\n\r\n");
    return status_of(again.read_to_end()) == "403";
  });

  CHECK(while_there == "429");
  CHECK(back);
}

TEST_CASE("clients of a trusted front proxy are not counted as one", "[net][limits]") {
  http_settings settings;
  settings.per_address = 1;
  REQUIRE(settings.trusted.add("127.0.0.1"));
  limited_world world{settings};
  raw_peer first = world.connect();
  raw_peer second = world.connect();

  CHECK(asked(first) == "200");
  CHECK(asked(second) == "200");
}

TEST_CASE("a workspace has no more connections to its servers than the limit, whoever asks",
  "[net][limits][I5]") {
  http_settings settings;
  settings.per_workspace = 2;
  limited_world world{settings, 2};
  std::vector<raw_peer> servers;
  raw_peer tunnel = world.waiting(servers, upgrade);
  servers[0].send(switched);
  tunnel.read_head();
  raw_peer second = world.waiting(servers);

  raw_peer third = world.connect();
  third.send(plain);
  const std::string refused = third.read_until("}");
  const std::string meanwhile = asked(third);
  tunnel.close();
  const bool ended = servers[0].wait_for_end();
  servers[0].close();
  const bool room =
    eventually([&] { return world.counts(0).tunnels + world.counts(1).tunnels == 0; });
  raw_peer fourth = world.waiting(servers);
  servers.back().send("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");

  CHECK(status_of(refused) == "429");
  CHECK(names(refused, "limits.per_workspace"));
  CHECK(meanwhile == "200");
  CHECK(ended);
  CHECK(room);
  CHECK(status_of(fourth.read_head()) == "200");
}

TEST_CASE("an unused connection makes room for one that is wanted", "[net][limits]") {
  http_settings settings;
  settings.per_workspace = 1;
  limited_world world{settings};
  std::vector<raw_peer> servers;
  raw_peer client = world.waiting(servers);
  servers[0].send("HTTP/1.1 204 No Content\r\n\r\n");
  client.read_head();
  REQUIRE(eventually([&] { return world.counts().idle_upstreams == 1; }));

  raw_peer tunnel = world.waiting(servers, upgrade);
  servers[1].send(switched);

  CHECK(status_of(tunnel.read_head()) == "101");
  CHECK(servers[0].wait_for_end());
}

TEST_CASE("limits that change let those in who wait, and hold for the requests that follow",
  "[net][limits][reload]") {
  http_settings settings;
  settings.connections = 1;
  limited_world world{settings};
  raw_peer first = world.connect();
  REQUIRE(asked(first) == "200");
  raw_peer second = world.connect();
  second.send(to_service);
  world.counts();
  world.counts();
  REQUIRE_FALSE(second.has_something());

  settings.connections = 2;
  settings.header_bytes = 1024;
  world.on([settings](net::http::server& server) { server.change(settings); });

  CHECK(status_of(second.read_until("service /.previewd/x")) == "200");
  first.send("GET /x HTTP/1.1\r\nHost: localhost\r\nA: " + std::string(2000, 'a') + "\r\n\r\n");
  CHECK(status_of(first.read_head()) == "431");
}

TEST_CASE("the limit of connections is one for all threads, and who waits at one is let in",
  "[net][limits][I5]") {
  http_settings settings;
  settings.connections = 2;
  limited_world world{settings, 2};
  std::vector<raw_peer> clients;
  // The kernel chooses the thread of each: some come to either, but for once in 2^15 runs.
  for (int i = 0; i < 16; ++i) {
    clients.push_back(world.connect());
    clients.back().send(to_service);
  }
  const auto answered = [&clients] {
    return std::count_if(
      clients.begin(), clients.end(), [](raw_peer& each) { return each.has_something(); });
  };
  const bool begun = eventually([&] { return answered() >= 2; });
  // Whoever was to be let in has been, once each thread has done this.
  std::size_t open = 0;
  for (int i = 0; i < 2; ++i) open = world.counts(0).connections + world.counts(1).connections;
  const auto at_first = answered();

  // Each one that goes makes room for the next, on whatever thread that waits.
  std::size_t served = 0;
  while (!clients.empty() && eventually([&] { return answered() > 0; })) {
    const auto next = std::find_if(
      clients.begin(), clients.end(), [](raw_peer& each) { return each.has_something(); });
    if (status_of(next->read_until("service /.previewd/x")) == "200") ++served;
    clients.erase(next);
  }

  CHECK(begun);
  CHECK(open == 2);
  CHECK(at_first == 2);
  CHECK(served == 16);
}

TEST_CASE("a limit of connections that changes on one thread lets in who waits at any",
  "[net][limits][reload]") {
  http_settings settings;
  settings.connections = 1;
  limited_world world{settings, 2};
  std::vector<raw_peer> clients;
  for (int i = 0; i < 16; ++i) {
    clients.push_back(world.connect());
    clients.back().send(to_service);
  }
  const std::size_t one = GENERATE(0U, 1U);

  settings.connections = 16;
  world.on([settings](net::http::server& server) { server.change(settings); }, one);

  for (raw_peer& each : clients) CHECK(status_of(each.read_until("service /.previewd/x")) == "200");
}

TEST_CASE("tunnels count among the connections", "[net][limits][I5]") {
  http_settings settings;
  settings.connections = 2;
  limited_world world{settings};
  std::vector<raw_peer> servers;
  raw_peer tunnel = world.waiting(servers, upgrade);
  servers[0].send(switched);
  tunnel.read_head();
  raw_peer second = world.connect();
  const std::string answered = asked(second);
  raw_peer third = world.connect();
  third.send(to_service);
  world.counts();
  world.counts();
  const bool waits = !third.has_something();

  tunnel.close();
  servers[0].close();

  CHECK(answered == "200");
  CHECK(waits);
  CHECK(status_of(third.read_head()) == "200");
}

TEST_CASE("who comes when descriptors have run out is told so, and the service goes on",
  "[net][limits][I5]") {
  limited_world world{{}};
  raw_peer early = world.connect();
  const std::string before = asked(early);
  std::vector<raw_peer> late;
  for (int i = 0; i < 3; ++i) late.push_back(raw_peer::unconnected());
  std::vector<std::string> answers;
  std::string meanwhile;
  {
    const no_descriptors full;
    for (raw_peer& client : late) {
      client.connect_to(world.port());
      client.send(to_service);
      answers.push_back(client.read_to_end());
    }
    meanwhile = asked(early);
  }
  // Accepting goes on after its pause.
  raw_peer next = world.connect();

  CHECK(before == "200");
  for (const std::string& answer : answers) {
    CHECK(is_out_of_resources(answer));
    CHECK(answer.find("\r\nRetry-After: 1\r\n") != std::string::npos);
  }
  CHECK(meanwhile == "200");
  CHECK(asked(next) == "200");
  CHECK(world.counts().turned_away == 3);
}

TEST_CASE("a server is not blamed when previewd has no descriptor to reach it", "[net][limits]") {
  told_servers actors;
  limited_world world{{}};
  route r = route_to(world.upstream.port());
  r.server = actors.make();
  world.apply(routes_of(2, {r}));
  raw_peer client = world.connect();
  asked(client);
  std::string answer;
  {
    const no_new_descriptors full;
    client.send(plain);
    answer = client.read_until("}");
  }
  client.send(plain);
  raw_peer server = world.upstream.accept();

  CHECK(is_out_of_resources(answer));
  CHECK(server.read_head().substr(0, 6) == "GET / ");
  CHECK(actors.refusals().empty());
}
