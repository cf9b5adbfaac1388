#include <arpa/inet.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cctype>
#include <functional>
#include <map>
#include <string>
#include <variant>
#include <vector>

#include "previewd/service/settings_load.hpp"
#include "previewd/service/settings_table.hpp"
#include "previewd/support/log.hpp"
#include "previewd/tests/fuzz/property.hpp"

// Settings. The first byte chooses: `e` takes the rest as variables and `a` as flags, one a line,
// anything else as a settings file. What is refused is named; what is taken is within what
// docs/settings.md allows, and is the same when it is written as it is shown and read again.

using namespace previewd;
using namespace previewd::fuzz;

namespace {

using texts = std::vector<std::string>;
using outcome = std::variant<settings, early_exit>;

/// A settings file that is in memory alone, and always the same one.
class file {
public:
  file() : descriptor_{memfd_create("settings", MFD_CLOEXEC)} {
    require(descriptor_ >= 0, "there is memory for a file");
    path_ = "/proc/self/fd/" + std::to_string(descriptor_);
  }
  const std::string& path() const { return path_; }
  void write(std::string_view content) const {
    const auto size = static_cast<ssize_t>(content.size());
    require(ftruncate(descriptor_, 0) == 0 &&
              pwrite(descriptor_, content.data(), content.size(), 0) == size,
      "a file in memory can be written");
  }

private:
  int descriptor_;
  std::string path_;
};

const file& settings_file() {
  static const file one;
  return one;
}

/// Where settings come from. The file is always named, so that none of the machine's is read.
struct sources {
  texts arguments;
  texts environment;
  std::string content;
};

outcome load(const sources& from) {
  settings_file().write(from.content);
  const std::string config = "--config=" + settings_file().path();
  std::vector<const char*> arguments{"previewd"};
  for (const std::string& each : from.arguments) arguments.push_back(each.c_str());
  arguments.push_back(config.c_str());
  const auto count = static_cast<int>(arguments.size());
  arguments.push_back(nullptr);
  std::vector<const char*> environment;
  for (const std::string& each : from.environment) environment.push_back(each.c_str());
  environment.push_back(nullptr);
  return load_settings(count, arguments.data(), environment.data());
}

/// What somebody writes who can write lines alone.
texts lines_of(std::string_view input) {
  texts lines;
  while (!input.empty()) {
    const std::size_t end = std::min(input.find('\n'), input.size());
    // A zero ends what a process is given.
    const std::string_view line = input.substr(0, end);
    lines.emplace_back(line.substr(0, line.find('\0')));
    input.remove_prefix(std::min(end + 1, input.size()));
  }
  return lines;
}

bool is_control(char c) {
  return static_cast<unsigned char>(c) < ' ' || c == 0x7f;
}

/// Whether a terminal shows all of it, and does nothing else: UTF-8 (RFC 3629, section 4,
/// leniently) without control characters.
bool is_plain(std::string_view text) {
  while (!text.empty()) {
    const auto lead = static_cast<unsigned char>(text.front());
    const std::size_t length = lead < 0x80   ? 1
                               : lead < 0xc2 ? 9
                               : lead < 0xe0 ? 2
                               : lead < 0xf0 ? 3
                                             : 4;
    if (is_control(text.front()) || length > text.size()) return false;
    for (std::size_t i = 1; i < length; ++i)
      if ((static_cast<unsigned char>(text[i]) & 0xc0) != 0x80) return false;
    if (lead == 0xc2 && static_cast<unsigned char>(text[1]) < 0xa0) return false;
    text.remove_prefix(length);
  }
  return true;
}

bool starts_with(std::string_view text, std::string_view with) {
  return text.substr(0, with.size()) == with;
}

bool has(std::string_view text, std::string_view part) {
  return text.find(part) != std::string_view::npos;
}

std::string_view without(std::string_view text, std::string_view prefix) {
  return starts_with(text, prefix) ? text.substr(prefix.size()) : std::string_view{};
}

bool all(std::string_view text, std::string_view of) {
  return text.find_first_not_of(of) == std::string_view::npos;
}

// What may be written for each kind, by readers of their own: they are to disagree when those of
// the service are wrong.

constexpr std::string_view digits = "0123456789";
constexpr std::string_view host_characters = "abcdefghijklmnopqrstuvwxyz0123456789-.";

/// A number with one of the units in milliseconds or bytes; -1: it is none.
double amount(std::string_view text) {
  static const std::map<std::string_view, double> units{{"", 1}, {"ms", 1}, {"s", 1e3}, {"m", 6e4},
    {"h", 3.6e6}, {"d", 8.64e7}, {"B", 1}, {"KiB", 1024}, {"MiB", 1048576}, {"GiB", 1073741824}};
  const std::size_t end = std::min(text.find_first_not_of(digits), text.size());
  const auto unit = units.find(text.substr(end));
  return end == 0 || end > 15 || unit == units.end()
           ? -1
           : std::stod(std::string{text.substr(0, end)}) * unit->second;
}

bool is_within(std::string_view value, std::string_view allowed) {
  constexpr std::string_view to = " to ";
  const std::size_t at = allowed.find(to);
  require(at != std::string_view::npos, "what is allowed is a range");
  const double least = amount(allowed.substr(0, at));
  const double most = amount(allowed.substr(at + to.size()));
  require(least >= 0 && least < most, "both ends of a range can be read");
  return amount(value) >= least && amount(value) <= most;
}

bool is_one_of(std::string_view value, std::string_view allowed) {
  return !value.empty() && has(", " + std::string{allowed} + ",", " " + std::string{value} + ",");
}

bool is_address(std::string_view text, int family) {
  std::array<unsigned char, sizeof(in6_addr)> binary{};
  return text.size() < INET6_ADDRSTRLEN &&
         inet_pton(family, std::string{text}.c_str(), binary.data()) == 1;
}

bool is_any_address(std::string_view text) {
  return is_address(text, AF_INET) || is_address(text, AF_INET6);
}

bool is_network(std::string_view text) {
  const std::size_t slash = std::min(text.find('/'), text.size());
  const std::string_view length = text.substr(std::min(slash + 1, text.size()));
  return is_any_address(text.substr(0, slash)) && all(length, digits) && !length.empty() &&
         amount(length) <= (has(text, ":") ? 128 : 32);
}

bool is_host(std::string_view text) {
  if (starts_with(text, "["))
    return text.back() == ']' && is_address(text.substr(1, text.size() - 2), AF_INET6);
  return !text.empty() && text.size() <= 253 && all(text, host_characters);
}

/// A host, and a port where there may be one.
bool is_place(std::string_view text) {
  const std::size_t colon = text.rfind(':');
  if (colon == std::string_view::npos || has(text.substr(colon), "]")) return is_host(text);
  const std::string_view port = text.substr(colon + 1);
  return is_host(text.substr(0, colon)) && !port.empty() && all(port, digits) &&
         amount(port) <= 65535;
}

bool is_path(std::string_view text) {
  return starts_with(text, "/");
}

bool is_visible(std::string_view text) {
  return !text.empty() &&
         std::all_of(text.begin(), text.end(), [](char c) { return c > ' ' && c < 0x7f; });
}

bool is_loopback(const listen_address& at) {
  return !at.path.empty() || starts_with(at.address, "127.") ||
         (has(at.address, ":") && at.address.back() == '1' &&
           all(at.address.substr(0, at.address.size() - 1), "0:"));
}

using predicate = std::function<bool(std::string_view)>;

/// Of the settings that are neither a range nor one of a few names.
const std::map<std::string_view, predicate>& predicates() {
  static const std::map<std::string_view, predicate> each{
    {"listen",
      [](std::string_view text) {
        const std::string_view path = without(text, "unix:");
        if (!path.empty()) return is_path(path) && path.size() <= 107;
        const std::size_t colon = text.rfind(':');
        return is_place(text) && colon != std::string_view::npos && !has(text.substr(colon), "]");
      }},
    {"public.hosts", is_host},
    {"public.address",
      [](std::string_view text) {
        if (text.empty() || text == "http" || text == "https") return true;
        const std::string_view secure = without(text, "https:");
        const std::string_view port = secure.empty() ? without(text, "http:") : secure;
        return !port.empty() && all(port, digits) && amount(port) >= 1 && amount(port) <= 65535;
      }},
    {"tls.certificate_file", [](std::string_view text) { return text.empty() || is_path(text); }},
    {"tls.key_file", [](std::string_view text) { return text.empty() || is_path(text); }},
    {"preview.domain",
      [](std::string_view text) { return text.size() <= 180 && all(text, host_characters); }},
    {"preview.frame_ancestors",
      [](std::string_view text) { return is_visible(text) && !has(text, ";") && !has(text, ","); }},
    {"preview.allow_upstreams", is_network},
    {"proxy.trusted",
      [](std::string_view text) {
        return text == "unix" || is_any_address(text) || is_network(text);
      }},
    {"terminal.shell",
      [](std::string_view text) {
        return is_path(text) && access(std::string{text}.c_str(), X_OK) == 0;
      }},
    {"terminal.run_as",
      [](std::string_view text) {
        return text.empty() || (is_visible(text) && text.find_first_of(":/,") == text.npos);
      }},
    {"store.path",
      [](std::string_view text) { return text.empty() || (is_path(text) && text.back() != '/'); }},
    {"auth.secret_file", is_path},
    {"auth.public_key_file", is_path},
    {"auth.audience", [](std::string_view text) { return is_visible(text) && text.size() <= 256; }},
    {"auth.forward_url",
      [](std::string_view text) {
        return text.empty() ||
               (is_visible(text) &&
                 (starts_with(text, "http://127.") || starts_with(text, "http://localhost") ||
                   starts_with(text, "http://[") || starts_with(text, "unix:/")));
      }},
    {"auth.forward_cookie",
      [](std::string_view text) {
        return is_visible(text) && text.find_first_of("()<>@,;:\\\"/[]?={}") == text.npos;
      }},
    {"auth.origins",
      [](std::string_view text) {
        return is_place(without(text, "http://")) || is_place(without(text, "https://"));
      }},
  };
  return each;
}

bool is_allowed(const setting& one, std::string_view value) {
  if (std::any_of(value.begin(), value.end(), is_control)) return false;
  const auto found = predicates().find(one.name);
  if (found != predicates().end()) return found->second(value);
  return one.value == "NAME" ? is_one_of(value, one.allowed) : is_within(value, one.allowed);
}

/// What is accepted is what docs/settings.md allows.
void check_bounds(settings& taken) {
  for (const setting& one : setting_table(taken)) {
    const texts shown = one.show();
    require(one.values == arity::many || shown.size() == 1, "a setting has one value");
    for (const std::string& value : shown)
      if (!is_allowed(one, value)) {
        std::fprintf(
          stderr, "%s = %s (allowed: %s)\n", one.name.c_str(), value.c_str(), one.allowed.c_str());
        require(false, "what is taken is allowed");
      }
  }
  require(!taken.listen.empty(), "the service listens somewhere");
  require(taken.auth.mode != auth_mode::none ||
            std::all_of(taken.listen.begin(), taken.listen.end(), is_loopback),
    "without anybody to ask who may, the service stays on this machine");
  require(taken.auth.mode != auth_mode::forward || !taken.auth.forward_url.empty(),
    "there is an application to ask");
  require(taken.auth.mode != auth_mode::token || !taken.auth.secret_files.empty() ||
            !taken.auth.public_key_files.empty(),
    "tokens have a key");
  require(
    taken.tls.certificate_file.empty() == taken.tls.key_file.empty(), "a certificate has its key");
}

/// What was refused is said in one line, which says where to look.
void check_refusal(const early_exit& why, const sources& from) {
  require(why.code == 2 && why.out.empty(), "a refusal says nothing on stdout");
  require(starts_with(why.err, "previewd: ") && why.err.back() == '\n', "a refusal is a line");
  const std::string_view sentence{why.err.data() + 10, why.err.size() - 11};
  require(is_plain(sentence), "nothing that was written acts on the terminal of who reads it");
  settings defaults;
  bool named = has(sentence, settings_file().path() + ", line ") ||
               has(sentence, settings_file().path() + " is not TOML (line ");
  for (const setting& one : setting_table(defaults))
    named = named || starts_with(sentence, one.name + ": ") || has(sentence, "--" + one.name);
  // A name that is not known is said as it was written, as far as it can be.
  for (const texts& lines : {from.arguments, from.environment})
    for (const std::string& line : lines)
      named = named || has(sentence, log::one_line(line.substr(0, line.find('='))));
  if (!named) std::fprintf(stderr, "%s", why.err.c_str());
  require(named, "a refusal names the setting or the place");
}

/// As a file says it (TOML 1.0, strings).
std::string as_toml(const std::string& value) {
  std::string text{'"'};
  for (const char c : value) {
    if (c == '"' || c == '\\') text += '\\';
    text += c;
  }
  return text += '"';
}

/// A file with all settings as they are shown.
sources as_file(settings& taken) {
  sources written;
  for (const setting& one : setting_table(taken)) {
    const texts shown = one.show();
    // Nothing said is not the same as nobody.
    if (one.name == "preview.frame_ancestors" && !taken.preview.frame_ancestors) continue;
    std::string list;
    for (const std::string& value : shown) list += (list.empty() ? "" : ", ") + as_toml(value);
    if (one.values == arity::many) list = '[' + list + ']';
    written.content += one.name + " = " + list + '\n';
  }
  return written;
}

/// The same as flags. None of them can say that a list is empty: a variable can.
sources as_flags(settings& taken) {
  sources written;
  for (const setting& one : setting_table(taken)) {
    const texts shown = one.show();
    if (one.name == "preview.frame_ancestors" && taken.preview.frame_ancestors && shown.empty())
      written.environment.push_back(variable_name(one.name) + '=');
    for (const std::string& value : shown)
      if (!value.empty()) written.arguments.push_back("--" + one.name + '=' + value);
  }
  return written;
}

void check_same(settings& taken, const sources& written) {
  outcome again = load(written);
  if (const auto* why = std::get_if<early_exit>(&again)) {
    std::fprintf(stderr, "%s", why->err.c_str());
    require(false, "what is shown is taken");
  }
  auto& second = std::get<settings>(again);
  const auto before = setting_table(taken);
  const auto after = setting_table(second);
  for (std::size_t i = 0; i < before.size(); ++i)
    require(before[i].show() == after[i].show(), "what is shown means the same");
  require(taken.listen == second.listen, "addresses are the same");
  require(taken.preview.frame_ancestors == second.preview.frame_ancestors,
    "nobody is not the same as nothing said");
}

/// `previewd check-config`: a line for each setting.
void check_report(sources from) {
  from.arguments.insert(from.arguments.begin(), "check-config");
  const outcome reported = load(from);
  const auto* said = std::get_if<early_exit>(&reported);
  require(said != nullptr && said->code == 0 && said->err.empty(), "what holds can be told");
  std::string_view rest = said->out;
  settings defaults;
  for (const setting& one : setting_table(defaults)) {
    const std::size_t end = rest.find('\n');
    require(end != std::string_view::npos, "each setting has its line");
    const std::string_view line = rest.substr(0, end);
    require(starts_with(line, one.name + " = "), "a line begins with its setting");
    require(is_plain(line), "a line is one, and does nothing else");
    require(has(line, "  # "), "a line says where it came from");
    rest.remove_prefix(end + 1);
  }
  require(rest.empty(), "there are no other lines");
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, std::size_t size) {
  std::string_view input = text_of(data, size);
  sources from;
  switch (choice(input)) {
    case 'e':
      from.environment = lines_of(input);
      break;
    case 'a':
      from.arguments = lines_of(input);
      break;
    default:
      from.content = input;
  }
  outcome result = load(from);
  if (const auto* stopped = std::get_if<early_exit>(&result)) {
    // Help, the version and check-config are flags as others are.
    if (stopped->code == 0 && !from.arguments.empty()) {
      require(stopped->err.empty() && !stopped->out.empty(), "what was asked for is told");
    } else {
      check_refusal(*stopped, from);
    }
    return 0;
  }
  auto& taken = std::get<settings>(result);
  check_bounds(taken);
  if (from.arguments.empty()) check_report(from);
  if (from.arguments.empty() && from.environment.empty()) check_same(taken, as_file(taken));
  check_same(taken, as_flags(taken));
  return 0;
}
