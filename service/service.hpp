#pragma once

#include <caf/fwd.hpp>
#include <chrono>
#include <memory>
#include <string>
#include <variant>
#include <vector>

#include "previewd/messages/events.hpp"
#include "previewd/messages/registry.hpp"
#include "previewd/service/settings.hpp"

namespace previewd {

/// How the service lives in its process.
enum class process_role : uint8_t {
  /// Among other things of the process: only children that previewd started itself are waited for,
  /// no signal is handled, and
  /// what daemonises in a terminal is found by its mark.
  embedded,
  /// The process is previewd's own: it adopts the orphans of its terminals (PR_SET_CHILD_SUBREAPER,
  /// prctl(2)) and waits for
  /// every child.
  program,
};

/// previewd in an actor system: the I/O threads, the thread that watches the kernel, the registry
/// and what it owns.
///
/// Declare it after its actor_system, so that it ends first. The configuration of that system must
/// have had `add_message_types<caf::id_block::previewd>()`.
class service {
public:
  /// Opens the listening sockets and starts everything. On failure (a taken port, for example, or
  /// an address that other machines reach with `auth.mode = none`): one sentence, and nothing is
  /// left running.
  static std::variant<std::unique_ptr<service>, std::string>
  start(caf::actor_system& system, const settings& wanted, process_role role);

  /// Stops, if `stop` has not been called.
  ~service();

  service(const service&) = delete;
  service& operator=(const service&) = delete;

  /// Where it listens, ports resolved: `http://127.0.0.1:4000` (`https:` with a certificate),
  /// `unix:/run/previewd.sock`. Any thread.
  const std::vector<std::string>& addresses() const noexcept;

  /// The registry, and where events can be had, for an embedding application. Any thread.
  registry_actor registry() const;
  event_source_actor events() const;

  /// Takes over what changes live (docs/settings.md): of `wanted` the settings that say so there,
  /// but for those of the log, which are the process'. Keys and certificate are read again, see
  /// below. The rest of `wanted` is not looked at. Waits until all go by it, 2 s at most. Not from
  /// one of the service's own threads or actors, nor after `stop`. One call at a time.
  void change(const settings& wanted);

  /// Reads the files of keys again (`auth.mode = token`), as SIGHUP does; from then on only the
  /// keys in them count. Where that fails the old ones stay; the log says so. Blocks while it
  /// reads: not from one of the service's own threads or actors. One call at a time.
  void reload_keys();

  /// Reads the certificate and its key again (`tls.certificate_file`), as SIGHUP does: clients that
  /// come afterwards are shown it, and connections that are open live on. Otherwise as above.
  void reload_certificate();

  /// Whether the registry and every I/O thread answer within `limit`, as they do but for a bug or a
  /// machine that has come to a standstill. Blocks meanwhile. Not from one of the service's own
  /// threads or actors, nor after `stop`.
  bool answers(std::chrono::microseconds limit) const;

  /// Stops accepting, removes every server with reason `shutdown`, ends every terminal, closes
  /// every connection, and joins the threads; takes at most `shutdown.timeout`. Not from one of the
  /// service's own threads or actors. Idempotent.
  void stop();

private:
  struct parts;
  explicit service(std::unique_ptr<parts> running);

  std::unique_ptr<parts> parts_;
};

}  // namespace previewd
