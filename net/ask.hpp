#pragma once

#include <caf/actor_system.hpp>
#include <caf/error.hpp>
#include <caf/event_based_actor.hpp>
#include <chrono>
#include <utility>

#include "previewd/net/io_thread.hpp"

namespace previewd::net {

/// How long an actor may take to answer one of the service's own questions. Far more than it ever
/// needs: it bounds what a fault can hold.
constexpr std::chrono::seconds ask_timeout{10};

/// Asks `whom` for an `Answer` and runs `done(caf::expected<Answer>)` on `thread`. Any thread.
/// `done` always runs once, unless the I/O thread has stopped; after `timeout` with
/// `sec::request_timeout`.
template <class Answer, class Handle, class Done, class... Message>
void ask_within(std::chrono::milliseconds timeout, caf::actor_system& system, io_thread& thread,
  const Handle& whom, Done done, Message... message) {
  system.spawn([&thread, whom, timeout, done = std::move(done), message...](
                 caf::event_based_actor* self) mutable {
    self->request(caf::actor_cast<caf::actor>(whom), caf::duration{timeout}, std::move(message)...)
      .then(
        [&thread, done](Answer& answer) {
          thread.post([done, answer = std::move(answer)]() mutable {
            done(caf::expected<Answer>{std::move(answer)});
          });
        },
        [&thread, done](caf::error& error) {
          thread.post([done, error = std::move(error)]() mutable {
            done(caf::expected<Answer>{std::move(error)});
          });
        });
  });
}

template <class Answer, class Handle, class Done, class... Message>
void ask(
  caf::actor_system& system, io_thread& thread, const Handle& whom, Done done, Message... message) {
  ask_within<Answer>(ask_timeout, system, thread, whom, std::move(done), std::move(message)...);
}

}  // namespace previewd::net
