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

// Of what a client sends with an order, as the HTTP API takes at most; and of what is shown of it.
constexpr std::size_t most_request_bytes = 64 * 1024;
constexpr std::size_t most_variables = 1024;
constexpr std::size_t most_shown = 1024;
constexpr uint16_t largest_terminal_side = 1000;

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

/// Whether another workspace would get the same account though the pattern tells them apart: `a-b`
/// and `c` make of `{project}-{user}` what `a` and `b-c` do.
bool shares_its_account(std::string_view pattern, const workspace_key& key) {
  const std::size_t project = pattern.find(run_as_settings::project_placeholder);
  const std::size_t user = pattern.find(run_as_settings::user_placeholder);
  if (project == std::string_view::npos || user == std::string_view::npos) return false;
  const bool project_first = project < user;
  const std::size_t first = project_first ? project : user;
  const std::size_t begin = pattern.find('}', first) + 1;
  const std::string_view between = pattern.substr(begin, (project_first ? user : project) - begin);
  const std::string joined = (project_first ? key.project : key.user) + std::string{between} +
                             (project_first ? key.user : key.project);
  return between.empty() || joined.find(between) != joined.rfind(between);
}

std::size_t bytes_of(const terminal_request& request) {
  std::size_t sum = 0;
  for (const std::string& argument : request.command) sum += argument.size();
  for (const auto& [name, value] : request.env) sum += name.size() + value.size();
  return sum;
}

/// Whether su(1) would keep a variable for another user who logs in.
bool concerns_everybody(std::string_view variable) {
  const std::string_view name = name_of(variable);
  return name == "PATH" || name == "LANG" || name == "LANGUAGE" || name == "TZ" ||
         name.starts_with("LC_");
}

}  // namespace

caf::error check(const terminal_request& request, const terminal_settings& settings) {
  if (!valid(request.key))
    return make_error(errc::invalid_name,
      "A project and a user have 1 to 64 characters of A-Z a-z 0-9 . _ ~ @ + -.");
  const auto fits = [](uint16_t side) { return side >= 1 && side <= largest_terminal_side; };
  if (!fits(request.size.columns))
    return make_error(errc::invalid_field, "cols must be 1 to 1000.");
  if (!fits(request.size.rows)) return make_error(errc::invalid_field, "rows must be 1 to 1000.");
  if (!request.cwd.empty() && request.cwd.front() != '/')
    return make_error(errc::invalid_field, "cwd must be an absolute path.");
  if (request.env.size() > most_variables)
    return make_error(errc::invalid_field, "env has more than 1024 variables.");
  if (bytes_of(request) > most_request_bytes)
    return make_error(errc::invalid_field, "command and env have more than 64 KiB together.");
  if (shares_its_account(settings.run_as.account, request.key))
    return make_error(errc::invalid_name,
      "The account that terminal.run_as means for this workspace is that of another one, too.");
  return {};
}

std::string command_line(const std::vector<std::string>& command) {
  std::string line;
  for (const std::string& argument : command) {
    if (!line.empty()) line += ' ';
    line += argument;
    if (line.size() <= most_shown) continue;
    std::size_t end = most_shown;
    // No character is cut (RFC 3629, section 3).
    while (end > 0 && (static_cast<unsigned char>(line[end]) & 0xc0U) == 0x80U) --end;
    line.resize(end);
    break;
  }
  return line;
}

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
