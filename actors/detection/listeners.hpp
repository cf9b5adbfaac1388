#pragma once

#include <caf/optional.hpp>
#include <caf/timespan.hpp>
#include <chrono>
#include <cstdint>
#include <map>
#include <set>
#include <string>
#include <vector>

#include "previewd/messages/detector.hpp"
#include "previewd/messages/server.hpp"

namespace previewd::actors {

/// The address to connect to for a socket bound to `bound`: the loopback address of its family when
/// it is bound to all.
std::string connect_address(const std::string& bound);

/// The listening sockets of one terminal, grouped by port, and what is still to be done about each
/// group. Pure: time comes in with every call. One port is one server, however many sockets it has.
class listener_book {
public:
  using time_point = std::chrono::steady_clock::time_point;

  /// What is known of one port.
  struct candidate {
    std::vector<listener_fact> sockets;
    time_point first_seen;
    uint64_t look = 0;      // token of the look under way or answered; 0: not looked at yet
    uint32_t refusals = 0;  // in a row
    identity seen;          // what the last look showed
    bool ignored = false;   // does not speak HTTP, or is an inspector: not a preview
    bool prefix_known = false;
    bool answered = false;  // not only to say that it is not ready yet
    caf::optional<server_ref> registered;
    bool adding = false;    // the registry has been asked
    time_point next_look;   // the end of time: none is due
    time_point next_hurry;  // when its output may bring the next look forward again
  };

  explicit listener_book(caf::timespan settle) : settle_{settle} {}

  /// Takes in the whole list. A port whose sockets are all new is a new candidate; one that lost
  /// its last socket is dropped. Of a candidate with some new sockets, or without some of the old,
  /// those that it had come first, in their order. The ports of registered ones of that kind.
  std::vector<uint16_t> update(const std::vector<listener_fact>& facts, time_point now);

  /// It is said to be ready: what is to be looked at again is looked at soon. Said again, it counts
  /// after a second, and then less and less often.
  void hurry(uint16_t port, time_point now);

  /// The ports that are old enough to be looked at and have not been, or are due again. Gives each
  /// a new token.
  std::vector<uint16_t> due(time_point now);

  /// When `due` has something next; nothing when there is nothing to wait for.
  caf::optional<time_point> next_due() const;

  candidate* find(uint16_t port);
  candidate* find_look(uint64_t token);

private:
  caf::timespan settle_;
  uint64_t next_look_ = 1;
  std::map<uint16_t, candidate> ports_;
};

}  // namespace previewd::actors
