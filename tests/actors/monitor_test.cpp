#include "previewd/messages/monitor.hpp"

#include <caf/actor_system.hpp>
#include <caf/actor_system_config.hpp>
#include <caf/event_based_actor.hpp>
#include <caf/scoped_actor.hpp>
#include <caf/send.hpp>
#include <catch2/catch.hpp>
#include <vector>

using namespace previewd;

namespace {

std::size_t monitors_of(const caf::actor& observed, const caf::actor_addr& observer) {
  const caf::default_attachable::observe_token token{observer, caf::default_attachable::monitor};
  return caf::actor_cast<caf::strong_actor_ptr>(observed)->get()->detach(token);
}

}  // namespace

TEST_CASE("who has ended leaves no monitor with whom it looked at", "[actors][I3]") {
  caf::actor_system_config config;
  config.set("scheduler.max-threads", std::size_t{1});
  caf::actor_system system{config};
  const caf::actor observed =
    system.spawn([](caf::event_based_actor*) -> caf::behavior { return {[](int32_t) {}}; });
  const auto observer = [&](caf::event_based_actor* self) -> caf::behavior {
    monitor_while_alive(self, observed);
    return {[self](int32_t) { self->quit(); }};
  };

  std::vector<caf::actor_addr> ended;
  {
    caf::scoped_actor self{system};
    for (int i = 0; i < 100; ++i) {
      const caf::actor made = self->spawn(observer);
      ended.push_back(made.address());
      caf::anon_send(made, int32_t{1});
      self->wait_for(made);
    }
    // The only thread comes to it when it has done with all before it.
    const caf::actor last = self->spawn(observer);
    caf::anon_send(last, int32_t{1});
    self->wait_for(last);
  }

  for (const caf::actor_addr& each : ended) CHECK(monitors_of(observed, each) == 0);
  caf::anon_send_exit(observed, caf::exit_reason::user_shutdown);
}

TEST_CASE("who lives hears of the end of whom it looks at", "[actors]") {
  caf::actor_system_config config;
  config.set("scheduler.max-threads", std::size_t{1});
  caf::actor_system system{config};
  caf::scoped_actor self{system};
  const caf::actor observed =
    system.spawn([](caf::event_based_actor*) -> caf::behavior { return {[](int32_t) {}}; });
  const caf::actor observer = system.spawn([&](caf::event_based_actor* me) -> caf::behavior {
    monitor_while_alive(me, observed);
    me->set_down_handler([me](caf::down_msg&) { me->quit(); });
    return {[](int32_t) {}};
  });

  caf::anon_send_exit(observed, caf::exit_reason::kill);

  self->wait_for(observer);
  SUCCEED();
}
