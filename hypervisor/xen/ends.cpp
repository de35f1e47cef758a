#include <filesystem>

#include "base/error.hpp"
#include "base/log.hpp"
#include "hypervisor/xen/calls.hpp"
#include "hypervisor/xen/domain.hpp"
#include "hypervisor/xen/nbd_devices.hpp"

namespace basalt::hv::xen {

namespace {

namespace fs = std::filesystem;

// The host's own daemons write there, too.
constexpr std::uintmax_t room_left_bytes = std::uintmax_t{512} << 20;

agent::OnHalt policy(const agent::VmSpec& spec, agent::HaltReason reason) {
    switch (reason) {
        case agent::HaltReason::shutdown:
            return spec.on_shutdown;
        case agent::HaltReason::reboot:
            return spec.on_reboot;
        default:
            return spec.on_crash;
    }
}

std::string core_file(const XenHypervisor::State& state, const std::string& vm) {
    return state.options.core_dir + "/" + vm + ".core";
}

// One is kept of each VM, the newest. It is whole or not there.
void keep_core(DomId dom, const std::string& file, std::int64_t memory_bytes) {
    const std::string fresh = file + ".new";
    const fs::path folder = fs::path(file).parent_path();
    fs::create_directories(folder);
    fs::permissions(folder, fs::perms::owner_all);
    fs::remove(file);
    const std::uintmax_t free = fs::space(folder).available;
    if (free < static_cast<std::uintmax_t>(memory_bytes) + room_left_bytes) {
        log::warn("core_not_kept", {{"file", file}, {"free_bytes", free}});
        return;
    }
    try {
        dump_core(dom, fresh);
        fs::rename(fresh, file);
        log::info("core_kept", {{"file", file}});
    } catch (const ApiError& error) {
        log::warn("core_not_kept", {{"file", file}, {"error", error.what()}});
        fs::remove(fresh);
    }
}

Task<void> keep_core(StatePtr state, DomainPtr domain) {
    const agent::VmSpec& spec = domain->descriptor.config.spec;
    if (!spec.core_dump || state->options.core_dir.empty()) co_return;
    co_await blocking(state->loop,
                      [dom = domain->descriptor.dom, file = core_file(*state, spec.uuid),
                       bytes = spec.memory_bytes] {
                          try {
                              keep_core(dom, file, bytes);
                          } catch (const fs::filesystem_error& error) {
                              log::warn("core_not_kept", {{"file", file}, {"error", error.what()}});
                          }
                      });
}

// What its spec says to do with a guest that has stopped.
Task<void> settle(StatePtr state, DomainPtr domain, agent::HaltReason reason) {
    const DomId dom = domain->descriptor.dom;
    if (domain->restart_when_off && reason == agent::HaltReason::shutdown)
        reason = agent::HaltReason::reboot;
    log::info("guest_halted", {{"vm", domain->uuid()}, {"reason", agent::text(reason)}});
    if (policy(domain->descriptor.config.spec, reason) == agent::OnHalt::preserve) {
        domain->preserved = true;
        domain->running = false;
        if (state->events != nullptr) state->events->preserved(dom, domain->uuid(), reason);
        co_return;
    }
    co_await take_away(state, domain);
    if (state->events != nullptr) state->events->ended(dom, domain->uuid(), reason);
}

// A domain that is not there any more ended in a way that nobody saw.
Task<void> look_at(StatePtr state, DomainPtr domain) {
    const auto now = co_await blocking(
        state->loop, [dom = domain->descriptor.dom] { return domain_state(dom); });
    if (!is_watched(*domain)) co_return;
    const bool ours = now && now->uuid == domain->uuid();
    if (!ours) co_return co_await settle(state, domain, agent::HaltReason::crashed);
    domain->running = !now->paused;
    if (now->halted) co_await settle_halted(state, domain, *now->halted);
}

Task<void> look_at_all(StatePtr state) {
    const auto known = state->domains;  // others come and go meanwhile
    for (const auto& [dom, domain] : known)
        if (is_watched(*domain)) co_await look_after(state, domain);
}

}  // namespace

bool is_watched(const Domain& domain) {
    return !domain.ending && !domain.saved && !domain.preserved;
}

Task<void> look_after(StatePtr state, DomainPtr domain) {
    try {
        co_await look_at(state, domain);
    } catch (const ApiError& error) {
        log::error("domain_not_settled",
                   {{"dom", domain->descriptor.dom}, {"error", error.what()}});
    }
}

Task<void> take_away(StatePtr state, DomainPtr domain) {
    domain->ending = true;
    const DomId dom = domain->descriptor.dom;
    std::exception_ptr failure;
    try {
        co_await blocking(state->loop, [dom, vm = domain->uuid()] {
            destroy_domain(dom);
            disconnect_disks(vm);
        });
    } catch (const ApiError&) {
        failure = std::current_exception();
    }
    if (failure) {
        domain->ending = false;
        std::rethrow_exception(failure);
    }
    if (domain->console) domain->console->close();
    co_await unfollow_guest(state, dom);
    co_await blocking(state->loop, [descriptors = state->descriptors, vm = domain->uuid()] {
        descriptors.remove(vm);
    });
    state->domains.erase(dom);
}

Task<void> settle_halted(StatePtr state, DomainPtr domain, agent::HaltReason reason) {
    if (reason == agent::HaltReason::crashed) co_await keep_core(state, domain);
    if (!domain->ending) co_await settle(state, domain, reason);
}

Task<void> watch_ends(StatePtr state, std::shared_ptr<StoreWatch> ends) {
    for (;;) {
        co_await ends->next();
        co_await look_at_all(state);
    }
}

Task<void> drop_core(StatePtr state, std::string vm) {
    if (state->options.core_dir.empty()) co_return;
    co_await blocking(state->loop, [file = core_file(*state, vm)] {
        std::error_code none;
        fs::remove(file, none);
    });
}

}  // namespace basalt::hv::xen
