#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <utility>
#include <variant>

namespace previewd::os {

/// Whom a file of keys may be open to. `secret`: not to every user of the machine.
enum class secrecy : uint8_t { secret, open };

/// A text that is not left in memory that is given back. Move-only.
class wiped_text {
public:
  explicit wiped_text(std::string text) noexcept : text_{std::move(text)} {}
  ~wiped_text() { wipe(); }
  wiped_text(wiped_text&& other) noexcept : text_{other.text_} { other.wipe(); }
  wiped_text& operator=(wiped_text&&) = delete;

  const std::string& text() const noexcept { return text_; }

private:
  void wipe() noexcept;

  std::string text_;
};

/// The content of a file of keys, of at most `most` bytes; or why it cannot be had, as the end of a
/// sentence that its name begins. Waits for a disk, never for the writer of a pipe (open(2)).
std::variant<wiped_text, std::string>
read_key_file(const std::string& path, secrecy how, std::size_t most);

}  // namespace previewd::os
