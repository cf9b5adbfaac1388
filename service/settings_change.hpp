#pragma once

#include <string>
#include <vector>

#include "previewd/service/settings.hpp"

namespace previewd {

/// What it comes to that settings have been read again while the service runs.
struct settings_change {
  /// Those that run, with what has changed and changes live.
  settings merged;
  std::vector<std::string> live;           // the names of these
  std::vector<std::string> needs_restart;  // the names of what has changed, and stays as it was
};

/// Compares the settings that run with those that were read again, by the table of settings
/// (settings_table.hpp). What is inherited and what a service manager says stay as they are.
settings_change change_of(const settings& running, const settings& read);

}  // namespace previewd
