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
#include "previewd/net/http/preview_target.hpp"
#include "previewd/net/terminal/terminal_hub.hpp"

namespace previewd::net::api {

namespace {

using http::exchange_ptr;

constexpr std::chrono::seconds longest_wait{60};
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

/// For what the hub answers with: nothing, or why not.
terminal::terminal_hub::done no_content(const exchange_ptr& request) {
  return [request](caf::error why) { why ? refuse(request, why) : answer_nothing(request); };
}

/// The workspaces that a list is about; an error naming the parameter that is none.
caf::expected<workspace_filter> filter_of(std::string_view query) {
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
  std::string_view method;
  std::string_view pattern;  // `{}` stands for any one segment
  void (service_api::*handler)(const call&) const;

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
  static const std::vector<route_entry> all{
    {"GET", "/api/preview-status/{}/{}", &service_api::preview_status},
    {"GET", "/api/terminals", &service_api::list_terminals},
    {"POST", "/api/terminals", &service_api::open_terminal},
    {"GET", "/api/terminals/{}", &service_api::show_terminal},
    {"DELETE", "/api/terminals/{}", &service_api::close_terminal},
    {"POST", "/api/terminals/{}/input", &service_api::type_into_terminal},
    {"POST", "/api/terminals/{}/resize", &service_api::resize_terminal},
    {"POST", "/api/terminals/{}/signal", &service_api::signal_terminal},
    {"GET", "/api/terminals/{}/output", &service_api::read_terminal},
    {"GET", "/api/terminals/{}/attach", &service_api::attach_terminal},
    {"GET", "/api/servers", &service_api::list_servers},
    {"POST", "/api/servers", &service_api::register_server},
    {"GET", "/api/servers/{}", &service_api::show_server},
    {"PATCH", "/api/servers/{}", &service_api::change_server},
    {"DELETE", "/api/servers/{}", &service_api::remove_server},
    {"GET", "/api/events", &service_api::follow_events},
    {"GET", "/debug/connections", &service_api::list_connections},
    {"GET", "/debug/state", &service_api::debug_state},
    {"GET", "/metrics", &service_api::metrics},
    {"GET", "/healthz", &service_api::health},
    {"GET", "/readyz", &service_api::ready},
    {"GET", "/preview/{}/{}/iframe", &service_api::iframe_page},
    {"GET", "/terminal/{}/{}", &service_api::terminal_page},
    {"GET", "/assets/{}", &service_api::asset},
    {"GET", "/dashboard", &service_api::dashboard_page},
    {"GET", "/", &service_api::start_page},
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
    if (each.method == method) {
      (this->*each.handler)(at);
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
  const bool is_iframe = preview.by == http::preview_target::address::path && path == "/iframe";
  if (!is_status && !is_events && !is_iframe) {
    refuse(request, errc::not_found, "There is nothing at this path.");
  } else if (head.method != "GET" && head.method != "HEAD") {
    refuse_method(request, "GET, HEAD");
  } else if (is_status) {
    status_of(at, preview.key);
  } else if (is_events) {
    stream_events(at, {preview.key.project, preview.key.user});
  } else {
    show_page(at, "iframe.html");
  }
}

facts_lookup service_api::facts_on(io_thread& here) const {
  return [hub = &parts_.terminals, &here](const std::string& id) { return hub->facts(here, id); };
}

void service_api::open_terminal(const call& at) const {
  at.request->read_body(
    settings_.json_bytes, [this, request = at.request](const std::string& body) {
      auto wanted = terminal_request_of(body);
      if (!wanted) {
        refuse(request, wanted.error());
        return;
      }
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
  auto filter = filter_of(at.query());
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
    [this, request = at.request](const caf::expected<terminal_info>& terminal) {
      if (!terminal) {
        refuse(request, terminal.error());
        return;
      }
      answer_json(request, 200, terminal_json(*terminal, facts_on(request->thread())));
    },
    lookup_atom_v, terminal_atom_v, at.arguments[0]);
}

void service_api::close_terminal(const call& at) const {
  ask<terminal_info>(
    parts_.system, at.request->thread(), parts_.registry,
    [request = at.request](const caf::expected<terminal_info>& terminal) {
      terminal ? answer_nothing(request) : refuse(request, terminal.error());
    },
    close_atom_v, at.arguments[0]);
}

void service_api::type_into_terminal(const call& at) const {
  at.request->read_body(
    settings_.input_bytes, [this, request = at.request, id = at.arguments[0]](std::string body) {
      parts_.terminals.input(request->thread(), id, std::move(body), no_content(request));
    });
}

void service_api::resize_terminal(const call& at) const {
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
}

void service_api::signal_terminal(const call& at) const {
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
}

void service_api::read_terminal(const call& at) const {
  const auto after = output_known(at);
  if (!after) return;
  // All that is held: the scrollback's limit is the answer's.
  parts_.terminals.read(at.request->thread(), at.arguments[0], *after,
    std::numeric_limits<std::size_t>::max(),
    [request = at.request, id = at.arguments[0]](std::optional<terminal::output_slice> output) {
      if (!output) {
        refuse(request, errc::terminal_not_found, "No terminal has the id " + id + ".");
        return;
      }
      http::response answer = answer_of(200, "application/octet-stream", std::move(output->bytes));
      answer.fields.emplace_back("Previewd-Sequence", std::to_string(output->sequence));
      answer.fields.emplace_back("Previewd-Lost", std::to_string(output->lost));
      request->respond(not_stored(std::move(answer)));
    });
}

/// Becomes a WebSocket to the terminal; whether there is one is said before.
void service_api::attach_terminal(const call& at) const {
  const auto after = output_known(at);
  if (!after) return;
  ask<terminal_info>(
    parts_.system, at.request->thread(), parts_.registry,
    [this, request = at.request, after](const caf::expected<terminal_info>& terminal) {
      if (!terminal) {
        refuse(request, terminal.error());
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
  auto filter = filter_of(at.query());
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
  ask<server_info>(
    parts_.system, at.request->thread(), parts_.registry,
    [this, at, generation](
      const caf::expected<server_info>& server) { answer_server(at, *generation, server); },
    lookup_atom_v, server_atom_v, *generation);
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
  if (scheme == "https") {
    what.upstream.scheme = previewd::scheme::https;
  } else if (!scheme.empty() && scheme != "http") {
    body.refuse("scheme", "must be http or https.");
  }
  what.type = body.text("type", presence::optional);
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
      // Called twice when the server takes its time: the first word decides.
      const auto first = std::make_shared<bool>(true);
      parts_.look(request->thread(), target, key,
        [this, request, first, wanted = std::move(*wanted)](const identity& seen) mutable {
          if (!std::exchange(*first, false)) return;
          add_server(request, std::move(wanted), seen);
        });
    });
}

void service_api::add_server(
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
  what.serves_page = seen.html;
  // Whatever it says, it was named as a server: requests go to it.
  what.answers = true;
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
    add_atom_v, std::move(what));
}

/// The one thing about a server that can be changed: that it is the one behind the workspace's
/// address.
void service_api::change_server(const call& at) const {
  const auto generation = generation_of(at);
  if (!generation) return;
  at.request->read_body(settings_.json_bytes, [this, at, generation](const std::string& text) {
    json_body body{text, {"primary"}};
    const auto primary = body.flag("primary", presence::required);
    if (primary && !*primary)
      body.refuse("primary", "must be true; make another server the primary instead.");
    if (!body.ok()) {
      refuse(at.request, body.error());
      return;
    }
    ask<server_info>(
      parts_.system, at.request->thread(), parts_.registry,
      [this, at, generation](
        const caf::expected<server_info>& server) { answer_server(at, *generation, server); },
      primary_atom_v, *generation);
  });
}

void service_api::follow_events(const call& at) const {
  auto filter = filter_of(at.query());
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
  ask<stop_record>(
    parts_.system, at.request->thread(), parts_.registry,
    [this, at, generation](const caf::expected<stop_record>& record) {
      record ? answer_nothing(at.request) : gone_or(at, *generation, record.error());
    },
    remove_atom_v, *generation);
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
  status_of(at, {at.arguments[0], at.arguments[1]});
}

void service_api::status_of(const call& at, const workspace_key& key) const {
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
    wait = *given;
  }
  ask_within<workspace_status>(
    wait + ask_timeout, parts_.system, at.request->thread(), parts_.registry,
    [this, request = at.request](const caf::expected<workspace_status>& status) {
      if (!status) {
        refuse(request, status.error());
        return;
      }
      answer_json(request, 200, preview_status_json(*status, parts_.addresses));
    },
    status_atom_v, key, caf::timespan{wait});
}

void service_api::list_connections(const call& at) const {
  parts_.connections(
    at.request->thread(), [request = at.request](const std::vector<connection_info>& connections) {
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
  show_page(at, "terminal.html");
}

void service_api::iframe_page(const call& at) const {
  if (const auto wrong = check_key({at.arguments[0], at.arguments[1]})) {
    refuse(at.request, wrong);
    return;
  }
  show_page(at, "iframe.html");
}

void service_api::asset(const call& at) const {
  show_page(at, "assets/" + at.arguments[0]);
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
