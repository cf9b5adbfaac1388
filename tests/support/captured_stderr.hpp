#pragma once

#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <array>
#include <string>
#include <vector>

namespace previewd::test {

/// Catches what goes to stderr while it lives.
class captured_stderr {
public:
  captured_stderr()
      : file_{memfd_create("stderr", MFD_CLOEXEC)}, before_{fcntl(2, F_DUPFD_CLOEXEC, 3)} {
    dup2(file_, 2);
  }
  ~captured_stderr() {
    dup2(before_, 2);
    close(before_);
    close(file_);
  }
  captured_stderr(const captured_stderr&) = delete;
  captured_stderr& operator=(const captured_stderr&) = delete;

  std::string text() const {
    std::string all;
    std::array<char, 4096> bytes;
    off_t at = 0;
    for (ssize_t n = 0; (n = pread(file_, bytes.data(), bytes.size(), at)) > 0; at += n)
      all.append(bytes.data(), static_cast<std::size_t>(n));
    return all;
  }

  std::vector<std::string> lines() const {
    std::vector<std::string> result;
    const std::string all = text();
    for (std::size_t from = 0, to = 0; (to = all.find('\n', from)) != std::string::npos;
         from = to + 1)
      result.push_back(all.substr(from, to - from));
    return result;
  }

private:
  int file_;
  int before_;
};

}  // namespace previewd::test
