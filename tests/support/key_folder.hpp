#pragma once

#include <sys/stat.h>
#include <unistd.h>

#include <catch2/catch.hpp>
#include <cstdlib>
#include <fstream>
#include <string>
#include <vector>

namespace previewd::test {

/// A folder with files of keys, that goes with its files.
class key_folder {
public:
  key_folder() { REQUIRE(::mkdtemp(path_.data()) != nullptr); }
  ~key_folder() {
    for (const std::string& each : files_) ::unlink(each.c_str());
    ::rmdir(path_.c_str());
  }
  key_folder(const key_folder&) = delete;
  key_folder& operator=(const key_folder&) = delete;

  std::string add(const std::string& name, const std::string& content, mode_t mode = 0600) {
    std::string file = path_ + "/" + name;
    std::ofstream{file} << content;
    ::chmod(file.c_str(), mode);
    return files_.emplace_back(file);
  }
  const std::string& path() const { return path_; }

private:
  std::string path_ = "/tmp/previewd-keys-XXXXXX";
  std::vector<std::string> files_;
};

}  // namespace previewd::test
