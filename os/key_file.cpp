#include "previewd/os/key_file.hpp"

#include <fcntl.h>
#include <string.h>  // explicit_bzero
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <system_error>

#include "previewd/os/system_call.hpp"
#include "previewd/os/unique_fd.hpp"

namespace previewd::os {

namespace {

const call_site open_file{"key_file.open", {EMFILE, EACCES}};
const call_site look_at_file{"key_file.look", {EIO}};
const call_site read_file{"key_file.read", {EIO, short_transfer}};

}  // namespace

void wiped_text::wipe() noexcept {
  // All that it has room for: what it was before it became shorter is still there.
  text_.resize(text_.capacity());
  ::explicit_bzero(text_.data(), text_.size());
  text_.clear();
}

std::variant<wiped_text, std::string>
read_key_file(const std::string& path, secrecy how, std::size_t most) {
  const auto failed = [] {
    return "cannot be read: " + std::error_code{errno, std::generic_category()}.message();
  };
  const unique_fd file{system_call(
    open_file, [&] { return ::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY); })};
  if (!file) return failed();
  struct stat facts {};
  if (system_call(look_at_file, [&] { return ::fstat(file.get(), &facts); }) == -1) return failed();
  if (!S_ISREG(facts.st_mode)) return std::string{"is not a file"};
  if (how == secrecy::secret && (facts.st_mode & (S_IROTH | S_IWOTH)) != 0)
    return std::string{"is open to every user of this machine; chmod o= it"};
  std::string content(most + 1, '\0');
  std::size_t size = 0;
  for (;;) {
    const ssize_t count = system_call(read_file, content.size() - size,
      [&](std::size_t room) { return ::read(file.get(), content.data() + size, room); });
    if (count == -1) {
      const std::string why = failed();
      const wiped_text begun{std::move(content)};
      return why;
    }
    size += static_cast<std::size_t>(count);
    if (count == 0 || size == content.size()) break;
  }
  if (size > most) {
    const wiped_text begun{std::move(content)};
    return "is larger than " + std::to_string(most / 1024) + " KiB";
  }
  content.resize(size);
  return wiped_text{std::move(content)};
}

}  // namespace previewd::os
