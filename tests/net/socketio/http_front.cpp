#include "previewd/tests/net/socketio/http_front.hpp"

#include <boost/asio/write.hpp>
#include <boost/beast/core/flat_buffer.hpp>
#include <boost/beast/http/parser.hpp>
#include <boost/beast/http/read.hpp>
#include <boost/beast/http/string_body.hpp>
#include <optional>
#include <sstream>

namespace previewd::test {

using net::io_thread;
using net::http::client_socket;
using net::http::exchange;
using net::http::exchange_ptr;
using net::http::released_connection;
using net::http::request_head;
using net::http::response;
namespace asio = net::asio;
namespace beast_http = boost::beast::http;
using boost::system::error_code;

struct http_front::shared {
  std::vector<io_thread*> threads;
  std::vector<net::http::service_handler> handlers;
};

/// Kept by its handlers and by the exchange that it waits for.
struct http_front::connection : exchange, std::enable_shared_from_this<connection> {
  using parser_type = beast_http::request_parser<beast_http::string_body>;

  connection(std::shared_ptr<shared> s, io_thread& t, client_socket c)
      : common{std::move(s)}, home{t}, socket{std::move(c)} {}

  std::shared_ptr<shared> common;
  io_thread& home;
  client_socket socket;
  boost::beast::flat_buffer buffer;
  std::unique_ptr<parser_type> parser;
  request_head parsed;
  std::string address = "127.0.0.1";
  std::function<void()> gone_handler;
  bool answered = false;
  bool is_gone = false;
  std::string out;

  void read() {
    parser = std::make_unique<parser_type>();
    parser->body_limit(16 * 1024 * 1024);
    parser->header_limit(64 * 1024);
    beast_http::async_read(
      socket, buffer, *parser, [self = shared_from_this()](error_code error, std::size_t) {
        if (error) return;  // the last pointer closes the socket
        self->dispatch();
      });
  }

  void dispatch() {
    const auto& message = parser->get();
    const auto view = [](auto text) { return std::string_view{text.data(), text.size()}; };
    parsed = {};
    parsed.method = view(message.method_string());
    parsed.target = view(message.target());
    const std::size_t mark = std::min(parsed.target.find('?'), parsed.target.size());
    parsed.path = parsed.target.substr(0, mark);
    parsed.query = parsed.target.substr(std::min(mark + 1, parsed.target.size()));
    parsed.version = message.version();
    for (const auto& field : message)
      parsed.fields.push_back({view(field.name_string()), view(field.value())});
    parsed.keep_alive = message.keep_alive();
    const auto upgrade = message[beast_http::field::upgrade];
    parsed.websocket_upgrade = boost::beast::iequals(upgrade, "websocket");
    answered = false;
    watch();
    // An exchange of its own would do; the connection serves one at a time, so it is the exchange.
    common->handlers[home.index()](shared_from_this());
  }

  void watch() {
    socket.async_wait(client_socket::wait_read, [weak = weak_from_this()](error_code error) {
      const auto self = weak.lock();
      if (error || !self || self->answered) return;
      error_code ignored;
      if (self->socket.available(ignored) != 0) return;  // the next request
      self->is_gone = true;
      self->answered = true;
      if (auto handler = std::exchange(self->gone_handler, nullptr)) handler();
    });
  }

  const request_head& head() const override { return parsed; }
  io_thread& thread() const override { return home; }
  const std::string& client_address() const override { return address; }
  std::string_view scheme() const override { return "http"; }

  void read_body(std::size_t limit, std::function<void(std::string)> done) override {
    if (is_gone) return;
    if (parser->get().body().size() > limit) {
      response answer;
      answer.status = 413;
      respond(std::move(answer));
      return;
    }
    done(std::move(parser->get().body()));
  }

  void respond(response answer) override {
    if (answered) return;
    answered = true;
    gone_handler = nullptr;
    const std::string& body = answer.shared_body ? *answer.shared_body : answer.body;
    std::ostringstream head;
    head << "HTTP/1.1 " << answer.status << " Answer\r\nContent-Length: " << body.size() << "\r\n";
    if (!answer.content_type.empty()) head << "Content-Type: " << answer.content_type << "\r\n";
    for (const auto& [name, value] : answer.fields) head << name << ": " << value << "\r\n";
    const bool keep = parsed.keep_alive && !answer.close && !parsed.websocket_upgrade;
    head << "Connection: " << (keep ? "keep-alive" : "close") << "\r\n\r\n";
    out = head.str() + body;
    error_code ignored;
    socket.cancel(ignored);
    asio::async_write(
      socket, asio::buffer(out), [self = shared_from_this(), keep](error_code error, std::size_t) {
        if (error) return;
        if (keep) return self->read();
        error_code closing;
        self->socket.shutdown(client_socket::shutdown_send, closing);
      });
  }

  void start_stream(response) override {}
  bool write(std::shared_ptr<const std::string>, std::size_t) override { return false; }
  void finish() override {}
  void on_gone(std::function<void()> handler) override { gone_handler = std::move(handler); }
  bool gone() const override { return is_gone; }

  std::optional<released_connection> release() override {
    if (answered) return std::nullopt;
    answered = true;
    error_code ignored;
    socket.cancel(ignored);
    std::ostringstream head;
    head << parsed.method << ' ' << parsed.target << " HTTP/1.1\r\n";
    for (const net::http::field& field : parsed.fields)
      head << field.name << ": " << field.value << "\r\n";
    head << "\r\n";
    std::string unread{static_cast<const char*>(buffer.cdata().data()), buffer.size()};
    return released_connection{std::move(socket), head.str(), std::move(unread), {}};
  }

  void move_to(io_thread& other) override {
    if (answered) return;
    answered = true;
    gone_handler = nullptr;
    error_code ignored;
    socket.cancel(ignored);
    const auto protocol = asio::generic::stream_protocol{asio::ip::tcp::v4()};
    const int descriptor = socket.release(ignored);
    auto moved = std::make_shared<connection>(
      common, other, client_socket{other.context(), protocol, descriptor});
    moved->buffer = std::move(buffer);
    moved->parser = std::move(parser);
    other.post([moved] { moved->dispatch(); });
  }
};

http_front::http_front(
  std::vector<io_thread*> threads, std::vector<net::http::service_handler> handlers)
    : shared_{std::make_shared<shared>()}, acceptor_{threads.front()->context()} {
  shared_->threads = std::move(threads);
  shared_->handlers = std::move(handlers);
}

http_front::~http_front() = default;

uint16_t http_front::listen(uint16_t port) {
  const asio::ip::tcp::endpoint where{asio::ip::address_v4::loopback(), port};
  error_code error;
  acceptor_.open(where.protocol(), error);
  if (!error) acceptor_.set_option(asio::socket_base::reuse_address{true}, error);
  if (!error) acceptor_.bind(where, error);
  if (!error) acceptor_.listen(asio::socket_base::max_listen_connections, error);
  if (error) return 0;
  const uint16_t bound = acceptor_.local_endpoint().port();
  accept();
  return bound;
}

void http_front::accept() {
  io_thread& thread = *shared_->threads[next_++ % shared_->threads.size()];
  acceptor_.async_accept(thread.context(), [this, &thread](
                                             error_code error, asio::ip::tcp::socket socket) {
    if (error) return;
    socket.set_option(asio::ip::tcp::no_delay{true}, error);
    auto accepted = std::make_shared<connection>(shared_, thread, client_socket{std::move(socket)});
    thread.post([accepted] { accepted->read(); });
    accept();
  });
}

}  // namespace previewd::test
