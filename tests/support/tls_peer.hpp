#pragma once

#include <openssl/err.h>
#include <openssl/ssl.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <catch2/catch.hpp>
#include <chrono>
#include <csignal>
#include <memory>
#include <string>
#include <string_view>
#include <utility>

#include "previewd/tests/support/certificates.hpp"
#include "previewd/tests/support/eventually.hpp"
#include "previewd/tests/support/raw_peer.hpp"

namespace previewd::test {

using tls_context = std::unique_ptr<SSL_CTX, void (*)(SSL_CTX*)>;

/// What a server shows.
inline tls_context serving(const certificate& shown) {
  tls_context made{SSL_CTX_new(TLS_server_method()), SSL_CTX_free};
  const auto read = [](const std::string& pem) {
    return std::unique_ptr<BIO, int (*)(BIO*)>{
      BIO_new_mem_buf(pem.data(), static_cast<int>(pem.size())), BIO_free};
  };
  const std::unique_ptr<X509, void (*)(X509*)> own{
    PEM_read_bio_X509(read(shown.pem).get(), nullptr, nullptr, nullptr), X509_free};
  const std::unique_ptr<EVP_PKEY, void (*)(EVP_PKEY*)> key{
    PEM_read_bio_PrivateKey(read(shown.key_pem).get(), nullptr, nullptr, nullptr), EVP_PKEY_free};
  REQUIRE(SSL_CTX_use_certificate(made.get(), own.get()) == 1);
  REQUIRE(SSL_CTX_use_PrivateKey(made.get(), key.get()) == 1);
  SSL_CTX_set_alpn_select_cb(
    made.get(),
    [](SSL*, const unsigned char** chosen, unsigned char* length, const unsigned char* offered,
      unsigned int size, void*) {
      // The first one, whatever it is: what was offered is for the test to see.
      if (size < 2) return SSL_TLSEXT_ERR_NOACK;
      *length = offered[0];
      *chosen = offered + 1;
      return SSL_TLSEXT_ERR_OK;
    },
    nullptr);
  return made;
}

/// What a client believes: this certificate alone.
inline tls_context believing(const certificate& known) {
  tls_context made{SSL_CTX_new(TLS_client_method()), SSL_CTX_free};
  const std::unique_ptr<BIO, int (*)(BIO*)> bio{
    BIO_new_mem_buf(known.pem.data(), static_cast<int>(known.pem.size())), BIO_free};
  X509* read = PEM_read_bio_X509(bio.get(), nullptr, nullptr, nullptr);
  REQUIRE(X509_STORE_add_cert(SSL_CTX_get_cert_store(made.get()), read) == 1);
  X509_free(read);
  SSL_CTX_set_verify(made.get(), SSL_VERIFY_PEER, nullptr);
  return made;
}

/// One end of a TLS connection, by OpenSSL itself. Every wait ends at the tests' deadline. For one
/// thread at a time.
class tls_peer {
public:
  tls_peer() = default;
  ~tls_peer() { close(); }
  tls_peer(tls_peer&& other) noexcept { *this = std::move(other); }
  tls_peer& operator=(tls_peer&& other) noexcept {
    if (this == &other) return *this;
    close();
    descriptor_ = std::exchange(other.descriptor_, -1);
    connection_ = std::move(other.connection_);
    read_ = std::move(other.read_);
    ended_ = other.ended_;
    said_so_ = other.said_so_;
    return *this;
  }

  /// Shakes hands as the server, on a connection that has been accepted. Not open: it failed.
  static tls_peer accept(raw_peer from, const tls_context& context) {
    tls_peer made{from.release(), context};
    if (made.open()) SSL_set_accept_state(made.connection_.get());
    if (made.open() && !made.repeat([&] { return SSL_do_handshake(made.connection_.get()); }))
      made.close();
    return made;
  }

  /// Shakes hands as the client, who asks for this name.
  static tls_peer
  connect(raw_peer from, const tls_context& context, std::string_view protocols = {}) {
    tls_peer made{from.release(), context};
    if (!made.open()) return made;
    SSL_set1_host(made.connection_.get(), "localhost");
    if (!protocols.empty())
      SSL_set_alpn_protos(made.connection_.get(),
        reinterpret_cast<const unsigned char*>(protocols.data()),
        static_cast<unsigned int>(protocols.size()));
    SSL_set_connect_state(made.connection_.get());
    if (!made.repeat([&] { return SSL_do_handshake(made.connection_.get()); })) made.close();
    return made;
  }

  bool open() const { return descriptor_ >= 0; }
  SSL* connection() const { return connection_.get(); }

  bool send(std::string_view bytes) {
    while (!bytes.empty() && open()) {
      std::size_t sent = 0;
      if (!repeat([&] { return SSL_write_ex(connection(), bytes.data(), bytes.size(), &sent); }))
        return false;
      bytes.remove_prefix(sent);
    }
    return open();
  }

  /// Everything up to and including `end`; what comes after it is kept. Less: the other side has
  /// ended, or the deadline has passed.
  std::string read_until(std::string_view end) {
    while (read_.find(end) == std::string::npos && receive()) {
    }
    const std::size_t at = read_.find(end);
    return take(at == std::string::npos ? read_.size() : at + end.size());
  }
  std::string read_head() { return read_until("\r\n\r\n"); }

  std::string read_exactly(std::size_t count) {
    while (read_.size() < count && receive()) {
    }
    return take(std::min(count, read_.size()));
  }

  std::string read_to_end() {
    while (receive()) {
    }
    return take(read_.size());
  }

  /// Whether the other side has ended by the deadline.
  bool wait_for_end() {
    while (receive()) {
    }
    return ended_;
  }
  /// And has said so before (close_notify).
  bool said_so() const { return said_so_; }

  /// Says that nothing more is sent.
  void end() {
    repeat([&] { return SSL_shutdown(connection()) >= 0 ? 1 : -1; });
    ::shutdown(descriptor_, SHUT_WR);
  }

  /// Ends without a word, as a process that is killed.
  void close() {
    connection_.reset();
    if (descriptor_ >= 0) ::close(std::exchange(descriptor_, -1));
  }

  /// Ends with a reset.
  void reset() {
    const linger now{1, 0};
    ::setsockopt(descriptor_, SOL_SOCKET, SO_LINGER, &now, sizeof now);
    close();
  }

private:
  struct freer {
    void operator()(SSL* connection) const { SSL_free(connection); }
  };

  tls_peer(int descriptor, const tls_context& context)
      : descriptor_{descriptor}, connection_{SSL_new(context.get())} {
    // OpenSSL writes with write(2), which raises it.
    ::signal(SIGPIPE, SIG_IGN);
    if (descriptor_ >= 0) SSL_set_fd(connection_.get(), descriptor_);
  }

  // Until it is done, or cannot be.
  template <class Call> bool repeat(Call call) {
    for (;;) {
      ERR_clear_error();
      const int result = call();
      if (result > 0) return true;
      const int error = SSL_get_error(connection(), result);
      said_so_ = said_so_ || (SSL_get_shutdown(connection()) & SSL_RECEIVED_SHUTDOWN) != 0;
      if (error != SSL_ERROR_WANT_READ && error != SSL_ERROR_WANT_WRITE) return false;
    }
  }

  bool receive() {
    if (ended_ || !open()) return false;
    pollfd p{descriptor_, POLLIN, 0};
    if (SSL_pending(connection()) == 0 &&
        ::poll(&p, 1, static_cast<int>(std::chrono::milliseconds{deadline}.count())) <= 0)
      return false;
    char bytes[16384];
    std::size_t count = 0;
    if (!repeat([&] { return SSL_read_ex(connection(), bytes, sizeof bytes, &count); })) {
      ended_ = true;
      return false;
    }
    read_.append(bytes, count);
    return true;
  }

  std::string take(std::size_t count) {
    std::string result = read_.substr(0, count);
    read_.erase(0, count);
    return result;
  }

  int descriptor_ = -1;
  std::unique_ptr<SSL, freer> connection_;
  std::string read_;
  bool ended_ = false;
  bool said_so_ = false;
};

}  // namespace previewd::test
