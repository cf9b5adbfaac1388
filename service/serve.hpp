#pragma once

#include <csignal>
#include <functional>
#include <variant>

#include "previewd/service/service.hpp"
#include "previewd/service/settings.hpp"
#include "previewd/service/settings_load.hpp"

namespace previewd {

/// The signals that `serve` answers. Block them before any thread starts, so that they come to it
/// and to nobody else.
sigset_t served_signals() noexcept;

/// Tells the service manager that `running` is ready (sd_notify(3)), serves until SIGTERM or
/// SIGINT, and ends it in order. On SIGHUP the settings are read again by `read_again`: what
/// changes live does, what does not is said in the log, and when something is wrong nothing
/// changes. While the service answers, a watchdog of the manager hears so. A manager that cannot be
/// told changes nothing: the log says so once. `served_signals` are blocked; a second one that ends
/// does it at once. The main thread.
void serve(service& running, const settings& started_with,
  const std::function<std::variant<settings, early_exit>()>& read_again);

}  // namespace previewd
