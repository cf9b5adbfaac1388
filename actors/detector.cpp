#include "previewd/actors/detector.hpp"

#include <algorithm>
#include <caf/actor_cast.hpp>
#include <caf/typed_event_based_actor.hpp>
#include <map>
#include <utility>

#include "previewd/actors/detection/listeners.hpp"
#include "previewd/actors/detection/server_kind.hpp"
#include "previewd/messages/data_plane.hpp"
#include "previewd/messages/error.hpp"
#include "previewd/support/log.hpp"

namespace previewd::actors {

namespace {

// What a terminal may print is without bound; what is remembered of it is not.
constexpr std::size_t most_printed_ports = 64;
constexpr std::size_t most_known_ports = 64;
constexpr std::chrono::seconds registry_answers_within{10};

}  // namespace

/// The decisions of one detector; the behaviour below only hands messages to it.
class terminal_watcher {
public:
  using self_pointer = detector_actor::stateful_pointer<detector_state>;

  terminal_watcher(self_pointer self, std::string terminal_id, workspace_key key,
    detection_settings settings, registry_actor registry, actor_ports ports)
      : self_{self},
        terminal_id_{std::move(terminal_id)},
        key_{std::move(key)},
        settings_{settings},
        registry_{std::move(registry)},
        ports_{ports},
        book_{settings.settle} {}

  void output(const std::vector<url_hint>& hints) {
    for (const url_hint& hint : hints) {
      if (printed_.size() >= most_printed_ports && !printed_.contains(hint.port))
        std::erase_if(
          printed_, [this](const auto& one) { return book_.find(one.first) == nullptr; });
      if (printed_.size() < most_printed_ports || printed_.contains(hint.port))
        printed_[hint.port] = hint.scheme;
      // The address may be printed after the first look: the rank of a registered server follows.
      if (auto* known = book_.find(hint.port); known != nullptr && known->registered)
        update(*known);
      book_.hurry(hint.port, now());
    }
    look();
    ports_.kernel->scan(terminal_id_);
  }

  void foreground_changed(int32_t group) {
    foreground_ = group;
    ports_.kernel->scan(terminal_id_);
  }

  void listeners(const std::vector<listener_fact>& facts) {
    for (const uint16_t port : book_.update(facts, now())) {
      // It is the same server, with other sockets.
      listener_book::candidate& known = *book_.find(port);
      known.registered = caf::none;
      update(known);
    }
    look();
  }

  void look() {
    for (const uint16_t port : book_.due(now())) {
      listener_book::candidate& known = *book_.find(port);
      // What has restarted is its successor before it answers: a first answer may take longer than
      // others wait for one.
      if (!known.registered && known.seen.outcome == identity::verdict::refused && before(known)) {
        expect_the_same(known);
        update(known);
      }
      endpoint target = upstream_of(known);
      // By what was printed, if it does not know better: plain HTTP is an error to a TLS server,
      // which may write so into its log.
      const auto printed = printed_.find(port);
      if (known.seen.outcome == identity::verdict::refused && printed != printed_.end())
        target.scheme = printed->second;
      ports_.io->identify(target, key_, settings_.timeout, known.look, me());
    }
    if (const auto next = book_.next_due()) {
      // One timer at a time: an earlier one looks at the book again and sets the next.
      if (timer_ > now() && timer_ <= *next) return;
      timer_ = *next;
      self_->delayed_send(
        self_, std::max<caf::timespan>(*next - now(), std::chrono::milliseconds{1}), scan_atom_v);
    }
  }

  void identified(uint64_t token, const identity& what) {
    listener_book::candidate* known = book_.find_look(token);
    if (known == nullptr) return;  // its sockets are gone, or it was looked at anew
    switch (what.outcome) {
      case identity::verdict::refused:
        // A port check closes its socket again at once; a real server that refuses is busy, and
        // looked at again.
        if (++known->refusals < settings_.refusals) {
          known->next_look = now() + settings_.retry;
        } else {
          known->ignored = true;
        }
        break;
      case identity::verdict::not_http:
        known->ignored = true;
        break;
      case identity::verdict::silent:
        // That it is slow now and then changes nothing in what it is.
        if (known->answered) break;
        // A first compilation may outlast the look, which waits as long as the time-out; then
        // another one waits on.
        known->next_look = now() + settings_.timeout + settings_.retry;
        known->seen = what;
        expect_the_same(*known);
        update(*known);
        break;
      case identity::verdict::http:
        known->refusals = 0;
        known->next_look = listener_book::time_point::max();
        known->seen = what;
        if (what.settled) {
          judge(*known);
          remember(*known);
        } else {
          known->answered = !says_not_ready(what.status);
          expect_the_same(*known);
        }
        update(*known);
        break;
      case identity::verdict::closed:
        // As what forwards a port does while nobody listens behind it; a database does so always.
        if (const caf::timespan age = now() - known->first_seen; age < settings_.timeout) {
          known->next_look = now() + std::max(settings_.retry, age);
        } else {
          known->ignored = true;
        }
        break;
    }
    look();
  }

private:
  std::chrono::steady_clock::time_point now() const { return self_->clock().now(); }
  detector_actor me() const { return caf::actor_cast<detector_actor>(self_); }

  static endpoint upstream_of(const listener_book::candidate& known) {
    const listener_fact& first = known.sockets.front();
    return {connect_address(first.address), first.id.port, known.seen.scheme};
  }

  server_description describe(const listener_book::candidate& known) const {
    const listener_fact& first = known.sockets.front();
    server_description result;
    result.type = kind_of(known.seen.type, first.command);
    result.prefix = known.seen.prefix;
    result.prefix_known = known.prefix_known;
    result.answers = known.answered;
    result.serves_page = known.answered && known.seen.html && known.seen.status < 400;
    result.key = key_;
    result.terminal_id = terminal_id_;
    result.upstream = upstream_of(known);
    result.pid = first.owners.empty() ? 0 : first.owners.front();
    result.job_leader = first.job_leader;
    result.command = first.command;
    for (const listener_fact& socket : known.sockets) result.listeners.push_back(socket.id);
    result.printed = printed_.contains(first.id.port);
    result.foreground = first.job_leader != 0 && first.job_leader == foreground_;
    return result;
  }

  static bool says_not_ready(uint16_t status) noexcept { return status >= 502 && status <= 504; }

  /// Who is not ready yet is asked again soon; after the time-out it counts as one that always
  /// answers so. Any other error is the application's own, and its page: that is looked at again
  /// less and less often, for each look may leave a trace in the terminal.
  void judge(listener_book::candidate& known) const {
    const caf::timespan age = now() - known.first_seen;
    const bool may_change = age < settings_.timeout;
    const uint16_t status = known.seen.status;
    known.answered = known.prefix_known = !says_not_ready(status) || !may_change;
    if (!known.answered) {
      known.next_look =
        now() + (age < settings_.eager ? settings_.eager_retry : settings_.late_retry);
    } else if (status >= 500 && may_change) {
      known.next_look = now() + std::max(age, settings_.late_retry);
    }
  }

  /// What the server of this port and job was before, as far as that is known.
  const identity* before(const listener_book::candidate& known) const {
    const listener_fact& first = known.sockets.front();
    const auto found = known_.find(first.id.port);
    const bool same = found != known_.end() && found->second.job_leader == first.job_leader;
    return same ? &found->second.seen : nullptr;
  }

  /// What has restarted is taken for what it was until it has answered: requests may go to it
  /// before that.
  void expect_the_same(listener_book::candidate& known) const {
    const identity* const was = before(known);
    known.prefix_known = was != nullptr;
    if (was == nullptr) return;
    known.seen.prefix = was->prefix;
    if (known.seen.outcome == identity::verdict::http) return;
    known.seen.type = was->type;
    known.seen.scheme = was->scheme;
  }

  void remember(const listener_book::candidate& known) {
    const listener_fact& first = known.sockets.front();
    if (first.job_leader == 0 || !known.answered) return;
    if (known_.size() == most_known_ports && !known_.contains(first.id.port)) known_.clear();
    known_[first.id.port] = {first.job_leader, known.seen};
  }

  /// Tells the registry what is known now: registers, or corrects what is registered.
  void update(listener_book::candidate& known) {
    if (known.registered) {
      self_->send(registry_, identity_atom_v, *known.registered, describe(known));
      return;
    }
    if (known.adding) return;  // its answer brings the newest
    known.adding = true;
    const uint16_t port = known.sockets.front().id.port;
    const server_description sent = describe(known);
    self_->request(registry_, caf::duration{registry_answers_within}, add_atom_v, sent)
      .then(
        [this, port, look = known.look, sent](const server_ref& ref) {
          listener_book::candidate* still = book_.find(port);
          if (still == nullptr || !still->adding) return;
          still->adding = false;
          still->registered = ref;
          const server_description now_known = describe(*still);
          if (now_known.listeners != sent.listeners) still->registered = caf::none;
          if (still->look != look || now_known != sent) update(*still);
        },
        [this, port](const caf::error& why) {
          listener_book::candidate* still = book_.find(port);
          if (still == nullptr || !still->adding) return;
          still->adding = false;
          // Only one process can have it, so whoever had it has ended and that is not known yet.
          if (code_of(why) == errc::port_taken && now() - still->first_seen < settings_.timeout) {
            still->answered = false;
            still->next_look = now() + settings_.retry;
            return look();
          }
          still->ignored = true;
          log::info("server_not_registered", "A dev server that was found could not be registered",
            {{"key", server_key(key_)}, {"port", port}, {"code", to_code(code_of(why))}});
        });
  }

  self_pointer self_;
  std::string terminal_id_;
  workspace_key key_;
  detection_settings settings_;
  registry_actor registry_;
  actor_ports ports_;
  listener_book book_;
  std::map<uint16_t, scheme> printed_;

  /// What a port's server has answered, and the job that it was part of.
  struct answer {
    int32_t job_leader = 0;
    identity seen;
  };
  std::map<uint16_t, answer> known_;
  int32_t foreground_ = 0;
  std::chrono::steady_clock::time_point timer_;
};

detector_actor::behavior_type detector(detector_actor::stateful_pointer<detector_state> self,
  std::string terminal_id, workspace_key key, detection_settings settings, registry_actor registry,
  actor_ports ports) {
  hold_ports(self, ports);
  const auto watcher = std::make_shared<terminal_watcher>(
    self, std::move(terminal_id), std::move(key), settings, std::move(registry), ports);
  self->state.watcher = watcher;
  return {
    [=](output_atom, const std::vector<url_hint>& hints) { watcher->output(hints); },
    [=](foreground_atom, int32_t group, int32_t) { watcher->foreground_changed(group); },
    [=](listeners_atom, const std::vector<listener_fact>& facts) { watcher->listeners(facts); },
    [=](identity_atom, uint64_t token, const identity& what) { watcher->identified(token, what); },
    [=](scan_atom) { watcher->look(); },
  };
}

}  // namespace previewd::actors
