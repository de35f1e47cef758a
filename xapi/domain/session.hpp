#pragma once
#include "base/wait.hpp"
#include "idl/api/session_api.hpp"
#include "xapi/core/call.hpp"
#include "xapi/core/core.hpp"
#include "xapi/domain/login_places.hpp"
#include "xapi/domain/password_cache.hpp"
#include "xapi/domain/user_agents.hpp"

namespace basalt::domain {

/// Class session: who may come in.
class SessionDomain final : public xenapi::SessionApi {
  public:
    /// Beyond the core's limits of sessions the one that was not used for longest ends.
    SessionDomain(core::Core& core, UserAgents& agents);

    Task<xenapi::Ref<xenapi::Session>> login_with_password(
        Call& call, xenapi::SessionLoginWithPassword params) override;
    Task<xenapi::Ref<xenapi::Session>> slave_local_login_with_password(
        Call& call, xenapi::SessionSlaveLocalLoginWithPassword params) override;
    Task<xenapi::Ref<xenapi::Session>> slave_local_login(
        Call& call, xenapi::SessionSlaveLocalLogin params) override;
    Task<xenapi::Ref<xenapi::Session>> slave_login(Call& call,
                                                   xenapi::SessionSlaveLogin params) override;
    Task<xenapi::Ref<xenapi::Session>> create_from_db_file(
        Call& call, xenapi::SessionCreateFromDbFile params) override;
    /// A session that looks at another database than ours. Beyond sessions_of_files the oldest
    /// ends.
    xenapi::Ref<xenapi::Session> look_at(Call& call, std::shared_ptr<db::Database> database,
                                         const std::string& user);
    Task<void> logout(Call& call) override;
    Task<void> local_logout(Call& call) override;
    Task<void> change_password(Call& call, xenapi::SessionChangePassword params) override;
    Task<std::vector<std::string>> get_all_subject_identifiers(Call& call) override;
    Task<void> logout_subject_identifier(Call& call,
                                         xenapi::SessionLogoutSubjectIdentifier params) override;

  private:
    /// Whom a password proved: root has no subject, and every role.
    struct Person {
        xenapi::Ref<xenapi::Subject> subject;
        std::string id;            // of the machine's user
        bool certificate = false;  // it is a program whose certificate lets it in
    };

    Task<Person> authenticate(Call& call, std::string user, std::string password);
    /// Asks PAM, as many users at once as the pool lets (local_auth_max_threads and
    /// ext_auth_max_threads). Throws what the host throws.
    Task<void> check_password(Call& call, std::string user, std::string password);
    /// Whether the caller's certificate stands for a password now.
    [[nodiscard]] bool is_certified(const Call& call) const;
    /// What may be kept of passwords; nothing while the pool says no (ext_auth_cache_enabled).
    [[nodiscard]] PasswordCache::Bounds cache_bounds() const;
    /// Throws SESSION_AUTHORIZATION_FAILED [user, message] for who is not root and no subject.
    Task<Person> person_of(std::string user);
    /// Whoever knows the pool's secret is one of its hosts; `host` is for the error.
    Task<void> authenticate_pool(Call& call, const xenapi::SecretString& secret,
                                 xenapi::Ref<xenapi::Host> host);
    xenapi::Ref<xenapi::Session> open(Call& call, const std::string& user,
                                      const std::string& originator, const Person& person,
                                      bool pool = false);
    /// Absent is success.
    void end(xenapi::Ref<xenapi::Session> session);
    /// The host at whose door the caller stands.
    [[nodiscard]] xenapi::Ref<xenapi::Host> host_of(const basalt::Caller& caller) const;
    void make_room(db::Txn& txn, const std::string& user, const std::string& originator);

    core::Core& core_;
    UserAgents& agents_;
    PasswordCache passwords_;
    LoginPlaces local_checks_;
    LoginPlaces external_checks_;
};

}  // namespace basalt::domain
