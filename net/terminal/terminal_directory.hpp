#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>

#include "previewd/messages/terminal.hpp"

namespace previewd::net::terminal {

/// What changes with every byte of a terminal. Written by the terminal's own I/O thread, read by
/// any; each value for itself is right, together they are a snapshot of a moment or two.
struct terminal_counters {
  std::atomic<uint64_t> sequence{0};  // bytes put out so far
  std::atomic<uint32_t> attached{0};  // clients
  std::atomic<uint16_t> columns{0};   // of the size in force
  std::atomic<uint16_t> rows{0};      // of the size in force
  std::atomic<int32_t> foreground_group{
    0};                          // the process group that has the terminal; 0: not known
  std::atomic<bool> open{true};  // the master is open: it can be written to
};

/// What an I/O thread knows of a terminal, for showing it.
struct terminal_facts {
  uint64_t sequence = 0;  // bytes put out so far
  uint32_t attached = 0;  // clients
  terminal_size size;     // in force
  std::string
    foreground;  // name of the foreground job's leader (proc(5), comm); empty: not known or exited
  bool open = false;  // input can be sent
};

/// The terminals that one I/O thread knows: that thread only. Every I/O thread has one, with the
/// same terminals in it.
class terminal_directory {
public:
  void add(std::string id, std::shared_ptr<const terminal_counters> counters);
  void remove(const std::string& id);
  bool contains(const std::string& id) const;

  /// Nothing when the terminal is not known. Reads `/proc/PID/comm` of the foreground job.
  std::optional<terminal_facts> facts(const std::string& id) const;

private:
  std::unordered_map<std::string, std::shared_ptr<const terminal_counters>> terminals_;
};

}  // namespace previewd::net::terminal
