#include "xapi/domain/subjects.hpp"

#include <algorithm>
#include <set>

#include "idl/errors.hpp"
#include "idl/records/host.hpp"
#include "idl/records/role.hpp"
#include "idl/records/session.hpp"
#include "idl/records/subject.hpp"
#include "xapi/core/hosts.hpp"
#include "xapi/domain/words.hpp"

namespace basalt::domain {

namespace {

void require_lookups(const core::Core& core) {
    if (!looks_up_users(core)) throw err::auth_is_disabled();
}

/// Who has come in by a subject that has changed comes in again.
void end_sessions_of(db::Txn& txn, Ref<Subject> subject) {
    txn.each<Session>([&](Ref<Session> session, const Session& row) {
        if (row.subject == subject) txn.erase(session);
    });
}

}  // namespace

bool looks_up_users(const core::Core& core) {
    const Host* leader = core.db.find(core.this_host);
    return leader != nullptr && leader->external_auth_type == local_users;
}

RoleMask role_mask(const Role& role) {
    const auto names = role_names();
    const auto at = std::ranges::find(names, role.name_label);
    return static_cast<RoleMask>(at == names.end() ? 0U : 1U << (at - names.begin()));
}

std::vector<std::string> permissions_of(RoleMask roles) {
    std::set<std::string> names;
    for (const ClassInfo& cls : classes())
        for (const MessageInfo& message : cls.messages)
            if ((message.roles & roles) != 0) names.emplace(message.wire_name);
    for (const Permission& extra : extra_permissions())
        if ((extra.roles & roles) != 0) names.emplace(extra.name);
    return {names.begin(), names.end()};
}

Ref<Subject> subject_of(const core::Core& core, const agent::Account& account) {
    Ref<Subject> own;
    Ref<Subject> of_group;
    core.db.each<Subject>([&](Ref<Subject> ref, const Subject& row) {
        if (row.subject_identifier == account.id) own = ref;
        if (!of_group && !row.roles.empty() &&
            std::ranges::contains(account.groups, row.subject_identifier))
            of_group = ref;
    });
    const auto name = account.facts.find("subject-name");
    const std::string who = name == account.facts.end() ? account.id : name->second;
    if (!own && !of_group)
        throw err::session_authorization_failed(who, "No subject of the pool is this user");
    if (own && !core.db.get(own).roles.empty()) return own;
    if (of_group) return of_group;
    throw err::session_authorization_failed(who, "The subject has no role");
}

Task<Ref<Subject>> SubjectDomain::create(Call& call, SubjectCreate params) {
    co_return call.db().transact([&](db::Txn& txn) {
        Subject row = std::move(params.args);
        txn.each<Subject>([&](Ref<Subject>, const Subject& other) {
            if (other.subject_identifier == row.subject_identifier)
                throw err::subject_already_exists();
        });
        for (const auto role : row.roles)
            if (txn.find(role) == nullptr) throw err::role_not_found();
        return txn.insert(std::move(row));
    });
}

Task<void> SubjectDomain::destroy(Call& call, SubjectDestroy params) {
    call.db().transact([&](db::Txn& txn) {
        end_sessions_of(txn, params.self);
        txn.erase(params.self);
    });
    co_return;
}

Task<void> SubjectDomain::add_to_roles(Call& call, SubjectAddToRoles params) {
    call.db().transact([&](db::Txn& txn) {
        if (txn.find(params.role) == nullptr) throw err::role_not_found();
        if (std::ranges::contains(txn.get(params.self).roles, params.role))
            throw err::role_already_exists();
        txn.edit(params.self).roles.push_back(params.role);
    });
    co_return;
}

Task<void> SubjectDomain::remove_from_roles(Call& call, SubjectRemoveFromRoles params) {
    call.db().transact([&](db::Txn& txn) {
        if (!std::ranges::contains(txn.get(params.self).roles, params.role))
            throw err::role_not_found();
        std::erase(txn.edit(params.self).roles, params.role);
    });
    co_return;
}

Task<std::vector<std::string>> SubjectDomain::get_permissions_name_label(
    Call& call, SubjectGetPermissionsNameLabel params) {
    RoleMask roles = 0;
    for (const auto role : call.db().get(params.self).roles)
        if (const Role* row = call.db().find(role))
            roles = static_cast<RoleMask>(roles | role_mask(*row));
    co_return permissions_of(roles);
}

Task<std::string> AuthDomain::get_subject_identifier(Call&, AuthGetSubjectIdentifier params) {
    require_lookups(core_);
    co_return (co_await core_.hosts->local().account({params.subject_name})).id;
}

Task<Map<std::string, std::string>> AuthDomain::get_subject_information_from_identifier(
    Call&, AuthGetSubjectInformationFromIdentifier params) {
    require_lookups(core_);
    const agent::Account account =
        co_await core_.hosts->local().account({params.subject_identifier});
    if (account.id != params.subject_identifier) throw err::subject_cannot_be_resolved();
    Map<std::string, std::string> out;
    for (const auto& [key, value] : account.facts)
        out.insert_or_assign(key, value);
    co_return out;
}

Task<std::vector<std::string>> AuthDomain::get_group_membership(Call&,
                                                                AuthGetGroupMembership params) {
    require_lookups(core_);
    const agent::Account account =
        co_await core_.hosts->local().account({params.subject_identifier});
    if (account.id != params.subject_identifier) throw err::subject_cannot_be_resolved();
    co_return account.groups;
}

}  // namespace basalt::domain
