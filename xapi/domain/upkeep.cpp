#include "xapi/domain/upkeep.hpp"

#include <vector>

#include "base/log.hpp"
#include "base/wait.hpp"
#include "idl/errors.hpp"
#include "idl/records/certificate.hpp"
#include "idl/records/host.hpp"
#include "idl/records/message.hpp"
#include "xapi/core/hosts.hpp"
#include "xapi/domain/messages.hpp"
#include "xapi/domain/words.hpp"

namespace basalt::domain {

namespace {

constexpr Duration round_pause = std::chrono::seconds(10);
constexpr Duration certificates_pause = std::chrono::hours(24);
constexpr std::int64_t day_seconds = 24 * 3600;

struct Notice {
    const char* suffix;
    std::int64_t priority;
};

/// By the days that are left. Source: the names and priorities of the API's messages.
std::optional<Notice> notice_of(std::int64_t seconds_left) {
    if (seconds_left <= 0) return Notice{"EXPIRED", 1};
    if (seconds_left <= 7 * day_seconds) return Notice{"EXPIRING_07", 1};
    if (seconds_left <= 14 * day_seconds) return Notice{"EXPIRING_14", 2};
    if (seconds_left <= 30 * day_seconds) return Notice{"EXPIRING_30", 3};
    return std::nullopt;
}

struct Kind {
    const char* prefix;
    const char* what;
};

Kind kind_of(CertificateType type) {
    switch (type) {
        case CertificateType::host:
            return {"HOST_SERVER_CERTIFICATE_", "The certificate that the host shows to clients"};
        case CertificateType::host_internal:
            return {"HOST_INTERNAL_CERTIFICATE_", "The certificate of the host within the pool"};
        case CertificateType::ca:
            return {"POOL_CA_CERTIFICATE_", "The certificate of an authority"};
        case CertificateType::pinned:
            return {"POOL_PINNED_CERTIFICATE_", "The certificate of a trusted server"};
    }
    return {"POOL_CA_CERTIFICATE_", "A certificate"};
}

std::string body_of(const Certificate& row, bool expired) {
    const std::string what = kind_of(row.type).what;
    const std::string message = what + (expired ? " has expired." : " expires soon.");
    return "<body><message>" + message + "</message><date>" + row.not_after.text() +
           "</date></body>";
}

/// The newest notice stands for the earlier ones of the same object.
void replace_notice(core::Core& core, db::Txn& txn, const Certificate& row, const Notice& notice) {
    const std::string prefix = kind_of(row.type).prefix;
    const std::string name = prefix + notice.suffix;
    const std::string body = body_of(row, notice.suffix == std::string("EXPIRED"));
    const Host* host = txn.find(row.host);
    const std::string about = host != nullptr ? host->uuid : row.uuid;
    bool told = false;
    txn.each<Message>([&](Ref<Message> ref, const Message& message) {
        if (message.obj_uuid != about || !message.name.starts_with(prefix)) return;
        if (message.name == name && message.body == body)
            told = true;
        else
            txn.erase(ref);
    });
    if (!told)
        post_message(core, txn, name, notice.priority,
                     host != nullptr ? Cls::host : Cls::certificate, about, body);
}

}  // namespace

Task<void> Upkeep::run_forever() {
    Time certificates_due = core_.loop.now();
    for (;;) {
        co_await sleep_for(core_.loop, round_pause);
        if (!core_.booted) continue;
        co_await end_ssh();
        if (core_.loop.now() < certificates_due) continue;
        certificates_due = core_.loop.now() + certificates_pause;
        tell_certificates();
    }
}

Task<void> Upkeep::end_ssh() {
    const std::int64_t now = core_.now_seconds();
    std::vector<Ref<Host>> due;
    core_.db.each<Host>([&](Ref<Host> host, const Host& row) {
        const bool over = row.ssh_expiry.seconds > 0 && row.ssh_expiry.seconds <= now;
        if (row.ssh_enabled && over && core_.hosts->connected(host)) due.push_back(host);
    });
    for (const Ref<Host> host : due) {
        agent::HostChange change;
        change.ssh_enabled = false;
        std::string failure;
        try {
            const std::string id = core_.new_uuid();
            co_await core_.hosts->agent(host).host_change({id, core_.term, {}, {}},
                                                          {std::move(change)});
            core_.hosts->landed({id});
        } catch (const ApiError& error) {
            failure = error.what();
        }
        if (!failure.empty()) {
            log::warn("ssh_not_ended", {{"host", host.text()}, {"error", failure}});
            continue;
        }
        log::info("ssh_ended", {{"host", host.text()}});
        core_.db.transact_fact([&](db::Txn& txn) {
            if (txn.find(host) == nullptr) return;
            txn.edit(host).ssh_enabled = false;
            txn.edit(host).ssh_expiry = {};
        });
    }
}

void Upkeep::tell_certificates() {
    const std::int64_t now = core_.now_seconds();
    std::vector<std::pair<Certificate, Notice>> due;
    core_.db.each<Certificate>([&](Ref<Certificate>, const Certificate& row) {
        if (const auto notice = notice_of(row.not_after.seconds - now))
            due.emplace_back(row, *notice);
    });
    if (due.empty()) return;
    core_.db.transact_fact([&](db::Txn& txn) {
        for (const auto& [row, notice] : due)
            replace_notice(core_, txn, row, notice);
    });
}

}  // namespace basalt::domain
