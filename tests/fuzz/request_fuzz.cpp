#include <algorithm>
#include <string>

#include "previewd/net/http/forwarding.hpp"
#include "previewd/net/http/message.hpp"
#include "previewd/net/http/router.hpp"
#include "previewd/tests/fuzz/http_reference.hpp"
#include "previewd/tests/net/http/routes.hpp"

// A request on its way from a client to a server: what is accepted can be read in one way only, and
// what is sent on is one request that means the same.

using namespace previewd;
using namespace previewd::fuzz;
using namespace previewd::net::http;

namespace {

// What every reader of the head has to agree on.
void require_same(const request_head& a, const request_head& b) {
  require(a.method == b.method && a.target == b.target && a.host == b.host && a.path == b.path &&
            a.query == b.query,
    "a head reads alike when it is written again");
  require(a.content_length == b.content_length && a.chunked == b.chunked &&
            a.keep_alive == b.keep_alive && a.websocket_upgrade == b.websocket_upgrade,
    "a head has the same framing when it is written again");
  require(std::equal(a.fields.begin(), a.fields.end(), b.fields.begin(), b.fields.end(),
            [](const field& x, const field& y) { return x.name == y.name && x.value == y.value; }),
    "a head has the same fields when it is written again");
}

std::string written_again(const request_head& head) {
  std::string text;
  text.append(head.method).append(" ").append(head.target);
  text.append(head.version == 10 ? " HTTP/1.0\r\n" : " HTTP/1.1\r\n");
  for (const field& f : head.fields)
    text.append(f.name).append(": ").append(f.value).append("\r\n");
  return text + "\r\n";
}

void forward(const request_head& head, const routing& where, prefix_mode prefix, peer_trust trust) {
  const endpoint upstream{.address = "127.0.0.1", .port = 5173, .scheme = scheme::http};
  std::string out;
  write_upstream_request(out, {head, *where.target, prefix, upstream, "127.0.0.1", "http", trust});

  head_scanner scanner{head_scanner::kind::request};
  require(scanner.scan(out, out.size()) == head_scanner::progress::complete &&
            scanner.begin() == 0 && scanner.end() == out.size(),
    "what is sent on is one head");
  request_head sent;
  require(!read_request_head(out, sent), "what is sent on is right");
  require(sent.method == head.method && sent.version == 11, "what is sent on is the same request");
  require(sent.chunked == head.chunked && sent.content_length == head.content_length,
    "what is sent on has the same body");
  require(sent.websocket_upgrade == head.websocket_upgrade, "only an upgrade is one");
  require(sent.host == "localhost:5173", "a server is called by its own name");
  require_clean(sent.fields);
  const auto framing = only_framing(sent.fields);
  require(framing && framing->chunked == head.chunked, "what is sent on has one framing");
  for (const field& f : sent.fields) {
    if (lower(f.name) != "cookie") continue;
    for (std::string_view rest = f.value; !rest.empty();) {
      const std::size_t end = std::min(rest.find(';'), rest.size());
      require(trimmed(rest.substr(0, end)).substr(0, own_cookie_prefix.size()) != own_cookie_prefix,
        "previewd's own cookies stay here");
      rest.remove_prefix(std::min(end + 1, rest.size()));
    }
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, std::size_t size) {
  std::string_view input = text_of(data, size);
  const unsigned chosen = choice(input);
  head_scanner scanner{head_scanner::kind::request};
  if (scan_both(scanner, head_scanner::kind::request, input, 1 + chosen % 7) != scanned::complete)
    return 0;

  const std::string text{input.substr(scanner.begin(), scanner.end() - scanner.begin())};
  request_head head;
  if (read_request_head(text, head)) return 0;

  require_clean(head.fields);
  const auto framing = only_framing(head.fields);
  require(framing.has_value(), "what is accepted has one framing");
  require(framing->chunked == head.chunked &&
            framing->length.has_value() == head.content_length.has_value(),
    "the framing is the one that everybody sees");
  require(!head.content_length || std::to_string(*head.content_length) == *framing->length,
    "the length is the one that everybody sees");
  const auto hosts = std::count_if(
    head.fields.begin(), head.fields.end(), [](const field& f) { return lower(f.name) == "host"; });
  require(hosts == 1 || (hosts == 0 && head.version == 10), "a request names one host");

  const std::string again = written_again(head);
  request_head second;
  require(!read_request_head(again, second), "what is accepted is accepted again");
  require_same(head, second);

  static const route_table routes = [] {
    route_table table{10};
    table.apply(test::routes_of(1, {test::route_to(5173)}));
    return table;
  }();
  static const http_settings settings;
  const routing where = route_request(head, settings, routes);
  if (where.what == routing::kind::preview)
    forward(head, where, (chosen & 64U) != 0 ? prefix_mode::kept : prefix_mode::stripped,
      (chosen & 128U) != 0 ? peer_trust::forwarding : peer_trust::none);
  if (where.what == routing::kind::answer) {
    std::string answer;
    write_answer_head(
      answer, where.answer, {.version = 11, .keep_alive = true, .length = 0}, "now");
    answer_head own;
    head_scanner one{head_scanner::kind::answer};
    require(one.scan(answer, answer.size()) == head_scanner::progress::complete &&
              one.end() == answer.size() && read_answer_head(answer, own),
      "an answer of our own is one head");
  }

  body_reader reader;
  if (head.chunked) {
    reader.begin(body_reader::framing::chunked, 0, head_scanner::kind::request);
  } else {
    reader.begin(body_reader::framing::length, head.content_length.value_or(0));
  }
  const std::string_view body = input.substr(scanner.end());
  require(read_body(reader, body, 1 + chosen % 5) == read_body(reader, body, body.size() + 1),
    "a body is read alike in pieces");
  return 0;
}
