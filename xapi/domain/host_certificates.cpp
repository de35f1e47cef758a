// Class host: the certificate that clients are shown.
#include <fstream>
#include <stdexcept>

#include "base/log.hpp"
#include "base/wait.hpp"
#include "idl/errors.hpp"
#include "idl/records/certificate.hpp"
#include "idl/records/host.hpp"
#include "idl/records/pool.hpp"
#include "xapi/domain/certificate_text.hpp"
#include "xapi/domain/host.hpp"
#include "xapi/domain/words.hpp"

namespace basalt::domain {

namespace {

std::string read_file(const std::string& path) {
    std::ifstream in(path, std::ios::binary);
    if (!in) throw err::internal_error(path + " cannot be read");
    return {std::istreambuf_iterator<char>(in), {}};
}

// Each host keeps its key to itself: only its own server shows or replaces its certificate.
void require_own(const core::Core& core, const Call& call, Ref<Host> host) {
    if (core.db.find(host) == nullptr) throw err::handle_invalid("host", host);
    if (host != core.this_host || core.identity.pem_path.empty())
        throw err::not_implemented(std::string(call.message().wire_name) + " of a member");
}

void land_own_certificate(core::Core& core, const CertificateFacts& facts) {
    core.db.transact_fact([&](db::Txn& txn) {
        const Ref<Host> host = core.this_host;
        for (const auto old : std::vector(txn.get(host).certificates)) {
            const Certificate& row = txn.get(old);
            if (row.type != CertificateType::host) continue;
            if (row.fingerprint_sha256 == facts.sha256) return;
            txn.erase(old);
        }
        Certificate row;
        row.host = host;
        row.type = CertificateType::host;
        row.fingerprint = row.fingerprint_sha256 = facts.sha256;
        row.fingerprint_sha1 = facts.sha1;
        row.not_before = DateTime{facts.not_before};
        row.not_after = DateTime{facts.not_after};
        txn.insert(std::move(row));
    });
}

}  // namespace

Task<void> note_own_certificate(core::Core& core) {
    if (core.identity.pem_path.empty()) co_return;
    const std::string pem =
        co_await blocking(core.loop, [path = core.identity.pem_path] { return read_file(path); });
    land_own_certificate(core, read_certificate(pem));
}

Task<std::string> HostDomain::get_server_certificate(Call& call, HostGetServerCertificate params) {
    require_own(core_, call, params.host);
    const std::string pem =
        co_await blocking(core_.loop, [path = core_.identity.pem_path] { return read_file(path); });
    co_return certificates_only(pem);
}

// The file first, then the listeners; what they refuse is taken back.
Task<void> HostDomain::present(Call&, std::string pem) {
    const core::Core::Identity& identity = core_.identity;
    const std::string before =
        co_await blocking(core_.loop, [path = identity.pem_path] { return read_file(path); });
    co_await blocking(core_.loop, [&identity, pem] { identity.write(pem); });
    std::string failure;
    try {
        identity.reload();
    } catch (const std::runtime_error& error) {
        failure = error.what();
    }
    if (failure.empty()) {
        log::info("server_certificate_replaced");
        co_return co_await note_own_certificate(core_);
    }
    co_await blocking(core_.loop, [&identity, before] { identity.write(before); });
    throw err::internal_error("the certificate cannot be used: " + failure);
}

Task<void> HostDomain::install_server_certificate(Call& call, HostInstallServerCertificate params) {
    require_own(core_, call, params.host);
    std::string pem = check_server_certificate(
        {params.certificate, params.private_key, params.certificate_chain}, core_.now_seconds());
    co_await present(call, std::move(pem));
}

Task<void> HostDomain::reset_server_certificate(Call& call, HostResetServerCertificate params) {
    require_own(core_, call, params.host);
    const Host& row = call.db().get(params.host);
    std::vector<std::string> addresses;
    if (!row.address.empty()) addresses.push_back(row.address);
    std::string pem =
        co_await blocking(core_.loop, [&make = core_.identity.self_signed, name = row.hostname,
                                       addresses] { return make(name, addresses); });
    co_await present(call, std::move(pem));
}

Task<void> HostDomain::emergency_reset_server_certificate(Call& call) {
    return reset_server_certificate(call, {core_.this_host});
}

// Hosts of a pool know each other by certificates that are made with the pool, and of which each
// has all (rpc/tls.hpp); a host alone has none. What can be left is the record of one.
Task<void> HostDomain::refresh_server_certificate(Call& call, HostRefreshServerCertificate params) {
    require_own(core_, call, params.host);
    if (call.db().count(class_of<Host>()) > 1)
        throw err::not_implemented(std::string(call.message().wire_name) + " in a pool of hosts");
    call.db().transact([&](db::Txn& txn) {
        for (const auto ref : std::vector(txn.get(params.host).certificates))
            if (txn.get(ref).type == CertificateType::host_internal) txn.erase(ref);
    });
    co_return;
}

}  // namespace basalt::domain
