#include "tests/sim/workload.hpp"

#include "idl/records.hpp"
#include "tests/sim/calls.hpp"
#include "tests/sim/invariants.hpp"
#include "tests/sim/values.hpp"
#include "xapi/core/hosts.hpp"

namespace basalt::testing {

namespace {

using wire::Array;
using wire::Object;
using wire::Value;
using xenapi::Ref;
using xenapi::Vdi;
using xenapi::Vm;
using xenapi::VmPowerState;

constexpr std::size_t asked_at_once_max = 24;
constexpr int checks = 2;  // times that all comes to rest

Value text(std::string words) {
    return Value(std::move(words));
}

bool is_users(const Vm& vm) {
    return !vm.is_control_domain && !vm.is_default_template;
}

}  // namespace

Workload::Workload(std::uint64_t seed, Size size)
    : pool_(seed, size.hosts), steps_(size.steps), random_(seed) {
    // What a fault makes of a call is not the class file's to tell.
    pool_.errors_must_be_declared = false;
}

const std::vector<Workload::Choice>& Workload::choices() {
    static const std::vector<Choice> all = {
        {6, &Workload::make_vm},        {12, &Workload::start_vm},
        {5, &Workload::shut_down_vm},   {4, &Workload::hard_shut_down_vm},
        {3, &Workload::reboot_vm},      {3, &Workload::pause_vm},
        {4, &Workload::unpause_vm},     {5, &Workload::suspend_vm},
        {5, &Workload::resume_vm},      {5, &Workload::snapshot_vm},
        {3, &Workload::clone_vm},       {3, &Workload::destroy_vm},
        {6, &Workload::create_disk},    {4, &Workload::destroy_disk},
        {4, &Workload::snapshot_disk},  {2, &Workload::clone_disk},
        {2, &Workload::resize_disk},    {3, &Workload::scan},
        {2, &Workload::create_network}, {3, &Workload::create_vlan},
        {1, &Workload::destroy_vlan},   {3, &Workload::cancel_call},
        {4, &Workload::kill_hostd},     {2, &Workload::kill_xapi},
        {1, &Workload::lose_power},     {3, &Workload::break_wire},
        {3, &Workload::crash_guest},    {3, &Workload::fail_backend},
        {1, &Workload::fill_disk},
    };
    return all;
}

std::string Workload::run() {
    std::string wrong;
    for (int part = 0; part < checks && wrong.empty(); ++part) {
        for (int i = 0; i < steps_ / checks; ++i)
            step();
        rest();
        wrong = check();
    }
    return wrong;
}

void Workload::step() {
    int total = 0;
    for (const Choice& choice : choices())
        total += choice.weight;
    int at = static_cast<int>(pick(static_cast<std::uint64_t>(total)));
    for (const Choice& choice : choices()) {
        at -= choice.weight;
        if (at >= 0) continue;
        (this->*choice.act)();
        break;
    }
    // Often at once, so that calls overlap.
    if (pick(2) == 0) pool_.pass(Millis(pick(400)));
    if (asked_.size() > asked_at_once_max)
        pool_.until([&] { return asked_.front().pending->done; });
    note_ends();
}

// All faults end, and all that is under way.
void Workload::rest() {
    pool_.store->faults().disk_full = false;
    for (auto& [name, repository] : pool_.shared->disks->repositories)
        repository.image_bytes = 0;
    for (const auto& wire : pool_.wires)
        wire->break_at(-1);
    pool_.mend();
    for (const Asked& one : asked_)
        pool_.until([&] { return one.pending->done; });
    note_ends();
    pool_.pass(settling);
    pool_.mend();
    // A host whose leftover or unwanted disk would not go when it was tried is asked anew.
    for (std::size_t i = 0; i < pool_.hosts.size(); ++i)
        pool_.cut(static_cast<int>(i));
    pool_.mend();
    pool_.pass(settling);
}

void Workload::note_ends() {
    std::erase_if(asked_, [&](const Asked& one) {
        if (!one.pending->done) return false;
        ++outcomes_[code_of(one.pending->failure)];
        if (!one.pending->acknowledged) return true;
        if (!one.makes.empty()) there_.insert(one.makes);
        if (!one.unmakes.empty()) gone_.insert(one.unmakes);
        return true;
    });
}

std::string Workload::check() {
    std::set<std::string> names;
    pool_.db().each<Vm>([&](Ref<Vm>, const Vm& vm) { names.insert(vm.name_label); });
    pool_.db().each<Vdi>([&](Ref<Vdi>, const Vdi& vdi) { names.insert(vdi.name_label); });
    std::string wrong = broken_text(pool_);
    for (const std::string& name : there_)
        if (!names.contains(name)) wrong += name + " was acknowledged and is lost\n";
    for (const std::string& name : gone_)
        if (names.contains(name)) wrong += name + " was destroyed and is there\n";
    return wrong;
}

// The call that makes it may not have been answered yet: what it makes is seen before.
void Workload::expect_no_more(const std::string& name) {
    there_.erase(name);
    for (Asked& one : asked_)
        if (one.makes == name) one.makes.clear();
}

void Workload::ask(const std::string& method, std::vector<Value> params, std::string makes,
                   std::string unmakes) {
    if (!unmakes.empty()) expect_no_more(unmakes);
    asked_.push_back(
        {method, pool_.start(method, std::move(params)), std::move(makes), std::move(unmakes)});
}

template <class R>
Ref<R> Workload::any(const std::function<bool(const R&)>& fits) {
    std::vector<Ref<R>> found;
    pool_.db().each<R>([&](Ref<R> ref, const R& row) {
        if (fits(row)) found.push_back(ref);
    });
    return found.empty() ? Ref<R>{} : found[pick(found.size())];
}

Ref<Vm> Workload::any_vm(VmPowerState state) {
    return any<Vm>(
        [&](const Vm& vm) { return is_users(vm) && !vm.is_a_template && vm.power_state == state; });
}

std::string Workload::fresh_name(const char* kind) {
    return std::string(kind) + " " + std::to_string(++names_);
}

// -- calls ------------------------------------------------------------------------------------

void Workload::make_vm() {
    // Its parts come one after the other, each of them perhaps not at all.
    const auto sr = any<xenapi::Sr>([&](const xenapi::Sr& row) { return row.type == "file"; });
    const auto network =
        any<xenapi::Network>([](const xenapi::Network& row) { return !row.PIFs.empty(); });
    if (!sr || !network) return;
    const Ref<Vm> vm = pool_.insert_vm(fresh_name("vm"));
    if (!vm) return;
    ask("VBD.create", {pool_.vbd_record(vm, any<Vdi>([&](const Vdi& vdi) {
                                            return vdi.SR == sr && vdi.VBDs.empty() &&
                                                   vdi.type == xenapi::VdiType::user &&
                                                   !vdi.provisional && !vdi.is_a_snapshot;
                                        }))});
    ask("VIF.create", {pool_.vif_record(vm, network)});
}

void Workload::start_vm() {
    if (const auto vm = any_vm(VmPowerState::halted))
        ask("VM.start", {of(vm), Value(pick(4) == 0), Value(false)});
}

void Workload::shut_down_vm() {
    if (const auto vm = any_vm(VmPowerState::running)) ask("VM.clean_shutdown", {of(vm)});
}

void Workload::hard_shut_down_vm() {
    const auto vm = any<Vm>(
        [](const Vm& row) { return is_users(row) && row.power_state != VmPowerState::halted; });
    if (vm) ask("VM.hard_shutdown", {of(vm)});
}

void Workload::reboot_vm() {
    if (const auto vm = any_vm(VmPowerState::running))
        ask(pick(2) == 0 ? "VM.clean_reboot" : "VM.hard_reboot", {of(vm)});
}

void Workload::pause_vm() {
    if (const auto vm = any_vm(VmPowerState::running)) ask("VM.pause", {of(vm)});
}

void Workload::unpause_vm() {
    if (const auto vm = any_vm(VmPowerState::paused)) ask("VM.unpause", {of(vm)});
}

void Workload::suspend_vm() {
    if (const auto vm = any_vm(VmPowerState::running)) ask("VM.suspend", {of(vm)});
}

void Workload::resume_vm() {
    if (const auto vm = any_vm(VmPowerState::suspended))
        ask("VM.resume", {of(vm), Value(false), Value(false)});
}

void Workload::snapshot_vm() {
    const auto vm = any<Vm>([](const Vm& row) { return is_users(row) && !row.is_a_template; });
    const std::string name = fresh_name("snapshot");
    if (vm) ask("VM.snapshot", {of(vm), text(name), Value(Array{})}, name);
}

void Workload::clone_vm() {
    const std::string name = fresh_name("clone");
    if (const auto vm = any_vm(VmPowerState::halted)) ask("VM.clone", {of(vm), text(name)}, name);
}

void Workload::destroy_vm() {
    const auto vm = any<Vm>(
        [](const Vm& row) { return is_users(row) && row.power_state == VmPowerState::halted; });
    if (vm) ask("VM.destroy", {of(vm)}, {}, pool_.db().get(vm).name_label);
}

void Workload::create_disk() {
    const auto sr = any<xenapi::Sr>([](const xenapi::Sr& row) { return row.type == "file"; });
    const std::string name = fresh_name("disk");
    if (sr) ask("VDI.create", {pool_.vdi_record(sr, name)}, name);
}

void Workload::destroy_disk() {
    const auto disk = any<Vdi>([](const Vdi& row) { return row.type == xenapi::VdiType::user; });
    if (!disk) return;
    expect_no_more(pool_.db().get(disk).name_label);
    ask("VDI.destroy", {of(disk)});
}

void Workload::snapshot_disk() {
    const auto disk = any<Vdi>([](const Vdi& row) { return row.type == xenapi::VdiType::user; });
    if (disk) ask("VDI.snapshot", {of(disk), Value(Object{})});
}

void Workload::clone_disk() {
    const auto disk = any<Vdi>([](const Vdi& row) { return row.type == xenapi::VdiType::user; });
    if (disk) ask("VDI.clone", {of(disk), Value(Object{})});
}

void Workload::resize_disk() {
    const auto disk = any<Vdi>([](const Vdi& row) { return row.type == xenapi::VdiType::user; });
    if (disk)
        ask("VDI.resize",
            {of(disk), text(std::to_string(pool_.db().get(disk).virtual_size + (1 << 20)))});
}

void Workload::scan() {
    const auto sr = any<xenapi::Sr>([](const xenapi::Sr& row) { return row.type == "file"; });
    if (sr) ask("SR.scan", {of(sr)});
}

void Workload::create_network() {
    ask("network.create", {pool_.network_record(fresh_name("network"))});
}

void Workload::create_vlan() {
    const auto network = any<xenapi::Network>(
        [](const xenapi::Network& row) { return row.name_label.starts_with("network "); });
    const auto pif = any<xenapi::Pif>([](const xenapi::Pif& row) { return row.physical; });
    if (network && pif)
        ask("VLAN.create", {of(pif), text(std::to_string(1 + pick(4000))), of(network)});
}

void Workload::destroy_vlan() {
    if (const auto vlan = any<xenapi::Vlan>([](const xenapi::Vlan&) { return true; }))
        ask("VLAN.destroy", {of(vlan)});
}

void Workload::cancel_call() {
    if (asked_.empty()) return;
    const Asked& one = asked_[pick(asked_.size())];
    if (!one.pending->done) one.pending->job->cancel();
}

// -- faults -----------------------------------------------------------------------------------

void Workload::kill_hostd() {
    const auto host = static_cast<int>(pick(pool_.hosts.size()));
    pool_.cut(host);
    pool_.mend({}, Millis(pick(2000)));
}

void Workload::kill_xapi() {
    pool_.cut(SimPool::xapi_itself);
    if (pick(3) == 0) pool_.cut(static_cast<int>(pick(pool_.hosts.size())));
    pool_.mend(Millis(pick(2000)), Millis(pick(2000)));
}

void Workload::lose_power() {
    pool_.lose_power(pick(pool_.hosts.size()));
}

void Workload::break_wire() {
    pool_.wires[pick(pool_.wires.size())]->break_at(static_cast<std::int64_t>(pick(6)));
}

void Workload::crash_guest() {
    const auto vm = any_vm(VmPowerState::running);
    if (!vm) return;
    const std::string uuid = pool_.db().get(vm).uuid;
    for (const auto& host : pool_.hosts) {
        if (pick(2) == 0) {
            host->machine().crash(uuid);
        } else {
            host->machine().power_off(uuid);
        }
    }
}

void Workload::fail_backend() {
    constexpr const char* verbs[] = {"create", "set_running", "destroy", "save", "restore"};
    agent::sim::SimHost& host = *pool_.hosts[pick(pool_.hosts.size())];
    const ApiError error("INTERNAL_ERROR", {"a fault of the workload"});
    if (pick(2) == 0) {
        host.machine().fail(verbs[pick(std::size(verbs))], error);
    } else {
        host.network().fail_next(pick(2) == 0 ? "add_port" : "remove_port", error);
    }
}

void Workload::fill_disk() {
    if (pick(2) == 0) {
        pool_.store->faults().disk_full = true;
        pool_.pass(1s);
        pool_.store->faults().disk_full = false;
        return;
    }
    for (auto& [name, repository] : pool_.shared->disks->repositories)
        repository.image_bytes = repository.image_bytes == 0 ? std::int64_t{1} << 39 : 0;
}

}  // namespace basalt::testing
