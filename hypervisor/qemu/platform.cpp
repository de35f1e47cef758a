#include "hypervisor/qemu/platform.hpp"

#include <algorithm>
#include <array>
#include <charconv>
#include <utility>

#include "base/json.hpp"

namespace basalt::hv::qemu {

namespace {

constexpr std::int64_t video_mib_default = 16;
constexpr std::int64_t video_mib_max = 64;

// XenAPI says them as words or as digits.
bool is_true(const std::string& value) {
    return value == "true" || value == "1";
}

bool is_false(const std::string& value) {
    return value == "false" || value == "0";
}

const std::string& value_of(const agent::VmSpec& vm, const char* key) {
    static const std::string none;
    const auto found = vm.platform.find(key);
    return found == vm.platform.end() ? none : found->second;
}

std::int64_t number_of(const agent::VmSpec& vm, const char* key) {
    const std::string& text = value_of(vm, key);
    std::int64_t number = 0;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
    return error == std::errc{} && end == text.data() + text.size() ? number : 0;
}

std::int64_t most_vcpus(const agent::VmSpec& vm) {
    return std::max({std::int64_t{1}, vm.vcpus, vm.vcpus_max});
}

struct TableString {
    const char* key;   // of VM.bios_strings
    const char* name;  // of QEMU's table
};

struct Table {
    int type;
    std::vector<TableString> strings;
};

const std::vector<Table>& tables() {
    static const std::vector<Table> known = {
        {0, {{"bios-vendor", "vendor"}, {"bios-version", "version"}}},
        {1,
         {{"system-manufacturer", "manufacturer"},
          {"system-product-name", "product"},
          {"system-version", "version"},
          {"system-serial-number", "serial"}}},
        {2,
         {{"baseboard-manufacturer", "manufacturer"},
          {"baseboard-product-name", "product"},
          {"baseboard-version", "version"},
          {"baseboard-serial-number", "serial"},
          {"baseboard-asset-tag", "asset"},
          {"baseboard-location-in-chassis", "location"}}},
        {3, {{"enclosure-asset-tag", "asset"}}},
    };
    return known;
}

}  // namespace

std::string escaped(const std::string& value) {
    std::string out;
    for (const char c : value) {
        out += c;
        if (c == ',') out += c;
    }
    return out;
}

std::string cpu_model(const agent::VmSpec& vm, bool accelerated) {
    std::string model = accelerated ? "host" : "max";
    if (is_false(value_of(vm, "nx"))) model += ",nx=off";
    // Long mode stands on PAE.
    if (is_false(value_of(vm, "pae"))) model += ",pae=off,lm=off";
    if (is_false(value_of(vm, "apic"))) model += ",apic=off";
    if (!is_true(value_of(vm, "nested-virt"))) model += ",vmx=off,svm=off";
    if (accelerated && is_true(value_of(vm, "viridian")))
        model +=
            ",hv-relaxed=on,hv-vapic=on,hv-spinlocks=0x1fff,hv-time=on,hv-vpindex=on,"
            "hv-runtime=on,hv-synic=on,hv-stimer=on";
    return model;
}

std::string cpu_topology(const agent::VmSpec& vm, std::int64_t vcpus) {
    const std::int64_t most = std::max(most_vcpus(vm), vcpus);
    // A socket each, as XenAPI has it. Linux on a hypervisor that it does not know brings none to
    // use that comes later to a socket which is there already.
    const std::int64_t wanted = number_of(vm, "cores-per-socket");
    const std::int64_t cores = wanted > 0 && most % wanted == 0 ? wanted : 1;
    return "cpus=" + std::to_string(vcpus) + ",maxcpus=" + std::to_string(most) +
           ",sockets=" + std::to_string(most / cores) + ",cores=" + std::to_string(cores) +
           ",threads=1";
}

std::string machine_switches(const agent::VmSpec& vm) {
    std::string out;
    if (is_false(value_of(vm, "acpi"))) out += ",acpi=off";
    if (is_false(value_of(vm, "hpet"))) out += ",hpet=off";
    return out;
}

std::vector<std::string> global_settings(const agent::VmSpec& vm, bool secure_boot) {
    std::vector<std::string> out;
    const auto off = [&out](const char* property) {
        out.push_back(std::string("driver=ICH9-LPC,property=") + property + ",value=1");
    };
    if (!secure_boot && is_false(value_of(vm, "acpi_s3"))) off("disable_s3");
    if (is_false(value_of(vm, "acpi_s4"))) off("disable_s4");
    return out;
}

Json video_device(const agent::VmSpec& vm) {
    const std::int64_t wanted = number_of(vm, "videoram");
    std::int64_t mib = wanted > 0 ? 1 : video_mib_default;
    while (mib < wanted && mib < video_mib_max)
        mib *= 2;
    const bool cirrus = value_of(vm, "vga") == "cirrus";
    return {{"driver", cirrus ? "cirrus-vga" : "VGA"},
            {"id", "video"},
            {"addr", "0x2"},
            {"vgamem_mb", mib}};
}

bool has_tablet(const agent::VmSpec& vm) {
    return !is_false(value_of(vm, "usb")) && !is_false(value_of(vm, "usb_tablet"));
}

std::vector<std::string> firmware_tables(const agent::VmSpec& vm) {
    std::vector<std::string> out;
    for (const Table& table : tables()) {
        std::string line = "type=" + std::to_string(table.type);
        bool filled = false;
        for (const TableString& string : table.strings) {
            const auto value = vm.bios_strings.find(string.key);
            if (value == vm.bios_strings.end() || value->second.empty()) continue;
            line += std::string(",") + string.name + "=" + escaped(value->second);
            filled = true;
        }
        if (filled) out.push_back(std::move(line));
    }
    return out;
}

}  // namespace basalt::hv::qemu
