#include "previewd/net/http/tunnel.hpp"

#include <sys/socket.h>

#include <boost/asio/post.hpp>
#include <cerrno>
#include <chrono>
#include <limits>
#include <utility>

#include "previewd/net/http/connection.hpp"
#include "previewd/os/system_call.hpp"

namespace previewd::net::http {

namespace {

constexpr int rounds_a_turn = 8;
// Bytes that make a direction busy, in turns of some size; small turns in a row, or a pause, after
// which it is no longer.
constexpr uint32_t busy_bytes = 512 * 1024;
constexpr uint64_t small_turn = 16 * 1024;
constexpr uint32_t most_small_turns = 16;
constexpr std::chrono::seconds quiet{1};

// Never a short one: it would mean that nothing is left (readiness.hpp).
const os::call_site read_socket{"tunnel.read", {ECONNRESET, ENOMEM}};
// Nor is a write told that it has to wait when it has not: nobody would wake it.
const os::call_site write_socket{"tunnel.write", {EPIPE, ECONNRESET, ENOMEM, os::short_transfer}};

}  // namespace

void tunnel::open(
  server_core& core, connection& client, upstream_link& upstream, tunnel_description what) {
  const uint64_t number = core.next_number++;
  const preview_server_actor actor = what.server->what.server;
  core.live.add(std::make_unique<tunnel>(core, std::move(what), number)).start(client, upstream);
  if (actor) core.news.opened(actor, connection_id{core.thread.index(), number});
}

tunnel::tunnel(server_core& core, tunnel_description what, uint64_t number)
    : timed_object{core.live},
      core_{core},
      what_{std::move(what)},
      number_{number},
      opened_at_{std::chrono::system_clock::now()},
      last_byte_{steady_clock::now()} {
  core_.tunnels.emplace(number_, this);
  core_.clients->add();
  what_.server->users.insert(this);
}

void tunnel::start(connection& client, upstream_link& upstream) {
  client_ = client.take_socket(*this, side::at_client);
  upstream_ = upstream.take_socket(*this, side::at_upstream);
  up_.left = std::move(what_.up_first);
  up_.bytes = up_.left.size();
  down_.bytes = what_.down_passed;
  // Nobody is told again of what has been told of and was left.
  if (!up_.left.empty() || client_.readable) go_on_later(up_, client_, upstream_);
  if (upstream_.readable) go_on_later(down_, upstream_, client_);
}

void tunnel::ready(uint32_t which, readiness::change what) {
  const bool is_client = which == side::at_client;
  watched_socket& here = is_client ? client_ : upstream_;
  watched_socket& there = is_client ? upstream_ : client_;
  direction& from_here = is_client ? up_ : down_;
  direction& to_here = is_client ? down_ : up_;
  here.ended = here.ended || what.ended;
  if (what.writable && to_here.awaits_target) {
    to_here.awaits_target = false;
    pump(to_here, there, here);
  }
  if (!closed() && what.readable && !from_here.awaits_target) pump(from_here, here, there);
}

void tunnel::pump(direction& d, watched_socket& from, watched_socket& to) {
  if (closed() || d.over) return;
  // Whoever calls, what came first goes first: a turn that was put off may be overtaken by news.
  if (!flush(d, to)) return;
  d.awaits_source = false;
  if (d.relayed != nullptr) {
    relay_on(d, from, to);
    return;
  }
  std::vector<char>& buffer = core_.scratch;
  std::size_t turn = 0;
  for (int round = 0; round < rounds_a_turn; ++round) {
    const ssize_t count = os::system_call(read_socket, buffer.size(),
      [&](std::size_t most) { return ::recv(from.descriptor.get(), buffer.data(), most, 0); });
    if (count == -1 && errno == EAGAIN) {
      turn_ended(d, turn);
      return;
    }
    if (count == 0) {
      source_ended(d, to);
      return;
    }
    if (count == -1) {
      close(close_reason::peer_closed);
      return;
    }
    const auto size = static_cast<std::size_t>(count);
    d.bytes += size;
    turn += size;
    last_byte_ = steady_clock::now();
    const std::size_t taken = write({buffer.data(), size}, to);
    if (closed()) return;
    if (taken < size) {
      // No read until it has been taken: a slow reader stalls its own writer, through TCP.
      d.left.assign(buffer.data() + taken, size - taken);
      d.awaits_target = true;
      turn_ended(d, turn);
      return;
    }
    if (size < buffer.size() && !from.ended) {
      turn_ended(d, turn);
      return;
    }
  }
  turn_ended(d, turn);
  go_on_later(d, from, to);
}

void tunnel::go_on_later(direction& d, watched_socket& from, watched_socket& to) {
  auto go_on = counted([this, &d, &from, &to](const error_code&, std::size_t) {
    if (!d.awaits_target) pump(d, from, to);
  });
  asio::post(context(), [go_on = std::move(go_on)]() mutable { go_on({}); });
}

std::size_t tunnel::write(std::string_view bytes, watched_socket& to) {
  std::size_t taken = 0;
  while (taken < bytes.size()) {
    const ssize_t count =
      os::system_call(write_socket, bytes.size() - taken, [&](std::size_t most) {
        return ::send(to.descriptor.get(), bytes.data() + taken, most, MSG_NOSIGNAL);
      });
    if (count == -1) {
      if (errno != EAGAIN) close(close_reason::peer_closed);
      break;
    }
    taken += static_cast<std::size_t>(count);
  }
  return taken;
}

bool tunnel::flush(direction& d, watched_socket& to) {
  if (d.left.empty()) return true;
  const std::size_t taken = write(d.left, to);
  if (closed()) return false;
  if (taken > 0) last_byte_ = steady_clock::now();
  if (taken < d.left.size()) {
    d.left.erase(0, taken);
    d.awaits_target = true;
    return false;
  }
  // Gives the memory back: an idle tunnel has none.
  std::string{}.swap(d.left);
  return true;
}

void tunnel::turn_ended(direction& d, std::size_t moved) {
  d.streak = moved < small_turn ? 0 : d.streak + static_cast<uint32_t>(moved);
  if (d.streak < busy_bytes || !d.may_relay) return;
  d.streak = 0;
  d.relayed = std::make_unique<relay>();
  if (!d.relayed->open(core_.pipes)) d.relayed.reset();
}

void tunnel::relay_on(direction& d, watched_socket& from, watched_socket& to) {
  auto no_end = std::numeric_limits<uint64_t>::max();
  uint64_t moved = 0;
  const auto stopped = d.relayed->move(from.descriptor.get(), to.descriptor.get(), no_end, moved);
  d.bytes += moved;
  if (moved != 0) last_byte_ = steady_clock::now();
  switch (stopped) {
    case relay::stop::wait_for_source:
      d.streak = moved < small_turn ? d.streak + 1 : 0;
      if (d.streak == most_small_turns) {
        d.streak = 0;
        d.relayed.reset();
      } else if (!draining_) {
        d.awaits_source = true;
        set_deadline(quiet);
      }
      return;
    case relay::stop::turn_over:
    case relay::stop::complete:
      go_on_later(d, from, to);
      return;
    case relay::stop::wait_for_target:
      // No read until it has been taken: a slow reader stalls its own writer, through TCP.
      d.awaits_target = true;
      return;
    case relay::stop::source_ended:
      d.relayed.reset();
      source_ended(d, to);
      return;
    case relay::stop::source_failed:
    case relay::stop::target_failed:
      close(close_reason::peer_closed);
      return;
    case relay::stop::refused:
      break;
  }
  d.may_relay = false;
  d.left = d.relayed->take_back();
  d.bytes += d.left.size();
  d.relayed.reset();
  pump(d, from, to);
}

void tunnel::source_ended(direction& d, watched_socket& to) {
  // What it said before has been passed on: nothing is pumped while bytes are left. A server that
  // ends takes its clients along, and they see it as if they had talked to it directly.
  if (&d == &down_) {
    close(close_reason::peer_closed);
    return;
  }
  // A client that has ended may still be answered for a moment.
  d.over = true;
  if (::shutdown(to.descriptor.get(), SHUT_WR) == -1) {
    close(close_reason::peer_closed);
  } else {
    draining_ = true;
    set_deadline(core_.settings.drain);
  }
}

void tunnel::deadline_passed() {
  if (draining_) {
    close(close_reason::peer_closed);
    return;
  }
  // What is busy again takes a new one.
  for (direction* d : {&up_, &down_})
    if (d->awaits_source) d->relayed.reset();
}

void tunnel::closing() {
  stop_timer();
  core_.tunnels.erase(number_);
  what_.server->users.erase(this);
  client_ = {};
  what_.upstream_hold.abort();
  upstream_ = {};
  up_.relayed.reset();
  down_.relayed.reset();
  what_.client_slot = {};
  what_.workspace_slot = {};
  if (actor_) core_.news.closed(std::move(actor_));
  core_.client_gone();
}

tunnel_info tunnel::info() const {
  tunnel_info result;
  result.id = {core_.thread.index(), number_};
  result.server = what_.server->what.ref;
  result.client_address = what_.client_address;
  result.path = what_.path;
  result.protocol = what_.protocol;
  result.upstream = what_.server->what.upstream;
  result.opened_at = opened_at_;
  result.bytes_up = up_.bytes;
  result.bytes_down = down_.bytes;
  result.idle =
    std::chrono::duration_cast<std::chrono::milliseconds>(steady_clock::now() - last_byte_);
  return result;
}

}  // namespace previewd::net::http
