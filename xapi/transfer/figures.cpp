#include "xapi/transfer/figures.hpp"

#include "idl/errors.hpp"
#include "idl/records/host.hpp"
#include "idl/records/vm.hpp"
#include "xapi/core/core.hpp"
#include "xapi/core/hosts.hpp"
#include "xapi/rpc/figures.hpp"

namespace basalt::transfer {

namespace {

using server::Exchange;
using server::FigureKind;
using server::FigureRequest;

/// Where a member sends those whose VM it does not know: they must not be sent back.
constexpr std::string_view sent_by_member = "from_member";

agent::MetricsOwner owner_of(FigureKind kind) {
    if (kind == FigureKind::vm) return agent::MetricsOwner::vm;
    return kind == FigureKind::sr ? agent::MetricsOwner::sr : agent::MetricsOwner::host;
}

Task<UniqueFd> ask(agent::Host& agent, FigureRequest asked, std::string host_uuid) {
    if (asked.kind == FigureKind::updates)
        return agent.metrics_updates({.start = asked.start,
                                      .interval = asked.interval,
                                      .fold = std::move(asked.fold),
                                      .host = asked.host,
                                      .all_vms = asked.all_vms,
                                      .vms = std::move(asked.vms),
                                      .srs = std::move(asked.srs),
                                      .json = asked.json});
    return agent.metrics_whole(
        {.owner = owner_of(asked.kind),
         .uuid = asked.kind == FigureKind::host ? std::move(host_uuid) : std::move(asked.uuid),
         .json = asked.json});
}

std::string in_url(const std::string& address) {
    return address.contains(':') ? "[" + address + "]" : address;
}

/// The address of the other host that runs the VM; empty: none does.
std::string elsewhere(const Call& call, const FigureRequest& asked) {
    if (asked.kind != FigureKind::vm) return {};
    const auto vm = call.db().by_uuid<xenapi::Vm>(asked.uuid);
    if (!vm) return {};
    const auto host = call.db().get(*vm).resident_on;
    if (host.null() || host == call.core().this_host) return {};
    const xenapi::Host* row = call.db().find(host);
    return row == nullptr ? std::string() : row->address;
}

Task<void> serve(Exchange& exchange, Call& call, FigureKind kind) {
    const server::HttpRequest& request = exchange.request();
    const auto asked = server::parse_figures(request, kind, call.core().now_seconds());
    if (!asked) co_return co_await exchange.respond(server::bad_request("Bad request"));
    const std::string address = elsewhere(call, *asked);
    if (!address.empty() && server::find(request.query, sent_by_member) == nullptr)
        co_return co_await exchange.respond(
            server::redirect("https://" + in_url(address) + request.target));
    const auto host = call.core().this_host;
    std::optional<UniqueFd> file;
    try {
        file = co_await ask(call.core().hosts->agent(host), *asked, call.db().get(host).uuid);
    } catch (const ApiError& error) {
        if (error.code() != "INVALID_VALUE") throw;
    }
    if (!file) co_return co_await exchange.respond(server::not_found(request.path));
    co_await server::send_figures(exchange, *std::move(file), asked->json);
}

}  // namespace

void add_figure_routes(server::Router& router, server::HttpAuth& auth) {
    for (const server::FigureAction& action : server::figure_actions())
        auth.add(router, server::http_action(action.name),
                 [kind = action.kind](Exchange& exchange, Call& call) {
                     return serve(exchange, call, kind);
                 });
}

}  // namespace basalt::transfer
