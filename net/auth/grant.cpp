#include "previewd/net/auth/grant.hpp"

namespace previewd::net::auth {

std::string_view to_string(role value) noexcept {
  return value == role::edit ? "edit" : "view";
}

bool grant::covers(const workspace_key& workspace) const noexcept {
  return !guest && (project == any_name || project == workspace.project) &&
         (user == any_name || user == workspace.user);
}

bool grant::is_of_project(const workspace_key& workspace) const noexcept {
  if (guest) return project == workspace.project && user == workspace.user;
  return project == any_name || project == workspace.project;
}

}  // namespace previewd::net::auth
