#include "event_loop.hpp"

#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <system_error>

namespace previewd::bench {

event_loop::event_loop() : epoll_{::epoll_create1(EPOLL_CLOEXEC)} {
  if (epoll_ < 0) throw std::system_error{errno, std::generic_category(), "epoll_create1"};
}

event_loop::~event_loop() {
  ::close(epoll_);
}

bool event_loop::watch(int descriptor, watcher& who) noexcept {
  epoll_event event{};
  event.events = EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET;
  event.data.ptr = &who;
  return ::epoll_ctl(epoll_, EPOLL_CTL_ADD, descriptor, &event) == 0;
}

void event_loop::run_until(clock::time_point deadline) {
  stopped_ = false;
  now_ = clock::now();
  std::array<epoll_event, 256> events;
  while (!stopped_ && now_ < deadline) {
    const auto left = std::chrono::ceil<std::chrono::milliseconds>(deadline - now_).count();
    const int count = ::epoll_wait(epoll_, events.data(), static_cast<int>(events.size()),
      static_cast<int>(std::clamp<int64_t>(left, 0, 1000)));
    now_ = clock::now();
    // All of them, also after `stop`: an edge that is dropped does not come again.
    for (int i = 0; i < count; ++i) {
      const epoll_event& event = events[static_cast<std::size_t>(i)];
      static_cast<watcher*>(event.data.ptr)->ready(event.events);
    }
  }
}

ssize_t discard(int socket, std::size_t most) noexcept {
  // Not by recv(2), which AddressSanitizer takes to have written what was dropped.
  return ::syscall(SYS_recvfrom, socket, nullptr, most, MSG_TRUNC, nullptr, nullptr);
}

}  // namespace previewd::bench
