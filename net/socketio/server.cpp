#include "previewd/net/socketio/server.hpp"

#include <sys/random.h>

#include <algorithm>
#include <array>
#include <nlohmann/json.hpp>

namespace previewd::net::socketio {

namespace {

using nlohmann::json;

/// All attachments of a packet together may be this many times as large as one message.
constexpr std::size_t packets_of_attachments = 4;

/// A name for a socket. Other clients may learn it, so it tells nothing; it need not be a secret.
std::string socket_id(uint32_t thread, uint64_t number) {
  std::array<char, 12> bytes{};
  // A short read only happens for more than 256 bytes, and a failure leaves the number to tell
  // sockets apart.
  if (::getrandom(bytes.data(), bytes.size(), 0) < 0) bytes.fill('\0');
  std::string text = encode_base64({bytes.data(), bytes.size()});
  for (char& c : text) {
    if (c == '+') c = '-';
    if (c == '/') c = '_';
  }
  return text + std::to_string(thread) + '-' + std::to_string(number);
}

void send_packet(engine_session& session, packet_head head, const json& payload) {
  encoded_packet packet = encode_packet(std::move(head), payload);
  session.send(packet.text);
  for (std::string& bytes : packet.attachments) session.send_binary(std::move(bytes));
}

/// What events take on the way, attachments and all.
std::size_t bytes_of(const std::vector<kept_event>& events) {
  std::size_t bytes = 0;
  for (const kept_event& event : events) {
    bytes += event.bytes->size();
    for (const std::string& attachment : event.attachments) bytes += attachment.size();
  }
  return bytes;
}

/// A member that is text; empty when there is none.
std::string text_in(const json& object, const char* name) {
  const auto found = object.find(name);
  return found != object.end() && found->is_string() ? found->get<std::string>() : std::string{};
}

}  // namespace

// ---- a socket

socket::socket(server& owner, name_space& space, engine_session& session, uint64_t number,
  std::string id, std::string private_id, json auth)
    : server_{owner},
      space_{space},
      session_{session},
      number_{number},
      id_{std::move(id)},
      private_id_{std::move(private_id)},
      auth_{std::make_unique<json>(std::move(auth))} {}

socket::~socket() = default;

void socket::emit(std::string_view event, const json& arguments) {
  emit(event, arguments, nullptr);
}

void socket::emit(std::string_view event, const json& arguments, std::function<void(json)> reply) {
  if (!connected_) return;
  packet_head head;
  head.name_space = space_.name();
  if (reply) {
    head.id = next_reply_++;
    replies_.emplace(*head.id, std::move(reply));
    if (replies_.size() > server_.settings_.replies) replies_.erase(replies_.begin());
  }
  json payload = json::array({event});
  for (const json& argument : arguments) payload.push_back(argument);
  if (!space_.store_ || head.id) {
    send_packet(session_, std::move(head), payload);
    return;
  }
  kept_event kept;
  kept.number = space_.store_->next_number();
  kept.room = id_;
  kept.at = std::chrono::steady_clock::now();
  payload.push_back(recovery_store::offset_of(kept.number));
  encoded_packet packet = encode_packet(std::move(head), payload);
  kept.bytes =
    std::make_shared<const std::string>(encode_packet(engine_packet_type::message, packet.text));
  kept.attachments = packet.attachments;
  session_.send_encoded(kept.bytes);
  for (std::string& bytes : packet.attachments) session_.send_binary(std::move(bytes));
  space_.store_->keep(std::move(kept));
}

void socket::send(const shared_packet& packet) {
  if (!connected_) return;
  space_.keep(id_, packet);
  deliver(packet);
}

void socket::deliver(const shared_packet& packet) {
  if (!connected_ || std::binary_search(replayed_.begin(), replayed_.end(), packet.number)) return;
  session_.send_encoded(packet.bytes);
}

void socket::join(const std::string& room) {
  if (!connected_) return;
  std::vector<socket*>& members = space_.rooms_[room];
  if (rooms_.emplace(room, members.size()).second) members.push_back(this);
}

void socket::leave(const std::string& room) {
  const auto place = rooms_.find(room);
  if (place == rooms_.end()) return;
  const auto found = space_.rooms_.find(room);
  std::vector<socket*>& members = found->second;
  // The last one takes the place that is free.
  members[place->second] = members.back();
  members.back()->rooms_[room] = place->second;
  members.pop_back();
  rooms_.erase(place);
  if (members.empty()) space_.rooms_.erase(found);
}

void socket::disconnect() {
  if (!connected_) return;
  packet_head head;
  head.type = packet_type::disconnect;
  head.name_space = space_.name();
  send_packet(session_, std::move(head), nullptr);
  if (server::client* from = server_.client_of(session_.number())) server_.leave(*this, *from);
}

void socket::close() {
  session_.close(session_end::server_closed);
}

// ---- an answer

void reply::operator()(const json& arguments) const {
  socket* to = id_ ? server_->find(socket_) : nullptr;
  if (!to) return;
  packet_head head;
  head.type = packet_type::ack;
  head.name_space = to->space().name();
  head.id = id_;
  send_packet(to->session(), std::move(head), arguments);
}

void reply::encoded(std::string_view arguments) const {
  socket* to = id_ ? server_->find(socket_) : nullptr;
  if (to) to->session().send(encode_ack(to->space().name(), *id_, arguments));
}

// ---- a namespace

name_space::name_space(server& owner, std::string name) : server_{owner}, name_{std::move(name)} {}

name_space::~name_space() = default;

shared_packet name_space::encode(std::string_view event, std::string_view arguments) const {
  return encode_as(store_ ? store_->next_number() : 0, event, arguments);
}

shared_packet
name_space::encode_as(uint64_t number, std::string_view event, std::string_view arguments) const {
  shared_packet packet;
  std::string with_offset;
  if (store_ && number != 0) {
    packet.number = number;
    with_offset = arguments;
    if (!arguments.empty()) with_offset += ',';
    with_offset += '"' + recovery_store::offset_of(packet.number) + '"';
    arguments = with_offset;
  }
  packet.bytes = std::make_shared<const std::string>(
    encode_packet(engine_packet_type::message, encode_event(name_, event, arguments)));
  return packet;
}

void name_space::keep(const std::string& room, const shared_packet& packet) {
  if (store_ && packet.number != 0)
    store_->keep({packet.number, room, packet.bytes, {}, std::chrono::steady_clock::now()});
}

void name_space::for_each_in(const std::string& room, const std::function<void(socket&)>& visit) {
  const auto found = rooms_.find(room);
  if (found == rooms_.end()) return;
  // A copy: whoever is visited may leave. It stays until the event loop comes round.
  const std::vector<socket*> members = found->second;
  for (socket* member : members) {
    if (member->connected_) visit(*member);
  }
}

void name_space::send_to(const std::string& room, const shared_packet& packet) {
  keep(room, packet);
  for_each_in(room, [&](socket& member) { member.deliver(packet); });
}

// ---- the server

struct server::client {
  /// A packet whose attachments are on the way.
  struct incomplete {
    packet_head head;
    json payload;
    std::vector<std::string> attachments;
    std::size_t bytes = 0;
  };

  explicit client(engine_session& s) : session{s} {}

  engine_session& session;
  std::unique_ptr<steady_timer> connect_timer;             // until it has joined a namespace
  std::map<std::string, std::unique_ptr<socket>> sockets;  // by namespace
  std::set<std::string> asked;                             // namespaces that are being checked
  std::unique_ptr<incomplete> packet;
};

server::server(io_thread& thread, std::vector<io_thread*> threads, server_settings settings)
    : settings_{std::move(settings)},
      engine_{thread, std::move(threads), settings_.engine, *this} {}

server::~server() = default;

name_space& server::of(std::string_view name) {
  const auto found = spaces_.find(name);
  if (found != spaces_.end()) return *found->second;
  name_space& made =
    *spaces_.emplace(name, std::make_unique<name_space>(*this, std::string{name})).first->second;
  if (settings_.recovery.max_disconnection.count() > 0)
    made.store_ = std::make_shared<recovery_store>(settings_.recovery);
  return made;
}

void server::share_recovery(server& with) {
  for (const auto& [name, space] : spaces_) space->store_ = with.of(name).store_;
}

socket* server::find(uint64_t number) noexcept {
  const auto found = sockets_.find(number);
  return found == sockets_.end() ? nullptr : found->second;
}

server::client* server::client_of(uint64_t session) noexcept {
  const auto found = clients_.find(session);
  return found == clients_.end() ? nullptr : found->second.get();
}

void server::admit(const handshake& request, std::function<void(bool)> answer) {
  if (admit_) {
    admit_(request, std::move(answer));
  } else {
    answer(true);
  }
}

void server::on_open(engine_session& session) {
  auto made = std::make_unique<client>(session);
  made->connect_timer =
    std::make_unique<steady_timer>(engine_.thread().context(), settings_.connect_timeout);
  made->connect_timer->async_wait(
    [this, number = session.number()](boost::system::error_code error) {
      if (error) return;
      client* who = client_of(number);
      if (who && who->sockets.empty()) who->session.close(session_end::server_closed);
    });
  clients_.emplace(session.number(), std::move(made));
  if (session_opened_) session_opened_(session);
}

void server::on_message(engine_session& session, message_kind kind, std::string_view bytes) {
  client* from = client_of(session.number());
  if (!from) return;
  // Attachments must follow their packet at once, and nothing else may be binary.
  if ((kind == message_kind::binary) != (from->packet != nullptr)) {
    session.close(session_end::protocol_error);
    return;
  }
  if (kind == message_kind::text) {
    json payload;
    const std::optional<packet_head> head = decode_packet(bytes, settings_.packets, payload);
    if (!head) {
      session.close(session_end::protocol_error);
    } else if (head->attachments == 0) {
      on_packet(*from, *head, std::move(payload));
    } else {
      from->packet = std::make_unique<client::incomplete>();
      from->packet->head = *head;
      from->packet->payload = std::move(payload);
    }
    return;
  }
  client::incomplete& packet = *from->packet;
  packet.bytes += bytes.size();
  if (packet.bytes > packets_of_attachments * settings_.engine.max_payload) {
    session.close(session_end::protocol_error);
    return;
  }
  packet.attachments.emplace_back(bytes);
  if (packet.attachments.size() < packet.head.attachments) return;
  const std::unique_ptr<client::incomplete> whole = std::move(from->packet);
  if (!insert_attachments(whole->payload, std::move(whole->attachments))) {
    session.close(session_end::protocol_error);
    return;
  }
  on_packet(*from, whole->head, std::move(whole->payload));
}

void server::on_packet(client& from, const packet_head& head, json payload) {
  const auto found = from.sockets.find(head.name_space);
  if (found == from.sockets.end()) {
    if (head.type == packet_type::connect)
      return connect(from, head.name_space, std::move(payload));
    // An event that crossed our refusal or our disconnect on the way.
    from.session.close(session_end::protocol_error);
    return;
  }
  socket& receiver = *found->second;
  switch (head.type) {
    case packet_type::event:
    case packet_type::binary_event: {
      name_space& space = receiver.space_;
      json arguments = json::array();
      for (std::size_t i = 1; i < payload.size(); ++i) arguments.push_back(std::move(payload[i]));
      const std::string name =
        payload[0].is_string() ? payload[0].get<std::string>() : payload[0].dump();
      const reply answer{*this, receiver.number_, head.id};
      const auto handler = space.handlers_.find(name);
      if (handler != space.handlers_.end()) {
        handler->second(receiver, arguments, answer);
      } else if (space.other_) {
        space.other_(receiver, name, arguments, answer);
      }
      return;
    }
    case packet_type::ack:
    case packet_type::binary_ack: {
      const auto waiting = head.id ? receiver.replies_.find(*head.id) : receiver.replies_.end();
      if (waiting == receiver.replies_.end()) return;
      const std::function<void(json)> done = std::move(waiting->second);
      receiver.replies_.erase(waiting);
      done(std::move(payload));
      return;
    }
    case packet_type::disconnect:
      leave(receiver, from);
      return;
    case packet_type::connect:
    case packet_type::connect_error:
      from.session.close(session_end::protocol_error);
      return;
  }
}

void server::connect(client& from, const std::string& space, json auth) {
  const auto found = spaces_.find(space);
  if (found == spaces_.end()) {
    packet_head head;
    head.type = packet_type::connect_error;
    head.name_space = space;
    send_packet(from.session, std::move(head), json{{"message", "Invalid namespace"}});
    return;
  }
  if (from.sockets.size() + from.asked.size() >= settings_.namespaces ||
      !from.asked.insert(space).second) {
    from.session.close(session_end::protocol_error);
    return;
  }
  if (auth.is_null()) auth = json::object();
  check(from.session.number(), *found->second, std::make_shared<const json>(std::move(auth)), 0);
}

void server::check(
  uint64_t session, name_space& space, std::shared_ptr<const json> auth, std::size_t index) {
  client* who = client_of(session);
  if (!who || !who->session.is_open()) return;
  if (index == space.checks_.size()) {
    who->asked.erase(space.name());
    admitted(*who, space, *auth);
    return;
  }
  const connect_request request{who->session.request(), *auth, session};
  space.checks_[index](
    request, [this, session, &space, auth, index](std::optional<connect_refusal> refusal) {
      if (!refusal) return check(session, space, auth, index + 1);
      client* refused = client_of(session);
      if (!refused) return;
      refused->asked.erase(space.name());
      json payload{{"message", refusal->message}};
      if (!refusal->data.empty()) {
        json data = json::parse(refusal->data, nullptr, false);
        if (!data.is_discarded()) payload["data"] = std::move(data);
      }
      packet_head head;
      head.type = packet_type::connect_error;
      head.name_space = space.name();
      send_packet(refused->session, std::move(head), payload);
    });
}

void server::admitted(client& who, name_space& space, const json& auth) {
  const uint64_t number = next_socket_++;
  std::string id = socket_id(engine_.thread().index(), number);
  std::string private_id;
  std::optional<recovered_socket> back;
  if (space.store_) {
    private_id = text_in(auth, "pid");
    const std::string offset = text_in(auth, "offset");
    if (!private_id.empty() && !offset.empty())
      back = space.store_->come_back(private_id, offset, std::chrono::steady_clock::now());
    // More than may wait for it would put it out again.
    if (back && bytes_of(back->missed) > settings_.engine.client_buffer / 2) back.reset();
    if (back && space.return_ &&
        !space.return_(
          {who.session.request(), auth, who.session.number()}, back->was, back->missed))
      back.reset();
    if (back) {
      id = std::move(back->was.id);
    } else {
      private_id = recovery_store::private_id();
    }
  }
  auto made =
    std::make_unique<socket>(*this, space, who.session, number, std::move(id), private_id, auth);
  socket& joined = *made;
  joined.recovered_ = back.has_value();
  if (back) joined.note_ = std::move(back->was.note);
  who.sockets.emplace(space.name(), std::move(made));
  sockets_.emplace(number, &joined);
  who.connect_timer.reset();
  packet_head head;
  head.type = packet_type::connect;
  head.name_space = space.name();
  json payload{{"sid", joined.id()}};
  if (!private_id.empty()) payload["pid"] = private_id;
  send_packet(who.session, std::move(head), payload);
  if (back) {
    for (const std::string& room : back->was.rooms)
      if (room != joined.id()) joined.join(room);
    replay(joined, back->missed);
  }
  if (space.connect_ && joined.connected_) space.connect_(joined);
}

void server::replay(socket& to, const std::vector<kept_event>& missed) {
  for (const kept_event& event : missed) {
    to.session_.send_encoded(event.bytes);
    for (const std::string& bytes : event.attachments) to.session_.send_binary(bytes);
    to.replayed_.push_back(event.number);
  }
}

void server::leave(socket& who, client& from) {
  if (!who.connected_) return;
  who.connected_ = false;
  while (!who.rooms_.empty()) who.leave(std::string{who.rooms_.begin()->first});
  sockets_.erase(who.number_);
  who.replies_.clear();
  if (who.space_.disconnect_) who.space_.disconnect_(who);
  const auto found = from.sockets.find(who.space_.name());
  if (found == from.sockets.end() || found->second.get() != &who) return;
  // Whoever called may be one of its own handlers.
  retired_.push_back(std::move(found->second));
  from.sockets.erase(found);
  if (retired_.size() == 1) {
    engine_.thread().post([this] { retired_.clear(); });
  }
}

void server::on_sent(engine_session& session) {
  client* who = client_of(session.number());
  if (!who) return;
  std::vector<socket*> members;
  for (const auto& [name, member] : who->sockets) {
    if (member->space_.sent_) members.push_back(member.get());
  }
  for (socket* member : members) {
    if (member->connected_) member->space_.sent_(*member);
  }
}

void server::on_close(engine_session& session, session_end why) {
  const auto found = clients_.find(session.number());
  if (found == clients_.end()) return;
  for (const auto& [name, who] : found->second->sockets) {
    if (who->private_id_.empty() || why == session_end::protocol_error) continue;
    left_socket left{who->id_, {who->id_}, nullptr};
    for (const auto& [room, place] : who->rooms_) left.rooms.insert(room);
    if (who->space_.leave_) left.note = who->space_.leave_(*who);
    who->space_.store_->leave(who->private_id_, std::move(left), std::chrono::steady_clock::now());
  }
  while (!found->second->sockets.empty()) {
    leave(*found->second->sockets.begin()->second, *found->second);
  }
  if (session_closed_) session_closed_(session);
  // The retired sockets refer to the session, which goes after this call.
  retired_.clear();
  clients_.erase(session.number());
}

}  // namespace previewd::net::socketio
