#include "previewd/service/settings_check.hpp"

#include <arpa/inet.h>
#include <unistd.h>

#include <cerrno>

#include "previewd/os/account.hpp"

namespace previewd {

namespace {

bool is_loopback(const listen_address& where) {
  if (!where.path.empty()) return true;
  if (in_addr v4{}; inet_pton(AF_INET, where.address.c_str(), &v4) == 1)
    return ntohl(v4.s_addr) >> 24 == 127;
  in6_addr v6{};
  return inet_pton(AF_INET6, where.address.c_str(), &v6) == 1 && IN6_IS_ADDR_LOOPBACK(&v6);
}

}  // namespace

std::string to_string(const listen_address& value) {
  if (!value.path.empty()) return "unix:" + value.path;
  const bool v6 = value.address.find(':') != std::string::npos;
  return (v6 ? '[' + value.address + ']' : value.address) + ':' + std::to_string(value.port);
}

std::optional<std::string> check_reach(const settings& wanted) {
  for (const listen_address& where : wanted.listen) {
    if (wanted.auth.mode != auth_mode::none || is_loopback(where)) continue;
    return "listen: " + to_string(where) + (where.descriptor < 0 ? "" : " (LISTEN_FDS)") +
           " can be reached from other machines, which auth.mode = none does not allow; listen "
           "on 127.0.0.1, [::1] or a "
           "UNIX socket, or set auth.mode = token or forward";
  }
  return std::nullopt;
}

std::optional<std::string> check_account(const settings& wanted) {
  const std::string& name = wanted.terminal.run_as;
  if (name.empty()) return std::nullopt;
  if (geteuid() != 0)
    return "terminal.run_as: only root can give terminals another account; start previewd as "
           "root";
  if (name.find('{') != std::string::npos) {
    if (wanted.auth.mode != auth_mode::none) return std::nullopt;
    return "terminal.run_as: with auth.mode = none clients choose who they are, and so the "
           "account "
           "that " +
           name + " means; name one account, or set auth.mode = token or forward";
  }
  const auto found = os::find_account(name);
  if (found) return std::nullopt;
  return "terminal.run_as: the account " + name +
         (found.error().value() == ENOENT ? " does not exist"
                                          : " cannot be looked up: " + found.error().message());
}

}  // namespace previewd
