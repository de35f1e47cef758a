#pragma once
#include <functional>
#include <list>
#include <memory>
#include <optional>
#include <string>

#include "host-agent/core/calls.hpp"

namespace basalt::agent {

/// A hostd without its socket and its clock: takes requests, runs plans over the backends it is
/// given, tells what happens by itself. Loop only. `stop` before it goes.
class Agent final : public hv::Events {
  public:
    /// `records` and the backends must outlive it; both survive it as the machine survives hostd.
    Agent(Loop& loop, Records& records, Backends backends);
    ~Agent() override;

    /// Applies the network, adopts what runs, finishes or undoes what was under way, takes away
    /// what belongs to nobody. Requests are taken after that.
    Task<void> start();
    /// Answers one request. Refuses a lower term than it has seen.
    Task<rpc::Reply> handle(rpc::Request request);
    /// Ends at once, as a kill would: nothing is undone; the journal says what to do at the next
    /// start. Returns when no coroutine of it is left. Guests live on.
    Task<void> stop();

    /// Who is told of events. Null: nobody.
    void set_listener(agent::Events* listener) { listener_ = listener; }

    /// Whether any xapi is connected just now.
    void note_connected(bool connected) { ssh_.note_connected(connected); }

    [[nodiscard]] Runner& runner() { return runner_; }

    [[nodiscard]] Guests& guests() { return guests_; }

    [[nodiscard]] Journal& journal() { return journal_; }

    // What the hypervisor tells.
    void ended(hv::DomId dom, std::string vm_uuid, HaltReason reason) override;
    void rebooted(hv::DomId dom, std::string vm_uuid) override;
    void preserved(hv::DomId dom, std::string vm_uuid, HaltReason reason) override;
    void guest_changed(GuestFacts facts) override;
    void memory_moved(std::string vm_uuid, std::int64_t actual_bytes) override;
    void state_changed(StateRef state) override;

  private:
    Task<nlohmann::json> run_effect(rpc::Request request);
    Task<void> take_term(std::int64_t term);
    Task<std::vector<OperationEnd>> resolve(std::int64_t term);
    Task<void> settle_early_ends();
    Task<void> reconcile();
    Task<void> reconcile_ports();
    Task<void> settle_end(hv::DomId dom, std::string vm, HaltReason reason);
    Task<void> release(std::string vm);
    Task<void> retry_forever();
    Task<void> watch_nics();
    Task<void> watch_ssh();
    Task<void> measure_forever();
    Task<bool> pause_for(Duration time);
    [[nodiscard]] OnHalt policy(const VmSpec& spec, HaltReason reason) const;
    void tell_left_over(const std::string& vm);
    void tell_halted(const std::string& vm, hv::DomId dom, VmSpec spec, HaltReason reason);
    void keep(std::shared_ptr<Job> job);

    Loop& loop_;
    Records& records_;
    Backends backends_;
    NetworkKeeper network_;
    SshKeeper ssh_;
    Calls calls_;
    Guests guests_;
    Metering metering_;
    Journal journal_;
    Runner runner_;
    agent::Events* listener_ = nullptr;
    std::list<std::shared_ptr<Job>> jobs_;

    struct End {
        hv::DomId dom;
        std::string vm;
        HaltReason reason;
    };

    std::vector<End> early_ends_;  // told while starting
    std::vector<NicFacts> nics_;
    Signal stopping_signal_;
    std::int64_t term_ = 0;
    bool started_ = false;
    bool stopping_ = false;
};

}  // namespace basalt::agent
