// Rows of a host, at its first boot and after.
#include <algorithm>
#include <set>

#include "idl/records/bond.hpp"
#include "idl/records/console.hpp"
#include "idl/records/host.hpp"
#include "idl/records/host_cpu.hpp"
#include "idl/records/host_metrics.hpp"
#include "idl/records/network.hpp"
#include "idl/records/pbd.hpp"
#include "idl/records/pif.hpp"
#include "idl/records/pool.hpp"
#include "idl/records/sm.hpp"
#include "idl/records/sr.hpp"
#include "idl/records/vm.hpp"
#include "idl/records/vm_metrics.hpp"
#include "idl/versions.hpp"
#include "xapi/domain/features.hpp"
#include "xapi/domain/ip_text.hpp"
#include "xapi/domain/small.hpp"
#include "xapi/domain/start_of_day.hpp"
#include "xapi/domain/words.hpp"

namespace basalt::domain {

namespace {

constexpr std::int64_t mib = 1024 * 1024;
constexpr std::int64_t dom0_overhead_bytes = 20 * mib;

// Every licensed feature is there: `restrict_` keys say false, but those of features.hpp. The keys,
// and the three besides them, are those of a real host's license_params: clients look them up one
// by one.
constexpr const char* features[] = {"vlan",
                                    "qos",
                                    "pool_attached_storage",
                                    "netapp",
                                    "equalogic",
                                    "pooling",
                                    "marathon",
                                    "email_alerting",
                                    "historical_performance",
                                    "wlb",
                                    "rbac",
                                    "dmc",
                                    "checkpoint",
                                    "cpu_masking",
                                    "connection",
                                    "vmpr",
                                    "vmss",
                                    "intellicache",
                                    "gpu",
                                    "dr",
                                    "vif_locking",
                                    "storage_xen_motion",
                                    "vgpu",
                                    "integrated_gpu_passthrough",
                                    "vss",
                                    "guest_agent_auto_update",
                                    "pci_device_for_auto_update",
                                    "xen_motion",
                                    "guest_ip_setting",
                                    "ad",
                                    "nested_virt",
                                    "live_patching",
                                    "set_vcpus_number_live",
                                    "pvs_proxy",
                                    "igmp_snooping",
                                    "rpu",
                                    "pool_size",
                                    "cbt",
                                    "usb_passthrough",
                                    "network_sriov",
                                    "corosync",
                                    "cluster_address",
                                    "zstd_export",
                                    "pool_secret_rotation",
                                    "certificate_verification",
                                    "updates",
                                    "internal_repo_access",
                                    "vtpm",
                                    "vm_groups",
                                    "vm_start",
                                    "vm_appliance_start"};

Map<std::string, std::string> restrictions() {
    Map<std::string, std::string> map;
    for (const char* feature : features)
        map.insert_or_assign(std::string("restrict_") + feature, "false");
    map.insert_or_assign("enable_xha", "true");
    map.insert_or_assign("platform_filter", "false");
    map.insert_or_assign("regular_nag_dialog", "false");
    return map;
}

Map<std::string, std::string> software_version(const core::Core& core,
                                               const agent::HostFacts& facts) {
    const core::Product& product = core.product;
    const std::string major = product.version.substr(0, product.version.find('.'));
    Map<std::string, std::string> map = {{"product_brand", product.brand},
                                         {"product_version", product.version},
                                         {"product_version_text", major},
                                         {"product_version_text_short", major},
                                         {"platform_name", "XCP"},
                                         {"platform_version", "3.4.0"},
                                         {"xapi", product.xapi_version},
                                         {"xapi_build", product.build},
                                         {"build_number", "0"},
                                         {"hostname", facts.hostname},
                                         {"linux", facts.kernel_version},
                                         {"xencenter_min", "2.23"},
                                         {"xencenter_max", "2.23"},
                                         {"network_backend", facts.network_backend},
                                         {"db_schema", "5.909"}};
    map.insert_or_assign(facts.hypervisor, facts.hypervisor_version);
    if (!map.contains(std::string("xen"))) map.insert_or_assign("xen", "");
    return map;
}

// From /proc/cpuinfo, /sys/devices/system/node and CPUID of the host (host-agent/services). Guests
// are hardware virtualised only, so there are no features of paravirtualised ones; and what the
// processor has is what guests get.
Map<std::string, std::string> cpu_info(const agent::HostFacts& facts) {
    const auto number = [](auto value) { return std::to_string(value); };
    return {{"cpu_count", number(facts.cpu_count)},
            {"socket_count", number(facts.cpu_sockets)},
            {"threads_per_core", number(facts.cpu_threads_per_core)},
            {"nr_nodes", number(facts.numa_nodes)},
            {"vendor", facts.cpu_vendor},
            {"speed", number(static_cast<std::int64_t>(facts.cpu_mhz))},
            {"modelname", facts.cpu_model},
            {"family", number(facts.cpu_family)},
            {"model", number(facts.cpu_model_number)},
            {"stepping", number(facts.cpu_stepping)},
            {"flags", facts.cpu_flags},
            {"features_pv", ""},
            {"features_hvm", facts.cpu_features},
            {"features_pv_host", ""},
            {"features_hvm_host", facts.cpu_features}};
}

Ref<Host> insert_host(core::Core& core, db::Txn& txn, const agent::HostFacts& facts) {
    Host row;
    row.uuid = facts.uuid;
    row.name_label = facts.hostname;
    row.name_description = "Default install";
    row.hostname = facts.hostname;
    row.API_version_major = 2;
    row.API_version_minor = 23;
    row.API_version_vendor = "XenSource";
    row.sched_policy = "credit";
    row.supported_bootloaders = {"pygrub"};
    row.edition = "enterprise";
    row.editions = {"enterprise"};
    row.license_params = restrictions();
    row.license_server = {{"address", "localhost"}, {"port", "27000"}};
    row.virtual_hardware_platform_versions = {0, 1, 2};
    row.ssl_legacy = false;
    row.display = HostDisplay::enabled;
    row.other_config = {{"agent_start_time", std::to_string(core.now_seconds()) + "."},
                        {"boot_time", std::to_string(facts.boot_time) + "."},
                        {"iscsi_iqn", facts.iscsi_iqn}};
    row.iscsi_iqn = facts.iscsi_iqn;
    row.metrics = txn.insert(HostMetrics{});
    return txn.insert(std::move(row));
}

void insert_pool(core::Core& core, db::Txn& txn, Ref<Host> master, Ref<Sr> local) {
    Pool row;
    row.master = master;
    row.restrictions = restrictions();
    row.other_config = {{"memory-ratio-hvm", "0.25"}, {"memory-ratio-pv", "0.25"}};
    row.ha_cluster_stack = "xhad";
    row.default_SR = local;
    row.suspend_image_SR = local;
    row.crash_dump_SR = local;
    core.pool = txn.insert(std::move(row));
}

void insert_dom0(db::Txn& txn, Ref<Host> host, const agent::HostFacts& facts) {
    Vm row;
    row.name_label = "Control domain on host: " + facts.hostname;
    row.name_description = "The domain which manages physical devices and manages other domains";
    row.is_control_domain = true;
    row.power_state = VmPowerState::running;
    row.resident_on = host;
    row.affinity = host;
    row.domid = 0;
    row.domarch = "x64";
    row.domain_type = DomainType::pv;
    row.user_version = 1;
    row.memory_overhead = dom0_overhead_bytes;
    row.VCPUs_max = row.VCPUs_at_startup = std::max<std::int64_t>(1, facts.cpu_count);
    row.actions_after_shutdown = OnNormalExit::destroy;
    row.actions_after_reboot = OnNormalExit::destroy;
    row.actions_after_crash = OnCrashBehaviour::destroy;
    row.has_vendor_device = false;
    row.metrics = txn.insert(VmMetrics{});
    const Ref<Vm> dom0 = txn.insert(std::move(row));
    txn.edit(host).control_domain = dom0;
    Console console;
    console.VM = dom0;
    console.protocol = ConsoleProtocol::vt100;
    const Ref<Console> ref = txn.insert(std::move(console));
    txn.edit(ref).location =
        "https://" + split_cidr(facts.address).ip + "/console?ref=" + ref.text();
}

void insert_internal_network(db::Txn& txn) {
    Network row;
    row.name_label = "Host internal management network";
    row.name_description =
        "Network on which guests will be assigned a private link-local IP address which can be "
        "used to talk XenAPI";
    row.bridge = "xenapi";
    row.other_config = {{"is_guest_installer_network", "true"},
                        {"is_host_internal_management_network", "true"},
                        {"ip_begin", "169.254.0.1"},
                        {"ip_end", "169.254.255.254"},
                        {"netmask", "255.255.0.0"}};
    txn.insert(std::move(row));
}

struct SrOfHost {
    const char* name;
    const char* description;
    const char* content_type;
    std::string type;
    Map<std::string, std::string> device_config;
    std::string uuid;  // empty: a fresh one
};

Ref<Sr> insert_sr(db::Txn& txn, Ref<Host> host, const SrOfHost& spec) {
    Sr row;
    row.uuid = spec.uuid;
    row.name_label = spec.name;
    row.name_description = spec.description;
    row.type = spec.type;
    row.content_type = spec.content_type;
    row.other_config = {{"i18n-key", "local-storage"}};
    if (row.content_type == "iso") row.sm_config = {{"iso_type", "local"}};
    const Ref<Sr> sr = txn.insert(std::move(row));
    Pbd pbd;
    pbd.SR = sr;
    pbd.host = host;
    pbd.device_config = spec.device_config;
    txn.insert(std::move(pbd));
    return sr;
}

// The SR that was made on the disk may have come into a pool by another way.
bool is_taken(const db::Txn& txn, const std::string& sr_uuid) {
    bool taken = false;
    txn.each<Sr>([&](Ref<Sr>, const Sr& row) { taken = taken || row.uuid == sr_uuid; });
    return taken;
}

// The SR for disks, or null when the host has none.
Ref<Sr> insert_local_storage(db::Txn& txn, Ref<Host> host, const agent::HostFacts& facts) {
    Ref<Sr> local;
    if (facts.local_sr) {
        const auto& [type, location, uuid] = *facts.local_sr;
        const std::string key = type == "file" ? "location" : "device";
        local = insert_sr(txn, host,
                          {"Local storage",
                           "",
                           "user",
                           type,
                           {{key, location}},
                           is_taken(txn, uuid) ? "" : uuid});
        txn.edit(host).suspend_image_sr = local;
        txn.edit(host).crash_dump_sr = local;
    }
    if (!facts.iso_sr_path.empty())
        insert_sr(txn, host,
                  {"Local ISOs",
                   "Disc images on this host",
                   "iso",
                   "iso",
                   {{"location", facts.iso_sr_path}, {"legacy_mode", "true"}},
                   ""});
    return local;
}

void refresh_cpus(db::Txn& txn, Ref<Host> host, const agent::HostFacts& facts) {
    auto present = std::vector(txn.get(host).host_CPUs);
    for (std::int64_t number = static_cast<std::int64_t>(present.size()); number < facts.cpu_count;
         ++number) {
        HostCpu cpu;
        cpu.host = host;
        cpu.number = number;
        present.push_back(txn.insert(std::move(cpu)));
    }
    for (const auto ref : present) {
        HostCpu& cpu = txn.edit(ref);
        cpu.vendor = facts.cpu_vendor;
        cpu.modelname = facts.cpu_model;
        cpu.speed = static_cast<std::int64_t>(facts.cpu_mhz);
        cpu.family = facts.cpu_family;
        cpu.model = facts.cpu_model_number;
        cpu.stepping = std::to_string(facts.cpu_stepping);
        cpu.flags = facts.cpu_flags;
    }
}

bool leads(db::Txn& txn, Ref<Host> host) {
    bool other_leads = false;
    txn.each<Pool>([&](Ref<Pool>, const Pool& row) { other_leads = row.master != host; });
    return !other_leads;
}

// The coordinator's drivers describe the pool's; a member adds those that only it has.
void refresh_drivers(core::Core& core, db::Txn& txn, Ref<Host> host,
                     const std::vector<agent::SmFacts>& drivers) {
    const bool ours = leads(txn, host);
    std::map<std::string, Ref<Sm>> known;
    txn.each<Sm>([&](Ref<Sm> ref, const Sm& row) { known.emplace(row.type, ref); });
    for (const agent::SmFacts& facts : drivers) {
        const auto found = known.find(facts.type);
        if (found != known.end() && !ours) continue;
        const Ref<Sm> ref =
            found != known.end() ? found->second : txn.insert(Sm{.type = facts.type});
        Sm& row = txn.edit(ref);
        row.name_label = facts.name;
        row.name_description = facts.description;
        row.vendor = facts.vendor;
        row.version = facts.version;
        row.required_api_version = "1.1";
        row.capabilities = facts.capabilities;
        row.features = {};
        for (const std::string& capability : facts.capabilities)
            row.features.insert_or_assign(capability, 1);
        row.configuration = {};
        for (const auto& [key, text] : facts.configuration)
            row.configuration.insert_or_assign(key, text);
        row.driver_filename = "sm-worker";
        row.copyright = core.product.brand;
    }
}

// Not kept over a restart of xapi, so told anew each time.
void refresh_control_domain(core::Core& core, db::Txn& txn, Ref<Host> host,
                            const agent::HostFacts& facts) {
    const Vm& vm = txn.get(txn.get(host).control_domain);
    VmMetrics& metrics = txn.edit(vm.metrics);
    metrics.memory_actual = vm.memory_target;
    metrics.VCPUs_number = vm.VCPUs_max;
    metrics.start_time = DateTime{facts.boot_time};
    metrics.state = {"running"};
    metrics.last_updated = DateTime{core.now_seconds()};
}

// As PIF.DNS lists them.
std::string comma_separated(const std::vector<std::string>& words) {
    std::string out;
    for (const std::string& word : words)
        out += (out.empty() ? "" : ",") + word;
    return out;
}

/// Of the interface that the host's configuration names: its address is what stands there.
void land_configured(db::Txn& txn, Ref<Pif> pif, const agent::HostFacts& facts) {
    const auto [ip, netmask] = split_cidr(facts.address);
    Pif& row = txn.edit(pif);
    row.management = true;
    row.currently_attached = true;
    row.IP = ip;
    row.netmask = netmask;
    row.gateway = facts.gateway;
    row.DNS = comma_separated(facts.dns);
    row.ip_configuration_mode = IpConfigurationMode::static_;
}

/// A card in a bond is managed through the bond.
Ref<Pif> managed_through(const db::Txn& txn, Ref<Pif> card) {
    const Bond* bond = txn.find(txn.get(card).bond_slave_of);
    return bond != nullptr ? bond->master : card;
}

void refresh_pifs(core::Core& core, db::Txn& txn, Ref<Host> host, const agent::HostFacts& facts) {
    std::map<std::string, Ref<Pif>> known;
    for (const auto pif : txn.get(host).PIFs)
        if (txn.get(pif).physical) known.emplace(txn.get(pif).device, pif);
    // Whoever took management from a host (host.management_disable) gives it back, nobody else.
    const bool is_managed = known.empty() || !management_pif(txn, host).null();
    for (const agent::NicFacts& nic : facts.nics) {
        const auto found = known.find(nic.name);
        const Ref<Pif> pif =
            found != known.end() ? found->second : insert_physical_pif(txn, host, nic);
        land_nic(core, txn, pif, nic);
        // Moved there by a call: the records know of it, unless they are new.
        const bool as_told = facts.management_bridge.empty() || known.empty();
        if (is_managed && as_told && nic.name == facts.management_device)
            land_configured(txn, managed_through(txn, pif), facts);
    }
}

}  // namespace

void land_control_domain_memory(db::Txn& txn, Ref<Host> host, const agent::HostFacts& facts) {
    // MemTotal less MemAvailable of /proc/meminfo while no guest runs yet: what the machine used
    // then is what the control domain needs.
    const std::int64_t used =
        std::max(facts.memory_total_bytes - facts.memory_free_bytes, 512 * mib) / mib * mib;
    Vm& row = txn.edit(txn.get(host).control_domain);
    row.memory_target = row.memory_static_max = row.memory_static_min = used;
    row.memory_dynamic_max = row.memory_dynamic_min = used;
}

Ref<Host> first_boot_records(core::Core& core, db::Txn& txn, const agent::HostFacts& facts,
                             const std::vector<agent::SmFacts>& drivers) {
    const Ref<Host> host = insert_host(core, txn, facts);
    insert_dom0(txn, host, facts);
    refresh_drivers(core, txn, host, drivers);
    const Ref<Sr> local = insert_local_storage(txn, host, facts);
    bool has_pool = false;
    txn.each<Pool>([&](Ref<Pool>, const Pool&) { has_pool = true; });
    if (has_pool) return host;
    insert_pool(core, txn, host, local);
    insert_internal_network(txn);
    insert_default_templates(core, txn);
    return host;
}

void land_addresses(core::Core& core, db::Txn& txn, Ref<Host> host, const agent::HostFacts& facts) {
    refresh_pifs(core, txn, host, facts);
    std::string address;
    if (const Ref<Pif> managed = management_pif(txn, host); managed) {
        const Pif& row = txn.get(managed);
        const bool by_ipv6 =
            row.primary_address_type == PrimaryAddressType::ipv6 && !row.IPv6.empty();
        const std::string& cidr = by_ipv6 ? row.IPv6.front() : facts.address;
        address = cidr.substr(0, cidr.find('/'));
    }
    land_host_address(txn, host, address);
}

void refresh_host(core::Core& core, db::Txn& txn, Ref<Host> host, const agent::HostFacts& facts,
                  const std::vector<agent::SmFacts>& drivers) {
    Host& row = txn.edit(host);
    // What the machine calls itself is what was set last, whoever set it and whatever was lost.
    row.hostname = facts.hostname;
    if (!facts.iscsi_iqn.empty()) row.iscsi_iqn = facts.iscsi_iqn;
    row.software_version = software_version(core, facts);
    row.cpu_info = cpu_info(facts);
    row.capabilities = facts.capabilities;
    if (row.capabilities.empty()) row.capabilities = {""};
    row.chipset_info = {{"iommu", facts.iommu ? "true" : "false"}};
    for (const auto& [key, text] : facts.bios)
        row.bios_strings.insert_or_assign(key, text);
    row.other_config.insert_or_assign("agent_start_time", std::to_string(core.now_seconds()) + ".");
    row.other_config.insert_or_assign("boot_time", std::to_string(facts.boot_time) + ".");
    HostMetrics& metrics = txn.edit(row.metrics);
    metrics.memory_total = facts.memory_total_bytes;
    metrics.memory_free = facts.memory_free_bytes;
    metrics.last_updated = DateTime{core.now_seconds()};
    refresh_control_domain(core, txn, host, facts);
    refresh_cpus(txn, host, facts);
    refresh_features(txn, host, facts);
    refresh_drivers(core, txn, host, drivers);
    land_addresses(core, txn, host, facts);
    insert_roles(txn);
    txn.each<Pool>([&](Ref<Pool> ref, const Pool& pool) {
        if (pool.tls_verification_enabled) txn.edit(host).tls_verification_enabled = true;
        if (pool.master != host) return;
        txn.edit(ref).cpu_info = {{"vendor", facts.cpu_vendor},
                                  {"socket_count", std::to_string(facts.cpu_sockets)},
                                  {"cpu_count", std::to_string(facts.cpu_count)},
                                  {"features_pv_host", ""},
                                  {"features_hvm_host", facts.cpu_features}};
    });
}

}  // namespace basalt::domain
