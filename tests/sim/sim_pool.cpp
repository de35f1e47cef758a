#include "tests/sim/sim_pool.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstdlib>
#include <fstream>
#include <map>
#include <stdexcept>

#include "base/log.hpp"
#include "idl/errors.hpp"
#include "idl/records.hpp"
#include "xapi/core/call.hpp"
#include "xapi/core/hosts.hpp"
#include "xapi/core/tasks.hpp"

namespace basalt::testing {

namespace {

using wire::Value;
using xenapi::Ref;
using xenapi::Vm;
constexpr Duration patience = std::chrono::hours(2);  // of virtual time

Task<std::unique_ptr<rpc::Channel>> connect(agent::sim::SimHost& host, Wire& wire) {
    co_return wire.wrap(host.connect());
}

// What the dispatcher does with a call, without its codecs.
Task<void> run_call(Coordinator& xapi, const xenapi::MessageInfo& message, std::vector<Value> args,
                    std::shared_ptr<SimPool::Pending> pending) {
    Call call(xapi.core(), message, {.root = true, .trusted = true, .roles = 0x7f, .user = "root"});
    try {
        pending->reply = co_await xenapi::thunks()[static_cast<std::size_t>(message.thunk)](
            xapi.apis(), call, args);
    } catch (...) {
        pending->failure = std::current_exception();
    }
    if (pending->failure && !is_cancellation(pending->failure))
        xapi.core().undeclared.note(message, as_api_error(pending->failure).code());
    xapi.tasks().end_synchronous(call);
    if (!pending->failure) {
        try {
            xapi.core().reach(message.wire_name, "landed");
            co_await xapi.db().durable(xapi.db().published());
            xapi.core().reach(message.wire_name, "durable");
            pending->acknowledged = !xapi.core().stopping;
        } catch (...) {
            pending->failure = std::current_exception();
        }
    }
    pending->done = true;
}

Value text(std::string words) {
    return Value(std::move(words));
}

}  // namespace

SimPool::SimPool(std::uint64_t seed, int count,
                 const std::function<void(agent::HostFacts&)>& change)
    : loop(seed) {
    log::set_level(std::getenv("BASALT_SIM_LOG") == nullptr ? log::Level::off : log::Level::info);
    for (int i = 0; i < count; ++i) {
        agent::sim::Options options{.facts = agent::sim::facts_of(loop, i)};
        options.facts.local_sr = {"file", "/sr/local" + std::to_string(i), ""};
        if (change) change(options.facts);
        hosts.push_back(std::make_unique<agent::sim::SimHost>(loop, std::move(options), shared));
        wires.push_back(std::make_unique<Wire>(loop));
        hosts.back()->set_probe([this, i](const std::string& verb, const std::string& step,
                                          agent::Runner::Moment moment) {
            if (on_moment) on_moment(i, verb + "/" + step + "/" + std::string(agent::text(moment)));
        });
        run("start host", hosts.back()->start());
    }
    boot_xapi();
}

namespace {

std::set<std::string> tolerated_errors() {
    std::set<std::string> lines;
    std::ifstream in("tests/golden/undeclared.txt");
    for (std::string line; std::getline(in, line);)
        if (!line.empty() && line.front() != '#') lines.insert(line);
    return lines;
}

void expect_declared_errors(const core::UndeclaredErrors& errors) {
    const std::set<std::string> tolerated = tolerated_errors();
    for (const auto& [pair, count] : errors.seen())
        EXPECT_TRUE(tolerated.contains(pair.first + " " + pair.second))
            << pair.first << " answered " << pair.second
            << ", which it does not declare: idl/raises.toml";
}

}  // namespace

SimPool::~SimPool() {
    on_moment = nullptr;
    stop_old();
    stop_xapi();
    for (const auto& host : hosts)
        run("stop host", host->kill());
}

void SimPool::run(const std::string& name, Task<void> body) {
    const auto job = spawn(loop, name, std::move(body));
    until([&] { return job->finished(); });
}

// Calls end before what they refer to does.
void SimPool::end(Coordinator& coordinator, std::vector<std::shared_ptr<Pending>>& pending) {
    coordinator.cut();
    for (const auto& one : pending)
        if (!one->done) one->job->cancel();
    until([&] {
        return std::ranges::all_of(pending, [](const auto& one) { return one->job->finished(); });
    });
    pending.clear();
    if (errors_must_be_declared) expect_declared_errors(coordinator.core().undeclared);
    run("stop xapi", coordinator.stop());
}

void SimPool::stop_xapi() {
    if (!xapi) return;
    end(*xapi, pending_);
    xapi.reset();
    store.reset();
}

void SimPool::stop_old() {
    if (!old_) return;
    thaw_old();
    old_->store->crash();
    end(*old_->xapi, old_->pending);
    old_->xapi.reset();
    old_.reset();
}

void SimPool::boot_xapi() {
    store = std::make_unique<db::SimStore>(loop, *disk);
    xapi = std::make_unique<Coordinator>(loop, *store);
    xapi->core().probe = [this](std::string_view what, std::string_view moment) {
        if (on_moment) on_moment(xapi_itself, std::string(what) + "/" + std::string(moment));
    };
    // One after the other, so that the first is the coordinator's own.
    for (const auto& host : hosts) {
        agent::sim::SimHost* machine = host.get();
        const auto index = static_cast<std::size_t>(&host - hosts.data());
        Wire* wire = wires[index].get();
        xapi->keep_host(machine->facts().hostname,
                        [machine, wire] { return connect(*machine, *wire); });
        if (index == 0)
            until([&] { return is_ready(index) || xapi_cut_ || hosts_cut_.contains(index); });
    }
    until([&] {
        if (xapi_cut_) return true;
        for (std::size_t i = 0; i < hosts.size(); ++i)
            if (!hosts_cut_.contains(i) && !is_ready(i)) return false;
        return true;
    });
}

bool SimPool::is_ready(std::size_t host) {
    const auto row = db().by_uuid<xenapi::Host>(hosts.at(host)->facts().uuid);
    return row && db().get(*row).enabled && xapi->core().hosts->connected(*row);
}

void SimPool::until(const std::function<bool()>& done) {
    const auto watched = [&] {
        watch();
        return done();
    };
    if (!loop.run_until(watched, patience))
        throw std::runtime_error("the simulation came to rest before its condition held");
}

void SimPool::pass(Duration time) {
    run("pass", sleep_for(loop, time));
}

void SimPool::watch() {
    std::size_t count = 0;
    for (const auto& host : hosts)
        count += host->machine().domain_count();
    // Only a new domain can be the second of its VM.
    const bool grown = count > domains_seen_;
    domains_seen_ = count;
    if (!grown) return;
    std::map<std::string, std::string> vms;
    for (const auto& host : hosts) {
        const std::string name = host->facts().hostname;
        for (const std::string& vm : host->machine().domain_vms())
            if (const auto [at, first] = vms.emplace(vm, name); !first)
                seen_broken_.insert("two domains of VM " + vm + ": " + at->second + ", " + name);
    }
}

std::shared_ptr<SimPool::Pending> SimPool::start(const std::string& method,
                                                 std::vector<Value> args) {
    const xenapi::MessageInfo* message = xenapi::find_message(method);
    if (message == nullptr || message->thunk < 0)
        throw std::runtime_error("no thunk for " + method);
    std::erase_if(pending_, [](const auto& old) { return old->job->finished(); });
    auto pending = std::make_shared<Pending>();
    pending->job = spawn(loop, method, run_call(*xapi, *message, std::move(args), pending));
    pending_.push_back(pending);
    return pending;
}

void SimPool::wait(const std::shared_ptr<Pending>& pending) {
    until([&] { return pending->done; });
    if (pending->failure) std::rethrow_exception(pending->failure);
}

xenapi::Reply SimPool::call(const std::string& method, std::vector<Value> args) {
    const auto pending = start(method, std::move(args));
    wait(pending);
    return pending->reply;
}

void SimPool::cut(int who) {
    if (who == xapi_itself) {
        if (xapi_cut_) return;
        xapi_cut_ = true;
        store->crash();
        xapi->cut();
        return;
    }
    const auto index = static_cast<std::size_t>(who);
    if (hosts_cut_.insert(index).second) hosts[index]->cut();
}

void SimPool::mend(Duration xapi_pause, Duration host_pause) {
    while (is_cut()) {
        const bool xapi_too = xapi_cut_;
        const std::set<std::size_t> down = std::exchange(hosts_cut_, {});
        if (xapi_too) stop_xapi();
        for (const std::size_t index : down)
            run("end hostd", hosts[index]->kill());
        pass(std::min(host_pause, xapi_pause));
        xapi_cut_ = false;
        const auto start_hosts = [&] {
            for (const std::size_t index : down)
                run("start hostd", hosts[index]->start());
        };
        // The first host is the coordinator's own: xapi waits for it whatever comes first.
        if (!down.empty()) {
            pass(host_pause);
            start_hosts();
        }
        if (xapi_too) {
            pass(xapi_pause);
            boot_xapi();
        }
        until([&] {
            if (is_cut()) return true;
            for (std::size_t i = 0; i < hosts.size(); ++i)
                if (!is_ready(i)) return false;
            return true;
        });
    }
}

void SimPool::crash_xapi() {
    cut(xapi_itself);
    mend();
}

void SimPool::take_over() {
    run("durable", xapi->db().durable(xapi->db().published()));
    old_ = std::make_unique<Incarnation>();
    for (const auto& wire : wires)
        wire->freeze();
    old_->wires = std::move(wires);
    old_->store = std::move(store);
    old_->xapi = std::move(xapi);
    old_->pending = std::move(pending_);
    old_->xapi->core().probe = nullptr;
    old_->xapi->on_superseded([this] { old_->superseded = true; });
    // What is durable at this moment is what the new one knows.
    old_->disk = std::move(disk);
    disk = std::make_unique<db::SimDisk>(*old_->disk);
    disk->opened = false;
    disk->copied = true;
    wires.clear();
    for (std::size_t i = 0; i < hosts.size(); ++i)
        wires.push_back(std::make_unique<Wire>(loop));
    boot_xapi();
}

void SimPool::thaw_old() {
    if (!old_) return;
    for (const auto& wire : old_->wires)
        wire->thaw();
}

void SimPool::lose_power(std::size_t host) {
    run("lose power", hosts.at(host)->lose_power());
    run("boot", hosts.at(host)->start());
    until([&] { return is_ready(host); });
}

Ref<Vm> SimPool::insert_vm(const std::string& name) {
    xenapi::Vm vm;
    vm.name_label = name;
    vm.memory_static_min = vm.memory_dynamic_min = vm.memory_dynamic_max = vm.memory_static_max =
        64 << 20;
    vm.VCPUs_max = vm.VCPUs_at_startup = 1;
    vm.HVM_boot_policy = "BIOS order";
    vm.domain_type = xenapi::DomainType::hvm;
    vm.other_config = {{"mac_seed", loop.new_uuid().text()}};
    vm.domid = -1;
    try {
        return db().transact([&](db::Txn& txn) {
            vm.metrics = txn.insert(xenapi::VmMetrics{});
            return txn.insert(vm);
        });
    } catch (const ApiError&) {
        return {};
    }
}

Value SimPool::vdi_record(Ref<xenapi::Sr> sr, const std::string& name) {
    return Value(wire::Object{{"name_label", text(name)},
                              {"SR", text(sr.text())},
                              {"virtual_size", text("1073741824")},
                              {"type", text("user")},
                              {"sharable", Value(false)},
                              {"read_only", Value(false)},
                              {"other_config", Value(wire::Object{})}});
}

Value SimPool::vbd_record(Ref<Vm> vm, Ref<xenapi::Vdi> disk) {
    return Value(wire::Object{{"VM", text(vm.text())},
                              {"VDI", text(disk.text())},
                              {"userdevice", text("0")},
                              {"bootable", Value(true)},
                              {"mode", text("RW")},
                              {"type", text("Disk")},
                              {"empty", Value(false)},
                              {"other_config", Value(wire::Object{})},
                              {"qos_algorithm_type", text("")},
                              {"qos_algorithm_params", Value(wire::Object{})}});
}

Value SimPool::vif_record(Ref<Vm> vm, Ref<xenapi::Network> network) {
    return Value(wire::Object{{"VM", text(vm.text())},
                              {"network", text(network.text())},
                              {"device", text("0")},
                              {"MAC", text("")},
                              {"MTU", text("1500")},
                              {"other_config", Value(wire::Object{})},
                              {"qos_algorithm_type", text("")},
                              {"qos_algorithm_params", Value(wire::Object{})}});
}

Value SimPool::network_record(const std::string& name) {
    return Value(wire::Object{{"name_label", text(name)},
                              {"MTU", text("1500")},
                              {"other_config", Value(wire::Object{})},
                              {"bridge", text("")},
                              {"managed", Value(true)}});
}

Ref<Vm> SimPool::make_vm(const std::string& name) {
    const Ref<Vm> made = insert_vm(name);
    const auto sr = db().get(xapi->core().pool).default_SR;
    const auto disk_ref = get<Ref<xenapi::Vdi>>("VDI.create", {vdi_record(sr, name + " disk")});
    call("VBD.create", {vbd_record(made, disk_ref)});
    Ref<xenapi::Network> network;
    db().each<xenapi::Pif>(
        [&](Ref<xenapi::Pif>, const xenapi::Pif& pif) { network = pif.network; });
    call("VIF.create", {vif_record(made, network)});
    return made;
}

}  // namespace basalt::testing
