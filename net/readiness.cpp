#include "previewd/net/readiness.hpp"

#include <sys/epoll.h>

#include <array>
#include <utility>

#include "previewd/net/asio_types.hpp"
#include "previewd/os/system_call.hpp"
#include "previewd/os/unique_fd.hpp"

namespace previewd::net {

namespace {

const os::call_site create_set{"readiness.create", {EMFILE, ENFILE, ENOMEM}};
const os::call_site wait_for_set{"readiness.wait", {ENOMEM, ENOSPC}};
const os::call_site add_to_set{"readiness.watch", {ENOMEM, ENOSPC}};

/// Sockets that are looked after before others on the thread have their turn.
constexpr std::size_t most_at_once = 128;

}  // namespace

/// What a wait that is under way needs; outlives the owner until its handler has run.
struct readiness::waiting {
  explicit waiting(io_thread& thread) : set{thread.context()} {}

  stream_descriptor set;
  readiness* owner = nullptr;
};

void readiness::ticket::reset() noexcept {
  if (readiness* const of = std::exchange(of_, nullptr)) of->forget(place_);
}

void readiness::ticket::hand_on(watcher& who, uint32_t which) noexcept {
  if (of_ == nullptr) return;
  of_->slots_[place_].who = &who;
  of_->slots_[place_].which = which;
}

void readiness::ticket::leave(int descriptor) noexcept {
  if (of_ == nullptr) return;
  // It is there, so that this cannot fail (epoll_ctl(2)).
  ::epoll_ctl(of_->waiting_->set.native_handle(), EPOLL_CTL_DEL, descriptor, nullptr);
  reset();
}

readiness::readiness(io_thread& thread) : thread_{thread} {
  open();
}

readiness::~readiness() {
  if (waiting_ == nullptr) return;
  waiting_->owner = nullptr;
  os::error_code ignored;
  waiting_->set.close(ignored);
}

os::error_code readiness::open() {
  if (waiting_ != nullptr) return {};
  os::unique_fd set{os::system_call(create_set, [] { return ::epoll_create1(EPOLL_CLOEXEC); })};
  if (!set) return os::last_error();
  auto opened = std::make_shared<waiting>(thread_);
  os::error_code failure;
  if (os::system_call(wait_for_set, [&] {
        opened->set.assign(set.get(), failure);
        errno = failure.value();
        return failure ? -1 : 0;
      }) == -1)
    failure = os::last_error();
  if (opened->set.is_open()) (void)set.release();
  if (failure) return failure;
  opened->owner = this;
  waiting_ = std::move(opened);
  wait();
  return {};
}

os::result<readiness::ticket> readiness::watch(int descriptor, watcher& who, uint32_t which) {
  if (const os::error_code failure = open()) return failure;
  if (free_.empty()) {
    free_.push_back(static_cast<uint32_t>(slots_.size()));
    slots_.emplace_back();
    // So that `forget` needs no memory.
    free_.reserve(slots_.capacity());
  }
  const uint32_t place = free_.back();
  slot& at = slots_[place];
  epoll_event wanted{};
  wanted.events = EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET;
  wanted.data.u64 = uint64_t{at.round} << 32 | place;
  if (os::system_call(add_to_set, [&] {
        return ::epoll_ctl(waiting_->set.native_handle(), EPOLL_CTL_ADD, descriptor, &wanted);
      }) == -1)
    return os::last_error();
  free_.pop_back();
  at.who = &who;
  at.which = which;
  return ticket{*this, place};
}

void readiness::forget(uint32_t place) noexcept {
  slot& at = slots_[place];
  at.who = nullptr;
  ++at.round;
  free_.push_back(place);
}

void readiness::wait() {
  waiting_->set.async_wait(
    stream_descriptor::wait_read, [kept = waiting_](const os::error_code& error) {
      if (!error && kept->owner != nullptr) kept->owner->look();
    });
}

void readiness::look() {
  std::array<epoll_event, most_at_once> found;
  const int count =
    ::epoll_wait(waiting_->set.native_handle(), found.data(), static_cast<int>(found.size()), 0);
  for (int each = 0; each < count; ++each) {
    const epoll_event& event = found[static_cast<std::size_t>(each)];
    const slot& at = slots_[static_cast<uint32_t>(event.data.u64)];
    if (at.who == nullptr || at.round != static_cast<uint32_t>(event.data.u64 >> 32)) continue;
    constexpr uint32_t broken = EPOLLERR | EPOLLHUP;
    change what;
    what.readable = (event.events & (EPOLLIN | EPOLLRDHUP | broken)) != 0;
    what.writable = (event.events & (EPOLLOUT | broken)) != 0;
    what.ended = (event.events & (EPOLLRDHUP | broken)) != 0;
    at.who->ready(at.which, what);
  }
  wait();
}

}  // namespace previewd::net
