#include "previewd/net/http/tunnel_news.hpp"

#include <caf/send.hpp>

namespace previewd::net::http {

void tunnel_news::opened(preview_server_actor server, connection_id id) {
  opened_.emplace_back(std::move(server), id);
  soon();
}

void tunnel_news::closed(ws_connection_actor tunnel) {
  closed_.push_back(std::move(tunnel));
  soon();
}

void tunnel_news::soon() {
  if (std::exchange(on_its_way_, true)) return;
  // Behind all that is ready now.
  thread_.post([this] { tell(); });
}

void tunnel_news::tell() {
  on_its_way_ = false;
  for (const auto& [server, id] : opened_) caf::anon_send(server, tunnel_atom_v, id);
  opened_.clear();
  for (const ws_connection_actor& tunnel : closed_) caf::anon_send(tunnel, closed_atom_v);
  closed_.clear();
}

}  // namespace previewd::net::http
