#include "xapi/member/figures.hpp"

#include "base/json.hpp"
#include "idl/errors.hpp"
#include "xapi/core/secret.hpp"
#include "xapi/pool/wire.hpp"
#include "xapi/rpc/http_auth.hpp"

namespace basalt::member {

namespace {

using server::FigureKind;

std::string in_url(const std::string& address) {
    return address.contains(':') ? "[" + address + "]" : address;
}

}  // namespace

void Figures::add_routes(server::Router& router) {
    for (const server::FigureAction& action : server::figure_actions())
        router.add("GET", std::string(server::http_action(action.name).path),
                   [this, action](server::Exchange& exchange) { return serve(exchange, action); });
}

// Throws HttpError 401 for who may not.
Task<void> Figures::authorise(const server::HttpRequest& request, server::FigureAction action) {
    const bool foreign = server::from_foreign_page(request);
    const auto given = [&](std::string_view name) {
        return foreign ? server::find(request.query, name) : server::parameter(request, name);
    };
    const server::HttpError refused(server::unauthorised(action.name));
    const std::string* session = given("session_id");
    if (session == nullptr) {
        if (request.peer.trusted && !foreign) co_return;
        const std::string* secret = given("pool_secret");
        if (secret == nullptr || !core::is_secret(parts_.pool_secret, *secret)) throw refused;
        co_return;
    }
    std::optional<ApiError> why = watch_.why_cut_off(loop_.now());
    try {
        if (!why) co_await relay_.ask(std::string(pool::session_path), {{"session", *session}});
    } catch (const ApiError& error) {
        why = error;
    }
    if (why && why->code() == "SESSION_INVALID") throw refused;
    if (why) throw server::HttpError(server::internal_error(why->what()));
}

Task<UniqueFd> Figures::ask(server::FigureRequest asked) {
    if (asked.kind == FigureKind::updates)
        return hostd_.figure_updates({.start = asked.start,
                                      .interval = asked.interval,
                                      .fold = std::move(asked.fold),
                                      .host = asked.host,
                                      .all_vms = asked.all_vms,
                                      .vms = std::move(asked.vms),
                                      .srs = std::move(asked.srs),
                                      .json = asked.json});
    const auto owner = asked.kind == FigureKind::vm   ? agent::MetricsOwner::vm
                       : asked.kind == FigureKind::sr ? agent::MetricsOwner::sr
                                                      : agent::MetricsOwner::host;
    return hostd_.figures(
        {.owner = owner,
         .uuid = asked.kind == FigureKind::host ? parts_.uuid : std::move(asked.uuid),
         .json = asked.json});
}

Task<void> Figures::serve(server::Exchange& exchange, server::FigureAction action) {
    const server::HttpRequest& request = exchange.request();
    co_await authorise(request, action);
    const auto asked = server::parse_figures(request, action.kind, loop_.wall_ns() / 1'000'000'000);
    if (!asked) co_return co_await exchange.respond(server::bad_request("Bad request"));
    std::optional<UniqueFd> file;
    std::optional<ApiError> failure;
    try {
        file = co_await ask(*asked);
    } catch (const ApiError& error) {
        failure = error;
    }
    if (file) co_return co_await server::send_figures(exchange, *std::move(file), asked->json);
    if (failure->code() != "INVALID_VALUE")
        co_return co_await exchange.respond(server::internal_error(failure->what()));
    if (action.kind != FigureKind::vm)
        co_return co_await exchange.respond(server::not_found(request.path));
    const char joint = request.target.contains('?') ? '&' : '?';
    co_await exchange.respond(server::redirect("https://" + in_url(parts_.coordinator) +
                                               request.target + joint + "from_member=true"));
}

}  // namespace basalt::member
