#include "hypervisor/qemu/meter.hpp"

#include <charconv>
#include <filesystem>
#include <fstream>
#include <optional>
#include <utility>

#include "base/error.hpp"
#include "base/log.hpp"

namespace basalt::hv::qemu {

namespace {

constexpr double ns_per_second = 1e9;
constexpr std::size_t asked_at_once = 32;

std::string first_line(const std::filesystem::path& path) {
    std::ifstream file(path);
    std::string line;
    std::getline(file, line);
    return line;
}

// "CPU 3/KVM" -> 3, "ALL CPUs/TCG" -> 0; nullopt for other threads.
std::optional<std::size_t> vcpu_of(const std::string& thread) {
    if (thread.starts_with("ALL CPUs/")) return 0;
    if (!thread.starts_with("CPU ")) return std::nullopt;
    std::size_t number = 0;
    const auto [end, error] =
        std::from_chars(thread.data() + 4, thread.data() + thread.size(), number);
    constexpr std::size_t vcpus_max = 4096;
    if (error != std::errc() || *end != '/' || number >= vcpus_max) return std::nullopt;
    return number;
}

struct Processors {
    std::int64_t wall_ns = 0;
    VcpuTimes times;
};

std::vector<Processors> read_processors(Loop& loop, const std::vector<pid_t>& pids) {
    std::vector<Processors> out;
    out.reserve(pids.size());
    for (const pid_t pid : pids) {
        Processors one;
        one.wall_ns = loop.wall_ns();
        one.times = read_vcpu_times(pid);
        out.push_back(std::move(one));
    }
    return out;
}

std::string sr_of(const agent::DiskSpec& spec) {
    return spec.disk ? spec.disk->sr : std::string();
}

void take_disks(const Domain& domain, const std::vector<BlockStats>& found, DomainReading& out) {
    for (const DiskAttachment& disk : domain.descriptor.config.disks) {
        for (const BlockStats& stats : found) {
            if (stats.device != disk_id(disk.spec.device)) continue;
            out.disks.push_back(
                {.device = disk.spec.device,
                 .sr = sr_of(disk.spec),
                 .read_bytes = stats.read_bytes,
                 .write_bytes = stats.write_bytes,
                 .reads = stats.reads,
                 .writes = stats.writes,
                 .read_seconds = static_cast<double>(stats.read_ns) / ns_per_second,
                 .write_seconds = static_cast<double>(stats.write_ns) / ns_per_second});
        }
    }
}

Task<void> ask(DomainPtr domain, DomainReading* out) {
    try {
        take_disks(*domain, co_await domain->monitor->block_stats(), *out);
        out->memory_bytes = co_await domain->monitor->memory_bytes();
        const BalloonStats said = co_await domain->monitor->balloon_stats();
        if (said.total_bytes > 0) out->memory_free_bytes = said.free_bytes;
    } catch (const ApiError& error) {
        log::debug("domain_not_measured", {{"vm", out->uuid}, {"error", error.what()}});
    }
}

DomainReading begun(const Domain& domain, Processors processors) {
    DomainReading out;
    out.uuid = domain.uuid();
    out.domid = domain.descriptor.dom;
    out.wall_ns = processors.wall_ns;
    out.running = domain.running;
    // What processors wait for is theirs only if each has a thread of its own.
    if (std::cmp_equal(processors.times.waited.size(), domain.descriptor.machine.vcpus))
        out.vcpu_waiting_seconds = std::move(processors.times.waited);
    out.vcpu_seconds = std::move(processors.times.ran);
    const agent::VmSpec& spec = domain.descriptor.config.spec;
    out.memory_bytes = domain.balloon_bytes > 0 ? domain.balloon_bytes : spec.memory_bytes;
    out.memory_target_bytes =
        spec.memory_target_bytes > 0 ? spec.memory_target_bytes : spec.memory_bytes;
    for (const NicAttachment& nic : domain.descriptor.config.nics)
        out.nics.push_back({nic.spec.device, nic.tap});
    return out;
}

}  // namespace

VcpuTimes read_vcpu_times(pid_t pid, const std::string& proc) {
    VcpuTimes out;
    std::error_code gone;
    const std::filesystem::path tasks = proc + "/" + std::to_string(pid) + "/task";
    for (std::filesystem::directory_iterator at(tasks, gone), end; !gone && at != end;
         at.increment(gone)) {
        const auto number = vcpu_of(first_line(at->path() / "comm"));
        if (!number) continue;
        // Time on a processor and time of waiting for one, in nanoseconds.
        std::ifstream times(at->path() / "schedstat");
        std::uint64_t ran = 0;
        std::uint64_t waited = 0;
        times >> ran >> waited;
        if (out.ran.size() <= *number) {
            out.ran.resize(*number + 1);
            out.waited.resize(*number + 1);
        }
        out.ran[*number] += static_cast<double>(ran) / ns_per_second;
        out.waited[*number] += static_cast<double>(waited) / ns_per_second;
    }
    return out;
}

Task<std::vector<DomainReading>> measure(Loop& loop, std::vector<DomainPtr> domains) {
    std::vector<pid_t> pids;
    for (const DomainPtr& domain : domains)
        pids.push_back(static_cast<pid_t>(domain->descriptor.pid));
    std::vector<Processors> processors =
        co_await blocking(loop, [&loop, pids] { return read_processors(loop, pids); });
    std::vector<DomainReading> out;
    out.reserve(domains.size());
    for (std::size_t i = 0; i < domains.size(); ++i)
        out.push_back(begun(*domains[i], std::move(processors[i])));
    for (std::size_t first = 0; first < domains.size(); first += asked_at_once) {
        std::vector<Task<void>> asking;
        for (std::size_t i = first; i < std::min(first + asked_at_once, domains.size()); ++i)
            if (!domains[i]->gone) asking.push_back(ask(domains[i], &out[i]));
        co_await all(loop, std::move(asking));
    }
    // What has ended meanwhile has counted to its end, and is told elsewhere.
    std::erase_if(out, [&](const DomainReading& one) { return one.vcpu_seconds.empty(); });
    co_return out;
}

}  // namespace basalt::hv::qemu
