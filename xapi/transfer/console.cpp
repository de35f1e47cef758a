#include <set>

#include "idl/enums.hpp"
#include "idl/errors.hpp"
#include "idl/records/console.hpp"
#include "idl/records/pool.hpp"
#include "idl/records/vm.hpp"
#include "xapi/core/hosts.hpp"
#include "xapi/rpc/websocket.hpp"
#include "xapi/transfer/named.hpp"
#include "xapi/transfer/streams.hpp"

namespace basalt::transfer {

namespace {

using server::Exchange;
using xenapi::Ref;

/// Who looks at which console: pool.limit_console_sessions lets in one at a time.
class Viewers {
  public:
    explicit Viewers(Adopt adopt_in) : adopt(std::move(adopt_in)) {}

    class Place {
      public:
        Place(Viewers& viewers, Ref<xenapi::Console> console)
            : viewers_(viewers), place_(viewers.looking_.insert(console)) {}

        Place(const Place&) = delete;
        Place& operator=(const Place&) = delete;

        ~Place() { viewers_.looking_.erase(place_); }

      private:
        Viewers& viewers_;
        std::multiset<Ref<xenapi::Console>>::iterator place_;
    };

    [[nodiscard]] bool has(Ref<xenapi::Console> console) const {
        return looking_.contains(console);
    }

    const Adopt adopt;

  private:
    std::multiset<Ref<xenapi::Console>> looking_;
};

/// The console that a request names, or the graphical one of the VM that it names.
Ref<xenapi::Console> console_of(Call& call, const server::HttpRequest& request) {
    for (const char* name : {"uuid", "ref"}) {
        const std::string* text = server::parameter(request, name);
        if (text == nullptr) continue;
        const auto ref = xenapi::parse_ref(*text);
        std::optional<Ref<xenapi::Vm>> vm = call.db().by_uuid<xenapi::Vm>(*text);
        if (!vm && ref && call.db().find(Ref<xenapi::Vm>(*ref)) != nullptr) vm.emplace(*ref);
        if (!vm) continue;
        for (const auto console : call.db().get(*vm).consoles) {
            const xenapi::Console* row = call.db().find(console);
            if (row != nullptr && row->protocol == xenapi::ConsoleProtocol::rfb) return console;
        }
    }
    return named<xenapi::Console>(call, request, "console", {"uuid", "ref"});
}

/// A login on the host itself is worth more than one in a guest, which operators may open.
void require_pool_admin(const Call& call, const std::string& permission) {
    const Caller& caller = call.caller();
    const bool admin =
        caller.root || caller.pool || (caller.roles & server::roles_from("pool-admin")) != 0;
    if (!admin) throw err::rbac_permission_denied(permission, "No permission in user session");
}

bool one_viewer_only(const Call& call) {
    const xenapi::Pool* pool = call.db().find(call.core().pool);
    return pool != nullptr && pool->limit_console_sessions;
}

/// The bytes of a console, from its host. `host_permission` is what the host's own console needs.
Task<std::unique_ptr<Stream>> opened(Call& call, Ref<xenapi::Console> console,
                                     const Viewers& viewers, std::string host_permission) {
    const xenapi::Console row = call.db().get(console);
    const xenapi::Vm vm = call.db().get(row.VM);
    if (!vm.resident_on) throw err::vm_bad_power_state(row.VM, "running", "halted");
    const auto kind = row.protocol == xenapi::ConsoleProtocol::vt100 ? agent::ConsoleKind::serial
                                                                     : agent::ConsoleKind::vnc;
    agent::Host& agent = call.core().hosts->agent(vm.resident_on);
    if (vm.is_control_domain) {
        require_pool_admin(call, host_permission);
        co_return viewers.adopt(co_await agent.host_console_open({}));
    }
    co_return viewers.adopt(co_await agent.console_open({vm.uuid, kind}));
}

/// Serves a console by whichever of the two ways of carrying bytes.
Task<void> serve_console(Exchange& exchange, Call& call, std::shared_ptr<Viewers> viewers,
                         std::string host_permission,
                         std::function<Task<void>(Exchange&, Call&, Stream&)> carry) {
    const auto console = console_of(call, exchange.request());
    if (one_viewer_only(call) && viewers->has(console)) {
        co_await exchange.respond(server::service_unavailable());
        co_return;
    }
    const Viewers::Place place(*viewers, console);
    const auto guest = co_await opened(call, console, *viewers, std::move(host_permission));
    co_await carry(exchange, call, *guest);
}

Task<void> carry_raw(Exchange& exchange, Call& call, Stream& guest) {
    Stream& client = exchange.take_over();
    const server::ResponseHead head{
        .headers = {{"Connection", "keep-alive"}, {"Cache-Control", "no-cache, no-store"}}};
    const std::string text = head.text();
    co_await client.write(text);
    co_await join_streams(call.core().loop, client, guest);
}

Task<void> carry_in_messages(Exchange& exchange, Call& call, Stream& guest) {
    return server::serve_websocket(call.core().loop, call.core().limits, exchange, guest);
}

Task<void> connect_console(Exchange& exchange, Call& call, std::shared_ptr<Viewers> viewers) {
    return serve_console(exchange, call, std::move(viewers), "http/connect_console/host_console",
                         carry_raw);
}

Task<void> connect_console_ws(Exchange& exchange, Call& call, std::shared_ptr<Viewers> viewers) {
    if (auto refusal = server::why_no_websocket(exchange.request()))
        co_return co_await exchange.respond(*std::move(refusal));
    co_await serve_console(exchange, call, std::move(viewers),
                           "http/connect_console_ws/host_console_ws", carry_in_messages);
}

}  // namespace

void add_console_routes(server::Router& router, server::HttpAuth& auth, Adopt adopt) {
    const auto viewers = std::make_shared<Viewers>(std::move(adopt));
    auth.add(router, server::http_action("connect_console"),
             [viewers](Exchange& exchange, Call& call) {
                 return connect_console(exchange, call, viewers);
             });
    auth.add(router, server::http_action("connect_console_ws"),
             [viewers](Exchange& exchange, Call& call) {
                 return connect_console_ws(exchange, call, viewers);
             });
}

}  // namespace basalt::transfer
