#include "previewd/store/file.hpp"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <climits>
#include <cstdio>
#include <cstdlib>
#include <ctime>
#include <memory>
#include <optional>
#include <system_error>

#include "previewd/os/system_call.hpp"

namespace previewd::store {

namespace {

const os::call_site make_folder{"store.make_folder", {EACCES, ENOSPC}};
const os::call_site open_lock{"store.open_lock", {EMFILE, EACCES, ENOSPC}};
const os::call_site take_lock{"store.take_lock", {ENOLCK}};
const os::call_site open_file{"store.open_file", {EMFILE, EACCES, ENOSPC}};
const os::call_site look_at_file{"store.look", {EIO}};
const os::call_site shut_file{"store.shut", {EPERM}};
const os::call_site rename_file{"store.rename", {EACCES, ENOSPC}};

std::string why_not() {
  return std::error_code{errno, std::generic_category()}.message();
}

/// Makes the folders of a path that are not there yet. False: errno says why not.
bool make_folders(const std::string& folder) {
  for (std::size_t end = 1; end != std::string::npos;) {
    end = folder.find('/', end + 1);
    const std::string part = folder.substr(0, end);
    if (os::system_call(make_folder, [&] { return ::mkdir(part.c_str(), 0700); }) == 0) continue;
    const int why = errno;
    struct stat there {};
    // What is there already need not be ours to make.
    if (::stat(part.c_str(), &there) == 0 && S_ISDIR(there.st_mode)) continue;
    errno = why == EEXIST ? ENOTDIR : why;
    return false;
  }
  return true;
}

std::optional<std::string> resolve(const std::string& path) {
  const std::unique_ptr<char, void (*)(void*)> found{::realpath(path.c_str(), nullptr), &::free};
  if (!found) return std::nullopt;
  return std::string{found.get()};
}

/// Why a file that was opened is not to be used; nothing: it may.
std::optional<std::string> objection(int descriptor) {
  struct stat facts {};
  if (os::system_call(look_at_file, [&] { return ::fstat(descriptor, &facts); }) == -1)
    return "cannot be read: " + why_not();
  if (!S_ISREG(facts.st_mode)) return "is not a file";
  if (facts.st_uid != ::geteuid()) return "belongs to another user";
  if ((facts.st_mode & 077) != 0 &&
      os::system_call(shut_file, [&] { return ::fchmod(descriptor, 0600); }) == -1)
    return "cannot be kept from other users: " + why_not();
  return std::nullopt;
}

/// Who has the lock, as the file says.
std::string holder(int descriptor) {
  std::array<char, 16> digits{};
  const ssize_t count = ::pread(descriptor, digits.data(), digits.size() - 1, 0);
  const long pid = count > 0 ? std::strtol(digits.data(), nullptr, 10) : 0;
  return pid > 0 ? " (pid " + std::to_string(pid) + ')' : std::string{};
}

std::variant<os::unique_fd, std::string> lock(const std::string& path) {
  os::unique_fd file{os::system_call(open_lock, [&] {
    return ::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK, 0600);
  })};
  if (!file) return "cannot be locked: " + why_not();
  if (auto why = objection(file.get())) return "cannot be locked: its file .lock " + *why;
  if (os::system_call(take_lock, [&] { return ::flock(file.get(), LOCK_EX | LOCK_NB); }) == -1) {
    if (errno != EWOULDBLOCK) return "cannot be locked: " + why_not();
    return "is in use by another previewd" + holder(file.get()) +
           "; name another file in store.path, or none (empty) to keep nothing";
  }
  // For whoever comes second; that it can be written is seen with the store itself.
  const std::string pid = std::to_string(::getpid()) + '\n';
  if (::ftruncate(file.get(), 0) == 0)
    static_cast<void>(::pwrite(file.get(), pid.data(), pid.size(), 0) == 0);
  return file;
}

}  // namespace

std::variant<taken_file, std::string> take_file(const std::string& path) {
  if (path.empty() || path.front() != '/' || path.back() == '/')
    return std::string{"is not the absolute path of a file"};
  taken_file taken;
  taken.path = path;
  struct stat there {};
  const bool exists = ::lstat(path.c_str(), &there) == 0;
  if (exists && S_ISLNK(there.st_mode)) {
    if (there.st_uid != ::geteuid()) return std::string{"is a symbolic link of another user"};
    auto target = resolve(path);
    if (!target) return "is a symbolic link that leads nowhere: " + why_not();
    taken.path = std::move(*target);
  }
  const std::size_t slash = taken.path.rfind('/');
  const std::string folder = slash == 0 ? "/" : taken.path.substr(0, slash);
  if (!make_folders(folder)) return "cannot be made: its folder: " + why_not();
  const auto home = resolve(folder);
  struct stat around {};
  if (!home || ::stat(home->c_str(), &around) == -1)
    return "cannot be made: its folder: " + why_not();
  // Who can put files beside it writes into it: SQLite takes a log that it finds there for its own.
  if ((around.st_mode & S_IWOTH) != 0 || (around.st_uid != ::geteuid() && around.st_uid != 0))
    return std::string{"is in a folder that other users can write to; name one of your own"};
  taken.path = (*home == "/" ? "" : *home) + taken.path.substr(slash);

  auto locked = lock(taken.path + ".lock");
  if (auto* why = std::get_if<std::string>(&locked)) return std::move(*why);
  taken.lock = std::get<0>(std::move(locked));
  if (auto why = make_file(taken)) return std::move(*why);
  return taken;
}

std::optional<std::string> make_file(const taken_file& file) {
  // Closed again before SQLite opens it: a lock of fcntl(2) would go with any descriptor.
  const os::unique_fd opened{os::system_call(open_file, [&] {
    return ::open(file.path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK, 0600);
  })};
  if (!opened) return "cannot be written: " + why_not();
  return objection(opened.get());
}

std::variant<moved_aside, std::string> move_aside(const taken_file& file) {
  const std::time_t now = std::time(nullptr);
  std::tm utc{};
  ::gmtime_r(&now, &utc);
  std::array<char, 32> time{};
  std::strftime(time.data(), time.size(), "%Y%m%dT%H%M%SZ", &utc);
  const std::string wanted = file.path + ".damaged-" + time.data();
  std::string to = wanted;
  struct stat there {};
  for (int i = 2; ::lstat(to.c_str(), &there) == 0; ++i) to = wanted + '-' + std::to_string(i);
  for (const char* end : {"", "-wal", "-shm", "-journal"}) {
    const std::string from = file.path + end;
    const int done =
      os::system_call(rename_file, [&] { return ::rename(from.c_str(), (to + end).c_str()); });
    if (done == -1 && errno != ENOENT) return "is damaged and cannot be moved aside: " + why_not();
  }
  return moved_aside{std::move(to)};
}

}  // namespace previewd::store
