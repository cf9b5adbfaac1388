#pragma once

#include <sys/uio.h>

#include <boost/asio/buffer.hpp>
#include <boost/asio/io_context.hpp>
#include <cstddef>
#include <cstring>
#include <new>
#include <span>
#include <type_traits>
#include <utility>

#include "previewd/net/readiness.hpp"
#include "previewd/os/result.hpp"
#include "previewd/os/unique_fd.hpp"

namespace previewd::net {

/// A socket that is watched, on its way from one user to another on its thread.
struct watched_socket {
  os::unique_fd descriptor;
  readiness::ticket watched;
  bool readable = false;  // there may be something to be read, of which no news will come
  bool ended = false;     // nothing follows what can be read now
};

/// A stream socket with the operations of Asio's that the proxy needs, for less: it stays watched,
/// so that neither a read that has to wait nor the next one takes a system call, and no operation
/// takes memory. Handlers are called as Asio calls them: never within the call that has begun the
/// operation, and with `operation_aborted` once the socket is closed. Its owner lives until they
/// have been. On one I/O thread.
class ready_socket final : private readiness::watcher {
public:
  ready_socket(readiness& ready, asio::io_context& context) noexcept
      : ready_{ready}, context_{context} {}
  ready_socket(const ready_socket&) = delete;
  ready_socket& operator=(const ready_socket&) = delete;

  /// Takes a non-blocking socket that nobody waits for; when it cannot be watched it is closed. The
  /// one before has been closed or handed on. Errors as for `readiness::watch`.
  os::error_code adopt(os::unique_fd descriptor);

  /// Gives the socket away, still watched, for `to` from now on. No operation may be
  /// under way.
  watched_socket hand_on(readiness::watcher& to, uint32_t which);

  /// Gives the socket away, watched by nobody. What waits is dropped: its handler is called with
  /// `operation_aborted`.
  os::unique_fd release();

  /// Closes the socket. Idempotent.
  void close();

  /// -1 when there is none.
  int descriptor() const noexcept { return descriptor_.get(); }

  /// Reads what there is, at most so much; one read or wait for reading at a time. Handler:
  /// (error, size); `eof` at the end.
  template <class Handler> void async_read_some(asio::mutable_buffer room, Handler handler) {
    room_ = room;
    read_.handler = std::move(handler);
    begin(read_, kind::transfer, readable_);
  }

  /// Writes all of the parts, which stay where they are until then and are counted down; one write
  /// or wait for writing at a time. Handler: (error, 0).
  template <class Handler> void async_write(std::span<iovec> parts, Handler handler) {
    parts_ = parts;
    write_.handler = std::move(handler);
    begin(write_, kind::transfer, false);
    write();
    if (write_.done) soon();
  }

  /// For a user who reads by himself: waits until there may be something. After he has met EAGAIN
  /// he says so by `read_all`, or this does not wait.
  template <class Handler> void async_wait_to_read(Handler handler) {
    read_.handler = std::move(handler);
    begin(read_, kind::wait, readable_);
  }
  void read_all() noexcept { readable_ = false; }

  /// The same for writing, with `filled`.
  template <class Handler> void async_wait_to_write(Handler handler) {
    write_.handler = std::move(handler);
    begin(write_, kind::wait, writable_);
  }
  void filled() noexcept { writable_ = false; }

private:
  /// A function object of few pointers and numbers, kept in place.
  class small_handler {
  public:
    small_handler() noexcept = default;
    template <class Handler> small_handler& operator=(Handler handler) noexcept {
      static_assert(sizeof(Handler) <= sizeof bytes_ && std::is_trivially_copyable_v<Handler>);
      new (bytes_) Handler{std::move(handler)};
      call_ = [](void* of, const os::error_code& error, std::size_t count) {
        (*std::launder(static_cast<Handler*>(of)))(error, count);
      };
      return *this;
    }
    explicit operator bool() const noexcept { return call_ != nullptr; }
    void operator()(const os::error_code& error, std::size_t count) { call_(bytes_, error, count); }

  private:
    void (*call_)(void*, const os::error_code&, std::size_t) = nullptr;
    alignas(void*) std::byte bytes_[4 * sizeof(void*)];
  };

  enum class kind : uint8_t { none, transfer, wait };
  struct operation {
    small_handler handler;
    kind what = kind::none;  // none: it is not under way
    bool done = false;
    os::error_code error;
    std::size_t count = 0;
  };

  void ready(uint32_t which, readiness::change what) override;
  void begin(operation& which, kind what, bool now);
  void soon();
  void go_on();
  void read();
  void write();
  static void abort(operation& which);

  readiness& ready_;
  asio::io_context& context_;
  os::unique_fd descriptor_;
  readiness::ticket watched_;
  bool readable_ = false;
  bool writable_ = false;
  bool ended_ = false;
  bool on_its_way_ = false;  // `go_on` will be called
  asio::mutable_buffer room_;
  std::span<iovec> parts_;
  operation read_;
  operation write_;
};

}  // namespace previewd::net
