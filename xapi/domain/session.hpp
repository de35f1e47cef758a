#pragma once
#include "idl/api/session_api.hpp"
#include "xapi/core/core.hpp"

namespace basalt::domain {

/// Class session: who may come in.
class SessionDomain final : public xenapi::SessionApi {
  public:
    static constexpr std::size_t root_sessions_max = 400;        // the oldest goes
    static constexpr std::size_t originator_sessions_max = 500;  // of one name
    static constexpr std::size_t user_sessions_max = 500;        // of one user that is not root

    explicit SessionDomain(core::Core& core) : core_(core) {}

    Task<xenapi::Ref<xenapi::Session>> login_with_password(
        Call& call, xenapi::SessionLoginWithPassword params) override;
    Task<xenapi::Ref<xenapi::Session>> slave_local_login_with_password(
        Call& call, xenapi::SessionSlaveLocalLoginWithPassword params) override;
    Task<xenapi::Ref<xenapi::Session>> slave_login(Call& call,
                                                   xenapi::SessionSlaveLogin params) override;
    Task<void> logout(Call& call) override;
    Task<void> local_logout(Call& call) override;
    Task<void> change_password(Call& call, xenapi::SessionChangePassword params) override;
    Task<std::vector<std::string>> get_all_subject_identifiers(Call& call) override;
    Task<void> logout_subject_identifier(Call& call,
                                         xenapi::SessionLogoutSubjectIdentifier params) override;

  private:
    Task<void> authenticate(Call& call, std::string user, std::string password);
    xenapi::Ref<xenapi::Session> open(Call& call, const std::string& user,
                                      const std::string& originator);
    void make_room(db::Txn& txn, const std::string& user, const std::string& originator);

    core::Core& core_;
};

}  // namespace basalt::domain
