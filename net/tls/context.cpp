#include "previewd/net/tls/context.hpp"

#include <openssl/bio.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <openssl/x509.h>

#include <array>
#include <utility>

#include "previewd/os/key_file.hpp"

namespace previewd::net::tls {

namespace {

// RFC 7301, section 3.1: each name behind its length.
constexpr std::array<unsigned char, 9> http_1_1{8, 'h', 't', 't', 'p', '/', '1', '.', '1'};

using context_pointer = std::unique_ptr<SSL_CTX, context_freer>;

struct bio_freer {
  void operator()(BIO* bio) const noexcept { BIO_free(bio); }
};
struct certificate_freer {
  void operator()(X509* certificate) const noexcept { X509_free(certificate); }
};
struct key_freer {
  void operator()(EVP_PKEY* key) const noexcept { EVP_PKEY_free(key); }
};
using memory_bio = std::unique_ptr<BIO, bio_freer>;
using certificate_pointer = std::unique_ptr<X509, certificate_freer>;
using key_pointer = std::unique_ptr<EVP_PKEY, key_freer>;

context_pointer new_context(const SSL_METHOD* method) {
  context_pointer made{SSL_CTX_new(method)};
  if (made == nullptr) return made;
  SSL_CTX_set_min_proto_version(made.get(), TLS1_2_VERSION);
  // Many peers end without a word, and what they said says by itself whether it is complete.
  SSL_CTX_set_options(
    made.get(), SSL_OP_NO_COMPRESSION | SSL_OP_NO_RENEGOTIATION | SSL_OP_IGNORE_UNEXPECTED_EOF);
  // What is kept while a write waits may have moved; an idle connection keeps no buffer.
  SSL_CTX_set_mode(made.get(),
    SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER | SSL_MODE_RELEASE_BUFFERS);
  return made;
}

int choose_protocol(SSL*, const unsigned char** chosen, unsigned char* length,
  const unsigned char* offered, unsigned int size, void*) {
  unsigned char* found = nullptr;
  if (SSL_select_next_proto(&found, length, http_1_1.data(), http_1_1.size(), offered, size) !=
      OPENSSL_NPN_NEGOTIATED)
    return SSL_TLSEXT_ERR_ALERT_FATAL;
  *chosen = found;
  return SSL_TLSEXT_ERR_OK;
}

// Nobody is there to be asked.
int no_passphrase(char*, int, int, void* asked) {
  *static_cast<bool*>(asked) = true;
  return -1;
}

// Empty: taken.
std::string take_certificates(SSL_CTX* context, const std::string& pem) {
  const memory_bio text{BIO_new_mem_buf(pem.data(), static_cast<int>(pem.size()))};
  const certificate_pointer own{
    text ? PEM_read_bio_X509_AUX(text.get(), nullptr, nullptr, nullptr) : nullptr};
  if (own == nullptr) return "has no certificate in PEM";
  ERR_clear_error();
  if (SSL_CTX_use_certificate(context, own.get()) != 1)
    return "has a certificate that OpenSSL does not take";
  SSL_CTX_clear_chain_certs(context);
  for (;;) {
    certificate_pointer next{PEM_read_bio_X509(text.get(), nullptr, nullptr, nullptr)};
    if (next == nullptr) break;
    if (SSL_CTX_add0_chain_cert(context, next.get()) != 1)
      return "has a certificate that OpenSSL does not take";
    next.release();
  }
  const unsigned long error = ERR_peek_last_error();
  ERR_clear_error();
  return ERR_GET_REASON(error) == PEM_R_NO_START_LINE
           ? std::string{}
           : std::string{"has something that is not a certificate in PEM"};
}

std::string take_key(SSL_CTX* context, const std::string& pem) {
  const memory_bio text{BIO_new_mem_buf(pem.data(), static_cast<int>(pem.size()))};
  bool asked = false;
  const key_pointer key{
    text ? PEM_read_bio_PrivateKey(text.get(), nullptr, no_passphrase, &asked) : nullptr};
  ERR_clear_error();
  if (key == nullptr)
    return asked ? "is protected by a passphrase; previewd needs it without one"
                 : "has no private key in PEM";
  const bool fits =
    SSL_CTX_use_PrivateKey(context, key.get()) == 1 && SSL_CTX_check_private_key(context) == 1;
  ERR_clear_error();
  return fits ? std::string{} : std::string{"is not the key of the certificate"};
}

}  // namespace

void context_freer::operator()(ssl_ctx_st* context) const noexcept {
  SSL_CTX_free(context);
}

void session_freer::operator()(ssl_session_st* session) const noexcept {
  SSL_SESSION_free(session);
}

ssl_ctx_st* client_context::get() {
  if (context_ != nullptr) return context_.get();
  context_ = new_context(TLS_client_method());
  if (context_ == nullptr) return nullptr;
  SSL_CTX_set_verify(context_.get(), SSL_VERIFY_NONE, nullptr);
  SSL_CTX_set_alpn_protos(context_.get(), http_1_1.data(), http_1_1.size());
  SSL_CTX_set_session_cache_mode(
    context_.get(), SSL_SESS_CACHE_CLIENT | SSL_SESS_CACHE_NO_INTERNAL);
  SSL_CTX_sess_set_new_cb(context_.get(), keep_session);
  return context_.get();
}

int client_context::keep_session(ssl_st* connection, ssl_session_st* session) noexcept {
  auto* slot = static_cast<session_slot*>(SSL_get_app_data(connection));
  if (slot == nullptr) return 0;
  slot->kept_.reset(session);
  return 1;  // it is ours now
}

std::variant<std::shared_ptr<const server_context>, std::string>
load_certificate(const certificate_files& files) {
  context_pointer made = new_context(TLS_server_method());
  if (made == nullptr) return std::string{"OpenSSL has no context for TLS to give"};
  SSL_CTX_set_alpn_select_cb(made.get(), choose_protocol, nullptr);
  // Sessions are with the clients, in tickets.
  SSL_CTX_set_session_cache_mode(made.get(), SSL_SESS_CACHE_OFF);

  const auto take = [&](const std::string& path, os::secrecy how, auto into) {
    const auto read = os::read_key_file(path, how, most_file_bytes);
    const auto* why = std::get_if<std::string>(&read);
    return why != nullptr ? *why : into(made.get(), std::get<0>(read).text());
  };
  if (auto why = take(files.certificate, os::secrecy::open, take_certificates); !why.empty())
    return "the certificate file " + files.certificate + ' ' + why;
  if (auto why = take(files.key, os::secrecy::secret, take_key); !why.empty())
    return "the key file " + files.key + ' ' + why;
  return std::make_shared<const server_context>(std::move(made));
}

}  // namespace previewd::net::tls
