#pragma once
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "base/qmp.hpp"
#include "base/real_loop.hpp"
#include "base/subprocess.hpp"
#include "hypervisor/contract/bench.hpp"

namespace basalt::hv::contract {

/// Where the guest's kernel is.
std::string guest_folder();
/// Why the guest cannot be had here; empty: it is there.
std::string make_guest();

/// What benches with real guests have in common: a folder, disks that a storage daemon serves, and
/// the guest's little language on its console (guest/init).
class GuestBench : public Bench {
  public:
    GuestBench();
    /// Whatever a failed test left running ends.
    ~GuestBench() override;
    GuestBench(const GuestBench&) = delete;
    GuestBench& operator=(const GuestBench&) = delete;

    Loop& loop() override { return loop_; }

    void run(std::function<Task<void>()> body) override;
    DomainConfig config() override;
    Task<DiskAttachment> disk(std::string device, std::int64_t position, agent::DiskKind kind,
                              std::string text) override;
    Task<void> grow(DiskAttachment disk, std::int64_t bytes) override;
    DomainConfig failing_config() override;
    Task<void> power_off(DomId dom) override;
    Task<void> reboot(DomId dom) override;
    Task<void> panic(DomId dom) override;
    Task<double> uptime(DomId dom) override;
    Task<std::vector<std::string>> disks(DomId dom) override;
    Task<std::vector<std::string>> nics(DomId dom) override;
    Task<std::string> cd(DomId dom) override;
    Task<std::string> find(DomId dom, std::string beginning) override;
    Task<std::string> cpus(DomId dom) override;
    Task<std::string> tpm(DomId dom) override;
    Task<void> keep_in_tpm(DomId dom, std::string four) override;
    Task<std::string> kept_in_tpm(DomId dom) override;

  protected:
    Task<void> start_storage();
    Task<void> serve(std::string node, std::string name, bool writable = true);
    /// A name that no node of the storage daemon has.
    std::string new_node();

    qmp::Client& storage() { return *storage_; }

    void end_processes();

    RealLoop loop_{2};
    std::string dir_;

  private:
    Task<void> run_and_stop(std::function<Task<void>()> body);
    Task<void> type(DomId dom, std::string line);
    // What the guest answers after `WORD:` up to the full stop.
    Task<std::string> ask(DomId dom, std::string word, std::string argument = {});
    Task<std::string> word(DomId dom, std::string command, std::string argument);

    int last_node_ = 0;
    int last_mark_ = 0;
    std::map<std::string, std::string> nodes_;
    std::unique_ptr<Process> daemon_;
    std::unique_ptr<qmp::Client> storage_;
};

}  // namespace basalt::hv::contract
