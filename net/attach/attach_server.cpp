#include "previewd/net/attach/attach_server.hpp"

#include <algorithm>
#include <caf/send.hpp>
#include <list>
#include <optional>
#include <utility>

#include "previewd/messages/error.hpp"
#include "previewd/net/asio_types.hpp"
#include "previewd/net/attach/control.hpp"
#include "previewd/net/auth/grant.hpp"
#include "previewd/net/auth/key_set.hpp"
#include "previewd/net/terminal/terminal_hub.hpp"

namespace previewd::net::attach {

namespace {

constexpr std::chrono::seconds exit_timeout{5};
constexpr std::string_view subprotocol = "previewd.terminal.v1";

/// Whether one of the header's comma-separated values is `wanted` (RFC 6455, section 11.3.4).
bool offers(const http::request_head& head, std::string_view wanted) {
  for (const http::field& each : head.fields) {
    constexpr std::string_view name = "sec-websocket-protocol";
    const auto same = [](char a, char b) { return (a | 0x20) == (b | 0x20); };
    if (!std::equal(each.name.begin(), each.name.end(), name.begin(), name.end(), same)) continue;
    std::string_view rest = each.value;
    while (!rest.empty()) {
      const std::size_t comma = std::min(rest.find(','), rest.size());
      std::string_view one = rest.substr(0, comma);
      rest.remove_prefix(std::min(comma + 1, rest.size()));
      while (!one.empty() && (one.front() == ' ' || one.front() == '\t')) one.remove_prefix(1);
      while (!one.empty() && (one.back() == ' ' || one.back() == '\t')) one.remove_suffix(1);
      if (one == wanted) return true;
    }
  }
  return false;
}

enum class dialect : uint8_t { raw, v1 };

/// Who only looks gets all output, and what he sends is dropped: a terminal in a browser answers
/// some of what it is shown by itself, so that to close the connection would be wrong.
enum class hands : uint8_t { on, off };

/// A client's right, as far as it lasts.
struct right_to_attach {
  hands may = hands::on;
  std::chrono::system_clock::time_point ends = std::chrono::system_clock::time_point::max();
  std::optional<uint64_t> key;  // that vouches for it
};

ws::websocket_limits limits_of(const attach_settings& settings) {
  ws::websocket_limits limits;
  limits.message_bytes = settings.message_bytes;
  limits.silence = settings.silence;
  return limits;
}

}  // namespace

/// One attached client. Until its terminal has ended it is paced by what it acknowledges; as long
/// as it never does, by what its connection takes.
struct attach_server::client final : terminal::output_sink {
  client(attach_server& s, uint64_t number, http::released_connection connection,
    const terminal_info& of, uint64_t known, dialect how, right_to_attach with)
      : server{s},
        terminal_id{of.id},
        after{known},
        speaks{how},
        right{with},
        socket{number, std::move(connection), limits_of(s.settings_), s,
          std::string{how == dialect::v1 ? subprotocol : std::string_view{}}},
        stall_timer{s.thread_.context()} {
    if (of.state == terminal_state::exited) exit = of.exit;
  }
  virtual ~client() = default;

  void begin() {
    place = server.parts_.terminals.attach(server.thread_, terminal_id, after, *this);
    if (place == nullptr) end(close_closed);  // closed since it was looked up
  }

  void on_attached(const terminal::attach_start& start) override {
    // What it knows already needs no acknowledgement.
    from = taken = start.from;
    ready_at = start.sequence;
    lost = start.lost;
    size = start.size;
    if (start.screen) send(start.screen, from);
    if (from >= ready_at) become_ready();
    pull();
  }

  /// A right that has ended lets nothing more pass, and ends the connection.
  bool is_over() {
    if (std::chrono::system_clock::now() < right.ends) return false;
    end(close_unauthorized);
    return true;
  }

  void on_output(const terminal::output_chunk& chunk) override {
    if (is_over()) return;
    const uint64_t begin = chunk.sequence - chunk.bytes->size();
    if (chunk.lost > 0) {
      if (ready) {
        // What it missed cannot be made good on this connection; on the next one it asks for it.
        end(close_too_slow);
        return;
      }
      // A flood has overtaken its replay, which begins anew: a screen begins with a reset.
      lost += chunk.lost;
      from = begin;
      ready_at = std::max(ready_at, begin);
      if (chunk.screen) send(chunk.screen, begin);
      if (begin == ready_at) become_ready();
    }
    if (!ready && begin < ready_at && chunk.sequence > ready_at) {
      // Replay and news in one: cut, so that `ready` stands between them.
      const auto cut = static_cast<std::size_t>(ready_at - begin);
      send(std::make_shared<const std::string>(chunk.bytes->substr(0, cut)), ready_at);
      become_ready();
      send(std::make_shared<const std::string>(chunk.bytes->substr(cut)), chunk.sequence);
    } else {
      send(chunk.bytes, chunk.sequence);
      if (!ready && chunk.sequence >= ready_at) become_ready();
    }
    pull();
  }

  void on_resized(terminal_size now) override {
    size = now;
    if (ready && speaks == dialect::v1) tell_size();
  }

  /// For a client that takes nothing only the newest is kept.
  void tell_size() {
    size_due = socket.queued_bytes() >= server.settings_.pull_below;
    if (!size_due) tell(resize_text(size));
  }

  void on_end() override {
    ended = true;
    finish();
  }

  /// All output has been sent: the exit is told once it is known.
  void finish() {
    if (!ended || over) return;
    if (!exit) {
      // The event is on its way; who waits for one that a fault has swallowed is let go.
      stall_timer.expires_after(exit_timeout);
      stall_timer.async_wait(
        [this, number = socket.number(), &at = server](const boost::system::error_code& error) {
          if (!error && at.clients_.count(number) != 0) end(close_exited);
        });
      return;
    }
    if (speaks == dialect::v1) tell(exit_text(*exit));
    end(server.ending_ ? ws::close_code::going_away : closed ? close_closed : close_exited);
  }

  void sent() {
    // The front of the queue has left it: everything before what still waits is taken.
    while (!on_the_way.empty() && on_the_way_bytes > socket.queued_bytes()) {
      on_the_way_bytes -= on_the_way.front().bytes;
      taken = on_the_way.front().sequence;
      on_the_way.pop_front();
    }
    note_progress();
    if (size_due) tell_size();
    pull();
  }

  void note_progress() {
    if (place == nullptr || acknowledges) return;
    place->acknowledge(taken);
    if (on_the_way.empty()) {
      stall_timer.cancel();
    } else {
      watch_for_stall();
    }
  }

  /// A connection that takes nothing must not hold up the terminal.
  void watch_for_stall() {
    stall_timer.expires_after(server.settings_.stall_timeout);
    stall_timer.async_wait(
      [this, number = socket.number(), &at = server](const boost::system::error_code& error) {
        // The client may be gone, and this with it.
        if (error || at.clients_.count(number) == 0 || over || acknowledges) return;
        if (place != nullptr) place->stop_pacing();
      });
  }

  void send(std::shared_ptr<const std::string> bytes, uint64_t sequence) {
    if (over || bytes->empty()) return;
    on_the_way.push_back({bytes->size(), sequence});
    on_the_way_bytes += bytes->size();
    if (!acknowledges && on_the_way.size() == 1) watch_for_stall();
    socket.send({ws::message_kind::binary, std::move(bytes)});
  }

  void tell(std::string text) {
    if (over) return;
    on_the_way.push_back({text.size(), on_the_way.empty() ? taken : on_the_way.back().sequence});
    on_the_way_bytes += text.size();
    socket.send({ws::message_kind::text, std::make_shared<const std::string>(std::move(text))});
  }

  void become_ready() {
    ready = true;
    if (speaks == dialect::v1) tell(ready_text(ready_at, ready_at - from, lost, size));
  }

  void pull() {
    if (!over && !ended && place != nullptr && socket.queued_bytes() < server.settings_.pull_below)
      place->pull();
  }

  void received(ws::message_kind kind, std::string_view bytes) {
    if (over || place == nullptr || is_over() || right.may == hands::off) return;
    if (speaks == dialect::raw || kind == ws::message_kind::binary) {
      input(bytes);
      return;
    }
    const control what = read_control(bytes);
    if (const auto* wish = std::get_if<resize_wish>(&what)) {
      place->resize(wish->size);
    } else if (const auto* shown = std::get_if<acknowledgement>(&what)) {
      acknowledges = true;
      stall_timer.cancel();
      place->acknowledge(shown->sequence);
    } else if (const auto* order = std::get_if<signal_order>(&what)) {
      server.parts_.terminals.signal(
        server.thread_, terminal_id, order->number, [](const caf::error&) {});
    } else {
      end(std::get<control_error>(what) == control_error::unknown ? ws::close_code::unsupported_data
                                                                  : ws::close_code::invalid_data);
    }
  }

  void input(std::string_view bytes) {
    if (bytes.empty()) return;
    server.parts_.terminals.input(server.thread_, terminal_id, std::string{bytes},
      [&at = server, number = socket.number()](const caf::error& why) {
        // Only a program that does not read makes a client go: what it types would be lost.
        if (!why || code_of(why) != errc::limit_reached) return;
        const auto found = at.clients_.find(number);
        if (found != at.clients_.end()) found->second->end(ws::close_code::policy_violation);
      });
  }

  void end(uint16_t code) {
    if (std::exchange(over, true)) return;
    stall_timer.cancel();
    place.reset();
    socket.close(code);
  }

  struct queued {
    std::size_t bytes;
    uint64_t sequence;  // of the output up to its end
  };

  attach_server& server;
  const std::string terminal_id;
  const uint64_t after;
  const dialect speaks;
  const right_to_attach right;
  ws::websocket socket;
  steady_timer stall_timer;
  std::unique_ptr<terminal::attachment> place;
  ws_connection_actor actor;
  std::list<queued> on_the_way;
  std::size_t on_the_way_bytes = 0;
  uint64_t taken = 0;         // output up to here has left for the client
  bool acknowledges = false;  // it has said by itself what it has shown
  uint64_t from = 0;
  uint64_t ready_at = 0;
  uint64_t lost = 0;
  terminal_size size;
  bool size_due = false;  // it has changed, and there was no room to say so
  bool ready = false;     // all replay has been sent
  bool ended = false;     // all output has been sent
  bool over = false;      // nothing more is sent
  std::optional<exit_status> exit;
  bool closed = false;  // the exit came because the terminal was closed
};

attach_server::attach_server(io_thread& thread, attach_parts parts, attach_settings settings)
    : thread_{thread}, parts_{std::move(parts)}, settings_{settings} {}

attach_server::~attach_server() = default;

void attach_server::open(
  const http::exchange_ptr& request, const terminal_info& terminal, uint64_t after) {
  if (stopping_) {
    request->respond(http::problem(errc::shutting_down, "The service is ending."));
    return;
  }
  const dialect how = offers(request->head(), subprotocol) ? dialect::v1 : dialect::raw;
  const auth::grant* grant = request->grant();
  right_to_attach right;
  if (grant != nullptr)
    right = {
      .may = grant->may_edit() ? hands::on : hands::off, .ends = grant->expires, .key = grant->key};
  auto connection = request->release();
  if (!connection) return;
  const uint64_t number = next_number_++;
  auto made =
    std::make_unique<client>(*this, number, std::move(*connection), terminal, after, how, right);
  client& added = *clients_.emplace(number, std::move(made)).first->second;
  caf::anon_send(parts_.events, client_atom_v, connection_id{thread_.index(), number});
  added.socket.start();
}

void attach_server::on_open(ws::websocket& from) {
  client& opened = *clients_.at(from.number());
  if (stopping_) {
    opened.end(ws::close_code::going_away);
  } else {
    opened.begin();
  }
}

void attach_server::on_frame(ws::websocket& from, ws::message_kind kind, std::string_view bytes) {
  clients_.at(from.number())->received(kind, bytes);
}

void attach_server::on_sent(ws::websocket& from) {
  clients_.at(from.number())->sent();
}

void attach_server::on_gone(ws::websocket& from) {
  const auto found = clients_.find(from.number());
  if (found->second->actor) caf::anon_send(found->second->actor, closed_atom_v);
  clients_.erase(found);
  if (stopping_ && clients_.empty() && stopped_) std::exchange(stopped_, nullptr)();
}

void attach_server::deliver(const std::shared_ptr<const api::encoded_event>& what) {
  if (what->terminal_id.empty()) return;
  for (auto& [number, each] : clients_) {
    if (each->terminal_id != what->terminal_id) continue;
    each->exit = what->exit;
    each->closed = what->closed;
    each->finish();
  }
}

void attach_server::adopt(uint64_t number, ws_connection_actor actor) {
  const auto found = clients_.find(number);
  if (found == clients_.end()) {
    caf::anon_send(actor, closed_atom_v);
  } else {
    found->second->actor = std::move(actor);
  }
}

void attach_server::close_connection(uint64_t number) {
  const auto found = clients_.find(number);
  if (found != clients_.end()) found->second->end(ws::close_code::going_away);
}

void attach_server::withdraw(const auth::key_set& keys) {
  for (auto& [number, each] : clients_)
    if (each->right.key && !keys.vouches(*each->right.key)) each->end(close_unauthorized);
}

void attach_server::stop(std::function<void()> done) {
  stopping_ = true;
  stopped_ = std::move(done);
  for (auto& [number, each] : clients_) each->end(ws::close_code::going_away);
  thread_.post([this] {
    if (clients_.empty() && stopped_) std::exchange(stopped_, nullptr)();
  });
}

}  // namespace previewd::net::attach
