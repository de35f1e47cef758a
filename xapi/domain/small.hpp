#pragma once
#include "idl/api/console_api.hpp"
#include "idl/api/message_api.hpp"
#include "idl/api/role_api.hpp"
#include "idl/api/secret_api.hpp"
#include "xapi/core/core.hpp"

/// Classes of few words: secret, message, role.
namespace basalt::domain {

class SecretDomain final : public xenapi::SecretApi {
  public:
    explicit SecretDomain(core::Core& core) : core_(core) {}

    Task<xenapi::Ref<xenapi::Secret>> create(Call& call, xenapi::SecretCreate params) override;
    Task<xenapi::Ref<xenapi::Secret>> introduce(Call& call,
                                                xenapi::SecretIntroduce params) override;
    Task<void> destroy(Call& call, xenapi::SecretDestroy params) override;

  private:
    core::Core& core_;
};

class MessageDomain final : public xenapi::MessageApi {
  public:
    explicit MessageDomain(core::Core& core) : core_(core) {}

    Task<xenapi::Ref<xenapi::Message>> create(Call& call, xenapi::MessageCreate params) override;
    Task<void> destroy(Call& call, xenapi::MessageDestroy params) override;
    Task<void> destroy_many(Call& call, xenapi::MessageDestroyMany params) override;
    /// Filters: before and after (moments), priority (a number); none: all.
    Task<void> destroy_all(Call& call, xenapi::MessageDestroyAll params) override;
    Task<xenapi::Map<xenapi::Ref<xenapi::Message>, xenapi::Message>> get(
        Call& call, xenapi::MessageGet params) override;
    Task<xenapi::Map<xenapi::Ref<xenapi::Message>, xenapi::Message>> get_since(
        Call& call, xenapi::MessageGetSince params) override;
    Task<std::vector<xenapi::Ref<xenapi::Message>>> get_all(Call& call) override;
    Task<xenapi::Map<xenapi::Ref<xenapi::Message>, xenapi::Message>> get_all_records(
        Call& call) override;
    Task<xenapi::Map<xenapi::Ref<xenapi::Message>, xenapi::Message>> get_all_records_where(
        Call& call, xenapi::MessageGetAllRecordsWhere params) override;
    Task<xenapi::Ref<xenapi::Message>> get_by_uuid(Call& call,
                                                   xenapi::MessageGetByUuid params) override;
    Task<xenapi::Message> get_record(Call& call, xenapi::MessageGetRecord params) override;

  private:
    core::Core& core_;
};

class RoleDomain final : public xenapi::RoleApi {
  public:
    explicit RoleDomain(core::Core& core) : core_(core) {}

    Task<std::vector<std::string>> get_permissions_name_label(
        Call& call, xenapi::RoleGetPermissionsNameLabel params) override;
    Task<std::vector<xenapi::Ref<xenapi::Role>>> get_by_permission_name_label(
        Call& call, xenapi::RoleGetByPermissionNameLabel params) override;
    /// A permission is a name; its reference is made from that, as a role's is, and has no row.
    Task<std::vector<xenapi::Ref<xenapi::Role>>> get_permissions(
        Call& call, xenapi::RoleGetPermissions params) override;
    Task<std::vector<xenapi::Ref<xenapi::Role>>> get_by_permission(
        Call& call, xenapi::RoleGetByPermission params) override;

  private:
    core::Core& core_;
};

/// The role rows, with references that are the same for ever and on every server: clients and the
/// default of subject.roles know them. Start of day; rows under other references go.
void insert_roles(db::Txn& txn);

}  // namespace basalt::domain
