#include "xapi/rpc/sessions.hpp"

#include <algorithm>
#include <vector>

#include "base/log.hpp"
#include "base/wait.hpp"
#include "idl/errors.hpp"
#include "idl/records/role.hpp"
#include "idl/records/session.hpp"
#include "idl/records/subject.hpp"
#include "xapi/core/core.hpp"

namespace basalt::server {

namespace {

// last_active is a row's change like any other: a busy client must not cause one with every call.
constexpr std::int64_t used_granularity_s = 30;
constexpr std::string_view client_certificate_role = "client-cert";
constexpr Duration expire_interval = std::chrono::minutes(5);

xenapi::RoleMask role_bit(std::string_view name) {
    const auto names = xenapi::role_names();
    const auto at = std::ranges::find(names, name);
    return static_cast<xenapi::RoleMask>(at == names.end() ? 0U : 1U << (at - names.begin()));
}

}  // namespace

Caller Sessions::stranger(const HttpRequest& request) const {
    Caller caller;
    caller.trusted = request.peer.trusted;
    caller.address = request.peer.address;
    caller.through = request.peer.through;
    if (const std::string* agent = request.header("User-Agent")) caller.user_agent = *agent;
    if (caller.trusted) {
        caller.root = true;
        caller.roles = all_roles;
        caller.user = "root";
    } else if (request.peer.certified) {
        // What it may be once it has logged in: SessionDomain::login_with_password.
        caller.roles = role_bit(client_certificate_role);
    }
    return caller;
}

Caller Sessions::caller(const std::string& session, const HttpRequest& request) {
    const std::optional<Uuid> uuid = xenapi::parse_ref(session);
    const xenapi::Ref<xenapi::Session> ref(uuid.value_or(Uuid{}));
    const xenapi::Session* row = ref.null() ? nullptr : core_.db.find(ref);
    if (row == nullptr) throw err::session_invalid(session);
    Caller caller = stranger(request);
    caller.session = ref;
    caller.pool = row->pool;
    caller.root = row->is_local_superuser || row->pool;
    const auto file =
        std::ranges::find(core_.file_sessions, ref, &core::Core::FileSession::session);
    if (file != core_.file_sessions.end()) caller.file = file->database;
    caller.roles = caller.file ? role_bit("read-only") : roles_of(*row);
    caller.user = row->auth_user_name;
    mark_used(ref, *row);
    return caller;
}

xenapi::RoleMask Sessions::roles_of(const xenapi::Session& session) const {
    if (session.is_local_superuser || session.pool) return all_roles;
    if (session.client_certificate) return role_bit(client_certificate_role);
    const xenapi::Subject* subject = core_.db.find(session.subject);
    if (subject == nullptr) return 0;
    xenapi::RoleMask mask = 0;
    for (const auto role : subject->roles)
        if (const xenapi::Role* row = core_.db.find(role); row != nullptr)
            mask = static_cast<xenapi::RoleMask>(mask | role_bit(row->name_label));
    return mask;
}

void Sessions::mark_used(xenapi::Ref<xenapi::Session> ref, const xenapi::Session& session) {
    const std::int64_t now = core_.now_seconds();
    if (now - session.last_active.seconds < used_granularity_s) return;
    core_.db.transact([&](db::Txn& txn) { txn.edit(ref).last_active = xenapi::DateTime{now}; });
}

Task<void> Sessions::expire_forever() {
    for (;;) {
        co_await sleep_for(core_.loop, expire_interval);
        expire();
    }
}

void Sessions::expire() {
    const auto idle_max = std::chrono::duration_cast<std::chrono::seconds>(
        core_.limits.time(Limit::session_idle_time));
    const std::int64_t oldest = core_.now_seconds() - idle_max.count();
    std::vector<xenapi::Ref<xenapi::Session>> idle;
    core_.db.each<xenapi::Session>(
        [&](xenapi::Ref<xenapi::Session> ref, const xenapi::Session& row) {
            if (row.last_active.seconds < oldest) idle.push_back(ref);
        });
    if (idle.empty()) return;
    log::info("sessions_expired", {{"count", idle.size()}});
    for (std::size_t i = 0; i < idle.size(); ++i)
        core_.limits.exceeded(Limit::session_idle_time);
    core_.db.transact([&](db::Txn& txn) {
        for (const auto ref : idle)
            txn.erase(ref);
    });
    std::erase_if(core_.file_sessions, [&](const core::Core::FileSession& one) {
        return core_.db.find(one.session) == nullptr;
    });
}

void require_role(const Caller& caller, xenapi::RoleMask roles, const std::string& permission) {
    if (caller.root || caller.pool || (caller.roles & roles) != 0) return;
    throw err::rbac_permission_denied(permission, "No permission in user session");
}

}  // namespace basalt::server
