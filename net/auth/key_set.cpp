#include "previewd/net/auth/key_set.hpp"

#include <openssl/bio.h>
#include <openssl/crypto.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/pem.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <optional>
#include <utility>

#include "previewd/net/auth/encoding.hpp"
#include "previewd/os/key_file.hpp"

namespace previewd::net::auth {

namespace {

template <auto Free> struct freed_by {
  template <class Object> void operator()(Object* what) const noexcept { Free(what); }
};
using pkey = std::unique_ptr<EVP_PKEY, freed_by<EVP_PKEY_free>>;
using pkey_context = std::unique_ptr<EVP_MD_CTX, freed_by<EVP_MD_CTX_free>>;
using memory_bio = std::unique_ptr<BIO, freed_by<BIO_free>>;

/// What names a key among those of all times: not to be found without it.
uint64_t fingerprint_of(std::string_view material) {
  const digest value = sha256("previewd key " + std::string{material});
  uint64_t result = 0;
  std::memcpy(&result, value.data(), sizeof result);
  return result == 0 ? 1 : result;
}

/// Whether `key` made the signature (EVP_DigestVerify(3)). Leaves no error behind.
bool verifies(
  EVP_PKEY* key, const EVP_MD* hash, std::string_view signed_text, std::string_view signature) {
  const auto bytes = [](std::string_view text) {
    return reinterpret_cast<const unsigned char*>(text.data());
  };
  const pkey_context context{EVP_MD_CTX_new()};
  const bool good = context != nullptr &&
                    EVP_DigestVerifyInit(context.get(), nullptr, hash, nullptr, key) == 1 &&
                    EVP_DigestVerify(context.get(), bytes(signature), signature.size(),
                      bytes(signed_text), signed_text.size()) == 1;
  ERR_clear_error();
  return good;
}

std::string name_of(const std::string& path) {
  std::string name = path.substr(path.rfind('/') + 1);
  const std::size_t dot = name.rfind('.');
  if (dot != std::string::npos && dot > 0) name.resize(dot);
  return name;
}

}  // namespace

std::string_view to_string(algorithm value) noexcept {
  switch (value) {
    case algorithm::hs256:
      return "HS256";
    case algorithm::rs256:
      return "RS256";
    case algorithm::eddsa:
      return "EdDSA";
  }
  return {};
}

struct key_set::entry {
  std::string name;
  algorithm how = algorithm::hs256;
  std::string secret;  // of HS256
  pkey key;            // of the others
  uint64_t fingerprint = 0;

  entry() = default;
  ~entry() { OPENSSL_cleanse(secret.data(), secret.size()); }
  entry(const entry&) = delete;
  entry& operator=(const entry&) = delete;

  bool may_have_signed(algorithm with, const std::string* by) const noexcept {
    return how == with && (by == nullptr || *by == name);
  }
};

key_set::key_set() = default;
key_set::~key_set() = default;

std::string key_set::add(std::unique_ptr<entry> made) {
  if (keys_.size() == most_keys) return "is one key too many; there may be 16";
  for (const auto& other : keys_)
    if (other->fingerprint == made->fingerprint && other->name == made->name)
      return "has a key that is there already";
  keys_.push_back(std::move(made));
  return {};
}

std::string key_set::add_secret(std::string name, std::string_view secret) {
  if (secret.size() < least_secret_bytes)
    return "is shorter than the 32 bytes that HS256 needs (RFC 7518, section 3.2)";
  auto made = std::make_unique<entry>();
  made->name = std::move(name);
  made->how = algorithm::hs256;
  made->secret = secret;
  made->fingerprint = fingerprint_of(secret);
  return add(std::move(made));
}

std::string key_set::add_public_keys(const std::string& name, std::string_view pem) {
  if (pem.find("PRIVATE KEY-----") != std::string_view::npos)
    return "has a private key; previewd needs the public one alone";
  const memory_bio text{BIO_new_mem_buf(pem.data(), static_cast<int>(pem.size()))};
  std::vector<std::unique_ptr<entry>> read;
  while (text != nullptr) {
    char* label = nullptr;
    char* fields = nullptr;
    unsigned char* bytes = nullptr;
    long size = 0;
    if (PEM_read_bio(text.get(), &label, &fields, &bytes, &size) != 1) {
      const unsigned long error = ERR_peek_last_error();
      ERR_clear_error();
      if (ERR_GET_REASON(error) == PEM_R_NO_START_LINE) break;
      return "has something that is not a public key in PEM";
    }
    const unsigned char* next = bytes;
    pkey key{
      std::string_view{label} == PEM_STRING_PUBLIC ? d2i_PUBKEY(nullptr, &next, size) : nullptr};
    const std::string_view encoded{
      reinterpret_cast<const char*>(bytes), static_cast<std::size_t>(size)};
    auto made = std::make_unique<entry>();
    // The algorithm is part of what is encoded.
    made->fingerprint = fingerprint_of(encoded);
    OPENSSL_free(label);
    OPENSSL_free(fields);
    OPENSSL_free(bytes);
    ERR_clear_error();
    if (key == nullptr) return "has something that is not a public key in PEM";
    made->name = name;
    if (EVP_PKEY_get_base_id(key.get()) == EVP_PKEY_ED25519) {
      made->how = algorithm::eddsa;
    } else if (EVP_PKEY_get_base_id(key.get()) == EVP_PKEY_RSA) {
      made->how = algorithm::rs256;
      if (EVP_PKEY_get_bits(key.get()) < least_rsa_bits)
        return "has an RSA key of less than 2048 bits (RFC 7518, section 3.3)";
    } else {
      return "has a key that is neither Ed25519 nor RSA";
    }
    made->key = std::move(key);
    read.push_back(std::move(made));
    if (read.size() > most_keys) return "has more than 16 keys";
  }
  if (read.empty()) return "has no public key in PEM";
  const std::size_t before = keys_.size();
  for (auto& each : read) {
    if (std::string why = add(std::move(each)); !why.empty()) {
      keys_.resize(before);
      return why;
    }
  }
  return {};
}

uint64_t key_set::signer(algorithm how, const std::string* name, std::string_view signed_text,
  std::string_view signature) const {
  for (const auto& each : keys_) {
    if (!each->may_have_signed(how, name)) continue;
    const bool good =
      how == algorithm::hs256
        ? equal_in_constant_time(view_of(hmac_sha256(each->secret, signed_text)), signature)
        : verifies(each->key.get(), how == algorithm::rs256 ? EVP_sha256() : nullptr, signed_text,
            signature);
    if (good) return each->fingerprint;
  }
  return 0;
}

bool key_set::knows(algorithm how, const std::string* name) const noexcept {
  return std::any_of(
    keys_.begin(), keys_.end(), [&](const auto& each) { return each->may_have_signed(how, name); });
}

bool key_set::vouches(uint64_t key) const noexcept {
  return std::any_of(
    keys_.begin(), keys_.end(), [key](const auto& each) { return each->fingerprint == key; });
}

std::variant<std::shared_ptr<const key_set>, std::string> load_keys(const key_files& files) {
  const auto keys = std::make_shared<key_set>();
  for (const auto& [paths, how] : {std::pair{&files.secrets, os::secrecy::secret},
         std::pair{&files.public_keys, os::secrecy::open}}) {
    for (const std::string& path : *paths) {
      const auto read = os::read_key_file(path, how, most_key_bytes);
      if (const auto* why = std::get_if<std::string>(&read))
        return "the key file " + path + " " + *why;
      std::string_view text = std::get<0>(read).text();
      std::string why;
      if (how == os::secrecy::secret) {
        while (!text.empty() && (text.back() == '\n' || text.back() == '\r')) text.remove_suffix(1);
        why = keys->add_secret(name_of(path), text);
      } else {
        why = keys->add_public_keys(name_of(path), text);
      }
      if (!why.empty()) return "the key file " + path + " " + why;
    }
  }
  if (keys->size() == 0) return std::string{"there is no key file"};
  return std::shared_ptr<const key_set>{keys};
}

}  // namespace previewd::net::auth
