#include "host-agent/core/guard.hpp"

#include <algorithm>
#include <array>
#include <functional>
#include <limits>
#include <map>
#include <nlohmann/json.hpp>
#include <string_view>
#include <system_error>

#include "agent_values.hpp"
#include "base/error.hpp"
#include "host-agent/core/guard_networks.hpp"
#include "host-agent/core/guard_words.hpp"
#include "idl/errors.hpp"

namespace basalt::agent {

using Json = nlohmann::json;

namespace {

namespace fs = std::filesystem;

constexpr std::int64_t memory_bytes_max = std::int64_t{64} << 40;
constexpr std::int64_t disk_bytes_max = std::int64_t{1} << 50;
constexpr std::int64_t vcpus_max = 4096;
constexpr std::int64_t usbs_max = 6;
constexpr std::int64_t seed_content_bytes_max = std::int64_t{256} << 10;
// In base64, with the frame around them.
constexpr std::size_t kept_state_bytes_max = std::size_t{900} << 10;
constexpr std::int64_t seconds_max = std::int64_t{1} << 40;
constexpr std::int64_t told_max = 32;  // figures that xapi tells of itself

// -- storage --------------------------------------------------------------------------------------

void check_disk(const DiskRef& disk) {
    check_uuid("SR", disk.sr);
    check_uuid("VDI", disk.vdi);
    const bool plain = disk.location.size() <= 255 && !disk.location.starts_with('.') &&
                       !disk.location.starts_with('-') && !disk.location.contains('/') &&
                       !has_control(disk.location);
    if (!plain) throw err::invalid_value("location", disk.location.substr(0, 64));
}

void check_config(const std::map<std::string, std::string>& config) {
    for (const auto& [key, value] : config) {
        if (!is_name(key, 64, "_-")) throw err::invalid_value("device_config", key.substr(0, 64));
        check_line(key.c_str(), value);
        // Drivers give these to programs as arguments of their own.
        if (value.starts_with('-')) throw err::invalid_value(key, value.substr(0, 64));
    }
}

// Options of mount that lend root's rights to what is mounted, or are no options.
void check_mount_options(const std::map<std::string, std::string>& config) {
    static constexpr std::array lending = {"suid",  "dev",   "exec", "user",
                                           "users", "owner", "group"};
    const auto given = config.find("options");
    if (given == config.end()) return;
    for (std::size_t begin = 0; begin <= given->second.size();) {
        const std::size_t end = std::min(given->second.find(',', begin), given->second.size());
        const std::string option = given->second.substr(begin, end - begin);
        const std::string name = option.substr(0, option.find('='));
        const std::string value =
            name.size() == option.size() ? "" : option.substr(name.size() + 1);
        if (!is_name(name, 32, "_-") || (!value.empty() && !is_name(value, 128, "._:-")) ||
            std::ranges::contains(lending, name))
            throw err::invalid_value("options", option.substr(0, 64));
        begin = end + 1;
    }
}

void check_sr_config(const std::string& type, const std::map<std::string, std::string>& config) {
    if (!is_name(type, 32, "_")) throw err::sr_unknown_driver(type.substr(0, 64));
    check_config(config);
    check_mount_options(config);
}

void check_new_disk(const VdiSpec& spec) {
    if (!spec.uuid.empty()) check_uuid("VDI", spec.uuid);
    check_range("virtual_size", spec.size_bytes, 0, disk_bytes_max);
    check_line("name_label", spec.name);
    check_text("name_description", spec.description);
    check_line("type", spec.type);
    for (const auto& [key, value] : spec.sm_config) {
        check_line("sm_config", key);
        check_text("sm_config", value);
    }
}

void check_format(const std::string& format) {
    static constexpr std::array known = {"raw", "qcow2", "vhd", "vmdk"};
    if (!std::ranges::contains(known, format))
        throw err::invalid_value("format", format.substr(0, 64));
}

// -- guests ---------------------------------------------------------------------------------------

void check_device(const std::string& device) {
    if (!is_name(device, 16, "")) throw err::invalid_device(device.substr(0, 64));
}

void check_plug(const DiskSpec& spec) {
    check_uuid("VBD", spec.vbd);
    check_device(spec.device);
    if (spec.position < 0 || spec.position > 255) throw err::invalid_device(spec.device);
    if (spec.disk) check_disk(*spec.disk);
}

// A link that leads out of the folder leads to what the file is, not to where it lies.
void check_boot_file(const fs::path& folder, const char* field, const std::string& path) {
    check_line(field, path);
    std::error_code failed;
    const fs::path root = fs::canonical(folder, failed);
    const fs::path file = failed ? fs::path() : fs::canonical(path, failed);
    const bool within = !failed && path.starts_with('/') && !root.empty() &&
                        std::ranges::mismatch(root, file).in1 == root.end() &&
                        fs::is_regular_file(file, failed);
    if (!within) throw err::invalid_value(field, path.substr(0, 256));
}

// It is a program that root starts: options that say where it writes are none of the caller's.
void check_bootloader(const BootSpec& boot) {
    constexpr std::array options = {"--args=", "--entry=", "--kernel=", "--offset=", "--ramdisk="};
    if (!boot.bootloader.empty() && boot.bootloader != "pygrub")
        throw err::invalid_value("PV_bootloader", boot.bootloader.substr(0, 64));
    for (const std::string& word : boot.bootloader_args) {
        check_line("PV_bootloader_args", word);
        if (std::ranges::none_of(options, [&](const char* one) { return word.starts_with(one); }))
            throw err::invalid_value("PV_bootloader_args", word.substr(0, 64));
    }
}

void check_boot(const fs::path& folder, const BootSpec& boot) {
    check_bootloader(boot);
    if (boot.kind == BootKind::kernel) {
        check_boot_file(folder, "PV_kernel", boot.kernel);
        if (!boot.ramdisk.empty()) check_boot_file(folder, "PV_ramdisk", boot.ramdisk);
    }
    check_line("PV_args", boot.args);
    const bool letters = boot.order.size() <= 8 && std::ranges::all_of(boot.order, [](char c) {
                             return c >= 'a' && c <= 'z';
                         });
    if (!letters) throw err::invalid_value("order", boot.order.substr(0, 64));
}

void check_cpu(const CpuShares& cpu) {
    check_range("weight", cpu.weight, 0, 65535);
    check_range("cap", cpu.cap_percent, 0, 100 * vcpus_max);
    for (const std::int64_t number : cpu.mask)
        check_range("mask", number, 0, 4095);
}

// Names of files on a FAT file system, which a tool is told by its arguments.
void check_seed(const SeedDrive& seed) {
    std::size_t bytes = 0;
    for (const auto& [name, content] : seed.files) {
        if (!is_name(name, 64, "_-.")) throw err::invalid_value("cloud-init", name.substr(0, 64));
        bytes += content.size();
    }
    if (!is_name(seed.label, 11, "-"))
        throw err::invalid_value("cloud-init", seed.label.substr(0, 64));
    check_range("cloud-init", static_cast<std::int64_t>(bytes), 0, seed_content_bytes_max);
}

void check_signal(const std::string& key) {
    if (!key.empty() && !is_name(key, 1, "")) throw err::invalid_value("key", key.substr(0, 16));
}

// The path becomes the name of a folder of the kernel's.
void check_usb(const UsbSpec& usb) {
    check_uuid("VUSB", usb.vusb);
    if (!is_name(usb.path, 32, "-.")) throw err::invalid_device(usb.path.substr(0, 64));
    for (const std::string& id : {usb.vendor_id, usb.product_id})
        if (id.size() != 4 || !is_name(id, 4, "")) throw err::invalid_value("id", id.substr(0, 16));
}

// Nodes of the guest's own part of Xen's store, in the letters that the store takes; its messages
// are of 4 KiB.
void check_xenstore(const std::map<std::string, std::string>& nodes) {
    for (const auto& [path, value] : nodes) {
        const bool own = path.starts_with("vm-data/") && is_name(path, 256, "/_-@") &&
                         !path.contains("//") && !path.ends_with('/');
        if (!own) throw err::invalid_value("xenstore_data", path.substr(0, 64));
        if (value.size() > 2048 || value.contains('\0'))
            throw err::invalid_value("xenstore_data", value.substr(0, 64));
    }
}

void check_vm(const fs::path& boot_folder, const VmSpec& spec) {
    check_uuid("VM", spec.uuid);
    check_text("name_label", spec.name);
    check_range("memory_bytes", spec.memory_bytes, 1, memory_bytes_max);
    check_range("VCPUs_max", spec.vcpus_max, 1, vcpus_max);
    check_range("VCPUs_at_startup", spec.vcpus, 0, spec.vcpus_max);
    check_boot(boot_folder, spec.boot);
    check_range("memory_target", spec.memory_target_bytes, 0, spec.memory_bytes);
    check_cpu(spec.cpu);
    if (spec.seed) check_seed(*spec.seed);
    for (const auto& [key, value] : spec.bios_strings)
        check_line("bios_strings", value);
    check_xenstore(spec.xenstore);
    for (const DiskSpec& disk : spec.disks)
        check_plug(disk);
    for (const NicSpec& nic : spec.nics)
        check_nic(nic);
    check_range("VUSBs", static_cast<std::int64_t>(spec.usbs.size()), 0, usbs_max);
    for (const UsbSpec& usb : spec.usbs)
        check_usb(usb);
}

// -- the rest -------------------------------------------------------------------------------------

// Plug-ins may be called `perfmon.py`; their folder has nothing that begins with a dot.
void check_plugin(const std::string& plugin, const std::string& function) {
    if (!is_name(plugin, 128, "._-")) throw err::xenapi_missing_plugin(plugin.substr(0, 64));
    check_line("function", function);
}

// Both end up in logs and in what PAM's modules run.
void check_user(const std::string& user, const std::string& address) {
    if (user.empty() || user.size() > 255 || has_control(user) || has_control(address))
        throw err::session_authentication_failed(user.substr(0, 64), "not a user name");
}

// The settings end up as lines of files that daemons read. What they must look like is checked
// again where they are written.
void check_change(const HostChange& change) {
    if (change.hostname) check_line("hostname", *change.hostname);
    if (change.timezone) check_line("timezone", *change.timezone);
    if (change.syslog_destination) check_line("syslog_destination", *change.syslog_destination);
    if (change.iscsi_iqn) check_line("iscsi_iqn", *change.iscsi_iqn);
    if (change.max_cstate) check_line("max_cstate", *change.max_cstate);
    if (change.console_idle_seconds)
        check_range("console_idle_timeout", *change.console_idle_seconds, 0,
                    std::numeric_limits<std::int32_t>::max());
    if (change.clock_seconds)
        check_range("value", *change.clock_seconds, 0, std::numeric_limits<std::int32_t>::max());
    if (!change.ntp) return;
    for (const std::string& server : change.ntp->servers)
        check_line("ntp_custom_servers", server);
}

// Names of scripts may be those of messages: `Host.something`.
void check_extension(const std::string& name) {
    if (!is_name(name, 128, "._-")) throw err::message_method_unknown(name.substr(0, 64));
}

// Both stand in a line of a file.
void check_tag(const char* field, const std::string& text) {
    if (!text.empty() && !is_name(text, 64, ""))
        throw err::invalid_value(field, text.substr(0, 64));
}

// -- verb by verb ---------------------------------------------------------------------------------

using Check = void (*)(const fs::path& boot_folder, const Json& args);

template <class T>
T get(const Json& args, const char* name) {
    const auto found = args.find(name);
    return found == args.end() || found->is_null() ? T{} : found->get<T>();
}

void uuid_of(const char* kind, const Json& args) {
    check_uuid(kind, get<std::string>(args, "uuid"));
}

void of_vm(const fs::path&, const Json& args) {
    uuid_of("VM", args);
    if (args.contains("device") && args.at("device").is_string())
        check_device(args.at("device").get<std::string>());
    if (args.contains("timeout_seconds"))
        check_range("timeout", get<std::int64_t>(args, "timeout_seconds"), 0, 30 * 86400);
}

void of_sr(const fs::path&, const Json& args) {
    uuid_of("SR", args);
}

void of_sr_config(const fs::path&, const Json& args) {
    uuid_of("SR", args);
    check_sr_config(get<std::string>(args, "type"),
                    get<std::map<std::string, std::string>>(args, "device_config"));
    check_range("physical_size", get<std::int64_t>(args, "size_bytes"), 0, INT64_MAX);
}

void of_disk(const fs::path&, const Json& args) {
    check_disk(args.at("disk").get<DiskRef>());
    if (args.contains("spec")) check_new_disk(args.at("spec").get<VdiSpec>());
    if (args.contains("sr")) check_uuid("SR", get<std::string>(args, "sr"));
    if (args.contains("format")) check_format(get<std::string>(args, "format"));
    if (args.contains("size_bytes"))
        check_range("virtual_size", get<std::int64_t>(args, "size_bytes"), 1, disk_bytes_max);
    const auto live_in = get<std::string>(args, "live_in");
    if (!live_in.empty()) check_uuid("VM", live_in);
}

// Into a disk that is there, or into a new one of an SR.
void of_copy(const fs::path& folder, const Json& args) {
    const auto given = [&args](const char* name) {
        return args.contains(name) && !args.at(name).is_null();
    };
    for (const char* name : {"base", "into"})
        if (given(name)) check_disk(args.at(name).get<DiskRef>());
    Json rest = args;
    if (given("into") && get<std::string>(args, "sr").empty()) rest.erase("sr");
    of_disk(folder, rest);
}

void of_figures(const fs::path&, const Json& args) {
    (void)get<MetricsOwner>(args, "owner");
    uuid_of("metrics", args);
    check_line("data_source", get<std::string>(args, "name"));
}

void of_state(const fs::path&, const Json& args) {
    check_uuid("VM", get<std::string>(args, "vm"));
    (void)args.at("kind").get<StateKind>();
    check_tag("tag", get<std::string>(args, "tag"));
    check_tag("digest", get<std::string>(args, "digest"));
    if (get<std::string>(args, "contents").size() > kept_state_bytes_max)
        throw err::invalid_value("contents", "too long");
}

void of_changes(const fs::path& folder, const Json& args) {
    constexpr std::int64_t block_bytes = 65536;
    constexpr std::int64_t window_bytes_max = std::int64_t{64} << 30;
    const auto offset = get<std::int64_t>(args, "offset");
    check_range("offset", offset, 0, disk_bytes_max);
    check_range("length", get<std::int64_t>(args, "length"), 1, window_bytes_max);
    if (offset % block_bytes != 0) throw err::invalid_value("offset", std::to_string(offset));
    of_copy(folder, args);
}

void of_pci(const fs::path&, const Json& args) {
    check_pci_address("address", get<std::string>(args, "address"));
}

void nothing_to_check(const fs::path&, const Json&) {}

// A verb that is not here is not served: who adds one says what its arguments may be.
const std::map<std::string, Check, std::less<>>& checks() {
    static const std::map<std::string, Check, std::less<>> table = {
        {"hello",
         [](const fs::path&, const Json& args) {
             check_line("version", get<std::string>(args, "xapi_version"));
         }},
        {"host_facts", nothing_to_check},
        {"host_time", nothing_to_check},
        {"host_console_open", nothing_to_check},
        {"storage_drivers", nothing_to_check},
        {"domains", nothing_to_check},
        {"network_state", nothing_to_check},
        {"metrics_save", nothing_to_check},
        {"metrics_settings", nothing_to_check},
        {"metrics_updates",
         [](const fs::path&, const Json& args) {
             for (const auto& uuid : get<std::vector<std::string>>(args, "vms"))
                 check_uuid("VM", uuid);
             for (const auto& uuid : get<std::vector<std::string>>(args, "srs"))
                 check_uuid("SR", uuid);
             check_range("start", get<std::int64_t>(args, "start"), INT32_MIN, seconds_max);
             check_range("interval", get<std::int64_t>(args, "interval"), 0, seconds_max);
         }},
        {"metrics_whole", of_figures},
        {"metrics_sources", of_figures},
        {"metrics_record", of_figures},
        {"metrics_means",
         [](const fs::path& folder, const Json& args) {
             of_figures(folder, args);
             check_range("seconds", get<std::int64_t>(args, "seconds"), 1, seconds_max);
         }},
        {"metrics_tell",
         [](const fs::path&, const Json& args) {
             const auto values = get<std::map<std::string, double>>(args, "values");
             check_range("values", static_cast<std::int64_t>(values.size()), 0, told_max);
             for (const auto& [name, value] : values)
                 if (!is_name(name, 64, "_")) throw err::invalid_value("name", name.substr(0, 64));
         }},
        {"metrics_drop", of_figures},
        {"metrics_take", of_vm},
        {"metrics_give", of_vm},
        {"acknowledge",
         [](const fs::path&, const Json& args) {
             for (const auto& id : get<std::vector<std::string>>(args, "operations"))
                 check_line("operation", id);
         }},
        {"resolve",
         [](const fs::path&, const Json& args) {
             check_range("term", get<std::int64_t>(args, "term"), 0,
                         std::numeric_limits<std::int64_t>::max());
         }},
        {"login",
         [](const fs::path&, const Json& args) {
             check_user(get<std::string>(args, "user"), get<std::string>(args, "address"));
         }},
        {"change_password",
         [](const fs::path&, const Json& args) { check_user(get<std::string>(args, "user"), ""); }},
        {"plugin_call",
         [](const fs::path&, const Json& args) {
             check_plugin(get<std::string>(args, "plugin"), get<std::string>(args, "function"));
         }},
        {"host_power", [](const fs::path&, const Json& args) { (void)get<PowerAct>(args, "act"); }},
        {"host_change",
         [](const fs::path&, const Json& args) { check_change(get<HostChange>(args, "change")); }},
        {"host_clock", nothing_to_check},
        {"usb_devices", nothing_to_check},
        {"pci_devices", nothing_to_check},
        {"pci_hiding", nothing_to_check},
        {"pci_hide", of_pci},
        {"pci_functions", of_pci},
        {"host_timezones", nothing_to_check},
        {"host_debug_keys",
         [](const fs::path&, const Json& args) {
             const auto keys = get<std::string>(args, "keys");
             if (keys.empty() || keys.size() > 64 || !std::ranges::all_of(keys, is_letter_or_digit))
                 throw err::invalid_value("keys", keys.substr(0, 64));
         }},
        {"host_log", [](const fs::path&, const Json& args) { (void)get<HostLog>(args, "log"); }},
        {"host_bundle",
         [](const fs::path&, const Json& args) {
             const auto format = get<std::string>(args, "format");
             if (format != "tar" && format != "tar.bz2" && format != "zip")
                 throw err::invalid_value("output", format.substr(0, 64));
             for (const auto& entry : get<std::vector<std::string>>(args, "entries"))
                 if (!is_name(entry, 64, "-_")) throw err::invalid_value("entries", entry);
         }},
        {"account",
         [](const fs::path&, const Json& args) {
             const auto who = get<std::string>(args, "who");
             if (who.empty() || who.size() > 255 || has_control(who))
                 throw err::subject_cannot_be_resolved();
         }},
        {"has_extension",
         [](const fs::path&, const Json& args) {
             check_extension(get<std::string>(args, "name"));
         }},
        {"extension_call",
         [](const fs::path&, const Json& args) {
             check_extension(get<std::string>(args, "name"));
         }},
        {"vm_start", [](const fs::path& folder,
                        const Json& args) { check_vm(folder, args.at("spec").get<VmSpec>()); }},
        {"vm_reboot",
         [](const fs::path& folder, const Json& args) {
             of_vm(folder, args);
             if (args.contains("spec") && !args.at("spec").is_null())
                 check_vm(folder, args.at("spec").get<VmSpec>());
         }},
        {"vm_resume",
         [](const fs::path& folder, const Json& args) {
             check_vm(folder, args.at("spec").get<VmSpec>());
             check_disk(args.at("from").get<DiskRef>());
         }},
        {"vm_suspend",
         [](const fs::path& folder, const Json& args) {
             of_vm(folder, args);
             check_disk(args.at("into").get<DiskRef>());
         }},
        {"vm_shutdown", of_vm},
        {"vm_pause", of_vm},
        {"vm_unpause", of_vm},
        {"vm_set_memory",
         [](const fs::path& folder, const Json& args) {
             of_vm(folder, args);
             check_range("memory_target", get<std::int64_t>(args, "target_bytes"), 1,
                         memory_bytes_max);
         }},
        {"vm_set_vcpus",
         [](const fs::path& folder, const Json& args) {
             of_vm(folder, args);
             check_range("nvcpu", get<std::int64_t>(args, "count"), 1, vcpus_max);
         }},
        {"vm_set_cpu",
         [](const fs::path& folder, const Json& args) {
             of_vm(folder, args);
             check_cpu(args.at("cpu").get<CpuShares>());
         }},
        {"vm_signal",
         [](const fs::path& folder, const Json& args) {
             of_vm(folder, args);
             (void)args.at("signal").get<GuestSignal>();
             check_signal(get<std::string>(args, "key"));
         }},
        {"vm_purge", of_vm},
        {"state_get", of_state},
        {"state_put", of_state},
        {"state_told", of_state},
        {"states_changed", nothing_to_check},
        {"disk_plug",
         [](const fs::path& folder, const Json& args) {
             of_vm(folder, args);
             check_plug(args.at("disk").get<DiskSpec>());
         }},
        {"disk_unplug", of_vm},
        {"disk_insert",
         [](const fs::path& folder, const Json& args) {
             of_vm(folder, args);
             check_disk(args.at("disk").get<DiskRef>());
         }},
        {"disk_eject", of_vm},
        {"nic_plug",
         [](const fs::path& folder, const Json& args) {
             of_vm(folder, args);
             check_nic(args.at("nic").get<NicSpec>());
         }},
        {"nic_change",
         [](const fs::path& folder, const Json& args) {
             of_vm(folder, args);
             check_nic(args.at("nic").get<NicSpec>());
         }},
        {"nic_unplug", of_vm},
        {"usb_plug",
         [](const fs::path& folder, const Json& args) {
             of_vm(folder, args);
             check_usb(args.at("usb").get<UsbSpec>());
         }},
        {"usb_unplug",
         [](const fs::path& folder, const Json& args) {
             of_vm(folder, args);
             check_uuid("VUSB", get<std::string>(args, "vusb"));
         }},
        {"console_open", of_vm},
        {"sr_probe",
         [](const fs::path&, const Json& args) {
             const auto type = get<std::string>(args, "type");
             for (const char* name : {"device_config", "sm_config"})
                 check_sr_config(type, get<std::map<std::string, std::string>>(args, name));
         }},
        {"sr_create", of_sr_config},
        {"sr_attach", of_sr_config},
        {"sr_destroy", of_sr},
        {"sr_detach", of_sr},
        {"sr_stat", of_sr},
        {"sr_scan", of_sr},
        {"vdi_create",
         [](const fs::path&, const Json& args) {
             check_uuid("SR", get<std::string>(args, "sr"));
             check_new_disk(args.at("spec").get<VdiSpec>());
         }},
        {"vdi_destroy", of_disk},
        {"vdi_snapshot", of_disk},
        {"vdi_clone", of_disk},
        {"vdi_revert",
         [](const fs::path& folder, const Json& args) {
             of_disk(folder, args);
             check_disk(args.at("snapshot").get<DiskRef>());
         }},
        {"vdi_copy", of_copy},
        {"vdi_resize", of_disk},
        {"vdi_open", of_disk},
        {"vdi_export", of_copy},
        {"vdi_import", of_disk},
        {"vdi_changes", of_changes},
        {"network_apply",
         [](const fs::path&, const Json& args) {
             const auto want = args.at("want").get<NetworkWant>();
             for (const BridgeWant& bridge : want.bridges)
                 check_network(bridge);
             for (const BondWant& bond : want.bonds)
                 check_bond(bond);
             for (const std::string& manager : want.managers)
                 check_manager(manager);
             const auto management = get<std::string>(args, "management");
             if (!management.empty()) check_bridge(management);
             check_line("confirm", get<std::string>(args, "confirm"));
             check_range("confirm_seconds", get<std::int64_t>(args, "confirm_seconds"), 0, 3600);
         }},
        {"network_keep",
         [](const fs::path&, const Json& args) {
             check_line("confirm", get<std::string>(args, "confirm"));
         }},
    };
    return table;
}

}  // namespace

void Guard::check(const std::string& verb, const Json& args) const {
    const auto found = checks().find(verb);
    if (found == checks().end()) throw err::internal_error("no verb " + verb.substr(0, 64));
    try {
        found->second(boot_folder_, args);
    } catch (const Json::exception& error) {
        throw err::internal_error(verb + ": " + error.what());
    } catch (const std::invalid_argument& error) {
        throw err::internal_error(verb + ": " + error.what());
    }
}

}  // namespace basalt::agent
