#pragma once

#include <memory>
#include <string>
#include <variant>

// OpenSSL's names, so that nobody who includes this has to include OpenSSL.
struct ssl_ctx_st;
struct ssl_st;
struct ssl_session_st;

namespace previewd::net::tls {

/// The largest file with certificates or a key.
constexpr std::size_t most_file_bytes = 256 * 1024;

struct context_freer {
  void operator()(ssl_ctx_st* context) const noexcept;
};
struct session_freer {
  void operator()(ssl_session_st* session) const noexcept;
};

/// What is kept of a server's last connection, so that the next one costs it no signature (RFC
/// 8446, section 2.2). For the connections of one I/O thread; outlives them.
class session_slot {
public:
  session_slot() = default;
  session_slot(const session_slot&) = delete;
  session_slot& operator=(const session_slot&) = delete;

private:
  friend class client_context;
  friend class stream;
  std::unique_ptr<ssl_session_st, session_freer> kept_;
};

/// How dev servers on this machine are spoken to: TLS 1.2 or newer, ALPN `http/1.1` (RFC 7301), SNI
/// `localhost`, and no question who vouches for the certificate. Such servers sign theirs
/// themselves, and nobody else can be met: the kernel has said whose socket was connected to, and
/// the bytes never leave the machine. For one I/O thread.
class client_context {
public:
  client_context() = default;

private:
  friend class stream;
  // Made when it is needed first. Null: OpenSSL has none to give, and every handshake fails.
  ssl_ctx_st* get();
  static int keep_session(ssl_st* connection, ssl_session_st* session) noexcept;
  std::unique_ptr<ssl_ctx_st, context_freer> context_;
};

/// A certificate and its key, as files name them.
struct certificate_files {
  std::string certificate;  // PEM: the server's own first, then those that vouch for it
  std::string key;          // PEM, without a passphrase
};

/// How clients are spoken to: TLS 1.2 or newer with OpenSSL's own choice of ciphers, ALPN
/// `http/1.1`. Does not change once made: any thread.
class server_context {
public:
  explicit server_context(std::unique_ptr<ssl_ctx_st, context_freer> context) noexcept
      : context_{std::move(context)} {}

private:
  friend class stream;
  std::unique_ptr<ssl_ctx_st, context_freer> context_;
};

/// Reads them. A sentence: which file is wrong, and why; its content is never in it. Blocks: not on
/// an I/O thread.
std::variant<std::shared_ptr<const server_context>, std::string>
load_certificate(const certificate_files& files);

}  // namespace previewd::net::tls
