#include "previewd/web/assets.hpp"

#include <algorithm>

namespace previewd::web {

namespace {

void append_escaped(std::string& out, std::string_view text) {
  for (const char character : text) {
    switch (character) {
      case '&':
        out += "&amp;";
        break;
      case '<':
        out += "&lt;";
        break;
      case '>':
        out += "&gt;";
        break;
      case '"':
        out += "&quot;";
        break;
      case '\'':
        out += "&#39;";
        break;
      default:
        out += character;
    }
  }
}

}  // namespace

const asset* find_asset(std::string_view path) noexcept {
  if (!path.empty() && path.front() == '/') path.remove_prefix(1);
  const auto all = assets();
  const auto found = std::lower_bound(all.begin(), all.end(), path,
    [](const asset& each, std::string_view wanted) { return each.path < wanted; });
  return found != all.end() && found->path == path ? &*found : nullptr;
}

std::string loading_page(const loading_page_options& options) {
  struct placeholder {
    std::string_view name;
    std::string_view value;
  };
  const std::string port = options.port == 0 ? std::string{} : std::to_string(options.port);
  const placeholder placeholders[] = {{"{{project}}", options.project}, {"{{user}}", options.user},
    {"{{port}}", port}, {"{{status}}", options.status_path}};

  const auto* page = find_asset("loading.html");
  std::string_view rest = page != nullptr ? page->bytes : std::string_view{};
  std::string out;
  out.reserve(rest.size() + 512);
  // One pass, so that a value that looks like a placeholder stays what it is.
  while (!rest.empty()) {
    const auto brace = rest.find("{{");
    out += rest.substr(0, brace);
    if (brace == std::string_view::npos) break;
    rest.remove_prefix(brace);
    const auto* known = std::find_if(std::begin(placeholders), std::end(placeholders),
      [&](const placeholder& each) { return rest.substr(0, each.name.size()) == each.name; });
    if (known != std::end(placeholders)) {
      append_escaped(out, known->value);
      rest.remove_prefix(known->name.size());
    } else {
      out += rest.front();
      rest.remove_prefix(1);
    }
  }
  return out;
}

}  // namespace previewd::web
