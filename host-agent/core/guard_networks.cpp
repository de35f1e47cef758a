#include "host-agent/core/guard_networks.hpp"

#include <arpa/inet.h>
#include <netinet/in.h>

#include <algorithm>
#include <array>
#include <cctype>
#include <charconv>

#include "base/error.hpp"
#include "host-agent/core/guard_words.hpp"
#include "idl/errors.hpp"

namespace basalt::agent {

namespace {

constexpr std::size_t interface_name_max = 15;

bool is_interface(std::string_view name) {
    return is_name(name, interface_name_max, "_.-");
}

// Six pairs of digits; a group's address cannot be a station's.
void check_mac(const std::string& mac) {
    bool plain = mac.size() == 17;
    for (std::size_t i = 0; plain && i < mac.size(); ++i)
        plain = i % 3 == 2 ? mac[i] == ':' : std::isxdigit(static_cast<unsigned char>(mac[i])) != 0;
    unsigned first = 1;
    if (plain) std::from_chars(mac.data(), mac.data() + 2, first, 16);
    if ((first & 1U) != 0) throw err::mac_invalid(mac.substr(0, 64));
}

bool is_address(int family, const std::string& text) {
    std::array<unsigned char, sizeof(in6_addr)> bytes{};
    return !text.contains('\0') && ::inet_pton(family, text.c_str(), bytes.data()) == 1;
}

void check_address(const char* field, const std::string& text) {
    if (!is_address(AF_INET, text) && !is_address(AF_INET6, text))
        throw err::invalid_ip_address_specified(field);
}

void check_mtu(std::int64_t mtu) {
    if (mtu != 0) check_range("MTU", mtu, 68, 65535);
}

}  // namespace

void check_bridge(const std::string& name) {
    if (!is_interface(name)) throw err::bridge_not_available(name.substr(0, 64));
}

void check_manager(const std::string& target) {
    // Other ways (unix:, exec:) would lead into this host.
    const bool known = target.starts_with("ssl:") || target.starts_with("pssl:");
    const bool plain = std::ranges::all_of(target.substr(target.find(':') + 1), [](char c) {
        return std::isxdigit(static_cast<unsigned char>(c)) != 0 ||
               std::string_view(".:[]").contains(c);
    });
    if (!known || !plain || target.size() > 64)
        throw err::invalid_value("manager", target.substr(0, 64));
}

void check_nic(const NicSpec& nic) {
    check_uuid("VIF", nic.vif);
    if (nic.device < 0 || nic.device > 63) throw err::invalid_device(std::to_string(nic.device));
    check_mac(nic.mac);
    check_bridge(nic.bridge);
    check_mtu(nic.mtu);
    for (const std::string& address : nic.ipv4)
        if (!is_address(AF_INET, address)) throw err::invalid_ip_address_specified("ipv4_allowed");
    for (const std::string& address : nic.ipv6)
        if (!is_address(AF_INET6, address)) throw err::invalid_ip_address_specified("ipv6_allowed");
    for (const std::int64_t tag : nic.trunks)
        if (tag < 1 || tag > 4094) throw err::vlan_tag_invalid(std::to_string(tag));
}

void check_network(const BridgeWant& want) {
    check_bridge(want.name);
    if (!want.uplink.empty()) check_bridge(want.uplink);
    if (!want.vlan_parent.empty()) check_bridge(want.vlan_parent);
    if (want.vlan_tag < 0 || want.vlan_tag > 4094)
        throw err::vlan_tag_invalid(std::to_string(want.vlan_tag));
    check_mtu(want.mtu);
    if (!want.mac.empty()) check_mac(want.mac);
    // `ADDRESS/BITS`: how many bits there are, the kernel knows.
    if (!want.address.empty()) check_address("IP", want.address.substr(0, want.address.find('/')));
    check_line("netmask", want.address);
    if (!want.gateway.empty()) check_address("gateway", want.gateway);
    for (const std::string& cidr : want.ipv6) {
        check_line("IPv6", cidr);
        if (!is_address(AF_INET6, cidr.substr(0, cidr.find('/'))))
            throw err::invalid_cidr_address_specified("IPv6");
    }
    if (!want.gateway6.empty() && !is_address(AF_INET6, want.gateway6))
        throw err::invalid_ip_address_specified("gateway");
    for (const std::string& server : want.dns)  // a line of resolv.conf each
        check_address("DNS", server);
}

void check_bond(const BondWant& bond) {
    check_bridge(bond.name);
    for (const std::string& member : bond.members)
        check_bridge(member);
    check_line("mode", bond.mode);
    for (const auto& [key, value] : bond.properties) {
        check_line("properties", key);
        check_line(key.c_str(), value);
    }
}

}  // namespace basalt::agent
