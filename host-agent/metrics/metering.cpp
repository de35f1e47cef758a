#include "host-agent/metrics/metering.hpp"

#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <cmath>
#include <set>
#include <system_error>

#include "base/log.hpp"
#include "idl/errors.hpp"
#include "metrics/codec.hpp"

namespace basalt::agent {

namespace {

constexpr std::int64_t ns_per_second = 1'000'000'000;
/// A moment after the end of a step, so that it is measured whole.
constexpr std::int64_t after_step_ns = 50'000'000;
constexpr std::size_t rounds_between_tellings = 6;
constexpr std::int64_t told_for_ns = 60 * ns_per_second;
constexpr std::size_t owners_in_a_row = 64;
/// Each may take as much memory as all figures of a host.
constexpr std::uint64_t texts_at_once = 4;
/// As hexadecimal digits and with the frame around it below what a frame may have.
constexpr std::size_t piece_bytes = std::size_t{384} * 1024;

double seconds_of(std::int64_t wall_ns) {
    return static_cast<double>(wall_ns) / static_cast<double>(ns_per_second);
}

std::optional<double> finite(double value) {
    return std::isfinite(value) ? std::optional(value) : std::nullopt;
}

MetricsSource source_of(const metrics::Source& source) {
    MetricsSource out;
    out.name = source.info.name;
    out.description = source.info.description;
    out.units = source.info.units;
    out.standard = source.info.standard;
    out.recorded = source.recorded();
    out.min = finite(source.info.min);
    out.max = finite(source.info.max);
    out.value = finite(source.value);
    return out;
}

// A file in memory that nobody can change any more.
UniqueFd sealed_file(const std::function<void(const metrics::Sink&)>& write) {
    const auto check = [](bool fine) {
        if (!fine) throw std::system_error(errno, std::system_category(), "metrics text");
    };
    UniqueFd file(::memfd_create("metrics", MFD_CLOEXEC | MFD_ALLOW_SEALING));
    check(static_cast<bool>(file));
    write([&](std::string_view piece) {
        while (!piece.empty()) {
            const ssize_t sent = ::write(file.get(), piece.data(), piece.size());
            check(sent >= 0);
            piece.remove_prefix(static_cast<std::size_t>(sent));
        }
    });
    check(::lseek(file.get(), 0, SEEK_SET) == 0);
    check(::fcntl(file.get(), F_ADD_SEALS,
                  F_SEAL_WRITE | F_SEAL_GROW | F_SEAL_SHRINK | F_SEAL_SEAL) == 0);
    return file;
}

std::vector<metrics::Fold> folds_of(const std::string& word) {
    if (word.empty()) return {metrics::Fold::average, metrics::Fold::min, metrics::Fold::max};
    if (const auto fold = metrics::fold_of(word)) return {*fold};
    return {};  // LAST, say: no archive has it
}

std::string as_hex(std::string_view bytes) {
    constexpr std::string_view digits = "0123456789abcdef";
    std::string out;
    out.reserve(bytes.size() * 2);
    for (const char byte : bytes) {
        out += digits[static_cast<unsigned char>(byte) >> 4U];
        out += digits[static_cast<unsigned char>(byte) & 15U];
    }
    return out;
}

std::string from_hex(std::string_view text) {
    if (text.size() % 2 != 0) throw std::runtime_error("half a byte");
    std::string out(text.size() / 2, '\0');
    for (std::size_t i = 0; i < out.size(); ++i) {
        unsigned value = 0;
        const char* end = text.data() + 2 * i + 2;
        if (std::from_chars(end - 2, end, value, 16).ptr != end)
            throw std::runtime_error("not hexadecimal");
        out[i] = static_cast<char>(value);
    }
    return out;
}

metrics::Rrd decoded(const std::string& data) {
    try {
        return metrics::decode(from_hex(data));
    } catch (const std::runtime_error& error) {
        throw err::invalid_value("data", error.what());
    }
}

}  // namespace

Metering::Metering(Parts parts)
    : parts_(std::move(parts)), keeper_(parts_.loop, parts_.folders), writing_(parts_.loop) {}

Task<void> Metering::start(std::string host_uuid, std::string boot_id) {
    host_uuid_ = std::move(host_uuid);
    boot_id_ = std::move(boot_id);
    co_await keeper_.start();
    co_await keeper_.open({MetricsOwner::host, host_uuid_});
}

Duration Metering::until_next() const {
    const std::int64_t step_ns = metrics::step_seconds * ns_per_second;
    const std::int64_t into = (parts_.loop.wall_ns() - after_step_ns) % step_ns;
    return Duration(step_ns - into);
}

Task<void> Metering::round() {
    std::vector<hv::DomainReading> domains;
    if (parts_.meter != nullptr) domains = co_await parts_.meter->measure();
    const std::vector<std::string> nics = parts_.nics();
    std::vector<std::string> links = nics;
    for (const hv::DomainReading& domain : domains)
        for (const hv::NicCounters& nic : domain.nics)
            links.push_back(nic.tap);
    HostReading host = co_await parts_.gauges->read(std::move(links));
    if (parts_.seer != nullptr) {
        const hv::WholeMachine machine = co_await parts_.seer->whole_machine();
        host.memory_total_kib = machine.memory_total_bytes / 1024;
        host.memory_free_kib = machine.memory_free_bytes / 1024;
    }
    disks_.note(domains);
    const std::string life = boot_id_;
    latest_ = seconds_of(host.wall_ns);
    std::vector<metrics::Sample> samples = host_samples(host, domains, nics, disks_);
    if (host.wall_ns - told_ns_ <= told_for_ns)
        for (const auto& [name, value] : told_)
            samples.push_back({name, value});
    keeper_.update({MetricsOwner::host, host_uuid_}, latest_, life, samples, describe_host_source);
    for (const hv::DomainReading& domain : domains) {
        const MetricsKey key{MetricsOwner::vm, domain.uuid};
        co_await keeper_.open(key);
        keeper_.update(key, seconds_of(domain.wall_ns), life + "/" + std::to_string(domain.domid),
                       vm_samples(domain, host, disks_), describe_vm_source);
    }
    for (const auto& [uuid, info] : std::map(srs_)) {
        const MetricsKey key{MetricsOwner::sr, uuid};
        co_await keeper_.open(key);
        keeper_.update(key, latest_, life, sr_samples(info.size_bytes, info.used_bytes),
                       describe_sr_source);
    }
    co_await close_ended(domains);
    co_await keeper_.save_some();
    if (rounds_++ % rounds_between_tellings == 1) tell_usage(host, domains);
}

Task<void> Metering::close_ended(const std::vector<hv::DomainReading>& domains) {
    std::set<std::string> live;
    for (const hv::DomainReading& domain : domains)
        live.insert(domain.uuid);
    for (const MetricsKey& key : keeper_.open_keys()) {
        const bool ended = (key.owner == MetricsOwner::vm && !live.contains(key.uuid)) ||
                           (key.owner == MetricsOwner::sr && !srs_.contains(key.uuid));
        if (ended) co_await keeper_.close(key);
    }
}

void Metering::tell_usage(const HostReading& host, const std::vector<hv::DomainReading>& domains) {
    HostUsage usage;
    usage.memory_free_bytes = host.memory_free_kib * 1024;
    for (const hv::DomainReading& domain : domains) {
        VmUsage vm;
        vm.uuid = domain.uuid;
        vm.memory_bytes = domain.memory_bytes;
        const metrics::Rrd* rrd = keeper_.find({MetricsOwner::vm, domain.uuid});
        for (std::size_t i = 0; rrd != nullptr && i < domain.vcpu_seconds.size(); ++i) {
            const metrics::Source* source = rrd->find("cpu" + std::to_string(i));
            vm.vcpus.push_back(source != nullptr ? finite(source->value).value_or(0) : 0);
        }
        usage.vms.push_back(std::move(vm));
    }
    parts_.tell(std::move(usage));
}

// -- what is asked ------------------------------------------------------------------------------

Task<UniqueFd> Metering::written(std::function<void(const metrics::Sink&)> write) {
    const auto place =
        co_await writing_.acquire("text " + std::to_string(texts_++ % texts_at_once));
    co_return co_await blocking(parts_.loop,
                                [write = std::move(write)] { return sealed_file(write); });
}

Task<UniqueFd> Metering::updates(MetricsUpdatesArgs args) {
    const auto answer = std::make_shared<metrics::Updates>(
        metrics::Question{args.start, args.interval, folds_of(args.fold)}, latest_);
    std::vector<MetricsKey> keys;
    if (args.host) keys.push_back({MetricsOwner::host, host_uuid_});
    for (MetricsKey& key : keeper_.open_keys())
        if (key.owner == MetricsOwner::vm &&
            (args.all_vms || std::ranges::contains(args.vms, key.uuid)))
            keys.push_back(std::move(key));
    for (const std::string& uuid : args.srs)
        keys.push_back({MetricsOwner::sr, uuid});
    for (std::size_t i = 0; i < keys.size(); ++i) {
        // Others get their turn between.
        if (i % owners_in_a_row == owners_in_a_row - 1) co_await sleep_for(parts_.loop, Duration{});
        if (const metrics::Rrd* rrd = keeper_.find(keys[i]))
            answer->add(std::string(text(keys[i].owner)) + ":" + keys[i].uuid, *rrd);
    }
    co_return co_await written(
        [answer, json = args.json](const metrics::Sink& sink) { answer->write(json, sink); });
}

Task<UniqueFd> Metering::whole(MetricsWholeArgs args) {
    std::optional<metrics::Rrd> found = co_await keeper_.read({args.owner, args.uuid});
    if (!found) throw err::invalid_value("uuid", args.uuid);
    const auto rrd = std::make_shared<const metrics::Rrd>(*std::move(found));
    co_return co_await written(
        [rrd, at = seconds_of(parts_.loop.wall_ns()), json = args.json](const metrics::Sink& sink) {
            metrics::write_whole(*rrd, at, json, sink);
        });
}

Task<std::vector<MetricsSource>> Metering::sources(MetricsSourcesArgs args) {
    const std::optional<metrics::Rrd> rrd = co_await keeper_.read({args.owner, args.uuid});
    std::vector<MetricsSource> out;
    if (!rrd) co_return out;
    for (const metrics::Source& source : rrd->sources())
        if (args.name.empty() || source.info.name == args.name) out.push_back(source_of(source));
    co_return out;
}

void Metering::note_told(std::map<std::string, double> values) {
    told_ = std::move(values);
    told_ns_ = parts_.loop.wall_ns();
}

Task<std::map<std::string, double>> Metering::means(MetricsMeansArgs args) {
    const std::optional<metrics::Rrd> rrd = co_await keeper_.read({args.owner, args.uuid});
    std::map<std::string, double> out;
    if (!rrd) co_return out;
    for (const metrics::Source& source : rrd->sources())
        if (const auto mean = metrics::mean_of(source, rrd->updated(), args.seconds))
            out.emplace(source.info.name, *mean);
    co_return out;
}

Task<void> Metering::record(MetricsRecordArgs args) {
    metrics::Rrd* rrd = keeper_.find({args.owner, args.uuid});
    const bool done =
        rrd != nullptr && (args.recorded ? rrd->record(args.name) : rrd->forget(args.name));
    if (!done) throw err::invalid_value("data_source", args.name);
    co_return;
}

Task<MetricsPiece> Metering::take(MetricsTakeArgs args) {
    const std::optional<metrics::Rrd> rrd = co_await keeper_.read({MetricsOwner::vm, args.uuid});
    if (!rrd) throw err::invalid_value("uuid", args.uuid);
    std::size_t next = 0;
    MetricsPiece out;
    out.data = as_hex(metrics::encode_some(
        *rrd, static_cast<std::size_t>(std::max<std::int64_t>(args.first, 0)), piece_bytes, next));
    out.next = static_cast<std::int64_t>(next);
    co_return out;
}

Task<void> Metering::give(MetricsGiveArgs args) {
    co_await keeper_.fill({MetricsOwner::vm, args.uuid}, decoded(args.data));
}

Task<void> Metering::drop(MetricsDropArgs args) {
    co_await keeper_.drop({args.owner, args.uuid});
}

Task<void> Metering::save() {
    return keeper_.save_all();
}

}  // namespace basalt::agent
