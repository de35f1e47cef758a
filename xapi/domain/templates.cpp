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

struct Template {
    const char* name;
    const char* install_methods;
    const char* firmware;
    std::int64_t memory_bytes;
    std::int64_t disk_bytes;  // 0: none
    std::int64_t vcpus;
    bool linux_guest;
};

constexpr Template templates[] = {
    {"Other install media", "cdrom", "bios", 128 * mib, 0, 1, false},
    {"Debian Bookworm 12", "cdrom,http,ftp", "bios", 1 * gib, 10 * gib, 1, true},
    {"Debian Trixie 13", "cdrom,http,ftp", "bios", 1 * gib, 10 * gib, 1, true},
    {"Ubuntu Noble Numbat 24.04", "cdrom,http,ftp", "bios", 2 * gib, 10 * gib, 1, true},
    {"Windows Server 2025 (64-bit)", "cdrom", "uefi", 4 * gib, 32 * gib, 2, false},
};

std::string provision_xml(std::int64_t disk_bytes) {
    if (disk_bytes == 0) return {};
    return "<provision><disk device=\"0\" size=\"" + std::to_string(disk_bytes) +
           "\" sr=\"\" bootable=\"true\" type=\"system\"/></provision>";
}

constexpr const char* recommendations =
    "<restrictions>"
    "<restriction field=\"memory-static-max\" max=\"1649267441664\"/>"
    "<restriction field=\"vcpus-max\" max=\"64\"/>"
    "<restriction property=\"number-of-vbds\" max=\"255\"/>"
    "<restriction property=\"number-of-vifs\" max=\"7\"/>"
    "</restrictions>";

Vm row_of(const Template& from) {
    Vm row;
    row.name_label = from.name;
    row.name_description = from.disk_bytes == 0
                               ? "Template which allows VM installation from install media"
                               : std::string("To install ") + from.name;
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
    row.HVM_boot_params = {{"order", "cdn"}, {"firmware", from.firmware}};
    row.platform = {{"acpi", "1"},
                    {"apic", "true"},
                    {"nx", "true"},
                    {"pae", "true"},
                    {"viridian", from.linux_guest ? "false" : "true"},
                    {"device-model", "qemu-upstream-compat"},
                    {"vga", "std"},
                    {"videoram", "8"}};
    row.other_config = {{"default_template", "true"},
                        {"base_template_name", from.name},
                        {"install-methods", from.install_methods}};
    if (from.linux_guest) row.other_config.insert_or_assign("linux_template", "true");
    if (from.disk_bytes != 0)
        row.other_config.insert_or_assign("disks", provision_xml(from.disk_bytes));
    row.recommendations = recommendations;
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
