#pragma once

#include <caf/expected.hpp>
#include <caf/fwd.hpp>
#include <chrono>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "previewd/messages/registry.hpp"
#include "previewd/messages/store.hpp"
#include "previewd/net/api/report.hpp"
#include "previewd/net/data_plane.hpp"
#include "previewd/net/io_thread.hpp"

namespace previewd::net {

/// Where a report comes from. All of it outlives the reporter's thread.
struct reporter_parts {
  caf::actor_system& system;
  registry_actor registry;
  const actor_census& census;
  std::vector<io_thread_parts> threads;
  terminal::terminal_hub& terminals;
  kernel::kernel_watcher& kernel;
  store_actor store;  // null: what is registered is not kept
};

/// Gathers what the threads and actors have counted, one after the other, each on its own thread:
/// whoever counts needs neither a lock nor an atomic. Has a thread of its own ("pv-report") for
/// what takes a while: a look at all descriptors, opening a PTY.
class reporter {
public:
  explicit reporter(reporter_parts parts);
  ~reporter();

  reporter(const reporter&) = delete;
  reporter& operator=(const reporter&) = delete;

  /// Starts the thread. Once.
  void start();

  /// Ends it. What is asked afterwards is not answered. Idempotent.
  void stop();

  /// Calls `done` on `here` with the report, or with an error when the registry does not answer
  /// within 2 s. Any thread.
  void report(io_thread& here, std::function<void(caf::expected<api::service_report>)> done);

  /// Calls `done` on `here`, within some 2 s, or 4 s while a disk is stuck. Any thread.
  void readiness(io_thread& here, std::function<void(api::readiness)> done);

private:
  struct gathering;
  void visit_thread(std::shared_ptr<gathering> what, std::size_t index);
  void visit_kernel_watch(std::shared_ptr<gathering> what);
  void visit_process(std::shared_ptr<gathering> what);
  void visit_registry(const std::shared_ptr<gathering>& what);
  struct store_question;
  void ask_store(store_question from);
  void answer_for_store(const std::string& said);

  reporter_parts parts_;
  io_thread thread_;
  // Of its thread. The store may be stuck: it is asked one thing at a time, for all who wait, and
  // not at once again when it has not answered.
  std::vector<store_question> waiting_;
  bool asking_store_ = false;
  std::chrono::steady_clock::time_point store_silent_until_;
};

}  // namespace previewd::net
