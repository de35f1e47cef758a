#include "hypervisor/xen/meter.hpp"

#include <algorithm>
#include <array>
#include <charconv>
#include <filesystem>
#include <fstream>

#include "hypervisor/xen/nbd_devices.hpp"
#include "hypervisor/xen/xl.hpp"

namespace basalt::hv::xen {

namespace {

constexpr double ns_per_second = 1e9;
constexpr double ms_per_second = 1e3;
constexpr std::int64_t kibibyte = 1024;
constexpr std::int64_t sector_bytes = 512;

// Source: the kernel's Documentation/block/stat.rst.
struct Stat {
    std::array<std::int64_t, 8> fields{};

    [[nodiscard]] std::int64_t reads() const { return fields[0]; }

    [[nodiscard]] std::int64_t sectors_read() const { return fields[2]; }

    [[nodiscard]] std::int64_t reading_ms() const { return fields[3]; }

    [[nodiscard]] std::int64_t writes() const { return fields[4]; }

    [[nodiscard]] std::int64_t sectors_written() const { return fields[6]; }

    [[nodiscard]] std::int64_t writing_ms() const { return fields[7]; }
};

}  // namespace

bool read_usage(DomainReading& reading) {
    const Xl xl;
    const auto dom = static_cast<std::uint32_t>(reading.domid);
    OwnedInfo info;
    if (libxl_domain_info(xl.get(), info.get(), dom) != 0 || info->dying) return false;
    reading.memory_bytes =
        std::min(reading.memory_bytes, static_cast<std::int64_t>(info->current_memkb) * kibibyte);
    int count = 0;
    int processors = 0;
    libxl_vcpuinfo* const list = libxl_list_vcpu(xl.get(), dom, &count, &processors);
    if (list == nullptr) return false;
    for (int index = 0; index < count; ++index)
        if (list[index].online || list[index].vcpu_time > 0)
            reading.vcpu_seconds.push_back(static_cast<double>(list[index].vcpu_time) /
                                           ns_per_second);
    libxl_vcpuinfo_list_free(list, count);
    return true;
}

std::optional<DiskCounters> parse_disk_counters(const std::string& text) {
    Stat stat;
    const char* at = text.data();
    const char* const end = at + text.size();
    for (std::int64_t& field : stat.fields) {
        while (at != end && *at == ' ')
            ++at;
        const auto [next, error] = std::from_chars(at, end, field);
        if (error != std::errc{} || field < 0) return std::nullopt;
        at = next;
    }
    return DiskCounters{.read_bytes = stat.sectors_read() * sector_bytes,
                        .write_bytes = stat.sectors_written() * sector_bytes,
                        .reads = stat.reads(),
                        .writes = stat.writes(),
                        .read_seconds = static_cast<double>(stat.reading_ms()) / ms_per_second,
                        .write_seconds = static_cast<double>(stat.writing_ms()) / ms_per_second};
}

namespace {

std::optional<DiskCounters> counters_of(const std::string& vm, const std::string& device) {
    const std::string path = path_of_disk(vm, device);
    if (path.empty()) return std::nullopt;
    std::ifstream file("/sys/block/" + std::filesystem::path(path).filename().string() + "/stat");
    std::string line;
    std::getline(file, line);
    return parse_disk_counters(line);
}

}  // namespace

void fill_disk_counters(DomainReading& reading) {
    std::vector<DiskCounters> found;
    for (const DiskCounters& disk : reading.disks) {
        auto counters = counters_of(reading.uuid, disk.device);
        if (!counters) continue;
        counters->device = disk.device;
        counters->sr = disk.sr;
        found.push_back(std::move(*counters));
    }
    reading.disks = std::move(found);
}

}  // namespace basalt::hv::xen
