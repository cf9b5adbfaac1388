#include "previewd/actors/batch_threads.hpp"

#include <sched.h>

namespace previewd::actors {

void batch_threads::thread_started() {
  // Where a sandbox forbids it the threads stay as they are.
  const sched_param none{};
  ::sched_setscheduler(0, SCHED_BATCH, &none);
}

}  // namespace previewd::actors
