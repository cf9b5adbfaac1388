#pragma once

#include <caf/meta/type_name.hpp>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "previewd/messages/caf.hpp"
#include "previewd/messages/server.hpp"
#include "previewd/messages/type_ids.hpp"

namespace previewd {

/// A URL that was printed in a terminal. A hint: ranks ports and triggers a scan, never registers
/// anything.
struct url_hint {
  previewd::scheme scheme = previewd::scheme::http;
  uint16_t port = 0;

  friend bool operator==(const url_hint& a, const url_hint& b) {
    return a.scheme == b.scheme && a.port == b.port;
  }
  template <class Inspector>
  friend typename Inspector::result_type inspect(Inspector& f, url_hint& x) {
    return f(caf::meta::type_name("url_hint"), x.scheme, x.port);
  }
};

/// A listening socket that belongs to a terminal, and who holds it.
struct listener_fact {
  listener_id id;
  /// Numeric, as bound: "::1", "0.0.0.0". "0.0.0.0" also for a v6 socket on all addresses, v4 ones
  /// included, where there is no "::1".
  std::string address;
  std::vector<int32_t> owners;  // pids, ascending; a set: forking servers share one inode
  int32_t job_leader = 0;       // process group of the first owner; 0: not known
  std::string command;          // of the first owner, for display

  friend bool operator==(const listener_fact& a, const listener_fact& b) {
    return a.id == b.id && a.address == b.address && a.owners == b.owners &&
           a.job_leader == b.job_leader && a.command == b.command;
  }
  template <class Inspector>
  friend typename Inspector::result_type inspect(Inspector& f, listener_fact& x) {
    return f(
      caf::meta::type_name("listener_fact"), x.id, x.address, x.owners, x.job_leader, x.command);
  }
};

/// The type of a server that answers `GET /` with 426: it has an address, and is no workspace's
/// primary unless somebody makes it that.
constexpr std::string_view websockets_only = "websocket";

/// What one polite look at a listener showed.
struct identity {
  enum class verdict : uint8_t {
    http,
    not_http,  // it says something else, or that it does not speak HTTP
    silent,    // it accepted, and has not answered yet
    refused,   // nothing accepts
    closed     // it accepted, and closed or reset without a byte: it may be busy with its start
  };
  verdict outcome = verdict::refused;
  uint16_t status = 0;  // of `GET /`
  bool html = false;
  std::string type = "http";
  prefix_mode prefix = prefix_mode::stripped;
  previewd::scheme scheme = previewd::scheme::http;  // by which it answered; else what was expected
  bool settled = true;  // false: of an `http` whose prefix is still being found out

  template <class Inspector>
  friend typename Inspector::result_type inspect(Inspector& f, identity& x) {
    return f(caf::meta::type_name("identity"), x.outcome, x.status, x.html, x.type, x.prefix,
      x.scheme, x.settled);
  }
};

/// Whether a look whose further steps take their time says before what it knows.
enum class look_words : uint8_t {
  early,   // an `http` that is not settled, with the prefix stripped; a settled one follows
  settled  // only an `http` that is settled
};

/// Finds the dev servers of one terminal: facts from the kernel, output as a hint.
using detector_actor = caf::typed_actor<
  // The terminal put something out (coalesced); the URLs in it, if any. From an I/O thread.
  accepts<output_atom, std::vector<url_hint>>,
  // The process group that has the terminal now, and the shell's own. From its terminal.
  accepts<foreground_atom, int32_t, int32_t>,
  // All listening sockets that belong to the terminal, ordered by port, after each change. From the
  // kernel watch.
  accepts<listeners_atom, std::vector<listener_fact>>,
  // What look number `token` showed. From an I/O thread. Others may follow under the same token:
  // after `silent` whatever comes of it, and after an `http` that is not settled one that is.
  accepts<identity_atom, uint64_t, identity>,
  // Look again at what is still young. From itself.
  accepts<scan_atom>>;

}  // namespace previewd
