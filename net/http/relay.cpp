#include "previewd/net/http/relay.hpp"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>

#include "previewd/os/system_call.hpp"

namespace previewd::net::http {

namespace {

const os::call_site new_pipe{"relay.pipe", {EMFILE, ENFILE, ENOMEM}};
const os::call_site fill_pipe{"relay.fill", {EINVAL, ENOMEM, os::short_transfer}};
const os::call_site drain_pipe{"relay.drain", {EINVAL, ENOMEM, os::short_transfer}};
const os::call_site read_pipe{"relay.take_back", {os::short_transfer}};

// What the kernel gives without privileges (fs.pipe-max-size, pipe(7)); the fewer calls the better.
constexpr int pipe_bytes = 1 << 20;
constexpr uint64_t bytes_a_turn = 2 << 20;

// A socket that cannot be spliced, or want of memory: copying may go on.
bool is_refusal(int error) noexcept {
  return error == EINVAL || error == ENOMEM || error == ENOSYS || error == EOPNOTSUPP;
}

}  // namespace

bool relay::open(pipe_budget& budget) {
  if (is_open()) return true;
  if (budget.open >= budget.most) return false;
  std::array<int, 2> ends{};
  if (os::system_call(new_pipe, [&] { return ::pipe2(ends.data(), O_CLOEXEC | O_NONBLOCK); }) != 0)
    return false;
  out_.reset(ends[0]);
  in_.reset(ends[1]);
  // Only slower with a small one.
  ::fcntl(in_.get(), F_SETPIPE_SZ, pipe_bytes);
  held_ = 0;
  ++budget.open;
  budget_ = &budget;
  return true;
}

void relay::close() noexcept {
  if (!is_open()) return;
  --budget_->open;
  budget_ = nullptr;
  out_.reset();
  in_.reset();
}

relay::stop relay::move(int source, int target, uint64_t& left, uint64_t& moved) {
  const uint64_t turn_ends = moved + bytes_a_turn;
  for (;;) {
    while (held_ != 0) {
      const ssize_t count = os::system_call(drain_pipe, held_, [&](std::size_t size) {
        return ::splice(
          out_.get(), nullptr, target, nullptr, size, SPLICE_F_MOVE | SPLICE_F_NONBLOCK);
      });
      if (count <= 0) {
        if (count < 0 && errno == EAGAIN) return stop::wait_for_target;
        return count < 0 && is_refusal(errno) ? stop::refused : stop::target_failed;
      }
      held_ -= static_cast<std::size_t>(count);
      moved += static_cast<uint64_t>(count);
    }
    if (left == 0) return stop::complete;
    if (moved >= turn_ends) return stop::turn_over;
    const auto wanted = static_cast<std::size_t>(std::min<uint64_t>(left, pipe_bytes));
    const ssize_t count = os::system_call(fill_pipe, wanted, [&](std::size_t size) {
      return ::splice(source, nullptr, in_.get(), nullptr, size, SPLICE_F_MOVE | SPLICE_F_NONBLOCK);
    });
    if (count == 0) return stop::source_ended;
    if (count < 0) {
      if (errno == EAGAIN) return stop::wait_for_source;
      return is_refusal(errno) ? stop::refused : stop::source_failed;
    }
    held_ = static_cast<std::size_t>(count);
    left -= static_cast<uint64_t>(count);
  }
}

std::string relay::take_back() {
  std::string bytes(held_, '\0');
  std::size_t got = 0;
  while (got < bytes.size()) {
    const ssize_t count = os::system_call(read_pipe, bytes.size() - got,
      [&](std::size_t size) { return ::read(out_.get(), bytes.data() + got, size); });
    // They are there: it neither ends nor waits.
    if (count <= 0) break;
    got += static_cast<std::size_t>(count);
  }
  bytes.resize(got);
  close();
  return bytes;
}

}  // namespace previewd::net::http
