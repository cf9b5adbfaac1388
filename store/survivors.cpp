#include "previewd/store/survivors.hpp"

#include <arpa/inet.h>
#include <unistd.h>

#include <algorithm>
#include <fstream>
#include <optional>
#include <utility>
#include <vector>

#include "previewd/os/proc_net.hpp"
#include "previewd/os/sock_diag.hpp"

namespace previewd::store {

namespace {

/// Whether this process has one of the sockets.
bool holds(pid_t pid, const std::vector<listener_id>& sockets) {
  std::vector<uint64_t> inodes;
  for (const listener_id& one : sockets) inodes.push_back(one.inode);
  const auto found = os::holds_socket(pid, inodes);
  return found && *found;
}

std::optional<os::process_id> identity_of(pid_t pid, const std::vector<listener_id>& sockets) {
  const auto stat = os::read_stat(pid);
  if (!stat || !stat->is_alive() || !holds(pid, sockets)) return std::nullopt;
  return stat->id();
}

bool is_on_this_machine(const std::string& address) {
  if (in_addr v4{}; ::inet_pton(AF_INET, address.c_str(), &v4) == 1)
    return ntohl(v4.s_addr) >> 24 == 127;
  in6_addr v6{};
  return ::inet_pton(AF_INET6, address.c_str(), &v6) != 1 || IN6_IS_ADDR_LOOPBACK(&v6);
}

std::vector<os::listening_socket> listening_now() {
  std::vector<os::listening_socket> sockets;
  auto diag = os::sock_diag::open();
  // What cannot be seen is not there: nobody is routed to on a guess.
  static_cast<void>(
    diag ? diag->append_listeners(sockets) : os::append_listeners_from_proc(sockets));
  return sockets;
}

/// Those of its sockets that listen, and are held by whoever held them.
std::vector<listener_id>
proved_sockets(const kept_server& one, const std::vector<os::listening_socket>& now) {
  if (one.owner.pid == 0 || !os::is_alive(one.owner)) return {};
  std::vector<uint64_t> held;
  static_cast<void>(os::append_socket_inodes(one.owner.pid, held));
  // The pid may have gone to another one between the two looks.
  const auto stat = os::read_stat(one.owner.pid);
  if (!stat || stat->id() != one.owner) return {};
  std::vector<listener_id> proved;
  for (const listener_id& listener : one.server.description.listeners) {
    const bool listens =
      std::any_of(now.begin(), now.end(), [&](const os::listening_socket& there) {
        return there.inode == listener.inode && there.port == listener.port &&
               (there.family == os::address_family::v6) == listener.v6;
      });
    if (listens && std::find(held.begin(), held.end(), listener.inode) != held.end())
      proved.push_back(listener);
  }
  return proved;
}

}  // namespace

os::process_id owner_of(const server_description& what) {
  if (what.listeners.empty()) return {};
  if (what.pid > 0)
    if (const auto named = identity_of(what.pid, what.listeners)) return *named;
  std::vector<pid_t> pids;
  static_cast<void>(os::append_processes(pids));
  std::sort(pids.begin(), pids.end());
  for (const pid_t pid : pids) {
    // We have more descriptors than anybody, and none of a dev server's.
    if (pid == ::getpid()) continue;
    if (const auto holder = identity_of(pid, what.listeners)) return *holder;
  }
  return {};
}

std::string boot_id() {
  std::ifstream file{"/proc/sys/kernel/random/boot_id"};
  std::string id;
  std::getline(file, id);
  return id;
}

restored_state judge(content found) {
  restored_state result;
  result.workspaces = std::move(found.workspaces);
  if (found.servers.empty()) return result;
  const std::string boot = boot_id();
  const std::vector<os::listening_socket> now = listening_now();
  for (kept_server& one : found.servers) {
    server_description& what = one.server.description;
    const bool is_beyond = what.listeners.empty() && !is_on_this_machine(what.upstream.address);
    std::vector<listener_id> proved;
    if (!boot.empty() && one.boot == boot) proved = proved_sockets(one, now);
    if (!is_beyond && proved.empty()) {
      result.gone.push_back(std::move(one.server));
      continue;
    }
    what.listeners = std::move(proved);
    result.alive.push_back(std::move(one.server));
  }
  return result;
}

}  // namespace previewd::store
