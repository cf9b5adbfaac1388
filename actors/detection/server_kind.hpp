#pragma once

#include <string>
#include <string_view>

namespace previewd::actors {

/// What a command line says of the kind of its server: that of the program or script that is run
/// (`node .../.bin/rsbuild dev`, `ng serve (app)`, `python3 -m flask run`), never of its further
/// arguments. Empty: it says nothing, as `node server.js` does not.
std::string_view kind_of_command(std::string_view command);

/// The kind of a server by what it answered (`seen`) and by its command. The answer decides, except
/// that many things are built upon Vite or Express and look like them: there a command that names
/// one of those knows better.
std::string kind_of(const std::string& seen, std::string_view command);

}  // namespace previewd::actors
