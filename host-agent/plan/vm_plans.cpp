#include "host-agent/plan/vm_plans.hpp"

#include <algorithm>

#include "base/error.hpp"
#include "idl/errors.hpp"

namespace basalt::agent::plan {

namespace {

// Weights: about tenths of a second on an idle host.
constexpr double quick = 1;
constexpr double disk_work = 2;
constexpr double build_work = 10;
constexpr double guest_work = 30;

class Maker {
  public:
    Maker(std::string verb, std::string vm) : plan_{std::move(verb), std::move(vm), {}} {}

    [[nodiscard]] Act act(Kind kind) const { return {.kind = kind, .vm = plan_.vm}; }

    [[nodiscard]] Act act(Kind kind, const DiskSpec& disk) const {
        Act made = act(kind);
        if (kind == Kind::close_disk || kind == Kind::unplug_disk) {
            made.device = disk.device;
        } else {
            made.disk = disk;
        }
        return made;
    }

    [[nodiscard]] Act act(Kind kind, const NicSpec& nic) const {
        Act made = act(kind);
        made.nic = nic;
        return made;
    }

    [[nodiscard]] Act act(Kind kind, const VmSpec& spec) const {
        Act made = act(kind);
        made.spec = spec;
        return made;
    }

    void add(Act act, double weight, Resolve resolve, std::vector<Act> undo = {}) {
        std::string name = describe(act);
        plan_.steps.push_back({std::move(name), weight, std::move(act), resolve, std::move(undo)});
    }

    void back(Act act, double weight, std::vector<Act> undo = {}) {
        add(std::move(act), weight, Resolve::back, std::move(undo));
    }

    void again(Act act, double weight, std::vector<Act> undo = {}) {
        add(std::move(act), weight, Resolve::again, std::move(undo));
    }

    void forward(Act act, double weight) { add(std::move(act), weight, Resolve::forward); }

    void open(const DiskSpec& disk) {
        if (!disk.disk) return;
        back(act(Kind::open_disk, disk), disk_work, {act(Kind::close_disk, disk)});
    }

    void connect(const NicSpec& nic) {
        back(act(Kind::add_port, nic), quick, {act(Kind::remove_port, nic)});
    }

    /// What takes away everything that `spec` holds on this host but its domain.
    [[nodiscard]] std::vector<Act> release(const VmSpec& spec) const {
        std::vector<Act> out;
        for (const NicSpec& nic : spec.nics)
            out.push_back(act(Kind::remove_port, nic));
        for (const DiskSpec& disk : spec.disks)
            if (disk.disk) out.push_back(act(Kind::close_disk, disk));
        return out;
    }

    void ask_and_wait(const char* word, const Ending& ending) {
        Act ask = act(Kind::ask);
        ask.word = word;
        back(std::move(ask), quick);
        Act wait = act(Kind::await_end);
        wait.word = word;
        wait.timeout_seconds = ending.timeout_seconds;
        back(std::move(wait), guest_work);
    }

    Plan done() { return std::move(plan_); }

  private:
    Plan plan_;
};

const VmSpec& spec_or_throw(const Have& have) {
    if (!have.spec) throw err::vm_bad_power_state(have.vm, "running", "halted");
    return *have.spec;
}

void must_be_absent(const Have& have) {
    if (have.spec) throw err::vm_bad_power_state(have.vm, "halted", std::string(text(have.power)));
}

const DiskSpec* find_disk(const VmSpec& spec, const std::string& device) {
    const auto found = std::ranges::find(spec.disks, device, &DiskSpec::device);
    return found == spec.disks.end() ? nullptr : &*found;
}

const NicSpec* find_nic(const VmSpec& spec, std::int64_t device) {
    const auto found = std::ranges::find(spec.nics, device, &NicSpec::device);
    return found == spec.nics.end() ? nullptr : &*found;
}

const UsbSpec* find_usb(const VmSpec& spec, const std::string& vusb) {
    const auto found = std::ranges::find(spec.usbs, vusb, &UsbSpec::vusb);
    return found == spec.usbs.end() ? nullptr : &*found;
}

DiskSpec suspend_disk(const DiskRef& image, Access access) {
    DiskSpec disk;
    disk.device = suspend_device;
    disk.position = -1;
    disk.access = access;
    disk.disk = image;
    return disk;
}

VmSpec with_disk(VmSpec spec, const DiskSpec& disk) {
    std::erase_if(spec.disks, [&](const DiskSpec& d) { return d.device == disk.device; });
    spec.disks.push_back(disk);
    return spec;
}

void build(Maker& plan, const VmSpec& spec, bool paused) {
    plan.back(plan.act(Kind::create, spec), build_work, {plan.act(Kind::destroy)});
    if (!paused) plan.again(plan.act(Kind::run), quick);
}

void release_forward(Maker& plan, const VmSpec& spec) {
    for (Act& act : plan.release(spec))
        plan.forward(std::move(act), quick);
}

void rebuild(Maker& plan, const VmSpec& old_spec, const VmSpec& spec) {
    std::vector<Act> give_up = plan.release(old_spec);
    give_up.push_back(plan.act(Kind::forget));
    plan.again(plan.act(Kind::destroy), quick, std::move(give_up));
    for (const NicSpec& nic : old_spec.nics)
        if (!std::ranges::contains(spec.nics, nic))
            plan.back(plan.act(Kind::remove_port, nic), quick);
    for (const DiskSpec& disk : old_spec.disks)
        if (disk.disk && !std::ranges::contains(spec.disks, disk))
            plan.back(plan.act(Kind::close_disk, disk), quick);
    plan.back(plan.act(Kind::remember, spec), quick);
    for (const DiskSpec& disk : spec.disks)
        if (!std::ranges::contains(old_spec.disks, disk)) plan.open(disk);
    for (const NicSpec& nic : spec.nics)
        if (!std::ranges::contains(old_spec.nics, nic)) plan.connect(nic);
    build(plan, spec, false);
}

}  // namespace

Plan vm_start(const Have& have, const VmSpec& spec, bool paused) {
    must_be_absent(have);
    Maker plan("vm_start", spec.uuid);
    plan.back(plan.act(Kind::remember, spec), quick, {plan.act(Kind::forget)});
    for (const DiskSpec& disk : spec.disks)
        plan.open(disk);
    for (const NicSpec& nic : spec.nics)
        plan.connect(nic);
    build(plan, spec, paused);
    return plan.done();
}

Plan vm_shutdown(const Have& have, Ending ending) {
    const VmSpec& spec = spec_or_throw(have);
    Maker plan("vm_shutdown", spec.uuid);
    if (ending.method == Method::clean) plan.ask_and_wait("shutdown", ending);
    plan.again(plan.act(Kind::destroy), quick);
    release_forward(plan, spec);
    plan.forward(plan.act(Kind::forget), quick);
    return plan.done();
}

Plan vm_reboot(const Have& have, Ending ending, const std::optional<VmSpec>& spec) {
    const VmSpec& old_spec = spec_or_throw(have);
    Maker plan("vm_reboot", old_spec.uuid);
    if (ending.method == Method::clean) plan.ask_and_wait("reboot", ending);
    rebuild(plan, old_spec, spec.value_or(old_spec));
    return plan.done();
}

Plan vm_pause(const Have& have) {
    Maker plan("vm_pause", spec_or_throw(have).uuid);
    plan.again(plan.act(Kind::pause), quick);
    return plan.done();
}

Plan vm_unpause(const Have& have) {
    Maker plan("vm_unpause", spec_or_throw(have).uuid);
    plan.again(plan.act(Kind::run), quick);
    return plan.done();
}

Plan vm_suspend(const Have& have, const DiskRef& into) {
    const VmSpec& spec = spec_or_throw(have);
    Maker plan("vm_suspend", spec.uuid);
    const DiskSpec image = suspend_disk(into, Access::rw);
    plan.open(image);
    Act save = plan.act(Kind::save);
    save.device = suspend_device;
    plan.back(std::move(save), guest_work, {plan.act(Kind::run)});
    plan.again(plan.act(Kind::destroy), quick);
    plan.forward(plan.act(Kind::close_disk, image), quick);
    release_forward(plan, spec);
    plan.forward(plan.act(Kind::forget), quick);
    return plan.done();
}

Plan vm_resume(const Have& have, const VmSpec& spec, const DiskRef& from, bool paused) {
    must_be_absent(have);
    Maker plan("vm_resume", spec.uuid);
    const DiskSpec image = suspend_disk(from, Access::ro);
    plan.back(plan.act(Kind::remember, spec), quick, {plan.act(Kind::forget)});
    plan.open(image);
    for (const DiskSpec& disk : spec.disks)
        plan.open(disk);
    for (const NicSpec& nic : spec.nics)
        plan.connect(nic);
    Act restore = plan.act(Kind::restore, spec);
    restore.device = suspend_device;
    plan.back(std::move(restore), guest_work, {plan.act(Kind::destroy)});
    if (!paused) plan.again(plan.act(Kind::run), quick);
    plan.forward(plan.act(Kind::close_disk, image), quick);
    return plan.done();
}

Plan disk_plug(const Have& have, const DiskSpec& disk) {
    const VmSpec& spec = spec_or_throw(have);
    if (find_disk(spec, disk.device) != nullptr) throw err::device_already_attached(disk.vbd);
    Maker plan("disk_plug", spec.uuid);
    plan.open(disk);
    Act unplug = plan.act(Kind::unplug_disk, disk);
    unplug.force = true;
    plan.back(plan.act(Kind::plug_disk, disk), disk_work, {std::move(unplug)});
    plan.back(plan.act(Kind::remember, with_disk(spec, disk)), quick,
              {plan.act(Kind::remember, spec)});
    return plan.done();
}

Plan disk_unplug(const Have& have, const std::string& device, bool force) {
    const VmSpec& spec = spec_or_throw(have);
    const DiskSpec* disk = find_disk(spec, device);
    if (disk == nullptr) throw err::device_already_detached(device);
    Maker plan("disk_unplug", spec.uuid);
    Act unplug = plan.act(Kind::unplug_disk, *disk);
    unplug.force = force;
    plan.again(std::move(unplug), build_work);
    if (disk->disk) plan.forward(plan.act(Kind::close_disk, *disk), quick);
    VmSpec rest = spec;
    std::erase_if(rest.disks, [&](const DiskSpec& d) { return d.device == device; });
    plan.forward(plan.act(Kind::remember, rest), quick);
    return plan.done();
}

Plan disk_insert(const Have& have, const std::string& device, const DiskRef& disk) {
    const VmSpec& spec = spec_or_throw(have);
    const DiskSpec* drive = find_disk(spec, device);
    if (drive == nullptr) throw err::device_not_attached(device);
    if (drive->kind != DiskKind::cd) throw err::vbd_not_removable_media(drive->vbd);
    if (drive->disk) throw err::vbd_not_empty(drive->vbd);
    Maker plan("disk_insert", spec.uuid);
    DiskSpec full = *drive;
    full.disk = disk;
    plan.open(full);
    plan.back(plan.act(Kind::change_medium, full), disk_work,
              {plan.act(Kind::change_medium, *drive)});
    plan.back(plan.act(Kind::remember, with_disk(spec, full)), quick,
              {plan.act(Kind::remember, spec)});
    return plan.done();
}

Plan disk_eject(const Have& have, const std::string& device) {
    const VmSpec& spec = spec_or_throw(have);
    const DiskSpec* drive = find_disk(spec, device);
    if (drive == nullptr) throw err::device_not_attached(device);
    if (drive->kind != DiskKind::cd) throw err::vbd_not_removable_media(drive->vbd);
    if (!drive->disk) throw err::vbd_is_empty(drive->vbd);
    Maker plan("disk_eject", spec.uuid);
    DiskSpec empty = *drive;
    empty.disk.reset();
    plan.again(plan.act(Kind::change_medium, empty), disk_work);
    plan.forward(plan.act(Kind::close_disk, *drive), quick);
    plan.forward(plan.act(Kind::remember, with_disk(spec, empty)), quick);
    return plan.done();
}

Plan nic_plug(const Have& have, const NicSpec& nic) {
    const VmSpec& spec = spec_or_throw(have);
    if (find_nic(spec, nic.device) != nullptr) throw err::device_already_attached(nic.vif);
    Maker plan("nic_plug", spec.uuid);
    plan.connect(nic);
    Act unplug = plan.act(Kind::unplug_nic, nic);
    unplug.force = true;
    plan.back(plan.act(Kind::plug_nic, nic), disk_work, {std::move(unplug)});
    VmSpec more = spec;
    more.nics.push_back(nic);
    plan.back(plan.act(Kind::remember, more), quick, {plan.act(Kind::remember, spec)});
    return plan.done();
}

Plan nic_change(const Have& have, const NicSpec& nic) {
    const VmSpec& spec = spec_or_throw(have);
    const NicSpec* before = find_nic(spec, nic.device);
    if (before == nullptr) throw err::device_already_detached(std::to_string(nic.device));
    if (nic.vif != before->vif) throw err::invalid_value("vif", nic.vif);
    if (nic.mac != before->mac) throw err::invalid_value("mac", nic.mac);
    if (nic.mtu != before->mtu) throw err::invalid_value("mtu", std::to_string(nic.mtu));
    Maker plan("nic_change", spec.uuid);
    // The first changes nothing: its undo is for a second that stopped half way.
    plan.back(plan.act(Kind::add_port, *before), quick, {plan.act(Kind::add_port, *before)});
    plan.back(plan.act(Kind::add_port, nic), quick);
    VmSpec changed = spec;
    std::ranges::replace_if(
        changed.nics, [&](const NicSpec& one) { return one.device == nic.device; }, nic);
    plan.back(plan.act(Kind::remember, changed), quick, {plan.act(Kind::remember, spec)});
    return plan.done();
}

Plan nic_unplug(const Have& have, std::int64_t device, bool force) {
    const VmSpec& spec = spec_or_throw(have);
    const NicSpec* nic = find_nic(spec, device);
    if (nic == nullptr) throw err::device_already_detached(std::to_string(device));
    Maker plan("nic_unplug", spec.uuid);
    Act unplug = plan.act(Kind::unplug_nic, *nic);
    unplug.force = force;
    plan.again(std::move(unplug), build_work);
    plan.forward(plan.act(Kind::remove_port, *nic), quick);
    VmSpec rest = spec;
    std::erase_if(rest.nics, [&](const NicSpec& n) { return n.device == device; });
    plan.forward(plan.act(Kind::remember, rest), quick);
    return plan.done();
}

Plan usb_plug(const Have& have, const UsbSpec& usb) {
    const VmSpec& spec = spec_or_throw(have);
    if (find_usb(spec, usb.vusb) != nullptr) throw err::device_already_attached(usb.vusb);
    Maker plan("usb_plug", spec.uuid);
    Act plug = plan.act(Kind::plug_usb);
    plug.usb = usb;
    Act unplug = plan.act(Kind::unplug_usb);
    unplug.device = usb.vusb;
    plan.back(std::move(plug), disk_work, {std::move(unplug)});
    VmSpec more = spec;
    more.usbs.push_back(usb);
    plan.back(plan.act(Kind::remember, more), quick, {plan.act(Kind::remember, spec)});
    return plan.done();
}

Plan usb_unplug(const Have& have, const std::string& vusb) {
    const VmSpec& spec = spec_or_throw(have);
    if (find_usb(spec, vusb) == nullptr) throw err::device_already_detached(vusb);
    Maker plan("usb_unplug", spec.uuid);
    Act unplug = plan.act(Kind::unplug_usb);
    unplug.device = vusb;
    plan.again(std::move(unplug), disk_work);
    VmSpec rest = spec;
    std::erase_if(rest.usbs, [&](const UsbSpec& one) { return one.vusb == vusb; });
    plan.forward(plan.act(Kind::remember, rest), quick);
    return plan.done();
}

Plan vm_set_memory(const Have& have, std::int64_t target_bytes) {
    const VmSpec& spec = spec_or_throw(have);
    if (target_bytes <= 0 || target_bytes > spec.memory_bytes)
        throw err::invalid_value("memory_target", std::to_string(target_bytes));
    VmSpec changed = spec;
    changed.memory_target_bytes = target_bytes;
    VmSpec before = spec;
    if (before.memory_target_bytes == 0) before.memory_target_bytes = before.memory_bytes;
    Maker plan("vm_set_memory", spec.uuid);
    plan.back(plan.act(Kind::set_memory, changed), quick, {plan.act(Kind::set_memory, before)});
    plan.back(plan.act(Kind::remember, changed), quick, {plan.act(Kind::remember, spec)});
    return plan.done();
}

Plan vm_set_vcpus(const Have& have, std::int64_t count) {
    const VmSpec& spec = spec_or_throw(have);
    if (count < 1 || count > std::max(spec.vcpus, spec.vcpus_max))
        throw err::invalid_value("nvcpu", std::to_string(count));
    VmSpec changed = spec;
    changed.vcpus = count;
    Maker plan("vm_set_vcpus", spec.uuid);
    // No way back: what a guest has begun to use it may not give up.
    plan.again(plan.act(Kind::set_vcpus, changed), disk_work);
    plan.forward(plan.act(Kind::remember, changed), quick);
    return plan.done();
}

Plan vm_set_cpu(const Have& have, const CpuShares& cpu) {
    const VmSpec& spec = spec_or_throw(have);
    VmSpec changed = spec;
    changed.cpu = cpu;
    Maker plan("vm_set_cpu", spec.uuid);
    plan.back(plan.act(Kind::set_cpu, changed), quick, {plan.act(Kind::set_cpu, spec)});
    plan.back(plan.act(Kind::remember, changed), quick, {plan.act(Kind::remember, spec)});
    return plan.done();
}

Plan vm_signal(const Have& have, GuestSignal signal, const std::string& key) {
    const VmSpec& spec = spec_or_throw(have);
    Maker plan("vm_signal", spec.uuid);
    Act send = plan.act(Kind::send);
    send.word = text(signal);
    send.device = key;
    plan.back(std::move(send), quick);
    return plan.done();
}

Plan vm_purge(const Have& have) {
    must_be_absent(have);
    Maker plan("vm_purge", have.vm);
    plan.forward(plan.act(Kind::purge), quick);
    return plan.done();
}

Plan vm_ended(const Have& have) {
    const VmSpec& spec = spec_or_throw(have);
    Maker plan("vm_ended", spec.uuid);
    plan.forward(plan.act(Kind::destroy), quick);
    release_forward(plan, spec);
    plan.forward(plan.act(Kind::forget), quick);
    return plan.done();
}

Plan vm_rebuild(const Have& have) {
    const VmSpec& spec = spec_or_throw(have);
    Maker plan("vm_rebuild", spec.uuid);
    rebuild(plan, spec, spec);
    return plan.done();
}

Plan single_call(const std::string& verb, const nlohmann::json& args) {
    Maker plan(verb, {});
    Act call = plan.act(Kind::call);
    call.word = verb;
    call.args = args;
    plan.again(std::move(call), quick);
    return plan.done();
}

}  // namespace basalt::agent::plan
