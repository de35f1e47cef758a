#include "hypervisor/qemu/qemu_hypervisor.hpp"

#include <boost/system/system_error.hpp>
#include <csignal>
#include <filesystem>

#include "base/error.hpp"
#include "base/log.hpp"
#include "base/real_net.hpp"
#include "hypervisor/qemu/meter.hpp"
#include "hypervisor/qemu/state.hpp"
#include "idl/errors.hpp"

namespace basalt::hv::qemu {

namespace {

DomainPtr domain_or_throw(const QemuHypervisor::State& state, DomId dom) {
    const auto found = state.domains.find(dom);
    if (found == state.domains.end()) throw err::internal_error("no domain " + std::to_string(dom));
    return found->second;
}

void refuse_second(const QemuHypervisor::State& state, const std::string& uuid) {
    if (state.building.contains(uuid)) throw err::domain_exists(uuid, "0");
    for (const auto& [dom, domain] : state.domains)
        if (domain->uuid() == uuid) throw err::domain_exists(uuid, std::to_string(dom));
}

// Holds a VM's name while it is built.
class Building {
  public:
    Building(StatePtr state, std::string uuid) : state_(std::move(state)), uuid_(std::move(uuid)) {
        refuse_second(*state_, uuid_);
        state_->building.insert(uuid_);
    }

    Building(const Building&) = delete;
    Building& operator=(const Building&) = delete;

    ~Building() { state_->building.erase(uuid_); }

  private:
    StatePtr state_;
    std::string uuid_;
};

Task<Abilities> abilities(StatePtr state) {
    const auto turn = co_await state->turns.acquire("probe");
    if (!state->abilities) {
        const std::string cache = state->options.run_dir + "/kvm-probe.json";
        co_await blocking(state->loop, [dir = state->options.run_dir] { make_folder(dir); });
        state->abilities = co_await probe(state->loop, state->options.installation.program, cache);
        if (state->options.accelerated) state->abilities->accelerated = *state->options.accelerated;
    }
    co_return *state->abilities;
}

struct Source {
    UniqueFd fd;
    Progress progress;
};

Task<void> build_steps(StatePtr state, DomainPtr domain, std::shared_ptr<Source> source,
                       Undo& undo) {
    const auto started = [state, domain] { watch_process(state, domain); };
    co_await launch(
        domain,
        {state->options.installation, state->states, state->options.confinement, source != nullptr},
        started, undo);
    watch_events(state, domain);
    if (source) {
        co_await load(domain, std::move(source->fd), source->progress);
        domain->balloon_bytes = co_await domain->monitor->balloon_actual();
    }
    domain->descriptor.complete = true;
    co_await save_descriptor(*domain);
}

// One after the other: two that read the same file would get the same number.
Task<DomId> new_domid(StatePtr state) {
    const auto turn = co_await state->turns.acquire("domid");
    co_return co_await blocking(
        state->loop, [path = state->options.run_dir + "/last-domid"] { return next_domid(path); });
}

Task<DomId> build(StatePtr state, DomainConfig config, Machine machine,
                  std::shared_ptr<Source> source) {
    const auto domain = std::make_shared<Domain>(state->loop, state->paths_of(config.spec.uuid));
    domain->descriptor.machine = std::move(machine);
    domain->descriptor.config = std::move(config);
    domain->descriptor.dom = co_await new_domid(state);
    co_await with_undo(
        [state, domain, source](Undo& undo) { return build_steps(state, domain, source, undo); });
    domain->phase = Domain::Phase::live;
    state->domains.emplace(domain->descriptor.dom, domain);
    watch_guest(state, domain);
    log::info(
        "domain_created",
        {{"vm", domain->uuid()}, {"dom", domain->descriptor.dom}, {"pid", domain->descriptor.pid}});
    co_return domain->descriptor.dom;
}

// What a `create` that never ended left behind.
void remove_leftover(const std::string& dir, Confinement& confinement) {
    for (const pid_t pid : processes_mentioning(dir + "/"))
        ::kill(pid, SIGKILL);
    confinement.groups.kill(group_of(dir));
    remove_domain(dir, confinement);
}

bool still_there(const Descriptor& descriptor) {
    return descriptor.boot_id == host_boot_id() &&
           process_start(descriptor.pid) == descriptor.process_start;
}

struct Found {
    std::vector<Descriptor> alive;
    std::vector<Descriptor> ended;
};

Found find_domains(const std::string& run_dir, Confinement& confinement) {
    Found found;
    make_folder(run_dir);
    make_folder(run_dir + "/vm");
    for (const auto& entry : std::filesystem::directory_iterator(run_dir + "/vm")) {
        const std::string dir = entry.path();
        auto descriptor = read_descriptor(dir + "/domain.json");
        if (!descriptor || !descriptor->complete) {
            log::warn("half_built_domain_removed", {{"dir", dir}});
            remove_leftover(dir, confinement);
        } else if (still_there(*descriptor)) {
            found.alive.push_back(std::move(*descriptor));
        } else {
            remove_domain(dir, confinement);
            found.ended.push_back(std::move(*descriptor));
        }
    }
    return found;
}

// Asks a domain that was found running how it is. One that does not answer stays known: it can
// still be destroyed.
Task<void> take_over(StatePtr state, DomainPtr domain) {
    try {
        co_await reconnect(domain);
        watch_events(state, domain);
        co_await domain->monitor->connect(10s);
        const RunState now = co_await domain->monitor->run_state();
        domain->running = now == RunState::running;
        domain->agent_open = co_await domain->monitor->channel_open("agent");
        domain->balloon_bytes = co_await domain->monitor->balloon_actual();
        if (now == RunState::shut_down) guest_halted(state, domain, agent::HaltReason::shutdown);
        if (now == RunState::panicked) guest_halted(state, domain, agent::HaltReason::crashed);
    } catch (const ApiError& error) {
        log::error("domain_unreachable", {{"vm", domain->uuid()}, {"error", error.what()}});
    } catch (const boost::system::system_error& error) {
        log::error("domain_unreachable", {{"vm", domain->uuid()}, {"error", error.what()}});
    }
}

Task<void> adopt_one(StatePtr state, Descriptor descriptor) {
    const auto domain =
        std::make_shared<Domain>(state->loop, state->paths_of(descriptor.config.spec.uuid));
    domain->descriptor = std::move(descriptor);
    domain->slot = co_await state->options.confinement->slots.hold(domain->uuid());
    domain->process = adopt_process(state->loop, domain->descriptor.pid);
    if (const Descriptor& known = domain->descriptor;
        known.tpm_pid > 0 && process_start(known.tpm_pid) == known.tpm_process_start)
        domain->tpm = adopt_process(state->loop, known.tpm_pid);
    domain->phase = Domain::Phase::live;
    if (!domain->process) {  // it ended just now
        co_await blocking(state->loop,
                          [dir = domain->paths.dir, confinement = state->options.confinement] {
                              remove_domain(dir, *confinement);
                          });
        state->events->ended(domain->descriptor.dom, domain->uuid(), agent::HaltReason::crashed);
        co_return;
    }
    state->domains.emplace(domain->descriptor.dom, domain);
    watch_process(state, domain);
    co_await take_over(state, domain);
    watch_guest(state, domain);
    log::info("domain_adopted", {{"vm", domain->uuid()}, {"dom", domain->descriptor.dom}});
}

std::vector<agent::DomainInfo> all_info(const QemuHypervisor::State& state) {
    std::vector<agent::DomainInfo> out;
    for (const auto& [dom, domain] : state.domains)
        out.push_back(info(*domain));
    return out;
}

Task<void> set_running(DomainPtr domain, bool running) {
    if (running)
        co_await domain->monitor->resume();
    else
        co_await domain->monitor->pause();
    domain->running = running;
}

Task<void> destroy_domain(DomainPtr domain) {
    domain->phase = Domain::Phase::ending;
    co_await end_process(domain);
}

}  // namespace

QemuHypervisor::QemuHypervisor(RealLoop& loop, Options options)
    : state_(std::make_shared<State>(loop, std::move(options))) {}

QemuHypervisor::~QemuHypervisor() {
    state_->closed = true;
    state_->events = nullptr;
    for (const auto& [id, job] : state_->jobs)
        job->cancel();
    for (const auto& [dom, domain] : state_->domains) {
        if (domain->monitor) domain->monitor->close();
        if (domain->console) domain->console->close();
    }
    state_->domains.clear();
}

Task<std::vector<agent::DomainInfo>> QemuHypervisor::adopt(Events& events) {
    const auto state = state_;
    state->events = &events;
    const Found found = co_await blocking(
        state->loop, [dir = state->options.run_dir, confinement = state->options.confinement] {
            return find_domains(dir, *confinement);
        });
    for (const Descriptor& descriptor : found.ended)
        events.ended(descriptor.dom, descriptor.config.spec.uuid, agent::HaltReason::crashed);
    for (const Descriptor& descriptor : found.alive)
        co_await adopt_one(state, descriptor);
    co_return all_info(*state);
}

std::vector<agent::DomainInfo> QemuHypervisor::domains() const {
    return all_info(*state_);
}

Task<DomId> QemuHypervisor::create(DomainConfig config, Progress progress) {
    const auto state = state_;
    const Building name(state, config.spec.uuid);
    const bool accelerated = (co_await abilities(state)).accelerated;
    Machine machine = plan_machine(config, accelerated);
    const DomId dom = co_await build(state, std::move(config), std::move(machine), nullptr);
    if (progress) progress(1);
    co_return dom;
}

Task<DomId> QemuHypervisor::restore(DomainConfig config, UniqueFd source, Progress progress) {
    const auto state = state_;
    const Building name(state, config.spec.uuid);
    const bool accelerated = (co_await abilities(state)).accelerated;
    Machine machine = co_await read_saved_machine(state->loop, source.get());
    if (machine.accelerated != accelerated)
        throw err::internal_error(std::string("restore: the guest was saved ") +
                                  (machine.accelerated ? "under KVM, which this host cannot use"
                                                       : "without KVM, which this host uses"));
    const auto rest = std::make_shared<Source>(std::move(source), progress);
    co_return co_await build(state, std::move(config), std::move(machine), rest);
}

Task<void> QemuHypervisor::set_running(DomId dom, bool running) {
    return qemu::set_running(domain_or_throw(*state_, dom), running);
}

Task<void> QemuHypervisor::request(DomId dom, GuestRequest what) {
    ask_to_halt(state_, domain_or_throw(*state_, dom), what);
    co_return;
}

Task<void> QemuHypervisor::reset(DomId dom) {
    const auto domain = domain_or_throw(*state_, dom);
    domain->restart_when_off = false;
    co_await domain->monitor->reset();
}

Task<void> QemuHypervisor::destroy(DomId dom) {
    const auto found = state_->domains.find(dom);
    if (found == state_->domains.end()) co_return;
    co_await destroy_domain(found->second);
}

Task<void> QemuHypervisor::save(DomId dom, UniqueFd sink, Progress progress) {
    return qemu::save(domain_or_throw(*state_, dom), std::move(sink), std::move(progress));
}

Task<std::vector<std::string>> QemuHypervisor::movable_kinds() {
    co_return std::vector<std::string>{"hvm", "pv", "pvh"};
}

Task<void> QemuHypervisor::send(DomId dom, UniqueFd sink, Progress progress) {
    return qemu::send(domain_or_throw(*state_, dom), std::move(sink), std::move(progress));
}

Task<void> QemuHypervisor::plug_disk(DomId dom, DiskAttachment disk) {
    return qemu::plug_disk(domain_or_throw(*state_, dom), std::move(disk));
}

Task<void> QemuHypervisor::unplug_disk(DomId dom, std::string device, bool force) {
    return qemu::unplug_disk(domain_or_throw(*state_, dom), std::move(device), force);
}

Task<void> QemuHypervisor::change_medium(DomId dom, DiskAttachment disk) {
    return qemu::change_medium(domain_or_throw(*state_, dom), std::move(disk));
}

Task<void> QemuHypervisor::plug_nic(DomId dom, NicAttachment nic) {
    return qemu::plug_nic(domain_or_throw(*state_, dom), std::move(nic));
}

Task<void> QemuHypervisor::unplug_nic(DomId dom, std::int64_t device, bool force) {
    return qemu::unplug_nic(domain_or_throw(*state_, dom), device, force);
}

Task<void> QemuHypervisor::disk_resized(DomId dom, std::string device, std::int64_t size_bytes) {
    return qemu::disk_resized(domain_or_throw(*state_, dom), std::move(device), size_bytes);
}

Task<void> QemuHypervisor::plug_usb(DomId dom, UsbAttachment device) {
    return qemu::plug_usb(domain_or_throw(*state_, dom), std::move(device));
}

Task<void> QemuHypervisor::unplug_usb(DomId dom, std::string vusb) {
    return qemu::unplug_usb(domain_or_throw(*state_, dom), std::move(vusb));
}

Task<void> QemuHypervisor::set_memory_target(DomId dom, std::int64_t bytes) {
    return qemu::set_memory_target(domain_or_throw(*state_, dom), bytes);
}

Task<void> QemuHypervisor::set_vcpus(DomId dom, std::int64_t count) {
    return qemu::set_vcpus(domain_or_throw(*state_, dom), count);
}

Task<void> QemuHypervisor::set_cpu_shares(DomId dom, agent::CpuShares shares) {
    return qemu::set_cpu_shares(domain_or_throw(*state_, dom), state_->options.confinement,
                                std::move(shares));
}

Task<void> QemuHypervisor::send(DomId dom, agent::GuestSignal signal, std::string key) {
    return qemu::send(domain_or_throw(*state_, dom), signal, std::move(key));
}

Task<void> QemuHypervisor::purge(std::string vm_uuid) {
    const auto state = state_;
    refuse_second(*state, vm_uuid);
    co_await blocking(state->loop, [files = state->states, vm_uuid] { files.remove(vm_uuid); });
}

Task<KeptBytes> QemuHypervisor::read_state(std::string vm_uuid, agent::StateKind kind) {
    return blocking(state_->loop,
                    [files = state_->states, vm_uuid, kind] { return files.read(vm_uuid, kind); });
}

Task<void> QemuHypervisor::write_state(std::string vm_uuid, agent::StateKind kind,
                                       KeptBytes state) {
    const auto own = state_;
    const Building name(own, vm_uuid);
    co_await blocking(own->loop, [files = own->states, vm_uuid, kind, state = std::move(state)] {
        files.write(vm_uuid, kind, state);
    });
}

Task<void> QemuHypervisor::note_told(std::string vm_uuid, agent::StateKind kind, std::string digest,
                                     std::string tag) {
    return blocking(state_->loop, [files = state_->states, vm_uuid, kind, digest, tag] {
        files.note_told(vm_uuid, kind, digest, tag);
    });
}

Task<std::vector<agent::StateRef>> QemuHypervisor::changed_states() {
    return blocking(state_->loop, [files = state_->states] { return files.changed(); });
}

Task<UniqueFd> QemuHypervisor::open_console(DomId dom, agent::ConsoleKind kind) {
    const auto domain = domain_or_throw(*state_, dom);
    if (kind == agent::ConsoleKind::serial) {
        if (!domain->console) throw err::internal_error("the console is not reachable");
        co_return domain->console->open();
    }
    auto [ours, theirs] = socket_pair();
    co_await domain->monitor->add_screen_client(std::move(theirs));
    co_return std::move(ours);
}

Task<Hypervisor::Facts> QemuHypervisor::facts() {
    const Abilities found = co_await abilities(state_);
    co_return Facts{.name = "qemu", .version = found.version, .accelerated = found.accelerated};
}

Task<std::vector<DomainReading>> QemuHypervisor::measure() {
    std::vector<DomainPtr> live;
    for (const auto& [dom, domain] : state_->domains)
        if (domain->phase == Domain::Phase::live && !domain->gone && domain->monitor)
            live.push_back(domain);
    return qemu::measure(state_->loop, std::move(live));
}

}  // namespace basalt::hv::qemu
