#pragma once

#include <cstddef>
#include <cstdint>
#include <string>

#include "previewd/os/unique_fd.hpp"

namespace previewd::net::http {

/// How many pipes the relays of one I/O thread may have open, and have. That thread only.
struct pipe_budget {
  std::size_t most = 0;
  std::size_t open = 0;
};

/// Moves the bytes of long transfers from one socket to another inside the kernel, through a pipe
/// (splice(2)): they are never copied to us. Owns the pipe only while it is open; what has not been
/// taken from it when it closes is lost. For one direction, on one I/O thread.
class relay {
public:
  relay() = default;
  ~relay() { close(); }
  relay(const relay&) = delete;
  relay& operator=(const relay&) = delete;

  /// Gets a pipe. False: the budget is spent or the kernel gives none, and the bytes have to be
  /// copied.
  bool open(pipe_budget& budget);
  bool is_open() const noexcept { return budget_ != nullptr; }

  /// Gives the pipe back. Idempotent.
  void close() noexcept;

  /// Where a `move` has stopped.
  enum class stop : uint8_t {
    wait_for_source,  // it has nothing more for now, and nothing is in the pipe
    wait_for_target,  // it takes nothing more for now
    turn_over,        // enough has been moved: others have their turn
    complete,         // `left` is 0, and all of it has reached the target
    source_ended,     // and all that it gave has reached the target
    source_failed,
    target_failed,
    refused  // not with these sockets: `take_back`, and copy
  };

  /// Moves what can be moved at once. Both sockets are non-blocking. A target that is broken may
  /// raise SIGPIPE (write(2)), which I/O threads block. `left`: bytes that may be
  /// taken from `source`; counted down as they are. `moved`: bytes that have reached `target`;
  /// counted up.
  stop move(int source, int target, uint64_t& left, uint64_t& moved);

  /// After `refused`: what is in the pipe, in order; then it closes. At most one mebibyte.
  std::string take_back();

private:
  pipe_budget* budget_ = nullptr;
  os::unique_fd out_;
  os::unique_fd in_;
  std::size_t held_ = 0;  // bytes in the pipe
};

}  // namespace previewd::net::http
