#include "xapi/member/emergency_calls.hpp"

#include <arpa/inet.h>

#include <array>

#include "base/json.hpp"
#include "base/log.hpp"
#include "idl/errors.hpp"
#include "idl/runtime/codec.hpp"
#include "xapi/core/secret.hpp"
#include "xapi/pool/wire.hpp"
#include "xapi/rpc/dispatch.hpp"
#include "xapi/rpc/implicit.hpp"

namespace basalt::member {

namespace {

// Guessing must be slow; the wait holds nobody else up.
constexpr Duration wrong_password_delay = 5s;
constexpr Duration restart_delay = 1s;  // so that the answer gets out

std::string text_of(const wire::Value& value) {
    return server::text_argument(value);
}

bool is_numeric_address(const std::string& text) {
    std::array<unsigned char, sizeof(in6_addr)> address{};
    return inet_pton(AF_INET, text.c_str(), address.data()) == 1 ||
           inet_pton(AF_INET6, text.c_str(), address.data()) == 1;
}

Task<void> restart_after(Loop& loop, std::function<void()> restart) {
    co_await sleep_for(loop, restart_delay);
    restart();
}

}  // namespace

const xenapi::MessageInfo* EmergencyCalls::find(const std::string& method) {
    const xenapi::MessageInfo* message = xenapi::find_message(method);
    const bool ours = message != nullptr && message->where == xenapi::Where::emergency;
    return ours ? message : nullptr;
}

Task<xenapi::Reply> EmergencyCalls::run(const xenapi::MessageInfo& message,
                                        std::vector<wire::Value> params, server::Peer peer) {
    server::check_count(message, params.size());
    if (message.wire_name == "session.slave_local_login_with_password")
        co_return xenapi::Reply::of(
            co_await log_in(text_of(params[0]), text_of(params[1]), std::move(peer)));
    if (message.wire_name == "session.slave_local_login")
        co_return xenapi::Reply::of(co_await log_in_by_secret(text_of(params[0]), std::move(peer)));
    const std::string session = text_of(params.front());
    co_await check_session(message, session);
    if (message.wire_name == "session.local_logout") {
        sessions_.close(session);
        co_return xenapi::Reply();
    }
    params.erase(params.begin());
    co_return serve(message, params);
}

Task<void> EmergencyCalls::check_session(const xenapi::MessageInfo& message, std::string session) {
    if (sessions_.user_of(session)) co_return;  // made by this host's root
    if (watch_.why_cut_off(loop_.now())) throw err::session_invalid(session);
    const Json caller =
        co_await relay_.ask(std::string(pool::session_path), {{"session", session}});
    const bool pool = caller.value("pool", false);
    if (message.pool_internal && !pool)
        throw err::internal_error("Internal API \"" + std::string(message.wire_name) +
                                  "\" call attempted with non-pool (external) session");
    const bool allowed = pool || caller.value("root", false) ||
                         (static_cast<unsigned>(caller.value("roles", 0)) & message.roles) != 0;
    if (!allowed)
        throw err::rbac_permission_denied(message.wire_name, "No permission in user session");
}

Task<std::string> EmergencyCalls::log_in(std::string user, std::string password,
                                         server::Peer peer) {
    if (!peer.trusted) {
        std::optional<ApiError> refused;
        try {
            co_await hostd_.login(user, std::move(password), peer.address);
        } catch (const ApiError& error) {
            refused = error;
        }
        if (refused) {
            log::warn("local_login_refused",
                      {{"user", user}, {"address", peer.address}, {"error", refused->what()}});
            if (refused->code() == "SESSION_AUTHENTICATION_FAILED")
                co_await sleep_for(loop_, wrong_password_delay);
            throw *refused;
        }
    }
    log::info("local_session_opened", {{"user", user}, {"address", peer.address}});
    co_return sessions_.open(std::move(user));
}

Task<std::string> EmergencyCalls::log_in_by_secret(std::string secret, server::Peer peer) {
    if (!core::is_secret(parts_.pool_secret, secret)) {
        log::warn("local_login_refused", {{"user", ""}, {"address", peer.address}});
        co_await sleep_for(loop_, wrong_password_delay);
        throw err::session_authentication_failed("", "Pool credentials invalid");
    }
    co_return sessions_.open("");
}

xenapi::Reply EmergencyCalls::serve(const xenapi::MessageInfo& message,
                                    const std::vector<wire::Value>& params) {
    const std::optional<ApiError> cut_off = watch_.why_cut_off(loop_.now());
    if (message.wire_name == "pool.is_slave") return xenapi::Reply::of(true);
    if (message.wire_name == "host.is_in_emergency_mode")
        return xenapi::Reply::of(cut_off.has_value());
    if (message.wire_name == "host.local_assert_healthy") {
        if (cut_off) throw *cut_off;
        return {};
    }
    if (message.wire_name == "pool.emergency_reset_master") {
        follow(text_of(params.front()));
        return {};
    }
    if (message.wire_name == "host.shutdown_agent") {
        restart_soon();
        return {};
    }
    // As the coordinator answers (xapi/domain/host_trust.cpp).
    if (message.wire_name == "host.emergency_disable_tls_verification")
        throw err::operation_not_allowed(
            "Hosts of a pool check each other's certificates in any case");
    throw err::not_implemented(message.wire_name);
}

void EmergencyCalls::follow(const std::string& address) {
    if (!is_numeric_address(address)) throw err::invalid_value("master_address", address);
    log::warn("coordinator_reset", {{"from", parts_.coordinator}, {"to", address}});
    parts_.follow(address);
    restart_soon();
}

void EmergencyCalls::restart_soon() {
    spawn(loop_, "restart", restart_after(loop_, parts_.restart));
}

}  // namespace basalt::member
