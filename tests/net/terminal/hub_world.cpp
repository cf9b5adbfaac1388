#include "previewd/tests/net/terminal/hub_world.hpp"

#include <signal.h>
#include <algorithm>

#include <catch2/catch.hpp>

#include "previewd/messages/registry.hpp"
#include "previewd/messages/route.hpp"
#include "previewd/messages/store.hpp"

namespace previewd::test {

namespace {

using net::terminal::attach_start;
using net::terminal::output_chunk;

terminal_actor::behavior_type
note_terminal(terminal_actor::pointer, std::shared_ptr<watched<told>> heard) {
  return {
    [=](opened_atom, int32_t pid, const std::string&) {
      heard->change([&](told& t) { t.opened = pid; });
    },
    [=](failed_atom, const caf::error& why) {
      heard->change([&](told& t) {
        t.failed = code_of(why);
        t.failure = detail_of(why);
      });
    },
    [=](exited_atom, const exit_status&) {},
    [=](drained_atom) { heard->change([](told& t) { ++t.drained; }); },
    [=](foreground_atom, int32_t group) {
      heard->change([&](told& t) {
        t.foreground.push_back(group);
        t.foreground_before_opened = t.foreground_before_opened || !t.opened;
      });
    },
    [=](detached_atom) { heard->change([](told& t) { ++t.detached; }); },
    [=](close_atom) {},
    [=](ended_atom) {},
  };
}

detector_actor::behavior_type
note_detector(detector_actor::pointer, std::shared_ptr<watched<told>> heard) {
  return {
    [=](output_atom, const std::vector<url_hint>& hints) {
      heard->change([&](told& t) {
        ++t.notices;
        t.hints.insert(t.hints.end(), hints.begin(), hints.end());
      });
    },
    [=](foreground_atom, int32_t, int32_t) {},
    [=](listeners_atom, const std::vector<listener_fact>&) {},
    [=](identity_atom, uint64_t, const identity&) {},
    [=](scan_atom) {},
  };
}

}  // namespace

void test_client::on_attached(const attach_start& start) {
  got.change([&](heard& h) {
    h.start = start;
    h.sequence = start.from;
  });
  if (eager_) place->pull();
}

void test_client::on_output(const output_chunk& chunk) {
  got.change([&](heard& h) {
    h.bytes += *chunk.bytes;
    h.sequences_fit =
      h.sequences_fit && h.sequence + chunk.lost + chunk.bytes->size() == chunk.sequence;
    h.sequence = chunk.sequence;
    h.lost += chunk.lost;
    ++h.chunks;
    h.largest = std::max(h.largest, chunk.bytes->size());
    // What a flood brings is not what a test looks at.
    if (h.bytes.size() > 4'000'000) h.bytes.erase(0, 2'000'000);
  });
  if (eager_) place->pull();
}

void test_client::on_end() {
  got.change([](heard& h) { ++h.ends; });
}

hub_world::hub_world(net::terminal::terminal_hub_settings settings) {
  config_.set("scheduler.policy", caf::atom("sharing"));
  config_.set("scheduler.max-threads", std::size_t{2});
  config_.add_message_types<caf::id_block::previewd>();
  system_ = std::make_unique<caf::actor_system>(config_);
  reaper_ = std::make_unique<os::child_reaper>(os::reap_mode::own);
  std::vector<net::io_thread*> all;
  for (uint32_t i = 0; i < 2; ++i) {
    threads.push_back(std::make_unique<net::io_thread>(i));
    all.push_back(threads.back().get());
  }
  hub = std::make_unique<net::terminal::terminal_hub>(all, *reaper_, settings);
  for (auto& thread : threads) thread->start("test-io");
}

hub_world::~hub_world() {
  for (auto& thread : threads) thread->stop();
  hub.reset();
}

terminal_spec hub_world::spec(std::vector<std::string> argv) const {
  terminal_spec spec;
  spec.key = {"shop", "ann"};
  spec.cwd = "/";
  spec.argv = std::move(argv);
  spec.env = {"PATH=/usr/local/bin:/usr/bin:/bin", "TERM=xterm-256color", "PS1=$ ", "HOME=/"};
  return spec;
}

test_terminal hub_world::begin(terminal_spec spec) {
  test_terminal terminal;
  terminal.id = spec.id = "terminal-" + std::to_string(++opened_);
  terminal.terminal = system_->spawn(note_terminal, terminal.heard);
  terminal.detector = system_->spawn(note_detector, terminal.heard);
  hub->open(std::move(spec), terminal.terminal, terminal.detector);
  return terminal;
}

test_terminal hub_world::open(terminal_spec spec) {
  test_terminal terminal = begin(std::move(spec));
  REQUIRE(terminal.heard->becomes([](const told& t) { return t.opened || t.failed; }));
  INFO(terminal.heard->now().failure);
  REQUIRE(terminal.heard->now().opened);
  terminal.pid = *terminal.heard->now().opened;
  return terminal;
}

test_terminal hub_world::open(std::vector<std::string> argv) {
  return open(spec(std::move(argv)));
}

std::shared_ptr<test_client>
hub_world::attach(const test_terminal& terminal, uint64_t after, bool eager, std::size_t thread) {
  auto client = std::make_shared<test_client>(eager);
  on(thread, [&] { client->place = hub->attach(*threads[thread], terminal.id, after, *client); });
  REQUIRE(client->got.becomes([](const test_client::heard& h) { return h.start || h.ends > 0; }));
  return client;
}

void hub_world::detach(const std::shared_ptr<test_client>& client, std::size_t thread) {
  on(thread, [&] { client->place.reset(); });
}

namespace {

/// Gives an order on thread 0 and waits for what came of it.
template <class Order> errc outcome_of(hub_world& world, Order order) {
  auto promise = std::make_shared<std::promise<errc>>();
  auto future = promise->get_future();
  world.threads[0]->post([order, promise] {
    order([promise](const caf::error& why) { promise->set_value(code_of(why)); });
  });
  REQUIRE(future.wait_for(deadline) == std::future_status::ready);
  return future.get();
}

}  // namespace

errc hub_world::input(const test_terminal& terminal, std::string bytes) {
  return outcome_of(*this, [&](auto done) { hub->input(*threads[0], terminal.id, bytes, done); });
}

errc hub_world::resize(const test_terminal& terminal, terminal_size size) {
  return outcome_of(*this, [&](auto done) { hub->resize(*threads[0], terminal.id, size, done); });
}

errc hub_world::signal(const test_terminal& terminal, int number) {
  return outcome_of(*this, [&](auto done) { hub->signal(*threads[0], terminal.id, number, done); });
}

std::optional<net::terminal::output_slice>
hub_world::read(const test_terminal& terminal, uint64_t after) {
  auto promise = std::make_shared<std::promise<std::optional<net::terminal::output_slice>>>();
  auto future = promise->get_future();
  threads[0]->post([this, id = terminal.id, after, promise] {
    hub->read(*threads[0], id, after, 10'000'000,
      [promise](auto slice) { promise->set_value(std::move(slice)); });
  });
  REQUIRE(future.wait_for(deadline) == std::future_status::ready);
  return future.get();
}

std::optional<net::terminal::terminal_facts>
hub_world::facts(const test_terminal& terminal, std::size_t thread) {
  return on(thread, [&] { return hub->facts(*threads[thread], terminal.id); });
}

bool hub_world::puts_out(const test_terminal& terminal, const std::string& text) {
  return eventually([&] {
    const auto output = read(terminal);
    return output && output->bytes.find(text) != std::string::npos;
  });
}

void hub_world::end(test_terminal& terminal) {
  hub->forget(terminal.id);
  // Most have ended with their PTY; the rest would outlive the test.
  ::kill(-terminal.pid, SIGKILL);
  ::kill(terminal.pid, SIGKILL);
  CHECK(eventually([&] { return reaper_->take(terminal.pid).has_value(); }));
  CHECK(eventually([&] { return !facts(terminal, 0) && !facts(terminal, 1); }));
}

}  // namespace previewd::test
