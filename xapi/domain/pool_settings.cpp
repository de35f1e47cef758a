// Class pool: what is set on every host, or for the pool as a whole.
#include <algorithm>

#include "base/log.hpp"
#include "idl/errors.hpp"
#include "idl/records/host.hpp"
#include "idl/records/pool.hpp"
#include "idl/records/secret.hpp"
#include "xapi/core/hosts.hpp"
#include "xapi/domain/blobs.hpp"
#include "xapi/domain/guest_agents.hpp"
#include "xapi/domain/messages.hpp"
#include "xapi/domain/pool.hpp"
#include "xapi/domain/subjects.hpp"
#include "xapi/domain/words.hpp"

namespace basalt::domain {

namespace {

// How many passwords of a kind are checked at once, and what is kept of those that were right.
constexpr std::int64_t auth_threads_max = 64;
constexpr std::int64_t cached_users_max = 10'000;

std::string references(const std::vector<Ref<Host>>& hosts) {
    std::string out;
    for (const Ref<Host> host : hosts)
        out += (out.empty() ? "" : ",") + host.text();
    return out;
}

constexpr std::int64_t day_seconds = 24 * 3600;

std::int64_t period_seconds(TelemetryFrequency frequency) {
    switch (frequency) {
        case TelemetryFrequency::daily:
            return day_seconds;
        case TelemetryFrequency::weekly:
            return 7 * day_seconds;
        case TelemetryFrequency::monthly:
            return 31 * day_seconds;
    }
    return day_seconds;
}

void require_between(const char* name, std::int64_t value, std::int64_t most) {
    if (value < 1 || value > most) throw err::invalid_value(name, std::to_string(value));
}

}  // namespace

std::vector<Ref<Host>> PoolDomain::all_hosts() const {
    std::vector<Ref<Host>> hosts;
    core_.db.each<Host>([&](Ref<Host> host, const Host&) { hosts.push_back(host); });
    return hosts;
}

Task<std::vector<Ref<Host>>> PoolDomain::on_each(std::function<Task<void>(Ref<Host>)> change) {
    std::vector<Ref<Host>> failed;
    for (const Ref<Host> host : all_hosts()) {
        try {
            co_await change(host);
        } catch (const ApiError& error) {
            log::warn("host_not_set", {{"host", host.text()}, {"error", error.what()}});
            failed.push_back(host);
        }
    }
    co_return failed;
}

Task<Ref<Blob>> PoolDomain::create_new_blob(Call& call, PoolCreateNewBlob params) {
    co_return call.db().transact([&](db::Txn& txn) {
        return attach_blob(txn, params.pool, {params.name, params.mime_type, params.public_});
    });
}

Task<bool> PoolDomain::has_extension(Call& call, PoolHasExtension params) {
    (void)call.db().get(params.self);
    for (const Ref<Host> host : all_hosts())
        if (!co_await hosts_.has_extension(call, {host, params.name})) co_return false;
    co_return true;
}

Task<std::string> PoolDomain::send_test_post(Call&, PoolSendTestPost params) {
    if (!post_) throw err::internal_error("this process opens no connections");
    return post_(std::move(params));
}

// Members hold no records: there is nobody to bring up to date but the disk.
Task<void> PoolDomain::sync_database(Call& call) {
    co_await call.db().durable(call.db().published());
}

Task<void> PoolDomain::audit_log_append(Call&, PoolAuditLogAppend params) {
    if (core_.audit != nullptr) core_.audit->append(params.line);
    co_return;
}

Task<void> PoolDomain::apply_edition(Call& call, PoolApplyEdition params) {
    (void)call.db().get(params.self);
    for (const Ref<Host> host : all_hosts())
        co_await hosts_.apply_edition(call, {host, params.edition, false});
}

Task<void> PoolDomain::set_https_only(Call& call, PoolSetHttpsOnly params) {
    (void)call.db().get(params.self);
    call.db().transact([&](db::Txn& txn) {
        txn.each<Host>(
            [&](Ref<Host> host, const Host&) { txn.edit(host).https_only = params.value; });
    });
    co_return;
}

Task<void> PoolDomain::disable_ssl_legacy(Call& call, PoolDisableSslLegacy params) {
    (void)call.db().get(params.self);
    call.db().transact([&](db::Txn& txn) {
        txn.each<Host>([&](Ref<Host> host, const Host&) { txn.edit(host).ssl_legacy = false; });
    });
    co_return;
}

Task<void> PoolDomain::enable_ssh(Call& call, PoolEnableSsh params) {
    (void)call.db().get(params.self);
    const auto failed =
        co_await on_each([&](Ref<Host> host) { return hosts_.enable_ssh(call, {host}); });
    if (!failed.empty()) throw err::enable_ssh_partially_failed(references(failed));
}

Task<void> PoolDomain::disable_ssh(Call& call, PoolDisableSsh params) {
    (void)call.db().get(params.self);
    const auto failed =
        co_await on_each([&](Ref<Host> host) { return hosts_.disable_ssh(call, {host}); });
    if (!failed.empty()) throw err::disable_ssh_partially_failed(references(failed));
}

Task<void> PoolDomain::set_ssh_auto_mode(Call& call, PoolSetSshAutoMode params) {
    (void)call.db().get(params.self);
    const auto failed = co_await on_each(
        [&](Ref<Host> host) { return hosts_.set_ssh_auto_mode(call, {host, params.value}); });
    if (!failed.empty()) throw err::set_ssh_auto_mode_partially_failed(references(failed));
}

Task<void> PoolDomain::set_ssh_enabled_timeout(Call& call, PoolSetSshEnabledTimeout params) {
    (void)call.db().get(params.self);
    // It is the same text on all of them: what one refuses, all do.
    for (const Ref<Host> host : all_hosts())
        co_await hosts_.set_ssh_enabled_timeout(call, {host, params.value});
}

Task<void> PoolDomain::set_console_idle_timeout(Call& call, PoolSetConsoleIdleTimeout params) {
    (void)call.db().get(params.self);
    for (const Ref<Host> host : all_hosts())
        co_await hosts_.set_console_idle_timeout(call, {host, params.value});
}

Task<void> PoolDomain::set_igmp_snooping_enabled(Call& call, PoolSetIgmpSnoopingEnabled params) {
    const bool before = call.db().get(params.self).igmp_snooping_enabled;
    require_openvswitch(core_);
    if (before == params.value) co_return;
    const auto write = [&call, pool = params.self](bool on) {
        call.db().transact_fact([&](db::Txn& txn) { txn.edit(pool).igmp_snooping_enabled = on; });
    };
    write(params.value);
    const auto failed =
        co_await on_each([&](Ref<Host> host) { return networks_.apply(call, host); });
    if (failed.empty()) co_return;
    write(before);
    // Who can be reached goes back; who cannot is told when it appears.
    co_await on_each([&](Ref<Host> host) { return networks_.apply(call, host); });
    throw err::could_not_update_igmp_snooping_everywhere();
}

Task<void> PoolDomain::enable_external_auth(Call& call, PoolEnableExternalAuth params) {
    (void)call.db().get(params.pool);
    for (const Ref<Host> host : all_hosts())
        if (!call.db().get(host).external_auth_type.empty())
            throw err::pool_auth_already_enabled(host);
    for (const Ref<Host> host : all_hosts())
        co_await hosts_.enable_external_auth(
            call, {host, params.config, params.service_name, params.auth_type});
}

Task<void> PoolDomain::disable_external_auth(Call& call, PoolDisableExternalAuth params) {
    (void)call.db().get(params.pool);
    for (const Ref<Host> host : all_hosts())
        co_await hosts_.disable_external_auth(call, {host, params.config, false});
}

Task<void> PoolDomain::external_auth_set_ldaps(Call& call, PoolExternalAuthSetLdaps params) {
    (void)call.db().get(params.pool);
    for (const Ref<Host> host : all_hosts())
        co_await hosts_.external_auth_set_ldaps(call, {host, params.ldaps, params.force});
}

Task<void> PoolDomain::detect_nonhomogeneous_external_auth(
    Call& call, PoolDetectNonhomogeneousExternalAuth params) {
    call.db().transact([&](db::Txn& txn) {
        const Host leader = txn.get(txn.get(params.pool).master);
        txn.each<Host>([&](Ref<Host>, const Host& row) {
            const bool same = row.external_auth_type == leader.external_auth_type &&
                              row.external_auth_service_name == leader.external_auth_service_name;
            if (!same)
                post_message(core_, txn, "EXTAUTH_IN_POOL_IS_NON_HOMOGENEOUS", 2, Cls::host,
                             row.uuid, "<body><host>" + row.uuid + "</host></body>");
        });
    });
    co_return;
}

Task<void> PoolDomain::set_local_auth_max_threads(Call& call, PoolSetLocalAuthMaxThreads params) {
    require_between("local_auth_max_threads", params.value, auth_threads_max);
    call.db().transact(
        [&](db::Txn& txn) { txn.edit(params.self).local_auth_max_threads = params.value; });
    co_return;
}

Task<void> PoolDomain::set_ext_auth_max_threads(Call& call, PoolSetExtAuthMaxThreads params) {
    require_between("ext_auth_max_threads", params.value, auth_threads_max);
    call.db().transact(
        [&](db::Txn& txn) { txn.edit(params.self).ext_auth_max_threads = params.value; });
    co_return;
}

Task<void> PoolDomain::set_ext_auth_cache_enabled(Call& call, PoolSetExtAuthCacheEnabled params) {
    call.db().transact(
        [&](db::Txn& txn) { txn.edit(params.self).ext_auth_cache_enabled = params.value; });
    co_return;
}

Task<void> PoolDomain::set_ext_auth_cache_size(Call& call, PoolSetExtAuthCacheSize params) {
    require_between("ext_auth_cache_size", params.value, cached_users_max);
    call.db().transact(
        [&](db::Txn& txn) { txn.edit(params.self).ext_auth_cache_size = params.value; });
    co_return;
}

Task<void> PoolDomain::set_ext_auth_cache_expiry(Call& call, PoolSetExtAuthCacheExpiry params) {
    require_between("ext_auth_cache_expiry", params.value, day_seconds);
    call.db().transact(
        [&](db::Txn& txn) { txn.edit(params.self).ext_auth_cache_expiry = params.value; });
    co_return;
}

Task<void> PoolDomain::apply_guest_agent_config(Call& call) {
    co_await on_each([&](Ref<Host> host) { return hosts_.apply_guest_agent_config(call, {host}); });
}

Task<void> PoolDomain::add_to_guest_agent_config(Call& call, PoolAddToGuestAgentConfig params) {
    require_agent_setting(params.key, params.value);
    call.db().transact([&](db::Txn& txn) {
        auto& config = txn.edit(params.self).guest_agent_config;
        if (config.contains(params.key))
            throw err::map_duplicate_key("pool", "guest_agent_config", params.self, params.key);
        config.insert_or_assign(params.key, params.value);
    });
    co_await apply_guest_agent_config(call);
}

Task<void> PoolDomain::remove_from_guest_agent_config(Call& call,
                                                      PoolRemoveFromGuestAgentConfig params) {
    call.db().transact(
        [&](db::Txn& txn) { txn.edit(params.self).guest_agent_config.erase(params.key); });
    co_await apply_guest_agent_config(call);
}

Task<void> PoolDomain::reset_telemetry_uuid(Call& call, PoolResetTelemetryUuid params) {
    call.db().transact([&](db::Txn& txn) {
        const Ref<Secret> old = txn.get(params.self).telemetry_uuid;
        Secret fresh;
        fresh.value = core_.new_uuid();
        txn.edit(params.self).telemetry_uuid = txn.insert(std::move(fresh));
        if (txn.find(old) != nullptr) txn.erase(old);
    });
    co_return;
}

Task<void> PoolDomain::set_telemetry_next_collection(Call& call,
                                                     PoolSetTelemetryNextCollection params) {
    call.db().transact([&](db::Txn& txn) {
        Pool& row = txn.edit(params.self);
        const std::int64_t latest =
            core_.now_seconds() + 2 * period_seconds(row.telemetry_frequency);
        if (params.value.seconds > latest)
            throw err::telemetry_next_collection_too_late(params.value.text());
        row.telemetry_next_collection = params.value;
    });
    co_return;
}

}  // namespace basalt::domain
