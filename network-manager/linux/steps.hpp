#pragma once
#include <map>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>
#include <vector>

#include "network-manager/plan/plan.hpp"

/// What every backend on Linux does alike: addresses, name servers, taps. Blocking: all of it is
/// called through `blocking()`; failures are system_error unless said otherwise.
namespace basalt::nm::steps {

/// On a tap of ours, so that one without a port (a crash came between) is found again.
constexpr std::string_view tap_alias = "basalt-guest ";

/// INTERNAL_ERROR "network: why".
[[noreturn]] void fail(const std::string& why);

/// The kernel's errors become ours here, once: `work`, with system_error as INTERNAL_ERROR.
template <class F>
auto translated(F work) {
    return [work = std::move(work)]() mutable {
        try {
            return work();
        } catch (const std::system_error& error) {
            fail(error.what());
        }
    };
}

/// Every address spelled as the kernel spells it, as the plan compares texts. INTERNAL_ERROR for
/// what is no address.
agent::NetworkWant canonical(agent::NetworkWant want);

/// `bridges`, and the addresses that the kernel has on any link.
State read_links(std::map<std::string, Bridge> bridges);

/// A bridge takes the lowest address of all ports, guests' taps included: it would change under a
/// running management interface. So one that nobody gave an address has its uplink's.
void pin_macs(State& state);

/// Does the steps of a plan that are about addresses and routes.
void enact_addresses(const std::vector<Action>& actions);

/// How the uplinks of the want are to treat what they receive. `whole_only`: the switch takes no
/// joined packets; OPERATION_NOT_ALLOWED [why] where they are wanted.
void check_offloads(const agent::NetworkWant& want, bool whole_only);
/// Makes it so. Idempotent.
void set_offloads(const agent::NetworkWant& want);

/// Puts the name servers of the want into `path`; without any, or without a path, does nothing.
void write_resolv_conf(const std::string& path, const agent::NetworkWant& want);

/// The tap of a guest's port, down, without a bridge. `owner` as for links::make_tap. Idempotent.
struct Tap {
    std::string name, vif;
    std::int64_t mtu = 0;
    std::int64_t owner = -1;
};

void make_tap(const Tap& tap);
/// The same for an interface that somebody else has made.
void mark_port(const Tap& tap);
/// Names of the taps that carry our alias, sorted.
std::vector<std::string> taps();

}  // namespace basalt::nm::steps
