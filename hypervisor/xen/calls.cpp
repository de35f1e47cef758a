#include "hypervisor/xen/calls.hpp"

#include <fcntl.h>

#include <algorithm>
#include <array>
#include <cstdlib>

#include "base/error.hpp"
#include "hypervisor/xen/domain_config.hpp"
#include "hypervisor/xen/xl.hpp"
#include "idl/errors.hpp"

namespace basalt::hv::xen {

namespace {

constexpr std::uint64_t page_bytes = 4096;
// What Xen keeps for a domain beside the memory that the guest sees: page tables, grant tables.
constexpr std::uint64_t overhead_bytes = std::uint64_t{16} << 20;

// What the library writes. Its own default is the format before it, which it would convert.
constexpr std::uint32_t stream_version = 2;

std::uint32_t number_of(DomId dom) {
    return static_cast<std::uint32_t>(dom);
}

void require_memory(const Xl& xl, const agent::VmSpec& spec) {
    OwnedPhysics machine;
    xl.check("libxl_get_physinfo", libxl_get_physinfo(xl.get(), machine.get()));
    const std::uint64_t free = machine->free_pages * page_bytes;
    const std::uint64_t needed = static_cast<std::uint64_t>(spec.memory_bytes) + overhead_bytes;
    if (free < needed)
        throw err::host_not_enough_free_memory(std::to_string(needed), std::to_string(free));
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
    const Xl xl;
    require_memory(xl, config.spec);
    OwnedConfig wanted;
    fill(*wanted.get(), config, from);
    std::uint32_t dom = INVALID_DOMID;
    xl.check("libxl_domain_create_new",
             libxl_domain_create_new(xl.get(), wanted.get(), &dom, nullptr, nullptr));
    return dom;
}

DomId restore_domain(const DomainConfig& config, const Sources& from, int source) {
    const Xl xl;
    require_memory(xl, config.spec);
    OwnedConfig wanted;
    fill(*wanted.get(), config, from);
    OwnedRestore options;
    options->stream_version = stream_version;
    make_blocking(source);
    std::uint32_t dom = INVALID_DOMID;
    constexpr int no_way_back = -1;  // COLO's
    xl.check("libxl_domain_create_restore",
             libxl_domain_create_restore(xl.get(), wanted.get(), &dom, source, no_way_back,
                                         options.get(), nullptr, nullptr));
    return dom;
}

void destroy_domain(DomId dom) {
    const Xl xl;
    const int code = libxl_domain_destroy(xl.get(), number_of(dom), nullptr);
    if (code != ERROR_DOMAIN_NOTFOUND) xl.check("libxl_domain_destroy", code);
}

void destroy_domain_of(const std::string& uuid) {
    const Xl xl;
    int count = 0;
    libxl_dominfo* const list = libxl_list_domain(xl.get(), &count);
    DomId found = 0;
    for (int index = 0; index < count; ++index)
        if (text_of(list[index].uuid) == uuid) found = list[index].domid;
    libxl_dominfo_list_free(list, count);
    if (found != 0)
        xl.check("libxl_domain_destroy", libxl_domain_destroy(xl.get(), number_of(found), nullptr));
}

void set_domain_running(DomId dom, bool running) {
    const Xl xl;
    if (running)
        xl.check("libxl_domain_unpause", libxl_domain_unpause(xl.get(), number_of(dom), nullptr));
    else
        xl.check("libxl_domain_pause", libxl_domain_pause(xl.get(), number_of(dom), nullptr));
}

void ask_domain(DomId dom, GuestRequest what) {
    const Xl xl;
    const bool reboot = what == GuestRequest::reboot;
    const int code = reboot ? libxl_domain_reboot(xl.get(), number_of(dom), nullptr)
                            : libxl_domain_shutdown(xl.get(), number_of(dom), nullptr);
    if (code == ERROR_NOPARAVIRT) {
        const libxl_trigger button = reboot ? LIBXL_TRIGGER_RESET : LIBXL_TRIGGER_POWER;
        constexpr std::uint32_t first_processor = 0;
        xl.check("libxl_send_trigger",
                 libxl_send_trigger(xl.get(), number_of(dom), button, first_processor, nullptr));
        return;
    }
    xl.check(reboot ? "libxl_domain_reboot" : "libxl_domain_shutdown", code);
}

void save_domain(DomId dom, int sink) {
    const Xl xl;
    make_blocking(sink);
    const int code = libxl_domain_suspend(xl.get(), number_of(dom), sink, 0, nullptr);
    if (code == 0) return;
    // It may have stopped already: whoever asked has a running guest again.
    constexpr int guest_knows = 1;
    libxl_domain_resume(xl.get(), number_of(dom), guest_knows, nullptr);
    xl.check("libxl_domain_suspend", code);
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

WholeMachine read_machine() {
    const Xl xl;
    OwnedPhysics machine;
    xl.check("libxl_get_physinfo", libxl_get_physinfo(xl.get(), machine.get()));
    const std::uint32_t threads_per_socket =
        std::max(1U, machine->threads_per_core * machine->cores_per_socket);
    return {.cpu_count = machine->nr_cpus,
            .cpu_sockets = machine->nr_cpus / threads_per_socket,
            .cpu_threads_per_core = machine->threads_per_core,
            .numa_nodes = machine->nr_nodes,
            .cpu_mhz = machine->cpu_khz / 1000.0,
            .memory_total_bytes = static_cast<std::int64_t>(machine->total_pages * page_bytes),
            .memory_free_bytes = static_cast<std::int64_t>(machine->free_pages * page_bytes)};
}

}  // namespace basalt::hv::xen
