#pragma once
#include <string>
#include <vector>

namespace basalt::server {

struct CertificateNames {
    std::string common_name;             ///< the host's name
    std::vector<std::string> dns_names;  ///< besides common_name
    std::vector<std::string> addresses;  ///< numeric
};

/// A fresh RSA-2048 key and a self-signed certificate for ten years, both as PEM text, key first.
/// Takes tens of milliseconds: not on the loop. Throws std::runtime_error.
[[nodiscard]] std::string make_self_signed(const CertificateNames& names);

/// Makes the PEM file (mode 0600, replaced in one step) unless it is there. Blocks; idempotent.
/// Returns whether it was made. Throws std::system_error.
bool ensure_certificate(const std::string& pem_path, const CertificateNames& names);

}  // namespace basalt::server
