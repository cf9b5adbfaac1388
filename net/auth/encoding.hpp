#pragma once

#include <array>
#include <cstddef>
#include <optional>
#include <string>
#include <string_view>

/// Bytes as text, and the two functions of OpenSSL that everything else here is made of. Any
/// thread.
namespace previewd::net::auth {

/// A value of SHA-256.
using digest = std::array<unsigned char, 32>;

/// Without padding (RFC 7515, section 2).
std::string to_base64url(std::string_view bytes);

/// Nothing: not the one spelling of these bytes. Padding, other alphabets, and bits that are left
/// over at the end are not taken.
std::optional<std::string> from_base64url(std::string_view text);

/// SHA-256 (FIPS 180-4).
digest sha256(std::string_view bytes);

/// HMAC with SHA-256 (RFC 2104).
digest hmac_sha256(std::string_view key, std::string_view bytes);

/// Whether both are the same, in a time that depends on their sizes alone.
bool equal_in_constant_time(std::string_view a, std::string_view b) noexcept;

/// The bytes of a digest.
inline std::string_view view_of(const digest& value) noexcept {
  return {reinterpret_cast<const char*>(value.data()), value.size()};
}

/// `count` bytes that nobody can guess (getrandom(2)), for keys and names that are secrets. Ends
/// the process when the kernel has none, which it always has after the boot.
std::string random_bytes(std::size_t count);

}  // namespace previewd::net::auth
