#pragma once

#include <boost/asio/executor_work_guard.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/post.hpp>
#include <cstdint>
#include <thread>
#include <utility>

namespace previewd::net {

namespace asio = boost::asio;

/// One thread with an io_context of its own. What lives on it is touched by it only, so nothing
/// there is locked; everybody else reaches it by `post`.
class io_thread {
public:
  /// `index` counts from 0 and names the thread in connection ids. Does not start it.
  explicit io_thread(uint32_t index);

  /// Stops and joins.
  ~io_thread();

  io_thread(const io_thread&) = delete;
  io_thread& operator=(const io_thread&) = delete;

  /// Any thread.
  uint32_t index() const noexcept { return index_; }
  asio::io_context& context() noexcept { return context_; }

  /// Runs `task` on this thread, later. Any thread, also before `start`; dropped without having run
  /// when the thread has stopped.
  template <class Task> void post(Task&& task) { asio::post(context_, std::forward<Task>(task)); }

  /// Whether the caller runs on this thread.
  bool is_current() const noexcept { return thread_.get_id() == std::this_thread::get_id(); }

  /// Starts the thread, named `name` (at most 15 characters, pthread_setname_np(3)) and with all
  /// signals blocked. Call once.
  void start(const char* name);

  /// Ends the loop without waiting for what is under way, and joins. Not from the thread itself.
  /// Idempotent.
  void stop();

private:
  uint32_t index_;
  asio::io_context context_{1};
  asio::executor_work_guard<asio::io_context::executor_type> work_{context_.get_executor()};
  std::thread thread_;
};

}  // namespace previewd::net
