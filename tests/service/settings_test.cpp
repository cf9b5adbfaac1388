#include "previewd/service/settings.hpp"

#include <unistd.h>

#include <catch2/catch.hpp>
#include <fstream>
#include <sstream>
#include <string>
#include <variant>
#include <vector>

#include "previewd/service/settings_change.hpp"
#include "previewd/service/settings_load.hpp"
#include "previewd/service/settings_table.hpp"
#include "previewd/tests/support/temporary_folder.hpp"

namespace {

using namespace previewd;
using namespace std::chrono_literals;
using test::temporary_folder;

using outcome = std::variant<settings, early_exit>;

outcome load(std::vector<std::string> arguments, std::vector<std::string> environment = {}) {
  arguments.insert(arguments.begin(), "previewd");
  // The machine's own settings file must not decide a test.
  if (arguments.size() == 1 || arguments[1] != "--config")
    environment.push_back("XDG_CONFIG_HOME=/nonexistent");
  std::vector<const char*> argument_pointers, environment_pointers;
  for (const std::string& one : arguments) argument_pointers.push_back(one.c_str());
  for (const std::string& one : environment) environment_pointers.push_back(one.c_str());
  argument_pointers.push_back(nullptr);
  environment_pointers.push_back(nullptr);
  return load_settings(
    static_cast<int>(arguments.size()), argument_pointers.data(), environment_pointers.data());
}

settings loaded(const outcome& result) {
  if (const auto* stopped = std::get_if<early_exit>(&result))
    FAIL("stopped: " << stopped->err << stopped->out);
  return std::get<settings>(result);
}

early_exit stopped(const outcome& result) {
  if (std::holds_alternative<settings>(result)) FAIL("was loaded");
  return std::get<early_exit>(result);
}

}  // namespace

TEST_CASE("without anything said the defaults of the contract hold", "[service][settings]") {
  const settings s = loaded(load({}));

  CHECK(to_string(s.listen.at(0)) == "127.0.0.1:4000");
  CHECK(s.preview.domain == "preview.localhost");
  CHECK(s.health.interval == 5s);
  CHECK(s.health.timeout == 1s);
  CHECK(s.health.failures == 1);
  CHECK(s.detection.timeout == 30s);
  CHECK(s.proxy.hold == 2s);
  CHECK(s.proxy.hold_bytes == 65536);
  CHECK(s.proxy.connect_timeout == 2s);
  CHECK(s.proxy.upgrade_timeout == 10s);
  CHECK(s.proxy.response_timeout == 60s);
  CHECK(s.terminal.shell == "/bin/bash");
  CHECK(s.terminal.detached == 1h);
  CHECK(s.terminal.on_exit == exit_policy::kill);
  CHECK(s.terminal.scrollback == 256 * 1024);
  CHECK(s.limits.header_bytes == 32 * 1024);
  CHECK(s.limits.header_timeout == 15s);
  CHECK(s.limits.terminals_per_user == 16);
  CHECK(s.limits.client_buffer == 1024 * 1024);
  CHECK(s.limits.event_ring == 4096);
  CHECK(s.auth.mode == auth_mode::none);
  CHECK(s.shutdown.timeout == 10s);
}

TEST_CASE("a flag wins over the environment, and that over the file", "[service][settings]") {
  temporary_folder folder;
  const auto file = folder.write("config.toml",
    "listen = \"127.0.0.1:1\"\n[health]\ninterval = \"7s\"\ntimeout = \"2s\"\nfailures = 4\n"
    "[public]\nhosts = [\"IDE.example.com\", \"ide2.example.com\"]\n");

  const settings s = loaded(load({"--config", file, "--listen", "[::1]:0", "--listen",
                                   "unix:/run/p.sock", "--health.interval=9s"},
    {"PREVIEWD_HEALTH_INTERVAL=8s", "PREVIEWD_HEALTH_TIMEOUT=250ms",
      "PREVIEWD_AUTH_ORIGINS=http://A:80,https://b:1"}));

  REQUIRE(s.listen.size() == 2);
  CHECK(to_string(s.listen[0]) == "[::1]:0");
  CHECK(to_string(s.listen[1]) == "unix:/run/p.sock");
  CHECK(s.health.interval == 9s);
  CHECK(s.health.timeout == 250ms);
  CHECK(s.health.failures == 4);
  CHECK(s.public_names.hosts == std::vector<std::string>{"ide.example.com", "ide2.example.com"});
  CHECK(s.auth.origins == std::vector<std::string>{"http://a", "https://b:1"});
}

TEST_CASE("the settings file is found in the user's folder", "[service][settings]") {
  temporary_folder folder;
  folder.write("previewd/config.toml", "[log]\nlevel = \"debug\"\nformat = \"json\"\n");

  const settings s = loaded(load({}, {"XDG_CONFIG_HOME=" + folder.path()}));

  CHECK(s.log.threshold == log::level::debug);
  CHECK(s.log.format == log::format::json);
}

TEST_CASE(
  "a wrong value stops the start with its name, reason and range", "[service][settings][I7]") {
  struct row {
    const char* flag;
    const char* value;
    const char* sentence;
  };
  const auto r = GENERATE(values<row>({
    {"--health.interval", "5",
      "health.interval: \"5\" has no unit; write for example 5s (allowed: 500ms to 1h)"},
    {"--health.interval", "499ms",
      "health.interval: \"499ms\" is too small (allowed: 500ms to 1h)"},
    {"--health.interval", "2h", "health.interval: \"2h\" is too large (allowed: 500ms to 1h)"},
    {"--health.interval", "five", "health.interval: \"five\" is not a whole number with a unit"},
    {"--health.interval", "1.5s",
      "health.interval: \"1.5s\" has a unit that is not known (ms, s, m, h, d)"},
    {"--health.interval", "99999999999999999999s",
      "health.interval: \"99999999999999999999s\" is not"},
    {"--health.interval", "18446744073709551615d", "is too large (allowed: 500ms to 1h)"},
    {"--health.interval", "", "--health.interval needs a value"},
    {"--health.failures", "101", "health.failures: \"101\" is too large (allowed: 0 to 100)"},
    {"--health.failures", "-1", "health.failures: \"-1\" is not a whole number"},
    {"--proxy.hold_bytes", "1MB",
      "proxy.hold_bytes: \"1MB\" has a unit that is not known (B, KiB, MiB, GiB)"},
    {"--proxy.hold_bytes", "17MiB",
      "proxy.hold_bytes: \"17MiB\" is too large (allowed: 0 to 16MiB)"},
    {"--listen", "localhost:4000",
      "listen: \"localhost:4000\" is not a numeric address with a port"},
    {"--listen", "127.0.0.1", "listen: \"127.0.0.1\" is not a numeric address with a port"},
    {"--listen", "127.0.0.1:65536",
      "listen: \"127.0.0.1:65536\" is not a numeric address with a port"},
    {"--listen", "::1:4000", "listen: \"::1:4000\" is not a numeric address with a port"},
    {"--listen", "unix:relative", "listen: \"unix:relative\" does not name an absolute path"},
    {"--listen", "0.0.0.0:4000", "auth.mode"},
    {"--listen", "[::]:4000", "auth.mode"},
    {"--listen", "192.168.1.5:4000", "auth.mode"},
    {"--auth.mode", "password",
      "auth.mode: \"password\" is not one of its values (allowed: none, token, forward)"},
    {"--auth.mode", "token", "auth.mode: token needs keys; name a file in auth.secret_file"},
    {"--auth.secret_file", "ide.key", "auth.secret_file: \"ide.key\" is not an absolute path"},
    {"--tls.certificate_file", "/etc/tls.pem",
      "tls.certificate_file: it needs its key; name the file in tls.key_file"},
    {"--tls.key_file", "/etc/tls.key",
      "tls.key_file: it needs its certificate; name the file in tls.certificate_file"},
    {"--tls.key_file", "tls.key", "tls.key_file: \"tls.key\" is not an absolute path"},
    {"--preview.path", "maybe",
      "preview.path: \"maybe\" is not one of its values (allowed: auto, on, off)"},
    {"--auth.origins", "ide.example.com", "auth.origins: \"ide.example.com\" is not an origin"},
    {"--auth.origins", "https://ide.example.com/", "is not an origin"},
    {"--auth.origins", "null", "is not an origin"},
    {"--public.hosts", "a b", "public.hosts: \"a b\" is not a host name"},
    {"--public.address", "https://ide.example.com",
      "public.address: \"https://ide.example.com\" is no scheme with a port or without"},
    {"--public.address", "ftp:21", "public.address: \"ftp:21\" is no scheme"},
    {"--public.address", "https:", "public.address: \"https:\" is no scheme"},
    {"--public.address", "https:0", "public.address: \"https:0\" is no scheme"},
    {"--public.address", "https:65536", "public.address: \"https:65536\" is no scheme"},
    {"--preview.domain", "-x.localhost", "preview.domain: \"-x.localhost\" is not a DNS name"},
    {"--preview.frame_ancestors", "a; script-src *",
      "preview.frame_ancestors: \"a; script-src *\" is not a source"},
    {"--terminal.shell", "bash", "terminal.shell: \"bash\" is not an absolute path"},
    {"--terminal.shell", "/nonexistent",
      "terminal.shell: \"/nonexistent\" cannot be executed (No such file"},
    {"--terminal.run_as", "two words", "terminal.run_as: \"two words\" is no account"},
    {"--terminal.run_as", "dev-{name}", "terminal.run_as: \"dev-{name}\" is no account"},
    {"--terminal.run_as", geteuid() == 0 ? "nobody-knows" : "nobody",
      geteuid() == 0 ? "terminal.run_as: the account nobody-knows does not exist"
                     : "terminal.run_as: only root can give terminals another account"},
    {"--terminal.run_as", "{user}",
      geteuid() == 0 ? "terminal.run_as: with auth.mode = none clients choose who they are"
                     : "terminal.run_as: only root can give terminals another account"},
    {"--terminal.on_exit", "Kill",
      "terminal.on_exit: \"Kill\" is not one of its values (allowed: kill, keep)"},
    {"--log.level", "\x1b[2J", "log.level: \"\\x1b[2J\" is not one of its values"},
    {"--auth.secret_file", "/a\nb", "auth.secret_file: \"/a\\nb\" has a control character"},
  }));
  INFO(r.flag << '=' << r.value);

  const early_exit e = stopped(load({std::string{r.flag} + '=' + r.value}));

  CHECK(e.code == 2);
  CHECK(e.out.empty());
  CHECK_THAT(e.err, Catch::Contains(r.sentence));
  CHECK(e.err.back() == '\n');
}

TEST_CASE(
  "an unknown name stops the start and is named with what was meant", "[service][settings][I7]") {
  CHECK_THAT(stopped(load({"--helth.interval", "5s"})).err,
    Catch::Contains("--helth.interval is not a flag; did you mean --health.interval?"));
  CHECK_THAT(
    stopped(load({"--nothing.like.it=1"})).err, Catch::Contains("--nothing.like.it is not a flag"));
  CHECK_THAT(stopped(load({"start"})).err, Catch::Contains("\"start\" is not a command"));
  CHECK_THAT(stopped(load({"--health.interval"})).err, Catch::Contains("--health.interval"));
  CHECK_THAT(stopped(load({}, {"PREVIEWD_HEALTH_INTERVALL=5s"})).err,
    Catch::Contains(
      "PREVIEWD_HEALTH_INTERVALL is not a setting; did you mean PREVIEWD_HEALTH_INTERVAL?"));
  CHECK(stopped(load({"--helth.interval", "5s"})).code == 2);
}

TEST_CASE(
  "what previewd sets in its terminals is no setting and is not handed on", "[service][settings]") {
  const settings s =
    loaded(load({}, {"PREVIEWD_BASE=/preview/p/u/", "PREVIEWD_ORIGIN=x", "PREVIEWD_PROJECT=p",
                      "PREVIEWD_USER=u", "PREVIEWD_TERMINAL=t", "PREVIEWD_LOG_LEVEL=warn",
                      "HOME=/home/ann", "SHELL=/bin/sh", "LANG=C.UTF-8"}));

  CHECK(s.log.threshold == log::level::warn);
  CHECK(s.inherited.home == "/home/ann");
  CHECK(s.terminal.shell == "/bin/sh");
  CHECK(s.inherited.environment.size() == 4);
  for (const std::string& entry : s.inherited.environment) CHECK(entry.rfind("PREVIEWD_", 0) != 0);
}

TEST_CASE(
  "a shell that no terminal could use is not taken from the environment", "[service][settings]") {
  CHECK(loaded(load({}, {"SHELL=/usr/sbin/nologin"})).terminal.shell == "/bin/bash");
  CHECK(loaded(load({}, {"SHELL=/nonexistent"})).terminal.shell == "/bin/bash");
  CHECK(loaded(load({"--terminal.shell", "/bin/sh"}, {"SHELL=/nonexistent"})).terminal.shell ==
        "/bin/sh");
}

TEST_CASE("a settings file that cannot be read or understood is named, with the line",
  "[service][settings][I7]") {
  temporary_folder folder;
  auto error_of = [&](const std::string& content) {
    return stopped(load({"--config", folder.write("config.toml", content)})).err;
  };

  CHECK_THAT(stopped(load({"--config", "/nonexistent/config.toml"})).err,
    Catch::Contains("cannot read the settings file /nonexistent/config.toml: No such file"));
  CHECK_THAT(
    stopped(load({"--config", "/tmp"})).err, Catch::Contains("cannot read the settings file /tmp"));
  CHECK_THAT(error_of("[health\n"), Catch::Contains("is not TOML (line 1)"));
  CHECK_THAT(error_of("[nope]\n"), Catch::Contains("nope is not a setting"));
  CHECK_THAT(error_of("[health.nope]\n"), Catch::Contains("health.nope is not a setting"));
  CHECK_THAT(error_of("\n[helth]\ninterval = \"5s\"\n"),
    Catch::Contains("helth.interval is not a setting; did you mean health.interval?") &&
      Catch::Contains("line 3"));
  CHECK_THAT(
    error_of("[health]\ninterval = 5\n"), Catch::Contains("health.interval: \"5\" has no unit"));
  CHECK_THAT(
    error_of("[health]\ninterval = true\n"), Catch::Contains("health.interval: must be a string"));
  CHECK_THAT(error_of("[health]\ninterval = [\"5s\"]\n"),
    Catch::Contains("health.interval: must be a string"));
  CHECK_THAT(error_of("listen = []\n"), Catch::Contains("listen: names no address"));
  CHECK_THAT(
    error_of("listen = [4000.5]\n"), Catch::Contains("listen: must be an array of strings"));
  CHECK_THAT(error_of("health = 3\n"), Catch::Contains("health is not a setting"));
  CHECK_THAT(error_of("[listen]\na = 1\n"), Catch::Contains("listen: must be"));
}

TEST_CASE("a settings file cannot end the process, whatever is in it", "[service][settings][I7]") {
  temporary_folder folder;
  auto error_of = [&](const std::string& content) {
    return stopped(load({"--config", folder.write("config.toml", content)})).err;
  };
  std::string deep;
  for (int i = 0; i < 2000; ++i) deep += "a.";

  // What toml++ 3.3 takes for granted, and a file can break.
  CHECK_THAT(error_of("[$auth]\n"), Catch::Contains("is not TOML (line 1)"));
  CHECK_THAT(error_of("a = 1\xcb\xab\n"), Catch::Contains("is not TOML (line 1)"));
  CHECK_THAT(error_of(deep + "a = 1\n"), Catch::Contains("a.a is not a setting"));
  CHECK_THAT(error_of(std::string(64 * 1024, ' ') + '\n'), Catch::Contains("larger than 64 KiB"));
  CHECK_THAT(stopped(load({"--config", "/dev/zero"})).err, Catch::Contains("larger than 64 KiB"));
  // The system would read the one up to its zero, and we the other to its end.
  CHECK_THAT(error_of("terminal.shell = \"/bin/sh\\u0000x\"\n"),
    Catch::Contains("terminal.shell: \"/bin/sh\\x00x\" has a control character"));
  CHECK_THAT(error_of("listen = \"127.0.0.1\\u0000:1\"\n"),
    Catch::Contains("listen: \"127.0.0.1\\x00:1\" has a control character"));
  CHECK_THAT(error_of("public.hosts = [\"a\\u0000\"]\n"), Catch::Contains("public.hosts: "));
}

TEST_CASE("settings that are read again change what is live, and name the rest",
  "[service][settings][reload]") {
  const settings running = loaded(load({"--health.interval", "7s", "--listen", "[::1]:1"}));
  const settings read = loaded(load({"--log.level", "debug", "--proxy.hold", "1s", "--io.threads",
    "3", "--preview.frame_ancestors", "'self'", "--listen", "[::1]:1"}));

  const settings_change change = change_of(running, read);

  CHECK(change.live == std::vector<std::string>{"health.interval", "proxy.hold", "log.level"});
  CHECK(change.needs_restart == std::vector<std::string>{"preview.frame_ancestors", "io.threads"});
  CHECK(change.merged.health.interval == 5s);
  CHECK(change.merged.proxy.hold == 1s);
  CHECK(change.merged.log.threshold == log::level::debug);
  CHECK(change.merged.io.threads == running.io.threads);
  CHECK(change.merged.preview.frame_ancestors == std::nullopt);
  const settings_change none = change_of(change.merged, change.merged);
  CHECK(none.live.empty());
  CHECK(none.needs_restart.empty());
}

TEST_CASE("each setting either changes live or is named, and says so in help and docs",
  "[service][settings][reload]") {
  const settings defaults;
  settings other;
  std::size_t live = 0;
  const std::string help = stopped(load({"--help"})).out;
  for (const setting& one : setting_table(other)) {
    INFO(one.name);
    live += one.changes == change::live ? 1 : 0;
    const auto at = help.find("\n  --" + one.name + ' ');
    const auto line = help.substr(at, help.find("\n  --", at + 1) - at);
    CHECK(((line + '\n').find("; live\n") != std::string::npos) == (one.changes == change::live));
  }
  // As many as are named: none is misspelt.
  CHECK(live == 21);
  other.tls = {"/etc/tls.pem", "/etc/tls.key"};
  other.preview.frame_ancestors.emplace();

  // Turned on, and not only another certificate.
  CHECK(change_of(defaults, other).needs_restart == std::vector<std::string>{"tls.certificate_file",
                                                      "tls.key_file", "preview.frame_ancestors"});
  CHECK(change_of(other, defaults).needs_restart.size() == 3);
  settings renewed = other;
  renewed.tls = {"/etc/tls2.pem", "/etc/tls2.key"};
  CHECK(change_of(other, renewed).live ==
        std::vector<std::string>{"tls.certificate_file", "tls.key_file"});
  CHECK(change_of(other, renewed).merged.tls.key_file == "/etc/tls2.key");
}

TEST_CASE("an empty settings file changes nothing", "[service][settings]") {
  temporary_folder folder;

  CHECK(loaded(load({"--config", folder.write("config.toml", "")})).health.interval == 5s);
}

TEST_CASE("the address that browsers know is a scheme, and a port that is not its own",
  "[service][settings]") {
  const auto read = [](const char* written) {
    return loaded(load({}, {std::string{"PREVIEWD_PUBLIC_ADDRESS="} + written}))
      .public_names.address;
  };

  CHECK(read("") == std::nullopt);
  CHECK(read("HTTPS") == public_address{url_scheme::https, 0});
  CHECK(read("https:443") == public_address{url_scheme::https, 0});
  CHECK(read("https:8443") == public_address{url_scheme::https, 8443});
  CHECK(read("http:443") == public_address{url_scheme::http, 443});
  CHECK_THAT(stopped(load({"check-config", "--public.address", "http:80"})).out,
    Catch::Contains("public.address = http  # --public.address\n"));
}

TEST_CASE("nobody who may frame a preview is not the same as nothing said", "[service][settings]") {
  CHECK(loaded(load({})).preview.frame_ancestors == std::nullopt);
  CHECK(loaded(load({}, {"PREVIEWD_PREVIEW_FRAME_ANCESTORS="})).preview.frame_ancestors ==
        std::vector<std::string>{});
  CHECK(loaded(load({"--preview.frame_ancestors", "'self'", "--preview.frame_ancestors",
                 "https://*.example.com"}))
          .preview.frame_ancestors == std::vector<std::string>{"'self'", "https://*.example.com"});
}

TEST_CASE("zero needs no unit where it means never", "[service][settings]") {
  const settings s = loaded(load({"serve", "--proxy.hold", "0", "--proxy.response_timeout=0s"}));

  CHECK(s.proxy.hold == 0s);
  CHECK(s.proxy.response_timeout == 0s);
}

TEST_CASE("what a service manager says is for the service, and for none of its terminals",
  "[service][settings][I6]") {
  const std::string mine = std::to_string(getpid());

  const settings s = loaded(load({},
    {"NOTIFY_SOCKET=@n", "WATCHDOG_USEC=3000000", "WATCHDOG_PID=" + mine, "LISTEN_FDS=1", "A=b"}));

  CHECK(s.manager.notify_socket == "@n");
  CHECK(s.manager.watchdog == 3s);
  CHECK(s.inherited.environment == std::vector<std::string>{"A=b", "XDG_CONFIG_HOME=/nonexistent"});
  CHECK(loaded(load({})).manager.notify_socket.empty());
  CHECK(loaded(load({}, {"WATCHDOG_USEC=3000000"})).manager.watchdog == 3s);
  for (const char* other : {"WATCHDOG_PID=1", "WATCHDOG_PID=x"})
    CHECK(loaded(load({}, {"WATCHDOG_USEC=3000000", other})).manager.watchdog == 0s);
  for (const char* junk : {"", "-1", "0", "3s", "99999999999999999999"})
    CHECK(loaded(load({}, {"WATCHDOG_USEC=" + std::string{junk}})).manager.watchdog == 0s);
}

TEST_CASE("the store is where programs keep their state", "[service][settings][store]") {
  const std::string below = "/previewd/state.db";

  CHECK(settings{}.store.path.empty());  // of an embedding application
  CHECK(loaded(load({})).store.path.empty());
  CHECK(loaded(load({}, {"HOME=/home/ann"})).store.path == "/home/ann/.local/state" + below);
  CHECK(
    loaded(load({}, {"HOME=/home/ann", "XDG_STATE_HOME=/state"})).store.path == "/state" + below);
  CHECK(loaded(load({}, {"HOME=/home/ann", "XDG_STATE_HOME=state"})).store.path ==
        "/home/ann/.local/state" + below);
  CHECK(loaded(load({"--store.path", "/a/b.db"}, {"HOME=/home/ann"})).store.path == "/a/b.db");
  CHECK(loaded(load({"--store.path", ""}, {"HOME=/home/ann"})).store.path.empty());
  CHECK(loaded(load({}, {"HOME=/home/ann", "PREVIEWD_STORE_PATH="})).store.path.empty());
  for (const char* wrong : {"state.db", "/var/lib/", "/a\nb"})
    CHECK(stopped(load({"--store.path", wrong})).code == 2);
  CHECK_THAT(stopped(load({"check-config"}, {"HOME=/home/ann"})).out,
    Catch::Contains("store.path = /home/ann/.local/state/previewd/state.db  # HOME\n"));
}

TEST_CASE("check-config says each setting and where it came from", "[service][settings]") {
  const early_exit e = stopped(
    load({"check-config", "--health.interval", "1m"}, {"PREVIEWD_TERMINAL_SCROLLBACK=1MiB"}));

  CHECK(e.code == 0);
  CHECK(e.err.empty());
  CHECK_THAT(e.out, Catch::Contains("health.interval = 1m  # --health.interval\n"));
  CHECK_THAT(
    e.out, Catch::Contains("terminal.scrollback = 1MiB  # PREVIEWD_TERMINAL_SCROLLBACK\n"));
  CHECK_THAT(e.out, Catch::Contains("proxy.hold = 2s  # default\n"));
  CHECK(stopped(load({"check-config", "--proxy.hold", "2"})).code == 2);
}

TEST_CASE("what check-config prints does nothing to a terminal", "[service][settings][I7]") {
  const early_exit e = stopped(load({"check-config", "--auth.secret_file",
    "/a\xc2\x9b"
    "2J"}));

  CHECK_THAT(e.out, Catch::Contains("auth.secret_file = /a\\x9b2J  # --auth.secret_file\n"));
}

TEST_CASE("help and version go to stdout, whatever else is said", "[service][settings]") {
  const early_exit help = stopped(load({"--help"}));
  const early_exit version = stopped(load({"--version"}));
  settings defaults;

  CHECK(help.code == 0);
  for (const setting& one : setting_table(defaults))
    CHECK_THAT(help.out, Catch::Contains("--" + one.name));
  CHECK(version.code == 0);
  CHECK(version.out.rfind("previewd ", 0) == 0);
}

TEST_CASE("what a setting shows can be written as its value", "[service][settings]") {
  settings s;
  for (const setting& one : setting_table(s)) {
    INFO(one.name);
    const auto shown = one.show();
    CHECK(one.set(shown) == std::nullopt);
    CHECK(one.show() == shown);
  }
}

TEST_CASE("docs/settings.md is what the table of settings says", "[service][settings]") {
  std::ifstream file{PREVIEWD_SETTINGS_PAGE};
  std::ostringstream page;
  page << file.rdbuf();

  INFO("cmake --build build/dev --target settings_docs");
  CHECK(page.str() == settings_reference());
}
