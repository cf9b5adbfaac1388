#pragma once

/// Forward declarations of the public vocabulary.
namespace previewd {

struct workspace_key;
struct server_ref;
struct endpoint;
struct server_description;
struct server_info;
struct stop_record;
struct terminal_request;
struct terminal_info;
struct route;
struct workspace_routes;
struct event;
struct project_snapshot;
struct workspace_status;
class data_plane;
class kernel_watch;

}  // namespace previewd
