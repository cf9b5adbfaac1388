#include "upstream.hpp"

#include <array>
#include <boost/asio/buffer.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/signal_set.hpp>
#include <boost/asio/write.hpp>
#include <csignal>
#include <iostream>
#include <memory>
#include <string_view>
#include <utility>

namespace previewd::bench {

namespace {

namespace asio = boost::asio;
using asio::ip::tcp;
using boost::system::error_code;

/// The page, for a connection that goes on and for one that ends (RFC 9112, section 9.6).
struct answers {
  std::string kept;
  std::string last;
};

/// One connection; ends itself with its last handler. The clients are ours: requests have no body,
/// frames are short.
class session : public std::enable_shared_from_this<session> {
public:
  session(tcp::socket socket, const answers& page) : socket_{std::move(socket)}, page_{page} {
    error_code ignored;
    socket_.set_option(tcp::no_delay{true}, ignored);
  }

  void read() {
    socket_.async_read_some(
      asio::buffer(chunk_), [self = shared_from_this()](error_code ec, std::size_t n) {
        if (ec) return;
        self->received_.append(self->chunk_.data(), n);
        if (self->received_.size() <= 64 * 1024) self->understand();
      });
  }

private:
  void understand() { upgraded_ ? understand_frame() : understand_request(); }

  void understand_request() {
    const std::size_t end = received_.find("\r\n\r\n");
    if (end == std::string::npos) return read();
    const std::string_view head{received_.data(), end + 2};
    const bool closes = head.find("onnection: close\r\n") != std::string_view::npos;
    // http-proxy sends names as they came, previewd may not: the value is what both keep.
    upgraded_ = head.find(": websocket\r\n") != std::string_view::npos;
    received_.erase(0, end + 4);
    // The answer to the one key that the load generator sends (RFC 6455, section 1.3).
    static constexpr std::string_view switching =
      "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
      "Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n";
    if (upgraded_) return write(switching, false);
    write(closes ? page_.last : page_.kept, closes);
  }

  void understand_frame() {
    if (received_.size() < 2) return read();
    const auto length = static_cast<std::size_t>(received_[1] & 0x7f);
    if (length > 125) return;
    if (received_.size() < 6 + length) return read();
    const bool close = (received_[0] & 0x0f) == 8;
    frame_ = {received_[0], static_cast<char>(length)};
    for (std::size_t i = 0; i < length; ++i)
      frame_ += static_cast<char>(received_[6 + i] ^ received_[2 + i % 4]);
    received_.erase(0, 6 + length);
    write(frame_, close);
  }

  void write(std::string_view bytes, bool last) {
    asio::async_write(
      socket_, asio::buffer(bytes), [self = shared_from_this(), last](error_code ec, std::size_t) {
        if (ec || last) return;
        self->received_.empty() ? self->read() : self->understand();
      });
  }

  tcp::socket socket_;
  const answers& page_;
  bool upgraded_ = false;
  std::array<char, 8 * 1024> chunk_;
  std::string received_;
  std::string frame_;
};

void accept(tcp::acceptor& acceptor, const answers& page) {
  acceptor.async_accept([&acceptor, &page](error_code ec, tcp::socket socket) {
    if (ec == asio::error::operation_aborted) return;
    if (!ec) std::make_shared<session>(std::move(socket), page)->read();
    accept(acceptor, page);
  });
}

}  // namespace

int run_upstream(const upstream_settings& settings) {
  std::string body = "<!doctype html><title>bench</title><p>";
  body.resize(settings.body_bytes, 'x');
  const std::string fields =
    "HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: " + std::to_string(body.size()) +
    "\r\n";
  const answers page{fields + "\r\n" + body, fields + "Connection: close\r\n\r\n" + body};

  asio::io_context context{1};
  tcp::acceptor acceptor{context};
  const tcp::endpoint where{asio::ip::address_v4::loopback(), settings.port};
  error_code ec;
  acceptor.open(where.protocol(), ec);
  acceptor.set_option(tcp::acceptor::reuse_address{true}, ec);
  if (!ec) acceptor.bind(where, ec);
  if (!ec) acceptor.listen(1024, ec);
  if (ec) {
    std::cerr << "cannot listen on port " << settings.port << ": " << ec.message() << '\n';
    return 1;
  }
  asio::signal_set signals{context, SIGTERM, SIGINT, SIGHUP};
  signals.async_wait([&](error_code, int) { context.stop(); });
  accept(acceptor, page);
  std::cout << "  Local: http://127.0.0.1:" << acceptor.local_endpoint().port() << "/" << std::endl;
  context.run();
  return 0;
}

}  // namespace previewd::bench
