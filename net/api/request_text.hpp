#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

/// The small texts of a request: path segments, query parameters, numbers and durations. Pure; any
/// thread.
namespace previewd::net::api {

/// Decodes `%xx` (RFC 3986, section 2.1); with `plus` also `+` to a space, as forms write it.
/// Nothing if an escape is broken.
enum class plus_sign : uint8_t { plain, space };
std::optional<std::string>
percent_decoded(std::string_view text, plus_sign plus = plus_sign::plain);

/// The decoded segments of an absolute path: `/a/b%20c` gives `a`, `b c`; `/` gives none; a final
/// slash gives an empty last one. Nothing if it does not begin with a slash or an escape is broken.
std::optional<std::vector<std::string>> path_segments(std::string_view path);

/// Whether every escape in a query is whole.
bool valid_query(std::string_view query) noexcept;

/// The first value of a query parameter, decoded; nothing when it is not there, or the query is not
/// valid.
std::optional<std::string> query_value(std::string_view query, std::string_view name);

/// Digits only, no sign, that fit 64 bits.
std::optional<uint64_t> whole_number(std::string_view text) noexcept;

/// A duration with its unit: `250ms`, `30s`, `1m`. At most a day.
std::optional<std::chrono::milliseconds> duration_of(std::string_view text) noexcept;

}  // namespace previewd::net::api
