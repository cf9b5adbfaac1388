#pragma once

#include <caf/actor_system.hpp>
#include <caf/actor_system_config.hpp>
#include <caf/event_based_actor.hpp>
#include <caf/scheduler/test_coordinator.hpp>
#include <caf/scoped_actor.hpp>
#include <caf/send.hpp>
#include <chrono>
#include <memory>
#include <random>
#include <utility>

#include "previewd/messages/store.hpp"
#include "previewd/messages/type_ids.hpp"

namespace previewd::test {

/// An actor system without threads: the test says who runs next, and what time it is.
class deterministic_system {
public:
  deterministic_system() {
    config_.add_message_types<caf::id_block::previewd>();
    config_.set("scheduler.policy", caf::atom("testing"));
    system_ = std::make_unique<caf::actor_system>(config_);
    coordinator_ = &dynamic_cast<caf::scheduler::test_coordinator&>(system_->scheduler());
  }

  caf::actor_system& system() { return *system_; }
  caf::scheduler::test_coordinator& coordinator() { return *coordinator_; }
  std::size_t running_actors() const { return system_->registry().running(); }

  /// Runs everybody until nobody has anything to do.
  void run() {
    while (coordinator_->try_run_once()) {
    }
  }

  /// Lets time pass in steps, so that timers which set the next one fire as often as they would.
  void advance(std::chrono::milliseconds time,
    std::chrono::milliseconds step = std::chrono::milliseconds{10}) {
    for (auto passed = std::chrono::milliseconds{0}; passed < time; passed += step) {
      coordinator_->advance_time(step);
      run();
    }
  }

  /// Runs one actor with work to do, chosen by chance. The order of messages within a mailbox
  /// stays.
  bool run_one_of_them(std::mt19937& random) {
    auto& jobs = coordinator_->jobs;
    if (jobs.empty()) return false;
    std::swap(jobs.front(), jobs[random() % jobs.size()]);
    return coordinator_->try_run_once();
  }

  /// Asks an actor, lets everybody run, and returns the answer.
  template <class Answer, class Handle, class... Message>
  caf::expected<Answer> ask(const Handle& whom, Message... message) {
    caf::scoped_actor self{*system_};
    auto request =
      self->request(caf::actor_cast<caf::actor>(whom), caf::infinite, std::move(message)...);
    run();
    caf::expected<Answer> result{caf::error{}};
    request.receive([&](Answer& answer) { result = std::move(answer); },
      [&](caf::error& why) { result = std::move(why); });
    return result;
  }

private:
  caf::actor_system_config config_;
  std::unique_ptr<caf::actor_system> system_;
  caf::scheduler::test_coordinator* coordinator_ = nullptr;
};

}  // namespace previewd::test
