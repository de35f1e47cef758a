// Secure boot of guests: the messages of VM, pool and host that are about its keys, and how keys
// come into the variables of a guest's firmware (docs/decisions/0017). The records say what these
// are to hold from the next start on.
#include "xapi/domain/secure_boot.hpp"

#include <optional>
#include <stdexcept>

#include "base/encoding.hpp"
#include "base/log.hpp"
#include "base/packing.hpp"
#include "base/wait.hpp"
#include "idl/errors.hpp"
#include "idl/records/host.hpp"
#include "idl/records/pool.hpp"
#include "xapi/core/hosts.hpp"
#include "xapi/domain/host.hpp"
#include "xapi/domain/kept_states.hpp"
#include "xapi/domain/pool.hpp"
#include "xapi/domain/secure_boot_keys.hpp"
#include "xapi/domain/views.hpp"
#include "xapi/domain/vm.hpp"
#include "xapi/domain/vm_rules.hpp"
#include "xapi/domain/words.hpp"

namespace basalt::domain {

namespace {

using agent::StateKind;
using CertificatesState = VmSecurebootCertificatesState;

// Of VM.NVRAM: what is done to the variables at the next start.
constexpr const char* on_boot_key = "EFI-variables-on-boot";
constexpr const char* reset = "reset";
constexpr std::size_t variables_bytes_max = std::size_t{4} << 20;

void require_uefi(const db::Txn& txn, Ref<Vm> vm) {
    if (!is_uefi(txn.get(vm)))
        throw err::operation_not_allowed("The VM does not boot by UEFI firmware");
}

/// setup, user or reset; empty for all else that somebody wrote there.
std::string mode_on_boot(const Vm& vm) {
    const std::string mode = vm.NVRAM.get(std::string(on_boot_key));
    const bool known = mode == reset || mode == wire_text(VmUefiMode::setup) ||
                       mode == wire_text(VmUefiMode::user);
    return known ? mode : std::string();
}

/// Nobody has written them: they are what every new machine gets.
bool is_fresh(const agent::KeptState& kept) {
    return !kept.changed && kept.tag.empty();
}

EfiVariables variables_in(const std::string& contents) {
    const auto stream = from_base64(contents);
    auto flash = stream ? zlib_unpacked(*stream, variables_bytes_max) : std::nullopt;
    if (!flash) throw std::invalid_argument("what the host keeps is no zlib stream");
    return EfiVariables(*std::move(flash));
}

/// Runs `work` on a pool thread; variables that cannot be read are an INTERNAL_ERROR.
template <class Work>
auto worked_on(core::Core& core, Work work) -> Task<decltype(work())> {
    std::string failure;
    try {
        co_return co_await blocking(core.loop, std::move(work));
    } catch (const std::logic_error& error) {  // invalid_argument and length_error
        failure = error.what();
    }
    throw err::internal_error("the firmware's variables: " + failure);
}

/// What the variables of a new machine on that host hold; none where machines keep no variables.
Task<SecureBootKeys> keys_of_new_machines(core::Core& core, Ref<Host> host) {
    const agent::KeptState kept =
        co_await core.hosts->agent(host).state_get({core.new_uuid(), StateKind::nvram});
    if (kept.contents.empty()) co_return SecureBootKeys{};
    co_return co_await worked_on(
        core, [contents = kept.contents] { return keys_of(variables_in(contents)); });
}

/// The keys that guests of the pool get.
Task<SecureBootKeys> keys_of_pool(core::Core& core, Ref<Host> host) {
    const std::string custom = core.db.get(core.pool).custom_uefi_certificates;
    if (custom.empty()) return keys_of_new_machines(core, host);
    return blocking(core.loop, [custom] { return parse_key_archive(custom); });
}

struct Wish {
    std::string mode;     // as mode_on_boot
    bool renew = false;   // newer certificates are to replace those that it has
    bool custom = false;  // the pool has keys of its own
};

Wish wish_of(const core::Core& core, const Vm& vm) {
    const Pool& pool = core.db.get(core.pool);
    const CertificatesState state = vm.secureboot_certificates_state;
    return {.mode = mode_on_boot(vm),
            .renew = state == CertificatesState::update_on_boot ||
                     (state == CertificatesState::update_available &&
                      pool.auto_update_vm_secureboot_certificates),
            .custom = !pool.custom_uefi_certificates.empty()};
}

std::string changed(const agent::KeptState& kept, const Wish& wish, SecureBootKeys keys) {
    EfiVariables variables = variables_in(kept.contents);
    const bool setup = wish.mode == wire_text(VmUefiMode::setup);
    const bool in_setup = !keys_of(variables).contains("PK");
    // Newer certificates end no setup mode: there the guest's owner is about to put in his own.
    if (wish.mode.empty() && in_setup && !is_fresh(kept)) keys.erase("PK");
    if (!setup || wish.renew || is_fresh(kept)) enrol(variables, keys);
    if (setup) variables.remove("PK", efi_global_guid);
    return base64(zlib_packed(variables.flash()));
}

Task<void> put_keys(core::Core& core, Ref<Vm> vm, Ref<Host> host, Wish wish) {
    const std::string uuid = core.db.get(vm).uuid;
    const bool anew = wish.mode == reset;
    const agent::KeptState kept = co_await core.hosts->agent(host).state_get(
        {anew ? core.new_uuid() : uuid, StateKind::nvram});
    if (kept.contents.empty()) {
        log::warn("firmware_keeps_no_variables", {{"vm", uuid}, {"host", host.text()}});
        co_return;
    }
    if (wish.mode.empty() && !wish.renew && !is_fresh(kept)) co_return;
    SecureBootKeys keys = co_await keys_of_pool(core, host);
    const bool renewed = wish.renew || wish.mode != wire_text(VmUefiMode::setup);
    std::string contents =
        co_await worked_on(core, [kept, wish, keys] { return changed(kept, wish, keys); });
    // The records first: what they have and the host has not wins at the next start.
    core.db.transact_fact([&](db::Txn& txn) {
        if (txn.find(vm) == nullptr) return;
        Vm& row = txn.edit(vm);
        row.NVRAM.erase(std::string(on_boot_key));
        set_kept_variables(row, contents);
        if (renewed) row.secureboot_certificates_state = CertificatesState::ok;
    });
    co_await core.db.durable(core.db.published());
    co_await core.hosts->agent(host).state_put(
        {uuid, StateKind::nvram, contents, kept_tag(contents)});
    log::info("firmware_keys_put", {{"vm", uuid}, {"host", host.text()}, {"mode", wish.mode}});
}

/// The keys in the variables of a VM; nothing before its first boot.
Task<std::optional<SecureBootKeys>> keys_kept(core::Core& core, Ref<Vm> vm) {
    const std::string contents = kept_variables(core.db.get(vm));
    if (contents.empty()) co_return std::nullopt;
    co_return co_await worked_on(core, [contents] { return keys_of(variables_in(contents)); });
}

VmSecurebootReadiness readiness_of(KeysWorth worth) {
    switch (worth) {
        case KeysWorth::none:
            return VmSecurebootReadiness::setup_mode;
        case KeysWorth::incomplete:
            return VmSecurebootReadiness::certs_incomplete;
        case KeysWorth::no_dbx:
            return VmSecurebootReadiness::ready_no_dbx;
        case KeysWorth::full:
            return VmSecurebootReadiness::ready;
    }
    return VmSecurebootReadiness::certs_incomplete;
}

}  // namespace

Task<void> prepare_firmware(core::Core& core, Ref<Vm> vm, Ref<Host> host) {
    const Vm& row = core.db.get(vm);
    if (!is_uefi(row)) co_return;
    Wish wish = wish_of(core, row);
    if (wish.mode.empty() && !wish.renew && !wish.custom) co_return;
    co_await put_keys(core, vm, host, std::move(wish));
}

// -- VM -------------------------------------------------------------------------------------------

Task<std::string> VmDomain::set_uefi_mode(Call& call, VmSetUefiMode params) {
    const std::string mode(wire_text(params.mode));
    call.db().transact([&](db::Txn& txn) {
        require(txn, params.self, VmOperations::changing_nvram);
        require_uefi(txn, params.self);
        txn.edit(params.self).NVRAM.insert_or_assign(on_boot_key, mode);
    });
    co_return "The firmware is in " + mode + " mode when the VM starts next";
}

Task<void> VmDomain::update_secureboot_certificates_on_boot(
    Call& call, VmUpdateSecurebootCertificatesOnBoot params) {
    call.db().transact([&](db::Txn& txn) {
        require_uefi(txn, params.self);
        const CertificatesState before = txn.get(params.self).secureboot_certificates_state;
        if (params.mark) {
            txn.edit(params.self).secureboot_certificates_state = CertificatesState::update_on_boot;
        } else if (before == CertificatesState::update_on_boot) {
            txn.edit(params.self).secureboot_certificates_state =
                CertificatesState::update_available;
        }
    });
    co_return;
}

Task<VmSecurebootReadiness> VmDomain::get_secureboot_readiness(Call& call,
                                                               VmGetSecurebootReadiness params) {
    const Vm& vm = call.db().get(params.self);
    if (!is_uefi(vm)) co_return VmSecurebootReadiness::not_supported;
    if (vm.platform.get(std::string("secureboot")) != "true")
        co_return VmSecurebootReadiness::disabled;
    const std::string mode = mode_on_boot(vm);
    if (mode == wire_text(VmUefiMode::setup)) co_return VmSecurebootReadiness::setup_mode;
    if (!mode.empty())
        co_return readiness_of(worth_of(co_await keys_of_pool(core_, core_.this_host)));
    const auto keys = co_await keys_kept(core_, params.self);
    co_return keys ? readiness_of(worth_of(*keys)) : VmSecurebootReadiness::first_boot;
}

// -- pool and host --------------------------------------------------------------------------------

Task<void> PoolDomain::set_custom_uefi_certificates(Call& call,
                                                    PoolSetCustomUefiCertificates params) {
    (void)call.db().get(params.self);
    if (!params.value.empty())
        co_await blocking(core_.loop, [&value = params.value] { parse_key_archive(value); });
    call.db().transact([&](db::Txn& txn) {
        if (txn.get(params.self).custom_uefi_certificates == params.value) return;
        txn.edit(params.self).custom_uefi_certificates = params.value;
        txn.edit(params.self).uefi_certificates = params.value;
        // Templates and snapshots have no variables: what is made of them gets the new ones.
        txn.each<Vm>([&](Ref<Vm> ref, const Vm& vm) {
            if (!is_uefi(vm) || vm.is_a_template || vm.is_a_snapshot ||
                vm.secureboot_certificates_state != CertificatesState::ok)
                return;
            txn.edit(ref).secureboot_certificates_state = CertificatesState::update_available;
        });
    });
}

Task<void> PoolDomain::set_uefi_certificates(Call& call, PoolSetUefiCertificates params) {
    return set_custom_uefi_certificates(call, {params.self, std::move(params.value)});
}

Task<PoolGuestSecurebootReadiness> PoolDomain::get_guest_secureboot_readiness(
    Call& call, PoolGetGuestSecurebootReadiness params) {
    const Ref<Host> leader = call.db().get(params.self).master;
    const KeysWorth worth = worth_of(co_await keys_of_pool(core_, leader));
    if (worth == KeysWorth::full) co_return PoolGuestSecurebootReadiness::ready;
    co_return worth == KeysWorth::no_dbx ? PoolGuestSecurebootReadiness::ready_no_dbx
                                         : PoolGuestSecurebootReadiness::not_ready;
}

Task<void> HostDomain::set_uefi_certificates(Call& call, HostSetUefiCertificates params) {
    (void)call.db().get(params.host);
    throw err::operation_not_allowed(
        "Certificates for guests are of the pool: pool.set_custom_uefi_certificates");
    co_return;
}

// Hosts get what a guest's firmware is to know when the guest starts, from the records.
Task<void> HostDomain::write_uefi_certificates_to_disk(Call& call,
                                                       HostWriteUefiCertificatesToDisk params) {
    (void)call.db().get(params.host);
    co_return;
}

}  // namespace basalt::domain
