#pragma once
#include <cstdint>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "agent_values.hpp"

/// Links, addresses and routes of this network namespace, by rtnetlink, tun and ethtool calls.
/// Everything here asks the kernel and may wait for its lock: call it through `blocking()`.
/// sysfs is not read: it may show another namespace's links. Failures are system_error.
namespace basalt::nm::links {

struct Link {
    int index = 0;
    std::string name;
    std::string kind;  // veth, tun, bridge, ...; empty for hardware
    std::string mac;
    std::string alias;
    std::int64_t mtu = 0;
    bool ethernet = false;
    bool up = false;
    bool carrier = false;
};

struct Address {
    int index = 0;
    std::string cidr;
};

/// A default route of the main table.
struct Gateway {
    int index = 0;
    std::string via;
};

std::vector<Link> list();
/// Global scope only, v4 and v6.
std::vector<Address> addresses();
std::vector<Gateway> gateways();
std::optional<Link> find(const std::string& name);

/// `10.0.0.1/24` or `fd00::1/64`, in the kernel's spelling; nothing when it is neither.
std::optional<std::string> canonical_cidr(const std::string& text);
/// The same for a plain address.
std::optional<std::string> canonical_address(const std::string& text);

void set_up(const std::string& name, bool up);
void set_mtu(const std::string& name, std::int64_t mtu);
void set_alias(const std::string& name, const std::string& alias);
/// Idempotent: absent is success.
void remove(const std::string& name);

/// Idempotent.
void add_address(const std::string& name, const std::string& cidr);
/// Idempotent: absent is success.
void remove_address(const std::string& name, const std::string& cidr);
/// Makes `via` the default route of its address family, whatever was before.
void set_gateway(const std::string& name, const std::string& via);
/// Idempotent: absent is success.
void remove_gateway(const std::string& name, const std::string& via);

/// A tap that stays when nobody has it open. `owner` is the uid that may open it, -1 for root only.
/// Idempotent.
void make_tap(const std::string& name, std::int64_t owner);

/// The user-space datapath computes no checksums for others and cuts no segments: what it gets
/// from this link must be whole. Best effort, as drivers differ.
void set_offloads_off(const std::string& name);

/// Hardware, and virtual Ethernet that a namespace was given under a hardware name (eth*, en*).
std::vector<agent::NicFacts> physical();

}  // namespace basalt::nm::links
