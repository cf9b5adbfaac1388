#include "previewd/tests/model/history.hpp"

namespace previewd::test {

const std::vector<kept_history>& kept_quiescent_histories() {
  static const std::vector<kept_history> kept{};
  return kept;
}

const std::vector<kept_history>& kept_interleaved_histories() {
  static const std::vector<kept_history> kept{};
  return kept;
}

}  // namespace previewd::test
