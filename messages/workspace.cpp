#include "previewd/messages/workspace.hpp"

#include <array>
#include <cstdint>

namespace previewd {

namespace {

constexpr std::size_t longest_name = 64;
constexpr std::size_t longest_dns_label = 63;   // RFC 1035, section 2.3.4
constexpr std::size_t longest_port_prefix = 7;  // "65535--"

char lower(char c) noexcept {
  return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
}

bool is_alphanumeric(char c) noexcept {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
}

// Letters, digits and single inner hyphens: what may stand in a label without being mistaken for
// the separator.
bool is_plain(std::string_view name) noexcept {
  if (name.empty() || name.front() == '-' || name.back() == '-') return false;
  for (std::size_t i = 0; i < name.size(); ++i) {
    if (name[i] == '-' ? name[i - 1] == '-' : !is_alphanumeric(name[i])) return false;
  }
  return true;
}

/// `p-` and a hash.
constexpr std::size_t shortest_hashed_label = 15;

bool is_number(std::string_view name) noexcept {
  return name.find_first_not_of("0123456789") == std::string_view::npos;
}

// FNV-1a; the label only has to be short and stable, whoever takes one on purpose gets another by
// `hashed_origin_label`.
uint64_t hash_of(const workspace_key& key) noexcept {
  uint64_t hash = 14695981039346656037ULL;
  const auto add = [&](std::string_view text) {
    for (char c : text) hash = (hash ^ static_cast<unsigned char>(c)) * 1099511628211ULL;
    hash = (hash ^ 0xffU) * 1099511628211ULL;
  };
  add(key.project);
  add(key.user);
  return hash;
}

}  // namespace

std::string server_key(const workspace_key& key) {
  return key.project + "_" + key.user;
}

bool valid_name(std::string_view name) noexcept {
  if (name.empty() || name.size() > longest_name || name == "." || name == "..") return false;
  for (char c : name)
    if (!is_alphanumeric(c) && std::string_view{"._~@+-"}.find(c) == std::string_view::npos)
      return false;
  return true;
}

bool valid(const workspace_key& key) noexcept {
  return valid_name(key.project) && valid_name(key.user);
}

std::string preview_path(const workspace_key& key) {
  return "/preview/" + key.project + "/" + key.user;
}

std::string plain_origin_label(const workspace_key& key) {
  if (!is_plain(key.project) || !is_plain(key.user)) return {};
  std::string label = key.project + "--" + key.user;
  if (label.size() + longest_port_prefix > longest_dns_label) return {};
  for (char& c : label) c = lower(c);
  // Not for names of ours: it would have to be Punycode (RFC 5891, section 5.4).
  if (label.starts_with("xn--")) return {};
  // The project would read as the port of a further server, of the workspace with that label.
  if (is_number(key.project) && lower(key.user.front()) == 'p' &&
      key.user.size() >= shortest_hashed_label)
    return {};
  return label;
}

std::string hashed_origin_label(const workspace_key& key) {
  std::string stem;
  for (char c : key.project + "-" + key.user) {
    if (is_alphanumeric(c)) {
      stem += lower(c);
    } else if (!stem.empty() && stem.back() != '-') {
      stem += '-';
    }
    if (stem.size() == 32) break;
  }
  while (!stem.empty() && stem.back() == '-') stem.pop_back();
  constexpr std::string_view digits = "0123456789abcdefghijklmnopqrstuv";
  std::string hash;
  uint64_t rest = hash_of(key);
  for (int i = 0; i < 13; ++i, rest >>= 5) hash += digits[rest & 31U];
  return "p" + (stem.empty() ? "" : "-" + stem) + "-" + hash;
}

std::string port_origin_label(unsigned port, std::string_view label) {
  return std::to_string(port) + "--" + std::string{label};
}

}  // namespace previewd
