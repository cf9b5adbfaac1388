#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

/// Connection state recovery: a client that comes back soon gets its socket's name, its rooms and
/// what it has missed (https://socket.io/docs/v4/connection-state-recovery).
namespace previewd::net::socketio {

/// An event encoded once for many sockets.
struct shared_packet {
  std::shared_ptr<const std::string> bytes;  // an Engine.IO packet
  uint64_t number = 0;  // its place among what a client can catch up with; 0: none

  explicit operator bool() const noexcept { return bytes != nullptr; }
};

/// What is kept for clients that may come back, each namespace for itself.
struct recovery_settings {
  /// How long a client may be away; 0: nobody is recovered. 0 to 1 h.
  std::chrono::milliseconds max_disconnection{0};
  /// Most events that are kept; older ones go first.
  std::size_t events = 10'000;
  /// Most bytes of events that are kept.
  std::size_t bytes = 16 * 1024 * 1024;
  /// Most clients away; whoever left first is forgotten first.
  std::size_t clients = 10'000;
};

/// What the socket of a client that has left was.
struct left_socket {
  std::string id;
  std::set<std::string> rooms;
  std::shared_ptr<const void> note;  // the application's own (`name_space::on_leave`)
};

/// An event that somebody may have missed: an Engine.IO packet, and its attachments.
struct kept_event {
  uint64_t number = 0;
  std::string room;  // of sockets; or the id of one
  std::shared_ptr<const std::string> bytes;
  std::vector<std::string> attachments;
  std::chrono::steady_clock::time_point at;
};

/// A client that has come back.
struct recovered_socket {
  left_socket was;
  std::vector<kept_event> missed;  // by number
};

/// The memory of one namespace, for the servers of all I/O threads: a client may come back to
/// another one. Any thread.
class recovery_store {
public:
  using time_point = std::chrono::steady_clock::time_point;

  explicit recovery_store(recovery_settings settings) : settings_{settings} {}

  /// A number for the next event, greater than all before.
  uint64_t next_number();

  /// Keeps an event. One that was kept already, by another thread, is not kept again.
  void keep(kept_event event);

  /// A secret name for a new client; empty when there is no randomness.
  static std::string private_id();

  /// Remembers a socket whose connection has broken, by its secret name.
  void leave(const std::string& private_id, left_socket socket, time_point now);

  /// Takes back what was left, if it was not too long ago and all events since `offset` are there
  /// still. It can be taken once.
  std::optional<recovered_socket>
  come_back(const std::string& private_id, std::string_view offset, time_point now);

  /// How an event's number is written into it, as its last argument.
  static std::string offset_of(uint64_t number);

private:
  struct left {
    left_socket socket;
    time_point at;
    uint64_t order = 0;
  };

  void forget_old(time_point now);
  void drop_first();

  const recovery_settings settings_;
  std::mutex mutex_;
  uint64_t last_number_ = 0;
  uint64_t last_order_ = 0;
  uint64_t dropped_ = 0;           // the greatest number that is not kept any more
  std::deque<kept_event> events_;  // by number
  std::size_t bytes_ = 0;
  std::unordered_map<std::string, left> left_;
  std::map<uint64_t, std::string> orders_;  // of leaving
};

}  // namespace previewd::net::socketio
