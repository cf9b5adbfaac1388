#pragma once

#include <caf/meta/type_name.hpp>
#include <cstdint>
#include <string>

#include "previewd/messages/caf.hpp"
#include "previewd/messages/server.hpp"
#include "previewd/messages/type_ids.hpp"

namespace previewd {

/// Names a WebSocket connection within the process: the I/O thread that has it, and a number never
/// used again on that thread.
struct connection_id {
  uint32_t thread = 0;
  uint64_t number = 0;

  friend bool operator==(const connection_id& a, const connection_id& b) {
    return a.thread == b.thread && a.number == b.number;
  }
  template <class Inspector>
  friend typename Inspector::result_type inspect(Inspector& f, connection_id& x) {
    return f(caf::meta::type_name("connection_id"), x.thread, x.number);
  }
};

/// One WebSocket connection: a tunnel to a preview server, or a client of ours. It hears of the
/// connection's end, never of bytes; when it ends of anything, its connection is closed
/// (data_plane::close_connection).
using ws_connection_actor = caf::typed_actor<
  // The connection has closed. From its I/O thread.
  accepts<closed_atom>>;

}  // namespace previewd
