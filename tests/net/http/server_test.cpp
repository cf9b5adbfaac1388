#include <sys/stat.h>

#include <array>
#include <atomic>
#include <boost/asio/buffer.hpp>
#include <catch2/catch.hpp>
#include <filesystem>
#include <fstream>
#include <string>

#include "previewd/tests/net/http/world.hpp"
#include "previewd/tests/support/resource_check.hpp"
#include "previewd/tests/support/temporary_folder.hpp"

using namespace previewd;
using namespace previewd::test;
using net::http::exchange_ptr;
using net::http::http_settings;
using net::http::response;

namespace {

bool contains(const std::string& text, std::string_view part) {
  return text.find(part) != std::string::npos;
}

// A handler that answers with the body it got.
void echo(const exchange_ptr& exchange) {
  exchange->read_body(1000, [exchange](std::string body) {
    response answer;
    answer.content_type = "text/plain";
    answer.body = std::move(body);
    exchange->respond(std::move(answer));
  });
}

response event_stream() {
  response head;
  head.content_type = "text/event-stream";
  return head;
}

}  // namespace

TEST_CASE(
  "requests on one connection are answered one after the other, also when they come at once",
  "[net][http]") {
  http_world world;
  const std::string host = "Host: " + world.authority() + "\r\n";
  raw_peer client = world.connect();

  client.send("GET /a HTTP/1.1\r\n" + host + "\r\nHEAD /b HTTP/1.1\r\n" + host +
              "\r\nGET /c HTTP/1.1\r\n" + host + "Connection: close\r\n\r\n");
  const std::string first = client.read_until("service /a");
  const std::string second = client.read_head();
  const std::string rest = client.read_to_end();

  CHECK(contains(first, "HTTP/1.1 200 OK\r\nDate: "));
  CHECK(contains(first, "\r\nServer: previewd\r\n"));
  CHECK(contains(second, "Content-Length: 10\r\n"));
  CHECK(contains(rest, "service /c"));
  CHECK(contains(rest, "Connection: close\r\n"));
}

TEST_CASE(
  "garbage and ambiguous requests get their status, end the connection, and the service goes on",
  "[net][http][I7]") {
  http_settings settings;
  settings.header_bytes = 2000;
  settings.header_timeout = std::chrono::milliseconds{1500};
  http_world world{settings};
  const std::string host = "Host: localhost\r\n";
  const auto [request, status] = GENERATE_COPY(table<std::string, std::string>({
    {std::string{"\x16\x03\x01\x02\x00", 5}, "400"},
    {"GET /\r\n", "400"},
    {"GET / HTTP/1.1\r\n" + host + "Content-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
      "400"},
    {"GET / HTTP/1.1\r\n" + host + "X: " + std::string(3000, 'x'), "431"},
    {"GET / HTTP/1.1\r\nHost: evil.example\r\nConnection: close\r\n\r\n", "403"},
    {"GET / HTTP/1.1\r\n" + host + "X: slow", "408"},
    {"GET / HTTP/3.0\r\n" + host + "\r\n", "505"},
  }));
  INFO(request);

  const std::string answer = world.ask(request);
  const std::string next = world.get("/still/here");

  CHECK(contains(answer, "HTTP/1.1 " + status + " "));
  CHECK(contains(answer, "Connection: close\r\n"));
  CHECK(contains(answer, "application/problem+json"));
  CHECK(contains(next, "service /still/here"));
}

TEST_CASE(
  "a handler reads bodies of both framings, and one that is too large is refused", "[net][http]") {
  http_world world{{}, echo};
  const std::string head = "POST /x HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n";

  CHECK(contains(world.ask(head + "Content-Length: 5\r\n\r\nhello"), "\r\n\r\nhello"));
  CHECK(
    contains(world.ask(head + "Transfer-Encoding: chunked\r\n\r\n3\r\nhel\r\n2\r\nlo\r\n0\r\n\r\n"),
      "\r\n\r\nhello"));
  CHECK(contains(world.ask(head + "Content-Length: 1001\r\n\r\n"), "HTTP/1.1 413 "));
  CHECK(contains(world.ask(head + "Transfer-Encoding: chunked\r\n\r\n800\r\n" +
                           std::string(2048, 'x') + "\r\n0\r\n\r\n"),
    "HTTP/1.1 413 "));
  CHECK(contains(world.ask(head + "Transfer-Encoding: chunked\r\n\r\nnonsense"), "HTTP/1.1 400 "));
}

TEST_CASE("a client that still sends what is refused is not cut off before it has heard so",
  "[net][http]") {
  http_settings settings;
  settings.drain = std::chrono::milliseconds{1500};
  http_world world{settings, echo};
  raw_peer client = world.connect();
  const auto begun = std::chrono::steady_clock::now();
  client.send("POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 50000000\r\n\r\n");

  // For longer than one that says nothing is waited for.
  bool taken = true;
  eventually([&] {
    taken = client.send("more");
    return !taken || std::chrono::steady_clock::now() > begun + 2 * settings.drain;
  });
  client.shutdown();
  const std::string answer = client.read_to_end();

  CHECK(taken);
  CHECK(contains(answer, "HTTP/1.1 413 "));
  CHECK_FALSE(client.was_reset());
}

TEST_CASE("a client that waits for 100 is told to go on when its body is wanted", "[net][http]") {
  http_world world{{}, echo};
  raw_peer client = world.connect();

  client.send(
    "POST / HTTP/1.1\r\nHost: localhost\r\nExpect: 100-continue\r\nContent-Length: "
    "2\r\nConnection: close\r\n\r\n");
  const std::string interim = client.read_head();
  client.send("ok");
  const std::string answer = client.read_to_end();

  CHECK(interim == "HTTP/1.1 100 Continue\r\n\r\n");
  CHECK(contains(answer, "\r\n\r\nok"));
}

TEST_CASE("a client that waits for 100 with too large a body is refused, and nothing is left of it",
  "[net][http][I3]") {
  http_world world{{}, echo};
  const auto before = world.counts().objects;
  raw_peer client = world.connect();

  client.send(
    "POST / HTTP/1.1\r\nHost: localhost\r\nExpect: 100-continue\r\nContent-Length: "
    "1001\r\n\r\n");
  const std::string answer = client.read_to_end();
  client.close();

  CHECK(contains(answer.substr(0, 13), "HTTP/1.1 413 "));
  CHECK(eventually([&] { return world.counts().objects == before; }));
}

TEST_CASE("a request whose handler drops it is answered 500", "[net][http]") {
  http_world world{{}, [](const exchange_ptr&) {}};

  CHECK(contains(world.get("/"), "HTTP/1.1 500 "));
}

TEST_CASE("a stream goes out in chunks as it is written, and its holder hears of the client's end",
  "[net][http]") {
  std::promise<exchange_ptr> arrived;
  std::promise<void> gone;
  http_world world{{}, [&](exchange_ptr exchange) {
                     exchange->on_gone([&gone] { gone.set_value(); });
                     exchange->start_stream(event_stream());
                     arrived.set_value(std::move(exchange));
                   }};
  raw_peer client = world.connect();
  client.send("GET /events HTTP/1.1\r\nHost: localhost\r\n\r\n");
  exchange_ptr exchange = arrived.get_future().get();

  world.on([&](net::http::server&) {
    return exchange->write(std::make_shared<const std::string>("data: 1\n\n"), 1000);
  });
  const std::string got = client.read_until("data: 1\n\n\r\n");
  client.close();
  auto ended = gone.get_future();
  const bool heard = ended.wait_for(deadline) == std::future_status::ready;
  const bool taken = world.on([&](net::http::server&) {
    return exchange->write(std::make_shared<const std::string>("x"), 1000);
  });
  world.on([&](net::http::server&) { exchange.reset(); });

  CHECK(contains(got, "Transfer-Encoding: chunked\r\n"));
  CHECK(contains(got, "\r\n\r\n9\r\ndata: 1\n\n\r\n"));
  CHECK(heard);
  CHECK_FALSE(taken);
}

TEST_CASE("a reader that falls too far behind is disconnected", "[net][http][I5]") {
  std::promise<exchange_ptr> arrived;
  http_world world{{}, [&](exchange_ptr exchange) {
                     exchange->start_stream(event_stream());
                     arrived.set_value(std::move(exchange));
                   }};
  raw_peer client = world.connect();
  client.send("GET /events HTTP/1.1\r\nHost: localhost\r\n\r\n");
  exchange_ptr exchange = arrived.get_future().get();
  const auto block = std::make_shared<const std::string>(100'000, 'x');

  // The kernel's buffers take some megabytes; the service's own none beyond the limit.
  int written = 0;
  const bool dropped = eventually([&] {
    ++written;
    return !world.on([&](net::http::server&) { return exchange->write(block, 300'000); });
  });
  world.on([&](net::http::server&) { exchange.reset(); });

  CHECK(dropped);
  CHECK(client.wait_for_end());
}

TEST_CASE("a message that is larger than a reader may fall behind is sent, and no second one waits",
  "[net][http][I5]") {
  std::promise<exchange_ptr> arrived;
  http_world world{{}, [&](exchange_ptr exchange) {
                     exchange->start_stream(event_stream());
                     arrived.set_value(std::move(exchange));
                   }};
  raw_peer client = world.connect();
  client.send("GET /events HTTP/1.1\r\nHost: localhost\r\n\r\n");
  exchange_ptr exchange = arrived.get_future().get();
  const auto queue = [&](std::size_t size) {
    return world.on([&exchange, size](net::http::server&) {
      return exchange->write(std::make_shared<const std::string>(size, 'x'), 1000);
    });
  };
  // More than the kernel's buffers take.
  constexpr std::size_t large = 32'000'000;

  const bool first = queue(large);
  const bool small = queue(500);
  const bool second = queue(large);
  world.on([&](net::http::server&) { exchange.reset(); });

  CHECK(first);
  CHECK(small);
  CHECK_FALSE(second);
  CHECK(client.wait_for_end());
}

TEST_CASE("what a reader may fall behind is whole again after a large message", "[net][http][I5]") {
  std::promise<exchange_ptr> arrived;
  http_world world{{}, [&](exchange_ptr exchange) {
                     exchange->start_stream(event_stream());
                     arrived.set_value(std::move(exchange));
                   }};
  raw_peer client = world.connect();
  client.send("GET /events HTTP/1.1\r\nHost: localhost\r\n\r\n");
  exchange_ptr exchange = arrived.get_future().get();
  client.read_head();

  std::string got;
  for (int i = 0; i < 3; ++i) {
    const bool taken = world.on([&exchange](net::http::server&) {
      return exchange->write(std::make_shared<const std::string>(3000, 'x'), 1000);
    });
    CHECK(taken);
    got += client.read_exactly(3000 + std::string_view{"bb8\r\n\r\n"}.size());
    world.on([](net::http::server&) {});  // the client may have it before the server has heard so
  }
  world.on([&](net::http::server&) { exchange.reset(); });

  CHECK(got.size() == 3 * 3007);
  CHECK(client.wait_for_end());
}

TEST_CASE(
  "a connection moves to another thread with its request, and goes on there", "[net][http]") {
  std::atomic<net::io_thread*> first{nullptr};
  http_world world{{},
    [&first](const exchange_ptr& exchange) {
      net::io_thread* target = first.load();
      if (&exchange->thread() != target) {
        exchange->move_to(*target);
        return;
      }
      exchange->read_body(100, [exchange](std::string body) {
        response answer;
        answer.body = "thread " + std::to_string(exchange->thread().index()) + " " + body + " " +
                      exchange->client_address();
        exchange->respond(std::move(answer));
      });
    },
    2};

  for (std::size_t index : {0U, 1U, 0U, 1U}) {
    first = &world.thread(index);
    const std::string answer = world.ask(
      "POST / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: 4\r\n\r\nbody");
    CHECK(contains(answer, "thread " + std::to_string(index) + " body 127.0.0.1"));
  }
}

TEST_CASE("an upgrade leaves HTTP with the bytes that follow it", "[net][http]") {
  std::promise<net::http::released_connection> released;
  http_world world{{}, [&](const exchange_ptr& exchange) {
                     if (auto connection = exchange->release())
                       released.set_value(std::move(*connection));
                   }};
  raw_peer client = world.connect();
  const std::string head =
    "GET /api/x HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n";

  client.send(head + "frame");
  auto future = released.get_future();
  REQUIRE(future.wait_for(deadline) == std::future_status::ready);
  auto connection = std::make_shared<net::http::released_connection>(future.get());

  CHECK(connection->head == head);
  CHECK(connection->unread == "frame");
  // Its thread is where it lives and dies.
  world.on([connection](net::http::server&) { connection->socket.close(); });
  CHECK(client.wait_for_end());
}

TEST_CASE("an upgrade that has waited for the answer before it leaves HTTP, too", "[net][http]") {
  std::promise<net::http::released_connection> released;
  raw_server upstream;
  http_world world{{}, [&](const exchange_ptr& exchange) {
                     if (auto connection = exchange->release())
                       released.set_value(std::move(*connection));
                   }};
  world.apply(routes_of(1, {route_to(upstream.port())}));
  raw_peer client = world.connect();
  const std::string head =
    "GET /api/x HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n";
  client.send("GET /preview/shop/ann/ HTTP/1.1\r\nHost: localhost\r\n\r\n");
  raw_peer server = upstream.accept();
  server.read_head();
  client.send(head);
  // The thread has had its turn with it, and reads on.
  world.counts();
  world.counts();

  server.send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
  const std::string answer = client.read_until("ok");
  auto future = released.get_future();
  REQUIRE(future.wait_for(deadline) == std::future_status::ready);
  auto connection = std::make_shared<net::http::released_connection>(future.get());
  client.send("frame");
  std::string frame;
  const bool heard = eventually([&] {
    return world.on([&](net::http::server&) {
      std::array<char, 16> bytes;
      boost::system::error_code error;  // none of it is there yet
      const std::size_t count = connection->socket.read_some(boost::asio::buffer(bytes), error);
      frame.append(bytes.data(), count);
      return frame == "frame";
    });
  });

  CHECK(contains(answer, "200 OK"));
  CHECK(connection->head == head);
  CHECK(heard);
  world.on([connection](net::http::server&) { connection->socket.close(); });
  CHECK(client.wait_for_end());
}

TEST_CASE("an address in use is refused with a sentence, and nothing stays open", "[net][http]") {
  const resource_check resources;
  {
    raw_server taken;
    auto result =
      net::http::open_listeners({{.address = "127.0.0.1", .port = 0, .path = {}},
                                  {.address = "127.0.0.1", .port = taken.port(), .path = {}}},
        2);

    CHECK(result.listeners.empty());
    CHECK(
      contains(result.error, "cannot listen on 127.0.0.1:" + std::to_string(taken.port()) + ": "));
  }
  CHECK(resources.difference() == "");
}

TEST_CASE(
  "only a socket that nobody listens on any more gives its path to ours", "[net][http][I6]") {
  const temporary_folder folder;
  const std::string path = folder.path() + "/previewd.sock";
  const std::string other = folder.path() + "/other";
  const auto listen_there = [&path] {
    return net::http::open_listeners({{.address = {}, .port = 0, .path = path}}, 1);
  };
  const auto leave_socket = [](const std::string& at) {
    CHECK(net::http::open_listeners({{.address = {}, .port = 0, .path = at}}, 1).error == "");
  };

  SECTION("one that was left behind") {
    leave_socket(path);
    auto opened = listen_there();
    REQUIRE(opened.error == "");
    struct stat now {};
    REQUIRE(::lstat(path.c_str(), &now) == 0);
    CHECK((now.st_mode & 0777) == 0600);
  }
  SECTION("not one that answers") {
    const auto opened = listen_there();
    CHECK(contains(listen_there().error, "cannot listen on unix:" + path + ": "));
    CHECK(std::filesystem::exists(path));
  }
  SECTION("not a file") {
    std::ofstream{path} << "something";
    CHECK(contains(listen_there().error, "cannot listen on unix:" + path + ": "));
    CHECK(std::filesystem::file_size(path) == 9);
  }
  SECTION("not a link, wherever it leads") {
    leave_socket(other);
    std::filesystem::create_symlink(other, path);
    CHECK(contains(listen_there().error, "cannot listen on unix:" + path + ": "));
    CHECK(std::filesystem::is_symlink(path));
    CHECK(std::filesystem::exists(other));
  }
}

TEST_CASE("more connections than the limit wait for their turn", "[net][http][I5]") {
  http_settings settings;
  settings.connections = 2;
  http_world world{settings};
  std::vector<raw_peer> clients;
  for (int i = 0; i < 3; ++i) {
    clients.push_back(world.connect());
    clients.back().send("GET /" + std::to_string(i) + " HTTP/1.1\r\nHost: localhost\r\n\r\n");
  }
  const std::string first = clients[0].read_until("service /0");
  const std::string second = clients[1].read_until("service /1");
  const bool third_waits = !clients[2].has_something();

  clients[0].close();
  const std::string third = clients[2].read_until("service /2");

  CHECK(contains(first, "200 OK"));
  CHECK(contains(second, "200 OK"));
  CHECK(third_waits);
  CHECK(contains(third, "200 OK"));
}
