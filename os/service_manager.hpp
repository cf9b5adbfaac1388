#pragma once

#include <string>
#include <string_view>

#include "previewd/os/result.hpp"

namespace previewd::os {

/// The service manager that started this process and wants to hear how it is: systemd, or another
/// one that speaks the protocol of sd_notify(3).
class service_manager {
public:
  /// `socket` is what $NOTIFY_SOCKET says: an absolute path, or `@` with a name in the abstract
  /// namespace (unix(7)). Empty: there is nobody to tell.
  explicit service_manager(std::string socket = {}) : socket_{std::move(socket)} {}

  /// Sends assignments, one a line, as `READY=1`; does nothing when there is nobody to tell. Waits
  /// 2 s at most, for a manager whose queue is full. Any thread.
  ///
  /// Errors: `invalid_argument` (the socket is no such address), `no_such_file_or_directory` and
  /// `connection_refused` (nobody is there any more), `resource_unavailable_try_again` (the queue
  /// stays full), want of descriptors or memory.
  error_code tell(std::string_view assignments) const noexcept;

private:
  std::string socket_;
};

}  // namespace previewd::os
