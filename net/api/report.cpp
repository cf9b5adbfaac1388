#include "previewd/net/api/report.hpp"

#include <prometheus/metric_family.h>
#include <prometheus/text_serializer.h>

#include <nlohmann/json.hpp>
#include <sstream>
#include <string_view>
#include <utility>
#include <vector>

namespace previewd::net::api {

namespace {

using prometheus::ClientMetric;
using prometheus::MetricFamily;
using prometheus::MetricType;

constexpr double nanoseconds_a_second = 1e9;
constexpr double microseconds_a_second = 1e6;

/// Builds the families one after the other.
class exposition {
public:
  exposition& family(std::string name, std::string help, MetricType type) {
    families_.push_back({std::move(name), std::move(help), type, {}});
    return *this;
  }

  exposition& value(double number, std::vector<ClientMetric::Label> labels = {}) {
    ClientMetric& metric = families_.back().metric.emplace_back();
    metric.label = std::move(labels);
    if (families_.back().type == MetricType::Counter) {
      metric.counter.value = number;
    } else {
      metric.gauge.value = number;
    }
    return *this;
  }

  exposition& value(uint64_t number, std::vector<ClientMetric::Label> labels = {}) {
    return value(static_cast<double>(number), std::move(labels));
  }

  void counter(std::string name, std::string help, double number) {
    family(std::move(name), std::move(help), MetricType::Counter).value(number);
  }
  void counter(std::string name, std::string help, uint64_t number) {
    counter(std::move(name), std::move(help), static_cast<double>(number));
  }
  void gauge(std::string name, std::string help, double number) {
    family(std::move(name), std::move(help), MetricType::Gauge).value(number);
  }
  void gauge(std::string name, std::string help, uint64_t number) {
    gauge(std::move(name), std::move(help), static_cast<double>(number));
  }

  void histogram(std::string name, std::string help, const duration_histogram& durations) {
    family(std::move(name), std::move(help), MetricType::Histogram);
    ClientMetric::Histogram& shown = families_.back().metric.emplace_back().histogram;
    for (std::size_t i = 0; i < duration_histogram::bounds.size(); ++i) {
      shown.sample_count += durations.buckets()[i];
      shown.bucket.push_back({shown.sample_count,
        static_cast<double>(duration_histogram::bounds[i]) / microseconds_a_second});
    }
    shown.sample_count += durations.buckets().back();
    shown.sample_sum = static_cast<double>(durations.nanoseconds()) / nanoseconds_a_second;
  }

  std::string text() const {
    std::ostringstream out;
    prometheus::TextSerializer{}.Serialize(out, families_);
    return out.str();
  }

private:
  std::vector<MetricFamily> families_;
};

/// One value for each of an enumeration's values.
template <class Enum, std::size_t N>
void by_value(exposition& out, const char* label, const std::array<uint64_t, N>& counts) {
  for (std::size_t i = 0; i < N; ++i)
    out.value(counts[i], {{label, std::string{to_string(static_cast<Enum>(i))}}});
}

/// `preview_server` is `previewServer` in JSON.
std::string camel_case(std::string_view name) {
  std::string result;
  for (std::size_t i = 0; i < name.size(); ++i) {
    const bool after_underscore = i > 0 && name[i - 1] == '_';
    if (name[i] == '_') continue;
    result += after_underscore && name[i] >= 'a' && name[i] <= 'z'
                ? static_cast<char>(name[i] - 'a' + 'A')
                : name[i];
  }
  return result;
}

uint64_t sum_of(const std::map<std::string, uint64_t>& counts) {
  uint64_t sum = 0;
  for (const auto& [kind, count] : counts) sum += count;
  return sum;
}

}  // namespace

std::string metrics_text(const service_report& report) {
  const io_report& io = report.io;
  const registry_counters& registry = report.registry;
  const os::process_usage& process = report.process;
  exposition out;

  out.family("previewd_servers", "Registered servers by state.", MetricType::Gauge);
  by_value<server_state>(out, "state", registry.servers);
  out.gauge("previewd_terminals", "Terminals that run.", registry.terminals);
  out.gauge("previewd_tunnels", "Proxied WebSockets that are open.", uint64_t{io.tunnels});
  out.family("previewd_http_requests_total",
    "Requests that were answered: by previewd (service), on a preview's address (preview), "
    "upgrades "
    "there (websocket).",
    MetricType::Counter);
  for (std::size_t i = 0; i < io.http.answers.size(); ++i)
    for (std::size_t j = 0; j < http::http_counters::code_classes; ++j)
      out.value(io.http.answers[i][j], {{"kind", std::string{http::http_counters::kind_names[i]}},
                                         {"code_class", std::to_string(j + 1) + "xx"}});
  out.histogram("previewd_http_request_seconds", "From a request's head to the head of its answer.",
    io.http.answer_time);
  out.family("previewd_removals_total", "Servers removed, by reason.", MetricType::Counter);
  by_value<stop_reason>(out, "reason", registry.removals);
  out.histogram("previewd_stop_detect_seconds",
    "From the kernel's event to the server's route being down on every I/O thread.",
    registry.stop_detect);
  out.histogram("previewd_probe_seconds", "Health checks.", io.http.probe_time);
  out.counter("previewd_upstream_refused_total",
    "Connections to servers that were refused, or closed before the first byte of an answer.",
    io.http.upstream_refused);
  out.family("previewd_events_total", "Events told, by name.", MetricType::Counter);
  by_value<event_kind>(out, "event", registry.events);
  out.family("previewd_clients", "Clients by transport.", MetricType::Gauge);
  out.value(uint64_t{io.polling_clients}, {{"transport", "polling"}});
  out.value(uint64_t{io.websocket_clients}, {{"transport", "websocket"}});
  out.value(uint64_t{io.stream_readers}, {{"transport", "sse"}});
  out.value(uint64_t{io.attached_clients}, {{"transport", "attach"}});
  out.family("previewd_terminal_bytes_total",
    "Bytes typed into terminals (in) and put out by them (out).", MetricType::Counter);
  out.value(io.terminal_bytes_in, {{"direction", "in"}});
  out.value(io.terminal_bytes_out, {{"direction", "out"}});
  out.counter("previewd_stale_removals_total",
    "Removals that named a generation which was gone already, and changed nothing.",
    registry.stale_removals);
  out.gauge("previewd_held_requests", "Requests that wait for a server to come back.",
    uint64_t{io.held_requests});
  out.gauge("previewd_actors", "Actors that live.", report.all_actors);

  out.counter("process_cpu_seconds_total", "User and system CPU time.", process.cpu_seconds);
  out.gauge("process_resident_memory_bytes", "Resident memory.", process.resident_bytes);
  out.gauge("previewd_allocated_bytes",
    "Memory in use, without what the allocator keeps for later.", process.allocated_bytes);
  out.gauge("process_virtual_memory_bytes", "Virtual memory.", process.virtual_bytes);
  out.gauge("process_open_fds", "Open descriptors.", sum_of(process.descriptors));
  out.gauge("process_max_fds", "Descriptors that may be open.", process.descriptor_limit);
  out.gauge("process_threads", "Threads.", process.threads);
  out.gauge(
    "process_start_time_seconds", "When the process started, since 1970.", process.start_seconds);
  return out.text();
}

std::string state_json(const service_report& report) {
  using json = nlohmann::ordered_json;
  const io_report& io = report.io;
  const registry_counters& registry = report.registry;

  json actors{{"total", report.all_actors}};
  uint64_t known = 0;
  for (std::size_t i = 0; i < report.actors.size(); ++i) {
    actors[camel_case(actor_census::kinds[i])] = report.actors[i];
    known += report.actors[i];
  }
  actors["other"] = report.all_actors > known ? report.all_actors - known : 0;

  json descriptors{{"total", sum_of(report.process.descriptors)}};
  for (const char* kind :
    {"socket", "pipe", "pty", "pidfd", "epoll", "event", "timer", "signal", "file"}) {
    const auto found = report.process.descriptors.find(kind);
    descriptors[kind] = found == report.process.descriptors.end() ? 0 : found->second;
  }

  uint64_t servers = 0;
  for (const uint64_t count : registry.servers) servers += count;
  const json state{
    {"actors", actors},
    {"descriptors", descriptors},
    {"children", report.process.children},
    {"threads", report.process.threads},
    {"residentBytes", report.process.resident_bytes},
    {"servers", servers},
    {"terminals", {{"running", registry.terminals}, {"known", registry.known_terminals},
                    {"readable", io.open_terminals}}},
    {"tunnels", io.tunnels},
    {"connections", io.connections},
    {"heldRequests", io.held_requests},
    {"pooledUpstreams", io.pooled_upstreams},
    {"timers", io.timers},
    {"objects", io.objects},
    {"clients", {{"polling", io.polling_clients}, {"websocket", io.websocket_clients},
                  {"sse", io.stream_readers}, {"attach", io.attached_clients}}},
    {"kernelWatch", {{"terminals", report.kernel.terminals}, {"servers", report.kernel.servers},
                      {"processes", report.kernel.processes}, {"endings", report.kernel.ladders}}},
    {"underWay", {{"routes", registry.effects}, {"calls", registry.calls},
                   {"events", registry.undelivered}, {"stores", registry.saving}}},
    {"mailboxes", {{"registry", registry.mailbox}}},
  };
  return state.dump();
}

std::string readiness_json(const readiness& what) {
  const nlohmann::ordered_json answer{{"ready", what.ready()},
    {"checks", {{"registry", what.registry}, {"pty", what.pty}, {"store", what.store}}}};
  return answer.dump(-1, ' ', false, nlohmann::ordered_json::error_handler_t::replace);
}

}  // namespace previewd::net::api
