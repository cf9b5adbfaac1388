#pragma once

#include <caf/actor_system.hpp>
#include <caf/actor_system_config.hpp>
#include <caf/send.hpp>
#include <caf/typed_event_based_actor.hpp>
#include <catch2/catch.hpp>
#include <condition_variable>
#include <exception>
#include <memory>
#include <mutex>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "previewd/messages/all.hpp"
#include "previewd/service/service.hpp"
#include "previewd/tests/support/http_client.hpp"
#include "previewd/tests/support/service_state.hpp"

namespace previewd::test {

/// All events of a service, in order, for a test's thread to wait for.
class event_log {
public:
  void add(const event& what) {
    const std::lock_guard lock{mutex_};
    events_.push_back(what);
    changed_.notify_all();
  }

  /// The first event that `matches` from position `from` on; waits for it. Nothing at the deadline.
  template <class Matches> std::optional<event> wait(Matches matches, std::size_t from = 0) {
    std::unique_lock lock{mutex_};
    const auto end = std::chrono::steady_clock::now() + deadline;
    for (;;) {
      for (; from < events_.size(); ++from)
        if (matches(events_[from])) return events_[from];
      if (changed_.wait_until(lock, end) == std::cv_status::timeout) return std::nullopt;
    }
  }

  std::optional<event> wait_for(event_kind kind, std::size_t from = 0) {
    return wait([kind](const event& e) { return e.kind == kind; }, from);
  }

  std::vector<event> all() {
    const std::lock_guard lock{mutex_};
    return events_;
  }

  std::size_t size() {
    const std::lock_guard lock{mutex_};
    return events_.size();
  }

  std::size_t count(event_kind kind) {
    const std::lock_guard lock{mutex_};
    std::size_t n = 0;
    for (const event& e : events_) n += e.kind == kind ? 1 : 0;
    return n;
  }

private:
  std::mutex mutex_;
  std::condition_variable changed_;
  std::vector<event> events_;
};

/// The whole service in this process, on a free loopback port. At its end it checks that whatever
/// the test did has left nothing behind in it: clients of the test have to be gone by then.
class live_service {
public:
  /// `fields`: lines of the tests' own requests, where they have to show who they are.
  explicit live_service(settings wanted = {}, std::string fields = {})
      : fields_{std::move(fields)} {
    config_.add_message_types<caf::id_block::previewd>();
    config_.set("scheduler.policy", caf::atom("sharing"));
    config_.set("scheduler.max-threads", std::size_t{2});
    system_ = std::make_unique<caf::actor_system>(config_);
    wanted.listen = {{.address = "127.0.0.1", .port = 0, .path = {}}};
    wanted.inherited.home = "/tmp";
    wanted.inherited.environment = {
      "PATH=/usr/local/bin:/usr/bin:/bin", "HOME=/tmp", "PS1=ready> "};
    wanted.terminal.shell = "/bin/bash";
    auto started = service::start(*system_, wanted, process_role::program);
    if (const auto* why = std::get_if<std::string>(&started)) throw std::runtime_error{*why};
    service_ = std::move(std::get<0>(started));
    const std::string& address = service_->addresses().front();
    port_ = static_cast<uint16_t>(std::stoi(address.substr(address.rfind(':') + 1)));
    recorder_ = system_->spawn(
      [this](event_subscriber_actor::pointer) -> event_subscriber_actor::behavior_type {
        return {[this](event_atom, const event& what) { events.add(what); }};
      });
    caf::anon_send(service_->events(), subscribe_atom_v, recorder_);
    start_ = settled_state(port_, fields_);
  }

  ~live_service() {
    // A test that has failed already may have left anything, and one that stopped it nothing.
    if (std::uncaught_exceptions() == 0 && connection{port_}.connected())
      CHECK(left_in_service(port_, start_, fields_) == "");
    service_->stop();
    service_.reset();
    caf::anon_send_exit(recorder_, caf::exit_reason::user_shutdown);
  }

  live_service(const live_service&) = delete;
  live_service& operator=(const live_service&) = delete;

  uint16_t port() const { return port_; }
  previewd::service& get() { return *service_; }
  caf::actor_system& system() { return *system_; }
  std::size_t running_actors() const { return system_->registry().running(); }
  /// While nothing happens. `running_actors()` may count the one that has just answered.
  std::size_t quiet_actors() const { return start_.at("/actors/total").get<std::size_t>(); }

  nlohmann::json get_json(const std::string& path) {
    return nlohmann::json::parse(fetch(port_, "GET " + path).body, nullptr, false);
  }

  /// Opens a terminal and returns its id.
  std::string open_terminal(const std::string& project = "shop", const std::string& user = "ann") {
    const auto answer = fetch(port_, "POST /api/terminals", "Content-Type: application/json\r\n",
      nlohmann::json{{"project", project}, {"user", user}}.dump());
    if (answer.status != 201)
      throw std::runtime_error{"cannot open a terminal: " + answer.head + answer.body};
    return nlohmann::json::parse(answer.body).at("id").get<std::string>();
  }

  void type(const std::string& terminal, const std::string& text) {
    const auto answer = fetch(port_, "POST /api/terminals/" + terminal + "/input", {}, text);
    if (answer.status != 204) throw std::runtime_error{"cannot type: " + answer.head + answer.body};
  }

  std::string output(const std::string& terminal) {
    return fetch(port_, "GET /api/terminals/" + terminal + "/output?after=0").body;
  }

  int close_terminal(const std::string& terminal) {
    return fetch(port_, "DELETE /api/terminals/" + terminal).status;
  }

  int preview_status(const std::string& path = "/preview/shop/ann/") {
    return fetch(port_, "GET " + path).status;
  }

  event_log events;

private:
  caf::actor_system_config config_;
  std::unique_ptr<caf::actor_system> system_;
  std::unique_ptr<previewd::service> service_;
  event_subscriber_actor recorder_;
  uint16_t port_ = 0;
  std::string fields_;
  nlohmann::json start_;  // what the service holds when nothing happens
};

}  // namespace previewd::test
