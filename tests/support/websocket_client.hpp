#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "previewd/tests/support/http_client.hpp"

namespace previewd::test {

/// A blocking WebSocket client (RFC 6455) that sends and gets whole frames as they are.
class websocket_client {
public:
  enum class kind : uint8_t {
    continuation = 0,
    text = 1,
    binary = 2,
    close = 8,
    ping = 9,
    pong = 10
  };
  struct frame {
    kind type = kind::text;
    std::string payload;
  };

  websocket_client(uint16_t port, const std::string& target, const std::string& fields = {})
      : connection_{port} {
    connection_.send(
      "GET " + target + " HTTP/1.1\r\nHost: 127.0.0.1:" + std::to_string(port) +
      "\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
      "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n" +
      fields + "\r\n");
    read_ = connection_.read_until("\r\n\r\n");
    const auto end = read_.find("\r\n\r\n");
    if (end == std::string::npos) return;
    head = read_.substr(0, end + 2);
    read_.erase(0, end + 4);
  }

  bool is_open() const { return head.find(" 101 ") != std::string::npos; }

  void send(kind type, std::string_view payload, bool last = true) {
    std::string bytes;
    bytes += static_cast<char>((last ? 0x80 : 0) | static_cast<int>(type));
    if (payload.size() < 126) {
      bytes += static_cast<char>(0x80 | payload.size());
    } else {
      const bool large = payload.size() > 0xffff;
      bytes += static_cast<char>(0x80 | (large ? 127 : 126));
      for (int shift = large ? 56 : 8; shift >= 0; shift -= 8)
        bytes += static_cast<char>((payload.size() >> shift) & 0xff);
    }
    constexpr std::array<unsigned char, 4> mask{1, 2, 3, 4};
    for (const unsigned char byte : mask) bytes += static_cast<char>(byte);
    for (std::size_t i = 0; i < payload.size(); ++i)
      bytes += static_cast<char>(static_cast<unsigned char>(payload[i]) ^ mask[i % 4]);
    connection_.send(bytes);
  }
  void text(std::string_view payload) { send(kind::text, payload); }
  void binary(std::string_view payload) { send(kind::binary, payload); }

  /// The next frame; nothing when the connection ends, or at the deadline.
  std::optional<frame> next() {
    const auto have = [this](std::size_t count) {
      while (read_.size() < count) {
        const std::string more = connection_.read();
        if (more.empty()) return false;
        read_ += more;
      }
      return true;
    };
    if (!have(2)) return std::nullopt;
    const auto byte = [this](std::size_t at) {
      return static_cast<std::size_t>(static_cast<unsigned char>(read_[at]));
    };
    std::size_t size = byte(1) & 0x7f;
    std::size_t start = 2;
    if (size >= 126) {
      const std::size_t wide = size == 126 ? 2 : 8;
      if (!have(2 + wide)) return std::nullopt;
      size = 0;
      for (std::size_t i = 0; i < wide; ++i) size = size << 8 | byte(2 + i);
      start += wide;
    }
    if (!have(start + size)) return std::nullopt;
    frame result{static_cast<kind>(byte(0) & 0x0f), read_.substr(start, size)};
    read_.erase(0, start + size);
    return result;
  }

  /// Reads binary frames until their bytes hold `text`; all of them, or nothing at the end or the
  /// deadline. Other frames are kept in `others`.
  std::optional<std::string> read_until(std::string_view text) {
    while (output.find(text) == std::string::npos) {
      auto got = next();
      if (!got) return std::nullopt;
      if (got->type == kind::binary) {
        output += got->payload;
      } else {
        others.push_back(std::move(*got));
      }
    }
    return output;
  }

  /// Reads on until the close frame and gives its code; 1005 for one without (RFC 6455, section
  /// 7.1.5), 1006 when the connection just ends.
  int close_code() {
    for (auto got = next(); got; got = next()) {
      if (got->type == kind::binary) output += got->payload;
      if (got->type != kind::close) {
        others.push_back(std::move(*got));
        continue;
      }
      if (got->payload.size() < 2) return 1005;
      return static_cast<unsigned char>(got->payload[0]) << 8 |
             static_cast<unsigned char>(got->payload[1]);
    }
    return 1006;
  }

  connection& raw() { return connection_; }

  std::string head;           // of the answer to the handshake
  std::string output;         // of all binary frames so far
  std::vector<frame> others;  // that came meanwhile

private:
  connection connection_;
  std::string read_;
};

}  // namespace previewd::test
