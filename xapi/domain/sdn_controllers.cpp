#include "xapi/domain/sdn_controllers.hpp"

#include <vector>

#include "base/log.hpp"
#include "base/undo.hpp"
#include "idl/errors.hpp"
#include "idl/records/pool.hpp"
#include "xapi/domain/ip_text.hpp"
#include "xapi/domain/pool.hpp"
#include "xapi/domain/words.hpp"

namespace basalt::domain {

namespace {

constexpr std::int64_t port_max = 65535;
// What controllers of such pools have always listened on, and what IANA gave to OVSDB.
constexpr std::int64_t controller_port = 6632;
constexpr std::int64_t switch_port = 6640;

SdnController checked(const SdnControllerIntroduce& params) {
    const bool calls = params.protocol == SdnControllerProtocol::ssl;
    if (calls && !is_address(ipv4, params.address) && !is_address(ipv6, params.address))
        throw err::invalid_ip_address_specified("address");
    if (!calls && !params.address.empty()) throw err::invalid_value("address", params.address);
    if (params.port < 0 || params.port > port_max)
        throw err::invalid_value("port", std::to_string(params.port));
    const std::int64_t usual = calls ? controller_port : switch_port;
    return {.address = params.address,
            .port = params.port == 0 ? usual : params.port,
            .protocol = params.protocol};
}

std::vector<SdnController> take_all(db::Txn& txn) {
    std::vector<SdnController> out;
    txn.each<SdnController>([&](Ref<SdnController> ref, const SdnController& row) {
        out.push_back(row);
        txn.erase(ref);
    });
    return out;
}

// The records as they were; who cannot be reached is told when it appears.
Task<void> go_back(Call& call, Networks& networks, std::vector<SdnController> before) {
    call.db().transact_fact([&](db::Txn& txn) {
        take_all(txn);
        for (SdnController& row : before) {
            row.uuid.clear();
            txn.insert(std::move(row));
        }
    });
    std::string failure;
    try {
        co_await networks.apply_everywhere(call);
    } catch (const ApiError& error) {
        failure = error.what();
    }
    if (!failure.empty()) log::warn("switch_not_told", {{"error", failure}});
}

}  // namespace

std::string manager_target(const SdnController& controller) {
    const std::string port = std::to_string(controller.port);
    if (controller.protocol == SdnControllerProtocol::pssl) return "pssl:" + port;
    const bool v6 = controller.address.contains(':');
    return "ssl:" + (v6 ? "[" + controller.address + "]" : controller.address) + ":" + port;
}

Task<Ref<SdnController>> SdnControllerDomain::introduce(Call& call, SdnControllerIntroduce params) {
    require_openvswitch(core_);
    const SdnController wanted = checked(params);
    Ref<SdnController> made;
    co_await with_undo([&](Undo& undo) -> Task<void> {
        made = call.db().transact([&](db::Txn& txn) {
            txn.each<SdnController>([](Ref<SdnController>, const SdnController&) {
                throw err::operation_not_allowed(
                    "There is an SDN controller already; forget that one first");
            });
            return txn.insert(SdnController(wanted));
        });
        undo.push("forget it", [this, &call] { return go_back(call, networks_, {}); });
        co_await networks_.apply_everywhere(call);
    });
    co_return made;
}

Task<void> SdnControllerDomain::forget(Call& call, SdnControllerForget params) {
    call.db().transact([&](db::Txn& txn) {
        (void)txn.get(params.self);
        txn.erase(params.self);
    });
    co_await networks_.apply_everywhere(call);
}

// The older form: always by TLS to the usual port, and no address means none.
Task<void> PoolDomain::set_vswitch_controller(Call& call, PoolSetVswitchController params) {
    require_openvswitch(core_);
    std::vector<SdnController> wanted;
    if (!params.address.empty())
        wanted.push_back(checked({SdnControllerProtocol::ssl, params.address, 0}));
    const std::string address_before = call.db().get(core_.pool).vswitch_controller;
    co_await with_undo([&](Undo& undo) -> Task<void> {
        const auto before = call.db().transact([&](db::Txn& txn) {
            std::vector<SdnController> old = take_all(txn);
            for (const SdnController& row : wanted)
                txn.insert(SdnController(row));
            txn.edit(core_.pool).vswitch_controller = params.address;
            return old;
        });
        undo.push("as before", [this, &call, before, address_before]() -> Task<void> {
            call.db().transact_fact(
                [&](db::Txn& txn) { txn.edit(core_.pool).vswitch_controller = address_before; });
            co_await go_back(call, networks_, before);
        });
        co_await networks_.apply_everywhere(call);
    });
}

}  // namespace basalt::domain
