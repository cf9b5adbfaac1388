#include "previewd/service/settings_load.hpp"

#include <arpa/inet.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <fstream>
#include <map>
#include <sstream>
#include <string_view>
#include <utility>

#define TOML_EXCEPTIONS 0
#include <toml++/toml.h>

#include "previewd/net/tls/context.hpp"
#include "previewd/os/account.hpp"
#include "previewd/service/settings_table.hpp"
#include "version.hpp"

namespace previewd {

namespace {

constexpr std::string_view prefix = "PREVIEWD_";

/// What previewd itself puts into the environment of its terminals; one that is started there may
/// meet them.
constexpr std::array<std::string_view, 5> not_settings{
  "PREVIEWD_BASE", "PREVIEWD_ORIGIN", "PREVIEWD_PROJECT", "PREVIEWD_USER", "PREVIEWD_TERMINAL"};

/// The first thing that is wrong ends the reading.
using problem = std::optional<std::string>;

early_exit wrong(std::string sentence) {
  return {.code = 2, .out = {}, .err = "previewd: " + std::move(sentence) + '\n'};
}

/// How many characters must change to make one of the other (Levenshtein).
std::size_t distance(std::string_view a, std::string_view b) {
  std::vector<std::size_t> row(b.size() + 1);
  for (std::size_t j = 0; j <= b.size(); ++j) row[j] = j;
  for (std::size_t i = 1; i <= a.size(); ++i) {
    std::size_t diagonal = std::exchange(row[0], i);
    for (std::size_t j = 1; j <= b.size(); ++j) {
      const std::size_t change = diagonal + (a[i - 1] == b[j - 1] ? 0 : 1);
      diagonal = row[j];
      row[j] = std::min({change, row[j] + 1, row[j - 1] + 1});
    }
  }
  return row[b.size()];
}

std::string printable(std::string_view text) {
  std::string result{text.substr(0, 100)};
  for (char& c : result)
    if (static_cast<unsigned char>(c) < 0x20 || c == 0x7f) c = '?';
  return result;
}

/// The settings under construction, and where each value came from.
class loader {
public:
  loader(const char* const* environment) : environment_{environment} {}

  std::variant<settings, early_exit> load(int argument_count, const char* const* arguments) {
    CLI::App app;
    app.set_help_flag();
    app.allow_extras();
    app.fallthrough();
    bool help = false;
    bool version = false;
    app.add_flag("--help,-h", help);
    app.add_flag("--version,-V", version);
    std::vector<std::string> files;
    app.add_option("--config", files)->allow_extra_args(false);
    std::vector<std::vector<std::string>> flags(table_.size());
    std::vector<CLI::Option*> options;
    for (std::size_t i = 0; i < table_.size(); ++i)
      options.push_back(app.add_option("--" + table_[i].name, flags[i])->allow_extra_args(false));
    app.add_subcommand("serve");
    CLI::App* check = app.add_subcommand("check-config");
    app.require_subcommand(0, 1);
    try {
      app.parse(argument_count, arguments);
    } catch (const CLI::ArgumentMismatch& error) {
      const std::string_view sentence{error.what()};
      return wrong(std::string{sentence.substr(0, sentence.find(':'))} +
                   " needs a value; see previewd --help");
    } catch (const CLI::ParseError& error) {
      return wrong(std::string{error.what()} + "; see previewd --help");
    }
    if (help) return early_exit{.code = 0, .out = help_text(), .err = {}};
    if (version) return early_exit{.code = 0, .out = "previewd " PREVIEWD_VERSION "\n", .err = {}};
    const std::vector<std::string> extras = app.remaining(true);
    if (!extras.empty()) return wrong(unknown_argument(extras.front()));

    inherit();
    if (auto sentence = read_file(files)) return wrong(*sentence);
    if (auto sentence = read_environment()) return wrong(*sentence);
    for (std::size_t i = 0; i < table_.size(); ++i) {
      if (options[i]->count() == 0) continue;
      if (auto sentence = set(table_[i], flags[i], "--" + table_[i].name)) return wrong(*sentence);
    }
    if (auto sentence = check_reach()) return wrong(*sentence);
    if (auto sentence = check_keys()) return wrong(*sentence);
    if (auto sentence = check_certificate()) return wrong(*sentence);
    if (auto sentence = check_account()) return wrong(*sentence);
    if (check->parsed()) return early_exit{.code = 0, .out = report(), .err = {}};
    return std::move(loaded_);
  }

  /// `previewd --help`.
  std::string help_text() {
    std::string text =
      "previewd " PREVIEWD_VERSION
      ": terminals, and live previews of the dev servers that run in them\n\n"
      "Usage: previewd [serve] [flags]        start the service\n"
      "       previewd check-config [flags]   say which settings hold, and end\n\n"
      "  --config FILE  read settings from this TOML file; else from\n"
      "                 $XDG_CONFIG_HOME/previewd/config.toml or /etc/previewd/config.toml\n"
      "  --version      print the version\n"
      "  --help         print this\n\n"
      "Each setting is a flag (--health.interval 5s), a variable (PREVIEWD_HEALTH_INTERVAL=5s)\n"
      "and a line of the file ([health] interval = \"5s\"). Flags win over variables, and those "
      "over the file.\n";
    std::string_view group;
    for (const setting& one : table_) {
      if (one.group != group) text += '\n' + std::string{group = one.group} + ":\n";
      text += "  --" + one.name + ' ' + std::string{one.value};
      if (one.values == arity::many) text += "  (may repeat)";
      text += "\n      " + std::string{one.meaning};
      text += "\n      default: " + default_of(one) + "; allowed: " + one.allowed + '\n';
    }
    return text;
  }

  /// docs/settings.md.
  std::string reference() {
    std::string text =
      "# Settings\n\n"
      "Generated from the table in `service/settings_table.cpp` by `cmake --build build/dev "
      "--target settings_docs`.\n\n"
      "Each setting has one name: the flag `--health.interval 5s`, the variable "
      "`PREVIEWD_HEALTH_INTERVAL=5s`, and in the\n"
      "settings file\n\n"
      "```toml\n[health]\ninterval = \"5s\"\n```\n\n"
      "Flags win over variables, and variables over the file. The file is the one of `--config "
      "FILE`, else\n"
      "`$XDG_CONFIG_HOME/previewd/config.toml` (`~/.config` when that is not set), else "
      "`/etc/previewd/config.toml`.\n"
      "An unknown name, a wrong unit or a value out of its range stops the start with exit code 2 "
      "and one sentence.\n"
      "`previewd check-config` says which settings hold and where each came from.\n\n"
      "Durations are whole numbers with a unit: `ms`, `s`, `m`, `h` or `d`. Sizes are bytes, or "
      "have one of the units `KiB`,\n"
      "`MiB`, `GiB`. A setting with several values is a repeated flag, an array in the file, and "
      "separated by commas in the\n"
      "environment. The variables `PREVIEWD_BASE`, `PREVIEWD_ORIGIN`, `PREVIEWD_PROJECT`, "
      "`PREVIEWD_USER` and\n"
      "`PREVIEWD_TERMINAL` are not settings: previewd sets them in its terminals.\n";
    std::string_view group;
    for (const setting& one : table_) {
      if (one.group != group) {
        text += "\n## " + std::string{group = one.group} + "\n\n";
        text += "| setting | default | allowed | meaning |\n| --- | --- | --- | --- |\n";
      }
      text += "| `" + one.name + "` | " + default_of(one) + " | " + one.allowed + " | " +
              std::string{one.meaning} + (one.values == arity::many ? " (may repeat)" : "") +
              " |\n";
    }
    return text;
  }

private:
  static std::string joined(const std::vector<std::string>& values) {
    std::string text;
    for (const std::string& value : values) text += (text.empty() ? "" : ", ") + value;
    return text;
  }

  static std::string default_of(const setting& one) {
    if (!one.default_text.empty()) return std::string{one.default_text};
    const std::string text = joined(one.show());
    return text.empty() ? "none" : text;
  }

  setting* find(std::string_view name) {
    const auto found = std::find_if(
      table_.begin(), table_.end(), [&](const setting& one) { return one.name == name; });
    return found == table_.end() ? nullptr : &*found;
  }

  /// Whether settings have names that begin with it and a dot.
  bool is_group(const std::string& name) const {
    return std::any_of(table_.begin(), table_.end(),
      [above = name + '.'](const setting& one) { return one.name.starts_with(above); });
  }

  /// The setting whose name is nearest, if it is near enough to have been meant.
  std::string nearest(std::string_view name) {
    const setting* best = nullptr;
    std::size_t least = 4;
    for (const setting& one : table_) {
      const std::size_t changes = distance(name, one.name);
      if (changes >= least) continue;
      least = changes;
      best = &one;
    }
    return best == nullptr ? std::string{} : best->name;
  }

  problem set(const setting& one, const std::vector<std::string>& written, std::string source) {
    if (const auto clause = one.set(written))
      return one.name + ": " + *clause + " (allowed: " + one.allowed + ") [from " + source + ']';
    sources_[one.name] = std::move(source);
    return std::nullopt;
  }

  std::string_view variable(std::string_view name) const {
    for (const char* const* entry = environment_; *entry != nullptr; ++entry) {
      const std::string_view line{*entry};
      if (line.size() > name.size() && line[name.size()] == '=' &&
          line.substr(0, name.size()) == name)
        return line.substr(name.size() + 1);
    }
    return {};
  }

  /// Takes over what terminals get, and the user's shell as the default one.
  void inherit() {
    for (const char* const* entry = environment_; *entry != nullptr; ++entry) {
      const std::string_view line{*entry};
      if (line.substr(0, prefix.size()) != prefix) loaded_.inherited.environment.emplace_back(line);
    }
    if (const auto home = variable("HOME"); !home.empty() && home.front() == '/')
      loaded_.inherited.home = home;
    const std::string shell{variable("SHELL")};
    const std::string_view name = std::string_view{shell}.substr(shell.rfind('/') + 1);
    // A service account's shell is one of these; a terminal with it would end at once.
    if (!shell.empty() && name != "nologin" && name != "false")
      if (setting* one = find("terminal.shell"); one->set({shell}) == std::nullopt)
        sources_[one->name] = "SHELL";
  }

  problem read_file(const std::vector<std::string>& named) {
    if (!named.empty()) return read_toml(named.back());
    std::vector<std::string> places;
    if (const auto base = variable("XDG_CONFIG_HOME"); !base.empty())
      places.push_back(std::string{base} + "/previewd/config.toml");
    else if (const auto home = variable("HOME"); !home.empty())
      places.push_back(std::string{home} + "/.config/previewd/config.toml");
    places.emplace_back("/etc/previewd/config.toml");
    for (const std::string& place : places)
      if (access(place.c_str(), F_OK) == 0) return read_toml(place);
    return std::nullopt;
  }

  problem read_toml(const std::string& path) {
    errno = 0;
    std::ifstream file{path};
    std::ostringstream content;
    // Reading a folder opens well and fails here.
    if (!file || !(content << file.rdbuf())) {
      const int error = errno;
      if (!file.is_open() || error != 0)
        return "cannot read the settings file " + printable(path) + ": " +
               std::strerror(error != 0 ? error : EIO);
    }
    const toml::parse_result parsed = toml::parse(content.str(), path);
    if (!parsed) {
      const auto& error = parsed.error();
      return "the settings file " + printable(path) + " is not TOML (line " +
             std::to_string(error.source().begin.line) + "): " + printable(error.description());
    }
    return read_table(parsed.table(), {}, path);
  }

  problem read_table(const toml::table& table, const std::string& above, const std::string& path) {
    for (const auto& [key, node] : table) {
      const std::string name = above + std::string{key.str()};
      const std::string source =
        printable(path) + ", line " + std::to_string(key.source().begin.line);
      if (node.is_table() && find(name) == nullptr) {
        if (!is_group(name)) return unknown("", name, source);
        if (auto sentence = read_table(*node.as_table(), name + '.', path)) return sentence;
        continue;
      }
      const setting* one = find(name);
      if (one == nullptr) return unknown("", name, source);
      std::vector<std::string> written;
      if (const toml::array* items = node.as_array();
          items != nullptr && one->values == arity::many) {
        for (const toml::node& item : *items)
          if (!append(item, written))
            return name + ": must be an array of strings [from " + source + ']';
      } else if (!append(node, written)) {
        return name + ": must be a string or a whole number (allowed: " + one->allowed +
               ") [from " + source + ']';
      }
      if (auto sentence = set(*one, written, source)) return sentence;
    }
    return std::nullopt;
  }

  static bool append(const toml::node& node, std::vector<std::string>& written) {
    if (const auto* text = node.as_string()) {
      written.push_back(text->get());
      return true;
    }
    if (const auto* number = node.as_integer()) {
      written.push_back(std::to_string(number->get()));
      return true;
    }
    return false;
  }

  problem read_environment() {
    for (const char* const* entry = environment_; *entry != nullptr; ++entry) {
      const std::string_view line{*entry};
      const std::size_t equals = line.find('=');
      const std::string_view name = line.substr(0, equals);
      if (equals == std::string_view::npos || name.substr(0, prefix.size()) != prefix) continue;
      if (std::find(not_settings.begin(), not_settings.end(), name) != not_settings.end()) continue;
      const auto one = std::find_if(table_.begin(), table_.end(),
        [&](const setting& candidate) { return variable_name(candidate.name) == name; });
      if (one == table_.end()) {
        std::string meant;
        std::size_t least = 4;
        for (const setting& candidate : table_) {
          const std::size_t changes = distance(name, variable_name(candidate.name));
          if (changes >= least) continue;
          least = changes;
          meant = variable_name(candidate.name);
        }
        return printable(name) + " is not a setting" +
               (meant.empty() ? "" : "; did you mean " + meant + '?');
      }
      const std::string_view value = line.substr(equals + 1);
      std::vector<std::string> written;
      if (one->values == arity::one) {
        written.emplace_back(value);
      } else {
        std::istringstream items{std::string{value}};
        for (std::string item; std::getline(items, item, ',');) written.push_back(item);
      }
      if (auto sentence = set(*one, written, std::string{name})) return sentence;
    }
    return std::nullopt;
  }

  std::string unknown(std::string_view dashes, const std::string& name, const std::string& source) {
    const std::string meant = nearest(name);
    return std::string{dashes} + printable(name) + " is not a setting" +
           (meant.empty() ? "" : "; did you mean " + std::string{dashes} + meant + '?') +
           " [from " + source + ']';
  }

  std::string unknown_argument(const std::string& argument) {
    if (argument.substr(0, 2) == "--") {
      const std::string name = argument.substr(
        2, argument.find('=') == std::string::npos ? std::string::npos : argument.find('=') - 2);
      const std::string meant = nearest(name);
      return "--" + printable(name) + " is not a flag; " +
             (meant.empty() ? "see previewd --help" : "did you mean --" + meant + '?');
    }
    if (argument.substr(0, 1) == "-")
      return printable(argument) + " is not a flag; see previewd --help";
    return '"' + printable(argument) + "\" is not a command; there are serve and check-config";
  }

  static bool is_loopback(const listen_address& where) {
    if (!where.path.empty()) return true;
    if (in_addr v4{}; inet_pton(AF_INET, where.address.c_str(), &v4) == 1)
      return ntohl(v4.s_addr) >> 24 == 127;
    in6_addr v6{};
    return inet_pton(AF_INET6, where.address.c_str(), &v6) == 1 && IN6_IS_ADDR_LOOPBACK(&v6);
  }

  /// Without anybody to ask who may, the service stays on this machine.
  problem check_reach() {
    for (const listen_address& where : loaded_.listen) {
      if (loaded_.auth.mode != auth_mode::none || is_loopback(where)) continue;
      return "listen: " + to_string(where) +
             " can be reached from other machines, which auth.mode = none does not allow; listen "
             "on 127.0.0.1, [::1] or a "
             "UNIX socket, or set auth.mode = token or forward";
    }
    return std::nullopt;
  }

  /// Tokens need something to be checked with.
  problem check_keys() {
    if (loaded_.auth.mode == auth_mode::forward && loaded_.auth.forward_url.empty())
      return "auth.mode: forward needs auth.forward_url, where the application is asked";
    if (loaded_.auth.mode != auth_mode::token || !loaded_.auth.secret_files.empty() ||
        !loaded_.auth.public_key_files.empty())
      return std::nullopt;
    return "auth.mode: token needs keys; name a file in auth.secret_file (HS256) or "
           "auth.public_key_file (EdDSA, RS256)";
  }

  /// A certificate and its key are one thing in two files.
  problem check_certificate() {
    const auto& [certificate, key] = loaded_.tls;
    if (certificate.empty() && key.empty()) return std::nullopt;
    if (key.empty()) return "tls.certificate_file: it needs its key; name the file in tls.key_file";
    if (certificate.empty())
      return "tls.key_file: it needs its certificate; name the file in tls.certificate_file";
    auto read = net::tls::load_certificate({.certificate = certificate, .key = key});
    if (auto* why = std::get_if<std::string>(&read)) return "tls: " + *why;
    return std::nullopt;
  }

  /// Whose rights terminals get is not left to clients.
  problem check_account() {
    const std::string& name = loaded_.terminal.run_as;
    if (name.empty()) return std::nullopt;
    if (geteuid() != 0)
      return "terminal.run_as: only root can give terminals another account; start previewd as "
             "root";
    if (name.find('{') != std::string::npos) {
      if (loaded_.auth.mode != auth_mode::none) return std::nullopt;
      return "terminal.run_as: with auth.mode = none clients choose who they are, and so the "
             "account "
             "that " +
             name + " means; name one account, or set auth.mode = token or forward";
    }
    const auto found = os::find_account(name);
    if (found) return std::nullopt;
    return "terminal.run_as: the account " + name +
           (found.error().value() == ENOENT ? " does not exist"
                                            : " cannot be looked up: " + found.error().message());
  }

  /// `previewd check-config`.
  std::string report() {
    std::string text;
    for (const setting& one : table_) {
      const auto source = sources_.find(one.name);
      const bool written = source != sources_.end();
      text += one.name + " = " + (written ? joined(one.show()) : default_of(one)) + "  # " +
              (written ? source->second : "default") + '\n';
    }
    return text;
  }

  const char* const* environment_;
  settings loaded_;
  std::vector<setting> table_ = setting_table(loaded_);
  std::map<std::string, std::string, std::less<>> sources_;
};

}  // namespace

std::variant<settings, early_exit>
load_settings(int argument_count, const char* const* arguments, const char* const* environment) {
  return loader{environment}.load(argument_count, arguments);
}

std::string settings_reference() {
  const char* nothing = nullptr;
  return loader{&nothing}.reference();
}

}  // namespace previewd
