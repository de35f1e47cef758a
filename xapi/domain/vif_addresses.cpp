// Class VIF: the addresses that a guest is to give its interface. They reach a guest by its
// cloud-init drive, at its start: docs/decisions/0014. Guest agents over QEMU's channel set none.
#include <arpa/inet.h>

#include <algorithm>
#include <charconv>

#include "idl/errors.hpp"
#include "idl/records/vif.hpp"
#include "idl/records/vm.hpp"
#include "xapi/domain/vif.hpp"
#include "xapi/domain/words.hpp"

namespace basalt::domain {

namespace {

struct Family {
    int number;
    int bits;
};

constexpr Family ipv4{AF_INET, 32};
constexpr Family ipv6{AF_INET6, 128};

bool is_address(const Family& family, const std::string& text) {
    in6_addr address{};
    return ::inet_pton(family.number, text.c_str(), &address) == 1;
}

/// With the length of its prefix.
bool is_cidr(const Family& family, const std::string& text) {
    const std::size_t slash = text.find('/');
    if (slash == std::string::npos || !is_address(family, text.substr(0, slash))) return false;
    const char* begin = text.data() + slash + 1;
    const char* end = text.data() + text.size();
    int length = -1;
    const auto [stop, error] = std::from_chars(begin, end, length);
    return error == std::errc{} && stop == end && length >= 0 && length <= family.bits;
}

struct Wanted {
    std::vector<std::string> addresses;
    std::string gateway;
};

Wanted checked(const Family& family, bool is_static, const std::string& address,
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
