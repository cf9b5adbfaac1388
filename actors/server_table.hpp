#pragma once

#include <caf/optional.hpp>
#include <cstdint>
#include <deque>
#include <list>
#include <map>
#include <optional>
#include <unordered_map>
#include <utility>
#include <vector>

#include "previewd/messages/registry.hpp"
#include "previewd/messages/route.hpp"
#include "previewd/messages/server.hpp"
#include "previewd/messages/store.hpp"

namespace previewd::actors {

/// One registered server, as the registry keeps it.
struct server_entry {
  server_description description;
  server_info info;
  preview_server_actor actor;
  /// Clients have been told that it started.
  bool announced = false;
  /// It has been restarting for longer than a restart that nobody needs to be told of.
  bool grace_over = false;
  /// It was there before the process, and has not taken a connection since.
  bool restoring = false;
  /// It, or one that it has replaced, has answered with a page.
  bool showed_page = false;
  /// A primary with pages has ended beside this one, which has none: it takes its place neither
  /// then nor later.
  bool passed_over = false;
  /// A sentence about the present state for the user; may be empty.
  std::string hint;
  /// Clients have been told that it is unreachable, and why.
  caf::optional<unreachable_reason> told_unreachable;
  /// It is being removed, and why: the first cause is kept, later ones change nothing.
  caf::optional<stop_cause> removal;
};

/// What the registry knows of the servers of all workspaces, without any actor: generations, ranks,
/// labels and routes.
///
/// Not thread-safe; owned by the registry actor.
class server_table {
public:
  /// `first_generation` is above any that was ever given on this machine: a clock reading, for
  /// example. At most `remembered` stop records, and as many workspaces without servers, are kept.
  /// `access`: who sees a server of which nobody has said it.
  explicit server_table(uint64_t first_generation, std::size_t remembered = 1024,
    preview_access access = preview_access::members);

  /// The entry of this very registration; null when it is not registered any more, or never was.
  server_entry* find(const server_ref& ref);
  server_entry* find(uint64_t generation);

  /// The live registration that `description` replaces: of the same terminal and on the same port;
  /// or restarting, and of the same job and the same process or command on another port; or both
  /// in no terminal, named by hand or with known sockets, and it restarts at the same endpoint.
  /// Null: it replaces nothing.
  server_entry* replaced_by(const server_description& description);

  /// Whether a server of another workspace holds this endpoint.
  bool taken_by_another(const server_description& description) const;

  /// The registration of the same sockets, also if all of them are gone by now; for a description
  /// without sockets, the live one of the same endpoint in its workspace, and for one that was
  /// named by hand the live one there of which no sockets are known. Null when there is none.
  server_entry* same_listener(const server_description& description);

  /// Whether it describes nothing but sockets of servers that have ended or are being removed:
  /// old news. Inodes of the
  /// newest `remembered` ones are known.
  bool names_ended_listeners(const server_description& description) const;

  /// Registers a server under a new generation. `previous`: the generation it replaces, 0 for none.
  server_entry& add(server_description description, uint64_t previous, wall_time now);

  /// Registers a server again under the generation that it had, which is lower than any that is
  /// given from now on. It has no terminal, and has to answer once before it is ready. What has
  /// been said of its workspace must have been recalled.
  server_entry& restore(const stored_server& what);

  /// Makes a workspace known, with what has been said of it. It has no servers yet.
  void recall(const stored_workspace& what);

  /// What has been said of a workspace; plain if it is not known.
  stored_workspace said_of(const workspace_key& key) const;

  /// The workspaces that were forgotten since the last call, of which something had been said.
  std::vector<workspace_key> take_forgotten() { return std::exchange(forgotten_, {}); }

  /// The highest generation that was given, or the one before the first.
  uint64_t highest_generation() const noexcept { return next_generation_ - 1; }

  /// Takes an entry out. The reference must be registered.
  server_entry take(const server_ref& ref);

  /// Keeps a record of a removal, for its workspace and for questions by generation.
  void remember(const stop_record& record);
  /// The same for one that a new generation replaced: it answers by its generation, but is no stop
  /// of the workspace.
  void remember_superseded(const stop_record& record);
  const stop_record* record_of(uint64_t generation) const;
  const stop_record* last_stop(const workspace_key& key) const;

  /// Prefers whatever listens on this server's port as the primary of its workspace, until another
  /// is preferred.
  void prefer(const server_entry& entry);

  /// Says who sees this server, and whoever listens on its port later. Of a workspace the newest 64
  /// ports are remembered.
  void share(server_entry& entry, preview_access access);

  /// The server takes the place of one that was seen by these. What was said of its own port may
  /// be less, and counts then.
  void keep_access(server_entry& entry, preview_access before);

  /// Chooses the primary anew: the preferred one if it is there; a restarting one stays; a server
  /// that answers with a page goes before one that does not; else the present one stays; else one
  /// that is there before one that restarts, page, printed before unprinted, chosen port before
  /// ephemeral one, then the older. One for WebSockets alone is chosen only when it is preferred;
  /// so is one without a page that has answered when a primary with pages ended. Returns the new
  /// primary when it changed.
  server_entry* choose_primary(const workspace_key& key);

  /// Makes the workspace known, so that its origin has a name, and returns its label.
  const std::string& know(const workspace_key& key);

  /// The routes of a workspace under the next revision, as the I/O threads are to have them.
  workspace_routes next_routes(const workspace_key& key);

  /// The servers of a workspace, the primary first; those being removed are shown as restarting.
  std::vector<server_info> servers_of(const workspace_key& key) const;
  std::vector<server_info> list(const workspace_filter& filter) const;

  /// All registered generations, in order.
  std::vector<server_ref> all() const;
  std::vector<server_ref> of_terminal(const std::string& terminal_id) const;
  std::size_t size() const noexcept { return servers_.size(); }

  /// Calls `visit` for every entry.
  template <class Visit> void for_each(Visit visit) {
    for (auto& [generation, entry] : servers_) visit(entry);
  }

private:
  using idle_workspaces = std::list<workspace_key>;

  struct workspace {
    std::string label;
    std::optional<idle_workspaces::iterator> idle;  // its place among those without servers
    std::vector<uint64_t> generations;
    caf::optional<stop_record> last_stop;
    uint16_t preferred_port = 0;  // of the primary that was chosen by hand; 0: none was
    std::deque<std::pair<uint16_t, preview_access>> said_access;  // by port; the oldest first
  };

  workspace& workspace_of(const workspace_key& key);
  server_entry& insert(uint64_t generation, server_description description);
  void forget_idle_workspaces();

  uint64_t next_generation_;
  uint64_t revision_ =
    0;  // one counter for all workspaces, so that one that was forgotten does not begin anew
  std::size_t remembered_;
  preview_access access_;
  std::map<uint64_t, server_entry> servers_;
  std::unordered_map<workspace_key, workspace> workspaces_;
  std::unordered_map<std::string, workspace_key> labels_;
  std::map<uint64_t, stop_record> records_;
  std::deque<uint64_t> ended_inodes_;  // the oldest first
  idle_workspaces idle_;               // workspaces whose last server went, the oldest first
  std::vector<workspace_key> forgotten_;
};

}  // namespace previewd::actors
