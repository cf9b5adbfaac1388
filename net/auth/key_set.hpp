#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

namespace previewd::net::auth {

/// The algorithms of signatures that are taken (RFC 7518, section 3.1; RFC 8037, section 3.1). A
/// key is for one of them alone, whatever a token says.
enum class algorithm : uint8_t { hs256, rs256, eddsa };
/// As it stands in a token: `HS256`, `RS256`, `EdDSA`.
std::string_view to_string(algorithm value) noexcept;

/// Most keys of a set: so many signatures are tried for a token that names no key.
constexpr std::size_t most_keys = 16;
/// The largest file of keys.
constexpr std::size_t most_key_bytes = 64 * 1024;
/// The smallest secret (RFC 7518, section 3.2).
constexpr std::size_t least_secret_bytes = 32;
/// The smallest RSA key (RFC 7518, section 3.3).
constexpr int least_rsa_bits = 2048;

/// Keys that tokens are checked with. Does not change once made: any thread.
class key_set {
public:
  key_set();
  ~key_set();
  key_set(const key_set&) = delete;
  key_set& operator=(const key_set&) = delete;

  /// Adds a secret for HS256, under the name that tokens call it by (`kid`). A sentence: it is not
  /// taken, and the set is as it was.
  std::string add_secret(std::string name, std::string_view secret);

  /// Adds the public keys of a PEM text (RFC 7468, section 13), all under one name: Ed25519 ones
  /// for EdDSA, RSA ones for RS256. A sentence as above.
  std::string add_public_keys(const std::string& name, std::string_view pem);

  std::size_t size() const noexcept { return keys_.size(); }

  /// Whether the signature is that of one of the keys. `name`: the one that the token calls its
  /// key by; null: it names none, and every key of the algorithm is tried. Returns what
  /// `grant::key` becomes; 0: none of them signed it.
  uint64_t signer(algorithm how, const std::string* name, std::string_view signed_text,
    std::string_view signature) const;

  /// Whether a key of the algorithm could have made a signature, by its name alone.
  bool knows(algorithm how, const std::string* name) const noexcept;

  /// Whether the key is one of the set: what it once vouched for counts no longer than it does.
  bool vouches(uint64_t key) const noexcept;

private:
  struct entry;
  std::string add(std::unique_ptr<entry> made);

  std::vector<std::unique_ptr<entry>> keys_;
};

/// The files of keys, as the settings name them. A key's name is that of its file, without the
/// folders and the last extension: `/etc/previewd/2026-01.key` is `2026-01`.
struct key_files {
  std::vector<std::string> secrets;      // one secret each, the line break at its end left out
  std::vector<std::string> public_keys;  // PEM
};

/// Reads them. A sentence: which file is wrong, and why; its content is never in it. Blocks: not on
/// an I/O thread.
std::variant<std::shared_ptr<const key_set>, std::string> load_keys(const key_files& files);

}  // namespace previewd::net::auth
