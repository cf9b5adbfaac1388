#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "previewd/support/log.hpp"

namespace previewd {

/// Where the service listens: a loopback address with a port (0: any free one), or a UNIX socket.
struct listen_address {
  std::string address;  // numeric, "127.0.0.1" or "::1"; empty for a UNIX socket
  uint16_t port = 0;
  std::string path;  // of a UNIX socket, absolute; empty for TCP
  /// A socket that listens there already, and stays its owner's (os/inherited_listeners.hpp); below
  /// zero: the service opens its own. Of one in the abstract namespace (unix(7)) `path` is `@name`.
  int descriptor = -1;

  friend bool operator==(const listen_address&, const listen_address&) = default;
};

/// As it is written in settings: `127.0.0.1:4000`, `[::1]:4000`, `unix:/run/previewd.sock`.
std::string to_string(const listen_address& value);

/// What happens to what still runs in a terminal when its shell ends.
enum class exit_policy : uint8_t { kill, keep };

/// Who may use the service. `none`: everybody who reaches the loopback address by a name of its
/// own. `token`: who has a JSON Web Token, or a session that was handed over by one who has.
/// `forward`: whom the embedding application lets in, which is asked, or who has such a session.
enum class auth_mode : uint8_t { none, token, forward };

/// Whether previews have path addresses beside their origins. `by_mode`: with `auth.mode = none`
/// alone, since an app under a path address shares the service's origin.
enum class path_addresses : uint8_t { by_mode, on, off };

/// Who sees a preview of which nobody has said it: those who may use its workspace, its project, or
/// whoever knows its address.
enum class preview_sharing : uint8_t { members, project, everyone };

/// Whether `/metrics` answers under every host name and to every origin.
enum class metrics_visibility : uint8_t { guarded, open };

enum class url_scheme : uint8_t { http, https };

/// By which scheme and port browsers reach the service, where a proxy before it has others.
struct public_address {
  url_scheme scheme = url_scheme::https;
  uint16_t port = 0;  // 0: the scheme's own

  friend bool operator==(const public_address&, const public_address&) = default;
};

/// All settings of the service, in the groups of their names: `health.interval` is
/// `settings.health.interval`. The defaults here are those of docs/settings.md. `load_settings`
/// fills and checks it; an embedding application may fill it by hand, and `service::start` checks
/// who can reach the service and whose rights terminals get.
struct settings {
  std::vector<listen_address> listen{
    {.address = "127.0.0.1", .port = 4000, .path = {}}};  // at least one

  struct {
    std::string domain = "preview.localhost";  // the suffix of preview origins, lower case
    /// Who may frame a preview that forbids it (CSP `frame-ancestors` sources). None given: the
    /// service's own origins. An empty list: answers are left as they are.
    std::optional<std::vector<std::string>> frame_ancestors;
    /// Networks beyond loopback whose servers may be registered by hand: `10.1.0.0/16`.
    std::vector<std::string> allow_upstreams;
    path_addresses path = path_addresses::by_mode;
    preview_sharing access = preview_sharing::members;  // where `auth.mode` is not `none`
  } preview;

  struct {
    std::chrono::milliseconds interval{5000};  // 500 ms to 1 h
    std::chrono::milliseconds timeout{1000};   // 50 ms to 1 min
    uint32_t failures = 1;                     // time-outs in a row beyond the first; 0 to 100
  } health;

  struct {
    /// How long after output or a change of the foreground job listeners are looked for often. 1 s
    /// to 10 min.
    std::chrono::milliseconds timeout{30000};
    /// Between two looks then, and no less otherwise. 10 ms to 1 s.
    std::chrono::milliseconds interval{40};
  } detection;

  struct {
    std::chrono::milliseconds hold{2000};  // for a server that restarts; 0: never; to 1 min
    uint64_t hold_bytes = 64 * 1024;       // largest body of a held request; to 16 MiB
    std::chrono::milliseconds connect_timeout{2000};    // 50 ms to 1 min
    std::chrono::milliseconds upgrade_timeout{10000};   // 100 ms to 10 min
    std::chrono::milliseconds response_timeout{60000};  // to the first byte; 0: none; to 24 h
    /// For a client: between two requests, for the next part of a body, and for one write. 1 s to 1
    /// h.
    std::chrono::milliseconds idle_timeout{60000};
    /// For long bodies and busy WebSockets, on each I/O thread; 0: all are copied; to 10000.
    uint32_t pipes = 64;
    /// Clients whose `Forwarded` and `X-Forwarded-*` are believed: addresses, networks, `unix`.
    std::vector<std::string> trusted;
  } proxy;

  struct {
    /// How long a Socket.IO client may be away and get its events; 0: not at all; to 1 h.
    std::chrono::milliseconds recovery{120000};
  } socketio;

  struct {
    std::string shell = "/bin/bash";              // absolute; loaded settings begin with $SHELL
    std::chrono::milliseconds detached{3600000};  // that nobody uses; 0: for ever; to 30 d
    std::string
      run_as;  // an account; may have "{project}" and "{user}" in it; empty: this process'
    bool no_new_privileges = false;
    exit_policy on_exit = exit_policy::kill;
    uint64_t scrollback = 256 * 1024;  // bytes kept for those who attach later; 4 KiB to 64 MiB
  } terminal;

  struct {
    uint64_t header_bytes = 32 * 1024;                // of one request's head; 1 KiB to 1 MiB
    std::chrono::milliseconds header_timeout{15000};  // for the whole head; 100 ms to 10 min
    uint32_t connections = 4096;           // of clients, at once, tunnels among them; 16 to 1000000
    uint32_t per_address = 0;              // of clients of one address; 0: no limit; to 1000000
    uint32_t per_workspace = 2048;         // to servers of one workspace; 0: no limit; to 1000000
    uint32_t terminals_per_user = 16;      // running, over all projects; 1 to 10000
    uint64_t client_buffer = 1024 * 1024;  // bytes a client may fall behind; 64 KiB to 1 GiB
    uint32_t event_ring = 4096;            // events kept for those who come back; 16 to 1048576
  } limits;

  struct {
    uint32_t threads = 0;  // 0: one a core; to 256
  } io;

  struct {
    uint32_t threads = 2;  // 1 to 256
  } actors;

  struct {
    std::vector<std::string> hosts;  // further names under which the service is reached, lower case
    std::optional<public_address> address;  // of those names and of previews; none: the listeners'
  } public_names;  // `public.hosts` and so on: the group's name is a word of C++

  struct {
    auth_mode mode = auth_mode::none;
    std::vector<std::string>
      origins;  // further origins whose pages may use the service, lower case
    /// The keys of tokens (net/auth/key_set.hpp); with `token` at least one file.
    std::vector<std::string> secret_files;      // HS256
    std::vector<std::string> public_key_files;  // EdDSA and RS256, PEM
    std::string audience = "previewd";          // what a token's `aud` must name, if it has one
    std::chrono::milliseconds leeway{30000};    // that clocks may be apart; to 5 min
    uint32_t attempts = 30;      // refused tokens of one address a minute; 0: no limit; to 1000000
    uint32_t hand_overs = 1024;  // links that were asked for within a minute; 1 to 65536
    std::chrono::milliseconds session{12 * 3600000};  // of a browser; 1 min to 30 d
    /// Where the application is asked (net/http/forward_address.hpp); with `forward` it must be
    /// set.
    std::string forward_url;
    std::chrono::milliseconds forward_timeout{2000};  // for one question; 50 ms to 1 min
    std::chrono::milliseconds forward_cache{10000};   // of a good answer; 0: none; to 10 min
    uint32_t forward_asks = 256;  // questions under way, over all threads; 1 to 65536
    /// Cookies by which the application knows its users, which no dev server is to see.
    std::vector<std::string> forward_cookies;
  } auth;

  /// What TCP listeners show; both or none: they speak HTTP as it is.
  struct {
    std::string certificate_file;
    std::string key_file;
  } tls;

  struct {
    metrics_visibility visibility = metrics_visibility::guarded;
  } metrics;

  struct {
    /// Where what is registered is kept for the time after the process, absolute; empty: in memory
    /// alone. Loaded settings begin with a file in $XDG_STATE_HOME.
    std::string path;
  } store;

  struct {
    std::chrono::milliseconds timeout{10000};  // for an orderly end; 100 ms to 10 min
  } shutdown;

  previewd::log::settings log;

  /// What terminals inherit. Not settings: taken from the environment at start, without anything of
  /// previewd's own.
  struct {
    std::string home = "/";                // $HOME
    std::vector<std::string> environment;  // NAME=value
  } inherited;

  /// What the service manager that started the process wants to hear (os/service_manager.hpp). Not
  /// settings either, and of the program only.
  struct {
    std::string notify_socket;              // $NOTIFY_SOCKET; empty: nothing
    std::chrono::microseconds watchdog{0};  // at least once in this time that all is well; 0: not
  } manager;
};

}  // namespace previewd
