#include "xapi/domain/usb.hpp"

#include <algorithm>

#include "base/log.hpp"
#include "base/undo.hpp"
#include "idl/errors.hpp"
#include "idl/records/host.hpp"
#include "idl/records/pusb.hpp"
#include "idl/records/usb_group.hpp"
#include "idl/runtime/enum_text.hpp"
#include "xapi/core/hosts.hpp"
#include "xapi/core/operation.hpp"
#include "xapi/domain/features.hpp"
#include "xapi/domain/vm_rules.hpp"
#include "xapi/domain/words.hpp"
#include "xapi/rules/device_ops.hpp"

namespace basalt::domain {

namespace {

constexpr std::size_t vusbs_max = 6;  // of a VM
// A guest that must come back by itself on another host cannot have a device of this one.
constexpr const char* restarted_elsewhere = "restart";

bool is_same(const Pusb& row, const agent::UsbFacts& device) {
    return row.path == device.path && row.vendor_id == device.vendor_id &&
           row.product_id == device.product_id && row.serial == device.serial;
}

std::string joined(const std::string& maker, const std::string& product) {
    return maker.empty() || product.empty() ? maker + product : maker + " " + product;
}

/// The VUSB of the group; a group has one at most.
Ref<Vusb> vusb_of(const db::Txn& txn, Ref<UsbGroup> group) {
    Ref<Vusb> found;
    txn.each<Vusb>([&](Ref<Vusb> ref, const Vusb& row) {
        if (row.USB_group == group) found = ref;
    });
    return found;
}

/// That of the group which `host` has; the first, should it have several.
Ref<Pusb> pusb_of(const db::Txn& txn, Ref<UsbGroup> group, Ref<Host> host) {
    Ref<Pusb> found;
    txn.each<Pusb>([&](Ref<Pusb> ref, const Pusb& row) {
        if (!found && row.USB_group == group && row.host == host) found = ref;
    });
    return found;
}

bool can_give(const db::Txn& txn, Ref<UsbGroup> group, Ref<Host> host) {
    const Pusb* device = txn.find(pusb_of(txn, group, host));
    return device != nullptr && device->passthrough_enabled;
}

// Devices of one kind share a group across hosts, so that a VM may start on any of these. Of one
// host they do not: each can then be given to a VM of its own.
Ref<UsbGroup> group_for(db::Txn& txn, Ref<Host> host, const agent::UsbFacts& device) {
    Ref<UsbGroup> found;
    txn.each<Pusb>([&](Ref<Pusb>, const Pusb& row) {
        const bool alike = row.vendor_id == device.vendor_id && row.product_id == device.product_id;
        if (!found && alike && !pusb_of(txn, row.USB_group, host)) found = row.USB_group;
    });
    if (found) return found;
    return txn.insert(
        UsbGroup{.name_label = "Group of " + device.vendor_id + " " + device.product_id + " USBs"});
}

void add_pusb(db::Txn& txn, Ref<Host> host, const agent::UsbFacts& device) {
    const Ref<UsbGroup> group = group_for(txn, host, device);
    txn.insert(Pusb{.USB_group = group,
                    .description = joined(device.vendor_desc, device.product_desc),
                    .host = host,
                    .path = device.path,
                    .product_desc = device.product_desc,
                    .product_id = device.product_id,
                    .serial = device.serial,
                    .speed = device.speed_mbps,
                    .vendor_desc = device.vendor_desc,
                    .vendor_id = device.vendor_id,
                    .version = device.version});
}

bool has_pusbs(const db::Txn& txn, Ref<UsbGroup> group) {
    bool found = false;
    txn.each<Pusb>([&](Ref<Pusb>, const Pusb& row) { found |= row.USB_group == group; });
    return found;
}

// A group stays for the VM that wants a device of it: it may be plugged in again.
void erase_pusb(db::Txn& txn, Ref<Pusb> pusb) {
    const Ref<UsbGroup> group = txn.get(pusb).USB_group;
    txn.erase(pusb);
    if (txn.find(group) != nullptr && !has_pusbs(txn, group) && !vusb_of(txn, group))
        txn.erase(group);
}

agent::UsbSpec usb_spec(const Vusb& vusb, const Pusb& device) {
    return {.vusb = vusb.uuid,
            .path = device.path,
            .vendor_id = device.vendor_id,
            .product_id = device.product_id};
}

void require_room(const db::Txn& txn, const VusbCreate& params) {
    require_feature(txn, usb_feature);
    const Vm& vm = txn.get(params.VM);
    (void)txn.get(params.USB_group);
    if (vm.is_control_domain)
        throw err::operation_not_allowed("The control domain has the host's devices already");
    if (vm.is_a_snapshot) throw err::vm_is_snapshot(params.VM, "create_vusb");
    if (vm.power_state == VmPowerState::suspended)
        throw err::vm_bad_power_state(params.VM, "halted", "suspended");
    if (vm.ha_restart_priority == restarted_elsewhere)
        throw err::operation_not_allowed(
            "The VM is restarted on other hosts (ha_restart_priority), which lack the device");
    if (vm.VUSBs.size() >= vusbs_max) throw err::too_many_vusbs(std::to_string(vusbs_max));
    if (vusb_of(txn, params.USB_group)) throw err::usb_group_conflict(params.USB_group);
    if (!has_domain(vm) || can_give(txn, params.USB_group, vm.resident_on)) return;
    if (!has_pusbs(txn, params.USB_group)) throw err::usb_group_contains_no_pusbs(params.USB_group);
    throw err::vm_requires_vusb(params.VM, params.USB_group);
}

Task<void> take_out(core::Core& core, Call& call, Ref<Vusb> vusb) {
    core::Operation marks(call);
    const auto [host, vm] = call.db().transact([&](db::Txn& txn) {
        const Vusb& row = txn.get(vusb);
        const Vm& owner = txn.get(row.VM);
        if (!has_domain(owner))
            throw err::vm_bad_power_state(row.VM, "running",
                                          rules::power_state_text(owner.power_state));
        if (!row.currently_attached) throw err::device_already_detached(vusb);
        if (!row.current_operations.empty()) {
            const auto& [task, op] = *row.current_operations.begin();
            throw err::other_operation_in_progress("VUSB", vusb, wire_text(op), task);
        }
        marks.mark(txn, vusb, VusbOperations::unplug);
        return std::pair{owner.resident_on, owner.uuid};
    });
    const std::string uuid = call.db().get(vusb).uuid;
    co_await call.committed();
    co_await core.hosts->agent(host).usb_unplug(call.operation(), {vm, uuid});
    call.db().transact_fact([&](db::Txn& txn) {
        if (txn.find(vusb) != nullptr) txn.edit(vusb).currently_attached = false;
        marks.unmark(txn);
    });
}

template <class R>
std::string references(const std::vector<Ref<R>>& refs) {
    std::string out;
    for (const Ref<R> ref : refs)
        out += (out.empty() ? "" : ",") + ref.text();
    return out;
}

}  // namespace

std::vector<Ref<Vusb>> land_usb_devices(db::Txn& txn, Ref<Host> host,
                                        const std::vector<agent::UsbFacts>& devices) {
    std::vector<Ref<Pusb>> gone;
    std::vector<agent::UsbFacts> fresh = devices;
    txn.each<Pusb>([&](Ref<Pusb> ref, const Pusb& row) {
        if (row.host != host) return;
        const auto same = [&row](const agent::UsbFacts& one) { return is_same(row, one); };
        if (std::erase_if(fresh, same) == 0) gone.push_back(ref);
    });
    std::vector<Ref<Vusb>> bereft;
    for (const Ref<Pusb> pusb : gone) {
        const Ref<Vusb> user = vusb_of(txn, txn.get(pusb).USB_group);
        const Vusb* row = txn.find(user);
        if (row != nullptr && row->currently_attached && txn.get(row->VM).resident_on == host)
            bereft.push_back(user);
        erase_pusb(txn, pusb);
    }
    for (const agent::UsbFacts& device : fresh)
        add_pusb(txn, host, device);
    return bereft;
}

std::optional<Ref<UsbGroup>> missing_usb_group(const db::Txn& txn, const Vm& vm, Ref<Host> host) {
    for (const Ref<Vusb> vusb : vm.VUSBs) {
        const Vusb* row = txn.find(vusb);
        if (row != nullptr && !can_give(txn, row->USB_group, host)) return row->USB_group;
    }
    return std::nullopt;
}

std::vector<agent::UsbSpec> usb_specs(const db::Txn& txn, const Vm& vm, Ref<Host> host) {
    std::vector<agent::UsbSpec> out;
    for (const Ref<Vusb> vusb : vm.VUSBs) {
        const Vusb& row = txn.get(vusb);
        // One that was pulled out keeps no guest from booting again.
        if (can_give(txn, row.USB_group, host))
            out.push_back(usb_spec(row, txn.get(pusb_of(txn, row.USB_group, host))));
    }
    return out;
}

void erase_vusbs(db::Txn& txn, const Vm& vm) {
    for (const Ref<Vusb> vusb : vm.VUSBs)
        if (txn.find(vusb) != nullptr) txn.erase(vusb);
}

// -- PUSB -----------------------------------------------------------------------------------------

Task<void> PusbDomain::scan(Call& call, PusbScan params) {
    (void)call.db().get(params.host);
    const std::vector<agent::UsbFacts> devices =
        co_await core_.hosts->agent(params.host).usb_devices({});
    const auto bereft = call.db().transact_fact(
        [&](db::Txn& txn) { return land_usb_devices(txn, params.host, devices); });
    for (const Ref<Vusb> vusb : bereft) {
        std::string failure;
        try {
            co_await take_out(core_, call, vusb);
        } catch (const ApiError& error) {
            failure = error.what();
        }
        if (!failure.empty()) log::warn("vusb_kept", {{"vusb", vusb.text()}, {"error", failure}});
    }
}

Task<void> PusbDomain::set_passthrough_enabled(Call& call, PusbSetPassthroughEnabled params) {
    call.db().transact([&](db::Txn& txn) {
        const Pusb& row = txn.get(params.self);
        const Vusb* user = txn.find(vusb_of(txn, row.USB_group));
        const bool in_use = user != nullptr && user->currently_attached &&
                            txn.get(user->VM).resident_on == row.host;
        if (!params.value && in_use) throw err::usb_already_attached(params.self, user->VM);
        txn.edit(params.self).passthrough_enabled = params.value;
    });
    co_return;
}

// -- USB_group ------------------------------------------------------------------------------------

Task<Ref<UsbGroup>> UsbGroupDomain::create(Call& call, UsbGroupCreate params) {
    co_return call.db().transact([&](db::Txn& txn) {
        return txn.insert(UsbGroup{.name_description = std::move(params.name_description),
                                   .name_label = std::move(params.name_label),
                                   .other_config = std::move(params.other_config)});
    });
}

Task<void> UsbGroupDomain::destroy(Call& call, UsbGroupDestroy params) {
    call.db().transact([&](db::Txn& txn) {
        const UsbGroup& row = txn.get(params.self);
        if (!row.PUSBs.empty()) throw err::usb_group_contains_pusb(references(row.PUSBs));
        if (!row.VUSBs.empty()) throw err::usb_group_contains_vusb(references(row.VUSBs));
        txn.erase(params.self);
    });
    co_return;
}

// -- VUSB -----------------------------------------------------------------------------------------

Task<Ref<Vusb>> VusbDomain::create(Call& call, VusbCreate params) {
    Ref<Vusb> made;
    co_await with_undo([&](Undo& undo) -> Task<void> {
        const bool runs = call.db().transact([&](db::Txn& txn) {
            require_room(txn, params);
            made = txn.insert(Vusb{.USB_group = params.USB_group,
                                   .VM = params.VM,
                                   .other_config = params.other_config});
            return has_domain(txn.get(params.VM));
        });
        if (!runs) co_return;
        undo.push("erase VUSB", [&call, made]() -> Task<void> {
            call.db().transact_fact([&](db::Txn& txn) {
                if (txn.find(made) != nullptr) txn.erase(made);
            });
            co_return;
        });
        co_await plug(call, made);
    });
    co_return made;
}

Task<void> VusbDomain::plug(Call& call, Ref<Vusb> vusb) {
    core::Operation marks(call);
    agent::UsbSpec spec;
    const auto [host, vm] = call.db().transact([&](db::Txn& txn) {
        const Vusb& row = txn.get(vusb);
        const Vm& owner = txn.get(row.VM);
        spec = usb_spec(row, txn.get(pusb_of(txn, row.USB_group, owner.resident_on)));
        marks.mark(txn, vusb, VusbOperations::plug);
        return std::pair{owner.resident_on, owner.uuid};
    });
    co_await call.committed();
    co_await core_.hosts->agent(host).usb_plug(call.operation(), {vm, spec});
    call.db().transact_fact([&](db::Txn& txn) {
        txn.edit(vusb).currently_attached = true;
        marks.unmark(txn);
    });
}

Task<void> VusbDomain::unplug(Call& call, VusbUnplug params) {
    return take_out(core_, call, params.self);
}

Task<void> VusbDomain::destroy(Call& call, VusbDestroy params) {
    call.db().transact([&](db::Txn& txn) {
        const Vusb& row = txn.get(params.self);
        if (row.currently_attached)
            throw err::operation_not_allowed("VUSB '" + row.uuid + "' still attached to '" +
                                             txn.get(row.VM).uuid + "'");
        txn.erase(params.self);
    });
    co_return;
}

}  // namespace basalt::domain
