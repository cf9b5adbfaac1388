#include "previewd/net/api/event_streams.hpp"

#include <algorithm>
#include <caf/actor_system.hpp>
#include <utility>
#include <vector>

#include "previewd/net/ask.hpp"
#include "previewd/net/auth/grant.hpp"
#include "previewd/net/auth/key_set.hpp"
#include "previewd/net/terminal/terminal_hub.hpp"

namespace previewd::net::api {

struct event_streams::reader {
  struct waiting_event {
    uint64_t sequence;
    std::shared_ptr<const std::string> bytes;
  };

  http::exchange_ptr request;
  workspace_filter filter;
  bool waiting = false;              // for what it has missed
  uint64_t seen = 0;                 // events up to this sequence are known to the reader
  std::deque<waiting_event> events;  // that came meanwhile
};

event_streams::event_streams(
  io_thread& thread, event_streams_parts parts, event_streams_settings settings)
    : thread_{thread},
      parts_{std::move(parts)},
      settings_{std::move(settings)},
      heartbeat_{thread.context()} {}

event_streams::~event_streams() = default;

event_streams::reader* event_streams::find(uint64_t number) {
  const auto found = readers_.find(number);
  return found == readers_.end() ? nullptr : found->second.get();
}

void event_streams::open(
  const http::exchange_ptr& request, workspace_filter filter, std::optional<uint64_t> after) {
  if (stopped_) {
    request->respond(http::problem(errc::shutting_down, "The service is ending."));
    return;
  }
  http::response head;
  head.content_type = "text/event-stream";
  head.fields.emplace_back("Cache-Control", "no-store");
  // nginx passes events on at once when it reads this.
  head.fields.emplace_back("X-Accel-Buffering", "no");
  if (request->head().method == "HEAD") {
    // Its answer ends with the head (RFC 9110, section 9.3.2), and the next request may follow.
    request->start_stream(std::move(head));
    request->finish();
    return;
  }
  const uint64_t number = next_number_++;
  auto& entry = readers_[number] = std::make_unique<reader>();
  entry->request = request;
  entry->filter = filter;
  // Posted, since a write that finds the client gone says so from within.
  request->on_gone([this, number] { thread_.post([this, number] { readers_.erase(number); }); });
  request->start_stream(std::move(head));
  static const auto greeting = std::make_shared<const std::string>(": previewd\nretry: 1000\n\n");
  send(*entry, greeting);
  if (after) {
    entry->waiting = true;
    look_up(number, filter, *after);
  }
  if (readers_.size() == 1) beat();
}

void event_streams::deliver(const std::shared_ptr<const encoded_event>& what) {
  const workspace_key key{what->project, what->user};
  for (auto& [number, to] : readers_) {
    if (!to->filter.matches(key)) continue;
    if (is_over(*to)) {
      end(number);
      continue;
    }
    if (to->waiting) {
      to->events.push_back({what->sequence, what->server_sent});
      if (to->events.size() > settings_.waiting_events) end(number);
    } else if (what->sequence > to->seen) {
      to->seen = what->sequence;
      send(*to, what->server_sent);
    }
  }
}

void event_streams::stop() {
  stopped_ = true;
  heartbeat_.cancel();
  for (auto& [number, each] : std::exchange(readers_, {})) {
    each->request->on_gone(nullptr);
    each->request->finish();
  }
}

void event_streams::look_up(uint64_t number, const workspace_filter& filter, uint64_t after) {
  ask<project_snapshot>(
    parts_.system, thread_, parts_.registry,
    [this, number, after](caf::expected<project_snapshot> present) {
      reader* who = find(number);
      if (who == nullptr) return;
      if (!present) {
        end(number);
        return;
      }
      // A sequence from the future is another instance's: what it counted says nothing here.
      if (after > present->sequence) {
        reset(number, std::move(*present));
      } else {
        replay(number, after, *present);
      }
    },
    snapshot_atom_v, filter.project);
}

void event_streams::replay(uint64_t number, uint64_t after, const project_snapshot& present) {
  ask<std::vector<event>>(
    parts_.system, thread_, parts_.events,
    [this, number, after, present](const caf::expected<std::vector<event>>& missed) {
      reader* who = find(number);
      if (who == nullptr) return;
      if (!missed) {
        reset(number, present);
        return;
      }
      uint64_t seen = after;
      std::size_t size = 0;
      std::vector<std::shared_ptr<const std::string>> texts;
      for (const event& each : *missed) {
        seen = std::max(seen, each.sequence);
        if (!who->filter.matches(each.key)) continue;
        texts.push_back(encode(each, settings_.addresses)->server_sent);
        size += texts.back()->size();
        // What is sent at once is all behind: with more the reader would be disconnected, come
        // again one event later, and never catch up. The other half is for what happens meanwhile.
        if (size > settings_.client_buffer / 2) {
          reset(number, present);
          return;
        }
      }
      for (const auto& text : texts) send(*who, text);
      catch_up(*who, seen);
    },
    replay_atom_v, after);
}

void event_streams::reset(uint64_t number, project_snapshot present) {
  reader* who = find(number);
  if (who == nullptr) return;
  const auto foreign = [who](const workspace_key& key) { return !who->filter.matches(key); };
  std::erase_if(present.servers, [&](const server_info& each) { return foreign(each.ref.key); });
  std::erase_if(present.terminals, [&](const terminal_info& each) { return foreign(each.key); });
  const auto facts = [this](const std::string& id) { return parts_.terminals.facts(thread_, id); };
  send(*who, std::make_shared<const std::string>(server_sent_text(
               "reset", present.sequence, snapshot_json(present, settings_.addresses, facts))));
  catch_up(*who, present.sequence);
}

/// The reader comes again, with the last sequence it has seen.
void event_streams::end(uint64_t number) {
  reader* who = find(number);
  if (who == nullptr) return;
  who->request->finish();
  // Posted, since the caller may be going through the readers.
  thread_.post([this, number] { readers_.erase(number); });
}

/// The reader knows all up to `seen`; what came meanwhile follows.
void event_streams::catch_up(reader& to, uint64_t seen) {
  to.waiting = false;
  to.seen = seen;
  for (const reader::waiting_event& each : std::exchange(to.events, {})) {
    if (each.sequence <= to.seen) continue;
    to.seen = each.sequence;
    send(to, each.bytes);
  }
}

/// Whether the right by which it was opened has ended; whoever reads it shows a new one.
bool event_streams::is_over(const reader& to) {
  const auth::grant* grant = to.request->grant();
  return grant != nullptr && grant->is_over();
}

void event_streams::withdraw(const auth::key_set& keys) {
  for (auto& [number, each] : readers_) {
    const auth::grant* grant = each->request->grant();
    if (grant != nullptr && !keys.vouches(grant->key)) end(number);
  }
}

void event_streams::send(reader& to, const std::shared_ptr<const std::string>& bytes) const {
  to.request->write(bytes, settings_.client_buffer);
}

void event_streams::beat() {
  heartbeat_.expires_after(settings_.heartbeat);
  heartbeat_.async_wait([this](const boost::system::error_code& error) {
    if (error || readers_.empty()) return;
    static const auto comment = std::make_shared<const std::string>(":\n\n");
    for (auto& [number, each] : readers_) {
      if (is_over(*each)) {
        end(number);
      } else {
        send(*each, comment);
      }
    }
    beat();
  });
}

}  // namespace previewd::net::api
