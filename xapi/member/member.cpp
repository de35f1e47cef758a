#include "xapi/member/member.hpp"

#include <algorithm>

#include "base/json.hpp"
#include "base/log.hpp"
#include "idl/errors.hpp"
#include "xapi/pool/wire.hpp"
#include "xapi/rpc/http_auth.hpp"
#include "xapi/rpc/websocket.hpp"

namespace basalt::member {

namespace {

constexpr std::string_view is_alive = "system.isAlive:";
constexpr std::string_view pool_login = "session.slave_login";
constexpr std::string_view thumbprint_asked = "x-xenapi-request-host-certificate-thumbprint";
constexpr std::string_view thumbprint_header = "x-xenapi-response-host-certificate-thumbprint";

Task<std::unique_ptr<pool::AnswerReader>> greeted(const MemberParts& parts,
                                                  std::unique_ptr<pool::AnswerReader> connection,
                                                  Json* answer) {
    if (!connection) connection = std::make_unique<pool::AnswerReader>(co_await parts.dial());
    *answer = co_await pool::ask(*connection, std::string(pool::hello_path), Json::object());
    co_return connection;
}

std::vector<std::string> description_of(const ApiError& error) {
    std::vector<std::string> words{error.code()};
    words.insert(words.end(), error.params().begin(), error.params().end());
    return words;
}

std::string in_url(const std::string& address) {
    return address.contains(':') ? "[" + address + "]" : address;
}

bool is_stream(const server::HttpRequest& request) {
    return std::ranges::any_of(server::http_actions(), [&](const server::HttpAction& action) {
        return action.method == request.method && request.path.starts_with(action.path);
    });
}

}  // namespace

Member::Member(Loop& loop, MemberParts parts)
    : loop_(loop),
      parts_(std::move(parts)),
      relay_(loop, parts_),
      agent_link_(loop, parts_),
      calls_(loop, parts_, watch_, relay_),
      figures_(loop, parts_, watch_, relay_) {}

Member::~Member() = default;

void Member::start() {
    jobs_.push_back(spawn(loop_, "hello", say_hello_forever()));
    jobs_.push_back(spawn(loop_, "agent link", agent_link_.keep_up()));
}

Task<void> Member::stop() {
    for (const auto& job : jobs_)
        job->cancel();
    relay_.break_off();
    for (const auto& job : jobs_)
        co_await job->wait();
}

std::optional<ApiError> Member::why_cut_off() const {
    return watch_.why_cut_off(loop_.now());
}

std::optional<ApiError> Member::why_refused(const server::Peer& peer) const {
    if (auto why = why_cut_off()) return why;
    if (!peer.unix_socket) return err::host_is_slave(parts_.coordinator);
    return std::nullopt;
}

Task<void> Member::say_hello_forever() {
    for (;;) {
        co_await say_hello();
        const std::optional<ApiError> why = why_cut_off();
        if (why && !cut_off_) relay_.break_off();
        if (why.has_value() != cut_off_) {
            cut_off_ = why.has_value();
            log::warn(cut_off_ ? "coordinator_lost" : "coordinator_found",
                      {{"coordinator", parts_.coordinator}, {"why", why ? why->what() : ""}});
        }
        co_await sleep_for(loop_, CoordinatorWatch::hello_every);
    }
}

Task<void> Member::say_hello() {
    Json answer;
    std::exception_ptr failure;
    try {
        greeting_ = co_await within(loop_, CoordinatorWatch::hello_limit,
                                    greeted(parts_, std::move(greeting_), &answer),
                                    err::host_still_booting());
    } catch (const std::exception&) {
        failure = std::current_exception();
    }
    if (!failure) {
        coordinator_fingerprint_ = answer.value("fingerprint", std::string());
        watch_.heard(loop_.now());
        co_return;
    }
    if (is_cancellation(failure)) std::rethrow_exception(failure);
    greeting_.reset();
    const ApiError error = as_api_error(failure);
    log::debug("hello_failed", {{"error", error.what()}});
    // What the coordinator says counts at once; that it says nothing may pass.
    if (error.code() == "HOST_ITS_OWN_SLAVE" || error.code() == "HOST_UNKNOWN_TO_MASTER")
        watch_.refused(error);
}

void Member::add_routes(server::Router& router, const server::Metrics& metrics, Limits& limits) {
    const server::Router::Route* known = router.find("GET", "/");
    const server::Handler files = known == nullptr ? server::Handler() : known->handler;
    server::add_rpc_routes(router, loop_, *this, limits);
    for (const char* method : {"GET", "PUT", "CONNECT", "DELETE", "HEAD"})
        router.add(method, "/", [this, files](server::Exchange& exchange) {
            return serve_other(exchange, files);
        });
    figures_.add_routes(router);
    router.add("GET", "/metrics", [this, &metrics](server::Exchange& exchange) {
        return serve_metrics(exchange, metrics);
    });
}

Task<void> Member::answer(server::Exchange& exchange, server::MethodCall call) {
    co_await refuse(exchange, std::move(call), err::host_is_slave(parts_.coordinator));
}

Task<void> Member::answer_text(server::Exchange& exchange, server::MethodCall call,
                               std::string body) {
    if (const xenapi::MessageInfo* message = EmergencyCalls::find(call.method))
        co_return co_await answer_here(exchange, std::move(call), *message);
    if (auto why = why_cut_off())
        co_return co_await refuse(exchange, std::move(call), *std::move(why));
    if (!exchange.request().peer.unix_socket && call.method != pool_login &&
        !call.method.starts_with(is_alive))
        co_return co_await answer(exchange, std::move(call));
    std::optional<ApiError> unreachable;
    try {
        co_await relay_.call(exchange, std::move(body));
    } catch (const ApiError& error) {
        unreachable = error;
    }
    if (unreachable) co_await refuse(exchange, std::move(call), *std::move(unreachable));
}

Task<void> Member::answer_here(server::Exchange& exchange, server::MethodCall call,
                               const xenapi::MessageInfo& message) {
    std::optional<ApiError> failure;
    xenapi::Reply reply;
    try {
        reply = co_await calls_.run(message, call.params, exchange.request().peer);
    } catch (const ApiError& error) {
        failure = error;
    }
    if (failure) co_return co_await refuse(exchange, std::move(call), *std::move(failure));
    co_await exchange.respond(
        server::ok_response(exchange.request(), std::string(server::content_type(call.protocol)),
                            server::success_text(call, reply), server::cors_headers()));
}

Task<void> Member::refuse(server::Exchange& exchange, server::MethodCall call, ApiError error) {
    server::Parameters headers = server::cors_headers();
    const std::string* asked = exchange.request().header(thumbprint_asked);
    if (error.code() == "HOST_IS_SLAVE" && asked != nullptr && *asked == "sha-256:master")
        headers.emplace_back(thumbprint_header, coordinator_fingerprint_);
    co_await exchange.respond(
        server::ok_response(exchange.request(), std::string(server::content_type(call.protocol)),
                            server::failure_text(call, description_of(error)), std::move(headers)));
}

Task<xenapi::Reply> Member::local_call(std::string method, std::vector<wire::Value> params,
                                       server::Peer peer) {
    const xenapi::MessageInfo* message = EmergencyCalls::find(method);
    if (message == nullptr) {
        if (auto why = why_cut_off()) throw *std::move(why);
        throw err::host_is_slave(parts_.coordinator);
    }
    co_return co_await calls_.run(*message, std::move(params), std::move(peer));
}

Task<void> Member::serve_other(server::Exchange& exchange, server::Handler files) {
    const server::HttpRequest& request = exchange.request();
    // A console's bytes come from this host, and those who show one do not follow redirects.
    const bool pass =
        request.peer.unix_socket || request.method == "CONNECT" || server::wants_websocket(request);
    if (!pass && is_stream(request))
        co_return co_await exchange.respond(
            server::redirect("https://" + in_url(parts_.coordinator) + request.target));
    if (!pass) {
        if (files && request.method == "GET") co_return co_await files(exchange);
        co_return co_await exchange.respond(server::no_route(request));
    }
    std::optional<ApiError> unreachable = why_cut_off();
    try {
        if (!unreachable) co_await relay_.connection(exchange);
    } catch (const ApiError& error) {
        unreachable = error;
    }
    if (unreachable) co_await exchange.respond(server::internal_error(unreachable->what()));
}

Task<void> Member::serve_metrics(server::Exchange& exchange, const server::Metrics& metrics) {
    const server::HttpRequest& request = exchange.request();
    if (!request.peer.unix_socket) {
        const std::string* session = server::parameter(request, "session_id");
        if (session == nullptr) throw server::HttpError(server::unauthorised("get_metrics"));
        std::optional<ApiError> refused = why_cut_off();
        try {
            // The coordinator vouches; every role may read.
            if (!refused)
                co_await relay_.ask(std::string(pool::session_path), {{"session", *session}});
        } catch (const ApiError& error) {
            refused = error;
        }
        if (refused && refused->code() == "SESSION_INVALID")
            throw server::HttpError(server::unauthorised("get_metrics"));
        if (refused) throw server::HttpError(server::internal_error(refused->what()));
    }
    co_await exchange.respond(
        server::ok_response(request, "text/plain; version=0.0.4", metrics.text()));
}

}  // namespace basalt::member
