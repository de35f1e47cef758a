// The templates that every pool has.
#include <set>

#include "idl/records/vm.hpp"
#include "idl/records/vm_metrics.hpp"
#include "xapi/domain/start_of_day.hpp"
#include "xapi/domain/vm_rules.hpp"
#include "xapi/domain/words.hpp"

namespace basalt::domain {

namespace {

constexpr std::int64_t mib = 1024 * 1024;
constexpr std::int64_t gib = 1024 * mib;

enum class Guest : std::uint8_t { other, linux_, windows };
enum class Boot : std::uint8_t { bios, uefi, secure };

struct Template {
    const char* name;
    const char* label;  // reference_label: the same in every release of the pool's software
    Guest guest;
    Boot boot;
    std::int64_t memory_bytes;
    std::int64_t disk_bytes;  // 0: none
    std::int64_t vcpus;
};

// Sizes are what the vendors ask for at least, rounded up.
constexpr Template templates[] = {
    {"Other install media", "other-install-media", Guest::other, Boot::bios, 128 * mib, 0, 1},
    {"AlmaLinux 8", "almalinux-8", Guest::linux_, Boot::bios, 2 * gib, 10 * gib, 1},
    {"AlmaLinux 9", "almalinux-9", Guest::linux_, Boot::bios, 2 * gib, 10 * gib, 1},
    {"AlmaLinux 10", "almalinux-10", Guest::linux_, Boot::uefi, 2 * gib, 10 * gib, 1},
    {"CentOS Stream 9", "centos-stream-9", Guest::linux_, Boot::bios, 2 * gib, 10 * gib, 1},
    {"CentOS Stream 10", "centos-stream-10", Guest::linux_, Boot::uefi, 2 * gib, 10 * gib, 1},
    {"Debian Bookworm 12", "debian-12", Guest::linux_, Boot::bios, 1 * gib, 10 * gib, 1},
    {"Debian Trixie 13", "debian-13", Guest::linux_, Boot::bios, 1 * gib, 10 * gib, 1},
    {"Oracle Linux 8", "oracle-8", Guest::linux_, Boot::bios, 2 * gib, 10 * gib, 1},
    {"Oracle Linux 9", "oracle-9", Guest::linux_, Boot::bios, 2 * gib, 10 * gib, 1},
    {"Red Hat Enterprise Linux 8", "rhel-8", Guest::linux_, Boot::bios, 2 * gib, 10 * gib, 1},
    {"Red Hat Enterprise Linux 9", "rhel-9", Guest::linux_, Boot::bios, 2 * gib, 10 * gib, 1},
    {"Red Hat Enterprise Linux 10", "rhel-10", Guest::linux_, Boot::uefi, 2 * gib, 10 * gib, 1},
    {"Rocky Linux 8", "rocky-8", Guest::linux_, Boot::bios, 2 * gib, 10 * gib, 1},
    {"Rocky Linux 9", "rocky-9", Guest::linux_, Boot::bios, 2 * gib, 10 * gib, 1},
    {"Rocky Linux 10", "rocky-10", Guest::linux_, Boot::uefi, 2 * gib, 10 * gib, 1},
    {"SUSE Linux Enterprise 15 (64-bit)", "sle-15-64bit", Guest::linux_, Boot::bios, 1 * gib,
     10 * gib, 1},
    {"Ubuntu Jammy Jellyfish 22.04", "ubuntu-22.04", Guest::linux_, Boot::bios, 2 * gib, 10 * gib,
     1},
    {"Ubuntu Noble Numbat 24.04", "ubuntu-24.04", Guest::linux_, Boot::bios, 2 * gib, 10 * gib, 1},
    {"Windows 10 (64-bit)", "windows-10-64bit", Guest::windows, Boot::uefi, 2 * gib, 32 * gib, 2},
    {"Windows Server 2016 (64-bit)", "windows-server-2016-64bit", Guest::windows, Boot::uefi,
     2 * gib, 32 * gib, 2},
    {"Windows Server 2019 (64-bit)", "windows-server-2019-64bit", Guest::windows, Boot::uefi,
     2 * gib, 32 * gib, 2},
    {"Windows Server 2022 (64-bit)", "windows-server-2022-64bit", Guest::windows, Boot::secure,
     2 * gib, 32 * gib, 2},
    {"Windows Server 2025 (64-bit)", "windows-server-2025-64bit", Guest::windows, Boot::secure,
     4 * gib, 32 * gib, 2},
};

std::string provision_xml(std::int64_t disk_bytes) {
    if (disk_bytes == 0) return {};
    return "<provision><disk device=\"0\" size=\"" + std::to_string(disk_bytes) +
           "\" sr=\"\" bootable=\"true\" type=\"system\"/></provision>";
}

// What a client should offer: no more than a guest of this server can have, and what it can do.
std::string recommendations_of(const Template& from) {
    std::string xml =
        "<restrictions>"
        "<restriction field=\"memory-static-max\" max=\"1649267441664\"/>"
        "<restriction field=\"vcpus-max\" max=\"64\"/>"
        "<restriction property=\"number-of-vbds\" max=\"16\"/>"
        "<restriction property=\"number-of-vifs\" max=\"7\"/>";
    const auto say = [&xml](const char* field, bool value) {
        xml += std::string("<restriction field=\"") + field + "\" value=\"" +
               (value ? "yes" : "no") + "\"/>";
    };
    say("supports-uefi", true);
    say("supports-secure-boot", true);
    if (from.guest == Guest::windows)
        xml += "<restriction field=\"has-vendor-device\" value=\"true\"/>";
    return xml + "</restrictions>";
}

Vm row_of(const Template& from) {
    const bool windows = from.guest == Guest::windows;
    Vm row;
    row.name_label = from.name;
    row.name_description = from.disk_bytes == 0
                               ? "Template which allows VM installation from install media"
                               : std::string("To install ") + from.name;
    row.reference_label = from.label;
    row.is_a_template = true;
    row.is_default_template = true;
    row.user_version = 1;
    row.memory_static_min = row.memory_dynamic_min = row.memory_dynamic_max =
        row.memory_static_max = from.memory_bytes;
    row.VCPUs_max = row.VCPUs_at_startup = from.vcpus;
    row.actions_after_shutdown = OnNormalExit::destroy;
    row.actions_after_reboot = OnNormalExit::restart;
    row.actions_after_crash = OnCrashBehaviour::restart;
    row.HVM_boot_policy = "BIOS order";
    row.HVM_boot_params = {{"order", "cdn"},
                           {"firmware", from.boot == Boot::bios ? "bios" : "uefi"}};
    row.platform = {
        {"acpi", "1"},
        {"apic", "true"},
        {"nx", "true"},
        {"pae", "true"},
        {"viridian", windows ? "true" : "false"},
        {"device-model", from.boot == Boot::bios ? "qemu-upstream-compat" : "qemu-upstream-uefi"},
        {"vga", "std"},
        {"videoram", "8"}};
    if (from.boot == Boot::secure) row.platform.insert_or_assign("secureboot", "true");
    row.other_config = {
        {"default_template", "true"},
        {"base_template_name", from.name},
        {"install-methods", from.guest == Guest::linux_ ? "cdrom,nfs,http,ftp" : "cdrom"}};
    if (from.guest == Guest::linux_) row.other_config.insert_or_assign("linux_template", "true");
    if (from.disk_bytes != 0)
        row.other_config.insert_or_assign("disks", provision_xml(from.disk_bytes));
    row.recommendations = recommendations_of(from);
    row.has_vendor_device = false;
    row.domain_type = DomainType::hvm;
    row.hardware_platform_version = 2;
    row.domid = -1;
    row.memory_overhead = memory_overhead_bytes(row);
    return row;
}

}  // namespace

void insert_default_templates(core::Core& core, db::Txn& txn) {
    std::set<std::string> present;
    txn.each<Vm>([&](Ref<Vm>, const Vm& row) {
        if (row.is_default_template) present.insert(row.name_label);
    });
    for (const Template& from : templates) {
        if (present.contains(from.name)) continue;
        Vm row = row_of(from);
        row.other_config.insert_or_assign("mac_seed", core.new_uuid());
        row.metrics = txn.insert(VmMetrics{.hvm = true});
        txn.insert(std::move(row));
    }
}

}  // namespace basalt::domain
