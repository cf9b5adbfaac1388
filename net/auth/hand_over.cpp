#include "previewd/net/auth/hand_over.hpp"

#include "previewd/net/auth/encoding.hpp"

namespace previewd::net::auth {

namespace {

constexpr std::size_t code_bytes = 32;

std::string name_of(std::string_view code) {
  return std::string{view_of(sha256(code))};
}

}  // namespace

void hand_over_desk::forget_old(time_point now) {
  while (!by_age_.empty() && now - by_age_.front().first >= lifetime) {
    waiting_.erase(by_age_.front().second);
    by_age_.pop_front();
  }
}

std::optional<std::string> hand_over_desk::issue(hand_over what, time_point now) {
  forget_old(now);
  // Those that were redeemed count for their minute too: the list of ages has them still.
  if (by_age_.size() >= most_) return std::nullopt;
  std::string code = to_base64url(random_bytes(code_bytes));
  std::string name = name_of(code);
  by_age_.emplace_back(now, name);
  waiting_.emplace(std::move(name), std::move(what));
  return code;
}

std::optional<hand_over> hand_over_desk::redeem(std::string_view code, time_point now) {
  forget_old(now);
  const auto found = waiting_.find(name_of(code));
  if (found == waiting_.end()) return std::nullopt;
  hand_over what = std::move(found->second);
  waiting_.erase(found);
  return what;
}

}  // namespace previewd::net::auth
