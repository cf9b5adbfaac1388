#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "previewd/net/http/exchange.hpp"

/// Reading HTTP/1.1 (RFC 9112): pure machines over bytes, without a socket. Strict with requests,
/// since what two parsers read differently is how requests are smuggled; with answers only as far
/// as it makes no difference to whom the bytes belong.
namespace previewd::net::http {

/// ASCII, without case.
bool equal_no_case(std::string_view a, std::string_view b) noexcept;

/// Without the blanks and tabs around it.
std::string_view trimmed(std::string_view text) noexcept;

/// Takes the first part off `list`, of those that semicolons divide, and returns it trimmed.
std::string_view take_part(std::string_view& list) noexcept;

/// Calls `use(element)` for every element of a comma-separated list (RFC 9110, section 5.6.1),
/// trimmed, empty ones left out.
template <class Use> void for_each_element(std::string_view list, Use use) {
  while (!list.empty()) {
    const std::size_t comma = list.find(',');
    const std::string_view element = trimmed(list.substr(0, comma));
    if (!element.empty()) use(element);
    if (comma == std::string_view::npos) return;
    list.remove_prefix(comma + 1);
  }
}

/// Whether a comma-separated list has `token`, in any case.
bool list_has(std::string_view list, std::string_view token) noexcept;

/// The first value of a field, by its name in any case; empty when there is none.
std::string_view find_field(const std::vector<field>& fields, std::string_view name) noexcept;

/// Finds the end of a head in bytes that arrive bit by bit. A request's lines end in CR LF; an
/// answer's may end in LF alone.
class head_scanner {
public:
  enum class kind : uint8_t { request, answer };
  enum class progress : uint8_t { incomplete, complete, malformed, too_large };

  explicit head_scanner(kind what) noexcept : kind_{what} {}

  /// Looks at all bytes there are so far, those of earlier calls included. `limit`: bytes of the
  /// whole head.
  progress scan(std::string_view bytes, std::size_t limit) noexcept;

  /// After `complete`: where the head begins (empty lines before a request are skipped) and ends,
  /// its empty line included.
  std::size_t begin() const noexcept { return begin_; }
  std::size_t end() const noexcept { return line_; }

  /// After `too_large`: whether it is the first line that is.
  bool in_first_line() const noexcept { return !first_line_read_; }

  void reset() noexcept;

private:
  kind kind_;
  std::size_t begin_ = 0;
  std::size_t line_ = 0;  // where the line under way begins
  std::size_t seen_ = 0;
  bool first_line_read_ = false;
};

/// Why a request is refused before anybody sees it.
struct message_error {
  unsigned status;
  std::string_view code;
  std::string_view detail;
};

/// Reads a whole head, its empty line included. The views in `head` point into `text`.
std::optional<message_error> read_request_head(std::string_view text, request_head& head);

/// The head of an answer. The views point into the text it was read from.
struct answer_head {
  unsigned version = 11;
  unsigned status = 0;
  std::string_view reason;
  std::vector<field> fields;
  std::optional<uint64_t> content_length;
  bool chunked = false;
  bool keep_alive = true;
  bool websocket_upgrade = false;  // `Upgrade: websocket`
};

/// Reads a whole head. False: this is not HTTP/1.x, or its framing is ambiguous.
bool read_answer_head(std::string_view text, answer_head& head);

/// Follows the framing of a body, and says which bytes are its own.
class body_reader {
public:
  enum class framing : uint8_t { none, length, chunked, until_close };

  /// `of`: a request's chunks are read to the letter, an answer's may be padded as servers do.
  void begin(
    framing how, uint64_t length = 0, head_scanner::kind of = head_scanner::kind::answer) noexcept;

  /// The body of an answer (RFC 9112, section 6.3). `to_head`: the request was a HEAD.
  void begin(const answer_head& head, bool to_head = false) noexcept;

  /// Takes bytes off the front and returns how many belong to the body, framing and trailers
  /// included. Stops at its end, or at the byte that is wrong. Appends the content alone to
  /// `content` when that is given.
  std::size_t feed(std::string_view bytes, std::string* content = nullptr);

  /// The other side has closed: the end of a body that has no other.
  void end_of_stream() noexcept;

  /// Of a body whose length is known: the bytes that are still to come. 0 for any other one.
  uint64_t counted_left() const noexcept { return state_ == state::counted ? left_ : 0; }

  /// So many of those have come, and gone on without being seen here. At most `counted_left()`.
  void pass(uint64_t count) noexcept;

  bool complete() const noexcept { return state_ == state::done; }
  bool malformed() const noexcept { return state_ == state::wrong; }
  framing how() const noexcept { return framing_; }

private:
  enum class state : uint8_t {
    counted,
    open,
    size_first,
    size,
    size_blank,
    extension,
    size_lf,
    data,
    data_cr,
    data_lf,
    trailer_begin,
    trailer_name,
    trailer,
    trailer_lf,
    last_lf,
    done,
    wrong
  };
  std::size_t feed_chunked(std::string_view bytes, std::string* content);
  void step(char c) noexcept;

  framing framing_ = framing::none;
  head_scanner::kind of_ = head_scanner::kind::answer;
  state state_ = state::done;
  uint64_t left_ = 0;
  std::size_t overhead_ = 0;  // bytes of the line or the trailers under way
};

/// What HTTP calls the status; empty for one it does not name (RFC 9110, section 15).
std::string_view reason_phrase(unsigned status) noexcept;

/// Whether a browser wants a page: `Sec-Fetch-Mode: navigate`, or no `Sec-Fetch-*` and `Accept`
/// prefers HTML.
bool is_navigation(const request_head& head) noexcept;

/// Whether the method may be repeated without harm (RFC 9110, section 9.2.2).
bool is_idempotent(std::string_view method) noexcept;

/// Writes the head of an answer of previewd itself. `length`: of its body; none: chunked, or until
/// the close for HTTP/1.0.
struct own_answer {
  unsigned version = 11;
  bool keep_alive = true;
  std::optional<uint64_t> length;
};
void write_answer_head(
  std::string& out, const response& answer, const own_answer& how, std::string_view date);

/// `text` with `& < > " '` made harmless in HTML.
std::string escape_html(std::string_view text);

}  // namespace previewd::net::http
