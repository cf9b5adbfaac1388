#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <limits>
#include <string_view>
#include <thread>
#include <vector>

/// Faults of the operating system, made by tests: part of builds with PREVIEWD_FAULTS only. Every
/// system call names its site (system_call.hpp); a test arms a site with a plan.
namespace previewd::os::faults {

/// Whose calls fail.
enum class reach : unsigned char { process, this_thread };

constexpr uint32_t every_call = std::numeric_limits<uint32_t>::max();

/// What befalls the calls at a site.
struct plan {
  int error = 0;         // the errno that they fail with; 0: they are made
  std::size_t most = 0;  // the bytes that a transfer moves at most; 0: all
  uint32_t first = 1;    // the first call to be hit; 1 is the next one
  uint32_t times = 1;    // how many calls are hit
  reach who = reach::process;
  /// The call is made before it fails, and what it brought is lost: an overrun.
  bool made = false;
};

/// What a call meets at its site.
struct meeting {
  int error = 0;      // the errno to fail with; 0: none
  bool made = false;  // the call is made all the same
};

/// One place where a system call is made. Only as a constant at namespace scope: it is listed as
/// long as the program runs.
class site {
public:
  /// `errors` are the errno values that the call may fail with there, and `short_transfer`. EINTR
  /// goes without saying. At most 8.
  site(const char* name, std::initializer_list<int> errors = {}) noexcept;

  site(const site&) = delete;
  site& operator=(const site&) = delete;

  const char* name() const noexcept { return name_; }
  std::vector<int> errors() const { return {errors_, errors_ + count_}; }

  /// How many calls have been made or failed here since the program started.
  uint64_t calls() const noexcept { return calls_.load(std::memory_order_relaxed); }

  /// Asked before each call; may lower `size`. Any thread.
  meeting meet(std::size_t& size) const noexcept;

private:
  friend class armed;
  friend std::vector<const site*> sites();

  const char* name_;
  int errors_[8] = {};
  std::size_t count_ = 0;
  const site* next_;
  mutable std::atomic<uint64_t> calls_{0};
  mutable std::atomic<bool> armed_{false};
  // Guarded by one mutex for all sites, which only armed ones take.
  mutable plan plan_;
  mutable std::thread::id thread_;
  mutable uint32_t met_ = 0;   // calls since it was armed
  mutable uint32_t hits_ = 0;  // of which were hit
};

/// All sites of this program, by name.
std::vector<const site*> sites();

/// Arms a site for as long as this lives. One at a time for each site; a name that no site has is
/// an error of the test, and ends the program.
class armed {
public:
  armed(std::string_view site_name, plan what);
  ~armed();
  armed(const armed&) = delete;
  armed& operator=(const armed&) = delete;

  /// How many calls have been hit so far.
  uint32_t hits() const;

private:
  const site* site_ = nullptr;
};

}  // namespace previewd::os::faults
