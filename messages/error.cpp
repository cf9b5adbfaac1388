#include "previewd/messages/error.hpp"

#include <array>
#include <caf/atom.hpp>
#include <caf/make_message.hpp>
#include <caf/sec.hpp>

#include "previewd/messages/type_ids.hpp"

namespace previewd {

namespace {

struct row {
  errc code;
  std::string_view name;
  int status;
};

constexpr std::array rows{
  row{errc::none, "none", 200},
  row{errc::invalid_name, "invalid_name", 400},
  row{errc::invalid_json, "invalid_json", 400},
  row{errc::invalid_field, "invalid_field", 400},
  row{errc::not_found, "not_found", 404},
  row{errc::terminal_not_found, "terminal_not_found", 404},
  row{errc::server_gone, "server_gone", 410},
  row{errc::no_such_server, "server_not_found", 404},
  row{errc::port_taken, "port_taken", 409},
  row{errc::not_listening, "not_listening", 422},
  row{errc::limit_reached, "limit_reached", 429},
  row{errc::payload_too_large, "payload_too_large", 413},
  row{errc::preview_unavailable, "preview_unavailable", 503},
  row{errc::host_not_allowed, "host_not_allowed", 403},
  row{errc::origin_not_allowed, "origin_not_allowed", 403},
  row{errc::pty_failed, "pty_failed", 503},
  row{errc::spawn_failed, "spawn_failed", 422},
  row{errc::timed_out, "timed_out", 504},
  row{errc::shutting_down, "shutting_down", 503},
  row{errc::not_authenticated, "not_authenticated", 401},
  row{errc::not_allowed, "not_allowed", 403},
  row{errc::terminal_exited, "terminal_exited", 409},
  row{errc::internal, "internal_error", 500},
};

constexpr caf::atom_value category = caf::atom("previewd");

const row& row_of(errc code) noexcept {
  for (const row& r : rows)
    if (r.code == code) return r;
  return rows.back();
}

}  // namespace

std::string_view to_code(errc code) noexcept {
  return row_of(code).name;
}

int http_status(errc code) noexcept {
  return row_of(code).status;
}

caf::error make_error(errc code, std::string detail) {
  return caf::error{static_cast<uint8_t>(code), category, caf::make_message(std::move(detail))};
}

errc code_of(const caf::error& error) noexcept {
  if (!error) return errc::none;
  if (error.category() == category) return static_cast<errc>(error.code());
  return error == caf::sec::request_timeout ? errc::timed_out : errc::internal;
}

std::string detail_of(const caf::error& error) {
  if (error.category() == category && error.context().match_elements<std::string>())
    return error.context().get_as<std::string>(0);
  if (code_of(error) == errc::timed_out) return "The service did not answer in time; try again.";
  return "Something inside the service failed; its log says what.";
}

}  // namespace previewd
