#include "previewd/tests/model/check.hpp"

#include <rapidcheck.h>
#include <chrono>
#include <cstdlib>
#include <iostream>
#include <random>
#include <vector>

namespace previewd::test {

namespace {

uint64_t number_from(const char* variable, uint64_t otherwise) {
  const char* text = std::getenv(variable);
  return text == nullptr || *text == '\0' ? otherwise : std::strtoull(text, nullptr, 10);
}

rc::Gen<history> histories(const weighted_operations& operations) {
  std::vector<op> bag;
  for (const auto& [weight, what] : operations) bag.insert(bag.end(), weight, what);
  const auto number = rc::gen::resize(rc::kNominalSize, rc::gen::inRange(0, 256));
  const auto one = rc::gen::map(rc::gen::tuple(rc::gen::elementOf(bag), number, number, number),
    [](const std::tuple<op, int, int, int>& parts) {
      const auto& [what, a, b, c] = parts;
      return command{
        what, static_cast<uint8_t>(a), static_cast<uint8_t>(b), static_cast<uint8_t>(c)};
    });
  return rc::gen::map(rc::gen::container<std::vector<command>>(one),
    [](std::vector<command> commands) { return history{std::move(commands)}; });
}

}  // namespace

unsigned default_histories(unsigned release) {
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
  return release / 100;
#elif defined(__OPTIMIZE__)
  return release;
#else
  return release / 20;
#endif
}

bool check_histories(std::string_view name, unsigned default_count, std::size_t longest,
  const weighted_operations& operations, const std::function<std::string(const history&)>& replay) {
  rc::detail::TestParams parameters;
  parameters.maxSuccess = static_cast<int>(number_from("PREVIEWD_MODEL_HISTORIES", default_count));
  parameters.maxSize = static_cast<int>(longest);
  parameters.seed = number_from("PREVIEWD_MODEL_SEED", std::random_device{}());
  std::cout << name << ": " << parameters.maxSuccess
            << " histories, PREVIEWD_MODEL_SEED=" << parameters.seed << std::endl;

  // The last one that fails while they are being shortened is the shortest.
  history shortest;
  std::string wrong;
  std::size_t commands = 0;
  const auto generator = histories(operations);
  rc::detail::TestMetadata metadata;
  metadata.id = metadata.description = std::string{name};
  const auto started = std::chrono::steady_clock::now();
  const auto result = rc::detail::checkTestable(
    [&] {
      const history what = *generator;
      commands += what.commands.size();
      std::string verdict = replay(what);
      if (verdict.empty()) return;
      shortest = what;
      wrong = std::move(verdict);
      RC_FAIL(wrong);
    },
    metadata, parameters);
  const std::chrono::duration<double> took = std::chrono::steady_clock::now() - started;
  if (result.is<rc::detail::SuccessResult>()) {
    std::cout << name << ": " << commands << " commands went well in " << took.count() << " s"
              << std::endl;
    return true;
  }
  rc::detail::FailureResult failure;
  if (result.match(failure))
    std::cout << name << ": failed after " << failure.numSuccess << " histories\n";
  if (wrong.empty()) {
    rc::detail::printResultMessage(result, std::cout);
  } else {
    std::cout << wrong << "\nThe shortest history that fails, for kept_histories.cpp:\n"
              << "{\"...\", " << shortest << "},\n";
  }
  std::cout << std::flush;
  return false;
}

}  // namespace previewd::test
