#pragma once

#include <caf/actor_system.hpp>
#include <caf/error.hpp>
#include <caf/event_based_actor.hpp>
#include <chrono>
#include <memory>
#include <utility>

#include "previewd/messages/error.hpp"
#include "previewd/messages/monitor.hpp"
#include "previewd/net/io_thread.hpp"

namespace previewd::net {

/// How long an actor may take to answer one of the service's own questions. Far more than it ever
/// needs: it bounds what a fault can hold.
constexpr std::chrono::seconds ask_timeout{10};

/// Asks `whom` for an `Answer` and runs `done(caf::expected<Answer>)` on `thread`. Any thread.
/// `done` always runs once, unless the I/O thread has stopped; after `timeout` with
/// `sec::request_timeout`. It ends on `thread` too: what it holds belongs there.
template <class Answer, class Handle, class Done, class... Message>
void ask_within(std::chrono::milliseconds timeout, caf::actor_system& system, io_thread& thread,
  const Handle& whom, Done done, Message... message) {
  // Handed over, never copied: the actor's end must not be the end of a request that the thread is
  // at work on.
  const auto slot =
    std::make_shared<std::unique_ptr<Done>>(std::make_unique<Done>(std::move(done)));
  system.spawn([&thread, whom, timeout, slot, message...](caf::event_based_actor* self) mutable {
    const auto answer = [&thread, slot](caf::expected<Answer> what) {
      if (*slot == nullptr) return;
      thread.post(
        [done = std::move(*slot), what = std::move(what)]() mutable { (*done)(std::move(what)); });
    };
    // Whoever ends takes the answers that it owes along.
    monitor_while_alive(self, whom);
    self->set_down_handler([self, answer](caf::down_msg&) {
      answer(make_error(errc::shutting_down, "The service is ending."));
      self->quit();
    });
    self->request(caf::actor_cast<caf::actor>(whom), caf::duration{timeout}, std::move(message)...)
      .then([answer](Answer& what) { answer(std::move(what)); },
        [answer](caf::error& why) { answer(std::move(why)); });
  });
}

template <class Answer, class Handle, class Done, class... Message>
void ask(
  caf::actor_system& system, io_thread& thread, const Handle& whom, Done done, Message... message) {
  ask_within<Answer>(ask_timeout, system, thread, whom, std::move(done), std::move(message)...);
}

}  // namespace previewd::net
