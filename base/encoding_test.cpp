#include "base/encoding.hpp"

#include <gtest/gtest.h>

namespace basalt {
namespace {

// RFC 4648, section 10.
TEST(Encoding, base64_both_ways) {
    const std::pair<std::string, std::string> known[] = {{"", ""},
                                                         {"f", "Zg=="},
                                                         {"fo", "Zm8="},
                                                         {"foo", "Zm9v"},
                                                         {"foob", "Zm9vYg=="},
                                                         {"fooba", "Zm9vYmE="},
                                                         {"foobar", "Zm9vYmFy"}};
    for (const auto& [bytes, text] : known) {
        EXPECT_EQ(base64(bytes), text);
        EXPECT_EQ(from_base64(text), bytes);
    }
    std::string every;
    for (int byte = 0; byte < 256; ++byte)
        every += static_cast<char>(byte);
    EXPECT_EQ(from_base64(base64(every)), every);
}

TEST(Encoding, what_is_not_base64_is_nothing) {
    for (const char* text : {"Zg=", "Zg", "Z===", "Zm9v\n", " Zm9", "Zg==Zg==", "Zm9_", "===="})
        EXPECT_EQ(from_base64(text), std::nullopt) << text;
}

// FIPS 180-2, appendix B.1.
TEST(Encoding, sha256) {
    EXPECT_EQ(sha256_hex("abc"),
              "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
}

}  // namespace
}  // namespace basalt
