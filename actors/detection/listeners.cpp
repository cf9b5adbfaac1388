#include "previewd/actors/detection/listeners.hpp"

#include <algorithm>

namespace previewd::actors {

namespace {

// The inspector of node and of everything built on it: speaks HTTP, and is never a preview.
constexpr uint16_t node_inspector_port = 9229;

constexpr std::chrono::steady_clock::duration least_between_hurries = std::chrono::seconds{1};

bool is_among(const std::vector<listener_fact>& facts, const listener_fact& one) {
  return std::any_of(
    facts.begin(), facts.end(), [&](const listener_fact& fact) { return fact.id == one.id; });
}

bool any_survives(const std::vector<listener_fact>& before, const std::vector<listener_fact>& now) {
  return std::any_of(
    before.begin(), before.end(), [&](const listener_fact& old) { return is_among(now, old); });
}

std::size_t place_in(const std::vector<listener_fact>& facts, const listener_fact& one) {
  const auto same = [&](const listener_fact& fact) { return fact.id == one.id; };
  return static_cast<std::size_t>(std::find_if(facts.begin(), facts.end(), same) - facts.begin());
}

}  // namespace

std::string connect_address(const std::string& bound) {
  if (bound == "0.0.0.0") return "127.0.0.1";
  if (bound == "::") return "::1";
  return bound;
}

std::vector<uint16_t>
listener_book::update(const std::vector<listener_fact>& facts, time_point now) {
  std::vector<uint16_t> changed;
  std::map<uint16_t, std::vector<listener_fact>> by_port;
  for (const listener_fact& fact : facts) by_port[fact.id.port].push_back(fact);
  std::erase_if(ports_, [&](const auto& item) { return !by_port.contains(item.first); });
  for (auto& [port, sockets] : by_port) {
    candidate& known = ports_[port];
    if (known.sockets.empty() || !any_survives(known.sockets, sockets)) {
      known = candidate{};
      known.first_seen = now;
      known.next_look = now + settle_;
      known.ignored = port == node_inspector_port;
    }
    std::stable_sort(
      sockets.begin(), sockets.end(), [&](const listener_fact& a, const listener_fact& b) {
        return place_in(known.sockets, a) < place_in(known.sockets, b);
      });
    const bool same = std::equal(sockets.begin(), sockets.end(), known.sockets.begin(),
      known.sockets.end(), [](const auto& a, const auto& b) { return a.id == b.id; });
    if (!same && known.registered) changed.push_back(port);
    known.sockets = std::move(sockets);
  }
  return changed;
}

void listener_book::hurry(uint16_t port, time_point now) {
  candidate* known = find(port);
  // A look may be under way, and goes on while nothing is said.
  if (known == nullptr || known->next_look == time_point::max() ||
      known->seen.outcome == identity::verdict::silent || now < known->next_hurry)
    return;
  // A look may itself be what is printed.
  known->next_hurry = now + std::max(now - known->first_seen, least_between_hurries);
  known->next_look = std::min(known->next_look, std::max(now, known->first_seen + settle_));
}

std::vector<uint16_t> listener_book::due(time_point now) {
  std::vector<uint16_t> result;
  for (auto& [port, known] : ports_) {
    if (known.ignored || known.next_look > now) continue;
    known.look = next_look_++;
    known.next_look = time_point::max();
    result.push_back(port);
  }
  return result;
}

caf::optional<listener_book::time_point> listener_book::next_due() const {
  caf::optional<time_point> result;
  for (const auto& [port, known] : ports_) {
    if (known.ignored || known.next_look == time_point::max()) continue;
    if (!result || known.next_look < *result) result = known.next_look;
  }
  return result;
}

listener_book::candidate* listener_book::find(uint16_t port) {
  const auto it = ports_.find(port);
  return it == ports_.end() ? nullptr : &it->second;
}

listener_book::candidate* listener_book::find_look(uint64_t token) {
  for (auto& [port, known] : ports_)
    if (known.look == token && token != 0) return &known;
  return nullptr;
}

}  // namespace previewd::actors
