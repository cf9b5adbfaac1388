#include "previewd/net/ask.hpp"

#include <atomic>
#include <caf/actor_system_config.hpp>
#include <caf/event_based_actor.hpp>
#include <caf/send.hpp>
#include <catch2/catch.hpp>
#include <future>
#include <memory>
#include <mutex>
#include <set>
#include <thread>

#include "previewd/messages/all.hpp"
#include "previewd/tests/support/eventually.hpp"

using namespace previewd;

namespace {

/// Where things have ended.
struct ends {
  std::mutex mutex;
  std::multiset<std::thread::id> threads;
};

/// Something that notes where it ends, when the last pointer to it goes.
std::shared_ptr<ends> guest_of(const std::shared_ptr<ends>& host) {
  return {host.get(), [host](ends* to) {
            const std::lock_guard lock{to->mutex};
            to->threads.insert(std::this_thread::get_id());
          }};
}

struct actors {
  actors() {
    config.add_message_types<caf::id_block::previewd>();
    config.set("scheduler.policy", caf::atom("sharing"));
    config.set("scheduler.max-threads", std::size_t{2});
    system = std::make_unique<caf::actor_system>(config);
  }
  caf::actor_system_config config;
  std::unique_ptr<caf::actor_system> system;
};

}  // namespace

TEST_CASE("what a question holds ends on the thread that is told the answer", "[net][ask][I3]") {
  constexpr std::size_t questions = 300;
  const bool answers = GENERATE(true, false);
  actors world;
  net::io_thread thread{0};
  thread.start("ask");
  std::promise<std::thread::id> told;
  thread.post([&] { told.set_value(std::this_thread::get_id()); });
  const std::thread::id home = told.get_future().get();
  const auto host = std::make_shared<ends>();
  std::atomic<std::size_t> right{0};
  const caf::actor whom =
    world.system->spawn([answers](caf::event_based_actor* self) -> caf::behavior {
      return {[=](uint64_t number) -> caf::result<uint64_t> {
        if (!answers) {
          self->quit();
          return make_error(errc::shutting_down, "It ends.");
        }
        return number + 1;
      }};
    });

  for (uint64_t i = 0; i < questions; ++i) {
    net::ask<uint64_t>(
      *world.system, thread, whom,
      [held = guest_of(host), i, answers, &right](const caf::expected<uint64_t>& answer) {
        if (answers ? answer && *answer == i + 1 : !answer) ++right;
      },
      i);
  }

  CHECK(test::eventually([&] {
    const std::lock_guard lock{host->mutex};
    return host->threads.size() == questions;
  }));
  CHECK(host->threads.count(home) == questions);
  CHECK(right == questions);
  caf::anon_send_exit(whom, caf::exit_reason::user_shutdown);
  world.system.reset();
  thread.stop();
}
