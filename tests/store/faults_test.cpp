// Each system call of opening a store fails in each way.
#include <catch2/catch.hpp>
#include <filesystem>

#include "previewd/store/store.hpp"
#include "previewd/tests/support/faults.hpp"
#include "previewd/tests/support/resource_check.hpp"
#include "previewd/tests/support/temporary_folder.hpp"

using namespace previewd::store;
using namespace previewd::test;

TEST_CASE("a store that cannot be opened says why, leaves nothing, and can be opened afterwards",
  "[store][faults]") {
  const auto state = GENERATE(as<std::string>{}, "new", "damaged");
  for (const fault& one : all_faults({"store."})) {
    for (uint32_t call = 1; call <= 3; ++call) {
      INFO(state << ", call " << call << ", " << one.describe());
      temporary_folder folder;
      const std::string path = folder.path() + "/folder/state.db";
      if (state == "damaged") folder.write("folder/state.db", std::string(5000, 'x'), 0644);
      const resource_check resources;
      {
        const faults::armed armed{one.at->name(), one.plan(call)};

        const auto opened = open_store(path, 1);

        const auto* why = std::get_if<std::string>(&opened);
        if (one.error == EINTR) {
          CHECK(why == nullptr);
        } else if (why != nullptr) {
          CHECK_THAT(*why, Catch::StartsWith("the store " + path + " "));
          CHECK(armed.hits() > 0);
        }
      }
      CHECK(resources.difference() == "");
      // Nothing is lost by having failed.
      const auto again = open_store(path, 1);
      CHECK(std::holds_alternative<std::unique_ptr<opened_store>>(again));
      std::size_t aside = 0;
      for (const auto& entry : std::filesystem::directory_iterator{folder.path() + "/folder"})
        aside += entry.path().filename().string().starts_with("state.db.damaged-") ? 1U : 0U;
      CHECK(aside == (state == "damaged" ? 1 : 0));
    }
  }
}
