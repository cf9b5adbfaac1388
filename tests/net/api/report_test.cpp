#include "previewd/net/api/report.hpp"

#include <catch2/catch.hpp>
#include <chrono>
#include <nlohmann/json.hpp>

using namespace previewd;
using namespace previewd::net::api;
using namespace std::chrono_literals;

TEST_CASE("durations are counted in the bucket whose bound holds them", "[messages][histogram]") {
  duration_histogram durations;

  durations.observe(0ns);
  durations.observe(-5ms);      // a clock that two threads read a moment apart
  durations.observe(50us);      // the first bound itself
  durations.observe(50'001ns);  // just beyond it
  durations.observe(1h);

  CHECK(durations.buckets().front() == 3);
  CHECK(durations.buckets()[1] == 1);
  CHECK(durations.buckets().back() == 1);
  CHECK(durations.count() == 5);
  CHECK(durations.nanoseconds() == 3'600'000'100'001);

  duration_histogram sum = durations;
  sum.add(durations);
  CHECK(sum.count() == 10);
  CHECK(sum.nanoseconds() == 2 * durations.nanoseconds());
}

TEST_CASE("a histogram is shown in growing buckets, in seconds", "[net][api][metrics]") {
  service_report report;
  report.registry.stop_detect.observe(80us);
  report.registry.stop_detect.observe(2ms);
  report.registry.stop_detect.observe(20s);
  report.registry.removals[static_cast<std::size_t>(stop_reason::refused)] = 7;

  const std::string text = metrics_text(report);

  const auto has = [&](const std::string& line) {
    INFO(line);
    CHECK(text.find(line + "\n") != std::string::npos);
  };
  has("previewd_stop_detect_seconds_bucket{le=\"5e-05\"} 0");
  has("previewd_stop_detect_seconds_bucket{le=\"0.0001\"} 1");
  has("previewd_stop_detect_seconds_bucket{le=\"0.0025\"} 2");
  has("previewd_stop_detect_seconds_bucket{le=\"10\"} 2");
  has("previewd_stop_detect_seconds_bucket{le=\"+Inf\"} 3");
  has("previewd_stop_detect_seconds_count 3");
  has("previewd_removals_total{reason=\"refused\"} 7");
}

TEST_CASE("the state has a place for whatever is counted", "[net][api][state]") {
  service_report report;
  report.all_actors = 5;
  report.actors[actor_census::place_of("preview_server")] = 2;
  report.process.descriptors = {{"socket", 4}, {"pidfd", 1}};
  report.registry.servers[static_cast<std::size_t>(server_state::ready)] = 1;
  report.registry.servers[static_cast<std::size_t>(server_state::restarting)] = 1;

  const auto state = nlohmann::json::parse(state_json(report), nullptr, false);

  CHECK(state["actors"]["total"] == 5);
  CHECK(state["actors"]["previewServer"] == 2);
  CHECK(state["actors"]["other"] == 3);
  CHECK(state["descriptors"]["total"] == 5);
  CHECK(state["descriptors"]["pidfd"] == 1);
  CHECK(state["descriptors"]["pty"] == 0);
  CHECK(state["servers"] == 2);
}

TEST_CASE("readiness names what is wrong", "[net][api][readyz]") {
  readiness what{"ok", "cannot be opened: No space left on device", "memory"};

  CHECK_FALSE(what.ready());
  const auto shown = nlohmann::json::parse(readiness_json(what), nullptr, false);
  CHECK(shown["ready"] == false);
  CHECK(shown["checks"]["pty"] == "cannot be opened: No space left on device");
  what.pty = "ok";
  CHECK(what.ready());
  what.store = "ok";
  CHECK(what.ready());
  what.store = "cannot be written: database or disk is full";
  CHECK_FALSE(what.ready());
  what.store = "ok";
  what.registry = "is ending";
  CHECK_FALSE(what.ready());
}
