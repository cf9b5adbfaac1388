#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "previewd/messages/server.hpp"
#include "previewd/net/http/exchange.hpp"
#include "previewd/net/http/message.hpp"
#include "previewd/net/http/preview_target.hpp"

/// What a head becomes on its way through (RFC 9110, section 7): pure functions from one head to
/// another.
namespace previewd::net::http {

/// Whether a client's forwarding fields are believed (`proxy.trusted`).
enum class peer_trust : uint8_t { none, forwarding };

/// The two sides of one proxied request.
struct forwarding {
  const request_head& request;
  const preview_target& target;
  prefix_mode prefix = prefix_mode::stripped;
  const endpoint& upstream;
  std::string_view client_address;  // numeric, or "unix"
  std::string_view client_scheme = "http";
  /// Whether what the client says in `Forwarded` and `X-Forwarded-*` is passed on and added to, or
  /// dropped.
  peer_trust trust = peer_trust::none;
  /// Names of cookies that the server neither gets nor sets; null: none beside previewd's own.
  const std::vector<std::string>* withheld = nullptr;
  /// The server is not told by what name it was reached (`route::names_hidden`).
  bool names_hidden = false;

  bool strips() const noexcept {
    return target.by == preview_target::address::path && prefix == prefix_mode::stripped;
  }
};

/// A cookie whose name begins so is previewd's own: never sent upstream, never taken from there.
constexpr std::string_view own_cookie_prefix = "previewd_";
/// Names the preview whose pages under a path address the browser showed last: `project/user` or
/// `project/user:port`.
constexpr std::string_view preview_cookie = "previewd_preview";

/// How often the request came through previewd already (Via, RFC 9110, section 7.6.3).
unsigned hops_of(const request_head& head);

/// By what a client says it reached the front proxy that it is: `http` or `https`, or nothing
/// (`X-Forwarded-Proto`).
std::string_view forwarded_scheme(const request_head& head) noexcept;

/// How many hops an OPTIONS request may still make (Max-Forwards, RFC 9110, section 7.6.2).
/// Nothing: as many as it likes.
std::optional<uint64_t> hops_left(const request_head& head) noexcept;

/// Appends the head for the server: as it knows itself (`localhost:PORT`), with the true names in
/// `Forwarded` and `X-Forwarded-*`. `Connection: Upgrade` for a WebSocket; otherwise the connection
/// is kept.
void write_upstream_request(std::string& out, const forwarding& how);

/// How an answer goes on to the client.
struct answer_form {
  bool keep_alive = true;
  bool chunked = false;     // the body goes on in chunks
  bool set_cookie = false;  // adds the preview cookie
  /// Replaces what forbids framing (CSP `frame-ancestors` sources; `{port}` stands for that of the
  /// request's Host, with its colon). Empty: left as it is.
  std::string_view frame_ancestors;
};

/// Appends the head for the client, a final one or an interim one (1xx), 101 included.
void write_client_answer(
  std::string& out, const answer_head& answer, const forwarding& how, const answer_form& form);

/// A `Location` of the server as the client has to see it.
std::string client_location(std::string_view location, const forwarding& how);

}  // namespace previewd::net::http
