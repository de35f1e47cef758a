// Class VM: starting, stopping and everything between. Each operation has three parts: decide and
// mark in one transaction, act on the host, land the outcome in one transaction.
#include "base/undo.hpp"
#include "idl/errors.hpp"
#include "idl/records/host.hpp"
#include "idl/records/pool.hpp"
#include "idl/records/vbd.hpp"
#include "idl/records/vdi.hpp"
#include "idl/records/vm.hpp"
#include "xapi/core/hosts.hpp"
#include "xapi/domain/messages.hpp"
#include "xapi/domain/placement.hpp"
#include "xapi/domain/secure_boot.hpp"
#include "xapi/domain/storage.hpp"
#include "xapi/domain/views.hpp"
#include "xapi/domain/vm.hpp"
#include "xapi/domain/vm_landing.hpp"
#include "xapi/domain/vm_rules.hpp"
#include "xapi/domain/vm_spec.hpp"
#include "xapi/domain/words.hpp"

namespace basalt::domain {

namespace {

constexpr std::int64_t shutdown_timeout_seconds = 1200;
constexpr std::int64_t suspend_image_slack_bytes = std::int64_t{96} * 1024 * 1024;

// A promise of a host's memory and of the disks: taken back when the start fails. It is the durable
// word that the guest may run there, so it stays when nobody knows how the start ends.
class Promise {
  public:
    Promise(Call& call, Ref<Vm> vm) : call_(call), vm_(vm) {}

    Promise(const Promise&) = delete;
    Promise& operator=(const Promise&) = delete;

    ~Promise() {
        if (!given_ || call_.core().stopping || call_.db().find(vm_) == nullptr) return;
        call_.db().transact_fact([&](db::Txn& txn) { end_promise(txn, vm_); });
    }

    /// In the transaction that decides. Only start of day ends a promise of an earlier life.
    void give(db::Txn& txn, Ref<Host> host) {
        const Vm& row = txn.get(vm_);
        if (row.scheduled_to_be_resident_on)
            throw err::other_operation_in_progress("VM", vm_, "start", "");
        if (const Host* left_on = txn.find(row.left_over_on))
            throw err::internal_error("a domain of " + row.uuid + " is not cleaned up yet on " +
                                      left_on->name_label);
        txn.edit(vm_).scheduled_to_be_resident_on = host;
        for (const auto vbd : std::vector(txn.get(vm_).VBDs))
            if (txn.get(vbd).VDI) txn.edit(vbd).reserved = true;
        given_ = true;
    }

    void keep() { given_ = false; }

  private:
    Call& call_;
    Ref<Vm> vm_;
    bool given_ = false;
};

void require_disks_usable(const db::Txn& txn, Ref<Vm> vm) {
    for (const auto vbd : txn.get(vm).VBDs) {
        const Vbd& row = txn.get(vbd);
        if (!row.VDI || row.currently_attached) continue;
        const Vdi& disk = txn.get(row.VDI);
        if (!disk.managed) throw err::vdi_not_managed(row.VDI);
        if (disk.missing) throw err::vdi_missing(disk.SR, row.VDI);
        require(txn, vbd, VbdOperations::attach);
        const bool plain_disk = row.type == VbdType::disk && is_hvm(txn.get(vm));
        if (plain_disk && row.mode != VbdMode::rw)
            throw err::disk_vbd_must_be_readwrite_for_hvm(vbd);
    }
}

Ref<Host> host_of(const db::Txn& txn, Ref<Vm> vm) {
    const Ref<Host> host = txn.get(vm).resident_on;
    if (!host) throw err::internal_error("a running VM without a host: " + vm.text());
    return host;
}

std::string body_of(const db::Txn& txn, Ref<Vm> vm) {
    const Vm& row = txn.get(vm);
    const Host* host = txn.find(row.resident_on);
    return "VM '" + row.name_label + "'" +
           (host != nullptr ? " on host: " + host->name_label : std::string());
}

void note(core::Core& core, db::Txn& txn, Ref<Vm> vm, const char* what) {
    post_message(core, txn, what, 5, Cls::vm, txn.get(vm).uuid, body_of(txn, vm));
}

Ref<Sr> suspend_sr(const db::Txn& txn, Ref<Vm> vm, Ref<Host> host) {
    const auto usable = [&](Ref<Sr> sr) { return sr && txn.find(sr) != nullptr; };
    if (const auto sr = txn.get(vm).suspend_SR; usable(sr)) return sr;
    if (const auto sr = txn.get(host).suspend_image_sr; usable(sr)) return sr;
    Ref<Sr> found;
    txn.each<Pool>([&](Ref<Pool>, const Pool& pool) {
        if (usable(pool.suspend_image_SR)) found = pool.suspend_image_SR;
        if (!found && usable(pool.default_SR)) found = pool.default_SR;
    });
    if (!found) throw err::vm_no_suspend_sr(vm);
    return found;
}

// What looks through a guest's own disk for its kernel: other programs no host has.
void require_bootloader(const db::Txn& txn, Ref<Vm> vm) {
    const Vm& row = txn.get(vm);
    if (is_hvm(row) || row.PV_bootloader.empty() || row.PV_bootloader == "pygrub") return;
    throw err::unknown_bootloader(vm, row.PV_bootloader);
}

}  // namespace

Task<void> VmDomain::start(Call& call, VmStart params) {
    return start_somewhere(call, params.vm, VmOperations::start, std::nullopt, params.start_paused);
}

Task<void> VmDomain::start_on(Call& call, VmStartOn params) {
    return start_somewhere(call, params.vm, VmOperations::start_on, params.host,
                           params.start_paused);
}

Task<void> VmDomain::start_somewhere(Call& call, Ref<Vm> vm, VmOperations operation,
                                     std::optional<Ref<Host>> wanted, bool paused) {
    core::Operation marks(call);
    Promise promise(call, vm);
    Ref<Host> host;
    Balloons::Room room;
    const agent::VmSpec spec = call.db().transact([&](db::Txn& txn) {
        require(txn, vm, operation);
        require_bootloader(txn, vm);
        require_disks_usable(txn, vm);
        host = choose_host(core_, txn, memory_, vm, wanted);
        marks.mark(txn, vm, operation);
        room = balloons_.make_room(txn, host, vm);
        promise.give(txn, host);
        return vm_spec(txn, vm);
    });
    co_await call.committed();
    co_await balloons_.await_room(call, host, std::move(room));
    co_await states_.bring(vm, host);
    co_await prepare_firmware(core_, vm, host);
    const agent::DomainInfo domain =
        co_await core_.hosts->agent(host).vm_start(call.operation(), {spec, paused});
    call.db().transact_fact([&](db::Txn& txn) {
        land_running(core_, txn, vm, host, domain);
        note(core_, txn, vm, "VM_STARTED");
        marks.unmark(txn);
        call.succeed(txn);
    });
    promise.keep();
}

Task<void> VmDomain::clean_shutdown(Call& call, VmCleanShutdown params) {
    return shut_down(call, {params.vm, VmOperations::clean_shutdown, agent::Method::clean});
}

Task<void> VmDomain::hard_shutdown(Call& call, VmHardShutdown params) {
    return shut_down(call, {params.vm, VmOperations::hard_shutdown, agent::Method::hard});
}

Task<void> VmDomain::shutdown(Call& call, VmShutdown params) {
    // Politely first; what does not answer is switched off.
    call.db().transact([&](db::Txn& txn) { require(txn, params.vm, VmOperations::shutdown); });
    std::optional<ApiError> refused;
    if (call.db().get(params.vm).power_state == VmPowerState::running) {
        try {
            co_await shut_down(call,
                               {params.vm, VmOperations::clean_shutdown, agent::Method::clean});
        } catch (const ApiError& error) {
            refused = error;
        }
        if (!refused) co_return;
    }
    co_await shut_down(call, {params.vm, VmOperations::hard_shutdown, agent::Method::hard});
}

Task<void> VmDomain::shut_down(Call& call, Shutdown what) {
    const Vm& row = call.db().get(what.vm);
    if (row.power_state == VmPowerState::suspended &&
        what.operation == VmOperations::hard_shutdown) {
        co_await discard_suspended(call, what);
        co_return;
    }
    core::Operation marks(call);
    const Ref<Host> host = call.db().transact([&](db::Txn& txn) {
        require(txn, what.vm, what.operation);
        marks.mark(txn, what.vm, what.operation);
        return host_of(txn, what.vm);
    });
    const std::string uuid = call.db().get(what.vm).uuid;
    co_await call.committed();
    co_await core_.hosts->agent(host).vm_shutdown(call.operation(),
                                                  {uuid, what.method, shutdown_timeout_seconds});
    call.db().transact_fact([&](db::Txn& txn) {
        note(core_, txn, what.vm, "VM_SHUTDOWN");
        land_halted(core_, txn, what.vm);
        marks.unmark(txn);
        call.succeed(txn);
    });
}

Task<void> VmDomain::discard_suspended(Call& call, Shutdown what) {
    core::Operation marks(call);
    const Ref<Vdi> image = call.db().transact([&](db::Txn& txn) {
        require(txn, what.vm, what.operation);
        marks.mark(txn, what.vm, what.operation);
        return txn.get(what.vm).suspend_VDI;
    });
    call.db().transact([&](db::Txn& txn) {
        land_halted(core_, txn, what.vm);
        marks.unmark(txn);
        call.succeed(txn);
    });
    if (image) co_await storage_.discard(image)->wait();
}

Task<void> VmDomain::clean_reboot(Call& call, VmCleanReboot params) {
    return reboot(call, params.vm, VmOperations::clean_reboot, agent::Method::clean);
}

Task<void> VmDomain::hard_reboot(Call& call, VmHardReboot params) {
    return reboot(call, params.vm, VmOperations::hard_reboot, agent::Method::hard);
}

Task<void> VmDomain::hard_reboot_internal(Call& call, VmHardRebootInternal params) {
    return reboot(call, params.vm, VmOperations::hard_reboot, agent::Method::hard);
}

Task<void> VmDomain::reboot(Call& call, Ref<Vm> vm, VmOperations operation, agent::Method method) {
    core::Operation marks(call);
    Ref<Host> host;
    agent::VmSpec spec = call.db().transact([&](db::Txn& txn) {
        require(txn, vm, operation);
        marks.mark(txn, vm, operation);
        host = host_of(txn, vm);
        return vm_spec(txn, vm);
    });
    const std::string uuid = spec.uuid;
    co_await call.committed();
    const agent::DomainInfo domain = co_await core_.hosts->agent(host).vm_reboot(
        call.operation(), {uuid, method, shutdown_timeout_seconds, std::move(spec)});
    call.db().transact_fact([&](db::Txn& txn) {
        land_running(core_, txn, vm, host, domain);
        note(core_, txn, vm, "VM_REBOOTED");
        marks.unmark(txn);
        call.succeed(txn);
    });
}

Task<void> VmDomain::pause(Call& call, VmPause params) {
    return set_running(call, params.vm, false);
}

Task<void> VmDomain::unpause(Call& call, VmUnpause params) {
    return set_running(call, params.vm, true);
}

Task<void> VmDomain::set_running(Call& call, Ref<Vm> vm, bool running) {
    core::Operation marks(call);
    const VmOperations operation = running ? VmOperations::unpause : VmOperations::pause;
    const Ref<Host> host = call.db().transact([&](db::Txn& txn) {
        require(txn, vm, operation);
        marks.mark(txn, vm, operation);
        return host_of(txn, vm);
    });
    const std::string uuid = call.db().get(vm).uuid;
    co_await call.committed();
    agent::Host& agent = core_.hosts->agent(host);
    if (running) {
        co_await agent.vm_unpause(call.operation(), {uuid});
    } else {
        co_await agent.vm_pause(call.operation(), {uuid});
    }
    call.db().transact_fact([&](db::Txn& txn) {
        txn.edit(vm).power_state = running ? VmPowerState::running : VmPowerState::paused;
        note(core_, txn, vm, running ? "VM_UNPAUSED" : "VM_PAUSED");
        marks.unmark(txn);
        call.succeed(txn);
    });
}

Task<void> VmDomain::suspend(Call& call, VmSuspend params) {
    const Ref<Vm> vm = params.vm;
    core::Operation marks(call);
    call.db().transact([&](db::Txn& txn) {
        require(txn, vm, VmOperations::suspend);
        marks.mark(txn, vm, VmOperations::suspend);
    });
    co_await put_to_sleep(call, vm, [&](db::Txn& txn) {
        note(core_, txn, vm, "VM_SUSPENDED");
        marks.unmark(txn);
        call.succeed(txn);
    });
}

Task<void> VmDomain::put_to_sleep(Call& call, Ref<Vm> vm, Landing also) {
    Ref<Host> host;
    Vdi image = call.db().transact([&](db::Txn& txn) {
        host = host_of(txn, vm);
        const Vm& row = txn.get(vm);
        Vdi disk;
        disk.SR = suspend_sr(txn, vm, host);
        disk.name_label = "Suspend image";
        disk.name_description = "Memory of the suspended VM " + row.name_label;
        disk.type = VdiType::suspend;
        disk.virtual_size = row.memory_static_max + row.memory_overhead + suspend_image_slack_bytes;
        return disk;
    });
    Storage::Drafts drafts(storage_);
    const Ref<Vdi> made = co_await storage_.create_disk(call, std::move(image), &drafts);
    Storage& storage = storage_;
    core::Hosts& hosts = *core_.hosts;
    co_await with_undo([&](Undo& undo) -> Task<void> {
        undo.push("destroy suspend image",
                  [&storage, &call, made] { return storage.destroy_disk(call, made); });
        // The image's row must outlive a crash: without it, what hostd saves would be garbage.
        co_await call.committed();
        co_await hosts.agent(host).vm_suspend(call.operation(),
                                              {call.db().get(vm).uuid, storage.disk_ref(made)});
    });
    call.db().transact_fact([&](db::Txn& txn) {
        land_suspended(core_, txn, vm, made);
        drafts.keep(txn);
        also(txn);
    });
}

Task<void> VmDomain::resume(Call& call, VmResume params) {
    return resume_somewhere(call, params.vm, VmOperations::resume, std::nullopt,
                            params.start_paused);
}

Task<void> VmDomain::resume_on(Call& call, VmResumeOn params) {
    return resume_somewhere(call, params.vm, VmOperations::resume_on, params.host,
                            params.start_paused);
}

Task<void> VmDomain::resume_somewhere(Call& call, Ref<Vm> vm, VmOperations operation,
                                      std::optional<Ref<Host>> wanted, bool paused) {
    core::Operation marks(call);
    call.db().transact([&](db::Txn& txn) {
        require(txn, vm, operation);
        marks.mark(txn, vm, operation);
    });
    co_await wake(call, {vm, wanted, paused}, [&](db::Txn& txn) {
        note(core_, txn, vm, "VM_RESUMED");
        marks.unmark(txn);
        call.succeed(txn);
    });
}

Task<void> VmDomain::wake(Call& call, Waking what, Landing also) {
    const Ref<Vm> vm = what.vm;
    Promise promise(call, vm);
    Ref<Host> host;
    Ref<Vdi> image;
    Balloons::Room room;
    const auto decide = [&](db::Txn& txn) {
        image = txn.get(vm).suspend_VDI;
        if (txn.find(image) == nullptr) throw err::vm_has_no_suspend_vdi(vm);
        host = choose_host(core_, txn, memory_, vm, what.host);
        room = balloons_.make_room(txn, host, vm);
        promise.give(txn, host);
        return vm_spec(txn, vm);
    };
    const agent::VmSpec spec =
        what.goes_on ? call.db().transact_fact(decide) : call.db().transact(decide);
    co_await call.committed();
    co_await balloons_.await_room(call, host, std::move(room));
    co_await states_.bring(vm, host);
    const agent::DomainInfo domain = co_await core_.hosts->agent(host).vm_resume(
        call.operation(0, 0.9), {spec, storage_.disk_ref(image), what.paused});
    call.db().transact_fact([&](db::Txn& txn) {
        land_running(core_, txn, vm, host, domain);
        also(txn);
    });
    promise.keep();
    co_await storage_.discard(image)->wait();
}

Task<void> VmDomain::power_state_reset(Call& call, VmPowerStateReset params) {
    // For a VM whose host is gone for ever: the administrator vouches that it does not run.
    call.db().transact([&](db::Txn& txn) {
        const Vm& vm = txn.get(params.vm);
        if (vm.is_control_domain)
            throw err::operation_not_allowed("The power state of a control domain cannot be reset");
        txn.edit(params.vm).left_over_on = {};
        land_halted(core_, txn, params.vm);
    });
    co_return;
}

Task<std::vector<Ref<Host>>> VmDomain::get_possible_hosts(Call& call, VmGetPossibleHosts params) {
    co_return call.db().transact(
        [&](db::Txn& txn) { return possible_hosts(core_, txn, memory_, params.vm); });
}

Task<void> VmDomain::assert_can_boot_here(Call& call, VmAssertCanBootHere params) {
    call.db().transact([&](db::Txn& txn) {
        require_disks_usable(txn, params.self);
        choose_host(core_, txn, memory_, params.self, params.host);
    });
    co_return;
}

}  // namespace basalt::domain
