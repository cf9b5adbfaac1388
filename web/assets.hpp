#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>

/// The pages that browsers get, embedded in the program. All functions may be called on any thread;
/// everything they return views into the program and lives as long as it.
namespace previewd::web {

/// One embedded file.
struct asset {
  std::string_view path;  // `terminal.html`, `assets/terminal-B6zOuVal.js`: without a leading slash
  std::string_view content_type;   // with its charset where it is text
  std::string_view cache_control;  // `immutable` for what has its hash in its name
  std::string_view etag;           // with its quotes (RFC 9110, section 8.8.3)
  std::string_view
    content_security_policy;  // what the page needs and no more; empty for what is no page
  std::string_view bytes;
};

/// All embedded files, sorted by path.
std::span<const asset> assets() noexcept;

/// The file of a path, with or without its leading slash; null when there is none. The pages are
/// `index.html`, `terminal.html`, `dashboard.html`, `iframe.html` and `loading.html`; all else lies
/// under `assets/`.
const asset* find_asset(std::string_view path) noexcept;

/// Whose loading page it is, and where the page asks for news.
struct loading_page_options {
  std::string_view project;
  std::string_view user;
  /// A path on the page's own origin that answers as `GET /api/preview-status/{project}/{user}`
  /// does: below the prefix for a path address.
  std::string_view status_path = "/.previewd/status";
  uint16_t port = 0;  // of a further server; 0: the primary one
};

/// The page for a navigation to a preview that is down: complete in itself, since on a preview's
/// origin `/assets/` is the app's. Send it with the policy of `find_asset("loading.html")`.
/// Everything is escaped for HTML.
std::string loading_page(const loading_page_options& options);

}  // namespace previewd::web
