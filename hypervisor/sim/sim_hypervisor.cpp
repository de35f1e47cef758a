#include "hypervisor/sim/sim_hypervisor.hpp"

#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <array>

#include "base/encoding.hpp"
#include "base/error.hpp"
#include "base/json.hpp"
#include "base/undo.hpp"
#include "base/wait.hpp"
#include "hypervisor/sim/sim_host.hpp"
#include "idl/errors.hpp"

namespace basalt::hv {

namespace {

// A guest that does not let go of a device is waited for as long as a real one.
constexpr Duration release_limit = 20s;

using HostPtr = std::shared_ptr<SimHost::State>;

template <class Items, class Key, class Of>
auto find_by(Items& items, const Key& key, Of of) {
    return std::ranges::find_if(items, [&key, of](const auto& item) { return of(item) == key; });
}

const std::string& device_of(const DiskAttachment& disk) {
    return disk.spec.device;
}

std::int64_t number_of(const NicAttachment& nic) {
    return nic.spec.device;
}

const std::string& vusb_of(const UsbAttachment& usb) {
    return usb.spec.vusb;
}

void refuse_second(const HostPtr& host, const std::string& uuid) {
    if (const SimDomain* known = host->find(uuid))
        throw err::domain_exists(uuid, std::to_string(known->dom));
}

void write_text(int fd, std::string_view text) {
    while (!text.empty()) {
        const ssize_t sent = ::write(fd, text.data(), text.size());
        if (sent <= 0) throw err::internal_error("save: cannot write");
        text.remove_prefix(static_cast<std::size_t>(sent));
    }
}

// One line of JSON.
std::string read_line(int fd) {
    std::string text;
    char byte = 0;
    while (::read(fd, &byte, 1) == 1) {
        if (byte == '\n') return text;
        text += byte;
    }
    throw err::internal_error("restore: the saved guest is cut short");
}

Task<void> let_go(HostPtr host, DomId dom, std::string kind, std::string object, bool force) {
    if (host->script(host->at(dom)).releases_devices || force) co_return;
    co_await sleep_for(host->loop, release_limit);
    throw err::device_detach_timeout(kind, object);
}

void report(const Progress& progress, double value) {
    if (progress) progress(value);
}

Task<void> resume(HostPtr host, DomId dom) {
    const auto found = host->domains.find(dom);
    if (found != host->domains.end()) host->set_running(found->second, true);
    co_return;
}

void write_saved(const SimDomain& domain, int sink) {
    const Json saved = {{"uptime_ns", domain.ran_before.count()}, {"up", domain.up}};
    write_text(sink, saved.dump() + "\n");
}

Task<void> save_steps(HostPtr host, DomId dom, std::shared_ptr<UniqueFd> sink, Progress progress,
                      Undo& undo) {
    if (host->at(dom).running) {
        host->set_running(host->at(dom), false);
        undo.push("resume", [host, dom] { return resume(host, dom); });
    }
    report(progress, 0.5);
    co_await host->verb("save");
    write_saved(host->at(dom), sink->get());
    report(progress, 1);
}

Task<void> send_steps(HostPtr host, DomId dom, std::shared_ptr<UniqueFd> sink, Progress progress,
                      Undo& undo) {
    if (!host->at(dom).running)
        throw err::operation_not_allowed("a guest that is paused does not move while it runs");
    report(progress, 0.5);
    co_await host->verb("send");  // it runs meanwhile
    host->set_running(host->at(dom), false);
    undo.push("resume", [host, dom] { return resume(host, dom); });
    write_saved(host->at(dom), sink->get());
    report(progress, 1);
}

}  // namespace

SimHypervisor::SimHypervisor(SimHost& host)
    : host_(host.state_), generation_(++host.state_->generation) {
    host_->events = nullptr;
}

SimHypervisor::~SimHypervisor() {
    if (host_->generation == generation_) host_->events = nullptr;
}

Task<std::vector<agent::DomainInfo>> SimHypervisor::adopt(Events& events) {
    const HostPtr host = host_;
    co_await host->verb("adopt");
    host->events = &events;
    for (const auto& [dom, uuid] : std::exchange(host->unheard, {}))
        events.ended(dom, uuid, agent::HaltReason::crashed);
    for (const auto& [dom, domain] : host->domains)
        if (domain.up) host->tell_facts(domain);
    co_return domains();
}

std::vector<agent::DomainInfo> SimHypervisor::domains() const {
    std::vector<agent::DomainInfo> out;
    for (const auto& [dom, domain] : host_->domains)
        out.push_back(info(domain));
    return out;
}

std::optional<agent::DomainInfo> SimHypervisor::domain(const std::string& vm) const {
    const SimDomain* const known = host_->find(vm);
    return known != nullptr ? std::optional(info(*known)) : std::nullopt;
}

Task<DomId> SimHypervisor::create(DomainConfig config, Progress progress) {
    const HostPtr host = host_;
    refuse_second(host, config.spec.uuid);
    report(progress, 0);
    co_await host->verb("create");
    refuse_second(host, config.spec.uuid);
    report(progress, 1);
    co_return host->add(std::move(config), false, {});
}

Task<DomId> SimHypervisor::restore(DomainConfig config, UniqueFd source, Progress progress) {
    const HostPtr host = host_;
    refuse_second(host, config.spec.uuid);
    const Json saved = Json::parse(read_line(source.get()), nullptr, false);
    if (!saved.is_object() || !saved.contains("uptime_ns"))
        throw err::internal_error("restore: this is not a saved guest of this hypervisor");
    report(progress, 0.5);
    co_await host->verb("restore");
    refuse_second(host, config.spec.uuid);
    report(progress, 1);
    co_return host->add(std::move(config), saved.at("up").get<bool>(),
                        Duration(saved.at("uptime_ns").get<std::int64_t>()));
}

Task<void> SimHypervisor::set_running(DomId dom, bool running) {
    const HostPtr host = host_;
    co_await host->verb("set_running");
    host->set_running(host->at(dom), running);
}

Task<void> SimHypervisor::request(DomId dom, GuestRequest what) {
    const HostPtr host = host_;
    co_await host->verb("request");
    host->request(host->at(dom), what);
}

Task<void> SimHypervisor::reset(DomId dom) {
    const HostPtr host = host_;
    co_await host->verb("reset");
    SimDomain& domain = host->at(dom);
    const bool was_running = domain.running;
    host->boot(domain);
    host->set_running(domain, was_running);
}

Task<void> SimHypervisor::destroy(DomId dom) {
    const HostPtr host = host_;
    co_await host->verb("destroy");
    host->remove(dom);
}

Task<void> SimHypervisor::save(DomId dom, UniqueFd sink, Progress progress) {
    const HostPtr host = host_;
    const auto owned = std::make_shared<UniqueFd>(std::move(sink));
    co_await with_undo([host, dom, owned, progress](Undo& undo) {
        return save_steps(host, dom, owned, progress, undo);
    });
}

Task<std::vector<std::string>> SimHypervisor::movable_kinds() {
    co_return std::vector<std::string>{"hvm", "pv", "pvh"};
}

Task<void> SimHypervisor::send(DomId dom, UniqueFd sink, Progress progress) {
    const HostPtr host = host_;
    const auto owned = std::make_shared<UniqueFd>(std::move(sink));
    co_await with_undo([host, dom, owned, progress](Undo& undo) {
        return send_steps(host, dom, owned, progress, undo);
    });
}

Task<void> SimHypervisor::plug_disk(DomId dom, DiskAttachment disk) {
    const HostPtr host = host_;
    co_await host->verb("plug_disk");
    auto& disks = host->at(dom).config.disks;
    const auto known = find_by(disks, disk.spec.device, device_of);
    if (known != disks.end()) {
        if (known->spec.vbd == disk.spec.vbd) co_return;
        throw err::device_already_exists(disk.spec.device);
    }
    if (disk.spec.kind == agent::DiskKind::cd)
        throw err::operation_not_allowed("a CD drive cannot be added to a running VM");
    disks.push_back(std::move(disk));
}

Task<void> SimHypervisor::unplug_disk(DomId dom, std::string device, bool force) {
    const HostPtr host = host_;
    co_await host->verb("unplug_disk");
    const auto& disks = host->at(dom).config.disks;
    const auto known = find_by(disks, device, device_of);
    if (known == disks.end()) co_return;
    if (known->spec.kind == agent::DiskKind::cd)
        throw err::operation_not_allowed("a CD drive cannot be taken from a running VM");
    co_await let_go(host, dom, "VBD", known->spec.vbd, force);
    std::erase_if(host->at(dom).config.disks,
                  [&device](const DiskAttachment& d) { return d.spec.device == device; });
}

Task<void> SimHypervisor::change_medium(DomId dom, DiskAttachment disk) {
    const HostPtr host = host_;
    co_await host->verb("change_medium");
    auto& disks = host->at(dom).config.disks;
    const auto known = find_by(disks, disk.spec.device, device_of);
    if (known == disks.end()) throw err::device_not_attached(disk.spec.device);
    if (known->spec.kind != agent::DiskKind::cd)
        throw err::vbd_not_removable_media(known->spec.vbd);
    *known = std::move(disk);
}

Task<void> SimHypervisor::plug_nic(DomId dom, NicAttachment nic) {
    const HostPtr host = host_;
    co_await host->verb("plug_nic");
    auto& nics = host->at(dom).config.nics;
    const auto known = find_by(nics, nic.spec.device, number_of);
    if (known != nics.end()) {
        if (known->spec.vif == nic.spec.vif) co_return;
        throw err::device_already_exists(std::to_string(nic.spec.device));
    }
    nics.push_back(std::move(nic));
    if (host->at(dom).up) host->tell_facts(host->at(dom));
}

Task<void> SimHypervisor::unplug_nic(DomId dom, std::int64_t device, bool force) {
    const HostPtr host = host_;
    co_await host->verb("unplug_nic");
    const auto& nics = host->at(dom).config.nics;
    const auto known = find_by(nics, device, number_of);
    if (known == nics.end()) co_return;
    co_await let_go(host, dom, "VIF", known->spec.vif, force);
    std::erase_if(host->at(dom).config.nics,
                  [device](const NicAttachment& n) { return n.spec.device == device; });
    if (host->at(dom).up) host->tell_facts(host->at(dom));
}

Task<void> SimHypervisor::disk_resized(DomId dom, std::string device, std::int64_t size_bytes) {
    const HostPtr host = host_;
    co_await host->verb("disk_resized");
    SimDomain& domain = host->at(dom);
    if (find_by(domain.config.disks, device, device_of) == domain.config.disks.end())
        throw err::device_not_attached(device);
    domain.disk_bytes[device] = size_bytes;
}

Task<void> SimHypervisor::plug_usb(DomId dom, UsbAttachment device) {
    const HostPtr host = host_;
    co_await host->verb("plug_usb");
    auto& usbs = host->at(dom).config.usbs;
    const auto known = find_by(usbs, device.spec.vusb, vusb_of);
    if (known == usbs.end()) usbs.push_back(std::move(device));
}

Task<void> SimHypervisor::unplug_usb(DomId dom, std::string vusb) {
    const HostPtr host = host_;
    co_await host->verb("unplug_usb");
    std::erase_if(host->at(dom).config.usbs,
                  [&vusb](const UsbAttachment& one) { return one.spec.vusb == vusb; });
}

Task<void> SimHypervisor::set_memory_target(DomId dom, std::int64_t bytes) {
    const HostPtr host = host_;
    co_await host->verb("set_memory_target");
    SimDomain& domain = host->at(dom);
    if (bytes <= 0 || bytes > domain.config.spec.memory_bytes)
        throw err::invalid_value("memory_target", std::to_string(bytes));
    domain.config.spec.memory_target_bytes = bytes;
    host->balloon(domain);
}

Task<void> SimHypervisor::set_vcpus(DomId dom, std::int64_t count) {
    const HostPtr host = host_;
    co_await host->verb("set_vcpus");
    SimDomain& domain = host->at(dom);
    agent::VmSpec& spec = domain.config.spec;
    if (count < 1 || count > std::max(spec.vcpus, spec.vcpus_max))
        throw err::invalid_value("nvcpu", std::to_string(count));
    const bool agent = domain.up && host->script(domain).has_agent;
    if (count < spec.vcpus && !agent) throw err::vm_lacks_feature(spec.uuid);
    spec.vcpus = count;
}

Task<void> SimHypervisor::set_cpu_shares(DomId dom, agent::CpuShares shares) {
    const HostPtr host = host_;
    co_await host->verb("set_cpu_shares");
    host->at(dom).config.spec.cpu = std::move(shares);
}

Task<void> SimHypervisor::send(DomId dom, agent::GuestSignal signal, std::string key) {
    const HostPtr host = host_;
    co_await host->verb("send");
    SimDomain& domain = host->at(dom);
    const bool agent = domain.up && host->script(domain).has_agent;
    if (signal == agent::GuestSignal::sleep && !agent)
        throw err::vm_lacks_feature(domain.config.spec.uuid);
    if (signal == agent::GuestSignal::sysrq && key.size() != 1)
        throw err::invalid_value("key", key);
    std::string said(agent::text(signal));
    if (!key.empty()) said += " " + key;
    domain.signals.push_back(std::move(said));
}

Task<void> SimHypervisor::purge(std::string vm_uuid) {
    const HostPtr host = host_;
    co_await host->verb("purge");
    refuse_second(host, vm_uuid);
    std::erase_if(host->kept, [&](const auto& one) { return one.first.first == vm_uuid; });
    host->purged.push_back(std::move(vm_uuid));
}

Task<KeptBytes> SimHypervisor::read_state(std::string vm_uuid, agent::StateKind kind) {
    const HostPtr host = host_;
    co_await host->verb("read_state");
    const auto found = host->kept.find({vm_uuid, kind});
    if (found == host->kept.end()) {
        KeptBytes fresh;
        if (kind == agent::StateKind::nvram && host->host != nullptr)
            fresh.bytes = host->host->fresh_variables;
        co_return fresh;
    }
    const SimHost::State::Kept& kept = found->second;
    co_return KeptBytes{.bytes = kept.bytes, .tag = kept.tag, .changed = kept.bytes != kept.told};
}

Task<void> SimHypervisor::write_state(std::string vm_uuid, agent::StateKind kind, KeptBytes state) {
    const HostPtr host = host_;
    co_await host->verb("write_state");
    refuse_second(host, vm_uuid);
    host->kept.erase({vm_uuid, kind});
    if (!state.bytes.empty())
        host->kept[{vm_uuid, kind}] = {.bytes = state.bytes, .told = state.bytes, .tag = state.tag};
}

Task<void> SimHypervisor::note_told(std::string vm_uuid, agent::StateKind kind, std::string digest,
                                    std::string tag) {
    const HostPtr host = host_;
    co_await host->verb("note_told");
    SimHost::State::Kept& kept = host->kept[{vm_uuid, kind}];
    kept.told = sha256_hex(kept.bytes) == digest ? kept.bytes : std::string();
    kept.tag = std::move(tag);
}

Task<std::vector<agent::StateRef>> SimHypervisor::changed_states() {
    const HostPtr host = host_;
    co_await host->verb("changed_states");
    std::vector<agent::StateRef> out;
    for (const auto& [owner, kept] : host->kept)
        if (!kept.bytes.empty() && kept.bytes != kept.told)
            out.push_back({.vm = owner.first, .kind = owner.second});
    co_return out;
}

Task<UniqueFd> SimHypervisor::open_console(DomId dom, agent::ConsoleKind kind) {
    const HostPtr host = host_;
    co_await host->verb("open_console");
    SimDomain& domain = host->at(dom);
    std::array<int, 2> ends{};
    if (::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends.data()) != 0)
        throw err::internal_error("console: no socket");
    UniqueFd ours(ends[0]);
    const std::string greeting =
        kind == agent::ConsoleKind::vnc ? std::string("RFB 003.008\n") : domain.console;
    ::send(ours.get(), greeting.data(), greeting.size(), MSG_DONTWAIT | MSG_NOSIGNAL);
    domain.clients.push_back(std::move(ours));
    co_return UniqueFd(ends[1]);
}

Task<Hypervisor::Facts> SimHypervisor::facts() {
    const HostPtr host = host_;
    co_await host->verb("facts");
    co_return Facts{.name = "sim", .version = "1.0", .accelerated = true};
}

Task<std::vector<DomainReading>> SimHypervisor::measure() {
    constexpr double busy_share = 0.25;
    constexpr std::int64_t request_bytes = 64 * 1024;
    constexpr double request_seconds = 0.01;
    constexpr std::int64_t reads_per_second = 16;
    std::vector<DomainReading> out;
    for (const auto& [dom, domain] : host_->domains) {
        const double ran = std::chrono::duration<double>(host_->uptime(domain)).count();
        const agent::VmSpec& spec = domain.config.spec;
        DomainReading one;
        one.uuid = spec.uuid;
        one.domid = dom;
        one.wall_ns = host_->loop.wall_ns();
        one.running = domain.running;
        one.vcpu_seconds.assign(static_cast<std::size_t>(spec.vcpus), ran * busy_share);
        one.memory_target_bytes =
            spec.memory_target_bytes > 0 ? spec.memory_target_bytes : spec.memory_bytes;
        one.memory_bytes = domain.memory_bytes;
        if (domain.up) one.memory_free_bytes = spec.memory_bytes / 2;
        for (const DiskAttachment& disk : domain.config.disks) {
            const auto reads = static_cast<std::int64_t>(ran * reads_per_second);
            one.disks.push_back(
                {.device = disk.spec.device,
                 .sr = disk.spec.disk ? disk.spec.disk->sr : std::string(),
                 .read_bytes = reads * request_bytes,
                 .write_bytes = reads / 2 * request_bytes,
                 .reads = reads,
                 .writes = reads / 2,
                 .read_seconds = static_cast<double>(reads) * request_seconds,
                 .write_seconds = static_cast<double>(reads / 2) * request_seconds});
        }
        for (const NicAttachment& nic : domain.config.nics)
            one.nics.push_back({nic.spec.device, nic.tap});
        out.push_back(std::move(one));
    }
    co_return out;
}

}  // namespace basalt::hv
