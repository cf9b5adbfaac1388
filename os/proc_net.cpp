#include "previewd/os/proc_net.hpp"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <cstring>
#include <string>

#include "previewd/os/system_call.hpp"
#include "previewd/os/unique_fd.hpp"

namespace previewd::os {

namespace {

const call_site open_table{"proc_net.open", {EMFILE, ENFILE, ENOMEM, EACCES}};
const call_site read_table{"proc_net.read", {ENOMEM, short_transfer}};

std::string_view next_word(std::string_view& rest) noexcept {
  rest.remove_prefix(std::min(rest.find_first_not_of(' '), rest.size()));
  const std::size_t end = std::min(rest.find(' '), rest.size());
  const std::string_view word = rest.substr(0, end);
  rest.remove_prefix(end);
  return word;
}

template <class Number> std::optional<Number> to_number(std::string_view text, int base) noexcept {
  Number value{};
  const auto [end, failure] = std::from_chars(text.data(), text.data() + text.size(), value, base);
  if (failure != std::errc{} || end != text.data() + text.size()) return std::nullopt;
  return value;
}

error_code
append_table(const char* path, address_family family, std::vector<listening_socket>& sockets) {
  const unique_fd file{system_call(open_table, [&] { return ::open(path, O_RDONLY | O_CLOEXEC); })};
  if (!file) return last_error();
  std::string text;
  std::array<char, 16 * 1024> buffer;
  for (;;) {
    const ssize_t n = system_call(read_table, buffer.size(),
      [&](std::size_t size) { return ::read(file.get(), buffer.data(), size); });
    if (n < 0) return last_error();
    if (n == 0) return {};
    text.append(buffer.data(), static_cast<std::size_t>(n));
    std::size_t begin = 0;
    for (std::size_t end; (end = text.find('\n', begin)) != std::string::npos; begin = end + 1) {
      if (const auto socket =
            parse_proc_net(std::string_view{text}.substr(begin, end - begin), family))
        sockets.push_back(*socket);
    }
    text.erase(0, begin);
  }
}

}  // namespace

std::optional<listening_socket> parse_proc_net(std::string_view line, address_family family) {
  constexpr std::string_view listening = "0A";  // TCP_LISTEN
  next_word(line);                              // number of the line
  const std::string_view local = next_word(line);
  next_word(line);  // remote
  if (next_word(line) != listening) return std::nullopt;
  next_word(line);  // queues
  next_word(line);  // timer
  next_word(line);  // retransmissions
  const auto uid = to_number<uint32_t>(next_word(line), 10);
  next_word(line);  // timeout
  const auto inode = to_number<uint64_t>(next_word(line), 10);

  const std::size_t words = family == address_family::v4 ? 1 : 4;
  const std::size_t digits = words * 8;
  if (!uid || !inode || *inode == 0 || local.size() != digits + 5 || local[digits] != ':')
    return std::nullopt;
  const auto port = to_number<uint16_t>(local.substr(digits + 1), 16);
  if (!port) return std::nullopt;

  listening_socket result;
  result.inode = *inode;
  result.port = *port;
  result.family = family;
  result.uid = *uid;
  for (std::size_t i = 0; i < words; ++i) {
    // Words as this machine reads them, whatever its byte order.
    const auto word = to_number<uint32_t>(local.substr(i * 8, 8), 16);
    if (!word) return std::nullopt;
    std::memcpy(result.address.data() + i * 4, &*word, 4);
  }
  return result;
}

error_code append_listeners_from_proc(std::vector<listening_socket>& sockets) {
  const std::size_t before = sockets.size();
  const auto first = [&] { return sockets.begin() + static_cast<std::ptrdiff_t>(before); };
  error_code failure = append_table("/proc/net/tcp", address_family::v4, sockets);
  if (!failure) {
    failure = append_table("/proc/net/tcp6", address_family::v6, sockets);
    if (failure.value() == ENOENT) failure = {};
  }
  if (failure) {
    sockets.erase(first(), sockets.end());
    return failure;
  }
  // The table may be read in pieces while it changes: an entry can come twice.
  std::sort(first(), sockets.end());
  sockets.erase(std::unique(first(), sockets.end()), sockets.end());
  return {};
}

}  // namespace previewd::os
