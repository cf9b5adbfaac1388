// What is wrong gets the error of the contract, and the service goes on.
#include <catch2/catch.hpp>

#include "previewd/tests/support/resource_check.hpp"
#include "previewd/tests/system/live_service.hpp"

using namespace previewd;
using namespace previewd::test;

namespace {

struct wrong_request {
  const char* what;
  const char* target;
  const char* body;
  int status;
  const char* code;
};

}  // namespace

TEST_CASE("wrong requests get their error and change nothing", "[system][I7]") {
  live_service live;
  const auto wrong = GENERATE(values<wrong_request>({
    {"no JSON", "POST /api/terminals", "{", 400, "invalid_json"},
    {"JSON that is no object", "POST /api/terminals", "[1]", 400, "invalid_json"},
    {"no user", "POST /api/terminals", R"({"project":"p"})", 400, "invalid_field"},
    {"a wrong type", "POST /api/terminals", R"({"project":"p","user":"u","cols":"x"})", 400,
      "invalid_field"},
    {"an unknown field", "POST /api/terminals", R"({"project":"p","user":"u","colour":1})", 400,
      "invalid_field"},
    {"a size out of range", "POST /api/terminals", R"({"project":"p","user":"u","cols":0})", 400,
      "invalid_field"},
    {"a bad name", "POST /api/terminals", R"({"project":"..","user":"u"})", 400, "invalid_name"},
    {"a bad name in a path", "GET /api/preview-status/a%2Fb/u", "", 400, "invalid_name"},
    {"too long a wait", "GET /api/preview-status/p/u?wait=61s", "", 400, "invalid_field"},
    {"an unknown terminal", "GET /api/terminals/nosuch", "", 404, "terminal_not_found"},
    {"closing an unknown terminal", "DELETE /api/terminals/nosuch", "", 404, "terminal_not_found"},
    {"typing into an unknown terminal", "POST /api/terminals/nosuch/input", "x", 404,
      "terminal_not_found"},
    {"an unknown path", "GET /api/nosuch", "", 404, "not_found"},
    {"a reserved path of a preview", "GET /preview/p/u/.previewd/nosuch", "", 404, "not_found"},
    {"an unknown server", "GET /api/servers/7", "", 404, "server_not_found"},
  }));
  INFO(wrong.what);

  const http_answer answer = fetch(live.port(), wrong.target, {}, wrong.body);

  CHECK(answer.status == wrong.status);
  CHECK(answer.head.find("application/problem+json") != std::string::npos);
  const auto problem = nlohmann::json::parse(answer.body, nullptr, false);
  REQUIRE(problem.is_object());
  CHECK(problem["code"] == wrong.code);
  CHECK(problem["status"] == wrong.status);
  CHECK_FALSE(problem["detail"].get<std::string>().empty());
  CHECK(live.get_json("/api/terminals")["terminals"].empty());
  CHECK(fetch(live.port(), "GET /healthz").status == 200);
}

TEST_CASE("a preview's own address tells its status, whether it has a server or not", "[system]") {
  live_service live;

  const auto status = live.get_json("/preview/shop/ann/.previewd/status");

  REQUIRE(status.is_object());
  CHECK(status["available"] == false);
  CHECK(status["server"].is_null());
  CHECK(fetch(live.port(), "POST /preview/shop/ann/.previewd/status", {}, "x").status == 405);
}

TEST_CASE("a wrong method says which are right", "[system][I7]") {
  live_service live;

  const http_answer answer = fetch(live.port(), "PUT /api/terminals");

  CHECK(answer.status == 405);
  CHECK(answer.head.find("Allow: ") != std::string::npos);
}

TEST_CASE("garbage on the port, cut requests and too large heads do no harm", "[system][I5][I7]") {
  resource_check resources;
  {
    live_service live;
    const std::string host = "Host: 127.0.0.1:" + std::to_string(live.port()) + "\r\n";
    std::string expected = "HTTP/1.1 400";
    std::string bytes;
    SECTION("garbage") {
      bytes = std::string{"\x16\x03\x01", 4} + "\xff\xfe garbage\r\n\r\n";
    }
    SECTION("no host") {
      bytes = "GET / HTTP/1.1\r\n\r\n";
    }
    SECTION("two lengths") {
      bytes = "POST / HTTP/1.1\r\n" + host + "Content-Length: 1\r\nContent-Length: 2\r\n\r\nab";
    }
    SECTION("length and chunks") {
      bytes = "POST / HTTP/1.1\r\n" + host +
              "Content-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n";
    }
    SECTION("a folded field") {
      bytes = "GET / HTTP/1.1\r\n" + host + "A: b\r\n c\r\n\r\n";
    }
    SECTION("a head that never ends") {
      bytes = "GET / HTTP/1.1\r\n" + host + "A: " + std::string(100'000, 'x');
      expected = "HTTP/1.1 431";
    }
    SECTION("a foreign host name") {
      bytes = "GET /api/terminals HTTP/1.1\r\nHost: evil.example\r\n\r\n";
      expected = "HTTP/1.1 403";
    }
    SECTION("a foreign origin") {
      bytes = "GET /api/terminals HTTP/1.1\r\n" + host + "Origin: http://evil.example\r\n\r\n";
      expected = "HTTP/1.1 403";
    }
    connection client{live.port()};

    client.send(bytes);

    CHECK(client.read().substr(0, 12) == expected);
    CHECK(fetch(live.port(), "GET /healthz").status == 200);
  }
}
