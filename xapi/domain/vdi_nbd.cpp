// Class VDI: where a disk can be read over the NBD protocol. The coordinator serves the disks of
// the whole pool (xapi/transfer/nbd_server.hpp), as it does with all streams.
#include "xapi/domain/vdi_nbd.hpp"

#include <algorithm>
#include <fstream>
#include <vector>

#include "base/wait.hpp"
#include "idl/errors.hpp"
#include "idl/records/host.hpp"
#include "idl/records/network.hpp"
#include "idl/records/pbd.hpp"
#include "idl/records/pif.hpp"
#include "idl/records/sr.hpp"
#include "idl/records/vdi.hpp"
#include "idl/records/vdi_nbd_server_info.hpp"
#include "idl/runtime/enum_text.hpp"
#include "xapi/domain/certificate_text.hpp"
#include "xapi/domain/vdi.hpp"
#include "xapi/domain/words.hpp"

namespace basalt::domain {

namespace {

std::optional<NetworkPurpose> purpose_of(const Network& network) {
    for (const NetworkPurpose purpose : network.purpose)
        if (purpose == NetworkPurpose::nbd || purpose == NetworkPurpose::insecure_nbd)
            return purpose;
    return std::nullopt;
}

/// The interface's addresses, without the lengths of their prefixes.
std::vector<std::string> addresses_of(const Pif& pif) {
    std::vector<std::string> out;
    if (!pif.IP.empty()) out.push_back(pif.IP);
    for (const std::string& address : pif.IPv6)
        if (!address.empty()) out.push_back(address.substr(0, address.find('/')));
    return out;
}

struct Served {
    std::string address;
    NetworkPurpose purpose;
};

std::vector<Served> served_by(const core::Core& core) {
    std::vector<Served> out;
    const Host* host = core.db.find(core.this_host);
    if (host == nullptr) return out;
    for (const auto ref : host->PIFs) {
        const Pif* pif = core.db.find(ref);
        const Network* network =
            pif != nullptr && pif->currently_attached ? core.db.find(pif->network) : nullptr;
        const auto purpose = network != nullptr ? purpose_of(*network) : std::nullopt;
        if (!purpose) continue;
        for (std::string& address : addresses_of(*pif))
            out.push_back({std::move(address), *purpose});
    }
    return out;
}

bool is_reached(const db::Database& db, Ref<Sr> sr) {
    return std::ranges::any_of(db.get(sr).PBDs, [&](Ref<Pbd> ref) {
        const Pbd* pbd = db.find(ref);
        return pbd != nullptr && pbd->currently_attached;
    });
}

std::string text_of(const std::string& path) {
    std::ifstream in(path, std::ios::binary);
    if (!in) throw err::internal_error(path + " cannot be read");
    return {std::istreambuf_iterator<char>(in), {}};
}

}  // namespace

std::optional<NetworkPurpose> nbd_purpose_of(const core::Core& core, const std::string& address) {
    for (const Served& served : served_by(core))
        if (served.address == address) return served.purpose;
    return std::nullopt;
}

Task<std::vector<VdiNbdServerInfo>> VdiDomain::get_nbd_info(Call& call, VdiGetNbdInfo params) {
    const Vdi disk = call.db().get(params.self);
    if (disk.type == VdiType::cbt_metadata)
        throw err::vdi_incompatible_type(params.self, wire_text(disk.type));
    std::vector<VdiNbdServerInfo> out;
    const std::vector<Served> served = served_by(core_);
    if (served.empty() || !is_reached(call.db(), disk.SR)) co_return out;
    VdiNbdServerInfo info;
    info.exportname = "/" + disk.uuid + "?session_id=" + call.caller().session.text();
    info.port = nbd_port;
    if (const std::string path = core_.identity.pem_path; !path.empty()) {
        info.cert =
            first_certificate(co_await blocking(core_.loop, [path] { return text_of(path); }));
        info.subject = name_in_certificate(info.cert);
    }
    for (const Served& one : served) {
        info.address = one.address;
        out.push_back(info);
    }
    co_return out;
}

}  // namespace basalt::domain
