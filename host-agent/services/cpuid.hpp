#pragma once
#include <cstdint>
#include <functional>
#include <string>

namespace basalt::agent {

struct CpuidWords {
    std::uint32_t eax = 0;
    std::uint32_t ebx = 0;
    std::uint32_t ecx = 0;
    std::uint32_t edx = 0;
};

/// Answers a leaf and subleaf; one beyond the highest supported leaf answers zeros.
using Cpuid = std::function<CpuidWords(std::uint32_t leaf, std::uint32_t subleaf)>;

/// The instruction on this processor; all zeros on another architecture.
CpuidWords native_cpuid(std::uint32_t leaf, std::uint32_t subleaf);

/// The features in the form of host.cpu_info: words of eight hexadecimal digits joined by '-', in
/// the order of Xen's feature sets (xen/include/public/arch-x86/cpufeatureset.h). Empty when the
/// processor tells nothing.
std::string feature_words(const Cpuid& cpuid);

}  // namespace basalt::agent
