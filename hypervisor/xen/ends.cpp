#include <boost/asio/error.hpp>
#include <boost/system/system_error.hpp>
#include <filesystem>

#include "base/error.hpp"
#include "base/log.hpp"
#include "base/subprocess.hpp"
#include "hypervisor/xen/calls.hpp"
#include "hypervisor/xen/domain.hpp"
#include "hypervisor/xen/nbd_devices.hpp"

namespace basalt::hv::xen {

namespace {

namespace fs = std::filesystem;

// The host's own daemons write there, too.
constexpr std::uintmax_t room_left_bytes = std::uintmax_t{512} << 20;
// Its guest may be one that is to be restarted.
constexpr Duration core_limit = 30min;

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

std::string fresh_file(const std::string& file) {
    return file + ".new";
}

// Whether there is a place for it. One core is kept of each VM, the newest.
bool make_room(const std::string& file, std::int64_t memory_bytes) {
    const fs::path folder = fs::path(file).parent_path();
    fs::create_directories(folder);
    fs::permissions(folder, fs::perms::owner_all);
    fs::remove(file);
    // An earlier hostd's program may still write there; what it writes is gone when it ends.
    fs::remove(fresh_file(file));
    const std::uintmax_t free = fs::space(folder).available;
    if (free >= static_cast<std::uintmax_t>(memory_bytes) + room_left_bytes) return true;
    log::warn("core_not_kept", {{"file", file}, {"free_bytes", free}});
    return false;
}

// A process of its own can be ended at any moment, which the library's call cannot. It maps the
// guest's memory page by page: seconds a gigabyte.
Task<std::string> write_core(StatePtr state, DomId dom, std::string file) {
    Command command{.argv = {"xl", "dump-core", std::to_string(dom), std::move(file)},
                    .env = {},
                    .directory = {},
                    .inherit = {}};
    try {
        const Output said = co_await run_command(state->loop, std::move(command), core_limit);
        co_return said.status == 0 ? std::string() : "xl: " + said.err;
    } catch (const ApiError& error) {
        co_return error.what();
    } catch (const boost::system::system_error& error) {
        if (error.code() == boost::asio::error::operation_aborted) throw;
        co_return error.what();
    }
}

// It is whole or not there.
Task<void> keep_core(StatePtr state, DomainPtr domain) {
    const std::string file = core_file(*state, domain->uuid());
    const bool fits =
        co_await blocking(state->loop, [file, bytes = domain->descriptor.config.spec.memory_bytes] {
            return make_room(file, bytes);
        });
    if (!fits) co_return;
    const std::string failed = co_await write_core(state, domain->descriptor.dom, fresh_file(file));
    co_await blocking(state->loop, [file, whole = failed.empty()] {
        if (whole)
            fs::rename(fresh_file(file), file);
        else
            fs::remove(fresh_file(file));
    });
    if (failed.empty())
        log::info("core_kept", {{"file", file}});
    else
        log::warn("core_not_kept", {{"file", file}, {"error", failed}});
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

// A domain whose memory somebody maps does not go.
Task<void> stop_dumping(StatePtr state, DomainPtr domain) {
    const std::shared_ptr<Job> dumping = domain->dumping;
    if (!dumping) co_return;
    log::info("core_called_off", {{"vm", domain->uuid()}});
    dumping->cancel();
    co_await dumping->wait();
    domain->dumping.reset();
    co_await blocking(state->loop, [file = core_file(*state, domain->uuid())] {
        std::error_code none;
        fs::remove(fresh_file(file), none);
    });
}

}  // namespace

bool is_watched(const Domain& domain) {
    return !domain.ending && !domain.saved && !domain.preserved && !domain.dumping;
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
    co_await stop_dumping(state, domain);
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

namespace {

bool keeps_core(const XenHypervisor::State& state, const Domain& domain) {
    return domain.descriptor.config.spec.core_dump && !state.options.core_dir.empty();
}

// Others end meanwhile, and are not kept waiting.
Task<void> keep_core_and_settle(StatePtr state, DomainPtr domain) {
    std::string failed;
    try {
        co_await keep_core(state, domain);
    } catch (const fs::filesystem_error& error) {
        failed = error.what();
    } catch (const boost::system::system_error&) {
        co_return;  // whoever cancelled it goes on with the domain
    }
    if (!failed.empty()) log::warn("core_not_kept", {{"vm", domain->uuid()}, {"error", failed}});
    domain->dumping.reset();
    if (domain->ending) co_return;
    try {
        co_await settle(state, domain, agent::HaltReason::crashed);
    } catch (const ApiError& error) {
        log::error("domain_not_settled",
                   {{"dom", domain->descriptor.dom}, {"error", error.what()}});
    }
}

}  // namespace

Task<void> settle_halted(StatePtr state, DomainPtr domain, agent::HaltReason reason) {
    if (reason == agent::HaltReason::crashed && keeps_core(*state, *domain)) {
        domain->dumping =
            spawn(state->loop, "core of a guest", keep_core_and_settle(state, domain));
        co_return;
    }
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
