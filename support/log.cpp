#include "previewd/support/log.hpp"

namespace previewd::log {

void configure(const settings&) {}
bool enabled(level) noexcept { return true; }
void write(level, std::string_view, std::string_view, std::initializer_list<field>) {}

}  // namespace previewd::log
