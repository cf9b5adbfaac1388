#include "previewd/net/socketio/recovery.hpp"

#include <sys/random.h>

#include <algorithm>
#include <array>
#include <charconv>

#include "previewd/net/socketio/engine_codec.hpp"

namespace previewd::net::socketio {

namespace {

std::size_t size_of(const kept_event& event) {
  std::size_t size = event.bytes->size();
  for (const std::string& attachment : event.attachments) size += attachment.size();
  return size;
}

bool before(const kept_event& event, uint64_t number) {
  return event.number < number;
}

}  // namespace

uint64_t recovery_store::next_number() {
  const std::lock_guard lock{mutex_};
  return ++last_number_;
}

void recovery_store::keep(kept_event event) {
  const std::lock_guard lock{mutex_};
  forget_old(event.at);
  auto place = std::lower_bound(events_.begin(), events_.end(), event.number, before);
  // Too late: who came back meanwhile was told that there is nothing of that age.
  if (event.number <= dropped_) return;
  last_number_ = std::max(last_number_, event.number);
  for (auto same = place; same != events_.end() && same->number == event.number; ++same) {
    if (same->room == event.room) return;
  }
  bytes_ += size_of(event);
  events_.insert(place, std::move(event));
  while (!events_.empty() && (events_.size() > settings_.events || bytes_ > settings_.bytes))
    drop_first();
}

std::string recovery_store::private_id() {
  std::array<char, 18> bytes{};
  if (::getrandom(bytes.data(), bytes.size(), 0) != static_cast<ssize_t>(bytes.size())) return {};
  std::string text = encode_base64({bytes.data(), bytes.size()});
  std::replace(text.begin(), text.end(), '+', '-');
  std::replace(text.begin(), text.end(), '/', '_');
  return text;
}

void recovery_store::leave(const std::string& private_id, left_socket socket, time_point now) {
  const std::lock_guard lock{mutex_};
  forget_old(now);
  const uint64_t order = ++last_order_;
  if (!left_.emplace(private_id, left{std::move(socket), now, order}).second) return;
  orders_.emplace(order, private_id);
  if (left_.size() > settings_.clients) {
    left_.erase(orders_.begin()->second);
    orders_.erase(orders_.begin());
  }
}

std::optional<recovered_socket>
recovery_store::come_back(const std::string& private_id, std::string_view offset, time_point now) {
  const std::lock_guard lock{mutex_};
  forget_old(now);
  const auto found = left_.find(private_id);
  if (found == left_.end()) return std::nullopt;
  recovered_socket result;
  result.was = std::move(found->second.socket);
  orders_.erase(found->second.order);
  left_.erase(found);
  uint64_t number = 0;
  const auto [end, error] = std::from_chars(offset.data(), offset.data() + offset.size(), number);
  if (error != std::errc{} || end != offset.data() + offset.size()) return std::nullopt;
  // What has been dropped may have been for it.
  if (number < dropped_ || number > last_number_) return std::nullopt;
  auto next = std::lower_bound(events_.begin(), events_.end(), number + 1, before);
  for (; next != events_.end(); ++next) {
    const bool known = !result.missed.empty() && result.missed.back().number == next->number;
    if (!known && result.was.rooms.count(next->room) != 0) result.missed.push_back(*next);
  }
  return result;
}

std::string recovery_store::offset_of(uint64_t number) {
  return std::to_string(number);
}

void recovery_store::forget_old(time_point now) {
  while (!orders_.empty()) {
    const auto oldest = left_.find(orders_.begin()->second);
    if (now - oldest->second.at <= settings_.max_disconnection) break;
    left_.erase(oldest);
    orders_.erase(orders_.begin());
  }
  while (!events_.empty() && now - events_.front().at > settings_.max_disconnection) drop_first();
}

void recovery_store::drop_first() {
  bytes_ -= size_of(events_.front());
  dropped_ = events_.front().number;
  events_.pop_front();
}

}  // namespace previewd::net::socketio
