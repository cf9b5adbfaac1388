#include "previewd/net/http/live.hpp"

#include <string_view>
#include <vector>

namespace previewd::net::http {

std::string_view to_string(close_reason value) noexcept {
  switch (value) {
    case close_reason::finished:
      return "finished";
    case close_reason::peer_closed:
      return "peer_closed";
    case close_reason::timed_out:
      return "timed_out";
    case close_reason::misbehaved:
      return "misbehaved";
    case close_reason::route_down:
      return "route_down";
    case close_reason::ordered:
      return "ordered";
    case close_reason::stopping:
      return "stopping";
    case close_reason::handed_on:
      return "handed_on";
  }
  return "finished";
}

void live_table::close_all(close_reason why) {
  // Closing one may close others, but none leaves the list before its last handler.
  for (const auto& object : objects_) object->close(why);
  if (objects_.empty() && emptied) std::exchange(emptied, nullptr)();
}

void live_table::erase(std::list<std::unique_ptr<live_object>>::iterator which) {
  objects_.erase(which);
  if (objects_.empty() && emptied) std::exchange(emptied, nullptr)();
}

void live_object::close(close_reason why) {
  if (closed_) return;
  closed_ = true;
  why_ = why;
  ++pending_;
  closing();
  asio::post(context(), [this] { release(); });
}

timed_object::timed_object(live_table& table) : live_object{table}, timer_{context()} {}

void timed_object::stop_timer() {
  if (std::exchange(armed_, steady_clock::time_point::max()) != steady_clock::time_point::max())
    --table().timers_;
  timer_.cancel();
}

void timed_object::arm() {
  if (std::exchange(armed_, due_) == steady_clock::time_point::max()) ++table().timers_;
  timer_.expires_at(due_);
  timer_.async_wait(counted([this, round = ++round_](const error_code&, std::size_t) {
    if (round != round_) return;
    armed_ = steady_clock::time_point::max();
    --table().timers_;
    if (due_ == steady_clock::time_point::max()) return;
    if (steady_clock::now() < due_) {
      arm();
    } else {
      clear_deadline();
      deadline_passed();
    }
  }));
}

}  // namespace previewd::net::http
