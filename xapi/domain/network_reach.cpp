// Hosts are told of their networks; a change that may put one out of reach takes itself back.
#include <algorithm>

#include "base/log.hpp"
#include "idl/errors.hpp"
#include "idl/records/console.hpp"
#include "idl/records/host.hpp"
#include "idl/records/network.hpp"
#include "idl/records/pif.hpp"
#include "idl/records/vm.hpp"
#include "xapi/core/hosts.hpp"
#include "xapi/domain/ip_text.hpp"
#include "xapi/domain/networks.hpp"
#include "xapi/domain/words.hpp"

namespace basalt::domain {

namespace {

// A member must notice that its old address is gone, call its coordinator anew, and be greeted.
constexpr std::int64_t confirm_seconds = 60;
constexpr Duration confirm_limit = std::chrono::seconds(confirm_seconds);
constexpr Duration confirm_pause = std::chrono::milliseconds(200);

bool is_ipv6(const std::string& text) {
    return text.contains(':');
}

/// Thrown to end a transaction that only looks what would be.
struct TakenBack {};

struct Prospect {
    agent::NetworkWant want;
    std::string bridge;  // of the interface by which the host is managed then
    bool by_ipv6 = false;
};

Prospect prospect(db::Database& db, const Networks::Risk& risk) {
    Prospect out;
    try {
        db.transact([&](db::Txn& txn) {
            risk.edit(txn);
            const Pif& pif = txn.get(risk.pif);
            out.want = network_want(txn, risk.host);
            out.bridge = txn.get(pif.network).bridge;
            out.by_ipv6 = pif.primary_address_type == PrimaryAddressType::ipv6;
            throw TakenBack{};
        });
    } catch (const TakenBack&) {
        return out;
    }
    return out;
}

const agent::BridgeHave* find_bridge(const agent::NetworkHave& have, const std::string& name) {
    const auto found = std::ranges::find(have.bridges, name, &agent::BridgeHave::name);
    return found == have.bridges.end() ? nullptr : &*found;
}

/// Without its prefix; empty: it has none of that family.
std::string address_on(const agent::NetworkHave& have, const std::string& bridge, bool by_ipv6) {
    const agent::BridgeHave* found = find_bridge(have, bridge);
    if (found == nullptr) return {};
    for (const std::string& cidr : found->addresses)
        if (is_ipv6(cidr) == by_ipv6) return cidr.substr(0, cidr.find('/'));
    return {};
}

/// Marks a host for as long as this lives.
class Marked {
  public:
    Marked(std::set<Ref<Host>>& all, Ref<Host> host) : all_(all), host_(host) { all_.insert(host); }

    ~Marked() { all_.erase(host_); }

    Marked(const Marked&) = delete;
    Marked& operator=(const Marked&) = delete;

  private:
    std::set<Ref<Host>>& all_;
    Ref<Host> host_;
};

}  // namespace

Ref<Pif> management_pif(const db::Txn& txn, Ref<Host> host) {
    Ref<Pif> found;
    txn.each<Pif>([&](Ref<Pif> pif, const Pif& row) {
        if (row.host == host && row.management) found = pif;
    });
    return found;
}

void land_leases(db::Txn& txn, Ref<Host> host, const agent::NetworkHave& have) {
    std::vector<Ref<Pif>> its;
    txn.each<Pif>([&](Ref<Pif> pif, const Pif& row) {
        if (row.host == host) its.push_back(pif);
    });
    for (const Ref<Pif> pif : its) {
        const Pif before = txn.get(pif);
        const Network* network = txn.find(before.network);
        const agent::BridgeHave* bridge =
            network == nullptr ? nullptr : find_bridge(have, network->bridge);
        if (bridge == nullptr || !before.currently_attached) continue;
        Pif now = before;
        if (before.ip_configuration_mode == IpConfigurationMode::dhcp) {
            const auto leased = std::ranges::find_if_not(bridge->addresses, is_ipv6);
            const bool any = leased != bridge->addresses.end();
            const auto [ip, netmask] = any ? split_cidr(*leased) : AddressAndMask{};
            const auto gateway = std::ranges::find_if_not(bridge->gateways, is_ipv6);
            now.IP = ip;
            now.netmask = netmask;
            now.gateway = gateway == bridge->gateways.end() ? "" : *gateway;
        }
        if (before.ipv6_configuration_mode == Ipv6ConfigurationMode::autoconf ||
            before.ipv6_configuration_mode == Ipv6ConfigurationMode::dhcp) {
            now.IPv6.clear();
            std::ranges::copy_if(bridge->addresses, std::back_inserter(now.IPv6), is_ipv6);
            const auto gateway = std::ranges::find_if(bridge->gateways, is_ipv6);
            now.ipv6_gateway = gateway == bridge->gateways.end() ? "" : *gateway;
        }
        const bool same = now.IP == before.IP && now.netmask == before.netmask &&
                          now.gateway == before.gateway && now.IPv6 == before.IPv6 &&
                          now.ipv6_gateway == before.ipv6_gateway;
        if (!same) txn.edit(pif) = std::move(now);
    }
}

void land_host_address(db::Txn& txn, Ref<Host> host, const std::string& address) {
    if (txn.get(host).address == address) return;
    txn.edit(host).address = address;
    if (address.empty()) return;
    const std::string place = is_ipv6(address) ? "[" + address + "]" : address;
    txn.each<Vm>([&](Ref<Vm>, const Vm& vm) {
        if (vm.resident_on != host) return;
        for (const auto console : vm.consoles) {
            const std::string& location = txn.get(console).location;
            const std::size_t path = location.find("/console");
            if (path != std::string::npos)
                txn.edit(console).location = "https://" + place + location.substr(path);
        }
    });
}

Task<void> Networks::apply(Call& call, Ref<Host> host) {
    const ObjectQueue::Lease lease = co_await queue_.acquire(host.text());
    co_await tell(call, host);
}

Task<void> Networks::tell(Call& call, Ref<Host> host) {
    const agent::NetworkWant want =
        call.db().transact([&](db::Txn& txn) { return network_want(txn, host); });
    co_await call.committed();
    const agent::NetworkHave have =
        co_await core_.hosts->agent(host).network_apply(call.operation(), {.want = want});
    call.db().transact_fact([&](db::Txn& txn) { land_leases(txn, host, have); });
}

Task<void> Networks::apply_everywhere(Call& call) {
    std::vector<Ref<Host>> hosts;
    call.db().each<Host>([&](Ref<Host> host, const Host&) {
        if (core_.hosts->connected(host)) hosts.push_back(host);
    });
    for (const Ref<Host> host : hosts)
        co_await apply(call, host);
}

Task<void> Networks::apply_reachable(Call& call, Risk risk) {
    const ObjectQueue::Lease lease = co_await queue_.acquire(risk.host.text());
    const Marked marked(changing_, risk.host);
    const Prospect expected = prospect(call.db(), risk);
    std::exception_ptr failure;
    agent::NetworkHave have;
    try {
        have = co_await try_out(call, risk, core_.new_uuid());
    } catch (const ApiError&) {
        failure = std::current_exception();
    }
    if (failure) {
        co_await put_back(call, risk.host);
        std::rethrow_exception(failure);
    }
    call.db().transact_fact([&](db::Txn& txn) {
        risk.edit(txn);
        land_leases(txn, risk.host, have);
        const std::string address = address_on(have, expected.bridge, expected.by_ipv6);
        if (!address.empty()) land_host_address(txn, risk.host, address);
    });
    log::info("network_moved", {{"host", risk.host.text()}, {"bridge", expected.bridge}});
}

// At once where it can be reached; else the host goes back by itself.
Task<void> Networks::put_back(Call& call, Ref<Host> host) {
    if (!core_.hosts->connected(host)) co_return;
    try {
        co_await tell(call, host);
    } catch (const ApiError& error) {
        log::warn("network_not_put_back", {{"host", host.text()}, {"error", error.what()}});
    }
}

Task<agent::NetworkHave> Networks::try_out(Call& call, Risk risk, std::string confirm) {
    const Prospect expected = prospect(call.db(), risk);
    agent::NetworkApplyArgs args{.want = expected.want,
                                 .management = expected.bridge,
                                 .confirm = confirm,
                                 .confirm_seconds = confirm_seconds};
    co_await call.committed();
    agent::NetworkHave have =
        co_await core_.hosts->agent(risk.host).network_apply(call.operation(), std::move(args));
    if (address_on(have, expected.bridge, expected.by_ipv6).empty())
        throw err::interface_has_no_ip(expected.bridge);
    if (!co_await is_kept(risk.host, std::move(confirm)))
        throw err::pif_configuration_error(risk.pif, "the host was not reached over it in time");
    co_return have;
}

// The connection may go with the old address: the question is put until somebody answers it.
Task<bool> Networks::is_kept(Ref<Host> host, std::string confirm) {
    const Time deadline = core_.loop.now() + 2 * confirm_limit;
    for (;;) {
        try {
            co_return co_await core_.hosts->agent(host).network_keep({confirm});
        } catch (const ApiError& error) {
            if (core_.loop.now() >= deadline) throw;
            log::debug("network_not_kept_yet", {{"host", host.text()}, {"error", error.what()}});
        }
        co_await sleep_for(core_.loop, confirm_pause);
    }
}

}  // namespace basalt::domain
