// How long every way of ending a server takes until its route is down, and until a client is told.
// bench/removal runs it and writes docs/benchmarks.md.
#include <CLI/CLI.hpp>
#include <algorithm>
#include <atomic>
#include <caf/actor_system.hpp>
#include <caf/actor_system_config.hpp>
#include <caf/scoped_actor.hpp>
#include <condition_variable>
#include <csignal>
#include <functional>
#include <iostream>
#include <map>
#include <mutex>
#include <nlohmann/json.hpp>
#include <random>
#include <thread>

#include "previewd/messages/all.hpp"
#include "previewd/messages/error.hpp"
#include "previewd/service/service.hpp"
#include "previewd/support/log.hpp"
#include "previewd/tests/support/http_client.hpp"

namespace {

using namespace previewd;
using namespace std::chrono_literals;
using clock = std::chrono::steady_clock;
using nlohmann::json;

constexpr auto patience = 30s;
constexpr auto poll_interval = 5s;  // of the design that is replaced
const std::string project = "bench";

double microseconds(clock::duration d) {
  return std::chrono::duration<double, std::micro>(d).count();
}

/// A Socket.IO client over WebSocket (Engine.IO 4) that notes when each event of the project came.
class event_client {
public:
  struct heard {
    clock::time_point at;
    json payload;
  };

  explicit event_client(uint16_t port) : connection_{port} {
    connection_.send(
      "GET /socket.io/?EIO=4&transport=websocket HTTP/1.1\r\nHost: 127.0.0.1:" +
      std::to_string(port) +
      "\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
      "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n");
    const std::string answer = connection_.read_until("\r\n\r\n");
    if (answer.substr(0, 12) != "HTTP/1.1 101") throw std::runtime_error{"no WebSocket: " + answer};
    bytes_ = answer.substr(answer.find("\r\n\r\n") + 4);
    send("40");
    send(R"(42["joinProject",{"projectId":")" + project + R"("}])");
    reader_ = std::thread{[this] { read(); }};
  }

  /// Only once the service has ended, and its connections with it.
  ~event_client() { reader_.join(); }

  event_client(const event_client&) = delete;
  event_client& operator=(const event_client&) = delete;

  /// The first event of this name that `matches`; waits for it.
  heard wait(const std::string& name, const std::function<bool(const json&)>& matches) {
    std::unique_lock lock{mutex_};
    const auto end = clock::now() + patience;
    for (;;) {
      for (const heard& one : events_[name])
        if (matches(one.payload)) return one;
      if (changed_.wait_until(lock, end) == std::cv_status::timeout)
        throw std::runtime_error{name + " did not come"};
    }
  }

  void forget() {
    const std::lock_guard lock{mutex_};
    events_.clear();
  }

private:
  /// A masked text frame (RFC 6455, section 5.2); the mask is zero.
  void send(const std::string& text) {
    std::string frame{"\x81"};
    frame += static_cast<char>(0x80 | (text.size() < 126 ? text.size() : 126));
    if (text.size() >= 126) {
      frame += static_cast<char>(text.size() >> 8);
      frame += static_cast<char>(text.size() & 0xff);
    }
    connection_.send(frame + std::string(4, '\0') + text);
  }

  void read() {
    for (;;) {
      while (take_frame()) {
      }
      const std::string more = connection_.read();
      if (!more.empty()) {
        bytes_ += more;
      } else if (connection_.ended()) {
        return;
      }
    }
  }

  bool take_frame() {
    if (bytes_.size() < 2) return false;
    const auto byte = [&](std::size_t i) { return static_cast<unsigned char>(bytes_[i]); };
    std::size_t head = 2;
    std::size_t size = byte(1) & 0x7f;
    const std::size_t extra = size == 126 ? 2 : size == 127 ? 8 : 0;
    if (bytes_.size() < head + extra) return false;
    if (extra != 0) {
      size = 0;
      for (std::size_t i = 0; i < extra; ++i) size = size << 8 | byte(head + i);
      head += extra;
    }
    if (bytes_.size() < head + size) return false;
    const auto now = clock::now();
    const std::string text = bytes_.substr(head, size);
    bytes_.erase(0, head + size);
    if (text == "2") send("3");
    if (text.rfind("42", 0) != 0) return true;
    const json event = json::parse(text.substr(2), nullptr, false);
    if (!event.is_array() || event.size() < 2) return true;
    const std::lock_guard lock{mutex_};
    events_[event[0].get<std::string>()].push_back({now, event[1]});
    changed_.notify_all();
    return true;
  }

  test::connection connection_;
  std::string bytes_;
  std::mutex mutex_;
  std::condition_variable changed_;
  std::map<std::string, std::vector<heard>> events_;
  std::thread reader_;
};

/// One dev server that runs in a terminal of its own.
struct running {
  std::string user;
  std::string terminal;
  int32_t shell = 0;
  int32_t pid = 0;
  server_ref ref;
  uint16_t port = 0;
};

struct measured {
  std::vector<double> down;  // until the route is down, in microseconds
  std::vector<double> told;  // until a client has been told
};

/// The service in this process, with its client.
class bench {
public:
  bench(std::string dev_server, uint32_t io_threads) : dev_server_{std::move(dev_server)} {
    config_.add_message_types<caf::id_block::previewd>();
    config_.set("scheduler.policy", caf::atom("sharing"));
    config_.set("scheduler.max-threads", std::size_t{2});
    system_ = std::make_unique<caf::actor_system>(config_);
    settings wanted;
    wanted.listen = {{.address = "127.0.0.1", .port = 0, .path = {}}};
    wanted.io.threads = io_threads;
    wanted.inherited.home = "/tmp";
    wanted.inherited.environment = {"PATH=/usr/local/bin:/usr/bin:/bin", "HOME=/tmp"};
    wanted.terminal.shell = "/bin/bash";
    auto started = service::start(*system_, wanted, process_role::program);
    if (const auto* why = std::get_if<std::string>(&started)) throw std::runtime_error{*why};
    service_ = std::move(std::get<0>(started));
    const std::string& address = service_->addresses().front();
    port_ = static_cast<uint16_t>(std::stoi(address.substr(address.rfind(':') + 1)));
    client_ = std::make_unique<event_client>(port_);
  }
  ~bench() {
    service_->stop();
    client_.reset();
    service_.reset();
  }
  bench(const bench&) = delete;
  bench& operator=(const bench&) = delete;

  event_client& client() { return *client_; }
  uint16_t port() const { return port_; }

  void open(running& one) {
    const auto answer = test::fetch(
      port_, "POST /api/terminals", {}, json{{"project", project}, {"user", one.user}}.dump());
    if (answer.status != 201) throw std::runtime_error{"no terminal: " + answer.body};
    const json terminal = json::parse(answer.body);
    one.terminal = terminal["id"];
    one.shell = terminal["pid"];
  }

  void type(const running& one, const std::string& text) {
    test::fetch(port_, "POST /api/terminals/" + one.terminal + "/input", {}, text);
  }

  /// Starts all of them and waits until each is announced.
  void start(std::vector<running>& all, const std::string& how) {
    client_->forget();
    for (running& one : all) {
      if (one.terminal.empty()) open(one);
      type(one, dev_server_ + " 0" + how + "\r");
    }
    for (running& one : all) {
      const json server = client_
                            ->wait("previewServerStarted",
                              [&](const json& payload) { return payload["user"] == one.user; })
                            .payload;
      one.ref = {{project, one.user}, server["generation"].get<uint64_t>()};
      one.pid = server["pid"];
      one.port = server["port"];
    }
  }

  registry_counters counters() { return ask<registry_counters>(counters_atom_v); }

  template <class Answer, class... Message> Answer ask(Message... message) {
    caf::scoped_actor self{*system_};
    Answer result{};
    self->request(service_->registry(), caf::infinite, std::move(message)...)
      .receive([&](Answer& answer) { result = std::move(answer); },
        [](caf::error& why) { throw std::runtime_error{previewd::detail_of(why)}; });
    return result;
  }

  clock::time_point wait_told(const server_ref& ref) {
    return client_
      ->wait("previewServerStopped",
        [&](const json& payload) { return payload["generation"] == ref.generation; })
      .at;
  }

private:
  std::string dev_server_;
  caf::actor_system_config config_;
  std::unique_ptr<caf::actor_system> system_;
  std::unique_ptr<service> service_;
  std::unique_ptr<event_client> client_;
  uint16_t port_ = 0;
};

/// One way to end a server.
struct path {
  std::string name;
  enum class kind : uint8_t {
    kernel,  // the kernel tells of it: the service measures from that moment
    order,   // an HTTP call is answered once the route is down
    told     // only the client's moment is known
  } what;
  std::string started;  // further arguments of the dev server
  std::function<void(bench&, running&)> end;
  std::function<void(bench&, running&)> clean_up;  // what is left of it
};

void close_terminal(bench& b, running& one) {
  test::fetch(b.port(), "DELETE /api/terminals/" + one.terminal);
  one.terminal.clear();
}

std::vector<path> paths() {
  const auto nothing = [](bench&, running&) {};
  const auto kill_it = [](bench&, running& one) { ::kill(one.pid, SIGKILL); };
  return {
    {"Ctrl+C", path::kind::kernel, "", [](bench& b, running& one) { b.type(one, "\x03"); },
      nothing},
    {"kill -9", path::kind::kernel, "", kill_it, nothing},
    {"listener closed", path::kind::kernel, "",
      [](bench&, running& one) { ::kill(one.pid, SIGUSR1); }, kill_it},
    {"DELETE server", path::kind::order, "",
      [](bench& b, running& one) {
        test::fetch(b.port(), "DELETE /api/servers/" + std::to_string(one.ref.generation));
      },
      kill_it},
    {"terminal closed", path::kind::order, "",
      [](bench& b, running& one) { close_terminal(b, one); }, nothing},
    {"shell killed", path::kind::told, " &",
      [](bench&, running& one) { ::kill(one.shell, SIGKILL); }, close_terminal},
  };
}

/// Ends `cycles` servers one after the other, started in batches.
measured measure(bench& b, const path& how, std::size_t cycles, std::vector<running>& all) {
  measured result;
  while (result.told.size() < cycles) {
    all.resize(std::min(all.size(), cycles - result.told.size()));
    b.start(all, how.started);
    std::vector<clock::time_point> begun;
    for (running& one : all) {
      const registry_counters before = b.counters();
      begun.push_back(clock::now());
      how.end(b, one);
      if (how.what == path::kind::order)
        result.down.push_back(microseconds(clock::now() - begun.back()));
      if (how.what == path::kind::kernel) {
        registry_counters now = b.counters();
        for (const auto end = clock::now() + patience;
             now.stop_detect.count() == before.stop_detect.count();) {
          if (clock::now() > end) throw std::runtime_error{"the route does not go down"};
          std::this_thread::sleep_for(200us);
          now = b.counters();
        }
        result.down.push_back(
          static_cast<double>(now.stop_detect.nanoseconds() - before.stop_detect.nanoseconds()) /
          1e3);
      }
    }
    for (std::size_t i = 0; i < all.size(); ++i) {
      result.told.push_back(microseconds(b.wait_told(all[i].ref) - begun[i]));
      how.clean_up(b, all[i]);
    }
  }
  return result;
}

/// A server that was registered by hand and refuses: nothing but a request tells that it is gone.
measured measure_refused(bench& b, std::size_t cycles) {
  struct ended {
    server_ref ref;
    clock::time_point begun;
  };
  measured result;
  std::vector<ended> waiting;
  for (std::size_t i = 0; i < cycles; ++i) {
    const std::string user = "refused" + std::to_string(i);
    const int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t size = sizeof address;
    if (bind(listener, reinterpret_cast<const sockaddr*>(&address), size) != 0 ||
        listen(listener, 1) != 0)
      throw std::runtime_error{"cannot listen"};
    getsockname(listener, reinterpret_cast<sockaddr*>(&address), &size);
    server_description what;
    what.key = {project, user};
    what.upstream = {"127.0.0.1", ntohs(address.sin_port), scheme::http};
    what.answers = true;
    const server_ref ref = b.ask<server_ref>(add_atom_v, what);
    b.client().wait("previewServerStarted",
      [&](const json& payload) { return payload["generation"] == ref.generation; });
    ::close(listener);

    test::connection request{b.port()};
    waiting.push_back({ref, clock::now()});
    request.send("GET /preview/" + project + "/" + user + "/ HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n");
    for (const auto end = clock::now() + patience;
         b.ask<server_info>(lookup_atom_v, server_atom_v, ref.generation).state !=
         server_state::restarting;)
      if (clock::now() > end) throw std::runtime_error{"the route does not go down"};
    result.down.push_back(microseconds(clock::now() - waiting.back().begun));
    // Held as a restart until proxy.hold ends: told in batches, so that the time is waited once.
    if (waiting.size() == 50 || i + 1 == cycles) {
      for (const ended& one : waiting)
        result.told.push_back(microseconds(b.wait_told(one.ref) - one.begun));
      waiting.clear();
      b.client().forget();
    }
  }
  return result;
}

/// What a health check that connects every 5 s would have needed: the rest of the interval, at a
/// moment of it chosen by chance, and the refused connection itself, which is made.
measured measure_polling(std::size_t cycles, uint16_t dead_port) {
  std::mt19937_64 random{1};
  std::uniform_real_distribution<double> phase{0, microseconds(poll_interval)};
  measured result;
  for (std::size_t i = 0; i < cycles; ++i) {
    const double rest = phase(random);
    const auto begun = clock::now();
    const bool refused = !test::connection{dead_port}.connected();
    if (!refused) continue;
    result.down.push_back(rest + microseconds(clock::now() - begun));
    result.told.push_back(result.down.back());
  }
  return result;
}

json summary(const std::string& name, measured what) {
  const auto figures = [](std::vector<double>& values) -> json {
    if (values.empty()) return nullptr;
    std::sort(values.begin(), values.end());
    const auto at = [&](double quantile) {
      return values[std::min(values.size() - 1,
        static_cast<std::size_t>(quantile * static_cast<double>(values.size())))];
    };
    return {{"p50", at(0.5)}, {"p99", at(0.99)}, {"max", values.back()}};
  };
  return {{"path", name}, {"count", what.told.size()}, {"down", figures(what.down)},
    {"told", figures(what.told)}};
}

}  // namespace

int main(int argument_count, char** arguments) {
  CLI::App app{"How long every way of ending a server takes; microseconds, one JSON object a line"};
  std::string dev_server;
  std::size_t cycles = 1000;
  std::size_t batch = 50;
  uint32_t io_threads = 2;
  app.add_option("--dev-server", dev_server, "the program previewd_dev_server")->required();
  app.add_option("--cycles", cycles, "of each way")->check(CLI::Range(1, 100'000));
  app.add_option("--batch", batch, "servers that run at once")->check(CLI::Range(1, 200));
  app.add_option("--io-threads", io_threads, "of the service")->check(CLI::Range(1, 64));
  CLI11_PARSE(app, argument_count, arguments);
  std::signal(SIGPIPE, SIG_IGN);
  log::configure({.threshold = log::level::error});

  try {
    bench b{dev_server, io_threads};
    uint16_t dead_port = 0;
    for (const path& how : paths()) {
      std::vector<running> all(batch);
      for (std::size_t i = 0; i < all.size(); ++i) all[i].user = "user" + std::to_string(i);
      std::cout << summary(how.name, measure(b, how, cycles, all)) << std::endl;
      dead_port = all.front().port;
      for (running& one : all)
        if (!one.terminal.empty()) close_terminal(b, one);
    }
    std::cout << summary("refused", measure_refused(b, cycles)) << std::endl;
    std::cout << summary("polling", measure_polling(cycles, dead_port)) << std::endl;
  } catch (const std::exception& failure) {
    std::cerr << "previewd-bench-removal: " << failure.what() << '\n';
    return 1;
  }
}
