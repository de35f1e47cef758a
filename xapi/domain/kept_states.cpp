#include "xapi/domain/kept_states.hpp"

#include <algorithm>
#include <utility>

#include "base/encoding.hpp"
#include "base/log.hpp"
#include "idl/records/host.hpp"
#include "xapi/core/hosts.hpp"
#include "xapi/domain/vm_rules.hpp"
#include "xapi/domain/vtpm.hpp"
#include "xapi/domain/words.hpp"

namespace basalt::domain {

namespace {

/// The kinds that the VM's machine has.
std::vector<agent::StateKind> kinds_of(const Vm& vm) {
    std::vector<agent::StateKind> out;
    if (!vm.VTPMs.empty()) out.push_back(agent::StateKind::tpm);
    if (is_uefi(vm)) out.push_back(agent::StateKind::nvram);
    return out;
}

bool has_kind(const db::Database& db, Ref<Vm> vm, agent::StateKind kind) {
    const Vm* row = db.find(vm);
    return row != nullptr && std::ranges::contains(kinds_of(*row), kind);
}

// As the records have it, and as KeptState.contents.
std::string contents_of(const db::Database& db, Ref<Vm> vm, agent::StateKind kind) {
    const Vm& row = db.get(vm);
    return kind == agent::StateKind::tpm ? vtpm_contents(db, row.VTPMs.front())
                                         : kept_variables(row);
}

void land(db::Txn& txn, Ref<Vm> vm, agent::StateKind kind, std::string contents) {
    if (kind == agent::StateKind::tpm)
        set_vtpm_contents(txn, txn.get(vm).VTPMs.front(), std::move(contents));
    else
        set_kept_variables(txn.edit(vm), std::move(contents));
}

// Of VM.NVRAM. Other servers keep texts of another form under the first.
constexpr const char* variables_key = "EFI-variables";
constexpr const char* backend_key = "EFI-variables-backend";
constexpr const char* backend = "edk2";

}  // namespace

std::string kept_tag(const std::string& contents) {
    return contents.empty() ? std::string() : sha256_hex(contents);
}

std::string kept_variables(const Vm& vm) {
    if (vm.NVRAM.get(std::string(backend_key)) != backend) return {};
    return vm.NVRAM.get(std::string(variables_key));
}

void set_kept_variables(Vm& vm, std::string contents) {
    vm.NVRAM.insert_or_assign(variables_key, std::move(contents));
    vm.NVRAM.insert_or_assign(backend_key, backend);
}

Task<void> KeptStates::bring(Ref<Vm> vm, Ref<Host> host) {
    const std::vector<agent::StateKind> kinds = kinds_of(core_.db.get(vm));
    for (const agent::StateKind kind : kinds)
        co_await sync({.vm = vm, .kind = kind, .host = host, .may_give = true});
}

Task<void> KeptStates::collect(Ref<Vm> vm) {
    const std::vector<agent::StateKind> kinds = kinds_of(core_.db.get(vm));
    if (kinds.empty()) co_return;
    const Ref<Host> host = core_.db.get(vm).resident_on;
    if (core_.db.find(host) == nullptr) {
        // What its last host told on the way out is on its way here.
        co_await turns_.acquire(vm.text());
        co_return;
    }
    for (const agent::StateKind kind : kinds)
        co_await sync_or_log({.vm = vm, .kind = kind, .host = host});
}

void KeptStates::on_state(Ref<Host> host, const agent::StateRef& state) {
    const auto vm = core_.db.by_uuid<Vm>(state.vm);
    if (!vm || core_.stopping) return;
    std::erase_if(jobs_, [](const auto& old) { return old->finished(); });
    jobs_.push_back(spawn(core_.loop, "kept state",
                          sync_or_log({.vm = *vm, .kind = state.kind, .host = host})));
}

Task<void> KeptStates::host_appeared(agent::Host& agent) {
    const std::vector<agent::StateRef> changed = co_await agent.states_changed({});
    for (const agent::StateRef& state : changed)
        if (const auto vm = core_.db.by_uuid<Vm>(state.vm))
            co_await sync_with(agent, {.vm = *vm, .kind = state.kind});
}

Task<void> KeptStates::forget(std::string vm_uuid, agent::StateKind kind) {
    std::vector<Ref<Host>> hosts;
    core_.db.each<Host>([&](Ref<Host> host, const Host&) { hosts.push_back(host); });
    for (const Ref<Host> host : hosts) {
        std::string failure;
        try {
            co_await core_.hosts->agent(host).state_put({vm_uuid, kind, "", ""});
        } catch (const ApiError& error) {
            failure = error.what();
        }
        if (!failure.empty())
            log::warn("kept_state_not_forgotten", {{"vm", vm_uuid}, {"error", failure}});
    }
}

Task<void> KeptStates::stop() {
    for (const auto& job : jobs_)
        job->cancel();
    for (const auto& job : std::exchange(jobs_, {}))
        co_await job->wait();
}

Task<void> KeptStates::sync(Sync what) {
    co_await sync_with(core_.hosts->agent(what.host), what);
}

Task<void> KeptStates::sync_with(agent::Host& agent, Sync what) {
    const auto turn = co_await turns_.acquire(what.vm.text());
    if (!has_kind(core_.db, what.vm, what.kind)) co_return;
    const std::string uuid = core_.db.get(what.vm).uuid;
    const agent::KeptState kept = co_await agent.state_get({uuid, what.kind});
    if (!has_kind(core_.db, what.vm, what.kind)) co_return;
    const std::string here = contents_of(core_.db, what.vm, what.kind);
    if (kept.tag != kept_tag(here)) {
        if (what.may_give) co_await agent.state_put({uuid, what.kind, here, kept_tag(here)});
        co_return;
    }
    if (!kept.changed) co_return;
    core_.db.transact_fact([&](db::Txn& txn) { land(txn, what.vm, what.kind, kept.contents); });
    co_await core_.db.durable(core_.db.published());
    co_await agent.state_told({uuid, what.kind, kept.digest, kept_tag(kept.contents)});
}

Task<void> KeptStates::sync_or_log(Sync what) {
    std::string failure;
    try {
        co_await sync(what);
    } catch (const ApiError& error) {
        failure = error.what();
    }
    if (failure.empty()) co_return;
    log::warn("kept_state_not_landed", {{"vm", what.vm.text()}, {"error", failure}});
}

}  // namespace basalt::domain
