#include "previewd/service/settings_change.hpp"

#include "previewd/service/settings_table.hpp"

namespace previewd {

namespace {

/// Whether a setting can follow while the service runs.
bool follows(const setting& one, const settings& running, const settings& read) {
  // What TCP addresses speak is settled when they are opened; what they show is not.
  const bool certificate = one.name == "tls.certificate_file" || one.name == "tls.key_file";
  if (certificate && running.tls.certificate_file.empty() != read.tls.certificate_file.empty())
    return false;
  return one.changes == change::live;
}

}  // namespace

settings_change change_of(const settings& running, const settings& read) {
  settings_change result;
  result.merged = running;
  settings wanted = read;
  const std::vector<setting> to = setting_table(result.merged);
  const std::vector<setting> from = setting_table(wanted);
  for (std::size_t i = 0; i < to.size(); ++i) {
    const std::vector<std::string> written = from[i].show();
    // A list that is empty shows like one that is not given.
    const bool same = to[i].name == "preview.frame_ancestors"
                        ? running.preview.frame_ancestors == read.preview.frame_ancestors
                        : written == to[i].show();
    if (same) continue;
    // What is shown can be written as the value; it has been looked at when it was read.
    const bool taken = follows(to[i], running, read) && to[i].set(written) == std::nullopt;
    (taken ? result.live : result.needs_restart).push_back(to[i].name);
  }
  return result;
}

}  // namespace previewd
