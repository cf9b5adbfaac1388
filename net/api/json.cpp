#include "previewd/net/api/json.hpp"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "previewd/messages/error.hpp"

namespace previewd::net::api {

namespace {

// Ordered, so that answers read as the documentation shows them.
using json = nlohmann::ordered_json;

std::string text_of(const json& value) {
  return value.dump(-1, ' ', false, json::error_handler_t::replace);
}

json or_null(const std::string& text) {
  return text.empty() ? json(nullptr) : json(text);
}

template <class Number> json or_null(Number number) {
  return number == 0 ? json(nullptr) : json(number);
}

json exit_code(const exit_status& status) {
  return status.code ? json(*status.code) : json(nullptr);
}

json milliseconds(uint64_t microseconds) {
  return static_cast<double>(microseconds / 10) / 100;
}

std::string origin_url(const server_info& server, const address_settings& addresses) {
  const std::string origin = server_origin(server, addresses);
  return origin.empty() ? origin : origin + "/";
}

/// The page that frames the preview is one a workspace; the port tells it which server is meant.
std::string iframe_url(const server_info& server) {
  std::string url = preview_path(server.ref.key) + "/iframe";
  if (!server.primary) url += "?port=" + std::to_string(server.upstream.port);
  return url;
}

json server_object(const server_info& server, const address_settings& addresses) {
  const server_health& health = server.health;
  return {
    {"project", server.ref.key.project},
    {"user", server.ref.key.user},
    {"serverKey", server_key(server.ref.key)},
    {"generation", server.ref.generation},
    {"port", server.upstream.port},
    {"address", server.upstream.address},
    {"scheme", to_string(server.upstream.scheme)},
    {"type", server.type},
    {"state", to_string(server.state)},
    {"primary", server.primary},
    {"terminalId", or_null(server.terminal_id)},
    {"pid", or_null(server.pid)},
    {"command", server.command},
    {"url", path_of(server)},
    {"iframeUrl", iframe_url(server)},
    {"originUrl", or_null(origin_url(server, addresses))},
    {"basePath", to_string(server.prefix)},
    {"previousGeneration", or_null(server.previous_generation)},
    {"startedAt", to_rfc3339(server.started_at)},
    {"health",
      {{"checkedAt", health.checked_at ? json(to_rfc3339(*health.checked_at)) : json(nullptr)},
        {"latencyMs", health.checked_at ? milliseconds(health.latency_us) : json(nullptr)},
        {"failures", health.failures}}},
    {"tunnels", server.tunnels},
    {"access", to_string(server.access)},
  };
}

json servers_array(const std::vector<server_info>& servers, const address_settings& addresses) {
  json array = json::array();
  for (const server_info& server : servers) array.push_back(server_object(server, addresses));
  return array;
}

json terminal_object(const terminal_info& terminal, const facts_lookup& lookup) {
  std::optional<terminal::terminal_facts> facts;
  if (lookup) facts = lookup(terminal.id);
  const terminal_size size = facts ? facts->size : terminal.size;
  return {
    {"id", terminal.id},
    {"project", terminal.key.project},
    {"user", terminal.key.user},
    {"pid", or_null(terminal.pid)},
    {"command", terminal.command},
    {"cwd", terminal.cwd},
    {"cols", size.columns},
    {"rows", size.rows},
    {"state", to_string(terminal.state)},
    {"exitCode", exit_code(terminal.exit)},
    {"signal", or_null(terminal.exit.signal)},
    {"foreground", facts ? or_null(facts->foreground) : json(nullptr)},
    {"attached", facts ? facts->attached : 0},
    {"sequence", facts ? facts->sequence : 0},
    {"createdAt", to_rfc3339(terminal.created_at)},
  };
}

json terminals_array(const std::vector<terminal_info>& terminals, const facts_lookup& lookup) {
  json array = json::array();
  for (const terminal_info& terminal : terminals)
    array.push_back(terminal_object(terminal, lookup));
  return array;
}

json stop_object(const stop_record& record) {
  return {
    {"terminalId", or_null(record.terminal_id)},
    {"message", stop_message(record.reason)},
    {"serverKey", server_key(record.ref.key)},
    {"project", record.ref.key.project},
    {"user", record.ref.key.user},
    {"port", record.port},
    {"generation", record.ref.generation},
    {"reason", to_string(record.reason)},
    {"exitCode", exit_code(record.exit)},
    {"signal", or_null(record.exit.signal)},
    {"sequence", record.sequence},
    {"at", to_rfc3339(record.at)},
  };
}

json unreachable_object(const event& what, const server_info& server) {
  json object{
    {"serverKey", server_key(server.ref.key)},
    {"project", server.ref.key.project},
    {"user", server.ref.key.user},
    {"port", server.upstream.port},
    {"generation", server.ref.generation},
    {"terminalId", or_null(server.terminal_id)},
    {"reason", to_string(what.reason)},
  };
  if (!what.hint.empty()) object["hint"] = what.hint;
  return object;
}

json payload_of(const event& what, const address_settings& addresses) {
  json payload = json::object();
  switch (what.kind) {
    case event_kind::server_started:
    case event_kind::server_primary:
    case event_kind::server_access:
      if (what.server) payload = server_object(*what.server, addresses);
      break;
    case event_kind::server_stopped:
      if (what.stop) payload = stop_object(*what.stop);
      break;
    case event_kind::server_unreachable:
    case event_kind::server_recovered:
      if (what.server) payload = unreachable_object(what, *what.server);
      break;
    case event_kind::terminal_exit:
      if (what.terminal)
        payload = {{"terminalId", what.terminal->id}, {"exitCode", exit_code(what.terminal->exit)},
          {"signal", or_null(what.terminal->exit.signal)}, {"project", what.key.project},
          {"user", what.key.user}};
      break;
  }
  payload["sequence"] = what.sequence;
  payload["at"] = to_rfc3339(what.at);
  return payload;
}

}  // namespace

std::string origin_at(std::string_view host, const address_settings& addresses) {
  std::string origin = addresses.scheme + "://" + std::string{host};
  const uint16_t own = addresses.scheme == "https" ? 443 : 80;
  if (addresses.port != own) origin += ":" + std::to_string(addresses.port);
  return origin;
}

std::string origin_of(std::string_view label, const address_settings& addresses) {
  return origin_at(std::string{label} + "." + addresses.domain, addresses);
}

std::string server_origin(const server_info& server, const address_settings& addresses) {
  if (server.label.empty()) return {};
  return origin_of(
    server.primary ? server.label : port_origin_label(server.upstream.port, server.label),
    addresses);
}

std::string path_of(const server_info& server) {
  std::string path = preview_path(server.ref.key);
  if (!server.primary) path += ":" + std::to_string(server.upstream.port);
  return path;
}

std::string server_json(const server_info& server, const address_settings& addresses) {
  return text_of(server_object(server, addresses));
}

std::string
servers_json(const std::vector<server_info>& servers, const address_settings& addresses) {
  return text_of(servers_array(servers, addresses));
}

std::string terminal_json(const terminal_info& terminal, const facts_lookup& facts) {
  return text_of(terminal_object(terminal, facts));
}

std::string terminals_json(const std::vector<terminal_info>& terminals, const facts_lookup& facts) {
  return text_of(terminals_array(terminals, facts));
}

std::string stop_json(const stop_record& record) {
  return text_of(stop_object(record));
}

std::string snapshot_json(
  const project_snapshot& snapshot, const address_settings& addresses, const facts_lookup& facts) {
  return text_of({{"servers", servers_array(snapshot.servers, addresses)},
    {"terminals", terminals_array(snapshot.terminals, facts)}, {"sequence", snapshot.sequence}});
}

std::string preview_status_json(
  const workspace_status& status, const address_settings& addresses, uint16_t port) {
  const auto asked_for =
    std::find_if(status.servers.begin(), status.servers.end(), [port](const server_info& server) {
      const bool meant = port == 0 ? server.primary : server.upstream.port == port;
      return meant && server.state == server_state::ready;
    });
  const bool available = asked_for != status.servers.end();
  json answer{
    {"available", available},
    {"server", available ? server_object(*asked_for, addresses) : json(nullptr)},
    {"servers", servers_array(status.servers, addresses)},
  };
  if (!available)
    answer["lastStop"] = status.last_stop ? stop_object(*status.last_stop) : json(nullptr);
  answer["sequence"] = status.sequence;
  return text_of(answer);
}

std::string connections_json(const std::vector<connection_info>& connections) {
  json owners = json::array();
  json array = json::array();
  for (const connection_info& connection : connections) {
    json owner = server_key(connection.server.key);
    array.push_back({
      {"id", std::to_string(connection.id.thread) + "-" + std::to_string(connection.id.number)},
      {"serverKey", owner},
      {"project", connection.server.key.project},
      {"user", connection.server.key.user},
      {"generation", connection.server.generation},
      {"clientAddress", connection.client_address},
      {"path", connection.path},
      {"protocol", or_null(connection.protocol)},
      {"upstreamAddress", connection.upstream.address},
      {"upstreamPort", connection.upstream.port},
      {"openedAt", to_rfc3339(connection.opened_at)},
      {"bytesUp", connection.bytes_up},
      {"bytesDown", connection.bytes_down},
      {"idleMs", connection.idle.count()},
    });
    if (std::find(owners.begin(), owners.end(), owner) == owners.end())
      owners.push_back(std::move(owner));
  }
  return text_of(
    {{"totalConnections", connections.size()}, {"owners", owners}, {"connections", array}});
}

std::shared_ptr<const encoded_event> encode(const event& what, const address_settings& addresses) {
  auto encoded = std::make_shared<encoded_event>();
  encoded->name = to_string(what.kind);
  encoded->project = what.key.project;
  encoded->user = what.key.user;
  if (what.kind == event_kind::terminal_exit && what.terminal) {
    encoded->terminal_id = what.terminal->id;
    encoded->exit = what.terminal->exit;
    encoded->closed = what.terminal->state == terminal_state::closing;
  }
  encoded->sequence = what.sequence;
  encoded->json = text_of(payload_of(what, addresses));
  encoded->server_sent = std::make_shared<const std::string>(
    server_sent_text(encoded->name, encoded->sequence, encoded->json));
  return encoded;
}

std::string server_sent_text(std::string_view name, uint64_t id, std::string_view json) {
  std::string text = "id: " + std::to_string(id) + "\nevent: ";
  text.append(name).append("\ndata: ").append(json).append("\n\n");
  return text;
}

std::string error_json(const caf::error& error) {
  return text_of({{"code", to_code(code_of(error))}, {"detail", detail_of(error)}});
}

std::string quoted(std::string_view text) {
  return text_of(json(text));
}

}  // namespace previewd::net::api
