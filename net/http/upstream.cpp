#include "previewd/net/http/upstream.hpp"

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <boost/asio/ip/address.hpp>
#include <boost/asio/post.hpp>
#include <cerrno>
#include <utility>

#include "previewd/os/result.hpp"
#include "previewd/os/system_call.hpp"

namespace previewd::net::http {

using asio::ip::tcp;

namespace {

const os::call_site new_socket{"upstream.socket", {EMFILE, ENFILE, ENOMEM, ENOBUFS}};
const os::call_site watch_socket{"upstream.watch", {ENOMEM, ENOSPC}};
const os::call_site begin_connecting{"link.connect", {EADDRNOTAVAIL, ENOBUFS}};

constexpr std::size_t smallest_read = 8 * 1024;

/// Whether a connection that was under way is there, or is known to have failed (connect(2)).
bool has_answered(int descriptor, error_code& failed) {
  pollfd asked{descriptor, POLLOUT, 0};
  if (::poll(&asked, 1, 0) != 1) return false;
  int error = 0;
  socklen_t size = sizeof error;
  if ((asked.revents & (POLLERR | POLLHUP)) != 0 &&
      ::getsockopt(descriptor, SOL_SOCKET, SO_ERROR, &error, &size) == 0)
    failed = os::system_error(error);
  return true;
}

os::unique_fd open_descriptor(const tcp::endpoint& address) {
  // By hand, since Asio's own way lets the processes of a terminal inherit it.
  return os::unique_fd{os::system_call(new_socket, [&] {
    return ::socket(address.address().is_v6() ? AF_INET6 : AF_INET,
      SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  })};
}

error_code watch(os::unique_fd descriptor, const tcp::endpoint& address, client_socket& socket) {
  error_code error;
  if (os::system_call(watch_socket, [&] {
        socket.assign(address.protocol(), descriptor.get(), error);
        errno = error.value();
        return error ? -1 : 0;
      }) == -1)
    error = os::last_error();
  if (socket.is_open()) (void)descriptor.release();
  // Said once, it is not found out anew by each operation.
  if (!error) socket.non_blocking(true, error);
  return error;
}

}  // namespace

tcp::endpoint address_of(const endpoint& target) {
  error_code error;
  const auto parsed = asio::ip::make_address(target.address, error);
  // An address that is none cannot be connected to: the connection fails and says so.
  return error ? tcp::endpoint{asio::ip::address_v4::loopback(), 0}
               : tcp::endpoint{parsed, target.port};
}

error_code open_socket(client_socket& socket, const tcp::endpoint& address) {
  os::unique_fd descriptor = open_descriptor(address);
  if (!descriptor) return os::last_error();
  return watch(std::move(descriptor), address, socket);
}

bool is_our_shortage(const error_code& error) noexcept {
  return os::is_shortage(error) || error == os::system_error(EADDRNOTAVAIL) ||
         error == os::system_error(ENOSPC);
}

upstream_server::upstream_server(route r)
    : what{std::move(r)}, address{address_of(what.upstream)} {}

void upstream_server::close_users(close_reason why) {
  // Each one leaves the set as it closes.
  const std::vector<server_user*> open{users.begin(), users.end()};
  for (server_user* user : open)
    if (users.contains(user)) user->leave_server(why);
}

void upstream_server::close_strangers(close_reason why) {
  std::vector<server_user*> open;
  for (server_user* user : users)
    if (!lets_in(user->needs())) open.push_back(user);
  // One that leaves may take another one along.
  for (server_user* user : open)
    if (users.contains(user)) user->leave_server(why);
}

port_guard::port_guard() {
  if (auto opened = os::sock_diag::open()) diag_.emplace(std::move(*opened));
}

error_code port_guard::check(upstream_server& server, uint64_t connection) {
  // Of many that are made in one round of the loop the first asks for all.
  if (server.proved >= connection) return {};
  const uint64_t made = made_;
  const error_code failed = ask(server);
  if (!failed) server.proved = made;
  return failed;
}

error_code port_guard::ask(const upstream_server& server) {
  const std::vector<uint64_t>& own = server.what.inodes;
  if (own.empty() || missing_) return {};
  if (!diag_) {
    auto opened = os::sock_diag::open();
    missing_ = !opened && !is_our_shortage(opened.error());
    if (missing_) return {};
    if (!opened) return opened.error();
    diag_.emplace(std::move(*opened));
  }
  const bool v6 = server.address.address().is_v6();
  std::array<uint8_t, 16> address{};
  if (v6) {
    address = server.address.address().to_v6().to_bytes();
  } else {
    const auto bytes = server.address.address().to_v4().to_bytes();
    std::copy(bytes.begin(), bytes.end(), address.begin());
  }
  const auto found = diag_->listener_at(
    v6 ? os::address_family::v6 : os::address_family::v4, address, server.address.port());
  if (found && std::find(own.begin(), own.end(), *found) != own.end()) return {};
  // It may be one of several that share the port, of which not all are known.
  sockets_.clear();
  if (const error_code failure = diag_->append_listeners(sockets_)) return failure;
  const bool is_there = std::any_of(sockets_.begin(), sockets_.end(), [&](const auto& socket) {
    return socket.port == server.address.port() &&
           std::find(own.begin(), own.end(), socket.inode) != own.end();
  });
  return is_there ? error_code{} : asio::error::connection_refused;
}

upstream_link::upstream_link(live_table& table, std::shared_ptr<upstream_server> server,
  readiness& ready, port_guard& guard, tls_client& tls, open_slot slot)
    : live_object{table},
      server_{std::move(server)},
      guard_{guard},
      tls_{tls},
      socket_{ready, context()},
      slot_{std::move(slot)} {
  server_->users.insert(this);
}

void upstream_link::closing() {
  server_->users.erase(this);
  if (parked_with_ != nullptr) parked_with_->remove(*this);
  hold_.abort();
  socket_.close();
  connecting_.reset();
  slot_ = {};
  if (link_user* user = std::exchange(user_, nullptr)) user->link_closed(why_closed());
}

void upstream_link::connect() {
  const tcp::endpoint& address = server_->address;
  os::unique_fd socket{open_descriptor(address)};
  error_code failed;
  bool there = true;
  // By hand: on loopback a connection is there, or refused, as soon as it has been asked for.
  if (!socket || os::system_call(begin_connecting, [&] {
        return ::connect(socket.get(), address.data(), static_cast<socklen_t>(address.size()));
      }) != 0) {
    failed = os::last_error();
    if (socket && failed == os::system_error(EINPROGRESS)) {
      failed = {};
      there = has_answered(socket.get(), failed);
    }
  }
  if (!there) {
    failed = socket_.adopt(std::move(socket));
    if (!failed) {
      socket_.filled();
      connect_later();
      return;
    }
  }
  connecting_ = std::move(socket);
  number_ = guard_.made();
  asio::post(context(), [next = counted([this, failed](const error_code&, std::size_t) {
    reached(failed);
  })]() mutable { next(error_code{}); });
}

void upstream_link::connect_later() {
  socket_.async_wait_to_write(counted([this](const error_code& error, std::size_t) {
    error_code failed = error;
    if (!failed && !has_answered(socket_.descriptor(), failed)) {
      socket_.filled();
      connect_later();
    } else {
      // Watched again by whoever has it next.
      connecting_ = socket_.release();
      number_ = guard_.made();
      reached(failed);
    }
  }));
}

void upstream_link::reached(const error_code& error) {
  error_code failed = error;
  if (!failed) {
    const int on = 1;  // only slower without it
    ::setsockopt(connecting_.get(), IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    failed = guard_.check(*server_, number_);
  }
  if (!failed && server_->what.upstream.scheme == scheme::https) {
    failed = encrypt();
    if (!failed) return;
  } else if (!failed) {
    failed = socket_.adopt(std::move(connecting_));
  }
  connecting_.reset();
  if (user_ != nullptr) user_->link_connected(failed);
}

error_code upstream_link::encrypt() {
  client_socket outer{context()};
  if (const error_code failed = watch(std::move(connecting_), server_->address, outer))
    return failed;
  tls_bridge::half made;
  if (const error_code failed = tls_bridge::connect(table(), tls_.scratch, tls_.context,
        server_->session, std::move(outer), made, [this](const error_code& said) {
          if (user_ != nullptr) user_->link_connected(said);
        }))
    return failed;
  hold_ = std::move(made.hold);
  return socket_.adopt(std::move(made.socket));
}

void upstream_link::send(std::array<asio::const_buffer, 2> bytes) {
  sending_ = true;
  for (std::size_t each = 0; each < bytes.size(); ++each)
    parts_[each] = {const_cast<void*>(bytes[each].data()), bytes[each].size()};
  socket_.async_write(parts_, counted([this](const error_code& error, std::size_t) {
    sending_ = false;
    // What has arrived of it is all: a server that waits for the rest hears so.
    if (error) end_sending();
    if (user_ != nullptr) user_->link_sent(error);
  }));
}

void upstream_link::wait_to_send() {
  sending_ = true;
  socket_.async_wait_to_write(counted([this](const error_code& error, std::size_t) {
    sending_ = false;
    if (user_ != nullptr) user_->link_sent(error);
  }));
}

void upstream_link::wait_to_receive() {
  if (receiving_) return;
  receiving_ = true;
  socket_.async_wait_to_read(counted([this](const error_code& error, std::size_t) {
    receiving_ = false;
    if (user_ != nullptr) user_->link_received(error);
  }));
}

void upstream_link::end_sending() {
  // A connection that is broken says so when it is read.
  ::shutdown(socket_.descriptor(), SHUT_WR);
}

void upstream_link::receive(std::size_t most) {
  if (receiving_) return;
  // A read that filled its room is followed by larger ones: a long answer costs fewer of them.
  const std::size_t least = filled_ ? in_.capacity() * 4 : smallest_read;
  const asio::mutable_buffer room = in_.prepare(std::min(least, most), most);
  if (room.size() == 0) return;
  receiving_ = true;
  socket_.async_read_some(
    room, counted([this, size = room.size()](const error_code& error, std::size_t count) {
      receiving_ = false;
      filled_ = count == size;
      in_.commit(count);
      if (user_ != nullptr) {
        user_->link_received(hold_.end_of(error));
      } else {
        // Unused: its end, or bytes that nobody asked for.
        close(close_reason::peer_closed);
      }
    }));
}

watched_socket upstream_link::take_socket(readiness::watcher& watcher, uint32_t which) {
  watched_socket socket = socket_.hand_on(watcher, which);
  user_ = nullptr;
  close(close_reason::handed_on);
  return socket;
}

idle_links::idle_links(
  live_table& table, std::size_t most_for_a_server, steady_clock::duration timeout)
    : timed_object{table}, most_for_a_server_{most_for_a_server}, timeout_{timeout} {}

upstream_link*
idle_links::take(upstream_server& server, steady_clock::duration oldest, link_user& user) {
  if (server.idle.empty()) return nullptr;
  upstream_link& link = *server.idle.back();
  if (steady_clock::now() - link.idle_since_ > oldest) return nullptr;
  remove(link);
  link.attach(user);
  return &link;
}

void idle_links::park(upstream_link& link) {
  upstream_server& server = *link.server_;
  link.detach();
  if (closed() || link.closed() || server.closed_off || !link.unread().empty() ||
      server.idle.size() >= most_for_a_server_ || timeout_ == steady_clock::duration::zero()) {
    link.close(close_reason::finished);
    return;
  }
  // A buffer that a large answer has made large would be kept for nothing.
  if (!link.receiving_ && link.in_.capacity() > 2 * smallest_read) link.in_.release();
  link.idle_since_ = steady_clock::now();
  link.parked_with_ = this;
  link.parked_ = links_.insert(links_.end(), &link);
  server.idle.push_back(&link);
  set_deadline(links_.front()->idle_since_ + timeout_);
  link.receive(smallest_read);
}

void idle_links::remove(upstream_link& link) {
  links_.erase(link.parked_);
  link.parked_with_ = nullptr;
  std::vector<upstream_link*>& idle = link.server_->idle;
  idle.erase(std::remove(idle.begin(), idle.end(), &link), idle.end());
}

void idle_links::deadline_passed() {
  const auto now = steady_clock::now();
  while (!links_.empty() && links_.front()->idle_since_ + timeout_ <= now)
    links_.front()->close(close_reason::finished);
  if (!links_.empty()) set_deadline(links_.front()->idle_since_ + timeout_);
}

}  // namespace previewd::net::http
