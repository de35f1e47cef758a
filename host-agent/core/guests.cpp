#include "host-agent/core/guests.hpp"

#include <algorithm>

#include "base/log.hpp"
#include "base/undo.hpp"
#include "host-agent/run/journal.hpp"
#include "hypervisor/api/interface_maker.hpp"
#include "hypervisor/api/live_changes.hpp"
#include "hypervisor/api/usb_passthrough.hpp"
#include "idl/errors.hpp"

namespace basalt::agent {

using Json = nlohmann::json;
using plan::Act;
using plan::Kind;

namespace {

const std::string vm_room = "vm";
constexpr Seconds end_limit_default{1200};
constexpr Seconds ask_again_after{15};

bool on_domain(Kind kind) {
    switch (kind) {
        case Kind::run:
        case Kind::pause:
        case Kind::ask:
        case Kind::save:
        case Kind::plug_disk:
        case Kind::unplug_disk:
        case Kind::change_medium:
        case Kind::plug_nic:
        case Kind::unplug_nic:
        case Kind::set_memory:
        case Kind::set_vcpus:
        case Kind::set_cpu:
        case Kind::send:
        case Kind::plug_usb:
        case Kind::unplug_usb:
            return true;
        default:
            return false;
    }
}

GuestSignal signal_of(const std::string& word) {
    return Json(word).get<GuestSignal>();
}

bool takes_away(Kind kind) {
    return kind == Kind::unplug_disk || kind == Kind::unplug_nic || kind == Kind::unplug_usb;
}

hv::UsbPassthrough& usb_passthrough(hv::Hypervisor& hypervisor) {
    auto* const able = dynamic_cast<hv::UsbPassthrough*>(&hypervisor);
    if (able == nullptr)
        throw err::operation_not_allowed("This host's hypervisor cannot give guests USB devices");
    return *able;
}

}  // namespace

std::string tap_name(const NicSpec& nic) {
    std::string digits;
    for (const char c : nic.vif)
        if (c != '-') digits += c;
    return "vif" + digits.substr(0, 12);
}

Guests::Guests(Loop& loop, Records& records, Backends backends, Host& calls)
    : loop_(loop), records_(records), backends_(backends), calls_(calls), changed_(loop) {}

Task<Json> Guests::perform(Act act, rpc::Progress progress) {
    if (act.kind == Kind::call) co_return co_await call(std::move(act), std::move(progress));
    if (on_domain(act.kind)) {
        co_await act_on_domain(std::move(act), std::move(progress));
    } else if (act.kind == Kind::create) {
        co_await create(std::move(act), std::move(progress));
    } else if (act.kind == Kind::restore) {
        co_await restore(std::move(act), std::move(progress));
    } else {
        co_await act_on_host(std::move(act));
    }
    co_return Json();
}

Task<Json> Guests::call(Act act, rpc::Progress progress) {
    rpc::Request request{std::move(act.word), std::move(act.args), {}, std::move(progress)};
    rpc::Reply reply = co_await serve(calls_, std::move(request));
    co_return std::move(reply.result);
}

Task<void> Guests::act_on_domain(Act act, rpc::Progress progress) {
    hv::Hypervisor& hypervisor = backends_.hypervisor;
    const auto dom = domid(act.vm);
    if (!dom) {
        if (takes_away(act.kind)) co_return;
        throw err::vm_bad_power_state(act.vm, "running", "halted");
    }
    switch (act.kind) {
        case Kind::run:
            co_return co_await hypervisor.set_running(*dom, true);
        case Kind::pause:
            co_return co_await hypervisor.set_running(*dom, false);
        case Kind::ask:
            co_return co_await ask(*dom, std::move(act));
        case Kind::save:
            co_return co_await save(*dom, std::move(act), std::move(progress));
        case Kind::plug_disk: {
            hv::DiskAttachment disk = co_await attachment(act.vm, *act.disk);
            co_return co_await hypervisor.plug_disk(*dom, std::move(disk));
        }
        case Kind::unplug_disk:
            co_return co_await hypervisor.unplug_disk(*dom, act.device, act.force);
        case Kind::change_medium: {
            hv::DiskAttachment disk = co_await attachment(act.vm, *act.disk);
            co_return co_await hypervisor.change_medium(*dom, std::move(disk));
        }
        case Kind::plug_nic:
            co_return co_await plug_nic(*dom, std::move(act));
        case Kind::unplug_nic:
            co_return co_await hypervisor.unplug_nic(*dom, act.nic->device, act.force);
        case Kind::plug_usb:
        case Kind::unplug_usb:
            co_return co_await change_usb(*dom, std::move(act));
        default:
            co_return co_await change_live(*dom, std::move(act));
    }
}

Task<void> Guests::change_live(hv::DomId dom, Act act) {
    auto* const live = dynamic_cast<hv::LiveChanges*>(&backends_.hypervisor);
    if (live == nullptr)
        throw err::operation_not_allowed("This host's hypervisor cannot change a running guest");
    switch (act.kind) {
        case Kind::set_memory:
            co_return co_await live->set_memory_target(dom, act.spec->memory_target_bytes);
        case Kind::set_vcpus:
            co_return co_await live->set_vcpus(dom, act.spec->vcpus);
        case Kind::set_cpu:
            co_return co_await live->set_cpu_shares(dom, act.spec->cpu);
        case Kind::send:
            co_return co_await live->send(dom, signal_of(act.word), act.device);
        default:
            throw err::internal_error("no such act: " + plan::describe(act));
    }
}

Task<void> Guests::change_usb(hv::DomId dom, Act act) {
    hv::UsbPassthrough& passthrough = usb_passthrough(backends_.hypervisor);
    if (act.kind == Kind::unplug_usb)
        co_return co_await passthrough.unplug_usb(dom, std::move(act.device));
    hv::UsbAttachment device = co_await usb_attachment(std::move(*act.usb));
    co_await passthrough.plug_usb(dom, std::move(device));
}

Task<void> Guests::act_on_host(Act act) {
    switch (act.kind) {
        case Kind::remember:
            co_return co_await remember(std::move(*act.spec));
        case Kind::forget:
            co_return co_await forget(std::move(act.vm));
        case Kind::open_disk:
            co_await attachment(std::move(act.vm), std::move(*act.disk));
            co_return;
        case Kind::close_disk:
            open_[act.vm].erase(act.device);
            co_return co_await backends_.storage.close_disk(act.vm, act.device);
        case Kind::add_port:
            // One that comes with its NIC is connected as soon as that is there.
            if (makes_interfaces() && !has_nic(act.vm, act.nic->device)) co_return;
            co_return co_await add_port(std::move(*act.nic));
        case Kind::remove_port:
            co_return co_await backends_.network.remove_port(tap_name(*act.nic));
        case Kind::destroy:
            co_return co_await destroy(std::move(act.vm));
        case Kind::await_end:
            co_return co_await await_end(std::move(act));
        case Kind::purge:
            co_return co_await backends_.hypervisor.purge(std::move(act.vm));
        default:
            throw err::internal_error("no such act: " + plan::describe(act));
    }
}

Task<void> Guests::create(Act act, rpc::Progress progress) {
    hv::DomainConfig made = co_await config(act.vm, *act.spec);
    co_await with_undo([this, &act, &made, &progress](Undo& undo) -> Task<void> {
        co_await backends_.hypervisor.create(std::move(made), std::move(progress));
        undo.push("destroy", [this, vm = act.vm] { return destroy(vm); });
        co_await connect_interfaces(act.vm);
    });
    watches_[act.vm].started_at = loop_.wall_ns() / 1'000'000'000;
}

Task<void> Guests::plug_nic(hv::DomId dom, Act act) {
    const NicSpec nic = *act.nic;
    co_await with_undo([this, dom, &act, &nic](Undo& undo) -> Task<void> {
        co_await backends_.hypervisor.plug_nic(dom, {nic, tap_name(nic)});
        if (!makes_interfaces()) co_return;
        undo.push("unplug", [this, dom, device = nic.device] {
            return backends_.hypervisor.unplug_nic(dom, device, true);
        });
        co_await add_port(nic);
    });
}

Task<void> Guests::add_port(NicSpec nic) {
    const std::string name = tap_name(nic);
    co_await backends_.network.add_port({nic.bridge, name, nic.mtu, nic, makes_interfaces()});
}

// The guest has not run yet: not a frame passes before the rules of its ports.
Task<void> Guests::connect_interfaces(std::string vm) {
    if (!makes_interfaces()) co_return;
    const auto info = domain(vm);
    if (!info || !info->spec) co_return;
    for (const NicSpec& nic : info->spec->nics)
        co_await add_port(nic);
}

Task<void> Guests::ask(hv::DomId dom, Act act) {
    Watch& watch = watches_[act.vm];
    watch.ends_when_asked = watch.ends;
    co_await backends_.hypervisor.request(
        dom, act.word == "reboot" ? hv::GuestRequest::reboot : hv::GuestRequest::shutdown);
}

Task<void> Guests::await_end(Act act) {
    const Duration limit =
        act.timeout_seconds > 0 ? Seconds(act.timeout_seconds) : end_limit_default;
    const Time deadline = loop_.now() + limit;
    while (domid(act.vm)) {
        // A guest whose settings restart or preserve it ends without its domain ending; what was
        // asked for is done all the same.
        const Watch& watch = watches_[act.vm];
        if (watch.ends != watch.ends_when_asked) co_return;
        if (loop_.now() >= deadline) {
            const auto seconds = std::chrono::duration_cast<Seconds>(limit).count();
            throw err::vm_shutdown_timeout(act.vm, std::to_string(seconds));
        }
        // A guest that was still booting has missed the button: it is pressed again from time to
        // time.
        const Duration patience = std::min<Duration>(deadline - loop_.now(), ask_again_after);
        const bool changed = co_await changed_.wait_for(patience);
        if (!changed && loop_.now() < deadline) co_await ask_again(act);
    }
}

Task<void> Guests::ask_again(Act act) {
    const auto dom = domid(act.vm);
    if (!dom) co_return;
    try {
        co_await backends_.hypervisor.request(
            *dom, act.word == "reboot" ? hv::GuestRequest::reboot : hv::GuestRequest::shutdown);
    } catch (const ApiError& error) {
        log::debug("ask_again_failed", {{"vm", act.vm}, {"error", error.what()}});
    }
}

Task<void> Guests::destroy(std::string vm) {
    std::vector<hv::DomId> doms;
    for (const DomainInfo& info : backends_.hypervisor.domains())
        if (info.uuid == vm) doms.push_back(info.domid);
    for (const hv::DomId dom : doms)
        co_await backends_.hypervisor.destroy(dom);
}

Task<void> Guests::remember(VmSpec spec) {
    const Json json = {{"spec", spec}};
    std::vector<Records::Change> changes;
    changes.push_back({vm_room, spec.uuid, json.dump()});
    co_await records_.commit(std::move(changes));
}

Task<void> Guests::forget(std::string vm) {
    co_await backends_.storage.close_all(vm);
    open_.erase(vm);
    watches_.erase(vm);
    std::vector<Records::Change> changes;
    changes.push_back({vm_room, vm, std::nullopt});
    co_await records_.commit(std::move(changes));
}

Task<hv::DiskAttachment> Guests::attachment(std::string vm, DiskSpec disk) {
    if (!disk.disk) co_return hv::DiskAttachment{std::move(disk), {}, {}};
    const auto vm_disks = open_.find(vm);
    if (vm_disks != open_.end())
        if (const auto found = vm_disks->second.find(disk.device);
            found != vm_disks->second.end() && found->second.spec == disk)
            co_return found->second;
    sm::DiskServer server = co_await backends_.storage.open_disk(vm, disk);
    hv::DiskAttachment opened{disk, std::move(server.socket), std::move(server.name)};
    open_[vm][disk.device] = opened;
    co_return opened;
}

Task<hv::UsbAttachment> Guests::usb_attachment(UsbSpec usb) {
    std::string node = co_await backends_.services.machine().usb_node(usb);
    co_return hv::UsbAttachment{std::move(usb), std::move(node)};
}

Task<hv::DomainConfig> Guests::config(std::string vm, VmSpec spec) {
    hv::DomainConfig made;
    for (const DiskSpec& disk : spec.disks) {
        hv::DiskAttachment opened = co_await attachment(vm, disk);
        made.disks.push_back(std::move(opened));
    }
    for (const NicSpec& nic : spec.nics)
        made.nics.push_back({nic, tap_name(nic)});
    for (const UsbSpec& usb : spec.usbs) {
        (void)usb_passthrough(backends_.hypervisor);
        hv::UsbAttachment found = co_await usb_attachment(usb);
        made.usbs.push_back(std::move(found));
    }
    made.spec = std::move(spec);
    co_return made;
}

namespace {

DiskSpec image_disk(const Act& act, const std::map<std::string, hv::DiskAttachment>& open) {
    const auto found = open.find(act.device);
    if (found == open.end())
        throw err::internal_error("the suspend image of " + act.vm + " is not open");
    return found->second.spec;
}

}  // namespace

Task<void> Guests::save(hv::DomId dom, Act act, rpc::Progress progress) {
    hv::DiskAttachment image = co_await attachment(act.vm, image_disk(act, open_[act.vm]));
    hv::Hypervisor& hypervisor = backends_.hypervisor;
    co_await backends_.images.store(std::move(image), [&hypervisor, dom, progress](UniqueFd sink) {
        return hypervisor.save(dom, std::move(sink), progress);
    });
}

namespace {

Task<void> restore_from(hv::Hypervisor& hypervisor, hv::DomainConfig config, UniqueFd source,
                        rpc::Progress progress) {
    co_await hypervisor.restore(std::move(config), std::move(source), std::move(progress));
}

}  // namespace

Task<void> Guests::restore(Act act, rpc::Progress progress) {
    hv::DiskAttachment image = co_await attachment(act.vm, image_disk(act, open_[act.vm]));
    hv::DomainConfig made = co_await config(act.vm, std::move(*act.spec));
    hv::Hypervisor& hypervisor = backends_.hypervisor;
    co_await with_undo(
        [this, &act, &image, &made, &hypervisor, &progress](Undo& undo) -> Task<void> {
            co_await backends_.images.load(
                std::move(image), [&hypervisor, made, progress](UniqueFd source) {
                    return restore_from(hypervisor, made, std::move(source), progress);
                });
            undo.push("destroy", [this, vm = act.vm] { return destroy(vm); });
            co_await connect_interfaces(act.vm);
        });
}

Json Guests::result(const plan::Plan& plan, Json last) {
    if (plan.verb != "vm_start" && plan.verb != "vm_resume" && plan.verb != "vm_reboot")
        return last;
    const auto info = domain(plan.vm);
    return info ? Json(*info) : Json();
}

plan::Have Guests::have(const std::string& vm) const {
    plan::Have out;
    out.vm = vm;
    if (const auto text = records_.get(vm_room, vm))
        out.spec = Json::parse(*text).at("spec").get<VmSpec>();
    if (const auto info = domain(vm)) out.power = info->power;
    return out;
}

void Guests::add_spec(DomainInfo& info) const {
    if (const auto kept = records_.get(vm_room, info.uuid))
        info.spec = Json::parse(*kept).at("spec").get<VmSpec>();
    // xapi knows it, and it is as large as all the rest.
    if (info.spec) info.spec->seed.reset();
}

std::vector<DomainInfo> Guests::domains() const {
    std::vector<DomainInfo> out = backends_.hypervisor.domains();
    const std::set<std::string> left_over = Journal(records_).left_over_domains();
    for (DomainInfo& info : out) {
        add_spec(info);
        info.left_over = left_over.contains(info.uuid);
    }
    return out;
}

std::optional<DomainInfo> Guests::domain(const std::string& vm) const {
    std::optional<DomainInfo> info = backends_.hypervisor.domain(vm);
    if (!info) return info;
    add_spec(*info);
    info->left_over = Journal(records_).left_over_domains().contains(vm);
    return info;
}

std::map<std::string, VmSpec> Guests::remembered() const {
    std::map<std::string, VmSpec> out;
    for (const auto& [vm, text] : records_.room(vm_room))
        out.emplace(vm, Json::parse(text).at("spec").get<VmSpec>());
    return out;
}

bool Guests::makes_interfaces() const {
    const auto* const maker = dynamic_cast<const hv::InterfaceMaker*>(&backends_.hypervisor);
    return maker != nullptr && maker->makes_interfaces();
}

bool Guests::has_nic(const std::string& vm, std::int64_t device) const {
    const auto info = domain(vm);
    return info && std::ranges::contains(info->plugged_nics, device);
}

std::optional<hv::DomId> Guests::domid(const std::string& vm) const {
    const auto info = backends_.hypervisor.domain(vm);
    return info ? std::optional(info->domid) : std::nullopt;
}

std::optional<std::int64_t> Guests::started_at(const std::string& vm) const {
    const auto found = watches_.find(vm);
    return found == watches_.end() ? std::nullopt : found->second.started_at;
}

void Guests::note_ended(const std::string& vm) {
    ++watches_[vm].ends;
    changed_.notify_all();
}

}  // namespace basalt::agent
