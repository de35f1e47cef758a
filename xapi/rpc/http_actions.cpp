#include <algorithm>
#include <array>

#include "idl/errors.hpp"
#include "xapi/rpc/http_auth.hpp"

namespace basalt::server {

namespace {

constexpr auto actions = std::to_array<HttpAction>({
    {"GET", "/audit_log", "get_audit_log", "read-only"},
    {"GET", "/blob", "get_blob", "read-only"},
    {"PUT", "/blob", "put_blob", "vm-power-admin"},
    {"PUT", "/bundle", "put_bundle", "pool-operator"},
    {"CONNECT", "/console", "connect_console", "vm-operator"},
    {"GET", "/console", "connect_console_ws", "vm-operator"},
    {"GET", "/export", "get_export", "vm-admin"},
    {"GET", "/export_metadata", "get_export_metadata", "vm-admin"},
    {"GET", "/export_raw_vdi", "get_export_raw_vdi", "vm-admin"},
    {"GET", "/host_backup", "get_host_backup", "pool-admin"},
    {"GET", "/host_logs_download", "get_host_logs_download", "pool-operator"},
    {"PUT", "/host_restore", "put_host_restore", "pool-admin"},
    {"GET", "/host_rrd", "host_rrd", "read-only"},
    {"GET", "/host_rrds", "get_host_rrds", "read-only"},
    {"GET", "/host_updates", "get_host_updates", "pool-operator"},
    {"PUT", "/import", "put_import", "vm-admin"},
    {"PUT", "/import_metadata", "put_import_metadata", "vm-admin"},
    {"PUT", "/import_raw_vdi", "put_import_raw_vdi", "vm-admin"},
    {"PUT", "/messages", "put_messages", "vm-power-admin"},
    {"GET", "/pool/xmldbdump", "get_pool_xml_db_sync", "pool-admin"},
    {"PUT", "/pool/xmldbdump", "put_pool_xml_db_sync", "pool-admin"},
    {"PUT", "/pool_patch_upload", "put_pool_patch_upload", "pool-operator"},
    {"POST", "/remote_db_access", "post_remote_db_access", "pool-admin"},
    {"POST", "/remote_db_access_v2", "post_remote_db_access_v2", "pool-admin"},
    {"CONNECT", "/remotecmd", "connect_remotecmd", "pool-admin"},
    {"GET", "/repository", "get_repository", "local-root"},
    {"GET", "/repository/enabled", "get_enabled_repository", "pool-operator"},
    {"PUT", "/rrd", "rrd", "pool-admin"},
    {"GET", "/rrd_updates", "rrd_updates", "read-only"},
    {"GET", "/services", "get_services", "read-only"},
    {"POST", "/services", "post_services", "pool-admin"},
    {"PUT", "/services", "put_services", "pool-admin"},
    {"GET", "/services/SM", "get_services_sm", "vm-power-admin"},
    {"POST", "/services/SM", "post_services_sm", "vm-power-admin"},
    {"PUT", "/services/SM", "put_services_sm", "vm-power-admin"},
    {"GET", "/services/xenops", "get_services_xenops", "vm-power-admin"},
    {"POST", "/services/xenops", "post_services_xenops", "vm-power-admin"},
    {"PUT", "/services/xenops", "put_services_xenops", "vm-power-admin"},
    {"GET", "/sr_rrd", "sr_rrd", "read-only"},
    {"GET", "/sync_config_files", "get_config_sync", "pool-admin"},
    {"GET", "/system-status", "get_system_status", "pool-operator"},
    {"GET", "/updates", "get_updates", "pool-operator"},
    {"GET", "/vm_rrd", "vm_rrd", "read-only"},
    {"GET", "/vm_rrds", "get_vm_rrds", "read-only"},
    {"GET", "/vncsnapshot", "get_vncsnapshot", "vm-operator"},
    {"GET", "/wlb_diagnostics", "get_wlb_diagnostics", "read-only"},
    {"GET", "/wlb_report", "get_wlb_report", "read-only"},
    // Not of the API: our own.
    {"GET", "/metrics", "get_metrics", "read-only"},
});

}  // namespace

std::span<const HttpAction> http_actions() {
    return actions;
}

const HttpAction& http_action(std::string_view name) {
    const auto at = std::ranges::find(actions, name, &HttpAction::name);
    if (at == actions.end()) throw err::internal_error("no HTTP action " + std::string(name));
    return *at;
}

xenapi::RoleMask roles_from(std::string_view least) {
    const auto names = xenapi::role_names();
    const auto at = std::ranges::find(names, least);
    if (at == names.end()) return 0;
    return static_cast<xenapi::RoleMask>((2U << (at - names.begin())) - 1);
}

}  // namespace basalt::server
