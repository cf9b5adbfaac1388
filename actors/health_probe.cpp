#include "previewd/actors/health_probe.hpp"

#include <algorithm>
#include <caf/actor_cast.hpp>
#include <caf/typed_event_based_actor.hpp>

#include "previewd/messages/data_plane.hpp"
#include "previewd/messages/monitor.hpp"

namespace previewd::actors {

namespace {

constexpr uint32_t longest_pause = 4;  // in intervals

/// What has not answered for a while is asked less often.
caf::timespan pause_after(uint32_t timeouts, const probe_settings& settings) {
  if (timeouts <= settings.failures) return settings.interval;
  const uint32_t beyond = std::min(timeouts - settings.failures, longest_pause);
  return settings.interval * std::min(1U << beyond, longest_pause);
}

caf::timespan spread(caf::timespan interval, uint64_t seed, uint64_t round) {
  // A multiplicative hash is chance enough to keep probes apart, and the same in every run.
  const uint64_t mixed = (seed * 0x9e3779b97f4a7c15ULL) ^ (round * 0xbf58476d1ce4e5b9ULL);
  const auto tenth = interval.count() / 10;
  return interval +
         caf::timespan{
           tenth == 0 ? 0 : static_cast<int64_t>((mixed >> 16) % static_cast<uint64_t>(tenth))};
}

}  // namespace

health_probe_actor::behavior_type
health_probe(health_probe_actor::stateful_pointer<health_probe_state> self, endpoint target,
  probe_settings settings, uint64_t seed, preview_server_actor owner, actor_ports ports) {
  hold_ports(self, ports);
  monitor_while_alive(self, owner);
  self->set_down_handler([self](caf::down_msg&) { self->quit(); });
  self->delayed_send(self, spread(settings.interval, seed, 0), probe_atom_v, self->state.round);
  self->state.target = std::move(target);
  const auto attempt = [=] {
    const uint64_t round = self->state.round;
    self->state.under_way = true;
    ports.io->probe(
      self->state.target, settings.timeout, round, caf::actor_cast<health_probe_actor>(self));
    // A deadline of its own: an answer that gets lost is a time-out, not a stalled probe.
    self->delayed_send(self, settings.timeout * 2, round, probe_outcome::timed_out, uint64_t{0});
  };
  return {
    [=](probe_atom, uint64_t round) {
      if (round == self->state.round && !self->state.under_way) attempt();
    },
    [=](probe_atom) {
      if (self->state.under_way) return;
      ++self->state.round;  // the one that was due later is not needed any more
      attempt();
    },
    [=](endpoint& now) { self->state.target = std::move(now); },
    [=](uint64_t round, probe_outcome outcome, uint64_t latency_us) {
      if (round != self->state.round)
        return;  // answer and deadline both arrive; the later one is stale
      ++self->state.round;
      self->state.under_way = false;
      self->send(owner, probe_atom_v, outcome, latency_us);
      uint32_t& timeouts = self->state.timeouts;
      timeouts = outcome == probe_outcome::timed_out ? timeouts + 1 : 0;
      self->delayed_send(self, spread(pause_after(timeouts, settings), seed, round), probe_atom_v,
        self->state.round);
    },
  };
}

}  // namespace previewd::actors
