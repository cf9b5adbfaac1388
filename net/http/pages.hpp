#pragma once

#include <functional>
#include <string>
#include <string_view>

#include "previewd/messages/route.hpp"
#include "previewd/net/http/exchange.hpp"
#include "previewd/net/http/preview_target.hpp"

namespace previewd::net::http {

/// What the proxy says itself, and others write. Called on the I/O thread; either may be null.
struct preview_pages {
  /// The page that is shown while a preview is not available, and comes back by itself. Null: a
  /// plain one that reloads.
  std::function<std::string(const preview_target&)> loading;
  /// Sent with it as `Content-Security-Policy`; empty: no such field.
  std::string loading_policy;
  /// A stop record as JSON, for `lastStop`. Null: `lastStop` is null.
  std::function<std::string(const stop_record&)> stop_record;
};

/// An error for whoever asked: a small page for a navigation, problem details for anything else.
response error_answer(
  const request_head& head, unsigned status, std::string_view code, std::string_view sentence);

/// 503: the loading page for a navigation, problem details with `lastStop` for anything else.
/// `last_stop` may be null.
response unavailable_answer(const request_head& head, const preview_target& target,
  const preview_pages& pages, const stop_record* last_stop, std::string_view sentence);

}  // namespace previewd::net::http
