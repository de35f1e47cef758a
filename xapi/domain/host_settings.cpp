// Class host: what an administrator sets on the machine itself.
#include <algorithm>

#include "base/log.hpp"
#include "idl/errors.hpp"
#include "idl/records/host.hpp"
#include "idl/records/pif.hpp"
#include "idl/records/pool.hpp"
#include "idl/records/session.hpp"
#include "xapi/core/hosts.hpp"
#include "xapi/domain/host.hpp"
#include "xapi/domain/subjects.hpp"
#include "xapi/domain/words.hpp"

namespace basalt::domain {

namespace {

constexpr std::int64_t ssh_timeout_seconds_max = 2 * 24 * 3600;
// Debian's own pool of time servers, which its clock daemon asks by default.
constexpr const char* factory_servers[] = {"0.debian.pool.ntp.org", "1.debian.pool.ntp.org",
                                           "2.debian.pool.ntp.org", "3.debian.pool.ntp.org"};

bool may_be_server(const std::string& text) {
    return !text.empty() && std::ranges::all_of(text, [](char c) {
        return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
               c == '.' || c == '-' || c == ':';
    });
}

bool knows_edition(const Host& host, const std::string& edition) {
    return std::ranges::contains(host.editions, edition);
}

}  // namespace

agent::NtpWant ntp_want(const Host& host) {
    agent::NtpWant want;
    want.enabled = host.ntp_mode != HostNtpMode::disabled;
    if (host.ntp_mode == HostNtpMode::custom) want.servers = host.ntp_custom_servers;
    if (host.ntp_mode == HostNtpMode::factory)
        want.servers = {std::begin(factory_servers), std::end(factory_servers)};
    return want;
}

Task<void> HostDomain::set(Call& call, Ref<Host> host, agent::HostChange change,
                           std::function<void(Host&)> land) {
    (void)call.db().get(host);
    co_await call.committed();
    co_await core_.hosts->agent(host).host_change(call.operation(), {std::move(change)});
    call.db().transact_fact([&](db::Txn& txn) { land(txn.edit(host)); });
}

Task<void> HostDomain::set_hostname_live(Call& call, HostSetHostnameLive params) {
    agent::HostChange change;
    change.hostname = params.hostname;
    return set(call, params.host, std::move(change), [name = params.hostname](Host& row) {
        row.hostname = name;
        row.software_version.insert_or_assign("hostname", name);
    });
}

Task<void> HostDomain::syslog_reconfigure(Call& call, HostSyslogReconfigure params) {
    agent::HostChange change;
    change.syslog_destination =
        call.db().get(params.host).logging.get(std::string("syslog_destination"));
    return set(call, params.host, std::move(change), [](Host&) {});
}

Task<std::vector<std::string>> HostDomain::list_timezones(Call& call, HostListTimezones params) {
    (void)call.db().get(params.self);
    return core_.hosts->agent(params.self).host_timezones({});
}

Task<void> HostDomain::set_timezone(Call& call, HostSetTimezone params) {
    agent::HostChange change;
    change.timezone = params.value;
    return set(call, params.self, std::move(change),
               [zone = params.value](Host& row) { row.timezone = zone; });
}

Task<void> HostDomain::set_ntp_mode(Call& call, HostSetNtpMode params) {
    Host wanted = call.db().get(params.self);
    wanted.ntp_mode = params.value;
    if (wanted.ntp_mode == HostNtpMode::custom && wanted.ntp_custom_servers.empty())
        throw err::invalid_ntp_config("There are no custom time servers");
    agent::HostChange change;
    change.ntp = ntp_want(wanted);
    co_await set(call, params.self, std::move(change),
                 [mode = params.value](Host& row) { row.ntp_mode = mode; });
}

Task<void> HostDomain::set_ntp_custom_servers(Call& call, HostSetNtpCustomServers params) {
    Host wanted = call.db().get(params.self);
    wanted.ntp_custom_servers = params.value;
    if (wanted.ntp_mode == HostNtpMode::custom && params.value.empty())
        throw err::invalid_ntp_config("The clock follows the custom time servers");
    // The host looks at those that it gets; the others wait in the record.
    for (const std::string& server : params.value)
        if (!may_be_server(server)) throw err::invalid_value("ntp_custom_servers", server);
    agent::HostChange change;
    change.ntp = ntp_want(wanted);
    co_await set(call, params.self, std::move(change),
                 [servers = params.value](Host& row) { row.ntp_custom_servers = servers; });
}

Task<Map<std::string, std::string>> HostDomain::get_ntp_servers_status(
    Call& call, HostGetNtpServersStatus params) {
    (void)call.db().get(params.self);
    Map<std::string, std::string> out;
    const agent::HostClock clock = co_await core_.hosts->agent(params.self).host_clock({});
    for (const auto& [server, state] : clock.sources)
        out.insert_or_assign(server, state);
    co_return out;
}

Task<bool> HostDomain::get_ntp_synchronized(Call& call, HostGetNtpSynchronized params) {
    (void)call.db().get(params.self);
    co_return (co_await core_.hosts->agent(params.self).host_clock({})).synchronised;
}

Task<void> HostDomain::set_servertime(Call& call, HostSetServertime params) {
    if (call.db().get(params.self).ntp_mode != HostNtpMode::disabled)
        throw err::not_allowed_when_ntp_is_enabled(params.self);
    agent::HostChange change;
    change.clock_seconds = params.value.seconds;
    co_await set(call, params.self, std::move(change), [](Host&) {});
}

Task<void> HostDomain::set_iscsi_iqn(Call& call, HostSetIscsiIqn params) {
    agent::HostChange change;
    change.iscsi_iqn = params.value;
    return set(call, params.host, std::move(change), [name = params.value](Host& row) {
        row.iscsi_iqn = name;
        row.other_config.insert_or_assign("iscsi_iqn", name);
    });
}

Task<void> HostDomain::set_multipathing(Call& call, HostSetMultipathing params) {
    agent::HostChange change;
    change.multipathing = params.value;
    return set(call, params.host, std::move(change), [on = params.value](Host& row) {
        row.multipathing = on;
        row.other_config.insert_or_assign("multipathing", on ? "true" : "false");
    });
}

Task<void> HostDomain::set_https_only(Call& call, HostSetHttpsOnly params) {
    // The listeners look at the record (xapi/coordinator_daemon.cpp).
    call.db().transact([&](db::Txn& txn) { txn.edit(params.self).https_only = params.value; });
    co_return;
}

// Who is let in is decided by the listeners themselves; no other service stands before them.
Task<void> HostDomain::update_firewalld_service_status(Call&) {
    co_return;
}

Task<void> HostDomain::set_ssl_legacy(Call& call, HostSetSslLegacy params) {
    (void)call.db().get(params.self);
    if (params.value)
        throw err::value_not_supported("value", "true", "Outdated TLS is not spoken any more");
    co_return;
}

Task<void> HostDomain::set_console_idle_timeout(Call& call, HostSetConsoleIdleTimeout params) {
    agent::HostChange change;
    change.console_idle_seconds = params.value;
    return set(call, params.self, std::move(change),
               [seconds = params.value](Host& row) { row.console_idle_timeout = seconds; });
}

Task<void> HostDomain::switch_ssh(Call& call, Ref<Host> host, bool on) {
    agent::HostChange change;
    change.ssh_enabled = on;
    // What is switched on by hand is to stay on.
    const bool by_hand = on && call.db().get(host).ssh_auto_mode;
    if (by_hand) change.ssh_auto = false;
    try {
        const std::int64_t now = core_.now_seconds();
        co_await set(call, host, std::move(change), [on, now, by_hand](Host& row) {
            row.ssh_enabled = on;
            if (by_hand) row.ssh_auto_mode = false;
            const bool ends = on && row.ssh_enabled_timeout > 0;
            row.ssh_expiry = DateTime{ends ? now + row.ssh_enabled_timeout : 0};
        });
        co_return;
    } catch (const ApiError& error) {
        if (error.code() == "HANDLE_INVALID" || error.code() == "HOST_OFFLINE") throw;
        log::warn("ssh_not_switched", {{"on", on}, {"error", error.what()}});
    }
    throw on ? err::enable_ssh_failed(host) : err::disable_ssh_failed(host);
}

Task<void> HostDomain::enable_ssh(Call& call, HostEnableSsh params) {
    return switch_ssh(call, params.self, true);
}

Task<void> HostDomain::disable_ssh(Call& call, HostDisableSsh params) {
    return switch_ssh(call, params.self, false);
}

// The host watches its own xapi (host-agent/core/ssh_keeper.hpp); this call has reached that.
Task<void> HostDomain::set_ssh_auto_mode(Call& call, HostSetSshAutoMode params) {
    agent::HostChange change;
    change.ssh_auto = params.value;
    if (params.value) change.ssh_enabled = false;
    co_await set(call, params.self, std::move(change), [on = params.value](Host& row) {
        row.ssh_auto_mode = on;
        if (!on) return;
        row.ssh_enabled = false;
        row.ssh_expiry = {};
    });
}

Task<void> HostDomain::set_max_cstate(Call& call, HostSetMaxCstate params) {
    agent::HostChange change;
    change.max_cstate = params.value;
    return set(call, params.self, std::move(change),
               [limit = params.value](Host& row) { row.max_cstate = limit; });
}

Task<void> HostDomain::set_ssh_enabled_timeout(Call& call, HostSetSshEnabledTimeout params) {
    if (params.value < 0 || params.value > ssh_timeout_seconds_max)
        throw err::invalid_value("ssh_enabled_timeout", std::to_string(params.value));
    call.db().transact([&](db::Txn& txn) {
        Host& row = txn.edit(params.self);
        row.ssh_enabled_timeout = params.value;
        const bool ends = row.ssh_enabled && params.value > 0;
        row.ssh_expiry = DateTime{ends ? core_.now_seconds() + params.value : 0};
    });
    co_return;
}

Task<void> HostDomain::enable_external_auth(Call& call, HostEnableExternalAuth params) {
    call.db().transact([&](db::Txn& txn) {
        const Host& row = txn.get(params.host);
        if (!row.external_auth_type.empty())
            throw err::auth_already_enabled(row.external_auth_type, row.external_auth_service_name);
        // Directories of other machines are not spoken to.
        if (params.auth_type != local_users) throw err::auth_unknown_type(params.auth_type);
        Host& edited = txn.edit(params.host);
        edited.external_auth_type = params.auth_type;
        edited.external_auth_service_name = params.service_name;
        edited.external_auth_configuration = params.config;
    });
    co_return;
}

Task<void> HostDomain::disable_external_auth(Call& call, HostDisableExternalAuth params) {
    call.db().transact([&](db::Txn& txn) {
        Host& row = txn.edit(params.host);
        row.external_auth_type.clear();
        row.external_auth_service_name.clear();
        row.external_auth_configuration = {};
        if (params.host != core_.this_host) return;
        // Who came in by a subject is nobody now.
        txn.each<Session>([&](Ref<Session> session, const Session& other) {
            if (txn.find(other.subject) != nullptr) txn.erase(session);
        });
    });
    co_return;
}

// How a directory is spoken to; the machine's own users are looked up without one.
Task<void> HostDomain::external_auth_set_ldaps(Call& call, HostExternalAuthSetLdaps params) {
    if (call.db().get(params.host).external_auth_type.empty()) throw err::auth_is_disabled();
    throw err::auth_set_ldaps_failed(params.host, "Users are looked up without LDAP");
    co_return;
}

Task<void> HostDomain::apply_edition(Call& call, HostApplyEdition params) {
    if (!knows_edition(call.db().get(params.host), params.edition))
        throw err::invalid_edition(params.edition);
    call.db().transact([&](db::Txn& txn) { txn.edit(params.host).edition = params.edition; });
    co_return;
}

Task<void> HostDomain::license_add(Call& call, HostLicenseAdd params) {
    (void)call.db().get(params.host);
    // Nothing is licensed here, so no file can be a licence of it.
    throw err::license_processing_error();
    co_return;
}

Task<void> HostDomain::license_remove(Call& call, HostLicenseRemove params) {
    (void)call.db().get(params.host);
    co_return;
}

}  // namespace basalt::domain
