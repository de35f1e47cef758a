#include "xapi/domain/session.hpp"

#include <set>

#include "base/log.hpp"
#include "base/wait.hpp"
#include "idl/errors.hpp"
#include "idl/records/session.hpp"
#include "xapi/core/hosts.hpp"
#include "xapi/domain/words.hpp"

namespace basalt::domain {

namespace {
// Guessing passwords must be slow; the wait holds nobody else up.
constexpr Duration wrong_password_delay = 5s;
}  // namespace

Task<void> SessionDomain::authenticate(Call& call, std::string user, std::string password) {
    if (!core_.booted) throw err::host_still_booting();
    if (call.caller().trusted) co_return;  // root on the host's own socket needs no password
    std::optional<ApiError> refused;
    try {
        co_await core_.hosts->local().login({user, std::move(password), call.caller().address});
    } catch (const ApiError& error) {
        refused = error;
    }
    if (!refused) co_return;
    log::warn("login_refused",
              {{"user", user}, {"address", call.caller().address}, {"error", refused->what()}});
    if (refused->code() == "SESSION_AUTHENTICATION_FAILED")
        co_await sleep_for(core_.loop, wrong_password_delay);
    throw *refused;
}

void SessionDomain::make_room(db::Txn& txn, const std::string& user,
                              const std::string& originator) {
    struct Oldest {
        std::size_t count = 0;
        Ref<Session> ref;
        std::int64_t active = 0;

        void see(Ref<Session> session, const Session& row) {
            if (count++ == 0 || row.last_active.seconds < active) {
                ref = session;
                active = row.last_active.seconds;
            }
        }
    };

    Oldest of_user;
    Oldest of_originator;
    txn.each<Session>([&](Ref<Session> ref, const Session& row) {
        if (row.pool) return;
        if (row.auth_user_name == user) of_user.see(ref, row);
        if (!originator.empty() && row.originator == originator) of_originator.see(ref, row);
    });
    const std::size_t user_max = user == "root" ? root_sessions_max : user_sessions_max;
    std::set<Ref<Session>> leaving;
    if (of_user.count >= user_max && originator.empty()) leaving.insert(of_user.ref);
    if (of_originator.count >= originator_sessions_max) leaving.insert(of_originator.ref);
    for (const Ref<Session> session : leaving) {
        log::info("session_dropped", {{"user", user}, {"originator", originator}});
        txn.erase(session);
    }
}

Ref<Session> SessionDomain::open(Call& call, const std::string& user,
                                 const std::string& originator) {
    const Ref<Session> session = core_.db.transact([&](db::Txn& txn) {
        make_room(txn, user, originator);
        Session row;
        row.this_host = core_.this_host;
        row.last_active = DateTime{core_.now_seconds()};
        row.validation_time = row.last_active;
        row.is_local_superuser = true;
        row.auth_user_name = user;
        row.originator = originator;
        return txn.insert(std::move(row));
    });
    log::info("session_opened",
              {{"user", user}, {"address", call.caller().address}, {"originator", originator}});
    return session;
}

Task<Ref<Session>> SessionDomain::login_with_password(Call& call, SessionLoginWithPassword params) {
    co_await authenticate(call, params.uname, params.pwd);
    co_return open(call, params.uname, params.originator);
}

Task<Ref<Session>> SessionDomain::slave_local_login_with_password(
    Call& call, SessionSlaveLocalLoginWithPassword params) {
    co_await authenticate(call, params.uname, params.pwd);
    co_return open(call, params.uname, {});
}

Task<Ref<Session>> SessionDomain::slave_login(Call&, SessionSlaveLogin params) {
    // This pool has one host and no secret that another could know.
    throw err::session_authentication_failed(params.host, "Pool credentials invalid");
    co_return Ref<Session>{};
}

Task<void> SessionDomain::logout(Call& call) {
    core_.db.transact([&](db::Txn& txn) {
        if (txn.find(call.caller().session) != nullptr) txn.erase(call.caller().session);
    });
    co_return;
}

Task<void> SessionDomain::local_logout(Call& call) {
    return logout(call);
}

Task<void> SessionDomain::change_password(Call& call, SessionChangePassword params) {
    if (call.caller().user.empty())
        throw err::session_authentication_failed("", "no user to change");
    co_await core_.hosts->local().change_password(
        {call.caller().user, std::move(params.old_pwd), std::move(params.new_pwd)});
}

Task<std::vector<std::string>> SessionDomain::get_all_subject_identifiers(Call&) {
    // Subjects come with external authentication; local superusers are none.
    std::set<std::string> found;
    core_.db.each<Session>([&](Ref<Session>, const Session& row) {
        if (!row.auth_user_sid.empty()) found.insert(row.auth_user_sid);
    });
    co_return std::vector(found.begin(), found.end());
}

Task<void> SessionDomain::logout_subject_identifier(Call&, SessionLogoutSubjectIdentifier params) {
    core_.db.transact([&](db::Txn& txn) {
        txn.each<Session>([&](Ref<Session> ref, const Session& row) {
            if (row.auth_user_sid == params.subject_identifier) txn.erase(ref);
        });
    });
    co_return;
}

}  // namespace basalt::domain
