#include "previewd/os/descriptors.hpp"

#include <fcntl.h>

#include <vector>

#include "previewd/os/system_call.hpp"
#include "previewd/os/unique_fd.hpp"

namespace previewd::os {

namespace {

const call_site open_one{"descriptors.open", {EMFILE, ENFILE}};

}  // namespace

error_code check_room_for_descriptors(std::size_t count) {
  std::vector<unique_fd> opened;
  for (std::size_t i = 0; i < count; ++i) {
    opened.emplace_back(
      system_call(open_one, [] { return ::open("/dev/null", O_RDONLY | O_CLOEXEC); }));
    if (!opened.back()) return last_error();
  }
  return {};
}

}  // namespace previewd::os
