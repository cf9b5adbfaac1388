#include "previewd/net/http/look.hpp"

#include <algorithm>
#include <catch2/catch.hpp>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "previewd/tests/net/http/world.hpp"

using namespace previewd;
using namespace previewd::net::http;
using test::eventually;
using test::raw_peer;
using test::raw_server;

namespace {

look_evidence seen_in(const std::string& head, const std::string& body) {
  static std::string text;  // the head's fields are views into it
  text = head + "\r\n";
  answer_head read;
  REQUIRE(read_answer_head(text, read));
  return evidence_in(read, body);
}

std::string answer(const std::string& status, const std::string& lines, const std::string& body) {
  return "HTTP/1.1 " + status + "\r\n" + lines + "Content-Length: " + std::to_string(body.size()) +
         "\r\n\r\n" + body;
}

const std::string page = answer("200 OK", "Content-Type: text/html\r\n", "<!doctype html>");
const std::string not_found = answer("404 Not Found", "", "");

std::string redirect(const std::string& location) {
  return answer("302 Found", "Location: " + location + "\r\n", "");
}

// A look at a server that answers what the test says. It may last longer than any test waits.
class looking {
public:
  explicit looking(look_words words = look_words::early) {
    const endpoint target{.address = "127.0.0.1", .port = server_.port(), .scheme = scheme::http};
    world_.on([&](net::http::server& s) {
      s.look(
        target, test::shop, 10 * test::deadline,
        [this](const identity& what) {
          const std::lock_guard lock{mutex_};
          said_.push_back(what);
        },
        words);
    });
  }

  /// The next request, which waits for its answer.
  raw_peer asked() { return server_.accept(); }

  /// Answers the next request. Returns the path that it asked for.
  std::string answers(const std::string& text) {
    raw_peer peer = asked();
    const std::string head = peer.read_head();
    peer.send(text);
    const std::string line = head.substr(0, head.find(" HTTP/1.1\r\n"));
    return line.substr(std::min<std::size_t>(line.size(), 4));
  }

  bool asks_more() const { return server_.has_connection(); }

  /// What it has said of this kind.
  std::vector<identity> said(identity::verdict kind) {
    const std::lock_guard lock{mutex_};
    std::vector<identity> result;
    for (const identity& what : said_)
      if (what.outcome == kind) result.push_back(what);
    return result;
  }

  /// What it says last of a server that speaks HTTP.
  identity concluded() {
    const auto over = [this] {
      const auto all = said(identity::verdict::http);
      return !all.empty() && all.back().settled;
    };
    return eventually(over) ? said(identity::verdict::http).back() : identity{};
  }

private:
  std::mutex mutex_;
  std::vector<identity> said_;
  raw_server server_;
  test::http_world world_;  // ends first: it says things
};

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

TEST_CASE("a page that is served everywhere is none under the base", "[net][look]") {
  const bool everywhere = GENERATE(true, false);
  const std::string root = GENERATE(as<std::string>{}, not_found,
    redirect("https://login.example/"), answer("401 Unauthorized", "", ""));
  looking look;

  CHECK(look.answers(root) == "/");
  CHECK(look.answers(page) == "/preview/shop/ann/");
  CHECK(look.answers(everywhere ? page : not_found) == "/preview-none/p/u/");
  const identity what = look.concluded();

  CHECK(what.outcome == identity::verdict::http);
  CHECK(what.prefix == (everywhere ? prefix_mode::stripped : prefix_mode::kept));
  CHECK(what.html != everywhere);
  CHECK((what.status == 200) != everywhere);
  CHECK_FALSE(look.asks_more());
}

TEST_CASE("a page that wants no final slash anywhere is served everywhere", "[net][look]") {
  looking look;

  look.answers(not_found);
  look.answers(redirect("/preview/shop/ann"));
  CHECK(look.answers(page) == "/preview/shop/ann");
  look.answers(redirect("/preview-none/p/u"));
  CHECK(look.answers(page) == "/preview-none/p/u");

  CHECK(look.concluded().prefix == prefix_mode::stripped);
}

TEST_CASE(
  "a server that leads to its base knows it, and is asked for no other path", "[net][look]") {
  const std::string base = GENERATE("/preview/shop/ann/", "/preview/shop/ann");
  looking look;

  look.answers(redirect(base));
  CHECK(look.answers(page) == "/preview/shop/ann/");

  CHECK(look.concluded().prefix == prefix_mode::kept);
  CHECK_FALSE(look.asks_more());
}

TEST_CASE(
  "a server that leads to a page of its own elsewhere is not asked for its base", "[net][look]") {
  looking look;

  look.answers(redirect("/login"));
  CHECK(look.answers(page) == "/login");
  const identity what = look.concluded();

  CHECK(what.prefix == prefix_mode::stripped);
  CHECK(what.status == 302);
  CHECK(what.html);
  CHECK_FALSE(look.asks_more());
}

TEST_CASE("a server that leads to nothing is asked for its base", "[net][look]") {
  looking look;

  look.answers(redirect("/en"));
  CHECK(look.answers(not_found) == "/en");
  CHECK(look.answers(not_found) == "/preview/shop/ann/");

  CHECK(look.concluded().prefix == prefix_mode::stripped);
}

TEST_CASE("what is known is said while the base is slow, and all of it later", "[net][look]") {
  looking look;
  look.answers(answer("404 Not Found", "X-Powered-By: Express\r\n", ""));
  raw_peer base = look.asked();
  base.read_head();

  REQUIRE(eventually([&] { return look.said(identity::verdict::http).size() == 1; }));
  const identity early = look.said(identity::verdict::http).front();
  base.send(page);
  look.answers(not_found);
  const identity last = look.concluded();

  CHECK(early.outcome == identity::verdict::http);
  CHECK_FALSE(early.settled);
  CHECK(early.status == 404);
  CHECK(early.type == "express");
  CHECK(early.prefix == prefix_mode::stripped);
  CHECK(last.settled);
  CHECK(last.status == 200);
  CHECK(last.prefix == prefix_mode::kept);
  CHECK(look.said(identity::verdict::http).size() == 2);
}

TEST_CASE("who leads to its base knows it, whatever it answers there", "[net][look]") {
  const bool answers = GENERATE(true, false);
  looking look{look_words::settled};
  look.answers(redirect("/preview/shop/ann/"));
  std::optional<raw_peer> silent;
  if (answers) {
    look.answers(not_found);
  } else {
    silent.emplace(look.asked());
  }

  CHECK(look.concluded().prefix == prefix_mode::kept);
  CHECK_FALSE(look.asks_more());
}

TEST_CASE("an error under the base is a page of the app, unless it is everywhere", "[net][look]") {
  const bool everywhere = GENERATE(true, false);
  const std::string broken = answer("500 Internal Server Error", "", "");
  looking look;

  look.answers(not_found);
  CHECK(look.answers(broken) == "/preview/shop/ann/");
  CHECK(look.answers(everywhere ? broken : not_found) == "/preview-none/p/u/");
  const identity what = look.concluded();

  CHECK(what.prefix == (everywhere ? prefix_mode::stripped : prefix_mode::kept));
  CHECK(what.status == (everywhere ? 404 : 500));
}

TEST_CASE("a base that never answers is none, long before the look ends", "[net][look]") {
  const auto words = GENERATE(look_words::early, look_words::settled);
  looking look{words};
  look.answers(not_found);
  const raw_peer base = look.asked();

  const identity last = look.concluded();

  CHECK(last.outcome == identity::verdict::http);
  CHECK(last.settled);
  CHECK(last.status == 404);
  CHECK(last.prefix == prefix_mode::stripped);
  CHECK(look.said(identity::verdict::http).size() == (words == look_words::early ? 2 : 1));
}

TEST_CASE("an answer without an end is one, however late it begins", "[net][look]") {
  const std::string type =
    GENERATE("text/event-stream", "multipart/x-mixed-replace;boundary=x", "text/html");
  INFO(type);
  looking look;
  raw_peer peer = look.asked();
  peer.read_head();
  REQUIRE(eventually([&] { return look.said(identity::verdict::silent).size() == 1; }));

  peer.send("HTTP/1.1 200 OK\r\nContent-Type: " + type + "\r\n\r\ndata: 1\n\n");
  const identity last = look.concluded();

  CHECK(last.outcome == identity::verdict::http);
  CHECK(last.status == 200);
  CHECK(last.html == (type == "text/html"));
}
