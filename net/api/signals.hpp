#pragma once

#include <optional>
#include <string_view>

namespace previewd::net::api {

/// The number of a signal that a terminal's user may send to the foreground job, by its name
/// (signal(7)): `SIGINT`. Nothing for any other: the rest are for the kernel and for debuggers.
std::optional<int> signal_number(std::string_view name) noexcept;

}  // namespace previewd::net::api
