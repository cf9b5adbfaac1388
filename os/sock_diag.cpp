#include "previewd/os/sock_diag.hpp"

#include <arpa/inet.h>
#include <linux/filter.h>
#include <linux/inet_diag.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <linux/sock_diag.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <sys/time.h>

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstring>
#include <optional>
#include <utility>

#include "previewd/os/system_call.hpp"

namespace previewd::os {

namespace {

const call_site open_socket{
  "netlink.open", {EMFILE, ENFILE, ENOMEM, ENOBUFS, EPROTONOSUPPORT, EAFNOSUPPORT}};
const call_site set_patience{"netlink.timeout", {ENOMEM}};
const call_site ask{"netlink.ask", {ENOBUFS, ENOMEM, EAGAIN, ECONNREFUSED}};
const call_site take_answer{"netlink.answer", {ENOBUFS, ENOMEM, EAGAIN, short_transfer}};
const call_site bind_socket{"netlink.bind", {ENOMEM}};
const call_site join_group{"netlink.join", {ENOMEM, EPERM}};
const call_site take_event{"netlink.event", {ENOBUFS, EAGAIN, ENOMEM}};

/// The kernel fills messages up to the size it was last asked for; 32 KiB is what it takes at most.
constexpr std::size_t dump_buffer_bytes = 64 * 1024;
constexpr int dump_attempts = 4;

result<unique_fd> open_netlink(int flags) {
  unique_fd socket{system_call(open_socket,
    [&] { return ::socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC | flags, NETLINK_SOCK_DIAG); })};
  if (!socket) return last_error();
  return socket;
}

result<unique_fd> open_socket_with_patience() {
  auto socket = open_netlink(0);
  if (!socket) return socket.error();
  // The kernel has the answer ready before sendto returns; this only bounds what a fault can hold.
  const timeval patience{.tv_sec = 2, .tv_usec = 0};
  if (system_call(set_patience, [&] {
        return ::setsockopt(socket->get(), SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
      }) == -1)
    return last_error();
  return std::move(*socket);
}

/// Takes a structure out of a message. Messages are aligned to 4 bytes only.
template <class Struct>
std::optional<Struct> copy_from(const char* data, std::size_t size) noexcept {
  if (size < sizeof(Struct)) return std::nullopt;
  Struct value;
  std::memcpy(&value, data, sizeof value);
  return value;
}

/// Calls `visit(header, payload, payload_bytes)` for each message of a datagram, until it returns
/// false. Whatever is cut short ends the walk.
template <class Visit> void for_each_message(const char* data, std::size_t size, Visit visit) {
  while (const auto header = copy_from<nlmsghdr>(data, size)) {
    if (header->nlmsg_len < NLMSG_HDRLEN || header->nlmsg_len > size) return;
    if (!visit(*header, data + NLMSG_HDRLEN, header->nlmsg_len - std::size_t{NLMSG_HDRLEN})) return;
    const std::size_t step = NLMSG_ALIGN(std::size_t{header->nlmsg_len});
    if (step >= size) return;
    data += step;
    size -= step;
  }
}

bool has_v6only(const char* attributes, std::size_t size) noexcept {
  while (const auto head = copy_from<rtattr>(attributes, size)) {
    if (head->rta_len < sizeof(rtattr) || head->rta_len > size) return false;
    if (head->rta_type == INET_DIAG_SKV6ONLY && head->rta_len > sizeof(rtattr))
      return attributes[RTA_LENGTH(0)] != 0;
    const std::size_t step = RTA_ALIGN(std::size_t{head->rta_len});
    if (step >= size) return false;
    attributes += step;
    size -= step;
  }
  return false;
}

}  // namespace

result<sock_diag> sock_diag::open() {
  auto socket = open_socket_with_patience();
  if (!socket) return socket.error();
  sock_diag diag{std::move(*socket)};
  std::vector<listening_socket> unused;
  if (const error_code failure = diag.append_listeners(unused)) return failure;
  return diag;
}

sock_diag::sock_diag(unique_fd socket) : socket_{std::move(socket)}, buffer_(dump_buffer_bytes) {}

error_code sock_diag::append_listeners(std::vector<listening_socket>& sockets) {
  const std::size_t before = sockets.size();
  const auto rewind = [&] {
    sockets.erase(sockets.begin() + static_cast<std::ptrdiff_t>(before), sockets.end());
  };
  error_code failure;
  for (int attempt = 0; attempt < dump_attempts; ++attempt) {
    failure = dump(address_family::v4, sockets);
    if (!failure) failure = dump(address_family::v6, sockets);
    if (!failure) break;
    rewind();
    if (failure.value() == EAGAIN) continue;  // the table changed under the dump
    // What is left of a dump that failed would be in the way of the next (EBUSY), so that one
    // begins on a socket of its own.
    auto fresh = open_socket_with_patience();
    if (!fresh) break;
    socket_ = std::move(*fresh);
    if (failure.value() == ETIMEDOUT) break;  // it has taken long enough
  }
  std::sort(sockets.begin() + static_cast<std::ptrdiff_t>(before), sockets.end());
  return failure;
}

struct sock_diag::request {
  nlmsghdr header;
  inet_diag_req_v2 wanted;
};

error_code sock_diag::send(request& what) {
  static_assert(sizeof what == NLMSG_LENGTH(sizeof(inet_diag_req_v2)));
  what.header.nlmsg_len = sizeof what;
  what.header.nlmsg_type = SOCK_DIAG_BY_FAMILY;
  what.header.nlmsg_seq = ++sequence_;
  what.wanted.sdiag_protocol = IPPROTO_TCP;
  what.wanted.idiag_states = 1U << TCP_LISTEN;
  sockaddr_nl kernel{};
  kernel.nl_family = AF_NETLINK;
  const auto* const address = reinterpret_cast<const sockaddr*>(&kernel);
  if (system_call(ask, [&] {
        return ::sendto(socket_.get(), &what, sizeof what, 0, address, sizeof kernel);
      }) == -1)
    return last_error();
  return {};
}

result<uint64_t> sock_diag::listener_at(
  address_family family, const std::array<uint8_t, 16>& address, uint16_t port) {
  request question{};
  question.header.nlmsg_flags = NLM_F_REQUEST;
  question.wanted.sdiag_family = family == address_family::v4 ? AF_INET : AF_INET6;
  question.wanted.id.idiag_sport = htons(port);
  std::memcpy(question.wanted.id.idiag_src, address.data(),
    family == address_family::v4 ? 4 : address.size());
  question.wanted.id.idiag_cookie[0] = INET_DIAG_NOCOOKIE;
  question.wanted.id.idiag_cookie[1] = INET_DIAG_NOCOOKIE;
  if (const error_code failure = send(question)) return failure;
  for (;;) {
    // The kernel has answered before sendto returned.
    const ssize_t n = system_call(take_answer,
      [&] { return ::recv(socket_.get(), buffer_.data(), buffer_.size(), MSG_DONTWAIT); });
    if (n == -1) return last_error();
    std::optional<result<uint64_t>> answer;
    for_each_message(buffer_.data(), static_cast<std::size_t>(n),
      [&](const nlmsghdr& header, const char* payload, std::size_t size) {
        if (header.nlmsg_seq != sequence_) return true;  // left over from a question that failed
        if (header.nlmsg_type == NLMSG_ERROR) {
          const int code = copy_from<int>(payload, size).value_or(-EPROTO);
          answer = code == -ENOENT ? result<uint64_t>{uint64_t{0}} : system_error(-code);
        } else if (const auto found = copy_from<inet_diag_msg>(payload, size)) {
          answer = found->idiag_state == TCP_LISTEN ? uint64_t{found->idiag_inode} : uint64_t{0};
        }
        return !answer;
      });
    if (answer) return *answer;
  }
}

error_code sock_diag::dump(address_family family, std::vector<listening_socket>& sockets) {
  request question{};
  question.header.nlmsg_flags = NLM_F_REQUEST | NLM_F_DUMP;
  question.wanted.sdiag_family = family == address_family::v4 ? AF_INET : AF_INET6;
  if (const error_code refused = send(question)) return refused;

  error_code failure;
  bool interrupted = false;
  for (bool done = false; !done;) {
    iovec piece{buffer_.data(), buffer_.size()};
    msghdr message{};
    message.msg_iov = &piece;
    message.msg_iovlen = 1;
    const ssize_t n = system_call(take_answer, buffer_.size(), [&](std::size_t size) {
      piece.iov_len = size;
      return ::recvmsg(socket_.get(), &message, 0);
    });
    if (n == -1) return errno == EAGAIN ? system_error(ETIMEDOUT) : last_error();
    if ((message.msg_flags & MSG_TRUNC) != 0) {
      // The next attempt has room.
      buffer_.resize(buffer_.size() * 2);
      return system_error(EMSGSIZE);
    }
    for_each_message(buffer_.data(), static_cast<std::size_t>(n),
      [&](const nlmsghdr& header, const char* payload, std::size_t size) {
        if (header.nlmsg_seq != sequence_) return true;  // left over from a dump that failed
        interrupted = interrupted || (header.nlmsg_flags & NLM_F_DUMP_INTR) != 0;
        if (header.nlmsg_type == NLMSG_DONE || header.nlmsg_type == NLMSG_ERROR) {
          done = true;
          const auto code = copy_from<int>(payload, size);
          if (code && *code != 0) failure = system_error(-*code);
          return false;
        }
        const auto found = copy_from<inet_diag_msg>(payload, size);
        // No inode: the kernel's own, or one whose last descriptor has just been closed.
        if (!found || found->idiag_state != TCP_LISTEN || found->idiag_inode == 0) return true;
        listening_socket& entry = sockets.emplace_back();
        entry.inode = found->idiag_inode;
        entry.port = ntohs(found->id.idiag_sport);
        entry.family = found->idiag_family == AF_INET ? address_family::v4 : address_family::v6;
        entry.uid = found->idiag_uid;
        static_assert(sizeof found->id.idiag_src == sizeof entry.address);
        std::memcpy(entry.address.data(), found->id.idiag_src,
          entry.family == address_family::v4 ? 4 : entry.address.size());
        constexpr std::size_t head = NLMSG_ALIGN(sizeof(inet_diag_msg));
        if (size > head) entry.v6only = has_v6only(payload + head, size - head);
        return true;
      });
  }
  if (!failure && interrupted) failure = system_error(EAGAIN);
  return failure;
}

result<destroy_events> destroy_events::open() {
  auto socket = open_netlink(SOCK_NONBLOCK);
  if (!socket) return socket.error();
  // Only sockets without a remote port: without this, a busy proxy hears of each of its own
  // connections (netlink runs the filter before it queues a message).
  constexpr uint32_t remote_port =
    NLMSG_HDRLEN + offsetof(inet_diag_msg, id) + offsetof(inet_diag_sockid, idiag_dport);
  constexpr uint32_t whole = 0xffffffff;
  std::array<sock_filter, 4> program{
    sock_filter{BPF_LD | BPF_H | BPF_ABS, 0, 0, remote_port},
    sock_filter{BPF_JMP | BPF_JEQ | BPF_K, 0, 1, 0},
    sock_filter{BPF_RET | BPF_K, 0, 0, whole},
    sock_filter{BPF_RET | BPF_K, 0, 0, 0},
  };
  const sock_fprog filter{.len = program.size(), .filter = program.data()};
  // Without the filter it works as well, at a higher price.
  (void)::setsockopt(socket->get(), SOL_SOCKET, SO_ATTACH_FILTER, &filter, sizeof filter);
  // The default holds about 250 messages, which one burst of short-lived sockets fills. Above
  // net.core.rmem_max only with CAP_NET_ADMIN: without it an overrun only costs a dump.
  constexpr int buffered = 4 << 20;
  if (::setsockopt(socket->get(), SOL_SOCKET, SO_RCVBUFFORCE, &buffered, sizeof buffered) == -1)
    (void)::setsockopt(socket->get(), SOL_SOCKET, SO_RCVBUF, &buffered, sizeof buffered);
  // Only a bound socket is among those that multicasts go to (netlink(7)).
  sockaddr_nl self{};
  self.nl_family = AF_NETLINK;
  if (system_call(bind_socket, [&] {
        return ::bind(socket->get(), reinterpret_cast<const sockaddr*>(&self), sizeof self);
      }) == -1)
    return last_error();
  for (const int group : {SKNLGRP_INET_TCP_DESTROY, SKNLGRP_INET6_TCP_DESTROY}) {
    if (system_call(join_group, [&] {
          return ::setsockopt(
            socket->get(), SOL_NETLINK, NETLINK_ADD_MEMBERSHIP, &group, sizeof group);
        }) == -1)
      return last_error();
  }
  return destroy_events{std::move(*socket)};
}

result<destroy_events::outcome> destroy_events::take(std::vector<destroyed_socket>& destroyed) {
  outcome how = outcome::drained;
  alignas(nlmsghdr) std::array<char, 8192> buffer;
  for (;;) {
    const ssize_t n = system_call(take_event,
      [&] { return ::recv(socket_.get(), buffer.data(), buffer.size(), MSG_DONTWAIT); });
    if (n == -1) {
      if (errno == EAGAIN || errno == EWOULDBLOCK) return how;
      if (errno != ENOBUFS) return last_error();
      how = outcome::overrun;
      continue;
    }
    for_each_message(buffer.data(), static_cast<std::size_t>(n),
      [&](const nlmsghdr&, const char* payload, std::size_t size) {
        const auto event = copy_from<inet_diag_msg>(payload, size);
        if (event && event->id.idiag_dport == 0) {
          destroyed.push_back(
            {.family = event->idiag_family == AF_INET ? address_family::v4 : address_family::v6,
              .port = ntohs(event->id.idiag_sport)});
        }
        return true;
      });
  }
}

}  // namespace previewd::os
