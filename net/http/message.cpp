#include "previewd/net/http/message.hpp"

#include <algorithm>
#include <array>
#include <cstring>

namespace previewd::net::http {

namespace {

constexpr std::size_t most_fields = 256;
constexpr std::size_t longest_chunk_line = 4096;
constexpr std::size_t longest_trailers = 16 * 1024;
constexpr std::size_t most_length_digits = 18;  // fits 63 bits

constexpr char lower(char c) noexcept {
  return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
}

enum char_class : unsigned char { is_token = 1, is_value = 2, is_target = 4, is_host = 8 };

constexpr std::array<unsigned char, 256> classes = [] {
  std::array<unsigned char, 256> table{};
  for (unsigned i = 0; i < 256; ++i) {
    const bool alphanumeric =
      (i >= '0' && i <= '9') || (i >= 'a' && i <= 'z') || (i >= 'A' && i <= 'Z');
    unsigned char value = 0;
    if (alphanumeric) value |= is_token;
    if ((i >= 0x20 && i != 0x7f) || i == '\t') value |= is_value;
    // Bytes beyond ASCII are not allowed in a target, but sent; they do no harm as they are. A
    // fragment is never sent, and two readers could take its '#' differently.
    if (i > 0x20 && i != 0x7f && i != '#') value |= is_target;
    if (alphanumeric) value |= is_host;
    table[i] = value;
  }
  for (char c : std::string_view{"!#$%&'*+-.^_`|~"})
    table[static_cast<unsigned char>(c)] |= is_token;
  // `unreserved` and `sub-delims` (RFC 3986, section 3.2.2), but for the comma: it makes lists.
  for (char c : std::string_view{"-._~!$&'()*+;="}) table[static_cast<unsigned char>(c)] |= is_host;
  return table;
}();

bool is(char c, char_class what) noexcept {
  return (classes[static_cast<unsigned char>(c)] & what) != 0;
}

bool all(std::string_view text, char_class what) noexcept {
  return std::all_of(text.begin(), text.end(), [what](char c) { return is(c, what); });
}

// "HTTP/1.0" and "HTTP/1.1"; 0: not HTTP, 20: another major version.
unsigned version_of(std::string_view text) noexcept {
  if (text.size() != 8 || text.substr(0, 5) != "HTTP/" || text[6] != '.') return 0;
  const auto digit = [](char c) { return c >= '0' && c <= '9'; };
  if (!digit(text[5]) || !digit(text[7])) return 0;
  if (text[5] != '1') return 20;
  return text[7] == '0' ? 10 : 11;
}

std::optional<uint64_t> number(std::string_view digits) noexcept {
  if (digits.empty() || digits.size() > most_length_digits) return std::nullopt;
  uint64_t value = 0;
  for (char c : digits) {
    if (c < '0' || c > '9') return std::nullopt;
    value = value * 10 + static_cast<uint64_t>(c - '0');
  }
  return value;
}

// Takes the next line off `text`, without its end.
std::string_view next_line(std::string_view& text) noexcept {
  const std::size_t lf = text.find('\n');
  std::string_view line = text.substr(0, lf);
  text.remove_prefix(lf == std::string_view::npos ? text.size() : lf + 1);
  if (!line.empty() && line.back() == '\r') line.remove_suffix(1);
  return line;
}

enum class field_fault : uint8_t { none, malformed, too_many };

field_fault
read_fields(std::string_view text, std::vector<field>& fields, head_scanner::kind kind) {
  fields.clear();
  while (true) {
    const std::string_view line = next_line(text);
    if (line.empty()) return field_fault::none;
    const std::size_t colon = line.find(':');
    if (colon == std::string_view::npos) return field_fault::malformed;
    std::string_view name = line.substr(0, colon);
    // A blank before the colon is refused in a request, and taken out of an answer (RFC 9112,
    // section 5.1).
    while (kind == head_scanner::kind::answer && !name.empty() &&
           (name.back() == ' ' || name.back() == '\t'))
      name.remove_suffix(1);
    // A line that begins with a blank continues the one before (obs-fold): not a token either.
    if (name.empty() || !all(name, is_token)) return field_fault::malformed;
    const std::string_view value = trimmed(line.substr(colon + 1));
    if (!all(value, is_value)) return field_fault::malformed;
    if (fields.size() == most_fields) return field_fault::too_many;
    fields.push_back({name, value});
  }
}

struct framing_fields {
  std::optional<uint64_t> content_length;
  bool chunked = false;
  unsigned transfer_codings = 0;
  bool wrong = false;        // cannot be read in one way only
  bool unsupported = false;  // a transfer coding other than chunked
};

framing_fields read_framing(const std::vector<field>& fields) {
  framing_fields result;
  for (const field& f : fields) {
    if (equal_no_case(f.name, "content-length")) {
      const auto length = number(f.value);
      if (!length || (result.content_length && result.content_length != length))
        result.wrong = true;
      result.content_length = length;
    } else if (equal_no_case(f.name, "transfer-encoding")) {
      if (f.value.empty()) result.wrong = true;
      for_each_element(f.value, [&](std::string_view coding) {
        ++result.transfer_codings;
        // Chunked comes once, and last (RFC 9112, section 6.1).
        if (result.chunked) result.wrong = true;
        if (equal_no_case(coding, "chunked")) {
          result.chunked = true;
        } else {
          result.unsupported = true;
        }
      });
      if (result.transfer_codings == 0) result.wrong = true;
    }
  }
  if (result.transfer_codings != 0 && (result.content_length || !result.chunked))
    result.wrong = true;
  return result;
}

bool keeps_alive(const std::vector<field>& fields, unsigned version) {
  bool close = version == 10;
  bool said_close = false;
  for (const field& f : fields) {
    if (!equal_no_case(f.name, "connection")) continue;
    if (list_has(f.value, "close")) said_close = true;
    if (version == 10 && list_has(f.value, "keep-alive")) close = false;
  }
  return !close && !said_close;
}

// Splits a target into what HTTP needs (RFC 9112, section 3.2). False: none of its forms.
bool read_target(request_head& head, std::string_view& authority) {
  std::string_view rest = head.target;
  if (rest == "*") {
    head.path = rest;
    return head.method == "OPTIONS";
  }
  if (rest.front() != '/') {
    const std::size_t colon = rest.find("://");
    if (colon == std::string_view::npos) return false;
    const std::string_view name = rest.substr(0, colon);
    if (!equal_no_case(name, "http") && !equal_no_case(name, "https")) return false;
    rest.remove_prefix(colon + 3);
    const std::size_t end = std::min(rest.find_first_of("/?"), rest.size());
    authority = rest.substr(0, end);
    if (authority.empty() || authority.find('@') != std::string_view::npos) return false;
    rest.remove_prefix(end);
  }
  const std::size_t question = rest.find('?');
  head.path = rest.substr(0, question);
  head.query = question == std::string_view::npos ? std::string_view{} : rest.substr(question + 1);
  return true;
}

constexpr int hex_digit(char c) noexcept {
  if (c >= '0' && c <= '9') return c - '0';
  const char l = lower(c);
  return l >= 'a' && l <= 'f' ? l - 'a' + 10 : -1;
}

// A host, with a port or without (RFC 3986, sections 3.2.2 and 3.2.3). What stands in brackets is
// not looked into, since it is compared and never resolved.
bool is_authority(std::string_view text) noexcept {
  std::string_view host = text;
  std::string_view port;
  if (!text.empty() && text.front() == '[') {
    const std::size_t end = text.find(']');
    if (end == std::string_view::npos || end < 3) return false;
    host = text.substr(1, end - 1);
    port = text.substr(end + 1);
    const auto literal = [](char c) { return is(c, is_host) || c == ':'; };
    if (!std::all_of(host.begin(), host.end(), literal)) return false;
  } else {
    const std::size_t colon = std::min(text.find(':'), text.size());
    host = text.substr(0, colon);
    port = text.substr(colon);
    if (host.empty()) return false;
    for (std::size_t i = 0; i < host.size(); ++i) {
      if (is(host[i], is_host)) continue;
      if (host[i] != '%' || i + 2 >= host.size() || hex_digit(host[i + 1]) < 0 ||
          hex_digit(host[i + 2]) < 0)
        return false;
      i += 2;
    }
  }
  if (port.empty()) return true;
  return port.front() == ':' && port.size() <= 6 &&
         std::all_of(port.begin() + 1, port.end(), [](char c) { return c >= '0' && c <= '9'; });
}

}  // namespace

bool equal_no_case(std::string_view a, std::string_view b) noexcept {
  return a.size() == b.size() && std::equal(a.begin(), a.end(), b.begin(),
                                   [](char x, char y) { return lower(x) == lower(y); });
}

std::string_view trimmed(std::string_view text) noexcept {
  while (!text.empty() && (text.front() == ' ' || text.front() == '\t')) text.remove_prefix(1);
  while (!text.empty() && (text.back() == ' ' || text.back() == '\t')) text.remove_suffix(1);
  return text;
}

std::string_view take_part(std::string_view& list) noexcept {
  const std::size_t end = std::min(list.find(';'), list.size());
  const std::string_view part = trimmed(list.substr(0, end));
  list.remove_prefix(std::min(end + 1, list.size()));
  return part;
}

bool list_has(std::string_view list, std::string_view token) noexcept {
  bool found = false;
  for_each_element(
    list, [&](std::string_view element) { found = found || equal_no_case(element, token); });
  return found;
}

std::string_view find_field(const std::vector<field>& fields, std::string_view name) noexcept {
  for (const field& f : fields)
    if (equal_no_case(f.name, name)) return f.value;
  return {};
}

std::string_view request_head::operator[](std::string_view name) const noexcept {
  return find_field(fields, name);
}

void head_scanner::reset() noexcept {
  begin_ = line_ = seen_ = 0;
  first_line_read_ = false;
}

head_scanner::progress head_scanner::scan(std::string_view bytes, std::size_t limit) noexcept {
  while (true) {
    if (!first_line_read_ && line_ == begin_ && line_ < bytes.size() && kind_ == kind::request) {
      // An empty line before a request is what some clients send after a body (RFC 9112, 2.2).
      if (bytes[line_] != '\r' && !is(bytes[line_], is_token)) return progress::malformed;
    }
    // A server that answers with a bare word leaves the connection open (Next does): known by its
    // first bytes.
    constexpr std::string_view name = "HTTP/";
    if (!first_line_read_ && kind_ == kind::answer &&
        bytes.substr(0, name.size()) != name.substr(0, bytes.size()))
      return progress::malformed;
    const void* found = seen_ < bytes.size()
                          ? std::memchr(bytes.data() + seen_, '\n', bytes.size() - seen_)
                          : nullptr;
    if (found == nullptr) {
      seen_ = bytes.size();
      return seen_ - begin_ > limit ? progress::too_large : progress::incomplete;
    }
    const auto lf = static_cast<std::size_t>(static_cast<const char*>(found) - bytes.data());
    std::string_view line = bytes.substr(line_, lf - line_);
    const bool has_cr = !line.empty() && line.back() == '\r';
    if (!has_cr && kind_ == kind::request) return progress::malformed;
    if (has_cr) line.remove_suffix(1);
    seen_ = line_ = lf + 1;
    if (line_ - begin_ > limit) return progress::too_large;
    if (!line.empty()) {
      if (!first_line_read_ && kind_ == kind::request) {
        // Said at once and not after a time-out: HTTP/0.9, and what is no HTTP at all.
        const std::size_t blank = line.rfind(' ');
        if (blank == std::string_view::npos || version_of(line.substr(blank + 1)) == 0)
          return progress::malformed;
      }
      first_line_read_ = true;
    } else if (first_line_read_) {
      return progress::complete;
    } else if (kind_ == kind::answer || line_ > 8) {
      return progress::malformed;
    } else {
      begin_ = line_;
    }
  }
}

std::optional<message_error> read_request_head(std::string_view text, request_head& head) {
  const auto malformed = [](std::string_view detail) {
    return message_error{400, "bad_request", detail};
  };
  std::vector<field> fields = std::move(head.fields);
  head = request_head{};
  head.fields = std::move(fields);

  const std::string_view line = next_line(text);
  const std::size_t first = line.find(' ');
  const std::size_t last = line.rfind(' ');
  if (first == std::string_view::npos || first == last || first == 0)
    return malformed("The request line is not HTTP/1.1.");
  head.method = line.substr(0, first);
  head.target = line.substr(first + 1, last - first - 1);
  head.version = version_of(line.substr(last + 1));
  if (head.version == 20)
    return message_error{
      505, "version_not_supported", "Only HTTP/1.1 and HTTP/1.0 are spoken here."};
  if (head.version == 0 || !all(head.method, is_token) || head.target.empty() ||
      !all(head.target, is_target))
    return malformed("The request line is not HTTP/1.1.");
  if (head.method == "CONNECT")
    return message_error{501, "not_implemented", "This is not a forward proxy."};
  // Its answer would hold the cookies that a page must not see (RFC 9110, section 9.3.8).
  if (head.method == "TRACE")
    return message_error{501, "not_implemented", "TRACE is not passed on."};

  switch (read_fields(text, head.fields, head_scanner::kind::request)) {
    case field_fault::malformed:
      return malformed("A header field is malformed.");
    case field_fault::too_many:
      return message_error{431, "header_too_large", "The request has too many header fields."};
    case field_fault::none:
      break;
  }

  std::string_view authority;
  if (!read_target(head, authority)) return malformed("The request target is not one of HTTP.");
  unsigned hosts = 0;
  for (const field& f : head.fields) {
    if (!equal_no_case(f.name, "host")) continue;
    ++hosts;
    head.host = f.value;
  }
  if (hosts > 1) return malformed("The request has more than one Host.");
  if (hosts == 0 && head.version == 11) return malformed("The request has no Host.");
  if (!head.host.empty() && !is_authority(head.host))
    return malformed("The Host is not a host name.");
  if (!authority.empty()) {
    if (!is_authority(authority)) return malformed("The Host is not a host name.");
    head.host = authority;
  }

  const framing_fields framing = read_framing(head.fields);
  if (framing.wrong) return malformed("The length of the body is ambiguous.");
  if (framing.unsupported)
    return message_error{
      501, "not_implemented", "Chunked is the only transfer coding spoken here."};
  if (framing.chunked && head.version == 10) return malformed("HTTP/1.0 has no transfer codings.");
  head.content_length = framing.content_length;
  head.chunked = framing.chunked;
  head.keep_alive = keeps_alive(head.fields, head.version);

  bool connection_upgrade = false;
  bool websocket = false;
  bool expects_more = false;
  for (const field& f : head.fields) {
    if (equal_no_case(f.name, "connection")) connection_upgrade |= list_has(f.value, "upgrade");
    if (equal_no_case(f.name, "upgrade")) websocket |= list_has(f.value, "websocket");
    // HTTP/1.0 knows no expectations (RFC 9110, section 10.1.1).
    if (head.version == 11 && equal_no_case(f.name, "expect"))
      for_each_element(f.value, [&](std::string_view expected) {
        (equal_no_case(expected, "100-continue") ? head.expects_continue : expects_more) = true;
      });
  }
  if (expects_more)
    return message_error{
      417, "expectation_failed", "100-continue is the only expectation that can be met."};
  head.websocket_upgrade = head.version == 11 && head.method == "GET" && connection_upgrade &&
                           websocket && !head.chunked && head.content_length.value_or(0) == 0;
  return std::nullopt;
}

bool read_answer_head(std::string_view text, answer_head& head) {
  std::vector<field> fields = std::move(head.fields);
  head = answer_head{};
  head.fields = std::move(fields);

  const std::string_view line = next_line(text);
  head.version = version_of(line.substr(0, 8));
  if (head.version != 10 && head.version != 11) return false;
  if (line.size() < 12 || line[8] != ' ' || (line.size() > 12 && line[12] != ' ')) return false;
  const auto status = number(line.substr(9, 3));
  if (!status || *status < 100 || *status > 999) return false;
  head.status = static_cast<unsigned>(*status);
  if (line.size() > 13) head.reason = line.substr(13);
  if (!all(head.reason, is_value)) return false;
  if (read_fields(text, head.fields, head_scanner::kind::answer) != field_fault::none) return false;

  const framing_fields framing = read_framing(head.fields);
  if (framing.wrong || framing.unsupported || (framing.chunked && head.version == 10)) return false;
  head.content_length = framing.content_length;
  head.chunked = framing.chunked;
  head.keep_alive = keeps_alive(head.fields, head.version);
  for (const field& f : head.fields)
    if (equal_no_case(f.name, "upgrade")) head.websocket_upgrade |= list_has(f.value, "websocket");
  return true;
}

void body_reader::begin(const answer_head& head, bool to_head) noexcept {
  if (to_head || head.status == 204 || head.status == 304) {
    begin(framing::none);
  } else if (head.chunked) {
    begin(framing::chunked);
  } else if (head.content_length) {
    begin(framing::length, *head.content_length);
  } else {
    begin(framing::until_close);
  }
}

void body_reader::begin(framing how, uint64_t length, head_scanner::kind of) noexcept {
  framing_ = how;
  of_ = of;
  left_ = 0;
  overhead_ = 0;
  switch (how) {
    case framing::none:
      state_ = state::done;
      break;
    case framing::length:
      left_ = length;
      state_ = length == 0 ? state::done : state::counted;
      break;
    case framing::chunked:
      state_ = state::size_first;
      break;
    case framing::until_close:
      state_ = state::open;
      break;
  }
}

void body_reader::pass(uint64_t count) noexcept {
  left_ -= count;
  if (left_ == 0) state_ = state::done;
}

void body_reader::end_of_stream() noexcept {
  if (state_ == state::open) state_ = state::done;
}

std::size_t body_reader::feed(std::string_view bytes, std::string* content) {
  switch (state_) {
    case state::done:
    case state::wrong:
      return 0;
    case state::open:
      if (content != nullptr) content->append(bytes);
      return bytes.size();
    case state::counted: {
      const auto n = static_cast<std::size_t>(std::min<uint64_t>(left_, bytes.size()));
      if (content != nullptr) content->append(bytes.substr(0, n));
      left_ -= n;
      if (left_ == 0) state_ = state::done;
      return n;
    }
    default:
      return feed_chunked(bytes, content);
  }
}

std::size_t body_reader::feed_chunked(std::string_view bytes, std::string* content) {
  std::size_t at = 0;
  while (at < bytes.size() && state_ != state::done && state_ != state::wrong) {
    if (state_ == state::data) {
      const auto n = static_cast<std::size_t>(std::min<uint64_t>(left_, bytes.size() - at));
      if (content != nullptr) content->append(bytes.substr(at, n));
      left_ -= n;
      at += n;
      if (left_ == 0) state_ = state::data_cr;
    } else {
      step(bytes[at]);
      if (state_ == state::wrong) return at;
      ++at;
    }
  }
  return at;
}

// RFC 9112, section 7.1. One byte of what is not data.
void body_reader::step(char c) noexcept {
  switch (state_) {
    case state::size_first:
    case state::size: {
      const int digit = hex_digit(c);
      if (digit >= 0) {
        if (left_ >> 58 != 0 || ++overhead_ > 16) {
          state_ = state::wrong;
          return;
        }
        left_ = left_ * 16 + static_cast<uint64_t>(digit);
        state_ = state::size;
      } else if (state_ == state::size_first) {
        state_ = state::wrong;
      } else if (c == '\r') {
        state_ = state::size_lf;
      } else if (c == ';') {
        state_ = state::extension;
      } else {
        state_ = c == ' ' || c == '\t' ? state::size_blank : state::wrong;
      }
      return;
    }
    case state::size_blank:
      if (++overhead_ > longest_chunk_line) {
        state_ = state::wrong;
      } else if (c == '\r' && of_ == head_scanner::kind::answer) {
        // Blanks are what some servers pad the size with; in a request they stand before an
        // extension only.
        state_ = state::size_lf;
      } else if (c == ';') {
        state_ = state::extension;
      } else if (c != ' ' && c != '\t') {
        state_ = state::wrong;
      }
      return;
    case state::extension:
      if (c == '\r') {
        state_ = state::size_lf;
      } else if (!is(c, is_value) || ++overhead_ > longest_chunk_line) {
        state_ = state::wrong;
      }
      return;
    case state::size_lf:
      overhead_ = 0;
      if (c != '\n') {
        state_ = state::wrong;
      } else {
        state_ = left_ == 0 ? state::trailer_begin : state::data;
      }
      return;
    case state::data_cr:
      state_ = c == '\r' ? state::data_lf : state::wrong;
      return;
    case state::data_lf:
      state_ = c == '\n' ? state::size_first : state::wrong;
      return;
    case state::trailer_begin:
      if (c == '\r') {
        state_ = state::last_lf;
      } else {
        state_ =
          is(c, is_token) && ++overhead_ < longest_trailers ? state::trailer_name : state::wrong;
      }
      return;
    case state::trailer_name:
      if (c == ':') {
        state_ = state::trailer;
      } else if (!is(c, is_token) || ++overhead_ > longest_trailers) {
        state_ = state::wrong;
      }
      return;
    case state::trailer:
      if (c == '\r') {
        state_ = state::trailer_lf;
      } else if (!is(c, is_value) || ++overhead_ > longest_trailers) {
        state_ = state::wrong;
      }
      return;
    case state::trailer_lf:
      state_ = c == '\n' ? state::trailer_begin : state::wrong;
      return;
    case state::last_lf:
      state_ = c == '\n' ? state::done : state::wrong;
      return;
    case state::counted:
    case state::open:
    case state::data:
    case state::done:
    case state::wrong:
      return;
  }
}

std::string_view reason_phrase(unsigned status) noexcept {
  switch (status) {
    case 100:
      return "Continue";
    case 101:
      return "Switching Protocols";
    case 103:
      return "Early Hints";
    case 200:
      return "OK";
    case 201:
      return "Created";
    case 202:
      return "Accepted";
    case 204:
      return "No Content";
    case 206:
      return "Partial Content";
    case 301:
      return "Moved Permanently";
    case 302:
      return "Found";
    case 303:
      return "See Other";
    case 304:
      return "Not Modified";
    case 307:
      return "Temporary Redirect";
    case 308:
      return "Permanent Redirect";
    case 400:
      return "Bad Request";
    case 401:
      return "Unauthorized";
    case 403:
      return "Forbidden";
    case 404:
      return "Not Found";
    case 405:
      return "Method Not Allowed";
    case 406:
      return "Not Acceptable";
    case 408:
      return "Request Timeout";
    case 409:
      return "Conflict";
    case 410:
      return "Gone";
    case 411:
      return "Length Required";
    case 412:
      return "Precondition Failed";
    case 413:
      return "Content Too Large";
    case 414:
      return "URI Too Long";
    case 415:
      return "Unsupported Media Type";
    case 416:
      return "Range Not Satisfiable";
    case 417:
      return "Expectation Failed";
    case 421:
      return "Misdirected Request";
    case 422:
      return "Unprocessable Content";
    case 426:
      return "Upgrade Required";
    case 429:
      return "Too Many Requests";
    case 431:
      return "Request Header Fields Too Large";
    case 500:
      return "Internal Server Error";
    case 501:
      return "Not Implemented";
    case 502:
      return "Bad Gateway";
    case 503:
      return "Service Unavailable";
    case 504:
      return "Gateway Timeout";
    case 505:
      return "HTTP Version Not Supported";
    case 508:
      return "Loop Detected";
    default:
      return {};
  }
}

bool is_idempotent(std::string_view method) noexcept {
  return method == "GET" || method == "HEAD" || method == "OPTIONS" || method == "PUT" ||
         method == "DELETE" || method == "TRACE";
}

bool is_navigation(const request_head& head) noexcept {
  if (head.websocket_upgrade) return false;
  bool fetch_metadata = false;
  for (const field& f : head.fields) {
    if (f.name.size() < 10 || !equal_no_case(f.name.substr(0, 10), "sec-fetch-")) continue;
    fetch_metadata = true;
    if (equal_no_case(f.name, "sec-fetch-mode")) return equal_no_case(f.value, "navigate");
  }
  if (fetch_metadata) return false;
  // Preferred: the first type that is named. Browsers name it first, programs that take anything do
  // not name it at all.
  std::string_view first;
  for_each_element(head["accept"], [&](std::string_view element) {
    if (first.empty()) first = trimmed(element.substr(0, element.find(';')));
  });
  return equal_no_case(first, "text/html") || equal_no_case(first, "application/xhtml+xml");
}

void write_answer_head(
  std::string& out, const response& answer, const own_answer& how, std::string_view date) {
  out += "HTTP/1.1 ";
  out += std::to_string(answer.status);
  out += ' ';
  out += reason_phrase(answer.status);
  out += "\r\nDate: ";
  out += date;
  out += "\r\nServer: previewd\r\n";
  for (const auto& [name, value] : answer.fields) {
    out += name;
    out += ": ";
    // What a value comes from is not known here: one that would end its line ends nothing.
    for (char c : value) out += is(c, is_value) ? c : ' ';
    out += "\r\n";
  }
  if (!answer.content_type.empty()) {
    out += "Content-Type: ";
    out += answer.content_type;
    out += "\r\n";
  }
  const bool has_body = answer.status >= 200 && answer.status != 204 && answer.status != 304;
  if (how.length) {
    if (has_body) {
      out += "Content-Length: ";
      out += std::to_string(*how.length);
      out += "\r\n";
    }
  } else if (how.version == 11) {
    out += "Transfer-Encoding: chunked\r\n";
  }
  if (!how.keep_alive) {
    out += "Connection: close\r\n";
  } else if (how.version == 10) {
    out += "Connection: keep-alive\r\n";
  }
  out += "\r\n";
}

std::string escape_html(std::string_view text) {
  std::string out;
  out.reserve(text.size());
  for (char c : text) {
    switch (c) {
      case '&':
        out += "&amp;";
        break;
      case '<':
        out += "&lt;";
        break;
      case '>':
        out += "&gt;";
        break;
      case '"':
        out += "&quot;";
        break;
      case '\'':
        out += "&#39;";
        break;
      default:
        out += c;
    }
  }
  return out;
}

}  // namespace previewd::net::http
