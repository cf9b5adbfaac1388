#pragma once

#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "previewd/service/settings.hpp"

namespace previewd {

/// Whether a setting holds one value or several.
enum class arity : unsigned char { one, many };

/// What a change of a setting needs to take effect. `live`: that the settings are read again
/// (SIGHUP).
enum class change : unsigned char { restart, live };

/// One setting: its name, what may be written there, and the field of a `settings` that it is bound
/// to.
struct setting {
  std::string name;        // "health.interval"
  std::string_view group;  // the heading in help and docs
  std::string_view value;  // DURATION, SIZE, NUMBER, NAME ...
  std::string allowed;     // "500ms to 1h"
  std::string_view meaning;
  arity values = arity::one;
  change changes = change::restart;
  /// Takes what was written, or says what is wrong with it: a clause such as `"5" has no unit;
  /// write for example 5s`.
  std::function<std::optional<std::string>(const std::vector<std::string>& written)> set;
  /// What holds now, as it would be written.
  std::function<std::vector<std::string>()> show;
  /// What to print as the default when the field does not say it; empty: what `show` says.
  std::string_view default_text;
};

/// The one table of settings, bound to the fields of `target`, which must outlive it.
std::vector<setting> setting_table(settings& target);

/// `PREVIEWD_HEALTH_INTERVAL` for `health.interval`.
std::string variable_name(std::string_view setting_name);

}  // namespace previewd
