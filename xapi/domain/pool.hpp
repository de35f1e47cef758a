#pragma once
#include <functional>
#include <optional>

#include "idl/api/pool_api.hpp"
#include "xapi/core/audit_log.hpp"
#include "xapi/domain/host.hpp"
#include "xapi/domain/networks.hpp"
#include "xapi/domain/trust_store.hpp"

namespace basalt::domain {

class DatabaseCopies;

/// Class pool. Its messages are in several files: pool.cpp, pool_settings.cpp (what is set on every
/// host, or for all), pool_certificates.cpp (whom the pool trusts).
class PoolDomain final : public xenapi::PoolApi {
  public:
    PoolDomain(core::Core& core, VlanDomain& vlans, HostDomain& hosts, Networks& networks,
               DatabaseCopies& copies)
        : core_(core),
          vlans_(vlans),
          hosts_(hosts),
          networks_(networks),
          copies_(copies),
          trusted_(core) {}

    using TestPost = std::function<Task<std::string>(xenapi::PoolSendTestPost)>;

    /// Who can reach other machines; before anything is served.
    void post_by(TestPost post) { post_ = std::move(post); }

    /// Throws std::runtime_error when it cannot be so; then nothing has changed.
    using AdmitClients = std::function<void(std::optional<ClientTrust>)>;

    /// Who sees the certificates of clients; before anything is served.
    void admit_by(AdmitClients admit) { admit_ = std::move(admit); }

    /// Who sees them is told anew whom the pool trusts, as the records and files are now.
    Task<void> readmit_clients();

    Task<std::string> send_test_post(Call& call, xenapi::PoolSendTestPost params) override;
    Task<std::vector<xenapi::Ref<xenapi::Pif>>> create_VLAN(Call& call,
                                                            xenapi::PoolCreateVlan params) override;
    Task<std::vector<xenapi::Ref<xenapi::Pif>>> create_VLAN_from_PIF(
        Call& call, xenapi::PoolCreateVlanFromPif params) override;
    Task<xenapi::Map<std::string, std::string>> get_license_state(
        Call& call, xenapi::PoolGetLicenseState params) override;
    /// Of the host that answers: this one leads.
    Task<bool> is_slave(Call& call, xenapi::PoolIsSlave params) override;
    Task<xenapi::Ref<xenapi::Blob>> create_new_blob(Call& call,
                                                    xenapi::PoolCreateNewBlob params) override;
    Task<bool> has_extension(Call& call, xenapi::PoolHasExtension params) override;
    Task<void> sync_database(Call& call) override;
    Task<void> audit_log_append(Call& call, xenapi::PoolAuditLogAppend params) override;

    // On every host; those that are away are not changed, and named where there is an error for it.
    Task<void> apply_edition(Call& call, xenapi::PoolApplyEdition params) override;
    Task<void> set_https_only(Call& call, xenapi::PoolSetHttpsOnly params) override;
    Task<void> disable_ssl_legacy(Call& call, xenapi::PoolDisableSslLegacy params) override;
    Task<void> enable_ssh(Call& call, xenapi::PoolEnableSsh params) override;
    Task<void> disable_ssh(Call& call, xenapi::PoolDisableSsh params) override;
    Task<void> set_ssh_auto_mode(Call& call, xenapi::PoolSetSshAutoMode params) override;
    Task<void> set_ssh_enabled_timeout(Call& call,
                                       xenapi::PoolSetSshEnabledTimeout params) override;
    Task<void> set_console_idle_timeout(Call& call,
                                        xenapi::PoolSetConsoleIdleTimeout params) override;
    /// management.cpp
    Task<void> management_reconfigure(Call& call,
                                      xenapi::PoolManagementReconfigure params) override;
    /// sdn_controllers.cpp
    Task<void> set_vswitch_controller(Call& call, xenapi::PoolSetVswitchController params) override;
    Task<void> set_igmp_snooping_enabled(Call& call,
                                         xenapi::PoolSetIgmpSnoopingEnabled params) override;
    Task<void> enable_external_auth(Call& call, xenapi::PoolEnableExternalAuth params) override;
    Task<void> disable_external_auth(Call& call, xenapi::PoolDisableExternalAuth params) override;
    Task<void> external_auth_set_ldaps(Call& call,
                                       xenapi::PoolExternalAuthSetLdaps params) override;
    Task<void> enable_local_storage_caching(Call& call,
                                            xenapi::PoolEnableLocalStorageCaching params) override;
    Task<void> disable_local_storage_caching(
        Call& call, xenapi::PoolDisableLocalStorageCaching params) override;
    Task<void> detect_nonhomogeneous_external_auth(
        Call& call, xenapi::PoolDetectNonhomogeneousExternalAuth params) override;

    // redo_log.cpp: a copy of the database in a repository.
    Task<void> enable_redo_log(Call& call, xenapi::PoolEnableRedoLog params) override;
    Task<void> disable_redo_log(Call& call) override;
    /// What it tried has been removed from the API.
    Task<std::string> test_archive_target(Call& call,
                                          xenapi::PoolTestArchiveTarget params) override;

    // binary_storage.cpp
    Task<void> enable_binary_storage(Call& call) override;
    Task<void> disable_binary_storage(Call& call) override;

    // How logins are checked (session.cpp).
    Task<void> set_local_auth_max_threads(Call& call,
                                          xenapi::PoolSetLocalAuthMaxThreads params) override;
    Task<void> set_ext_auth_max_threads(Call& call,
                                        xenapi::PoolSetExtAuthMaxThreads params) override;
    Task<void> set_ext_auth_cache_enabled(Call& call,
                                          xenapi::PoolSetExtAuthCacheEnabled params) override;
    Task<void> set_ext_auth_cache_size(Call& call, xenapi::PoolSetExtAuthCacheSize params) override;
    Task<void> set_ext_auth_cache_expiry(Call& call,
                                         xenapi::PoolSetExtAuthCacheExpiry params) override;

    // secure_boot.cpp: the keys that guests get.
    Task<void> set_custom_uefi_certificates(Call& call,
                                            xenapi::PoolSetCustomUefiCertificates params) override;
    Task<void> set_uefi_certificates(Call& call, xenapi::PoolSetUefiCertificates params) override;
    Task<xenapi::PoolGuestSecurebootReadiness> get_guest_secureboot_readiness(
        Call& call, xenapi::PoolGetGuestSecurebootReadiness params) override;

    // For the pool as a whole.
    Task<void> add_to_guest_agent_config(Call& call,
                                         xenapi::PoolAddToGuestAgentConfig params) override;
    Task<void> remove_from_guest_agent_config(
        Call& call, xenapi::PoolRemoveFromGuestAgentConfig params) override;
    Task<void> reset_telemetry_uuid(Call& call, xenapi::PoolResetTelemetryUuid params) override;
    Task<void> set_telemetry_next_collection(
        Call& call, xenapi::PoolSetTelemetryNextCollection params) override;

    // Certificates and revocation lists that the pool trusts.
    Task<void> install_ca_certificate(Call& call, xenapi::PoolInstallCaCertificate params) override;
    Task<void> uninstall_ca_certificate(Call& call,
                                        xenapi::PoolUninstallCaCertificate params) override;
    Task<void> certificate_install(Call& call, xenapi::PoolCertificateInstall params) override;
    Task<void> certificate_uninstall(Call& call, xenapi::PoolCertificateUninstall params) override;
    Task<std::vector<std::string>> certificate_list(Call& call) override;
    Task<void> certificate_sync(Call& call) override;
    Task<void> install_trusted_certificate(Call& call,
                                           xenapi::PoolInstallTrustedCertificate params) override;
    Task<void> uninstall_trusted_certificate(
        Call& call, xenapi::PoolUninstallTrustedCertificate params) override;
    Task<void> crl_install(Call& call, xenapi::PoolCrlInstall params) override;
    Task<void> crl_uninstall(Call& call, xenapi::PoolCrlUninstall params) override;
    Task<std::vector<std::string>> crl_list(Call& call) override;
    /// Clients that show a certificate of that name need no password: role client-cert.
    Task<void> enable_client_certificate_auth(
        Call& call, xenapi::PoolEnableClientCertificateAuth params) override;
    Task<void> disable_client_certificate_auth(
        Call& call, xenapi::PoolDisableClientCertificateAuth params) override;
    /// Hosts of a pool check each other in any case; from now on the records say so.
    Task<void> enable_tls_verification(Call& call) override;

  private:
    struct Tagging {
        std::string device;
        xenapi::Ref<xenapi::Network> network;
        std::int64_t tag = 0;
    };

    Task<std::vector<xenapi::Ref<xenapi::Pif>>> tag_everywhere(Call& call, Tagging what);

    [[nodiscard]] std::vector<xenapi::Ref<xenapi::Host>> all_hosts() const;
    /// Runs `change` for each host; answers those for which it failed.
    Task<std::vector<xenapi::Ref<xenapi::Host>>> on_each(
        std::function<Task<void>(xenapi::Ref<xenapi::Host>)> change);

    /// Empty: nobody comes in by a certificate.
    Task<void> admit_clients(std::string name);
    /// Every host tells its guests' agents what the pool wishes of them; one that fails is logged.
    Task<void> apply_guest_agent_config(Call& call);

    core::Core& core_;
    VlanDomain& vlans_;
    HostDomain& hosts_;
    Networks& networks_;
    DatabaseCopies& copies_;
    TrustStore trusted_;
    TestPost post_;
    AdmitClients admit_;
};

}  // namespace basalt::domain
