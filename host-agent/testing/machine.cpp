#include "host-agent/testing/machine.hpp"

#include <algorithm>

#include "idl/errors.hpp"

namespace basalt::agent::testing {

Task<void> Machine::moment(std::string verb) {
    co_await sleep_for(loop, Millis(1 + static_cast<std::int64_t>(loop.random() % 20)));
    if (auto fault = faults.find(verb); fault != faults.end() && fault->second > 0) {
        --fault->second;
        throw err::internal_error_of({"fault", verb});
    }
}

void Machine::check(bool holds, const std::string& what) {
    if (!holds) broken.push_back(what);
}

void Machine::guest_ends(const std::string& vm, HaltReason reason) {
    const hv::DomId dom = domid(vm);
    domains.erase(dom);
    running.erase(dom);
    if (events != nullptr) events->ended(dom, vm, reason);
}

hv::DomId Machine::domid(const std::string& vm) const {
    for (const auto& [dom, config] : domains)
        if (config.spec.uuid == vm) return dom;
    return 0;
}

// -- hypervisor -------------------------------------------------------------------------------

hv::DomainConfig& MachineHypervisor::config_of(hv::DomId dom) {
    const auto found = machine_.domains.find(dom);
    if (found == machine_.domains.end()) throw err::internal_error("no such domain");
    return found->second;
}

Task<std::vector<DomainInfo>> MachineHypervisor::adopt(hv::Events& events) {
    co_await machine_.moment("adopt");
    machine_.events = &events;
    co_return domains();
}

std::vector<DomainInfo> MachineHypervisor::domains() const {
    std::vector<DomainInfo> out;
    for (const auto& [dom, config] : machine_.domains) {
        DomainInfo info;
        info.uuid = config.spec.uuid;
        info.domid = dom;
        info.power = machine_.running.at(dom) ? DomainPower::running : DomainPower::paused;
        info.memory_bytes = config.spec.memory_bytes;
        info.vcpus = config.spec.vcpus;
        out.push_back(std::move(info));
    }
    return out;
}

Task<hv::DomId> MachineHypervisor::create(hv::DomainConfig config, hv::Progress progress) {
    co_await machine_.moment("create");
    if (progress) progress(0.5);
    co_await machine_.moment("build");
    machine_.check(machine_.domid(config.spec.uuid) == 0, "two domains of " + config.spec.uuid);
    for (const hv::DiskAttachment& disk : config.disks)
        machine_.check(
            !disk.spec.disk || machine_.open.contains({config.spec.uuid, disk.spec.device}),
            "disk " + disk.spec.device + " not open");
    for (const hv::NicAttachment& nic : config.nics)
        machine_.check(machine_.makes_interfaces || machine_.ports.contains(nic.tap),
                       "no port " + nic.tap);
    const hv::DomId dom = ++machine_.last_domid;
    machine_.domains.emplace(dom, std::move(config));
    machine_.running[dom] = false;
    co_return dom;
}

Task<hv::DomId> MachineHypervisor::restore(hv::DomainConfig config, UniqueFd, hv::Progress p) {
    return create(std::move(config), std::move(p));
}

Task<void> MachineHypervisor::set_running(hv::DomId dom, bool running) {
    co_await machine_.moment("set_running");
    config_of(dom);
    machine_.running[dom] = running;
}

Task<void> MachineHypervisor::request(hv::DomId dom, hv::GuestRequest what) {
    co_await machine_.moment("request");
    const std::string vm = config_of(dom).spec.uuid;
    if (machine_.deaf.contains(vm)) co_return;
    machine_.loop.at(machine_.loop.now() + 3s, [&machine = machine_, dom, vm, what] {
        if (!machine.domains.contains(dom)) return;
        if (what == hv::GuestRequest::shutdown) return machine.guest_ends(vm, HaltReason::shutdown);
        if (machine.events != nullptr) machine.events->rebooted(dom, vm);
    });
}

Task<void> MachineHypervisor::reset(hv::DomId dom) {
    co_await machine_.moment("reset");
    config_of(dom);
}

Task<void> MachineHypervisor::destroy(hv::DomId dom) {
    co_await machine_.moment("destroy");
    machine_.domains.erase(dom);
    machine_.running.erase(dom);
}

Task<void> MachineHypervisor::save(hv::DomId dom, UniqueFd, hv::Progress progress) {
    co_await machine_.moment("save");
    if (progress) progress(0.5);
    co_await machine_.moment("save more");
    config_of(dom);
    machine_.running[dom] = false;
}

Task<void> MachineHypervisor::plug_disk(hv::DomId dom, hv::DiskAttachment disk) {
    co_await machine_.moment("plug_disk");
    config_of(dom).disks.push_back(std::move(disk));
}

Task<void> MachineHypervisor::unplug_disk(hv::DomId dom, std::string device, bool) {
    co_await machine_.moment("unplug_disk");
    std::erase_if(config_of(dom).disks, [&](const auto& d) { return d.spec.device == device; });
}

Task<void> MachineHypervisor::change_medium(hv::DomId dom, hv::DiskAttachment disk) {
    co_await machine_.moment("change_medium");
    std::erase_if(config_of(dom).disks,
                  [&](const auto& d) { return d.spec.device == disk.spec.device; });
    config_of(dom).disks.push_back(std::move(disk));
}

Task<void> MachineHypervisor::plug_nic(hv::DomId dom, hv::NicAttachment nic) {
    co_await machine_.moment("plug_nic");
    config_of(dom).nics.push_back(std::move(nic));
}

Task<void> MachineHypervisor::unplug_nic(hv::DomId dom, std::int64_t device, bool) {
    co_await machine_.moment("unplug_nic");
    std::erase_if(config_of(dom).nics, [&](const auto& n) { return n.spec.device == device; });
}

Task<void> MachineHypervisor::disk_resized(hv::DomId, std::string, std::int64_t) {
    return machine_.moment("disk_resized");
}

Task<UniqueFd> MachineHypervisor::open_console(hv::DomId, ConsoleKind) {
    throw err::internal_error("no consoles here");
}

Task<hv::Hypervisor::Facts> MachineHypervisor::facts() {
    co_return Facts{"machine", "1", false};
}

// -- storage ----------------------------------------------------------------------------------

Task<void> MachineStorage::adopt() {
    return machine_.moment("storage adopt");
}

Task<std::vector<SmFacts>> MachineStorage::storage_drivers() {
    co_return std::vector<SmFacts>{};
}

Task<std::string> MachineStorage::sr_probe(SrProbeArgs) {
    co_return "<SRlist/>";
}

Task<void> MachineStorage::sr_create(SrCreateArgs) {
    return machine_.moment("sr_create");
}

Task<void> MachineStorage::sr_destroy(SrDestroyArgs) {
    return machine_.moment("sr_destroy");
}

Task<SrInfo> MachineStorage::sr_attach(SrAttachArgs args) {
    co_await machine_.moment("sr_attach");
    SrInfo info;
    info.uuid = args.uuid;
    co_return info;
}

Task<void> MachineStorage::sr_detach(SrDetachArgs) {
    return machine_.moment("sr_detach");
}

Task<SrInfo> MachineStorage::sr_stat(SrStatArgs) {
    co_return SrInfo{};
}

Task<SrContents> MachineStorage::sr_scan(SrScanArgs) {
    co_return SrContents{};
}

Task<VdiInfo> MachineStorage::vdi_create(VdiCreateArgs args) {
    co_await machine_.moment("vdi_create");
    machine_.disks.insert(args.spec.uuid);
    VdiInfo info;
    info.uuid = info.location = args.spec.uuid;
    info.size_bytes = args.spec.size_bytes;
    co_return info;
}

Task<void> MachineStorage::vdi_destroy(VdiDestroyArgs args) {
    co_await machine_.moment("vdi_destroy");
    machine_.disks.erase(args.disk.vdi);
}

Task<VdiInfo> MachineStorage::vdi_snapshot(VdiSnapshotArgs args) {
    return vdi_create({args.disk.sr, std::move(args.spec)});
}

Task<VdiInfo> MachineStorage::vdi_clone(VdiCloneArgs args) {
    return vdi_create({args.disk.sr, std::move(args.spec)});
}

Task<VdiInfo> MachineStorage::vdi_revert(VdiRevertArgs args) {
    VdiInfo info;
    info.uuid = info.location = args.disk.vdi;
    co_return info;
}

Task<VdiInfo> MachineStorage::vdi_copy(VdiCopyArgs args, rpc::Progress) {
    return vdi_create({args.sr, std::move(args.spec)});
}

Task<VdiInfo> MachineStorage::vdi_resize(VdiResizeArgs args) {
    VdiInfo info;
    info.uuid = args.disk.vdi;
    info.size_bytes = args.size_bytes;
    co_return info;
}

Task<UniqueFd> MachineStorage::vdi_open(VdiOpenArgs) {
    throw err::internal_error("no sockets here");
}

Task<UniqueFd> MachineStorage::vdi_export(VdiExportArgs) {
    throw err::internal_error("no sockets here");
}

Task<std::string> MachineStorage::vdi_changes(VdiChangesArgs) {
    throw err::internal_error("no contents here");
}

Task<UniqueFd> MachineStorage::vdi_import(VdiImportArgs) {
    throw err::internal_error("no sockets here");
}

Task<sm::DiskServer> MachineStorage::open_disk(std::string vm, DiskSpec spec) {
    co_await machine_.moment("open_disk");
    for (const auto& [key, disk] : machine_.open)
        machine_.check(key == std::pair(vm, spec.device) || disk.vdi != spec.disk->vdi,
                       "disk " + disk.vdi + " open twice");
    machine_.open[{vm, spec.device}] = *spec.disk;
    co_return sm::DiskServer{"/machine/" + vm, spec.device};
}

Task<void> MachineStorage::close_disk(std::string vm, std::string device) {
    co_await machine_.moment("close_disk");
    if (const hv::DomId dom = machine_.domid(vm); dom != 0)
        for (const hv::DiskAttachment& disk : machine_.domains.at(dom).disks)
            machine_.check(disk.spec.device != device || !disk.spec.disk,
                           "disk " + device + " closed under the guest");
    machine_.open.erase({vm, device});
}

Task<void> MachineStorage::close_all(std::string vm) {
    co_await machine_.moment("close_all");
    machine_.check(machine_.domid(vm) == 0, "disks closed under the guest");
    std::erase_if(machine_.open, [&](const auto& entry) { return entry.first.first == vm; });
}

std::vector<std::string> MachineStorage::vms() const {
    std::set<std::string> out;
    for (const auto& [key, disk] : machine_.open)
        out.insert(key.first);
    return {out.begin(), out.end()};
}

// -- the rest ---------------------------------------------------------------------------------

Task<NetworkHave> MachineNetwork::have() {
    co_return NetworkHave{};
}

Task<NetworkHave> MachineNetwork::apply(NetworkWant) {
    co_await machine_.moment("apply");
    ++applied;
    co_return NetworkHave{};
}

Task<void> MachineNetwork::add_port(nm::PortWant port) {
    co_await machine_.moment("add_port");
    const bool there = std::ranges::any_of(machine_.domains, [&port](const auto& entry) {
        return std::ranges::contains(entry.second.nics, port.name, &hv::NicAttachment::tap);
    });
    machine_.check(port.made == machine_.makes_interfaces && (there || !port.made),
                   "no interface " + port.name);
    machine_.ports[port.name] = port.bridge;
}

Task<void> MachineNetwork::remove_port(std::string name) {
    co_await machine_.moment("remove_port");
    machine_.ports.erase(name);
}

Task<std::vector<std::string>> MachineNetwork::ports() {
    std::vector<std::string> out;
    for (const auto& [name, bridge] : machine_.ports)
        out.push_back(name);
    co_return out;
}

Task<std::vector<NicFacts>> MachineNetwork::interfaces() {
    co_return std::vector<NicFacts>{};
}

Task<HostFacts> MachineServices::facts() {
    HostFacts facts;
    facts.hostname = "machine";
    co_return facts;
}

Task<void> MachineServices::login(LoginArgs args) {
    if (args.password != "right")
        throw err::session_authentication_failed(args.user, "wrong password");
    co_return;
}

Task<void> MachineServices::change_password(ChangePasswordArgs) {
    co_return;
}

Task<std::string> MachineServices::plugin_call(PluginCallArgs args) {
    co_return args.function;
}

Task<bool> MachineServices::has_extension(std::string) {
    co_return false;
}

Task<std::string> MachineServices::extension_call(ExtensionCallArgs args) {
    throw err::message_method_unknown(args.name);
    co_return "";
}

agent::Machine& MachineServices::machine() {
    throw err::internal_error("this rig has no settings");
}

Task<HostTime> MachineServices::time() {
    co_return HostTime{};
}

Task<UniqueFd> MachineServices::open_console() {
    throw err::internal_error("no terminals here");
    co_return UniqueFd();
}

Task<void> MachineImages::store(hv::DiskAttachment disk, Use fill) {
    machine_.images.erase(disk.spec.disk->vdi);
    co_await fill(UniqueFd());
    machine_.images[disk.spec.disk->vdi] = "saved";
}

Task<void> MachineImages::load(hv::DiskAttachment disk, Use drain) {
    if (!machine_.images.contains(disk.spec.disk->vdi))
        throw err::internal_error("the disk holds no suspend image");
    co_await drain(UniqueFd());
}

}  // namespace basalt::agent::testing
