#pragma once

#include <cstdint>
#include <string>

#include "previewd/messages/workspace.hpp"

namespace previewd::net::http {

/// Which preview a request is for.
struct preview_target {
  enum class address : uint8_t { origin, path };

  workspace_key key;
  uint16_t port = 0;  // of a further server; 0: the primary one
  address by = address::origin;
  /// What stands before the app's own path, as it came: `/preview/p/u` or `/preview/p/u:5174`;
  /// empty for an origin address.
  std::string prefix;
};

}  // namespace previewd::net::http
