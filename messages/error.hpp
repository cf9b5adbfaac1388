#pragma once

#include <caf/error.hpp>
#include <cstdint>
#include <string>
#include <string_view>

namespace previewd {

/// Every error that previewd reports to somebody outside. Each has a stable wire name (`to_code`)
/// and an HTTP status; both are listed in docs/errors.md. Values are never renumbered.
enum class errc : uint8_t {
  /// Not an error; CAF reserves zero for "no error".
  none = 0,
  invalid_name,
  invalid_json,
  invalid_field,
  not_found,
  terminal_not_found,
  server_gone,
  no_such_server,
  port_taken,
  not_listening,
  limit_reached,
  payload_too_large,
  preview_unavailable,
  host_not_allowed,
  origin_not_allowed,
  pty_failed,
  spawn_failed,
  timed_out,
  shutting_down,
  internal,
  terminal_exited,
  not_authenticated,
  not_allowed,
};

/// The stable wire name, for example `terminal_not_found`.
std::string_view to_code(errc code) noexcept;

/// The HTTP status that goes with the code (RFC 9110, section 15).
int http_status(errc code) noexcept;

/// An error for a handler's `caf::result`: the code, and one sentence for the user.
caf::error make_error(errc code, std::string detail);

/// The code in an error of ours; `errc::internal` for any other, `timed_out` for a request that got
/// no answer.
errc code_of(const caf::error& error) noexcept;

/// The sentence of an error of ours; a generic one for any other.
std::string detail_of(const caf::error& error);

}  // namespace previewd
