#include "previewd/actors/terminal.hpp"

#include <caf/actor_cast.hpp>
#include <caf/send.hpp>
#include <caf/typed_event_based_actor.hpp>
#include <string_view>
#include <utility>

#include "previewd/actors/detector.hpp"
#include "previewd/messages/data_plane.hpp"
#include "previewd/messages/error.hpp"
#include "previewd/messages/monitor.hpp"
#include "previewd/support/log.hpp"

namespace previewd::actors {

namespace {

std::string_view name_of(std::string_view variable) {
  return variable.substr(0, variable.find('='));
}

/// Later settings of a variable win.
void set(std::vector<std::string>& env, std::string_view name, std::string_view value) {
  std::erase_if(env, [&](const std::string& variable) { return name_of(variable) == name; });
  env.push_back(std::string{name} + "=" + std::string{value});
}

/// The account that a pattern means for a workspace.
std::string account_of(std::string pattern, const workspace_key& key) {
  const auto fill_in = [&](std::string_view placeholder, const std::string& value) {
    for (std::size_t at = 0; (at = pattern.find(placeholder, at)) != std::string::npos;
         at += value.size())
      pattern.replace(at, placeholder.size(), value);
  };
  // No project is called "{user}": there are no braces in their names.
  fill_in(run_as_settings::project_placeholder, key.project);
  fill_in(run_as_settings::user_placeholder, key.user);
  return pattern;
}

/// Whether su(1) would keep a variable for another user who logs in.
bool concerns_everybody(std::string_view variable) {
  const std::string_view name = name_of(variable);
  return name == "PATH" || name == "LANG" || name == "LANGUAGE" || name == "TZ" ||
         name.starts_with("LC_");
}

}  // namespace

terminal_spec spec_of(const terminal_order& order, const terminal_settings& settings) {
  const terminal_request& request = order.request;
  terminal_spec spec;
  spec.id = order.id;
  spec.key = request.key;
  spec.size = request.size;
  spec.no_new_privileges = settings.run_as.no_new_privileges;
  spec.env = settings.base_env;
  if (!settings.run_as.account.empty()) {
    spec.account = account_of(settings.run_as.account, request.key);
    if (settings.run_as.depends_on_workspace()) spec.least_uid = run_as_settings::least_user;
    std::erase_if(
      spec.env, [](const std::string& variable) { return !concerns_everybody(variable); });
  }
  const std::string home = spec.account.empty() ? settings.home : std::string{};
  spec.cwd = request.cwd.empty() ? home : request.cwd;
  spec.login_shell = request.command.empty();
  spec.argv = request.command.empty() ? std::vector{settings.shell} : request.command;
  spec.scrollback_bytes = settings.scrollback_bytes;
  set(spec.env, "SHELL", settings.shell);
  set(spec.env, "TERM", "xterm-256color");
  set(spec.env, "COLORTERM", "truecolor");
  set(spec.env, "__VITE_ADDITIONAL_SERVER_ALLOWED_HOSTS", "." + settings.preview_domain);
  for (const auto& [name, value] : request.env) set(spec.env, name, value);
  // Last, so that nobody can pass for another terminal.
  set(spec.env, "PREVIEWD_TERMINAL", order.id);
  set(spec.env, "PREVIEWD_PROJECT", request.key.project);
  set(spec.env, "PREVIEWD_USER", request.key.user);
  set(spec.env, "PREVIEWD_BASE", preview_path(request.key) + "/");
  set(spec.env, "PREVIEWD_ORIGIN",
    settings.origin_of ? settings.origin_of(order.label) : std::string{});
  return spec;
}

terminal_actor::behavior_type terminal(terminal_actor::stateful_pointer<terminal_actor_state> self,
  terminal_order order, terminal_settings settings, detection_settings detection,
  registry_actor registry, actor_ports ports) {
  hold_ports(self, ports);
  const auto me = caf::actor_cast<terminal_actor>(self);
  terminal_actor_state& start = self->state;
  start.id = order.id;
  start.key = order.request.key;
  start.on_exit = settings.on_exit;
  start.ladder = settings.ladder;
  start.registry = registry;
  start.ports = ports;
  start.detector =
    self->spawn<caf::monitored>(detector, order.id, order.request.key, detection, registry, ports);
  monitor_while_alive(self, registry);
  self->set_down_handler([self](caf::down_msg& down) {
    // Without its registry or its detector a terminal's servers would stay for ever.
    self->quit(down.reason ? down.reason : caf::error{caf::exit_reason::unhandled_exception});
  });
  // Runs whatever ends the actor.
  self->attach_functor([id = order.id, ports, detector = start.detector](const caf::error&) {
    ports.kernel->untrack(id);
    ports.io->finish_terminal(id);
    caf::anon_send_exit(detector, caf::exit_reason::user_shutdown);
  });
  ports.io->open_terminal(spec_of(order, settings), me, start.detector);

  const auto end_processes = [self] {
    terminal_actor_state& st = self->state;
    if (st.pid == 0 || std::exchange(st.ending, true)) return;
    st.ports.kernel->end_processes(st.id, st.pid, st.ladder, caf::actor_cast<terminal_actor>(self));
  };
  const auto finish_if_over = [self] {
    const terminal_actor_state& st = self->state;
    if (!st.ended || !st.drained) return;
    self->send(st.registry, ended_atom_v, st.id);
    self->demonitor(caf::actor_cast<caf::actor_addr>(self->state.detector));
    self->quit();
  };
  return {
    [=](opened_atom, int32_t pid, std::string& cwd) {
      terminal_actor_state& st = self->state;
      st.pid = pid;
      st.ports.kernel->track(st.id, pid, caf::actor_cast<terminal_actor>(self), st.detector);
      self->send(st.registry, opened_atom_v, st.id, pid, std::move(cwd));
      if (st.close_wanted) end_processes();
    },
    [self](failed_atom, caf::error& why) {
      const terminal_actor_state& st = self->state;
      self->send(st.registry, failed_atom_v, st.id, std::move(why));
      self->demonitor(caf::actor_cast<caf::actor_addr>(st.detector));
      self->quit();
    },
    [=](exited_atom, exit_status& status) {
      terminal_actor_state& st = self->state;
      if (std::exchange(st.exited, true)) return;
      st.exit = std::move(status);
      st.ports.io->finish_terminal(st.id);
      // The registry lets servers go, or keeps them, as soon as it hears of it; what else runs here
      // follows the setting.
      if (st.on_exit == on_terminal_exit::kill) end_processes();
    },
    [=](drained_atom) {
      terminal_actor_state& st = self->state;
      if (std::exchange(st.drained, true)) return;
      // Clients have got all output by now, so that the exit is the last thing they hear.
      self->send(st.registry, exited_atom_v, st.id, st.exit);
      if (st.on_exit == on_terminal_exit::keep && !st.ending) st.ended = true;
      finish_if_over();
    },
    [self](foreground_atom, int32_t group) {
      const terminal_actor_state& st = self->state;
      self->send(st.detector, foreground_atom_v, group, st.pid);
      self->send(st.registry, foreground_atom_v, st.id, group, st.pid);
    },
    [self](detached_atom) {
      const terminal_actor_state& st = self->state;
      if (st.close_wanted || st.exited) return;
      log::info("terminal_detached", "Closing a terminal that nobody is attached to",
        {{"key", server_key(st.key)}, {"terminal", st.id}});
      // As if somebody asked for it: its servers go first. Nobody waits for the answer.
      caf::anon_send(st.registry, close_atom_v, st.id);
    },
    [=](close_atom) {
      self->state.close_wanted = true;
      end_processes();
    },
    [=](ended_atom) {
      terminal_actor_state& st = self->state;
      st.ended = true;
      // The shell has ended with the rest: usually that is known by now, but nothing may hang on
      // it.
      st.ports.io->finish_terminal(st.id);
      finish_if_over();
    },
  };
}

}  // namespace previewd::actors
