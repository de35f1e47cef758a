#pragma once
#include <cstdint>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "agent_values.hpp"

/// Links, addresses and routes of this network namespace, by libnl, tun and ethtool calls.
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
    std::uint32_t group = 0;  // who made it may mark it with a number of his
    int master = 0;           // index of the bridge that it is a port of
    int below = 0;            // of a VLAN device: the index of what carries it
    int vlan = -1;            // of a VLAN device: its tag
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
void set_mac(const std::string& name, const std::string& mac);
void set_alias(const std::string& name, const std::string& alias);
/// Idempotent: absent is success.
void remove(const std::string& name);

/// A bridge of the kernel, without spanning tree, marked with `group` from its first moment on.
void make_bridge(const std::string& name, std::uint32_t group);

struct VlanDevice {
    std::string name;
    int below = 0;
    int tag = 0;
    std::uint32_t group = 0;
};

/// What comes in on `below` with the tag is this device's, and what it sends gets the tag.
void make_vlan(const VlanDevice& device);
/// Makes a link a port of a bridge; it leaves the one it was on. Idempotent.
void add_to_bridge(const std::string& name, const std::string& bridge);
/// Idempotent: absent is success.
void take_off_bridge(const std::string& name);

/// Idempotent.
void add_address(const std::string& name, const std::string& cidr);
/// Idempotent: absent is success.
void remove_address(const std::string& name, const std::string& cidr);
/// Makes `via` the default route of its address family, whatever was before.
void set_gateway(const std::string& name, const std::string& via);
/// Idempotent: absent is success.
void remove_gateway(const std::string& name, const std::string& via);

/// Whether the kernel takes addresses and routes that IPv6 routers announce on this link.
bool autoconf(const std::string& name);
void set_autoconf(const std::string& name, bool on);

/// Whether packets that belong together are joined when they come in. Throws when the driver will
/// not have it.
void set_gro(const std::string& name, bool on);

/// A tap that stays when nobody has it open. `owner` is the uid that may open it, -1 for root only.
/// Idempotent.
void make_tap(const std::string& name, std::int64_t owner);

/// The user-space datapath computes no checksums for others and cuts no segments: what it gets
/// from this link must be whole. Best effort, as drivers differ.
void set_offloads_off(const std::string& name);

/// Hardware, and virtual Ethernet that a namespace was given under a hardware name (eth*, en*).
std::vector<agent::NicFacts> physical();

}  // namespace basalt::nm::links
