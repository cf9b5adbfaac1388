#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

namespace previewd::test {

/// What the documents say of the registry, as a program: no actor, no message and no thread, only
/// facts that become known and what follows from them. What is told to clients follows when the
/// I/O threads have applied what changed; here that is the end of each function. Times:
/// milliseconds. Written from docs/architecture.md and docs/events.md, not from the actors.
class specification {
public:
  static constexpr int64_t hold = 2000;
  static constexpr int64_t restart_grace = 250;
  static constexpr int64_t ends_with_leader = 1000;
  static constexpr int64_t start_up = 10'000;
  static constexpr int64_t exited_kept = 60000;
  static constexpr std::size_t terminals_per_user = 3;
  static constexpr int first_ephemeral_port = 32768;

  /// Who saw that a server does not answer.
  enum class cause : uint8_t { kernel, refused, probe };
  /// What is wrong with a server that is there.
  enum class trouble : uint8_t { none, suspended, unreachable };
  enum class probe_result : uint8_t { alive, refused, timed_out };

  struct server {
    uint64_t generation = 0;
    int workspace = 0;
    std::string terminal;  // empty: none
    int port = 0;
    int job = 0;      // 0: registered by hand
    int socket = -1;  // -1: registered by hand
    bool answers = false;
    bool page = false;
    bool showed_page = false;  // it or one that it replaced
    bool passed_over = false;  // without a page, it was there when the primary with pages ended
    bool printed = false;
    bool primary = false;
    uint64_t previous = 0;
    int tunnels = 0;
    specification::trouble trouble = specification::trouble::none;

    bool announced = false;
    std::string told;             // why it is unreachable, as clients know it; empty: it is not
    bool prompt_ends_it = false;  // its job had the terminal, and does not run on behind the prompt
    int shell = 0;                // what it knows of its terminal
    int foreground = 0;
    std::optional<int64_t> leader_gone;
    int64_t started = 0;
    int64_t down_since = 0;
    std::optional<cause> down;  // its sockets are gone, and who saw it first
    int timeouts = 0;           // in a row
    std::string removal;        // the reason, once it is being removed
  };
  /// What the kernel would say of a server if it were asked.
  struct truth {
    bool listening = true;
    bool stopped = false;
  };

  specification(bool keeps_background, uint64_t first_generation)
      : keeps_{keeps_background}, next_{first_generation} {}

  // Requests. The answer is a value as text, or an error's code.

  /// `user`: whose limit counts. `wrong`: 0 a good request, 1 a bad name, 2 and 3 a bad field, 4 no
  /// PTY.
  std::string open(const std::string& id, int workspace, int user, int pid, unsigned wrong);
  std::string close(const std::string& id);
  std::string add(server what, const truth& is);
  std::string remove(uint64_t generation);
  std::string shut_down();
  void wait(int workspace, int64_t time);

  // What becomes known.

  void shell_left(const std::string& id);
  void terminal_died(const std::string& id);
  void foreground_is(const std::string& id, int group);
  void identified(uint64_t generation, bool page);
  void socket_gone(int socket);
  void leader_ended(int job);
  /// The kernel was asked about a server: on somebody's behalf, or on nobody's.
  void looked(uint64_t generation, std::optional<cause> on_behalf, const truth& is);
  void probed(uint64_t generation, probe_result result, const truth& is);
  void actor_died(uint64_t generation);
  void time_passed(int64_t step);

  // What is to be seen, as text.

  std::vector<std::string> servers() const;
  std::vector<std::string> terminals() const;
  std::vector<std::string> routes(int workspace) const;
  std::string last_stop(int workspace) const;
  std::string record_of(uint64_t generation) const;

  server* find(uint64_t generation);
  bool terminal_runs(const std::string& id) const;
  bool shutting_down() const { return shutting_down_; }
  std::size_t waiting() const { return waiting_.size(); }

  std::vector<server> live;  // by generation
  std::vector<std::string> events;
  std::vector<std::string> waits;  // the answers of calls that waited

private:
  struct terminal {
    std::string id;
    int user = 0;
    int pid = 0;
    int foreground = 0;  // 0: not known yet
    bool running = true;
    int64_t forget_at = 0;
  };
  struct effect {
    enum class kind : uint8_t { state, primary, stop };
    kind what;
    uint64_t generation;
  };
  struct due {
    int64_t at;
    uint64_t generation;
  };
  struct waiting_call {
    int workspace;
    int64_t until;
  };

  static std::string state_of(const server& what);
  static std::string reason_seen(const server& what);
  terminal* find_terminal(const std::string& id);
  void forget(const std::string& id);
  void stop(server& what, const std::string& reason);
  void stop_all_of(const std::string& id, const std::string& reason);
  void go_down(server& what, cause seen_by);
  void end_if_over(server& what);
  void changed(int workspace);
  server* choose_primary(int workspace);
  void tell(uint64_t generation, bool grace_is_over);
  /// The I/O threads have applied everything.
  void applied();
  bool available(int workspace) const;
  void answer_waits();

  bool keeps_;
  uint64_t next_;
  int64_t now_ = 0;
  bool shutting_down_ = false;
  std::vector<terminal> terminals_;
  std::vector<effect> effects_;
  std::vector<due> graces_;
  std::vector<due> holds_;
  std::vector<waiting_call> waiting_;
  std::map<uint64_t, std::string> records_;
  std::map<int, std::string> last_stops_;
  std::set<int> ended_sockets_;
};

}  // namespace previewd::test
