#include "previewd/net/terminal/terminal_hub.hpp"

#include <fcntl.h>
#include <signal.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <caf/expected.hpp>
#include <caf/send.hpp>
#include <cerrno>
#include <limits>
#include <unordered_map>
#include <utility>

#include "previewd/messages/error.hpp"
#include "previewd/net/asio_types.hpp"
#include "previewd/net/terminal/output_scanner.hpp"
#include "previewd/net/terminal/screen_checkpoint.hpp"
#include "previewd/net/terminal/scrollback.hpp"
#include "previewd/os/account.hpp"
#include "previewd/os/child_process.hpp"
#include "previewd/os/child_reaper.hpp"
#include "previewd/os/pty.hpp"
#include "previewd/os/system_call.hpp"
#include "previewd/os/unique_fd.hpp"

namespace previewd::net::terminal {

namespace {

using boost::system::error_code;
using std::chrono::steady_clock;

const os::call_site watch_master{"terminal.watch", {ENOMEM, ENOSPC}};
const os::call_site read_output{"terminal.read", {EAGAIN, os::short_transfer}};
const os::call_site write_keys{"terminal.write", {EAGAIN, ENOMEM, os::short_transfer}};
const os::call_site signal_job{"terminal.signal", {EPERM}};

/// How long the kernel is given to find memory.
constexpr std::chrono::milliseconds shortage_pause{50};

caf::error pty_error(const error_code& why) {
  // "No space left on device" would be taken for a full disk.
  const std::string reason =
    why.value() == ENOSPC ? "all of them are in use (kernel.pty.max)" : why.message();
  return make_error(errc::pty_failed, "Cannot open a PTY: " + reason + ".");
}

caf::error not_found(const std::string& id) {
  return make_error(errc::terminal_not_found, "No terminal has the id " + id + ".");
}

caf::error exited(const std::string& id) {
  return make_error(
    errc::terminal_exited, "The terminal " + id + " has exited; its output can still be read.");
}

/// A running terminal, as it comes from the starter. The slave is kept open, so that the master
/// does not fail with EIO while a program that has closed its terminal is about to open it again.
struct started_terminal {
  os::pty pty;
  os::unique_fd slave;
  int32_t pid = 0;
  std::string cwd;
};

void set_variable(
  std::vector<std::string>& environment, const std::string& name, const std::string& value) {
  std::erase_if(
    environment, [&](const std::string& variable) { return variable.starts_with(name + "="); });
  environment.push_back(name + "=" + value);
}

/// Gives a process the rights of the account that the order names, and what login(1) gives it.
caf::error run_as_account(os::process_spec& process, const terminal_spec& spec) {
  const auto account = os::find_account(spec.account);
  if (!account) {
    const std::string why = account.error().value() == ENOENT
                              ? "there is none on this machine"
                              : "it cannot be looked up: " + account.error().message();
    return make_error(errc::spawn_failed,
      "The terminal would run as the account \"" + spec.account + "\": " + why + ".");
  }
  if (account->identity.user < spec.least_uid) {
    return make_error(
      errc::spawn_failed, "The account \"" + spec.account + "\" is the system's (user ids below " +
                            std::to_string(spec.least_uid) + "); it gets no terminals.");
  }
  process.identity = account->identity;
  struct stat status {};
  const bool has_home = ::stat(account->home.c_str(), &status) == 0 && S_ISDIR(status.st_mode);
  const std::string home = has_home ? account->home : "/";
  if (process.cwd.empty()) process.cwd = home;
  set_variable(process.environment, "HOME", home);
  set_variable(process.environment, "USER", account->name);
  set_variable(process.environment, "LOGNAME", account->name);
  return {};
}

/// Opens a PTY and starts the process in it. May wait for a disk, and for where accounts are kept.
caf::expected<started_terminal> start(const terminal_spec& spec, os::child_reaper& reaper) {
  auto pty = os::pty::open({.columns = spec.size.columns, .rows = spec.size.rows});
  if (!pty) return pty_error(pty.error());
  auto slave = pty->open_slave();
  if (!slave) return pty_error(slave.error());
  os::process_spec process;
  process.argv = spec.argv;
  if (spec.login_shell)
    process.argv0 = "-" + spec.argv.front().substr(spec.argv.front().rfind('/') + 1);
  process.environment = spec.env;
  process.cwd = spec.cwd;
  process.terminal = pty->slave_path();
  process.no_new_privileges = spec.no_new_privileges;
  if (!spec.account.empty()) {
    if (caf::error failure = run_as_account(process, spec)) return failure;
    if (const error_code failure = pty->give_to(process.identity->user)) return pty_error(failure);
  }
  const os::start_result result = reaper.start(process);
  if (!result) {
    // What is wrong with the order is the client's matter; a lack of processes or memory is ours.
    const errc code =
      result.failure().step == os::start_step::process ? errc::pty_failed : errc::spawn_failed;
    return make_error(code, result.failure().describe(process));
  }
  return started_terminal{std::move(*pty), std::move(*slave), result.pid(), std::move(process.cwd)};
}

}  // namespace

/// What a client and its terminal's thread share. Each field belongs to one of the two; what
/// travels is the pointer.
struct attachment_link {
  std::string id;
  io_thread& here;  // the client's
  // The client's thread only.
  output_sink* sink;  // null once the attachment is gone
  bool owed = false;  // a pull is under way

  attachment_link(std::string terminal, io_thread& client, output_sink& target)
      : id{std::move(terminal)}, here{client}, sink{&target} {}
};

namespace {

/// Called on the terminal's thread, in a handler of its own. A client on the same thread is told at
/// once: each round of the loop that a byte waits for may hold a flood of another terminal.
template <class Call> void tell(const std::shared_ptr<attachment_link>& link, Call call) {
  auto at_client = [link, call = std::move(call)] {
    if (link->sink != nullptr) call(*link);
  };
  if (link->here.is_current()) {
    at_client();
  } else {
    link->here.post(std::move(at_client));
  }
}

void tell_end(const std::shared_ptr<attachment_link>& link) {
  tell(link, [](attachment_link& at) { at.sink->on_end(); });
}

}  // namespace

/// One terminal on its I/O thread; that thread only. From the order to open it until it is
/// forgotten and its last handler has run.
struct terminal_hub::pump {
  enum class phase : uint8_t { starting, announced, open, closed };

  struct reader {
    std::shared_ptr<attachment_link> link;
    uint64_t cursor = 0;                   // what it has been given
    bool waiting = false;                  // it has pulled
    bool ended = false;                    // it has been told the end
    std::optional<uint64_t> acknowledged;  // nothing: the PTY does not wait for it
    steady_clock::time_point heard_at{};   // when it last acknowledged something new
    std::optional<terminal_size> wish;
  };

  pump(terminal_hub& hub, shelf& home, const terminal_spec& spec, terminal_actor terminal,
    detector_actor detector);

  // From the hub. The start of the process is counted, since the pump has to be there when it comes
  // back.
  void begin() { ++pending_; }
  void leave();
  void started(started_terminal process);
  void go_on();
  void failed(caf::error why);
  void finish();
  void forget();
  void attach(std::shared_ptr<attachment_link> link, uint64_t after);
  void detach(const attachment_link* link);
  void pull(const attachment_link* link);
  void acknowledge(const attachment_link* link, uint64_t sequence);
  void stop_pacing(const attachment_link* link);
  void wish(const attachment_link* link, terminal_size size);
  void request_size(terminal_size size);
  caf::error input(std::string_view bytes);
  caf::error signal(int number);

  /// Somebody who is not attached uses it.
  void touch() { used_at_ = steady_clock::now(); }

  bool is_open() const noexcept { return phase_ == phase::open || phase_ == phase::announced; }

  terminal_hub& hub_;
  shelf& home_;
  std::string id_;
  terminal_actor terminal_;
  detector_actor detector_;
  std::shared_ptr<terminal_counters> counters_ = std::make_shared<terminal_counters>();
  scrollback scrollback_;

  screen_checkpoint checkpoint_;

  bool forgotten_ = false;

private:
  enum class reading : uint8_t { more_to_come, drained, ended };

  template <class Next> auto counted(Next next);
  void erase_if_over();
  void close();

  void await_output();
  std::size_t turn_bytes() const;
  reading read_batch(std::size_t limit);
  void ingest(std::string_view bytes);
  /// Where somebody goes on who has everything up to `after`.
  struct place {
    uint64_t from = 0;
    uint64_t lost = 0;
    std::shared_ptr<const std::string> screen;
  };
  place place_after(uint64_t after) const;
  void serve(reader& to);
  void give(reader& to, output_chunk chunk);
  reader* find(const attachment_link* link);
  bool paused();
  uint64_t slowest_acknowledged() const;
  void await_stalled();
  void pass_over_stalled();

  void await_use();

  void settle_size();
  void set_size(terminal_size size);
  void write_input();
  void look_at_foreground();
  void note_activity();
  void await_quiet();
  void tell_detector();
  void send_hints();

  phase phase_ = phase::starting;
  bool finish_wanted_ = false;
  std::optional<os::pty> pty_;
  os::unique_fd slave_;
  stream_descriptor master_;  // watches the descriptor that `pty_` owns
  steady_timer quiet_timer_;
  steady_timer hint_timer_;
  std::unique_ptr<steady_timer> stall_timer_;  // hardly ever needed, as the next
  std::unique_ptr<steady_timer> input_timer_;
  steady_timer use_timer_;
  unsigned pending_ = 0;  // handlers under way

  bool reading_ = false;
  bool writing_ = false;
  bool paused_ = false;
  bool awaiting_quiet_ = false;
  bool awaiting_hints_ = false;
  bool awaiting_stalled_ = false;
  bool awaiting_use_ = false;
  std::string input_;
  std::size_t written_ = 0;  // of `input_`

  output_scanner scanner_;
  std::vector<url_hint> hints_;
  steady_clock::time_point used_at_{};  // by somebody, attached or not
  steady_clock::time_point last_activity_{};
  steady_clock::time_point last_output_{};
  steady_clock::time_point last_notice_{};

  std::vector<reader> readers_;
  terminal_size size_;
  std::optional<terminal_size> requested_;  // by somebody who is not attached
  int32_t foreground_ = 0;
};

/// All that one I/O thread has of the hub; that thread only.
struct terminal_hub::shelf {
  io_thread& thread;
  terminal_directory directory;
  std::unordered_map<std::string, std::unique_ptr<pump>> pumps;
  std::vector<char> buffer;  // one read at a time: shared by all terminals of the thread
  steady_clock::time_point typed_at{};
  uint64_t bytes_in = 0;  // since the start
  uint64_t bytes_out = 0;

  pump* find(const std::string& id) const {
    const auto found = pumps.find(id);
    return found == pumps.end() || found->second->forgotten_ ? nullptr : found->second.get();
  }
};

terminal_hub::pump::pump(terminal_hub& hub, shelf& home, const terminal_spec& spec,
  terminal_actor terminal, detector_actor detector)
    : hub_{hub},
      home_{home},
      id_{spec.id},
      terminal_{std::move(terminal)},
      detector_{std::move(detector)},
      scrollback_{static_cast<std::size_t>(spec.scrollback_bytes)},
      checkpoint_{spec.size, hub.settings_.screen_cells},
      master_{home.thread.context()},
      quiet_timer_{home.thread.context()},
      hint_timer_{home.thread.context()},
      use_timer_{home.thread.context()},
      size_{spec.size} {
  counters_->columns = size_.columns;
  counters_->rows = size_.rows;
  scanner_.set_columns(size_.columns);
}

template <class Next> auto terminal_hub::pump::counted(Next next) {
  ++pending_;
  return [this, next = std::move(next)](error_code failure) {
    if (!failure && is_open()) next();
    leave();
  };
}

/// The last thing a handler does: destroys this pump when nothing holds it any more.
void terminal_hub::pump::leave() {
  --pending_;
  erase_if_over();
}

void terminal_hub::pump::erase_if_over() {
  if (!forgotten_ || pending_ > 0) return;
  shelf& home = home_;
  const std::string id = id_;
  home.pumps.erase(id);
}

void terminal_hub::pump::started(started_terminal process) {
  if (forgotten_) {
    hub_.reaper_.release(process.pid);  // closing the PTY hangs up on it
    return;
  }
  pty_.emplace(std::move(process.pty));
  slave_ = std::move(process.slave);
  error_code failure;
  if (os::system_call(watch_master, [&] {
        master_.assign(pty_->master(), failure);
        errno = failure.value();
        return failure ? -1 : 0;
      }) == -1) {
    failure = os::last_error();
    hub_.reaper_.release(process.pid);
    pty_.reset();
    slave_.reset();
    failed(make_error(errc::pty_failed, "Cannot watch the PTY: " + failure.message() + "."));
    return;
  }
  phase_ = phase::announced;
  // Nothing is read before everybody knows the terminal, so that nobody hears of output before
  // `opened`.
  auto missing = std::make_shared<std::atomic<std::size_t>>(hub_.threads_.size());
  ++pending_;
  for (io_thread* thread : hub_.threads_) {
    thread->post([this, missing, thread, pid = process.pid, cwd = process.cwd, id = id_,
                   counters = counters_] {
      hub_.shelf_of(*thread).directory.add(id, counters);
      if (--*missing > 0) return;
      home_.thread.post([this, pid, cwd] {
        caf::anon_send(terminal_, opened_atom_v, pid, cwd);
        go_on();
        leave();
      });
    });
  }
}

void terminal_hub::pump::go_on() {
  if (phase_ != phase::announced) return;  // forgotten meanwhile
  phase_ = phase::open;
  set_size(size_);
  look_at_foreground();
  write_input();
  touch();
  await_use();
  if (finish_wanted_) {
    finish();
  } else {
    await_output();
  }
}

void terminal_hub::pump::failed(caf::error why) {
  caf::anon_send(terminal_, failed_atom_v, std::move(why));
  forget();
}

void terminal_hub::pump::finish() {
  if (phase_ == phase::starting || phase_ == phase::announced) {
    finish_wanted_ = true;
    return;
  }
  if (phase_ == phase::open) {
    finish_wanted_ = true;
    // A read that finds nothing first hurries what is still on its way through the line discipline
    // (n_tty.c), so that all that was written before the end is here. Who goes on writing is not
    // waited for.
    for (std::size_t left = hub_.settings_.drain_bytes; left > 0;) {
      const uint64_t before = scrollback_.sequence();
      if (read_batch(left) != reading::more_to_come) break;
      left -=
        std::min<std::size_t>(left, static_cast<std::size_t>(scrollback_.sequence() - before));
    }
    look_at_foreground();
    scanner_.settle(hints_);
    send_hints();
    close();
  }
  caf::anon_send(terminal_, drained_atom_v);
}

/// The PTY is not needed any more. Clients that wait get what is left, then the end.
void terminal_hub::pump::close() {
  if (phase_ == phase::closed) return;
  phase_ = phase::closed;
  counters_->open = false;
  counters_->foreground_group = 0;
  quiet_timer_.cancel();
  hint_timer_.cancel();
  stall_timer_.reset();
  input_timer_.reset();
  use_timer_.cancel();
  if (pty_) {
    master_.cancel();
    master_.release();
    pty_.reset();
    slave_.reset();
  }
  input_.clear();
  input_.shrink_to_fit();
  for (reader& each : readers_) serve(each);
}

void terminal_hub::pump::forget() {
  if (forgotten_) return;
  close();
  forgotten_ = true;
  hub_.remove_everywhere(id_);
  for (reader& each : readers_)
    if (!each.ended) tell_end(each.link);
  readers_.clear();
  erase_if_over();
}

void terminal_hub::pump::await_output() {
  if (phase_ != phase::open || reading_) return;
  if (paused()) {
    await_stalled();
    return;
  }
  reading_ = true;
  master_.async_wait(stream_descriptor::wait_read, counted([this] {
    reading_ = false;
    if (read_batch(turn_bytes()) != reading::ended) await_output();
  }));
}

/// What may be read before others on the thread have their turn.
std::size_t terminal_hub::pump::turn_bytes() const {
  const auto& settings = hub_.settings_;
  const bool typing = steady_clock::now() - home_.typed_at < settings.typing;
  return typing ? settings.read_bytes_typing : settings.read_bytes;
}

/// Reads until nothing is left, at most `limit` bytes, and hands on what it read.
terminal_hub::pump::reading terminal_hub::pump::read_batch(std::size_t limit) {
  std::vector<char>& buffer = home_.buffer;
  limit = std::min(limit, buffer.size());
  const uint64_t most_ahead = hub_.settings_.pause_ahead;
  std::size_t size = 0;
  reading state = reading::more_to_come;
  while (size < limit) {
    std::size_t room = limit - size;
    if (!finish_wanted_) {
      // A client that is paced is never more than this behind, whatever one read could bring.
      const uint64_t ahead = scrollback_.sequence() + size -
                             std::min(scrollback_.sequence() + size, slowest_acknowledged());
      if (ahead >= most_ahead) break;
      room = static_cast<std::size_t>(std::min<uint64_t>(room, most_ahead - ahead));
    }
    const ssize_t n = os::system_call(read_output, room,
      [&](std::size_t most) { return ::read(pty_->master(), buffer.data() + size, most); });
    if (n > 0) {
      size += static_cast<std::size_t>(n);
      continue;
    }
    state = n < 0 && errno == EAGAIN ? reading::drained : reading::ended;
    break;
  }
  if (size > 0) ingest({buffer.data(), size});
  return state;
}

void terminal_hub::pump::ingest(std::string_view bytes) {
  const uint64_t before = scrollback_.sequence();
  checkpoint_.append(scrollback_, bytes);
  home_.bytes_out += bytes.size();
  counters_->sequence.store(scrollback_.sequence(), std::memory_order_relaxed);
  // Who is up to date shares one copy; who is not gets its own from the scrollback.
  std::shared_ptr<const std::string> shared;
  for (reader& each : readers_) {
    if (!each.waiting) continue;
    if (each.cursor != before || bytes.size() > hub_.settings_.chunk_bytes) {
      serve(each);
      continue;
    }
    if (!shared) shared = std::make_shared<const std::string>(bytes);
    give(each, {.bytes = shared, .sequence = scrollback_.sequence()});
  }
  scanner_.feed(bytes, hints_);
  look_at_foreground();
  tell_detector();
  note_activity();
}

void terminal_hub::pump::give(reader& to, output_chunk chunk) {
  to.waiting = false;
  to.cursor = chunk.sequence;
  tell(to.link, [chunk = std::move(chunk)](attachment_link& at) {
    at.owed = false;
    at.sink->on_output(chunk);
  });
}

void terminal_hub::pump::serve(reader& to) {
  if (!to.waiting || to.ended) return;
  const place next = place_after(to.cursor);
  scrollback::slice slice = scrollback_.read(next.from, hub_.settings_.chunk_bytes);
  if (!slice.bytes.empty() || next.lost > 0) {
    give(to, {.bytes = std::make_shared<const std::string>(std::move(slice.bytes)),
               .sequence = slice.sequence,
               .lost = next.lost,
               .screen = next.screen});
  } else if (phase_ == phase::closed) {
    to.ended = true;
    tell_end(to.link);
  }
}

terminal_hub::pump::place terminal_hub::pump::place_after(uint64_t after) const {
  after = std::min(after, scrollback_.sequence());
  if (after >= scrollback_.oldest()) return {.from = after, .lost = 0, .screen = nullptr};
  screen_checkpoint::restored now = checkpoint_.restore(scrollback_);
  place result{.from = now.from, .lost = now.from - after, .screen = nullptr};
  if (!now.paint.empty()) result.screen = std::make_shared<const std::string>(std::move(now.paint));
  return result;
}

terminal_hub::pump::reader* terminal_hub::pump::find(const attachment_link* link) {
  const auto found = std::find_if(
    readers_.begin(), readers_.end(), [&](const reader& each) { return each.link.get() == link; });
  return found == readers_.end() ? nullptr : &*found;
}

void terminal_hub::pump::attach(std::shared_ptr<attachment_link> link, uint64_t after) {
  place begin = place_after(after);
  const uint64_t from = begin.from;
  tell(link,
    [start = attach_start{.from = from,
       .sequence = scrollback_.sequence(),
       .lost = begin.lost,
       .size = size_,
       .screen = std::move(begin.screen)}](attachment_link& at) { at.sink->on_attached(start); });
  reader added;
  added.link = std::move(link);
  added.cursor = from;
  readers_.push_back(std::move(added));
  counters_->attached = static_cast<uint32_t>(readers_.size());
  await_output();  // the others may be waited for no longer than this one can wait
}

void terminal_hub::pump::detach(const attachment_link* link) {
  std::erase_if(readers_, [&](const reader& each) { return each.link.get() == link; });
  counters_->attached = static_cast<uint32_t>(readers_.size());
  settle_size();
  await_output();
  touch();
  await_use();
}

void terminal_hub::pump::pull(const attachment_link* link) {
  if (reader* to = find(link)) {
    to->waiting = true;
    serve(*to);
  }
}

void terminal_hub::pump::acknowledge(const attachment_link* link, uint64_t sequence) {
  reader* from = find(link);
  if (from == nullptr) return;
  const uint64_t before = from->acknowledged.value_or(0);
  from->acknowledged = std::max(before, std::min(sequence, scrollback_.sequence()));
  if (*from->acknowledged > before) from->heard_at = steady_clock::now();
  await_output();
}

void terminal_hub::pump::stop_pacing(const attachment_link* link) {
  reader* from = find(link);
  if (from == nullptr) return;
  from->acknowledged.reset();
  await_output();
}

void terminal_hub::pump::wish(const attachment_link* link, terminal_size size) {
  reader* from = find(link);
  if (from == nullptr) return;
  from->wish = size;
  settle_size();
}

void terminal_hub::pump::request_size(terminal_size size) {
  requested_ = size;
  settle_size();
}

uint64_t terminal_hub::pump::slowest_acknowledged() const {
  uint64_t slowest = std::numeric_limits<uint64_t>::max();
  for (const reader& each : readers_)
    if (each.acknowledged) slowest = std::min(slowest, *each.acknowledged);
  return slowest;
}

bool terminal_hub::pump::paused() {
  const uint64_t ahead =
    scrollback_.sequence() - std::min(scrollback_.sequence(), slowest_acknowledged());
  if (ahead >= hub_.settings_.pause_ahead) {
    paused_ = true;
  } else if (ahead < hub_.settings_.resume_ahead) {
    paused_ = false;
  }
  return paused_;
}

/// Wakes when nobody has used the terminal for `detached`, if nobody does until then.
void terminal_hub::pump::await_use() {
  if (hub_.settings_.detached.count() == 0 || awaiting_use_ || !readers_.empty() ||
      phase_ != phase::open)
    return;
  awaiting_use_ = true;
  use_timer_.expires_at(used_at_ + hub_.settings_.detached);
  use_timer_.async_wait(counted([this] {
    awaiting_use_ = false;
    if (!readers_.empty()) return;  // who detaches begins anew
    const auto now = steady_clock::now();
    if (now >= used_at_ + hub_.settings_.detached) {
      caf::anon_send(terminal_, detached_atom_v);
      used_at_ = now;
    }
    await_use();
  }));
}

/// The PTY is paused: that is right for one client that takes its time, and for all that do, but a
/// client that has stopped must not hold up the others.
void terminal_hub::pump::await_stalled() {
  if (awaiting_stalled_ || readers_.size() < 2) return;
  awaiting_stalled_ = true;
  if (!stall_timer_) stall_timer_ = std::make_unique<steady_timer>(home_.thread.context());
  stall_timer_->expires_after(hub_.settings_.stall_timeout);
  stall_timer_->async_wait(counted([this] {
    awaiting_stalled_ = false;
    pass_over_stalled();
    await_output();
  }));
}

void terminal_hub::pump::pass_over_stalled() {
  if (!paused()) return;
  const auto stalled = [this, now = steady_clock::now()](const reader& each) {
    return each.acknowledged &&
           scrollback_.sequence() - *each.acknowledged >= hub_.settings_.resume_ahead &&
           now - each.heard_at >= hub_.settings_.stall_timeout;
  };
  if (std::all_of(readers_.begin(), readers_.end(), stalled)) return;
  for (reader& each : readers_)
    if (stalled(each)) each.acknowledged.reset();
}

void terminal_hub::pump::settle_size() {
  std::optional<terminal_size> smallest;
  for (const reader& each : readers_) {
    if (!each.wish) continue;
    if (!smallest) smallest = each.wish;
    smallest->columns = std::min(smallest->columns, each.wish->columns);
    smallest->rows = std::min(smallest->rows, each.wish->rows);
  }
  if (!smallest) smallest = requested_;
  if (smallest && *smallest != size_) set_size(*smallest);
}

void terminal_hub::pump::set_size(terminal_size size) {
  size_ = size;
  counters_->columns = size.columns;
  counters_->rows = size.rows;
  scanner_.set_columns(size.columns);
  // The kernel sends SIGWINCH to the foreground job when this changes anything (ioctl_tty(2)).
  checkpoint_.resize(scrollback_, size);
  if (pty_) pty_->resize({.columns = size.columns, .rows = size.rows});
  for (const reader& each : readers_)
    tell(each.link, [size](attachment_link& at) { at.sink->on_resized(size); });
}

caf::error terminal_hub::pump::input(std::string_view bytes) {
  if (phase_ == phase::closed) return exited(id_);
  if (input_.size() - written_ + bytes.size() > hub_.settings_.input_bytes)
    return make_error(
      errc::limit_reached, "The terminal has " + std::to_string(input_.size() - written_) +
                             " bytes of input that its program has not read; wait until it does.");
  if (written_ > 0 && written_ * 2 >= input_.size()) {
    input_.erase(0, written_);
    written_ = 0;
  }
  input_ += bytes;
  home_.typed_at = steady_clock::now();
  write_input();
  return {};
}

void terminal_hub::pump::write_input() {
  if (phase_ != phase::open || writing_) return;
  while (written_ < input_.size()) {
    const ssize_t n = os::system_call(write_keys, input_.size() - written_,
      [&](std::size_t most) { return ::write(pty_->master(), input_.data() + written_, most); });
    if (n >= 0) {
      written_ += static_cast<std::size_t>(n);
      home_.bytes_in += static_cast<std::size_t>(n);
      continue;
    }
    const error_code failure = os::last_error();
    if (failure.value() == EAGAIN) {
      writing_ = true;
      master_.async_wait(stream_descriptor::wait_write, counted([this] {
        writing_ = false;
        write_input();
      }));
      break;
    }
    if (os::is_shortage(failure)) {
      writing_ = true;
      if (!input_timer_) input_timer_ = std::make_unique<steady_timer>(home_.thread.context());
      input_timer_->expires_after(shortage_pause);
      input_timer_->async_wait(counted([this] {
        writing_ = false;
        write_input();
      }));
      break;
    }
    written_ = input_.size();  // nobody has the other end open: there is nobody to read it
  }
  if (written_ == input_.size()) {
    input_.clear();
    written_ = 0;
    if (input_.capacity() > 64 * 1024) input_.shrink_to_fit();
  }
  note_activity();
}

caf::error terminal_hub::pump::signal(int number) {
  if (!is_open()) return phase_ == phase::starting ? caf::error{} : exited(id_);
  const auto group = pty_->foreground_group();
  if (!group || *group <= 1) return exited(id_);
  // A group that has just ended is what the signal was to achieve.
  if (os::system_call(signal_job, [&] { return ::kill(-*group, number); }) == 0 || errno == ESRCH)
    return {};
  return make_error(
    errc::internal, "The foreground job may not be signalled: it runs as another user.");
}

void terminal_hub::pump::look_at_foreground() {
  if (!pty_) return;
  const auto group = pty_->foreground_group();
  if (!group || *group <= 0 || *group == foreground_) return;
  foreground_ = *group;
  counters_->foreground_group = foreground_;
  caf::anon_send(terminal_, foreground_atom_v, int32_t{foreground_});
}

void terminal_hub::pump::note_activity() {
  last_activity_ = steady_clock::now();
  if (!awaiting_quiet_ && phase_ == phase::open) await_quiet();
}

void terminal_hub::pump::await_quiet() {
  awaiting_quiet_ = true;
  quiet_timer_.expires_at(last_activity_ + hub_.settings_.foreground_delay);
  quiet_timer_.async_wait(counted([this] {
    awaiting_quiet_ = false;
    if (steady_clock::now() < last_activity_ + hub_.settings_.foreground_delay) {
      await_quiet();
      return;
    }
    look_at_foreground();
    scanner_.settle(hints_);
    if (!hints_.empty()) send_hints();
  }));
}

void terminal_hub::pump::tell_detector() {
  const auto now = steady_clock::now();
  const bool was_quiet = now - last_output_ >= hub_.settings_.output_interval;
  last_output_ = now;
  if (hints_.empty() && !was_quiet) return;
  if (now - last_notice_ >= hub_.settings_.output_interval) {
    send_hints();
    return;
  }
  if (hints_.empty() || awaiting_hints_ || phase_ != phase::open) return;
  awaiting_hints_ = true;
  hint_timer_.expires_at(last_notice_ + hub_.settings_.output_interval);
  hint_timer_.async_wait(counted([this] {
    awaiting_hints_ = false;
    if (!hints_.empty()) send_hints();
  }));
}

void terminal_hub::pump::send_hints() {
  last_notice_ = steady_clock::now();
  caf::anon_send(detector_, output_atom_v, std::exchange(hints_, {}));
}

attachment::attachment(terminal_hub& hub, std::shared_ptr<attachment_link> link)
    : hub_{hub}, link_{std::move(link)} {}

attachment::~attachment() {
  link_->sink = nullptr;
  hub_.at_home(link_->id, [link = link_](terminal_hub::pump* terminal) {
    if (terminal != nullptr) terminal->detach(link.get());
  });
}

void attachment::pull() {
  if (std::exchange(link_->owed, true)) return;
  hub_.at_home(link_->id, [link = link_](terminal_hub::pump* terminal) {
    if (terminal != nullptr) terminal->pull(link.get());
  });
}

void attachment::acknowledge(uint64_t sequence) {
  hub_.at_home(link_->id, [link = link_, sequence](terminal_hub::pump* terminal) {
    if (terminal != nullptr) terminal->acknowledge(link.get(), sequence);
  });
}

void attachment::stop_pacing() {
  hub_.at_home(link_->id, [link = link_](terminal_hub::pump* terminal) {
    if (terminal != nullptr) terminal->stop_pacing(link.get());
  });
}

void attachment::resize(terminal_size size) {
  hub_.at_home(link_->id, [link = link_, size](terminal_hub::pump* terminal) {
    if (terminal != nullptr) terminal->wish(link.get(), size);
  });
}

const std::string& attachment::terminal_id() const noexcept {
  return link_->id;
}

terminal_hub::terminal_hub(
  std::vector<io_thread*> threads, os::child_reaper& reaper, terminal_hub_settings settings)
    : threads_{std::move(threads)},
      reaper_{reaper},
      settings_{settings},
      starter_{static_cast<uint32_t>(threads_.size())} {
  for (io_thread* thread : threads_) {
    shelves_.push_back(std::make_unique<shelf>(
      shelf{.thread = *thread, .directory = {}, .pumps = {}, .buffer = {}}));
    shelves_.back()->buffer.resize(settings_.read_bytes);
  }
  starter_.start("pv-starter");
}

terminal_hub::~terminal_hub() {
  starter_.stop();
}

// Hashing instead of taking turns: whatever concerns a terminal finds its thread without a table,
// and in order.
io_thread& terminal_hub::home_of(const std::string& id) const {
  return *threads_[std::hash<std::string>{}(id) % threads_.size()];
}

terminal_hub::shelf& terminal_hub::shelf_of(const io_thread& thread) const {
  return *shelves_[thread.index()];
}

template <class Task> void terminal_hub::at_home(const std::string& id, Task task) {
  io_thread& home = home_of(id);
  home.post([this, &home, id, task = std::move(task)]() mutable { task(shelf_of(home).find(id)); });
}

template <class Task> void terminal_hub::at_home_soon(const std::string& id, Task task) {
  io_thread& home = home_of(id);
  if (home.is_current()) {
    task(shelf_of(home).find(id));
  } else {
    at_home(id, std::move(task));
  }
}

void terminal_hub::open(terminal_spec spec, terminal_actor terminal, detector_actor detector) {
  io_thread& home = home_of(spec.id);
  home.post([this, &home, spec = std::move(spec), terminal = std::move(terminal),
              detector = std::move(detector)] {
    shelf& at = shelf_of(home);
    if (at.pumps.count(spec.id) != 0) {
      caf::anon_send(
        terminal, failed_atom_v, make_error(errc::internal, "The id " + spec.id + " is taken."));
      return;
    }
    const auto added =
      at.pumps.emplace(spec.id, std::make_unique<pump>(*this, at, spec, terminal, detector));
    start_process(home, *added.first->second, spec);
  });
}

void terminal_hub::start_process(io_thread& home, pump& terminal, const terminal_spec& spec) {
  terminal.begin();
  starter_.post([this, &home, &terminal, spec] {
    // Shared, since it is owned by nobody if the thread stops before the answer arrives.
    auto process = std::make_shared<caf::expected<started_terminal>>(start(spec, reaper_));
    home.post([&terminal, process] {
      if (*process) {
        terminal.started(std::move(**process));
      } else {
        terminal.failed(process->error());
      }
      terminal.leave();
    });
  });
}

void terminal_hub::remove_everywhere(const std::string& id) {
  for (io_thread* thread : threads_)
    thread->post([this, thread, id] { shelf_of(*thread).directory.remove(id); });
}

void terminal_hub::finish(const std::string& id) {
  at_home(id, [](pump* terminal) {
    if (terminal != nullptr) terminal->finish();
  });
}

void terminal_hub::forget(const std::string& id) {
  at_home(id, [](pump* terminal) {
    if (terminal != nullptr) terminal->forget();
  });
}

std::unique_ptr<attachment>
terminal_hub::attach(io_thread& here, const std::string& id, uint64_t after, output_sink& sink) {
  if (!shelf_of(here).directory.contains(id)) return nullptr;
  auto link = std::make_shared<attachment_link>(id, here, sink);
  at_home(id, [link, after](pump* terminal) {
    if (terminal != nullptr) {
      terminal->attach(link, after);
    } else {
      tell_end(link);
    }
  });
  return std::unique_ptr<attachment>{new attachment{*this, std::move(link)}};
}

void terminal_hub::input(io_thread& here, const std::string& id, std::string bytes, done answer) {
  at_home_soon(
    id, [&here, id, bytes = std::move(bytes), answer = std::move(answer)](pump* terminal) mutable {
      if (terminal != nullptr) terminal->touch();
      caf::error result = terminal != nullptr ? terminal->input(bytes) : not_found(id);
      here.post([answer = std::move(answer), result = std::move(result)]() mutable {
        answer(std::move(result));
      });
    });
}

void terminal_hub::resize(io_thread& here, const std::string& id, terminal_size size, done answer) {
  at_home_soon(id, [&here, id, size, answer = std::move(answer)](pump* terminal) mutable {
    if (terminal != nullptr) {
      terminal->touch();
      terminal->request_size(size);
    }
    caf::error result = terminal != nullptr ? caf::error{} : not_found(id);
    here.post([answer = std::move(answer), result = std::move(result)]() mutable {
      answer(std::move(result));
    });
  });
}

void terminal_hub::signal(io_thread& here, const std::string& id, int number, done answer) {
  at_home_soon(id, [&here, id, number, answer = std::move(answer)](pump* terminal) mutable {
    if (terminal != nullptr) terminal->touch();
    caf::error result = terminal != nullptr ? terminal->signal(number) : not_found(id);
    here.post([answer = std::move(answer), result = std::move(result)]() mutable {
      answer(std::move(result));
    });
  });
}

void terminal_hub::read(io_thread& here, const std::string& id, uint64_t after, std::size_t limit,
  std::function<void(std::optional<output_slice>)> answer) {
  at_home_soon(id, [&here, after, limit, answer = std::move(answer)](pump* terminal) mutable {
    std::optional<output_slice> result;
    if (terminal != nullptr) {
      terminal->touch();
      scrollback::slice slice = terminal->scrollback_.read(after, limit);
      result = output_slice{
        .bytes = std::move(slice.bytes), .sequence = slice.sequence, .lost = slice.lost};
    }
    here.post([answer = std::move(answer), result = std::move(result)]() mutable {
      answer(std::move(result));
    });
  });
}

std::optional<terminal_facts>
terminal_hub::facts(const io_thread& here, const std::string& id) const {
  return shelf_of(here).directory.facts(id);
}

terminal_counts terminal_hub::counts(const io_thread& here) const {
  const shelf& at = shelf_of(here);
  return {at.pumps.size(), at.bytes_in, at.bytes_out};
}

}  // namespace previewd::net::terminal
