#pragma once

#include <string>
#include <variant>

#include "previewd/service/settings.hpp"

namespace previewd {

/// What the program has to say instead of starting: help, its version, or what is wrong with a
/// setting or with a socket that was handed over.
struct early_exit {
  int code = 0;     // 0; 2 for a wrong flag, setting or settings file, 1 for such a socket
  std::string out;  // for stdout
  std::string err;  // for stderr, ends with a line feed when it is not empty
};

/// Reads the settings: file, environment, flags; the later one wins. Understands `serve` (the
/// default), `check-config`,
/// `--version` and `--help` (docs/settings.md). `arguments` and `environment` end with a null
/// pointer, as those of `main`; both are read only. Apart from the settings file, the
/// files that it names, and sockets that the environment hands over, nothing outside is looked at;
/// those sockets are closed on exec from then on, and stay open. Reports the first thing that is
/// wrong, and never throws.
std::variant<settings, early_exit>
load_settings(int argument_count, const char* const* arguments, const char* const* environment);

/// docs/settings.md, from the same table that `load_settings` reads by.
std::string settings_reference();

}  // namespace previewd
