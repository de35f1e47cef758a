#include "host-agent/services/inventory.hpp"

#include <array>
#include <charconv>
#include <filesystem>
#include <fstream>
#include <map>
#include <set>
#include <string_view>
#include <vector>

#include "host-agent/services/cpuid.hpp"

namespace basalt::agent {

namespace {

constexpr std::int64_t kibibyte = 1024;

using Fields = std::map<std::string, std::string>;

std::string trimmed(std::string_view text) {
    constexpr std::string_view blanks = " \t\r\n";
    const std::size_t first = text.find_first_not_of(blanks);
    if (first == std::string_view::npos) return {};
    return std::string(text.substr(first, text.find_last_not_of(blanks) - first + 1));
}

std::vector<std::string> read_lines(const std::string& path) {
    std::ifstream in(path);
    std::vector<std::string> lines;
    for (std::string line; std::getline(in, line);)
        lines.push_back(line);
    return lines;
}

std::string read_line(const std::string& path) {
    std::ifstream in(path);
    std::string line;
    std::getline(in, line);
    return trimmed(line);
}

template <class N>
N number(const std::string& text) {
    N out{};
    std::from_chars(text.data(), text.data() + text.size(), out);
    return out;
}

// `name : value` a line, groups parted by empty lines.
std::vector<Fields> read_groups(const std::string& path) {
    std::vector<Fields> groups(1);
    for (const std::string& line : read_lines(path)) {
        const std::size_t colon = line.find(':');
        if (trimmed(line).empty())
            groups.emplace_back();
        else if (colon != std::string::npos)
            groups.back()[trimmed(line.substr(0, colon))] = trimmed(line.substr(colon + 1));
    }
    std::erase_if(groups, [](const Fields& group) { return group.empty(); });
    return groups;
}

void read_processors(const std::string& sysroot, HostFacts& facts) {
    std::set<std::string> sockets;
    for (Fields& cpu : read_groups(sysroot + "/proc/cpuinfo")) {
        if (!cpu.contains("processor")) continue;
        ++facts.cpu_count;
        sockets.insert(cpu["physical id"]);
        if (facts.cpu_count > 1) continue;
        // Threads of a socket over its cores; kernels without topology leave both out.
        const auto siblings = number<std::int64_t>(cpu["siblings"]);
        const auto cores = number<std::int64_t>(cpu["cpu cores"]);
        facts.cpu_threads_per_core = cores > 0 && siblings >= cores ? siblings / cores : 1;
        facts.cpu_model = cpu["model name"];
        facts.cpu_vendor = cpu["vendor_id"];
        facts.cpu_flags = cpu["flags"];
        facts.cpu_mhz = number<double>(cpu["cpu MHz"]);
        facts.cpu_family = number<std::int64_t>(cpu["cpu family"]);
        facts.cpu_model_number = number<std::int64_t>(cpu["model"]);
        facts.cpu_stepping = number<std::int64_t>(cpu["stepping"]);
    }
    facts.cpu_sockets = static_cast<std::int64_t>(sockets.size());
}

void read_nodes(const std::string& sysroot, HostFacts& facts) {
    std::error_code absent;
    for (const auto& entry :
         std::filesystem::directory_iterator(sysroot + "/sys/devices/system/node", absent)) {
        const std::string name = entry.path().filename();
        const bool node = name.starts_with("node") && name.size() > 4 &&
                          name.find_first_not_of("0123456789", 4) == std::string::npos;
        if (node) ++facts.numa_nodes;
    }
    // A kernel without NUMA has no such folder, and its machine one node.
    if (facts.numa_nodes == 0 && facts.cpu_count > 0) facts.numa_nodes = 1;
}

void read_memory(const std::string& sysroot, HostFacts& facts) {
    for (Fields& memory : read_groups(sysroot + "/proc/meminfo")) {
        facts.memory_total_bytes = number<std::int64_t>(memory["MemTotal"]) * kibibyte;
        facts.memory_free_bytes = number<std::int64_t>(memory["MemAvailable"]) * kibibyte;
    }
}

void read_boot(const std::string& sysroot, HostFacts& facts) {
    facts.boot_id = read_line(sysroot + "/proc/sys/kernel/random/boot_id");
    facts.kernel_version = read_line(sysroot + "/proc/sys/kernel/osrelease");
    facts.hostname = read_line(sysroot + "/proc/sys/kernel/hostname");
    for (const std::string& line : read_lines(sysroot + "/proc/stat"))
        if (line.starts_with("btime ")) facts.boot_time = number<std::int64_t>(line.substr(6));
}

// The keys are those of host.bios_strings.
void read_firmware(const std::string& sysroot, HostFacts& facts) {
    constexpr std::array<std::pair<const char*, const char*>, 11> names{{
        {"bios-vendor", "bios_vendor"},
        {"bios-version", "bios_version"},
        {"system-manufacturer", "sys_vendor"},
        {"system-product-name", "product_name"},
        {"system-version", "product_version"},
        {"system-serial-number", "product_serial"},
        {"baseboard-manufacturer", "board_vendor"},
        {"baseboard-product-name", "board_name"},
        {"baseboard-version", "board_version"},
        {"baseboard-serial-number", "board_serial"},
        {"baseboard-asset-tag", "board_asset_tag"},
    }};
    for (const auto& [key, file] : names) {
        const std::string value = read_line(sysroot + "/sys/class/dmi/id/" + file);
        if (!value.empty()) facts.bios[key] = value;
    }
}

void read_iscsi_name(const std::string& sysroot, HostFacts& facts) {
    constexpr std::string_view key = "InitiatorName=";
    for (const std::string& line : read_lines(sysroot + "/etc/iscsi/initiatorname.iscsi"))
        if (line.starts_with(key)) facts.iscsi_iqn = trimmed(line.substr(key.size()));
}

}  // namespace

HostFacts read_inventory(const std::string& sysroot) {
    HostFacts facts;
    read_boot(sysroot, facts);
    read_processors(sysroot, facts);
    read_nodes(sysroot, facts);
    read_memory(sysroot, facts);
    read_firmware(sysroot, facts);
    read_iscsi_name(sysroot, facts);
    return facts;
}

Task<HostFacts> Inventory::facts() {
    co_return co_await blocking(loop_, [sysroot = sysroot_] {
        HostFacts facts = read_inventory(sysroot);
        facts.cpu_features = feature_words(native_cpuid);
        return facts;
    });
}

}  // namespace basalt::agent
