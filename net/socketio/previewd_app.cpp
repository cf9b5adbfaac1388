#include "previewd/net/socketio/previewd_app.hpp"

#include <algorithm>
#include <caf/actor_system.hpp>
#include <caf/send.hpp>
#include <deque>
#include <map>
#include <nlohmann/json.hpp>
#include <optional>
#include <string_view>
#include <utility>

#include "previewd/messages/error.hpp"
#include "previewd/net/ask.hpp"
#include "previewd/net/auth/key_set.hpp"
#include "previewd/net/terminal/terminal_hub.hpp"
#include "previewd/net/terminal/utf8.hpp"

namespace previewd::net::socketio {

namespace {

using nlohmann::json;

constexpr uint64_t largest_number = UINT64_MAX;

/// The room of a whole project, or of one user's part of it: no name has a slash.
std::string room_of(const std::string& project, const std::string& user = {}) {
  return "project-" + project + (user.empty() ? "" : "/" + user);
}

/// The room from which somebody hears of a project. No grant: nobody has to show who he is.
std::string room_for(const auth::grant* grant, const std::string& project) {
  return !grant || grant->user == auth::any_name ? room_of(project) : room_of(project, grant->user);
}

/// What a client sent along as its token; empty: nothing.
std::string token_in(const json& auth) {
  const auto found = auth.find("token");
  return found != auth.end() && found->is_string() ? found->get<std::string>() : std::string{};
}

void accept(const reply& answer) {
  answer.encoded(R"({"ok":true})");
}

void refuse(const reply& answer, const caf::error& why) {
  if (answer.is_wanted()) answer.encoded(R"({"ok":false,"error":)" + api::error_json(why) + "}");
}

/// What an answer without a value of its own comes to.
void settle(const reply& answer, const caf::error& why) {
  if (why) {
    refuse(answer, why);
  } else {
    accept(answer);
  }
}

/// The project of a room, empty for the room of a socket.
std::string project_of(const std::string& room) {
  if (room.rfind(room_of({}), 0) != 0) return {};
  const std::size_t begin = room_of({}).size();
  return room.substr(begin, room.find('/') - begin);
}

/// What a client leaves for when it comes back: by project, up to which event it knew all when it
/// joined.
using left_projects = std::map<std::string, uint64_t>;

bool has_nul(const std::string& text) {
  return text.find('\0') != std::string::npos;
}

/// The payload of a `terminalExit` whose own event is not known any more. Its sequence lies before
/// all others, so that nobody who counts them takes it for news.
std::string exit_json(const std::string& id, const exit_status& exit) {
  return json{{"terminalId", id}, {"exitCode", exit.code ? json(*exit.code) : json(nullptr)},
    {"signal", exit.signal.empty() ? json(nullptr) : json(exit.signal)}, {"sequence", 0}}
    .dump();
}

}  // namespace

/// The argument of an event, read field by field. The first thing that is wrong is kept; what is
/// read after it is empty.
class previewd_app::fields {
public:
  explicit fields(const json& argument) : object_{argument} {
    if (!argument.is_object())
      error_ = make_error(errc::invalid_field, "The event's argument must be an object.");
  }

  const json* find(const char* name) const {
    if (error_) return nullptr;
    const auto found = object_.find(name);
    return found == object_.end() || found->is_null() ? nullptr : &*found;
  }

  /// Empty when it is not there.
  std::string text(const char* name) {
    const json* value = find(name);
    if (!value) return {};
    if (!value->is_string()) return refuse(name, "must be a string"), std::string{};
    std::string text = value->get<std::string>();
    if (has_nul(text)) return refuse(name, "must not contain NUL"), std::string{};
    return text;
  }

  std::string required_text(const char* name) {
    std::string value = text(name);
    if (value.empty()) refuse(name, "is missing");
    return value;
  }

  /// A project or user.
  std::string name(const char* field) {
    std::string value = required_text(field);
    if (!error_ && !valid_name(value)) {
      error_ = make_error(errc::invalid_name,
        std::string{field} +
          " must be 1 to 64 characters of A-Z a-z 0-9 . _ ~ @ + - and neither . nor ..");
    }
    return value;
  }

  std::optional<uint64_t> number(const char* name, uint64_t least, uint64_t most) {
    const json* value = find(name);
    if (!value) return std::nullopt;
    const bool fits = value->is_number_unsigned() && value->get<uint64_t>() >= least &&
                      value->get<uint64_t>() <= most;
    if (fits) return value->get<uint64_t>();
    refuse(name, most == largest_number ? "must be a whole number, not negative"
                                        : "must be a whole number from " + std::to_string(least) +
                                            " to " + std::to_string(most));
    return std::nullopt;
  }

  uint16_t cells(const char* name, std::optional<uint16_t> otherwise) {
    const std::optional<uint64_t> value = number(name, 1, 1000);
    if (!value && !otherwise) refuse(name, "is missing");
    return value ? static_cast<uint16_t>(*value) : otherwise.value_or(1);
  }

  std::vector<std::string> texts(const char* name) {
    std::vector<std::string> list;
    const json* value = find(name);
    if (!value) return list;
    if (!value->is_array()) return refuse(name, "must be a list of strings"), list;
    for (const json& element : *value) {
      if (!element.is_string() || has_nul(element.get_ref<const std::string&>())) {
        return refuse(name, "must be a list of strings without NUL"), std::vector<std::string>{};
      }
      list.push_back(element.get<std::string>());
    }
    return list;
  }

  std::vector<std::pair<std::string, std::string>> text_map(const char* name) {
    std::vector<std::pair<std::string, std::string>> map;
    const json* value = find(name);
    if (!value) return map;
    if (!value->is_object()) return refuse(name, "must be an object of strings"), map;
    for (const auto& [key, element] : value->items()) {
      const bool good = element.is_string() && !has_nul(element.get_ref<const std::string&>()) &&
                        !has_nul(key) && !key.empty() && key.find('=') == std::string::npos;
      if (!good) {
        refuse(name, "must be an object of strings, its names not empty and without = and NUL");
        return {};
      }
      map.emplace_back(key, element.get<std::string>());
    }
    return map;
  }

  void refuse(const char* name, const std::string& what) {
    if (!error_) error_ = make_error(errc::invalid_field, std::string{name} + " " + what + ".");
  }

  bool ok() const { return !error_; }
  const caf::error& error() const { return error_; }

private:
  const json& object_;
  caf::error error_;
};

/// A project that a client has joined.
struct previewd_app::membership {
  struct waiting_event {
    uint64_t sequence;
    shared_packet packet;
  };

  bool waiting = false;               // for the snapshot
  uint64_t seen = 0;                  // events up to this sequence are known to the client
  std::vector<waiting_event> events;  // that came meanwhile
  std::vector<reply> answers;         // to those who asked
};

/// A client's place in a terminal.
struct previewd_app::attached final : terminal::output_sink {
  attached(previewd_app& a, client& c, std::string i) : app{a}, owner{c}, id{std::move(i)} {}
  virtual ~attached() = default;

  void on_attached(const terminal::attach_start& start) override;
  void on_output(const terminal::output_chunk& chunk) override;
  void on_end() override;

  void resize(terminal_size size);
  void send_text(const std::string& text, uint64_t sequence, uint64_t lost, bool replay = false);
  void send_screen(const std::string& screen, uint64_t sequence, uint64_t lost);
  void pull_if_room();

  struct request {
    reply answer;
    uint64_t after;
  };

  previewd_app& app;
  client& owner;
  const std::string id;
  std::unique_ptr<terminal::attachment> place;
  terminal::utf8_stream decoder;
  std::vector<request> requests;      // that have no answer yet: until attached
  std::optional<terminal_size> wish;  // the client's
  uint64_t sequence = 0;              // of the last output
  bool started = false;
  bool full = false;   // has not asked for more, because the client's queue was full
  bool ended = false;  // all output has been sent
  shared_packet exit;  // the event, until all output has been sent
};

struct previewd_app::client {
  explicit client(socket& s) : peer{s} {}

  socket& peer;
  /// The room from which it hears of a project.
  std::string room(const std::string& project) const { return room_for(grant.get(), project); }
  bool may_see(const workspace_key& key) const { return !grant || grant->covers(key); }
  /// Why it may not do something in a workspace; none: it may.
  caf::error objection(auth::role takes, const workspace_key* key = nullptr) const {
    if (!grant) return {};
    if (takes == auth::role::edit && !grant->may_edit())
      return make_error(errc::not_allowed, "This takes a token with the role edit.");
    if (key != nullptr && !grant->covers(*key))
      return make_error(errc::not_allowed, "Your token is not for this workspace.");
    return {};
  }

  struct waiting_call {
    reply answer;
    std::function<void(client&)> then;
  };

  std::shared_ptr<const auth::grant> grant;  // null: nobody has to show who he is
  std::map<std::string, membership> projects;
  std::map<std::string, std::unique_ptr<attached>> terminals;  // by their ids
  /// By terminal, while the registry is asked whose it is: the calls in the order they came in.
  std::map<std::string, std::vector<waiting_call>> waiting;
};

void previewd_app::attached::on_attached(const terminal::attach_start& start) {
  started = true;
  sequence = start.from;
  for (const request& each : std::exchange(requests, {})) {
    // Counted from where each began: they may have named different sequences.
    const uint64_t lost = start.from - std::min(start.from, each.after);
    each.answer.encoded(R"({"ok":true,"sequence":)" + std::to_string(start.sequence) +
                        R"(,"from":)" + std::to_string(start.from) + R"(,"lost":)" +
                        std::to_string(lost) + "}");
  }
  if (start.screen) send_screen(*start.screen, start.from, start.lost);
  pull_if_room();
}

void previewd_app::attached::on_output(const terminal::output_chunk& chunk) {
  std::string text;
  uint64_t lost = chunk.lost;
  if (lost > 0) text = decoder.flush();
  if (chunk.screen) {
    // The screen stands for what is lost.
    send_screen(*chunk.screen, chunk.sequence - chunk.bytes->size(), lost);
    text.clear();
    lost = 0;
  }
  text += decoder.feed(*chunk.bytes);
  sequence = chunk.sequence;
  if (!text.empty()) send_text(text, chunk.sequence - decoder.held(), lost);
  pull_if_room();
}

void previewd_app::attached::on_end() {
  if (!started) {
    for (const request& each : requests)
      refuse(
        each.answer, make_error(errc::terminal_not_found, "No terminal has the id " + id + "."));
    owner.terminals.erase(id);  // destroys *this
    return;
  }
  const std::string rest = decoder.flush();
  if (!rest.empty()) send_text(rest, sequence, 0);
  ended = true;
  // It is still to come, or came so long ago that it has been forgotten.
  if (!exit) return app.look_up_exit(owner.peer.number(), id);
  owner.peer.send(exit);
  owner.terminals.erase(id);  // destroys *this
}

void previewd_app::attached::resize(terminal_size size) {
  wish = size;
  place->resize(size);
}

/// What a client shows instead of output that is lost; text of its own, so that the output that
/// follows may begin anywhere.
void previewd_app::attached::send_screen(const std::string& screen, uint64_t at, uint64_t lost) {
  terminal::utf8_stream whole;
  send_text(whole.feed(screen) + whole.flush(), at, lost, true);
}

void previewd_app::attached::send_text(
  const std::string& text, uint64_t at, uint64_t lost, bool replay) {
  std::string payload =
    R"({"terminalId":)" + api::quoted(id) + R"(,"sequence":)" + std::to_string(at);
  if (lost > 0) payload += R"(,"lost":)" + std::to_string(lost);
  if (replay) payload += R"(,"replay":true)";
  payload += R"(,"data":)" + api::quoted(text) + "}";
  // Who comes back asks for it by its sequence.
  owner.peer.send(app.main_.encode_as(0, "terminalData", payload));
}

void previewd_app::attached::pull_if_room() {
  full = owner.peer.queued_bytes() >= app.settings_.pull_below;
  if (!full && owner.peer.is_connected()) place->pull();
}

namespace {

server_settings numbered(server_settings settings) {
  settings.engine.first_number = first_client_number;
  return settings;
}

}  // namespace

previewd_app::previewd_app(io_thread& thread, std::vector<io_thread*> threads,
  previewd_app_parts parts, previewd_app_settings settings)
    : thread_{thread},
      parts_{std::move(parts)},
      settings_{std::move(settings)},
      server_{thread, std::move(threads), numbered(settings_.server)},
      main_{server_.of("/")} {
  set_up();
}

previewd_app::~previewd_app() = default;

void previewd_app::set_up() {
  server_.on_session_open([this](engine_session& session) {
    connections_.emplace(session.number(), ws_connection_actor{});
    caf::anon_send(parts_.events, client_atom_v, connection_id{thread_.index(), session.number()});
  });
  server_.on_session_close([this](engine_session& session) {
    admitted_.erase(session.number());
    const auto found = connections_.find(session.number());
    if (found == connections_.end()) return;
    if (found->second) caf::anon_send(found->second, closed_atom_v);
    connections_.erase(found);
  });
  if (parts_.identify) {
    main_.use([this](const connect_request& request, auto answer) {
      parts_.identify(request.request, token_in(request.auth),
        [this, session = request.session, answer](
          caf::expected<std::shared_ptr<const auth::grant>> who) {
          if (!who)
            return answer(connect_refusal{
              std::string{to_code(code_of(who.error()))}, api::error_json(who.error())});
          // It may have gone meanwhile.
          if (connections_.count(session) != 0) admitted_[session] = std::move(*who);
          answer(std::nullopt);
        });
    });
  }
  main_.on_connect([this](socket& joined) {
    auto made = std::make_unique<client>(joined);
    if (parts_.identify) {
      auto who = admitted_.extract(joined.session().number());
      if (who.empty()) return joined.disconnect();
      made->grant = std::move(who.mapped());
    }
    if (const auto left = std::static_pointer_cast<const left_projects>(joined.note())) {
      for (const auto& [project, seen] : *left) made->projects[project].seen = seen;
    }
    joined.set_context(made.get());
    clients_.emplace(joined.number(), std::move(made));
  });
  set_up_recovery();
  // Never from within a handler of the client or of its terminals: they only close the session,
  // which is carried out later.
  main_.on_disconnect([this](socket& gone) { clients_.erase(gone.number()); });
  main_.on_sent([this](socket& sender) {
    client* who = find(sender.number());
    // Pings are answered too: this comes round.
    if (!who || ends(*who) || sender.queued_bytes() >= settings_.pull_below) return;
    for (auto& [id, place] : who->terminals) {
      if (place->full && !place->ended) place->pull_if_room();
    }
  });
  const auto on = [this](const char* event, handler what) {
    main_.on(event, [this, what](socket& from, const json& arguments, const reply& answer) {
      client* who = find(from.number());
      if (!who) return;
      if (ends(*who))
        return refuse(answer, make_error(errc::not_authenticated,
                                "The token has expired; connect again with a new one."));
      static const json nothing;
      (this->*what)(*who, arguments.empty() ? nothing : arguments[0], answer);
    });
  };
  on("joinProject", &previewd_app::join_project);
  on("leaveProject", &previewd_app::leave_project);
  on("createTerminal", &previewd_app::create_terminal);
  on("attachTerminal", &previewd_app::attach_terminal);
  on("detachTerminal", &previewd_app::detach_terminal);
  on("terminalInput", &previewd_app::terminal_input);
  on("resizeTerminal", &previewd_app::resize_terminal);
  on("terminalAck", &previewd_app::terminal_ack);
  on("closeTerminal", &previewd_app::close_terminal);
  main_.on_other([](socket&, std::string_view, const json&, const reply& answer) {
    refuse(answer, make_error(errc::not_found, "There is no such event."));
  });
}

/// The numbers of events are their sequences: they are the same on all threads.
void previewd_app::set_up_recovery() {
  main_.on_leave([this](socket& leaving) -> std::shared_ptr<const void> {
    const client* who = find(leaving.number());
    if (!who) return nullptr;
    auto left = std::make_shared<left_projects>();
    for (const auto& [project, in] : who->projects) {
      // One whose snapshot has not come yet has not been joined: it will be asked for again.
      if (!in.waiting) left->emplace(project, in.seen);
    }
    return left;
  });
  main_.on_return([this](const connect_request& request, const left_socket& was,
                    std::vector<kept_event>& missed) {
    const auto left = std::static_pointer_cast<const left_projects>(was.note);
    if (!left) return false;
    if (parts_.identify) {
      const auto who = admitted_.find(request.session);
      if (who == admitted_.end()) return false;
      // What it may hear now has to be what it heard then.
      const auth::grant* grant = who->second.get();
      for (const auto& [project, seen] : *left) {
        const bool may = !grant || grant->project == auth::any_name || grant->project == project;
        if (!may || was.rooms.count(room_for(grant, project)) == 0) return false;
      }
    }
    std::erase_if(missed, [&](const kept_event& event) {
      const std::string project = project_of(event.room);
      if (project.empty()) return false;
      const auto in = left->find(project);
      return in == left->end() || event.number <= in->second;
    });
    return true;
  });
}

void previewd_app::handle(http::exchange_ptr exchange) {
  server_.handle(std::move(exchange));
}

void previewd_app::stop(std::function<void()> done) {
  server_.stop(std::move(done));
}

void previewd_app::withdraw(const auth::key_set& keys) {
  std::vector<uint64_t> over;
  for (const auto& [number, who] : clients_)
    if (who->grant && !keys.vouches(who->grant->key)) over.push_back(number);
  for (const uint64_t number : over)
    if (client* who = find(number)) who->peer.close();
}

/// Lets a client go whose right has ended.
bool previewd_app::ends(client& who) {
  if (!who.grant || !who.grant->is_over()) return false;
  who.peer.close();
  return true;
}

previewd_app::client* previewd_app::find(uint64_t socket) noexcept {
  const auto found = clients_.find(socket);
  return found == clients_.end() ? nullptr : found->second.get();
}

void previewd_app::adopt(uint64_t number, ws_connection_actor actor) {
  const auto found = connections_.find(number);
  if (found == connections_.end()) {
    caf::anon_send(actor, closed_atom_v);
  } else {
    found->second = std::move(actor);
  }
}

void previewd_app::close_connection(uint64_t number) {
  if (engine_session* session = server_.engine().find(number))
    session->close(session_end::server_closed);
}

// ---- events of projects

client_counts previewd_app::clients() {
  client_counts result;
  server_.engine().for_each([&](const engine_session& session) {
    ++(session.transport() == transport_kind::websocket ? result.websocket : result.polling);
  });
  return result;
}

void previewd_app::deliver(const std::shared_ptr<const api::encoded_event>& what) {
  const shared_packet packet = main_.encode_as(what->sequence, what->name, what->json);
  const auto tell = [&](socket& member) {
    auto* who = static_cast<client*>(member.context());
    if (who && ends(*who)) return;
    const auto joined = who ? who->projects.find(what->project) : decltype(who->projects.end()){};
    if (!who || joined == who->projects.end()) return;
    // Who is attached gets the exit from its terminal, behind the last output.
    if (!what->terminal_id.empty() && who->terminals.count(what->terminal_id) != 0) return;
    membership& in = joined->second;
    if (in.waiting) {
      in.events.push_back({what->sequence, packet});
      if (in.events.size() > settings_.waiting_events) member.close();
    } else if (what->sequence > in.seen) {
      member.deliver(packet);
    }
  };
  const auto tell_room = [&](const std::string& room) {
    main_.keep(room, packet);
    main_.for_each_in(room, tell);
  };
  tell_room(room_of(what->project));
  if (parts_.identify && !what->user.empty()) tell_room(room_of(what->project, what->user));
  if (!what->terminal_id.empty()) terminal_exited(*what, packet);
}

void previewd_app::terminal_exited(const api::encoded_event& what, const shared_packet& packet) {
  exits_.emplace_back(what.terminal_id, packet);
  if (exits_.size() > settings_.remembered_exits) exits_.pop_front();
  for (auto& [number, who] : clients_) tell_exit(*who, what.terminal_id, packet);
}

/// Behind the terminal's last output, if the client is attached to it.
void previewd_app::tell_exit(client& who, const std::string& id, const shared_packet& exit) {
  const auto found = who.terminals.find(id);
  if (found == who.terminals.end()) return;
  if (found->second->ended) {
    who.peer.send(exit);
    who.terminals.erase(found);
  } else if (!found->second->exit) {
    found->second->exit = exit;
  }
}

/// For a client that has got all output: tells the exit if its event does not come any more.
void previewd_app::look_up_exit(uint64_t socket, const std::string& id) {
  ask<terminal_info>(
    parts_.system, thread_, parts_.registry,
    [this, socket, id](const caf::expected<terminal_info>& found) {
      const bool is_gone = !found && code_of(found.error()) == errc::terminal_not_found;
      const bool has_exited =
        found && (found->state == terminal_state::exited || !(found->exit == exit_status{}));
      if (!is_gone && !has_exited) return;  // its event is still to come
      const shared_packet exit =
        main_.encode_as(0, "terminalExit", exit_json(id, found ? found->exit : exit_status{}));
      // The event may be on its way, and nobody is to hear of the exit twice: what the registry had
      // published by now is delivered before the event bus answers anything.
      ask<std::vector<event>>(
        parts_.system, thread_, parts_.events,
        [this, socket, id, exit](const caf::expected<std::vector<event>>&) {
          if (client* who = find(socket)) tell_exit(*who, id, exit);
        },
        replay_atom_v, largest_number);
    },
    lookup_atom_v, terminal_atom_v, id);
}

void previewd_app::join_project(client& from, const json& argument, const reply& answer) {
  const json wrapped = argument.is_string() ? json{{"projectId", argument}} : argument;
  fields read{wrapped};
  const std::string project = read.name("projectId");
  if (!read.text("userId").empty()) read.name("userId");
  const std::optional<uint64_t> after = read.number("after", 0, largest_number);
  if (!read.ok()) return refuse(answer, read.error());
  if (from.grant && from.grant->project != auth::any_name && from.grant->project != project)
    return refuse(answer, make_error(errc::not_allowed, "Your token is not for this project."));
  if (from.projects.count(project) == 0 && from.projects.size() >= settings_.projects) {
    return refuse(answer,
      make_error(errc::limit_reached,
        "A client may join " + std::to_string(settings_.projects) + " projects; leave one first."));
  }
  // In the room from now on: what happens while the snapshot is made is kept, and sent behind it.
  from.peer.join(from.room(project));
  membership& in = from.projects[project];
  in.answers.push_back(answer);
  if (in.waiting) {
    if (in.answers.size() > settings_.waiting_events) from.peer.close();
    return;
  }
  in.waiting = true;
  ask<project_snapshot>(
    parts_.system, thread_, parts_.registry,
    [this, number = from.peer.number(), project, after](caf::expected<project_snapshot> snapshot) {
      if (snapshot) {
        joined(number, project, after, std::move(*snapshot));
      } else {
        refuse_joining(number, project, snapshot.error());
      }
    },
    snapshot_atom_v, project);
}

void previewd_app::joined(uint64_t socket, const std::string& project,
  std::optional<uint64_t> after, project_snapshot snapshot) {
  client* who = find(socket);
  if (!who) return;
  if (who->grant) {
    std::erase_if(
      snapshot.servers, [who](const server_info& each) { return !who->may_see(each.ref.key); });
    std::erase_if(
      snapshot.terminals, [who](const terminal_info& each) { return !who->may_see(each.key); });
  }
  // A sequence from the future is another instance's: what it counted says nothing here.
  if (after && *after <= snapshot.sequence) return replay(socket, project, *after, snapshot);
  const auto facts = [this](const std::string& id) { return parts_.terminals.facts(thread_, id); };
  const std::string text = api::snapshot_json(snapshot, settings_.addresses, facts);
  finish_joining(*who, project, snapshot.sequence, R"({"ok":true,)" + text.substr(1));
}

void previewd_app::replay(
  uint64_t socket, const std::string& project, uint64_t after, const project_snapshot& snapshot) {
  ask<std::vector<event>>(
    parts_.system, thread_, parts_.events,
    [this, socket, project, after, snapshot](caf::expected<std::vector<event>> missed) {
      // Too old: the snapshot says it all.
      if (!missed) return joined(socket, project, std::nullopt, snapshot);
      client* who = find(socket);
      const auto found = who ? who->projects.find(project) : decltype(who->projects.end()){};
      if (!who || found == who->projects.end() || !found->second.waiting) return;
      uint64_t last = after;
      std::vector<membership::waiting_event> events;
      for (const event& each : *missed) {
        last = std::max(last, each.sequence);
        if (each.key.project != project || !who->may_see(each.key)) continue;
        const std::shared_ptr<const api::encoded_event> encoded =
          api::encode(each, settings_.addresses);
        events.push_back(
          {encoded->sequence, main_.encode_as(encoded->sequence, encoded->name, encoded->json)});
      }
      // What came meanwhile may be among them.
      for (membership::waiting_event& later : found->second.events) {
        if (later.sequence > last) events.push_back(std::move(later));
      }
      const std::size_t replayed = events.size();
      found->second.events = std::move(events);
      const uint64_t sequence =
        found->second.events.empty() ? last : std::max(last, found->second.events.back().sequence);
      finish_joining(*who, project, after,
        R"({"ok":true,"replayed":)" + std::to_string(replayed) + R"(,"sequence":)" +
          std::to_string(sequence) + "}");
      if (client* still = find(socket)) {
        const auto in = still->projects.find(project);
        if (in != still->projects.end()) in->second.seen = std::max(in->second.seen, last);
      }
    },
    replay_atom_v, after);
}

void previewd_app::finish_joining(
  client& who, const std::string& project, uint64_t sequence, const std::string& answer) {
  const auto found = who.projects.find(project);
  if (found == who.projects.end() || !found->second.waiting) return;
  membership& in = found->second;
  in.waiting = false;
  in.seen = sequence;
  for (const reply& each : std::exchange(in.answers, {})) each.encoded(answer);
  for (const membership::waiting_event& each : std::exchange(in.events, {})) {
    if (each.sequence <= in.seen) continue;
    in.seen = each.sequence;
    who.peer.deliver(each.packet);
  }
}

void previewd_app::refuse_joining(
  uint64_t socket, const std::string& project, const caf::error& why) {
  client* who = find(socket);
  const auto found = who ? who->projects.find(project) : decltype(who->projects.end()){};
  if (!who || found == who->projects.end() || !found->second.waiting) return;
  const std::vector<reply> answers = std::move(found->second.answers);
  who->projects.erase(found);
  who->peer.leave(who->room(project));
  for (const reply& each : answers) refuse(each, why);
}

void previewd_app::leave_project(client& from, const json& argument, const reply& answer) {
  const json wrapped = argument.is_string() ? json{{"projectId", argument}} : argument;
  fields read{wrapped};
  const std::string project = read.name("projectId");
  if (!read.ok()) return refuse(answer, read.error());
  const auto found = from.projects.find(project);
  if (found != from.projects.end()) {
    const std::vector<reply> waiting = std::move(found->second.answers);
    from.projects.erase(found);
    from.peer.leave(from.room(project));
    for (const reply& each : waiting)
      refuse(each, make_error(errc::not_found, "The project was left before it was joined."));
  }
  accept(answer);
}

// ---- terminals

void previewd_app::create_terminal(client& from, const json& argument, const reply& answer) {
  fields read{argument};
  terminal_request request;
  request.key.project = read.name("projectId");
  request.key.user = read.name("userId");
  request.size.columns = read.cells("cols", request.size.columns);
  request.size.rows = read.cells("rows", request.size.rows);
  request.cwd = read.text("cwd");
  request.command = read.texts("command");
  request.env = read.text_map("env");
  if (!read.ok()) return refuse(answer, read.error());
  if (const caf::error why = from.objection(auth::role::edit, &request.key))
    return refuse(answer, why);
  if (from.terminals.size() >= settings_.terminals) {
    return refuse(answer, make_error(errc::limit_reached, "A client may be attached to " +
                                                            std::to_string(settings_.terminals) +
                                                            " terminals; detach from one first."));
  }
  ask<terminal_info>(
    parts_.system, thread_, parts_.registry,
    [this, number = from.peer.number(), answer](caf::expected<terminal_info> opened) {
      client* who = find(number);
      if (!who) return;  // nobody is attached to it; it ends after `terminal.detached`
      if (!opened) return refuse(answer, opened.error());
      const std::string& project = opened->key.project;
      if (who->projects.count(project) == 0 && who->projects.size() < settings_.projects) {
        who->peer.join(who->room(project));
        who->projects[project];
      }
      const auto facts = [this](
                           const std::string& id) { return parts_.terminals.facts(thread_, id); };
      answer.encoded(R"({"ok":true,"terminalId":)" + api::quoted(opened->id) + R"(,"terminal":)" +
                     api::terminal_json(*opened, facts) + "}");
      if (attach(*who, opened->id, 0, std::nullopt)) return;
      // It has ended and gone already.
      if (const shared_packet exit = exit_of(opened->id)) who->peer.send(exit);
    },
    open_atom_v, std::move(request));
}

shared_packet previewd_app::exit_of(const std::string& id) const {
  const auto found =
    std::find_if(exits_.begin(), exits_.end(), [&](const auto& each) { return each.first == id; });
  return found == exits_.end() ? shared_packet{} : found->second;
}

bool previewd_app::attach(
  client& who, const std::string& id, uint64_t after, std::optional<reply> answer) {
  auto place = std::make_unique<attached>(*this, who, id);
  place->place = parts_.terminals.attach(thread_, id, after, *place);
  if (!place->place) return false;
  place->exit = exit_of(id);
  std::unique_ptr<attached>& current = who.terminals[id];
  if (current) {
    // Whoever asked for that one is attached by this one as well.
    place->requests = std::move(current->requests);
    if (current->wish) place->resize(*current->wish);
  }
  if (answer) place->requests.push_back({*answer, after});
  current = std::move(place);
  return true;
}

void previewd_app::attach_terminal(client& from, const json& argument, const reply& answer) {
  fields read{argument};
  const std::string id = read.required_text("terminalId");
  const uint64_t after = read.number("after", 0, largest_number).value_or(0);
  if (!read.ok()) return refuse(answer, read.error());
  with_terminal(from, id, answer, [this, id, after, answer](client& who) {
    if (who.terminals.count(id) == 0 && who.terminals.size() >= settings_.terminals)
      return refuse(answer, make_error(errc::limit_reached,
                              "A client may be attached to " + std::to_string(settings_.terminals) +
                                " terminals; detach from one first."));
    if (!attach(who, id, after, answer))
      refuse(answer, make_error(errc::terminal_not_found, "No terminal has the id " + id + "."));
  });
}

/// Goes on if the terminal is one that the client may see; the terminals themselves do not know
/// whose they are. It does so at once for those that the client is attached to. Calls for one
/// terminal go on in the order they came in.
void previewd_app::with_terminal(
  client& from, const std::string& id, const reply& answer, std::function<void(client&)> then) {
  if (joins_waiting(from, id, answer, then)) return;
  if (!from.grant || from.grant->covers_everything() || from.terminals.count(id) != 0)
    return then(from);
  from.waiting[id].push_back({answer, std::move(then)});
  ask<terminal_info>(
    parts_.system, thread_, parts_.registry,
    [this, number = from.peer.number(), id](const caf::expected<terminal_info>& found) {
      client* who = find(number);
      if (!who) return;
      caf::error why;
      if (!found) {
        why = found.error();
      } else if (!who->may_see(found->key)) {
        why = make_error(errc::terminal_not_found, "No terminal has the id " + id + ".");
      }
      const auto calls = std::move(who->waiting.extract(id).mapped());
      for (const client::waiting_call& each : calls) {
        if (why) {
          refuse(each.answer, why);
        } else if (client* still = find(number)) {
          each.then(*still);
        }
      }
    },
    lookup_atom_v, terminal_atom_v, id);
}

/// Whether earlier calls for the terminal wait for whose it is: then this one waits behind them,
/// whoever is attached meanwhile, or is refused.
bool previewd_app::joins_waiting(
  client& from, const std::string& id, const reply& answer, std::function<void(client&)>& then) {
  const auto found = from.waiting.find(id);
  if (found == from.waiting.end()) return false;
  if (found->second.size() < settings_.waiting_calls) {
    found->second.push_back({answer, std::move(then)});
  } else {
    refuse(answer,
      make_error(errc::limit_reached, std::to_string(settings_.waiting_calls) +
                                        " calls for the terminal wait already; send more when the "
                                        "first one is answered."));
  }
  return true;
}

void previewd_app::detach_terminal(client& from, const json& argument, const reply& answer) {
  const json wrapped = argument.is_string() ? json{{"terminalId", argument}} : argument;
  fields read{wrapped};
  const std::string id = read.required_text("terminalId");
  if (!read.ok()) return refuse(answer, read.error());
  std::function<void(client&)> detach = [id, answer](client& who) {
    const auto found = who.terminals.find(id);
    if (found != who.terminals.end()) {
      for (const attached::request& each : found->second->requests)
        refuse(each.answer,
          make_error(errc::not_found, "The terminal was detached before it was attached."));
      who.terminals.erase(found);
    }
    accept(answer);
  };
  // Not before an `attachTerminal` that waits.
  if (!joins_waiting(from, id, answer, detach)) detach(from);
}

void previewd_app::terminal_input(client& from, const json& argument, const reply& answer) {
  fields read{argument};
  const std::string id = read.required_text("terminalId");
  std::string bytes;
  if (const json* data = read.find("data"); data && data->is_string()) {
    bytes = data->get<std::string>();
  } else if (data && data->is_binary()) {
    bytes.assign(data->get_binary().begin(), data->get_binary().end());
  } else {
    read.refuse("data", data ? "must be a string or binary" : "is missing");
  }
  if (!read.ok()) return refuse(answer, read.error());
  if (const caf::error why = from.objection(auth::role::edit)) return refuse(answer, why);
  with_terminal(from, id, answer, [this, id, answer, bytes = std::move(bytes)](client&) mutable {
    parts_.terminals.input(
      thread_, id, std::move(bytes), [answer](const caf::error& why) { settle(answer, why); });
  });
}

void previewd_app::resize_terminal(client& from, const json& argument, const reply& answer) {
  fields read{argument};
  const std::string id = read.required_text("terminalId");
  terminal_size size;
  size.columns = read.cells("cols", std::nullopt);
  size.rows = read.cells("rows", std::nullopt);
  if (!read.ok()) return refuse(answer, read.error());
  if (const caf::error why = from.objection(auth::role::edit)) return refuse(answer, why);
  with_terminal(from, id, answer, [this, id, size, answer](client& who) {
    const auto found = who.terminals.find(id);
    if (found != who.terminals.end()) {
      found->second->resize(size);
      accept(answer);
      return;
    }
    parts_.terminals.resize(
      thread_, id, size, [answer](const caf::error& why) { settle(answer, why); });
  });
}

void previewd_app::terminal_ack(client& from, const json& argument, const reply& answer) {
  fields read{argument};
  const std::string id = read.required_text("terminalId");
  const std::optional<uint64_t> sequence = read.number("sequence", 0, largest_number);
  if (!sequence) read.refuse("sequence", "is missing");
  if (!read.ok()) return refuse(answer, read.error());
  const auto found = from.terminals.find(id);
  if (found == from.terminals.end()) {
    return refuse(answer, make_error(errc::terminal_not_found,
                            "This client is not attached to the terminal " + id + "."));
  }
  // Who only looks does not hold up those who work.
  if (!from.objection(auth::role::edit)) found->second->place->acknowledge(*sequence);
  accept(answer);
}

void previewd_app::close_terminal(client& from, const json& argument, const reply& answer) {
  const json wrapped = argument.is_string() ? json{{"terminalId", argument}} : argument;
  fields read{wrapped};
  const std::string id = read.required_text("terminalId");
  if (!read.ok()) return refuse(answer, read.error());
  if (const caf::error why = from.objection(auth::role::edit)) return refuse(answer, why);
  with_terminal(from, id, answer, [this, id, answer](client&) {
    ask<terminal_info>(
      parts_.system, thread_, parts_.registry,
      [answer](caf::expected<terminal_info> closed) {
        settle(answer, closed ? caf::error{} : closed.error());
      },
      close_atom_v, id);
  });
}

}  // namespace previewd::net::socketio
