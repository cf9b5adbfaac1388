#pragma once

#include <csignal>

#include "previewd/service/service.hpp"
#include "previewd/service/settings.hpp"

namespace previewd {

/// The signals that `serve` answers. Block them before any thread starts, so that they come to it
/// and to nobody else.
sigset_t served_signals() noexcept;

/// Tells the service manager that `running` is ready (sd_notify(3)), serves until SIGTERM or
/// SIGINT, and ends it in order. On SIGHUP keys and certificate are read again. While the service
/// answers, a watchdog of the manager hears so. A manager that cannot be told changes nothing: the
/// log says so once. `served_signals` are blocked; a second one that ends does it at once. The main
/// thread.
void serve(service& running, const settings& started_with);

}  // namespace previewd
