// Class VIF: the addresses that a guest is to give its interface. They reach a guest by its
// cloud-init drive, at its start: docs/decisions/0014. Guest agents over QEMU's channel set none.
#include <algorithm>

#include "idl/errors.hpp"
#include "idl/records/vif.hpp"
#include "idl/records/vm.hpp"
#include "xapi/domain/ip_text.hpp"
#include "xapi/domain/vif.hpp"
#include "xapi/domain/words.hpp"

namespace basalt::domain {

namespace {

struct Wanted {
    std::vector<std::string> addresses;
    std::string gateway;
};

Wanted checked(const AddressFamily& family, bool is_static, const std::string& address,
               const std::string& gateway) {
    if (!is_static) return {};
    if (!is_cidr(family, address)) throw err::invalid_cidr_address_specified("address");
    if (!gateway.empty() && !is_address(family, gateway))
        throw err::invalid_ip_address_specified("gateway");
    return {{address}, gateway};
}

void require_no_guest(const db::Txn& txn, Ref<Vif> self) {
    const Vif& row = txn.get(self);
    const Vm& vm = txn.get(row.VM);
    if (row.currently_attached && vm.power_state != VmPowerState::halted)
        throw err::vm_lacks_feature(row.VM);
}

}  // namespace

Task<void> VifDomain::configure_ipv4(Call& call, VifConfigureIpv4 params) {
    const Wanted wanted = checked(ipv4, params.mode == VifIpv4ConfigurationMode::static_,
                                  params.address, params.gateway);
    call.db().transact([&](db::Txn& txn) {
        require_no_guest(txn, params.self);
        Vif& row = txn.edit(params.self);
        row.ipv4_configuration_mode = params.mode;
        row.ipv4_addresses = wanted.addresses;
        row.ipv4_gateway = wanted.gateway;
    });
    co_return;
}

Task<void> VifDomain::configure_ipv6(Call& call, VifConfigureIpv6 params) {
    const Wanted wanted = checked(ipv6, params.mode == VifIpv6ConfigurationMode::static_,
                                  params.address, params.gateway);
    call.db().transact([&](db::Txn& txn) {
        require_no_guest(txn, params.self);
        Vif& row = txn.edit(params.self);
        row.ipv6_configuration_mode = params.mode;
        row.ipv6_addresses = wanted.addresses;
        row.ipv6_gateway = wanted.gateway;
    });
    co_return;
}

}  // namespace basalt::domain
