#include "xapi/rpc/certificate.hpp"

#include <openssl/bio.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/rand.h>
#include <openssl/rsa.h>
#include <openssl/x509v3.h>
#include <unistd.h>

#include <cstdio>
#include <memory>
#include <stdexcept>
#include <system_error>

#include "base/durable_file.hpp"
#include "base/released.hpp"

namespace basalt::server {

namespace {

constexpr int key_bits = 2048;
constexpr long validity_seconds = 10L * 365 * 24 * 3600;
constexpr std::size_t common_name_max = 64;  // X.509's limit of a common name

using Key = std::unique_ptr<EVP_PKEY, Released<EVP_PKEY_free>>;
using Certificate = std::unique_ptr<X509, Released<X509_free>>;
using Bio = std::unique_ptr<BIO, Released<BIO_free_all>>;
using Extension = std::unique_ptr<X509_EXTENSION, Released<X509_EXTENSION_free>>;

void require(bool good, const char* what) {
    if (!good) throw std::runtime_error(std::string("certificate: ") + what);
}

std::string alternative_names(const CertificateNames& names) {
    std::string out = "DNS:" + names.common_name;
    for (const std::string& name : names.dns_names)
        out += ",DNS:" + name;
    for (const std::string& address : names.addresses)
        out += ",IP:" + address;
    return out;
}

void add_extension(X509* certificate, int nid, const std::string& value) {
    X509V3_CTX context;
    X509V3_set_ctx_nodb(&context);
    X509V3_set_ctx(&context, certificate, certificate, nullptr, nullptr, 0);
    const Extension extension(X509V3_EXT_conf_nid(nullptr, &context, nid, value.c_str()));
    require(extension != nullptr, value.c_str());
    require(X509_add_ext(certificate, extension.get(), -1) == 1, "extension");
}

void set_random_serial(X509* certificate) {
    unsigned char bytes[16];
    require(RAND_bytes(bytes, sizeof bytes) == 1, "random serial");
    bytes[0] &= 0x7f;
    BIGNUM* number = BN_bin2bn(bytes, sizeof bytes, nullptr);
    BN_to_ASN1_INTEGER(number, X509_get_serialNumber(certificate));
    BN_free(number);
}

Certificate self_signed(EVP_PKEY* key, const CertificateNames& names) {
    Certificate certificate(X509_new());
    require(certificate != nullptr, "memory");
    X509* const x509 = certificate.get();
    X509_set_version(x509, X509_VERSION_3);
    set_random_serial(x509);
    X509_gmtime_adj(X509_getm_notBefore(x509), -24L * 3600);  // clocks of clients may lag
    X509_gmtime_adj(X509_getm_notAfter(x509), validity_seconds);
    X509_set_pubkey(x509, key);
    const std::string common = names.common_name.substr(0, common_name_max);
    X509_NAME* const subject = X509_get_subject_name(x509);
    X509_NAME_add_entry_by_txt(subject, "CN", MBSTRING_UTF8,
                               reinterpret_cast<const unsigned char*>(common.data()),
                               static_cast<int>(common.size()), -1, 0);
    X509_set_issuer_name(x509, subject);
    add_extension(x509, NID_basic_constraints, "critical,CA:FALSE");
    add_extension(x509, NID_key_usage, "critical,digitalSignature,keyEncipherment");
    add_extension(x509, NID_ext_key_usage, "serverAuth,clientAuth");
    add_extension(x509, NID_subject_alt_name, alternative_names(names));
    require(X509_sign(x509, key, EVP_sha256()) > 0, "sign");
    return certificate;
}

}  // namespace

std::string make_self_signed(const CertificateNames& names) {
    const Key key(EVP_RSA_gen(key_bits));
    require(key != nullptr, "key");
    const Certificate certificate = self_signed(key.get(), names);
    const Bio out(BIO_new(BIO_s_mem()));
    require(
        PEM_write_bio_PrivateKey(out.get(), key.get(), nullptr, nullptr, 0, nullptr, nullptr) == 1,
        "write key");
    require(PEM_write_bio_X509(out.get(), certificate.get()) == 1, "write");
    char* data = nullptr;
    const long size = BIO_get_mem_data(out.get(), &data);
    return {data, static_cast<std::size_t>(size)};
}

bool ensure_certificate(const std::string& pem_path, const CertificateNames& names) {
    if (::access(pem_path.c_str(), F_OK) == 0) return false;
    write_durably(pem_path, make_self_signed(names));
    return true;
}

}  // namespace basalt::server
