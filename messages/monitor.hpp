#pragma once

#include <caf/actor_addr.hpp>
#include <caf/actor_cast.hpp>
#include <caf/actor_control_block.hpp>
#include <caf/default_attachable.hpp>

namespace previewd {

/// Monitors `whom` until `self` ends. CAF 0.17 leaves a monitor with the monitored actor for as
/// long as that one lives, and with it the memory of whoever monitors: so whatever comes and goes
/// while the actor that it looks at stays has to take its monitor along. Within `self` only.
template <class Self, class Handle> void monitor_while_alive(Self* self, const Handle& whom) {
  self->monitor(whom);
  self->attach_functor([observer = self->address(),
                         observed = caf::actor_cast<caf::actor_addr>(whom)] {
    const auto there = caf::actor_cast<caf::strong_actor_ptr>(observed);
    if (!there) return;
    const caf::default_attachable::observe_token token{observer, caf::default_attachable::monitor};
    there->get()->detach(token);
  });
}

}  // namespace previewd
