#pragma once

#include <caf/meta/type_name.hpp>
#include <cstdint>
#include <string>
#include <vector>

#include "previewd/messages/caf.hpp"
#include "previewd/messages/connection.hpp"
#include "previewd/messages/detector.hpp"
#include "previewd/messages/server.hpp"
#include "previewd/messages/type_ids.hpp"

namespace previewd {

/// Who saw that a server does not answer: decides the log line and the reason, never whether it is
/// removed. `unanswered_websocket`: an upgrade's connection was accepted and ended before the first
/// byte.
enum class observer : uint8_t { kernel, proxy, websocket, unanswered_websocket, probe };
std::string_view to_string(observer value) noexcept;

/// What the kernel says of a server's sockets when it is asked.
struct listener_state {
  bool listening = false;     // at least one of its sockets is in the table
  bool stopped = false;       // every owner is in state T (proc(5))
  bool owners_alive = false;  // while nobody does, its sockets are about to leave the table
  steady_moment noticed = steady_moment::zero();  // when the kernel watch knew it

  template <class Inspector>
  friend typename Inspector::result_type inspect(Inspector& f, listener_state& x) {
    return f(
      caf::meta::type_name("listener_state"), x.listening, x.stopped, x.owners_alive, x.noticed);
  }
};

enum class probe_outcome : uint8_t { alive, refused, timed_out };
std::string_view to_string(probe_outcome value) noexcept;

/// One registered preview server: watches its sockets, its job and its probe, and tells the
/// registry what follows.
using preview_server_actor = caf::typed_actor<
  // The last of its listening sockets has left the kernel's table, and when that was noticed. From
  // the kernel watch.
  accepts<gone_atom, steady_moment>,
  // The leader of its job has ended; the status when it was our child. From the kernel watch.
  accepts<leader_atom, exit_status>,
  // Who was known to hold its sockets does no more; this process does, and its command for display.
  // 0 and nothing: somebody does, and who is not known. From the kernel watch.
  accepts<owner_atom, int32_t, std::string>,
  // Where its sockets were others listen now, as kernel_watch::await_successor says. From the
  // kernel watch.
  accepts<listeners_atom, std::vector<listener_fact>>,
  // The process group that has its terminal now, and the shell's own. From the registry.
  accepts<foreground_atom, int32_t, int32_t>,
  // A connection was refused, or reset before the first byte. At most one a generation and observer
  // from each I/O thread.
  accepts<refused_atom, observer>,
  // Its sockets are these now, some of which it had before, and it is reached there. From the
  // registry.
  accepts<listeners_atom, endpoint, std::vector<listener_id>>,
  // The answer to kernel_watch::confirm; also unasked, when it stops or goes on. From the kernel
  // watch.
  accepts<confirm_atom, listener_state>,
  // Ask the kernel once more. From itself.
  accepts<confirm_atom>,
  // How a probe went, with its latency in microseconds. From its health probe.
  accepts<probe_atom, probe_outcome, uint64_t>,
  // Probe at once. From the registry, for a server that was there before the process.
  accepts<probe_atom>,
  // A tunnel was opened. From the I/O thread that has it.
  accepts<tunnel_atom, connection_id>,
  // Tell the registry how many tunnels there are now. From itself.
  accepts<tunnel_atom>,
  // The time in which a server that is down may come back is over. From itself.
  accepts<tick_atom>,
  // It is no longer registered: close everything and end. From the registry.
  accepts<close_atom>>;

/// One health check after another of one preview server.
using health_probe_actor = caf::typed_actor<
  // Begin attempt `round`. From itself.
  accepts<probe_atom, uint64_t>,
  // Begin one at once, unless one is under way. From its preview_server.
  accepts<probe_atom>,
  // It is reached there from now on. From its preview_server.
  accepts<endpoint>,
  // How attempt `round` went, and how long it took in microseconds. From an I/O thread, or from its
  // own deadline.
  accepts<uint64_t, probe_outcome, uint64_t>>;

}  // namespace previewd
