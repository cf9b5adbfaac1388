#include <fstream>
#include <iostream>

#include "previewd/service/settings_load.hpp"

/// Writes docs/settings.md to the file it is given.
int main(int argument_count, char** arguments) {
  if (argument_count != 2) {
    std::cerr << "usage: previewd_settings_reference FILE\n";
    return 2;
  }
  std::ofstream file{arguments[1]};
  file << previewd::settings_reference();
  return file.flush() ? 0 : 1;
}
