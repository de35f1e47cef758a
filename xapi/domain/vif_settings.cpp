// Class VIF: what rules the frames of an interface, also while a guest uses it.
#include <arpa/inet.h>

#include <algorithm>

#include "base/log.hpp"
#include "idl/errors.hpp"
#include "idl/records/network.hpp"
#include "idl/records/pif.hpp"
#include "idl/records/vif.hpp"
#include "idl/records/vm.hpp"
#include "idl/runtime/enum_text.hpp"
#include "xapi/core/hosts.hpp"
#include "xapi/domain/vif.hpp"
#include "xapi/domain/vm_spec.hpp"
#include "xapi/domain/words.hpp"

namespace basalt::domain {

namespace {

using Addresses = std::vector<std::string>;

struct Family {
    int number;
    const char* field;
};

constexpr Family ipv4{AF_INET, "ipv4_allowed"};
constexpr Family ipv6{AF_INET6, "ipv6_allowed"};

void require_address(const Family& family, const std::string& text) {
    in6_addr address{};
    if (inet_pton(family.number, text.c_str(), &address) != 1)
        throw err::invalid_ip_address_specified(family.field);
}

template <class T>
void add_once(std::vector<T>& list, const T& item) {
    if (std::ranges::find(list, item) == list.end()) list.push_back(item);
}

void require_tag(std::int64_t tag) {
    constexpr std::int64_t tag_max = 4094;
    if (tag < 1 || tag > tag_max) throw err::vlan_tag_invalid(tag);
}

// A network that is a VLAN has one tag, and guests do not get out of it by another.
void require_trunkable(const db::Database& db, Ref<Network> network) {
    for (const auto pif : db.get(network).PIFs)
        if (db.get(pif).VLAN >= 0) throw err::network_incompatible_with_trunks(network);
}

Addresses checked(const Family& family, const Addresses& given) {
    Addresses addresses;
    for (const std::string& address : given) {
        require_address(family, address);
        add_once(addresses, address);
    }
    return addresses;
}

/// Where a guest has the interface: what its host must be told.
struct Live {
    Ref<Host> host;
    std::string vm;
    agent::NicSpec nic;
};

/// In a list for as long as it lives.
class Listed {
  public:
    Listed(std::multiset<Ref<Vif>>& list, Ref<Vif> vif) : list_(list), place_(list.insert(vif)) {}

    Listed(const Listed&) = delete;
    Listed& operator=(const Listed&) = delete;

    ~Listed() { list_.erase(place_); }

  private:
    std::multiset<Ref<Vif>>& list_;
    std::multiset<Ref<Vif>>::iterator place_;
};

// A VM that is being started, moved or stopped takes its interfaces as they are in this moment.
void require_steady(Ref<Vm> ref, const Vm& vm) {
    if (vm.current_operations.empty()) return;
    const auto& [task, operation] = *vm.current_operations.begin();
    throw err::other_operation_in_progress("VM", ref, wire_text(operation), task);
}

bool ruled_alike(const agent::NicSpec& one, const agent::NicSpec& other) {
    return one.bridge == other.bridge && one.locked == other.locked && one.ipv4 == other.ipv4 &&
           one.ipv6 == other.ipv6 && one.disabled == other.disabled && one.trunks == other.trunks;
}

}  // namespace

Task<void> VifDomain::change(Call& call, Ref<Vif> vif, Edit edit) {
    const Listed listed(changing_, vif);
    const ObjectQueue::Lease turn = co_await changes_.acquire(vif.text());
    const std::optional<Live> live = call.db().transact([&](db::Txn& txn) -> std::optional<Live> {
        Vif row = txn.get(vif);
        const Vm& vm = txn.get(row.VM);
        require_steady(row.VM, vm);
        const bool in_guest = row.currently_attached && vm.resident_on;
        edit(row);
        if (in_guest) return Live{vm.resident_on, vm.uuid, nic_spec(txn, row)};
        edit(txn.edit(vif));
        return std::nullopt;
    });
    if (!live) co_return;
    co_await call.committed();
    co_await core_.hosts->agent(live->host).nic_change(call.operation(), {live->vm, live->nic});
    call.db().transact_fact([&](db::Txn& txn) {
        if (txn.find(vif) != nullptr) edit(txn.edit(vif));
        call.succeed(txn);
    });
}

Task<void> VifDomain::move(Call& call, VifMove params) {
    if (call.db().find(params.network) == nullptr)
        throw err::handle_invalid("network", params.network);
    if (!call.db().get(params.self).trunks.empty()) require_trunkable(call.db(), params.network);
    return change(call, params.self,
                  [network = params.network](Vif& row) { row.network = network; });
}

Task<void> VifDomain::set_locking_mode(Call& call, VifSetLockingMode params) {
    return change(call, params.self, [mode = params.value](Vif& row) { row.locking_mode = mode; });
}

Task<void> VifDomain::set_ipv4_allowed(Call& call, VifSetIpv4Allowed params) {
    return change(call, params.self, [addresses = checked(ipv4, params.value)](Vif& row) {
        row.ipv4_allowed = addresses;
    });
}

Task<void> VifDomain::add_ipv4_allowed(Call& call, VifAddIpv4Allowed params) {
    require_address(ipv4, params.value);
    return change(call, params.self,
                  [address = params.value](Vif& row) { add_once(row.ipv4_allowed, address); });
}

Task<void> VifDomain::remove_ipv4_allowed(Call& call, VifRemoveIpv4Allowed params) {
    return change(call, params.self,
                  [address = params.value](Vif& row) { std::erase(row.ipv4_allowed, address); });
}

Task<void> VifDomain::set_ipv6_allowed(Call& call, VifSetIpv6Allowed params) {
    return change(call, params.self, [addresses = checked(ipv6, params.value)](Vif& row) {
        row.ipv6_allowed = addresses;
    });
}

Task<void> VifDomain::add_ipv6_allowed(Call& call, VifAddIpv6Allowed params) {
    require_address(ipv6, params.value);
    return change(call, params.self,
                  [address = params.value](Vif& row) { add_once(row.ipv6_allowed, address); });
}

Task<void> VifDomain::remove_ipv6_allowed(Call& call, VifRemoveIpv6Allowed params) {
    return change(call, params.self,
                  [address = params.value](Vif& row) { std::erase(row.ipv6_allowed, address); });
}

Task<void> VifDomain::set_trunks(Call& call, VifSetTrunks params) {
    std::vector<std::int64_t> tags;
    for (const std::int64_t tag : params.value) {
        require_tag(tag);
        add_once(tags, tag);
    }
    if (!tags.empty()) require_trunkable(call.db(), call.db().get(params.self).network);
    return change(call, params.self, [tags](Vif& row) { row.trunks = tags; });
}

Task<void> VifDomain::add_trunks(Call& call, VifAddTrunks params) {
    require_tag(params.value);
    require_trunkable(call.db(), call.db().get(params.self).network);
    return change(call, params.self, [tag = params.value](Vif& row) { add_once(row.trunks, tag); });
}

Task<void> VifDomain::remove_trunks(Call& call, VifRemoveTrunks params) {
    return change(call, params.self,
                  [tag = params.value](Vif& row) { std::erase(row.trunks, tag); });
}

std::vector<VifDomain::Misruled> VifDomain::misruled(
    Ref<Host> host, const std::vector<agent::DomainInfo>& domains) {
    return core_.db.transact_fact([&](db::Txn& txn) {
        std::vector<Misruled> found;
        for (const agent::DomainInfo& domain : domains) {
            const auto vm = core_.db.by_uuid<Vm>(domain.uuid);
            if (!vm || !domain.spec || txn.get(*vm).resident_on != host) continue;
            for (const auto vif : txn.get(*vm).VIFs) {
                const agent::NicSpec wanted = nic_spec(txn, vif);
                const auto& nics = domain.spec->nics;
                const auto at = std::ranges::find(nics, wanted.vif, &agent::NicSpec::vif);
                if (at != nics.end() && !ruled_alike(*at, wanted) && !changing_.contains(vif))
                    found.push_back({domain.uuid, wanted});
            }
        }
        return found;
    });
}

Task<void> VifDomain::align(Ref<Host> host, agent::Host& agent,
                            std::vector<agent::DomainInfo> domains, NextOperation next) {
    for (const Misruled& wrong : misruled(host, domains)) {
        std::string failure;
        try {
            co_await agent.nic_change(next(), {wrong.vm, wrong.nic});
        } catch (const ApiError& error) {
            failure = error.what();
        }
        log::info("interface_aligned",
                  {{"vm", wrong.vm}, {"vif", wrong.nic.vif}, {"error", failure}});
    }
}

}  // namespace basalt::domain
