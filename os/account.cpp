#include "previewd/os/account.hpp"

#include <grp.h>
#include <pwd.h>

#include <cerrno>
#include <vector>

#include "previewd/os/system_call.hpp"

namespace previewd::os {

namespace {

const call_site look_up{"account.find", {EIO, ENOMEM, EMFILE}};

/// Entries have a line each, and a line of more than this is nobody's.
constexpr std::size_t largest_entry = 1024 * 1024;

}  // namespace

result<account> find_account(const std::string& name) {
  passwd entry{};
  passwd* found = nullptr;
  std::vector<char> buffer(1024);
  for (;;) {
    if (system_call(look_up, [&] {
          errno = ::getpwnam_r(name.c_str(), &entry, buffer.data(), buffer.size(), &found);
          return errno == 0 ? 0 : -1;
        }) == 0)
      break;
    if (errno != ERANGE || buffer.size() >= largest_entry) return last_error();
    buffer.resize(buffer.size() * 2);
  }
  if (found == nullptr) return system_error(ENOENT);

  account result;
  result.name = entry.pw_name;
  result.home = entry.pw_dir;
  result.identity.user = entry.pw_uid;
  result.identity.group = entry.pw_gid;
  // It says how many there are when there is not enough room.
  int count = 16;
  do {
    result.identity.groups.resize(static_cast<std::size_t>(count));
  } while (
    ::getgrouplist(entry.pw_name, entry.pw_gid, result.identity.groups.data(), &count) == -1);
  result.identity.groups.resize(static_cast<std::size_t>(count));
  return result;
}

}  // namespace previewd::os
