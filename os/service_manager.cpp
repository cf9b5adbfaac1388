#include "previewd/os/service_manager.hpp"

#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>

#include <cstddef>
#include <cstring>

#include "previewd/os/system_call.hpp"
#include "previewd/os/unique_fd.hpp"

namespace previewd::os {

namespace {

const call_site open_socket{"manager.socket", {EMFILE, ENFILE, ENOMEM, ENOBUFS}};
const call_site send_message{"manager.send", {ECONNREFUSED, ENOENT, EAGAIN, ENOMEM}};

constexpr timeval longest_wait{2, 0};

}  // namespace

error_code service_manager::tell(std::string_view assignments) const noexcept {
  if (socket_.empty()) return {};
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  const bool known = socket_.front() == '/' || socket_.front() == '@';
  if (!known || socket_.size() >= sizeof address.sun_path) return system_error(EINVAL);
  std::memcpy(address.sun_path, socket_.data(), socket_.size());
  // A name in the abstract namespace begins with a zero, and ends with the length (unix(7)).
  const bool is_path = socket_.front() == '/';
  if (!is_path) address.sun_path[0] = '\0';
  const auto length =
    static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + socket_.size() + (is_path ? 1 : 0));

  const unique_fd fd{
    system_call(open_socket, [] { return ::socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0); })};
  if (!fd) return last_error();
  // One that fails leaves a socket that waits longer.
  ::setsockopt(fd.get(), SOL_SOCKET, SO_SNDTIMEO, &longest_wait, sizeof longest_wait);
  const ssize_t sent = system_call(send_message, [&] {
    return ::sendto(fd.get(), assignments.data(), assignments.size(), MSG_NOSIGNAL,
      reinterpret_cast<const sockaddr*>(&address), length);
  });
  return sent == -1 ? last_error() : error_code{};
}

}  // namespace previewd::os
