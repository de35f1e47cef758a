// Class host: what it trusts, by the messages that hosts of a pool use among themselves. The files
// are the pool's (pool_certificates.cpp): no host keeps any of its own.
#include <algorithm>
#include <stdexcept>

#include "idl/errors.hpp"
#include "idl/records/host.hpp"
#include "idl/records/pool.hpp"
#include "xapi/domain/certificate_text.hpp"
#include "xapi/domain/host.hpp"
#include "xapi/domain/trust_store.hpp"
#include "xapi/domain/words.hpp"

namespace basalt::domain {

using Kind = TrustStore::Kind;

Task<void> HostDomain::install_ca_certificate(Call& call, HostInstallCaCertificate params) {
    (void)call.db().get(params.host);
    if (!is_file_name(params.name)) throw err::certificate_name_invalid(params.name);
    TrustStore store(core_);
    if (co_await store.has(Kind::certificate, params.name))
        throw err::certificate_already_exists(params.name);
    (void)check_trusted(params.cert, core_.now_seconds(), TrustErrors::ca);
    co_await store.write(Kind::certificate, params.name, params.cert);
    co_await trust_changed_();
}

Task<void> HostDomain::uninstall_ca_certificate(Call& call, HostUninstallCaCertificate params) {
    (void)call.db().get(params.host);
    TrustStore store(core_);
    const bool named = is_file_name(params.name);
    const bool gone = named && co_await store.remove(Kind::certificate, params.name);
    if (!gone && !params.force) throw err::certificate_does_not_exist(params.name);
    co_await trust_changed_();
}

Task<std::vector<std::string>> HostDomain::certificate_list(Call& call,
                                                            HostCertificateList params) {
    (void)call.db().get(params.host);
    TrustStore store(core_);
    co_return co_await store.names(Kind::certificate);
}

// There is nothing between the files and who reads them that could be out of date.
Task<void> HostDomain::certificate_sync(Call& call, HostCertificateSync params) {
    (void)call.db().get(params.host);
    co_return;
}

Task<void> HostDomain::crl_install(Call& call, HostCrlInstall params) {
    (void)call.db().get(params.host);
    if (!is_file_name(params.name)) throw err::crl_name_invalid(params.name);
    TrustStore store(core_);
    if (co_await store.has(Kind::crl, params.name)) throw err::crl_already_exists(params.name);
    bool good = true;
    try {
        check_crl(params.crl);
    } catch (const std::invalid_argument&) {
        good = false;
    }
    if (!good) throw err::crl_corrupt(params.name);
    co_await store.write(Kind::crl, params.name, params.crl);
    co_await trust_changed_();
}

Task<void> HostDomain::crl_uninstall(Call& call, HostCrlUninstall params) {
    (void)call.db().get(params.host);
    TrustStore store(core_);
    const bool named = is_file_name(params.name);
    const bool gone = named && co_await store.remove(Kind::crl, params.name);
    if (!gone) throw err::crl_does_not_exist(params.name);
    co_await trust_changed_();
}

Task<std::vector<std::string>> HostDomain::crl_list(Call& call, HostCrlList params) {
    (void)call.db().get(params.host);
    TrustStore store(core_);
    co_return co_await store.names(Kind::crl);
}

// Hosts of a pool prove themselves to each other in any case (rpc/tls.hpp): what can be missing is
// only that the records say so.
Task<void> HostDomain::emergency_reenable_tls_verification(Call& call) {
    const Pool* pool = call.db().find(core_.pool);
    if (pool == nullptr || !pool->tls_verification_enabled)
        throw err::tls_verification_not_enabled_in_pool();
    call.db().transact(
        [&](db::Txn& txn) { txn.edit(core_.this_host).tls_verification_enabled = true; });
    co_return;
}

// Nothing could switch it off: see above.
Task<void> HostDomain::emergency_disable_tls_verification(Call&) {
    throw err::operation_not_allowed("Hosts of a pool check each other's certificates in any case");
    co_return;
}

}  // namespace basalt::domain
