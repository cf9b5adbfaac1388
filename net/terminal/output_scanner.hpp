#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "previewd/messages/detector.hpp"

namespace previewd::net::terminal {

/// Finds the addresses of dev servers in the output of a terminal: `http(s)://host:port` where the
/// host is a loopback, wildcard or other numeric address, `localhost` or a name under it, or a name
/// without dots (this machine's own). Text is what a person would read: escape sequences (ECMA-48)
/// are left out, also inside a URL, and a URL that a program wrapped at the last column is joined.
/// What was typed at a shell's prompt is not output: lines that bracketed paste mode (`CSI ? 2004
/// h` to `l`) shows to be edited are ignored.
///
/// A byte machine: what it finds does not depend on how the bytes are cut. Memory is bounded. Any
/// one thread at a time.
class output_scanner {
public:
  /// Found addresses beyond this many in one list are dropped.
  static constexpr std::size_t most_hints = 32;

  /// The width of the window, which tells a wrapped line from a finished one. 0: not known.
  void set_columns(unsigned columns) noexcept { columns_ = columns; }

  /// Reads on, and adds what is found to `found`, each once.
  void feed(std::string_view bytes, std::vector<url_hint>& found);

  /// Nothing has come for a while: a URL that ends the output counts as finished.
  void settle(std::vector<url_hint>& found);

private:
  enum class escape : uint8_t { none, started, intermediate, csi, osc, string };
  enum class url : uint8_t { none, scheme, host, bracket, after_bracket, port };

  bool skips_text() const noexcept;
  /// What `printable` comes to for that many characters with which nothing begins.
  void pass(std::size_t characters);
  void take(unsigned char byte);
  void take_escape(unsigned char byte);
  void take_csi(unsigned char byte);
  void end_csi(unsigned char last);
  unsigned parameter(unsigned index) const;
  void control(unsigned char byte);
  void printable(unsigned char byte);
  void url_byte(char byte);
  void match_scheme(char byte);
  void end_url();
  void line_is_over();
  void publish_ended_line();
  static void add(std::vector<url_hint>& list, const url_hint& hint);

  escape escape_ = escape::none;
  bool string_escaped_ = false;        // the byte before, within an OSC or string, was ESC
  std::size_t sequence_length_ = 0;    // bytes of the escape sequence under way
  std::array<char, 16> parameters_{};  // of the CSI sequence; longer ones are none that matter
  std::size_t parameters_size_ = 0;

  unsigned columns_ = 0;
  unsigned column_ = 0;
  bool full_ = false;  // a carriage return came when the line's last cell had just been filled

  url url_ = url::none;
  std::size_t matched_ = 0;  // bytes of "http", "s", "://"
  previewd::scheme scheme_ = previewd::scheme::http;
  std::string host_;
  uint32_t port_ = 0;
  unsigned digits_ = 0;

  bool editing_ = false;        // bracketed paste mode is on
  std::vector<url_hint> line_;  // found in the line being edited
  std::vector<url_hint>
    ended_line_;  // found in the line before it, which may yet prove to have been typed
  std::vector<url_hint>* found_ = nullptr;
};

}  // namespace previewd::net::terminal
