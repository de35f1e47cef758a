#include "hypervisor/xen/platform.hpp"

#include <algorithm>
#include <array>
#include <charconv>
#include <cstdlib>
#include <cstring>
#include <optional>
#include <utility>

namespace basalt::hv::xen {

namespace {

constexpr std::int64_t video_mib_max = 64;
constexpr std::uint64_t kibibytes_per_mib = 1024;

using Words = std::map<std::string, std::string>;

const std::string& word_of(const Words& words, const char* key) {
    static const std::string none;
    const auto found = words.find(key);
    return found == words.end() ? none : found->second;
}

// XenAPI says them as words or as digits.
std::optional<bool> truth_of(const Words& words, const char* key) {
    const std::string& word = word_of(words, key);
    if (word == "true" || word == "1") return true;
    if (word == "false" || word == "0") return false;
    return std::nullopt;
}

std::int64_t number_of(const Words& words, const char* key) {
    const std::string& word = word_of(words, key);
    std::int64_t number = 0;
    const auto [end, error] = std::from_chars(word.data(), word.data() + word.size(), number);
    return error == std::errc{} && end == word.data() + word.size() ? number : 0;
}

void fill_switch(libxl_defbool& out, const Words& words, const char* key) {
    if (const auto said = truth_of(words, key)) libxl_defbool_set(&out, *said);
}

void fill_screen(libxl_domain_build_info& build, const Words& words) {
    auto& machine = build.u.hvm;
    machine.vga.kind = word_of(words, "vga") == "cirrus" ? LIBXL_VGA_INTERFACE_TYPE_CIRRUS
                                                         : LIBXL_VGA_INTERFACE_TYPE_STD;
    // The library refuses less than its least, and takes that when it is told nothing.
    constexpr std::int64_t std_mib_min = 16;
    constexpr std::int64_t cirrus_mib_min = 8;
    const std::int64_t least =
        machine.vga.kind == LIBXL_VGA_INTERFACE_TYPE_CIRRUS ? cirrus_mib_min : std_mib_min;
    if (const std::int64_t mib = number_of(words, "videoram"); mib > least)
        build.video_memkb =
            static_cast<std::uint64_t>(std::min(mib, video_mib_max)) * kibibytes_per_mib;
}

void fill_clock(libxl_domain_build_info& build, const Words& words) {
    if (word_of(words, "tsc_mode").empty()) return;
    const std::int64_t mode = number_of(words, "tsc_mode");
    if (mode >= LIBXL_TSC_MODE_DEFAULT && mode <= LIBXL_TSC_MODE_NATIVE_PARAVIRT)
        build.tsc_mode = static_cast<libxl_tsc_mode>(mode);
}

struct TableString {
    const char* key;  // of VM.bios_strings
    libxl_smbios_type type;
};

constexpr std::array table_strings = {
    TableString{"bios-vendor", LIBXL_SMBIOS_TYPE_BIOS_VENDOR},
    TableString{"bios-version", LIBXL_SMBIOS_TYPE_BIOS_VERSION},
    TableString{"system-manufacturer", LIBXL_SMBIOS_TYPE_SYSTEM_MANUFACTURER},
    TableString{"system-product-name", LIBXL_SMBIOS_TYPE_SYSTEM_PRODUCT_NAME},
    TableString{"system-version", LIBXL_SMBIOS_TYPE_SYSTEM_VERSION},
    TableString{"system-serial-number", LIBXL_SMBIOS_TYPE_SYSTEM_SERIAL_NUMBER},
    TableString{"baseboard-manufacturer", LIBXL_SMBIOS_TYPE_BASEBOARD_MANUFACTURER},
    TableString{"baseboard-product-name", LIBXL_SMBIOS_TYPE_BASEBOARD_PRODUCT_NAME},
    TableString{"baseboard-version", LIBXL_SMBIOS_TYPE_BASEBOARD_VERSION},
    TableString{"baseboard-serial-number", LIBXL_SMBIOS_TYPE_BASEBOARD_SERIAL_NUMBER},
    TableString{"baseboard-asset-tag", LIBXL_SMBIOS_TYPE_BASEBOARD_ASSET_TAG},
    TableString{"baseboard-location-in-chassis", LIBXL_SMBIOS_TYPE_BASEBOARD_LOCATION_IN_CHASSIS},
    TableString{"enclosure-asset-tag", LIBXL_SMBIOS_TYPE_ENCLOSURE_ASSET_TAG},
};

// The library frees what its structures hold.
void fill_tables(libxl_domain_build_info& build, const Words& strings) {
    auto& machine = build.u.hvm;
    machine.smbios =
        static_cast<libxl_smbios*>(std::calloc(table_strings.size(), sizeof(libxl_smbios)));
    for (const TableString& one : table_strings) {
        const std::string& text = word_of(strings, one.key);
        if (text.empty()) continue;
        libxl_smbios& made = machine.smbios[machine.num_smbios++];
        libxl_smbios_init(&made);
        made.key = one.type;
        made.value = ::strdup(text.c_str());
    }
}

void fill_machine(libxl_domain_build_info& build, const Words& words) {
    auto& machine = build.u.hvm;
    fill_switch(build.acpi, words, "acpi");
    fill_switch(build.apic, words, "apic");
    fill_switch(build.nested_hvm, words, "nested-virt");
    fill_switch(machine.pae, words, "pae");
    fill_switch(machine.nx, words, "nx");
    fill_switch(machine.hpet, words, "hpet");
    fill_switch(machine.viridian, words, "viridian");
    fill_switch(machine.acpi_s3, words, "acpi_s3");
    fill_switch(machine.acpi_s4, words, "acpi_s4");
    // Many times faster than IDE before the guest has drivers of its own for Xen's disks, but not
    // every system finds itself on it again.
    if (word_of(words, "hdtype") == "ahci") machine.hdtype = LIBXL_HDTYPE_AHCI;
    const bool usb = truth_of(words, "usb").value_or(true);
    libxl_defbool_set(&machine.usb, usb);
    if (usb && truth_of(words, "usb_tablet").value_or(true)) machine.usbdevice = ::strdup("tablet");
    // The device for which Windows looks for drivers by itself.
    if (word_of(words, "device_id") == "0002")
        machine.vendor_device = LIBXL_VENDOR_DEVICE_XENSERVER;
}

bool is_node(const std::string& key) {
    return !key.empty() && key.size() <= 64 && std::ranges::all_of(key, [](char c) {
        return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
               c == '-' || c == '_';
    });
}

// The guest reads them in its part of the store, below `platform`.
void tell_guest(libxl_domain_create_info& out, const Words& words) {
    // Keys and values in turn, and a null.
    out.platformdata = static_cast<char**>(std::calloc(2 * words.size() + 1, sizeof(char*)));
    std::size_t filled = 0;
    for (const auto& [key, word] : words) {
        if (!is_node(key) || word.size() > 255) continue;
        out.platformdata[filled++] = ::strdup(key.c_str());
        out.platformdata[filled++] = ::strdup(word.c_str());
    }
}

}  // namespace

void fill_platform(libxl_domain_config& out, const agent::VmSpec& spec) {
    tell_guest(out.c_info, spec.platform);
    fill_clock(out.b_info, spec.platform);
    if (out.c_info.type != LIBXL_DOMAIN_TYPE_HVM) return;
    fill_machine(out.b_info, spec.platform);
    fill_screen(out.b_info, spec.platform);
    fill_tables(out.b_info, spec.bios_strings);
}

}  // namespace basalt::hv::xen
