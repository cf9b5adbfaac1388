#pragma once

#include <sys/stat.h>

#include <catch2/catch.hpp>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <string>
#include <system_error>

namespace previewd::test {

/// A folder of its own in /tmp, that goes with everything in it.
class temporary_folder {
public:
  temporary_folder() { REQUIRE(::mkdtemp(path_.data()) != nullptr); }
  ~temporary_folder() {
    std::error_code ignored;  // a test that has failed says so by itself
    std::filesystem::remove_all(path_, ignored);
  }
  temporary_folder(const temporary_folder&) = delete;
  temporary_folder& operator=(const temporary_folder&) = delete;

  /// Writes a file, anew if it is there, and returns its path. `name` may have folders in it.
  std::string write(const std::string& name, const std::string& content, mode_t mode = 0600) {
    const std::filesystem::path file = std::filesystem::path{path_} / name;
    std::filesystem::create_directories(file.parent_path());
    std::ofstream{file} << content;
    ::chmod(file.c_str(), mode);
    return file.string();
  }
  const std::string& path() const { return path_; }

private:
  std::string path_ = "/tmp/previewd-test-XXXXXX";
};

}  // namespace previewd::test
