#pragma once

#include <string>

#include "previewd/os/child_process.hpp"
#include "previewd/os/result.hpp"

namespace previewd::os {

/// A user of this machine (passwd(5), group(5)).
struct account {
  std::string name;
  process_identity identity;
  std::string home;  // absolute, or empty; may not exist
};

/// Looks a user up by name; may wait for a network, depending on nsswitch.conf(5). Any thread.
/// Error: `no_such_file_or_directory` when there is none.
result<account> find_account(const std::string& name);

}  // namespace previewd::os
