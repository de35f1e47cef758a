#pragma once
#include <memory>
#include <optional>
#include <string>

#include "base/sim_loop.hpp"
#include "host-agent/core/agent.hpp"
#include "host-agent/testing/machine.hpp"
#include "host-agent/testing/specs.hpp"

namespace basalt::agent::testing {

/// A machine, its durable store, and the agent that comes and goes on it.
class Rig final : public Events {
  public:
    explicit Rig(std::uint64_t seed);
    ~Rig() override;

    /// Starts an agent on the machine as it is.
    void boot();
    /// As SIGKILL: the agent is gone, what it did stays.
    void kill();

    struct Call {
        bool done = false;
        nlohmann::json result;
        std::string error;  // code, or "cancelled"
        std::shared_ptr<Job> job;
    };

    /// Asks for a verb; `args` as on the wire. Does not run the loop.
    std::shared_ptr<Call> ask(const std::string& verb, nlohmann::json args,
                              const std::string& operation);
    /// Asks and runs the loop until the answer: "" or an error code.
    std::string run(const std::string& verb, nlohmann::json args, const std::string& operation);
    std::string start(const std::string& vm = "web");
    std::string shutdown(const std::string& vm = "web", Method method = Method::hard);

    /// Turns the loop for a virtual time.
    void pass(Duration time) { loop.run_for(time); }

    /// Whether the VM has all that it needs, or nothing is left of it; else what is wrong.
    [[nodiscard]] std::string inconsistency() const;

    void on_domain(DomainInfo value) override { told.push_back(std::move(value)); }

    void on_guest(GuestFacts) override {}

    void on_memory(MemoryFacts) override {}

    void on_nics(std::vector<NicFacts>) override {}

    void on_state(StateRef value) override { states.push_back(std::move(value)); }

    void on_term(std::int64_t) override {}

    void on_usage(HostUsage) override {}

    std::vector<StateRef> states;  // told as changed, oldest first
    SimLoop loop;
    Machine machine;
    MachineHypervisor hypervisor;
    MachineStorage storage;
    MachineNetwork network;
    MachineServices services;
    MachineImages images;
    Records records;
    std::unique_ptr<Agent> agent;
    std::vector<DomainInfo> told;

  private:
    int operations_ = 0;
};

}  // namespace basalt::agent::testing
