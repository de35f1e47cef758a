#include "xapi/domain/pci.hpp"

#include <algorithm>
#include <map>
#include <set>

#include "idl/errors.hpp"
#include "idl/records/host.hpp"
#include "idl/records/pci.hpp"
#include "idl/records/pif.hpp"
#include "idl/records/pif_metrics.hpp"
#include "xapi/core/hosts.hpp"
#include "xapi/domain/words.hpp"

namespace basalt::domain {

namespace {

constexpr const char* divisible = "sriov";

// Base classes of the PCI Code and ID Assignment Specification.
bool is_managed_class(const std::string& class_id) {
    return class_id.starts_with("01") || class_id.starts_with("02") || class_id.starts_with("03");
}

/// Those that get rows, by address.
std::map<std::string, agent::PciFacts> managed(const std::vector<agent::PciFacts>& devices) {
    std::set<std::string> wanted;
    for (const agent::PciFacts& one : devices) {
        if (!is_managed_class(one.class_id)) continue;
        wanted.insert(one.address);
        wanted.insert(one.related.begin(), one.related.end());
    }
    std::map<std::string, agent::PciFacts> out;
    for (const agent::PciFacts& one : devices)
        if (wanted.contains(one.address)) out.emplace(one.address, one);
    return out;
}

void describe(Pci& row, const agent::PciFacts& facts) {
    row.class_id = facts.class_id;
    row.class_name = facts.class_name;
    row.vendor_name = facts.vendor_name;
    row.device_name = facts.device_name;
    row.driver_name = facts.driver;
    row.subsystem_vendor_id = facts.subsystem_vendor_id;
    row.subsystem_vendor_name = facts.subsystem_vendor_name;
    row.subsystem_device_id = facts.subsystem_device_id;
    row.subsystem_device_name = facts.subsystem_device_name;
}

/// Another card in the same place is another device.
bool is_same(const Pci& row, const agent::PciFacts& facts) {
    return row.vendor_id == facts.vendor_id && row.device_id == facts.device_id;
}

using ByAddress = std::map<std::string, Ref<Pci>>;

Ref<Pci> at(const ByAddress& rows, const std::string& address) {
    const auto found = rows.find(address);
    return found == rows.end() ? Ref<Pci>() : found->second;
}

ByAddress update_rows(db::Txn& txn, Ref<Host> host,
                      const std::map<std::string, agent::PciFacts>& devices) {
    ByAddress rows;
    std::vector<Ref<Pci>> gone;
    txn.each<Pci>([&](Ref<Pci> ref, const Pci& row) {
        if (row.host != host) return;
        const auto found = devices.find(row.pci_id);
        const bool stays = found != devices.end() && is_same(row, found->second);
        if (!stays || !rows.emplace(row.pci_id, ref).second) gone.push_back(ref);
    });
    for (const Ref<Pci> ref : gone)
        txn.erase(ref);
    for (const auto& [address, facts] : devices) {
        Pci row;
        if (const Ref<Pci> known = at(rows, address)) row = txn.get(known);
        const Pci before = row;
        describe(row, facts);
        if (const Ref<Pci> known = at(rows, address)) {
            if (row != before) txn.edit(known) = std::move(row);
            continue;
        }
        row.host = host;
        row.pci_id = address;
        row.vendor_id = facts.vendor_id;
        row.device_id = facts.device_id;
        rows.emplace(address, txn.insert(std::move(row)));
    }
    return rows;
}

void join_rows(db::Txn& txn, const ByAddress& rows,
               const std::map<std::string, agent::PciFacts>& devices) {
    for (const auto& [address, ref] : rows) {
        const agent::PciFacts& facts = devices.at(address);
        std::vector<Ref<Pci>> dependencies;
        for (const std::string& other : facts.related)
            if (const Ref<Pci> found = at(rows, other)) dependencies.push_back(found);
        const Ref<Pci> card = at(rows, facts.physical_function);
        const Pci& row = txn.get(ref);
        if (row.dependencies != dependencies) txn.edit(ref).dependencies = std::move(dependencies);
        if (txn.get(ref).physical_function != card) txn.edit(ref).physical_function = card;
    }
}

void join_interfaces(db::Txn& txn, Ref<Host> host, const ByAddress& rows,
                     const std::map<std::string, agent::PciFacts>& devices) {
    std::vector<Ref<Pif>> pifs;
    txn.each<Pif>([&](Ref<Pif> ref, const Pif& row) {
        if (row.host == host && row.physical) pifs.push_back(ref);
    });
    for (const Ref<Pif> ref : pifs) {
        const Pif& pif = txn.get(ref);
        const PifMetrics* metrics = txn.find(pif.metrics);
        const std::string address = metrics == nullptr ? "" : metrics->pci_bus_path;
        const Ref<Pci> device = at(rows, address);
        const bool able = device && devices.at(address).functions_max > 0;
        std::vector<std::string> capabilities = pif.capabilities;
        std::erase(capabilities, divisible);
        if (able) capabilities.emplace_back(divisible);
        if (pif.PCI == device && pif.capabilities == capabilities) continue;
        Pif& row = txn.edit(ref);
        row.PCI = device;
        row.capabilities = std::move(capabilities);
    }
}

PciDom0Access access_of(const std::string& address, const agent::PciHiding& hiding) {
    const bool now = std::ranges::contains(hiding.now, address);
    const bool next = std::ranges::contains(hiding.next, address);
    if (now) return next ? PciDom0Access::disabled : PciDom0Access::enable_on_reboot;
    return next ? PciDom0Access::disable_on_reboot : PciDom0Access::enabled;
}

}  // namespace

void land_pci_devices(db::Txn& txn, Ref<Host> host, const std::vector<agent::PciFacts>& devices) {
    const std::map<std::string, agent::PciFacts> wanted = managed(devices);
    const ByAddress rows = update_rows(txn, host, wanted);
    join_rows(txn, rows, wanted);
    join_interfaces(txn, host, rows, wanted);
}

// By the functions' own rows: within a transaction the device's set of them is as it was before.
std::vector<Ref<Pci>> free_functions(const db::Txn& txn, Ref<Pci> device) {
    std::vector<Ref<Pci>> out;
    if (!device) return out;
    txn.each<Pci>([&](Ref<Pci> ref, const Pci& row) {
        if (row.physical_function == device && row.attached_VMs.empty() &&
            txn.find(row.scheduled_to_be_attached_to) == nullptr)
            out.push_back(ref);
    });
    return out;
}

Task<PciDom0Access> PciDomain::change(Call& call, Ref<Pci> device, bool hidden) {
    const Pci row = call.db().get(device);
    const agent::PciHiding hiding =
        co_await core_.hosts->agent(row.host).pci_hide(call.operation(), {row.pci_id, hidden});
    co_return access_of(row.pci_id, hiding);
}

Task<PciDom0Access> PciDomain::disable_dom0_access(Call& call, PciDisableDom0Access params) {
    return change(call, params.self, true);
}

Task<PciDom0Access> PciDomain::enable_dom0_access(Call& call, PciEnableDom0Access params) {
    return change(call, params.self, false);
}

Task<PciDom0Access> PciDomain::get_dom0_access_status(Call& call, PciGetDom0AccessStatus params) {
    const Pci row = call.db().get(params.self);
    co_return access_of(row.pci_id, co_await core_.hosts->agent(row.host).pci_hiding({}));
}

}  // namespace basalt::domain
