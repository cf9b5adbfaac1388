#include "previewd/service/service.hpp"

#include <sys/random.h>

#include <algorithm>
#include <array>
#include <boost/asio/ip/address.hpp>
#include <boost/asio/ip/network_v4.hpp>
#include <boost/asio/ip/network_v6.hpp>
#include <caf/actor_system.hpp>
#include <caf/scoped_actor.hpp>
#include <caf/send.hpp>
#include <chrono>
#include <future>
#include <iterator>
#include <optional>
#include <thread>
#include <utility>

#include "previewd/actors/registry.hpp"
#include "previewd/net/api/event_streams.hpp"
#include "previewd/net/api/service_api.hpp"
#include "previewd/net/auth/encoding.hpp"
#include "previewd/net/auth/hand_over.hpp"
#include "previewd/net/auth/key_set.hpp"
#include "previewd/net/data_plane.hpp"
#include "previewd/net/http/access.hpp"
#include "previewd/net/kernel/kernel_watch.hpp"
#include "previewd/net/reporter.hpp"
#include "previewd/net/tls/context.hpp"
#include "previewd/os/cgroup.hpp"
#include "previewd/os/child_reaper.hpp"
#include "previewd/os/descriptors.hpp"
#include "previewd/service/settings_check.hpp"
#include "previewd/store/store.hpp"
#include "previewd/store/survivors.hpp"
#include "previewd/support/log.hpp"
#include "previewd/web/assets.hpp"

namespace previewd {

namespace {

/// How long a server that is registered by hand may take to show what it is.
constexpr std::chrono::seconds look_timeout{5};

/// How long a change of settings may take to be everywhere, but for what has come to a standstill.
constexpr std::chrono::seconds change_limit{2};

/// For closing the store, however long the rest has taken.
constexpr std::chrono::seconds least_time_to_close{1};

std::string random_id() {
  constexpr std::string_view alphabet =
    "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
  std::array<unsigned char, 22> bytes{};  // 6 bits each: 132
  // Never short for so few bytes, and never interrupted (getrandom(2)).
  if (getrandom(bytes.data(), bytes.size(), 0) != static_cast<ssize_t>(bytes.size())) std::abort();
  std::string id;
  for (const unsigned char byte : bytes) id += alphabet[byte & 63U];
  return id;
}

/// Milliseconds of the wall clock: generations and sequences begin there, so that they are above
/// those of an earlier run.
uint64_t clock_number() {
  return static_cast<uint64_t>(std::chrono::duration_cast<std::chrono::milliseconds>(
    std::chrono::system_clock::now().time_since_epoch())
                                 .count());
}

/// What a proxy before the service makes of its scheme and port.
std::optional<net::http::front_address> front_of(const settings& wanted) {
  const auto& given = wanted.public_names.address;
  if (!given) return std::nullopt;
  const bool https = given->scheme == url_scheme::https;
  const uint16_t own = https ? 443 : 80;
  return net::http::front_address{
    https ? scheme::https : scheme::http, given->port != 0 ? given->port : own};
}

net::http::http_settings http_settings_of(const settings& wanted) {
  net::http::http_settings http;
  http.hold = wanted.proxy.hold;
  http.hold_bytes = wanted.proxy.hold_bytes;
  http.connect_timeout = wanted.proxy.connect_timeout;
  http.upgrade_timeout = wanted.proxy.upgrade_timeout;
  http.response_timeout = wanted.proxy.response_timeout;
  http.idle_timeout = wanted.proxy.idle_timeout;
  http.pipes = wanted.proxy.pipes;
  http.header_timeout = wanted.limits.header_timeout;
  http.header_bytes = wanted.limits.header_bytes;
  for (const std::string& peer : wanted.proxy.trusted) http.trusted.add(peer);
  http.connections = wanted.limits.connections;
  http.per_address = wanted.limits.per_address;
  http.per_workspace = wanted.limits.per_workspace;
  http.over =
    wanted.tls.certificate_file.empty() ? net::http::transport::plain : net::http::transport::tls;
  http.preview_domain = wanted.preview.domain;
  const bool paths = wanted.preview.path == path_addresses::by_mode
                       ? wanted.auth.mode == auth_mode::none
                       : wanted.preview.path == path_addresses::on;
  http.paths = paths ? net::http::path_addresses::on : net::http::path_addresses::off;
  http.public_hosts = wanted.public_names.hosts;
  http.front = front_of(wanted);
  http.auth_origins = wanted.auth.origins;
  if (wanted.auth.mode == auth_mode::forward) http.withheld_cookies = wanted.auth.forward_cookies;
  http.frame_ancestors = wanted.preview.frame_ancestors;
  http.metrics = wanted.metrics.visibility == metrics_visibility::open
                   ? net::http::metrics_access::open
                   : net::http::metrics_access::guarded;
  return http;
}

net::tls::certificate_files certificate_files_of(const settings& wanted) {
  return {.certificate = wanted.tls.certificate_file, .key = wanted.tls.key_file};
}

net::auth::key_files key_files_of(const settings& wanted) {
  return {.secrets = wanted.auth.secret_files, .public_keys = wanted.auth.public_key_files};
}

/// What clients are judged by.
std::variant<net::http::access_parts, std::string> access_of(const settings& wanted) {
  net::http::access_parts parts;
  if (wanted.auth.mode == auth_mode::token) {
    auto keys = net::auth::load_keys(key_files_of(wanted));
    if (auto* why = std::get_if<std::string>(&keys)) return std::move(*why);
    parts.keys = std::get<0>(std::move(keys));
  }
  parts.rules.audience = wanted.auth.audience;
  parts.rules.leeway = std::chrono::duration_cast<std::chrono::seconds>(wanted.auth.leeway);
  parts.attempts = std::make_shared<net::auth::attempts>(wanted.auth.attempts);
  parts.seal = std::make_shared<const net::auth::session_seal>();
  return parts;
}

/// How one of so many I/O threads asks the application.
net::http::forward_settings forward_of(const settings& wanted, std::size_t threads) {
  net::http::forward_settings forward;
  net::http::read_forward_address(wanted.auth.forward_url, forward.address);
  forward.timeout = wanted.auth.forward_timeout;
  forward.cache = wanted.auth.forward_cache;
  forward.asks = std::max<std::size_t>(1, wanted.auth.forward_asks / threads);
  forward.lifetime = std::chrono::duration_cast<std::chrono::seconds>(wanted.auth.session);
  forward.secret = net::auth::random_bytes(32);
  return forward;
}

/// Who a Socket.IO client is, by what can be known without asking the application.
caf::expected<std::shared_ptr<const net::auth::grant>> client_of(const net::http::access& rules,
  const net::socketio::handshake& request, const std::string& token) {
  if (!rules.takes_tokens()) {
    // The application has been asked about the request.
    if (request.grant != nullptr && !request.grant->is_over()) return request.grant;
    return make_error(errc::not_authenticated, "The application does not let you in.");
  }
  if (!token.empty()) return rules.with_token(token, request.address);
  for (const auto& [name, value] : request.fields) {
    if (name != "authorization") continue;
    const std::string_view sent = net::http::bearer_token(value);
    if (!sent.empty()) return rules.with_token(sent, request.address);
  }
  for (const auto& [name, value] : request.fields) {
    if (name != "cookie") continue;
    if (auto who = rules.with_cookies(value, net::auth::place::service)) return who;
  }
  return make_error(errc::not_authenticated,
    "This takes a token: send it as the auth payload {\"token\": \"...\"}.");
}

/// What the application says of a client.
caf::expected<std::shared_ptr<const net::auth::grant>>
client_of(const net::http::forward_verdict& verdict) {
  switch (verdict.what) {
    case net::http::forward_verdict::kind::granted:
      return verdict.who;
    case net::http::forward_verdict::kind::refused:
      return make_error(verdict.status == 403 ? errc::not_allowed : errc::not_authenticated,
        "The application does not let you in.");
    case net::http::forward_verdict::kind::unavailable:
      break;
  }
  return make_error(errc::timed_out,
    "The application that says who may (auth.forward_url) has given no answer; try again later.");
}

constexpr std::size_t most_token_bytes = 8 * 1024;

/// Who a Socket.IO client is. With `auth.mode = forward`, one whose request showed nothing is known
/// by its token: the application is asked about the request as if it had had it.
void identify_client(net::http::server& http, const net::socketio::handshake& request,
  const std::string& token, const net::socketio::previewd_app_parts::identified& done) {
  const bool is_known = request.grant != nullptr && !request.grant->project.empty();
  if (http.rules()->takes_tokens() || is_known)
    return done(client_of(*http.rules(), request, token));
  const bool is_token =
    token.size() <= most_token_bytes &&
    std::all_of(token.begin(), token.end(), [](char c) { return c > ' ' && c < 0x7f; });
  // It becomes a line of the question: it must be no more than that.
  if (!is_token)
    return done(make_error(
      errc::not_authenticated, "The token is too long, or has characters that none has."));
  // Of an absolute target the fields do not say which host was meant, and no client sends one here.
  if (request.target.substr(0, 1) != "/")
    return done(make_error(errc::not_authenticated, "Ask for a path, without a host."));
  const std::string authorization = "Bearer " + token;
  net::http::request_head head;
  head.method = "GET";
  head.target = request.target;
  head.path = head.target.substr(0, head.target.find('?'));
  if (head.path.size() < head.target.size()) head.query = head.target.substr(head.path.size() + 1);
  head.host = request.fields["host"];
  for (const auto& [name, value] : request.fields) head.fields.push_back({name, value});
  if (!token.empty()) head.fields.push_back({"Authorization", authorization});
  http.ask_about({head, request.secure ? "https" : "http", request.address, {}, {}},
    [done](const net::http::forward_verdict& verdict) { done(client_of(verdict)); });
}

preview_access access_of_new(preview_sharing wanted) {
  switch (wanted) {
    case preview_sharing::members:
      return preview_access::members;
    case preview_sharing::project:
      return preview_access::project;
    case preview_sharing::everyone:
      return preview_access::everyone;
  }
  return preview_access::members;
}

actors::registry_settings
registry_settings_of(const settings& wanted, const net::api::address_settings& addresses) {
  actors::registry_settings registry;
  registry.hold = wanted.proxy.hold;
  registry.terminals_per_user = wanted.limits.terminals_per_user;
  registry.event_ring = wanted.limits.event_ring;
  registry.access = access_of_new(wanted.preview.access);
  registry.exited_kept =
    wanted.terminal.detached.count() == 0 ? std::chrono::hours{24 * 30} : wanted.terminal.detached;
  registry.first_number = clock_number();
  registry.new_terminal_id = random_id;
  registry.probe = {wanted.health.interval, wanted.health.timeout, wanted.health.failures};
  registry.detection.timeout = wanted.detection.timeout;
  actors::terminal_settings& terminal = registry.terminal;
  terminal.shell = wanted.terminal.shell;
  terminal.home = wanted.inherited.home;
  terminal.base_env = wanted.inherited.environment;
  terminal.preview_domain = wanted.preview.domain;
  terminal.origin_of = [addresses](const std::string& label) {
    return net::api::origin_of(label, addresses);
  };
  terminal.run_as = {wanted.terminal.run_as, wanted.terminal.no_new_privileges};
  terminal.on_exit = wanted.terminal.on_exit == exit_policy::kill ? actors::on_terminal_exit::kill
                                                                  : actors::on_terminal_exit::keep;
  terminal.scrollback_bytes = wanted.terminal.scrollback;
  return registry;
}

/// What the registry takes over while it runs.
registry_limits registry_limits_of(const settings& wanted) {
  registry_limits limits;
  limits.hold = wanted.proxy.hold;
  limits.terminals_per_user = wanted.limits.terminals_per_user;
  limits.probe_interval = wanted.health.interval;
  limits.probe_timeout = wanted.health.timeout;
  limits.probe_failures = wanted.health.failures;
  return limits;
}

net::http::preview_pages loading_pages() {
  net::http::preview_pages pages;
  pages.loading = [](const net::http::preview_target& target) {
    const std::string status_path = target.prefix + "/.previewd/status";
    return web::loading_page({target.key.project, target.key.user, status_path, target.port});
  };
  if (const web::asset* page = web::find_asset("loading.html"))
    pages.loading_policy = page->content_security_policy;
  pages.stop_record = net::api::stop_json;
  return pages;
}

std::vector<net::api::page> embedded_pages() {
  std::vector<net::api::page> pages;
  for (const web::asset& one : web::assets())
    pages.push_back({std::string{one.path}, std::string{one.content_type},
      std::string{one.cache_control}, std::string{one.etag},
      std::string{one.content_security_policy}, std::make_shared<const std::string>(one.bytes)});
  return pages;
}

}  // namespace

/// Everything of a running service, in the order in which it is built; it ends in the reverse
/// order.
struct service::parts {
  /// One I/O thread and what lives on it.
  struct lane {
    explicit lane(uint32_t index) : thread{index} {}
    net::io_thread thread;
    std::unique_ptr<net::socketio::previewd_app> socketio;
    std::unique_ptr<net::api::event_streams> events;
    std::unique_ptr<net::attach::attach_server> attach;
    std::unique_ptr<net::http::server> http;
  };

  parts(caf::actor_system& host, const settings& given, process_role role)
      : system{host},
        wanted{given},
        reaper{role == process_role::program ? os::reap_mode::all : os::reap_mode::own},
        kernel{reaper, kernel_settings(given, role)} {}

  static net::kernel::kernel_watch_settings
  kernel_settings(const settings& given, process_role role) {
    net::kernel::kernel_watch_settings kernel;
    kernel.detection_timeout = given.detection.timeout;
    kernel.fast_interval = given.detection.interval;
    // Only a program has processes and cgroups of its own to dispose of.
    if (role == process_role::program) kernel.cgroup = os::delegated_cgroup();
    kernel.signals = role == process_role::program ? net::kernel::child_signals::handled
                                                   : net::kernel::child_signals::ignored;
    return kernel;
  }

  void stop();

  /// Starts the actor that keeps what is registered, and says what was found, without what may not
  /// be registered any more.
  restored_state restore(std::unique_ptr<store::opened_store> opened);

  /// The store is written for the last time and let go of, unless the disk does not answer until
  /// then.
  void close_store(std::chrono::steady_clock::time_point end);

  /// The one desk of all threads, which lives on the first.
  net::api::hand_over_calls hand_over_calls(std::shared_ptr<const net::auth::session_seal> seal);

  /// Why nothing at this endpoint may be registered by hand; empty: it may.
  std::string objection(const endpoint& target) const;

  caf::actor_system& system;
  settings wanted;
  std::vector<std::string> addresses;
  std::vector<uint16_t> own_ports;  // the service listens on
  os::child_reaper reaper;
  net::kernel::kernel_watcher kernel;
  std::vector<std::unique_ptr<lane>> lanes;
  std::unique_ptr<net::auth::hand_over_desk> desk;  // null: with `auth.mode = none`
  std::unique_ptr<net::terminal::terminal_hub> terminals;
  std::unique_ptr<net::thread_data_plane> data_plane;
  store_actor store;  // null: what is registered is not kept
  registry_actor registry;
  std::unique_ptr<net::reporter> reporter;
  std::unique_ptr<net::api::service_api> api;
  actor_census census;
  /// Held by every actor of ours until it has ended; the last one fulfils the future.
  std::shared_ptr<actor_census> ports_in_use;
  std::future<void> actors_ended;
  bool stopped = false;
};

std::variant<std::unique_ptr<service>, std::string>
service::start(caf::actor_system& system, const settings& wanted, process_role role) {
  // Settings that an application filled by hand have not been looked at.
  if (const auto why = check_reach(wanted)) return "cannot start: " + *why;
  if (const auto why = check_account(wanted)) return "cannot start: " + *why;
  const uint32_t threads =
    wanted.io.threads == 0 ? std::max(1U, std::thread::hardware_concurrency()) : wanted.io.threads;
  std::optional<net::http::access_parts> rules;
  net::http::forward_address application;
  if (wanted.auth.mode == auth_mode::forward &&
      !net::http::read_forward_address(wanted.auth.forward_url, application))
    return std::string{"cannot start: auth.forward_url is no address of an application"};
  if (wanted.auth.mode != auth_mode::none) {
    auto read = access_of(wanted);
    if (auto* why = std::get_if<std::string>(&read)) return "cannot start: " + *why;
    rules = std::get<0>(std::move(read));
  }
  std::shared_ptr<const net::tls::server_context> certificate;
  if (!wanted.tls.certificate_file.empty()) {
    auto read = net::tls::load_certificate(certificate_files_of(wanted));
    if (auto* why = std::get_if<std::string>(&read)) return "cannot start: " + *why;
    certificate = std::get<0>(std::move(read));
  }
  std::vector<net::http::listen_spec> where;
  for (const listen_address& one : wanted.listen)
    where.push_back({one.address, one.port, one.path, one.descriptor});
  // First, and before anything has to be taken back: this is what fails for a user's reasons.
  net::http::listen_result opened = net::http::open_listeners(where, threads);
  if (!opened.error.empty()) return opened.error;
  // A thread takes four for its queue of events, and its part of the rest.
  if (const auto failure = os::check_room_for_descriptors(4 * (threads + 4) + 16))
    return "cannot start: " + failure.message() + " (raise RLIMIT_NOFILE, ulimit -n)";
  if (role == process_role::program && os::become_subreaper())
    return std::string{"cannot become the parent of orphaned processes (PR_SET_CHILD_SUBREAPER)"};
  std::unique_ptr<store::opened_store> kept;
  if (!wanted.store.path.empty()) {
    auto taken = store::open_store(wanted.store.path, clock_number());
    if (auto* why = std::get_if<std::string>(&taken)) return "cannot start: " + *why;
    kept = std::get<0>(std::move(taken));
  }

  auto running = std::make_unique<parts>(system, wanted, role);
  net::api::address_settings addresses;
  addresses.domain = wanted.preview.domain;
  if (certificate != nullptr) addresses.scheme = "https";
  for (const auto& listener : opened.listeners) {
    const net::http::listen_spec& at = listener.at;
    const bool v6 = at.address.find(':') != std::string::npos;
    running->addresses.push_back(at.path.empty() ? addresses.scheme + "://" +
                                                     (v6 ? "[" + at.address + "]" : at.address) +
                                                     ":" + std::to_string(at.port)
                                                 : "unix:" + at.path);
    if (at.path.empty()) running->own_ports.push_back(at.port);
  }
  for (const auto& listener : opened.listeners) {
    if (listener.at.port == 0) continue;
    addresses.port = listener.at.port;
    break;
  }
  if (const auto front = front_of(wanted)) {
    addresses.scheme = to_string(front->scheme);
    addresses.port = front->port;
    addresses.hosts = wanted.public_names.hosts;
  }

  std::vector<net::io_thread*> io_threads;
  for (uint32_t i = 0; i < threads; ++i) {
    running->lanes.push_back(std::make_unique<parts::lane>(i));
    io_threads.push_back(&running->lanes.back()->thread);
  }
  net::terminal::terminal_hub_settings terminal_settings;
  terminal_settings.detached = wanted.terminal.detached;
  running->terminals =
    std::make_unique<net::terminal::terminal_hub>(io_threads, running->reaper, terminal_settings);
  running->data_plane = std::make_unique<net::thread_data_plane>(addresses);
  const auto ended = std::make_shared<std::promise<void>>();
  running->actors_ended = ended->get_future();
  running->ports_in_use = {&running->census, [ended](const void*) { ended->set_value(); }};
  const actors::actor_ports ports{
    running->data_plane.get(), &running->kernel, running->ports_in_use};
  actors::registry_settings registry_settings = registry_settings_of(wanted, addresses);
  if (kept != nullptr) {
    registry_settings.first_number = kept->found.highest + 1;
    registry_settings.found = running->restore(std::move(kept));
    registry_settings.store = running->store;
  }
  running->registry = system.spawn(actors::registry, std::move(registry_settings), ports);

  parts* all = running.get();
  std::optional<net::api::hand_over_calls> hand_overs;
  if (rules) hand_overs = running->hand_over_calls(rules->seal);
  running->api = std::make_unique<net::api::service_api>(net::api::service_api_parts{
    .system = system,
    .registry = running->registry,
    .terminals = *running->terminals,
    .addresses = addresses,
    .pages = embedded_pages(),
    .connections = [all](net::io_thread& here,
                     auto done) { all->data_plane->list_tunnels(here, std::move(done)); },
    .socketio =
      [all](net::http::exchange_ptr request) {
        all->lanes[request->thread().index()]->socketio->handle(std::move(request));
      },
    .event_stream =
      [all](const net::http::exchange_ptr& request, workspace_filter filter,
        std::optional<uint64_t> after) {
        all->lanes[request->thread().index()]->events->open(request, std::move(filter), after);
      },
    .look =
      [all](net::io_thread& here, const endpoint& target, const workspace_key& key, auto said) {
        // The first word decides what is registered.
        all->lanes[here.index()]->http->look(
          target, key, look_timeout, std::move(said), look_words::settled);
      },
    .objection = [all](const endpoint& target) { return all->objection(target); },
    .attach =
      [all](const net::http::exchange_ptr& request, const terminal_info& terminal, uint64_t after) {
        all->lanes[request->thread().index()]->attach->open(request, terminal, after);
      },
    .report = [all](
                net::io_thread& here, auto done) { all->reporter->report(here, std::move(done)); },
    .readiness_check = [all](net::io_thread& here,
                         auto done) { all->reporter->readiness(here, std::move(done)); },
    .find_listeners =
      [all](net::io_thread& here, const endpoint& target, auto said) {
        all->kernel.find(target, [&here, said = std::move(said)](found_listeners found) mutable {
          here.post([said = std::move(said), found = std::move(found)] { said(found); });
        });
      },
    .hand_overs = std::move(hand_overs),
  });
  // The same for all: what one of them has been granted the others know.
  const net::http::forward_settings forward = forward_of(wanted, threads);
  std::vector<net::io_thread_parts> thread_parts;
  std::vector<net::http::server*> peers;
  for (auto& lane : running->lanes) {
    net::socketio::previewd_app_settings app_settings;
    app_settings.addresses = addresses;
    net::socketio::previewd_app_parts app_parts{
      system, running->registry, running->registry, *running->terminals};
    if (rules)
      app_parts.identify = [at = lane.get()](
                             const auto& request, const std::string& token, const auto& done) {
        identify_client(*at->http, request, token, done);
      };
    app_settings.server.engine.client_buffer = wanted.limits.client_buffer;
    // Output comes in pieces that escapes make longer: where there is no room for one beside
    // others, it comes alone.
    if (wanted.limits.client_buffer < 4 * app_settings.pull_below) app_settings.pull_below = 1;
    app_settings.server.recovery.max_disconnection = wanted.socketio.recovery;
    app_settings.server.recovery.events = wanted.limits.event_ring;
    lane->socketio = std::make_unique<net::socketio::previewd_app>(
      lane->thread, io_threads, std::move(app_parts), app_settings);
    net::api::event_streams_settings stream_settings;
    stream_settings.addresses = addresses;
    stream_settings.client_buffer = wanted.limits.client_buffer;
    lane->events = std::make_unique<net::api::event_streams>(lane->thread,
      net::api::event_streams_parts{
        system, running->registry, running->registry, *running->terminals},
      stream_settings);
    net::attach::attach_settings attach_settings;
    attach_settings.pull_below = std::min<std::size_t>(
      attach_settings.pull_below, static_cast<std::size_t>(wanted.limits.client_buffer / 2));
    lane->attach = std::make_unique<net::attach::attach_server>(lane->thread,
      net::attach::attach_parts{running->registry, *running->terminals}, attach_settings);
    lane->http = std::make_unique<net::http::server>(
      lane->thread, http_settings_of(wanted),
      [all](net::http::exchange_ptr request) { all->api->handle(request); }, loading_pages());
    if (rules) lane->http->demand(*rules);
    lane->http->show(certificate);
    if (wanted.auth.mode == auth_mode::forward) lane->http->ask(forward);
    thread_parts.push_back({&lane->thread, lane->http.get(), lane->socketio.get(),
      lane->attach.get(), lane->events.get()});
    peers.push_back(lane->http.get());
  }
  for (auto& lane : running->lanes) {
    lane->http->set_peers(peers);
    lane->socketio->share_recovery(*running->lanes.front()->socketio);
  }
  running->reporter = std::make_unique<net::reporter>(net::reporter_parts{system, running->registry,
    running->census, thread_parts, *running->terminals, running->kernel, running->store});
  running->data_plane->connect(std::move(thread_parts), *running->terminals);
  // Before any client can ask for anything.
  caf::anon_send(running->registry, restore_atom_v);
  for (auto& listener : opened.listeners)
    for (std::size_t i = 0; i < listener.sockets.size(); ++i)
      running->lanes[i]->http->listen(std::move(listener.sockets[i]));

  running->kernel.start();
  running->reporter->start();
  for (auto& lane : running->lanes)
    lane->thread.start(("pv-io-" + std::to_string(lane->thread.index())).c_str());
  return std::unique_ptr<service>{new service{std::move(running)}};
}

service::service(std::unique_ptr<parts> running) : parts_{std::move(running)} {}

service::~service() {
  stop();
}

const std::vector<std::string>& service::addresses() const noexcept {
  return parts_->addresses;
}

registry_actor service::registry() const {
  return parts_->registry;
}

event_source_actor service::events() const {
  return parts_->registry;
}

void service::change(const settings& wanted) {
  settings& now = parts_->wanted;
  now.health = wanted.health;
  now.proxy.hold = wanted.proxy.hold;
  now.proxy.hold_bytes = wanted.proxy.hold_bytes;
  now.proxy.connect_timeout = wanted.proxy.connect_timeout;
  now.proxy.upgrade_timeout = wanted.proxy.upgrade_timeout;
  now.proxy.response_timeout = wanted.proxy.response_timeout;
  now.proxy.idle_timeout = wanted.proxy.idle_timeout;
  now.proxy.pipes = wanted.proxy.pipes;
  now.limits.header_bytes = wanted.limits.header_bytes;
  now.limits.header_timeout = wanted.limits.header_timeout;
  now.limits.connections = wanted.limits.connections;
  now.limits.terminals_per_user = wanted.limits.terminals_per_user;
  now.shutdown.timeout = wanted.shutdown.timeout;
  const net::http::http_settings http = http_settings_of(now);
  for (auto& one : parts_->lanes)
    one->thread.post([part = one.get(), http] { part->http->change(http); });
  caf::anon_send(parts_->registry, settings_atom_v, registry_limits_of(now));

  now.auth.secret_files = wanted.auth.secret_files;
  now.auth.public_key_files = wanted.auth.public_key_files;
  reload_keys();
  // With TLS or without is settled by how the addresses were opened.
  if (!now.tls.certificate_file.empty() && !wanted.tls.certificate_file.empty()) {
    now.tls = wanted.tls;
    reload_certificate();
  }
  // Whoever asked for it is told that it is done when it is.
  if (!answers(change_limit))
    log::warn("reload_slow", "Not every thread has taken over the settings yet, but each will");
}

void service::reload_keys() {
  if (parts_->wanted.auth.mode != auth_mode::token) return;
  const auto read = net::auth::load_keys(key_files_of(parts_->wanted));
  if (const auto* why = std::get_if<std::string>(&read)) {
    log::error("reload_failed", "The keys stay as they were: " + *why);
    return;
  }
  const auto& keys = std::get<0>(read);
  for (auto& one : parts_->lanes)
    one->thread.post([part = one.get(), keys] {
      part->http->rules()->set_keys(keys);
      part->socketio->withdraw(*keys);
      part->events->withdraw(*keys);
      part->attach->withdraw(*keys);
    });
  log::info("reload", "The keys have been read again", {{"keys", keys->size()}});
}

void service::reload_certificate() {
  if (parts_->wanted.tls.certificate_file.empty()) return;
  const auto read = net::tls::load_certificate(certificate_files_of(parts_->wanted));
  if (const auto* why = std::get_if<std::string>(&read)) {
    log::error("reload_failed", "The certificate stays as it was: " + *why);
    return;
  }
  for (auto& one : parts_->lanes)
    one->thread.post(
      [part = one.get(), certificate = std::get<0>(read)] { part->http->show(certificate); });
  log::info("reload", "The certificate has been read again");
}

bool service::answers(std::chrono::microseconds limit) const {
  const auto end = std::chrono::steady_clock::now() + limit;
  std::vector<std::future<void>> asked;
  for (const auto& one : parts_->lanes) {
    const auto answer = std::make_shared<std::promise<void>>();
    asked.push_back(answer->get_future());
    one->thread.post([answer] { answer->set_value(); });
  }
  bool answered = false;
  caf::scoped_actor self{parts_->system};
  self->request(parts_->registry, caf::duration{limit}, counters_atom_v)
    .receive([&](const registry_counters&) { answered = true; }, [](const caf::error&) {});
  for (const auto& one : asked)
    answered = one.wait_until(end) == std::future_status::ready && answered;
  return answered;
}

void service::stop() {
  parts_->stop();
}

namespace {

/// Whether a network in CIDR notation has the address.
bool contains(const std::string& network, const boost::asio::ip::address& address) {
  boost::system::error_code error;
  if (address.is_v4()) {
    const auto net = boost::asio::ip::make_network_v4(network, error);
    return !error &&
           boost::asio::ip::network_v4{address.to_v4(), net.prefix_length()}.canonical() == net;
  }
  const auto net = boost::asio::ip::make_network_v6(network, error);
  return !error &&
         boost::asio::ip::network_v6{address.to_v6(), net.prefix_length()}.canonical() == net;
}

}  // namespace

std::string service::parts::objection(const endpoint& target) const {
  boost::system::error_code error;
  const auto address = boost::asio::ip::make_address(target.address, error);
  if (error || address.to_string() != target.address || address.is_unspecified())
    return "must be a numeric address, for example 127.0.0.1 or ::1.";
  // The whole of 127.0.0.0/8 reaches a listener of 0.0.0.0, and a loop would help nobody.
  if (std::find(own_ports.begin(), own_ports.end(), target.port) != own_ports.end() &&
      address.is_loopback())
    return "with this port is the service's own.";
  const auto names = [&](const std::string& network) { return contains(network, address); };
  const auto& allowed = wanted.preview.allow_upstreams;
  if (address.is_loopback() || std::any_of(allowed.begin(), allowed.end(), names)) return {};
  return "must be a loopback address; preview.allow_upstreams names further networks.";
}

restored_state service::parts::restore(std::unique_ptr<store::opened_store> opened) {
  restored_state found = store::judge(opened->found);
  store =
    system.spawn<caf::detached>(store::store, std::make_shared<store::writer>(std::move(opened)));
  // What is allowed may have changed since, and where we listen ourselves.
  const auto refused = std::stable_partition(found.alive.begin(), found.alive.end(),
    [this](const stored_server& one) { return objection(one.description.upstream).empty(); });
  std::move(refused, found.alive.end(), std::back_inserter(found.gone));
  found.alive.erase(refused, found.alive.end());
  return found;
}

void service::parts::close_store(std::chrono::steady_clock::time_point end) {
  if (!store) return;
  caf::scoped_actor self{system};
  const auto left = std::max<std::chrono::steady_clock::duration>(
    end - std::chrono::steady_clock::now(), least_time_to_close);
  self
    ->request(std::exchange(store, {}),
      caf::duration{std::chrono::duration_cast<std::chrono::milliseconds>(left)}, close_atom_v)
    .receive([] {},
      [](const caf::error&) {
        log::warn("store_not_closed", "The store has not been closed in time");
      });
}

net::api::hand_over_calls
service::parts::hand_over_calls(std::shared_ptr<const net::auth::session_seal> seal) {
  using net::auth::hand_over;
  desk = std::make_unique<net::auth::hand_over_desk>(wanted.auth.hand_overs);
  net::api::hand_over_calls calls;
  calls.issue = [this](net::io_thread& here, hand_over what, auto done) {
    lanes.front()->thread.post([this, &here, what = std::move(what), done]() mutable {
      auto code = desk->issue(std::move(what), std::chrono::steady_clock::now());
      here.post([done, code = std::move(code)] { done(code); });
    });
  };
  calls.redeem = [this](
                   const net::http::exchange_ptr& request, const std::string& code, auto done) {
    net::io_thread& here = request->thread();
    const net::http::access* rules = lanes[here.index()]->http->rules();
    if (rules->exhausted(request->client_address())) return done(std::nullopt);
    const auto told = [rules, done, address = request->client_address()](
                        std::optional<hand_over> what) {
      if (!what) rules->refused(address);
      done(std::move(what));
    };
    lanes.front()->thread.post([this, &here, code, told] {
      auto what = desk->redeem(code, std::chrono::steady_clock::now());
      here.post([told, what = std::move(what)] { told(what); });
    });
  };
  calls.seal = std::move(seal);
  calls.session = std::chrono::duration_cast<std::chrono::seconds>(wanted.auth.session);
  return calls;
}

void service::parts::stop() {
  if (std::exchange(stopped, true)) return;
  const auto end = std::chrono::steady_clock::now() + wanted.shutdown.timeout;
  for (auto& one : lanes)
    one->thread.post([part = one.get()] {
      part->http->stop_listening();
      part->attach->announce_end();
    });
  {
    // Clients hear that their servers stop, and see their terminals end, before their connections
    // are closed.
    caf::scoped_actor self{system};
    self->request(registry, caf::duration{wanted.shutdown.timeout}, shutdown_atom_v)
      .receive(
        [](uint64_t removed) {
          log::info("shutdown", "The service ends", {{"servers", removed}});
        },
        [](const caf::error&) {
          log::warn("shutdown_incomplete",
            "Not everything has ended within shutdown.timeout; the rest is left");
        });
  }
  std::vector<std::future<void>> closed;
  for (auto& one : lanes) {
    const auto done = std::make_shared<std::promise<void>>();
    closed.push_back(done->get_future());
    one->thread.post([part = one.get(), done] {
      part->events->stop();
      part->socketio->stop([part, done] {
        part->attach->stop([part, done] { part->http->stop([done] { done->set_value(); }); });
      });
    });
  }
  for (auto& one : closed) one.wait_until(end);
  // The rest of our actors watch the registry, and end with it.
  caf::anon_send_exit(registry, caf::exit_reason::user_shutdown);
  ports_in_use.reset();
  actors_ended.wait();
  for (auto& one : lanes) one->thread.stop();
  reporter->stop();
  kernel.stop();
  close_store(end);
}

}  // namespace previewd
