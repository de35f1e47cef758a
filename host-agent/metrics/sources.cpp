#include "host-agent/metrics/sources.hpp"

#include <algorithm>
#include <array>
#include <numeric>
#include <optional>

namespace basalt::agent {

using metrics::Kind;
using metrics::Sample;
using metrics::SourceInfo;

namespace {

constexpr double bytes_per_mib = 1024.0 * 1024.0;
constexpr double us_per_second = 1e6;
constexpr double ns_per_second = 1e9;
constexpr std::size_t sr_name_size = 8;  // hexadecimal digits of the SR's uuid in a source's name

/// What is measured of every disk, and of every SR as the sum of its disks.
struct DiskSource {
    std::string_view suffix;
    std::string_view what;
    std::string_view units;
    Kind kind;
};

constexpr auto disk_sources = std::to_array<DiskSource>({
    {"read", "Bytes read a second", "B/s", Kind::derive},
    {"write", "Bytes written a second", "B/s", Kind::derive},
    {"read_latency", "Time that a read takes on average", "μs", Kind::gauge},
    {"write_latency", "Time that a write takes on average", "μs", Kind::gauge},
    {"io_throughput_read", "Data read", "MiB/s", Kind::derive},
    {"io_throughput_write", "Data written", "MiB/s", Kind::derive},
    {"io_throughput_total", "Data read and written", "MiB/s", Kind::derive},
    {"iops_read", "Reads a second", "requests/s", Kind::derive},
    {"iops_write", "Writes a second", "requests/s", Kind::derive},
    {"iops_total", "Reads and writes a second", "requests/s", Kind::derive},
    {"iowait", "Time that requests wait, of all together", "s/s", Kind::derive},
    {"latency", "Time that a request takes on average", "μs", Kind::gauge},
    {"avgqu_sz", "Requests under way on average", "requests", Kind::derive},
});

using Count = DiskRounds::Count;

double mean_us(double seconds, double requests) {
    return requests > 0 ? seconds / requests * us_per_second : 0;
}

// In the order of disk_sources.
std::array<double, disk_sources.size()> disk_values(const Count& total, const Count& last) {
    const double waited = total.read_seconds + total.write_seconds;
    return {total.read_bytes, total.write_bytes, mean_us(last.read_seconds, last.reads),
            mean_us(last.write_seconds, last.writes), total.read_bytes / bytes_per_mib,
            total.write_bytes / bytes_per_mib,
            (total.read_bytes + total.write_bytes) / bytes_per_mib, total.reads, total.writes,
            total.reads + total.writes, waited,
            mean_us(last.read_seconds + last.write_seconds, last.reads + last.writes),
            // The requests that wait, summed over time, are the time that they waited.
            waited};
}

Count count_of(const hv::DiskCounters& disk) {
    return {static_cast<double>(disk.read_bytes),
            static_cast<double>(disk.write_bytes),
            static_cast<double>(disk.reads),
            static_cast<double>(disk.writes),
            disk.read_seconds,
            disk.write_seconds};
}

void add(Count& sum, const Count& more) {
    sum.read_bytes += more.read_bytes;
    sum.write_bytes += more.write_bytes;
    sum.reads += more.reads;
    sum.writes += more.writes;
    sum.read_seconds += more.read_seconds;
    sum.write_seconds += more.write_seconds;
}

// Nullopt when a counter fell: it is another device under the same name.
std::optional<Count> growth(const hv::DiskCounters& before, const hv::DiskCounters& now) {
    if (now.read_bytes < before.read_bytes || now.write_bytes < before.write_bytes ||
        now.reads < before.reads || now.writes < before.writes ||
        now.read_seconds < before.read_seconds || now.write_seconds < before.write_seconds)
        return std::nullopt;
    const Count old = count_of(before);
    Count out = count_of(now);
    add(out, {-old.read_bytes, -old.write_bytes, -old.reads, -old.writes, -old.read_seconds,
              -old.write_seconds});
    return out;
}

// "vbd_xvda_io_throughput_read" -> the entry of io_throughput_read and "xvda": the longest suffix.
struct NamedDisk {
    const DiskSource* source = nullptr;
    std::string_view of;
};

NamedDisk disk_named(std::string_view name) {
    NamedDisk out;
    for (const DiskSource& source : disk_sources) {
        const bool ends = name.size() > source.suffix.size() && name.ends_with(source.suffix) &&
                          name[name.size() - source.suffix.size() - 1] == '_';
        if (!ends || (out.source != nullptr && out.source->suffix.size() > source.suffix.size()))
            continue;
        out = {&source, name.substr(0, name.size() - source.suffix.size() - 1)};
    }
    return out;
}

SourceInfo disk_info(const DiskSource& source, std::string_view of) {
    return {.description = std::string(source.what) + ": " + std::string(of),
            .units = std::string(source.units),
            .kind = source.kind,
            .min = 0};
}

SourceInfo share(std::string description) {
    return {.description = std::move(description),
            .units = "(fraction)",
            .kind = Kind::derive,
            .min = 0,
            .max = 1};
}

SourceInfo amount(std::string description, std::string units) {
    return {.description = std::move(description), .units = std::move(units), .min = 0};
}

// "vif_0_rx", "pif_eth0_tx_errors": nullopt for other names.
std::optional<SourceInfo> link_info(std::string_view name, std::string_view prefix,
                                    std::string_view what) {
    if (!name.starts_with(prefix)) return std::nullopt;
    const bool errors = name.ends_with("_errors");
    std::string_view rest = name.substr(prefix.size());
    if (errors) rest.remove_suffix(std::string_view("_errors").size());
    const bool received = rest.ends_with("_rx");
    if (!received && !rest.ends_with("_tx")) return std::nullopt;
    rest.remove_suffix(3);
    std::string text = errors ? "Errors a second while " : "Bytes a second ";
    text += errors ? (received ? "receiving" : "sending") : (received ? "received" : "sent");
    text += rest == "aggr" ? std::string(" by all physical interfaces")
                           : " by " + std::string(what) + " " + std::string(rest);
    return SourceInfo{.description = std::move(text),
                      .units = errors ? "err/s" : "B/s",
                      .kind = Kind::derive,
                      .min = 0,
                      .standard = !errors};
}

// "cpu3-C1": how long the processor slept, and how deeply. Nullopt for other names.
std::optional<SourceInfo> sleep_info(std::string_view name) {
    const std::size_t split = name.rfind("-C");
    if (!name.starts_with("cpu") || split == std::string_view::npos) return std::nullopt;
    SourceInfo out = share("Time that processor " + std::string(name.substr(3, split - 3)) +
                           " sleeps in state " + std::string(name.substr(split + 2)));
    out.standard = false;
    return out;
}

// "CPU3-avg-freq"
std::optional<SourceInfo> frequency_info(std::string_view name) {
    constexpr std::string_view ending = "-avg-freq";
    if (!name.starts_with("CPU") || !name.ends_with(ending)) return std::nullopt;
    SourceInfo out = amount(
        "Frequency of processor " + std::string(name.substr(3, name.size() - 3 - ending.size())),
        "MHz");
    out.standard = false;
    return out;
}

/// What is told of the processors of a guest: of several together, or of one that is alone.
struct RunSource {
    std::string_view name;
    std::string_view what;
};

constexpr auto run_sources = std::to_array<RunSource>({
    {"runstate_fullrun", "Time that all virtual processors run"},
    {"runstate_full_contention", "Time that all virtual processors wait for one of the host's"},
    {"runstate_blocked", "Time that no virtual processor has anything to do"},
    {"runstate_concurrency_hazard", "Time that some virtual processors run and others wait"},
    {"runstate_partial_run", "Time that some virtual processors run and others rest"},
    {"runstate_partial_contention", "Time that some virtual processors wait and others rest"},
    {"runnable_vcpus", "Time that virtual processors wait for one of the host's on average"},
});

std::optional<SourceInfo> run_info(std::string_view name) {
    for (const RunSource& source : run_sources) {
        if (source.name != name) continue;
        SourceInfo out = share(std::string(source.what));
        out.standard = false;
        return out;
    }
    return std::nullopt;
}

// What of xapi's (metrics_tell) is about the host's guests.
std::optional<SourceInfo> reclaimed_info(std::string_view name) {
    if (name == "memory_reclaimed")
        return amount("Memory that guests have given up for others", "B");
    if (name == "memory_reclaimed_max")
        return amount("Memory that guests could give up for others, all together", "B");
    return std::nullopt;
}

// What xapi tells of itself (metrics_tell).
std::optional<SourceInfo> xapi_info(std::string_view name) {
    if (name == "xapi_memory_usage_kib")
        return amount("Memory that the server of the API has taken", "KiB");
    if (name == "xapi_live_memory_kib")
        return amount("Memory that the server of the API works with", "KiB");
    if (name == "xapi_free_memory_kib")
        return amount("Memory that the server of the API has taken and does not need", "KiB");
    if (name == "xapi_open_fds")
        return amount("Files that the server of the API has open", "count");
    if (name == "pool_task_count") return amount("Tasks of the pool", "count");
    if (name == "pool_session_count") return amount("Sessions of the pool", "count");
    return std::nullopt;
}

bool is_cpu(std::string_view name) {
    return name.size() > 3 && name.starts_with("cpu") &&
           std::ranges::all_of(name.substr(3), [](char c) { return c >= '0' && c <= '9'; });
}

void add_link(std::vector<Sample>& out, const std::string& name, const LinkCounters& link) {
    out.push_back({name + "_rx", static_cast<double>(link.rx_bytes)});
    out.push_back({name + "_tx", static_cast<double>(link.tx_bytes)});
    out.push_back({name + "_rx_errors", static_cast<double>(link.rx_errors)});
    out.push_back({name + "_tx_errors", static_cast<double>(link.tx_errors)});
}

// The kernel counts each processor by itself. Of several it does not say what they did at the same
// time; of one that is alone, what it did is what all did.
void add_run_states(std::vector<Sample>& out, const hv::DomainReading& domain) {
    const auto& waited = domain.vcpu_waiting_seconds;
    if (waited.empty()) return;
    const double all = std::accumulate(waited.begin(), waited.end(), 0.0);
    out.push_back({"runnable_vcpus", all / static_cast<double>(waited.size())});
    if (waited.size() != 1 || domain.vcpu_seconds.size() != 1) return;
    const double ran = domain.vcpu_seconds.front();
    const double now = static_cast<double>(domain.wall_ns) / ns_per_second;
    out.push_back({"runstate_fullrun", ran});
    out.push_back({"runstate_full_contention", all});
    out.push_back({"runstate_blocked", now - ran - all});
    for (const auto* name :
         {"runstate_concurrency_hazard", "runstate_partial_run", "runstate_partial_contention"})
        out.push_back({name, 0});
}

// What the host receives from a guest's interface is what the guest sends.
LinkCounters as_guest_sees(const LinkCounters& link) {
    return {link.tx_bytes, link.rx_bytes, link.tx_errors, link.rx_errors};
}

}  // namespace

SourceInfo describe_host_source(std::string_view name) {
    if (is_cpu(name)) return share("Time that processor " + std::string(name.substr(3)) + " works");
    if (name == "cpu_avg") return share("Time that processors work on average");
    if (name == "loadavg")
        return {.description = "Processes that run or want to, on average over a minute",
                .units = "(fraction)"};
    if (name == "memory_total_kib") return amount("Memory of the host", "KiB");
    if (name == "memory_free_kib") return amount("Memory of the host that is free", "KiB");
    if (name == "running_domains") return amount("VMs that run", "count");
    if (name == "running_vcpus") return amount("Virtual processors of the VMs that run", "count");
    if (name == "hostload")
        return amount("Processes that run or want to, for each processor, on average over a minute",
                      "(fraction)");
    if (auto sleep = sleep_info(name)) return *std::move(sleep);
    if (auto frequency = frequency_info(name)) return *std::move(frequency);
    if (auto reclaimed = reclaimed_info(name)) return *std::move(reclaimed);
    if (auto told = xapi_info(name)) return *std::move(told);
    if (auto link = link_info(name, "pif_", "interface")) return *std::move(link);
    const std::size_t split = name.rfind('_');
    if (split != std::string_view::npos)
        for (const DiskSource& source : disk_sources)
            if (name.substr(0, split) == source.suffix)
                return disk_info(source,
                                 "storage repository " + std::string(name.substr(split + 1)));
    return {};
}

SourceInfo describe_vm_source(std::string_view name) {
    if (is_cpu(name))
        return share("Time that virtual processor " + std::string(name.substr(3)) + " runs");
    if (name == "cpu_usage") return share("Time that virtual processors run on average");
    if (auto run = run_info(name)) return *std::move(run);
    if (name == "memory") return amount("Memory that the VM has", "B");
    if (name == "memory_target") return amount("Memory that the VM is meant to have", "B");
    if (name == "memory_internal_free")
        return amount("Memory that is free inside of the VM, as its guest says", "KiB");
    if (auto link = link_info(name, "vif_", "virtual interface")) return *std::move(link);
    if (name.starts_with("vbd_"))
        if (const NamedDisk disk = disk_named(name.substr(4)); disk.source != nullptr)
            return disk_info(*disk.source, "disk " + std::string(disk.of));
    return {};
}

SourceInfo describe_sr_source(std::string_view name) {
    if (name == "physical_utilisation") return amount("Space in use", "B");
    return amount("Space that there is", "B");
}

// A QEMU that is busy says nothing for a round: what its disks do meanwhile counts in the next.
void DiskRounds::keep_silent(const hv::DomainReading& domain, std::map<Key, Known>& now) const {
    for (auto at = disks_.lower_bound({domain.uuid, ""});
         at != disks_.end() && at->first.first == domain.uuid; ++at)
        if (at->second.domid == domain.domid)
            now.emplace(at->first, Known{domain.domid, at->second.counters, std::nullopt});
}

void DiskRounds::note(const std::vector<hv::DomainReading>& domains) {
    std::map<Key, Known> now;
    for (auto& [sr, count] : srs_)
        count.last = {};
    for (const hv::DomainReading& domain : domains) {
        if (domain.disks.empty()) keep_silent(domain, now);
        for (const hv::DiskCounters& disk : domain.disks) {
            Known known{domain.domid, disk, std::nullopt};
            const auto before = disks_.find({domain.uuid, disk.device});
            if (before != disks_.end() && before->second.domid == domain.domid)
                known.grown = growth(before->second.counters, disk);
            if (!disk.sr.empty()) {
                SrCount& sr = srs_[disk.sr];
                if (known.grown) {
                    add(sr.total, *known.grown);
                    add(sr.last, *known.grown);
                }
            }
            now.emplace(Key{domain.uuid, disk.device}, std::move(known));
        }
    }
    disks_ = std::move(now);
}

const DiskRounds::Count* DiskRounds::since(const std::string& vm, const std::string& device) const {
    const auto found = disks_.find({vm, device});
    return found == disks_.end() || !found->second.grown ? nullptr : &*found->second.grown;
}

std::vector<Sample> host_samples(const HostReading& host,
                                 const std::vector<hv::DomainReading>& domains,
                                 const std::vector<std::string>& nics, const DiskRounds& disks) {
    std::vector<Sample> out;
    const auto& busy = host.cpu_busy_seconds;
    for (std::size_t i = 0; i < busy.size(); ++i)
        out.push_back({"cpu" + std::to_string(i), busy[i]});
    if (!busy.empty())
        out.push_back({"cpu_avg", std::accumulate(busy.begin(), busy.end(), 0.0) /
                                      static_cast<double>(busy.size())});
    for (std::size_t i = 0; i < host.cpu_mhz.size(); ++i)
        if (host.cpu_mhz[i] > 0)
            out.push_back({"CPU" + std::to_string(i) + "-avg-freq", host.cpu_mhz[i]});
    for (std::size_t i = 0; i < host.cpu_sleep_seconds.size(); ++i)
        for (std::size_t state = 0; state < host.cpu_sleep_seconds[i].size(); ++state)
            out.push_back({"cpu" + std::to_string(i) + "-C" + std::to_string(state),
                           host.cpu_sleep_seconds[i][state]});
    out.push_back({"loadavg", host.load_average});
    out.push_back({"memory_total_kib", static_cast<double>(host.memory_total_kib)});
    out.push_back({"memory_free_kib", static_cast<double>(host.memory_free_kib)});
    out.push_back({"running_domains", static_cast<double>(std::ranges::count_if(
                                          domains, &hv::DomainReading::running))});
    std::size_t vcpus = 0;
    for (const hv::DomainReading& domain : domains)
        vcpus += domain.running ? domain.vcpu_seconds.size() : 0;
    out.push_back({"running_vcpus", static_cast<double>(vcpus)});
    if (!busy.empty())
        out.push_back({"hostload", host.load_average / static_cast<double>(busy.size())});
    LinkCounters all;
    for (const std::string& nic : nics) {
        const auto found = host.links.find(nic);
        if (found == host.links.end()) continue;
        all.rx_bytes += found->second.rx_bytes;
        all.tx_bytes += found->second.tx_bytes;
        add_link(out, "pif_" + nic, found->second);
    }
    out.push_back({"pif_aggr_rx", static_cast<double>(all.rx_bytes)});
    out.push_back({"pif_aggr_tx", static_cast<double>(all.tx_bytes)});
    for (const auto& [sr, count] : disks.srs()) {
        const auto values = disk_values(count.total, count.last);
        for (std::size_t i = 0; i < values.size(); ++i)
            out.push_back({std::string(disk_sources[i].suffix) + "_" + sr.substr(0, sr_name_size),
                           values[i]});
    }
    return out;
}

std::vector<Sample> vm_samples(const hv::DomainReading& domain, const HostReading& host,
                               const DiskRounds& disks) {
    std::vector<Sample> out;
    const auto& ran = domain.vcpu_seconds;
    for (std::size_t i = 0; i < ran.size(); ++i)
        out.push_back({"cpu" + std::to_string(i), ran[i]});
    if (!ran.empty())
        out.push_back({"cpu_usage", std::accumulate(ran.begin(), ran.end(), 0.0) /
                                        static_cast<double>(ran.size())});
    add_run_states(out, domain);
    out.push_back({"memory", static_cast<double>(domain.memory_bytes)});
    out.push_back({"memory_target", static_cast<double>(domain.memory_target_bytes)});
    if (domain.memory_free_bytes)
        out.push_back(
            {"memory_internal_free", static_cast<double>(*domain.memory_free_bytes / 1024)});
    for (const hv::DiskCounters& disk : domain.disks) {
        const Count* grown = disks.since(domain.uuid, disk.device);
        const auto values = disk_values(count_of(disk), grown == nullptr ? Count{} : *grown);
        for (std::size_t i = 0; i < values.size(); ++i)
            out.push_back(
                {"vbd_" + disk.device + "_" + std::string(disk_sources[i].suffix), values[i]});
    }
    for (const hv::NicCounters& nic : domain.nics)
        if (const auto link = host.links.find(nic.tap); link != host.links.end())
            add_link(out, "vif_" + std::to_string(nic.device), as_guest_sees(link->second));
    return out;
}

std::vector<Sample> sr_samples(std::int64_t size_bytes, std::int64_t used_bytes) {
    return {{"physical_utilisation", static_cast<double>(used_bytes)},
            {"size", static_cast<double>(size_bytes)}};
}

}  // namespace basalt::agent
