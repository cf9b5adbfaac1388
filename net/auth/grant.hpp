#pragma once

#include <chrono>
#include <cstdint>
#include <string>
#include <string_view>

#include "previewd/messages/workspace.hpp"

namespace previewd::net::auth {

/// What somebody may do in the workspaces that are open to him: `view` looks and reads, `edit` also
/// types, opens and closes.
enum class role : uint8_t { view, edit };
std::string_view to_string(role value) noexcept;

/// In the place of a project or user: any. No name can be it.
constexpr std::string_view any_name = "*";

/// What somebody has shown to be his right. A value.
struct grant {
  std::string project;  // or `any_name`
  std::string user;     // or `any_name`
  role may = role::view;
  /// When it ends by the clock of this machine, whatever clocks may be apart included.
  std::chrono::system_clock::time_point expires;
  /// The key that vouches for it (`key_set::vouches`).
  uint64_t key = 0;
  /// It is for the preview of somebody else's workspace alone, as long as that is shared.
  bool guest = false;

  bool covers(const workspace_key& workspace) const noexcept;
  /// Whether what is shared with the workspace's project is for it; for a guest, whether what this
  /// very workspace shares is.
  bool is_of_project(const workspace_key& workspace) const noexcept;
  /// Whether it is for all workspaces, and so for what belongs to none of them.
  bool covers_everything() const noexcept {
    return !guest && project == any_name && user == any_name;
  }
  bool may_edit() const noexcept { return !guest && may == role::edit; }
  /// Whether it has ended.
  bool is_over() const noexcept { return std::chrono::system_clock::now() >= expires; }
};

}  // namespace previewd::net::auth
