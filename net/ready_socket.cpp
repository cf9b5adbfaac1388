#include "previewd/net/ready_socket.hpp"

#include <sys/socket.h>

#include <algorithm>
#include <boost/asio/error.hpp>
#include <boost/asio/post.hpp>
#include <cerrno>

#include "previewd/os/system_call.hpp"

namespace previewd::net {

namespace {

// Never a short one: it would mean that nothing is left (readiness.hpp).
const os::call_site read_socket{"socket.read", {ECONNRESET, ENOMEM}};
const os::call_site write_socket{"socket.write", {EPIPE, ECONNRESET, ENOMEM, os::short_transfer}};

constexpr std::size_t most_parts = 64;  // below IOV_MAX (limits.h(0))

}  // namespace

os::error_code ready_socket::adopt(os::unique_fd descriptor) {
  auto watched = ready_.watch(descriptor.get(), *this, 0);
  if (!watched) return watched.error();
  descriptor_ = std::move(descriptor);
  watched_ = std::move(*watched);
  // Bytes that are there already are told of.
  readable_ = false;
  writable_ = true;
  ended_ = false;
  return {};
}

watched_socket ready_socket::hand_on(readiness::watcher& to, uint32_t which) {
  watched_.hand_on(to, which);
  return {std::move(descriptor_), std::move(watched_), readable_, ended_};
}

os::unique_fd ready_socket::release() {
  watched_.leave(descriptor_.get());
  os::unique_fd given = std::move(descriptor_);
  close();
  return given;
}

void ready_socket::close() {
  watched_.reset();
  descriptor_.reset();
  abort(read_);
  abort(write_);
  if (read_.done || write_.done) soon();
}

void ready_socket::abort(operation& which) {
  if (which.what == kind::none || which.done) return;
  which.done = true;
  which.error = asio::error::operation_aborted;
  which.count = 0;
}

void ready_socket::begin(operation& which, kind what, bool now) {
  which.what = what;
  which.done = false;
  which.error = {};
  which.count = 0;
  if (!descriptor_) {
    abort(which);
    now = true;
  }
  if (now) soon();
}

void ready_socket::soon() {
  if (std::exchange(on_its_way_, true)) return;
  // Whoever waits keeps the owner until then.
  asio::post(context_, [this] {
    on_its_way_ = false;
    go_on();
  });
}

void ready_socket::ready(uint32_t, readiness::change what) {
  readable_ = readable_ || what.readable;
  writable_ = writable_ || what.writable;
  ended_ = ended_ || what.ended;
  if (!on_its_way_) go_on();
}

void ready_socket::go_on() {
  write();
  // Whoever still waits to read keeps the owner, whatever the other handler does.
  const bool awaits_read = read_.what != kind::none;
  if (write_.done) {
    operation written = std::exchange(write_, {});
    written.handler(written.error, written.count);
    if (!awaits_read || on_its_way_) return;
  }
  read();
  if (read_.done) {
    operation was_read = std::exchange(read_, {});
    was_read.handler(was_read.error, was_read.count);
  }
}

void ready_socket::read() {
  if (read_.what == kind::none || read_.done || !readable_) return;
  if (read_.what == kind::wait) {
    read_.done = true;
    return;
  }
  const ssize_t count = os::system_call(read_socket, room_.size(),
    [&](std::size_t most) { return ::recv(descriptor_.get(), room_.data(), most, 0); });
  if (count == -1 && errno == EAGAIN) {
    readable_ = false;
    return;
  }
  read_.done = true;
  if (count == -1) {
    read_.error = os::last_error();
  } else if (count == 0) {
    read_.error = asio::error::eof;
  } else {
    read_.count = static_cast<std::size_t>(count);
    // That was all, unless the end came with it.
    if (read_.count < room_.size() && !ended_) readable_ = false;
  }
}

void ready_socket::write() {
  if (write_.what == kind::none || write_.done || !writable_) return;
  if (write_.what == kind::wait) {
    write_.done = true;
    return;
  }
  while (!parts_.empty()) {
    if (parts_.front().iov_len == 0) {
      parts_ = parts_.subspan(1);
      continue;
    }
    msghdr message{};
    message.msg_iov = parts_.data();
    message.msg_iovlen = std::min(parts_.size(), most_parts);
    const std::size_t first = parts_.front().iov_len;
    ssize_t count = os::system_call(write_socket, first, [&](std::size_t most) {
      // A test may want less to be taken than there is.
      if (most < first)
        return ::send(descriptor_.get(), parts_.front().iov_base, most, MSG_NOSIGNAL);
      return ::sendmsg(descriptor_.get(), &message, MSG_NOSIGNAL);
    });
    if (count == -1) {
      if (errno == EAGAIN) {
        writable_ = false;
        return;
      }
      write_.error = os::last_error();
      break;
    }
    for (auto taken = static_cast<std::size_t>(count); taken > 0;) {
      iovec& part = parts_.front();
      const std::size_t size = std::min(taken, part.iov_len);
      part.iov_base = static_cast<char*>(part.iov_base) + size;
      part.iov_len -= size;
      taken -= size;
      if (part.iov_len == 0) parts_ = parts_.subspan(1);
    }
  }
  write_.done = true;
}

}  // namespace previewd::net
