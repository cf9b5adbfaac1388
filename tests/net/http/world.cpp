#include "previewd/tests/net/http/world.hpp"

#include <caf/actor_cast.hpp>
#include <caf/actor_system.hpp>
#include <caf/actor_system_config.hpp>
#include <caf/send.hpp>
#include <caf/typed_event_based_actor.hpp>
#include <mutex>

#include "previewd/messages/data_plane.hpp"
#include "previewd/messages/kernel_watch.hpp"
#include "previewd/messages/store.hpp"

namespace previewd::test {

std::string pattern(std::size_t size) {
  std::string result(size, '\0');
  uint32_t state = 1;
  for (char& c : result) {
    state = state * 1664525 + 1013904223;  // Numerical Recipes' generator
    c = static_cast<char>(state >> 24);
  }
  return result;
}

struct told_servers::state {
  template <class Change> void note(Change change) {
    const std::lock_guard lock{mutex};
    change();
  }

  std::mutex mutex;
  std::vector<observer> refusals;
  std::vector<connection_id> tunnels;
  caf::actor_system_config config;
  std::unique_ptr<caf::actor_system> system;
  std::vector<caf::actor> actors;
};

told_servers::told_servers() : state_{std::make_unique<state>()} {
  state_->config.add_message_types<caf::id_block::previewd>();
  state_->config.set("scheduler.max-threads", std::size_t{1});
  state_->system = std::make_unique<caf::actor_system>(state_->config);
}

told_servers::~told_servers() {
  for (const auto& actor : state_->actors)
    caf::anon_send_exit(actor, caf::exit_reason::user_shutdown);
  state_->actors.clear();
  // Waits for the actors, which write to the state.
  state_->system.reset();
}

preview_server_actor told_servers::make() {
  const preview_server_actor actor =
    state_->system->spawn([s = state_.get()](preview_server_actor::pointer) {
      return preview_server_actor::behavior_type{
        [](gone_atom, steady_moment) {},
        [](confirm_atom) {},
        [](probe_atom) {},
        [](leader_atom, const exit_status&) {},
        [](owner_atom, int32_t, const std::string&) {},
        [](listeners_atom, const std::vector<listener_fact>&) {},
        [](foreground_atom, int32_t, int32_t) {},
        [](listeners_atom, const endpoint&, const std::vector<listener_id>&) {},
        [s](refused_atom, observer who) { s->note([&] { s->refusals.push_back(who); }); },
        [](confirm_atom, const listener_state&) {},
        [](probe_atom, probe_outcome, uint64_t) {},
        [s](tunnel_atom, connection_id id) { s->note([&] { s->tunnels.push_back(id); }); },
        [](tunnel_atom) {},
        [](tick_atom) {},
        [](close_atom) {},
      };
    });
  state_->actors.push_back(caf::actor_cast<caf::actor>(actor));
  return actor;
}

std::vector<observer> told_servers::refusals() {
  const std::lock_guard lock{state_->mutex};
  return state_->refusals;
}

std::vector<connection_id> told_servers::tunnels() {
  const std::lock_guard lock{state_->mutex};
  return state_->tunnels;
}

ws_connection_actor told_servers::count_closed(std::atomic<int>& count, int last) {
  return state_->system->spawn([&count, last](ws_connection_actor::pointer self) {
    return ws_connection_actor::behavior_type{[&count, last, self](closed_atom) {
      if (++count == last) self->quit();
    }};
  });
}

}  // namespace previewd::test
