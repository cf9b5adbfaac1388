#include <CLI/CLI.hpp>
#include <csignal>
#include <iomanip>
#include <iostream>
#include <nlohmann/json.hpp>

#include "load.hpp"
#include "terminal.hpp"
#include "upstream.hpp"

namespace {

using namespace previewd::bench;

double rate_of(const load_result& result) {
  return static_cast<double>(result.completed) / result.seconds;
}

void print_text(const load_result& result) {
  std::cout << std::fixed << std::setprecision(0) << rate_of(result) << " a second ("
            << result.completed << " done, " << result.failed << " failed), p50 " << result.p50
            << " us, p99 " << result.p99 << " us\n";
  if (!result.first_error.empty()) std::cout << "first failure: " << result.first_error << '\n';
}

void print_json(const load_result& result) {
  const nlohmann::ordered_json object{{"completed", result.completed}, {"total", result.total},
    {"failed", result.failed}, {"seconds", result.seconds}, {"rate", rate_of(result)},
    {"p50", result.p50}, {"p99", result.p99}, {"bytes", result.bytes},
    {"firstError", result.first_error}};
  std::cout << object.dump() << '\n';
}

}  // namespace

/// Load for proxies, and the server behind them: `previewd-bench http --port 4000`, `previewd-bench
/// upstream`. And for terminals.
int main(int argument_count, char** arguments) {
  std::signal(SIGPIPE, SIG_IGN);
  CLI::App app{"Load for proxies and terminals on the loopback interface"};
  app.require_subcommand(1);
  upstream_settings upstream;
  CLI::App* serve = app.add_subcommand("upstream", "the server behind the proxies");
  serve->add_option("--port", upstream.port, "0: any free one");
  serve->add_option("--body", upstream.body_bytes, "bytes of a page")
    ->check(CLI::Range(64, 1 << 20));

  load_settings load;
  double seconds = 3;
  bool json = false;
  auto add_load = [&](const char* name, const char* meaning) {
    CLI::App* command = app.add_subcommand(name, meaning);
    command->add_option("--port", load.port, "of the target")->required();
    command->add_option("--host", load.host, "the Host field");
    command->add_option("--path", load.path, "the request target");
    command->add_option("--clients", load.clients, "at once")->check(CLI::Range(1, 1000));
    command->add_option("--seconds", seconds, "how long")->check(CLI::Range(0.1, 60.0));
    command->add_flag("--json", json, "one JSON object instead of text");
    return command;
  };
  CLI::App* http = add_load("http", "one request after the other on kept connections");
  CLI::App* churn = add_load("churn", "a new connection for each request");
  add_load("websocket", "open, one message there and back, close");
  const auto run_terminal = add_terminal_command(app);
  try {
    app.parse(argument_count, arguments);
  } catch (const CLI::ParseError& error) {
    return app.exit(error);
  }

  if (serve->parsed()) return run_upstream(upstream);
  if (app.got_subcommand("terminal")) return run_terminal();
  load.kind = http->parsed()    ? load_kind::keep_alive
              : churn->parsed() ? load_kind::churn
                                : load_kind::websocket;
  load.duration = std::chrono::milliseconds{static_cast<long>(seconds * 1000)};
  const load_result result = run_load(load);
  json ? print_json(result) : print_text(result);
  return result.completed > 0 ? 0 : 1;
}
