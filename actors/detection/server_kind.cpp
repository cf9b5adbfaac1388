#include "previewd/actors/detection/server_kind.hpp"

#include <algorithm>
#include <array>
#include <vector>

namespace previewd::actors {

namespace {

constexpr std::size_t words_read = 4;

struct known_program {
  std::string_view name;
  std::string_view kind;
};

constexpr std::array programs{
  known_program{"vite", "vite"},
  known_program{"next", "next"},
  known_program{"next-server", "next"},
  known_program{"nuxt", "nuxt"},
  known_program{"nuxi", "nuxt"},
  known_program{"astro", "astro"},
  known_program{"react-router", "react-router"},
  known_program{"remix", "remix"},
  known_program{"gatsby", "gatsby"},
  known_program{"ng", "angular"},
  known_program{"storybook", "storybook"},
  known_program{"webpack", "webpack"},
  known_program{"webpack-dev-server", "webpack"},
  known_program{"react-scripts", "webpack"},
  known_program{"vue-cli-service", "webpack"},
  known_program{"rsbuild", "rsbuild"},
  known_program{"rspack", "rspack"},
  known_program{"parcel", "parcel"},
  known_program{"esbuild", "esbuild"},
  known_program{"eleventy", "eleventy"},
  known_program{"live-server", "live-server"},
  known_program{"browser-sync", "browser-sync"},
  known_program{"flask", "flask"},
  known_program{"manage.py", "django"},
  known_program{"django-admin", "django"},
  known_program{"uvicorn", "uvicorn"},
  known_program{"rails", "rails"},
  known_program{"php", "php"},
};

// Programs that say nothing themselves: what they run does.
constexpr std::array<std::string_view, 9> runners{
  "node", "nodejs", "bun", "deno", "python", "ruby", "sh", "bash", "env"};

std::string_view name_of(std::string_view word) {
  const std::size_t slash = word.rfind('/');
  if (slash != std::string_view::npos) word.remove_prefix(slash + 1);
  for (const std::string_view ending : {".js", ".mjs", ".cjs"}) {
    if (word.size() > ending.size() && word.substr(word.size() - ending.size()) == ending)
      word.remove_suffix(ending.size());
  }
  return word;
}

bool is_runner(std::string_view name) {
  // `python3.11` and `ruby3.1` are what they are without their versions.
  while (!name.empty() && (name.back() == '.' || (name.back() >= '0' && name.back() <= '9')))
    name.remove_suffix(1);
  return std::find(runners.begin(), runners.end(), name) != runners.end();
}

std::string_view kind_of_program(std::string_view word) {
  const std::string_view name = name_of(word);
  for (const known_program& program : programs)
    if (program.name == name) return program.kind;
  // A script may have any name in the folder of its package.
  constexpr std::string_view modules = "node_modules/";
  const std::size_t at = word.rfind(modules);
  if (at == std::string_view::npos) return {};
  std::string_view package = word.substr(at + modules.size());
  package = package.substr(0, package.find('/'));
  for (const known_program& program : programs)
    if (program.name == package) return program.kind;
  return {};
}

}  // namespace

std::string_view kind_of_command(std::string_view command) {
  bool runs_another = false;
  for (std::size_t words = 0; words < words_read && !command.empty(); ++words) {
    const std::string_view word = command.substr(0, command.find(' '));
    command.remove_prefix(std::min(command.size(), word.size() + 1));
    if (words > 0 && !word.empty() && word.front() == '-') continue;  // `-m`, `--inspect`
    const std::string_view kind = kind_of_program(word);
    if (!kind.empty()) return kind;
    if (runs_another || !is_runner(name_of(word))) return {};
    runs_another = name_of(word) != "env";
  }
  return {};
}

std::string kind_of(const std::string& seen, std::string_view command) {
  if (seen != "http" && seen != "express" && seen != "vite") return seen;
  const std::string_view kind = kind_of_command(command);
  return kind.empty() ? seen : std::string{kind};
}

}  // namespace previewd::actors
