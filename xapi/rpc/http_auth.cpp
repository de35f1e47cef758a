#include "xapi/rpc/http_auth.hpp"

#include <boost/system/system_error.hpp>

#include "base/context.hpp"
#include "base/log.hpp"
#include "base/wait.hpp"
#include "idl/api/session_api.hpp"
#include "idl/errors.hpp"
#include "xapi/core/tasks.hpp"

namespace basalt::server {

namespace {

xenapi::Ref<xenapi::Task> task_of(const HttpRequest& request) {
    const std::string* text = parameter(request, "task_id");
    if (text == nullptr) return {};
    return xenapi::Ref<xenapi::Task>(xenapi::parse_ref(*text).value_or(Uuid{}));
}

/// The page that tells an error outside the RPC protocols.
Response page_of(const ApiError& error, const std::string& realm) {
    if (error.code() == "RBAC_PERMISSION_DENIED") return forbidden();
    if (error.code() == "SESSION_INVALID" || error.code() == "SESSION_AUTHENTICATION_FAILED")
        return unauthorised(realm);
    return internal_error(error.what());
}

Task<void> not_served(Exchange& /*exchange*/, Call& call) {
    throw err::not_implemented(call.message().wire_name);
    co_return;
}

}  // namespace

const std::string* parameter(const HttpRequest& request, std::string_view name) {
    const std::string* value = find(request.cookies, name);
    return value != nullptr ? value : find(request.query, name);
}

void HttpAuth::add(Router& router, const HttpAction& action, Body body) {
    auto guarded = std::make_shared<Guarded>();
    guarded->message.wire_name = action.name;
    guarded->message.name = action.name;
    guarded->realm = action.name;
    guarded->roles = roles_from(action.role);
    guarded->body = std::move(body);
    router.add(std::string(action.method), std::string(action.path),
               [this, guarded](Exchange& exchange) { return serve(exchange, guarded); });
}

void HttpAuth::add_unserved(Router& router) {
    for (const HttpAction& action : http_actions())
        add(router, action, not_served);
}

Task<Caller> HttpAuth::authenticate(const HttpRequest& request, const Guarded& guarded,
                                    bool& logged_in) {
    // What a browser adds by itself does not speak for a page of another site; what the page wrote
    // into the query, it knew.
    const bool foreign = from_foreign_page(request);
    const auto given = [&](std::string_view name) {
        return foreign ? find(request.query, name) : parameter(request, name);
    };
    if (const std::string* known = given("session_id")) co_return sessions_.caller(*known, request);
    if (const std::string* secret = given("pool_secret")) {
        Call login(core_, guarded.message, sessions_.stranger(request));
        const auto session = co_await apis_.session->slave_login(
            login, {core_.this_host, xenapi::SecretString(*secret)});
        logged_in = true;
        co_return sessions_.caller(session.text(), request);
    }
    std::optional<Credentials> credentials;
    if (const std::string* header = request.header("Authorization"); header && !foreign)
        credentials = parse_basic(*header);
    Caller caller = sessions_.stranger(request);
    if (!credentials) {
        if (caller.trusted && !foreign) co_return caller;
        // Its certificate says enough.
        if (caller.roles != 0 && !foreign) credentials = Credentials{};
    }
    if (!credentials) {
        throw err::session_authentication_failed("", "no credentials");
    }
    Call login(core_, guarded.message, caller);
    const auto session = co_await apis_.session->login_with_password(
        login, {credentials->user, credentials->password, "", "http"});
    logged_in = true;
    co_return sessions_.caller(session.text(), request);
}

Task<void> HttpAuth::serve(Exchange& exchange, std::shared_ptr<const Guarded> guarded) {
    const xenapi::Ref<xenapi::Task> task = task_of(exchange.request());
    Caller caller;
    bool logged_in = false;
    std::exception_ptr failure;
    try {
        caller = co_await authenticate(exchange.request(), *guarded, logged_in);
        require_role(caller, guarded->roles, "http/" + guarded->realm);
        co_await run(exchange, *guarded, caller, task);
    } catch (const std::exception&) {
        failure = std::current_exception();
    }
    if (logged_in) co_await log_out(*guarded, caller);
    if (!failure) {
        core_.tasks->succeed_text(task, "");
        co_return;
    }
    const bool cut = is_cancellation(failure);
    const ApiError error = cut ? err::task_cancelled(task) : as_api_error(failure);
    log::info("http_request_failed",
              {{"path", exchange.request().path}, {"task", task.text()}, {"error", error.what()}});
    core_.tasks->fail(task, error);
    if (cut) std::rethrow_exception(failure);
    if (exchange.answered()) co_return;
    Response page = page_of(error, guarded->realm);
    if (!task.null()) page.head.headers.emplace_back("task-id", task.text());
    co_await exchange.respond(std::move(page));
}

Task<void> HttpAuth::run(Exchange& exchange, const Guarded& guarded, Caller caller,
                         xenapi::Ref<xenapi::Task> task) {
    Call call(core_, guarded.message, std::move(caller));
    if (!task.null()) call.adopt_task(task);
    const log::Scope scope(call.context());
    std::exception_ptr failure;
    try {
        co_await guarded.body(exchange, call);
    } catch (const std::exception&) {
        failure = std::current_exception();
    }
    // A row that the call made for itself goes with it; the client's own stays.
    if (task.null()) core_.tasks->end_synchronous(call);
    if (failure) std::rethrow_exception(failure);
}

Task<void> HttpAuth::log_out(const Guarded& guarded, Caller caller) {
    Call call(core_, guarded.message, std::move(caller));
    co_await apis_.session->logout(call);
}

void add_metrics_route(Router& router, HttpAuth& auth, const Metrics& metrics) {
    const auto write = [](Exchange& exchange, const Metrics& from) -> Task<void> {
        co_await exchange.respond(
            ok_response(exchange.request(), "text/plain; version=0.0.4", from.text()));
    };
    auth.add(router, http_action("get_metrics"),
             [&metrics, write](Exchange& exchange, Call&) { return write(exchange, metrics); });
    const Handler guarded = router.find("GET", "/metrics")->handler;
    router.add("GET", "/metrics", [&metrics, write, guarded](Exchange& exchange) {
        if (exchange.request().peer.unix_socket) return write(exchange, metrics);
        return guarded(exchange);
    });
}

}  // namespace basalt::server
