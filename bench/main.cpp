#include <sys/resource.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <csignal>
#include <iomanip>
#include <iostream>
#include <nlohmann/json.hpp>
#include <sstream>
#include <string>

#include "events.hpp"
#include "load.hpp"
#include "terminal.hpp"
#include "upstream.hpp"

namespace {

using namespace previewd::bench;

constexpr double mebibyte = 1 << 20;

/// What is asked for on the command line.
struct request {
  load_settings load;
  double seconds = 3;
  double patience = 30;
  bool websocket = false;
  bool idle = false;
  bool json = false;
  bool with_children = false;
};

double rate_of(uint64_t count, const load_result& result) {
  return result.seconds > 0 ? static_cast<double>(count) / result.seconds : 0;
}

double milliseconds(uint32_t microseconds) {
  return microseconds / 1000.0;
}

std::string text_of(load_kind kind, const load_result& result) {
  std::ostringstream out;
  out << std::fixed << std::setprecision(0);
  switch (kind) {
    case load_kind::idle:
      out << result.completed << " tunnels open";
      break;
    case load_kind::stop:
      out << std::setprecision(1) << result.completed << " tunnels closed: half of them within "
          << milliseconds(result.p50) << " ms, all within " << milliseconds(result.max) << " ms";
      break;
    default:
      out << rate_of(result.completed, result) << " a second (" << result.completed << "), p50 "
          << result.p50 << " us, p99 " << result.p99 << " us";
  }
  if (kind == load_kind::download || kind == load_kind::upload)
    out << ", " << rate_of(result.bytes, result) / mebibyte << " MiB/s";
  out << "; " << result.failed << " failed\n";
  if (!result.first_error.empty()) out << "first failure: " << result.first_error << '\n';
  if (result.processor_seconds) {
    const double all = *result.processor_seconds;
    out << std::setprecision(2) << "observed process: " << all << " s of processor time";
    if (kind == load_kind::download || kind == load_kind::upload) {
      if (result.bytes != 0)
        out << ", " << all / (static_cast<double>(result.bytes) / mebibyte / 1024) << " s per GiB";
    } else if (result.completed != 0) {
      out << ", " << std::setprecision(1) << all * 1e6 / static_cast<double>(result.completed)
          << " us each";
    }
    out << '\n';
  }
  if (result.bytes_before && result.bytes_with) {
    out << std::setprecision(1)
        << "its memory: " << static_cast<double>(*result.bytes_before) / mebibyte << " MiB before, "
        << static_cast<double>(*result.bytes_with) / mebibyte << " MiB with the clients";
    if (kind == load_kind::idle && result.completed != 0)
      out << ", "
          << (static_cast<double>(*result.bytes_with) - static_cast<double>(*result.bytes_before)) /
               1024 / static_cast<double>(result.completed)
          << " KiB a tunnel";
    out << '\n';
  }
  return out.str();
}

std::string json_of(const load_result& result) {
  nlohmann::ordered_json object{{"completed", result.completed}, {"total", result.total},
    {"failed", result.failed}, {"seconds", result.seconds},
    {"rate", rate_of(result.completed, result)}, {"bytes", result.bytes}, {"p50", result.p50},
    {"p99", result.p99}, {"max", result.max}, {"firstError", result.first_error}};
  if (result.processor_seconds) object["processorSeconds"] = *result.processor_seconds;
  if (result.bytes_before) object["memoryBefore"] = *result.bytes_before;
  if (result.bytes_with) object["memoryWith"] = *result.bytes_with;
  return object.dump() + '\n';
}

void show(const load_progress& progress) {
  constexpr int width = 40;
  const int filled = static_cast<int>(std::clamp(progress.done, 0.0, 1.0) * width);
  std::cerr << "\r[" << std::string(static_cast<std::size_t>(filled), '#')
            << std::string(static_cast<std::size_t>(width - filled), '.') << "] "
            << progress.completed << " done, " << progress.failed << " failed " << std::flush;
}

void raise_descriptor_limit() {
  rlimit limit{};
  if (::getrlimit(RLIMIT_NOFILE, &limit) != 0) return;
  limit.rlim_cur = limit.rlim_max;
  // What it is then not enough for shows as failed connections.
  ::setrlimit(RLIMIT_NOFILE, &limit);
}

int run(request& asked) {
  load_settings& load = asked.load;
  const auto milli = [](double seconds) {
    return std::chrono::milliseconds{static_cast<int64_t>(seconds * 1000)};
  };
  load.duration = milli(asked.seconds);
  load.patience = milli(asked.patience);
  if (asked.with_children) load.observed.how_far = observed_process::extent::with_descendants;
  // A script gets its object and nothing else.
  const bool shows = ::isatty(STDERR_FILENO) == 1;
  const load_result result =
    run_load(load, shows ? show : std::function<void(const load_progress&)>{});
  if (shows) std::cerr << "\r\x1b[K" << std::flush;
  std::cout << (asked.json ? json_of(result) : text_of(load.kind, result)) << std::flush;
  return result.completed > 0 && result.failed == 0 ? 0 : 1;
}

}  // namespace

/// Load for proxies, and the server behind them: `previewd-bench http --port 4000`, `previewd-bench
/// upstream`; for terminals and for events. Exit code 0: all went well; 1: nothing was completed,
/// or something failed.
int main(int argument_count, char** arguments) {
  std::signal(SIGPIPE, SIG_IGN);
  raise_descriptor_limit();
  CLI::App app{
    "Load for proxies and terminals on the loopback interface. Exits with 1 if anything failed."};
  app.require_subcommand(1);
  upstream_settings upstream;
  CLI::App* serve = app.add_subcommand("upstream",
    "the server behind the proxies: pages, /bytes/N, uploads, WebSocket echo; until it is ended");
  serve->add_option("--port", upstream.port, "0: any free one");
  serve->add_option("--body", upstream.body_bytes, "bytes of a page, 64 to 1 MiB")
    ->check(CLI::Range(64, 1 << 20));

  request asked;
  load_settings& load = asked.load;
  auto add_load = [&](const char* name, const char* meaning, bool timed) {
    CLI::App* command = app.add_subcommand(name, meaning);
    command->add_option("--port", load.port, "of the target on 127.0.0.1")
      ->required()
      ->check(CLI::Range(1, 65535));
    command->add_option("--host", load.host, "the Host field (127.0.0.1:PORT)");
    if (timed)
      command->add_option("--seconds", asked.seconds, "how long, 0.1 to 300 (3)")
        ->check(CLI::Range(0.1, 300.0));
    command->add_option(
      "--pid", load.observed.root, "a process whose processor time and memory are reported");
    command->add_flag("--children", asked.with_children, "its descendants count as well");
    command->add_flag("--json", asked.json, "one JSON object instead of text");
    return command;
  };
  const auto add_clients = [&](CLI::App* command, const char* name, const char* meaning) {
    command->add_option(name, load.clients, meaning)->check(CLI::Range(1, 20000));
  };
  const auto add_path = [&](CLI::App* command) {
    command->add_option("--path", load.path, "the request target (/)");
  };
  const auto add_patience = [&](CLI::App* command) {
    command
      ->add_option(
        "--patience", asked.patience, "seconds for all tunnels to open, or to close, 1 to 300 (30)")
      ->check(CLI::Range(1.0, 300.0));
  };
  uint64_t& size = load.bytes;
  const auto add_size = [&](CLI::App* command) {
    command->add_option("--bytes", size, "of one body, 1 to 1 GiB (64 MiB)")
      ->check(CLI::Range(uint64_t{1}, uint64_t{1} << 30));
  };

  CLI::App* http = add_load("http", "one request after the other on kept connections", true);
  add_clients(http, "--clients", "at once, 1 to 20000 (32)");
  add_path(http);
  CLI::App* download =
    add_load("download", "long answers (of `previewd-bench upstream`), one after the other", true);
  add_clients(download, "--clients", "at once, 1 to 20000 (2)");
  add_size(download);
  CLI::App* upload = add_load("upload", "long request bodies, one after the other", true);
  add_clients(upload, "--clients", "at once, 1 to 20000 (2)");
  add_size(upload);
  add_path(upload);
  CLI::App* churn = add_load("churn", "a new connection for each request, or each WebSocket", true);
  add_clients(churn, "--clients", "at once, 1 to 20000 (32)");
  add_path(churn);
  churn->add_flag("--websocket", asked.websocket, "open, one message there and back, close");
  CLI::App* tunnels =
    add_load("tunnels", "WebSockets that stay open: echo, or with --idle nothing", true);
  add_clients(tunnels, "--tunnels", "at once, 1 to 20000 (200)");
  tunnels->add_flag("--idle", asked.idle, "say nothing: with --pid, what a tunnel takes of memory");
  tunnels->add_option("--size", load.message_bytes, "bytes of a message, 1 to 4096 (128)")
    ->check(CLI::Range(1, 4096));
  add_path(tunnels);
  add_patience(tunnels);
  CLI::App* stop = add_load(
    "stop", "opens WebSockets, kills the server behind the proxy, and times their ends", false);
  add_clients(stop, "--tunnels", "at once, 1 to 20000 (200)");
  stop->add_option("--kill", load.victim, "the server's process, ended by SIGKILL")
    ->required()
    ->check(CLI::Range(2, 1 << 22));
  add_path(stop);
  add_patience(stop);

  const auto run_terminal = add_terminal_command(app);
  const auto run_events = add_events_command(app);
  try {
    app.parse(argument_count, arguments);
  } catch (const CLI::ParseError& error) {
    return app.exit(error);
  }
  if (serve->parsed()) return run_upstream(upstream);
  if (app.got_subcommand("terminal")) return run_terminal();
  if (app.got_subcommand("events")) return run_events();

  const bool given = [&] {
    for (const char* name : {"--clients", "--tunnels"})
      for (const CLI::App* command : app.get_subcommands())
        if (const CLI::Option* option = command->get_option_no_throw(name);
            option != nullptr && option->count() != 0)
          return true;
    return false;
  }();
  if (download->parsed()) {
    load.kind = load_kind::download;
    load.path = "/bytes/" + std::to_string(load.bytes);
  } else if (upload->parsed()) {
    load.kind = load_kind::upload;
  } else if (churn->parsed()) {
    load.kind = asked.websocket ? load_kind::websocket_churn : load_kind::churn;
  } else if (tunnels->parsed()) {
    load.kind = asked.idle ? load_kind::idle : load_kind::echo;
  } else if (stop->parsed()) {
    load.kind = load_kind::stop;
  }
  if (!given && (download->parsed() || upload->parsed())) load.clients = 2;
  if (!given && (tunnels->parsed() || stop->parsed())) load.clients = 200;
  return run(asked);
}
