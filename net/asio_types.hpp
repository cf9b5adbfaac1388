#pragma once

#include <boost/asio/basic_stream_socket.hpp>
#include <boost/asio/basic_waitable_timer.hpp>
#include <boost/asio/generic/stream_protocol.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/posix/basic_stream_descriptor.hpp>
#include <chrono>

/// Asio's objects for nothing but an io_context: without the executor of any kind that they have by
/// default, which takes 40 bytes of each and a virtual call of each operation.
namespace previewd::net {

namespace asio = boost::asio;

using io_executor = asio::io_context::executor_type;
using steady_timer = asio::basic_waitable_timer<std::chrono::steady_clock,
  asio::wait_traits<std::chrono::steady_clock>, io_executor>;
using stream_socket = asio::basic_stream_socket<asio::generic::stream_protocol, io_executor>;
using stream_descriptor = asio::posix::basic_stream_descriptor<io_executor>;

}  // namespace previewd::net
