#include "host-agent/services/cpuid.hpp"

#include <algorithm>
#include <array>
#include <format>

#if defined(__x86_64__)
#include <cpuid.h>
#endif

namespace basalt::agent {

namespace {

struct Word {
    std::uint32_t leaf;
    std::uint32_t subleaf;
    std::uint32_t CpuidWords::* part;
};

constexpr std::array<Word, 16> words = {{
    {0x00000001, 0, &CpuidWords::edx},
    {0x00000001, 0, &CpuidWords::ecx},
    {0x80000001, 0, &CpuidWords::edx},
    {0x80000001, 0, &CpuidWords::ecx},
    {0x0000000d, 1, &CpuidWords::eax},
    {0x00000007, 0, &CpuidWords::ebx},
    {0x00000007, 0, &CpuidWords::ecx},
    {0x80000007, 0, &CpuidWords::edx},
    {0x80000008, 0, &CpuidWords::ebx},
    {0x00000007, 0, &CpuidWords::edx},
    {0x00000007, 1, &CpuidWords::eax},
    {0x80000021, 0, &CpuidWords::eax},
    {0x00000007, 1, &CpuidWords::ebx},
    {0x00000007, 2, &CpuidWords::edx},
    {0x00000007, 1, &CpuidWords::ecx},
    {0x00000007, 1, &CpuidWords::edx},
}};

}  // namespace

CpuidWords native_cpuid(std::uint32_t leaf, std::uint32_t subleaf) {
    CpuidWords out;
#if defined(__x86_64__)
    if (__get_cpuid_count(leaf, subleaf, &out.eax, &out.ebx, &out.ecx, &out.edx) == 0) return {};
#else
    (void)leaf;
    (void)subleaf;
#endif
    return out;
}

std::string feature_words(const Cpuid& cpuid) {
    std::string text;
    bool any = false;
    for (const Word& word : words) {
        const std::uint32_t bits = cpuid(word.leaf, word.subleaf).*word.part;
        any = any || bits != 0;
        if (!text.empty()) text += '-';
        text += std::format("{:08x}", bits);
    }
    return any ? text : std::string();
}

}  // namespace basalt::agent
