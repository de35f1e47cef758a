#include "hypervisor/xen/live.hpp"

#include <algorithm>

#include "base/error.hpp"
#include "base/log.hpp"
#include "hypervisor/xen/domain_config.hpp"
#include "hypervisor/xen/xl.hpp"
#include "idl/errors.hpp"

namespace basalt::hv::xen {

namespace {

constexpr std::int64_t kibibyte = 1024;
// What Xen's scheduler gives who is not told otherwise; the same as XenAPI's.
constexpr int weight_default = 256;
constexpr std::uint32_t first_processor = 0;

using OwnedBits = Owned<libxl_bitmap, libxl_bitmap_init, libxl_bitmap_dispose>;
using OwnedScheduling = Owned<libxl_domain_sched_params, libxl_domain_sched_params_init,
                              libxl_domain_sched_params_dispose>;

std::uint32_t number_of(DomId dom) {
    return static_cast<std::uint32_t>(dom);
}

// Processors that this machine lacks are left out; one that has none of them gets all.
void choose_processors(const Xl& xl, const std::vector<std::int64_t>& mask, libxl_bitmap* out) {
    xl.check("libxl_cpu_bitmap_alloc", libxl_cpu_bitmap_alloc(xl.get(), out, 0));
    const int present = libxl_get_online_cpus(xl.get());
    libxl_bitmap_set_none(out);
    for (const std::int64_t cpu : mask)
        if (cpu >= 0 && cpu < present) libxl_bitmap_set(out, static_cast<int>(cpu));
    if (libxl_bitmap_count_set(out) > 0) return;
    if (!mask.empty()) log::warn("cpu_mask_empty", {{"present", present}});
    libxl_bitmap_set_any(out);
}

libxl_trigger trigger_of(agent::GuestSignal signal) {
    switch (signal) {
        case agent::GuestSignal::nmi:
            return LIBXL_TRIGGER_NMI;
        case agent::GuestSignal::sleep:
            return LIBXL_TRIGGER_SLEEP;
        case agent::GuestSignal::wakeup:
            return LIBXL_TRIGGER_S3RESUME;
        default:
            return LIBXL_TRIGGER_POWER;
    }
}

char sysrq_key(const std::string& key) {
    const bool known = key.size() == 1 && ((key.front() >= 'a' && key.front() <= 'z') ||
                                           (key.front() >= '0' && key.front() <= '9'));
    if (!known) throw err::invalid_value("key", key.substr(0, 16));
    return key.front();
}

}  // namespace

void set_memory_target(DomId dom, std::int64_t bytes) {
    const Xl xl;
    constexpr int absolute = 0;
    constexpr int enforced = 1;
    xl.check(
        "libxl_set_memory_target",
        libxl_set_memory_target(xl.get(), number_of(dom), bytes / kibibyte, absolute, enforced));
}

void set_processors(DomId dom, std::int64_t count, std::int64_t all) {
    const Xl xl;
    OwnedBits online;
    xl.check("libxl_cpu_bitmap_alloc",
             libxl_cpu_bitmap_alloc(xl.get(), online.get(), static_cast<int>(all)));
    for (std::int64_t number = 0; number < count; ++number)
        libxl_bitmap_set(online.get(), static_cast<int>(number));
    xl.check("libxl_set_vcpuonline",
             libxl_set_vcpuonline(xl.get(), number_of(dom), online.get(), nullptr));
}

void set_shares(DomId dom, const agent::CpuShares& shares, std::int64_t processors) {
    const Xl xl;
    OwnedScheduling now;
    xl.check("libxl_domain_sched_params_get",
             libxl_domain_sched_params_get(xl.get(), number_of(dom), now.get()));
    OwnedBits allowed;
    choose_processors(xl, shares.mask, allowed.get());
    now->weight = shares.weight > 0 ? static_cast<int>(shares.weight) : weight_default;
    // More than all of its processors can use is no cap, and Xen refuses it.
    const std::int64_t most = 100 * processors;
    now->cap = shares.cap_percent < most ? static_cast<int>(shares.cap_percent) : 0;
    xl.check("libxl_domain_sched_params_set",
             libxl_domain_sched_params_set(xl.get(), number_of(dom), now.get()));
    xl.check("libxl_set_vcpuaffinity_all",
             libxl_set_vcpuaffinity_all(xl.get(), number_of(dom), static_cast<unsigned>(processors),
                                        allowed.get(), nullptr));
}

bool hears(const agent::BootSpec& boot, agent::GuestSignal signal) {
    switch (signal) {
        case agent::GuestSignal::sleep:
        case agent::GuestSignal::wakeup:
            return has_device_model(boot);
        default:
            return true;
    }
}

void send_signal(DomId dom, agent::GuestSignal signal, const std::string& key) {
    if (signal == agent::GuestSignal::sysrq) {
        const char letter = sysrq_key(key);
        const Xl xl;
        xl.check("libxl_send_sysrq", libxl_send_sysrq(xl.get(), number_of(dom), letter));
        return;
    }
    const Xl xl;
    xl.check("libxl_send_trigger", libxl_send_trigger(xl.get(), number_of(dom), trigger_of(signal),
                                                      first_processor, nullptr));
}

}  // namespace basalt::hv::xen
