#pragma once

#include <caf/thread_hook.hpp>

namespace previewd::actors {

/// Gives the threads of an actor system the scheduling policy SCHED_BATCH (sched(7)): a message
/// that wakes one of them does not interrupt the I/O thread that has sent it, which goes on with
/// what it has; on a processor that is idle it runs at once all the same. Where many WebSockets
/// come and go on few processors it takes less than half of the context switches. For
/// `caf::actor_system_config::add_thread_hook`; an actor system works without it too.
class batch_threads : public caf::thread_hook {
public:
  void init(caf::actor_system&) override {}
  void thread_started() override;
  void thread_terminates() override {}
};

}  // namespace previewd::actors
