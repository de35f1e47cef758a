#include "xapi/domain/session.hpp"

#include <algorithm>
#include <set>

#include "base/log.hpp"
#include "base/wait.hpp"
#include "idl/errors.hpp"
#include "idl/records/host.hpp"
#include "idl/records/pool.hpp"
#include "idl/records/role.hpp"
#include "idl/records/session.hpp"
#include "idl/records/subject.hpp"
#include "xapi/core/hosts.hpp"
#include "xapi/core/secret.hpp"
#include "xapi/db/store/dump.hpp"
#include "xapi/domain/subjects.hpp"
#include "xapi/domain/words.hpp"

namespace basalt::domain {

namespace {
// Guessing passwords must be slow; the wait holds nobody else up.
constexpr Duration wrong_password_delay = 5s;
}  // namespace

SessionDomain::SessionDomain(core::Core& core, UserAgents& agents)
    : core_(core),
      agents_(agents),
      passwords_(core.loop),
      local_checks_(core.loop),
      external_checks_(core.loop) {
    core_.limits.use(Limit::sessions,
                     [this] { return core_.db.count(xenapi::class_of<Session>()); });
}

Task<SessionDomain::Person> SessionDomain::person_of(std::string user) {
    constexpr const char* root_id = "u0";
    if (user == "root") co_return Person{};
    std::optional<agent::Account> account;
    try {
        account = co_await core_.hosts->local().account({user});
    } catch (const ApiError& error) {
        if (error.code() != "SUBJECT_CANNOT_BE_RESOLVED") throw;
    }
    if (!account) throw err::session_authorization_failed(user, "The host has no such user");
    if (account->id == root_id) co_return Person{};
    if (!looks_up_users(core_))
        throw err::session_authorization_failed(user, "Only root may log in");
    co_return Person{subject_of(core_, *account), account->id};
}

PasswordCache::Bounds SessionDomain::cache_bounds() const {
    const Pool& pool = core_.db.get(core_.pool);
    if (!pool.ext_auth_cache_enabled) return {};
    return {.users_max = static_cast<std::size_t>(pool.ext_auth_cache_size),
            .kept_for = std::chrono::seconds(pool.ext_auth_cache_expiry)};
}

Task<void> SessionDomain::check_password(Call& call, std::string user, std::string password) {
    const Pool& pool = core_.db.get(core_.pool);
    const bool local = user == "root" || !looks_up_users(core_);
    const std::int64_t places = local ? pool.local_auth_max_threads : pool.ext_auth_max_threads;
    const auto place = co_await (local ? local_checks_ : external_checks_).hold(places);
    co_await core_.hosts->local().login(
        {std::move(user), std::move(password), call.caller().address});
}

Task<SessionDomain::Person> SessionDomain::authenticate(Call& call, std::string user,
                                                        std::string password) {
    if (!core_.booted) throw err::host_still_booting();
    if (call.caller().trusted) co_return Person{};  // root on the host's own socket needs none
    const bool cached = user != "root" && looks_up_users(core_);
    const PasswordCache::Bounds bounds = cache_bounds();
    if (bounds.users_max == 0) passwords_.clear();
    if (cached && passwords_.knows(user, password, bounds))
        co_return co_await person_of(std::move(user));
    std::optional<ApiError> refused;
    try {
        co_await check_password(call, user, password);
    } catch (const ApiError& error) {
        refused = error;
    }
    if (!refused) {
        if (cached) passwords_.note(user, password, bounds);
        co_return co_await person_of(std::move(user));
    }
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

    Oldest of_all;
    Oldest of_user;
    Oldest of_originator;
    txn.each<Session>([&](Ref<Session> ref, const Session& row) {
        if (row.pool) return;
        of_all.see(ref, row);
        if (row.auth_user_name == user) of_user.see(ref, row);
        if (!originator.empty() && row.originator == originator) of_originator.see(ref, row);
    });
    std::set<Ref<Session>> leaving;
    const auto bound = [&](const Oldest& oldest, Limit limit) {
        if (oldest.count < core_.limits.max(limit)) return;
        if (!leaving.insert(oldest.ref).second) return;
        core_.limits.exceeded(limit);
        log::info("session_dropped", {{"user", user}, {"originator", originator}});
    };
    if (originator.empty())
        bound(of_user, user == "root" ? Limit::sessions_of_root : Limit::sessions_of_user);
    bound(of_originator, Limit::sessions_of_originator);
    if (leaving.empty()) bound(of_all, Limit::sessions);
    for (const Ref<Session> session : leaving)
        txn.erase(session);
}

Ref<Host> SessionDomain::host_of(const basalt::Caller& caller) const {
    if (caller.through.empty()) return core_.this_host;
    if (const auto member = core_.db.by_uuid<Host>(caller.through)) return *member;
    throw err::host_unknown_to_master(caller.through);
}

Ref<Session> SessionDomain::open(Call& call, const std::string& user, const std::string& originator,
                                 const Person& person, bool pool) {
    const Ref<Session> session = core_.db.transact([&](db::Txn& txn) {
        make_room(txn, user, originator);
        Session row;
        row.this_host = host_of(call.caller());
        row.pool = pool;
        row.last_active = DateTime{core_.now_seconds()};
        row.validation_time = row.last_active;
        row.is_local_superuser = person.subject.null() && !person.certificate;
        row.client_certificate = person.certificate;
        row.subject = person.subject;
        row.auth_user_sid = person.id;
        if (const Subject* subject = txn.find(person.subject)) {
            RoleMask roles = 0;
            for (const auto role : subject->roles)
                if (const Role* known = txn.find(role))
                    roles = static_cast<RoleMask>(roles | role_mask(*known));
            row.rbac_permissions = permissions_of(roles);
        }
        if (person.certificate) row.rbac_permissions = permissions_of(call.caller().roles);
        row.auth_user_name = user;
        row.originator = originator;
        return txn.insert(std::move(row));
    });
    log::info("session_opened",
              {{"user", user}, {"address", call.caller().address}, {"originator", originator}});
    return session;
}

bool SessionDomain::is_certified(const Call& call) const {
    const basalt::Caller& caller = call.caller();
    return core_.booted && !caller.trusted && caller.roles != 0 &&
           core_.db.get(core_.pool).client_certificate_auth_enabled;
}

Task<Ref<Session>> SessionDomain::login_with_password(Call& call, SessionLoginWithPassword params) {
    Person person{.certificate = is_certified(call)};
    if (!person.certificate) person = co_await authenticate(call, params.uname, params.pwd);
    agents_.note(call.caller().user_agent);
    co_return open(call, params.uname, params.originator, person);
}

Task<Ref<Session>> SessionDomain::slave_local_login_with_password(
    Call& call, SessionSlaveLocalLoginWithPassword params) {
    const Person person = co_await authenticate(call, params.uname, params.pwd);
    co_return open(call, params.uname, {}, person);
}

Task<void> SessionDomain::authenticate_pool(Call& call, const xenapi::SecretString& secret,
                                            Ref<Host> host) {
    if (!core_.booted) throw err::host_still_booting();
    if (core::is_secret(core_.pool_secret, secret.reveal())) co_return;
    log::warn("pool_login_refused", {{"address", call.caller().address}});
    co_await sleep_for(core_.loop, wrong_password_delay);
    throw err::session_authentication_failed(host, "Pool credentials invalid");
}

Task<Ref<Session>> SessionDomain::slave_local_login(Call& call, SessionSlaveLocalLogin params) {
    co_await authenticate_pool(call, params.psecret, {});
    co_return open(call, {}, {}, {});
}

Task<Ref<Session>> SessionDomain::slave_login(Call& call, SessionSlaveLogin params) {
    co_await authenticate_pool(call, params.psecret, params.host);
    if (core_.db.find(params.host) == nullptr) throw err::handle_invalid("host", params.host);
    const Ref<Session> session = open(call, {}, {}, {}, true);
    core_.db.transact([&](db::Txn& txn) { txn.edit(session).this_host = params.host; });
    co_return session;
}

Task<Ref<Session>> SessionDomain::create_from_db_file(Call& call, SessionCreateFromDbFile params) {
    // A large one takes seconds to read: other calls go on.
    auto database = co_await blocking(
        core_.loop, [path = std::move(params.filename)] { return db::open_dump(path); });
    co_return look_at(call, std::move(database), "db-from-file");
}

Ref<Session> SessionDomain::look_at(Call& call, std::shared_ptr<db::Database> database,
                                    const std::string& user) {
    if (core_.file_sessions.size() >= core_.limits.max(Limit::sessions_of_files)) {
        core_.limits.exceeded(Limit::sessions_of_files);
        end(core_.file_sessions.front().session);
    }
    const Ref<Session> session = open(call, user, {}, {});
    core_.db.transact([&](db::Txn& txn) { txn.edit(session).is_local_superuser = false; });
    core_.file_sessions.push_back({session, std::move(database)});
    return session;
}

void SessionDomain::end(Ref<Session> session) {
    core_.db.transact([&](db::Txn& txn) {
        if (txn.find(session) != nullptr) txn.erase(session);
    });
    std::erase_if(core_.file_sessions,
                  [&](const core::Core::FileSession& one) { return one.session == session; });
}

Task<void> SessionDomain::logout(Call& call) {
    end(call.caller().session);
    co_return;
}

Task<void> SessionDomain::local_logout(Call& call) {
    return logout(call);
}

Task<void> SessionDomain::change_password(Call& call, SessionChangePassword params) {
    if (call.caller().user.empty())
        throw err::session_authentication_failed("", "no user to change");
    passwords_.forget(call.caller().user);
    co_await core_.hosts->local().change_password(
        {call.caller().user, std::move(params.old_pwd), std::move(params.new_pwd)});
}

Task<std::vector<std::string>> SessionDomain::get_all_subject_identifiers(Call&) {
    // Root is no subject.
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
