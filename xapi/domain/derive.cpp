#include "xapi/domain/derive.hpp"

#include <algorithm>
#include <set>

#include "idl/records/host.hpp"
#include "idl/records/host_metrics.hpp"
#include "idl/records/pbd.hpp"
#include "idl/records/pool.hpp"
#include "idl/records/vm.hpp"
#include "idl/records/vtpm.hpp"
#include "idl/records/vusb.hpp"
#include "xapi/domain/appliance.hpp"
#include "xapi/domain/views.hpp"

namespace basalt::domain {

namespace {

using xenapi::Ref;

// The objects to derive, each once, those that changed themselves before their neighbours.
class Worklist {
  public:
    explicit Worklist(db::Txn& txn) : txn_(txn) {}

    void add(std::uint16_t cls, const Uuid& ref, bool neighbours) {
        if (ref.none()) return;
        if (seen_.emplace(cls, ref).second) todo_.push_back({cls, ref});
        // One that came as a neighbour may still come as a row that changed itself.
        if (neighbours && widened_.emplace(cls, ref).second) add_neighbours(cls, ref);
    }

    template <class R>
    void add(Ref<R> ref) {
        add(xenapi::ClassTraits<R>::index, ref.uuid(), false);
    }

    [[nodiscard]] const auto& todo() const { return todo_; }

  private:
    template <class R>
    const R* row(std::uint16_t cls, const Uuid& ref) {
        return cls == xenapi::ClassTraits<R>::index ? txn_.find(Ref<R>(ref)) : nullptr;
    }

    void add_neighbours(std::uint16_t cls, const Uuid& ref) {
        if (const auto* vm = row<xenapi::Vm>(cls, ref)) {
            for (const auto vbd : vm->VBDs)
                add(vbd);
            for (const auto vif : vm->VIFs)
                add(vif);
            for (const auto vtpm : vm->VTPMs)
                add(vtpm);
            for (const auto vusb : vm->VUSBs)
                add(vusb);
            add(vm->appliance);
        } else if (const auto* vbd = row<xenapi::Vbd>(cls, ref)) {
            add(vbd->VDI);
            if (const xenapi::Vdi* vdi = txn_.find(vbd->VDI))
                for (const auto other : vdi->VBDs)
                    add(other);
        } else if (const auto* vdi = row<xenapi::Vdi>(cls, ref)) {
            for (const auto user : vdi->VBDs)
                add(user);
            add(vdi->SR);
        } else if (const auto* sr = row<xenapi::Sr>(cls, ref)) {
            // Every new disk touches its SR; the disks look at the SR's PBDs and driver only.
            if (!sr->VDIs.empty()) add(sr->VDIs.back());
        } else if (cls == xenapi::ClassTraits<xenapi::HostMetrics>::index) {
            // A host that is alive cannot be switched on.
            txn_.each<xenapi::Host>([&](Ref<xenapi::Host> host, const xenapi::Host& its) {
                if (its.metrics.uuid() == ref) add(host);
            });
        } else if (const auto* pbd = row<xenapi::Pbd>(cls, ref)) {
            add(pbd->SR);
            if (const xenapi::Sr* of = txn_.find(pbd->SR))
                for (const auto disk : of->VDIs)
                    add(disk);
        }
    }

    db::Txn& txn_;
    std::set<std::pair<std::uint16_t, Uuid>> seen_;
    std::set<std::pair<std::uint16_t, Uuid>> widened_;
    std::vector<std::pair<std::uint16_t, Uuid>> todo_;
};

template <class R>
void derive_one(db::Txn& txn, Ref<R> ref) {
    const R* row = txn.find(ref);
    if (row == nullptr) return;
    auto allowed = rules::allowed_operations(view(txn, ref, *row));
    if (allowed != row->allowed_operations) txn.edit(ref).allowed_operations = std::move(allowed);
}

bool is_derived(std::uint16_t cls) {
    using xenapi::ClassTraits;
    return cls == ClassTraits<xenapi::Vm>::index || cls == ClassTraits<xenapi::Vbd>::index ||
           cls == ClassTraits<xenapi::Vif>::index || cls == ClassTraits<xenapi::Vdi>::index ||
           cls == ClassTraits<xenapi::Sr>::index || cls == ClassTraits<xenapi::Host>::index ||
           cls == ClassTraits<xenapi::Pool>::index || cls == ClassTraits<xenapi::Vtpm>::index ||
           cls == ClassTraits<xenapi::Vusb>::index ||
           cls == ClassTraits<xenapi::VmAppliance>::index;
}

// What a guest may be using stays.
void derive_vtpm(db::Txn& txn, Ref<xenapi::Vtpm> ref) {
    const xenapi::Vtpm* vtpm = txn.find(ref);
    if (vtpm == nullptr) return;
    const xenapi::Vm* vm = txn.find(vtpm->VM);
    std::vector<xenapi::VtpmOperations> allowed;
    if (vm != nullptr && vm->power_state == xenapi::VmPowerState::halted)
        allowed.push_back(xenapi::VtpmOperations::destroy);
    if (allowed != vtpm->allowed_operations) txn.edit(ref).allowed_operations = std::move(allowed);
}

// It comes to a guest when that starts, or with the message that makes it.
void derive_vusb(db::Txn& txn, Ref<xenapi::Vusb> ref) {
    const xenapi::Vusb* vusb = txn.find(ref);
    if (vusb == nullptr) return;
    std::vector<xenapi::VusbOperations> allowed;
    if (vusb->currently_attached && vusb->current_operations.empty())
        allowed.push_back(xenapi::VusbOperations::unplug);
    if (allowed != vusb->allowed_operations) txn.edit(ref).allowed_operations = std::move(allowed);
}

void derive_host(db::Txn& txn, Ref<xenapi::Host> ref) {
    using enum xenapi::HostAllowedOperations;
    const xenapi::Host* host = txn.find(ref);
    if (host == nullptr) return;
    std::vector<xenapi::HostAllowedOperations> allowed;
    std::set<xenapi::HostAllowedOperations> running;
    for (const auto& [task, op] : host->current_operations)
        running.insert(op);
    const bool leaving =
        running.contains(evacuate) || running.contains(reboot) || running.contains(shutdown);
    if (!leaving) allowed = {provision, vm_start, vm_resume, vm_migrate};
    if (!running.contains(evacuate)) allowed.push_back(evacuate);
    if (!host->enabled && !leaving)
        allowed.insert(allowed.end(), {reboot, shutdown, apply_updates});
    if (!running.contains(enable)) allowed.push_back(enable);
    const xenapi::HostMetrics* metrics = txn.find(host->metrics);
    const bool live = metrics != nullptr && metrics->live;
    if (!live && !host->power_on_mode.empty()) allowed.push_back(power_on);
    if (allowed != host->allowed_operations) txn.edit(ref).allowed_operations = std::move(allowed);
}

void derive_pool(db::Txn& txn, Ref<xenapi::Pool> ref) {
    using enum xenapi::PoolAllowedOperations;
    const xenapi::Pool* pool = txn.find(ref);
    if (pool == nullptr) return;
    std::vector<xenapi::PoolAllowedOperations> allowed;
    if (pool->current_operations.empty()) {
        allowed = {cluster_create,         designate_new_master, tls_verification_enable,
                   configure_repositories, sync_updates,         sync_bundle,
                   apply_updates};
        allowed.push_back(pool->ha_enabled ? ha_disable : ha_enable);
    }
    allowed.insert(allowed.end(),
                   {cert_refresh, exchange_certificates_on_join, exchange_ca_certificates_on_join,
                    copy_primary_host_certs, eject, get_updates, exchange_crls_on_join});
    if (allowed != pool->allowed_operations) txn.edit(ref).allowed_operations = std::move(allowed);
}

void derive_row(db::Txn& txn, std::uint16_t cls, const Uuid& ref) {
    using xenapi::ClassTraits;
    if (cls == ClassTraits<xenapi::Vm>::index) return derive_one(txn, Ref<xenapi::Vm>(ref));
    if (cls == ClassTraits<xenapi::Vbd>::index) return derive_one(txn, Ref<xenapi::Vbd>(ref));
    if (cls == ClassTraits<xenapi::Vif>::index) return derive_one(txn, Ref<xenapi::Vif>(ref));
    if (cls == ClassTraits<xenapi::Vdi>::index) return derive_one(txn, Ref<xenapi::Vdi>(ref));
    if (cls == ClassTraits<xenapi::Sr>::index) return derive_one(txn, Ref<xenapi::Sr>(ref));
    if (cls == ClassTraits<xenapi::Host>::index) return derive_host(txn, Ref<xenapi::Host>(ref));
    if (cls == ClassTraits<xenapi::VmAppliance>::index)
        return derive_appliance(txn, Ref<xenapi::VmAppliance>(ref));
    if (cls == ClassTraits<xenapi::Vtpm>::index) return derive_vtpm(txn, Ref<xenapi::Vtpm>(ref));
    if (cls == ClassTraits<xenapi::Vusb>::index) return derive_vusb(txn, Ref<xenapi::Vusb>(ref));
    if (cls == ClassTraits<xenapi::Pool>::index) derive_pool(txn, Ref<xenapi::Pool>(ref));
}

}  // namespace

void DeriveOperations::derive(db::Txn& txn, std::span<const db::Touched> touched) {
    Worklist work(txn);
    for (const db::Touched& row : touched)
        work.add(row.cls->index, row.ref, true);
    // A row that went may have been the last user of a disk.
    for (const db::Touched& row : touched)
        if (row.after == nullptr && row.before != nullptr &&
            row.cls->index == xenapi::ClassTraits<xenapi::Vbd>::index)
            work.add(static_cast<const xenapi::Vbd*>(row.before)->VDI);
    // An appliance may do more, or less, when a VM comes to it or leaves it.
    for (const db::Touched& row : touched)
        if (row.before != nullptr && row.cls->index == xenapi::ClassTraits<xenapi::Vm>::index)
            work.add(static_cast<const xenapi::Vm*>(row.before)->appliance);
    for (const auto& [cls, ref] : work.todo()) {
        if (!is_derived(cls)) continue;
        if (txn.room() == 0) {
            txn.later({&xenapi::classes()[cls], ref});
        } else {
            derive_row(txn, cls, ref);
        }
    }
}

}  // namespace basalt::domain
