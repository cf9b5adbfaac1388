#include "previewd/support/log.hpp"

#include <spdlog/logger.h>
#include <spdlog/pattern_formatter.h>
#include <spdlog/sinks/stdout_sinks.h>

#include <array>
#include <atomic>
#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <utility>

namespace previewd::log {

namespace {

using clock = std::chrono::steady_clock;

/// How long a line is only counted after it was written.
constexpr clock::duration repeat_window = std::chrono::seconds{1};
/// Lines that are remembered at once; with more different ones the oldest is forgotten.
constexpr std::size_t remembered_lines = 128;
/// Bytes of one value or sentence that reach the log.
constexpr std::size_t longest_text = 2048;

constexpr uint32_t not_utf8 = 0xffffffff;

struct code_point {
  uint32_t value;
  std::size_t length;
};

/// The code point at the start of `text` (RFC 3629); `not_utf8` with length 1 for a byte that
/// begins none.
code_point first_code_point(std::string_view text) {
  const auto byte = [&](std::size_t i) {
    return static_cast<uint32_t>(static_cast<unsigned char>(text[i]));
  };
  const uint32_t lead = byte(0);
  if (lead < 0x80) return {lead, 1};
  const std::size_t length = lead >= 0xf0 ? 4 : lead >= 0xe0 ? 3 : 2;
  if (lead < 0xc2 || lead > 0xf4 || text.size() < length) return {not_utf8, 1};
  uint32_t value = lead & (0x7fu >> length);
  for (std::size_t i = 1; i < length; ++i) {
    if ((byte(i) & 0xc0) != 0x80) return {not_utf8, 1};
    value = value << 6 | (byte(i) & 0x3f);
  }
  constexpr std::array<uint32_t, 5> least{0, 0, 0x80, 0x800, 0x10000};
  const bool surrogate = value >= 0xd800 && value <= 0xdfff;
  if (value < least[length] || value > 0x10ffff || surrogate) return {not_utf8, 1};
  return {value, length};
}

/// What could move a cursor, end a line, or turn the reading direction.
bool is_control(uint32_t value) {
  return value < 0x20 || (value >= 0x7f && value <= 0x9f) || (value >= 0x2028 && value <= 0x202e) ||
         (value >= 0x2066 && value <= 0x2069);
}

void append_hex(std::string& to, uint32_t value, int digits) {
  for (int shift = 4 * (digits - 1); shift >= 0; shift -= 4)
    to += "0123456789abcdef"[value >> shift & 0xf];
}

enum class quotes : unsigned char { kept, escaped };

/// Text on one line: controls as `\n`, `\x1b` or `\u202e`, bytes that are not UTF-8 as `\xff`.
void append_text(std::string& to, std::string_view text, quotes how) {
  const bool cut = text.size() > longest_text;
  text = text.substr(0, longest_text);
  while (!text.empty()) {
    const code_point next = first_code_point(text);
    if (next.value == not_utf8) {
      to += "\\x";
      append_hex(to, static_cast<unsigned char>(text.front()), 2);
    } else if (next.value == '\n') {
      to += "\\n";
    } else if (next.value == '\r') {
      to += "\\r";
    } else if (next.value == '\t') {
      to += "\\t";
    } else if (is_control(next.value)) {
      to += next.value < 0x100 ? "\\x" : "\\u";
      append_hex(to, next.value, next.value < 0x100 ? 2 : 4);
    } else {
      if (how == quotes::escaped && (next.value == '"' || next.value == '\\')) to += '\\';
      to += text.substr(0, next.length);
    }
    text.remove_prefix(next.length);
  }
  if (cut) to += "...";
}

/// A JSON string (RFC 8259, section 7); bytes that are not UTF-8 become U+FFFD.
void append_json(std::string& to, std::string_view text) {
  const bool cut = text.size() > longest_text;
  text = text.substr(0, longest_text);
  to += '"';
  while (!text.empty()) {
    const code_point next = first_code_point(text);
    if (next.value == not_utf8) {
      to += "\xef\xbf\xbd";
    } else if (next.value == '"' || next.value == '\\') {
      to += '\\';
      to += text.front();
    } else if (is_control(next.value)) {
      to += "\\u";
      append_hex(to, next.value, 4);
    } else {
      to += text.substr(0, next.length);
    }
    text.remove_prefix(next.length);
  }
  to += cut ? "...\"" : "\"";
}

bool needs_quotes(std::string_view value) {
  if (value.empty()) return true;
  for (const char c : value) {
    const auto byte = static_cast<unsigned char>(c);
    if (byte <= ' ' || byte >= 0x7f || c == '"' || c == '\\' || c == '=') return true;
  }
  return false;
}

std::string render(format as, std::string_view event, std::string_view sentence,
  std::initializer_list<field> fields, uint64_t repeated) {
  std::string line;
  auto add = [&](std::string_view name, std::string_view value) {
    if (as == format::json) {
      line += ',';
      append_json(line, name);
      line += ':';
      append_json(line, value);
      return;
    }
    line += ' ';
    append_text(line, name, quotes::kept);
    line += '=';
    const bool quote = needs_quotes(value);
    if (quote) line += '"';
    append_text(line, value, quote ? quotes::escaped : quotes::kept);
    if (quote) line += '"';
  };
  if (as == format::json) {
    line += "\"message\":";
    append_json(line, sentence);
  } else {
    append_text(line, sentence, quotes::kept);
  }
  add("event", event);
  for (const field& one : fields) add(one.name, one.value);
  if (repeated > 0) add("repeated", std::to_string(repeated));
  return line;
}

spdlog::level::level_enum to_spdlog(level value) {
  switch (value) {
    case level::debug:
      return spdlog::level::debug;
    case level::info:
      return spdlog::level::info;
    case level::warn:
      return spdlog::level::warn;
    case level::error:
      return spdlog::level::err;
    case level::off:
      break;
  }
  return spdlog::level::off;
}

std::unique_ptr<spdlog::logger> make_logger(const char* pattern) {
  auto made =
    std::make_unique<spdlog::logger>("previewd", std::make_shared<spdlog::sinks::stderr_sink_mt>());
  made->set_formatter(
    std::make_unique<spdlog::pattern_formatter>(pattern, spdlog::pattern_time_type::utc));
  made->set_level(spdlog::level::trace);
  // A log that cannot be written is no reason to write another line.
  made->set_error_handler([](const std::string&) {});
  return made;
}

/// A line that was written, and how often it has come again since.
struct remembered {
  std::size_t hash = 0;
  clock::time_point written;
  uint64_t repeats = 0;
  level at = level::off;
  std::string event, sentence, subject;
};

/// What a line is about: two servers are two subjects, so that the end of one never hides the end
/// of the other.
std::string subject_of(std::initializer_list<field> fields) {
  std::string subject;
  for (const field& one : fields) {
    if (one.name != "key" && one.name != "generation" && one.name != "terminal") continue;
    subject += one.value.substr(0, longest_text) + '\n';
  }
  return subject;
}

class writer {
public:
  void configure(const settings& wanted) {
    format_.store(wanted.format, std::memory_order_relaxed);
    threshold_.store(wanted.threshold, std::memory_order_relaxed);
  }

  bool enabled(level wanted) const noexcept {
    return wanted != level::off && wanted >= threshold_.load(std::memory_order_relaxed);
  }

  void write(level at, std::string_view event, std::string_view sentence,
    std::initializer_list<field> fields) {
    const clock::time_point now = clock::now();
    std::string subject = subject_of(fields);
    uint64_t repeated = 0;
    std::array<remembered, 4> due;
    std::size_t due_count = 0;
    {
      const std::lock_guard guard{mutex_};
      repeated = admit(at, event, sentence, std::move(subject), now, due[0]);
      if (repeated == suppressed) return;
      if (due[0].repeats > 0) due_count = 1;
      for (remembered& line : lines_) {
        if (due_count == due.size()) break;
        if (line.repeats == 0 || now - line.written < repeat_window) continue;
        due[due_count++] = line;
        line.repeats = 0;
        line.written = now;
      }
    }
    for (std::size_t i = 0; i < due_count; ++i)
      emit(due[i].at, due[i].event, due[i].sentence, {}, due[i].repeats);
    emit(at, event, sentence, fields, repeated);
  }

private:
  static constexpr uint64_t suppressed = ~uint64_t{0};

  /// Whether the line goes out: `suppressed`, or how often it was counted since it last did. The
  /// line that had to be forgotten for it goes to `forgotten`.
  uint64_t admit(level at, std::string_view event, std::string_view sentence, std::string subject,
    clock::time_point now, remembered& forgotten) {
    const std::hash<std::string_view> hash;
    const std::size_t mixed = hash(event) ^ hash(sentence) * 31 ^ hash(subject) * 131;
    remembered* victim = &lines_.front();
    for (remembered& line : lines_) {
      if (line.hash == mixed && line.event == event && line.sentence == sentence &&
          line.subject == subject) {
        if (now - line.written < repeat_window) {
          ++line.repeats;
          return suppressed;
        }
        line.written = now;
        return std::exchange(line.repeats, 0);
      }
      // A count is kept longer than a line that came once.
      const bool older = line.written < victim->written;
      if ((line.repeats > 0) == (victim->repeats > 0) ? older : line.repeats == 0) victim = &line;
    }
    forgotten = std::exchange(*victim,
      remembered{mixed, now, 0, at, std::string{event}, std::string{sentence}, std::move(subject)});
    return 0;
  }

  void emit(level at, std::string_view event, std::string_view sentence,
    std::initializer_list<field> fields, uint64_t repeated) {
    const format as = format_.load(std::memory_order_relaxed);
    const std::string line = render(as, event, sentence, fields, repeated);
    (as == format::json ? json_ : text_)
      ->log(to_spdlog(at), spdlog::string_view_t{line.data(), line.size()});
  }

  std::atomic<level> threshold_{level::info};
  std::atomic<format> format_{format::text};
  // spdlog's standard streams share one mutex: lines of both never mix.
  std::unique_ptr<spdlog::logger> text_ = make_logger("%Y-%m-%dT%H:%M:%S.%eZ %l %v");
  std::unique_ptr<spdlog::logger> json_ =
    make_logger(R"({"time":"%Y-%m-%dT%H:%M:%S.%eZ","level":"%l",%v})");
  std::mutex mutex_;
  std::array<remembered, remembered_lines> lines_;
};

/// Never destroyed: threads may still log while the process ends.
writer& the_writer() {
  static writer& one = *new writer;
  return one;
}

}  // namespace

std::string one_line(std::string_view text) {
  std::string line;
  append_text(line, text, quotes::kept);
  return line;
}

void configure(const settings& wanted) {
  the_writer().configure(wanted);
}

bool enabled(level wanted) noexcept {
  return the_writer().enabled(wanted);
}

void write(level at, std::string_view event, std::string_view sentence,
  std::initializer_list<field> fields) {
  if (enabled(at)) the_writer().write(at, event, sentence, fields);
}

}  // namespace previewd::log
