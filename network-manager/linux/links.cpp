#include "network-manager/linux/links.hpp"

#include <arpa/inet.h>
#include <fcntl.h>
#include <linux/ethtool.h>
#include <linux/if_tun.h>
#include <linux/sockios.h>
#include <net/if.h>
#include <net/if_arp.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#include <array>
#include <cerrno>
#include <charconv>
#include <format>
#include <system_error>

#include "network-manager/linux/netlink.hpp"

namespace basalt::nm::links {

namespace {

using netlink::Attributes;
using netlink::Message;
using netlink::Socket;

[[noreturn]] void throw_code(int code, const std::string& what) {
    throw std::system_error(code, std::system_category(), what);
}

void check(int code, const std::string& what) {
    if (code != 0) throw_code(code, what);
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

Link parse_link(std::string_view body) {
    Link link;
    ifinfomsg info{};
    std::memcpy(&info, body.data(), sizeof info);
    const Attributes attributes(body.substr(NLMSG_ALIGN(sizeof info)));
    link.index = info.ifi_index;
    link.name = attributes.text(IFLA_IFNAME);
    link.alias = attributes.text(IFLA_IFALIAS);
    link.mac = mac_text(attributes.get(IFLA_ADDRESS));
    link.mtu = attributes.value<std::uint32_t>(IFLA_MTU, 0);
    link.kind = Attributes(attributes.get(IFLA_LINKINFO)).text(IFLA_INFO_KIND);
    link.ethernet = info.ifi_type == ARPHRD_ETHER;
    link.up = (info.ifi_flags & IFF_UP) != 0;
    link.carrier = attributes.value<std::uint8_t>(IFLA_CARRIER, 0) != 0;
    return link;
}

void change_link(const std::string& name, std::uint16_t attribute, std::string_view bytes) {
    ifinfomsg info{};
    info.ifi_index = index_or_throw(name);
    Message message(RTM_SETLINK, NLM_F_ACK, info);
    message.put(attribute, bytes);
    check(Socket().change(std::move(message)), name);
}

int change_address(std::uint16_t type, std::uint16_t flags, int index, const Cidr& cidr) {
    ifaddrmsg info{};
    info.ifa_family = family_of(cidr.bytes);
    info.ifa_prefixlen = cidr.prefix;
    info.ifa_index = static_cast<std::uint32_t>(index);
    // No duplicate address detection: the address is usable at once, as management needs it.
    if (info.ifa_family == AF_INET6) info.ifa_flags = IFA_F_NODAD;
    Message message(type, static_cast<std::uint16_t>(flags | NLM_F_ACK), info);
    message.put(IFA_LOCAL, cidr.bytes).put(IFA_ADDRESS, cidr.bytes);
    return Socket().change(std::move(message));
}

int change_gateway(std::uint16_t type, std::uint16_t flags, const std::string& name,
                   const std::string& via) {
    const std::string bytes = ip_bytes(via);
    if (bytes.empty()) throw_code(EINVAL, "gateway " + via);
    rtmsg info{};
    info.rtm_family = family_of(bytes);
    info.rtm_table = RT_TABLE_MAIN;
    info.rtm_protocol = RTPROT_STATIC;
    info.rtm_scope = RT_SCOPE_UNIVERSE;
    info.rtm_type = RTN_UNICAST;
    if (type == RTM_DELROUTE) info.rtm_protocol = RTPROT_UNSPEC;
    Message message(type, static_cast<std::uint16_t>(flags | NLM_F_ACK), info);
    message.put(RTA_GATEWAY, bytes).put_value(RTA_OIF, index_or_throw(name));
    return Socket().change(std::move(message));
}

/// An ethtool call by name; false when the driver does not know it.
bool ethtool(const std::string& name, void* request) {
    const UniqueFd fd(socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0));
    ifreq query{};
    name.copy(query.ifr_name, IFNAMSIZ - 1);
    query.ifr_data = static_cast<char*>(request);
    return ioctl(fd.get(), SIOCETHTOOL, &query) == 0;
}

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

bool is_physical(const Link& link) {
    if (!link.ethernet) return false;
    if (link.kind.empty()) return true;
    const bool hardware_name = link.name.starts_with("eth") || link.name.starts_with("en");
    return hardware_name && (link.kind == "veth" || link.kind == "dummy");
}

}  // namespace

std::vector<Link> list() {
    std::vector<Link> out;
    const ifinfomsg all{};
    Socket().dump(Message(RTM_GETLINK, NLM_F_DUMP, all),
                  [&out](std::uint16_t type, std::string_view body) {
                      if (type == RTM_NEWLINK) out.push_back(parse_link(body));
                  });
    return out;
}

std::vector<Address> addresses() {
    std::vector<Address> out;
    const ifaddrmsg all{};
    Socket().dump(Message(RTM_GETADDR, NLM_F_DUMP, all),
                  [&out](std::uint16_t type, std::string_view body) {
                      if (type != RTM_NEWADDR) return;
                      ifaddrmsg info{};
                      std::memcpy(&info, body.data(), sizeof info);
                      if (info.ifa_scope != RT_SCOPE_UNIVERSE) return;
                      const Attributes attributes(body.substr(NLMSG_ALIGN(sizeof info)));
                      std::string_view bytes = attributes.get(IFA_LOCAL);
                      if (bytes.empty()) bytes = attributes.get(IFA_ADDRESS);
                      out.push_back({static_cast<int>(info.ifa_index),
                                     std::format("{}/{}", ip_text(bytes), info.ifa_prefixlen)});
                  });
    return out;
}

std::vector<Gateway> gateways() {
    std::vector<Gateway> out;
    const rtmsg all{};
    Socket().dump(Message(RTM_GETROUTE, NLM_F_DUMP, all),
                  [&out](std::uint16_t type, std::string_view body) {
                      if (type != RTM_NEWROUTE) return;
                      rtmsg info{};
                      std::memcpy(&info, body.data(), sizeof info);
                      if (info.rtm_dst_len != 0 || info.rtm_table != RT_TABLE_MAIN ||
                          info.rtm_type != RTN_UNICAST)
                          return;
                      const Attributes attributes(body.substr(NLMSG_ALIGN(sizeof info)));
                      const std::string_view via = attributes.get(RTA_GATEWAY);
                      if (!via.empty())
                          out.push_back({attributes.value<int>(RTA_OIF, 0), ip_text(via)});
                  });
    return out;
}

std::optional<Link> find(const std::string& name) {
    for (Link& link : list())
        if (link.name == name) return std::move(link);
    return std::nullopt;
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
    ifinfomsg info{};
    info.ifi_index = index_or_throw(name);
    info.ifi_change = IFF_UP;
    if (up) info.ifi_flags = IFF_UP;
    check(Socket().change(Message(RTM_NEWLINK, NLM_F_ACK, info)), name);
}

void set_mtu(const std::string& name, std::int64_t mtu) {
    const auto value = static_cast<std::uint32_t>(mtu);
    change_link(name, IFLA_MTU, {reinterpret_cast<const char*>(&value), sizeof value});
}

void set_alias(const std::string& name, const std::string& alias) {
    change_link(name, IFLA_IFALIAS, alias);
}

void remove(const std::string& name) {
    ifinfomsg info{};
    info.ifi_index = static_cast<int>(if_nametoindex(name.c_str()));
    if (info.ifi_index == 0) return;
    const int code = Socket().change(Message(RTM_DELLINK, NLM_F_ACK, info));
    if (code != ENODEV) check(code, name);
}

void add_address(const std::string& name, const std::string& cidr) {
    const std::optional<Cidr> parsed = parse_cidr(cidr);
    if (!parsed) throw_code(EINVAL, "address " + cidr);
    const int code =
        change_address(RTM_NEWADDR, NLM_F_CREATE | NLM_F_EXCL, index_or_throw(name), *parsed);
    if (code != EEXIST) check(code, name + " " + cidr);
}

void remove_address(const std::string& name, const std::string& cidr) {
    const std::optional<Cidr> parsed = parse_cidr(cidr);
    const auto index = static_cast<int>(if_nametoindex(name.c_str()));
    if (!parsed || index == 0) return;
    const int code = change_address(RTM_DELADDR, 0, index, *parsed);
    if (code != EADDRNOTAVAIL && code != ENODEV) check(code, name + " " + cidr);
}

void set_gateway(const std::string& name, const std::string& via) {
    check(change_gateway(RTM_NEWROUTE, NLM_F_CREATE | NLM_F_REPLACE, name, via), "gateway " + via);
}

void remove_gateway(const std::string& name, const std::string& via) {
    if (if_nametoindex(name.c_str()) == 0) return;
    const int code = change_gateway(RTM_DELROUTE, 0, name, via);
    if (code != ESRCH && code != ENODEV) check(code, "gateway " + via);
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
        out.push_back(std::move(nic));
    }
    return out;
}

}  // namespace basalt::nm::links
