#include <string>

#include "previewd/net/http/forwarding.hpp"
#include "previewd/net/http/message.hpp"
#include "previewd/tests/fuzz/http_reference.hpp"
#include "previewd/tests/net/http/routes.hpp"

// An answer on its way from a server to a client: what goes on is one answer with the framing that
// the proxy follows.

using namespace previewd;
using namespace previewd::fuzz;
using namespace previewd::net::http;

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, std::size_t size) {
  std::string_view input = text_of(data, size);
  const unsigned chosen = choice(input);
  head_scanner scanner{head_scanner::kind::answer};
  if (scan_both(scanner, head_scanner::kind::answer, input, 1 + chosen % 7) != scanned::complete)
    return 0;

  const std::string text{input.substr(0, scanner.end())};
  answer_head answer;
  if (!read_answer_head(text, answer)) return 0;

  require_clean(answer.fields);
  const auto framing = only_framing(answer.fields);
  require(framing && framing->chunked == answer.chunked &&
            framing->length.has_value() == answer.content_length.has_value(),
    "what is accepted has one framing");

  const std::string asked = (chosen & 8U) != 0
                              ? "GET /preview/shop/ann/x HTTP/1.1\r\nHost: localhost:4000\r\n\r\n"
                              : "GET /x HTTP/1.0\r\nHost: shop--ann.preview.localhost\r\n\r\n";
  request_head request;
  require(!read_request_head(asked, request), "the request is right");
  const preview_target target =
    (chosen & 8U) != 0
      ? preview_target{test::shop, 0, preview_target::address::path, "/preview/shop/ann"}
      : preview_target{test::shop, 0, preview_target::address::origin, {}};
  const endpoint upstream{.address = "127.0.0.1", .port = 5173, .scheme = scheme::http};
  answer_form form;
  form.keep_alive = (chosen & 16U) != 0;
  form.set_cookie = (chosen & 40U) == 40U;  // of a path address only
  form.chunked = answer.chunked && request.version == 11;
  if ((chosen & 64U) != 0) form.frame_ancestors = "'self' http://localhost{port}";
  std::string out;
  write_client_answer(out, answer,
    {request, target, (chosen & 128U) != 0 ? prefix_mode::kept : prefix_mode::stripped, upstream,
      "127.0.0.1"},
    form);

  head_scanner one{head_scanner::kind::answer};
  require(one.scan(out, out.size()) == head_scanner::progress::complete && one.end() == out.size(),
    "what goes on is one head");
  require(out.find("\n\n") == std::string::npos, "lines that ended in LF are mended");
  answer_head sent;
  require(read_answer_head(out, sent), "what goes on is right");
  require(sent.status == answer.status, "what goes on is the same answer");
  require_clean(sent.fields);
  const bool no_body = answer.status < 200 || answer.status == 204;
  require(sent.chunked == (form.chunked && !no_body), "what goes on has the framing that was said");
  require(sent.content_length.has_value() ==
            (answer.content_length.has_value() && !form.chunked && !no_body),
    "what goes on has the length of its body");
  require(!sent.content_length || sent.content_length == answer.content_length,
    "what goes on has the same length");
  for (const field& f : sent.fields) {
    if (lower(f.name) != "set-cookie") continue;
    std::string_view pair = trimmed(f.value.substr(0, f.value.find(';')));
    while (!pair.empty() && pair.front() == '=') pair = trimmed(pair.substr(1));
    const bool own = pair.substr(0, own_cookie_prefix.size()) == own_cookie_prefix;
    require(!own || form.set_cookie, "a page sets no cookie of previewd");
  }
  return 0;
}
