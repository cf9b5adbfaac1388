#pragma once

#include <optional>
#include <string>
#include <variant>

#include "previewd/os/unique_fd.hpp"

namespace previewd::store {

/// The file of a store, which is this process' alone for as long as this lives, or until the
/// process has ended in whatever way (flock(2)). Move-only.
struct taken_file {
  std::string path;    // without symbolic links
  os::unique_fd lock;  // of the file `path` + ".lock", which has the pid of its holder in it
};

/// Takes the file, and makes it, empty, with the folders that it needs where they are not there:
/// only its user may read them. Or why that cannot be, as the end of a sentence that its name
/// begins. Not so if another process has taken it, if the file, its lock, or a symbolic link at its
/// place is another user's, and if others can write to its folder. Blocks on the disk.
std::variant<taken_file, std::string> take_file(const std::string& path);

/// Makes the file, empty, where it is not there, for its user alone. Returns why not, as above;
/// nothing: it is there.
std::optional<std::string> make_file(const taken_file& file);

/// Gives the file and what SQLite has put beside it other names, `.damaged-` and the time (UTC),
/// and returns the one of the file. Or why that cannot be, as the end of such a sentence.
struct moved_aside {
  std::string path;
};
std::variant<moved_aside, std::string> move_aside(const taken_file& file);

}  // namespace previewd::store
