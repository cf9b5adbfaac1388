#include <algorithm>
#include <string>

#include "previewd/net/http/router.hpp"
#include "previewd/net/http/trusted_peers.hpp"
#include "previewd/tests/fuzz/http_reference.hpp"
#include "previewd/tests/net/http/routes.hpp"

// Names from outside: hosts, labels, path addresses, and peers. Whatever is read stays what it is
// when it is written and read again, and nothing leads to a workspace but its own addresses.

using namespace previewd;
using namespace previewd::fuzz;
using namespace previewd::net::http;

namespace {

void host(std::string_view input) {
  const auto parts = split_host(input);
  if (!parts) return;
  require(!parts->name.empty(), "a host has a name");
  const bool v6 = input.front() == '[';
  std::string again = v6 ? "[" + parts->name + "]" : parts->name;
  if (parts->port != 0) again += ":" + std::to_string(parts->port);
  const auto second = split_host(again);
  require(second && second->name == parts->name && second->port == parts->port,
    "a host is the same when it is written again");
}

void path(std::string_view input) {
  const std::string whole = "/preview/" + std::string{input};
  const auto parts = parse_preview_path(whole);
  if (!parts) return;
  require(
    parts->length <= whole.size() && (parts->length == whole.size() || whole[parts->length] == '/'),
    "a prefix ends at a slash");
  if (!parts->valid) return;
  require(valid(parts->key), "a path address names a workspace that may be");
  std::string again = preview_path(parts->key);
  if (parts->port != 0) again += ":" + std::to_string(parts->port);
  const auto second = parse_preview_path(again);
  require(second && second->valid && second->key == parts->key && second->port == parts->port &&
            second->length == again.size(),
    "a path address is the same when it is written again");
}

void label(std::string_view input) {
  const std::size_t slash = std::min(input.find('/'), input.size());
  const workspace_key key{std::string{input.substr(0, slash)},
    std::string{input.substr(std::min(slash + 1, input.size()))}};
  if (!valid(key)) return;
  for (const std::string& name : {plain_origin_label(key), hashed_origin_label(key)}) {
    if (name.empty()) continue;
    require(name.size() <= 63 && name.front() != '-' && name.back() != '-',
      "a label is one of DNS (RFC 1035, section 2.3.4)");
    for (char c : name)
      require((c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-',
        "a label has letters, digits and hyphens");
    require(port_origin_label(65535, name).size() <= 63, "a further server's label is one of DNS");
  }
}

void route_by(std::string_view input) {
  if (input.find_first_of("\r\n") != std::string_view::npos) return;
  const std::string text = "GET /x HTTP/1.1\r\nHost: " + std::string{input} + "\r\n\r\n";
  request_head head;
  if (read_request_head(text, head)) return;
  static const route_table routes = [] {
    route_table table{10};
    table.apply(test::routes_of(1, {test::route_to(5173)}));
    return table;
  }();
  static const http_settings settings;
  const routing where = route_request(head, settings, routes);
  if (where.what != routing::kind::preview) return;
  const std::string name = lower(head.host.substr(0, head.host.find(':')));
  const std::string own = "shop--ann.preview.localhost";
  const std::string further = std::to_string(where.target->port) + "--" + own;
  require(where.target->key == test::shop, "a label leads to its workspace");
  // A port may be written with zeros before it.
  require(where.target->port == 0 ? name == own
                                  : name.size() >= further.size() &&
                                      name.substr(name.size() - further.size()) == further &&
                                      name.find_first_not_of('0') == name.size() - further.size(),
    "only its own label leads to a workspace");
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, std::size_t size) {
  std::string_view input = text_of(data, size);
  switch (choice(input) % 5) {
    case 0:
      host(input);
      break;
    case 1:
      path(input);
      break;
    case 2:
      label(input);
      break;
    case 3:
      route_by(input);
      break;
    default: {
      trusted_peers peers;
      if (peers.add(input) && input.find('/') == std::string_view::npos)
        require(peers.contains(input), "a peer is among those that were named");
      break;
    }
  }
  return 0;
}
