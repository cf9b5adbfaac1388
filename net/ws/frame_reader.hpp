#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

/// What a WebSocket client sends, taken apart (RFC 6455, sections 5 and 8.1). Pure.
namespace previewd::net::ws {

/// Codes of a close frame (RFC 6455, section 7.4.1); 4000 to 4999 are an application's own.
namespace close_code {
constexpr uint16_t normal = 1000;
constexpr uint16_t going_away = 1001;
constexpr uint16_t protocol_error = 1002;
constexpr uint16_t unsupported_data = 1003;
constexpr uint16_t no_code = 1005;  // never sent: the frame had none
constexpr uint16_t invalid_data = 1007;
constexpr uint16_t policy_violation = 1008;
constexpr uint16_t too_big = 1009;
}  // namespace close_code

/// What a frame is (section 5.2).
enum class opcode : uint8_t {
  continuation = 0,
  text = 1,
  binary = 2,
  close = 8,
  ping = 9,
  pong = 10
};

/// A whole message, its parts joined, or a control frame.
struct incoming_frame {
  opcode type = opcode::text;  // never `continuation`
  std::string_view bytes;      // of `close`: the reason
  uint16_t code = 0;           // of `close`
};

/// Whether bytes that come in pieces are UTF-8 (RFC 3629).
class utf8_check {
public:
  /// False: they are not, whatever follows.
  bool feed(std::string_view bytes) noexcept;
  /// Whether no character is cut here.
  bool is_whole() const noexcept { return left_ == 0; }

private:
  uint8_t left_ = 0;  // bytes of the character that is under way
  uint8_t least_ = 0x80;
  uint8_t most_ = 0xbf;
};

/// The frames of one client, out of bytes that come in pieces. Holds no more than what is under
/// way, and that only while it is. Not thread-safe.
class frame_reader {
public:
  /// `message_bytes`: of the largest message that is taken.
  explicit frame_reader(std::size_t message_bytes) noexcept : message_bytes_{message_bytes} {}

  /// The next message or control frame that is whole, of the bytes from `at` to `end`, which it
  /// unmasks where they are; `at` then stands behind what has been taken. The view is good until
  /// the next call, and as long as the bytes. Nothing: all has been taken, or there is a fault.
  std::optional<incoming_frame> next(char*& at, const char* end);

  /// With which code the connection has to be closed, after which nothing more is taken; 0: all is
  /// well.
  uint16_t fault() const noexcept { return fault_; }

private:
  bool read_head(char*& at, const char* end);
  bool begin_frame();
  std::optional<incoming_frame> fail(uint16_t code) noexcept;
  std::optional<incoming_frame> control(std::string_view bytes);

  const std::size_t message_bytes_;
  uint64_t left_ = 0;    // of the frame's payload
  std::string message_;  // what came before, of a message that is not whole
  std::string control_;  // the same of a control frame
  std::array<unsigned char, 14> head_{};
  std::array<unsigned char, 4> mask_{};
  uint16_t fault_ = 0;
  uint8_t head_size_ = 0;
  uint8_t masked_ = 0;  // bytes unmasked, modulo 4
  opcode frame_ = opcode::text;
  opcode type_ = opcode::text;  // of the message
  bool in_frame_ = false;       // its head is whole
  bool in_message_ = false;     // parts of it have come
  bool final_ = false;
  bool given_ = false;  // what is held has been given out
  utf8_check utf8_;
};

/// The head of a frame of the server's (section 5.2): not masked, the only one of its message.
struct frame_head {
  frame_head(opcode type, uint64_t payload) noexcept;

  std::array<char, 10> bytes{};
  uint8_t size = 2;
};

}  // namespace previewd::net::ws
