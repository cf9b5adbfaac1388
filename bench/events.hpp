#pragma once

#include <CLI/App.hpp>
#include <functional>

namespace previewd::bench {

/// Adds `events`: many Socket.IO clients in one room, told of a server's coming and going, as
/// bench/events orders it. What is returned runs it once the arguments have been read, and answers
/// the program's exit code; prints one JSON object.
std::function<int()> add_events_command(CLI::App& app);

}  // namespace previewd::bench
