#include <catch2/catch.hpp>
#include <fstream>
#include <sstream>
#include <string>

#include "previewd/messages/error.hpp"

using namespace previewd;

TEST_CASE("docs/errors.md lists every code with its status", "[service][docs]") {
  std::ifstream file{PREVIEWD_ERRORS_PAGE};
  std::ostringstream content;
  content << file.rdbuf();
  const std::string page = content.str();

  // Numbers that are no code read as `internal_error`, so that looking at too many of them does no
  // harm.
  for (uint8_t number = 1; number < 100; ++number) {
    const auto code = static_cast<errc>(number);
    const std::string row =
      "\n| `" + std::string{to_code(code)} + "` | " + std::to_string(http_status(code)) + " | ";
    INFO(row);
    CHECK(page.find(row) != std::string::npos);
  }
}
