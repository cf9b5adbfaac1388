#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <utility>
#include <vector>

#include "previewd/net/io_thread.hpp"
#include "previewd/os/result.hpp"

namespace previewd::net {

/// Waits until sockets can be read or written again: many of them, for long, and often. Asio's own
/// wait takes a system call and a handler each time; here a socket is watched once, edge-triggered
/// (epoll(7)), by an epoll descriptor that Asio waits for. On one I/O thread, which it must not
/// outlive.
class readiness {
public:
  /// What has become of a socket. `ended`: nothing follows what can be read now, or it is broken.
  struct change {
    bool readable = false;
    bool writable = false;
    bool ended = false;
  };

  /// Who waits. Called for a socket that is watched when it has become so, or may have; and once
  /// after `watch` if it is so already. It is not called again for bytes that it left unread, but
  /// for a read of fewer than there was room for: unless `ended` was said, that has emptied it.
  class watcher {
  public:
    /// `which` as in `watch`. May forget and watch whatever it likes; must not be destroyed before
    /// the handlers that wait on the thread now have run.
    virtual void ready(uint32_t which, change what) = 0;

  protected:
    ~watcher() = default;
  };

  /// A watched socket. Forgotten when this goes or is reset, without a system call: the kernel
  /// forgets it with its last descriptor (close(2)).
  class ticket {
  public:
    ticket() noexcept = default;
    ~ticket() { reset(); }
    ticket(ticket&& other) noexcept
        : of_{std::exchange(other.of_, nullptr)}, place_{other.place_} {}
    ticket& operator=(ticket&& other) noexcept {
      reset();
      of_ = std::exchange(other.of_, nullptr);
      place_ = other.place_;
      return *this;
    }
    void reset() noexcept;

    /// Another one is called from now on.
    void hand_on(watcher& who, uint32_t which) noexcept;

    /// Forgotten, although the socket lives on and somebody else will wait for it.
    void leave(int descriptor) noexcept;

  private:
    friend class readiness;
    ticket(readiness& of, uint32_t place) noexcept : of_{&of}, place_{place} {}

    readiness* of_ = nullptr;
    uint32_t place_ = 0;
  };

  /// Opens what it waits with, so that a thread holds the same before and after its first
  /// connection; what cannot be had now is tried again when it is needed.
  explicit readiness(io_thread& thread);
  ~readiness();
  readiness(const readiness&) = delete;
  readiness& operator=(const readiness&) = delete;

  /// Watches a non-blocking socket that nobody else waits for. Close it soon after the ticket has
  /// gone. Errors: `too_many_files_open`, `not_enough_memory`, `no_space_on_device`
  /// (/proc/sys/fs/epoll/max_user_watches).
  os::result<ticket> watch(int descriptor, watcher& who, uint32_t which);

private:
  /// A descriptor that a child has inherited until it loads its program is still reported: by its
  /// place, under the round in which it was watched.
  struct slot {
    watcher* who = nullptr;
    uint32_t which = 0;
    uint32_t round = 0;
  };
  struct waiting;

  void forget(uint32_t place) noexcept;
  os::error_code open();
  void wait();
  void look();

  io_thread& thread_;
  std::shared_ptr<waiting> waiting_;  // null: it could not be had
  std::vector<slot> slots_;
  std::vector<uint32_t> free_;
};

}  // namespace previewd::net
