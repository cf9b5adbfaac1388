#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "previewd/net/http/exchange.hpp"
#include "previewd/net/http/preview_target.hpp"
#include "previewd/net/http/route_table.hpp"
#include "previewd/net/http/settings.hpp"

namespace previewd::net::http {

/// Where a request goes.
struct routing {
  enum class kind : uint8_t {
    service,  // previewd answers; `target` is set when it is asked about one preview
    preview,  // to the server behind `target`
    answer    // `answer` is all there is to say
  };
  kind what = kind::service;
  std::optional<preview_target> target;
  response answer;
  /// The origin of `auth_origins` whose page asks the service; null: it is the service's own page,
  /// or none. Lives as long as the settings.
  const std::string* listed_origin = nullptr;
};

/// Decides by Host, path, Referer and preview cookie, and refuses names and origins that have no
/// right here (docs/addresses.md). Pure but for the labels of `routes`.
routing
route_request(const request_head& head, const http_settings& settings, const route_table& routes);

/// A host and its port, apart. The name without the brackets of an IPv6 address; port 0: none
/// given.
struct host_and_port {
  std::string name;  // lower case
  uint16_t port = 0;
};
/// Nothing: malformed.
std::optional<host_and_port> split_host(std::string_view host);

/// Whether it is one of `public_hosts`, or below `preview_domain`: what browsers reach by `front`,
/// if there is one. `host`: with a port or without.
bool is_public(std::string_view host, const http_settings& settings);

/// `/preview/{project}/{user}[:{port}]` at the front of a path.
struct preview_path_parts {
  workspace_key key;
  uint16_t port = 0;
  std::size_t length = 0;  // of the prefix, as it came
  bool valid = false;      // both names are, and so is the port
};
/// Nothing: the path is not of this form.
std::optional<preview_path_parts> parse_preview_path(std::string_view path);

}  // namespace previewd::net::http
