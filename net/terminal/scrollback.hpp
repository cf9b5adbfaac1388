#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

namespace previewd::net::terminal {

/// The last bytes that a terminal has put out, each with its number: byte `n` is the one that made
/// the sequence `n`, the first is 1. Grows up to its limit and then forgets the oldest. Any one
/// thread at a time.
class scrollback {
public:
  /// Keeps at most `limit` bytes, at least one.
  explicit scrollback(std::size_t limit);

  void append(std::string_view bytes);

  /// Bytes after a sequence.
  struct slice {
    std::string bytes;
    uint64_t sequence = 0;  // of the last byte; where there are none, where the next would follow
    uint64_t lost = 0;      // bytes asked for that are no longer held
  };

  /// At most `limit` bytes that follow `after`. A sequence that has not been reached yet counts as
  /// the newest.
  slice read(uint64_t after, std::size_t limit) const;

  /// Most bytes that it keeps.
  std::size_t limit() const noexcept { return limit_; }

  /// All bytes that were ever appended.
  uint64_t sequence() const noexcept { return sequence_; }

  /// What a reader can ask for without losing anything: the sequence before the oldest byte that is
  /// held.
  uint64_t oldest() const noexcept { return sequence_ - size_; }

private:
  std::size_t limit_;
  std::string ring_;      // grows to `limit_`, then wraps
  std::size_t next_ = 0;  // where the next byte goes once it has
  std::size_t size_ = 0;
  uint64_t sequence_ = 0;
};

}  // namespace previewd::net::terminal
