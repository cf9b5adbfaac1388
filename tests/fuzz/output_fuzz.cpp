#include <algorithm>
#include <string>
#include <vector>

#include "previewd/net/terminal/output_scanner.hpp"
#include "previewd/tests/fuzz/property.hpp"

// What programs print: which addresses are found does not depend on how the bytes are cut, and
// every one of them was printed.

using namespace previewd;
using namespace previewd::fuzz;
using previewd::net::terminal::output_scanner;

namespace {

using hints = std::vector<url_hint>;

void add(hints& all, const hints& found) {
  for (const url_hint& hint : found) {
    if (all.size() < output_scanner::most_hints &&
        std::find(all.begin(), all.end(), hint) == all.end())
      all.push_back(hint);
  }
}

hints scan(std::string_view text, std::size_t piece, unsigned columns) {
  output_scanner scanner;
  scanner.set_columns(columns);
  hints all;
  while (!text.empty()) {
    const std::string_view part = text.substr(0, piece);
    text.remove_prefix(part.size());
    hints found;
    scanner.feed(part, found);
    require(found.size() <= output_scanner::most_hints, "what is found at once has a limit");
    add(all, found);
  }
  hints found;
  scanner.settle(found);
  add(all, found);
  return all;
}

/// Whether the digits are there in their order, with whatever may stand between them: escape
/// sequences, the end of a line.
bool has_digits(std::string_view text, uint16_t port) {
  std::size_t at = 0;
  for (const char digit : std::to_string(port)) {
    at = text.find(digit, at);
    if (at == std::string_view::npos) return false;
    ++at;
  }
  return true;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, std::size_t size) {
  std::string_view input = text_of(data, size);
  const unsigned columns = choice(input);
  const std::size_t piece = 1 + choice(input) % 64;
  const hints whole = scan(input, std::max<std::size_t>(input.size(), 1), columns);
  const hints bytes = scan(input, 1, columns);
  if (bytes.size() < output_scanner::most_hints) {
    require(whole == bytes, "byte by byte the same is found");
    require(scan(input, piece, columns) == bytes, "in pieces the same is found");
  }
  for (const url_hint& hint : whole) {
    require(hint.port != 0, "a port is none that cannot be");
    require(has_digits(input, hint.port), "a port that is found was printed");
  }
  return 0;
}
