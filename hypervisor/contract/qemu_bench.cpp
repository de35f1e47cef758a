#include <unistd.h>

#include <csignal>
#include <cstdlib>
#include <filesystem>
#include <iostream>

#include "base/error.hpp"
#include "base/json.hpp"
#include "hypervisor/contract/guest_bench.hpp"
#include "hypervisor/qemu/descriptor.hpp"
#include "hypervisor/qemu/qemu_hypervisor.hpp"

namespace basalt::hv::contract {

namespace {

namespace fs = std::filesystem;

class QemuBench final : public GuestBench {
  public:
    QemuBench()
        : confinement_(std::make_shared<Confinement>(
              loop_, Confinement::Config{.launcher = CONFINE,
                                         .cgroup = "basalt-test-" + std::to_string(::getpid()),
                                         .slots = {66000, 100, dir_ + "/slots"}})) {
        restart();
    }

    ~QemuBench() override {
        end_processes();
        hypervisor_.reset();
        confinement_->groups.remove("");
    }

    QemuBench(const QemuBench&) = delete;
    QemuBench& operator=(const QemuBench&) = delete;

    Hypervisor& hv() override { return *hypervisor_; }

    LiveChanges& live() override { return *hypervisor_; }

    StateKeeper& keeper() override { return *hypervisor_; }

    void restart() override {
        hypervisor_.reset();
        hypervisor_ = std::make_unique<qemu::QemuHypervisor>(
            loop_, qemu::Options{.run_dir = dir_ + "/run",
                                 .nvram_dir = dir_ + "/nvram",
                                 .confinement = confinement_});
    }

    DomainConfig config() override {
        DomainConfig config = GuestBench::config();
        config.spec.boot.args = "console=ttyS0 quiet no_timer_check mitigations=off";
        return config;
    }

    Task<std::optional<DiskAttachment>> unsigned_disk() override {
        co_await start_storage();
        // No key of a firmware's has signed this kernel: elsewhere a loader of Debian's vouches.
        const fs::path folder = dir_ + "/unsigned";
        fs::create_directories(folder / "EFI/BOOT");
        fs::copy_file(guest_folder() + "/vmlinuz", folder / "EFI/BOOT/BOOTX64.EFI");
        const std::string node = new_node();
        co_await storage().execute("blockdev-add", {{"driver", "vvfat"},
                                                    {"node-name", node},
                                                    {"dir", folder.string()},
                                                    {"read-only", true}});
        co_await serve(node, "unsigned", false);
        DiskAttachment disk;
        disk.spec.vbd = loop_.new_uuid().text();
        disk.spec.device = "xvda";
        disk.spec.access = agent::Access::ro;
        disk.nbd_socket = dir_ + "/nbd";
        disk.nbd_export = "unsigned";
        co_return disk;
    }

    std::optional<NicAttachment> nic(std::int64_t device) override {
        // The namespace is this process's own (see main), so names are free.
        NicAttachment nic;
        nic.spec.vif = loop_.new_uuid().text();
        nic.spec.device = device;
        nic.spec.mac = "02:00:00:00:00:0" + std::to_string(device);
        nic.tap = "tap" + std::to_string(device);
        const std::string command = "ip tuntap add dev " + nic.tap +
                                    " mode tap 2>/dev/null; ip link set " + nic.tap + " up";
        if (std::getenv("BASALT_OWN_NETNS") == nullptr) return std::nullopt;
        // NOLINTNEXTLINE(concurrency-mt-unsafe): a test
        if (std::system(command.c_str()) != 0) return std::nullopt;
        return nic;
    }

    void kill(DomId dom) override {
        for (const agent::DomainInfo& info : hv().domains())
            if (info.domid == dom)
                for (const pid_t pid : qemu::processes_mentioning(dir_ + "/run/vm/" + info.uuid))
                    ::kill(pid, SIGKILL);
    }

    std::vector<std::string> traces(std::string uuid) override {
        std::vector<std::string> out;
        for (const pid_t pid : qemu::processes_mentioning(uuid))
            out.push_back("process " + std::to_string(pid));
        if (fs::exists(dir_ + "/run/vm/" + uuid)) out.emplace_back("its folder");
        return out;
    }

  private:
    std::shared_ptr<Confinement> confinement_;
    std::unique_ptr<qemu::QemuHypervisor> hypervisor_;
};

}  // namespace

std::unique_ptr<Bench> make_qemu_bench() {
    static const std::string why = make_guest();
    if (!why.empty()) {
        std::cout << "skipped: " << why << '\n';
        return nullptr;
    }
    return std::make_unique<QemuBench>();
}

}  // namespace basalt::hv::contract
