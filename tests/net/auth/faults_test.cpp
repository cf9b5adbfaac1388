#include <catch2/catch.hpp>
#include <string>
#include <variant>

#include "previewd/net/auth/key_set.hpp"
#include "previewd/tests/support/faults.hpp"
#include "previewd/tests/support/resource_check.hpp"
#include "previewd/tests/support/temporary_folder.hpp"

using namespace previewd::net::auth;
using namespace previewd::test;
using previewd::os::short_transfer;

TEST_CASE("a file of keys that cannot be read is named, and read the next time",
  "[net][auth][faults][I3]") {
  const fault failing = GENERATE(from_range(all_faults({"key_file."})));
  INFO(failing.describe());
  temporary_folder folder;
  const std::string file = folder.write("main.key", std::string(40, 's'));
  const key_files files{.secrets = {file}, .public_keys = {}};
  const resource_snapshot before = resource_snapshot::take();

  auto loaded = [&] {
    const faults::armed armed{failing.at->name(), failing.plan(1, 1)};
    auto result = load_keys(files);
    CHECK(armed.hits() == 1);
    return result;
  }();

  // A call that is interrupted or moves less than it could is nothing to speak of.
  if (failing.error == EINTR || failing.error == short_transfer) {
    CHECK(std::holds_alternative<std::shared_ptr<const key_set>>(loaded));
  } else {
    REQUIRE(std::holds_alternative<std::string>(loaded));
    CHECK(std::get<std::string>(loaded).find(file + " cannot be read") != std::string::npos);
  }
  CHECK(std::holds_alternative<std::shared_ptr<const key_set>>(load_keys(files)));
  CHECK(before.difference(resource_snapshot::take()) == "");
}
