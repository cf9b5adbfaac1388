#pragma once

#include <cstdint>
#include <initializer_list>
#include <memory>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "previewd/messages/error.hpp"

namespace previewd::net::api {

/// Whether a field must be there.
enum class presence : uint8_t { required, optional };

/// A JSON object from outside, read field by field. The first thing that is wrong is kept as the
/// error, and everything after it reads as if it were not there.
class json_body {
public:
  /// `known`: all fields there may be.
  json_body(std::string_view text, std::initializer_list<std::string_view> known);
  ~json_body();

  std::string text(std::string_view name, presence wanted);
  std::optional<uint64_t>
  number(std::string_view name, uint64_t least, uint64_t most, presence wanted);
  std::optional<bool> flag(std::string_view name, presence wanted);
  /// A list of texts without NUL; absent: empty.
  std::vector<std::string> texts(std::string_view name);
  /// An object whose values are texts without NUL; absent: empty.
  std::vector<std::pair<std::string, std::string>> text_map(std::string_view name);

  /// Notes that a field is wrong; `what` completes the sentence that begins with its name.
  void refuse(std::string_view name, std::string_view what);

  bool ok() const noexcept { return !error_; }
  const caf::error& error() const noexcept { return error_; }

private:
  const nlohmann::json* find(std::string_view name, presence wanted);

  std::unique_ptr<const nlohmann::json> object_;
  caf::error error_;
};

}  // namespace previewd::net::api
