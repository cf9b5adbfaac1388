#include "previewd/net/auth/grant.hpp"

namespace previewd::net::auth {

std::string_view to_string(role value) noexcept {
  return value == role::edit ? "edit" : "view";
}

bool grant::covers(const workspace_key& workspace) const noexcept {
  return (project == any_name || project == workspace.project) &&
         (user == any_name || user == workspace.user);
}

}  // namespace previewd::net::auth
