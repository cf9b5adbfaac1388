#include "previewd/net/http/tunnel.hpp"

#include <netinet/in.h>
#include <netinet/tcp.h>

#include <algorithm>
#include <boost/asio/error.hpp>
#include <boost/asio/write.hpp>
#include <caf/send.hpp>
#include <chrono>
#include <limits>
#include <utility>

namespace previewd::net::http {

namespace {

constexpr int rounds_a_turn = 8;
// Bytes that make a direction busy, in turns of some size; small turns in a row, or a pause, after
// which it is no longer.
constexpr uint32_t busy_bytes = 512 * 1024;
constexpr uint64_t small_turn = 16 * 1024;
constexpr uint32_t most_small_turns = 16;
constexpr std::chrono::seconds quiet{1};

}  // namespace

void tunnel::open(
  server_core& core, client_socket client, client_socket upstream, tunnel_description what) {
  const uint64_t number = core.next_number++;
  const preview_server_actor actor = what.server->what.server;
  auto made =
    std::make_unique<tunnel>(core, std::move(client), std::move(upstream), std::move(what), number);
  core.live.add(std::move(made)).start();
  if (actor) caf::anon_send(actor, tunnel_atom_v, connection_id{core.thread.index(), number});
}

tunnel::tunnel(server_core& core, client_socket client, client_socket upstream,
  tunnel_description what, uint64_t number)
    : timed_object{core.live},
      core_{core},
      client_{std::move(client)},
      upstream_{std::move(upstream)},
      what_{std::move(what)},
      number_{number},
      opened_at_{std::chrono::system_clock::now()},
      last_byte_{steady_clock::now()} {
  core_.tunnels.emplace(number_, this);
  what_.server->users.insert(this);
}

void tunnel::start() {
  error_code error;
  // Usually they are already.
  if (!client_.non_blocking()) client_.non_blocking(true, error);
  if (!error && !upstream_.non_blocking()) upstream_.non_blocking(true, error);
  if (error) {
    close(close_reason::peer_closed);
    return;
  }
  up_.left = std::move(what_.up_first);
  up_.bytes = up_.left.size();
  if (up_.left.empty()) {
    wait(up_, client_, upstream_);
  } else {
    flush(up_, client_, upstream_);
  }
  // What arrived while the 101 was written is there to be read, and starts the wait's handler at
  // once.
  wait(down_, upstream_, client_);
}

template <class From, class To> void tunnel::wait(direction& d, From& from, To& to) {
  from.async_wait(asio::socket_base::wait_read,
    counted([this, &d, &from, &to](const error_code& error, std::size_t) {
      if (error) {
        close(close_reason::peer_closed);
      } else {
        pump(d, from, to);
      }
    }));
}

template <class From, class To> void tunnel::pump(direction& d, From& from, To& to) {
  d.awaits_source = false;
  if (d.relayed != nullptr) {
    relay_on(d, from, to);
    return;
  }
  std::vector<char>& buffer = core_.scratch;
  std::size_t turn = 0;
  for (int round = 0; round < rounds_a_turn; ++round) {
    error_code error;
    const std::size_t count = from.read_some(asio::buffer(buffer), error);
    if (error == asio::error::would_block) break;
    if (error) {
      source_ended(d, to);
      return;
    }
    d.bytes += count;
    turn += count;
    last_byte_ = steady_clock::now();
    std::size_t written = 0;
    while (written < count && !error)
      written += to.write_some(asio::buffer(buffer.data() + written, count - written), error);
    if (error == asio::error::would_block) {
      // No read until it has been taken: a slow reader stalls its own writer, through TCP.
      d.left.assign(buffer.data() + written, count - written);
      turn_ended(d, turn);
      flush(d, from, to);
      return;
    }
    if (error) {
      close(close_reason::peer_closed);
      return;
    }
    if (count < buffer.size()) break;
  }
  turn_ended(d, turn);
  // There is nothing more for now, or others have their turn before this one goes on.
  wait(d, from, to);
}

void tunnel::turn_ended(direction& d, std::size_t moved) {
  d.streak = moved < small_turn ? 0 : d.streak + static_cast<uint32_t>(moved);
  if (d.streak < busy_bytes || !d.may_relay) return;
  d.streak = 0;
  d.relayed = std::make_unique<relay>();
  if (!d.relayed->open(core_.pipes)) d.relayed.reset();
}

template <class From, class To> void tunnel::relay_on(direction& d, From& from, To& to) {
  auto no_end = std::numeric_limits<uint64_t>::max();
  uint64_t moved = 0;
  const auto stopped = d.relayed->move(from.native_handle(), to.native_handle(), no_end, moved);
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
      wait(d, from, to);
      return;
    case relay::stop::turn_over:
    case relay::stop::complete:
      wait(d, from, to);
      return;
    case relay::stop::wait_for_target:
      // No read until it has been taken: a slow reader stalls its own writer, through TCP.
      to.async_wait(asio::socket_base::wait_write,
        counted([this, &d, &from, &to](const error_code& error, std::size_t) {
          if (error) {
            close(close_reason::peer_closed);
          } else {
            pump(d, from, to);
          }
        }));
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
  if (d.left.empty()) {
    pump(d, from, to);
  } else {
    flush(d, from, to);
  }
}

template <class From, class To> void tunnel::flush(direction& d, From& from, To& to) {
  asio::async_write(
    to, asio::buffer(d.left), counted([this, &d, &from, &to](const error_code& error, std::size_t) {
      if (error) {
        close(close_reason::peer_closed);
        return;
      }
      // Gives the memory back: an idle tunnel has none.
      std::string{}.swap(d.left);
      last_byte_ = steady_clock::now();
      pump(d, from, to);
    }));
}

template <class To> void tunnel::source_ended(direction& d, To& to) {
  // What it said before has been passed on: nothing is pumped while bytes are left. A server that
  // ends takes its clients along, and they see it as if they had talked to it directly.
  if (&d == &down_) {
    close(close_reason::peer_closed);
    return;
  }
  // A client that has ended may still be answered for a moment.
  error_code error;
  to.shutdown(asio::socket_base::shutdown_send, error);
  if (error) {
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
  error_code ignored;  // a socket that fails to close is closed all the same
  client_.close(ignored);
  what_.upstream_hold.abort();
  upstream_.close(ignored);
  up_.relayed.reset();
  down_.relayed.reset();
  what_.client_slot = {};
  what_.workspace_slot = {};
  if (actor_) caf::anon_send(actor_, closed_atom_v);
  actor_ = nullptr;
  core_.connection_gone();
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
