#pragma once
#include <cstdint>
#include <string>
#include <vector>

/// The keys of VM.VCPUs_params: how the host's scheduler treats a guest. Pure.
namespace basalt::rules {

struct VcpuParams {
    std::int64_t weight = 0;         // 1 to 65535; 0: not said
    std::int64_t cap_percent = 0;    // of one physical CPU; 0: none
    std::vector<std::int64_t> mask;  // physical CPUs; empty: all
    bool operator==(const VcpuParams&) const = default;
};

/// Takes one key in; keys that are not `weight`, `cap` or `mask` mean nothing to the host.
/// Throws INVALID_VALUE [key, value]. `mask` is a list such as `0,2,4-7`.
void take_vcpu_param(VcpuParams& params, const std::string& key, const std::string& value);

}  // namespace basalt::rules
