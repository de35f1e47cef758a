#include <boost/system/system_error.hpp>
#include <csignal>
#include <cstring>
#include <filesystem>
#include <system_error>

#include "base/error.hpp"
#include "base/json.hpp"
#include "base/log.hpp"
#include "base/shown_file.hpp"
#include "hypervisor/qemu/domain.hpp"
#include "hypervisor/qemu/handed.hpp"
#include "hypervisor/qemu/seed.hpp"
#include "idl/errors.hpp"

namespace basalt::hv::qemu {

namespace {

constexpr Duration connect_limit = 60s;
constexpr Duration quit_limit = 3s;
constexpr std::size_t error_text_max = 500;

ApiError internal(std::string text) {
    return err::internal_error(std::move(text));
}

// The last thing QEMU said is why it ended.
std::string last_words(const std::string& path) {
    std::string text = read_file(path);
    while (!text.empty() && text.back() == '\n')
        text.pop_back();
    if (text.size() > error_text_max) text.erase(0, text.size() - error_text_max);
    return text;
}

Task<void> wait_gone(DomainPtr domain) {
    while (!domain->gone)
        co_await domain->changed.wait();
}

Task<bool> gone_within(DomainPtr domain, Duration limit) {
    const Time deadline = domain->loop.now() + limit;
    while (!domain->gone && domain->loop.now() < deadline)
        co_await domain->changed.wait_for(deadline - domain->loop.now());
    co_return domain->gone;
}

Task<void> connect_monitor(DomainPtr domain) {
    std::exception_ptr failure;
    try {
        co_await domain->monitor->connect(connect_limit);
    } catch (const ApiError&) {
        failure = std::current_exception();
    }
    if (!failure) co_return;
    const bool ended = co_await gone_within(domain, 2s);
    const std::string words = co_await blocking(
        domain->loop, [path = domain->paths.stderr_log()] { return last_words(path); });
    if (ended && !words.empty()) throw internal(words);
    std::rethrow_exception(failure);
}

Task<void> remove_files(DomainPtr domain, std::shared_ptr<Confinement> confinement) {
    co_await blocking(domain->loop,
                      [dir = domain->paths.dir, confinement] { remove_domain(dir, *confinement); });
}

Task<void> hide_boot_files(DomainPtr domain) {
    co_await blocking(domain->loop, [paths = domain->paths] {
        hide_file(paths.kernel());
        hide_file(paths.ramdisk());
    });
}

Task<void> kill_and_wait(DomainPtr domain) {
    domain->phase = Domain::Phase::ending;
    domain->process->kill(SIGKILL);
    co_await wait_gone(domain);
}

Cell cell_of(const Domain& domain, const LaunchWith& with) {
    const agent::VmSpec& spec = domain.descriptor.config.spec;
    Cell cell;
    cell.uid = domain.slot->guest();
    const CgroupLimits limits = limits_of(spec);
    cell.groups = with.confinement->groups.make(group_of(domain.paths.dir), limits);
    // The largest that it writes is a guest's memory; the smallest a console's log without end.
    cell.file_bytes_max = limits.memory_bytes_max;
    // Without them libusb does not begin, and QEMU has no USB devices of the host.
    cell.device_events = has_usb_controller(spec, domain.descriptor.machine);
    if (has_nvram(spec.boot))
        cell.readable.push_back(with.installation.code_of(domain.descriptor.machine));
    if (spec.boot.kind != agent::BootKind::kernel) return cell;
    cell.readable.push_back(domain.paths.kernel());
    if (!spec.boot.ramdisk.empty()) cell.readable.push_back(domain.paths.ramdisk());
    return cell;
}

void show_boot_files(const Domain& domain) {
    const agent::BootSpec& boot = domain.descriptor.config.spec.boot;
    if (boot.kind != agent::BootKind::kernel) return;
    const uid_t uid = domain.slot->guest();
    OwnerMaps maps;
    try {
        show_file({.path = boot.kernel, .at = domain.paths.kernel(), .uid = uid}, maps);
        if (!boot.ramdisk.empty())
            show_file({.path = boot.ramdisk, .at = domain.paths.ramdisk(), .uid = uid}, maps);
    } catch (const std::system_error& error) {
        throw internal(error.what());
    }
}

// What the process is given, made ready off the loop.
struct Ready {
    Handed handed;
    Command command;
    std::optional<TpmReady> tpm;
};

std::shared_ptr<Ready> make_ready(const Domain& domain, const LaunchWith& with) {
    for (const agent::StateKind kind : states_of(domain))
        with.states.prepare(domain.uuid(), kind);
    show_boot_files(domain);
    const auto ready = std::make_shared<Ready>();
    const Descriptor& descriptor = domain.descriptor;
    ready->handed = open_handed(descriptor.config, descriptor.machine, domain.paths);
    const Launch how{.wall_seconds = domain.loop.wall_ns() / 1'000'000'000,
                     .incoming = with.incoming};
    const auto argv = plan_command_line(descriptor.config, descriptor.machine, domain.paths,
                                        with.installation, how);
    const Cell cell = cell_of(domain, with);
    if (descriptor.machine.tpm) {
        ready->tpm = make_tpm_ready(domain, with, cell, ready->handed.files.at(2).get());
        ready->handed.files[Descriptors::tpm] = std::move(ready->tpm->qemu_end);
    }
    ready->command.argv = confined(with.confinement->launcher, cell, argv);
    ready->command.inherit = ready->handed.inherit();
    ready->command.detached = true;
    return ready;
}

void start(Domain& domain, Ready& ready) {
    if (ready.tpm) start_tpm(domain, *ready.tpm);
    domain.process = start_process(domain.loop, ready.command);
    domain.monitor = std::make_unique<Monitor>(
        domain.loop, adopt_stream(domain.loop, std::move(ready.handed.monitor)));
}

}  // namespace

agent::DomainInfo info(const Domain& domain) {
    const Descriptor& descriptor = domain.descriptor;
    agent::DomainInfo out;
    out.uuid = domain.uuid();
    out.domid = descriptor.dom;
    out.power = domain.running ? agent::DomainPower::running : agent::DomainPower::paused;
    out.started_at = descriptor.started_at;
    const agent::VmSpec& spec = descriptor.config.spec;
    out.memory_bytes = domain.balloon_bytes > 0 ? domain.balloon_bytes : spec.memory_bytes;
    out.memory_target_bytes =
        spec.memory_target_bytes > 0 ? spec.memory_target_bytes : spec.memory_bytes;
    out.vcpus = descriptor.config.spec.vcpus;
    out.spec = descriptor.config.spec;
    out.spec->disks.clear();
    out.spec->nics.clear();
    out.spec->usbs.clear();
    for (const DiskAttachment& disk : descriptor.config.disks) {
        out.plugged_disks.push_back(disk.spec.device);
        out.spec->disks.push_back(disk.spec);
    }
    for (const NicAttachment& nic : descriptor.config.nics) {
        out.plugged_nics.push_back(nic.spec.device);
        out.spec->nics.push_back(nic.spec);
    }
    for (const UsbAttachment& usb : descriptor.config.usbs) {
        out.plugged_usbs.push_back(usb.spec.vusb);
        out.spec->usbs.push_back(usb.spec);
    }
    return out;
}

Task<void> save_descriptor(const Domain& domain) {
    co_await blocking(domain.loop, [path = domain.paths.descriptor(), value = domain.descriptor] {
        write_file(path, Json(value).dump());
    });
}

void make_folder(const std::string& path) {
    namespace fs = std::filesystem;
    fs::create_directories(path);
    fs::permissions(path, fs::perms::owner_all | fs::perms::group_exec | fs::perms::others_exec);
}

std::vector<agent::StateKind> states_of(const Domain& domain) {
    std::vector<agent::StateKind> out;
    if (has_nvram(domain.descriptor.config.spec.boot)) out.push_back(agent::StateKind::nvram);
    if (domain.descriptor.machine.tpm) out.push_back(agent::StateKind::tpm);
    return out;
}

std::string group_of(const std::string& dir) {
    return std::filesystem::path(dir).filename().string() + ".qemu";
}

void remove_domain(const std::string& dir, Confinement& confinement) {
    hide_files(dir);
    std::filesystem::remove_all(dir);
    confinement.groups.remove(group_of(dir));
}

Task<void> launch(DomainPtr domain, LaunchWith with, std::function<void()> started, Undo& undo) {
    undo.push("remove files", [domain, confinement = with.confinement] {
        return remove_files(domain, confinement);
    });
    domain->slot = co_await with.confinement->slots.hold(domain->uuid());
    domain->descriptor.boot_id = co_await blocking(domain->loop, host_boot_id);
    domain->descriptor.started_at = domain->loop.wall_ns() / 1'000'000'000;
    co_await blocking(domain->loop, [dir = domain->paths.dir, uid = domain->slot->guest()] {
        make_show_folder(dir, uid);
    });
    co_await save_descriptor(*domain);
    if (domain->descriptor.machine.seed) {
        // Of a guest that was saved with the drive and has it no more: an empty one.
        agent::SeedDrive seed;
        seed.label = "cidata";
        if (const auto& given = domain->descriptor.config.spec.seed) seed = *given;
        co_await make_seed(domain->loop, domain->paths.seed(), std::move(seed));
    }
    undo.push("end the TPM", [domain] { return await_tpm(domain); });
    const auto ready =
        co_await blocking(domain->loop, [domain, with] { return make_ready(*domain, with); });
    try {
        start(*domain, *ready);
    } catch (const boost::system::system_error& error) {
        throw internal(error.what());
    }
    ready->handed.files.clear();  // the child alone has them now
    started();
    undo.push("end the process", [domain] { return kill_and_wait(domain); });
    domain->descriptor.pid = domain->process->pid();
    domain->descriptor.process_start = co_await blocking(
        domain->loop, [pid = domain->descriptor.pid] { return process_start(pid); });
    co_await connect_monitor(domain);
    co_await hide_boot_files(domain);
    co_await apply_cpu_mask(domain);
    co_await plug_usbs(domain);
    if (const auto& spec = domain->descriptor.config.spec;
        !with.incoming && spec.memory_target_bytes > 0 &&
        spec.memory_target_bytes < spec.memory_bytes)
        co_await domain->monitor->set_balloon(spec.memory_target_bytes);
    domain->console = std::make_unique<ConsoleHub>(domain->loop, domain->paths.serial(),
                                                   domain->paths.serial_log());
    co_await domain->console->connect();
}

Task<void> reconnect(DomainPtr domain) {
    domain->monitor = std::make_unique<Monitor>(
        domain->loop, co_await connect_unix(domain->loop, domain->paths.qmp()));
    domain->console = std::make_unique<ConsoleHub>(domain->loop, domain->paths.serial(),
                                                   domain->paths.serial_log());
    co_await domain->console->connect();
}

Task<void> end_process(DomainPtr domain) {
    if (!domain->gone && domain->monitor) {
        try {
            co_await within(domain->loop, quit_limit, domain->monitor->quit(),
                            internal("quit took too long"));
        } catch (const ApiError& error) {
            // It may be gone already, or stuck; both are seen to below.
            log::debug("qemu_quit", {{"vm", domain->uuid()}, {"error", error.what()}});
        }
    }
    if (co_await gone_within(domain, quit_limit)) co_return;
    log::warn("qemu_killed", {{"vm", domain->uuid()}, {"pid", domain->descriptor.pid}});
    domain->process->kill(SIGKILL);
    co_await wait_gone(domain);
}

}  // namespace basalt::hv::qemu
