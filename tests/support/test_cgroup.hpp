#pragma once

#include <sys/stat.h>
#include <unistd.h>

#include <catch2/catch.hpp>
#include <fstream>
#include <sstream>
#include <string>

#include "previewd/tests/support/eventually.hpp"

namespace previewd::test {

/// A cgroup for one test, where this machine lets us have one.
class test_cgroup {
public:
  test_cgroup() {
    std::ifstream file{"/proc/self/mountinfo"};
    for (std::string line; std::getline(file, line);) {
      if (line.find(" - cgroup2 ") == std::string::npos) continue;
      std::istringstream fields{line};
      std::string skipped;
      std::string mounted;
      fields >> skipped >> skipped >> skipped >> skipped >> mounted;
      const std::string wanted = mounted + "/test-previewd-" + std::to_string(::getpid());
      if (::mkdir(wanted.c_str(), 0755) == 0) folder = wanted;
    }
    if (folder.empty())
      WARN(
        "skipped: no cgroup of version 2 can be made here (it takes root, and a writable mount)");
  }
  ~test_cgroup() {
    if (!folder.empty()) CHECK(eventually([&] { return ::rmdir(folder.c_str()) == 0; }));
  }
  test_cgroup(const test_cgroup&) = delete;
  test_cgroup& operator=(const test_cgroup&) = delete;

  std::string folder;
};

/// Leaves session, group, parent and environment behind, and prints its pid before.
inline const char* const hiding =
  "read go; setsid env -i sh -c 'sh -c \"echo hidden=\\$\\$; exec sleep 1000\" & exit' & read more";

}  // namespace previewd::test
