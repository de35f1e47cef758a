#include "xapi/domain/certificate_text.hpp"

#include <openssl/bio.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/rsa.h>
#include <openssl/x509.h>
#include <openssl/x509v3.h>

#include <algorithm>
#include <array>
#include <format>
#include <memory>
#include <stdexcept>

#include "base/released.hpp"
#include "idl/errors.hpp"
#include "idl/runtime/datetime.hpp"

namespace basalt::domain {

namespace {

// Source: the keys that clients of the API are known to accept.
constexpr int rsa_bits_min = 2048;
constexpr int rsa_bits_max = 4096;
constexpr std::size_t name_bytes_max = 255;

using Bio = std::unique_ptr<BIO, Released<BIO_free_all>>;
using Certificate = std::unique_ptr<X509, Released<X509_free>>;
using Key = std::unique_ptr<EVP_PKEY, Released<EVP_PKEY_free>>;
using Names = std::unique_ptr<GENERAL_NAMES, Released<GENERAL_NAMES_free>>;
using Crl = std::unique_ptr<X509_CRL, Released<X509_CRL_free>>;

Bio reader_of(const std::string& text) {
    return Bio(BIO_new_mem_buf(text.data(), static_cast<int>(text.size())));
}

// What OpenSSL notes of a failure belongs to that failure alone.
template <class T>
T forgetting(T result) {
    ERR_clear_error();
    return result;
}

std::vector<Certificate> all_certificates(const std::string& pem) {
    const Bio in = reader_of(pem);
    std::vector<Certificate> out;
    for (;;) {
        Certificate one(PEM_read_bio_X509(in.get(), nullptr, nullptr, nullptr));
        if (!one) break;
        out.push_back(std::move(one));
    }
    return forgetting(std::move(out));
}

int no_password(char*, int, int, void*) {
    return -1;
}

Key private_key(const std::string& pem) {
    const Bio in = reader_of(pem);
    return forgetting(Key(PEM_read_bio_PrivateKey(in.get(), nullptr, no_password, nullptr)));
}

std::string text_of(const ASN1_STRING* text) {
    return {reinterpret_cast<const char*>(ASN1_STRING_get0_data(text)),
            static_cast<std::size_t>(ASN1_STRING_length(text))};
}

std::int64_t seconds_of(const ASN1_TIME* time) {
    std::tm parts{};
    ASN1_TIME_to_tm(time, &parts);
    return timegm(&parts);
}

std::string fingerprint(const X509* certificate, const EVP_MD* kind) {
    std::array<unsigned char, EVP_MAX_MD_SIZE> digest{};
    unsigned length = 0;
    X509_digest(certificate, kind, digest.data(), &length);
    std::string out;
    for (unsigned i = 0; i < length; ++i)
        out += std::format("{}{:02X}", i == 0 ? "" : ":", digest.at(i));
    return out;
}

std::string text_of(X509* certificate) {
    const Bio out(BIO_new(BIO_s_mem()));
    PEM_write_bio_X509(out.get(), certificate);
    char* data = nullptr;
    const long size = BIO_get_mem_data(out.get(), &data);
    return {data, static_cast<std::size_t>(size)};
}

CertificateFacts facts_of(const X509* certificate) {
    return {seconds_of(X509_get0_notBefore(certificate)),
            seconds_of(X509_get0_notAfter(certificate)), fingerprint(certificate, EVP_sha1()),
            fingerprint(certificate, EVP_sha256())};
}

std::string moment(std::int64_t seconds) {
    return xenapi::DateTime{seconds}.text();
}

void check_key(const EVP_PKEY* key) {
    if (EVP_PKEY_get_base_id(key) != EVP_PKEY_RSA) {
        std::array<char, 80> oid{};
        OBJ_obj2txt(oid.data(), oid.size(), OBJ_nid2obj(EVP_PKEY_get_base_id(key)), 1);
        throw err::server_certificate_key_algorithm_not_supported(oid.data());
    }
    const int bits = EVP_PKEY_get_bits(key);
    if (bits < rsa_bits_min || bits > rsa_bits_max)
        throw err::server_certificate_key_rsa_length_not_supported(std::to_string(bits));
}

void check_signature(const X509* certificate) {
    int digest = NID_undef;
    OBJ_find_sigid_algs(X509_get_signature_nid(certificate), &digest, nullptr);
    if (digest != NID_sha256 && digest != NID_sha384 && digest != NID_sha512)
        throw err::server_certificate_signature_not_supported();
}

std::string text_of_key(const EVP_PKEY* key) {
    const Bio out(BIO_new(BIO_s_secmem()));
    PEM_write_bio_PrivateKey(out.get(), key, nullptr, nullptr, 0, nullptr, nullptr);
    char* data = nullptr;
    const long size = BIO_get_mem_data(out.get(), &data);
    return {data, static_cast<std::size_t>(size)};
}

}  // namespace

CertificateFacts read_certificate(const std::string& pem) {
    const auto found = all_certificates(pem);
    if (found.empty()) throw std::invalid_argument("no certificate");
    return facts_of(found.front().get());
}

std::string certificates_only(const std::string& pem) {
    std::string out;
    for (const Certificate& one : all_certificates(pem))
        out += text_of(one.get());
    return out;
}

std::string first_certificate(const std::string& pem) {
    const auto found = all_certificates(pem);
    return found.empty() ? std::string() : text_of(found.front().get());
}

std::string name_in_certificate(const std::string& pem) {
    const auto found = all_certificates(pem);
    if (found.empty()) throw std::invalid_argument("no certificate");
    X509* const certificate = found.front().get();
    const Names names(static_cast<GENERAL_NAMES*>(
        X509_get_ext_d2i(certificate, NID_subject_alt_name, nullptr, nullptr)));
    for (int i = 0; names && i < sk_GENERAL_NAME_num(names.get()); ++i) {
        const GENERAL_NAME* name = sk_GENERAL_NAME_value(names.get(), i);
        if (name->type == GEN_DNS) return text_of(name->d.dNSName);
    }
    const X509_NAME* subject = X509_get_subject_name(certificate);
    const int at = X509_NAME_get_index_by_NID(subject, NID_commonName, -1);
    if (at < 0) return {};
    return text_of(X509_NAME_ENTRY_get_data(X509_NAME_get_entry(subject, at)));
}

void check_crl(const std::string& pem) {
    const Bio in = reader_of(pem);
    const Crl list = forgetting(Crl(PEM_read_bio_X509_CRL(in.get(), nullptr, nullptr, nullptr)));
    if (!list) throw std::invalid_argument("no revocation list");
}

std::string check_server_certificate(const ServerPem& pem, std::int64_t now) {
    const Key key = private_key(pem.private_key);
    if (!key) throw err::server_certificate_key_invalid();
    check_key(key.get());
    const auto certificates = all_certificates(pem.certificate);
    if (certificates.size() != 1) throw err::server_certificate_invalid();
    X509* const certificate = certificates.front().get();
    const CertificateFacts facts = facts_of(certificate);
    if (now < facts.not_before)
        throw err::server_certificate_not_valid_yet(moment(now), moment(facts.not_before));
    if (now > facts.not_after)
        throw err::server_certificate_expired(moment(now), moment(facts.not_after));
    if (forgetting(X509_check_private_key(certificate, key.get())) != 1)
        throw err::server_certificate_key_mismatch();
    check_signature(certificate);
    const std::string chain = certificates_only(pem.chain);
    if (!pem.chain.empty() && chain.empty()) throw err::server_certificate_chain_invalid();
    return text_of_key(key.get()) + text_of(certificate) + chain;
}

CertificateFacts check_trusted(const std::string& pem, std::int64_t now, TrustErrors errors) {
    const auto found = all_certificates(pem);
    const bool ca = errors == TrustErrors::ca;
    if (found.size() != 1)
        throw ca ? err::ca_certificate_invalid() : err::trusted_certificate_invalid();
    const CertificateFacts facts = facts_of(found.front().get());
    const std::string at = moment(now);
    if (now < facts.not_before)
        throw ca ? err::ca_certificate_not_valid_yet(at, moment(facts.not_before))
                 : err::trusted_certificate_not_valid_yet(at, moment(facts.not_before));
    if (now > facts.not_after)
        throw ca ? err::ca_certificate_expired(at, moment(facts.not_after))
                 : err::trusted_certificate_expired(at, moment(facts.not_after));
    return facts;
}

bool is_file_name(const std::string& name) {
    return !name.empty() && name.size() <= name_bytes_max && !name.starts_with('.') &&
           std::ranges::all_of(name, [](char c) {
               return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
                      c == '.' || c == '_' || c == '-';
           });
}

}  // namespace basalt::domain
