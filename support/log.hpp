#pragma once

#include <initializer_list>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>

/// Log lines: one an event, on stderr, as text or JSON. Any thread; never blocks on a disk.
namespace previewd::log {

enum class level : unsigned char { debug, info, warn, error, off };
enum class format : unsigned char { text, json };

struct settings {
  level threshold = level::info;
  previewd::log::format format = format::text;
};

/// One `name=value` of a line. The value is escaped: no control character from outside reaches the
/// log.
struct field {
  std::string_view name;
  std::string value;

  field(std::string_view n, std::string v) : name{n}, value{std::move(v)} {}
  field(std::string_view n, std::string_view v) : name{n}, value{v} {}
  field(std::string_view n, const char* v) : name{n}, value{v} {}
  template <class Number>
  requires std::is_arithmetic_v<Number> field(std::string_view n, Number v)
      : name{n}, value{std::to_string(v)} {}
};

/// Text from outside as a line shows it: controls and what is not UTF-8 as `\n`, `\x1b` or
/// `\u202e`, nothing beyond 2 KiB.
std::string one_line(std::string_view text);

/// Begins or changes logging. Before the first call, lines of level info and above go out as text.
void configure(const settings& wanted);

/// Whether a line of this level goes out: ask before building an expensive one.
bool enabled(level wanted) noexcept;

/// Writes `sentence event=... name=value ...`. `event` is a stable id. A line that repeats (same
/// event, sentence, and fields `key`, `generation` and `terminal`) within a second is counted
/// instead, and the count is said with the next one.
void write(level at, std::string_view event, std::string_view sentence,
  std::initializer_list<field> fields = {});

inline void
debug(std::string_view event, std::string_view sentence, std::initializer_list<field> fields = {}) {
  write(level::debug, event, sentence, fields);
}
inline void
info(std::string_view event, std::string_view sentence, std::initializer_list<field> fields = {}) {
  write(level::info, event, sentence, fields);
}
inline void
warn(std::string_view event, std::string_view sentence, std::initializer_list<field> fields = {}) {
  write(level::warn, event, sentence, fields);
}
inline void
error(std::string_view event, std::string_view sentence, std::initializer_list<field> fields = {}) {
  write(level::error, event, sentence, fields);
}

}  // namespace previewd::log
