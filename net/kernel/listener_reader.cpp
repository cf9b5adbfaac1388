#include "previewd/net/kernel/listener_reader.hpp"

#include <utility>

#include "previewd/os/proc_net.hpp"

namespace previewd::net::kernel {

os::error_code listener_reader::open(listener_source source) {
  if (source == listener_source::proc_net) return {};
  auto diag = os::sock_diag::open();
  try_again_ = !diag && os::is_shortage(diag.error());
  if (!diag) return diag.error();
  diag_.emplace(std::move(*diag));
  return {};
}

os::error_code listener_reader::append_listeners(std::vector<os::listening_socket>& sockets) {
  if (try_again_) (void)open(listener_source::automatic);
  return diag_ ? diag_->append_listeners(sockets) : os::append_listeners_from_proc(sockets);
}

}  // namespace previewd::net::kernel
