#include "xapi/domain/ip_text.hpp"

#include <arpa/inet.h>

#include <algorithm>
#include <array>
#include <bit>
#include <charconv>
#include <cstdint>

namespace basalt::domain {

const AddressFamily ipv4{AF_INET, 32};
const AddressFamily ipv6{AF_INET6, 128};

bool is_address(const AddressFamily& family, const std::string& text) {
    in6_addr address{};
    return ::inet_pton(family.number, text.c_str(), &address) == 1;
}

bool is_cidr(const AddressFamily& family, const std::string& text) {
    const std::size_t slash = text.find('/');
    if (slash == std::string::npos || !is_address(family, text.substr(0, slash))) return false;
    const char* begin = text.data() + slash + 1;
    const char* end = text.data() + text.size();
    int length = -1;
    const auto [stop, error] = std::from_chars(begin, end, length);
    return error == std::errc{} && stop == end && length >= 0 && length <= family.bits;
}

bool is_netmask(const std::string& text) {
    in_addr mask{};
    if (::inet_pton(AF_INET, text.c_str(), &mask) != 1) return false;
    const std::uint32_t bits = ntohl(mask.s_addr);
    return bits != 0 && std::countl_one(bits) == std::popcount(bits);
}

std::string cidr_of(const std::string& address, const std::string& netmask) {
    if (address.empty()) return {};
    in_addr mask{};
    if (::inet_pton(AF_INET, netmask.c_str(), &mask) != 1) return address + "/32";
    return address + "/" + std::to_string(std::popcount(mask.s_addr));
}

AddressAndMask split_cidr(const std::string& cidr) {
    const std::size_t slash = cidr.find('/');
    AddressAndMask out{cidr.substr(0, slash), {}};
    int bits = 0;
    if (slash == std::string::npos) return out;
    std::from_chars(cidr.data() + slash + 1, cidr.data() + cidr.size(), bits);
    const in_addr mask{htonl(bits <= 0 ? 0U : ~0U << (32 - std::min(bits, 32)))};
    std::array<char, INET_ADDRSTRLEN> text{};
    ::inet_ntop(AF_INET, &mask, text.data(), text.size());
    out.netmask = text.data();
    return out;
}

}  // namespace basalt::domain
