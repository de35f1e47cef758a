#pragma once
#include <functional>
#include <optional>

#include "agent_verbs.hpp"
#include "idl/api/host_api.hpp"
#include "xapi/core/core.hpp"
#include "xapi/domain/memory_ledger.hpp"
#include "xapi/domain/tunnels.hpp"
#include "xapi/domain/user_agents.hpp"

namespace basalt::domain {

/// How often something was timed, and how long it took all together.
struct Timing {
    std::string name;
    std::uint64_t count = 0;
    double sum_seconds = 0;
};

/// Class host. Its messages are in several files: host.cpp, host_power.cpp (boot, evacuation,
/// leaving the pool), host_settings.cpp (name, clock, logins), host_certificates.cpp,
/// management.cpp (by which interface it is managed), host_hypervisor.cpp.
class HostDomain final : public xenapi::HostApi {
  public:
    /// What it works with beside its own rows.
    struct Beside {
        const UserAgents& agents;
        Networks& networks;
        VlanDomain& vlans;
        TunnelDomain& tunnels;
        MemoryLedger& memory;
    };

    HostDomain(core::Core& core, Beside beside) : core_(core), beside_(beside) {}

    using Uploader = std::function<Task<void>(Call&, xenapi::HostBugreportUpload)>;

    /// Who can reach other machines; before anything is served.
    void upload_by(Uploader uploader) { uploader_ = std::move(uploader); }

    /// Who must know that the files of trusted certificates or lists have changed; before anything
    /// is served.
    void trust_changed_by(std::function<Task<void>()> changed) {
        trust_changed_ = std::move(changed);
    }

    /// Who keeps the times of calls; before anything is served.
    void time_by(std::function<std::vector<Timing>()> timings) { timings_ = std::move(timings); }

    Task<void> enable(Call& call, xenapi::HostEnable params) override;
    Task<void> disable(Call& call, xenapi::HostDisable params) override;
    Task<std::string> call_plugin(Call& call, xenapi::HostCallPlugin params) override;
    Task<bool> has_extension(Call& call, xenapi::HostHasExtension params) override;
    Task<std::string> call_extension(Call& call, xenapi::HostCallExtension params) override;
    Task<xenapi::DateTime> get_servertime(Call& call, xenapi::HostGetServertime params) override;
    Task<xenapi::DateTime> get_server_localtime(Call& call,
                                                xenapi::HostGetServerLocaltime params) override;
    Task<std::int64_t> compute_free_memory(Call& call,
                                           xenapi::HostComputeFreeMemory params) override;
    Task<std::int64_t> compute_memory_overhead(Call& call,
                                               xenapi::HostComputeMemoryOverhead params) override;
    Task<std::vector<xenapi::Ref<xenapi::Vm>>> get_uncooperative_resident_VMs(
        Call& call, xenapi::HostGetUncooperativeResidentVMs params) override;
    Task<xenapi::Ref<xenapi::Pif>> get_management_interface(
        Call& call, xenapi::HostGetManagementInterface params) override;
    Task<std::vector<std::string>> list_methods(Call& call) override;
    Task<xenapi::Ref<xenapi::Blob>> create_new_blob(Call& call,
                                                    xenapi::HostCreateNewBlob params) override;
    Task<std::string> dmesg(Call& call, xenapi::HostDmesg params) override;
    Task<std::string> dmesg_clear(Call& call, xenapi::HostDmesgClear params) override;
    Task<std::string> get_log(Call& call, xenapi::HostGetLog params) override;
    Task<std::string> get_system_status_capabilities(
        Call& call, xenapi::HostGetSystemStatusCapabilities params) override;
    /// A coordinator serves: it is in no emergency, and healthy.
    Task<bool> is_in_emergency_mode(Call& call) override;
    Task<void> local_assert_healthy(Call& call) override;

    // Power, evacuation, leaving the pool.
    Task<void> reboot(Call& call, xenapi::HostReboot params) override;
    Task<void> shutdown(Call& call, xenapi::HostShutdown params) override;
    Task<void> restart_agent(Call& call, xenapi::HostRestartAgent params) override;
    Task<void> power_on(Call& call, xenapi::HostPowerOn params) override;
    Task<void> shutdown_agent(Call& call) override;
    Task<void> prepare_for_poweroff(Call& call, xenapi::HostPrepareForPoweroff params) override;
    Task<void> set_power_on_mode(Call& call, xenapi::HostSetPowerOnMode params) override;
    Task<void> evacuate(Call& call, xenapi::HostEvacuate params) override;
    Task<void> assert_can_evacuate(Call& call, xenapi::HostAssertCanEvacuate params) override;
    Task<xenapi::Map<xenapi::Ref<xenapi::Vm>, std::vector<std::string>>>
    get_vms_which_prevent_evacuation(Call& call,
                                     xenapi::HostGetVmsWhichPreventEvacuation params) override;
    Task<void> declare_dead(Call& call, xenapi::HostDeclareDead params) override;
    Task<void> destroy(Call& call, xenapi::HostDestroy params) override;

    // Settings.
    Task<void> set_hostname_live(Call& call, xenapi::HostSetHostnameLive params) override;
    Task<void> syslog_reconfigure(Call& call, xenapi::HostSyslogReconfigure params) override;
    Task<std::vector<std::string>> list_timezones(Call& call,
                                                  xenapi::HostListTimezones params) override;
    Task<void> set_timezone(Call& call, xenapi::HostSetTimezone params) override;
    Task<void> set_ntp_mode(Call& call, xenapi::HostSetNtpMode params) override;
    Task<void> set_ntp_custom_servers(Call& call, xenapi::HostSetNtpCustomServers params) override;
    Task<xenapi::Map<std::string, std::string>> get_ntp_servers_status(
        Call& call, xenapi::HostGetNtpServersStatus params) override;
    Task<bool> get_ntp_synchronized(Call& call, xenapi::HostGetNtpSynchronized params) override;
    Task<void> set_servertime(Call& call, xenapi::HostSetServertime params) override;
    Task<void> set_iscsi_iqn(Call& call, xenapi::HostSetIscsiIqn params) override;
    Task<void> set_multipathing(Call& call, xenapi::HostSetMultipathing params) override;
    Task<void> set_https_only(Call& call, xenapi::HostSetHttpsOnly params) override;
    Task<void> update_firewalld_service_status(Call& call) override;
    Task<void> set_ssl_legacy(Call& call, xenapi::HostSetSslLegacy params) override;
    Task<void> set_console_idle_timeout(Call& call,
                                        xenapi::HostSetConsoleIdleTimeout params) override;
    Task<void> enable_ssh(Call& call, xenapi::HostEnableSsh params) override;
    Task<void> disable_ssh(Call& call, xenapi::HostDisableSsh params) override;
    Task<void> set_ssh_auto_mode(Call& call, xenapi::HostSetSshAutoMode params) override;
    Task<void> set_max_cstate(Call& call, xenapi::HostSetMaxCstate params) override;
    Task<void> set_ssh_enabled_timeout(Call& call,
                                       xenapi::HostSetSshEnabledTimeout params) override;
    Task<void> enable_external_auth(Call& call, xenapi::HostEnableExternalAuth params) override;
    Task<void> disable_external_auth(Call& call, xenapi::HostDisableExternalAuth params) override;
    Task<void> external_auth_set_ldaps(Call& call,
                                       xenapi::HostExternalAuthSetLdaps params) override;

    // Licences: there is one edition, and it is free.
    Task<void> apply_edition(Call& call, xenapi::HostApplyEdition params) override;
    Task<void> license_add(Call& call, xenapi::HostLicenseAdd params) override;
    Task<void> license_remove(Call& call, xenapi::HostLicenseRemove params) override;

    // The certificate that clients are shown.
    Task<std::string> get_server_certificate(Call& call,
                                             xenapi::HostGetServerCertificate params) override;
    Task<void> install_server_certificate(Call& call,
                                          xenapi::HostInstallServerCertificate params) override;
    Task<void> reset_server_certificate(Call& call,
                                        xenapi::HostResetServerCertificate params) override;
    Task<void> emergency_reset_server_certificate(Call& call) override;
    Task<void> refresh_server_certificate(Call& call,
                                          xenapi::HostRefreshServerCertificate params) override;

    // host_trust.cpp: what hosts of a pool ask of each other about trust.
    Task<void> install_ca_certificate(Call& call, xenapi::HostInstallCaCertificate params) override;
    Task<void> uninstall_ca_certificate(Call& call,
                                        xenapi::HostUninstallCaCertificate params) override;
    Task<std::vector<std::string>> certificate_list(Call& call,
                                                    xenapi::HostCertificateList params) override;
    Task<void> certificate_sync(Call& call, xenapi::HostCertificateSync params) override;
    Task<void> crl_install(Call& call, xenapi::HostCrlInstall params) override;
    Task<void> crl_uninstall(Call& call, xenapi::HostCrlUninstall params) override;
    Task<std::vector<std::string>> crl_list(Call& call, xenapi::HostCrlList params) override;
    Task<void> emergency_reenable_tls_verification(Call& call) override;
    Task<void> emergency_disable_tls_verification(Call& call) override;

    // secure_boot.cpp
    Task<void> set_uefi_certificates(Call& call, xenapi::HostSetUefiCertificates params) override;
    Task<void> write_uefi_certificates_to_disk(
        Call& call, xenapi::HostWriteUefiCertificatesToDisk params) override;

    // binary_storage.cpp
    Task<void> enable_binary_storage(Call& call, xenapi::HostEnableBinaryStorage params) override;
    Task<void> disable_binary_storage(Call& call, xenapi::HostDisableBinaryStorage params) override;

    // management.cpp: by which interface it is managed, and what it has of the pool's networks.
    Task<void> management_reconfigure(Call& call,
                                      xenapi::HostManagementReconfigure params) override;
    Task<void> local_management_reconfigure(Call& call,
                                            xenapi::HostLocalManagementReconfigure params) override;
    /// Nobody is served over the network any more, only root on the host itself.
    Task<void> management_disable(Call& call) override;
    Task<void> reset_networking(Call& call, xenapi::HostResetNetworking params) override;
    Task<void> sync_vlans(Call& call, xenapi::HostSyncVlans params) override;
    Task<void> sync_tunnels(Call& call, xenapi::HostSyncTunnels params) override;
    Task<void> sync_pif_currently_attached(Call& call,
                                           xenapi::HostSyncPifCurrentlyAttached params) override;

    // host_hypervisor.cpp: what the hypervisor below it can be told.
    Task<xenapi::HostSchedGran> get_sched_gran(Call& call,
                                               xenapi::HostGetSchedGran params) override;
    Task<void> set_sched_gran(Call& call, xenapi::HostSetSchedGran params) override;
    Task<void> set_numa_affinity_policy(Call& call,
                                        xenapi::HostSetNumaAffinityPolicy params) override;
    Task<void> send_debug_keys(Call& call, xenapi::HostSendDebugKeys params) override;
    Task<xenapi::HostDisplay> enable_display(Call& call, xenapi::HostEnableDisplay params) override;
    Task<xenapi::HostDisplay> disable_display(Call& call,
                                              xenapi::HostDisableDisplay params) override;

    // host_diagnostics.cpp: what it is about inside, and what others tell it.
    Task<std::string> get_sm_diagnostics(Call& call, xenapi::HostGetSmDiagnostics params) override;
    Task<std::string> get_thread_diagnostics(Call& call,
                                             xenapi::HostGetThreadDiagnostics params) override;
    Task<xenapi::Map<std::string, std::string>> get_tracked_user_agents(
        Call& call, xenapi::HostGetTrackedUserAgents params) override;
    Task<std::vector<std::string>> get_uncooperative_domains(
        Call& call, xenapi::HostGetUncooperativeDomains params) override;
    Task<xenapi::Map<std::string, std::string>> get_diagnostic_timing_stats(
        Call& call, xenapi::HostGetDiagnosticTimingStats params) override;
    Task<void> sync_data(Call& call, xenapi::HostSyncData params) override;
    Task<void> request_backup(Call& call, xenapi::HostRequestBackup params) override;
    Task<void> bugreport_upload(Call& call, xenapi::HostBugreportUpload params) override;
    Task<void> sm_dp_destroy(Call& call, xenapi::HostSmDpDestroy params) override;
    Task<void> rescan_drivers(Call& call, xenapi::HostRescanDrivers params) override;
    Task<void> refresh_pack_info(Call& call, xenapi::HostRefreshPackInfo params) override;
    Task<void> set_license_params(Call& call, xenapi::HostSetLicenseParams params) override;
    Task<void> signal_networking_change(Call& call) override;
    Task<xenapi::Map<std::string, std::string>> tickle_heartbeat(
        Call& call, xenapi::HostTickleHeartbeat params) override;

    // host_local.cpp: what a host keeps to itself, and tells its guests.
    Task<void> set_localdb_key(Call& call, xenapi::HostSetLocaldbKey params) override;
    Task<void> apply_guest_agent_config(Call& call,
                                        xenapi::HostApplyGuestAgentConfig params) override;

    // local_cache.cpp
    Task<void> enable_local_storage_caching(Call& call,
                                            xenapi::HostEnableLocalStorageCaching params) override;
    Task<void> disable_local_storage_caching(
        Call& call, xenapi::HostDisableLocalStorageCaching params) override;

    // figures.cpp
    Task<std::vector<xenapi::DataSource>> get_data_sources(
        Call& call, xenapi::HostGetDataSources params) override;
    Task<double> query_data_source(Call& call, xenapi::HostQueryDataSource params) override;
    Task<void> record_data_source(Call& call, xenapi::HostRecordDataSource params) override;
    Task<void> forget_data_source_archives(Call& call,
                                           xenapi::HostForgetDataSourceArchives params) override;
    Task<void> backup_rrds(Call& call, xenapi::HostBackupRrds params) override;

  private:
    Task<void> switch_power(Call& call, xenapi::Ref<xenapi::Host> host, agent::PowerAct act,
                            xenapi::HostAllowedOperations operation);
    /// Makes the machine so, then the record by `land`; a host that is away is not changed.
    Task<void> set(Call& call, xenapi::Ref<xenapi::Host> host, agent::HostChange change,
                   std::function<void(xenapi::Host&)> land);
    Task<void> switch_ssh(Call& call, xenapi::Ref<xenapi::Host> host, bool on);
    Task<void> present(Call& call, std::string pem);

    core::Core& core_;
    Beside beside_;
    Uploader uploader_;
    std::function<Task<void>()> trust_changed_ = []() -> Task<void> { co_return; };
    std::function<std::vector<Timing>()> timings_ = [] { return std::vector<Timing>{}; };
};

/// What a host asks for its clock, by its record.
agent::NtpWant ntp_want(const xenapi::Host& host);
/// What a host was told to keep under that name (host.set_localdb_key); nothing when it was not.
Task<std::optional<std::string>> local_text(core::Core& core, std::string key);
/// The row of this host's own certificate, as its file is now. At the start, and after a change.
Task<void> note_own_certificate(core::Core& core);

}  // namespace basalt::domain
