#include "network-manager/linux/links.hpp"

#include <arpa/inet.h>
#include <fcntl.h>
#include <linux/ethtool.h>
#include <linux/if_tun.h>
#include <linux/sockios.h>
#include <net/if.h>
#include <net/if_arp.h>
#include <netlink/errno.h>
#include <netlink/route/link/vlan.h>
#include <netlink/route/nexthop.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#include <array>
#include <cerrno>
#include <charconv>
#include <filesystem>
#include <format>
#include <fstream>
#include <new>
#include <system_error>

#include "base/fd.hpp"
#include "network-manager/linux/netlink.hpp"
#include "network-manager/linux/sriov.hpp"

namespace basalt::nm::links {

namespace {

[[noreturn]] void throw_code(int code, const std::string& what) {
    throw std::system_error(code, std::system_category(), what);
}

template <class F>
void for_each(nl_cache* cache, F each) {
    for (nl_object* at = nl_cache_get_first(cache); at != nullptr; at = nl_cache_get_next(at))
        each(at);
}

int index_or_throw(const std::string& name) {
    const unsigned index = if_nametoindex(name.c_str());
    if (index == 0) throw_code(ENODEV, name);
    return static_cast<int>(index);
}

std::string mac_text(std::string_view bytes) {
    std::string out;
    for (const char byte : bytes)
        out += std::format("{}{:02x}", out.empty() ? "" : ":", static_cast<unsigned char>(byte));
    return out;
}

std::string ip_text(std::string_view bytes) {
    std::array<char, INET6_ADDRSTRLEN> text{};
    const int family = bytes.size() == 4 ? AF_INET : AF_INET6;
    if (bytes.size() != 4 && bytes.size() != 16) return {};
    inet_ntop(family, bytes.data(), text.data(), text.size());
    return text.data();
}

/// The bytes of an address, 4 or 16; empty when it is none.
std::string ip_bytes(const std::string& text) {
    std::array<char, 16> bytes{};
    if (inet_pton(AF_INET, text.c_str(), bytes.data()) == 1) return {bytes.data(), 4};
    if (inet_pton(AF_INET6, text.c_str(), bytes.data()) == 1) return {bytes.data(), 16};
    return {};
}

std::uint8_t family_of(const std::string& bytes) {
    return bytes.size() == 4 ? AF_INET : AF_INET6;
}

struct Cidr {
    std::string bytes;
    unsigned char prefix = 0;
};

std::optional<Cidr> parse_cidr(const std::string& text) {
    const std::size_t slash = text.find('/');
    if (slash == std::string::npos) return std::nullopt;
    Cidr out{ip_bytes(text.substr(0, slash))};
    const char* end = text.data() + text.size();
    const auto [rest, error] = std::from_chars(text.data() + slash + 1, end, out.prefix);
    if (out.bytes.empty() || error != std::errc{} || rest != end) return std::nullopt;
    if (out.prefix > out.bytes.size() * 8) return std::nullopt;
    return out;
}

std::string_view bytes_of(nl_addr* address) {
    if (address == nullptr) return {};
    return {static_cast<const char*>(nl_addr_get_binary_addr(address)), nl_addr_get_len(address)};
}

netlink::Address address_of(const Cidr& cidr) {
    netlink::Address out(
        nl_addr_build(family_of(cidr.bytes), cidr.bytes.data(), cidr.bytes.size()));
    if (!out) throw std::bad_alloc();
    nl_addr_set_prefixlen(out.get(), cidr.prefix);
    return out;
}

netlink::Link fresh_link() {
    netlink::Link link(rtnl_link_alloc());
    if (!link) throw std::bad_alloc();
    return link;
}

std::string text_of(const char* text) {
    return text != nullptr ? text : "";
}

Link describe(rtnl_link* from) {
    Link link;
    link.index = rtnl_link_get_ifindex(from);
    link.name = text_of(rtnl_link_get_name(from));
    link.alias = text_of(rtnl_link_get_ifalias(from));
    link.mac = mac_text(bytes_of(rtnl_link_get_addr(from)));
    link.mtu = rtnl_link_get_mtu(from);
    link.kind = text_of(rtnl_link_get_type(from));
    link.ethernet = rtnl_link_get_arptype(from) == ARPHRD_ETHER;
    link.up = (rtnl_link_get_flags(from) & IFF_UP) != 0;
    link.carrier = rtnl_link_get_carrier(from) != 0;
    link.group = rtnl_link_get_group(from);
    link.master = rtnl_link_get_master(from);
    if (rtnl_link_is_vlan(from) != 0) {
        link.below = rtnl_link_get_link(from);
        link.vlan = rtnl_link_vlan_get_id(from);
    }
    return link;
}

/// Changes of a link are what `fill` sets on an empty one.
template <class F>
void change_link(const std::string& name, F fill) {
    const netlink::Link which = fresh_link();
    rtnl_link_set_ifindex(which.get(), index_or_throw(name));
    const netlink::Link changes = fresh_link();
    fill(changes.get());
    netlink::check(rtnl_link_change(netlink::connected().get(), which.get(), changes.get(), 0),
                   name);
}

netlink::LinkAddress link_address(int index, const Cidr& cidr) {
    netlink::LinkAddress out(rtnl_addr_alloc());
    if (!out) throw std::bad_alloc();
    rtnl_addr_set_ifindex(out.get(), index);
    netlink::check(rtnl_addr_set_local(out.get(), address_of(cidr).get()), "address");
    // No duplicate address detection: the address is usable at once, as management needs it.
    if (family_of(cidr.bytes) == AF_INET6) rtnl_addr_set_flags(out.get(), IFA_F_NODAD);
    return out;
}

netlink::Route default_route(const std::string& name, const std::string& via) {
    const std::string bytes = ip_bytes(via);
    if (bytes.empty()) throw_code(EINVAL, "gateway " + via);
    netlink::Route route(rtnl_route_alloc());
    if (!route) throw std::bad_alloc();
    const netlink::Address everything = address_of({std::string(bytes.size(), '\0'), 0});
    rtnl_route_set_family(route.get(), family_of(bytes));
    netlink::check(rtnl_route_set_dst(route.get(), everything.get()), "gateway " + via);
    rtnl_route_set_table(route.get(), RT_TABLE_MAIN);
    rtnl_route_set_scope(route.get(), RT_SCOPE_UNIVERSE);
    netlink::check(rtnl_route_set_type(route.get(), RTN_UNICAST), "gateway " + via);
    const netlink::Address gateway =
        address_of({bytes, static_cast<unsigned char>(bytes.size() * 8)});
    rtnl_nexthop* hop = rtnl_route_nh_alloc();
    if (hop == nullptr) throw std::bad_alloc();
    rtnl_route_nh_set_ifindex(hop, index_or_throw(name));
    rtnl_route_nh_set_gateway(hop, gateway.get());
    rtnl_route_add_nexthop(route.get(), hop);  // the route's from now on
    return route;
}

/// An ethtool call by name; false when the driver does not know it.
bool ethtool(const std::string& name, void* request) {
    const UniqueFd fd(socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0));
    ifreq query{};
    name.copy(query.ifr_name, IFNAMSIZ - 1);
    query.ifr_data = static_cast<char*>(request);
    return ioctl(fd.get(), SIOCETHTOOL, &query) == 0;
}

std::string ipv6_setting(const std::string& link, const char* setting) {
    return "/proc/sys/net/ipv6/conf/" + link + "/" + setting;
}

// xen-netback's: the kernel tells no kind for a guest's interface, as for those with hardware.
constexpr std::string_view guests_driver = "vif";

void fill_hardware(agent::NicFacts& nic) {
    ethtool_drvinfo driver{};
    driver.cmd = ETHTOOL_GDRVINFO;
    if (ethtool(nic.name, &driver)) {
        nic.driver = driver.driver;
        nic.pci = driver.bus_info;
    }
    ethtool_cmd settings{};
    settings.cmd = ETHTOOL_GSET;
    if (ethtool(nic.name, &settings)) {
        const std::uint32_t speed = ethtool_cmd_speed(&settings);
        nic.speed_mbps = speed == static_cast<std::uint32_t>(SPEED_UNKNOWN) ? 0 : speed;
        nic.duplex_full = settings.duplex == DUPLEX_FULL;
    }
}

void fill_sriov(agent::NicFacts& nic, Sriov found) {
    nic.sriov_vfs_max = found.vfs_max;
    nic.sriov_vfs = found.vfs;
    nic.sriov_card = std::move(found.card);
}

bool is_physical(const Link& link) {
    if (!link.ethernet) return false;
    if (link.kind.empty()) return true;
    const bool hardware_name = link.name.starts_with("eth") || link.name.starts_with("en");
    return hardware_name && (link.kind == "veth" || link.kind == "dummy");
}

}  // namespace

std::vector<Link> list() {
    nl_cache* found = nullptr;
    netlink::check(rtnl_link_alloc_cache(netlink::connected().get(), AF_UNSPEC, &found), "links");
    const netlink::Cache cache(found);
    std::vector<Link> out;
    for_each(cache.get(), [&out](nl_object* object) {
        out.push_back(describe(reinterpret_cast<rtnl_link*>(object)));
    });
    return out;
}

std::vector<Address> addresses() {
    nl_cache* found = nullptr;
    netlink::check(rtnl_addr_alloc_cache(netlink::connected().get(), &found), "addresses");
    const netlink::Cache cache(found);
    std::vector<Address> out;
    for_each(cache.get(), [&out](nl_object* object) {
        auto* address = reinterpret_cast<rtnl_addr*>(object);
        if (rtnl_addr_get_scope(address) != RT_SCOPE_UNIVERSE) return;
        const std::string_view bytes = bytes_of(rtnl_addr_get_local(address));
        out.push_back({rtnl_addr_get_ifindex(address),
                       std::format("{}/{}", ip_text(bytes), rtnl_addr_get_prefixlen(address))});
    });
    return out;
}

std::vector<Gateway> gateways() {
    nl_cache* found = nullptr;
    netlink::check(rtnl_route_alloc_cache(netlink::connected().get(), AF_UNSPEC, 0, &found),
                   "routes");
    const netlink::Cache cache(found);
    std::vector<Gateway> out;
    for_each(cache.get(), [&out](nl_object* object) {
        auto* route = reinterpret_cast<rtnl_route*>(object);
        nl_addr* to = rtnl_route_get_dst(route);
        if ((to != nullptr && nl_addr_get_prefixlen(to) != 0) ||
            rtnl_route_get_table(route) != RT_TABLE_MAIN ||
            rtnl_route_get_type(route) != RTN_UNICAST || rtnl_route_get_nnexthops(route) == 0)
            return;
        rtnl_nexthop* hop = rtnl_route_nexthop_n(route, 0);
        const std::string_view via = bytes_of(rtnl_route_nh_get_gateway(hop));
        if (!via.empty()) out.push_back({rtnl_route_nh_get_ifindex(hop), ip_text(via)});
    });
    return out;
}

std::optional<Link> find(const std::string& name) {
    rtnl_link* found = nullptr;
    const int code = rtnl_link_get_kernel(netlink::connected().get(), 0, name.c_str(), &found);
    if (netlink::is(code, NLE_NODEV) || netlink::is(code, NLE_OBJ_NOTFOUND)) return std::nullopt;
    netlink::check(code, name);
    return describe(netlink::Link(found).get());
}

std::optional<std::string> canonical_cidr(const std::string& text) {
    const std::optional<Cidr> cidr = parse_cidr(text);
    if (!cidr) return std::nullopt;
    return std::format("{}/{}", ip_text(cidr->bytes), cidr->prefix);
}

std::optional<std::string> canonical_address(const std::string& text) {
    const std::string bytes = ip_bytes(text);
    if (bytes.empty()) return std::nullopt;
    return ip_text(bytes);
}

void set_up(const std::string& name, bool up) {
    change_link(name, [up](rtnl_link* link) {
        if (up)
            rtnl_link_set_flags(link, IFF_UP);
        else
            rtnl_link_unset_flags(link, IFF_UP);
    });
}

void set_mtu(const std::string& name, std::int64_t mtu) {
    change_link(
        name, [mtu](rtnl_link* link) { rtnl_link_set_mtu(link, static_cast<unsigned int>(mtu)); });
}

void set_mac(const std::string& name, const std::string& mac) {
    nl_addr* parsed = nullptr;
    netlink::check(nl_addr_parse(mac.c_str(), AF_LLC, &parsed), "MAC " + mac);
    const netlink::Address address(parsed);
    change_link(name, [&](rtnl_link* link) { rtnl_link_set_addr(link, address.get()); });
}

void set_alias(const std::string& name, const std::string& alias) {
    change_link(name, [&](rtnl_link* link) { rtnl_link_set_ifalias(link, alias.c_str()); });
}

void remove(const std::string& name) {
    const auto index = static_cast<int>(if_nametoindex(name.c_str()));
    if (index == 0) return;
    const netlink::Link which = fresh_link();
    rtnl_link_set_ifindex(which.get(), index);
    const int code = rtnl_link_delete(netlink::connected().get(), which.get());
    if (!netlink::is(code, NLE_NODEV)) netlink::check(code, name);
}

void make_bridge(const std::string& name, std::uint32_t group) {
    const netlink::Link link = fresh_link();
    netlink::check(rtnl_link_set_type(link.get(), "bridge"), name);
    rtnl_link_set_name(link.get(), name.c_str());
    rtnl_link_set_group(link.get(), group);
    netlink::check(rtnl_link_add(netlink::connected().get(), link.get(), NLM_F_CREATE | NLM_F_EXCL),
                   name);
}

void make_vlan(const VlanDevice& device) {
    const netlink::Link link(rtnl_link_vlan_alloc());
    if (!link) throw std::bad_alloc();
    rtnl_link_set_name(link.get(), device.name.c_str());
    rtnl_link_set_group(link.get(), device.group);
    rtnl_link_set_link(link.get(), device.below);
    netlink::check(rtnl_link_vlan_set_id(link.get(), static_cast<std::uint16_t>(device.tag)),
                   device.name);
    netlink::check(rtnl_link_add(netlink::connected().get(), link.get(), NLM_F_CREATE | NLM_F_EXCL),
                   device.name);
}

void add_to_bridge(const std::string& name, const std::string& bridge) {
    netlink::check(rtnl_link_enslave_ifindex(netlink::connected().get(), index_or_throw(bridge),
                                             index_or_throw(name)),
                   name + " on " + bridge);
}

void take_off_bridge(const std::string& name) {
    const auto index = static_cast<int>(if_nametoindex(name.c_str()));
    if (index == 0) return;
    netlink::check(rtnl_link_release_ifindex(netlink::connected().get(), index), name);
}

void add_address(const std::string& name, const std::string& cidr) {
    const std::optional<Cidr> parsed = parse_cidr(cidr);
    if (!parsed) throw_code(EINVAL, "address " + cidr);
    const netlink::LinkAddress address = link_address(index_or_throw(name), *parsed);
    const int code = rtnl_addr_add(netlink::connected().get(), address.get(), NLM_F_EXCL);
    if (!netlink::is(code, NLE_EXIST)) netlink::check(code, name + " " + cidr);
}

void remove_address(const std::string& name, const std::string& cidr) {
    const std::optional<Cidr> parsed = parse_cidr(cidr);
    const auto index = static_cast<int>(if_nametoindex(name.c_str()));
    if (!parsed || index == 0) return;
    // Of two addresses in one net the second would go along with the first.
    std::ofstream("/proc/sys/net/ipv4/conf/" + name + "/promote_secondaries") << "1";
    const netlink::LinkAddress address = link_address(index, *parsed);
    const int code = rtnl_addr_delete(netlink::connected().get(), address.get(), 0);
    if (!netlink::is(code, NLE_NOADDR) && !netlink::is(code, NLE_NODEV))
        netlink::check(code, name + " " + cidr);
}

void set_gateway(const std::string& name, const std::string& via) {
    const netlink::Route route = default_route(name, via);
    rtnl_route_set_protocol(route.get(), RTPROT_STATIC);
    netlink::check(rtnl_route_add(netlink::connected().get(), route.get(), NLM_F_REPLACE),
                   "gateway " + via);
}

void remove_gateway(const std::string& name, const std::string& via) {
    if (if_nametoindex(name.c_str()) == 0) return;
    const netlink::Route route = default_route(name, via);
    rtnl_route_set_protocol(route.get(), RTPROT_UNSPEC);  // whoever made it
    const int code = rtnl_route_delete(netlink::connected().get(), route.get(), 0);
    if (!netlink::is(code, NLE_OBJ_NOTFOUND) && !netlink::is(code, NLE_NODEV))
        netlink::check(code, "gateway " + via);
}

void make_tap(const std::string& name, std::int64_t owner) {
    const UniqueFd fd(open("/dev/net/tun", O_RDWR | O_CLOEXEC));
    if (!fd) throw_code(errno, "/dev/net/tun");
    ifreq query{};
    name.copy(query.ifr_name, IFNAMSIZ - 1);
    // With the header that virtio uses: whoever opens the tap later must ask for the same flags.
    query.ifr_flags = IFF_TAP | IFF_NO_PI | IFF_VNET_HDR;
    if (ioctl(fd.get(), TUNSETIFF, &query) != 0) {
        // Busy: a guest has it open, so it is there.
        if (errno == EBUSY && if_nametoindex(name.c_str()) != 0) return;
        throw_code(errno, "tap " + name);
    }
    if (owner >= 0 && ioctl(fd.get(), TUNSETOWNER, owner) != 0) throw_code(errno, "tap " + name);
    if (ioctl(fd.get(), TUNSETPERSIST, 1) != 0) throw_code(errno, "tap " + name);
}

void set_offloads_off(const std::string& name) {
    for (const std::uint32_t command :
         {ETHTOOL_STSO, ETHTOOL_SGSO, ETHTOOL_SGRO, ETHTOOL_STXCSUM}) {
        ethtool_value value{};
        value.cmd = command;
        (void)ethtool(name, &value);
    }
}

bool autoconf(const std::string& name) {
    std::ifstream file(ipv6_setting(name, "autoconf"));
    int value = 0;
    return file >> value && value != 0;
}

void set_autoconf(const std::string& name, bool on) {
    // Of this network namespace, as all below /proc/sys/net.
    for (const char* setting : {"accept_ra", "autoconf"}) {
        const std::string path = ipv6_setting(name, setting);
        // A kernel without IPv6 has nothing to switch off.
        if (!on && !std::filesystem::exists(path)) continue;
        std::ofstream file(path);
        file << (on ? "1" : "0") << std::flush;
        if (!file) throw_code(EIO, name + " " + setting);
    }
}

void set_gro(const std::string& name, bool on) {
    ethtool_value value{};
    value.cmd = ETHTOOL_SGRO;
    value.data = on ? 1 : 0;
    if (!ethtool(name, &value)) throw_code(errno, "gro of " + name);
}

std::vector<agent::NicFacts> physical() {
    std::vector<agent::NicFacts> out;
    for (const Link& link : list()) {
        if (!is_physical(link)) continue;
        agent::NicFacts nic;
        nic.name = link.name;
        nic.mac = link.mac;
        nic.mtu = link.mtu;
        nic.carrier = link.carrier;
        fill_hardware(nic);
        if (nic.driver == guests_driver) continue;
        fill_sriov(nic, read_sriov("/sys/class/net/" + nic.name + "/device"));
        out.push_back(std::move(nic));
    }
    return out;
}

}  // namespace basalt::nm::links
