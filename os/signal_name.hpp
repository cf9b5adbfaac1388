#pragma once

#include <string>
#include <string_view>

namespace previewd::os {

/// "SIGKILL" for 9 (signal(7)); "SIGRTMIN+3", or "SIG99" for a number without a name.
std::string signal_name(int number);

/// The number for "SIGINT" or "INT"; 0 when there is none. Real-time signals are not known by name.
int signal_number(std::string_view name) noexcept;

}  // namespace previewd::os
