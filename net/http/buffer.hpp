#pragma once

#include <algorithm>
#include <boost/asio/buffer.hpp>
#include <cstddef>
#include <cstring>
#include <memory>
#include <string_view>

namespace previewd::net::http {

/// Bytes between a read and their use, in one piece. Grows up to what `prepare` is allowed.
class flat_buffer {
public:
  std::string_view view() const noexcept { return {bytes_.get() + begin_, end_ - begin_}; }
  bool empty() const noexcept { return begin_ == end_; }

  /// Drops bytes from the front. Allowed while a read is under way.
  void consume(std::size_t count) noexcept { begin_ += count; }

  /// Room for the next read: at least `least` bytes where `most`, for all that is held, allows it;
  /// else what there is, or none. What `view` returned before is no longer valid. Not while a read
  /// or a write of its bytes is under way.
  boost::asio::mutable_buffer prepare(std::size_t least, std::size_t most) {
    if (begin_ == end_) begin_ = end_ = 0;
    if (capacity_ - end_ < least && begin_ != 0) {
      std::memmove(bytes_.get(), bytes_.get() + begin_, end_ - begin_);
      end_ -= begin_;
      begin_ = 0;
    }
    if (capacity_ - end_ < least && capacity_ < most) {
      const std::size_t wanted = std::min(most, std::max({smallest, capacity_ * 2, end_ + least}));
      // Not value-initialised: the bytes are written before they are read.
      std::unique_ptr<char[]> larger{new char[wanted]};
      if (end_ != 0) std::memcpy(larger.get(), bytes_.get(), end_);
      bytes_ = std::move(larger);
      capacity_ = wanted;
    }
    return {bytes_.get() + end_, std::max(end_, std::min(capacity_, most)) - end_};
  }
  void commit(std::size_t count) noexcept { end_ += count; }

  /// Puts `bytes` at the end. Not while a read is under way.
  void append(std::string_view bytes) {
    if (bytes.empty()) return;
    prepare(bytes.size(), end_ - begin_ + bytes.size());
    std::memcpy(bytes_.get() + end_, bytes.data(), bytes.size());
    end_ += bytes.size();
  }

  /// Gives the memory back. Not while a read is under way.
  void release() noexcept {
    bytes_.reset();
    capacity_ = begin_ = end_ = 0;
  }
  std::size_t capacity() const noexcept { return capacity_; }

private:
  static constexpr std::size_t smallest = 4 * 1024;

  std::unique_ptr<char[]> bytes_;
  std::size_t capacity_ = 0;
  std::size_t begin_ = 0;
  std::size_t end_ = 0;
};

}  // namespace previewd::net::http
