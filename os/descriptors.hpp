#pragma once

#include <cstddef>

#include "previewd/os/result.hpp"

namespace previewd::os {

/// Whether so many descriptors more can be opened now. For what cannot be taken back half-way.
/// Errors: `too_many_files_open`, `too_many_files_open_in_system`.
error_code check_room_for_descriptors(std::size_t count);

}  // namespace previewd::os
