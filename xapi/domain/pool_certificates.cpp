// Class pool: the certificates and revocation lists that its hosts trust.
#include <algorithm>
#include <stdexcept>

#include "base/undo.hpp"
#include "idl/errors.hpp"
#include "idl/records/certificate.hpp"
#include "idl/records/host.hpp"
#include "idl/records/pool.hpp"
#include "xapi/domain/certificate_text.hpp"
#include "xapi/domain/pool.hpp"
#include "xapi/domain/words.hpp"

namespace basalt::domain {

namespace {

using Kind = TrustStore::Kind;

Ref<Certificate> find_ca(const db::Database& db, const std::string& name) {
    Ref<Certificate> found;
    db.each<Certificate>([&](Ref<Certificate> ref, const Certificate& row) {
        if (row.type == CertificateType::ca && row.name == name) found = ref;
    });
    return found;
}

Certificate row_of(const CertificateFacts& facts) {
    Certificate row;
    row.fingerprint = row.fingerprint_sha256 = facts.sha256;
    row.fingerprint_sha1 = facts.sha1;
    row.not_before = DateTime{facts.not_before};
    row.not_after = DateTime{facts.not_after};
    return row;
}

/// The file's name of a certificate that is known by its record alone.
std::string file_of(const Certificate& row) {
    return row.name.empty() ? row.uuid + ".pem" : row.name;
}

/// Files of the authorities that may speak for anything; those with a purpose have only that one.
std::vector<std::string> authorities_of_clients(const db::Database& db) {
    std::vector<std::string> out;
    db.each<Certificate>([&](Ref<Certificate>, const Certificate& row) {
        if (row.type == CertificateType::ca && row.purpose.empty()) out.push_back(file_of(row));
    });
    return out;
}

}  // namespace

Task<void> PoolDomain::install_ca_certificate(Call& call, PoolInstallCaCertificate params) {
    if (!is_file_name(params.name)) throw err::certificate_name_invalid(params.name);
    if (find_ca(call.db(), params.name)) throw err::certificate_already_exists(params.name);
    Certificate row = row_of(check_trusted(params.cert, core_.now_seconds(), TrustErrors::ca));
    row.type = CertificateType::ca;
    row.name = params.name;
    TrustStore& store = trusted_;
    co_await with_undo([&](Undo& undo) -> Task<void> {
        undo.push("remove certificate", [&store, name = params.name]() -> Task<void> {
            co_await store.remove(Kind::certificate, name);
        });
        co_await store.write(Kind::certificate, params.name, params.cert);
        call.db().transact([&](db::Txn& txn) { txn.insert(std::move(row)); });
    });
    co_await readmit_clients();
}

Task<void> PoolDomain::uninstall_ca_certificate(Call& call, PoolUninstallCaCertificate params) {
    const Ref<Certificate> known = find_ca(call.db(), params.name);
    if (!known && !params.force) throw err::certificate_does_not_exist(params.name);
    if (!is_file_name(params.name)) co_return;
    if (known) call.db().transact([&](db::Txn& txn) { txn.erase(known); });
    co_await call.committed();
    co_await trusted_.remove(Kind::certificate, params.name);
    co_await readmit_clients();
}

Task<void> PoolDomain::certificate_install(Call& call, PoolCertificateInstall params) {
    return install_ca_certificate(call, {std::move(params.name), std::move(params.cert)});
}

Task<void> PoolDomain::certificate_uninstall(Call& call, PoolCertificateUninstall params) {
    return uninstall_ca_certificate(call, {std::move(params.name), false});
}

Task<std::vector<std::string>> PoolDomain::certificate_list(Call& call) {
    std::vector<std::string> names;
    call.db().each<Certificate>([&](Ref<Certificate>, const Certificate& row) {
        if (row.type == CertificateType::ca && !row.name.empty()) names.push_back(row.name);
    });
    std::ranges::sort(names);
    co_return names;
}

// The coordinator alone connects to others in the pool's name; its files are as the records say.
Task<void> PoolDomain::certificate_sync(Call& call) {
    std::vector<std::string> wanted;
    call.db().each<Certificate>([&](Ref<Certificate>, const Certificate& row) {
        if (row.type == CertificateType::ca || row.type == CertificateType::pinned)
            wanted.push_back(file_of(row));
    });
    const std::vector<std::string> have = co_await trusted_.names(Kind::certificate);
    for (const std::string& name : wanted)
        if (!std::ranges::binary_search(have, name)) throw err::certificate_library_corrupt();
    for (const std::string& name : have)
        if (!std::ranges::contains(wanted, name)) co_await trusted_.remove(Kind::certificate, name);
    co_await readmit_clients();
}

Task<void> PoolDomain::install_trusted_certificate(Call& call,
                                                   PoolInstallTrustedCertificate params) {
    (void)call.db().get(params.self);
    Certificate row = row_of(check_trusted(params.cert, core_.now_seconds(), TrustErrors::trusted));
    row.type = params.ca ? CertificateType::ca : CertificateType::pinned;
    row.purpose = params.purpose;
    row.uuid = core_.new_uuid();
    call.db().each<Certificate>([&](Ref<Certificate>, const Certificate& other) {
        if (other.type == row.type && other.fingerprint_sha256 == row.fingerprint_sha256)
            throw err::trusted_certificate_already_exists(row.fingerprint_sha256);
    });
    TrustStore& store = trusted_;
    const std::string file = file_of(row);
    co_await with_undo([&](Undo& undo) -> Task<void> {
        undo.push("remove certificate", [&store, file]() -> Task<void> {
            co_await store.remove(Kind::certificate, file);
        });
        co_await store.write(Kind::certificate, file, params.cert);
        call.db().transact([&](db::Txn& txn) { txn.insert(std::move(row)); });
    });
    co_await readmit_clients();
}

Task<void> PoolDomain::uninstall_trusted_certificate(Call& call,
                                                     PoolUninstallTrustedCertificate params) {
    (void)call.db().get(params.self);
    const Certificate row = call.db().get(params.certificate);
    if (row.type != CertificateType::ca && row.type != CertificateType::pinned)
        throw err::not_trusted_certificate(params.certificate);
    call.db().transact([&](db::Txn& txn) { txn.erase(params.certificate); });
    co_await call.committed();
    co_await trusted_.remove(Kind::certificate, file_of(row));
    co_await readmit_clients();
}

Task<void> PoolDomain::crl_install(Call&, PoolCrlInstall params) {
    if (!is_file_name(params.name)) throw err::crl_name_invalid(params.name);
    if (co_await trusted_.has(Kind::crl, params.name)) throw err::crl_already_exists(params.name);
    bool good = true;
    try {
        check_crl(params.cert);
    } catch (const std::invalid_argument&) {
        good = false;
    }
    if (!good) throw err::crl_corrupt(params.name);
    co_await trusted_.write(Kind::crl, std::move(params.name), std::move(params.cert));
    co_await readmit_clients();
}

Task<void> PoolDomain::crl_uninstall(Call&, PoolCrlUninstall params) {
    const bool named = is_file_name(params.name);
    const bool gone = named && co_await trusted_.remove(Kind::crl, params.name);
    if (!gone) throw err::crl_does_not_exist(params.name);
    co_await readmit_clients();
}

Task<void> PoolDomain::enable_tls_verification(Call& call) {
    call.db().transact([&](db::Txn& txn) {
        txn.edit(core_.pool).tls_verification_enabled = true;
        txn.each<Host>(
            [&](Ref<Host> host, const Host&) { txn.edit(host).tls_verification_enabled = true; });
    });
    co_return;
}

Task<std::vector<std::string>> PoolDomain::crl_list(Call&) {
    return trusted_.names(Kind::crl);
}

Task<void> PoolDomain::admit_clients(std::string name) {
    if (!admit_) co_return;  // nobody serves clients here
    std::optional<ClientTrust> trust;
    if (!name.empty()) {
        trust = ClientTrust{.name = std::move(name), .certificates = {}, .revocations = {}};
        std::vector<std::string> authorities = authorities_of_clients(core_.db);
        trust->certificates = co_await trusted_.texts(Kind::certificate, std::move(authorities));
        std::vector<std::string> lists = co_await trusted_.names(Kind::crl);
        trust->revocations = co_await trusted_.texts(Kind::crl, std::move(lists));
    }
    std::string failure;
    try {
        admit_(std::move(trust));
    } catch (const std::runtime_error& error) {
        failure = error.what();
    }
    if (!failure.empty())
        throw err::internal_error("clients cannot be let in by certificates: " + failure);
}

Task<void> PoolDomain::readmit_clients() {
    const Pool* pool = core_.db.find(core_.pool);
    if (pool != nullptr && pool->client_certificate_auth_enabled)
        co_await admit_clients(pool->client_certificate_auth_name);
}

Task<void> PoolDomain::enable_client_certificate_auth(Call& call,
                                                      PoolEnableClientCertificateAuth params) {
    const std::string before = call.db().get(params.self).client_certificate_auth_name;
    // Without a name every certificate of the authorities would do.
    if (params.name.empty()) throw err::invalid_value("name", params.name);
    co_await with_undo([&](Undo& undo) -> Task<void> {
        undo.push("admit clients as before", [this, before] { return admit_clients(before); });
        co_await admit_clients(params.name);
        call.db().transact([&](db::Txn& txn) {
            txn.edit(params.self).client_certificate_auth_enabled = true;
            txn.edit(params.self).client_certificate_auth_name = params.name;
        });
    });
}

Task<void> PoolDomain::disable_client_certificate_auth(Call& call,
                                                       PoolDisableClientCertificateAuth params) {
    call.db().transact([&](db::Txn& txn) {
        txn.edit(params.self).client_certificate_auth_enabled = false;
        txn.edit(params.self).client_certificate_auth_name.clear();
    });
    co_await admit_clients({});
}

}  // namespace basalt::domain
