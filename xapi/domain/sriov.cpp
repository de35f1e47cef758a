#include "xapi/domain/sriov.hpp"

#include <algorithm>

#include "base/log.hpp"
#include "base/undo.hpp"
#include "idl/errors.hpp"
#include "idl/records/host.hpp"
#include "idl/records/network_sriov.hpp"
#include "idl/records/pci.hpp"
#include "idl/records/vif.hpp"
#include "idl/records/vlan.hpp"
#include "xapi/core/hosts.hpp"
#include "xapi/domain/pci.hpp"
#include "xapi/domain/words.hpp"

namespace basalt::domain {

namespace {

constexpr std::int64_t no_vlan = -1;
// Clients know it as that of an interface which has none of its own.
constexpr const char* no_mac = "fe:ff:ff:ff:ff:ff";

const Pci* device_of(const db::Txn& txn, Ref<Pif> physical) {
    const Pif* pif = txn.find(physical);
    return pif == nullptr ? nullptr : txn.find(pif->PCI);
}

bool are_alike(const Pci* one, const Pci* other) {
    return one != nullptr && other != nullptr && one->vendor_id == other->vendor_id &&
           one->device_id == other->device_id;
}

void require_compatible(const db::Txn& txn, const NetworkSriovCreate& params) {
    const Ref<Host> host = txn.get(params.pif).host;
    const std::vector<Ref<Pif>> present = txn.get(params.network).PIFs;
    for (const Ref<Pif> pif : present)
        if (txn.get(pif).host == host) throw err::network_already_connected(params.network, pif);
    if (present.empty()) return;
    const Ref<NetworkSriov> other = sriov_of_logical(txn, present.front());
    if (!other) throw err::network_incompatible_with_sriov(params.network);
    if (!are_alike(device_of(txn, params.pif), device_of(txn, txn.get(other).physical_PIF)))
        throw err::network_has_incompatible_sriov_pifs(params.pif, params.network);
}

void require_divisible(const db::Txn& txn, const NetworkSriovCreate& params) {
    const Pif& pif = txn.get(params.pif);
    if (!txn.get(params.network).managed) throw err::network_unmanaged(params.network);
    if (!pif.managed) throw err::pif_unmanaged(params.pif);
    if (!pif.physical) throw err::pif_is_not_physical(params.pif);
    if (sriov_of_physical(txn, params.pif)) throw err::network_sriov_already_enabled(params.pif);
    if (!std::ranges::contains(pif.capabilities, "sriov"))
        throw err::pif_is_not_sriov_capable(params.pif);
    require_compatible(txn, params);
}

struct Made {
    Ref<NetworkSriov> sriov;
    Ref<Pif> logical;
};

Made insert_rows(db::Txn& txn, const NetworkSriovCreate& params) {
    const Pif card = txn.get(params.pif);
    Pif pif;
    pif.device = card.device;
    pif.device_name = card.device;
    pif.host = card.host;
    pif.network = params.network;
    pif.MAC = no_mac;
    pif.MTU = card.MTU;
    pif.VLAN = no_vlan;
    pif.metrics = card.metrics;
    pif.primary_address_type = card.primary_address_type;
    pif.physical = false;
    pif.currently_attached = false;
    Made made;
    made.logical = txn.insert(std::move(pif));
    made.sriov = txn.insert(NetworkSriov{.logical_PIF = made.logical, .physical_PIF = params.pif});
    return made;
}

SriovConfigurationMode mode_of(const std::string& word) {
    return word == "manual" ? SriovConfigurationMode::manual : SriovConfigurationMode::sysfs;
}

template <class Match>
Ref<NetworkSriov> find_sriov(const db::Txn& txn, Match match) {
    Ref<NetworkSriov> found;
    txn.each<NetworkSriov>([&](Ref<NetworkSriov> ref, const NetworkSriov& row) {
        if (match(row)) found = ref;
    });
    return found;
}

}  // namespace

Ref<NetworkSriov> sriov_of_logical(const db::Txn& txn, Ref<Pif> pif) {
    return find_sriov(txn, [pif](const NetworkSriov& row) { return row.logical_PIF == pif; });
}

Ref<NetworkSriov> sriov_of_physical(const db::Txn& txn, Ref<Pif> pif) {
    return find_sriov(txn, [pif](const NetworkSriov& row) { return row.physical_PIF == pif; });
}

bool is_sriov_network(const db::Txn& txn, const Network& network) {
    return std::ranges::any_of(
        network.PIFs, [&](Ref<Pif> pif) { return static_cast<bool>(sriov_of_logical(txn, pif)); });
}

std::int64_t remaining_capacity(const db::Txn& txn, const NetworkSriov& sriov) {
    const Pif* card = txn.find(sriov.physical_PIF);
    if (card == nullptr) return 0;
    return static_cast<std::int64_t>(free_functions(txn, card->PCI).size());
}

Task<void> divide(core::Core& core, Call& call, Ref<NetworkSriov> sriov, bool divided) {
    const NetworkSriov row = call.db().get(sriov);
    const Ref<Host> host = call.db().get(row.logical_PIF).host;
    const Pci* device = call.db().find(call.db().get(row.physical_PIF).PCI);
    const std::string address = device == nullptr ? std::string() : device->pci_id;
    agent::Host& agent = core.hosts->agent(host);
    std::string mode;
    std::string failure;
    try {
        // What somebody else made is not ours to take away.
        if (divided || row.configuration_mode == SriovConfigurationMode::sysfs)
            mode = co_await agent.pci_functions(call.operation(), {address, divided});
    } catch (const ApiError& error) {
        failure = error.params().empty() ? error.code() : error.params().back();
    }
    if (!failure.empty() && divided)
        throw err::network_sriov_enable_failed(row.logical_PIF, failure);
    if (!failure.empty()) throw err::network_sriov_disable_failed(row.logical_PIF, failure);
    const std::vector<agent::PciFacts> devices = co_await agent.pci_devices({});
    call.db().transact_fact([&](db::Txn& txn) {
        land_pci_devices(txn, host, devices);
        if (NetworkSriov& now = txn.edit(sriov);
            divided && now.configuration_mode == SriovConfigurationMode::unknown)
            now.configuration_mode = mode_of(mode);
        txn.edit(row.logical_PIF).currently_attached = divided;
    });
}

Task<void> divide_again(core::Core& core, Ref<Host> host, agent::Host& agent, NextOperation next) {
    std::vector<NetworkSriov> divided;
    core.db.each<NetworkSriov>([&](Ref<NetworkSriov>, const NetworkSriov& row) {
        const Pif* pif = core.db.find(row.logical_PIF);
        if (pif != nullptr && pif->host == host && pif->currently_attached &&
            row.configuration_mode == SriovConfigurationMode::sysfs)
            divided.push_back(row);
    });
    for (const NetworkSriov& row : divided) {
        const Pif* card = core.db.find(row.physical_PIF);
        const Pci* device = card == nullptr ? nullptr : core.db.find(card->PCI);
        const std::string address = device == nullptr ? std::string() : device->pci_id;
        std::string failure;
        try {
            (void)co_await agent.pci_functions(next(), {address, true});
        } catch (const ApiError& error) {
            failure = error.what();
        }
        if (failure.empty()) continue;
        log::warn("card_not_divided", {{"pci", address}, {"error", failure}});
        core.db.transact_fact([&](db::Txn& txn) {
            if (txn.find(row.logical_PIF) != nullptr)
                txn.edit(row.logical_PIF).currently_attached = false;
        });
    }
}

Task<Ref<NetworkSriov>> NetworkSriovDomain::create(Call& call, NetworkSriovCreate params) {
    Made made;
    const Ref<Host> host = call.db().get(params.pif).host;
    core::Core& core = core_;
    Networks& networks = networks_;
    co_await with_undo([&](Undo& undo) -> Task<void> {
        made = call.db().transact([&](db::Txn& txn) {
            require_divisible(txn, params);
            return insert_rows(txn, params);
        });
        undo.push("erase rows", [&call, made]() -> Task<void> {
            call.db().transact_fact([&](db::Txn& txn) {
                txn.erase(made.sriov);
                txn.erase(made.logical);
            });
            co_return;
        });
        co_await call.committed();
        co_await divide(core, call, made.sriov, true);
        undo.push("make it whole",
                  [&core, &call, made] { return divide(core, call, made.sriov, false); });
        // A network without interfaces was a bridge of each host.
        co_await networks.apply(call, host);
    });
    co_return made.sriov;
}

Task<void> NetworkSriovDomain::destroy(Call& call, NetworkSriovDestroy params) {
    const Ref<Pif> logical = call.db().transact([&](db::Txn& txn) {
        const Ref<Pif> pif = txn.get(params.self).logical_PIF;
        if (!txn.get(pif).VLAN_slave_of.empty()) throw err::pif_vlan_still_exists(pif);
        for (const Ref<Vif> vif : txn.get(txn.get(pif).network).VIFs)
            if (txn.get(vif).currently_attached) throw err::vif_in_use(txn.get(pif).network, vif);
        return pif;
    });
    const Ref<Host> host = call.db().get(logical).host;
    if (call.db().get(logical).currently_attached) co_await divide(core_, call, params.self, false);
    call.db().transact_fact([&](db::Txn& txn) {
        txn.erase(params.self);
        txn.erase(logical);
    });
    co_await networks_.apply(call, host);
}

Task<std::int64_t> NetworkSriovDomain::get_remaining_capacity(
    Call& call, NetworkSriovGetRemainingCapacity params) {
    co_return call.db().transact(
        [&](db::Txn& txn) { return remaining_capacity(txn, txn.get(params.self)); });
}

}  // namespace basalt::domain
