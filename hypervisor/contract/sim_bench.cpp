#include "base/sim_loop.hpp"
#include "hypervisor/contract/bench.hpp"
#include "hypervisor/sim/sim_hypervisor.hpp"

namespace basalt::hv::contract {

namespace {

class SimBench final : public Bench {
  public:
    SimBench() : hypervisor_(std::make_unique<SimHypervisor>(host_)) {}

    Loop& loop() override { return loop_; }

    void run(std::function<Task<void>()> body) override {
        const auto job = spawn(loop_, "test", body());
        if (!loop_.run_until([&job] { return job->finished(); }, 3600s))
            throw ApiError("INTERNAL_ERROR", {"the test waits for ever"});
        if (job->failure()) std::rethrow_exception(job->failure());
    }

    Hypervisor& hv() override { return *hypervisor_; }

    LiveChanges& live() override { return *hypervisor_; }

    StateKeeper& keeper() override { return *hypervisor_; }

    void restart() override {
        hypervisor_.reset();
        hypervisor_ = std::make_unique<SimHypervisor>(host_);
    }

    DomainConfig config() override {
        DomainConfig config;
        config.spec.uuid = loop_.new_uuid().text();
        config.spec.memory_bytes = std::int64_t{128} << 20;
        config.spec.vcpus = config.spec.vcpus_max = 1;
        config.spec.on_shutdown = agent::OnHalt::destroy;
        config.spec.on_reboot = agent::OnHalt::restart;
        config.spec.on_crash = agent::OnHalt::destroy;
        return config;
    }

    Task<DiskAttachment> disk(std::string device, std::int64_t position, agent::DiskKind kind,
                              std::string text) override {
        DiskAttachment disk;
        disk.spec = {
            .vbd = loop_.new_uuid().text(), .device = device, .position = position, .kind = kind};
        disk.nbd_socket = "/sim/" + text;
        disk.nbd_export = text;
        co_return disk;
    }

    Task<std::optional<DiskAttachment>> unsigned_disk() override { co_return std::nullopt; }

    Task<void> grow(DiskAttachment, std::int64_t) override { co_return; }

    std::optional<NicAttachment> nic(std::int64_t device) override {
        NicAttachment nic;
        nic.spec.vif = loop_.new_uuid().text();
        nic.spec.device = device;
        nic.spec.mac = "02:00:00:00:00:0" + std::to_string(device);
        nic.tap = "sim" + std::to_string(device);
        return nic;
    }

    DomainConfig failing_config() override {
        host_.fail("create", ApiError("INTERNAL_ERROR", {"no such disk"}));
        return config();
    }

    Task<void> power_off(DomId dom) override {
        host_.power_off(uuid(dom));
        co_return;
    }

    Task<void> reboot(DomId dom) override {
        host_.reboot(uuid(dom));
        co_return;
    }

    Task<void> panic(DomId dom) override {
        host_.crash(uuid(dom));
        co_return;
    }

    Task<std::string> tpm(DomId dom) override {
        const auto config = host_.config(uuid(dom));
        co_return config && config->spec.tpm ? "2" : "";
    }

    Task<void> keep_in_tpm(DomId dom, std::string four) override {
        host_.write_state(uuid(dom), agent::StateKind::tpm, "kept " + four);
        co_return;
    }

    Task<std::string> kept_in_tpm(DomId dom) override {
        const std::string bytes = host_.kept(uuid(dom), agent::StateKind::tpm);
        co_return bytes.starts_with("kept ") ? bytes.substr(5, 4) : "";
    }

    Task<double> uptime(DomId dom) override {
        co_await sleep_for(loop_, 1s);  // as long as a real guest takes to tell
        co_return std::chrono::duration<double>(host_.uptime(uuid(dom))).count();
    }

    Task<std::vector<std::string>> disks(DomId dom) override {
        std::vector<std::string> out;
        const auto config = host_.config(uuid(dom));
        for (const DiskAttachment& disk : config->disks) {
            if (disk.spec.kind == agent::DiskKind::cd) continue;
            const std::int64_t told = host_.disk_bytes(uuid(dom), disk.spec.device);
            out.push_back(std::to_string(told > 0 ? told : disk_bytes));
        }
        co_return out;
    }

    Task<std::vector<std::string>> nics(DomId dom) override {
        std::vector<std::string> out;
        const auto config = host_.config(uuid(dom));
        for (const NicAttachment& nic : config->nics)
            out.push_back(nic.spec.mac);
        co_return out;
    }

    Task<std::string> cd(DomId dom) override {
        const auto config = host_.config(uuid(dom));
        for (const DiskAttachment& disk : config->disks)
            if (disk.spec.kind == agent::DiskKind::cd) co_return disk.nbd_export;
        co_return "";
    }

    Task<std::string> find(DomId dom, std::string beginning) override {
        const auto config = host_.config(uuid(dom));
        for (const DiskAttachment& disk : config->disks)
            if (disk.nbd_export.starts_with(beginning)) co_return disk.nbd_export;
        if (!config->spec.seed) co_return "";
        for (const auto& [name, text] : config->spec.seed->files)
            if (const auto at = text.find(beginning); at != std::string::npos)
                co_return text.substr(at, text.find('\n', at) - at);
        co_return "";
    }

    Task<std::string> cpus(DomId dom) override {
        co_return std::to_string(host_.config(uuid(dom))->spec.vcpus);
    }

    void kill(DomId dom) override { host_.kill(uuid(dom)); }

    std::vector<std::string> traces(std::string uuid) override {
        if (host_.config(uuid)) return {"a domain"};
        return {};
    }

  private:
    std::string uuid(DomId dom) {
        for (const agent::DomainInfo& info : hypervisor_->domains())
            if (info.domid == dom) return info.uuid;
        return {};
    }

    SimLoop loop_{7};
    SimHost host_{loop_};
    std::unique_ptr<SimHypervisor> hypervisor_;
};

}  // namespace

std::unique_ptr<Bench> make_sim_bench() {
    return std::make_unique<SimBench>();
}

}  // namespace basalt::hv::contract
