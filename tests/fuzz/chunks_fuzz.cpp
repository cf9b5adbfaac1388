#include <cstdio>
#include <string>

#include "previewd/net/http/message.hpp"
#include "previewd/tests/fuzz/http_reference.hpp"

// A chunked body: its end and its content are the same in whatever pieces it comes, and the same
// that another reader finds.

using namespace previewd;
using namespace previewd::fuzz;
using namespace previewd::net::http;

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, std::size_t size) {
  std::string_view input = text_of(data, size);
  const std::size_t piece = 1 + choice(input) % 17;
  body_reader strict;
  strict.begin(body_reader::framing::chunked, 0, head_scanner::kind::request);
  body_reader lenient;
  lenient.begin(body_reader::framing::chunked, 0, head_scanner::kind::answer);

  const body_outcome as_request = read_body(strict, input, input.size() + 1);
  const body_outcome as_answer = read_body(lenient, input, input.size() + 1);
  require(
    as_request == read_body(strict, input, piece), "a request's chunks are read alike in pieces");
  require(
    as_answer == read_body(lenient, input, piece), "an answer's chunks are read alike in pieces");
  if (!as_request.malformed)
    require(as_request == as_answer, "what is right in a request is right in an answer");

  if (!as_answer.complete) return 0;
  const auto [content, length] = decode_chunks(input);
  require(length == as_answer.used, "a body ends where it ends for everybody");
  require(content == as_answer.content, "a body holds what it holds for everybody");

  std::string again;
  char line[32];
  std::snprintf(line, sizeof line, "%zx\r\n", content.size());
  if (!content.empty()) again.append(line).append(content).append("\r\n");
  again += "0\r\n\r\n";
  const body_outcome second = read_body(strict, again, piece);
  require(second.complete && second.used == again.size() && second.content == content,
    "a body is the same when it is written again");
  return 0;
}
