#pragma once

#include <openssl/bio.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/x509.h>
#include <openssl/x509v3.h>

#include <catch2/catch.hpp>
#include <memory>
#include <string>
#include <utility>

namespace previewd::test {

/// A certificate for `localhost` and 127.0.0.1 that vouches for itself, and its key (P-256), both
/// in PEM. Made anew each time; good for an hour.
struct certificate {
  std::string pem;
  std::string key_pem;

  explicit certificate(const std::string& common_name = "localhost") {
    const std::unique_ptr<EVP_PKEY, void (*)(EVP_PKEY*)> key{EVP_EC_gen("P-256"), EVP_PKEY_free};
    const std::unique_ptr<X509, void (*)(X509*)> made{X509_new(), X509_free};
    REQUIRE(key != nullptr);
    REQUIRE(made != nullptr);
    X509_set_version(made.get(), 2);
    ASN1_INTEGER_set(X509_get_serialNumber(made.get()), ++serial());
    X509_gmtime_adj(X509_getm_notBefore(made.get()), -60);
    X509_gmtime_adj(X509_getm_notAfter(made.get()), 3600);
    X509_set_pubkey(made.get(), key.get());
    X509_NAME* name = X509_get_subject_name(made.get());
    const auto* text = reinterpret_cast<const unsigned char*>(common_name.c_str());
    X509_NAME_add_entry_by_txt(name, "CN", MBSTRING_ASC, text, -1, -1, 0);
    X509_set_issuer_name(made.get(), name);
    for (const auto& [what, value] :
      {std::pair{NID_subject_alt_name, "DNS:localhost,DNS:*.preview.localhost,IP:127.0.0.1"},
        std::pair{NID_basic_constraints, "critical,CA:TRUE"}}) {
      X509_EXTENSION* extension = X509V3_EXT_conf_nid(nullptr, nullptr, what, value);
      REQUIRE(extension != nullptr);
      X509_add_ext(made.get(), extension, -1);
      X509_EXTENSION_free(extension);
    }
    REQUIRE(X509_sign(made.get(), key.get(), EVP_sha256()) > 0);
    pem = text_of([&](BIO* bio) { return PEM_write_bio_X509(bio, made.get()); });
    key_pem = text_of([&](BIO* bio) {
      return PEM_write_bio_PrivateKey(bio, key.get(), nullptr, nullptr, 0, nullptr, nullptr);
    });
  }

private:
  static long& serial() {
    static long last = 0;
    return last;
  }
  template <class Write> static std::string text_of(Write write) {
    const std::unique_ptr<BIO, int (*)(BIO*)> bio{BIO_new(BIO_s_mem()), BIO_free};
    REQUIRE(write(bio.get()) == 1);
    char* bytes = nullptr;
    const long size = BIO_ctrl(bio.get(), BIO_CTRL_INFO, 0, &bytes);
    return std::string(bytes, static_cast<std::size_t>(size));
  }
};

}  // namespace previewd::test
