#include "xapi/domain/pool.hpp"

#include <algorithm>

#include "base/undo.hpp"
#include "idl/errors.hpp"
#include "idl/records/host.hpp"
#include "idl/records/network.hpp"
#include "idl/records/pif.hpp"
#include "idl/records/pool.hpp"
#include "idl/records/vlan.hpp"
#include "xapi/core/hosts.hpp"
#include "xapi/domain/words.hpp"

namespace basalt::domain {

namespace {

constexpr std::int64_t untagged = -1;

}  // namespace

Task<std::vector<Ref<Pif>>> PoolDomain::create_VLAN(Call& call, PoolCreateVlan params) {
    return tag_everywhere(call, {std::move(params.device), params.network, params.VLAN});
}

Task<std::vector<Ref<Pif>>> PoolDomain::create_VLAN_from_PIF(Call& call,
                                                             PoolCreateVlanFromPif params) {
    const Pif& row = call.db().get(params.pif);
    // A VLAN's own interface has the device of the one that carries it.
    if (row.VLAN != untagged) throw err::pif_is_vlan(params.pif);
    return tag_everywhere(call, {row.device, params.network, params.VLAN});
}

Task<std::vector<Ref<Pif>>> PoolDomain::tag_everywhere(Call& call, Tagging what) {
    if (call.db().find(what.network) == nullptr) throw err::handle_invalid("network", what.network);
    std::vector<Ref<Pif>> carriers;
    call.db().each<Pif>([&](Ref<Pif> pif, const Pif& row) {
        // A host that is away is left out, as by other servers of this API.
        if (row.device == what.device && row.VLAN == untagged && core_.hosts->connected(row.host))
            carriers.push_back(pif);
    });
    std::vector<Ref<Pif>> made;
    VlanDomain& vlans = vlans_;
    co_await with_undo([&](Undo& undo) -> Task<void> {
        for (const Ref<Pif> carrier : carriers) {
            const Ref<Vlan> vlan = co_await vlans.create(
                call, {.tagged_PIF = carrier, .tag = what.tag, .network = what.network});
            undo.push("destroy VLAN",
                      [&vlans, &call, vlan] { return vlans.destroy(call, {.self = vlan}); });
            made.push_back(call.db().get(vlan).untagged_PIF);
        }
    });
    co_return made;
}

Task<Map<std::string, std::string>> PoolDomain::get_license_state(Call& call,
                                                                  PoolGetLicenseState params) {
    // Every host has the one edition that there is, and it ends never.
    const Host& leader = call.db().get(call.db().get(params.self).master);
    co_return Map<std::string, std::string>{{"edition", leader.edition}, {"expiry", "never"}};
}

Task<bool> PoolDomain::is_slave(Call&, PoolIsSlave) {
    co_return false;
}

}  // namespace basalt::domain
