#pragma once

#include <caf/meta/type_name.hpp>
#include <cstddef>
#include <functional>
#include <string>
#include <string_view>
#include <tuple>

namespace previewd {

/// One project of one user: what a preview address names. Always compared as a pair; the joined
/// form is for display only.
struct workspace_key {
  std::string project;
  std::string user;

  friend bool operator==(const workspace_key& a, const workspace_key& b) {
    return a.project == b.project && a.user == b.user;
  }
  friend bool operator!=(const workspace_key& a, const workspace_key& b) { return !(a == b); }
  friend bool operator<(const workspace_key& a, const workspace_key& b) {
    return std::tie(a.project, a.user) < std::tie(b.project, b.user);
  }
  template <class Inspector>
  friend typename Inspector::result_type inspect(Inspector& f, workspace_key& x) {
    return f(caf::meta::type_name("workspace_key"), x.project, x.user);
  }
};

/// `project_user`, as it is printed and sent as `serverKey`. Not unique: never a key.
std::string server_key(const workspace_key& key);

/// Whether `name` may be a project or a user: 1 to 64 characters of `A-Z a-z 0-9 . _ ~ @ + -`,
/// neither `.` nor `..`.
bool valid_name(std::string_view name) noexcept;

/// Whether both halves are valid names.
bool valid(const workspace_key& key) noexcept;

/// `/preview/{project}/{user}`, the path address without its final slash.
std::string preview_path(const workspace_key& key);

/// The DNS label of the workspace's own origin (docs/addresses.md): `{project}--{user}` in lower
/// case when both are made of letters, digits and single hyphens and the whole fits 63 characters,
/// else nothing.
std::string plain_origin_label(const workspace_key& key);

/// A label for a key that has no plain one, or whose plain one is taken: a readable stem and a
/// short hash of the key.
std::string hashed_origin_label(const workspace_key& key);

/// The DNS name of the origin of a further server: `{port}--{label}`. The port is a TCP port.
std::string port_origin_label(unsigned port, std::string_view label);

}  // namespace previewd

template <> struct std::hash<previewd::workspace_key> {
  std::size_t operator()(const previewd::workspace_key& key) const noexcept {
    const std::size_t first = std::hash<std::string>{}(key.project);
    return first ^ (std::hash<std::string>{}(key.user) + 0x9e3779b97f4a7c15ULL + (first << 6) +
                     (first >> 2));
  }
};
