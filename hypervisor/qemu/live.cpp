#include <sched.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <cstring>
#include <filesystem>

#include "base/error.hpp"
#include "base/json.hpp"
#include "base/log.hpp"
#include "hypervisor/qemu/domain.hpp"
#include "hypervisor/qemu/guest_agent.hpp"
#include "idl/errors.hpp"

namespace basalt::hv::qemu {

namespace {

// Twice what QEMU was ever seen to need beside the guest's memory: a limit for what went wrong.
constexpr std::int64_t memory_beside_bytes = std::int64_t{2} << 30;
constexpr std::int64_t threads_beside = 512;
// XenAPI counts weights from 256, control groups from 100.
constexpr std::int64_t weight_default = 256;
constexpr std::int64_t group_weight_default = 100;
constexpr std::int64_t group_weight_max = 10000;

cpu_set_t set_of(const std::vector<std::int64_t>& mask) {
    const std::int64_t present =
        std::min<std::int64_t>(::sysconf(_SC_NPROCESSORS_CONF), CPU_SETSIZE);
    cpu_set_t set;
    CPU_ZERO(&set);
    for (const std::int64_t cpu : mask)
        if (cpu >= 0 && cpu < present) CPU_SET(static_cast<std::size_t>(cpu), &set);
    if (CPU_COUNT(&set) > 0) return set;
    if (!mask.empty()) log::warn("cpu_mask_empty", {{"present", present}});
    for (std::int64_t cpu = 0; cpu < present; ++cpu)
        CPU_SET(static_cast<std::size_t>(cpu), &set);
    return set;
}

// A thread that another starts has its mask: until all have been seen to have it.
void pin(pid_t pid, const cpu_set_t& set) {
    namespace fs = std::filesystem;
    std::error_code gone;
    for (const auto& entry :
         fs::directory_iterator("/proc/" + std::to_string(pid) + "/task", gone)) {
        const std::string name = entry.path().filename();
        pid_t thread = 0;
        std::from_chars(name.data(), name.data() + name.size(), thread);
        if (thread <= 0 || ::sched_setaffinity(thread, sizeof set, &set) == 0) continue;
        if (errno != ESRCH)
            log::warn("cpu_mask_refused", {{"pid", pid}, {"error", std::strerror(errno)}});
    }
}

Task<void> pin_all(DomainPtr domain, std::vector<std::int64_t> mask) {
    co_await blocking(domain->loop, [pid = domain->descriptor.pid, mask = std::move(mask)] {
        pin(pid, set_of(mask));
    });
}

std::string key_name(const std::string& key) {
    const bool known = key.size() == 1 && ((key.front() >= 'a' && key.front() <= 'z') ||
                                           (key.front() >= '0' && key.front() <= '9'));
    if (!known) throw err::invalid_value("key", key.substr(0, 16));
    return key;
}

}  // namespace

CgroupLimits limits_of(const agent::VmSpec& spec) {
    const std::int64_t weight = spec.cpu.weight > 0 ? spec.cpu.weight : weight_default;
    return {.memory_bytes_max = spec.memory_bytes + spec.memory_bytes / 4 + memory_beside_bytes,
            .pids_max = spec.vcpus_max + threads_beside,
            .cpu_weight = std::clamp(weight * group_weight_default / weight_default,
                                     std::int64_t{1}, group_weight_max),
            .cpu_percent_max = std::max(spec.cpu.cap_percent, std::int64_t{0})};
}

Task<void> apply_cpu_mask(DomainPtr domain) {
    const std::vector<std::int64_t> mask = domain->descriptor.config.spec.cpu.mask;
    if (!mask.empty()) co_await pin_all(domain, mask);
}

Task<void> set_memory_target(DomainPtr domain, std::int64_t bytes) {
    agent::VmSpec& spec = domain->descriptor.config.spec;
    if (bytes <= 0 || bytes > spec.memory_bytes)
        throw err::invalid_value("memory_target", std::to_string(bytes));
    co_await domain->monitor->set_balloon(bytes);
    domain->descriptor.config.spec.memory_target_bytes = bytes;
    co_await save_descriptor(*domain);
}

Task<void> plug_cpus(DomainPtr domain, std::int64_t count) {
    Machine& machine = domain->descriptor.machine;
    std::vector<Json> free = co_await domain->monitor->free_cpus();
    for (Json& cpu : free) {
        if (machine.vcpus >= count) co_return;
        cpu["id"] = cpu_id(machine.vcpus);
        co_await domain->monitor->add_device(cpu);
        ++machine.vcpus;
        ++machine.added_vcpus;
    }
}

Task<void> set_vcpus(DomainPtr domain, std::int64_t count) {
    const std::int64_t most =
        std::max(domain->descriptor.config.spec.vcpus_max, domain->descriptor.machine.vcpus);
    if (count < 1 || count > most) throw err::invalid_value("nvcpu", std::to_string(count));
    // QEMU takes none back once the guest has it, but the guest can let it rest.
    const bool fewer = count < domain->descriptor.machine.vcpus;
    if (fewer && !domain->agent_open) throw err::vm_lacks_feature(domain->uuid());
    co_await plug_cpus(domain, count);
    // What was plugged but not brought to use is used at the guest's next boot.
    bool used = false;
    if (domain->agent_open) used = co_await use_vcpus(domain->loop, domain->paths.agent(), count);
    if (fewer && !used) throw err::vm_lacks_feature(domain->uuid());
    domain->descriptor.config.spec.vcpus = count;
    co_await save_descriptor(*domain);
}

Task<void> set_cpu_shares(DomainPtr domain, std::shared_ptr<Confinement> confinement,
                          agent::CpuShares shares) {
    domain->descriptor.config.spec.cpu = shares;
    co_await blocking(domain->loop, [confinement, group = group_of(domain->paths.dir),
                                     limits = limits_of(domain->descriptor.config.spec)] {
        confinement->groups.make(group, limits);
    });
    co_await pin_all(domain, shares.mask);
    co_await save_descriptor(*domain);
}

Task<void> send(DomainPtr domain, agent::GuestSignal signal, std::string key) {
    switch (signal) {
        case agent::GuestSignal::nmi:
            co_return co_await domain->monitor->inject_nmi();
        case agent::GuestSignal::power:
            co_return co_await domain->monitor->power_button();
        case agent::GuestSignal::reset:
            co_return co_await domain->monitor->reset();
        case agent::GuestSignal::wakeup:
            co_return co_await domain->monitor->wake_up();
        case agent::GuestSignal::sysrq: {
            std::vector<std::string> keys = {"alt", "sysrq", key_name(key)};
            co_return co_await domain->monitor->press(std::move(keys));
        }
        case agent::GuestSignal::sleep:
            break;
    }
    bool asleep = false;
    if (domain->agent_open) asleep = co_await suspend_inside(domain->loop, domain->paths.agent());
    if (!asleep) throw err::vm_lacks_feature(domain->uuid());
}

}  // namespace basalt::hv::qemu
