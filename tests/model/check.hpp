#pragma once

#include <functional>
#include <initializer_list>
#include <string>
#include <string_view>
#include <utility>

#include "previewd/tests/model/history.hpp"

namespace previewd::test {

/// How often a kind of command comes, against the others.
using weighted_operations = std::initializer_list<std::pair<unsigned, op>>;

/// Makes up histories and replays each; `replay` returns what is wrong, or nothing. Says the seed,
/// and on a failure the shortest history that still fails, as it is written into
/// kept_histories.cpp. PREVIEWD_MODEL_HISTORIES and PREVIEWD_MODEL_SEED choose how many, and which.
/// Returns whether all went well.
bool check_histories(std::string_view name, unsigned default_count, std::size_t longest,
  const weighted_operations& operations, const std::function<std::string(const history&)>& replay);

/// How many histories a run makes up when nobody says: `release`, or few under a sanitizer or
/// without optimisation.
unsigned default_histories(unsigned release);

}  // namespace previewd::test
