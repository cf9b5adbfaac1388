#pragma once

#include <cstdint>

namespace previewd::net::ws {

/// How a message of a WebSocket travels (RFC 6455, section 5.6): text is UTF-8, binary is any
/// bytes.
enum class message_kind : uint8_t { text, binary };

}  // namespace previewd::net::ws
