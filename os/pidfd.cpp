#include "previewd/os/pidfd.hpp"

#include <sys/syscall.h>
#include <unistd.h>

#include "previewd/os/system_call.hpp"

namespace previewd::os {

namespace {

const call_site open_process{"pidfd.open", {EMFILE, ENFILE, ENOMEM, ENOSYS}};
const call_site signal_process{"pidfd.signal", {EPERM, ENOSYS}};

}  // namespace

// glibc has wrappers since 2.36 only.

result<pidfd> pidfd::open(pid_t pid) noexcept {
  const long fd = system_call(open_process, [&] { return ::syscall(SYS_pidfd_open, pid, 0U); });
  if (fd == -1) return last_error();
  return pidfd{unique_fd{static_cast<int>(fd)}};
}

error_code pidfd::send_signal(int number) const noexcept {
  if (system_call(signal_process,
        [&] { return ::syscall(SYS_pidfd_send_signal, fd_.get(), number, nullptr, 0U); }) == -1)
    return last_error();
  return {};
}

}  // namespace previewd::os
