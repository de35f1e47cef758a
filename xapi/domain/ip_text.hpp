#pragma once
#include <string>

/// Addresses as texts, as clients write them. Pure.
namespace basalt::domain {

struct AddressFamily {
    int number;  ///< AF_INET, AF_INET6
    int bits;
};

extern const AddressFamily ipv4;
extern const AddressFamily ipv6;

[[nodiscard]] bool is_address(const AddressFamily& family, const std::string& text);
/// With the length of its prefix: `10.0.0.2/24`, `fd00::2/64`.
[[nodiscard]] bool is_cidr(const AddressFamily& family, const std::string& text);
/// `255.255.255.0` and such, not `0.0.0.0`.
[[nodiscard]] bool is_netmask(const std::string& text);
/// "10.0.0.2" and "255.255.255.0" -> "10.0.0.2/24"; one address alone for what is no netmask.
[[nodiscard]] std::string cidr_of(const std::string& address, const std::string& netmask);

struct AddressAndMask {
    std::string ip;
    std::string netmask;  ///< empty where there was no prefix
};

/// "10.0.0.2/24" -> address and netmask. IPv4 only.
[[nodiscard]] AddressAndMask split_cidr(const std::string& cidr);

}  // namespace basalt::domain
