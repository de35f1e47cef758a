// Class SR: what probes find, who reaches a repository, and what the host's own root may correct.
#include <algorithm>
#include <pugixml.hpp>

#include "idl/errors.hpp"
#include "idl/records/host.hpp"
#include "idl/records/host_metrics.hpp"
#include "idl/records/pbd.hpp"
#include "idl/records/probe_result.hpp"
#include "idl/records/sr.hpp"
#include "idl/records/sr_stat.hpp"
#include "xapi/domain/database_copies.hpp"
#include "xapi/domain/sr.hpp"
#include "xapi/domain/words.hpp"

namespace basalt::domain {

namespace {

using Config = Map<std::string, std::string>;

/// What is known of a repository that a driver found: names and sizes only when it has a record.
SrStat stat_of(const db::Database& db, const std::string& uuid) {
    SrStat stat;
    stat.uuid = uuid;
    stat.health = SrHealth::healthy;
    const auto known = db.by_uuid<Sr>(uuid);
    if (!known) return stat;
    const Sr& row = db.get(*known);
    stat.name_label = row.name_label;
    stat.name_description = row.name_description;
    stat.clustered = row.clustered;
    stat.total_space = row.physical_size;
    stat.free_space = std::max<std::int64_t>(0, row.physical_size - row.physical_utilisation);
    return stat;
}

ProbeResult found(const Config& config) {
    ProbeResult result;
    result.complete = true;
    result.configuration = config;
    return result;
}

/// The drivers' XML (SRlist of SR.probe, nfs-exports) as records. A place without a repository is
/// one where a repository can be made.
std::vector<ProbeResult> results_of(const db::Database& db, const std::string& xml,
                                    const Config& config) {
    pugi::xml_document document;
    if (!document.load_string(xml.c_str()))
        throw err::internal_error("the driver's probe answers no XML");
    std::vector<ProbeResult> results;
    for (const pugi::xml_node sr : document.child("SRlist").children("SR")) {
        ProbeResult result = found(config);
        result.sr = stat_of(db, sr.child_value("UUID"));
        results.push_back(std::move(result));
    }
    for (const pugi::xml_node shared : document.child("nfs-exports").children("Export")) {
        ProbeResult result = found(config);
        const std::string path = shared.child_value("Path");
        result.configuration.insert_or_assign(
            "location", std::string(shared.child_value("Target")) + ":" + path);
        result.extra_info.insert_or_assign("path", path);
        results.push_back(std::move(result));
    }
    if (results.empty()) results.push_back(found(config));
    return results;
}

}  // namespace

Task<std::vector<ProbeResult>> SrDomain::probe_ext(Call& call, SrProbeExt params) {
    const Config config = params.device_config;
    const std::string xml = co_await probe(
        call, {params.host, params.device_config, params.type, std::move(params.sm_config)});
    co_return results_of(call.db(), xml, config);
}

Task<std::string> SrDomain::make(Call& call, SrMake params) {
    const Ref<Sr> made = co_await create(call, {.host = params.host,
                                                .device_config = params.device_config,
                                                .physical_size = params.physical_size,
                                                .name_label = params.name_label,
                                                .name_description = params.name_description,
                                                .type = params.type,
                                                .content_type = params.content_type,
                                                .shared = false,
                                                .sm_config = params.sm_config});
    co_return call.db().get(made).uuid;
}

Task<std::vector<Ref<Host>>> SrDomain::get_live_hosts(Call& call, SrGetLiveHosts params) {
    std::vector<Ref<Host>> hosts;
    for (const auto ref : call.db().get(params.sr).PBDs) {
        const Pbd& pbd = call.db().get(ref);
        const Host* host = call.db().find(pbd.host);
        if (!pbd.currently_attached || host == nullptr) continue;
        const HostMetrics* metrics = call.db().find(host->metrics);
        if (metrics != nullptr && metrics->live) hosts.push_back(pbd.host);
    }
    co_return hosts;
}

// The next scan says what the driver measures.
Task<void> SrDomain::set_physical_size(Call& call, SrSetPhysicalSize params) {
    call.db().transact([&](db::Txn& txn) { txn.edit(params.self).physical_size = params.value; });
    co_return;
}

Task<void> SrDomain::set_physical_utilisation(Call& call, SrSetPhysicalUtilisation params) {
    call.db().transact(
        [&](db::Txn& txn) { txn.edit(params.self).physical_utilisation = params.value; });
    co_return;
}

Task<void> SrDomain::set_virtual_allocation(Call& call, SrSetVirtualAllocation params) {
    call.db().transact(
        [&](db::Txn& txn) { txn.edit(params.self).virtual_allocation = params.value; });
    co_return;
}

Task<void> SrDomain::assert_supports_database_replication(
    Call&, SrAssertSupportsDatabaseReplication params) {
    copies_.require_supported(params.sr);
    co_return;
}

Task<void> SrDomain::enable_database_replication(Call& call, SrEnableDatabaseReplication params) {
    return copies_.enable(call, params.sr);
}

Task<void> SrDomain::disable_database_replication(Call& call, SrDisableDatabaseReplication params) {
    return copies_.disable(call, params.sr);
}

}  // namespace basalt::domain
