// Every system call of os/ fails in every way in which it can: the operation succeeds all the same,
// or says why it does not, and nothing is left behind.
#include <arpa/inet.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>

#include <algorithm>
#include <catch2/catch.hpp>
#include <filesystem>
#include <functional>
#include <set>

#include "previewd/os/account.hpp"
#include "previewd/os/cgroup.hpp"
#include "previewd/os/child_reaper.hpp"
#include "previewd/os/descriptors.hpp"
#include "previewd/os/pidfd.hpp"
#include "previewd/os/proc_net.hpp"
#include "previewd/os/process_tree.hpp"
#include "previewd/os/pty.hpp"
#include "previewd/os/service_manager.hpp"
#include "previewd/os/sock_diag.hpp"
#include "previewd/tests/support/faults.hpp"
#include "previewd/tests/support/notify_socket.hpp"
#include "previewd/tests/support/resource_check.hpp"
#include "previewd/tests/support/temporary_folder.hpp"
#include "previewd/tests/support/test_process.hpp"

using namespace previewd;

namespace {

using os::error_code;

/// What an operation came to: nothing, or the errno that it said.
using verdict = int;
constexpr verdict fine = 0;
constexpr verdict wrong = -1000;  // neither: it claims to have succeeded and has not

verdict verdict_of(const error_code& code) {
  return code.value();
}

os::process_spec command(std::vector<std::string> argv) {
  os::process_spec spec;
  spec.argv = std::move(argv);
  spec.environment = test::environment_with();
  spec.cwd = "/";
  return spec;
}

os::unique_fd listen_somewhere() {
  os::unique_fd fd{::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)};
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  ::bind(fd.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address);
  ::listen(fd.get(), 1);
  return fd;
}

uint64_t inode_of(const os::unique_fd& fd) {
  char target[64] = {};
  const auto path = "/proc/self/fd/" + std::to_string(fd.get());
  if (::readlink(path.c_str(), target, sizeof target - 1) < 0) return 0;
  return std::strtoull(target + std::strlen("socket:["), nullptr, 10);
}

bool lists(const std::vector<os::listening_socket>& sockets, uint64_t inode) {
  return std::any_of(sockets.begin(), sockets.end(),
    [inode](const os::listening_socket& one) { return one.inode == inode; });
}

/// With the rights of root where this is root, else with no less than now.
verdict run_a_terminal(bool as_account) {
  auto pty = os::pty::open({.columns = 80, .rows = 24});
  if (!pty) return verdict_of(pty.error());
  auto slave = pty->open_slave();
  if (!slave) return verdict_of(slave.error());
  if (const error_code failure = pty->resize({.columns = 90, .rows = 30}))
    return verdict_of(failure);

  os::child_reaper reaper{os::reap_mode::own};
  auto spec = command({"sh", "-c", "read x"});
  spec.terminal = pty->slave_path();
  if (as_account) {
    const auto account = os::find_account("root");
    if (!account) return verdict_of(account.error());
    if (const error_code failure = pty->give_to(::geteuid())) return verdict_of(failure);
    if (::geteuid() == account->identity.user) spec.identity = account->identity;
    spec.no_new_privileges = true;
  }
  const auto started = reaper.start(spec);
  if (!started) return verdict_of(started.failure().code);
  const auto group = pty->foreground_group();
  const auto session = pty->session();
  slave->reset();
  { const os::pty hung_up = std::move(*pty); }
  std::optional<os::exit_status> status;
  if (!test::eventually([&] { return (status = reaper.take(started.pid())).has_value(); }))
    return wrong;
  if (!group) return verdict_of(group.error());
  if (!session) return verdict_of(session.error());
  if (*session != started.pid()) return wrong;
  return fine;
}

verdict list_by_diag() {
  const os::unique_fd held = listen_somewhere();
  auto diag = os::sock_diag::open();
  if (!diag) return verdict_of(diag.error());
  std::vector<os::listening_socket> sockets;
  if (const error_code failure = diag->append_listeners(sockets)) {
    if (!sockets.empty()) return wrong;
    // And it goes on afterwards, on the same object.
    if (diag->append_listeners(sockets) || !lists(sockets, inode_of(held))) return wrong;
    return verdict_of(failure);
  }
  return lists(sockets, inode_of(held)) ? fine : wrong;
}

verdict ask_for_a_listener() {
  const os::unique_fd held = listen_somewhere();
  auto diag = os::sock_diag::open();
  if (!diag) return verdict_of(diag.error());
  sockaddr_in address{};
  socklen_t size = sizeof address;
  ::getsockname(held.get(), reinterpret_cast<sockaddr*>(&address), &size);
  const auto ask = [&] {
    return diag->listener_at(os::address_family::v4, {127, 0, 0, 1}, ntohs(address.sin_port));
  };
  const auto found = ask();
  if (found) return *found == inode_of(held) ? fine : wrong;
  // An answer that was not taken is not taken for the next one.
  const auto again = ask();
  const auto third = ask();
  if (again && *again != inode_of(held)) return wrong;
  return third && *third == inode_of(held) ? verdict_of(found.error()) : wrong;
}

verdict list_by_proc() {
  const os::unique_fd held = listen_somewhere();
  std::vector<os::listening_socket> sockets;
  if (const error_code failure = os::append_listeners_from_proc(sockets))
    return sockets.empty() ? verdict_of(failure) : wrong;
  return lists(sockets, inode_of(held)) ? fine : wrong;
}

verdict hear_of_a_closed_socket() {
  auto events = os::destroy_events::open();
  if (!events) return verdict_of(events.error());
  listen_somewhere().reset();
  bool heard = false;
  verdict said = fine;
  if (!test::eventually([&] {
        std::vector<os::destroyed_socket> destroyed;
        const auto taken = events->take(destroyed);
        if (!taken) said = verdict_of(taken.error());
        // An overrun tells to look at everything, which is as good.
        heard = !destroyed.empty() || (taken && *taken == os::destroy_events::outcome::overrun);
        return heard || said != fine;
      }))
    return wrong;
  return said;
}

verdict end_a_process() {
  os::child_reaper reaper{os::reap_mode::own};
  const auto started = reaper.start(command({"sleep", "1000"}));
  if (!started) return verdict_of(started.failure().code);
  const auto process = os::pidfd::open(started.pid());
  const error_code signalled = process ? process->send_signal(SIGKILL) : process.error();
  if (signalled) ::kill(started.pid(), SIGKILL);
  bool readable = true;
  if (process) {
    pollfd ready{process->get(), POLLIN, 0};
    readable = ::poll(&ready, 1, 20000) == 1;
  }
  if (!test::eventually([&] { return reaper.take(started.pid()).has_value(); }) || !readable)
    return wrong;
  return verdict_of(signalled);
}

verdict look_at_processes() {
  const os::unique_fd held = listen_somewhere();
  const auto self = os::read_stat(::getpid());
  if (!self) return os::is_gone(self.error()) ? wrong : verdict_of(self.error());
  if (!os::is_alive(self->id())) return wrong;
  std::vector<uint64_t> inodes;
  if (const error_code failure = os::append_socket_inodes(::getpid(), inodes))
    return verdict_of(failure);
  if (std::count(inodes.begin(), inodes.end(), inode_of(held)) != 1) return wrong;
  const auto holds = os::holds_socket(::getpid(), {inode_of(held)});
  if (!holds) return verdict_of(holds.error());
  if (!*holds) return wrong;
  const auto variable = os::read_environment(::getpid(), "PATH");
  if (variable.known && !variable.value) return wrong;
  return variable.known ? fine : ENOMEM;
}

verdict follow_a_tree(os::process_search search) {
  os::child_reaper reaper{os::reap_mode::own};
  const auto started = reaper.start(command({"sleep", "1000"}));
  if (!started) return verdict_of(started.failure().code);
  verdict result = fine;
  {
    const auto stat = os::read_stat(started.pid());
    os::process_tree tree{search};
    if (stat) {
      tree.follow("t", stat->id());
      const error_code failure = tree.refresh();
      if (failure) {
        result = verdict_of(failure);
      } else if (tree.members("t").size() != 1) {
        result = wrong;
      }
      // What could not be seen has not gone: a later look sees it.
      if (tree.refresh() && tree.refresh() && tree.refresh()) result = wrong;
      if (tree.members("t").size() != 1) result = wrong;
    } else {
      result = os::is_gone(stat.error()) ? wrong : verdict_of(stat.error());
    }
  }
  ::kill(started.pid(), SIGKILL);
  if (!test::eventually([&] { return reaper.take(started.pid()).has_value(); })) return wrong;
  return result;
}

verdict adopt_and_reap() {
  if (const error_code failure = os::become_subreaper()) return verdict_of(failure);
  ::prctl(PR_SET_CHILD_SUBREAPER, 0, 0, 0, 0);
  os::child_reaper reaper{os::reap_mode::all};
  const auto started = reaper.start(command({"true"}));
  if (!started) return verdict_of(started.failure().code);
  return test::eventually([&] { return reaper.take(started.pid()).has_value(); }) ? fine : wrong;
}

/// In plain files, which take what cgroups take: a cgroup itself may not be had on this machine.
verdict keep_a_cgroup() {
  test::temporary_folder folder;
  for (const char* name : {"cgroup.procs", "cgroup.kill"})
    folder.write(std::string{"previewd-t/"} + name, "");
  std::filesystem::create_directory(std::filesystem::path{folder.path()} / "previewd-earlier");
  verdict result = fine;
  {
    os::terminal_cgroups groups{folder.path()};
    std::vector<pid_t> pids;
    if (const error_code failure = groups.add("t", ::getpid())) {
      result = verdict_of(failure);
    } else if (const error_code unread = groups.append_members("t", pids)) {
      result = verdict_of(unread);
    } else if (const error_code alive = groups.kill("t")) {
      result = verdict_of(alive);
    } else if (pids != std::vector<pid_t>{::getpid()}) {
      result = wrong;
    }
  }
  return result;
}

verdict tell_the_manager() {
  test::temporary_folder folder;
  const std::string name = folder.path() + "/notify";
  const test::notify_socket manager{name};
  return verdict_of(os::service_manager{name}.tell("READY=1"));
}

struct operation {
  const char* name;
  std::function<verdict()> run;
  std::vector<std::string> uses;  // the sites, by prefix
};

const std::vector<operation>& operations() {
  static const std::vector<operation> all{
    {"a terminal", [] { return run_a_terminal(false); }, {"pty.", "process.", "reaper.wait"}},
    {"a terminal of an account", [] { return run_a_terminal(true); },
      {"account.", "pty.", "process.", "reaper.wait"}},
    {"listening sockets by socket diagnosis", list_by_diag,
      {"netlink.open", "netlink.timeout", "netlink.ask", "netlink.answer"}},
    {"who listens", ask_for_a_listener, {"netlink.ask", "netlink.answer"}},
    {"listening sockets by /proc", list_by_proc, {"proc_net."}},
    {"closed sockets", hear_of_a_closed_socket,
      {"netlink.open", "netlink.bind", "netlink.join", "netlink.event"}},
    {"the end of a process", end_a_process, {"pidfd.", "reaper.wait"}},
    {"facts about a process", look_at_processes, {"proc."}},
    {"the descendants", [] { return follow_a_tree(os::process_search::descendants); }, {"proc."}},
    {"all processes", [] { return follow_a_tree(os::process_search::everything); }, {"proc."}},
    {"room for descriptors", [] { return verdict_of(os::check_room_for_descriptors(10)); },
      {"descriptors."}},
    {"orphans", adopt_and_reap, {"reaper."}},
    {"the cgroup of a terminal", keep_a_cgroup, {"cgroup."}},
    {"a word to the service manager", tell_the_manager, {"manager."}},
  };
  return all;
}

}  // namespace

TEST_CASE(
  "each failing system call is survived or told, and nothing is left behind", "[os][faults][I3]") {
  for (const operation& each : operations()) {
    for (const test::fault& fault : test::all_faults(each.uses)) {
      for (const uint32_t first : {1U, 2U, 3U}) {
        INFO(each.name << ", call " << first << " at " << fault.describe());
        const test::resource_snapshot before = test::resource_snapshot::take();
        uint32_t hits = 0;
        verdict said = fine;
        {
          const test::faults::armed armed{fault.at->name(), fault.plan(first, 2)};
          said = each.run();
          hits = armed.hits();
        }
        // A call that is interrupted or moves less than it could is nothing to speak of. Socket
        // diagnosis that gives no answer (EAGAIN) is overdue.
        const bool harmless = fault.error == EINTR || fault.error == os::short_transfer;
        const bool told =
          said == fault.error || said == ENOMEM || (said == ETIMEDOUT && fault.error == EAGAIN);
        CHECK((said == fine || (!harmless && hits > 0 && told)));
        std::string left;
        test::eventually(
          [&] {
            left = before.difference(test::resource_snapshot::take());
            return left.empty();
          },
          std::chrono::seconds{5});
        CHECK(left == "");
        if (hits == 0) break;  // it makes no more calls there
      }
    }
    INFO(each.name);
    CHECK(each.run() == fine);
  }
}

TEST_CASE("no system call of os escapes the faults", "[os][faults]") {
  std::set<std::string> used;
  for (const operation& each : operations())
    for (const test::fault& fault : test::all_faults(each.uses)) used.insert(fault.at->name());

  for (const test::faults::site* site : test::faults::sites()) {
    INFO(site->name() << " is in none of the operations above");
    CHECK(used.count(site->name()) == 1);
  }
}

TEST_CASE("a process that cannot be looked at has not ended", "[os][faults][procfs]") {
  const auto self = os::read_stat(::getpid());
  REQUIRE(self.has_value());
  const int error = GENERATE(EMFILE, ENFILE, ENOMEM);
  const test::faults::armed armed{"proc.open", {.error = error, .times = test::faults::every_call}};

  const auto now = os::read_stat(::getpid());

  REQUIRE_FALSE(now.has_value());
  CHECK(now.error() == os::system_error(error));
  CHECK_FALSE(os::is_gone(now.error()));
  CHECK(os::is_alive(self->id()));
}

TEST_CASE("without processes or memory a start says so, and the next one succeeds",
  "[os][faults][child_process]") {
  const int error = GENERATE(EAGAIN, ENOMEM);
  os::child_reaper reaper{os::reap_mode::own};
  const auto spec = command({"true"});
  const test::faults::armed armed{"process.spawn", {.error = error}};

  const auto failed = reaper.start(spec);
  const auto started = reaper.start(spec);

  REQUIRE_FALSE(failed);
  CHECK(failed.failure().step == os::start_step::process);
  CHECK(failed.failure().describe(spec) ==
        (error == EAGAIN ? "Cannot start a process: resource temporarily "
                           "unavailable."
                         : "Cannot start a process: cannot allocate memory."));
  REQUIRE(started);
  CHECK(test::eventually([&] { return reaper.take(started.pid()).has_value(); }));
}

TEST_CASE("a lack of memory while a program is looked for is not the user's mistake",
  "[os][faults][child_process]") {
  const char* site = GENERATE("process.find", "process.directory");
  const test::faults::armed armed{site, {.error = ENOMEM, .times = test::faults::every_call}};

  const auto failed = os::start_process(command({"true"}));

  REQUIRE_FALSE(failed);
  CHECK(failed.failure().step == os::start_step::process);
  CHECK(failed.failure().code == os::system_error(ENOMEM));
}

TEST_CASE(
  "a dump that fails half-way is made again from its beginning", "[os][faults][sock_diag]") {
  std::vector<os::unique_fd> held;
  for (int i = 0; i < 200; ++i) held.push_back(listen_somewhere());
  auto diag = os::sock_diag::open();
  REQUIRE(diag.has_value());
  // Each dump takes more than one answer: the second is where it breaks.
  const test::faults::armed armed{"netlink.answer", {.error = ENOBUFS, .first = 2, .times = 2}};
  std::vector<os::listening_socket> sockets;

  const error_code failure = diag->append_listeners(sockets);

  CHECK(armed.hits() > 0);
  CHECK_FALSE(failure);
  for (const os::unique_fd& one : held) CHECK(lists(sockets, inode_of(one)));
  CHECK(std::adjacent_find(sockets.begin(), sockets.end()) == sockets.end());
}
