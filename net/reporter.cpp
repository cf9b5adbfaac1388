#include "previewd/net/reporter.hpp"

#include <caf/actor_system.hpp>
#include <chrono>
#include <functional>
#include <limits>
#include <string_view>
#include <utility>

#include "previewd/net/api/event_streams.hpp"
#include "previewd/net/ask.hpp"
#include "previewd/net/attach/attach_server.hpp"
#include "previewd/os/pty.hpp"

namespace previewd::net {

namespace {

// It is none of the I/O threads.
constexpr uint32_t no_index = std::numeric_limits<uint32_t>::max();
constexpr std::chrono::seconds registry_answers_within{2};
constexpr std::chrono::seconds store_answers_within{2};
constexpr std::chrono::seconds store_asked_again_after{10};
constexpr std::string_view no_answer = "does not answer";

}  // namespace

/// One report, as it goes from thread to thread.
struct reporter::gathering {
  io_thread& here;
  std::function<void(caf::expected<api::service_report>)> done;
  api::service_report report;
};

/// Somebody who waits for what the store says.
struct reporter::store_question {
  std::reference_wrapper<io_thread> here;
  api::readiness what;
  std::function<void(api::readiness)> done;
};

reporter::reporter(reporter_parts parts) : parts_{std::move(parts)}, thread_{no_index} {}

reporter::~reporter() = default;

void reporter::start() {
  thread_.start("pv-report");
}

void reporter::stop() {
  thread_.stop();
}

void reporter::report(
  io_thread& here, std::function<void(caf::expected<api::service_report>)> done) {
  visit_thread(std::make_shared<gathering>(gathering{here, std::move(done), {}}), 0);
}

void reporter::visit_thread(std::shared_ptr<gathering> what, std::size_t index) {
  if (index == parts_.threads.size()) return visit_kernel_watch(std::move(what));
  const io_thread_parts& one = parts_.threads[index];
  one.thread->post([this, &one, index, what = std::move(what)]() mutable {
    api::io_report& sum = what->report.io;
    const http::server_counts counts = one.http->counts();
    sum.http.add(one.http->counters());
    sum.connections += counts.connections;
    sum.tunnels += counts.tunnels;
    sum.held_requests += counts.held;
    sum.pooled_upstreams += counts.idle_upstreams;
    sum.objects += counts.objects;
    sum.timers += counts.timers;
    const socketio::client_counts clients = one.socketio->clients();
    sum.polling_clients += clients.polling;
    sum.websocket_clients += clients.websocket;
    sum.stream_readers += one.events->reader_count();
    sum.attached_clients += one.attach->client_count();
    const terminal::terminal_counts terminals = parts_.terminals.counts(*one.thread);
    sum.open_terminals += terminals.open;
    sum.terminal_bytes_in += terminals.bytes_in;
    sum.terminal_bytes_out += terminals.bytes_out;
    visit_thread(std::move(what), index + 1);
  });
}

void reporter::visit_kernel_watch(std::shared_ptr<gathering> what) {
  parts_.kernel.count([this, what = std::move(what)](const kernel::kernel_counts& counts) {
    what->report.kernel = counts;
    visit_process(what);
  });
}

void reporter::visit_process(std::shared_ptr<gathering> what) {
  thread_.post([this, what = std::move(what)] {
    api::service_report& report = what->report;
    report.process = os::read_process_usage();
    for (std::size_t i = 0; i < report.actors.size(); ++i)
      report.actors[i] = parts_.census.count(i);
    report.all_actors = parts_.system.registry().running();
    visit_registry(what);
  });
}

void reporter::visit_registry(const std::shared_ptr<gathering>& what) {
  ask_within<registry_counters>(
    registry_answers_within, parts_.system, what->here, parts_.registry,
    [what](caf::expected<registry_counters> counters) {
      // Taken along, since the thread that asked may be the last to let go of the rest.
      const auto done = std::move(what->done);
      if (!counters) return done(std::move(counters.error()));
      what->report.registry = *counters;
      done(std::move(what->report));
    },
    counters_atom_v);
}

void reporter::readiness(io_thread& here, std::function<void(api::readiness)> done) {
  thread_.post([this, &here, done = std::move(done)]() mutable {
    api::readiness what;
    const auto pty = os::pty::open({});
    what.pty = pty ? "ok" : "cannot be opened: " + pty.error().message();
    what.store = "memory";
    ask_within<registry_counters>(
      registry_answers_within, parts_.system, here, parts_.registry,
      [this, &here, what = std::move(what), done = std::move(done)](
        const caf::expected<registry_counters>& counters) mutable {
        what.registry = !counters ? no_answer : counters->shutting_down ? "is ending" : "ok";
        if (!parts_.store) return done(std::move(what));
        ask_store({here, std::move(what), std::move(done)});
      },
      counters_atom_v);
  });
}

void reporter::ask_store(store_question from) {
  thread_.post([this, from = std::move(from)]() mutable {
    waiting_.push_back(std::move(from));
    if (asking_store_) return;
    if (std::chrono::steady_clock::now() < store_silent_until_)
      return answer_for_store(std::string{no_answer});
    asking_store_ = true;
    ask_within<std::string>(
      store_answers_within, parts_.system, thread_, parts_.store,
      [this](const caf::expected<std::string>& said) {
        asking_store_ = false;
        if (!said) store_silent_until_ = std::chrono::steady_clock::now() + store_asked_again_after;
        answer_for_store(said ? *said : std::string{no_answer});
      },
      status_atom_v);
  });
}

void reporter::answer_for_store(const std::string& said) {
  for (store_question& one : std::exchange(waiting_, {})) {
    one.what.store = said;
    one.here.get().post([what = std::move(one.what), done = std::move(one.done)]() mutable {
      done(std::move(what));
    });
  }
}

}  // namespace previewd::net
