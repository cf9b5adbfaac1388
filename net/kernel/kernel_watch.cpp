#include "previewd/net/kernel/kernel_watch.hpp"

#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <pthread.h>
#include <sys/socket.h>

#include <algorithm>
#include <atomic>
#include <boost/asio/ip/address.hpp>
#include <boost/asio/signal_set.hpp>
#include <caf/send.hpp>
#include <csignal>
#include <functional>
#include <limits>
#include <map>
#include <optional>
#include <unordered_map>
#include <utility>

#include "previewd/net/asio_types.hpp"
#include "previewd/net/io_thread.hpp"
#include "previewd/net/kernel/listener_reader.hpp"
#include "previewd/os/child_reaper.hpp"
#include "previewd/os/pidfd.hpp"
#include "previewd/os/process_tree.hpp"
#include "previewd/os/sock_diag.hpp"
#include "previewd/os/system_call.hpp"
#include "previewd/support/log.hpp"

namespace previewd::net::kernel {

namespace {

using clock = std::chrono::steady_clock;
using boost::system::error_code;

const os::call_site copy_events{"kernel.copy_events", {EMFILE}};
const os::call_site watch_events{"kernel.watch_events", {ENOMEM, ENOSPC}};
const os::call_site watch_process{"kernel.watch_process", {ENOMEM, ENOSPC}};
const os::call_site look_at_process{"kernel.look_at_process", {ENOMEM}};
const os::call_site kill_process{"kernel.kill", {EPERM}};
const os::call_site open_v6{"loopback.open", {EMFILE, ENFILE, ENOMEM, EAFNOSUPPORT}};
const os::call_site bind_v6{"loopback.bind", {EADDRNOTAVAIL, ENOMEM}};

/// Gives a descriptor to Asio, which tells the kernel's event queue of it (epoll_ctl(2)).
error_code watch_descriptor(stream_descriptor& by, int descriptor, const os::call_site& site) {
  error_code failure;
  if (os::system_call(site, [&] {
        by.assign(descriptor, failure);
        errno = failure.value();
        return failure ? -1 : 0;
      }) == -1)
    return os::last_error();
  return {};
}

/// The watch's thread has no connections, so its number is none of an I/O thread's.
constexpr uint32_t no_index = std::numeric_limits<uint32_t>::max();

// Reading the sockets from /proc/net takes a tenth of the time at most.
constexpr int spared_for_look = 10;

// Between the first two searches for who holds a socket, at most; each further pause is twice as
// long.
constexpr std::chrono::milliseconds longest_first_pause{40};

exit_status to_message(const std::optional<os::exit_status>& status) {
  exit_status result;
  if (!status) return result;
  if (status->code) result.code = *status->code;
  result.signal = status->signal;
  return result;
}

/// Whether there is a `::1` here: not with net.ipv6.conf.lo.disable_ipv6. When that cannot be found
/// out, there is.
bool find_v6_loopback() {
  const os::unique_fd socket{
    os::system_call(open_v6, [] { return ::socket(AF_INET6, SOCK_STREAM | SOCK_CLOEXEC, 0); })};
  if (!socket) return errno != EAFNOSUPPORT;
  sockaddr_in6 address{};
  address.sin6_family = AF_INET6;
  address.sin6_addr = in6addr_loopback;
  const int bound = os::system_call(bind_v6, [&] {
    return ::bind(socket.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address);
  });
  return bound == 0 || errno != EADDRNOTAVAIL;
}

/// Whether a socket takes the connections to every address of its family.
bool is_on_any(const os::listening_socket& socket) {
  const auto& bound = socket.address;
  return std::all_of(bound.begin(), bound.end(), [](uint8_t byte) { return byte == 0; });
}

/// How near a listening socket is to an address: the nearest gets the connections. 0: none of them.
int nearness(const os::listening_socket& socket, const asio::ip::address& address) {
  const bool v6 = socket.family == os::address_family::v6;
  const auto& bound = socket.address;
  const bool any = is_on_any(socket);
  if (address.is_v6()) {
    if (!v6) return 0;
    return bound == address.to_v6().to_bytes() ? 3 : any ? 2 : 0;
  }
  const auto wanted = address.to_v4().to_bytes();
  if (!v6) return std::equal(wanted.begin(), wanted.end(), bound.begin()) ? 3 : any ? 2 : 0;
  if (socket.v6only) return 0;
  const auto mapped = asio::ip::make_address_v6(asio::ip::v4_mapped, address.to_v4()).to_bytes();
  return bound == mapped ? 3 : any ? 1 : 0;
}

/// Names the waiting for one process to end; 0 names none.
using watch_number = uint64_t;

/// Calls back when processes end. A process for which no descriptor can be had is polled.
class process_watches {
public:
  explicit process_watches(asio::io_context& context) : context_{context} {}

  /// `ended` is called once, later, on the context's thread, unless it is dropped before. 0 when
  /// the process has ended already.
  watch_number add(const os::process_id& process, std::function<void()> ended) {
    auto fd = os::pidfd::open(process.pid);
    error_code failure = fd ? error_code{} : fd.error();
    if (!fd && fd.error().value() == ESRCH) return 0;
    if (!os::is_alive(process)) return 0;
    const watch_number number = next_++;
    entry& added =
      entries_.emplace(number, entry{process, std::move(ended), std::nullopt}).first->second;
    if (fd) {
      os::unique_fd owned = fd->release();
      added.descriptor.emplace(context_);
      failure = watch_descriptor(*added.descriptor, owned.get(), watch_process);
      if (!failure) {
        (void)owned.release();
        failing_ = false;
        await(number, *added.descriptor);
        return number;
      }
      added.descriptor.reset();
    }
    if (!std::exchange(failing_, true)) {
      log::warn("pidfd_failed", "Processes are polled, since there are no descriptors for them.",
        {{"reason", failure.message()}});
    }
    ++polled_;
    return number;
  }

  void drop(watch_number number) {
    const auto found = entries_.find(number);
    if (found == entries_.end()) return;
    if (!found->second.descriptor) --polled_;
    entries_.erase(found);
  }

  /// Looks at those without a descriptor.
  void poll() {
    if (polled_ == 0) return;
    std::vector<watch_number> over;
    for (const auto& [number, watched] : entries_) {
      if (!watched.descriptor && !os::is_alive(watched.process)) over.push_back(number);
    }
    for (const watch_number number : over) fire(number);
  }

  std::size_t size() const noexcept { return entries_.size(); }
  /// Whether there are any without a descriptor.
  bool has_polled() const noexcept { return polled_ != 0; }

  void clear() {
    entries_.clear();
    polled_ = 0;
  }

private:
  struct entry {
    os::process_id process;
    std::function<void()> ended;
    std::optional<stream_descriptor> descriptor;
  };

  void await(watch_number number, stream_descriptor& descriptor) {
    descriptor.async_wait(stream_descriptor::wait_read, [this, number](error_code aborted) {
      if (aborted) return;
      const auto found = entries_.find(number);
      if (found == entries_.end()) return;
      // Asio's epoll reactor keeps its bookkeeping of a closed descriptor for the next one, and
      // with it a readiness that is still queued: a wait may end for what happened to another.
      // Whether it is this process that has ended is asked of the kernel (pidfd_open(2)).
      if (stream_descriptor& own = *found->second.descriptor; is_readable(own)) {
        fire(number);
      } else {
        await(number, own);
      }
    });
  }

  static bool is_readable(stream_descriptor& descriptor) {
    pollfd asked{descriptor.native_handle(), POLLIN, 0};
    return os::system_call(look_at_process, [&] { return ::poll(&asked, 1, 0); }) == 1;
  }

  void fire(watch_number number) {
    const auto found = entries_.find(number);
    if (found == entries_.end()) return;
    const std::function<void()> ended = std::move(found->second.ended);
    drop(number);
    ended();
  }

  asio::io_context& context_;
  watch_number next_ = 1;
  std::size_t polled_ = 0;
  bool failing_ = false;  // said once, until there is a descriptor again
  std::unordered_map<watch_number, entry> entries_;
};

}  // namespace

class kernel_watcher::implementation {
public:
  implementation(os::child_reaper& reaper, const kernel_watch_settings& settings)
      : reaper_{reaper}, settings_{settings}, tree_{usual_search(reaper), settings.cgroup} {}

  ~implementation() { stop(); }

  void start() {
    run([this] { begin(); });
    thread_.start("pv-kernel");
  }

  void stop() {
    if (closed_.exchange(true)) return;
    thread_.stop();
    // From here on this is the only thread.
    finished_ = true;
    timer_.cancel();
    ladder_timer_.cancel();
    error_code ignored;
    signals_.cancel(ignored);
    event_descriptor_.close(ignored);
    watches_.clear();
    terminals_.clear();
    servers_.clear();
    ladders_.clear();
    // Runs what is still queued, which does nothing any more but lets go of its actors.
    thread_.context().restart();
    thread_.context().poll();
  }

  /// Runs a task on the thread.
  template <class Task> void run(Task task) {
    if (closed_) return;
    thread_.post([this, task = std::move(task)]() mutable {
      if (!finished_) task();
    });
  }

  void track(std::string id, int32_t pid, terminal_actor actor, detector_actor detector);
  void untrack(const std::string& id);
  void scan(const std::string& id);
  void watch(const server_ref& ref, std::vector<listener_id> listeners,
    const std::vector<int32_t>& owners, int32_t job_leader, preview_server_actor reply_to);
  void await_successor(const server_ref& ref, endpoint at);
  void unwatch(const server_ref& ref);
  void find(const endpoint& at, const std::function<void(found_listeners)>& done);
  void confirm(const server_ref& ref);
  void end_processes(
    const std::string& id, int32_t session, kill_ladder pauses, terminal_actor reply_to);
  kernel_counts counts() const {
    return {terminals_.size(), servers_.size(), watches_.size(), ladders_.size()};
  }

private:
  enum class exit_told : unsigned char { no, yes };

  struct tracked_terminal {
    os::process_id leader;
    terminal_actor actor;
    detector_actor detector;
    watch_number leader_watch = 0;
    std::optional<os::exit_status> exit;
    exit_told told = exit_told::no;
    bool unknown = false;  // which process leads it cannot be told for the moment
    clock::time_point fast_until;
    std::vector<listener_fact> told_listeners;
    std::vector<listener_fact> listeners;  // as being built
  };

  struct watched_owner {
    os::process_id process;
    watch_number watch = 0;
  };

  struct watched_server {
    server_ref ref;
    std::vector<listener_id> listeners;
    std::vector<watched_owner> owners;
    pid_t told_owner = 0;  // who is known to the server to hold its sockets; 0: nobody
    int32_t job_leader = 0;
    watch_number leader_watch = 0;
    bool leader_unknown = false;  // whether it lives cannot be told for the moment
    preview_server_actor actor;
    bool told_gone = false;
    bool told_stopped = false;
    std::optional<uint32_t> user;       // who made its sockets; nothing: not known
    std::optional<endpoint> successor;  // where one is waited for
  };

  /// A listening socket, and what is known of who holds it.
  struct known_socket {
    os::listening_socket socket;
    std::string terminal;  // empty: nobody's whom we follow, so far
    std::vector<os::process_id> owners;
    pid_t group = 0;
    std::string command;
    uint32_t attempts = 0;
    clock::time_point next_attempt;
    uint64_t seen = 0;  // number of the last look that showed it
  };

  struct ladder {
    enum class step : unsigned char { hangup, terminate, kill };
    int32_t session = 0;
    kill_ladder pauses;
    std::vector<terminal_actor> waiting;
    step at = step::hangup;
    clock::time_point next_step;
    bool hung_up = false;
    uint32_t rounds = 0;
    std::vector<os::process_id> terminated;
  };

  listener_fact fact_of(const known_socket& known) const;
  bool is_reached_by_v4_alone(const known_socket& known) const;
  pid_t job_of(const std::string& id, const os::process_stat& process) const;
  static os::process_search usual_search(const os::child_reaper& reaper) {
    return reaper.mode() == os::reap_mode::all ? os::process_search::descendants
                                               : os::process_search::everything;
  }

  void begin();
  void await_child_signal();
  void open_events();
  void await_destroyed();
  void take_destroyed();

  void request_look();
  void look(const server_ref* asked = nullptr, clock::time_point noticed = clock::now());
  listener_state state_of(const watched_server& server);
  void answer(watched_server& server);
  void check_servers();
  void check_stopped(watched_server& server);
  void update_known();
  void find_owners();
  void tell_listeners();
  void tell_owners();
  void search_owners(watched_server& server);
  std::vector<os::process_stat> holders_of(const std::vector<uint64_t>& inodes);
  std::vector<const known_socket*> sockets_at(const endpoint& at) const;
  void name_holders(std::vector<listener_fact>& sockets);
  void note_user(watched_server& server) const;
  void tell_successors();
  void follow_owners(watched_server& server);
  void owner_ended(uint64_t generation);
  bool is_listening(const watched_server& server) const;
  std::vector<os::process_id> owners_of(const watched_server& server) const;
  void drop_watches(const watched_server& server);

  void identify(const std::string& id, tracked_terminal& terminal);
  void terminal_ended(const std::string& id);
  void collect(tracked_terminal& terminal);
  void follow_leader(watched_server& server);
  void leader_ended(uint64_t generation, pid_t leader);

  void schedule();
  bool has_to_retry() const;
  void tick();
  bool in_fast_phase(const tracked_terminal& terminal) const {
    return terminal.fast_until > clock::now();
  }

  void begin_ladders();
  void schedule_ladders();
  void tick_ladders();
  bool climb(const std::string& id, ladder& steps);
  void finish_ladder(const std::string& id);
  void hang_up(const std::string& id, ladder& steps);
  static bool signal(const os::process_stat& process, std::initializer_list<int> numbers);

  os::child_reaper& reaper_;
  const kernel_watch_settings settings_;
  io_thread thread_{no_index};
  std::atomic<bool> closed_{false};
  bool finished_ = false;

  listener_reader reader_;
  std::optional<os::destroy_events> events_;
  bool events_missing_ = false;  // for want of something: tried again
  bool has_v6_loopback_ = true;
  stream_descriptor event_descriptor_{thread_.context()};
  std::vector<os::destroyed_socket> destroyed_;
  asio::signal_set signals_{thread_.context()};
  steady_timer timer_{thread_.context()};
  steady_timer ladder_timer_{thread_.context()};
  process_watches watches_{thread_.context()};
  os::process_tree tree_;

  std::map<std::string, tracked_terminal> terminals_;
  std::unordered_map<uint64_t, watched_server> servers_;  // by generation
  std::unordered_map<uint64_t, known_socket> known_;      // by inode
  std::map<std::string, ladder> ladders_;
  bool beginning_ = false;  // `begin_ladders` is on its way
  bool climbing_ = false;   // the next look at the ladders is set

  std::vector<os::listening_socket> sockets_;  // the last look, in order
  std::vector<uint64_t> inodes_;
  uint64_t look_number_ = 0;
  clock::time_point last_look_{};
  clock::duration look_took_{};  // to read the sockets
  clock::time_point noticed_{};  // when the kernel's event behind the last look was read
  clock::time_point last_owner_search_{};
  bool look_requested_ = false;
  bool look_failing_ = false;
  bool search_failing_ = false;
  std::vector<uint64_t> unanswered_;  // generations that were asked about
  bool owners_stale_ = false;
};

// Starting, and what wakes the watch.

void kernel_watcher::implementation::begin() {
  const error_code why = reader_.open(settings_.source);
  open_events();
  has_v6_loopback_ = find_v6_loopback();
  log::info("listener_source",
    reader_.uses_sock_diag() ? "Listening sockets are read by socket diagnosis."
                             : "Listening sockets are read from /proc/net, which is slower.",
    {{"source", reader_.uses_sock_diag() ? "sock_diag" : "proc_net"},
      {"events", events_ ? "on" : "off"}, {"reason", why ? why.message() : std::string{"none"}}});
  if (!has_v6_loopback_)
    log::info("no_ipv6_loopback",
      "There is no ::1 here: servers that listen on :: are reached at 127.0.0.1.");

  if (settings_.signals == child_signals::handled) {
    error_code failure;
    signals_.add(SIGCHLD, failure);
    sigset_t child;
    sigemptyset(&child);
    sigaddset(&child, SIGCHLD);
    // This thread is the one that takes it: all others have it blocked.
    pthread_sigmask(SIG_UNBLOCK, &child, nullptr);
    if (!failure) await_child_signal();
    reaper_.reap();
  }
}

/// Begins to hear of sockets that are closed. What happened before is found by looking.
void kernel_watcher::implementation::open_events() {
  if (settings_.source != listener_source::automatic) return;
  auto events = os::destroy_events::open();
  error_code failure = events ? error_code{} : events.error();
  if (events) {
    // The descriptor that Asio closes is its own.
    os::unique_fd copy{
      os::system_call(copy_events, [&] { return ::fcntl(events->get(), F_DUPFD_CLOEXEC, 0); })};
    failure =
      copy ? watch_descriptor(event_descriptor_, copy.get(), watch_events) : os::last_error();
    if (!failure) {
      (void)copy.release();
      events_.emplace(std::move(*events));
      await_destroyed();
    }
  }
  events_missing_ = os::is_shortage(failure) || failure.value() == ENOSPC;
}

void kernel_watcher::implementation::await_child_signal() {
  signals_.async_wait([this](error_code aborted, int) {
    if (aborted || finished_) return;
    reaper_.reap();
    await_child_signal();
  });
}

void kernel_watcher::implementation::await_destroyed() {
  event_descriptor_.async_wait(stream_descriptor::wait_read, [this](error_code aborted) {
    if (aborted || finished_) return;
    take_destroyed();
  });
}

void kernel_watcher::implementation::take_destroyed() {
  const auto noticed = clock::now();
  destroyed_.clear();
  const auto taken = events_->take(destroyed_);
  if (!taken) {
    log::error("destroy_events_failed",
      "The kernel no longer tells of closed sockets; they are looked for often instead.",
      {{"reason", taken.error().message()}});
    error_code ignored;
    event_descriptor_.close(ignored);
    events_.reset();
    events_missing_ = os::is_shortage(taken.error());
    look();
    return;
  }
  await_destroyed();
  if (terminals_.empty() && servers_.empty()) return;
  bool matters = *taken == os::destroy_events::outcome::overrun;
  for (const auto& entry : known_) {
    if (matters) break;
    const known_socket& known = entry.second;
    matters = std::any_of(destroyed_.begin(), destroyed_.end(), [&](const auto& gone) {
      return gone.port == known.socket.port && gone.family == known.socket.family &&
             (!known.terminal.empty() || known.attempts < settings_.owner_attempts);
    });
  }
  for (const auto& [generation, server] : servers_) {
    if (matters) break;
    for (const listener_id& listener : server.listeners) {
      matters = matters || std::any_of(destroyed_.begin(), destroyed_.end(), [&](const auto& gone) {
        return gone.port == listener.port && (gone.family == os::address_family::v6) == listener.v6;
      });
    }
  }
  if (matters) look(nullptr, noticed);
}

void kernel_watcher::implementation::schedule() {
  if (terminals_.empty() && servers_.empty() && !events_missing_) {
    timer_.cancel();
    return;
  }
  auto interval = std::max(settings_.slow_interval, settings_.fast_interval);
  if (!reader_.uses_sock_diag()) interval = std::max(interval, settings_.costly_interval);
  for (const auto& [id, terminal] : terminals_) {
    if (in_fast_phase(terminal)) interval = std::min(interval, settings_.fast_interval);
  }
  for (const auto& [generation, server] : servers_) {
    // Clients may be held until it is there.
    if (server.successor)
      interval = std::min({interval, settings_.fast_interval, settings_.poll_interval});
    if (server.told_stopped) interval = std::min(interval, settings_.poll_interval);
  }
  if ((!servers_.empty() && !events_) || has_to_retry())
    interval = std::min(interval, settings_.poll_interval);
  if (look_requested_) interval = std::min(interval, settings_.least_interval);
  if (!reader_.uses_sock_diag()) {
    const auto spared = std::chrono::ceil<std::chrono::milliseconds>(spared_for_look * look_took_);
    interval = std::max(interval, std::min(spared, settings_.costly_interval));
  }
  timer_.expires_at(last_look_ + interval);
  timer_.async_wait([this](error_code aborted) {
    if (!aborted && !finished_) tick();
  });
}

/// Whether something is polled, or could not be found out for want of descriptors or memory.
bool kernel_watcher::implementation::has_to_retry() const {
  return look_failing_ || search_failing_ || events_missing_ || watches_.has_polled() ||
         std::any_of(terminals_.begin(), terminals_.end(),
           [](const auto& entry) { return entry.second.unknown; }) ||
         std::any_of(servers_.begin(), servers_.end(),
           [](const auto& entry) { return entry.second.leader_unknown; });
}

void kernel_watcher::implementation::tick() {
  watches_.poll();
  if (events_missing_) open_events();
  for (auto& [id, terminal] : terminals_) {
    if (terminal.unknown) identify(id, terminal);
  }
  for (auto& [generation, server] : servers_) {
    if (server.leader_unknown) follow_leader(server);
  }
  if (clock::now() - last_owner_search_ >= settings_.costly_interval) {
    owners_stale_ = true;
    reaper_.reap();
  }
  look();
}

void kernel_watcher::implementation::request_look() {
  if (clock::now() - last_look_ >= settings_.least_interval) {
    look();
  } else {
    look_requested_ = true;
    schedule();
  }
}

// One look: a dump of the kernel's table, and everything that follows from it.

void kernel_watcher::implementation::look(const server_ref* asked, clock::time_point noticed) {
  look_requested_ = false;
  noticed_ = noticed;
  last_look_ = clock::now();
  sockets_.clear();
  if (asked != nullptr &&
      std::find(unanswered_.begin(), unanswered_.end(), asked->generation) == unanswered_.end())
    unanswered_.push_back(asked->generation);
  if (const error_code failure = reader_.append_listeners(sockets_)) {
    if (!std::exchange(look_failing_, true)) {
      log::error("listeners_unreadable",
        "The listening sockets cannot be read; it is tried again until they can.",
        {{"reason", failure.message()}});
    }
    schedule();
    return;
  }
  if (std::exchange(look_failing_, false))
    log::info("listeners_readable", "The listening sockets can be read again.");
  ++look_number_;
  look_took_ = clock::now() - last_look_;
  update_known();
  // Before anything else is said of it: who asked is to learn it as the answer.
  for (const uint64_t generation : std::exchange(unanswered_, {})) {
    if (const auto found = servers_.find(generation); found != servers_.end())
      answer(found->second);
  }
  check_servers();
  find_owners();
  tell_owners();
  tell_listeners();
  tell_successors();
  schedule();
}

void kernel_watcher::implementation::update_known() {
  for (const os::listening_socket& socket : sockets_) {
    known_socket& known = known_[socket.inode];
    if (known.seen == 0 || known.socket != socket) {
      known = {};
      known.socket = socket;
      known.next_attempt = last_look_;
    }
    known.seen = look_number_;
  }
  std::erase_if(known_, [&](const auto& entry) {
    if (entry.second.seen == look_number_) return false;
    // Something ended here; what takes its place is to be found soon.
    if (const auto at = terminals_.find(entry.second.terminal); at != terminals_.end())
      at->second.fast_until =
        std::max(at->second.fast_until, last_look_ + settings_.detection_timeout);
    return true;
  });
}

bool kernel_watcher::implementation::is_listening(const watched_server& server) const {
  return std::any_of(
    server.listeners.begin(), server.listeners.end(), [&](const listener_id& listener) {
      const auto found = known_.find(listener.inode);
      return found != known_.end() && found->second.socket.port == listener.port;
    });
}

void kernel_watcher::implementation::check_servers() {
  for (auto& [generation, server] : servers_) {
    if (server.told_gone) continue;
    if (is_listening(server)) {
      check_stopped(server);
      continue;
    }
    server.told_gone = true;
    caf::anon_send(server.actor, gone_atom_v, steady_moment{noticed_.time_since_epoch()});
  }
}

/// A job stops or goes on a moment after its terminal has changed hands, or without that: when it
/// reads the terminal in the background, or inside another terminal.
void kernel_watcher::implementation::check_stopped(watched_server& server) {
  const auto is_busy = [&](const listener_id& listener) {
    const auto known = known_.find(listener.inode);
    if (known == known_.end()) return false;
    const auto home = terminals_.find(known->second.terminal);
    return home != terminals_.end() && in_fast_phase(home->second);
  };
  if (!server.told_stopped &&
      std::none_of(server.listeners.begin(), server.listeners.end(), is_busy))
    return;
  if (state_of(server).stopped != server.told_stopped) answer(server);
}

void kernel_watcher::implementation::find_owners() {
  search_failing_ = false;
  if (terminals_.empty()) return;
  const auto is_wanted = [&](const known_socket& known) {
    if (!known.terminal.empty()) return owners_stale_ && terminals_.count(known.terminal) != 0;
    return known.attempts < settings_.owner_attempts && known.next_attempt <= last_look_;
  };
  std::size_t new_ones = 0;
  std::unordered_map<uint64_t, std::vector<const os::process_stat*>> wanted;
  std::map<std::string, std::size_t> with_sockets;
  for (const auto& [inode, known] : known_) {
    if (!is_wanted(known)) continue;
    wanted[inode];
    if (known.terminal.empty()) {
      ++new_ones;
    } else {
      ++with_sockets[known.terminal];
    }
  }
  if (wanted.empty()) {
    if (owners_stale_) last_owner_search_ = last_look_;
    owners_stale_ = false;
    return;
  }

  if (tree_.refresh()) {
    // Nothing is learnt from what could not be seen.
    search_failing_ = true;
    return;
  }
  std::vector<const std::string*> order;
  for (const auto& [id, terminal] : terminals_) order.push_back(&id);
  // Where something was going on just now is where a new socket comes from.
  std::stable_sort(order.begin(), order.end(), [&](const std::string* a, const std::string* b) {
    return terminals_.at(*a).fast_until > terminals_.at(*b).fast_until;
  });
  std::unordered_map<uint64_t, const std::string*> found_in;
  for (const std::string* id : order) {
    // What is shared has its owners in one terminal, as they descend from each other.
    if (new_ones == 0 && with_sockets.count(*id) == 0) continue;
    for (const os::process_stat& process : tree_.members(*id)) {
      inodes_.clear();
      if (os::is_shortage(os::append_socket_inodes(process.pid, inodes_))) {
        search_failing_ = true;
        return;
      }
      std::sort(inodes_.begin(), inodes_.end());
      inodes_.erase(std::unique(inodes_.begin(), inodes_.end()), inodes_.end());
      for (const uint64_t inode : inodes_) {
        const auto hit = wanted.find(inode);
        if (hit == wanted.end()) continue;
        const std::string* const at = found_in.emplace(inode, id).first->second;
        if (at != id) continue;
        if (hit->second.empty() && known_.at(inode).terminal.empty()) --new_ones;
        hit->second.push_back(&process);
      }
    }
  }

  if (owners_stale_) last_owner_search_ = last_look_;
  owners_stale_ = false;
  for (const auto& [inode, owners] : wanted) {
    known_socket& known = known_.at(inode);
    if (owners.empty()) {
      if (known.terminal.empty()) {
        ++known.attempts;
        const auto pause = std::min(settings_.fast_interval, longest_first_pause);
        known.next_attempt = last_look_ + pause * (1U << known.attempts) / 2;
      }
      continue;  // the last owners known stay: somebody does hold it
    }
    std::vector<os::process_id> ids;
    for (const os::process_stat* owner : owners) ids.push_back(owner->id());
    if (known.terminal == *found_in.at(inode) && known.owners == ids && !known.command.empty())
      continue;
    known.terminal = *found_in.at(inode);
    known.owners = std::move(ids);
    known.group = job_of(known.terminal, *owners.front());
    known.command = os::read_command(owners.front()->pid);
  }
  for (auto& [generation, server] : servers_) follow_owners(server);
}

/// The process group that a shell knows a process by. What a supervisor has started in a group of
/// its own belongs to the supervisor's job.
pid_t kernel_watcher::implementation::job_of(
  const std::string& id, const os::process_stat& process) const {
  const std::vector<os::process_stat>& members = tree_.members(id);
  const os::process_stat* at = &process;
  for (std::size_t i = 0; i < members.size(); ++i) {
    const auto parent = std::lower_bound(members.begin(), members.end(), at->parent,
      [](const os::process_stat& one, pid_t pid) { return one.pid < pid; });
    if (parent == members.end() || parent->pid != at->parent) break;
    const bool own_job = at->terminal_group == at->group || parent->session == parent->pid;
    if (parent->group != at->group && own_job) break;
    at = &*parent;
  }
  return at->group;
}

listener_fact kernel_watcher::implementation::fact_of(const known_socket& known) const {
  listener_fact fact;
  fact.id = {.inode = known.socket.inode,
    .port = known.socket.port,
    .v6 = known.socket.family == os::address_family::v6};
  fact.address = is_reached_by_v4_alone(known) ? "0.0.0.0" : os::address_text(known.socket);
  for (const os::process_id& owner : known.owners) fact.owners.push_back(owner.pid);
  fact.job_leader = known.group;
  fact.command = known.command;
  return fact;
}

/// Whether a v6 socket on all addresses has to be connected to by those of v4, and can be.
bool kernel_watcher::implementation::is_reached_by_v4_alone(const known_socket& known) const {
  if (has_v6_loopback_ || known.socket.family != os::address_family::v6 || !is_on_any(known.socket))
    return false;
  // Where another socket gets them they may be a stranger's. /proc/net does not say which sockets
  // are for v6 only.
  const std::vector<const known_socket*> there =
    sockets_at({"127.0.0.1", known.socket.port, scheme::http});
  return std::find(there.begin(), there.end(), &known) != there.end();
}

void kernel_watcher::implementation::tell_listeners() {
  for (auto& [id, terminal] : terminals_) terminal.listeners.clear();
  for (const os::listening_socket& socket : sockets_) {
    const known_socket& known = known_.at(socket.inode);
    const auto at = terminals_.find(known.terminal);
    if (at == terminals_.end()) continue;
    at->second.listeners.push_back(fact_of(known));
  }
  for (auto& [id, terminal] : terminals_) {
    if (terminal.listeners == terminal.told_listeners) continue;
    terminal.told_listeners = terminal.listeners;
    caf::anon_send(terminal.detector, listeners_atom_v, terminal.listeners);
  }
}

/// Names another holder of each server whose last named one holds its sockets no more.
void kernel_watcher::implementation::tell_owners() {
  for (auto& entry : servers_) {
    watched_server& server = entry.second;
    const auto is_told = [&](const watched_owner& owner) {
      return owner.process.pid == server.told_owner;
    };
    if (server.told_gone || std::any_of(server.owners.begin(), server.owners.end(), is_told))
      continue;
    if (server.owners.empty() && server.told_owner != 0) search_owners(server);
    // Nothing is learnt from what could not be seen.
    if (search_failing_) return;
    const pid_t pid = server.owners.empty() ? 0 : server.owners.front().process.pid;
    if (pid == std::exchange(server.told_owner, pid)) continue;
    caf::anon_send(
      server.actor, owner_atom_v, pid, pid == 0 ? std::string{} : os::read_command(pid));
  }
}

/// For a socket that is there still while nobody of its terminal has it, or whose terminal is not
/// followed any more.
void kernel_watcher::implementation::search_owners(watched_server& server) {
  std::vector<uint64_t> inodes;
  for (const listener_id& one : server.listeners) inodes.push_back(one.inode);
  for (const os::process_stat& process : holders_of(inodes))
    server.owners.push_back({process.id(), 0});
  follow_owners(server);
}

/// Who has one of these sockets, by pid, ourselves left out. Looks at all processes, which may take
/// 20 ms: only for what is rare.
std::vector<os::process_stat>
kernel_watcher::implementation::holders_of(const std::vector<uint64_t>& inodes) {
  std::vector<os::process_stat> result;
  std::vector<pid_t> pids;
  search_failing_ = os::is_shortage(os::append_processes(pids));
  std::sort(pids.begin(), pids.end());
  for (const pid_t pid : pids) {
    if (search_failing_) return {};
    if (pid == ::getpid()) continue;
    const auto holds = os::holds_socket(pid, inodes);
    search_failing_ = !holds && os::is_shortage(holds.error());
    if (!holds || !*holds) continue;
    if (auto stat = os::read_stat(pid); stat && stat->is_alive())
      result.push_back(std::move(*stat));
  }
  return result;
}

// Sockets by their endpoint.

/// The sockets that take the connections to a loopback address and port, of the last look; empty
/// for any other address.
auto kernel_watcher::implementation::sockets_at(const endpoint& at) const
  -> std::vector<const known_socket*> {
  std::vector<const known_socket*> result;
  error_code wrong;
  const asio::ip::address address = asio::ip::make_address(at.address, wrong);
  if (wrong || !address.is_loopback()) return result;
  int nearest = 1;
  for (const os::listening_socket& socket : sockets_) {
    if (socket.port != at.port) continue;
    const int here = nearness(socket, address);
    if (here < nearest) continue;
    if (here > nearest) result.clear();
    nearest = here;
    result.push_back(&known_.at(socket.inode));
  }
  return result;
}

void kernel_watcher::implementation::find(
  const endpoint& at, const std::function<void(found_listeners)>& done) {
  // Whose they are is looked up once more, however often it was in vain.
  for (auto& [inode, known] : known_) {
    if (known.socket.port != at.port || !known.terminal.empty()) continue;
    known.attempts = 0;
    known.next_attempt = {};
  }
  look();
  found_listeners found;
  if (look_failing_) return done(std::move(found));
  std::vector<const known_socket*> there = sockets_at(at);
  const auto home = std::find_if(
    there.begin(), there.end(), [](const known_socket* known) { return !known->terminal.empty(); });
  if (home != there.end()) {
    std::iter_swap(there.begin(), home);
    found.terminal_id = there.front()->terminal;
    // v4 and v6 sockets of one port are one server.
    for (const os::listening_socket& socket : sockets_) {
      const known_socket* known = &known_.at(socket.inode);
      if (socket.port == at.port && known->terminal == found.terminal_id &&
          std::find(there.begin(), there.end(), known) == there.end())
        there.push_back(known);
    }
  }
  for (const known_socket* known : there) found.sockets.push_back(fact_of(*known));
  if (!there.empty() && home == there.end()) name_holders(found.sockets);
  done(std::move(found));
}

/// Of sockets that are in no terminal.
void kernel_watcher::implementation::name_holders(std::vector<listener_fact>& sockets) {
  std::vector<uint64_t> inodes;
  for (const listener_fact& socket : sockets) inodes.push_back(socket.id.inode);
  const std::vector<os::process_stat> holders = holders_of(inodes);
  if (holders.empty()) return;
  listener_fact& first = sockets.front();
  first.owners.clear();
  for (const os::process_stat& process : holders) first.owners.push_back(process.pid);
  first.job_leader = holders.front().group;
  first.command = os::read_command(holders.front().pid);
}

void kernel_watcher::implementation::await_successor(const server_ref& ref, endpoint at) {
  const auto found = servers_.find(ref.generation);
  if (found == servers_.end() || !found->second.user) return;
  found->second.successor = std::move(at);
  look();
}

void kernel_watcher::implementation::tell_successors() {
  for (auto& entry : servers_) {
    watched_server& server = entry.second;
    if (!server.successor) continue;
    const std::vector<const known_socket*> there = sockets_at(*server.successor);
    // What a terminal has is found by its own detector, or is a stranger's. Who has it may show
    // only at a second look.
    const bool may_be = std::all_of(there.begin(), there.end(), [&](const known_socket* known) {
      return known->socket.uid == *server.user && known->terminal.empty() &&
             (terminals_.empty() || known->attempts > 1);
    });
    if (there.empty() || !may_be) continue;
    server.successor.reset();
    std::vector<listener_fact> sockets;
    for (const known_socket* known : there) sockets.push_back(fact_of(*known));
    name_holders(sockets);
    caf::anon_send(server.actor, listeners_atom_v, std::move(sockets));
  }
}

// Terminals.

void kernel_watcher::implementation::track(
  std::string id, int32_t pid, terminal_actor actor, detector_actor detector) {
  const auto [entry, is_new] = terminals_.try_emplace(id);
  if (!is_new) return;
  tracked_terminal& terminal = entry->second;
  terminal.actor = std::move(actor);
  terminal.detector = std::move(detector);
  terminal.fast_until = clock::now() + settings_.detection_timeout;

  terminal.leader.pid = pid;
  identify(id, terminal);
  request_look();
}

/// Learns which process leads a terminal, and watches for its end. What cannot be told for the
/// moment is found out later.
void kernel_watcher::implementation::identify(const std::string& id, tracked_terminal& terminal) {
  const auto stat = os::read_stat(terminal.leader.pid);
  // Only what has not been waited for has its pid for sure.
  collect(terminal);
  terminal.unknown = !terminal.exit && !stat && !os::is_gone(stat.error());
  if (stat && !terminal.exit) terminal.leader.start_time = stat->start_time;
  tree_.follow(id, terminal.leader);
  if (terminal.unknown) return;
  if (terminal.leader.start_time != 0)
    terminal.leader_watch = watches_.add(terminal.leader, [this, id] { terminal_ended(id); });
  if (terminal.leader_watch == 0) terminal_ended(id);
}

void kernel_watcher::implementation::untrack(const std::string& id) {
  const auto found = terminals_.find(id);
  if (found == terminals_.end()) return;
  watches_.drop(found->second.leader_watch);
  if (ladders_.count(id) == 0) {
    reaper_.release(found->second.leader.pid);
    tree_.forget(id);
  }
  terminals_.erase(found);
  std::erase_if(known_, [&](const auto& entry) { return entry.second.terminal == id; });
  schedule();
}

void kernel_watcher::implementation::scan(const std::string& id) {
  const auto found = terminals_.find(id);
  if (found == terminals_.end()) return;
  found->second.fast_until = clock::now() + settings_.detection_timeout;
  request_look();
}

void kernel_watcher::implementation::collect(tracked_terminal& terminal) {
  if (!terminal.exit) terminal.exit = reaper_.take(terminal.leader.pid);
}

void kernel_watcher::implementation::terminal_ended(const std::string& id) {
  const auto found = terminals_.find(id);
  if (found == terminals_.end() || found->second.told == exit_told::yes) return;
  tracked_terminal& terminal = found->second;
  terminal.told = exit_told::yes;
  watches_.drop(std::exchange(terminal.leader_watch, 0));
  collect(terminal);
  caf::anon_send(terminal.actor, exited_atom_v, to_message(terminal.exit));
}

// Servers.

void kernel_watcher::implementation::watch(const server_ref& ref,
  std::vector<listener_id> listeners, const std::vector<int32_t>& owners, int32_t job_leader,
  preview_server_actor reply_to) {
  unwatch(ref);
  watched_server& server = servers_[ref.generation];
  server.ref = ref;
  server.listeners = std::move(listeners);
  server.actor = std::move(reply_to);
  if (!owners.empty()) server.told_owner = owners.front();
  for (const int32_t pid : owners) {
    if (pid <= 0) continue;
    const auto stat = os::read_stat(pid);
    if (stat && stat->is_alive()) server.owners.push_back({stat->id(), 0});
  }
  follow_owners(server);
  server.job_leader = job_leader;
  if (job_leader > 0) follow_leader(server);
  // Before and after: it may have ended since it was found, and may not have been seen before.
  note_user(server);
  look();
  note_user(server);
}

void kernel_watcher::implementation::note_user(watched_server& server) const {
  for (const listener_id& listener : server.listeners) {
    if (const auto known = known_.find(listener.inode); known != known_.end())
      server.user = known->second.socket.uid;
  }
}

/// Watches for the end of a job's leader. What cannot be told for the moment is found out later.
void kernel_watcher::implementation::follow_leader(watched_server& server) {
  const pid_t leader = server.job_leader;
  const auto stat = os::read_stat(leader);
  server.leader_unknown = !stat && !os::is_gone(stat.error());
  if (server.leader_unknown) return;
  // A process that leads no group of its own is a later one with the same pid: the server has
  // outlived its leader, as in `echo | server` and `(server &)`.
  if (!stat || stat->group != leader) return;
  server.leader_watch = watches_.add(stat->id(),
    [this, generation = server.ref.generation, leader] { leader_ended(generation, leader); });
  if (server.leader_watch == 0) leader_ended(server.ref.generation, leader);
}

void kernel_watcher::implementation::unwatch(const server_ref& ref) {
  const auto found = servers_.find(ref.generation);
  if (found == servers_.end()) return;
  drop_watches(found->second);
  servers_.erase(found);
  schedule();
}

void kernel_watcher::implementation::drop_watches(const watched_server& server) {
  watches_.drop(server.leader_watch);
  for (const watched_owner& owner : server.owners) watches_.drop(owner.watch);
}

/// Those who hold its sockets as far as that is known; else those who did when it was registered.
std::vector<os::process_id>
kernel_watcher::implementation::owners_of(const watched_server& server) const {
  std::vector<os::process_id> owners;
  for (const listener_id& listener : server.listeners) {
    const auto found = known_.find(listener.inode);
    if (found == known_.end()) continue;
    owners.insert(owners.end(), found->second.owners.begin(), found->second.owners.end());
  }
  if (owners.empty()) {
    for (const watched_owner& owner : server.owners) owners.push_back(owner.process);
  }
  std::sort(owners.begin(), owners.end());
  owners.erase(std::unique(owners.begin(), owners.end()), owners.end());
  return owners;
}

void kernel_watcher::implementation::follow_owners(watched_server& server) {
  const std::vector<os::process_id> wanted = owners_of(server);
  std::erase_if(server.owners, [&](const watched_owner& owner) {
    if (std::binary_search(wanted.begin(), wanted.end(), owner.process)) return false;
    watches_.drop(owner.watch);
    return true;
  });
  for (const os::process_id& process : wanted) {
    auto at = std::find_if(server.owners.begin(), server.owners.end(),
      [&](const watched_owner& owner) { return owner.process == process; });
    if (at == server.owners.end()) at = server.owners.insert(at, {process, 0});
    if (at->watch == 0) {
      at->watch = watches_.add(
        process, [this, generation = server.ref.generation] { owner_ended(generation); });
    }
  }
  // One that has ended meanwhile counts no more.
  std::erase_if(server.owners, [](const watched_owner& owner) { return owner.watch == 0; });
}

void kernel_watcher::implementation::owner_ended(uint64_t generation) {
  const auto found = servers_.find(generation);
  if (found == servers_.end()) return;
  std::erase_if(found->second.owners, [&](const watched_owner& owner) {
    if (os::is_alive(owner.process)) return false;
    watches_.drop(owner.watch);
    return true;
  });
  // Others may hold the same socket, and who they are may have changed.
  owners_stale_ = true;
  look();
}

void kernel_watcher::implementation::leader_ended(uint64_t generation, pid_t leader) {
  const auto found = servers_.find(generation);
  if (found == servers_.end()) return;
  found->second.leader_watch = 0;
  std::optional<os::exit_status> status;
  for (auto& [id, terminal] : terminals_) {
    if (terminal.leader.pid != leader) continue;
    collect(terminal);
    status = terminal.exit;
  }
  caf::anon_send(found->second.actor, leader_atom_v, to_message(status));
}

void kernel_watcher::implementation::confirm(const server_ref& ref) {
  if (servers_.count(ref.generation) != 0) look(&ref);
}

listener_state kernel_watcher::implementation::state_of(const watched_server& server) {
  listener_state state;
  state.listening = is_listening(server);
  std::size_t alive = 0;
  std::size_t stopped = 0;
  const std::vector<os::process_id> owners = owners_of(server);
  for (const os::process_id& owner : owners) {
    const auto stat = os::read_stat(owner.pid);
    if (stat ? stat->id() != owner || !stat->is_alive() || stat->is_exiting()
             : os::is_gone(stat.error())) {
      owners_stale_ = true;
      continue;
    }
    ++alive;
    if (stat && stat->is_stopped()) ++stopped;
  }
  state.stopped = alive > 0 && stopped == alive;
  // Where the owners are not known, that somebody listens shows that there are some.
  state.owners_alive = alive > 0 || (owners.empty() && state.listening);
  state.noticed = noticed_.time_since_epoch();
  return state;
}

void kernel_watcher::implementation::answer(watched_server& server) {
  const listener_state state = state_of(server);
  server.told_stopped = state.stopped;
  caf::anon_send(server.actor, confirm_atom_v, state);
}

// The kill ladder.

void kernel_watcher::implementation::end_processes(
  const std::string& id, int32_t session, kill_ladder pauses, terminal_actor reply_to) {
  const auto [entry, is_new] = ladders_.try_emplace(id);
  ladder& steps = entry->second;
  if (reply_to) steps.waiting.push_back(std::move(reply_to));
  if (!is_new) return;
  steps.session = session;
  steps.pauses = pauses;
  steps.next_step = clock::now() + pauses.after_hangup;
  if (!tree_.follows(id)) tree_.follow(id, {.pid = session, .start_time = 0});
  // One look at all processes is enough for all terminals that are closed together.
  if (!std::exchange(beginning_, true)) run([this] { begin_ladders(); });
}

/// Hangs up on all that are to be ended since the last time.
void kernel_watcher::implementation::begin_ladders() {
  beginning_ = false;
  if (!tree_.refresh(os::process_search::everything)) {
    std::vector<std::string> over;
    for (auto& [id, steps] : ladders_) {
      if (steps.hung_up || steps.at != ladder::step::hangup) continue;
      if (tree_.members(id).empty()) {
        over.push_back(id);
      } else {
        hang_up(id, steps);
      }
    }
    for (const std::string& id : over) finish_ladder(id);
  }
  schedule_ladders();
}

void kernel_watcher::implementation::schedule_ladders() {
  // What comes meanwhile must not put off those that wait.
  if (ladders_.empty() || std::exchange(climbing_, true)) return;
  ladder_timer_.expires_after(settings_.ladder_interval);
  ladder_timer_.async_wait([this](error_code aborted) {
    climbing_ = false;
    if (!aborted && !finished_) tick_ladders();
  });
}

void kernel_watcher::implementation::tick_ladders() {
  reaper_.reap();
  bool seen = !tree_.refresh();
  const bool any_over = std::any_of(ladders_.begin(), ladders_.end(),
    [&](const auto& entry) { return tree_.members(entry.first).empty(); });
  // A process may slip through while its parent ends; before anything is called over, look at all.
  if (seen && any_over) seen = !tree_.refresh(os::process_search::everything);
  if (!seen) {
    // What is not seen has not ended.
    schedule_ladders();
    return;
  }
  std::vector<std::string> over;
  for (auto& [id, steps] : ladders_) {
    if (climb(id, steps)) over.push_back(id);
  }
  for (const std::string& id : over) finish_ladder(id);
  schedule_ladders();
}

/// Does what is due. True when it is over.
bool kernel_watcher::implementation::climb(const std::string& id, ladder& steps) {
  const std::vector<os::process_stat>& members = tree_.members(id);
  if (members.empty()) return true;
  const auto now = clock::now();
  if (steps.at == ladder::step::hangup) {
    if (!steps.hung_up) hang_up(id, steps);
    // The pause is for those who have been hung up on.
    const bool all_hung_up_ended = std::none_of(members.begin(), members.end(),
      [&](const os::process_stat& process) { return process.session == steps.session; });
    if (now < steps.next_step && !all_hung_up_ended) return false;
    steps.at = ladder::step::terminate;
    steps.next_step = now + steps.pauses.after_terminate;
  }
  if (steps.at == ladder::step::terminate) {
    if (now < steps.next_step) {
      for (const os::process_stat& process : members) {
        if (std::find(steps.terminated.begin(), steps.terminated.end(), process.id()) !=
            steps.terminated.end())
          continue;
        if (signal(process, {SIGTERM, SIGCONT})) steps.terminated.push_back(process.id());
      }
      return false;
    }
    steps.at = ladder::step::kill;
  }
  tree_.kill(id);
  for (const os::process_stat& process : members) signal(process, {SIGKILL});
  if (++steps.rounds < settings_.kill_rounds) return false;
  log::error("processes_left", "Processes of a terminal do not end and are left behind.",
    {{"terminal", id}, {"count", members.size()}, {"pid", members.front().pid},
      {"name", members.front().name}});
  return true;
}

void kernel_watcher::implementation::hang_up(const std::string& id, ladder& steps) {
  steps.hung_up = true;
  const std::vector<os::process_stat>& members = tree_.members(id);
  pid_t foreground = 0;
  for (const os::process_stat& process : members) {
    if (process.session == steps.session && process.terminal_group > 0)
      foreground = process.terminal_group;
  }
  // The foreground job first, as a real hang-up does it (setsid(2), credentials(7)).
  for (const os::process_stat& process : members) {
    if (process.session == steps.session && process.group == foreground)
      signal(process, {SIGHUP, SIGCONT});
  }
  for (const os::process_stat& process : members) {
    if (process.session == steps.session && process.group != foreground)
      signal(process, {SIGHUP, SIGCONT});
  }
}

/// False: who it is could not be told, so that nobody has been signalled.
bool kernel_watcher::implementation::signal(
  const os::process_stat& process, std::initializer_list<int> numbers) {
  const auto target = os::pidfd::open(process.pid);
  if (!target && os::is_gone(target.error())) return true;
  // Opened, and still the one that was looked at: from here on nobody else can be hit.
  const auto now = os::read_stat(process.pid);
  if (!now) return os::is_gone(now.error());
  if (now->id() != process.id()) return true;
  for (const int number : numbers) {
    if (target && target->send_signal(number).value() != ENOSYS) continue;
    // Without a descriptor it could end just now and its pid go to another; but pids are given out
    // in turn, and leaving it running would be certain harm.
    (void)os::system_call(kill_process, [&] { return ::kill(process.pid, number); });
  }
  return true;
}

void kernel_watcher::implementation::finish_ladder(const std::string& id) {
  const auto found = ladders_.find(id);
  if (found == ladders_.end()) return;
  const ladder done = std::move(found->second);
  ladders_.erase(found);
  if (terminals_.count(id) != 0) {
    // That its process has ended comes first, also when its descriptor has not been looked at yet.
    const os::process_id leader = terminals_.at(id).leader;
    if (leader.start_time == 0 || !os::is_alive(leader)) terminal_ended(id);
  } else {
    tree_.forget(id);
    reaper_.release(done.session);
  }
  for (const terminal_actor& actor : done.waiting) caf::anon_send(actor, ended_atom_v);
}

// The interface: everything happens on the thread.

kernel_watcher::kernel_watcher(os::child_reaper& reaper, kernel_watch_settings settings)
    : implementation_{std::make_unique<implementation>(reaper, settings)} {}

kernel_watcher::~kernel_watcher() = default;

void kernel_watcher::start() {
  implementation_->start();
}

void kernel_watcher::stop() {
  implementation_->stop();
}

void kernel_watcher::track(
  const std::string& id, int32_t pid, terminal_actor terminal, detector_actor detector) {
  implementation_->run([at = implementation_.get(), id, pid, terminal = std::move(terminal),
                         detector = std::move(detector)]() mutable {
    at->track(std::move(id), pid, std::move(terminal), std::move(detector));
  });
}

void kernel_watcher::untrack(const std::string& id) {
  implementation_->run([at = implementation_.get(), id] { at->untrack(id); });
}

void kernel_watcher::scan(const std::string& id) {
  implementation_->run([at = implementation_.get(), id] { at->scan(id); });
}

void kernel_watcher::watch(const server_ref& ref, std::vector<listener_id> listeners,
  std::vector<int32_t> owners, int32_t job_leader, preview_server_actor reply_to) {
  implementation_->run(
    [at = implementation_.get(), ref, listeners = std::move(listeners), owners = std::move(owners),
      job_leader, reply_to = std::move(reply_to)]() mutable {
      at->watch(ref, std::move(listeners), owners, job_leader, std::move(reply_to));
    });
}

void kernel_watcher::await_successor(const server_ref& ref, const endpoint& at) {
  implementation_->run([to = implementation_.get(), ref, at] { to->await_successor(ref, at); });
}

void kernel_watcher::find(const endpoint& at, std::function<void(found_listeners)> done) {
  implementation_->run(
    [to = implementation_.get(), at, done = std::move(done)] { to->find(at, done); });
}

void kernel_watcher::unwatch(const server_ref& ref) {
  implementation_->run([at = implementation_.get(), ref] { at->unwatch(ref); });
}

void kernel_watcher::confirm(const server_ref& ref) {
  implementation_->run([at = implementation_.get(), ref] { at->confirm(ref); });
}

void kernel_watcher::end_processes(
  const std::string& id, int32_t session, kill_ladder pauses, terminal_actor reply_to) {
  implementation_->run(
    [at = implementation_.get(), id, session, pauses, reply_to = std::move(reply_to)]() mutable {
      at->end_processes(id, session, pauses, std::move(reply_to));
    });
}

void kernel_watcher::count(std::function<void(const kernel_counts&)> done) {
  implementation_->run(
    [at = implementation_.get(), done = std::move(done)] { done(at->counts()); });
}

}  // namespace previewd::net::kernel
