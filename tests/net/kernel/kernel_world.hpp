#pragma once

#include <caf/actor_cast.hpp>
#include <caf/actor_system.hpp>
#include <caf/actor_system_config.hpp>
#include <caf/event_based_actor.hpp>
#include <caf/send.hpp>
#include <caf/typed_event_based_actor.hpp>
#include <condition_variable>
#include <cstddef>
#include <deque>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "previewd/messages/data_plane.hpp"
#include "previewd/messages/store.hpp"
#include "previewd/net/kernel/kernel_watch.hpp"
#include "previewd/os/child_reaper.hpp"
#include "previewd/tests/support/eventually.hpp"
#include "previewd/tests/support/test_process.hpp"

namespace previewd::test {

/// What the kernel watch said, in order, to one of the actors below.
template <class Message> class inbox {
public:
  void put(Message message) {
    const std::lock_guard lock{mutex_};
    messages_.push_back(std::move(message));
    arrived_.notify_all();
  }

  /// Takes the first message for which `is_right` holds and drops those before it; nothing when
  /// none comes in time.
  template <class Predicate> std::optional<Message> await(Predicate is_right) {
    std::unique_lock lock{mutex_};
    const auto end = std::chrono::steady_clock::now() + deadline;
    for (;;) {
      while (!messages_.empty()) {
        Message message = std::move(messages_.front());
        messages_.pop_front();
        if (is_right(message)) return message;
      }
      if (arrived_.wait_until(lock, end) == std::cv_status::timeout) return std::nullopt;
    }
  }
  std::optional<Message> await() {
    return await([](const Message&) { return true; });
  }

  /// What has come and was not taken.
  std::size_t size() const {
    const std::lock_guard lock{mutex_};
    return messages_.size();
  }

private:
  mutable std::mutex mutex_;
  std::condition_variable arrived_;
  std::deque<Message> messages_;
};

struct terminal_said {
  enum class kind { exited, ended } what = kind::exited;
  exit_status status;
};

struct server_said {
  enum class kind { gone, leader, confirm } what = kind::gone;
  exit_status status;
  listener_state state;
};

/// The process that holds a server's sockets now, and its command; or the leader of the job that
/// succeeds it, and the address.
struct owner_said {
  int32_t pid = 0;
  std::string command;
};

using terminal_inbox = inbox<terminal_said>;
using detector_inbox = inbox<std::vector<listener_fact>>;
using server_inbox = inbox<server_said>;
using owner_inbox = inbox<owner_said>;

inline terminal_actor::behavior_type
recording_terminal(terminal_actor::pointer self, std::shared_ptr<terminal_inbox> to) {
  return {
    [](opened_atom, int32_t, const std::string&) {},
    [](failed_atom, const caf::error&) {},
    [to](exited_atom, const exit_status& status) {
      to->put({terminal_said::kind::exited, status});
    },
    [](drained_atom) {},
    [](foreground_atom, int32_t) {},
    [](detached_atom) {},
    [self](close_atom) { self->quit(); },
    [to](ended_atom) {
      to->put({terminal_said::kind::ended, {}});
    },
  };
}

inline detector_actor::behavior_type
recording_detector(detector_actor::pointer, std::shared_ptr<detector_inbox> to) {
  return {
    [](output_atom, const std::vector<url_hint>&) {},
    [](foreground_atom, int32_t, int32_t) {},
    [to](listeners_atom, const std::vector<listener_fact>& facts) { to->put(facts); },
    [](identity_atom, uint64_t, const identity&) {},
    [](scan_atom) {},
  };
}

inline preview_server_actor::behavior_type recording_server(preview_server_actor::pointer self,
  std::shared_ptr<server_inbox> to, std::shared_ptr<owner_inbox> owners) {
  return {
    [to](gone_atom, steady_moment) {
      to->put({server_said::kind::gone, {}, {}});
    },
    [to](leader_atom, const exit_status& status) {
      to->put({server_said::kind::leader, status, {}});
    },
    [owners](owner_atom, int32_t pid, const std::string& command) {
      owners->put({pid, command});
    },
    [owners](listeners_atom, const std::vector<listener_fact>& facts) {
      owners->put({facts.front().job_leader, facts.front().address});
    },
    [](foreground_atom, int32_t, int32_t) {},
    [](listeners_atom, const endpoint&, const std::vector<listener_id>&) {},
    [](refused_atom, observer) {},
    [to](confirm_atom, const listener_state& state) {
      to->put({server_said::kind::confirm, {}, state});
    },
    [](confirm_atom) {},
    [](probe_atom) {},
    [](probe_atom, probe_outcome, uint64_t) {},
    [](tunnel_atom, connection_id) {},
    [](tunnel_atom) {},
    [](tick_atom) {},
    [self](close_atom) { self->quit(); },
  };
}

/// A real actor system, and a kernel watch that speaks to recording actors in it.
class kernel_world {
public:
  explicit kernel_world(
    net::kernel::kernel_watch_settings settings = {}, os::reap_mode mode = os::reap_mode::own)
      : reaper{mode} {
    config_.set("scheduler.policy", caf::atom("sharing"));
    config_.set("scheduler.max-threads", std::size_t{2});
    config_.add_message_types<caf::id_block::previewd>();
    system_ = std::make_unique<caf::actor_system>(config_);
    terminal = system_->spawn(recording_terminal, terminal_in);
    detector = system_->spawn(recording_detector, detector_in);
    server = system_->spawn(recording_server, server_in, owner_in);
    kernel = std::make_unique<net::kernel::kernel_watcher>(reaper, settings);
    kernel->start();
  }

  ~kernel_world() {
    kernel.reset();
    for (const auto& actor : {caf::actor_cast<caf::actor>(terminal),
           caf::actor_cast<caf::actor>(detector), caf::actor_cast<caf::actor>(server)})
      caf::anon_send_exit(actor, caf::exit_reason::user_shutdown);
    terminal = nullptr;
    detector = nullptr;
    server = nullptr;
    system_.reset();
  }

  /// Follows a terminal under `id`.
  void track(const std::string& id, pid_t pid) { kernel->track(id, pid, terminal, detector); }

  /// Waits until a port of the tracked terminal is listed.
  std::optional<std::vector<listener_fact>> await_port(uint16_t port, std::size_t sockets = 1) {
    return detector_in->await([&](const std::vector<listener_fact>& facts) {
      std::size_t n = 0;
      for (const listener_fact& fact : facts) n += fact.id.port == port ? 1 : 0;
      return n == sockets;
    });
  }

  /// Watches what is listed as a server.
  void watch(const server_ref& ref, const std::vector<listener_fact>& facts) {
    std::vector<listener_id> ids;
    for (const listener_fact& fact : facts) ids.push_back(fact.id);
    kernel->watch(ref, ids, facts.front().owners, facts.front().job_leader, server);
  }

  /// What listens at an endpoint; nothing at the deadline.
  found_listeners find(const endpoint& at) {
    const auto found = std::make_shared<inbox<found_listeners>>();
    kernel->find(at, [found](found_listeners what) { found->put(std::move(what)); });
    return found->await().value_or(found_listeners{});
  }

  std::optional<listener_state> confirm(const server_ref& ref) {
    kernel->confirm(ref);
    const auto said = server_in->await(
      [](const server_said& what) { return what.what == server_said::kind::confirm; });
    if (!said) return std::nullopt;
    return said->state;
  }

  std::shared_ptr<terminal_inbox> terminal_in = std::make_shared<terminal_inbox>();
  std::shared_ptr<detector_inbox> detector_in = std::make_shared<detector_inbox>();
  std::shared_ptr<server_inbox> server_in = std::make_shared<server_inbox>();
  std::shared_ptr<owner_inbox> owner_in = std::make_shared<owner_inbox>();
  os::child_reaper reaper;
  terminal_actor terminal;
  detector_actor detector;
  preview_server_actor server;
  std::unique_ptr<net::kernel::kernel_watcher> kernel;

private:
  caf::actor_system_config config_;
  std::unique_ptr<caf::actor_system> system_;
};

}  // namespace previewd::test
