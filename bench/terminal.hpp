#pragma once

#include <CLI/App.hpp>
#include <functional>

namespace previewd::bench {

/// Adds `terminal`: measures a server of terminals by raw WebSockets, as bench/terminal orders it.
/// What is returned runs it once the arguments have been read, and answers the program's exit code;
/// prints one JSON object.
std::function<int()> add_terminal_command(CLI::App& app);

}  // namespace previewd::bench
