#pragma once

#include <caf/actor_system.hpp>
#include <caf/actor_system_config.hpp>
#include <caf/send.hpp>
#include <condition_variable>
#include <functional>
#include <future>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "previewd/messages/error.hpp"
#include "previewd/net/io_thread.hpp"
#include "previewd/net/terminal/terminal_hub.hpp"
#include "previewd/os/child_reaper.hpp"
#include "previewd/tests/support/eventually.hpp"

namespace previewd::test {

/// A value that other threads change and the test waits for.
template <class Value> class watched {
public:
  template <class Change> void change(Change how) {
    const std::lock_guard lock{mutex_};
    how(value_);
    changed_.notify_all();
  }

  Value now() const {
    const std::lock_guard lock{mutex_};
    return value_;
  }

  /// Whether it comes to fulfil the condition before the deadline.
  template <class Condition> bool becomes(Condition condition) const {
    std::unique_lock lock{mutex_};
    return changed_.wait_for(lock, deadline, [&] { return condition(value_); });
  }

private:
  mutable std::mutex mutex_;
  mutable std::condition_variable changed_;
  Value value_{};
};

/// What a terminal's actors were told.
struct told {
  std::optional<int32_t> opened;
  std::optional<errc> failed;
  std::string failure;
  unsigned drained = 0;
  unsigned detached = 0;
  std::vector<int32_t> foreground;
  unsigned notices = 0;
  std::vector<url_hint> hints;
  bool foreground_before_opened = false;
};

/// One terminal as a test has it.
struct test_terminal {
  std::string id;
  std::shared_ptr<watched<told>> heard = std::make_shared<watched<told>>();
  terminal_actor terminal;
  detector_actor detector;
  int32_t pid = 0;
};

/// Everything that a client was given. Lives on an I/O thread; the test reads what it heard.
class test_client final : public net::terminal::output_sink {
public:
  struct heard {
    std::optional<net::terminal::attach_start> start;
    std::string bytes;
    uint64_t sequence = 0;
    uint64_t lost = 0;
    std::size_t chunks = 0;
    std::size_t largest = 0;  // bytes of a chunk
    unsigned ends = 0;
    bool sequences_fit = true;  // each chunk follows the one before
  };

  /// `eager`: asks for more whenever it was given something.
  explicit test_client(bool eager) : eager_{eager} {}

  void on_attached(const net::terminal::attach_start& start) override;
  void on_output(const net::terminal::output_chunk& chunk) override;
  void on_end() override;

  watched<heard> got;
  std::unique_ptr<net::terminal::attachment> place;  // its I/O thread only
  bool acknowledges = false;                         // its I/O thread only

private:
  bool eager_;
};

/// Two I/O threads, a hub over them, and actors that note what they are told.
class hub_world {
public:
  explicit hub_world(net::terminal::terminal_hub_settings settings = {});
  ~hub_world();

  terminal_spec spec(std::vector<std::string> argv) const;
  /// Starts `argv` and waits until it runs.
  test_terminal open(std::vector<std::string> argv);
  test_terminal open(terminal_spec spec);
  /// Orders it only.
  test_terminal begin(terminal_spec spec);

  std::shared_ptr<test_client> attach(
    const test_terminal& terminal, uint64_t after = 0, bool eager = true, std::size_t thread = 0);
  void detach(const std::shared_ptr<test_client>& client, std::size_t thread = 0);

  /// Runs something on an I/O thread and waits for it.
  template <class Task> auto on(std::size_t thread, Task task) {
    auto result = std::make_shared<std::packaged_task<decltype(task())()>>(std::move(task));
    auto future = result->get_future();
    threads[thread]->post([result] { (*result)(); });
    return future.get();
  }

  errc input(const test_terminal& terminal, std::string bytes);
  errc resize(const test_terminal& terminal, terminal_size size);
  errc signal(const test_terminal& terminal, int number);
  std::optional<net::terminal::output_slice>
  read(const test_terminal& terminal, uint64_t after = 0);
  std::optional<net::terminal::terminal_facts>
  facts(const test_terminal& terminal, std::size_t thread = 0);
  /// Whether the terminal comes to put out `text`.
  bool puts_out(const test_terminal& terminal, const std::string& text);

  /// Ends its process and all that is left of the terminal.
  void end(test_terminal& terminal);

  std::vector<std::unique_ptr<net::io_thread>> threads;
  std::unique_ptr<net::terminal::terminal_hub> hub;

private:
  caf::actor_system_config config_;
  std::unique_ptr<caf::actor_system> system_;
  std::unique_ptr<os::child_reaper> reaper_;
  unsigned opened_ = 0;
};

}  // namespace previewd::test
