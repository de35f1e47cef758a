#include "hypervisor/xen/calls.hpp"

#include <fcntl.h>

#include <algorithm>
#include <array>
#include <cstdlib>
#include <cstring>
#include <ranges>
#include <string_view>

#include "base/error.hpp"
#include "hypervisor/xen/beginning.hpp"
#include "hypervisor/xen/domain_config.hpp"
#include "hypervisor/xen/live.hpp"
#include "hypervisor/xen/outlet.hpp"
#include "hypervisor/xen/store.hpp"
#include "hypervisor/xen/xl.hpp"
#include "idl/errors.hpp"

namespace basalt::hv::xen {

namespace {

constexpr std::uint64_t page_bytes = 4096;
constexpr std::uint64_t kibibyte = 1024;

// What the library writes. Its own default is the format before it, which it would convert.
constexpr std::uint32_t stream_version = 2;

std::uint32_t number_of(DomId dom) {
    return static_cast<std::uint32_t>(dom);
}

void require_hardware(const libxl_physinfo& machine, const DomainConfig& config) {
    const bool paravirtual = !has_device_model(config.spec.boot) && config.spec.boot.paravirtual;
    if (!paravirtual && !machine.cap_hvm) throw err::vm_hvm_required(config.spec.uuid);
}

// The library knows what it will ask of Xen beside the memory that the guest sees: page tables,
// grant tables, the screen's memory. Pages that are promised to others are not free.
void require_memory(const Xl& xl, const libxl_physinfo& machine, libxl_domain_config* wanted) {
    std::uint64_t needed_kib = 0;
    xl.check("libxl_domain_need_memory",
             libxl_domain_need_memory(xl.get(), wanted, INVALID_DOMID, &needed_kib));
    const std::uint64_t promised = std::min(machine.outstanding_pages, machine.free_pages);
    const std::uint64_t free = (machine.free_pages - promised) * page_bytes;
    const std::uint64_t needed = needed_kib * kibibyte;
    if (free < needed)
        throw err::host_not_enough_free_memory(std::to_string(needed), std::to_string(free));
}

void require_room(const Xl& xl, const DomainConfig& config, libxl_domain_config* wanted) {
    OwnedPhysics machine;
    xl.check("libxl_get_physinfo", libxl_get_physinfo(xl.get(), machine.get()));
    require_hardware(*machine.get(), config);
    require_memory(xl, *machine.get(), wanted);
}

enum class Made : std::uint8_t { anew, restored };

// What the library does not do by itself.
DomId finished(const DomainConfig& config, std::uint32_t dom, Made made) {
    const agent::VmSpec& spec = config.spec;
    try {
        if (made == Made::restored && spec.memory_target_bytes > 0)
            set_memory_target(dom, spec.memory_target_bytes);
        if (spec.cpu != agent::CpuShares{})
            set_shares(dom, spec.cpu, std::max(spec.vcpus, spec.vcpus_max));
        prepare_guest_nodes(dom, spec.xenstore);
    } catch (const ApiError&) {
        const Xl again(Use::destroys);
        libxl_domain_destroy(again.get(), dom, nullptr);
        throw;
    }
    return dom;
}

std::string text_of(const libxl_uuid& uuid) {
    std::array<char, LIBXL_UUID_FMTLEN + 1> text{};
    std::snprintf(text.data(), text.size(), LIBXL_UUID_FMT, LIBXL_UUID_BYTES(uuid));
    return text.data();
}

std::optional<agent::HaltReason> reason_of(const libxl_dominfo& info) {
    if (!info.shutdown) return std::nullopt;
    switch (info.shutdown_reason) {
        case LIBXL_SHUTDOWN_REASON_POWEROFF:
            return agent::HaltReason::shutdown;
        case LIBXL_SHUTDOWN_REASON_REBOOT:
        case LIBXL_SHUTDOWN_REASON_SOFT_RESET:
            return agent::HaltReason::reboot;
        case LIBXL_SHUTDOWN_REASON_SUSPEND:
            return agent::HaltReason::suspended;
        default:
            return agent::HaltReason::crashed;
    }
}

// The library reads and writes as if it could always wait.
void make_blocking(int fd) {
    ::fcntl(fd, F_SETFL, ::fcntl(fd, F_GETFL) & ~O_NONBLOCK);
}

}  // namespace

DomId create_domain(const DomainConfig& config, const Sources& from) {
    const Xl xl(Use::works);
    OwnedConfig wanted;
    fill(*wanted.get(), config, from);
    require_room(xl, config, wanted.get());
    std::uint32_t dom = INVALID_DOMID;
    xl.check_built("libxl_domain_create_new",
                   libxl_domain_create_new(xl.get(), wanted.get(), &dom, nullptr, nullptr));
    return finished(config, dom, Made::anew);
}

DomId restore_domain(const DomainConfig& config, const Sources& from, int source) {
    const Xl xl(Use::works);
    OwnedConfig wanted;
    fill(*wanted.get(), config, from);
    require_room(xl, config, wanted.get());
    // The guest comes back with what it had, which may be more than its target if it has not obeyed
    // yet: the library would let it have no more than that.
    wanted->b_info.target_memkb = wanted->b_info.max_memkb;
    OwnedRestore options;
    options->stream_version = stream_version;
    require_saved_guest(source);
    make_blocking(source);
    std::uint32_t dom = INVALID_DOMID;
    constexpr int no_way_back = -1;  // COLO's
    // What was saved is to blame as often as the domain: this stays an INTERNAL_ERROR.
    xl.check("libxl_domain_create_restore",
             libxl_domain_create_restore(xl.get(), wanted.get(), &dom, source, no_way_back,
                                         options.get(), nullptr, nullptr));
    return finished(config, dom, Made::restored);
}

void destroy_domain(DomId dom) {
    const Xl xl(Use::destroys);
    const int code = libxl_domain_destroy(xl.get(), number_of(dom), nullptr);
    if (code != ERROR_DOMAIN_NOTFOUND) xl.check("libxl_domain_destroy", code);
}

void destroy_domain_of(const std::string& uuid) {
    const Xl xl(Use::destroys);
    int count = 0;
    libxl_dominfo* const list = libxl_list_domain(xl.get(), &count);
    DomId found = 0;
    for (int index = 0; index < count; ++index)
        if (text_of(list[index].uuid) == uuid) found = list[index].domid;
    libxl_dominfo_list_free(list, count);
    if (found != 0)
        xl.check("libxl_domain_destroy", libxl_domain_destroy(xl.get(), number_of(found), nullptr));
}

namespace {

bool is_paused(const Xl& xl, DomId dom) {
    OwnedInfo info;
    xl.check("libxl_domain_info", libxl_domain_info(xl.get(), info.get(), number_of(dom)));
    return info->paused;
}

}  // namespace

void set_domain_running(DomId dom, bool running) {
    // Others may have paused it too, but not for ever.
    constexpr int pauses_max = 8;
    const Xl xl;
    for (int done = 0; done < pauses_max && is_paused(xl, dom) == running; ++done) {
        if (running)
            xl.check("libxl_domain_unpause",
                     libxl_domain_unpause(xl.get(), number_of(dom), nullptr));
        else
            xl.check("libxl_domain_pause", libxl_domain_pause(xl.get(), number_of(dom), nullptr));
    }
}

Asked ask_domain(DomId dom, GuestRequest what) {
    const Xl xl;
    const bool reboot = what == GuestRequest::reboot;
    const int code = reboot ? libxl_domain_reboot(xl.get(), number_of(dom), nullptr)
                            : libxl_domain_shutdown(xl.get(), number_of(dom), nullptr);
    if (code == ERROR_NOPARAVIRT) {
        constexpr std::uint32_t first_processor = 0;
        xl.check("libxl_send_trigger",
                 libxl_send_trigger(xl.get(), number_of(dom), LIBXL_TRIGGER_POWER, first_processor,
                                    nullptr));
        return Asked::by_power_button;
    }
    xl.check(reboot ? "libxl_domain_reboot" : "libxl_domain_shutdown", code);
    return Asked::by_store;
}

namespace {

// The guest, or Xen, takes it for a save that was called off.
constexpr int guest_knows = 1;

// Xen follows the writes of a paravirtual guest by page tables of its own in place of the guest's,
// those of others by the processor's second tables, too.
std::vector<std::string> followed_kinds(const Xl& xl) {
    OwnedPhysics machine;
    xl.check("libxl_get_physinfo", libxl_get_physinfo(xl.get(), machine.get()));
    std::vector<std::string> out;
    if (machine->cap_hvm && (machine->cap_hap || machine->cap_shadow)) out = {"hvm", "pvh"};
    if (machine->cap_shadow) out.emplace_back("pv");
    return out;
}

const char* kind_of(libxl_domain_type type) {
    switch (type) {
        case LIBXL_DOMAIN_TYPE_PV:
            return "pv";
        case LIBXL_DOMAIN_TYPE_PVH:
            return "pvh";
        default:
            return "hvm";
    }
}

void require_followed(const Xl& xl, DomId dom) {
    OwnedInfo info;
    xl.check("libxl_domain_info", libxl_domain_info(xl.get(), info.get(), number_of(dom)));
    if (!std::ranges::contains(followed_kinds(xl), kind_of(info->domain_type)))
        throw err::operation_not_allowed(
            "This Xen cannot follow what such a guest writes: it moves only while it stands still");
}

// One that stopped for this, and not by itself.
bool stands_saved(const Xl& xl, DomId dom) {
    OwnedInfo info;
    return libxl_domain_info(xl.get(), info.get(), number_of(dom)) == 0 && info->shutdown &&
           info->shutdown_reason == LIBXL_SHUTDOWN_REASON_SUSPEND;
}

}  // namespace

std::vector<std::string> movable_kinds() {
    const Xl xl;
    return followed_kinds(xl);
}

void save_domain(DomId dom, int sink, Saving how) {
    const Xl xl(Use::works);
    if (how == Saving::live) require_followed(xl, dom);
    make_blocking(sink);
    Outlet outlet(sink);
    const int code = libxl_domain_suspend(xl.get(), number_of(dom), outlet.end(),
                                          how == Saving::live ? LIBXL_SUSPEND_LIVE : 0, nullptr);
    const int failed = outlet.finish();
    if (code == 0 && failed == 0) return;
    // Whoever asked has a running guest again.
    if (stands_saved(xl, dom)) libxl_domain_resume(xl.get(), number_of(dom), guest_knows, nullptr);
    if (failed != 0) throw err::internal_error(std::string("save: ") + std::strerror(failed));
    xl.check("libxl_domain_suspend", code);
}

void resume_domain(DomId dom) {
    const Xl xl(Use::works);
    xl.check("libxl_domain_resume",
             libxl_domain_resume(xl.get(), number_of(dom), guest_knows, nullptr));
}

std::map<DomId, std::int64_t> memory_of_domains() {
    const Xl xl;
    int count = 0;
    libxl_dominfo* const list = libxl_list_domain(xl.get(), &count);
    if (list == nullptr) throw err::internal_error("libxl_list_domain failed");
    std::map<DomId, std::int64_t> out;
    for (int index = 0; index < count; ++index)
        out.emplace(list[index].domid,
                    static_cast<std::int64_t>(list[index].current_memkb * kibibyte));
    libxl_dominfo_list_free(list, count);
    return out;
}

std::optional<DomainState> domain_state(DomId dom) {
    const Xl xl;
    OwnedInfo info;
    const int code = libxl_domain_info(xl.get(), info.get(), number_of(dom));
    if (code == ERROR_DOMAIN_NOTFOUND) return std::nullopt;
    xl.check("libxl_domain_info", code);
    if (info->dying) return std::nullopt;
    return DomainState{
        .uuid = text_of(info->uuid), .paused = info->paused, .halted = reason_of(*info.get())};
}

std::string domain_console(DomId dom, const agent::BootSpec& boot) {
    const Xl xl;
    char* path = nullptr;
    const libxl_console_type type =
        has_device_model(boot) ? LIBXL_CONSOLE_TYPE_SERIAL : LIBXL_CONSOLE_TYPE_PV;
    const int code = libxl_console_get_tty(xl.get(), number_of(dom), 0, type, &path);
    // libxl_console.c: what it answers when the store has no path there yet.
    if (code == ERROR_INVAL) return {};
    xl.check("libxl_console_get_tty", code);
    std::string terminal = path;
    std::free(path);
    return terminal;
}

Hypervisor::Facts read_facts() {
    const Xl xl;
    const libxl_version_info* const version = libxl_get_version_info(xl.get());
    if (version == nullptr) throw err::internal_error("libxl_get_version_info failed");
    return {.name = "xen",
            .version = std::to_string(version->xen_version_major) + "." +
                       std::to_string(version->xen_version_minor) + version->xen_version_extra,
            .accelerated = true};
}

namespace {

// "xen-3.0-x86_64 hvm-3.0-x86_32 hvm-3.0-x86_64 "
std::vector<std::string> words_of(const char* text) {
    std::vector<std::string> out;
    for (const auto part : std::views::split(std::string_view(text == nullptr ? "" : text), ' '))
        if (!part.empty()) out.emplace_back(part.begin(), part.end());
    return out;
}

}  // namespace

WholeMachine read_machine() {
    const Xl xl;
    OwnedPhysics machine;
    xl.check("libxl_get_physinfo", libxl_get_physinfo(xl.get(), machine.get()));
    const libxl_version_info* const version = libxl_get_version_info(xl.get());
    // What is still being wiped is free in a moment, what is promised to a domain is not.
    const std::uint64_t free_pages = machine->free_pages + machine->scrub_pages;
    const std::uint64_t promised_pages = std::min(machine->outstanding_pages, free_pages);
    const std::uint32_t threads_per_socket =
        std::max(1U, machine->threads_per_core * machine->cores_per_socket);
    return {
        .cpu_count = machine->nr_cpus,
        .cpu_sockets = machine->nr_cpus / threads_per_socket,
        .cpu_threads_per_core = machine->threads_per_core,
        .numa_nodes = machine->nr_nodes,
        .cpu_mhz = machine->cpu_khz / 1000.0,
        .memory_total_bytes = static_cast<std::int64_t>(machine->total_pages * page_bytes),
        .memory_free_bytes = static_cast<std::int64_t>((free_pages - promised_pages) * page_bytes),
        // Xen can give devices to guests only through it.
        .iommu = machine->cap_hvm_directio,
        .capabilities = words_of(version == nullptr ? nullptr : version->capabilities)};
}

}  // namespace basalt::hv::xen
