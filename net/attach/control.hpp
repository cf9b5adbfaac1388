#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <variant>

#include "previewd/messages/server.hpp"
#include "previewd/messages/terminal.hpp"

/// The text frames of the subprotocol `previewd.terminal.v1` (docs/terminals.md): one JSON object
/// each. Pure functions; any thread.
namespace previewd::net::attach {

/// The size that the client would like.
struct resize_wish {
  terminal_size size;
};
/// The client has shown everything up to there.
struct acknowledgement {
  uint64_t sequence = 0;
};
/// A signal for the foreground job.
struct signal_order {
  int number = 0;
};

/// What is wrong with a frame: no JSON object of this form, or a type that is not known.
enum class control_error : uint8_t { malformed, unknown };

using control = std::variant<resize_wish, acknowledgement, signal_order, control_error>;

/// Reads a frame from a client.
control read_control(std::string_view text);

/// `ready`: all that came before was replay. `sequence`: of the last byte of it.
std::string ready_text(uint64_t sequence, uint64_t replayed, uint64_t lost, terminal_size size);

/// `resize`: another size is in force.
std::string resize_text(terminal_size size);

/// `exit`: the terminal's process has ended, and all its output has been sent.
std::string exit_text(const exit_status& status);

}  // namespace previewd::net::attach
