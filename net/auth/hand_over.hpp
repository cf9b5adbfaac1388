#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>

#include "previewd/messages/workspace.hpp"
#include "previewd/net/auth/session.hpp"

namespace previewd::net::auth {

/// What a browser gets that comes with the code of a hand-over.
struct hand_over {
  auth::session session;
  workspace_key workspace;
  std::string path;  // where it goes then, on the same origin
};

/// Hands sessions over to browsers, which cannot be given a token to send: whoever has a token asks
/// for a code, and the browser that comes with the code within a minute gets the session. A code is
/// good once. One thread's.
class hand_over_desk {
public:
  using time_point = std::chrono::steady_clock::time_point;
  static constexpr std::chrono::seconds lifetime{60};

  /// `most`: codes that wait to be redeemed at once.
  explicit hand_over_desk(std::size_t most) : most_{most} {}

  /// A code of 43 letters, digits, `-` and `_`. Nothing: too many wait.
  std::optional<std::string> issue(hand_over what, time_point now);

  /// What the code is for. Nothing: it is none, was redeemed already, or is too old.
  std::optional<hand_over> redeem(std::string_view code, time_point now);

  std::size_t size() const noexcept { return waiting_.size(); }

private:
  void forget_old(time_point now);

  std::size_t most_;
  // By the digest of their code: how long a look-up takes says nothing about a code.
  std::unordered_map<std::string, hand_over> waiting_;
  std::deque<std::pair<time_point, std::string>> by_age_;
};

}  // namespace previewd::net::auth
