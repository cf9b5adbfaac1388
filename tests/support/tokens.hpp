#pragma once

#include <openssl/evp.h>
#include <openssl/pem.h>

#include <chrono>
#include <memory>
#include <nlohmann/json.hpp>
#include <stdexcept>
#include <string>
#include <utility>

#include "previewd/net/auth/encoding.hpp"

namespace previewd::test {

/// Seconds since 1970, as claims count, `from_now` from now.
inline int64_t numeric_date(std::chrono::seconds from_now) {
  return std::chrono::duration_cast<std::chrono::seconds>(
    (std::chrono::system_clock::now() + from_now).time_since_epoch())
    .count();
}

/// The claims of a good token.
inline nlohmann::json claims_of(const std::string& project, const std::string& user,
  const std::string& role, std::chrono::seconds lifetime = std::chrono::minutes{5}) {
  return {{"project", project}, {"user", user}, {"role", role}, {"exp", numeric_date(lifetime)}};
}

/// `header.claims` as it is signed (RFC 7515, section 5.1).
inline std::string to_sign(const nlohmann::json& header, const nlohmann::json& claims) {
  return net::auth::to_base64url(header.dump()) + "." + net::auth::to_base64url(claims.dump());
}

/// A token for a secret.
inline std::string hs256_token(const std::string& secret, const nlohmann::json& claims,
  nlohmann::json header = {{"alg", "HS256"}, {"typ", "JWT"}}) {
  const std::string text = to_sign(header, claims);
  return text + "." +
         net::auth::to_base64url(net::auth::view_of(net::auth::hmac_sha256(secret, text)));
}

/// A pair of keys that is made anew: Ed25519, or RSA of so many bits.
class key_pair {
public:
  static key_pair ed25519() { return key_pair{EVP_PKEY_Q_keygen(nullptr, nullptr, "ED25519")}; }
  static key_pair rsa(std::size_t bits) {
    return key_pair{EVP_PKEY_Q_keygen(nullptr, nullptr, "RSA", bits)};
  }
  static key_pair p256() { return key_pair{EVP_PKEY_Q_keygen(nullptr, nullptr, "EC", "P-256")}; }

  std::string public_pem() const {
    return written([this](BIO* to) { return PEM_write_bio_PUBKEY(to, key_.get()); });
  }
  std::string private_pem() const {
    return written([this](BIO* to) {
      return PEM_write_bio_PrivateKey(to, key_.get(), nullptr, nullptr, 0, nullptr, nullptr);
    });
  }

  /// A token for it: EdDSA, or RS256.
  std::string token(const nlohmann::json& claims, nlohmann::json header = {}) const {
    const bool rsa = EVP_PKEY_get_base_id(key_.get()) == EVP_PKEY_RSA;
    if (!header.contains("alg")) header["alg"] = rsa ? "RS256" : "EdDSA";
    const std::string text = to_sign(header, claims);
    const std::unique_ptr<EVP_MD_CTX, void (*)(EVP_MD_CTX*)> context{
      EVP_MD_CTX_new(), EVP_MD_CTX_free};
    std::string signature(1024, '\0');
    std::size_t size = signature.size();
    const auto bytes = reinterpret_cast<const unsigned char*>(text.data());
    if (EVP_DigestSignInit(
          context.get(), nullptr, rsa ? EVP_sha256() : nullptr, nullptr, key_.get()) != 1 ||
        EVP_DigestSign(context.get(), reinterpret_cast<unsigned char*>(signature.data()), &size,
          bytes, text.size()) != 1)
      throw std::runtime_error{"cannot sign"};
    signature.resize(size);
    return text + "." + net::auth::to_base64url(signature);
  }

private:
  explicit key_pair(EVP_PKEY* key) : key_{key, EVP_PKEY_free} {
    if (key == nullptr) throw std::runtime_error{"cannot make a key"};
  }
  template <class Write> static std::string written(Write write) {
    const std::unique_ptr<BIO, int (*)(BIO*)> memory{BIO_new(BIO_s_mem()), BIO_free};
    write(memory.get());
    char* data = nullptr;
    const auto size = BIO_get_mem_data(memory.get(), &data);
    return {data, static_cast<std::size_t>(size)};
  }

  std::unique_ptr<EVP_PKEY, void (*)(EVP_PKEY*)> key_;
};

}  // namespace previewd::test
