#pragma once

#include <string>
#include <utility>

#include "previewd/actors/registry.hpp"
#include "previewd/tests/actors/fakes.hpp"
#include "previewd/tests/support/deterministic_system.hpp"

namespace previewd::test {

constexpr int32_t job = 4321;  // the process group of the dev server in most tests

/// A registry with its event bus over a fake kernel and fake I/O threads, in virtual time.
struct world {
  static actors::registry_settings default_settings() {
    actors::registry_settings settings;
    settings.first_number = 100;
    return settings;
  }

  explicit world(actors::registry_settings settings = default_settings()) {
    settings.now = [this] { return clock; };
    settings.new_terminal_id = [this] { return "terminal-" + std::to_string(++terminals_opened); };
    registry = deterministic.system().spawn(actors::registry, std::move(settings), ports());
    deterministic.run();
    quiet_actors = deterministic.running_actors();
  }

  ~world() {
    caf::anon_send_exit(registry, caf::exit_reason::user_shutdown);
    deterministic.run();
    io.clear();
    kernel.clear();
    // Timers hold their actors until they fire.
    deterministic.advance(std::chrono::hours{2}, std::chrono::minutes{10});
  }

  world(const world&) = delete;
  world& operator=(const world&) = delete;

  actors::actor_ports ports() { return {&io, &kernel, {}}; }

  void run() { deterministic.run(); }
  void advance(std::chrono::milliseconds time) { deterministic.advance(time); }

  server_info info_of(const server_ref& ref) {
    return *deterministic.ask<server_info>(registry, lookup_atom_v, server_atom_v, ref.generation);
  }

  terminal_info open_terminal(workspace_key key = {"shop", "ann"}) {
    terminal_request request;
    request.key = std::move(key);
    return *deterministic.ask<terminal_info>(registry, open_atom_v, request);
  }

  /// A dev server that answers with a page, in the foreground job of a terminal.
  server_description
  dev_server(const terminal_info& terminal, uint16_t port = 5173, uint64_t inode = 1) {
    server_description what;
    what.key = terminal.key;
    what.terminal_id = terminal.id;
    what.upstream = {"127.0.0.1", port, scheme::http};
    what.type = "vite";
    what.pid = job + 1;
    what.job_leader = job;
    what.listeners = {{inode, port, false}};
    what.answers = true;
    what.serves_page = true;
    what.foreground = true;
    return what;
  }

  /// Registers it, with its socket in the kernel's table.
  server_ref add(const server_description& what) {
    for (const listener_id& id : what.listeners) kernel.listening.insert(id.inode);
    return *deterministic.ask<server_ref>(registry, add_atom_v, what);
  }

  /// The terminal's foreground process group changes.
  void foreground(const terminal_info& terminal, int32_t group) {
    caf::anon_send(io.terminals.at(terminal.id).actor, foreground_atom_v, group);
    run();
  }

  workspace_status status(const workspace_key& key = {"shop", "ann"}) {
    return *deterministic.ask<workspace_status>(registry, status_atom_v, key, caf::timespan{0});
  }

  const stop_record& last_stop() const { return *io.last(event_kind::server_stopped)->stop; }

  fake_data_plane io;
  fake_kernel_watch kernel;
  deterministic_system deterministic;
  registry_actor registry;
  std::size_t quiet_actors = 0;
  int terminals_opened = 0;
  wall_time clock{std::chrono::hours{24}};  // the wall clock
};

}  // namespace previewd::test
