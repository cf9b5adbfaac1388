#include "previewd/net/http/look.hpp"

#include <catch2/catch.hpp>

using namespace previewd;
using namespace previewd::net::http;

namespace {

look_evidence seen_in(const std::string& head, const std::string& body) {
  static std::string text;  // the head's fields are views into it
  text = head + "\r\n";
  answer_head read;
  REQUIRE(read_answer_head(text, read));
  return evidence_in(read, body);
}

}  // namespace

TEST_CASE("a server is told apart by what it answers", "[net][http][look]") {
  const auto [head, body, type] = GENERATE(table<std::string, std::string, std::string>({
    {"HTTP/1.1 200 OK\r\n", "<script type=\"module\" src=\"/@vite/client\">", "vite"},
    {"HTTP/1.1 200 OK\r\n", "<html data-astro-source-file=\"x\"><script src=\"/@vite/client\">",
      "astro"},
    {"HTTP/1.1 200 OK\r\n", "<script src=\"/_nuxt/@vite/client\">", "nuxt"},
    {"HTTP/1.1 200 OK\r\n", "__sveltekit_dev = {} /@vite/client", "sveltekit"},
    {"HTTP/1.1 200 OK\r\n", "<app-root></app-root><script src=\"/@vite/client\">", "angular"},
    {"HTTP/1.1 200 OK\r\n", "<div id=\"storybook-root\">/@vite/client", "storybook"},
    {"HTTP/1.1 404 Not Found\r\nX-Powered-By: Next.js\r\n", "", "next"},
    {"HTTP/1.1 200 OK\r\nServer: Werkzeug/2.2.2 Python/3.11.2\r\n", "", "flask"},
    {"HTTP/1.1 200 OK\r\nServer: WEBrick/1.8.1\r\n", "", "webrick"},
    {"HTTP/1.1 200 OK\r\nServer: SimpleHTTP/0.6 Python/3.11.2\r\n", "", "python"},
    {"HTTP/1.1 200 OK\r\nX-Runtime: 0.012\r\n", "", "rails"},
    {"HTTP/1.1 200 OK\r\nX-Runtime: 1.234567\r\n", "", "rails"},
    {"HTTP/1.1 200 OK\r\nX-Runtime: 12\r\n", "", ""},
    {"HTTP/1.1 200 OK\r\nX-Runtime: .5\r\n", "", ""},
    {"HTTP/1.1 200 OK\r\nX-Runtime: edge-1.0\r\n", "", ""},
    {"HTTP/1.1 426 Upgrade Required\r\n", "Upgrade Required", "websocket"},
    {"HTTP/1.1 200 OK\r\nServer: nginx\r\n", "<h1>hello</h1>", ""},
  }));

  INFO(head << body);
  const look_evidence seen = seen_in(head, body);
  CHECK(seen.type == type);
  CHECK(seen.speaks_http);
}

TEST_CASE(
  "a debugger and a database that answer by HTTP are no servers of it", "[net][http][look]") {
  CHECK_FALSE(
    seen_in("HTTP/1.0 400 Bad Request\r\n", "WebSockets request was expected\r\n").speaks_http);
  CHECK_FALSE(seen_in("HTTP/1.0 200 OK\r\n",
    "It looks like you are trying to access MongoDB over HTTP on the native driver port.")
                .speaks_http);
}
