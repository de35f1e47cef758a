#include "host-agent/testing/rig.hpp"

#include "base/log.hpp"

namespace basalt::agent::testing {

using Json = nlohmann::json;

Rig::Rig(std::uint64_t seed)
    : loop(seed),
      machine(loop),
      hypervisor(machine),
      storage(machine),
      network(machine),
      images(machine),
      records(loop, ":memory:") {
    log::set_level(log::Level::off);
    boot();
}

Rig::~Rig() {
    if (agent) kill();
}

void Rig::boot() {
    agent = std::make_unique<Agent>(loop, records,
                                    Backends{hypervisor, storage, network, services, images});
    agent->set_listener(this);
    const auto job = spawn(loop, "start", agent->start());
    loop.run_until([&] { return job->finished(); }, 1h);
    if (!job->finished() || job->failure()) machine.broken.emplace_back("the agent did not start");
}

void Rig::kill() {
    machine.events = nullptr;
    const auto job = spawn(loop, "stop", agent->stop());
    loop.run_until([&] { return job->finished(); }, 1h);
    agent.reset();
}

namespace {

Task<void> carry_out(Agent& agent, rpc::Request request, std::shared_ptr<Rig::Call> call) {
    try {
        rpc::Reply reply = co_await agent.handle(std::move(request));
        call->result = std::move(reply.result);
    } catch (...) {
        call->error = error_words(std::current_exception()).front();
    }
    call->done = true;
}

}  // namespace

std::shared_ptr<Rig::Call> Rig::ask(const std::string& verb, Json args,
                                    const std::string& operation) {
    const auto call = std::make_shared<Call>();
    args["operation"] = operation;
    args["term"] = args.value("term", 1);
    rpc::Request request{verb, std::move(args), {}, {}};
    call->job = spawn(loop, verb, carry_out(*agent, std::move(request), call));
    return call;
}

std::string Rig::run(const std::string& verb, Json args, const std::string& operation) {
    const auto call = ask(verb, std::move(args), operation);
    loop.run_until([&] { return call->done; }, 1h);
    return call->done ? call->error : "no answer";
}

std::string Rig::start(const std::string& vm) {
    return run("vm_start", {{"spec", web(vm)}, {"paused", false}},
               "start-" + std::to_string(++operations_));
}

std::string Rig::shutdown(const std::string& vm, Method method) {
    return run("vm_shutdown", {{"uuid", vm}, {"method", method}, {"timeout_seconds", 30}},
               "shutdown-" + std::to_string(++operations_));
}

std::string Rig::inconsistency() const {
    if (!machine.broken.empty()) return machine.broken.front();
    std::map<std::string, int> domains;
    for (const auto& [dom, config] : machine.domains)
        if (++domains[config.spec.uuid] > 1) return "two domains of " + config.spec.uuid;
    const auto remembered = agent->guests().remembered();
    if (domains.size() != remembered.size()) return "remembered and running differ";
    std::size_t disks = 0;
    std::size_t ports = 0;
    for (const auto& [vm, spec] : remembered) {
        if (!domains.contains(vm)) return vm + " is remembered and does not run";
        for (const DiskSpec& disk : spec.disks) {
            if (!disk.disk) continue;
            ++disks;
            if (!machine.open.contains({vm, disk.device})) return disk.device + " is not open";
        }
        for (const NicSpec& nic : spec.nics) {
            ++ports;
            if (!machine.ports.contains(tap_name(nic))) return tap_name(nic) + " is missing";
        }
    }
    if (disks != machine.open.size()) return "a disk is left open";
    if (ports != machine.ports.size()) return "a port is left";
    if (!agent->journal().leftovers().empty()) return "a leftover stays";
    if (!agent->journal().under_way().empty()) return "an operation never ends";
    return "";
}

}  // namespace basalt::agent::testing
