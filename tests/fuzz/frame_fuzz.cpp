#include <algorithm>
#include <string>
#include <vector>

#include "previewd/net/ws/frame_reader.hpp"
#include "previewd/tests/fuzz/property.hpp"

// What a WebSocket client sends. The first byte says in which pieces it arrives: whatever the
// pieces, the same messages come of it, or the same fault.

using namespace previewd::fuzz;
using namespace previewd::net::ws;

namespace {

constexpr std::size_t limit = 1000;

std::string read(std::string bytes, std::size_t step) {
  std::string result;
  frame_reader reader{limit};
  for (std::size_t begin = 0; begin < bytes.size() && reader.fault() == 0; begin += step) {
    char* at = bytes.data() + begin;
    const char* const end = bytes.data() + std::min(begin + step, bytes.size());
    while (const auto got = reader.next(at, end)) {
      require(got->bytes.size() <= limit, "no message is larger than the limit");
      require(got->type != opcode::continuation, "what comes out is whole");
      if (got->type == opcode::text) {
        utf8_check whole;
        require(whole.feed(got->bytes) && whole.is_whole(), "text is UTF-8");
      }
      result += std::to_string(static_cast<int>(got->type)) + ':' + std::to_string(got->code) +
                ':' + std::string{got->bytes} + '\n';
    }
    require(reader.fault() != 0 || at == end, "everything is taken");
  }
  return result + "fault " + std::to_string(reader.fault());
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, std::size_t size) {
  std::string_view input = text_of(data, size);
  const std::size_t step = choice(input) % 16 + 1;
  const std::string bytes{input};
  require(read(bytes, step) == read(bytes, std::max<std::size_t>(1, bytes.size())),
    "the pieces make no difference");
  return 0;
}
