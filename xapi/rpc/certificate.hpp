#pragma once
#include <string>
#include <vector>

struct x509_st;

namespace basalt::server {

struct CertificateNames {
    std::string common_name;             ///< the host's name
    std::vector<std::string> dns_names;  ///< besides common_name
    std::vector<std::string> addresses;  ///< numeric
};

enum class KeyKind { rsa_2048, ecdsa_p256 };

/// A fresh key and a self-signed certificate for ten years, both as PEM text, key first.
/// Takes tens of milliseconds: not on the loop. Throws std::runtime_error.
[[nodiscard]] std::string make_self_signed(const CertificateNames& names,
                                           KeyKind kind = KeyKind::rsa_2048);

/// Makes the PEM file (RSA; mode 0600, replaced in one step) unless it is there, and beside it a
/// companion for the same names with a key of ECDSA P-256. Blocks; idempotent. Returns whether they
/// were made. Throws std::system_error.
bool ensure_certificate(const std::string& pem_path, const CertificateNames& names);

/// The companion's file: a handshake with its key costs the server a third of what RSA does. It
/// says beside which certificate it was made, and belongs to no other: whoever replaces the PEM
/// file has replaced both.
[[nodiscard]] std::string companion_path(const std::string& pem_path);
/// Whether the companion is there and was made beside the certificate of that fingerprint. Blocks.
[[nodiscard]] bool companion_belongs(const std::string& pem_path, const std::string& fingerprint);

/// Upper-case hex of a certificate's SHA-256, bytes joined by colons.
[[nodiscard]] std::string fingerprint_of(const x509_st* certificate);

/// Replaces the PEM file in one step, readable by its owner only. Blocks. Throws std::system_error.
void write_private_file(const std::string& path, const std::string& text);

}  // namespace basalt::server
