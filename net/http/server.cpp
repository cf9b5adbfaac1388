#include "previewd/net/http/server.hpp"

#include <fcntl.h>
#include <netinet/in.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <boost/asio/basic_socket_acceptor.hpp>
#include <boost/asio/ip/address.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/write.hpp>
#include <caf/send.hpp>
#include <cerrno>
#include <cstring>
#include <ctime>
#include <utility>

#include "previewd/net/http/access.hpp"
#include "previewd/net/http/connection.hpp"
#include "previewd/net/http/core.hpp"
#include "previewd/net/http/look.hpp"
#include "previewd/net/http/tunnel.hpp"
#include "previewd/os/system_call.hpp"
#include "previewd/support/log.hpp"

namespace previewd::net::http {

namespace {

const os::call_site accept_client{
  "http.accept", {EMFILE, ENFILE, ENOMEM, ENOBUFS, EAGAIN, ECONNABORTED, EPROTO, EPERM}};
const os::call_site watch_client{"http.watch", {ENOMEM, ENOSPC}};

constexpr std::size_t scratch_bytes = 64 * 1024;
constexpr std::chrono::milliseconds accept_pause{250};
constexpr int accepts_a_turn = 32;
constexpr std::size_t most_refusals = 64;  // that are said with patience, on this thread
// Counters that addresses, and workspaces, share.
constexpr std::size_t address_counters = 16384;
constexpr std::size_t workspace_counters = 4096;

using stream_protocol = asio::generic::stream_protocol;

std::string origin_of(const front_address& front, const std::string& host) {
  const bool https = front.scheme == scheme::https;
  const uint16_t own = https ? 443 : 80;
  return (https ? "https://" : "http://") + host +
         (front.port == own ? std::string{} : ":" + std::to_string(front.port));
}

std::string sources_of(const http_settings& settings) {
  std::string out;
  const auto add = [&out](std::string_view source) {
    out.append(out.empty() ? "" : " ").append(source);
  };
  if (settings.frame_ancestors) {
    for (const std::string& source : *settings.frame_ancestors) add(source);
    return out;
  }
  add("'self'");
  // A page that came by HTTP could be anybody's where the service speaks HTTPS alone.
  const bool http = settings.over == transport::plain;
  const std::string own = http ? "http://" : "https://";
  add(own + "localhost{port}");
  add(own + "127.0.0.1{port}");
  for (const std::string& host : settings.public_hosts) {
    if (settings.front) {
      add(origin_of(*settings.front, host));
      continue;
    }
    if (http) add("http://" + host + "{port}");
    add("https://" + host + "{port}");
  }
  return out;
}

int family_of(listening_socket::family which) {
  switch (which) {
    case listening_socket::family::v4:
      return AF_INET;
    case listening_socket::family::v6:
      return AF_INET6;
    case listening_socket::family::unix_path:
      return AF_UNIX;
  }
  return AF_INET;
}

// The peer's address without its port.
std::string address_text(const sockaddr_storage& peer) {
  if (peer.ss_family == AF_INET) {
    sockaddr_in in{};
    std::memcpy(&in, &peer, sizeof in);
    return asio::ip::address_v4{ntohl(in.sin_addr.s_addr)}.to_string();
  }
  if (peer.ss_family == AF_INET6) {
    sockaddr_in6 in{};
    std::memcpy(&in, &peer, sizeof in);
    asio::ip::address_v6::bytes_type bytes{};
    std::memcpy(bytes.data(), &in.sin6_addr, bytes.size());
    const asio::ip::address_v6 address{bytes};
    // A socket that was handed over may take both (IPV6_V6ONLY, ipv6(7)); the client is the same.
    if (address.is_v4_mapped())
      return asio::ip::make_address_v4(asio::ip::v4_mapped, address).to_string();
    return address.to_string();
  }
  return "unix";
}

}  // namespace

/// Tells a client that it has come in vain, and waits until it has heard so.
class refusal final : public timed_object {
public:
  refusal(server_core& core, client_socket socket, std::string text)
      : timed_object{core.live}, core_{core}, socket_{std::move(socket)}, text_{std::move(text)} {
    ++core_.refusals;
  }

  void start() {
    set_deadline(core_.settings.drain);
    asio::async_write(
      socket_, asio::buffer(text_), counted([this](const error_code& error, std::size_t) {
        error_code failed = error;
        if (!failed) socket_.shutdown(client_socket::shutdown_send, failed);
        if (failed) {
          close(close_reason::peer_closed);
        } else {
          drain();
        }
      }));
  }

protected:
  void closing() override {
    --core_.refusals;
    stop_timer();
    error_code ignored;  // a socket that fails to close is closed all the same
    socket_.close(ignored);
  }
  void deadline_passed() override { close(close_reason::timed_out); }

private:
  // Closing with bytes unread would reset the connection, and the answer could be lost with it (RFC
  // 9112, section 9.6).
  void drain() {
    socket_.async_read_some(
      asio::buffer(unread_), counted([this](const error_code& error, std::size_t count) {
        read_ += count;
        if (error || read_ > core_.settings.header_bytes) {
          close(close_reason::peer_closed);
        } else {
          drain();
        }
      }));
  }

  server_core& core_;
  client_socket socket_;
  std::string text_;
  std::array<char, 1024> unread_{};
  std::size_t read_ = 0;
};

/// Accepts on one socket. While there are enough connections, clients wait in the kernel's queue.
/// While there are no descriptors they are answered 503 with the one that is kept for this, and
/// looked for again after a pause.
class acceptor final : public timed_object {
public:
  acceptor(server_core& core, listening_socket socket)
      : timed_object{core.live},
        core_{core},
        family_{family_of(socket.which())},
        over_{family_ == AF_UNIX ? transport::plain : core.settings.over},
        acceptor_{context()} {
    error_code error;
    const int descriptor = socket.release();
    acceptor_.assign(stream_protocol{family_, 0}, descriptor, error);
    if (error) ::close(descriptor);
    core_.acceptors.push_back(this);
  }

  void wait() {
    if (waiting_ || paused_ || closed()) return;
    if (!core_.clients->has_room()) return;
    waiting_ = true;
    acceptor_.async_wait(
      asio::socket_base::wait_read, counted([this](const error_code& error, std::size_t) {
        waiting_ = false;
        if (error) {
          pause(error.value());
        } else {
          accept();
        }
      }));
  }

protected:
  void closing() override {
    stop_timer();
    core_.acceptors.erase(
      std::remove(core_.acceptors.begin(), core_.acceptors.end(), this), core_.acceptors.end());
    error_code ignored;  // a socket that fails to close is closed all the same
    acceptor_.close(ignored);
  }

  void deadline_passed() override {
    paused_ = false;
    wait();
  }

private:
  void accept() {
    // A place is taken first: of threads that accept at once none may go beyond the limit.
    for (int i = 0; i < accepts_a_turn && core_.clients->take(); ++i) {
      const bool more = accept_one();
      // A connection that has begun counts by itself.
      core_.client_gone();
      if (!more) break;
    }
    wait();
  }

  /// False: there is none, or accepting pauses.
  bool accept_one() {
    sockaddr_storage peer{};
    socklen_t length = sizeof peer;
    // accept4, since Asio's own way lets the processes of a terminal inherit the connection.
    const int descriptor = os::system_call(accept_client, [&] {
      return ::accept4(acceptor_.native_handle(), reinterpret_cast<sockaddr*>(&peer), &length,
        SOCK_NONBLOCK | SOCK_CLOEXEC);
    });
    if (descriptor < 0) {
      const int error = errno;
      if (error == ECONNABORTED || error == EPROTO) return true;
      if (error == EAGAIN || error == EWOULDBLOCK) return false;
      if (error == EMFILE || error == ENFILE) turn_away_all();
      pause(error);
      return false;
    }
    failing_ = false;
    new_client client{os::unique_fd{descriptor}, address_text(peer), over_, {}};
    open_slot slot;
    // Clients of a UNIX socket have no address.
    const bool welcome = family_ == AF_UNIX || core_.addresses->take(client.address, slot) ||
                         core_.settings.trusted.contains(client.address);
    if (!welcome && core_.refusals >= most_refusals) {
      turn_away_at_once(client.socket);
      return true;
    }
    error_code failed;
    if (over_ == transport::tls) failed = encrypt(client);
    if (!failed)
      failed = welcome ? core_.add_connection(std::move(client), {}, std::move(slot))
                       : turn_away(std::move(client.socket));
    if (failed) pause(failed.value());
    return !failed;
  }

  /// Gives a socket to Asio, or closes it.
  error_code watch(os::unique_fd socket, client_socket& to) {
    error_code error;
    if (os::system_call(watch_client, [&] {
          to.assign(stream_protocol{family_, 0}, socket.get(), error);
          errno = error.value();
          return error ? -1 : 0;
        }) != 0)
      error = os::last_error();
    if (to.is_open()) (void)socket.release();
    // Said once, it is not found out anew by each operation.
    if (!error) to.non_blocking(true, error);
    return error;
  }

  // From here on the client's socket is the plain half of one that is encrypted.
  error_code encrypt(new_client& client) {
    client_socket outer{context()};
    if (const error_code failed = watch(std::move(client.socket), outer)) return failed;
    // Without anything to show nobody can be spoken to.
    if (core_.certificate == nullptr) return asio::error::no_permission;
    tls_bridge::half made;
    if (const error_code failed = tls_bridge::accept(core_.live, core_.scratch, core_.certificate,
          std::move(outer), made, core_.settings.drain))
      return failed;
    client.socket = std::move(made.socket);
    client.hold = std::move(made.hold);
    return {};
  }

  std::string refusal_text(const response& answer) {
    std::string text;
    write_answer_head(text, answer,
      {.version = 11, .keep_alive = false, .length = answer.body.size()}, core_.date());
    return text + answer.body;
  }

  std::string too_many_text() {
    response answer = problem(
      errc::limit_reached, "This address has limits.per_address connections open; close some.");
    answer.fields.emplace_back("Retry-After", "1");
    return refusal_text(answer);
  }

  error_code turn_away(os::unique_fd descriptor) {
    ++core_.turned_away;
    client_socket socket{context()};
    if (const error_code failed = watch(std::move(descriptor), socket)) return failed;
    core_.live.add(std::make_unique<refusal>(core_, std::move(socket), too_many_text())).start();
    return {};
  }

  // Without patience. Who is to be spoken to by TLS hears nothing: that takes some.
  void turn_away_at_once(const os::unique_fd& socket) {
    ++core_.turned_away;
    if (over_ == transport::tls) return;
    const std::string text = too_many_text();
    ::send(socket.get(), text.data(), text.size(), MSG_NOSIGNAL | MSG_DONTWAIT);
  }

  // Answers who waits, one after the other, with the descriptor that is kept.
  void turn_away_all() {
    response answer =
      problem(503, "out_of_resources", "previewd has run out of descriptors; try again later.");
    answer.fields.emplace_back("Retry-After", "1");
    const std::string text = refusal_text(answer);
    std::array<char, 4096> unread;
    for (int i = 0; i < accepts_a_turn && core_.reserve; ++i) {
      core_.reserve.reset();
      os::unique_fd client{
        ::accept4(acceptor_.native_handle(), nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC)};
      if (client) {
        ++core_.turned_away;
        // There are no descriptors to speak TLS with.
        if (over_ == transport::plain)
          ::send(client.get(), text.data(), text.size(), MSG_NOSIGNAL | MSG_DONTWAIT);
        ::shutdown(client.get(), SHUT_WR);
        // What it has asked is read, or the answer could be lost in a reset.
        while (::recv(client.get(), unread.data(), unread.size(), MSG_DONTWAIT) > 0) {
        }
      }
      const bool more = static_cast<bool>(client);
      client.reset();
      core_.keep_descriptor();
      if (!more) return;
    }
  }

  void pause(int error) {
    if (paused_) return;
    paused_ = true;
    if (!core_.reserve) core_.keep_descriptor();
    if (!std::exchange(failing_, true))
      log::warn("accept_failed", "Connections cannot be accepted for the moment.",
        {{"error", std::strerror(error)}});
    set_deadline(accept_pause);
  }

  server_core& core_;
  int family_;
  transport over_;
  asio::basic_socket_acceptor<stream_protocol> acceptor_;
  bool waiting_ = false;
  bool paused_ = false;
  bool failing_ = false;  // said once, until one is accepted
};

server_core::server_core(
  io_thread& on, http_settings with, service_handler answers, preview_pages shows)
    : thread{on},
      settings{std::move(with)},
      service{std::move(answers)},
      pages{std::move(shows)},
      frame_ancestors{sources_of(settings)},
      clients{std::make_shared<open_clients>(settings.connections)},
      addresses{std::make_shared<open_counts>(settings.per_address, address_counters)},
      workspaces{std::make_shared<open_counts>(settings.per_workspace, workspace_counters)},
      held{std::make_shared<open_counts>(settings.max_held, workspace_counters)},
      routes{settings.remembered_workspaces},
      pipes{.most = settings.pipes},
      ready{on},
      news{on},
      scratch(scratch_bytes),
      live{on} {
  idle =
    &live.add(std::make_unique<idle_links>(live, settings.pool_connections, settings.pool_timeout));
  keep_descriptor();
}

server_core::~server_core() = default;

void server_core::keep_descriptor() {
  reserve.reset(::eventfd(0, EFD_CLOEXEC));
}

std::string_view server_core::date() {
  const auto now = std::chrono::system_clock::now();
  const auto since = now - date_of_;
  if (date_.empty() || since >= std::chrono::seconds{1} || since < std::chrono::seconds{0}) {
    date_of_ = std::chrono::floor<std::chrono::seconds>(now);
    const std::time_t seconds = std::chrono::system_clock::to_time_t(date_of_);
    std::tm parts{};
    gmtime_r(&seconds, &parts);
    // The process may speak any language, a Date does not (RFC 9110, section 5.6.7).
    constexpr std::array days{"Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat"};
    constexpr std::array months{
      "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"};
    std::array<char, 64> text{};
    const int n = std::snprintf(text.data(), text.size(), "%s, %02d %s %04d %02d:%02d:%02d GMT",
      days[static_cast<std::size_t>(parts.tm_wday)], parts.tm_mday,
      months[static_cast<std::size_t>(parts.tm_mon)], parts.tm_year + 1900, parts.tm_hour,
      parts.tm_min, parts.tm_sec);
    date_.assign(text.data(), static_cast<std::size_t>(n));
  }
  return date_;
}

void server_core::refused(upstream_server& server, observer who) {
  ++counters.upstream_refused;
  if (server.closed_off) return;
  server.spared_until = steady_clock::now() + settings.spare;
  const auto bit = static_cast<uint8_t>(1U << static_cast<unsigned>(who));
  if ((server.told & bit) != 0) return;
  server.told = static_cast<uint8_t>(server.told | bit);
  if (server.what.server) caf::anon_send(server.what.server, refused_atom_v, who);
}

void server_core::short_of(const error_code& error) {
  if (std::exchange(short_said, true)) return;
  log::warn("upstream_failed", "Dev servers cannot be connected to for the moment.",
    {{"error", error.message()}});
}

upstream_link&
server_core::new_link(const std::shared_ptr<upstream_server>& server, open_slot slot) {
  return live.add(
    std::make_unique<upstream_link>(live, server, ready, guard, to_servers, std::move(slot)));
}

error_code
server_core::add_connection(new_client client, std::string_view read_already, open_slot slot) {
  if (stopping) return {};
  os::unique_fd socket = std::move(client.socket);
  return live.add(std::make_unique<connection>(*this, std::move(client), std::move(slot)))
    .start(std::move(socket), read_already);
}

void server_core::client_gone() {
  if (!clients->leave()) return;
  let_in();
  let_in_elsewhere();
}

void server_core::let_in() {
  if (stopping) return;
  for (acceptor* a : acceptors) a->wait();
}

void server_core::let_in_elsewhere() {
  for (std::size_t i = 0; i < peers.size(); ++i)
    if (i != thread.index()) peers[i]->let_in();
}

void hand_to(io_thread& thread, server& target, connection_move what) {
  // Shared, since a task that is never run is destroyed all the same, and closes the socket.
  thread.post([&target, sent = std::make_shared<connection_move>(std::move(what))] {
    target.adopt(std::move(*sent));
  });
}

server::server(
  io_thread& thread, http_settings settings, service_handler service, preview_pages pages)
    : core_{std::make_unique<server_core>(
        thread, std::move(settings), std::move(service), std::move(pages))} {}

server::~server() = default;

void server::set_peers(std::vector<server*> peers) {
  core_->peers = std::move(peers);
  if (core_->forward)
    core_->forward->tell([this](const forward_memory& what) {
      for (server* const peer : core_->peers) {
        if (peer != this)
          peer->core_->thread.post([peer, what] { peer->core_->forward->learn(what); });
      }
    });
  if (core_->peers.empty() || core_->peers.front() == this) return;
  core_->clients = core_->peers.front()->core_->clients;
  core_->addresses = core_->peers.front()->core_->addresses;
  core_->workspaces = core_->peers.front()->core_->workspaces;
  core_->held = core_->peers.front()->core_->held;
}

void server::demand(access_parts rules) {
  core_->rules = std::make_unique<access>(std::move(rules), core_->settings.trusted);
}

void server::ask(forward_settings settings) {
  core_->forward = std::make_unique<forward_desk>(core_->live, std::move(settings));
}

void server::ask_about(
  const forward_question& question, std::function<void(const forward_verdict& verdict)> done) {
  forward_question asked = question;
  if (core_->settings.trusted.contains(asked.client_address))
    asked.forwarded_for = asked.head["x-forwarded-for"];
  core_->forward->ask(asked, std::move(done));
}

access* server::rules() noexcept {
  return core_->rules.get();
}

void server::show(std::shared_ptr<const tls::server_context> certificate) {
  core_->certificate = std::move(certificate);
}

void server::change(const http_settings& wanted) {
  http_settings& now = core_->settings;
  now.hold = wanted.hold;
  now.hold_bytes = wanted.hold_bytes;
  now.connect_timeout = wanted.connect_timeout;
  now.upgrade_timeout = wanted.upgrade_timeout;
  now.response_timeout = wanted.response_timeout;
  now.idle_timeout = wanted.idle_timeout;
  now.header_timeout = wanted.header_timeout;
  now.header_bytes = wanted.header_bytes;
  now.connections = wanted.connections;
  now.pipes = wanted.pipes;
  core_->pipes.most = wanted.pipes;
  core_->clients->set_limit(wanted.connections);
  core_->let_in();
  core_->let_in_elsewhere();
}

void server::let_in() {
  core_->thread.post([core = core_.get()] { core->let_in(); });
}

void server::listen(listening_socket socket) {
  core_->live.add(std::make_unique<acceptor>(*core_, std::move(socket))).wait();
}

bool server::apply(workspace_routes routes) {
  return core_->routes.apply(std::move(routes));
}

void server::close_server(const server_ref& ref) {
  core_->routes.close_server(ref);
}

void server::adopt(connection_move what) {
  // It has been let in before.
  open_slot slot;
  core_->addresses->add(what.client_address, slot);
  core_->add_connection({std::move(what.socket), std::move(what.client_address), what.over, {}},
    what.read_already, std::move(slot));
}

void server::adopt_connection(uint64_t number, ws_connection_actor actor) {
  const auto found = core_->tunnels.find(number);
  if (found != core_->tunnels.end()) {
    found->second->tell(std::move(actor));
  } else {
    caf::anon_send(actor, closed_atom_v);
  }
}

bool server::close_connection(uint64_t number) {
  const auto found = core_->tunnels.find(number);
  if (found == core_->tunnels.end()) return false;
  found->second->close(close_reason::ordered);
  return true;
}

uint64_t server::next_connection_number() noexcept {
  return core_->next_number++;
}

void server::probe(const endpoint& target, std::chrono::milliseconds timeout,
  std::function<void(probe_outcome, uint64_t)> done) {
  auto counted = [this, done = std::move(done)](probe_outcome outcome, uint64_t microseconds) {
    core_->counters.probe_time.observe(std::chrono::microseconds{microseconds});
    done(outcome, microseconds);
  };
  core_->live.add(std::make_unique<connect_probe>(core_->live, target, timeout, std::move(counted)))
    .start();
}

void server::look(const endpoint& target, const workspace_key& key,
  std::chrono::milliseconds timeout, std::function<void(identity)> said, look_words words) {
  core_->live
    .add(std::make_unique<http::look>(
      core_->live, core_->to_servers, target, key, timeout, std::move(said), words))
    .start();
}

std::vector<tunnel_info> server::tunnels() const {
  std::vector<tunnel_info> result;
  result.reserve(core_->tunnels.size());
  for (const auto& [number, t] : core_->tunnels) result.push_back(t->info());
  return result;
}

server_counts server::counts() const {
  return {.connections = core_->connections,
    .tunnels = core_->tunnels.size(),
    .held = core_->routes.waiting(),
    .idle_upstreams = core_->idle->size(),
    .objects = core_->live.size(),
    .timers = core_->live.timers(),
    .pipes = core_->pipes.open,
    .turned_away = core_->turned_away};
}

const http_counters& server::counters() const {
  return core_->counters;
}

void server::stop_listening() {
  const std::vector<acceptor*> open = core_->acceptors;
  for (acceptor* a : open) a->close(close_reason::stopping);
}

void server::stop(std::function<void()> on_stopped) {
  core_->stopping = true;
  core_->live.emptied = std::move(on_stopped);
  core_->live.close_all(close_reason::stopping);
}

}  // namespace previewd::net::http
