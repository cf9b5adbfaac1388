#pragma once

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "previewd/messages/route.hpp"

namespace previewd::test {

/// The workspace that tests use, and routes of it.
inline const workspace_key shop{"shop", "ann"};

inline route route_to(uint16_t port, uint64_t generation = 1, route_state state = route_state::up) {
  route result;
  result.ref = {shop, generation};
  result.upstream = {.address = "127.0.0.1", .port = port, .scheme = scheme::http};
  result.state = state;
  result.primary = true;
  return result;
}

inline workspace_routes routes_of(uint64_t revision, std::vector<route> routes) {
  workspace_routes result;
  result.key = shop;
  result.revision = revision;
  result.label = "shop--ann";
  result.routes = std::move(routes);
  return result;
}

/// The head lines of a browser's navigation.
inline const std::string navigation = "Sec-Fetch-Mode: navigate\r\n";

}  // namespace previewd::test
