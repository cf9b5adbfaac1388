#include "load.hpp"

#include <netinet/in.h>
#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <boost/asio/connect.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/read.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/write.hpp>
#include <cctype>
#include <charconv>
#include <memory>
#include <optional>
#include <string_view>
#include <utility>

namespace previewd::bench {

namespace {

namespace asio = boost::asio;
using asio::ip::tcp;
using boost::system::error_code;
using clock = std::chrono::steady_clock;

/// Latencies that are kept; a run that has more measures its percentiles on the first ones.
constexpr std::size_t most_samples = 4'000'000;
/// Failures in a row after which a client gives up: a target that is gone must not be hammered.
constexpr uint32_t most_failures = 20;

bool equals_in_any_case(std::string_view a, std::string_view b) {
  return a.size() == b.size() && std::equal(a.begin(), a.end(), b.begin(), [](char x, char y) {
    return std::tolower(static_cast<unsigned char>(x)) ==
           std::tolower(static_cast<unsigned char>(y));
  });
}

/// The value of a field in the head of an answer.
std::optional<std::string_view> field_of(std::string_view head, std::string_view name) {
  for (std::size_t at = head.find("\r\n"); at != std::string_view::npos && at + 2 < head.size();) {
    const std::size_t end = head.find("\r\n", at + 2);
    const std::string_view line = head.substr(at + 2, end - at - 2);
    const std::size_t colon = line.find(':');
    if (colon != std::string_view::npos && equals_in_any_case(line.substr(0, colon), name)) {
      std::string_view value = line.substr(colon + 1);
      while (!value.empty() && value.front() == ' ') value.remove_prefix(1);
      return value;
    }
    at = end;
  }
  return std::nullopt;
}

/// What all clients of a run share.
struct run_state {
  const load_settings& settings;
  std::string request;
  load_result result;
  std::vector<uint32_t> latencies;
  bool measuring = false;
  bool over = false;
};

/// One client. Lives for the whole run: nothing of it is destroyed before the io_context has
/// stopped.
class client {
public:
  client(asio::io_context& context, run_state& run, uint32_t index)
      : socket_{context}, run_{run}, index_{index} {
    received_.reserve(64 * 1024);
  }

  void start() {
    if (run_.over || failures_ == most_failures) return;
    begun_ = clock::now();
    if (socket_.is_open()) return send(run_.request, [this] { read_head(); });
    error_code ec;
    socket_.open(tcp::v4(), ec);
    if (ec) return fail("open: " + ec.message());
    spread_source_addresses();
    socket_.set_option(tcp::no_delay{true}, ec);
    const tcp::endpoint target{asio::ip::make_address(run_.settings.address), run_.settings.port};
    socket_.async_connect(target, [this](error_code failed) {
      if (failed) return fail("connect: " + failed.message());
      send(run_.request, [this] { read_head(); });
    });
  }

private:
  /// Thousands of connections a second would run out of ports towards one target: each client has a
  /// loopback address.
  void spread_source_addresses() {
    const int late = 1;
    setsockopt(socket_.native_handle(), IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &late, sizeof late);
    error_code ignored;  // without it the run only has fewer ports
    socket_.bind({asio::ip::address_v4{INADDR_LOOPBACK + 1 + index_ % 200}, 0}, ignored);
  }

  template <class Next> void send(std::string_view bytes, Next next) {
    asio::async_write(socket_, asio::buffer(bytes), [this, next](error_code ec, std::size_t) {
      if (ec) return fail("write: " + ec.message());
      next();
    });
  }

  /// Reads more into `received_`, then calls `next(whether there was anything)`.
  template <class Next> void receive(Next next) {
    socket_.async_read_some(asio::buffer(chunk_), [this, next](error_code ec, std::size_t n) {
      if (ec && ec != asio::error::eof) return fail("read: " + ec.message());
      received_.append(chunk_.data(), n);
      if (run_.measuring) run_.result.bytes += n;
      next(!ec);
    });
  }

  void read_head() {
    const std::size_t end = received_.find("\r\n\r\n");
    if (end == std::string::npos) {
      if (received_.size() > 64 * 1024) return fail("the head of the answer is too large");
      return receive([this](bool more) { more ? read_head() : fail("closed before the answer"); });
    }
    const std::string_view head{received_.data(), end + 2};
    const std::string_view status = head.substr(0, std::min<std::size_t>(head.size(), 12));
    if (run_.settings.kind == load_kind::websocket) {
      if (status != "HTTP/1.1 101") return fail("answered " + std::string{status});
      received_.erase(0, end + 4);
      // "ping" as a masked text frame with mask 0 (RFC 6455, section 5.2), then the echo of it.
      return send(std::string_view{"\x81\x84\0\0\0\0ping", 10}, [this] { read_echo(); });
    }
    if (status != "HTTP/1.1 200") return fail("answered " + std::string{status});
    const auto length = field_of(head, "Content-Length");
    std::size_t size = 0;
    if (!length ||
        std::from_chars(length->data(), length->data() + length->size(), size).ec != std::errc{})
      return fail("an answer without Content-Length");
    const auto connection = field_of(head, "Connection");
    read_body(end + 4 + size, connection && equals_in_any_case(*connection, "close"));
  }

  void read_body(std::size_t total, bool closes) {
    if (received_.size() < total)
      return receive(
        [this, total, closes](bool more) { more ? read_body(total, closes) : fail("cut answer"); });
    received_.erase(0, total);
    if (run_.settings.kind == load_kind::churn || closes) close();
    done();
  }

  void read_echo() {
    if (received_.size() < 6)
      return receive([this](bool more) { more ? read_echo() : fail("closed before the echo"); });
    if (received_.substr(0, 6) != std::string_view{"\x81\x04ping"}) return fail("not the echo");
    received_.erase(0, 6);
    send(std::string_view{"\x88\x82\0\0\0\0\x03\xe8", 8}, [this] { read_close(); });
  }

  /// Until the server has closed, as RFC 6455, section 7.1.1 wants it.
  void read_close() {
    receive([this](bool more) {
      if (more) return read_close();
      close();
      done();
    });
  }

  void close() {
    error_code ignored;
    socket_.close(ignored);
    received_.clear();
  }

  void done() {
    failures_ = 0;
    ++run_.result.total;
    if (run_.measuring) {
      ++run_.result.completed;
      const auto passed =
        std::chrono::duration_cast<std::chrono::microseconds>(clock::now() - begun_);
      if (run_.latencies.size() < most_samples)
        run_.latencies.push_back(static_cast<uint32_t>(passed.count()));
    }
    start();
  }

  void fail(std::string what) {
    close();
    if (run_.over) return;
    ++failures_;
    ++run_.result.failed;
    if (run_.result.first_error.empty()) run_.result.first_error = std::move(what);
    asio::post(socket_.get_executor(), [this] { start(); });
  }

  tcp::socket socket_;
  run_state& run_;
  uint32_t index_;
  uint32_t failures_ = 0;
  clock::time_point begun_;
  std::array<char, 16 * 1024> chunk_;
  std::string received_;
};

std::string request_of(const load_settings& settings) {
  const std::string host =
    settings.host.empty() ? settings.address + ':' + std::to_string(settings.port) : settings.host;
  std::string request =
    "GET " + settings.path + " HTTP/1.1\r\nHost: " + host + "\r\nAccept: */*\r\n";
  if (settings.kind == load_kind::churn) request += "Connection: close\r\n";
  if (settings.kind == load_kind::websocket)
    request +=
      "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
      "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";
  return request + "\r\n";
}

uint32_t percentile(std::vector<uint32_t>& values, std::size_t percent) {
  if (values.empty()) return 0;
  const auto at = values.begin() + static_cast<std::ptrdiff_t>((values.size() - 1) * percent / 100);
  std::nth_element(values.begin(), at, values.end());
  return *at;
}

}  // namespace

load_result run_load(const load_settings& settings) {
  run_state run{settings, request_of(settings), {}, {}};
  asio::io_context context{1};
  std::vector<std::unique_ptr<client>> clients;
  for (uint32_t i = 0; i < settings.clients; ++i)
    clients.push_back(std::make_unique<client>(context, run, i));
  for (const auto& one : clients) one->start();

  context.run_for(settings.warm_up);
  run.measuring = true;
  const auto begun = clock::now();
  // When every client has given up nothing is left to run, and this ends early.
  context.run_for(settings.duration);
  run.over = true;
  run.result.seconds = std::chrono::duration<double>(clock::now() - begun).count();
  run.result.p50 = percentile(run.latencies, 50);
  run.result.p99 = percentile(run.latencies, 99);
  return run.result;
}

}  // namespace previewd::bench
