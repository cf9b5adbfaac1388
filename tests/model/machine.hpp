#pragma once

#include <array>
#include <caf/event_based_actor.hpp>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "previewd/actors/settings.hpp"
#include "previewd/messages/data_plane.hpp"
#include "previewd/messages/events.hpp"
#include "previewd/messages/kernel_watch.hpp"
#include "previewd/messages/registry.hpp"
#include "previewd/tests/support/deterministic_system.hpp"

namespace previewd::test {

/// The one actor system of the process: histories are many, and a system is dear.
deterministic_system& shared_system();

/// Everything around the registry and its actors: a kernel with sockets and jobs, three I/O threads
/// that apply routes each at its own time, users and API clients. It knows the truth, delivers
/// messages when it is told to, and notes every broken invariant in `violations` when it happens.
class machine final : public data_plane, public kernel_watch {
public:
  static constexpr std::size_t thread_count = 3;
  static constexpr uint64_t first_number = 100;

  struct terminal_fact {
    std::string id;
    workspace_key key;
    int32_t pid = 0;
    int32_t foreground = 0;
    terminal_actor actor;
    detector_actor detector;
    bool running = false;          // its shell lives
    bool tracked = false;          // the kernel watch follows it
    bool finished = false;         // its output is read
    bool forgotten = false;        // its scrollback is gone
    bool doomed = false;           // there is a reason to remove its servers
    std::set<stop_reason> causes;  // which
  };
  struct job_fact {
    bool alive = true;
    bool stopped = false;
  };
  struct socket_fact {
    uint64_t inode = 0;  // 0: of a server that runs elsewhere and is registered by hand
    uint16_t port = 0;
    std::size_t terminal = 0;
    int32_t job = 0;
    bool listening = true;
    bool noticed = false;  // the kernel watch knows that it is gone
    bool answers = true;
    bool page = true;
    bool hung = false;
  };
  struct server_fact {
    server_ref ref;
    caf::optional<std::size_t> socket;  // none: registered by hand
    uint16_t port = 0;
    preview_server_actor actor;
    bool doomed = false;  // there is a reason to remove it that is not its socket's end
    bool was_up = false;
    std::set<stop_reason> causes;    // why it is doomed
    std::set<stop_reason> may_tell;  // what there was to tell when it left the routes
  };
  struct tunnel_fact {
    connection_id id;
    server_ref ref;
    ws_connection_actor actor;
    bool open = true;
  };
  struct io_thread_fact {
    struct acknowledgement {
      workspace_key key;
      uint64_t revision;
      registry_actor reply_to;
      std::size_t remaining;
    };
    std::deque<std::pair<std::shared_ptr<const workspace_routes>, std::shared_ptr<acknowledgement>>>
      inbox;
    std::map<workspace_key, std::shared_ptr<const workspace_routes>> routes;
    std::set<uint64_t> marked_down;  // generations whose route it took down itself
    std::set<uint64_t> seen;         // generations it has ever had a route to
  };

  explicit machine(actors::on_terminal_exit on_exit, bool with_probes);
  ~machine() override;
  machine(const machine&) = delete;
  machine& operator=(const machine&) = delete;

  // What happens. Indices name facts; nothing here waits.

  /// Asks for a terminal. `wrong`: 0 a good request, else one of the wrong ones.
  void open_terminal(const workspace_key& key, unsigned wrong);
  void leave_shell(std::size_t terminal, int code);
  void close_terminal(const std::string& id);
  /// A socket begins to listen. A new job gets the terminal first if it is to be in the foreground.
  std::size_t listen(const socket_fact& what);
  void set_foreground(std::size_t terminal, int32_t group);
  void close_socket(std::size_t socket, bool noticed);
  void notice();
  void end_leader(int32_t job, int code);
  void refuse(std::size_t server, std::size_t thread, observer who);
  void open_tunnel(std::size_t server, std::size_t thread);
  void hang_up(std::size_t tunnel);
  void add(const server_description& what);
  void remove(uint64_t generation);
  void wait_for(const workspace_key& key, caf::timespan time);
  void shut_down();
  void kill_server(std::size_t server);
  void kill_terminal(std::size_t terminal, bool detector);
  void kill_tunnel(std::size_t tunnel);
  void kill_probe();
  void send_listing(std::size_t terminal);

  /// What a detector knows of a socket.
  server_description describe(std::size_t socket) const;

  // Who runs, and when.

  /// A message under way arrives, and, if `again`, once more.
  bool arrive(std::size_t which, bool again = false);
  bool apply(std::size_t thread);
  void run_some(unsigned jobs, unsigned chosen_by);
  /// Everything that can happen without time, happens: routes are applied before other messages.
  void settle();
  void pass(std::chrono::milliseconds time, std::chrono::milliseconds step);
  /// Only timers fire; what follows from them is still to happen.
  void let_time_pass(std::chrono::milliseconds time);
  std::chrono::milliseconds now() const { return now_; }
  std::size_t under_way() const { return flight_.size(); }

  // What can be seen.

  std::vector<server_info> servers();
  std::vector<terminal_info> terminals();
  bool route_is_up(std::size_t thread, const server_ref& ref) const;
  const route* route_of(std::size_t thread, const server_ref& ref) const;
  bool port_in_use(uint16_t port) const;
  server_fact* fact_of(uint64_t generation);
  std::size_t open_tunnels() const;
  /// Whether the newest routes that were published have it.
  bool is_published(const server_ref& ref) const;
  /// With nothing under way: says which actors, watches and tunnels belong to nothing.
  std::string accounts();
  /// Ends everything and says what is left that should not be.
  std::string left_behind();

  std::vector<terminal_fact> terminal_facts;
  std::map<int32_t, job_fact> jobs;
  std::vector<socket_fact> sockets;
  std::vector<server_fact> server_facts;
  std::vector<tunnel_fact> tunnels;
  std::array<io_thread_fact, thread_count> threads;
  std::vector<event> events;
  std::vector<std::string> violations;
  registry_actor registry;

  // Answers, in the order in which they came: the value as text, or the error's code.
  std::vector<std::string> answers;
  std::vector<std::string> waits;
  std::size_t unanswered = 0;

  bool finds_servers = false;   // whether terminals' detectors are told of sockets
  bool detectors_look = false;  // whether looks are answered
  bool shutting_down = false;
  bool fail_next_open = false;
  bool fail_next_deliver = false;  // the event bus ends over it
  uint64_t failed_event = 0;       // the one that it last ended over
  int32_t next_job = 4000;
  uint16_t bystander_port = 0;  // its probe is nobody's to kill

  // data_plane
  void publish(workspace_routes routes, registry_actor reply_to) override;
  void deliver(const event& what) override;
  void probe(const endpoint& target, caf::timespan timeout, uint64_t round,
    health_probe_actor reply_to) override;
  void identify(const endpoint& target, const workspace_key& key, caf::timespan timeout,
    uint64_t token, detector_actor reply_to) override;
  void open_terminal(terminal_spec spec, terminal_actor actor, detector_actor detector) override;
  void finish_terminal(const std::string& id) override;
  void forget_terminal(const std::string& id) override;
  void adopt_connection(connection_id id, ws_connection_actor actor) override;
  void close_connection(connection_id id) override;

  // kernel_watch
  void
  track(const std::string& id, int32_t pid, terminal_actor actor, detector_actor detector) override;
  void untrack(const std::string& id) override;
  void scan(const std::string& id) override;
  void watch(const server_ref& ref, std::vector<listener_id> listeners, std::vector<int32_t> owners,
    int32_t job_leader, preview_server_actor reply_to) override;
  void await_successor(const server_ref&, const endpoint&) override {}
  void unwatch(const server_ref& ref) override;
  void confirm(const server_ref& ref) override;
  void end_processes(
    const std::string& id, int32_t session, kill_ladder pauses, terminal_actor reply_to) override;

private:
  struct message_under_way {
    std::function<void()> arrive;
    std::size_t order = 0;  // messages of one order arrive in it; 0: in any
  };
  struct watched {
    std::size_t socket = 0;
    int32_t job_leader = 0;
    preview_server_actor reply_to;
  };

  template <class Handle, class... Message>
  void later(std::size_t order, const Handle& whom, Message... message);
  /// Sends a request whose answer is written down when it comes.
  template <class Answer, class... Message>
  void request(std::function<std::string(const Answer&)> show, std::vector<std::string>& where,
    Message... message);
  void notice_socket(std::size_t index);
  terminal_fact* find_terminal(const std::string& id);
  const socket_fact* socket_at(uint16_t port) const;
  bool may_leave(const server_ref& ref);
  /// Every cause that there is by now for a server to end.
  std::set<stop_reason> causes_of(const server_fact& server) const;
  void close_tunnels_of(std::size_t thread, const workspace_key& key);
  void close(tunnel_fact& tunnel);
  void broken(const std::string& what) { violations.push_back(what); }

  deterministic_system& system_ = shared_system();
  actors::on_terminal_exit on_exit_;
  std::size_t actors_before_ = 0;
  std::chrono::milliseconds now_{0};
  std::deque<message_under_way> flight_;
  std::map<uint64_t, watched> watching_;
  std::map<workspace_key, std::shared_ptr<const workspace_routes>> published_;
  std::map<uint64_t, uint64_t> last_event_;  // generation: 1 started, 2 stopped or replaced
  std::vector<std::pair<health_probe_actor, uint16_t>> probes_;
  std::vector<caf::actor> clients_;
  uint64_t next_connection_ = 1;
  uint64_t next_inode_ = 1;
  int32_t next_pid_ = 1000;
  int opened_ = 0;
};

/// The registry's status of a workspace, asked now.
workspace_status status_of(machine& m, const workspace_key& key);

}  // namespace previewd::test
