#pragma once

#include <cstdint>
#include <list>
#include <memory>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "previewd/messages/route.hpp"
#include "previewd/net/http/upstream.hpp"

namespace previewd::net::http {

/// A request that waits for the routes of a workspace to change.
class hold_waiter {
public:
  /// They have. It may leave, and may come back, within the call.
  virtual void routes_changed() = 0;

protected:
  ~hold_waiter() = default;
};

/// One workspace as an I/O thread knows it.
struct workspace_entry {
  uint64_t revision = 0;
  std::string label;
  std::vector<std::shared_ptr<upstream_server>> servers;
  caf::optional<stop_record> last_stop;
  std::vector<hold_waiter*> waiters;

  /// The server behind the address: the primary one, or that on `port`. Null: there is none.
  std::shared_ptr<upstream_server> find(uint16_t port) const;
};

/// One I/O thread's replica of all routes. That thread only: no lock, no atomic, one hash lookup a
/// request.
class route_table {
public:
  /// `remembered`: workspaces without a server that are kept, for their last stop.
  explicit route_table(std::size_t remembered) : remembered_{remembered} {}

  /// Takes the routes, unless newer ones are known. In the same step closes all that is open to
  /// servers which are absent from them or held; then tells those who wait. Returns whether they
  /// were taken.
  bool apply(workspace_routes routes);

  /// Closes what is open to one server, as if it were absent, until routes say otherwise.
  void close_server(const server_ref& ref);

  /// Null: nothing is known of it. Valid until the next `apply`.
  workspace_entry* find(const workspace_key& key);

  /// The workspace that has an origin label. Null: none.
  const workspace_key* by_label(std::string_view label) const;

  void wait(const workspace_key& key, hold_waiter& who);
  void leave(const workspace_key& key, hold_waiter& who);

  /// Requests that wait.
  std::size_t waiting() const noexcept { return waiting_; }

private:
  struct text_hash {
    using is_transparent = void;
    std::size_t operator()(std::string_view text) const noexcept {
      return std::hash<std::string_view>{}(text);
    }
  };
  struct text_equal {
    using is_transparent = void;
    bool operator()(std::string_view a, std::string_view b) const noexcept { return a == b; }
  };
  struct slot {
    workspace_entry entry;
    bool forgettable = false;
    std::list<workspace_key>::iterator place;  // in forgettable_, if so
  };

  void set_label(const workspace_key& key, slot& at, std::string label);
  void mark_forgettable(const workspace_key& key, slot& at);
  void forget_oldest();

  std::size_t remembered_;
  std::size_t waiting_ = 0;
  std::unordered_map<workspace_key, slot> slots_;
  std::unordered_map<std::string, workspace_key, text_hash, text_equal> labels_;
  std::list<workspace_key> forgettable_;  // the longest without a server comes first
};

}  // namespace previewd::net::http
