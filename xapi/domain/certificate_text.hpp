#pragma once
#include <cstdint>
#include <string>
#include <vector>

/// Certificates, keys and revocation lists as PEM text: pure functions.
namespace basalt::domain {

struct CertificateFacts {
    std::int64_t not_before = 0;  // seconds since 1970
    std::int64_t not_after = 0;
    std::string sha1;  // upper-case hex, bytes joined by colons
    std::string sha256;
};

/// What the first certificate in the text says. Throws std::invalid_argument when there is none.
CertificateFacts read_certificate(const std::string& pem);
/// The certificates of a text without anything else (keys), as PEM.
std::string certificates_only(const std::string& pem);
/// The first of them, which is the server's own; empty: there is none.
std::string first_certificate(const std::string& pem);
/// By which name a client knows the server: the first host name that the certificate is for, else
/// its common name. Throws std::invalid_argument when there is no certificate.
std::string name_in_certificate(const std::string& pem);
/// Throws std::invalid_argument unless the text is one revocation list.
void check_crl(const std::string& pem);

struct ServerPem {
    std::string certificate;
    std::string private_key;
    std::string chain;
};

/// Whether a server could show it: answers the text of key, certificate and chain in one. Throws
/// SERVER_CERTIFICATE_* and so on, by what is wrong; `now` in seconds since 1970.
std::string check_server_certificate(const ServerPem& pem, std::int64_t now);

/// The kind of errors by which a certificate that is to be trusted is refused.
enum class TrustErrors : std::uint8_t { ca, trusted };

/// Throws CA_CERTIFICATE_* or TRUSTED_CERTIFICATE_* for one that is none, or not valid now.
CertificateFacts check_trusted(const std::string& pem, std::int64_t now, TrustErrors errors);

/// Whether `name` can name a file of such a text: CERTIFICATE_NAME_INVALID, CRL_NAME_INVALID.
bool is_file_name(const std::string& name);

}  // namespace basalt::domain
