#include <caf/event_based_actor.hpp>
#include <future>

#include "previewd/tests/system/live_service.hpp"

using namespace previewd;
using namespace previewd::test;
using namespace std::chrono_literals;

TEST_CASE("a service whose actors get no thread does not answer itself until they do",
  "[system][watchdog][I4]") {
  live_service live;
  REQUIRE(live.get().answers(deadline));
  std::promise<void> over;
  const std::shared_future<void> wait_until = over.get_future().share();
  std::promise<void> both_wait;
  std::atomic<int> waiting{0};

  // Both of the threads that run actors.
  for (int i = 0; i < 2; ++i)
    live.system().spawn([&, wait_until](caf::event_based_actor*) {
      if (++waiting == 2) both_wait.set_value();
      wait_until.wait();
    });
  REQUIRE(both_wait.get_future().wait_for(deadline) == std::future_status::ready);
  const bool while_they_wait = live.get().answers(50ms);
  over.set_value();

  CHECK_FALSE(while_they_wait);
  CHECK(live.get().answers(deadline));
}
