#include "previewd/net/api/service_api.hpp"

#include <algorithm>
#include <limits>
#include <optional>
#include <string_view>
#include <utility>

#include "previewd/messages/error.hpp"
#include "previewd/net/api/json_body.hpp"
#include "previewd/net/api/request_text.hpp"
#include "previewd/net/api/signals.hpp"
#include "previewd/net/ask.hpp"
#include "previewd/net/auth/grant.hpp"
#include "previewd/net/http/access.hpp"
#include "previewd/net/http/pages.hpp"
#include "previewd/net/http/preview_target.hpp"
#include "previewd/net/http/router.hpp"
#include "previewd/net/terminal/terminal_hub.hpp"

namespace previewd::net::api {

namespace {

using http::exchange_ptr;

constexpr std::chrono::seconds longest_wait{60};
constexpr std::string_view hand_over_path = "/api/hand-overs";
constexpr std::string_view name_rule =
  "must be 1 to 64 characters of A-Z a-z 0-9 . _ ~ @ + -, and not . or ..";

http::response answer_of(unsigned status, std::string content_type, std::string body) {
  http::response answer;
  answer.status = status;
  answer.content_type = std::move(content_type);
  answer.body = std::move(body);
  return answer;
}

http::response not_stored(http::response answer) {
  answer.fields.emplace_back("Cache-Control", "no-store");
  return answer;
}

void refuse(const exchange_ptr& request, errc code, std::string detail) {
  request->respond(not_stored(http::problem(code, std::move(detail))));
}

void refuse(const exchange_ptr& request, const caf::error& why) {
  refuse(request, code_of(why), detail_of(why));
}

void answer_json(const exchange_ptr& request, unsigned status, std::string body) {
  request->respond(not_stored(answer_of(status, "application/json", std::move(body))));
}

void answer_nothing(const exchange_ptr& request) {
  request->respond(not_stored(answer_of(204, {}, {})));
}

void refuse_method(const exchange_ptr& request, const std::string& allowed) {
  http::response answer =
    http::problem(405, "method_not_allowed", "This path takes " + allowed + ".");
  answer.fields.emplace_back("Allow", allowed);
  request->respond(not_stored(std::move(answer)));
}

/// What a link gets that is no good.
void refuse_entrance(const exchange_ptr& request) {
  request->respond(
    not_stored(http::error_answer(request->head(), 401, to_code(errc::not_authenticated),
      "This link was used already, or is older than a minute; go back and ask for a new one.")));
}

/// For what the hub answers with: nothing, or why not.
terminal::terminal_hub::done no_content(const exchange_ptr& request) {
  return [request](caf::error why) { why ? refuse(request, why) : answer_nothing(request); };
}

/// Whether the client may do something with a workspace; if not, that has been answered.
bool may_reach(const exchange_ptr& request, const workspace_key& key) {
  const auth::grant* grant = request->grant();
  if (grant == nullptr || grant->covers(key)) return true;
  refuse(request, errc::not_allowed, "Your token is not for this workspace.");
  return false;
}

/// The same, where what may not be reached is as if it were not there.
bool may_see(const exchange_ptr& request, const workspace_key& key) {
  const auth::grant* grant = request->grant();
  return grant == nullptr || grant->covers(key);
}

caf::error no_terminal(const std::string& id) {
  return make_error(errc::terminal_not_found, "No terminal has the id " + id + ".");
}

/// Narrows what a list is about to what the client may see of it.
caf::error narrow(workspace_filter& filter, const auth::grant* grant) {
  if (grant == nullptr) return {};
  for (const auto& [wanted, granted] :
    {std::pair{&filter.project, &grant->project}, std::pair{&filter.user, &grant->user}}) {
    if (*granted == auth::any_name) continue;
    if (wanted->empty()) *wanted = *granted;
    if (*wanted != *granted)
      return make_error(errc::not_allowed, "Your token is not for this project or user.");
  }
  return {};
}

/// The workspaces that a list is about; an error naming the parameter that is none.
caf::expected<workspace_filter> filter_of(const exchange_ptr& request) {
  const std::string_view query = request->head().query;
  workspace_filter filter;
  for (auto& [name, value] : {std::pair{std::string_view{"project"}, &filter.project},
         std::pair{std::string_view{"user"}, &filter.user}}) {
    if (auto given = query_value(query, name)) {
      if (!valid_name(*given))
        return make_error(
          errc::invalid_name, std::string{name} + " " + std::string{name_rule} + ".");
      *value = std::move(*given);
    }
  }
  if (caf::error wrong = narrow(filter, request->grant())) return wrong;
  return filter;
}

caf::error check_key(const workspace_key& key) {
  if (!valid_name(key.project))
    return make_error(errc::invalid_name, "project " + std::string{name_rule} + ".");
  if (!valid_name(key.user))
    return make_error(errc::invalid_name, "user " + std::string{name_rule} + ".");
  return {};
}

terminal_size size_of(json_body& body, presence wanted) {
  terminal_size size;
  if (const auto columns = body.number("cols", 1, 1000, wanted))
    size.columns = static_cast<uint16_t>(*columns);
  if (const auto rows = body.number("rows", 1, 1000, wanted))
    size.rows = static_cast<uint16_t>(*rows);
  return size;
}

caf::expected<terminal_request> terminal_request_of(std::string_view text) {
  json_body body{text, {"project", "user", "cols", "rows", "cwd", "command", "env"}};
  terminal_request request;
  request.key.project = body.text("project", presence::required);
  request.key.user = body.text("user", presence::required);
  request.size = size_of(body, presence::optional);
  request.cwd = body.text("cwd", presence::optional);
  request.command = body.texts("command");
  request.env = body.text_map("env");
  if (!request.cwd.empty() && request.cwd.front() != '/')
    body.refuse("cwd", "must be an absolute path.");
  if (!request.command.empty() && request.command.front().empty())
    body.refuse("command", "must begin with a program.");
  for (const auto& [name, value] : request.env)
    if (name.empty() || name.find('=') != std::string::npos)
      body.refuse("env", "has a name that is empty or contains '='.");
  if (!body.ok()) return body.error();
  if (auto wrong = check_key(request.key)) return wrong;
  return request;
}

/// What the kernel knows of a server that somebody has named.
void take_in(const found_listeners& found, server_description& what) {
  if (found.sockets.empty()) return;
  const listener_fact& first = found.sockets.front();
  for (const listener_fact& socket : found.sockets) what.listeners.push_back(socket.id);
  what.job_leader = first.job_leader;
  if (found.terminal_id.empty()) return;
  // The registry knows whose terminal that is, and drops the rest if it is another's.
  what.terminal_id = found.terminal_id;
  what.pid = first.owners.empty() ? 0 : first.owners.front();
  what.command = first.command;
}

/// The service's own origin: that of browsers, where the settings say it, else that of the request.
std::string own_origin(const http::exchange& request, const address_settings& addresses) {
  const std::string_view asked = request.head().host;
  const auto host = http::split_host(asked);
  const auto& known = addresses.hosts;
  if (host && std::find(known.begin(), known.end(), host->name) != known.end())
    return origin_at(host->name, addresses);
  return std::string{request.scheme()} + "://" + std::string{asked};
}

}  // namespace

/// One request with what its path named.
struct service_api::call {
  exchange_ptr request;
  std::vector<std::string> arguments;

  std::string_view query() const { return request->head().query; }
};

/// The generation that a path names. Nothing: it names none, and the request has been answered.
std::optional<uint64_t> service_api::generation_of(const call& at) {
  const auto generation = whole_number(at.arguments[0]);
  if (!generation)
    refuse(
      at.request, errc::no_such_server, "A server is named by its generation, a whole number.");
  return generation;
}

/// The sequence up to which the client has a terminal's output. Nothing: it is none, and the
/// request has been answered.
std::optional<uint64_t> service_api::output_known(const call& at) {
  const auto text = query_value(at.query(), "after");
  if (!text) return 0;
  const auto sequence = whole_number(*text);
  if (!sequence)
    refuse(at.request, errc::invalid_field, "after must be a sequence, a whole number.");
  return sequence;
}

/// What `POST /api/servers` asks for.
struct service_api::server_request {
  server_description what;  // without a type: the one that is seen
  bool primary = false;     // it becomes the workspace's primary
};

struct service_api::route_entry {
  /// What a client must have the right to, where it has to show one.
  enum class right : uint8_t {
    nothing,     // everybody may
    view,        // in the workspaces that it names or touches, which its handler checks
    edit,        // the same
    everything,  // it says something of all workspaces
  };

  std::string_view method;
  std::string_view pattern;  // `{}` stands for any one segment
  void (service_api::*handler)(const call&) const;
  right takes = right::view;

  /// Whether the client may ask this at all; if not, that has been answered.
  bool lets_in(const exchange_ptr& request) const {
    const auth::grant* grant = request->grant();
    if (grant == nullptr || takes == right::nothing) return true;
    if (takes == right::edit && !grant->may_edit()) {
      refuse(request, errc::not_allowed, "This takes a token with the role edit.");
      return false;
    }
    if (takes == right::everything && !grant->covers_everything()) {
      refuse(request, errc::not_allowed, "This takes a token for every project and user.");
      return false;
    }
    return true;
  }

  /// Whether the path is this endpoint's; its arguments go to `arguments`.
  bool
  matches(const std::vector<std::string>& segments, std::vector<std::string>& arguments) const {
    arguments.clear();
    std::string_view rest = pattern.substr(1);
    std::size_t i = 0;
    while (!rest.empty()) {
      const std::size_t slash = std::min(rest.find('/'), rest.size());
      const std::string_view wanted = rest.substr(0, slash);
      if (i == segments.size()) return false;
      if (wanted == "{}") {
        if (segments[i].empty()) return false;
        arguments.push_back(segments[i]);
      } else if (wanted != segments[i]) {
        return false;
      }
      ++i;
      rest.remove_prefix(std::min(slash + 1, rest.size()));
    }
    return i == segments.size();
  }
};

const std::vector<service_api::route_entry>& service_api::endpoints() {
  using right = route_entry::right;
  static const std::vector<route_entry> all{
    {"GET", "/api/preview-status/{}/{}", &service_api::preview_status},
    {"GET", "/api/terminals", &service_api::list_terminals},
    {"POST", "/api/terminals", &service_api::open_terminal, right::edit},
    {"GET", "/api/terminals/{}", &service_api::show_terminal},
    {"DELETE", "/api/terminals/{}", &service_api::close_terminal, right::edit},
    {"POST", "/api/terminals/{}/input", &service_api::type_into_terminal, right::edit},
    {"POST", "/api/terminals/{}/resize", &service_api::resize_terminal, right::edit},
    {"POST", "/api/terminals/{}/signal", &service_api::signal_terminal, right::edit},
    {"GET", "/api/terminals/{}/output", &service_api::read_terminal},
    {"GET", "/api/terminals/{}/attach", &service_api::attach_terminal},
    {"GET", "/api/servers", &service_api::list_servers},
    {"POST", "/api/servers", &service_api::register_server, right::edit},
    {"GET", "/api/servers/{}", &service_api::show_server},
    {"PATCH", "/api/servers/{}", &service_api::change_server, right::edit},
    {"DELETE", "/api/servers/{}", &service_api::remove_server, right::edit},
    {"GET", "/api/events", &service_api::follow_events},
    {"GET", "/debug/connections", &service_api::list_connections},
    {"GET", "/debug/state", &service_api::debug_state, right::everything},
    {"GET", "/metrics", &service_api::metrics, right::everything},
    {"GET", "/healthz", &service_api::health, right::nothing},
    {"GET", "/readyz", &service_api::ready, right::nothing},
    {"GET", "/preview/{}/{}/iframe", &service_api::iframe_page},
    {"GET", "/terminal/{}/{}", &service_api::terminal_page},
    {"GET", "/assets/{}", &service_api::asset},
    {"GET", "/dashboard", &service_api::dashboard_page},
    {"GET", "/", &service_api::start_page},
    {"POST", hand_over_path, &service_api::hand_over},
    {"GET", http::service_entrance, &service_api::enter, right::nothing},
  };
  return all;
}

service_api::service_api(service_api_parts parts, service_api_settings settings)
    : parts_{std::move(parts)}, settings_{settings} {
  for (page& each : parts_.pages) {
    std::string name = each.name;
    pages_.insert_or_assign(std::move(name), std::move(each));
  }
  parts_.pages.clear();
}

void service_api::handle(const http::exchange_ptr& request) const {
  const http::request_head& head = request->head();
  if (head.path == "/socket.io" || head.path.starts_with("/socket.io/")) {
    parts_.socketio(request);
    return;
  }
  if (!valid_query(head.query)) {
    refuse(request, errc::invalid_field, "The query has a broken percent escape.");
    return;
  }
  if (const http::preview_target* preview = request->preview()) {
    handle_preview(request, *preview);
    return;
  }
  const auto segments = path_segments(head.path);
  if (!segments) {
    refuse(request, errc::invalid_field, "The path has a broken percent escape.");
    return;
  }
  // HEAD is a GET whose body the connection leaves out (RFC 9110, section 9.3.2).
  const std::string_view method = head.method == "HEAD" ? "GET" : head.method;
  call at{.request = request, .arguments = {}};
  std::string allowed;
  for (const route_entry& each : endpoints()) {
    if (!each.matches(*segments, at.arguments)) continue;
    if (!parts_.hand_overs &&
        (each.pattern == hand_over_path || each.pattern == http::service_entrance))
      continue;
    if (each.method == method) {
      if (each.lets_in(request)) (this->*each.handler)(at);
      return;
    }
    allowed += (allowed.empty() ? "" : ", ") + std::string{each.method} +
               (each.method == "GET" ? ", HEAD" : "");
  }
  if (allowed.empty()) {
    refuse(request, errc::not_found, "There is nothing at this path.");
    return;
  }
  refuse_method(request, allowed);
}

/// On a preview's address everything is the app's but what is asked here, and nothing of the API is
/// reachable.
void service_api::handle_preview(
  const http::exchange_ptr& request, const http::preview_target& preview) const {
  const http::request_head& head = request->head();
  const call at{.request = request, .arguments = {}};
  const std::string_view path = head.path.substr(std::min(preview.prefix.size(), head.path.size()));
  const bool is_status = path == "/.previewd/status";
  const bool is_events = path == "/.previewd/events";
  const bool is_entrance = parts_.hand_overs && path == http::preview_entrance &&
                           preview.by == http::preview_target::address::origin;
  const bool is_iframe = preview.by == http::preview_target::address::path && path == "/iframe";
  if (!is_status && !is_events && !is_iframe && !is_entrance) {
    refuse(request, errc::not_found, "There is nothing at this path.");
  } else if (head.method != "GET" && head.method != "HEAD") {
    refuse_method(request, "GET, HEAD");
  } else if (is_entrance) {
    redeem(at, auth::place::preview, &preview.key);
  } else if (is_status) {
    status_of(at, preview.key, preview.port);
  } else if (is_events) {
    stream_events(at, {preview.key.project, preview.key.user});
  } else {
    show_page(at, "iframe.html");
  }
}

facts_lookup service_api::facts_on(io_thread& here) const {
  return [hub = &parts_.terminals, &here](const std::string& id) { return hub->facts(here, id); };
}

/// Goes on if the terminal that the path names is one that the client may see; the terminals
/// themselves do not know whose they are.
void service_api::with_terminal(const call& at, std::function<void()> then) const {
  const auth::grant* grant = at.request->grant();
  if (grant == nullptr || grant->covers_everything()) {
    then();
    return;
  }
  ask<terminal_info>(
    parts_.system, at.request->thread(), parts_.registry,
    [request = at.request, id = at.arguments[0], then = std::move(then)](
      const caf::expected<terminal_info>& terminal) {
      if (!terminal) {
        refuse(request, terminal.error());
      } else if (!may_see(request, terminal->key)) {
        refuse(request, no_terminal(id));
      } else {
        then();
      }
    },
    lookup_atom_v, terminal_atom_v, at.arguments[0]);
}

/// Goes on if the server of this generation is, or was, one that the client may see.
void service_api::with_server(
  const call& at, uint64_t generation, std::function<void()> then) const {
  const auth::grant* grant = at.request->grant();
  if (grant == nullptr || grant->covers_everything()) {
    then();
    return;
  }
  const auto decide = [request = at.request, generation, then = std::move(then)](
                        const workspace_key& key) {
    if (may_see(request, key)) {
      then();
    } else {
      refuse(request, errc::no_such_server,
        "No server has the generation " + std::to_string(generation) + ".");
    }
  };
  ask<server_info>(
    parts_.system, at.request->thread(), parts_.registry,
    [this, request = at.request, generation, decide](const caf::expected<server_info>& server) {
      if (server) {
        decide(server->ref.key);
      } else if (code_of(server.error()) != errc::server_gone) {
        refuse(request, server.error());
      } else {
        ask<stop_record>(
          parts_.system, request->thread(), parts_.registry,
          [decide](const caf::expected<stop_record>& record) {
            // Of one that has been forgotten nobody knows whose it was.
            decide(record ? record->ref.key : workspace_key{});
          },
          lookup_atom_v, stopped_atom_v, generation);
      }
    },
    lookup_atom_v, server_atom_v, generation);
}

void service_api::open_terminal(const call& at) const {
  at.request->read_body(
    settings_.json_bytes, [this, request = at.request](const std::string& body) {
      auto wanted = terminal_request_of(body);
      if (!wanted) {
        refuse(request, wanted.error());
        return;
      }
      if (!may_reach(request, wanted->key)) return;
      ask<terminal_info>(
        parts_.system, request->thread(), parts_.registry,
        [this, request](caf::expected<terminal_info> terminal) {
          if (!terminal) {
            refuse(request, terminal.error());
            return;
          }
          http::response answer = answer_of(
            201, "application/json", terminal_json(*terminal, facts_on(request->thread())));
          answer.fields.emplace_back("Location", "/api/terminals/" + terminal->id);
          request->respond(not_stored(std::move(answer)));
        },
        open_atom_v, std::move(*wanted));
    });
}

void service_api::list_terminals(const call& at) const {
  auto filter = filter_of(at.request);
  if (!filter) {
    refuse(at.request, filter.error());
    return;
  }
  ask<std::vector<terminal_info>>(
    parts_.system, at.request->thread(), parts_.registry,
    [this, request = at.request](const caf::expected<std::vector<terminal_info>>& list) {
      if (!list) {
        refuse(request, list.error());
        return;
      }
      answer_json(
        request, 200, "{\"terminals\":" + terminals_json(*list, facts_on(request->thread())) + "}");
    },
    list_atom_v, terminal_atom_v, std::move(*filter));
}

void service_api::show_terminal(const call& at) const {
  ask<terminal_info>(
    parts_.system, at.request->thread(), parts_.registry,
    [this, request = at.request, id = at.arguments[0]](
      const caf::expected<terminal_info>& terminal) {
      if (!terminal) {
        refuse(request, terminal.error());
        return;
      }
      if (!may_see(request, terminal->key)) {
        refuse(request, no_terminal(id));
        return;
      }
      answer_json(request, 200, terminal_json(*terminal, facts_on(request->thread())));
    },
    lookup_atom_v, terminal_atom_v, at.arguments[0]);
}

void service_api::close_terminal(const call& at) const {
  with_terminal(at, [this, at] {
    ask<terminal_info>(
      parts_.system, at.request->thread(), parts_.registry,
      [request = at.request](const caf::expected<terminal_info>& terminal) {
        terminal ? answer_nothing(request) : refuse(request, terminal.error());
      },
      close_atom_v, at.arguments[0]);
  });
}

void service_api::type_into_terminal(const call& at) const {
  with_terminal(at, [this, at] {
    at.request->read_body(
      settings_.input_bytes, [this, request = at.request, id = at.arguments[0]](std::string body) {
        parts_.terminals.input(request->thread(), id, std::move(body), no_content(request));
      });
  });
}

void service_api::resize_terminal(const call& at) const {
  with_terminal(at, [this, at] {
    at.request->read_body(settings_.json_bytes,
      [this, request = at.request, id = at.arguments[0]](const std::string& text) {
        json_body body{text, {"cols", "rows"}};
        const terminal_size size = size_of(body, presence::required);
        if (!body.ok()) {
          refuse(request, body.error());
          return;
        }
        parts_.terminals.resize(request->thread(), id, size, no_content(request));
      });
  });
}

void service_api::signal_terminal(const call& at) const {
  with_terminal(at, [this, at] {
    at.request->read_body(settings_.json_bytes,
      [this, request = at.request, id = at.arguments[0]](const std::string& text) {
        json_body body{text, {"signal"}};
        const std::string name = body.text("signal", presence::required);
        const auto number = signal_number(name);
        if (!number) body.refuse("signal", "must be the name of a signal, for example SIGINT.");
        if (!body.ok()) {
          refuse(request, body.error());
          return;
        }
        parts_.terminals.signal(request->thread(), id, *number, no_content(request));
      });
  });
}

void service_api::read_terminal(const call& at) const {
  const auto after = output_known(at);
  if (!after) return;
  with_terminal(at, [this, at, after] {
    // All that is held: the scrollback's limit is the answer's.
    parts_.terminals.read(at.request->thread(), at.arguments[0], *after,
      std::numeric_limits<std::size_t>::max(),
      [request = at.request, id = at.arguments[0]](std::optional<terminal::output_slice> output) {
        if (!output) {
          refuse(request, errc::terminal_not_found, "No terminal has the id " + id + ".");
          return;
        }
        http::response answer =
          answer_of(200, "application/octet-stream", std::move(output->bytes));
        answer.fields.emplace_back("Previewd-Sequence", std::to_string(output->sequence));
        answer.fields.emplace_back("Previewd-Lost", std::to_string(output->lost));
        request->respond(not_stored(std::move(answer)));
      });
  });
}

/// Becomes a WebSocket to the terminal; whether there is one is said before.
void service_api::attach_terminal(const call& at) const {
  const auto after = output_known(at);
  if (!after) return;
  io_thread& home = parts_.terminals.home_of(at.arguments[0]);
  if (at.request->head().websocket_upgrade && &home != &at.request->thread()) {
    at.request->move_to(home);
    return;
  }
  ask<terminal_info>(
    parts_.system, at.request->thread(), parts_.registry,
    [this, request = at.request, after, id = at.arguments[0]](
      const caf::expected<terminal_info>& terminal) {
      if (!terminal) {
        refuse(request, terminal.error());
      } else if (!may_see(request, terminal->key)) {
        refuse(request, no_terminal(id));
      } else if (!request->head().websocket_upgrade) {
        http::response answer = http::problem(
          426, "upgrade_required", "A terminal is attached by WebSocket: send an upgrade request.");
        answer.fields.emplace_back("Upgrade", "websocket");
        request->respond(not_stored(std::move(answer)));
      } else {
        parts_.attach(request, *terminal, *after);
      }
    },
    lookup_atom_v, terminal_atom_v, at.arguments[0]);
}

void service_api::list_servers(const call& at) const {
  auto filter = filter_of(at.request);
  if (!filter) {
    refuse(at.request, filter.error());
    return;
  }
  ask<std::vector<server_info>>(
    parts_.system, at.request->thread(), parts_.registry,
    [this, request = at.request](const caf::expected<std::vector<server_info>>& list) {
      if (!list) {
        refuse(request, list.error());
        return;
      }
      answer_json(request, 200, "{\"servers\":" + servers_json(*list, parts_.addresses) + "}");
    },
    list_atom_v, server_atom_v, std::move(*filter));
}

void service_api::show_server(const call& at) const {
  const auto generation = generation_of(at);
  if (!generation) return;
  with_server(at, *generation, [this, at, generation] {
    ask<server_info>(
      parts_.system, at.request->thread(), parts_.registry,
      [this, at, generation](
        const caf::expected<server_info>& server) { answer_server(at, *generation, server); },
      lookup_atom_v, server_atom_v, *generation);
  });
}

caf::expected<service_api::server_request>
service_api::read_server_request(std::string_view text) const {
  json_body body{text, {"project", "user", "port", "address", "scheme", "type", "primary"}};
  server_request request;
  server_description& what = request.what;
  what.key.project = body.text("project", presence::required);
  what.key.user = body.text("user", presence::required);
  if (const auto port = body.number("port", 1, 65535, presence::required))
    what.upstream.port = static_cast<uint16_t>(*port);
  what.upstream.address = body.text("address", presence::optional);
  if (what.upstream.address.empty()) what.upstream.address = "127.0.0.1";
  const std::string scheme = body.text("scheme", presence::optional);
  what.said_scheme = !scheme.empty();
  if (scheme == "https") {
    what.upstream.scheme = previewd::scheme::https;
  } else if (!scheme.empty() && scheme != "http") {
    body.refuse("scheme", "must be http or https.");
  }
  what.type = body.text("type", presence::optional);
  what.said_type = !what.type.empty();
  const auto odd = [](char c) {
    return !(c >= 'a' && c <= 'z') && !(c >= '0' && c <= '9') && c != '-';
  };
  if (what.type.size() > 32 || std::any_of(what.type.begin(), what.type.end(), odd))
    body.refuse("type", "must be at most 32 characters of a-z 0-9 -.");
  request.primary = body.flag("primary", presence::optional).value_or(false);
  if (!body.ok()) return body.error();
  if (auto wrong = check_key(what.key)) return wrong;
  if (const std::string why = parts_.objection(what.upstream); !why.empty())
    body.refuse("address", why);
  if (!body.ok()) return body.error();
  return request;
}

/// Registers a server that was not started in a terminal: once something accepts connections there.
void service_api::register_server(const call& at) const {
  at.request->read_body(
    settings_.json_bytes, [this, request = at.request](const std::string& text) {
      auto wanted = read_server_request(text);
      if (!wanted) {
        refuse(request, wanted.error());
        return;
      }
      const endpoint target = wanted->what.upstream;
      const workspace_key key = wanted->what.key;
      if (!may_reach(request, key)) return;
      // Called twice when the server takes its time: the first word decides.
      const auto first = std::make_shared<bool>(true);
      parts_.look(request->thread(), target, key,
        [this, request, first, wanted = std::move(*wanted)](const identity& seen) mutable {
          if (!std::exchange(*first, false)) return;
          look_for_sockets(request, std::move(wanted), seen);
        });
    });
}

void service_api::look_for_sockets(
  const exchange_ptr& request, server_request wanted, const identity& seen) const {
  server_description& what = wanted.what;
  if (seen.outcome == identity::verdict::refused) {
    refuse(request, errc::not_listening,
      "Nothing accepts connections at " + what.upstream.address + " port " +
        std::to_string(what.upstream.port) + "; start the server first.");
    return;
  }
  if (what.type.empty()) what.type = seen.type.empty() ? "http" : seen.type;
  what.prefix = seen.prefix;
  what.upstream.scheme = seen.scheme;
  what.serves_page = seen.html;
  // Whatever it says, it was named as a server: requests go to it.
  what.answers = true;
  what.by_hand = true;
  if (!parts_.find_listeners) return add_server(request, std::move(wanted));
  const endpoint target = what.upstream;
  parts_.find_listeners(request->thread(), target,
    [this, request, wanted = std::move(wanted)](const found_listeners& found) mutable {
      take_in(found, wanted.what);
      add_server(request, std::move(wanted));
    });
}

void service_api::add_server(const exchange_ptr& request, server_request wanted) const {
  ask<server_ref>(
    parts_.system, request->thread(), parts_.registry,
    [this, request, primary = wanted.primary](const caf::expected<server_ref>& added) {
      if (!added) {
        refuse(request, added.error());
        return;
      }
      const auto created = [this, request](const caf::expected<server_info>& server) {
        if (!server) {
          refuse(request, server.error());
          return;
        }
        http::response answer =
          answer_of(201, "application/json", server_json(*server, parts_.addresses));
        answer.fields.emplace_back(
          "Location", "/api/servers/" + std::to_string(server->ref.generation));
        request->respond(not_stored(std::move(answer)));
      };
      if (primary) {
        ask<server_info>(parts_.system, request->thread(), parts_.registry, created, primary_atom_v,
          uint64_t{added->generation});
      } else {
        ask<server_info>(parts_.system, request->thread(), parts_.registry, created, lookup_atom_v,
          server_atom_v, uint64_t{added->generation});
      }
    },
    add_atom_v, std::move(wanted.what));
}

/// What can be changed about a server: that it is the one behind the workspace's address, and who
/// sees it.
void service_api::change_server(const call& at) const {
  const auto generation = generation_of(at);
  if (!generation) return;
  with_server(at, *generation, [this, at, generation] {
    at.request->read_body(settings_.json_bytes, [this, at, generation](const std::string& text) {
      json_body body{text, {"primary", "access"}};
      const auto primary = body.flag("primary", presence::optional);
      if (primary && !*primary)
        body.refuse("primary", "must be true; make another server the primary instead.");
      const std::string access = body.text("access", presence::optional);
      const auto wanted = access_of(access);
      if (!access.empty() && !wanted) body.refuse("access", "must be private, project or public.");
      if (!primary && access.empty()) body.refuse("primary", "or access must be there.");
      if (!body.ok()) {
        refuse(at.request, body.error());
        return;
      }
      const auto done = [this, at, generation](const caf::expected<server_info>& server) {
        answer_server(at, *generation, server);
      };
      const auto share = [this, at, generation, wanted, done] {
        ask<server_info>(parts_.system, at.request->thread(), parts_.registry, done, access_atom_v,
          *generation, *wanted);
      };
      if (!primary) return share();
      ask<server_info>(
        parts_.system, at.request->thread(), parts_.registry,
        [wanted, done, share](
          const caf::expected<server_info>& server) { server&& wanted ? share() : done(server); },
        primary_atom_v, *generation);
    });
  });
}

void service_api::follow_events(const call& at) const {
  auto filter = filter_of(at.request);
  if (!filter) {
    refuse(at.request, filter.error());
    return;
  }
  stream_events(at, std::move(*filter));
}

/// A browser that reconnects says in the field what it has seen; that is newer than what its URL
/// says (WHATWG HTML, section 9.2.4).
void service_api::stream_events(const call& at, workspace_filter filter) const {
  const std::string_view last = at.request->head()["Last-Event-ID"];
  const std::optional<std::string> text =
    last.empty() ? query_value(at.query(), "after") : std::optional<std::string>{last};
  std::optional<uint64_t> after;
  if (text) {
    after = whole_number(*text);
    if (!after) {
      refuse(at.request, errc::invalid_field,
        (last.empty() ? "after" : "Last-Event-ID") +
          std::string{" must be a sequence, a whole number."});
      return;
    }
  }
  parts_.event_stream(at.request, std::move(filter), after);
}

void service_api::remove_server(const call& at) const {
  const auto generation = generation_of(at);
  if (!generation) return;
  with_server(at, *generation, [this, at, generation] {
    ask<stop_record>(
      parts_.system, at.request->thread(), parts_.registry,
      [this, at, generation](const caf::expected<stop_record>& record) {
        record ? answer_nothing(at.request) : gone_or(at, *generation, record.error());
      },
      remove_atom_v, *generation);
  });
}

void service_api::answer_server(
  const call& at, uint64_t generation, const caf::expected<server_info>& server) const {
  if (!server) {
    gone_or(at, generation, server.error());
    return;
  }
  answer_json(at.request, 200, server_json(*server, parts_.addresses));
}

/// Answers with an error; one that says that the server is gone takes the record along.
void service_api::gone_or(const call& at, uint64_t generation, caf::error why) const {
  if (code_of(why) != errc::server_gone) {
    refuse(at.request, why);
    return;
  }
  ask<stop_record>(
    parts_.system, at.request->thread(), parts_.registry,
    [request = at.request, why = std::move(why)](const caf::expected<stop_record>& record) {
      http::response answer = http::problem(code_of(why), detail_of(why));
      if (record && answer.body.ends_with('}')) {
        answer.body.pop_back();
        answer.body += ",\"lastStop\":" + stop_json(*record) + "}";
      }
      request->respond(not_stored(std::move(answer)));
    },
    lookup_atom_v, stopped_atom_v, uint64_t{generation});
}

void service_api::preview_status(const call& at) const {
  if (may_reach(at.request, {at.arguments[0], at.arguments[1]}))
    status_of(at, {at.arguments[0], at.arguments[1]});
}

void service_api::status_of(const call& at, const workspace_key& key, uint16_t port) const {
  if (const auto wrong = check_key(key)) {
    refuse(at.request, wrong);
    return;
  }
  std::chrono::milliseconds wait{0};
  if (const auto text = query_value(at.query(), "wait")) {
    const auto given = duration_of(*text);
    if (!given || *given > longest_wait) {
      refuse(at.request, errc::invalid_field,
        "wait must be a duration of at most 60 s with its unit, for example 30s.");
      return;
    }
    // The registry waits for the primary alone: one that is suspended may not hide a further one.
    if (port == 0) wait = *given;
  }
  ask_within<workspace_status>(
    wait + ask_timeout, parts_.system, at.request->thread(), parts_.registry,
    [this, request = at.request, port](const caf::expected<workspace_status>& status) {
      if (!status) {
        refuse(request, status.error());
        return;
      }
      answer_json(request, 200, preview_status_json(*status, parts_.addresses, port));
    },
    status_atom_v, key, caf::timespan{wait});
}

void service_api::list_connections(const call& at) const {
  parts_.connections(
    at.request->thread(), [request = at.request](std::vector<connection_info> connections) {
      const auto foreign = [&](const connection_info& each) {
        return !may_see(request, each.server.key);
      };
      connections.erase(
        std::remove_if(connections.begin(), connections.end(), foreign), connections.end());
      answer_json(request, 200, connections_json(connections));
    });
}

void service_api::health(const call& at) const {
  at.request->respond(not_stored(answer_of(200, "text/plain; charset=utf-8", "ok")));
}

void service_api::ready(const call& at) const {
  parts_.readiness_check(at.request->thread(), [request = at.request](const readiness& what) {
    answer_json(request, what.ready() ? 200 : 503, readiness_json(what));
  });
}

void service_api::metrics(const call& at) const {
  parts_.report(
    at.request->thread(), [request = at.request](const caf::expected<service_report>& report) {
      if (!report) {
        refuse(request, report.error());
        return;
      }
      request->respond(not_stored(
        answer_of(200, "text/plain; version=0.0.4; charset=utf-8", metrics_text(*report))));
    });
}

void service_api::debug_state(const call& at) const {
  parts_.report(
    at.request->thread(), [request = at.request](const caf::expected<service_report>& report) {
      if (!report) {
        refuse(request, report.error());
        return;
      }
      answer_json(request, 200, state_json(*report));
    });
}

void service_api::start_page(const call& at) const {
  show_page(at, "index.html");
}

void service_api::dashboard_page(const call& at) const {
  show_page(at, "dashboard.html");
}

void service_api::terminal_page(const call& at) const {
  if (const auto wrong = check_key({at.arguments[0], at.arguments[1]})) {
    refuse(at.request, wrong);
    return;
  }
  if (may_reach(at.request, {at.arguments[0], at.arguments[1]})) show_page(at, "terminal.html");
}

void service_api::iframe_page(const call& at) const {
  if (const auto wrong = check_key({at.arguments[0], at.arguments[1]})) {
    refuse(at.request, wrong);
    return;
  }
  if (may_reach(at.request, {at.arguments[0], at.arguments[1]})) show_page(at, "iframe.html");
}

void service_api::asset(const call& at) const {
  show_page(at, "assets/" + at.arguments[0]);
}

/// Lets a browser in: whoever has a token asks for a link, and the browser that follows it gets a
/// session for one workspace.
void service_api::hand_over(const call& at) const {
  at.request->read_body(settings_.json_bytes, [this, request = at.request](
                                                const std::string& text) {
    json_body body{text, {"project", "user", "page", "port", "role"}};
    workspace_key key{
      body.text("project", presence::required), body.text("user", presence::required)};
    const std::string page = body.text("page", presence::optional);
    const auto port = body.number("port", 1, 65535, presence::optional);
    const std::string role = body.text("role", presence::optional);
    if (!page.empty() && page != "preview" && page != "terminal")
      body.refuse("page", "must be preview or terminal.");
    if (page == "terminal" && port) body.refuse("port", "is for previews alone.");
    if (!role.empty() && role != "view" && role != "edit")
      body.refuse("role", "must be view or edit.");
    if (!body.ok()) return refuse(request, body.error());
    if (auto wrong = check_key(key)) return refuse(request, wrong);
    // There is one wherever there is something to hand over.
    const auth::grant owner = request->grant() != nullptr ? *request->grant() : auth::grant{};
    const bool is_guest =
      page != "terminal" && role != "edit" && !owner.covers(key) && owner.is_of_project(key);
    if (!is_guest && !may_reach(request, key)) return;
    if (role == "edit" && !owner.may_edit())
      return refuse(request, errc::not_allowed, "This takes a token with the role edit.");

    auth::hand_over what;
    what.workspace = key;
    what.session.who = owner;
    what.session.who.project = key.project;
    what.session.who.user = key.user;
    what.session.who.guest = is_guest;
    if (role == "view" || is_guest) what.session.who.may = auth::role::view;
    if (page == "terminal") {
      what.session.at = auth::place::service;
      what.path = "/terminal/" + key.project + "/" + key.user;
      answer_hand_over(request, std::move(what),
        own_origin(*request, parts_.addresses) + std::string{http::service_entrance});
      return;
    }
    what.session.at = auth::place::preview;
    what.path = "/";
    ask<workspace_status>(
      parts_.system, request->thread(), parts_.registry,
      [this, request, port, what = std::move(what)](const caf::expected<workspace_status>& status) {
        if (!status) return refuse(request, status.error());
        const auto found = std::find_if(
          status->servers.begin(), status->servers.end(), [&](const server_info& each) {
            return port ? each.upstream.port == *port : each.primary;
          });
        if (what.session.who.guest &&
            (found == status->servers.end() || found->access == preview_access::members)) {
          // As if he had asked for anything else of somebody else.
          may_reach(request, what.workspace);
          return;
        }
        if (found == status->servers.end())
          return refuse(request, errc::preview_unavailable,
            "The workspace has no such server now; ask again when it has.");
        auth::hand_over with_path = what;
        // It knows itself by its path there too.
        if (found->prefix == prefix_mode::kept) with_path.path = path_of(*found) + "/";
        answer_hand_over(request, std::move(with_path),
          server_origin(*found, parts_.addresses) + std::string{http::preview_entrance});
      },
      status_atom_v, key, caf::timespan{0});
  });
}

void service_api::answer_hand_over(
  const exchange_ptr& request, auth::hand_over what, const std::string& entrance) const {
  parts_.hand_overs->issue(request->thread(), std::move(what),
    [request, entrance](const std::optional<std::string>& code) {
      if (!code)
        return refuse(request, errc::limit_reached,
          "auth.hand_overs links of the last minute are enough; try again in a minute.");
      http::response answer = answer_of(201, "application/json",
        "{\"url\":" + quoted(entrance + "?code=" + *code) +
          ",\"expiresIn\":" + std::to_string(auth::hand_over_desk::lifetime.count()) + "}");
      request->respond(not_stored(std::move(answer)));
    });
}

void service_api::enter(const call& at) const {
  redeem(at, auth::place::service, nullptr);
}

/// Exchanges the code of a link for a session in a cookie, and sends the browser on.
void service_api::redeem(const call& at, auth::place at_place, const workspace_key* key) const {
  const auto code = query_value(at.query(), "code");
  if (!code || at.request->head().method != "GET") return refuse_entrance(at.request);
  parts_.hand_overs->redeem(at.request, *code,
    [this, request = at.request, at_place,
      key = key != nullptr ? std::optional{*key} : std::nullopt](
      const std::optional<auth::hand_over>& found) {
      if (!found || found->session.at != at_place || found->session.who.is_over() ||
          (key && !(*key == found->workspace)))
        return refuse_entrance(request);
      const auto now = std::chrono::system_clock::now();
      auth::session session = found->session;
      session.who.expires = std::min(session.who.expires, now + parts_.hand_overs->session);
      const auto left = std::chrono::duration_cast<std::chrono::seconds>(session.who.expires - now);
      http::response answer = answer_of(303, {}, {});
      answer.fields.emplace_back("Location", found->path);
      answer.fields.emplace_back("Referrer-Policy", "no-referrer");
      answer.fields.emplace_back(
        "Set-Cookie", http::session_cookie_field(request->head(), request->scheme() == "https",
                        parts_.hand_overs->seal->close(session), left));
      // Tells the service's pages that a preview in a frame needs a link of its own.
      if (at_place == auth::place::service)
        answer.fields.emplace_back("Set-Cookie",
          "previewd_handed=1; Path=/; SameSite=Lax; Max-Age=" + std::to_string(left.count()));
      request->respond(not_stored(std::move(answer)));
    });
}

void service_api::show_page(const call& at, const std::string& name) const {
  const auto found = pages_.find(name);
  if (found == pages_.end()) {
    refuse(at.request, errc::not_found, "There is nothing at this path.");
    return;
  }
  const page& shown = found->second;
  http::response answer = answer_of(200, shown.content_type, {});
  answer.shared_body = shown.bytes;
  answer.fields.emplace_back(
    "Cache-Control", shown.cache_control.empty() ? "no-cache" : shown.cache_control);
  if (!shown.content_security_policy.empty())
    answer.fields.emplace_back("Content-Security-Policy", shown.content_security_policy);
  answer.fields.emplace_back("X-Content-Type-Options", "nosniff");
  if (!shown.etag.empty()) {
    answer.fields.emplace_back("ETag", shown.etag);
    if (at.request->head()["If-None-Match"] == shown.etag) {
      answer.status = 304;
      answer.content_type.clear();
      answer.shared_body = nullptr;
    }
  }
  at.request->respond(std::move(answer));
}

}  // namespace previewd::net::api
