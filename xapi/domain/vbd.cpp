#include "xapi/domain/vbd.hpp"

#include <set>

#include "idl/errors.hpp"
#include "idl/records/sr.hpp"
#include "idl/records/vbd.hpp"
#include "idl/records/vdi.hpp"
#include "idl/records/vm.hpp"
#include "xapi/core/hosts.hpp"
#include "xapi/core/operation.hpp"
#include "xapi/domain/views.hpp"
#include "xapi/domain/vm_rules.hpp"
#include "xapi/domain/vm_spec.hpp"
#include "xapi/domain/words.hpp"

namespace basalt::domain {

namespace {

std::set<std::int64_t> used_positions(const db::Txn& txn, Ref<Vm> vm) {
    std::set<std::int64_t> used;
    for (const auto vbd : txn.get(vm).VBDs)
        used.insert(disk_position(txn.get(vbd).userdevice));
    return used;
}

std::string free_position(const std::set<std::int64_t>& used) {
    std::int64_t position = 0;
    while (used.contains(position))
        ++position;
    return std::to_string(position);
}

void require_free(const std::set<std::int64_t>& used, const std::string& device) {
    const std::int64_t position = disk_position(device);
    if (position < 0) throw err::invalid_device(device);
    if (used.contains(position)) throw err::device_already_exists(device);
}

void require_iso(const db::Txn& txn, Ref<Vdi> disk) {
    const Sr& sr = txn.get(txn.get(disk).SR);
    if (sr.content_type != "iso" && sr.type != "udev")
        throw err::vdi_is_not_iso(disk, sr.content_type);
}

}  // namespace

Task<Ref<Vbd>> VbdDomain::create(Call& call, VbdCreate params) {
    Vbd row = std::move(params.args);
    row.currently_attached = false;
    co_return call.db().transact([&](db::Txn& txn) {
        const Vm& vm = txn.get(row.VM);
        if (vm.is_control_domain && row.type != VbdType::disk)
            throw err::operation_not_allowed("The control domain takes disks only");
        const auto used = used_positions(txn, row.VM);
        if (row.userdevice == "autodetect" || row.userdevice.empty())
            row.userdevice = free_position(used);
        require_free(used, row.userdevice);
        if (row.type == VbdType::cd && row.mode == VbdMode::rw)
            throw err::vbd_cds_must_be_readonly();
        if (row.empty || !row.VDI) {
            if (row.type != VbdType::cd) throw err::vbd_not_removable_media("OpaqueRef:NULL");
            row.empty = true;
            row.VDI = {};
        } else {
            const Vdi& disk = txn.get(row.VDI);
            if (disk.read_only && row.mode == VbdMode::rw) throw err::vdi_readonly(row.VDI);
            if (row.type == VbdType::cd) require_iso(txn, row.VDI);
        }
        row.qos_supported_algorithms = {"ionice"};
        return txn.insert(std::move(row));
    });
}

Task<void> VbdDomain::destroy(Call& call, VbdDestroy params) {
    call.db().transact([&](db::Txn& txn) {
        const Vbd& row = txn.get(params.self);
        if (row.currently_attached)
            throw err::operation_not_allowed("VBD '" + row.uuid + "' still attached to '" +
                                             txn.get(row.VM).uuid + "'");
        if (!row.current_operations.empty())
            throw err::other_operation_in_progress(
                "VBD", params.self, wire_text(row.current_operations.begin()->second),
                row.current_operations.begin()->first);
        txn.erase(params.self);
    });
    co_return;
}

Task<void> VbdDomain::plug(Call& call, VbdPlug params) {
    core::Operation marks(call);
    agent::DiskSpec spec;
    const auto [host, uuid] = call.db().transact([&](db::Txn& txn) {
        require(txn, params.self, VbdOperations::plug);
        marks.mark(txn, params.self, VbdOperations::plug);
        spec = disk_spec(txn, params.self);
        const Vm& vm = txn.get(txn.get(params.self).VM);
        return std::pair{vm.resident_on, vm.uuid};
    });
    co_await call.committed();
    const std::string device = spec.device;
    co_await core_.hosts->agent(host).disk_plug(call.operation(), {uuid, spec});
    call.db().transact_fact([&](db::Txn& txn) {
        Vbd& row = txn.edit(params.self);
        row.currently_attached = true;
        row.device = device;
        marks.unmark(txn);
        call.succeed(txn);
    });
}

Task<void> VbdDomain::unplug(Call& call, VbdUnplug params) {
    return take_out(call, params.self, VbdOperations::unplug);
}

Task<void> VbdDomain::unplug_force(Call& call, VbdUnplugForce params) {
    return take_out(call, params.self, VbdOperations::unplug_force);
}

// There is no check that `unplug_force` would make and this could leave out.
Task<void> VbdDomain::unplug_force_no_safety_check(Call& call, VbdUnplugForceNoSafetyCheck params) {
    return take_out(call, params.self, VbdOperations::unplug_force);
}

Task<void> VbdDomain::take_out(Call& call, Ref<Vbd> vbd, VbdOperations operation) {
    core::Operation marks(call);
    const auto [host, uuid] = call.db().transact([&](db::Txn& txn) {
        require(txn, vbd, operation);
        marks.mark(txn, vbd, operation);
        const Vm& vm = txn.get(txn.get(vbd).VM);
        return std::pair{vm.resident_on, vm.uuid};
    });
    co_await call.committed();
    const std::string device = disk_name(disk_position(call.db().get(vbd).userdevice));
    co_await core_.hosts->agent(host).disk_unplug(
        call.operation(), {uuid, device, operation == VbdOperations::unplug_force});
    call.db().transact_fact([&](db::Txn& txn) {
        txn.edit(vbd).currently_attached = false;
        marks.unmark(txn);
        call.succeed(txn);
    });
}

Task<void> VbdDomain::insert(Call& call, VbdInsert params) {
    core::Operation marks(call);
    const Vm vm = call.db().transact([&](db::Txn& txn) {
        require(txn, params.vbd, VbdOperations::insert);
        require_iso(txn, params.vdi);
        marks.mark(txn, params.vbd, VbdOperations::insert);
        return txn.get(txn.get(params.vbd).VM);
    });
    if (has_domain(vm)) {
        const auto [device, disk] = call.db().transact([&](db::Txn& txn) {
            return std::pair{disk_spec(txn, params.vbd).device, disk_ref(txn, params.vdi)};
        });
        co_await call.committed();
        co_await core_.hosts->agent(vm.resident_on)
            .disk_insert(call.operation(), {vm.uuid, device, disk});
    }
    call.db().transact_fact([&](db::Txn& txn) {
        Vbd& row = txn.edit(params.vbd);
        row.VDI = params.vdi;
        row.empty = false;
        row.currently_attached = has_domain(vm);
        marks.unmark(txn);
        call.succeed(txn);
    });
}

Task<void> VbdDomain::eject(Call& call, VbdEject params) {
    core::Operation marks(call);
    const Vm vm = call.db().transact([&](db::Txn& txn) {
        require(txn, params.vbd, VbdOperations::eject);
        marks.mark(txn, params.vbd, VbdOperations::eject);
        return txn.get(txn.get(params.vbd).VM);
    });
    if (has_domain(vm)) {
        const std::string device = disk_name(disk_position(call.db().get(params.vbd).userdevice));
        co_await call.committed();
        co_await core_.hosts->agent(vm.resident_on).disk_eject(call.operation(), {vm.uuid, device});
    }
    call.db().transact_fact([&](db::Txn& txn) {
        Vbd& row = txn.edit(params.vbd);
        row.VDI = {};
        row.empty = true;
        marks.unmark(txn);
        call.succeed(txn);
    });
}

Task<void> VbdDomain::set_mode(Call& call, VbdSetMode params) {
    call.db().transact([&](db::Txn& txn) {
        const Vbd& row = txn.get(params.self);
        if (row.currently_attached) throw err::vbd_tray_locked(params.self);
        if (row.type == VbdType::cd && params.value == VbdMode::rw)
            throw err::vbd_cds_must_be_readonly();
        txn.edit(params.self).mode = params.value;
    });
    co_return;
}

// No driver of ours can hold a guest's requests back; the real server's cannot either.
Task<std::string> VbdDomain::pause(Call& call, VbdPause params) {
    throw err::sr_operation_not_supported(call.db().get(call.db().get(params.self).VDI).SR);
    co_return std::string();
}

Task<void> VbdDomain::unpause(Call& call, VbdUnpause params) {
    co_await pause(call, {params.self});
}

Task<void> VbdDomain::assert_attachable(Call& call, VbdAssertAttachable params) {
    call.db().transact([&](db::Txn& txn) { require(txn, params.self, VbdOperations::attach); });
    co_return;
}

}  // namespace basalt::domain
