#pragma once
#include "agent_values.hpp"
#include "idl/api/auth_api.hpp"
#include "idl/api/subject_api.hpp"
#include "xapi/core/core.hpp"

/// Who else than root may come in: users and groups of the hosts' own machines, once an
/// administrator has made subjects of them.
namespace basalt::domain {

/// The one kind of directory that there is: the machine's own users, by PAM.
inline constexpr const char* local_users = "PAM";

/// Class subject.
class SubjectDomain final : public xenapi::SubjectApi {
  public:
    explicit SubjectDomain(core::Core& core) : core_(core) {}

    Task<xenapi::Ref<xenapi::Subject>> create(Call& call, xenapi::SubjectCreate params) override;
    Task<void> destroy(Call& call, xenapi::SubjectDestroy params) override;
    Task<void> add_to_roles(Call& call, xenapi::SubjectAddToRoles params) override;
    Task<void> remove_from_roles(Call& call, xenapi::SubjectRemoveFromRoles params) override;
    Task<std::vector<std::string>> get_permissions_name_label(
        Call& call, xenapi::SubjectGetPermissionsNameLabel params) override;

  private:
    core::Core& core_;
};

/// Class auth.
class AuthDomain final : public xenapi::AuthApi {
  public:
    explicit AuthDomain(core::Core& core) : core_(core) {}

    Task<std::string> get_subject_identifier(Call& call,
                                             xenapi::AuthGetSubjectIdentifier params) override;
    Task<xenapi::Map<std::string, std::string>> get_subject_information_from_identifier(
        Call& call, xenapi::AuthGetSubjectInformationFromIdentifier params) override;
    Task<std::vector<std::string>> get_group_membership(
        Call& call, xenapi::AuthGetGroupMembership params) override;

  private:
    core::Core& core_;
};

/// Whether this pool's coordinator looks users up at all.
bool looks_up_users(const core::Core& core);

/// The subject by which a user of the machine comes in: the user's own, else that of a group with
/// roles. Throws SESSION_AUTHORIZATION_FAILED [name, message] when there is none.
xenapi::Ref<xenapi::Subject> subject_of(const core::Core& core, const agent::Account& account);

/// Names of all that somebody with these roles may call, sorted, once each.
std::vector<std::string> permissions_of(xenapi::RoleMask roles);
/// The bit of a role's row; 0 for a role that is none of the chain.
xenapi::RoleMask role_mask(const xenapi::Role& role);

}  // namespace basalt::domain
