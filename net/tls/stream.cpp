#include "previewd/net/tls/stream.hpp"

#include <openssl/err.h>
#include <openssl/ssl.h>

#include <array>
#include <cerrno>

#include "previewd/os/result.hpp"

namespace previewd::net::tls {

void connection_freer::operator()(ssl_st* connection) const noexcept {
  SSL_free(connection);
}

stream::stream(client_context& how, int socket, session_slot* resumed)
    : connection_{SSL_new(how.get())} {
  if (connection_ == nullptr || SSL_set_fd(connection_.get(), socket) != 1) {
    connection_.reset();
    return;
  }
  std::array<char, 10> name{"localhost"};
  SSL_ctrl(connection_.get(), SSL_CTRL_SET_TLSEXT_HOSTNAME, TLSEXT_NAMETYPE_host_name, name.data());
  SSL_set_app_data(connection_.get(), resumed);
  if (resumed != nullptr && resumed->kept_ != nullptr)
    SSL_set_session(connection_.get(), resumed->kept_.get());
  SSL_set_connect_state(connection_.get());
}

stream::stream(const server_context& how, int socket) : connection_{SSL_new(how.context_.get())} {
  if (connection_ == nullptr || SSL_set_fd(connection_.get(), socket) != 1) {
    connection_.reset();
    return;
  }
  SSL_set_accept_state(connection_.get());
}

progress stream::judge(int result) {
  const int at_fault = errno;
  switch (SSL_get_error(connection_.get(), result)) {
    case SSL_ERROR_NONE:
      return progress::done;
    case SSL_ERROR_WANT_READ:
      return progress::wants_read;
    case SSL_ERROR_WANT_WRITE:
      return progress::wants_write;
    case SSL_ERROR_ZERO_RETURN:
      return progress::ended;
    case SSL_ERROR_SYSCALL:
      if (at_fault == 0) return progress::ended;
      error_ = os::system_error(at_fault);
      return progress::failed;
    default:
      break;
  }
  const int reason = ERR_GET_REASON(ERR_peek_error());
  ERR_clear_error();
  if (reason == SSL_R_UNEXPECTED_EOF_WHILE_READING) return progress::ended;
  met_plain_http_ = reason == SSL_R_HTTP_REQUEST;
  error_ = os::system_error(EPROTO);
  return progress::failed;
}

progress stream::handshake() {
  if (connection_ == nullptr) {
    error_ = os::system_error(ENOMEM);
    return progress::failed;
  }
  ERR_clear_error();
  errno = 0;
  const progress how = judge(SSL_do_handshake(connection_.get()));
  established_ = how == progress::done;
  return how;
}

progress stream::read(void* bytes, std::size_t size, std::size_t& count) {
  count = 0;
  ERR_clear_error();
  errno = 0;
  return judge(SSL_read_ex(connection_.get(), bytes, size, &count));
}

progress stream::write(const void* bytes, std::size_t size, std::size_t& count) {
  count = 0;
  ERR_clear_error();
  errno = 0;
  return judge(SSL_write_ex(connection_.get(), bytes, size, &count));
}

progress stream::end() {
  if (!established_) return progress::done;
  ERR_clear_error();
  errno = 0;
  const int result = SSL_shutdown(connection_.get());
  return result >= 0 ? progress::done : judge(result);
}

}  // namespace previewd::net::tls
