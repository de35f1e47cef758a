// What hosts, networks and repositories are asked for besides: tunnels, local copies of disks,
// trust among hosts, probes, and what a host is about inside. Over simulated hosts.
#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <fstream>

#include "idl/records.hpp"
#include "tests/sim/host_fixture.hpp"
#include "tests/sim/values.hpp"
#include "xapi/core/blob_files.hpp"
#include "xapi/domain/diagnostics.hpp"
#include "xapi/domain/host.hpp"
#include "xapi/domain/pool.hpp"
#include "xapi/domain/user_agents.hpp"

namespace basalt::testing {
namespace {

using wire::Value;
using xenapi::Host;
using xenapi::Network;
using xenapi::Pif;
using xenapi::Ref;
using xenapi::Sr;
using Texts = std::vector<std::string>;

class HostInside : public HostFixture {
  protected:
    HostInside() : HostFixture(11) {}

    [[nodiscard]] const Host& row() { return pool_.db().get(host()); }

    Ref<Network> network(const char* name) {
        return pool_.get<Ref<Network>>("network.create", {SimPool::network_record(name)});
    }

    /// The repository for disks that the host came with.
    Ref<Sr> local_sr() {
        Ref<Sr> found;
        pool_.db().each<Sr>([&](Ref<Sr> ref, const Sr& sr) {
            if (sr.content_type == "user") found = ref;
        });
        return found;
    }

    [[nodiscard]] const std::map<std::string, nm::Bridge>& bridges() {
        return pool_.hosts[0]->network().bridges();
    }
};

TEST_F(HostInside, a_tunnel_is_a_bridge_without_a_card) {
    const Ref<Pif> eth0 = row().PIFs.front();
    const Ref<Network> inner = network("private");
    const std::string bridge = pool_.db().get(inner).bridge;
    const auto create = [&](Ref<Pif> transport) {
        return code("tunnel.create", {of(transport), of(inner), Value("vxlan")});
    };
    pool_.hosts[0]->network().fail_next("apply", ApiError("INTERNAL_ERROR", {"broken"}));
    EXPECT_EQ(create(eth0), "INTERNAL_ERROR");
    EXPECT_EQ(pool_.db().count(xenapi::class_of<xenapi::Tunnel>()), 0U);
    EXPECT_TRUE(pool_.db().get(inner).PIFs.empty());

    const auto tunnel =
        pool_.get<Ref<xenapi::Tunnel>>("tunnel.create", {of(eth0), of(inner), Value("vxlan")});
    EXPECT_EQ(pool_.db().get(tunnel).protocol, xenapi::TunnelProtocol::vxlan);
    EXPECT_EQ(pool_.db().get(tunnel).status.get(std::string("active")), "false");
    const Ref<Pif> access = pool_.db().get(tunnel).access_PIF;
    EXPECT_EQ(pool_.db().get(access).device, "tunnel0");
    EXPECT_FALSE(pool_.db().get(access).physical);
    EXPECT_EQ(pool_.db().get(access).tunnel_access_PIF_of, std::vector{tunnel});
    EXPECT_EQ(bridges().at(bridge).uplink, "");
    EXPECT_EQ(create(eth0), "NETWORK_ALREADY_CONNECTED");
    EXPECT_EQ(create(access), "IS_TUNNEL_ACCESS_PIF");

    // Its own bridge goes and comes; with the outer end's address gone it does not come.
    EXPECT_EQ(code("PIF.unplug", {of(access)}), "success");
    EXPECT_FALSE(bridges().contains(bridge));
    pool_.db().transact([&](db::Txn& txn) {
        txn.edit(eth0).ip_configuration_mode = xenapi::IpConfigurationMode::none;
    });
    EXPECT_EQ(code("PIF.plug", {of(access)}), "TRANSPORT_PIF_NOT_CONFIGURED");
    EXPECT_EQ(code("tunnel.destroy", {of(tunnel)}), "success");
    EXPECT_EQ(pool_.db().find(access), nullptr);
    EXPECT_EQ(create(eth0), "TRANSPORT_PIF_NOT_CONFIGURED");
}

TEST_F(HostInside, networks_are_brought_to_where_a_vm_needs_them) {
    const auto vm = pool_.make_vm("guest");
    const auto vif = pool_.db().get(vm).VIFs.front();
    const Ref<Network> lan = pool_.db().get(vif).network;
    const Ref<Pif> eth0 = row().PIFs.front();
    const Ref<Network> tagged = network("tagged");
    const auto vlan = pool_.get<Ref<Pif>>(
        "PIF.create_VLAN", {Value("eth0"), of(tagged), of(host()), Value(std::int64_t{12})});
    pool_.call("PIF.unplug", {of(vlan)});
    pool_.call("VIF.move", {of(vif), of(tagged)});
    pool_.call("network.attach_for_vm", {of(host()), of(vm)});
    EXPECT_TRUE(pool_.db().get(vlan).currently_attached);
    pool_.call("network.detach_for_vm", {of(host()), of(vm)});
    EXPECT_NE(lan, tagged);

    EXPECT_EQ(
        code("VLAN.pool_introduce", {of(eth0), of(vlan), Value(std::int64_t{12}), text_map({})}),
        "PIF_VLAN_EXISTS");
    EXPECT_EQ(
        code("VLAN.pool_introduce", {of(eth0), of(vlan), Value(std::int64_t{4095}), text_map({})}),
        "VLAN_TAG_INVALID");
    const auto introduced = pool_.get<Ref<xenapi::Vlan>>(
        "VLAN.pool_introduce",
        {of(eth0), of(vlan), Value(std::int64_t{13}), text_map({{"of", "a member"}})});
    EXPECT_EQ(pool_.db().get(introduced).untagged_PIF, vlan);

    EXPECT_EQ(code("PIF.set_primary_address_type", {of(eth0), Value("IPv6")}),
              "PIF_HAS_NO_V6_NETWORK_CONFIGURATION");
    EXPECT_EQ(code("PIF.set_primary_address_type", {of(eth0), Value("IPv4")}), "success");
    pool_.call("PIF.set_primary_address_type", {of(vlan), Value("IPv6")});
    EXPECT_EQ(pool_.db().get(vlan).primary_address_type, xenapi::PrimaryAddressType::ipv6);
}

TEST_F(HostInside, local_copies_need_a_driver_that_can_and_an_idle_host) {
    const Ref<Sr> sr = local_sr();
    const Ref<xenapi::Pool> pool = pool_.xapi->core().pool;
    const auto enable = [&] {
        return code("host.enable_local_storage_caching", {of(host()), of(sr)});
    };
    EXPECT_EQ(enable(), "HOST_NOT_DISABLED");
    const auto vm = pool_.make_vm("guest");
    pool_.call("VM.start", {of(vm), Value(false), Value(false)});
    pool_.call("host.disable", {of(host()), Value(false)});
    EXPECT_EQ(enable(), "HOST_IN_USE");
    pool_.call("VM.hard_shutdown", {of(vm)});
    EXPECT_EQ(enable(), "SR_OPERATION_NOT_SUPPORTED");
    EXPECT_EQ(code("pool.enable_local_storage_caching", {of(pool)}),
              "HOSTS_FAILED_TO_ENABLE_CACHING");
    EXPECT_TRUE(row().local_cache_sr.null());
    pool_.db().transact([&](db::Txn& txn) {
        txn.each<xenapi::Sm>([&](Ref<xenapi::Sm> driver, const xenapi::Sm&) {
            txn.edit(driver).features.insert_or_assign("SR_SUPPORTS_LOCAL_CACHING", 1);
        });
    });
    EXPECT_EQ(enable(), "success");
    EXPECT_EQ(row().local_cache_sr, sr);
    EXPECT_TRUE(pool_.db().get(sr).local_cache_enabled);
    EXPECT_EQ(code("pool.disable_local_storage_caching", {of(pool)}), "success");
    EXPECT_TRUE(row().local_cache_sr.null());
    EXPECT_FALSE(pool_.db().get(sr).local_cache_enabled);
    EXPECT_EQ(code("pool.enable_local_storage_caching", {of(pool)}), "success");
    EXPECT_FALSE(row().local_cache_sr.null());
    pool_.call("host.enable", {of(host())});
    EXPECT_EQ(code("pool.disable_local_storage_caching", {of(pool)}),
              "HOSTS_FAILED_TO_DISABLE_CACHING");
}

TEST_F(HostInside, hosts_trust_what_the_pool_has) {
    const auto on_host = [&](const char* message, std::vector<Value> rest) {
        rest.insert(rest.begin(), of(host()));
        return code(std::string("host.") + message, std::move(rest));
    };
    EXPECT_EQ(on_host("install_ca_certificate", {Value("../x"), Value("text")}),
              "CERTIFICATE_NAME_INVALID");
    EXPECT_EQ(on_host("install_ca_certificate", {Value("one"), Value("text")}),
              "CA_CERTIFICATE_INVALID");
    EXPECT_EQ(pool_.get<Texts>("host.certificate_list", {of(host())}), Texts{});
    EXPECT_EQ(on_host("uninstall_ca_certificate", {Value("one"), Value(false)}),
              "CERTIFICATE_DOES_NOT_EXIST");
    EXPECT_EQ(on_host("uninstall_ca_certificate", {Value("one"), Value(true)}), "success");
    EXPECT_EQ(on_host("crl_install", {Value("list"), Value("text")}), "CRL_CORRUPT");
    EXPECT_EQ(on_host("crl_uninstall", {Value("list")}), "CRL_DOES_NOT_EXIST");
    EXPECT_EQ(pool_.get<Texts>("host.crl_list", {of(host())}), Texts{});
    EXPECT_EQ(on_host("certificate_sync", {}), "success");

    EXPECT_EQ(code("host.emergency_reenable_tls_verification"),
              "TLS_VERIFICATION_NOT_ENABLED_IN_POOL");
    pool_.call("pool.enable_tls_verification");
    EXPECT_TRUE(row().tls_verification_enabled);
    EXPECT_TRUE(pool_.db().get(pool_.xapi->core().pool).tls_verification_enabled);
    EXPECT_EQ(code("host.emergency_reenable_tls_verification"), "success");

    const Value yes(true);
    EXPECT_EQ(on_host("external_auth_set_ldaps", {yes, yes}), "AUTH_IS_DISABLED");
    pool_.call("host.enable_external_auth",
               {of(host()), text_map({}), Value("local"), Value("PAM")});
    EXPECT_EQ(code("pool.external_auth_set_ldaps", {of(pool_.xapi->core().pool), yes, yes}),
              "AUTH_SET_LDAPS_FAILED");
}

TEST_F(HostInside, a_host_says_what_it_is_about) {
    const auto vm = pool_.make_vm("guest");
    pool_.call("VM.start", {of(vm), Value(false), Value(false)});
    const std::string storage = pool_.get<std::string>("host.get_sm_diagnostics", {of(host())});
    EXPECT_NE(storage.find("repository " + pool_.db().get(local_sr()).uuid), std::string::npos);
    EXPECT_NE(storage.find("open RW in VM " + pool_.db().get(vm).uuid), std::string::npos);
    const std::string inside = pool_.get<std::string>("host.get_thread_diagnostics", {of(host())});
    EXPECT_NE(inside.find("thread " + std::to_string(::getpid()) + " "), std::string::npos);
    EXPECT_EQ(pool_.get<Texts>("host.get_uncooperative_domains", {of(host())}), Texts{});
    EXPECT_EQ(code("host.sync_data", {of(host())}), "success");
    EXPECT_EQ(code("host.refresh_pack_info", {of(host())}), "success");
    pool_.call("host.set_license_params", {of(host()), text_map({{"sku", "x"}})});
    EXPECT_EQ(row().license_params.get(std::string("sku")), "x");
    pool_.db().transact([&](db::Txn& txn) { txn.edit(host()).address = "192.0.2.77"; });
    pool_.call("host.signal_networking_change");
    EXPECT_EQ(row().address, "10.0.0.1");
}

TEST_F(HostInside, repositories_are_probed_made_and_corrected) {
    const Ref<Sr> sr = local_sr();
    const auto live = [&] {
        return pool_.get<std::vector<Ref<Host>>>("SR.get_live_hosts", {of(sr)});
    };
    EXPECT_EQ(live(), std::vector{host()});
    const std::string type = pool_.db().get(sr).type;
    const auto results = pool_.get<std::vector<xenapi::ProbeResult>>(
        "SR.probe_ext",
        {of(host()), text_map({{"location", "/srv/new"}}), Value(type), text_map({})});
    ASSERT_EQ(results.size(), 1U);
    EXPECT_TRUE(results.front().complete);
    EXPECT_FALSE(results.front().sr.has_value());
    EXPECT_EQ(results.front().configuration.get(std::string("location")), "/srv/new");
    EXPECT_EQ(code("SR.probe_ext", {of(host()), text_map({}), Value("none"), text_map({})}),
              "SR_UNKNOWN_DRIVER");
    const auto uuid = pool_.get<std::string>(
        "SR.make",
        {of(host()), text_map({{"location", "/srv/new"}}), Value(std::int64_t{0}), Value("made"),
         Value("by an old client"), Value(type), Value("user"), text_map({})});
    const auto made = pool_.db().by_uuid<Sr>(uuid);
    ASSERT_TRUE(made.has_value());
    EXPECT_EQ(pool_.db().get(*made).name_label, "made");
    EXPECT_FALSE(pool_.db().get(*made).shared);
    for (const auto* field : {"size", "utilisation"})
        pool_.call(std::string("SR.set_physical_") + field, {of(*made), Value(std::int64_t{7})});
    pool_.call("SR.set_virtual_allocation", {of(*made), Value(std::int64_t{9})});
    EXPECT_EQ(pool_.db().get(*made).physical_size, 7);
    EXPECT_EQ(pool_.db().get(*made).physical_utilisation, 7);
    EXPECT_EQ(pool_.db().get(*made).virtual_allocation, 9);
    const auto blob = pool_.get<Ref<xenapi::Blob>>(
        "SR.create_new_blob", {of(*made), Value("notes"), Value("text/plain"), Value(false)});
    EXPECT_EQ(pool_.db().get(*made).blobs.get(std::string("notes")), blob);
    pool_.call("PBD.unplug", {of(pool_.db().get(sr).PBDs.front())});
    EXPECT_EQ(live(), std::vector<Ref<Host>>{});
}

TEST(UserAgents, the_newest_programs_are_known) {
    domain::UserAgents agents;
    agents.note("");
    agents.note("xo-server/5.1 (linux)");
    agents.note("xe");
    agents.note("xo-server/5.2");
    using Programs = xenapi::Map<std::string, std::string>;
    EXPECT_EQ(agents.programs(), (Programs{{"xo-server", "5.2"}, {"xe", ""}}));
    for (std::size_t i = 0; i < domain::UserAgents::programs_max; ++i)
        agents.note("program" + std::to_string(i) + "/1");
    EXPECT_EQ(agents.programs().size(), domain::UserAgents::programs_max);
    EXPECT_FALSE(agents.programs().contains(std::string("xe")));
    agents.note(std::string(1000, 'x') + "/" + std::string(1000, 'y'));
    EXPECT_EQ(agents.programs().get(std::string(domain::UserAgents::text_bytes_max, 'x')).size(),
              domain::UserAgents::text_bytes_max);
}

TEST_F(HostInside, what_the_hypervisor_can_be_told) {
    EXPECT_EQ(pool_.get<xenapi::HostSchedGran>("host.get_sched_gran", {of(host())}),
              xenapi::HostSchedGran::cpu);
    EXPECT_EQ(code("host.set_sched_gran", {of(host()), Value("cpu")}), "success");
    EXPECT_EQ(code("host.set_sched_gran", {of(host()), Value("core")}), "VALUE_NOT_SUPPORTED");
    EXPECT_EQ(code("host.set_numa_affinity_policy", {of(host()), Value("best_effort")}), "success");
    EXPECT_EQ(row().numa_affinity_policy, xenapi::HostNumaAffinityPolicy::best_effort);
    pool_.db().transact(
        [&](db::Txn& txn) { txn.edit(host()).cpu_info.insert_or_assign("nr_nodes", "2"); });
    EXPECT_EQ(code("host.set_numa_affinity_policy", {of(host()), Value("best_effort")}),
              "VALUE_NOT_SUPPORTED");
    EXPECT_EQ(code("host.set_numa_affinity_policy", {of(host()), Value("any")}), "success");
    EXPECT_EQ(code("host.send_debug_keys", {of(host()), Value("q")}), "OPERATION_NOT_ALLOWED");
    EXPECT_EQ(code("host.enable_display", {of(host())}), "success");
    EXPECT_EQ(code("host.disable_display", {of(host())}), "FEATURE_RESTRICTED");
}

TEST_F(HostInside, calls_are_timed_by_who_runs_them) {
    using Stats = xenapi::Map<std::string, std::string>;
    const auto stats = [&](bool counts) {
        return pool_.get<Stats>("host.get_diagnostic_timing_stats", {of(host()), Value(counts)});
    };
    EXPECT_EQ(stats(true), Stats{});
    pool_.xapi->hosts().time_by(
        [] { return std::vector<domain::Timing>{{"calls", 4, 0.002}, {"never", 0, 0}}; });
    EXPECT_EQ(stats(false), (Stats{{"calls", "0.000500"}}));
    EXPECT_EQ(stats(true), (Stats{{"calls", "0.000500 (4)"}}));
}

TEST_F(HostInside, requests_are_counted_by_their_path) {
    using Rows = std::vector<Texts>;
    const auto rows = [&](std::initializer_list<std::pair<std::string, std::string>> asked) {
        return pool_.get<Rows>("Diagnostics.network_stats", {of(host()), text_map(asked)});
    };
    EXPECT_EQ(rows({}), Rows{});
    pool_.xapi->diagnostics().count_by([] {
        return std::vector<domain::RequestCount>{
            {"POST", "/", 3}, {"GET", "/", 1}, {"GET", "/blob", 2}, {"PUT", "/blob", 0}};
    });
    EXPECT_EQ(rows({}), (Rows{{"POST", "/", "3"}, {"GET", "/", "1"}, {"GET", "/blob", "2"}}));
    EXPECT_EQ(rows({{"method", "GET"}, {"params", "uri,requests"}}),
              (Rows{{"/", "1"}, {"/blob", "2"}}));
    EXPECT_EQ(rows({{"uri", "/blob"}, {"params", "requests"}}), (Rows{{"2"}}));
}

TEST_F(HostInside, bytes_of_blobs_are_kept_or_not) {
    const Ref<xenapi::Blob> blob = pool_.get<Ref<xenapi::Blob>>(
        "pool.create_new_blob",
        {of(pool_.xapi->core().pool), Value("notes"), Value("text/plain"), Value(false)});
    const std::filesystem::path file =
        core::blob_file(pool_.xapi->core(), pool_.db().get(blob).uuid);
    const auto write = [&] {
        std::filesystem::create_directories(file.parent_path());
        std::ofstream(file) << "six by";
        pool_.db().transact([&](db::Txn& txn) { txn.edit(blob).size = 6; });
    };
    write();
    pool_.call("pool.disable_binary_storage");
    EXPECT_FALSE(std::filesystem::exists(file));
    EXPECT_EQ(pool_.db().get(blob).size, 0);
    EXPECT_FALSE(core::keeps_blobs(pool_.xapi->core()));
    EXPECT_EQ(row().other_config.get(std::string("no_local_storage")), "true");
    // What a kill left goes at the next start.
    write();
    core::sweep_blob_files(pool_.xapi->core());
    EXPECT_FALSE(std::filesystem::exists(file));
    pool_.call("pool.enable_binary_storage");
    EXPECT_TRUE(core::keeps_blobs(pool_.xapi->core()));
    write();
    core::sweep_blob_files(pool_.xapi->core());
    EXPECT_TRUE(std::filesystem::exists(file));
}

TEST_F(HostInside, records_of_what_hosts_do_not_make_can_be_removed) {
    const auto vm = pool_.make_vm("guest");
    const Ref<xenapi::Vdi> disk =
        pool_.get<Ref<xenapi::Vdi>>("VDI.create", {SimPool::vdi_record(local_sr(), "dump")});

    struct Rows {
        Ref<xenapi::Crashdump> dump;
        Ref<xenapi::HostCrashdump> host_dump;
        Ref<xenapi::HostPatch> patch;
        Ref<xenapi::HostDriver> driver;
        Ref<xenapi::DriverVariant> variant;
    };

    const Rows rows = pool_.db().transact([&](db::Txn& txn) {
        xenapi::Crashdump dump;
        dump.VDI = disk;
        dump.VM = vm;
        xenapi::HostCrashdump host_dump;
        host_dump.host = host();
        xenapi::HostPatch patch;
        patch.host = host();
        xenapi::HostDriver driver;
        driver.host = host();
        Rows out{txn.insert(std::move(dump)),
                 txn.insert(std::move(host_dump)),
                 txn.insert(std::move(patch)),
                 txn.insert(std::move(driver)),
                 {}};
        xenapi::DriverVariant variant;
        variant.driver = out.driver;
        out.variant = txn.insert(std::move(variant));
        return out;
    });
    EXPECT_EQ(code("crashdump.destroy", {of(rows.dump)}), "success");
    EXPECT_EQ(pool_.db().find(disk), nullptr);
    EXPECT_EQ(code("crashdump.destroy", {of(rows.dump)}), "HANDLE_INVALID");
    EXPECT_EQ(code("host_crashdump.upload", {of(rows.host_dump), Value("ftp://x"), text_map({})}),
              "OPERATION_NOT_ALLOWED");
    EXPECT_EQ(code("host_patch.apply", {of(rows.patch)}), "OPERATION_NOT_ALLOWED");
    EXPECT_EQ(code("host_crashdump.destroy", {of(rows.host_dump)}), "success");
    EXPECT_EQ(code("host_crashdump.destroy", {of(rows.host_dump)}), "HANDLE_INVALID");
    EXPECT_EQ(code("host_patch.destroy", {of(rows.patch)}), "success");
    EXPECT_EQ(code("host_patch.destroy", {of(rows.patch)}), "HANDLE_INVALID");
    EXPECT_EQ(code("Host_driver.select", {of(rows.driver), of(rows.variant)}),
              "OPERATION_NOT_ALLOWED");
    EXPECT_EQ(code("Host_driver.deselect", {of(rows.driver)}), "OPERATION_NOT_ALLOWED");
    EXPECT_EQ(code("Driver_variant.select", {of(rows.variant)}), "OPERATION_NOT_ALLOWED");
    EXPECT_EQ(code("host.rescan_drivers", {of(host())}), "success");
    EXPECT_EQ(code("Driver_variant.select", {of(rows.variant)}), "HANDLE_INVALID");
    EXPECT_EQ(code("Host_driver.deselect", {of(rows.driver)}), "HANDLE_INVALID");
    EXPECT_EQ(code("Host_driver.rescan", {of(rows.driver)}), "HANDLE_INVALID");
    EXPECT_EQ(code("Host_driver.rescan", {of(host())}), "success");
}

TEST_F(HostInside, what_is_so_in_any_case) {
    EXPECT_EQ(code("host.emergency_disable_tls_verification"), "OPERATION_NOT_ALLOWED");
    EXPECT_EQ(code("host.update_firewalld_service_status"), "success");
    EXPECT_EQ(code("host.request_backup", {of(host()), Value(std::int64_t{1}), Value(true)}),
              "success");
    EXPECT_EQ(code("host.sm_dp_destroy", {of(host()), Value("vbd/0/xvda"), Value(true)}),
              "success");
    // No script of that name is installed.
    EXPECT_EQ(code("LVHD.enable_thin_provisioning",
                   {of(host()), of(local_sr()), Value(std::int64_t{0}), Value(std::int64_t{4096})}),
              "MESSAGE_METHOD_UNKNOWN");
    EXPECT_EQ(code("pool.send_test_post", {Value("a"), Value(std::int64_t{1}), Value("")}),
              "INTERNAL_ERROR");
    pool_.xapi->pools().post_by([](xenapi::PoolSendTestPost params) -> Task<std::string> {
        co_return params.host + ":" + std::to_string(params.port) + " got " + params.body;
    });
    EXPECT_EQ(pool_.get<std::string>("pool.send_test_post",
                                     {Value("a"), Value(std::int64_t{443}), Value("it")}),
              "a:443 got it");
}

TEST_F(HostInside, permissions_have_references) {
    const auto reader = pool_.db().by_name_label<xenapi::Role>("read-only");
    const auto permissions =
        pool_.get<std::vector<Ref<xenapi::Role>>>("role.get_permissions", {of(reader.front())});
    const auto names = pool_.get<Texts>("role.get_permissions_name_label", {of(reader.front())});
    ASSERT_EQ(permissions.size(), names.size());
    // Whoever may more may that too.
    EXPECT_EQ(pool_.get<std::vector<Ref<xenapi::Role>>>("role.get_by_permission",
                                                        {of(permissions.front())}),
              pool_.get<std::vector<Ref<xenapi::Role>>>("role.get_by_permission_name_label",
                                                        {Value(names.front())}));
    EXPECT_EQ(code("role.get_by_permission", {of(reader.front())}), "HANDLE_INVALID");
    EXPECT_EQ(code("role.get_permissions", {of(permissions.front())}), "HANDLE_INVALID");
}

TEST_F(HostInside, one_controller_manages_the_switches) {
    const auto introduce = [&](const char* protocol, const char* address, std::int64_t port) {
        return code("SDN_controller.introduce", {Value(protocol), Value(address), Value(port)});
    };
    const auto managers = [&] { return pool_.hosts[0]->network().managers(); };
    EXPECT_EQ(introduce("ssl", "", 0), "INVALID_IP_ADDRESS_SPECIFIED");
    EXPECT_EQ(introduce("ssl", "controller", 0), "INVALID_IP_ADDRESS_SPECIFIED");
    EXPECT_EQ(introduce("ssl", "192.0.2.7", 65536), "INVALID_VALUE");
    EXPECT_EQ(introduce("pssl", "192.0.2.7", 0), "INVALID_VALUE");
    pool_.hosts[0]->network().fail_next("apply", ApiError("INTERNAL_ERROR", {"broken"}));
    EXPECT_EQ(introduce("ssl", "192.0.2.7", 0), "INTERNAL_ERROR");
    EXPECT_EQ(pool_.db().count(xenapi::class_of<xenapi::SdnController>()), 0U);
    EXPECT_EQ(managers(), Texts{});

    const auto first = pool_.get<Ref<xenapi::SdnController>>(
        "SDN_controller.introduce", {Value("ssl"), Value("fd00::7"), Value(std::int64_t{0})});
    EXPECT_EQ(managers(), Texts{"ssl:[fd00::7]:6632"});
    EXPECT_EQ(pool_.db().get(first).port, 6632);
    EXPECT_EQ(introduce("pssl", "", 0), "OPERATION_NOT_ALLOWED");
    EXPECT_EQ(code("SDN_controller.forget", {of(first)}), "success");
    EXPECT_EQ(managers(), Texts{});
    EXPECT_EQ(introduce("pssl", "", 0), "success");
    EXPECT_EQ(managers(), Texts{"pssl:6640"});

    // The older message has one controller, or none.
    EXPECT_EQ(code("pool.set_vswitch_controller", {Value("nowhere")}),
              "INVALID_IP_ADDRESS_SPECIFIED");
    pool_.hosts[0]->network().fail_next("apply", ApiError("INTERNAL_ERROR", {"broken"}));
    EXPECT_EQ(code("pool.set_vswitch_controller", {Value("192.0.2.7")}), "INTERNAL_ERROR");
    EXPECT_EQ(managers(), Texts{"pssl:6640"});
    EXPECT_EQ(code("pool.set_vswitch_controller", {Value("192.0.2.7")}), "success");
    EXPECT_EQ(managers(), Texts{"ssl:192.0.2.7:6632"});
    EXPECT_EQ(pool_.db().get(pool_.xapi->core().pool).vswitch_controller, "192.0.2.7");
    EXPECT_EQ(code("pool.set_vswitch_controller", {Value("")}), "success");
    EXPECT_EQ(managers(), Texts{});
    EXPECT_EQ(pool_.db().count(xenapi::class_of<xenapi::SdnController>()), 0U);
}

TEST_F(HostInside, what_a_host_tells_of_itself) {
    EXPECT_EQ(code("host.tickle_heartbeat", {of(host()), text_map({})}), "success");
    EXPECT_EQ(code("host.prepare_for_poweroff", {of(host())}), "success");
    const Ref<Pif> eth0 = row().PIFs.front();
    EXPECT_EQ(code("host.sync_pif_currently_attached", {of(host()), Value(wire::Array{})}),
              "success");
    EXPECT_FALSE(pool_.db().get(eth0).currently_attached);
    EXPECT_EQ(
        code("host.sync_pif_currently_attached", {of(host()), Value(wire::Array{Value("xenbr0")})}),
        "success");
    EXPECT_TRUE(pool_.db().get(eth0).currently_attached);
}

TEST_F(HostInside, a_host_that_is_alive_cannot_be_switched_on) {
    using enum xenapi::HostAllowedOperations;
    const auto may = [&](xenapi::HostAllowedOperations operation) {
        return std::ranges::contains(row().allowed_operations, operation);
    };
    EXPECT_EQ(code("host.set_power_on_mode", {of(host()), Value("wake-on-lan"), text_map({})}),
              "success");
    EXPECT_FALSE(may(power_on));
    pool_.db().transact([&](db::Txn& txn) { txn.edit(row().metrics).live = false; });
    EXPECT_TRUE(may(power_on));
    pool_.db().transact([&](db::Txn& txn) { txn.edit(row().metrics).live = true; });
    EXPECT_FALSE(may(power_on));
}

}  // namespace
}  // namespace basalt::testing
