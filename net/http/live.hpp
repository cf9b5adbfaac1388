#pragma once

#include <boost/asio/post.hpp>
#include <boost/system/error_code.hpp>
#include <chrono>
#include <cstdint>
#include <functional>
#include <list>
#include <memory>
#include <string_view>
#include <utility>

#include "previewd/net/asio_types.hpp"
#include "previewd/net/io_thread.hpp"

/// How objects with asynchronous operations live and die: one owner, one way down, and an end that
/// follows the last handler.
namespace previewd::net::http {

using boost::system::error_code;
using steady_clock = std::chrono::steady_clock;

/// Why something was closed. The first reason is kept.
enum class close_reason : uint8_t {
  finished,     // nothing was left to do
  peer_closed,  // one of its peers ended it, or broke
  timed_out,    // a deadline passed
  misbehaved,   // a peer broke the protocol, or took more than it may
  route_down,   // the server it leads to may not be reached any more
  ordered,      // somebody asked for it
  stopping,     // the I/O thread ends
  handed_on     // its socket belongs to somebody else now
};
std::string_view to_string(close_reason value) noexcept;

class live_object;

/// Owns everything of one I/O thread that has operations under way. That thread only.
class live_table {
public:
  explicit live_table(io_thread& thread) : thread_{thread} {}

  live_table(const live_table&) = delete;
  live_table& operator=(const live_table&) = delete;

  io_thread& thread() noexcept { return thread_; }

  /// Takes an object; it is destroyed after `close` and its last handler.
  template <class Object> Object& add(std::unique_ptr<Object> object);

  std::size_t size() const noexcept { return objects_.size(); }

  /// Deadlines whose timer runs.
  std::size_t timers() const noexcept { return timers_; }

  /// Closes everything. `emptied`, when set, is called once the last object has gone (at once if
  /// there is none).
  void close_all(close_reason why);
  std::function<void()> emptied;

private:
  friend class live_object;
  friend class timed_object;
  void erase(std::list<std::unique_ptr<live_object>>::iterator which);

  io_thread& thread_;
  std::list<std::unique_ptr<live_object>> objects_;
  std::size_t timers_ = 0;
};

/// Something with asynchronous operations on one I/O thread. Handlers are made with `counted`: they
/// do not run once the object is closed, and the object outlives them all.
class live_object {
public:
  explicit live_object(live_table& table) noexcept : table_{table} {}
  virtual ~live_object() = default;

  live_object(const live_object&) = delete;
  live_object& operator=(const live_object&) = delete;

  /// The one way down, from any cause. Idempotent. The object is gone after its last handler, never
  /// within this call.
  void close(close_reason why);

  bool closed() const noexcept { return closed_; }
  close_reason why_closed() const noexcept { return why_; }

protected:
  /// Cancels and closes whatever there is; frees nothing. Called once.
  virtual void closing() = 0;

  /// A handler that runs `next(error, count)` while the object is open, and keeps it until then.
  template <class Next> auto counted(Next next) {
    ++pending_;
    return [this, next = std::move(next)](const error_code& error, std::size_t count = 0) mutable {
      if (!closed_) next(error, count);
      release();
    };
  }

  live_table& table() noexcept { return table_; }
  asio::io_context& context() noexcept { return table_.thread().context(); }

private:
  friend class live_table;
  void release() {
    // Destroys *this: nothing may follow.
    if (--pending_ == 0 && closed_) table_.erase(self_);
  }

  live_table& table_;
  std::list<std::unique_ptr<live_object>>::iterator self_;
  uint32_t pending_ = 0;
  bool closed_ = false;
  close_reason why_ = close_reason::finished;
};

template <class Object> Object& live_table::add(std::unique_ptr<Object> object) {
  Object& result = *object;
  live_object& base = result;
  objects_.push_front(std::move(object));
  base.self_ = objects_.begin();
  return result;
}

/// A live object with one deadline. Moving it later costs no timer operation: the timer wakes when
/// it was due before, and sleeps again.
class timed_object : public live_object {
public:
  explicit timed_object(live_table& table);

protected:
  void set_deadline(steady_clock::time_point due) {
    due_ = due;
    if (due_ < armed_) arm();
  }
  void set_deadline(steady_clock::duration from_now) {
    set_deadline(steady_clock::now() + from_now);
  }
  void clear_deadline() noexcept { due_ = steady_clock::time_point::max(); }

  /// The deadline has passed; there is none from now on.
  virtual void deadline_passed() = 0;

  /// To be called by `closing`.
  void stop_timer();

private:
  void arm();

  steady_timer timer_;
  steady_clock::time_point due_ = steady_clock::time_point::max();
  steady_clock::time_point armed_ = steady_clock::time_point::max();
  uint64_t round_ = 0;  // of the wait under way; earlier ones were cancelled
};

}  // namespace previewd::net::http
