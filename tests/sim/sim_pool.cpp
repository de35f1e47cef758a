#include "tests/sim/sim_pool.hpp"

#include <gtest/gtest.h>

#include <fstream>
#include <set>
#include <stdexcept>

#include "idl/errors.hpp"
#include "idl/records.hpp"
#include "xapi/core/hosts.hpp"

namespace basalt::testing {

namespace {

using wire::Value;
constexpr Duration patience = std::chrono::hours(2);  // of virtual time

Task<std::unique_ptr<rpc::Channel>> connect(agent::sim::SimHost& host) {
    co_return host.connect();
}

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
    pending->done = true;
}

Value text(std::string words) {
    return Value(std::move(words));
}

}  // namespace

SimPool::SimPool(std::uint64_t seed, int count) : loop(seed) {
    for (int i = 0; i < count; ++i) {
        agent::sim::Options options{.facts = agent::sim::facts_of(loop, i)};
        options.facts.local_sr_path = "/sr/local" + std::to_string(i);
        hosts.push_back(std::make_unique<agent::sim::SimHost>(loop, std::move(options), shared));
        const auto started = spawn(loop, "start host", hosts.back()->start());
        until([&] { return started->finished(); });
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

void SimPool::stop_xapi() {
    expect_declared_errors(xapi->core().undeclared);
    const auto stopped = spawn(loop, "stop xapi", xapi->stop());
    loop.run_until([&] { return stopped->finished(); }, patience);
    xapi.reset();
    store.reset();
}

SimPool::~SimPool() {
    stop_xapi();
    for (const auto& host : hosts) {
        const auto stopped = spawn(loop, "stop host", host->kill());
        loop.run_until([&] { return stopped->finished(); }, patience);
    }
}

void SimPool::boot_xapi() {
    store = std::make_unique<db::SimStore>(loop, disk);
    xapi = std::make_unique<Coordinator>(loop, *store);
    // One after the other, so that the first is the coordinator's own.
    for (const auto& host : hosts) {
        agent::sim::SimHost* machine = host.get();
        xapi->keep_host(machine->facts().hostname, [machine] { return connect(*machine); });
        const auto index = static_cast<std::size_t>(&host - hosts.data());
        until([&] { return is_ready(index); });
    }
}

bool SimPool::is_ready(std::size_t host) {
    const auto row = db().by_uuid<xenapi::Host>(hosts.at(host)->facts().uuid);
    return row && db().get(*row).enabled && xapi->core().hosts->connected(*row);
}

void SimPool::until(const std::function<bool()>& done) {
    if (!loop.run_until(done, patience))
        throw std::runtime_error("the simulation came to rest before its condition held");
}

std::shared_ptr<SimPool::Pending> SimPool::start(const std::string& method,
                                                 std::vector<Value> args) {
    const xenapi::MessageInfo* message = xenapi::find_message(method);
    if (message == nullptr || message->thunk < 0)
        throw std::runtime_error("no thunk for " + method);
    auto pending = std::make_shared<Pending>();
    pending->job = spawn(loop, method, run_call(*xapi, *message, std::move(args), pending));
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

void SimPool::crash_xapi() {
    store->crash();
    stop_xapi();
    boot_xapi();
}

xenapi::Ref<xenapi::Vm> SimPool::make_vm(const std::string& name) {
    xenapi::Ref<xenapi::Vm> made;
    xenapi::Vm vm;
    vm.name_label = name;
    vm.memory_static_min = vm.memory_dynamic_min = vm.memory_dynamic_max = vm.memory_static_max =
        64 << 20;
    vm.VCPUs_max = vm.VCPUs_at_startup = 1;
    vm.HVM_boot_policy = "BIOS order";
    vm.domain_type = xenapi::DomainType::hvm;
    vm.other_config = {{"mac_seed", loop.new_uuid().text()}};
    vm.domid = -1;
    db().transact([&](db::Txn& txn) {
        vm.metrics = txn.insert(xenapi::VmMetrics{});
        made = txn.insert(vm);
    });
    const auto sr = db().get(xapi->core().pool).default_SR;
    const auto disk_ref = get<xenapi::Ref<xenapi::Vdi>>(
        "VDI.create", {Value(wire::Object{{"name_label", text(name + " disk")},
                                          {"SR", text(sr.text())},
                                          {"virtual_size", text("1073741824")},
                                          {"type", text("user")},
                                          {"sharable", Value(false)},
                                          {"read_only", Value(false)},
                                          {"other_config", Value(wire::Object{})}})});
    call("VBD.create", {Value(wire::Object{{"VM", text(made.text())},
                                           {"VDI", text(disk_ref.text())},
                                           {"userdevice", text("0")},
                                           {"bootable", Value(true)},
                                           {"mode", text("RW")},
                                           {"type", text("Disk")},
                                           {"empty", Value(false)},
                                           {"other_config", Value(wire::Object{})},
                                           {"qos_algorithm_type", text("")},
                                           {"qos_algorithm_params", Value(wire::Object{})}})});
    std::string network;
    db().each<xenapi::Pif>(
        [&](xenapi::Ref<xenapi::Pif>, const xenapi::Pif& pif) { network = pif.network.text(); });
    call("VIF.create", {Value(wire::Object{{"VM", text(made.text())},
                                           {"network", text(network)},
                                           {"device", text("0")},
                                           {"MAC", text("")},
                                           {"MTU", text("1500")},
                                           {"other_config", Value(wire::Object{})},
                                           {"qos_algorithm_type", text("")},
                                           {"qos_algorithm_params", Value(wire::Object{})}})});
    return made;
}

}  // namespace basalt::testing
