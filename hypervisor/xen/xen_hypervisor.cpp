#include "hypervisor/xen/xen_hypervisor.hpp"

#include <fcntl.h>

#include <algorithm>
#include <boost/system/system_error.hpp>
#include <filesystem>

#include "base/error.hpp"
#include "base/log.hpp"
#include "base/real_net.hpp"
#include "base/undo.hpp"
#include "hypervisor/qemu/console_hub.hpp"
#include "hypervisor/qemu/descriptor.hpp"
#include "hypervisor/xen/calls.hpp"
#include "hypervisor/xen/devices.hpp"
#include "hypervisor/xen/domain.hpp"
#include "hypervisor/xen/domain_config.hpp"
#include "hypervisor/xen/live.hpp"
#include "hypervisor/xen/nbd_devices.hpp"
#include "idl/errors.hpp"

namespace basalt::hv::xen {

namespace {

constexpr Duration console_limit = 60s;
constexpr Duration console_pause = 100ms;

DomainPtr domain_or_throw(const XenHypervisor::State& state, DomId dom) {
    const auto found = state.domains.find(dom);
    if (found == state.domains.end()) throw err::internal_error("no domain " + std::to_string(dom));
    return found->second;
}

// Holds a VM's name while it is built.
class Building {
  public:
    Building(StatePtr state, std::string uuid) : state_(std::move(state)), uuid_(std::move(uuid)) {
        if (state_->building.contains(uuid_)) throw err::domain_exists(uuid_, "0");
        for (const auto& [dom, domain] : state_->domains)
            if (domain->uuid() == uuid_) throw err::domain_exists(uuid_, std::to_string(dom));
        state_->building.insert(uuid_);
    }

    Building(const Building&) = delete;
    Building& operator=(const Building&) = delete;

    ~Building() { state_->building.erase(uuid_); }

  private:
    StatePtr state_;
    std::string uuid_;
};

}  // namespace

agent::DomainInfo info(const Domain& domain) {
    const agent::VmSpec& spec = domain.descriptor.config.spec;
    agent::DomainInfo out;
    out.uuid = spec.uuid;
    out.domid = domain.descriptor.dom;
    out.power = domain.running ? agent::DomainPower::running : agent::DomainPower::paused;
    out.started_at = domain.descriptor.started_at;
    // Xen counts some pages that are not the guest's own: rings, tables, the screen's memory.
    out.memory_bytes = domain.memory_bytes > 0 ? std::min(domain.memory_bytes, spec.memory_bytes)
                                               : spec.memory_bytes;
    out.memory_target_bytes =
        spec.memory_target_bytes > 0 ? spec.memory_target_bytes : spec.memory_bytes;
    out.vcpus = spec.vcpus;
    for (const DiskAttachment& disk : domain.descriptor.config.disks)
        out.plugged_disks.push_back(disk.spec.device);
    for (const NicAttachment& nic : domain.descriptor.config.nics)
        out.plugged_nics.push_back(nic.spec.device);
    out.spec = spec;
    return out;
}

Task<void> write(StatePtr state, Descriptor descriptor) {
    co_await blocking(state->loop, [descriptors = state->descriptors, descriptor] {
        descriptors.write(descriptor);
    });
}

namespace {

std::vector<agent::DomainInfo> all_info(const XenHypervisor::State& state) {
    std::vector<agent::DomainInfo> out;
    for (const auto& [dom, domain] : state.domains)
        out.push_back(info(*domain));
    return out;
}

Task<void> remove(StatePtr state, std::string uuid) {
    co_await blocking(state->loop,
                      [descriptors = state->descriptors, uuid] { descriptors.remove(uuid); });
}

Task<void> destroy_in_xen(StatePtr state, DomId dom) {
    co_await blocking(state->loop, [dom] { destroy_domain(dom); });
}

Task<void> let_go_of_disks(StatePtr state, std::string vm) {
    co_await blocking(state->loop, [vm] { disconnect_disks(vm); });
}

// xenconsoled hears of a domain some time after it is there, and busy machines make that long.
Task<std::string> terminal_of(StatePtr state, DomainPtr domain) {
    const Time deadline = state->loop.now() + console_limit;
    for (;;) {
        std::string terminal = co_await blocking(
            state->loop,
            [dom = domain->descriptor.dom, boot = domain->descriptor.config.spec.boot] {
                return domain_console(dom, boot);
            });
        if (!terminal.empty()) co_return terminal;
        if (state->loop.now() > deadline)
            throw err::internal_error("nobody serves the console of the domain");
        co_await sleep_for(state->loop, console_pause);
    }
}

Task<void> connect_console(StatePtr state, DomainPtr domain) {
    std::string terminal = co_await terminal_of(state, domain);
    domain->console =
        std::make_unique<qemu::ConsoleHub>(state->loop, std::move(terminal), std::string());
    co_await domain->console->connect();
}

// -- the beginning of a domain -------------------------------------------------------------------

void require_possible(const DomainConfig& config) {
    if (config.spec.seed)
        throw err::operation_not_allowed("On Xen, this host gives guests no cloud-init drive");
    if (config.spec.tpm) throw err::operation_not_allowed("On Xen, this host gives guests no TPM");
}

Task<void> require_startable(StatePtr state, agent::VmSpec spec) {
    const bool found = co_await blocking(
        state->loop, [path = state->options.uefi] { return std::filesystem::exists(path); });
    require_firmware(spec, found);
}

std::string screen_of(const XenHypervisor::State& state, const std::string& vm) {
    return state.options.run_dir + "/" + vm + ".vnc";
}

Task<Sources> connect_sources(StatePtr state, DomainConfig config) {
    Sources out{
        .disks = {}, .screen = screen_of(*state, config.spec.uuid), .uefi = state->options.uefi};
    for (const DiskAttachment& disk : config.disks) {
        if (disk.nbd_socket.empty()) continue;
        std::string path = co_await connect_disk(state->loop, config.spec.uuid, disk);
        out.disks.emplace(disk.spec.device, std::move(path));
    }
    co_return out;
}

Task<void> build_steps(StatePtr state, DomainPtr domain, Making making, Undo& undo) {
    const std::string uuid = domain->uuid();
    co_await write(state, domain->descriptor);
    undo.push("forget", [state, uuid] { return remove(state, uuid); });
    undo.push("let go of disks", [state, uuid] { return let_go_of_disks(state, uuid); });
    Sources from = co_await connect_sources(state, domain->descriptor.config);
    const DomId dom =
        co_await make_domain(state, domain->descriptor.config, std::move(from), making);
    domain->descriptor.dom = dom;
    undo.push("destroy", [state, dom] { return destroy_in_xen(state, dom); });
    co_await connect_console(state, domain);
    domain->descriptor.complete = true;
    co_await write(state, domain->descriptor);
}

Task<DomId> build(StatePtr state, DomainConfig config, Making making) {
    const auto domain = std::make_shared<Domain>();
    domain->descriptor.boot_id =
        co_await blocking(state->loop, [] { return qemu::host_boot_id(); });
    domain->descriptor.started_at = state->loop.wall_ns() / 1'000'000'000;
    domain->descriptor.config = std::move(config);
    co_await with_undo(
        [state, domain, making](Undo& undo) { return build_steps(state, domain, making, undo); });
    const DomId dom = domain->descriptor.dom;
    state->domains.emplace(dom, domain);
    co_await follow_guest(state, dom);
    log::info("domain_created", {{"vm", domain->uuid()}, {"dom", dom}});
    co_return dom;
}

// -- what an earlier hostd left ------------------------------------------------------------------

Task<void> undo_half_built(StatePtr state, std::string uuid) {
    log::warn("half_built_domain_removed", {{"vm", uuid}});
    co_await blocking(state->loop, [uuid] { destroy_domain_of(uuid); });
    co_await let_go_of_disks(state, uuid);
    co_await remove(state, uuid);
}

Task<void> adopt_one(StatePtr state, Descriptor descriptor, std::string boot_id) {
    const std::string uuid = descriptor.config.spec.uuid;
    if (!descriptor.complete && descriptor.boot_id == boot_id)
        co_return co_await undo_half_built(state, uuid);
    const DomId dom = descriptor.dom;
    const auto now = descriptor.boot_id == boot_id
                         ? co_await blocking(state->loop, [dom] { return domain_state(dom); })
                         : std::nullopt;
    if (!now || now->uuid != uuid) {
        co_await let_go_of_disks(state, uuid);
        co_await remove(state, uuid);
        if (descriptor.complete) state->events->ended(dom, uuid, agent::HaltReason::crashed);
        co_return;
    }
    const auto domain = std::make_shared<Domain>();
    domain->descriptor = std::move(descriptor);
    // Whoever had it saved is asked again, and has it go on or end.
    domain->saved = now->halted == agent::HaltReason::suspended;
    domain->running = !now->paused && !domain->saved;
    state->domains.emplace(dom, domain);
    if (now->halted && !domain->saved)
        co_return co_await settle_halted(state, domain, *now->halted);
    co_await connect_console(state, domain);
    co_await follow_guest(state, dom);
    log::info("domain_adopted", {{"vm", uuid}, {"dom", dom}});
}

// -- devices -------------------------------------------------------------------------------------

const DiskAttachment* find_disk(const Domain& domain, const std::string& device) {
    const auto& disks = domain.descriptor.config.disks;
    const auto found = std::ranges::find(
        disks, device, [](const DiskAttachment& disk) { return disk.spec.device; });
    return found == disks.end() ? nullptr : &*found;
}

void forget_disk(Domain& domain, const std::string& device) {
    std::erase_if(domain.descriptor.config.disks,
                  [&device](const DiskAttachment& disk) { return disk.spec.device == device; });
}

void forget_nic(Domain& domain, std::int64_t device) {
    std::erase_if(domain.descriptor.config.nics,
                  [device](const NicAttachment& nic) { return nic.spec.device == device; });
}

Task<void> let_go_of_disk(StatePtr state, std::string vm, std::string device) {
    co_await blocking(state->loop, [vm, device] { disconnect_disk(vm, device); });
}

Task<void> attach_steps(StatePtr state, DomainPtr domain, DiskAttachment disk, Undo& undo) {
    const std::string vm = domain->uuid();
    const std::string path = co_await connect_disk(state->loop, vm, disk);
    undo.push("let go",
              [state, vm, device = disk.spec.device] { return let_go_of_disk(state, vm, device); });
    co_await blocking(state->loop, [dom = domain->descriptor.dom, boot = domain->boot(),
                                    spec = disk.spec, path] { add_disk(dom, boot, spec, path); });
}

Task<void> attach(StatePtr state, DomainPtr domain, DiskAttachment disk) {
    if (disk.nbd_socket.empty()) co_return;
    co_await with_undo(
        [state, domain, disk](Undo& undo) { return attach_steps(state, domain, disk, undo); });
}

Task<void> detach(StatePtr state, DomainPtr domain, agent::DiskSpec disk, bool force) {
    co_await blocking(state->loop, [dom = domain->descriptor.dom, disk, force] {
        remove_disk(dom, disk, force);
    });
    co_await let_go_of_disk(state, domain->uuid(), disk.device);
}

// Without a device model a drive is a disk that is there as long as there is a medium.
Task<void> change_disk(StatePtr state, DomainPtr domain, DiskAttachment disk) {
    constexpr bool force = false;
    if (disk.nbd_socket.empty())
        co_await detach(state, domain, disk.spec, force);
    else
        co_await attach(state, domain, disk);
}

Task<void> eject(StatePtr state, DomainPtr domain, agent::DiskSpec drive) {
    drive.disk.reset();
    co_await blocking(state->loop, [dom = domain->descriptor.dom, boot = domain->boot(), drive] {
        change_cd(dom, boot, drive, "");
    });
    co_await let_go_of_disk(state, domain->uuid(), drive.device);
}

Task<void> insert_steps(StatePtr state, DomainPtr domain, DiskAttachment disk, Undo& undo) {
    const std::string path = co_await connect_disk(state->loop, domain->uuid(), disk);
    undo.push("let go", [state, vm = domain->uuid(), device = disk.spec.device] {
        return let_go_of_disk(state, vm, device);
    });
    co_await blocking(state->loop, [dom = domain->descriptor.dom, boot = domain->boot(),
                                    spec = disk.spec, path] { change_cd(dom, boot, spec, path); });
}

Task<void> change_drive(StatePtr state, DomainPtr domain, DiskAttachment disk) {
    if (disk.nbd_socket.empty()) co_return co_await eject(state, domain, disk.spec);
    co_await with_undo(
        [state, domain, disk](Undo& undo) { return insert_steps(state, domain, disk, undo); });
}

// A connection of its own to the device model's screen.
Task<UniqueFd> open_screen(StatePtr state, DomainPtr domain) {
    std::unique_ptr<FdStream> stream;
    try {
        stream = co_await connect_unix(state->loop, screen_of(*state, domain->uuid()));
    } catch (const boost::system::system_error& error) {
        throw err::internal_error("the screen is not reachable: " + error.code().message());
    }
    UniqueFd out(::fcntl(stream->fd(), F_DUPFD_CLOEXEC, 0));
    if (!out) throw err::internal_error("the screen is not reachable");
    co_return out;
}

}  // namespace

XenHypervisor::XenHypervisor(RealLoop& loop, Options options)
    : state_(std::make_shared<State>(loop, std::move(options))) {}

XenHypervisor::~XenHypervisor() {
    state_->events = nullptr;
    for (const auto& job : state_->jobs)
        job->cancel();
    for (const auto& [dom, domain] : state_->domains) {
        if (domain->dumping) domain->dumping->cancel();
        if (domain->console) domain->console->close();
    }
    state_->domains.clear();
}

Task<std::vector<agent::DomainInfo>> XenHypervisor::adopt(Events& events) {
    const auto state = state_;
    state->events = &events;
    // Before looking, so that nothing that ends meanwhile is missed.
    const auto ends = std::make_shared<StoreWatch>(state->loop);
    ends->add(domain_ends);
    state->jobs.insert(spawn(state->loop, "ends of domains", watch_ends(state, ends)));
    state->guests = std::make_shared<StoreWatch>(state->loop);
    state->jobs.insert(spawn(state->loop, "what guests write", watch_writes(state, state->guests)));
    const Descriptors::Found found = co_await blocking(
        state->loop, [descriptors = state->descriptors] { return descriptors.read(); });
    const std::string boot_id = co_await blocking(state->loop, [] { return qemu::host_boot_id(); });
    // Of what was half built then.
    co_await drop_found_kernels(state);
    for (const std::string& uuid : found.broken)
        co_await undo_half_built(state, uuid);
    for (const Descriptor& descriptor : found.all)
        co_await adopt_one(state, descriptor, boot_id);
    state->jobs.insert(spawn(state->loop, "guests", watch_guests(state)));
    co_return all_info(*state);
}

std::vector<agent::DomainInfo> XenHypervisor::domains() const {
    return all_info(*state_);
}

Task<DomId> XenHypervisor::create(DomainConfig config, Progress progress) {
    const auto state = state_;
    const Building name(state, config.spec.uuid);
    require_possible(config);
    co_await require_startable(state, config.spec);
    const Making making{[config](const Sources& from) { return create_domain(config, from); }};
    const DomId dom = co_await build(state, config, making);
    if (progress) progress(1);
    co_return dom;
}

Task<DomId> XenHypervisor::restore(DomainConfig config, UniqueFd source, Progress progress) {
    const auto state = state_;
    const Building name(state, config.spec.uuid);
    require_possible(config);
    const auto image = std::make_shared<UniqueFd>(std::move(source));
    const Making making{
        .make = [config,
                 image](const Sources& from) { return restore_domain(config, from, image->get()); },
        .boots = false};
    const DomId dom = co_await build(state, config, making);
    if (progress) progress(1);
    co_return dom;
}

Task<void> XenHypervisor::set_running(DomId dom, bool running) {
    const auto domain = domain_or_throw(*state_, dom);
    if (domain->saved) {
        if (running) co_await run_on(state_, domain);
        co_return;
    }
    co_await blocking(state_->loop, [dom, running] { set_domain_running(dom, running); });
    domain->running = running;
}

Task<void> XenHypervisor::request(DomId dom, GuestRequest what) {
    const auto domain = domain_or_throw(*state_, dom);
    const Asked asked =
        co_await blocking(state_->loop, [dom, what] { return ask_domain(dom, what); });
    // There is a button for off only: a reboot is off and on again.
    domain->restart_when_off = what == GuestRequest::reboot && asked == Asked::by_power_button;
}

Task<void> XenHypervisor::reset(DomId dom) {
    const auto state = state_;
    const auto domain = domain_or_throw(*state, dom);
    co_await take_away(state, domain);
    if (state->events != nullptr)
        state->events->ended(dom, domain->uuid(), agent::HaltReason::reboot);
}

Task<void> XenHypervisor::destroy(DomId dom) {
    const auto state = state_;
    const auto found = state->domains.find(dom);
    if (found == state->domains.end()) co_return;
    co_await take_away(state, found->second);
}

Task<void> XenHypervisor::save(DomId dom, UniqueFd sink, Progress progress) {
    return save_to(state_, domain_or_throw(*state_, dom), std::move(sink), std::move(progress),
                   Saving::stopped);
}

Task<std::vector<std::string>> XenHypervisor::movable_kinds() {
    return blocking(state_->loop, [] { return xen::movable_kinds(); });
}

Task<void> XenHypervisor::send(DomId dom, UniqueFd sink, Progress progress) {
    return save_to(state_, domain_or_throw(*state_, dom), std::move(sink), std::move(progress),
                   Saving::live);
}

Task<void> XenHypervisor::plug_disk(DomId dom, DiskAttachment disk) {
    const auto state = state_;
    const auto domain = domain_or_throw(*state, dom);
    if (const auto* const known = find_disk(*domain, disk.spec.device)) {
        if (known->spec.vbd == disk.spec.vbd) co_return;
        throw err::device_already_exists(disk.spec.device);
    }
    if (disk.spec.kind == agent::DiskKind::cd && has_device_model(domain->boot()))
        throw err::operation_not_allowed("a CD drive cannot be added to a running VM");
    co_await attach(state, domain, disk);
    domain->descriptor.config.disks.push_back(std::move(disk));
    co_await write(state, domain->descriptor);
}

Task<void> XenHypervisor::unplug_disk(DomId dom, std::string device, bool force) {
    const auto state = state_;
    const auto domain = domain_or_throw(*state, dom);
    agent::DiskSpec disk;
    disk.device = device;
    if (const auto* const known = find_disk(*domain, device)) disk = known->spec;
    if (disk.kind == agent::DiskKind::cd && has_device_model(domain->boot()))
        throw err::operation_not_allowed("a CD drive cannot be taken from a running VM");
    // Also what an earlier hostd added and had no time to write down.
    co_await detach(state, domain, disk, force);
    forget_disk(*domain, device);
    co_await write(state, domain->descriptor);
}

Task<void> XenHypervisor::change_medium(DomId dom, DiskAttachment disk) {
    const auto state = state_;
    const auto domain = domain_or_throw(*state, dom);
    const std::string device = disk.spec.device;
    if (find_disk(*domain, device) == nullptr) throw err::device_not_attached(device);
    if (has_device_model(domain->boot()))
        co_await change_drive(state, domain, disk);
    else
        co_await change_disk(state, domain, disk);
    forget_disk(*domain, device);
    domain->descriptor.config.disks.push_back(std::move(disk));
    co_await write(state, domain->descriptor);
}

Task<void> XenHypervisor::plug_nic(DomId dom, NicAttachment nic) {
    const auto state = state_;
    const auto domain = domain_or_throw(*state, dom);
    co_await blocking(state->loop, [dom, nic] { add_nic(dom, nic); });
    forget_nic(*domain, nic.spec.device);
    domain->descriptor.config.nics.push_back(std::move(nic));
    co_await write(state, domain->descriptor);
}

Task<void> XenHypervisor::unplug_nic(DomId dom, std::int64_t device, bool force) {
    const auto state = state_;
    const auto domain = domain_or_throw(*state, dom);
    agent::NicSpec nic;
    nic.device = device;
    for (const NicAttachment& known : domain->descriptor.config.nics)
        if (known.spec.device == device) nic = known.spec;
    co_await blocking(state->loop, [dom, nic, force] { remove_nic(dom, nic, force); });
    forget_nic(*domain, device);
    co_await write(state, domain->descriptor);
}

Task<void> XenHypervisor::disk_resized(DomId dom, std::string device, std::int64_t /*size*/) {
    const auto domain = domain_or_throw(*state_, dom);
    const auto* const disk = find_disk(*domain, device);
    if (disk == nullptr) throw err::device_not_attached(device);
    // The guest hears of it with its next request to the disk.
    co_await reconnect_disk(state_->loop, domain->uuid(), *disk);
}

Task<void> XenHypervisor::purge(std::string vm_uuid) {
    return drop_core(state_, std::move(vm_uuid));
}

Task<UniqueFd> XenHypervisor::open_console(DomId dom, agent::ConsoleKind kind) {
    const auto domain = domain_or_throw(*state_, dom);
    if (kind != agent::ConsoleKind::serial) {
        if (!has_device_model(domain->boot()))
            throw err::operation_not_allowed("A guest that boots a kernel on Xen has no screen");
        co_return co_await open_screen(state_, domain);
    }
    if (!domain->console) throw err::internal_error("the console is not reachable");
    co_return domain->console->open();
}

Task<Hypervisor::Facts> XenHypervisor::facts() {
    return blocking(state_->loop, [] { return read_facts(); });
}

Task<WholeMachine> XenHypervisor::whole_machine() {
    return blocking(state_->loop, [] { return read_machine(); });
}

Task<void> XenHypervisor::set_memory_target(DomId dom, std::int64_t bytes) {
    const auto state = state_;
    const auto domain = domain_or_throw(*state, dom);
    agent::VmSpec& spec = domain->descriptor.config.spec;
    if (bytes <= 0 || bytes > spec.memory_bytes)
        throw err::invalid_value("memory_target", std::to_string(bytes));
    co_await blocking(state->loop, [dom, bytes] { xen::set_memory_target(dom, bytes); });
    spec.memory_target_bytes = bytes;
    expect_motion(*state);
    co_await write(state, domain->descriptor);
}

Task<void> XenHypervisor::set_vcpus(DomId dom, std::int64_t count) {
    const auto state = state_;
    const auto domain = domain_or_throw(*state, dom);
    agent::VmSpec& spec = domain->descriptor.config.spec;
    const std::int64_t most = std::max(spec.vcpus, spec.vcpus_max);
    if (count < 1 || count > most) throw err::invalid_value("nvcpu", std::to_string(count));
    if (count < spec.vcpus && has_device_model(spec.boot)) throw err::vm_lacks_feature(spec.uuid);
    co_await blocking(state->loop, [dom, count, most] { set_processors(dom, count, most); });
    spec.vcpus = count;
    co_await write(state, domain->descriptor);
}

Task<void> XenHypervisor::set_cpu_shares(DomId dom, agent::CpuShares shares) {
    const auto state = state_;
    const auto domain = domain_or_throw(*state, dom);
    agent::VmSpec& spec = domain->descriptor.config.spec;
    co_await blocking(state->loop, [dom, shares, most = std::max(spec.vcpus, spec.vcpus_max)] {
        set_shares(dom, shares, most);
    });
    spec.cpu = std::move(shares);
    co_await write(state, domain->descriptor);
}

Task<void> XenHypervisor::send(DomId dom, agent::GuestSignal signal, std::string key) {
    const auto state = state_;
    const auto domain = domain_or_throw(*state, dom);
    if (!hears(domain->boot(), signal)) throw err::vm_lacks_feature(domain->uuid());
    if (signal == agent::GuestSignal::reset) co_return co_await reset(dom);
    if (signal == agent::GuestSignal::power && !has_device_model(domain->boot()))
        co_return co_await request(dom, GuestRequest::shutdown);
    co_await blocking(state->loop, [dom, signal, key] { send_signal(dom, signal, key); });
}

Task<std::vector<DomainReading>> XenHypervisor::measure() {
    return measure_domains(state_);
}

}  // namespace basalt::hv::xen
