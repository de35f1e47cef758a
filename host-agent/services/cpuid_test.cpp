#include "host-agent/services/cpuid.hpp"

#include <gtest/gtest.h>

#include <charconv>
#include <fstream>
#include <map>
#include <sstream>

namespace basalt::agent {
namespace {

TEST(Cpuid, words_stand_in_the_order_of_feature_sets) {
    const auto told = feature_words([](std::uint32_t leaf, std::uint32_t subleaf) {
        if (leaf == 1) return CpuidWords{0xa, 0xb, 0xc0ffee, 0xd};
        if (leaf == 7 && subleaf == 0) return CpuidWords{1, 2, 3, 4};
        return CpuidWords{};
    });
    EXPECT_EQ(told.substr(0, 71),
              "0000000d-00c0ffee-00000000-00000000-00000000-00000002-00000003-00000000");
    EXPECT_EQ(told.substr(9 * 9, 8), "00000004");
    EXPECT_EQ(feature_words([](std::uint32_t, std::uint32_t) { return CpuidWords{}; }), "");
}

// The kernel reads the same leaves and names their bits; it may hide some, never invent any.
TEST(Cpuid, agrees_with_the_kernel) {
    std::ifstream in("/proc/cpuinfo");
    std::string flags;
    for (std::string line; std::getline(in, line);)
        if (line.starts_with("flags")) flags = line.substr(line.find(':') + 1) + " ";
    if (flags.empty()) GTEST_SKIP() << "no flags in /proc/cpuinfo";
    const std::string words = feature_words(native_cpuid);
    const auto bit = [&](std::size_t word, unsigned number) {
        unsigned value = 0;
        const char* at = words.data() + word * 9;
        std::from_chars(at, at + 8, value, 16);
        return (value >> number & 1U) != 0;
    };

    struct Known {
        const char* flag;
        std::size_t word;
        unsigned number;
    };

    for (const Known& known :
         {Known{"sse2", 0, 26}, Known{"fpu", 0, 0}, Known{"sse4_2", 1, 20}, Known{"aes", 1, 25},
          Known{"lm", 2, 29}, Known{"lahf_lm", 3, 0}, Known{"avx2", 5, 5}, Known{"smep", 5, 7}}) {
        if (!flags.contains(std::string(" ") + known.flag + " ")) continue;
        EXPECT_TRUE(bit(known.word, known.number)) << known.flag << " in " << words;
    }
}

}  // namespace
}  // namespace basalt::agent
