#pragma once

#include <optional>
#include <string>

#include "previewd/service/settings.hpp"

namespace previewd {

/// Without anybody to ask who may (`auth.mode = none`), the service stays on this machine. What is
/// wrong, with the name of the setting; nothing: all is well.
std::optional<std::string> check_reach(const settings& wanted);

/// Whose rights terminals get (`terminal.run_as`) is not left to clients, and can be given. The
/// answer as above. May wait for a network (os/account.hpp).
std::optional<std::string> check_account(const settings& wanted);

}  // namespace previewd
