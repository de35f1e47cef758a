#include "xapi/domain/vtpm.hpp"

#include <algorithm>

#include "base/encoding.hpp"
#include "idl/errors.hpp"
#include "idl/records/secret.hpp"
#include "xapi/domain/features.hpp"
#include "xapi/domain/views.hpp"
#include "xapi/domain/words.hpp"

namespace basalt::domain {

namespace {

// The emulator's are a tenth of it.
constexpr std::size_t contents_text_max = std::size_t{512} << 10;

void erase_vtpm(db::Txn& txn, Ref<Vtpm> vtpm) {
    const Ref<Secret> contents = txn.get(vtpm).contents;
    txn.erase(vtpm);
    if (txn.find(contents) != nullptr) txn.erase(contents);
}

void require_halted(const db::Txn& txn, Ref<Vm> vm) {
    const VmPowerState power = txn.get(vm).power_state;
    if (power != VmPowerState::halted)
        throw err::vm_bad_power_state(vm, "halted", rules::power_state_text(power));
}

template <class Source>
std::string contents_in(const Source& source, Ref<Vtpm> vtpm) {
    const Secret* secret = source.find(source.get(vtpm).contents);
    return secret == nullptr ? std::string() : std::string(secret->value);
}

}  // namespace

bool is_vtpm_contents(const std::string& text) {
    return text.size() <= contents_text_max && from_base64(text).has_value();
}

std::string vtpm_contents(const db::Database& db, Ref<Vtpm> vtpm) {
    return contents_in(db, vtpm);
}

std::string vtpm_contents(const db::Txn& txn, Ref<Vtpm> vtpm) {
    return contents_in(txn, vtpm);
}

void set_vtpm_contents(db::Txn& txn, Ref<Vtpm> vtpm, std::string contents) {
    txn.edit(txn.get(vtpm).contents).value = std::move(contents);
}

Ref<Vtpm> add_vtpm(db::Txn& txn, Vtpm settings, std::string contents) {
    settings.contents = txn.insert(Secret{.value = std::move(contents)});
    settings.persistence_backend = PersistenceBackend::xapi;
    settings.allowed_operations.clear();
    settings.current_operations.clear();
    return txn.insert(std::move(settings));
}

void copy_vtpms(db::Txn& txn, const Vm& source, Ref<Vm> target) {
    for (const auto vtpm : source.VTPMs) {
        Vtpm copy = txn.get(vtpm);
        copy.uuid.clear();
        copy.VM = target;
        std::string contents = copy.is_unique ? std::string() : vtpm_contents(txn, vtpm);
        add_vtpm(txn, std::move(copy), std::move(contents));
    }
}

void revert_vtpms(db::Txn& txn, const Vm& snapshot, Ref<Vm> vm) {
    // Contents that must not be twice are not in the snapshot: those that are here stay.
    const auto is_unique = [&](Ref<Vtpm> vtpm) { return txn.get(vtpm).is_unique; };
    const std::vector<Ref<Vtpm>> own = txn.get(vm).VTPMs;
    if (!own.empty() && std::ranges::all_of(own, is_unique) &&
        std::ranges::all_of(snapshot.VTPMs, is_unique) && !snapshot.VTPMs.empty())
        return;
    for (const Ref<Vtpm> vtpm : own)
        erase_vtpm(txn, vtpm);
    copy_vtpms(txn, snapshot, vm);
}

void erase_vtpms(db::Txn& txn, const Vm& vm) {
    for (const auto vtpm : vm.VTPMs)
        if (txn.find(vtpm) != nullptr) erase_vtpm(txn, vtpm);
}

Task<Ref<Vtpm>> VtpmDomain::create(Call& call, VtpmCreate params) {
    co_return call.db().transact([&](db::Txn& txn) {
        require_feature(txn, vtpm_feature);
        require(txn, params.vM, VmOperations::create_vtpm);
        return add_vtpm(txn, {.VM = params.vM, .is_unique = params.is_unique}, {});
    });
}

Task<void> VtpmDomain::destroy(Call& call, VtpmDestroy params) {
    const std::string vm = call.db().transact([&](db::Txn& txn) {
        const Ref<Vm> owner = txn.get(params.self).VM;
        require_halted(txn, owner);
        erase_vtpm(txn, params.self);
        call.succeed(txn);
        return txn.get(owner).uuid;
    });
    co_await states_.forget(vm, agent::StateKind::tpm);
}

Task<std::string> VtpmDomain::get_contents(Call& call, VtpmGetContents params) {
    co_await states_.collect(call.db().get(params.self).VM);
    co_return vtpm_contents(call.db(), params.self);
}

Task<void> VtpmDomain::set_contents(Call& call, VtpmSetContents params) {
    if (!is_vtpm_contents(params.contents)) throw err::invalid_value("contents", "");
    call.db().transact(
        [&](db::Txn& txn) { set_vtpm_contents(txn, params.self, std::move(params.contents)); });
    co_return;
}

}  // namespace basalt::domain
