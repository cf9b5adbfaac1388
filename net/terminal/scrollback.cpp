#include "previewd/net/terminal/scrollback.hpp"

#include <algorithm>

namespace previewd::net::terminal {

scrollback::scrollback(std::size_t limit) : limit_{std::max<std::size_t>(1, limit)} {}

void scrollback::append(std::string_view bytes) {
  sequence_ += bytes.size();
  if (bytes.size() > limit_) bytes.remove_prefix(bytes.size() - limit_);
  if (const std::size_t room = std::min(bytes.size(), limit_ - ring_.size()); room > 0) {
    // Not full yet, so that nothing has wrapped.
    ring_.append(bytes.substr(0, room));
    bytes.remove_prefix(room);
    size_ = ring_.size();
  }
  while (!bytes.empty()) {
    const std::size_t n = std::min(bytes.size(), limit_ - next_);
    ring_.replace(next_, n, bytes.substr(0, n));
    next_ = (next_ + n) % limit_;
    bytes.remove_prefix(n);
  }
}

scrollback::slice scrollback::read(uint64_t after, std::size_t limit) const {
  slice result;
  after = std::min(after, sequence_);
  const uint64_t from = std::max(after, oldest());
  result.lost = from - after;
  const auto count = static_cast<std::size_t>(std::min<uint64_t>(sequence_ - from, limit));
  result.sequence = from + count;
  if (count == 0) return result;
  const auto skipped = static_cast<std::size_t>(from - oldest());
  const std::size_t start = (next_ + skipped) % ring_.size();
  const std::size_t straight = std::min(count, ring_.size() - start);
  result.bytes.reserve(count);
  result.bytes.append(ring_, start, straight);
  result.bytes.append(ring_, 0, count - straight);
  return result;
}

}  // namespace previewd::net::terminal
