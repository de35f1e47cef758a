#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iostream>

#include "hypervisor/contract/guest_bench.hpp"
#include "hypervisor/xen/xen_hypervisor.hpp"

namespace basalt::hv::contract {

namespace {

namespace fs = std::filesystem;

// Xen's own word, not ours.
bool succeeds(const std::string& command) {
    // NOLINTNEXTLINE(concurrency-mt-unsafe): a test
    return std::system((command + " >/dev/null 2>&1").c_str()) == 0;
}

/// Beside the hostd of the control domain that it runs in, which knows nothing of its guests.
class XenBench final : public GuestBench {
  public:
    XenBench() { restart(); }

    ~XenBench() override {
        for (const std::string& vm : made_)
            succeeds("xl destroy " + vm);
        hypervisor_.reset();
    }

    XenBench(const XenBench&) = delete;
    XenBench& operator=(const XenBench&) = delete;

    Hypervisor& hv() override { return *hypervisor_; }

    [[nodiscard]] Ways ways() const override {
        return {.restarts_in_place = false,
                .emulates_for_kernels = false,
                .makes_seed_drives = false,
                // Debian has none for guests of Xen (docs/TRAPS.md, 67), a medium may.
                .has_uefi = fs::exists(xen::Options{}.uefi),
                .keeps_states = false,
                // Linux 6.12 as a PVH guest registers them and cannot start them (docs/TRAPS.md,
                // 77).
                .starts_added_cpus = false};
    }

    LiveChanges& live() override { return *hypervisor_; }

    StateKeeper& keeper() override { std::abort(); }

    void restart() override {
        hypervisor_.reset();
        hypervisor_ =
            std::make_unique<xen::XenHypervisor>(loop_, xen::Options{.run_dir = dir_ + "/run"});
    }

    DomainConfig config() override {
        DomainConfig config = GuestBench::config();
        config.spec.boot.args = "console=hvc0 quiet mitigations=off";
        made_.push_back(config.spec.uuid);
        return config;
    }

    Task<std::optional<DiskAttachment>> unsigned_disk() override { co_return std::nullopt; }

    std::optional<NicAttachment> nic(std::int64_t device) override {
        // The interface comes with it.
        NicAttachment nic;
        nic.spec.vif = loop_.new_uuid().text();
        nic.spec.device = device;
        nic.spec.mac = "02:00:00:00:00:0" + std::to_string(device);
        nic.spec.mtu = 1500;
        nic.tap = "contract" + std::to_string(device);
        return nic;
    }

    void kill(DomId dom) override { succeeds("xl destroy " + std::to_string(dom)); }

    std::vector<std::string> traces(std::string uuid) override {
        std::vector<std::string> out;
        if (succeeds("xl domid " + uuid)) out.emplace_back("its domain");
        if (fs::exists(dir_ + "/run/" + uuid + ".json")) out.emplace_back("its descriptor");
        if (succeeds("grep -qs " + uuid + " /sys/block/nbd*/backend")) out.emplace_back("a disk");
        return out;
    }

  private:
    std::vector<std::string> made_;
    std::unique_ptr<xen::XenHypervisor> hypervisor_;
};

bool is_control_domain() {
    std::string word;
    std::ifstream("/proc/xen/capabilities") >> word;
    return word == "control_d";
}

}  // namespace

std::unique_ptr<Bench> make_xen_bench() {
    if (!is_control_domain()) {
        std::cout << "skipped: not in a control domain of Xen\n";
        return nullptr;
    }
    if (const std::string why = make_guest(); !why.empty()) {
        std::cout << "skipped: " << why << '\n';
        return nullptr;
    }
    return std::make_unique<XenBench>();
}

}  // namespace basalt::hv::contract
