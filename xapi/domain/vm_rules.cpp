#include "xapi/domain/vm_rules.hpp"

#include <openssl/evp.h>

#include <array>
#include <charconv>
#include <cmath>
#include <cstdio>

#include "idl/errors.hpp"

namespace basalt::domain {

namespace {

constexpr std::int64_t mib = 1024 * 1024;
constexpr std::int64_t positions_max = 255;

using Digest = std::array<unsigned char, 16>;

Digest md5(const void* bytes, std::size_t size) {
    Digest out{};
    unsigned length = 0;
    EVP_Digest(bytes, size, out.data(), &length, EVP_md5(), nullptr);
    return out;
}

}  // namespace

std::int64_t memory_overhead_bytes(const xenapi::Vm& vm) {
    const std::int64_t mem = std::max<std::int64_t>(1, (vm.memory_static_max + mib - 1) / mib);
    // 256 pages a vCPU, one page a MiB for the physical map and one for its shadow.
    const double pages = static_cast<double>(256 * vm.VCPUs_max + 2 * mem);
    const double shadow_mib =
        std::ceil(pages * 4.0 / 1024.0 * std::max(1.0, vm.HVM_shadow_multiplier));
    return (static_cast<std::int64_t>(shadow_mib) + 3) * mib;
}

bool has_domain(const xenapi::Vm& vm) {
    using enum xenapi::VmPowerState;
    return vm.power_state == running || vm.power_state == paused;
}

xenapi::DomainType domain_type_of(const xenapi::Vm& vm) {
    if (vm.domain_type != xenapi::DomainType::unspecified) return vm.domain_type;
    return vm.HVM_boot_policy.empty() ? xenapi::DomainType::pv : xenapi::DomainType::hvm;
}

bool is_hvm(const xenapi::Vm& vm) {
    return domain_type_of(vm) == xenapi::DomainType::hvm;
}

bool is_uefi(const xenapi::Vm& vm) {
    return is_hvm(vm) && vm.HVM_boot_params.get(std::string("firmware")) == "uefi";
}

void require_memory_order(const xenapi::Vm& vm) {
    const bool ordered = vm.memory_static_min <= vm.memory_dynamic_min &&
                         vm.memory_dynamic_min <= vm.memory_dynamic_max &&
                         vm.memory_dynamic_max <= vm.memory_static_max;
    if (!ordered) throw err::memory_constraint_violation_order();
}

void require_vcpu_order(std::int64_t at_startup, std::int64_t most, std::int64_t wrong) {
    if (at_startup > 0 && at_startup <= most) return;
    throw err::invalid_value("VCPU values must satisfy: 0 < VCPUs_at_startup ≤ VCPUs_max", wrong);
}

std::string mac_from_seed(const std::string& seed, std::int64_t device) {
    Digest s = md5(seed.data(), seed.size());
    for (std::int64_t i = 0; i < 2 * device; ++i)
        s = md5(s.data(), s.size());
    const Digest t = md5(s.data(), s.size());
    const unsigned first = (s[0] | 0x02U) & 0xfeU;  // locally administered, unicast
    std::array<char, 18> text{};
    std::snprintf(text.data(), text.size(), "%02x:%02x:%02x:%02x:%02x:%02x", first, s[1], s[2],
                  s[3], t[1], t[2]);
    return text.data();
}

bool is_valid_mac(const std::string& mac) {
    if (mac.size() != 17) return false;
    for (std::size_t i = 0; i < mac.size(); ++i) {
        const bool digit = std::isxdigit(static_cast<unsigned char>(mac[i])) != 0;
        if (i % 3 == 2 ? mac[i] != ':' : !digit) return false;
    }
    return true;
}

std::string disk_name(std::int64_t position) {
    std::string letters;
    for (std::int64_t rest = position; rest >= 0; rest = rest / 26 - 1)
        letters.insert(letters.begin(), static_cast<char>('a' + rest % 26));
    return "xvd" + letters;
}

std::int64_t disk_position(const std::string& device) {
    std::int64_t number = 0;
    const char* end = device.data() + device.size();
    if (const auto [stop, error] = std::from_chars(device.data(), end, number);
        error == std::errc{} && stop == end)
        return number >= 0 && number <= positions_max ? number : -1;
    std::size_t at = 0;
    for (const char* prefix : {"xvd", "hd", "sd"})
        if (device.starts_with(prefix)) at = std::char_traits<char>::length(prefix);
    if (at == 0) return -1;
    std::int64_t position = -1;
    while (at < device.size() && device[at] >= 'a' && device[at] <= 'z')
        position = (position + 1) * 26 + (device[at++] - 'a');
    return at == device.size() && position >= 0 && position <= positions_max ? position : -1;
}

}  // namespace basalt::domain
